//! Rows 8, 9 and 10 of kopia-format.md section 15: both write into one repository, and writers are killed.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use caravel_interop::{
    blobs,
    client::Client,
    tree::{self, Tree, noise},
};

/// How long both write at the same time; an hour with `--full`.
fn long() -> Duration {
    if std::env::var_os("CARAVEL_INTEROP_FULL").is_some() {
        Duration::from_secs(3600)
    } else {
        Duration::from_secs(15)
    }
}

/// The snapshots that one writer took: ids, and what was in the file that changes.
type Taken = Vec<(String, Vec<u8>)>;

/// How many writers are killed.
fn kills() -> u32 {
    if std::env::var_os("CARAVEL_INTEROP_FULL").is_some() {
        200
    } else {
        8
    }
}

#[test]
fn row_8_our_incremental_snapshot_stands_on_what_kopias_maintenance_rewrote() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 30 << 20)?;
    ours.create(&repository, &[])?;
    // Short packs, so that there is something to rewrite.
    let mut ids = Vec::new();
    for round in 0..4 {
        fs::write(source.join(format!("round {round}")), noise(300_000, round))?;
        ids.push(ours.snapshot(&source)?);
    }
    ours.ok(&["snapshot", "delete", &ids[1], &ids[2], "--delete"])?;
    let before = blobs::find(&repository, "p")?;
    kopia.connect(&repository)?;
    blobs::age(&repository, Duration::from_secs(3 * 86_400))?;
    kopia.ok(&["maintenance", "run", "--full", "--safety=none"])?;
    kopia.ok(&["maintenance", "run", "--full", "--safety=none"])?;
    let after = blobs::find(&repository, "p")?;
    ensure!(
        before != after,
        "maintenance has rewritten nothing, so this test shows nothing"
    );
    fs::write(source.join("after"), noise(1 << 20, 77))?;
    let last = ours.snapshot(&source)?;
    kopia.verify()?;
    ours.verify()?;
    let out = scratch.path().join("out");
    kopia.restore(&last, &out)?;
    Tree::read(&source)?.must_equal(&Tree::read(&out)?)
}

#[test]
fn row_9_both_write_at_the_same_time_and_nothing_is_lost() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let repository = scratch.path().join("repository");
    let kopia = logging(Client::kopia()?, &scratch.path().join("logs of maintenance"));
    kopia.create(&repository, &[])?;
    // More index blobs an epoch than a minute makes would otherwise never advance one.
    kopia.ok(&[
        "repository",
        "set-parameters",
        "--epoch-advance-on-count=10",
        "--epoch-min-duration=10m",
        "--epoch-refresh-frequency=3m",
    ])?;
    // Kopia deletes what its policy keeps no longer after each of its snapshots; here all are counted.
    kopia.ok(&["policy", "set", "--global", "--keep-latest=1000000"])?;
    let end = Instant::now() + long();
    let theirs = logging(Client::kopia()?, &scratch.path().join("logs of their writer"));
    let writers = [("ours", Client::ours()?), ("theirs", theirs)];
    let taken: Result<Vec<Taken>> = thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter()
            .map(|(name, client)| {
                let (repository, source) = (&repository, scratch.path().join(name));
                scope.spawn(move || write_until(client, repository, &source, end))
            })
            .collect();
        let maintenance = scope.spawn(|| -> Result<()> {
            while Instant::now() < end {
                kopia.ok(&["maintenance", "run", "--full"])?;
                thread::sleep(Duration::from_secs(1));
            }
            Ok(())
        });
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(taken) => taken,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let taken = joined.collect();
        match maintenance.join() {
            Ok(done) => done?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        taken
    });
    let (ours, taken) = (Client::ours()?, taken?);
    ours.connect(&repository)?;
    let count: usize = taken.iter().map(Vec::len).sum();
    ensure!(
        taken.iter().all(|of_one| of_one.len() >= 2),
        "too few snapshots to show anything"
    );
    let listed = ours.json(&["snapshot", "list", "--json", "--all"])?;
    let listed = listed.as_array().context("a list")?;
    let is_listed = |id: &str| listed.iter().any(|snapshot| snapshot["id"] == id);
    let lost: Vec<_> = taken.iter().flatten().filter(|(id, _)| !is_listed(id)).collect();
    if !lost.is_empty() || listed.len() != count {
        let kept = scratch.keep();
        let ids: Vec<_> = lost.iter().take(20).map(|(id, _)| id).collect();
        bail!(
            "{count} snapshots were taken, {} are listed, {} are lost: {ids:?} …; the repository and kopia's logs are \
             kept in {}",
            listed.len(),
            lost.len(),
            kept.display()
        );
    }
    for (id, bytes) in taken.iter().flatten() {
        let shown = ours.run(&["show", &format!("{id}/changing")])?;
        ensure!(shown.stdout == *bytes, "snapshot {id} holds something else");
    }
    kopia.verify()?;
    kopia.ok(&["content", "verify", "--full", "--include-deleted"])?;
    ours.verify()
}

