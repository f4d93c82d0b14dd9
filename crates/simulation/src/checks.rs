//! What must hold at every step, checked on every write as the API server has stored it; and what was in a volume when
//! its snapshot was taken, kept for the checks at the end (`history.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use caravel_api_server::faults::{Observer, Write};
use parking_lot::Mutex;
use serde_json::Value;

use crate::application::Content;
use crate::trace::Trace;

/// The namespace that no operation names: nothing in it may change.
pub const BYSTANDER: &str = "bystander";
/// Accounts of the product begin with this.
const PRODUCT: &str = "system:serviceaccount:velero:";

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    /// What was seen.
    pub seen: String,
}

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A Completed backup restores to exactly what was there when its snapshot was taken.
    RestoredAsTaken,
    /// A terminal phase stays.
    TerminalStays,
    /// Every backup, restore and movement ends, canceled ones too.
    EverythingEnds,
    /// No temporary PVC, volume, snapshot or pod is left.
    NothingLeft,
    /// Nothing outside the namespaces named was changed.
    OthersUntouched,
    /// Whatever ends the server: nothing is done twice, nothing is missing.
    Once,
    /// What a pre-hook froze is thawed; a restored pod's exec hooks run.
    Hooks,
    /// What cannot be done ends with a reason that names the thing to correct.
    SaysWhy,
    /// The simulation itself can go on: the cluster starts, the product runs.
    Alive,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invariant = match self.invariant {
            Invariant::RestoredAsTaken => {
                "a Completed backup restores to exactly what was there when its snapshot was taken"
            }
            Invariant::TerminalStays => "terminal phases stay terminal",
            Invariant::EverythingEnds => "every backup, restore, movement and cancel ends",
            Invariant::NothingLeft => "no temporary PVC, volume, snapshot or pod is left at the end",
            Invariant::OthersUntouched => "nothing outside the namespaces named was changed",
            Invariant::Once => "what a killed server was doing is done once, and whole",
            Invariant::Hooks => "every post-hook and every exec hook of a restore runs",
            Invariant::SaysWhy => "what is wrong with the input is said",
            Invariant::Alive => "the simulation goes on",
        };
        write!(f, "not true: {invariant}: {}", self.seen)
    }
}

/// What a snapshot was taken of.
#[derive(Clone, Debug)]
pub struct Taken {
    pub namespace: String,
    pub claim: String,
    /// The backup that it was taken for.
    pub backup: String,
    pub content: Arc<Content>,
}

/// What a Completed DataUpload moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub upload: String,
    pub backup: String,
    pub namespace: String,
    pub snapshot: String,
}

/// The observer of one history.
pub struct Checks {
    trace: Arc<Trace>,
    /// Where the CSI driver keeps snapshots.
    snapshots: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    violations: Vec<Violation>,
    /// UID → kind and name, phase.
    phases: BTreeMap<String, (String, String)>,
    /// VolumeSnapshot (namespace, name) → its claim, and the backup that it is for.
    claims: BTreeMap<(String, String), (String, String)>,
    /// VolumeSnapshot → what was taken.
    taken: BTreeMap<(String, String), Taken>,
    /// The storage's name of a snapshot → what was taken.
    cut: BTreeMap<String, Taken>,
    /// UID of a DataUpload that was Completed once → what it says that it moved. Whoever deletes it afterwards changes
    /// nothing about the backup.
    moved: BTreeMap<String, Moved>,
    /// Snapshots change after they were cut ([`Checks::spoil_snapshots`]).
    are_spoiled: bool,
}

impl Checks {
    /// Nothing seen yet.
    pub fn new(trace: Arc<Trace>, snapshots: PathBuf) -> Self {
        Self {
            trace,
            snapshots,
            seen: Mutex::default(),
        }
    }

    /// Notes that something is not as it must be.
    pub fn violated(&self, invariant: Invariant, seen: impl Into<String>) {
        let violation = Violation {
            invariant,
            seen: seen.into(),
        };
        self.trace.note(&format!("VIOLATION {violation}"));
        self.seen.lock().violations.push(violation);
    }

