//! Rows 1, 3, 5 (defaults) and 6 of kopia-format.md section 15, and deduplication: one writes, the other reads every byte.

use std::fs;

use anyhow::{Context, Result, ensure};
use caravel_interop::{
    blobs,
    client::Client,
    tree::{self, Tree},
};

/// Bytes of the largest file: 1 GiB with `--full`, else 100 MiB (several packs, an indirect list).
fn large() -> usize {
    if std::env::var_os("CARAVEL_INTEROP_FULL").is_some() {
        1 << 30
    } else {
        100 << 20
    }
}

#[test]
fn row_1_kopia_reads_and_restores_what_we_wrote() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, large())?;
    ours.create(&repository, &[])?;
    let id = ours.snapshot(&source)?;
    kopia.connect(&repository)?;
    let status = kopia.ok(&["repository", "status"])?;
    ensure!(status.contains("Format version:      3"), "{status}");
    let listed = kopia.ok(&["snapshot", "list", "--all", "--manifest-id"])?;
    ensure!(listed.contains(&id), "{listed}");
    kopia.verify()?;
    let out = scratch.path().join("out");
    kopia.restore(&id, &out)?;
    Tree::read(&source)?.must_equal(&Tree::read(&out)?)
}

#[test]
fn row_1_mirrored_we_read_and_restore_what_kopia_wrote() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, large() / 4)?;
    kopia.create(&repository, &[])?;
    let id = kopia.snapshot(&source)?;
    ours.connect(&repository)?;
    ours.verify()?;
    let out = scratch.path().join("out");
    ours.restore(&id, &out)?;
    Tree::read(&source)?.must_equal(&Tree::read(&out)?)
}

#[test]
fn a_second_writer_adds_no_data_in_either_order() -> Result<()> {
    for ours_first in [true, false] {
        let scratch = tempfile::tempdir()?;
        let (ours, kopia) = (Client::ours()?, Client::kopia()?);
        let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
        tree::make(&source, 30 << 20)?;
        let (first, second) = if ours_first {
            (&ours, &kopia)
        } else {
            (&kopia, &ours)
        };
        first.create(&repository, &[])?;
        first.snapshot(&source)?;
        let before = blobs::bytes(&repository, "p")?;
        second.connect(&repository)?;
        second.snapshot(&source)?;
        let after = blobs::bytes(&repository, "p")?;
        ensure!(before == after, "{before} bytes of data became {after}");
        kopia.verify()?;
        ours.verify()?;
    }
    Ok(())
}

#[test]
fn row_3_kopia_recovers_the_index_from_our_packs() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 30 << 20)?;
    ours.create(&repository, &[])?;
    let id = ours.snapshot(&source)?;
    for (_, file) in blobs::find(&repository, "x")? {
        fs::remove_file(file)?;
    }
    kopia.connect(&repository)?;
    kopia.ok(&["index", "recover", "--commit", "--dangerous-commands=enabled"])?;
    kopia.verify()?;
    ours.verify()?;
    let out = scratch.path().join("out");
    ours.restore(&id, &out)?;
    Tree::read(&source)?.must_equal(&Tree::read(&out)?)
}

#[test]
fn row_6_we_restore_what_kopia_compressed() -> Result<()> {
    // S2 comes with the engine's own reader; see the README for what is missing.
    let compressors = [
        "none",
        "gzip",
        "gzip-best-speed",
        "gzip-best-compression",
        "pgzip",
        "pgzip-best-speed",
        "pgzip-best-compression",
        "deflate-best-speed",
        "deflate-default",
        "deflate-best-compression",
        "zstd",
        "zstd-fastest",
        "zstd-better-compression",
    ];
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    kopia.create(&repository, &[])?;
    ours.connect(&repository)?;
    for compressor in compressors {
        let folder = source.join(compressor);
        fs::create_dir_all(&folder)?;
        let text = format!("text under {compressor} ").repeat(60_000);
        fs::write(folder.join("text"), &text)?;
        let path = folder.to_string_lossy();
        kopia.ok(&["policy", "set", &path, "--compression", compressor])?;
        let id = kopia.snapshot(&folder)?;
        let shown = ours.ok(&["show", &format!("{id}/text")])?;
        ensure!(shown == text, "{compressor}: {} bytes came back", shown.len());
    }
    let methods = ours.ok(&["content", "stats"])?;
    let named = |name: &str| methods.lines().any(|line| line.trim_start().starts_with(name));
    ensure!(
        named("pgzip ") && named("deflate-default ") && named("zstd "),
        "{methods}"
    );
    ours.verify()
}

#[test]
fn single_files_come_out_of_kopias_snapshots() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 12 << 20)?;
    kopia.create(&repository, &[])?;
    let id = kopia.snapshot(&source)?;
    ours.connect(&repository)?;
    let out = scratch.path().join("one");
    let name = "folder/<a> & ünï ☃/file 99";
    ours.ok(&[
        "snapshot",
        "restore",
        &format!("{id}/{name}"),
        out.to_str().context("a path")?,
    ])?;
    ensure!(
        fs::read(&out)? == fs::read(source.join(name))?,
        "another file came out"
    );
    Ok(())
}
