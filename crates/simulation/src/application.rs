//! The applications that are backed up: Deployments whose pods keep a few small files on their volumes.
//!
//! A pod of theirs does nothing but have its volume mounted; the simulation writes, between two awaits, so that a snapshot
//! finds a change whole or not at all. Restored, the same Deployment mounts the restored volume, where it is compared.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use caravel_sandbox::{Container, ExecRequest, Executed, Program};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde_json::{Value, json};

/// The image's name.
pub const IMAGE: &str = "caravel/files";
/// Where a pod mounts its claims: below this, by their names.
const MOUNTS: &str = "/volumes";

/// The image; keeps note of the volumes that its pods have mounted.
#[derive(Clone, Default)]
pub struct Application {
    /// Namespace and claim → folder on this machine, of pods that run.
    open: Arc<Mutex<BTreeMap<(String, String), PathBuf>>>,
    /// Namespace → first words of the commands that hooks ran there.
    commands: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

/// Takes its entries out again, also when the pod is killed.
struct Mounted {
    of: Application,
    claims: Vec<((String, String), PathBuf)>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut open = self.of.open.lock();
        for (claim, path) in &self.claims {
            // The next pod may have it already.
            if open.get(claim) == Some(path) {
                open.remove(claim);
            }
        }
    }
}

#[async_trait]
impl Program for Application {
    async fn run(&self, container: Container) -> i32 {
        let namespace = container.pod.metadata.namespace.clone().unwrap_or_default();
        let mounts = container.mounts.iter().filter_map(|(mount, folder)| {
            let claim = mount.strip_prefix(MOUNTS).ok()?.to_str()?.to_owned();
            Some(((namespace.clone(), claim), folder.canonicalize().ok()?))
        });
        let mounted = Mounted {
            of: self.clone(),
            claims: mounts.collect(),
        };
        self.open.lock().extend(mounted.claims.iter().cloned());
        container.stop.cancelled().await;
        drop(mounted);
        0
    }

    async fn exec(&self, container: &Container, request: ExecRequest) -> Executed {
        let namespace = container.pod.metadata.namespace.clone().unwrap_or_default();
        let command = request.command.first().cloned().unwrap_or_default();
        self.commands.lock().entry(namespace).or_default().push(command);
        Executed::default()
    }
}

impl Application {
    /// The folder of a claim, while a pod has it mounted.
    pub fn volume(&self, namespace: &str, claim: &str) -> Option<PathBuf> {
        let key = (namespace.to_owned(), claim.to_owned());
        self.open.lock().get(&key).cloned()
    }

    /// What hooks have run in the pods of a namespace, in order.
    pub fn commands(&self, namespace: &str) -> Vec<String> {
        self.commands.lock().get(namespace).cloned().unwrap_or_default()
    }

    /// Folders of claims in namespaces that restores have made, while pods have them mounted.
    pub fn restored(&self) -> Vec<PathBuf> {
        let open = self.open.lock();
        let restored = open
            .iter()
            .filter(|((namespace, _), _)| namespace.starts_with("last-"));
        restored.map(|(_, folder)| folder.clone()).collect()
    }
}

/// Namespace, claims, a ConfigMap and the Deployment that mounts them.
pub fn objects(namespace: &str, claims: &[&str]) -> Vec<Value> {
    let metadata = |name: &str| json!({"name": name, "namespace": namespace});
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings"), "data": {"of": namespace}}),
    ];
    objects.extend(claims.iter().map(|claim| {
        let mut metadata = metadata(claim);
        metadata["managedFields"] = json!([applied()]);
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}},
        })
    }));
    let mounts: Vec<_> = claims
        .iter()
        .map(|claim| json!({"name": claim, "mountPath": format!("{MOUNTS}/{claim}")}))
        .collect();
    let volumes: Vec<_> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    objects.push(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("files"),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "files"}},
            "template": {
                "metadata": {"labels": {"app": "files"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "files", "image": IMAGE, "volumeMounts": mounts}],
                    "volumes": volumes,
                },
            },
        },
    }));
    objects
}

/// As if somebody had applied the claim server-side: a restore gives such an object back to them, and has to know it again
/// as its own after a restart.
fn applied() -> Value {
    json!({
        "manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:accessModes": {}, "f:resources": {"f:requests": {"f:storage": {}}}}},
    })
}

