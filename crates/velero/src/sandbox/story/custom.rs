//! A data mover of somebody else: `examples/custom-data-mover/mover.sh`, run by the machine's bash and kubectl.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use caravel_api::phase::BackupPhase;
use caravel_api::v1::Backup;
use caravel_api::v2alpha1::{DataDownload, DataMovementPhase, DataUpload};
use caravel_sandbox::Serving;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::super::folder;
use super::super::world::{VELERO, World};
use super::tale::Tale;
use super::volumes::NAMESPACE;
use crate::cli::failure::{Failure, Outcome, chain, kubernetes};

/// Its name.
pub const MOVER: &str = "tar-files";
const SCRIPT: &str = include_str!("../../../../../examples/custom-data-mover/mover.sh");

/// The mover at work; it ends when this is dropped.
pub struct Mover {
    store: PathBuf,
    child: Child,
    serving: Option<Serving>,
}

impl Mover {
    /// Serves the cluster's API to kubectl, and starts the script.
    pub async fn start(world: &World, tale: &mut Tale) -> Outcome<Self> {
        tale.step("Somebody else's data mover starts: examples/custom-data-mover/mover.sh")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let serving = world.sandbox.api().serve(address).await;
        let serving = serving
            .map_err(|error| Failure::new(format!("serving the Kubernetes API: {}", chain(&error))))?;
        let failed = |what: &str, error: std::io::Error| Failure::new(format!("{what}: {error}"));
        let place = world.folder.path().join("custom-mover");
        let (store, kubeconfig, script) = (
            place.join("store"),
            place.join("kubeconfig"),
            place.join("mover.sh"),
        );
        std::fs::create_dir_all(&store).map_err(|error| failed("making the mover's folder", error))?;
        folder::write_private(&kubeconfig, serving.kubeconfig().as_bytes())
            .and_then(|()| folder::write_private(&script, SCRIPT.as_bytes()))
            .map_err(|error| failed("writing the mover's files", error))?;
        let log = std::fs::File::create(place.join("log"))
            .map_err(|error| failed("making the mover's log", error))?;
        let errors = log
            .try_clone()
            .map_err(|error| failed("making the mover's log", error))?;
        let child = Command::new("bash")
            .arg(&script)
            .arg("serve")
            .env("KUBECONFIG", &kubeconfig)
            .env("MOVER_STORE", &store)
            .env("VELERO_NAMESPACE", VELERO)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| failed("starting bash", error))?;
        tale.fact(&format!("$ MOVER_STORE={} ./mover.sh serve", store.display()))?;
        Ok(Self {
            store,
            child,
            serving: Some(serving),
        })
    }

    /// Ends it, and says what it has said when something went wrong.
    pub async fn end(mut self, tale: &Tale, went_well: bool) -> Outcome {
        self.stop();
        if let Some(serving) = self.serving.take() {
            serving.shutdown().await;
        }
        let log = self.store.with_file_name("log");
        if went_well {
            return Ok(());
        }
        tale.fact(&std::fs::read_to_string(log).unwrap_or_default())
    }

    fn stop(&mut self) {
        // The script looks for this file every second; a folder that is gone stops it, too.
        let _ = std::fs::write(self.store.join("stop"), "");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How many volumes it keeps.
    fn kept(&self) -> usize {
        let is_tar = |path: &Path| path.extension().is_some_and(|ending| ending == "tar");
        let files = std::fs::read_dir(&self.store).into_iter().flatten().flatten();
        files.filter(|file| is_tar(&file.path())).count()
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `velero backup create … --data-mover`; the built-in mover has left it alone.
pub async fn back_up(world: &World, tale: &mut Tale, mover: &Mover, name: &str) -> Outcome {
    tale.step(&format!("Back it up as {name} with --data-mover {MOVER}"))?;
    tale.types(
        &format!(
            "velero backup create {name} --include-namespaces {NAMESPACE} --snapshot-move-data --data-mover {MOVER} --wait"
        ),
        world,
    )
    .await?;
    let phase = phase(world, name).await?;
    if phase != BackupPhase::Completed {
        return Err(Failure::new(format!("backup {name} ended as {phase}")));
    }
    let uploads: Api<DataUpload> = Api::namespaced(world.client(), VELERO);
    let uploads = uploads.list(&ListParams::default()).await;
    let uploads = uploads.map_err(|error| kubernetes("listing DataUploads", &error))?;
    for upload in &uploads {
        let node = upload
            .status
            .as_ref()
            .map(|status| status.node.clone())
            .unwrap_or_default();
        if upload.spec.datamover != MOVER || node != MOVER || !upload.finalizers().is_empty() {
            return Err(Failure::new(format!(
                "the built-in data mover has touched DataUpload {}: mover {:?}, node {node:?}, finalizers {:?}",
                upload.name_any(),
                upload.spec.datamover,
                upload.finalizers()
            )));
        }
    }
    let kept = mover.kept();
    if kept != uploads.items.len() || kept == 0 {
        return Err(Failure::new(format!(
            "the mover keeps {kept} tar files, not {}",
            uploads.items.len()
        )));
    }
    tale.fact(&format!(
        "DataUploads: {kept}, moved by {MOVER}; the mover keeps {kept} tar file(s)"
    ))
}

/// The restore took the backup's own mover.
pub async fn restored_by_it(world: &World, tale: &Tale) -> Outcome {
    let downloads: Api<DataDownload> = Api::namespaced(world.client(), VELERO);
    let downloads = downloads.list(&ListParams::default()).await;
    let downloads = downloads.map_err(|error| kubernetes("listing DataDownloads", &error))?;
    let by_it = downloads.iter().filter(|download| {
        download.spec.datamover == MOVER && download.phase() == DataMovementPhase::Completed
    });
    match by_it.count() {
        0 => Err(Failure::new(
            "no DataDownload was made for the backup's own mover",
        )),
        count => tale.fact(&format!("DataDownloads: {count}, moved by {MOVER}")),
    }
}

/// A mover that never comes: the backup says so when its time is over.
pub async fn nobody_comes(world: &World, tale: &mut Tale, name: &str) -> Outcome {
    tale.step("A backup for a data mover that is not there")?;
    tale.types(
        &format!(
            "velero backup create {name} --include-namespaces {NAMESPACE} --snapshot-move-data --data-mover nobody \
             --item-operation-timeout 3s --wait"
        ),
        world,
    )
    .await?;
    let phase = phase(world, name).await?;
    let uploads: Api<DataUpload> = Api::namespaced(world.client(), VELERO);
    let of_backup = ListParams::default().labels(&format!("{}={name}", caravel_api::labels::BACKUP_NAME));
    let uploads = uploads.list(&of_backup).await;
    let uploads = uploads.map_err(|error| kubernetes("listing DataUploads", &error))?;
    let is_canceled = uploads.iter().all(|upload| upload.spec.cancel);
    if phase != BackupPhase::PartiallyFailed || uploads.items.is_empty() || !is_canceled {
        return Err(Failure::new(format!(
            "backup {name} ended as {phase}, {} DataUpload(s), asked to cancel: {is_canceled}",
            uploads.items.len()
        )));
    }
    tale.fact(&format!(
        "backup {name}: {phase}; its DataUpload is asked to cancel"
    ))
}

async fn phase(world: &World, name: &str) -> Outcome<BackupPhase> {
    let backups: Api<Backup> = Api::namespaced(world.client(), VELERO);
    let backup = backups.get(name).await;
    Ok(backup
        .map_err(|error| kubernetes(format!("getting backup {name}"), &error))?
        .phase())
}
