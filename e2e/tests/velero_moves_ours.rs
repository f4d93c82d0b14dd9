//! Data moved by the real Velero and by ours into one bucket, by turns: each restores what the other moved, byte for byte, and
//! each moves on where the other has stopped.
//!
//! Only one of the two is installed at a time, both in the namespace `velero`, as a user would change from one to the other
//! and back. One volume holds files, one is a device. Backup b1 is Velero's, b2 ours on b1, b3 Velero's on b2.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use caravel_e2e::scenario::side::{Side, line_differences};
use caravel_e2e::scenario::{
    Bucket, Cluster, Contents, Installation, Kind, Kopia, NAMESPACE, Unlike, Volumes, step,
};
use flate2::read::MultiGzDecoder;
use serde_json::Value;

const FILES: &str = Volumes::FILES;
const DEVICE: &str = Volumes::DEVICE;
/// What the namespaces end with when they are restored.
const COPY: &str = "-copy";

/// Beside what changed of the files: directories are in other packs, so that it is only what surrounds contents.
const ALLOWANCE: u64 = 1 << 20;
/// Of the 40 MiB that are written to the device, two chunks at most change (of 8 MiB at most: DYNAMIC-4M-BUZHASH).
const DEVICE_GROWTH: u64 = (16 << 20) + ALLOWANCE;

/// Both look into the bucket when they start, and then once a minute.
const SYNCED: Duration = Duration::from_secs(150);

#[test]
fn each_restores_what_the_other_moved_and_moves_on_from_there() -> Result<()> {
    let cluster = Cluster::connect()?;
    // Without it this scenario shows nothing: said before anything is made.
    let theirs = Side::theirs(&cluster)?;
    step("remove earlier installations", || {
        Installation::remove_from(&cluster, theirs.namespace)?;
        Installation::remove(&cluster)
    })?;
    let bucket = Bucket::fresh(&cluster, "velero-moves-ours")?;
    let volumes = step("create the two volumes and fill them", || {
        Volumes::remove(&cluster, COPY)?;
        Volumes::create(&cluster)
    })?;

    let first = Contents::read(&cluster, "")?;
    let turn = Turn::theirs(&cluster, &bucket)?;
    turn.backs_up("b1")?;
    let b1_described = turn.side.describes(&cluster, "b1")?;
    turn.ends()?;

    let turn = Turn::ours(&cluster, &bucket)?;
    turn.finds("b1")?;
    turn.describes_as("b1", &b1_described)?;
    turn.restores("b1", &first, Unlike::Nothing)?;
    let second = step("change a little", || volumes.change(&cluster, 0))?;
    let b2 = turn.backs_up_a_little("b2")?;
    let b2_described = turn.side.describes(&cluster, "b2")?;
    turn.ends()?;

    let turn = Turn::theirs(&cluster, &bucket)?;
    turn.finds("b2")?;
    turn.describes_as("b2", &b2_described)?;
    turn.reads_logs_and_tarball("b2")?;
    turn.restores("b2", &second, Unlike::AsKopiaRestores)?;
    let third = step("change a little more", || {
        volumes.change(&cluster, Volumes::CHANGED)
    })?;
    let b3 = turn.backs_up_a_little("b3")?;
    let b3_described = turn.side.describes(&cluster, "b3")?;
    turn.ends()?;

    let turn = Turn::ours(&cluster, &bucket)?;
    turn.finds("b3")?;
    turn.describes_as("b3", &b3_described)?;
    turn.restores("b3", &third, Unlike::Nothing)?;
    step("kopia verifies what both wrote", || {
        let kopia = Kopia::connect(&cluster, &turn.installation, FILES)?;
        stands_on_its_parent(&kopia, "b2, ours on Velero's", &b2)?;
        stands_on_its_parent(&kopia, "b3, Velero's on ours", &b3)?;
        kopia
            .run(&["snapshot", "verify", "--verify-files-percent=100"])
            .map(drop)
    })?;
    turn.ends()?;
    Volumes::remove(&cluster, "")
}

/// The DataUploads of a backup, by the namespace of the volume.
type Uploads = BTreeMap<String, Value>;

/// The counters in the snapshot's manifest say how many files were not read, because the parent has them: without a parent,
/// it is none, however little was new to the repository.
fn stands_on_its_parent(kopia: &Kopia, what: &str, uploads: &Uploads) -> Result<()> {
    let snapshot = &uploads[FILES]["status"]["snapshotID"];
    let manifests = kopia.manifests()?;
    let manifest = manifests
        .iter()
        .find(|manifest| manifest["id"] == *snapshot)
        .with_context(|| format!("kopia finds no snapshot {snapshot} of {what}"))?;
    let stats = &manifest["stats"];
    println!("   {what}: {stats}");
    ensure!(
        stats["cachedFiles"].as_u64() >= Some(Volumes::FILE_COUNT - Volumes::CHANGED),
        "{what} does not stand on its parent: {stats}"
    );
    Ok(())
}