/// A namespace with one pod that has hooks of a backup and of a restore, and no volume.
pub fn hooked(namespace: &str) -> [Value; 2] {
    let hooks = json!({
        "pre.hook.backup.velero.io/command": "[\"freeze\"]",
        "post.hook.backup.velero.io/command": "[\"thaw\"]",
        "post.hook.restore.velero.io/command": "[\"welcome\"]",
    });
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "teller", "namespace": namespace, "annotations": hooks},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "teller", "image": IMAGE}]},
        }),
    ]
}

/// What a volume holds: path → all there is to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Of a file.
    bytes: Vec<u8>,
}

impl Content {
    /// Reads a folder.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut content = Self::default();
        content.add(folder, "")?;
        Ok(content)
    }

    fn add(&mut self, folder: &Path, below: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata()?;
            let bytes = if metadata.is_file() {
                fs::read(entry.path())?
            } else {
                Vec::new()
            };
            let described = Entry {
                mode: metadata.mode(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                bytes,
            };
            if metadata.is_dir() {
                self.add(&entry.path(), &format!("{name}/"))?;
            }
            self.0.insert(name, described);
        }
        Ok(())
    }

    /// Paths that are not the same in both.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let describe = |content: &Self, name: &String| match content.0.get(name) {
            Some(it) => format!("{:o} {:?} {} bytes", it.mode, it.modified, it.bytes.len()),
            None => "nothing".to_owned(),
        };
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .map(|name| format!("{name}: {} ≠ {}", describe(self, name), describe(other, name)))
            .collect()
    }
}

/// Makes one change in a volume: writes, replaces or deletes a file. Times are the simulation's.
///
/// # Errors
/// The folder cannot be written to.
pub fn change(volume: &Path, rng: &mut StdRng) -> io::Result<()> {
    let folder = match rng.random_range(0..3) {
        0 => volume.to_owned(),
        number => volume.join(format!("folder-{number}")),
    };
    let file = folder.join(format!("file-{}", rng.random_range(0..4)));
    if file.exists() && rng.random_bool(0.25) {
        fs::remove_file(&file)?;
    } else {
        if !folder.exists() {
            fs::create_dir(&folder)?;
        }
        let length = match rng.random_range(0..10) {
            0 => 0,
            1 => rng.random_range(4_000..20_000),
            _ => rng.random_range(1..600),
        };
        let mut bytes = vec![0; length];
        rng.fill(&mut bytes[..]);
        fs::write(&file, &bytes)?;
        let mode = if rng.random_bool(0.2) { 0o600 } else { 0o644 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        date(&file)?;
    }
    date(&folder)?;
    date(volume)
}

/// Changes a byte of the first file that has one, and nothing else: the time stays.
///
/// # Errors
/// The folder cannot be written to, or holds no byte.
pub fn flip_a_byte(volume: &Path) -> io::Result<()> {
    let content = Content::of(volume)?;
    let file = content.0.iter().find(|(_, entry)| !entry.bytes.is_empty());
    let (name, entry) = file.ok_or(io::ErrorKind::NotFound)?;
    let path = volume.join(name);
    let mut bytes = entry.bytes.clone();
    bytes[0] ^= 1;
    fs::write(&path, bytes)?;
    let modified = Timespec {
        tv_sec: entry.modified.0,
        tv_nsec: entry.modified.1,
    };
    let times = Timestamps {
        last_access: modified,
        last_modification: modified,
    };
    Ok(utimensat(CWD, &path, &times, AtFlags::empty())?)
}

/// The kernel has dated it by its own clock.
fn date(path: &Path) -> io::Result<()> {
    let now = jiff::Timestamp::now();
    let now = Timespec {
        tv_sec: now.as_second(),
        tv_nsec: now.subsec_nanosecond().into(),
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_changed_byte_a_time_and_a_lost_file_are_differences() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        date(&path).unwrap();
        let before = Content::of(folder.path()).unwrap();
        fs::write(&path, "two").unwrap();
        assert_eq!(before.differences(&Content::of(folder.path()).unwrap()).len(), 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(Content::default(), Content::of(folder.path()).unwrap());
        assert_eq!(before.differences(&Content::default()).len(), 1);
    }

    #[test]
    fn changes_repeat_with_the_seed() {
        let make = |seed| {
            let folder = tempfile::tempdir().unwrap();
            let mut rng = StdRng::seed_from_u64(seed);
            let entered = crate::interposed::enter(seed);
            for _ in 0..20 {
                change(folder.path(), &mut rng).unwrap();
            }
            drop(entered);
            Content::of(folder.path()).unwrap()
        };
        assert_eq!(make(3), make(3));
        assert_ne!(make(3), make(4));
    }
}
