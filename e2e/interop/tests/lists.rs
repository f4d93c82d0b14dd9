//! Rows 2 (what ordinary use makes of it), 4, 7 and 13 of kopia-format.md section 15: both programs list the same.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use caravel_interop::{
    blobs,
    client::Client,
    tree::{self, noise},
};
use serde_json::Value;

fn array(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("not a list")
}

/// The elements of two lists in one order, by their `id` or `contentID`.
fn sorted(list: &Value, key: &str) -> Result<Vec<Value>> {
    let mut elements = array(list)?.clone();
    elements.sort_by_key(|element| element[key].as_str().unwrap_or_default().to_owned());
    Ok(elements)
}

fn must_be_alike(kopias: &Value, ours: &Value, key: &str, what: &str) -> Result<()> {
    let (kopias, ours) = (sorted(kopias, key)?, sorted(ours, key)?);
    ensure!(!kopias.is_empty(), "{what}: Kopia lists nothing");
    for (kopia, own) in kopias.iter().zip(&ours) {
        ensure!(kopia == own, "{what}: Kopia says {kopia}\nwe say {own}");
    }
    ensure!(
        kopias.len() == ours.len(),
        "{what}: {} and {} of them",
        kopias.len(),
        ours.len()
    );
    Ok(())
}

/// Everything that both can list as JSON.
fn same_lists(kopia: &Client, ours: &Client) -> Result<()> {
    for (args, key) in [
        (vec!["content", "list", "--json", "--deleted"], "contentID"),
        (vec!["index", "list", "--json"], "id"),
        (vec!["manifest", "list", "--json"], "id"),
    ] {
        must_be_alike(&kopia.json(&args)?, &ours.json(&args)?, key, &args.join(" "))?;
    }
    let list = ["blob", "list", "--json", "--exclude-prefix=_log"];
    must_be_alike(&kopia.json(&list)?, &ours.json(&list)?, "id", "blob list")?;
    let list = ["snapshot", "list", "--json", "--all"];
    let mut kopias = kopia.json(&list)?;
    for snapshot in kopias.as_array_mut().context("a list")? {
        // Kopia computes it from policies while it lists; it is not stored.
        snapshot
            .as_object_mut()
            .context("an object")?
            .remove("retentionReason");
    }
    must_be_alike(&kopias, &ours.json(&list)?, "id", "snapshot list")
}

#[test]
fn rows_2_and_13_both_programs_list_the_same_whoever_wrote() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 24 << 20)?;
    ours.create(&repository, &[])?;
    ours.snapshot(&source)?;
    kopia.connect(&repository)?;
    kopia.ok(&["policy", "set", "--global", "--compression=zstd"])?;
    kopia.snapshot(&source)?;
    ours.ok(&[
        "snapshot",
        "create",
        source.to_str().context("a path")?,
        "--tags=a:b",
        "--pin=keep",
    ])?;
    same_lists(&kopia, &ours)?;
    for flags in [vec![], vec!["--raw"]] {
        for noun in ["content", "blob"] {
            let mut args = vec![noun, "stats"];
            args.extend(&flags);
            let strip = |text: String| {
                text.lines()
                    .filter(|line| !line.contains("zstd"))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            // A log blob appears with each run of Kopia's.
            if noun == "content" {
                let (theirs, own) = (strip(kopia.ok(&args)?), strip(ours.ok(&args)?));
                ensure!(theirs == own, "{args:?}: Kopia says\n{theirs}\nwe say\n{own}");
            }
        }
    }
    for args in [
        vec!["content", "list", "-l"],
        vec!["index", "inspect", "--all"],
        vec!["index", "epoch", "list"],
    ] {
        let lines = |text: String| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (theirs, own) = (lines(kopia.ok(&args)?), lines(ours.ok(&args)?));
        ensure!(
            theirs == own,
            "{args:?}: {:?}",
            theirs.symmetric_difference(&own).take(4).collect::<Vec<_>>()
        );
    }
    Ok(())
}

#[test]
fn listings_and_differences_of_snapshots_read_alike() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 10 << 20)?;
    kopia.create(&repository, &[])?;
    ours.connect(&repository)?;
    let first = kopia.snapshot(&source)?;
    fs::write(source.join("1"), "changed")?;
    fs::remove_file(source.join("text"))?;
    fs::create_dir(source.join("new folder"))?;
    fs::write(source.join("new folder/new file"), "new")?;
    let second = ours.snapshot(&source)?;
    for args in [
        vec!["ls", &first],
        vec!["ls", "-l", "-r", &first],
        vec!["ls", "-o", "-r", &second],
        vec!["ls", "-r", &second],
        vec!["diff", &first, &second],
        vec!["diff", "--stats-only", &first, &second],
        vec!["manifest", "show", &first, &second],
    ] {
        // Kopia lists a directory in no particular order, and ends no manifest's line before the next one's id.
        let lines = |text: String| {
            let text = text.replace("}// id", "}\n// id");
            text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let (theirs, own) = (lines(kopia.ok(&args)?), lines(ours.ok(&args)?));
        let different: Vec<_> = theirs.symmetric_difference(&own).take(6).collect();
        ensure!(
            !theirs.is_empty() && different.is_empty(),
            "{args:?}: {different:?}"
        );
    }
    Ok(())
}