/// Keeps all of kopia's logs, which say which snapshots it deleted and what it saw.
fn logging(kopia: Client, folder: &Path) -> Client {
    kopia
        .with("KOPIA_LOG_DIR", &folder.to_string_lossy())
        .with("KOPIA_LOG_DIR_MAX_FILES", "1000000")
}

/// A source never has so many snapshots: of 2,027 of one source, kopia's retention deletes the oldest in the year 2026, whatever
/// its policy says (docs/differences.md).
const OF_ONE_SOURCE: usize = 1000;

fn write_until(client: &Client, repository: &Path, source: &Path, end: Instant) -> Result<Taken> {
    client.connect(repository)?;
    let mut taken = Vec::new();
    while Instant::now() < end {
        let source = source.join((taken.len() / OF_ONE_SOURCE).to_string());
        if taken.len() % OF_ONE_SOURCE == 0 {
            fs::create_dir_all(&source)?;
            fs::write(source.join("the same"), noise(3 << 20, 5))?;
        }
        let bytes = noise(
            50_000,
            taken.len() as u64 + source.as_os_str().len() as u64 * 1000,
        );
        fs::write(source.join("changing"), &bytes)?;
        taken.push((client.snapshot(&source)?, bytes));
    }
    Ok(taken)
}

#[test]
fn row_10_a_killed_writer_leaves_a_repository_that_is_whole() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (ours, kopia) = (Client::ours()?, Client::kopia()?);
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    tree::make(&source, 40 << 20)?;
    ours.create(&repository, &[])?;
    let kept = ours.snapshot(&source)?;
    let expected = Tree::read(&source)?;
    // As long as a snapshot takes from a start.
    let begun = Instant::now();
    fs::write(source.join("large"), noise(60 << 20, 4242))?;
    let mut finished = vec![ours.snapshot(&source)?];
    let whole = begun.elapsed();
    // Nothing is written before the password has become a key.
    let begun = Instant::now();
    ours.ok(&["snapshot", "list"])?;
    let opening = begun.elapsed();
    let writing = whole.saturating_sub(opening);
    let source_text = source.to_string_lossy();
    let mut killed = 0;
    for round in 0..kills() {
        fs::write(source.join("large"), noise(60 << 20, u64::from(round) + 5000))?;
        let mut command = ours.command(&["snapshot", "create", &source_text, "--json"]);
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        thread::sleep(opening + writing * (round + 1) / (kills() + 1));
        child.kill()?;
        let output = child.wait_with_output()?;
        if output.status.success() {
            let text: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            finished.push(text["id"].as_str().context("an id")?.to_owned());
        } else {
            killed += 1;
        }
        // Opens, and every snapshot that was finished is whole.
        ours.ok(&["snapshot", "verify"])?;
    }
    ensure!(
        killed > 0,
        "no writer was killed in time, so this test shows nothing"
    );
    ours.verify()?;
    kopia.connect(&repository)?;
    kopia.verify()?;
    let listed = ours.json(&["snapshot", "list", "--json", "--all"])?;
    let ids: Vec<&str> = listed
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|s| s["id"].as_str())
        .collect();
    ensure!(
        finished.iter().all(|id| ids.contains(&id.as_str())),
        "a finished snapshot is gone"
    );
    // The garbage goes with maintenance, and nothing else does.
    let garbage = blobs::bytes(&repository, "")?;
    blobs::age(&repository, Duration::from_secs(3 * 86_400))?;
    for _ in 0..2 {
        kopia.ok(&["maintenance", "run", "--full", "--safety=none"])?;
    }
    let left = blobs::bytes(&repository, "")?;
    ensure!(left < garbage, "nothing of {garbage} bytes went");
    ensure!(
        blobs::find(&repository, "s")?.is_empty(),
        "a session marker is left"
    );
    let out = scratch.path().join("out");
    ours.restore(&kept, &out)?;
    expected.must_equal(&Tree::read(&out)?)?;
    kopia.verify()
}
