//! What `--json` prints, member by member, of both programs on one repository; what lists print is in `lists.rs`. Members
//! that cannot be equal are named, each with its reason; every other one must be.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use caravel_interop::{
    client::Client,
    tree::{self, noise},
};
use serde_json::Value;

/// Takes the members at these paths (`a/b`) out of both, after checking that both have them.
fn without(value: &mut Value, paths: &[&str]) -> Result<()> {
    for path in paths {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = match parent {
            "" => Some(&mut *value),
            parent => value.pointer_mut(&format!("/{parent}")),
        };
        let members = parent.and_then(Value::as_object_mut);
        let removed = members.and_then(|members| members.remove(name));
        ensure!(removed.is_some(), "there is no {path}");
    }
    Ok(())
}

/// Runs one command with both and compares what they print.
fn alike(kopia: &Client, ours: &Client, args: &[&str], not_compared: &[&str]) -> Result<()> {
    let (mut theirs, mut own) = (kopia.json(args)?, ours.json(args)?);
    without(&mut theirs, not_compared).with_context(|| format!("Kopia's {args:?}: {theirs}"))?;
    without(&mut own, not_compared).with_context(|| format!("our {args:?}: {own}"))?;
    ensure!(theirs == own, "{args:?}:\nKopia says {theirs}\nwe say     {own}");
    Ok(())
}

/// One repository, both connected to it; a tree with a snapshot of each.
fn both(scratch: &Path) -> Result<(Client, Client, String)> {
    let (kopia, ours) = (Client::kopia()?, Client::ours()?);
    let (repository, source) = (scratch.join("repository"), scratch.join("source"));
    tree::make(&source, 1 << 20)?;
    kopia.create(&repository, &[])?;
    ours.connect(&repository)?;
    kopia.snapshot(&source)?;
    fs::write(source.join("1"), noise(5000, 9))?;
    ours.snapshot(&source)?;
    Ok((kopia, ours, source.to_string_lossy().into_owned()))
}

#[test]
fn repository_status_has_kopias_members() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (kopia, ours, _) = both(scratch.path())?;
    // Each program has a file of its own; the disk fills meanwhile.
    let own = ["configFile", "volume/available"];
    alike(&kopia, &ours, &["repository", "status", "--json"], &own)?;
    let scratch = tempfile::tempdir()?;
    let repository = scratch.path().join("repository");
    kopia.create(&repository, &["--format-version=1"])?;
    ours.connect(&repository)?;
    alike(&kopia, &ours, &["repository", "status", "--json"], &own)
}

#[test]
fn maintenance_info_has_kopias_members() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (kopia, ours, _) = both(scratch.path())?;
    let info = ["maintenance", "info", "--json"];
    alike(&kopia, &ours, &info, &[])?;
    kopia.ok(&["maintenance", "run", "--full"])?;
    alike(&kopia, &ours, &info, &[])?;
    // And what ours notes in the schedule, Kopia reads.
    ours.ok(&["maintenance", "run", "--full"])?;
    ours.ok(&["maintenance", "set", "--quick-interval=2h", "--enable-full=false"])?;
    alike(&kopia, &ours, &info, &[])?;
    let said = kopia.ok(&["maintenance", "info"])?;
    ensure!(
        said.contains("snapshot-gc:") && said.contains("interval: 2h0m0s"),
        "{said}"
    );
    Ok(())
}

#[test]
fn policies_have_kopias_members_whoever_set_them() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (kopia, ours, source) = both(scratch.path())?;
    let flags = [
        "--keep-latest=3",
        "--keep-annual=inherit",
        "--ignore-identical-snapshots=true",
        "--add-ignore=*.tmp",
        "--add-ignore=/cache",
        "--add-dot-ignore=.nobackup",
        "--max-file-size=1000000",
        "--one-file-system=true",
        "--ignore-cache-dirs=false",
        "--ignore-file-errors=true",
        "--ignore-dir-errors=false",
        "--ignore-unknown-types=inherit",
        "--compression=zstd-fastest",
        "--compression-min-size=100",
        "--compression-max-size=1000000000",
        "--add-only-compress=.log",
        "--add-never-compress=.zip",
        "--metadata-compression=zstd",
        "--splitter=DYNAMIC-1M-BUZHASH",
        "--max-parallel-file-reads=3",
        "--max-parallel-snapshots=2",
        "--parallel-upload-above-size-mib=512",
    ];
    for (setter, targets) in [
        (&kopia, ["--global", "@elsewhere", "a@elsewhere", &source]),
        (&ours, ["--global", "@nowhere", "b@nowhere", &source]),
    ] {
        for target in targets {
            let mut args = vec!["policy", "set", target];
            args.extend(flags);
            setter.ok(&args)?;
        }
        let listed = [
            kopia.json(&["policy", "list", "--json"])?,
            ours.json(&["policy", "list", "--json"])?,
        ];
        let [theirs, own] = listed.map(|list| {
            let mut all = list.as_array().cloned().unwrap_or_default();
            all.sort_by_key(|one| one["id"].as_str().unwrap_or_default().to_owned());
            all
        });
        ensure!(
            theirs.len() >= 4 && theirs == own,
            "Kopia lists {theirs:?}\nwe list {own:?}"
        );
        let below = format!("{source}/folder");
        for target in ["--global", "@elsewhere", "b@nowhere", &source, &below] {
            alike(&kopia, &ours, &["policy", "show", target, "--json"], &[])?;
        }
    }
    // The same flags make the same policy, whoever sets them.
    ours.ok(&["policy", "delete", &source])?;
    let mut args = vec!["policy", "set", &source];
    args.extend(flags);
    let mut made = Vec::new();
    for setter in [&ours, &kopia] {
        setter.ok(&args)?;
        let list = kopia.json(&["policy", "list", "--json"])?;
        let list = list.as_array().context("a list")?;
        let mut one = list
            .iter()
            .find(|one| one["target"]["path"] == source.as_str())
            .context("the source's policy")?
            .clone();
        without(&mut one, &["id"])?;
        made.push(one);
        kopia.ok(&["policy", "delete", &source])?;
    }
    ensure!(made[0] == made[1], "we set {}\nKopia sets {}", made[0], made[1]);
    Ok(())
}

#[test]
fn a_new_snapshot_and_a_verification_have_kopias_members() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (kopia, ours, source) = both(scratch.path())?;
    // Each takes one; its name and times are its own.
    let create = [
        "snapshot",
        "create",
        &source,
        "--json",
        "--description=d",
        "--tags=a:b",
        "--pin=p",
    ];
    alike(&kopia, &ours, &create, &["id", "startTime", "endTime"])?;
    let snapshots = kopia.json(&["snapshot", "list", "--json", "--all"])?;
    let id = snapshots[0]["id"].as_str().context("an id")?;
    for args in [
        vec!["snapshot", "verify", id, "--json", "--verify-files-percent=100"],
        vec!["snapshot", "verify", id, "--json"],
    ] {
        alike(&kopia, &ours, &args, &[])?;
    }
    Ok(())
}