#[test]
fn row_13_manifests_survive_deletion_and_kopias_compaction() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    fs::create_dir_all(&source)?;
    ours.create(&repository, &[])?;
    let mut ids = Vec::new();
    for round in 0..9 {
        fs::write(source.join("changing"), noise(1000, round))?;
        ids.push(ours.snapshot(&source)?);
    }
    ours.ok(&["snapshot", "delete", &ids[0], &ids[1], "--delete"])?;
    // Every manifest content of ours has the one member that Kopia can read past.
    for id in ours.ok(&["content", "list", "--prefix=m"])?.lines() {
        let document: Value = serde_json::from_str(&ours.ok(&["content", "show", "-z", id])?)?;
        let members: Vec<&String> = document.as_object().context("an object")?.keys().collect();
        ensure!(members == ["entries"], "content {id} has {members:?}");
    }
    kopia.connect(&repository)?;
    let path = source.to_string_lossy();
    for round in 0..9 {
        kopia.ok(&["policy", "set", &path, &format!("--keep-latest={}", round + 20)])?;
    }
    ours.ok(&["snapshot", "delete", &ids[2], "--delete"])?;
    kopia.ok(&["snapshot", "delete", &ids[3], "--delete"])?;
    same_lists(&kopia, &ours)?;
    ensure!(
        kopia.ok(&["policy", "list"])?.contains("changing")
            || kopia.ok(&["policy", "list"])?.contains(&*path)
    );
    let left = ours.json(&["snapshot", "list", "--json", "--all"])?;
    ensure!(array(&left)?.len() == 5, "{left}");
    kopia.verify()
}

#[test]
fn row_4_every_kind_of_blob_opens_and_no_session_is_left() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 1 << 20)?;
    ours.create(&repository, &[])?;
    ours.snapshot(&source)?;
    kopia.connect(&repository)?;
    kopia.snapshot(&source)?;
    ensure!(
        kopia.ok(&["session", "list"])?.is_empty(),
        "a session is left behind"
    );
    let kinds = ["kopia.", "p", "q", "xn", "_log"];
    for (name, _) in blobs::find(&repository, "")? {
        ensure!(kinds.iter().any(|kind| name.starts_with(kind)), "what is {name}?");
    }
    for (name, _) in blobs::find(&repository, "xn")? {
        let plain = ours.run(&["blob", "show", "--decrypt", &name])?;
        ensure!(
            plain.status.success() && plain.stdout.first() == Some(&2),
            "{name}"
        );
    }
    for (name, _) in blobs::find(&repository, "_log")? {
        let plain = ours.run(&["blob", "show", "--decrypt", &name])?;
        ensure!(
            plain.status.success() && plain.stdout.starts_with(&[0x1f, 0x8b]),
            "{name} is no gzip"
        );
        let theirs = kopia.run(&["blob", "show", "--decrypt", &name])?;
        ensure!(theirs.stdout == plain.stdout, "{name} opens otherwise with Kopia");
    }
    Ok(())
}

#[test]
fn row_7_we_see_what_kopias_maintenance_left() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    fs::create_dir_all(&source)?;
    kopia.create(&repository, &[])?;
    kopia.ok(&[
        "repository",
        "set-parameters",
        "--epoch-min-duration=10m",
        "--epoch-refresh-frequency=1m",
        "--epoch-cleanup-safety-margin=3m",
        "--epoch-advance-on-count=10",
        "--epoch-checkpoint-frequency=2",
    ])?;
    let path = source.to_string_lossy();
    for round in 0..4 {
        for number in 0..11 {
            fs::write(source.join("changing"), noise(10_000, round * 100 + number))?;
            kopia.snapshot(&source)?;
        }
        blobs::spread_index(&repository)?;
        kopia.ok(&[
            "snapshot",
            "delete",
            "--all-snapshots-for-source",
            &path,
            "--delete",
        ])?;
        kopia.snapshot(&source)?;
        kopia.ok(&["maintenance", "run", "--full", "--safety=none"])?;
        kopia.ok(&["maintenance", "run", "--full", "--safety=none"])?;
    }
    for kind in ["xs", "xr", "xw", "xe"] {
        ensure!(
            !blobs::find(&repository, kind)?.is_empty(),
            "maintenance made no {kind} blob"
        );
    }
    ours.connect(&repository)?;
    same_lists(&kopia, &ours)?;
    ours.verify()?;
    // And our next snapshot stands on what is left.
    fs::write(source.join("changing"), noise(10_000, 999))?;
    ours.snapshot(&source)?;
    kopia.verify()
}