/// One of the two, while it is installed.
struct Turn<'a> {
    cluster: &'a Cluster,
    side: Side,
    installation: Installation,
}

impl<'a> Turn<'a> {
    /// Removes what is installed, and installs ours on the bucket.
    fn ours(cluster: &'a Cluster, bucket: &Bucket) -> Result<Self> {
        Ok(Self {
            cluster,
            side: Side::ours(),
            installation: Installation::again(cluster, bucket.clone())?,
        })
    }

    /// Removes what is installed, and installs the real Velero in its place.
    fn theirs(cluster: &'a Cluster, bucket: &Bucket) -> Result<Self> {
        let side = Side::theirs(cluster)?.in_namespace(NAMESPACE);
        side.install_with(cluster, bucket, &["--use-node-agent", "--features=EnableCSI"])?;
        Ok(Self {
            cluster,
            side,
            installation: Installation::of_another(bucket.clone()),
        })
    }

    /// Waits for its temporary objects to go: what the next one found of them, nobody would remove.
    fn ends(&self) -> Result<()> {
        step(&format!("{} leave nothing temporary", self.side.name), || {
            self.installation.nothing_temporary_is_left(self.cluster)
        })
    }

    /// Backs both namespaces up, moving data. Not by `--wait`, which has no deadline.
    fn backs_up(&self, name: &str) -> Result<Uploads> {
        step(&format!("{} back up as {name}", self.side.name), || {
            let namespaces = format!("{FILES},{DEVICE}");
            self.side.velero_ok(
                self.cluster,
                &[
                    "backup",
                    "create",
                    name,
                    "--include-namespaces",
                    &namespaces,
                    "--snapshot-move-data",
                ],
            )?;
            self.side
                .completed_backup(self.cluster, name)
                .with_context(|| self.movements(Kind::DATA_UPLOAD))?;
            self.uploads(name)
        })
    }

    /// The same after a small change: little is new in the bucket, and the DataUpload says so.
    fn backs_up_a_little(&self, name: &str) -> Result<Uploads> {
        let (files, device) = (self.data_bytes(FILES)?, self.data_bytes(DEVICE)?);
        let uploads = self.backs_up(name)?;
        let new_files = self.data_bytes(FILES)?.saturating_sub(files);
        let new_device = self.data_bytes(DEVICE)?.saturating_sub(device);
        let incremental = uploads[FILES]["status"]["incrementalBytes"].as_i64();
        let changed = Volumes::CHANGED * Volumes::FILE_BYTES;
        println!(
            "   {name}: changed {changed} bytes of files, {new_files} are new in the bucket, \
             status.incrementalBytes {incremental:?}; {new_device} are new of the device"
        );
        ensure!(
            (1..=changed + ALLOWANCE).contains(&new_files),
            "{name}: {new_files} bytes of files are new in the bucket, {changed} have changed"
        );
        ensure!(
            (1..=DEVICE_GROWTH).contains(&new_device),
            "{name}: {new_device} bytes of the device are new in the bucket; at most {DEVICE_GROWTH} can be"
        );
        ensure!(
            incremental.is_none_or(|bytes| bytes <= (changed + ALLOWANCE) as i64),
            "{name}: status.incrementalBytes is {incremental:?}, {changed} have changed"
        );
        Ok(uploads)
    }

    /// Waits until a backup of the other one is synced.
    fn finds(&self, backup: &str) -> Result<()> {
        step(&format!("{} find {backup} in the bucket", self.side.name), || {
            self.cluster
                .wait_for_phase(Kind::BACKUP, NAMESPACE, backup, &["Completed"], SYNCED)
                .map(drop)
        })
    }

    /// Its command describes the other one's backup as the other one's command did, with the data movements.
    fn describes_as(&self, backup: &str, by_the_other: &[String]) -> Result<()> {
        step(&format!("{} describe {backup}", self.side.name), || {
            let lines = self.side.describes(self.cluster, backup)?;
            let has = |wanted: &str| lines.iter().filter(|line| line.starts_with(wanted)).count();
            for wanted in ["Data Movement:", "Operation ID: du-", "Moved data Size (bytes):"] {
                ensure!(
                    has(wanted) >= 2,
                    "{backup} has two volumes, and `{wanted}` is described {} times",
                    has(wanted)
                );
            }
            let unread: Vec<&String> = lines.iter().filter(|line| line.contains("<error")).collect();
            ensure!(unread.is_empty(), "{backup} cannot be described: {unread:#?}");
            let differences = line_differences(
                (self.side.name, &lines),
                ("by the one that made it", by_the_other),
            );
            ensure!(
                differences.is_empty(),
                "{backup} is described otherwise: {differences:#?}"
            );
            Ok(())
        })
    }

