//! Row 11 of kopia-format.md section 15, and what of row 12 needs no cluster: Velero's own code (v1.18.3, with its fork of
//! Kopia) writes a repository, a tree and a device, also incrementally; we read every byte. And back: it restores what we
//! took, and maintains.
//!
//! What a cluster adds is which folder and which repository; the bytes are made by the very functions that a data mover pod
//! calls (e2e/go/velero-repository). The whole chain in a cluster is a scenario of `e2e/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use caravel_interop::{
    blobs,
    client::{Client, PASSWORD},
    tree::{self, Tree, noise},
};

/// Velero's code, with a folder for its connections.
struct Velero {
    program: PathBuf,
    folder: tempfile::TempDir,
    repository: PathBuf,
}

impl Velero {
    fn of(repository: &Path) -> Result<Self> {
        let variable = "CARAVEL_VELERO_REPOSITORY";
        let program = std::env::var_os(variable)
            .with_context(|| format!("{variable} names no program; `cargo xtask interop` sets it"))?;
        Ok(Self {
            program: program.into(),
            folder: tempfile::tempdir()?,
            repository: repository.to_owned(),
        })
    }

    fn run(&self, verb: &str, more: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .arg(verb)
            .arg(&self.repository)
            .args(more)
            .env("HOME", self.folder.path())
            .env("VELERO_REPOSITORY_CONFIG", self.folder.path())
            .env("KOPIA_PASSWORD", PASSWORD)
            .output()?;
        ensure!(
            output.status.success(),
            "velero-repository {verb} {more:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn create(&self) -> Result<()> {
        self.run("create", &[]).map(drop)
    }

    fn backup(&self, volume: &Path, source: &str, mode: &str) -> Result<String> {
        self.run("backup", &[&volume.to_string_lossy(), source, mode])
    }

    fn restore(&self, snapshot: &str, volume: &Path, mode: &str) -> Result<()> {
        self.run("restore", &[snapshot, &volume.to_string_lossy(), mode])
            .map(drop)
    }
}

/// A loop device over a file, given back when dropped.
struct Device(PathBuf);

impl Device {
    /// Where this machine lends no loop device (no root), there is none to back up.
    fn over(file: &Path) -> Result<Option<Self>> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()?;
        if !output.status.success() {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(!ci, "no loop device in CI: {why}");
            eprintln!("skipped, no loop device: {why}");
            return Ok(None);
        }
        Ok(Some(Self(String::from_utf8(output.stdout)?.trim().into())))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Bytes of the largest file: above 2 GiB Velero uploads a file in parts, which come back as one concatenated object. It
/// is sparse, so that it costs time and no room.
const LARGE: u64 = (2 << 30) + (5 << 20) + 17;

#[test]
fn row_11_we_restore_trees_that_veleros_data_mover_took() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    let velero = Velero::of(&repository)?;
    velero.create()?;
    ensure!(
        blobs::find(&repository, "udmrepo.Repository")?.len() == 1,
        "this is not how Velero makes repositories"
    );
    tree::make(&source, 12 << 20)?;
    let large = fs::File::create(source.join("of more than 2 GiB"))?;
    large.set_len(LARGE)?;
    drop(large);
    let first = velero.backup(&source, "shop/data", "filesystem")?;
    fs::write(source.join("changed later"), noise(700_000, 12))?;
    let before = blobs::bytes(&repository, "p")?;
    let second = velero.backup(&source, "shop/data", "filesystem")?;
    let added = blobs::bytes(&repository, "p")? - before;
    ensure!(
        added < 2 << 20,
        "the second backup is not incremental: {added} bytes"
    );

    let ours = Client::ours()?;
    ours.connect(&repository)?;
    let listed = ours.json(&["snapshot", "list", "--json", "--all"])?;
    let listed = listed.as_array().context("a list")?;
    let ids: Vec<&str> = listed.iter().filter_map(|one| one["id"].as_str()).collect();
    ensure!(ids == [&first, &second], "{ids:?}");
    ensure!(
        listed[0]["tags"]["snapshot-uploader"] == "kopia" && listed[0]["pins"][0] == "velero-pin",
        "{}",
        listed[0]
    );
    ours.verify()?;
    let out = scratch.path().join("out");
    ours.restore(&second, &out)?;
    Tree::read(&source)?.must_equal(&Tree::read(&out)?)?;
    // Only the file in parts needs an object that is concatenated.
    let long = ours.ok(&["ls", "-o", &second])?;
    ensure!(
        long.lines()
            .any(|line| line.starts_with('I') && line.contains("of more than")),
        "{long}"
    );
    Ok(())
}

#[test]
fn row_11_we_restore_the_device_that_veleros_data_mover_took() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let repository = scratch.path().join("repository");
    let image = scratch.path().join("image");
    let mut bytes = noise(9 << 20, 3);
    bytes[1 << 20..5 << 20].fill(0);
    fs::write(&image, &bytes)?;
    let Some(device) = Device::over(&image)? else {
        return Ok(());
    };
    let velero = Velero::of(&repository)?;
    velero.create()?;
    let id = velero.backup(&device.0, "shop/raw", "block")?;
    let ours = Client::ours()?;
    ours.connect(&repository)?;
    ours.verify()?;
    // The snapshot's root holds one file, named as the device.
    let listed = ours.ok(&["ls", &id])?;
    let name = listed.trim().to_owned();
    ensure!(!name.is_empty() && listed.lines().count() == 1, "{listed}");
    let directory = ours.json(&["show", &id])?;
    let object = directory["entries"][0]["obj"].as_str().context("an object")?;
    let shown = ours.run(&["show", object])?;
    ensure!(
        shown.stdout == bytes,
        "{} bytes came back, or others",
        shown.stdout.len()
    );
    Ok(())
}

#[test]
fn row_12_velero_restores_and_maintains_what_we_wrote() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    let ours = Client::ours()?;
    tree::make(&source, 12 << 20)?;
    ours.create(&repository, &[])?;
    let id = ours.snapshot(&source)?;
    let velero = Velero::of(&repository)?;
    let out = scratch.path().join("out");
    fs::create_dir(&out)?;
    velero.restore(&id, &out, "filesystem")?;
    Tree::read(&source)?.must_equal(&Tree::read(&out)?)?;
    // Its backup adds nothing to what we have stored already.
    let before = blobs::bytes(&repository, "p")?;
    velero.backup(&source, "shop/data", "filesystem")?;
    ensure!(
        blobs::bytes(&repository, "p")? == before,
        "Velero cuts or names contents otherwise"
    );
    velero.run("maintain", &[])?;
    ours.verify()
}
