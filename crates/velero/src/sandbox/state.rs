//! `--dir`: what the cluster knows, kept in the folder while the sandbox runs, so that a sandbox that is killed loses
//! the last seconds and never the whole.
//!
//! ```json
//! {"form": 1, "objectStore": "http://127.0.0.1:41234", "cluster": {"version": 1, "revision": 812, "objects": [ … ]}}
//! ```
//! Volumes, the nodes' files and the object store's objects are files of their own, written as they change. The file is
//! replaced whole, so that there always is one that was true a moment ago. What changed after it is lost for the
//! cluster, as in a restore of etcd: an object may name a volume that is gone, a volume may have no object.

use std::path::{Path, PathBuf};
use std::time::Duration;

use caravel_sandbox::{ApiServer, LoadError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::folder;
use crate::cli::failure::{Failure, Outcome};

/// The file's name.
const FILE: &str = "cluster.json";
/// Of the file; that of the cluster in it is the API server's.
const FORM: u64 = 1;
/// How often is looked whether something has changed.
const EVERY: Duration = Duration::from_secs(1);

/// A state that was found.
#[derive(Debug)]
pub struct Saved {
    /// What the API server takes up again.
    pub cluster: Value,
    object_store: String,
}

impl Saved {
    /// That of the folder; `None` where no sandbox has run in it. Changes nothing.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was written by a later version.
    pub fn find(folder: &Path) -> Outcome<Option<Self>> {
        let path = folder.join(FILE);
        let refuse = |why: String| {
            let text = format!("the saved cluster {}: {why}; nothing was changed", path.display());
            Err(Failure::new(text).next("velero sandbox --dir with another folder"))
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return refuse(format!("reading it: {error}")),
        };
        let mut found: Value = match serde_json::from_slice(&text) {
            Ok(found) => found,
            Err(error) => return refuse(format!("it is damaged: {error}")),
        };
        match found["form"].as_u64() {
            Some(FORM) => {}
            Some(form) if form > FORM => {
                return refuse(format!(
                    "a newer velero wrote it (form {form}; this one knows up to {FORM})"
                ));
            }
            _ => return refuse("no velero sandbox wrote it".to_owned()),
        }
        let cluster = found["cluster"].take();
        match ApiServer::knows(&cluster) {
            Ok(()) => Ok(Some(Self {
                cluster,
                object_store: found["objectStore"].as_str().unwrap_or_default().to_owned(),
            })),
            Err(error @ LoadError::Version(_)) => refuse(format!("another velero wrote it: {error}")),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// The object store has another port at every start: locations that name the old address get the new one.
    pub fn point_to(&mut self, object_store: &str) {
        let entries = self.cluster["objects"].as_array_mut();
        for entry in entries.into_iter().flatten() {
            if entry["plural"] != "backupstoragelocations" {
                continue;
            }
            let address = entry.pointer_mut("/object/spec/config/s3Url");
            if let Some(address) = address.filter(|address| **address == *self.object_store) {
                *address = object_store.into();
            }
        }
    }
}

/// Keeps a running cluster's state in its folder.
pub struct Keeper {
    file: File,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Keeper {
    /// From now on, whenever something has changed.
    pub fn start(folder: &Path, api: ApiServer, object_store: String) -> Self {
        let file = File {
            path: folder.join(FILE),
            api,
            object_store,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(file.clone(), stop.clone()));
        Self {
            file,
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Writes the last state; nothing must change any more.
    ///
    /// # Errors
    /// It cannot be written; what was written before stays.
    pub async fn end(self) -> Outcome {
        self.stop.cancel();
        // Two must not write at once. If it panicked, that was said.
        let _ = self.task.await;
        self.file.write().await
    }
}

async fn keep(file: File, stop: CancellationToken) {
    let mut written = 0;
    let mut is_well = true;
    while stop
        .run_until_cancelled(tokio::time::sleep(EVERY))
        .await
        .is_some()
    {
        let revision = file.api.revision();
        if revision == written {
            continue;
        }
        match file.write().await {
            Ok(()) => (written, is_well) = (revision, true),
            // Said once, tried every second.
            Err(failure) => {
                if is_well {
                    eprintln!("{failure}");
                }
                is_well = false;
            }
        }
    }
}

#[derive(Clone)]
struct File {
    path: PathBuf,
    api: ApiServer,
    object_store: String,
}

impl File {
    async fn write(&self) -> Outcome {
        let file = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let state = json!({"form": FORM, "objectStore": file.object_store, "cluster": file.api.save()});
            folder::replace_private(&file.path, &serde_json::to_vec(&state)?)
        });
        let written = written.await.map_err(std::io::Error::other);
        written.and_then(|written| written).map_err(|error| {
            let path = self.path.display();
            Failure::new(format!("saving the cluster to {path}: {error}"))
                .next("make room in that folder: what happens meanwhile is lost if the sandbox is killed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Outcome<Option<Saved>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let found = Saved::find(folder.path());
        assert_eq!(std::fs::read_to_string(folder.path().join(FILE)).unwrap(), text);
        found
    }

    #[test]
    fn a_state_that_this_version_does_not_know_is_refused_and_left_as_it_is() {
        let cluster = ApiServer::builder().build().save();
        let mut later = cluster.clone();
        later["version"] = 99.into();
        for (state, why) in [
            (
                json!({"form": 2, "cluster": cluster}).to_string(),
                "a newer velero wrote it (form 2",
            ),
            (json!({"form": 1, "cluster": later}).to_string(), "version 99"),
            (json!({"form": 1}).to_string(), "version null"),
            (
                json!({"name": "thesis"}).to_string(),
                "no velero sandbox wrote it",
            ),
            ("{\"form\": 1, \"clu".to_owned(), "it is damaged"),
        ] {
            let refusal = found(&state).unwrap_err().to_string();
            assert!(
                refusal.contains(why) && refusal.contains("nothing was changed"),
                "{refusal}"
            );
        }
        let state = json!({"form": 1, "objectStore": "", "cluster": cluster}).to_string();
        assert!(found(&state).unwrap().is_some());
        assert!(Saved::find(Path::new("/no/such/folder")).unwrap().is_none());
    }

    #[test]
    fn locations_follow_the_object_store_to_its_new_port_and_others_stay() {
        let location = |url: &str| json!({"group": "velero.io", "plural": "backupstoragelocations", "object": {"spec": {"config": {"s3Url": url}}}});
        let (old, new, other) = ("http://127.0.0.1:1", "http://127.0.0.1:2", "https://s3.example");
        let mut saved = Saved {
            cluster: json!({"objects": [location(old), location(other), {"plural": "pods"}]}),
            object_store: old.to_owned(),
        };
        saved.point_to(new);
        assert_eq!(
            saved.cluster["objects"],
            json!([location(new), location(other), {"plural": "pods"}])
        );
    }

    #[tokio::test]
    async fn what_changes_is_written_within_seconds_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let api = ApiServer::builder().build();
        let keeper = Keeper::start(folder.path(), api.clone(), "http://127.0.0.1:1".to_owned());
        let written = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Some(saved) = Saved::find(folder.path()).unwrap() {
                    return saved;
                }
            }
        };
        let saved = tokio::time::timeout(Duration::from_secs(20), written)
            .await
            .unwrap();
        assert_eq!(saved.cluster["revision"], api.revision());
        keeper.end().await.unwrap();
    }
}