    /// All that was seen, in order.
    pub fn violations(&self) -> Vec<Violation> {
        self.seen.lock().violations.clone()
    }

    /// Of a VolumeSnapshot: what the volume held.
    pub fn taken(&self, namespace: &str, snapshot: &str) -> Option<Taken> {
        let key = (namespace.to_owned(), snapshot.to_owned());
        self.seen.lock().taken.get(&key).cloned()
    }

    /// Of a snapshot in the storage: what the volume held.
    pub fn cut(&self, handle: &str) -> Option<Taken> {
        self.seen.lock().cut.get(handle).cloned()
    }

    /// What Completed DataUploads of a backup moved, deleted ones too.
    pub fn moved(&self, backup: &str) -> Vec<Moved> {
        let seen = self.seen.lock();
        let of_backup = seen.moved.values().filter(|moved| moved.backup == backup);
        of_backup.cloned().collect()
    }

    /// From now on the storage adds a file to each snapshot after it was cut: a defect that [`Invariant::RestoredAsTaken`]
    /// is there to find.
    pub fn spoil_snapshots(&self) {
        self.seen.lock().are_spoiled = true;
    }

    /// Names of snapshots that the storage still keeps.
    pub fn kept_snapshots(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.snapshots).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|is| is.is_dir()));
        let mut names: Vec<_> = folders
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The storage loses the first snapshot that it keeps.
    ///
    /// # Errors
    /// It keeps none.
    pub fn lose_a_snapshot(&self) -> std::io::Result<()> {
        let kept = self.kept_snapshots();
        let first = kept.first().ok_or(std::io::ErrorKind::NotFound)?;
        std::fs::remove_dir_all(self.snapshots.join(first))
    }

    fn completed(&self, object: &Value) {
        let text = |pointer: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        if text("/status/phase") != "Completed" {
            return;
        }
        let moved = Moved {
            upload: text("/metadata/name"),
            backup: text("/metadata/labels/velero.io~1backup-name"),
            namespace: text("/spec/sourceNamespace"),
            snapshot: text("/spec/csiSnapshot/volumeSnapshot"),
        };
        self.seen.lock().moved.insert(text("/metadata/uid"), moved);
    }

    fn phase(&self, resource: &str, object: &Value) {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (uid, phase) = (text("/metadata/uid"), text("/status/phase"));
        let name = format!("{resource} {}", text("/metadata/name"));
        let before = self
            .seen
            .lock()
            .phases
            .insert(uid.to_owned(), (name.clone(), phase.to_owned()));
        let Some((_, before)) = before else { return };
        if is_terminal(&before) && before != phase && phase != "Deleting" {
            self.violated(
                Invariant::TerminalStays,
                format!("{name} was {before} and became {phase:?}"),
            );
        }
    }

    fn snapshot(&self, object: &Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        if let (Some(namespace), Some(name), Some(claim)) =
            (namespace, name, text("/spec/source/persistentVolumeClaimName"))
        {
            let key = (namespace.to_owned(), name.to_owned());
            let backup = text("/metadata/labels/velero.io~1backup-name").unwrap_or_default();
            let of = (claim.to_owned(), backup.to_owned());
            self.seen.lock().claims.insert(key, of);
        }
    }

    /// A dynamically made content that has its handle: the driver has just cut it.
    fn content(&self, object: &Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (Some(handle), Some(namespace), Some(name), Some(_)) = (
            text("/status/snapshotHandle"),
            text("/spec/volumeSnapshotRef/namespace"),
            text("/spec/volumeSnapshotRef/name"),
            text("/spec/source/volumeHandle"),
        ) else {
            return;
        };
        let key = (namespace.to_owned(), name.to_owned());
        let mut seen = self.seen.lock();
        if seen.taken.contains_key(&key) {
            return;
        }
        let Some((claim, backup)) = seen.claims.get(&key).cloned() else {
            return;
        };
        match Content::of(&self.snapshots.join(handle)) {
            Ok(content) => {
                let taken = Taken {
                    namespace: namespace.to_owned(),
                    claim,
                    backup,
                    content: Arc::new(content),
                };
                seen.cut.insert(handle.to_owned(), taken.clone());
                seen.taken.insert(key, taken);
                if seen.are_spoiled {
                    // What cannot be spoiled makes the test of the check fail, which is what it is for.
                    let _ = std::fs::write(self.snapshots.join(handle).join("later"), "later");
                }
            }
            Err(error) => {
                drop(seen);
                self.violated(
                    Invariant::Alive,
                    format!("snapshot {handle} of {namespace}/{name} cannot be read: {error}"),
                );
            }
        }
    }

    fn others(&self, write: &Write<'_>) {
        let subject = &write.subject;
        let is_done = (200..300).contains(&write.code);
        // A review changes nothing.
        if !is_done || !subject.user.starts_with(PRODUCT) || subject.group == "authorization.k8s.io" {
            return;
        }
        let of_claim = |pointer| write.object.and_then(|object| object.pointer(pointer)?.as_str());
        let touched = subject.namespace == BYSTANDER
            || of_claim("/spec/claimRef/namespace") == Some(BYSTANDER)
            || of_claim("/spec/volumeSnapshotRef/namespace") == Some(BYSTANDER);
        if touched {
            let seen = format!(
                "{} {} {} {}/{}",
                subject.user,
                subject.operation,
                subject.resource,
                subject.namespace,
                write.name()
            );
            self.violated(Invariant::OthersUntouched, seen);
        }
    }
}