    /// `backup logs` and `backup download` of the other one's backup.
    fn reads_logs_and_tarball(&self, backup: &str) -> Result<()> {
        step(&format!("{} read the log of {backup}", self.side.name), || {
            let log = self.side.velero_ok(self.cluster, &["backup", "logs", backup])?;
            let entries = log
                .lines()
                .filter(|line| line.contains("level=") && line.contains("msg="))
                .count();
            ensure!(entries > 0, "the log of {backup} has no entry: {log:?}");
            Ok(())
        })?;
        step(&format!("{} download {backup}", self.side.name), || {
            let folder = tempfile::tempdir()?;
            let file = folder.path().join("tarball");
            let path = file.to_string_lossy();
            self.side
                .velero_ok(self.cluster, &["backup", "download", backup, "--output", &path])?;
            let tarball = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
            let key = format!("backups/{backup}/{backup}.tar.gz");
            ensure!(
                tarball == self.installation.bucket().object(&key)?,
                "what was downloaded is not {key}"
            );
            let names = entries(&tarball)?;
            for namespace in [FILES, DEVICE] {
                let claim = format!("resources/persistentvolumeclaims/namespaces/{namespace}/data.json");
                ensure!(names.contains(&claim), "{key} has no {claim}: {names:#?}");
            }
            Ok(())
        })
    }

    /// Restores both volumes under other names, compares, and removes them.
    fn restores(&self, backup: &str, expected: &Contents, unlike: Unlike) -> Result<()> {
        let name = format!("{backup}-by-{}", self.side.name);
        step(&format!("{} restore {backup}", self.side.name), || {
            let mappings = format!("{FILES}:{FILES}{COPY},{DEVICE}:{DEVICE}{COPY}");
            self.side.velero_ok(
                self.cluster,
                &[
                    "restore",
                    "create",
                    &name,
                    "--from-backup",
                    backup,
                    "--namespace-mappings",
                    &mappings,
                ],
            )?;
            self.side
                .completed_restore(self.cluster, &name)
                .with_context(|| self.movements(Kind::DATA_DOWNLOAD))
        })?;
        step("what came back is equal", || {
            let restored = Contents::read(self.cluster, COPY)?;
            expected.files.must_equal(&restored.files, unlike)?;
            ensure!(
                expected.device == restored.device,
                "the device holds {}, it held {}",
                restored.device,
                expected.device
            );
            println!("   {} entries and the device are equal", expected.files.len());
            Volumes::remove(self.cluster, COPY)
        })
    }

    fn uploads(&self, backup: &str) -> Result<Uploads> {
        let uploads: Uploads = self
            .installation
            .data_uploads(self.cluster, backup)?
            .into_iter()
            .map(|upload| {
                let namespace = upload["spec"]["sourceNamespace"].as_str().unwrap_or_default();
                (namespace.to_owned(), upload)
            })
            .collect();
        for namespace in [FILES, DEVICE] {
            ensure!(
                uploads.contains_key(namespace),
                "{backup} has no DataUpload of the volume in {namespace}, only {:?}",
                uploads.keys()
            );
        }
        Ok(uploads)
    }

    /// Bytes of the packs that hold contents of volumes, not directories and indexes, in a namespace's repository.
    fn data_bytes(&self, namespace: &str) -> Result<u64> {
        self.installation
            .bucket()
            .size_below(&format!("kopia/{namespace}/p"))
    }

    /// What moves, or did, for the error of a wait that it may explain.
    fn movements(&self, kind: Kind) -> String {
        let objects = self.cluster.list(kind, NAMESPACE, "").unwrap_or_default();
        let lines: Vec<String> = objects
            .iter()
            .map(|object| format!("{}: {}", object["metadata"]["name"], object["status"]))
            .collect();
        format!("{} objects: [{}]", kind.name(), lines.join("; "))
    }
}

/// Names in a gzipped tar.
fn entries(tarball: &[u8]) -> Result<Vec<String>> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(tarball));
    let mut names = Vec::new();
    for entry in archive.entries().context("what was downloaded is no tar")? {
        names.push(entry?.path()?.to_string_lossy().into_owned());
    }
    Ok(names)
}
