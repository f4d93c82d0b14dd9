//! The image `velero/velero`: the command line of its containers, run as tasks of this process.
//!
//! The product's clap types parse it and the product's functions run it; what they take from a pod comes from the
//! sandbox's [`Container`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use caravel_backup_repository::Environment;
use caravel_backup_store::{NetworkStores, Stores};
use caravel_data_mover::{NotAVolume, VolumeMode, Volumes};
use caravel_sandbox::{Container, Program};
use tracing::Instrument as _;

use super::container_log;
use crate::cli;
use crate::process::Process;

/// The image's name in our own manifests.
pub const IMAGE: &str = "velero/velero";

/// Runs `/velero …`.
pub struct Velero {
    /// The way to object storage.
    pub stores: Arc<dyn Stores>,
    /// What the repository engine takes from the machine.
    pub environment: Environment,
}

impl Default for Velero {
    /// Over the network, on this machine. All containers are one process: two hundred data movers that derive the same key at
    /// a time would take 64 MiB each.
    fn default() -> Self {
        Self {
            stores: Arc::new(NetworkStores),
            environment: Environment::system().with_remembered_keys(),
        }
    }
}

#[async_trait]
impl Program for Velero {
    async fn run(&self, container: Container) -> i32 {
        let metadata = &container.pod.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let pod = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        let span = container_log::span(&pod, &container.name, &container.log);
        let (command, log) = (container.command.clone(), container.log.clone());
        match cli::run_in_container(&command, self.process(container))
            .instrument(span)
            .await
        {
            Ok(()) => 0,
            Err((code, text)) => {
                log.write(format!("{}\n", text.trim_end()).as_bytes());
                i32::from(code)
            }
        }
    }
}

impl Velero {
    /// What a container is to the product.
    fn process(&self, container: Container) -> Process {
        let volumes = Published::of(&container);
        let container = Arc::new(container);
        Process {
            client: container.client.clone(),
            variables: container.env.clone(),
            termination_log: container.termination_message.clone(),
            volumes: Arc::new(volumes),
            has_address: false,
            stores: self.stores.clone(),
            environment: self.environment.clone(),
            shutdown: container.stop.clone(),
            paths: Arc::new(move |path: &Path| {
                match container.on_machine(path) {
                    // A node may publish by a link, where others mount.
                    Some(found) => found.canonicalize().unwrap_or(found),
                    // Outside its mounts a container has only its image: never this machine's files.
                    None => Path::new("/dev/null").join(path.strip_prefix("/").unwrap_or(path)),
                }
            }),
        }
    }
}

/// The volumes that the node has published into one container. Guarantee 1 as a sandbox can give it: without root
/// there are no mounts to look for, but the node that would have mounted them is the one that says where they are.
#[derive(Debug)]
struct Published(BTreeSet<PathBuf>);

impl Published {
    fn of(container: &Container) -> Self {
        let spec = container.pod.spec.clone().unwrap_or_default();
        let is_claim = |name: &str| {
            let mut volumes = spec.volumes.iter().flatten();
            volumes.any(|volume| volume.name == name && volume.persistent_volume_claim.is_some())
        };
        let this = spec.containers.iter().filter(|it| it.name == container.name);
        let paths = this.flat_map(|it| {
            let mounts = it.volume_mounts.iter().flatten();
            let mounts = mounts
                .filter(|mount| is_claim(&mount.name))
                .map(|mount| &mount.mount_path);
            let devices = it.volume_devices.iter().flatten();
            let devices = devices
                .filter(|device| is_claim(&device.name))
                .map(|device| &device.device_path);
            mounts.chain(devices)
        });
        let folders = paths.filter_map(|path| container.mounts.get(Path::new(path))?.canonicalize().ok());
        Self(folders.collect())
    }
}

impl Volumes for Published {
    fn check(&self, path: &Path, mode: VolumeMode) -> Result<(), NotAVolume> {
        let name = path.display().to_string();
        let metadata = std::fs::metadata(path).map_err(|source| NotAVolume::Missing {
            path: name.clone(),
            source,
        })?;
        let is_published = self.0.contains(path);
        match mode {
            VolumeMode::Filesystem if is_published && metadata.is_dir() => Ok(()),
            VolumeMode::Filesystem => Err(NotAVolume::NotMounted { path: name }),
            // A device is a file here.
            VolumeMode::Block if !is_published || metadata.is_dir() => {
                Err(NotAVolume::NotADevice { path: name })
            }
            VolumeMode::Block if metadata.len() == 0 => Err(NotAVolume::NoSize { path: name }),
            VolumeMode::Block => Ok(()),
        }
    }

    /// These are folders of the machine's own file system: to sync it would write out what everybody on the machine has
    /// written, and the driver promises nothing after a power cut anyway (`csi-driver`, `folder.rs`).
    fn outlive_the_machine(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarantee_1_only_what_the_node_has_published_is_a_volume() {
        let machine = tempfile::tempdir().unwrap();
        let (volume, other) = (machine.path().join("volume"), machine.path().join("other"));
        std::fs::create_dir(&volume).unwrap();
        std::fs::create_dir(&other).unwrap();
        let published = Published([volume.clone(), machine.path().join("unplugged")].into());
        assert!(published.check(&volume, VolumeMode::Filesystem).is_ok());
        let refused = |path: &Path, mode| published.check(path, mode).unwrap_err();
        assert!(matches!(
            refused(&other, VolumeMode::Filesystem),
            NotAVolume::NotMounted { .. }
        ));
        assert!(matches!(
            refused(&machine.path().join("unplugged"), VolumeMode::Filesystem),
            NotAVolume::Missing { .. }
        ));
        assert!(matches!(
            refused(&volume, VolumeMode::Block),
            NotAVolume::NotADevice { .. }
        ));
    }
}