/// Velero's names for the end of backups, restores, DataUploads and DataDownloads.
pub fn is_terminal(phase: &str) -> bool {
    matches!(
        phase,
        "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation" | "Canceled"
    )
}

impl Observer for Checks {
    fn wrote(&self, write: &Write<'_>) {
        self.trace.wrote(write);
        self.others(write);
        let Some(object) = write.object else { return };
        match write.subject.resource {
            resource @ ("backups" | "restores" | "datauploads" | "datadownloads")
                if write.subject.group == "velero.io" =>
            {
                self.phase(resource, object);
                if resource == "datauploads" {
                    self.completed(object);
                }
            }
            "volumesnapshots" => self.snapshot(object),
            "volumesnapshotcontents" => self.content(object),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use caravel_api_server::faults::Subject;
    use serde_json::json;

    use super::*;

    fn write(checks: &Checks, user: &str, namespace: &str, phase: &str) {
        let object = json!({"metadata": {"uid": "u", "name": "b"}, "status": {"phase": phase}});
        let subject = Subject {
            operation: "patch",
            group: "velero.io",
            resource: "datauploads",
            namespace,
            user,
            ..Subject::default()
        };
        checks.wrote(&Write {
            subject,
            code: 200,
            object: Some(&object),
            is_fault: false,
        });
    }

    fn checks() -> Checks {
        Checks::new(Arc::new(Trace::new()), PathBuf::new())
    }

    fn violated(checks: &Checks) -> Vec<Invariant> {
        checks.violations().iter().map(|it| it.invariant).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_that_comes_after_the_end_is_seen() {
        let checks = checks();
        for phase in ["New", "Canceled", "Canceled"] {
            write(&checks, "system:serviceaccount:velero:velero", "velero", phase);
        }
        assert_eq!(violated(&checks), []);
        write(
            &checks,
            "system:serviceaccount:velero:velero",
            "velero",
            "Completed",
        );
        assert_eq!(violated(&checks), [Invariant::TerminalStays]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_beside_the_namespaces_named_is_seen() {
        let checks = checks();
        write(&checks, "system:sandbox", BYSTANDER, "New");
        assert_eq!(violated(&checks), []);
        write(&checks, "system:serviceaccount:velero:velero", BYSTANDER, "New");
        assert_eq!(violated(&checks), [Invariant::OthersUntouched]);
    }
}
