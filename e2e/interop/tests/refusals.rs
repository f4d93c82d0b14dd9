//! Row 15 of kopia-format.md section 15: what must be refused is refused in words of its own, and nothing is written.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use caravel_interop::{
    blobs,
    client::Client,
    tree::{self, noise},
};

/// A repository of Kopia's with one snapshot: client, id.
fn repository(folder: &Path, source: &Path) -> Result<(Client, String)> {
    let kopia = Client::kopia()?
        .with("KOPIA_TESTONLY_FLAGS", "1")
        .with("KOPIA_UPGRADE_LOCK_ENABLED", "1");
    tree::make(source, 1 << 20)?;
    kopia.create(folder, &[])?;
    let id = kopia.snapshot(source)?;
    Ok((kopia, id))
}

/// Our writer is refused with `expected` among its words, and the folder is as it was.
fn refuses_to_write(ours: &Client, folder: &Path, source: &Path, expected: &[&str]) -> Result<()> {
    let before = tempfile::tempdir()?;
    blobs::copy(folder, before.path())?;
    for args in [
        vec!["snapshot", "create", &source.to_string_lossy()],
        vec!["snapshot", "list"],
        vec![
            "snapshot",
            "delete",
            "--all-snapshots-for-source",
            "--delete",
            "/",
        ],
    ] {
        let said = ours.refused(&args)?;
        ensure!(
            expected.iter().all(|word| said.contains(word)) && said.contains("Next: "),
            "{args:?}: {said}"
        );
    }
    ensure!(
        blobs::same(folder, before.path())?,
        "a refused command wrote into the repository"
    );
    Ok(())
}

#[test]
fn row_15_a_wrong_password_is_called_one() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (folder, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    repository(&folder, &source)?;
    let ours = Client::ours()?;
    ours.connect(&folder)?;
    let wrong = ours.with("KOPIA_PASSWORD", "wrong");
    refuses_to_write(&wrong, &folder, &source, &["password does not open"])
}

#[test]
fn row_15_an_unknown_feature_is_named() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (folder, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    let (kopia, _) = repository(&folder, &source)?;
    let ours = Client::ours()?;
    ours.connect(&folder)?;
    kopia.ok(&[
        "repository",
        "set-parameters",
        "--add-required-feature=quantum-packs",
    ])?;
    refuses_to_write(&ours, &folder, &source, &["quantum-packs"])
}

#[test]
fn row_15_a_repository_under_upgrade_is_left_alone() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (folder, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    let kopia = Client::kopia()?
        .with("KOPIA_UPGRADE_LOCK_ENABLED", "1")
        .with("KOPIA_REPO_UPGRADE_OWNER_ID", "somebody");
    tree::make(&source, 1 << 20)?;
    kopia.create(&folder, &["--format-version=2"])?;
    let ours = Client::ours()?;
    ours.connect(&folder)?;
    kopia.ok(&[
        "repository",
        "upgrade",
        "begin",
        "--lock-only",
        "--io-drain-timeout=15m",
        "--max-permitted-clock-drift=1s",
    ])?;
    refuses_to_write(&ours, &folder, &source, &["upgrade"])
}

#[test]
fn row_15_damaged_packs_are_named_and_the_rest_comes_out() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (folder, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    let (_, id) = repository(&folder, &source)?;
    let ours = Client::ours()?;
    ours.connect(&folder)?;
    let (name, file) = blobs::find(&folder, "p")?
        .into_iter()
        .max_by_key(|(_, file)| fs::metadata(file).map_or(0, |meta| meta.len()))
        .ok_or_else(|| anyhow::anyhow!("no pack"))?;
    let whole = fs::read(&file)?;
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    fs::write(&file, flipped)?;
    let said = ours.refused(&["snapshot", "verify", "--verify-files-percent=100"])?;
    ensure!(said.contains(&name) && said.contains("content "), "{said}");
    fs::write(&file, &whole[..whole.len() / 3])?;
    let said = ours.refused(&["content", "verify"])?;
    ensure!(
        said.contains(&name) && said.contains("\"truncatedPacks\":1"),
        "{said}"
    );
    ensure!(
        ours.ok(&["ls", &id])?.contains("empty folder"),
        "the directories are in other packs"
    );
    fs::write(&file, whole)?;
    ours.verify()
}

#[test]
fn row_15_what_a_crash_leaves_in_the_index_is_passed_over() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (folder, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    let (kopia, id) = repository(&folder, &source)?;
    let ours = Client::ours()?;
    ours.connect(&folder)?;
    let before = ours.ok(&["content", "list"])?;
    // Half of a compacted set, names that are none, markers with words in them.
    let root = folder.join("x");
    for name in [
        "s0_/00112233445566778899aabbccddeeff-s0011223344556677-c2",
        "nzz/_00112233445566778899aabbccddeeff-s1-c1",
        "r5_/4_00112233445566778899aabbccddeeff-s0011223344556677-c1",
    ] {
        let file = root.join(format!("{name}.f"));
        fs::create_dir_all(file.parent().ok_or_else(|| anyhow::anyhow!("a folder"))?)?;
        fs::write(file, noise(100, 1))?;
    }
    fs::write(folder.join("xeight.f"), "epoch-marker")?;
    fs::write(folder.join("xw-1.f"), "deletion-watermark")?;
    ensure!(
        ours.ok(&["content", "list"])? == before,
        "a blob that is no index blob counts"
    );
    ensure!(
        kopia.ok(&["content", "list"])? == before,
        "Kopia sees it otherwise"
    );
    ours.ok(&["snapshot", "verify", &id])?;
    Ok(())
}
