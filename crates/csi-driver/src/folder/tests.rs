//! The folder mode through the services, as the sandbox calls it.

use std::time::Duration;

use tonic::{Code, Request};

use super::*;
use crate::csi::controller_server::Controller;
use crate::csi::node_server::Node;
use crate::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode};
use crate::csi::*;
use crate::{Config, Driver};

struct World {
    folder: tempfile::TempDir,
    driver: Driver,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Self::open(folder.path());
        Self { folder, driver }
    }

    fn open(folder: &Path) -> Driver {
        let config = Config {
            endpoint: folder.join("csi.sock"),
            node_id: "node-1".into(),
            state_dir: folder.join("state"),
            registration_dir: None,
            driver_name: "csi.sandbox.caravel.dev".into(),
            store_bytes: 0,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        Driver::open_folders(config, Arc::new(move || now)).unwrap()
    }

    async fn volume(&self, name: &str, block: bool, source: Option<Source>) -> String {
        use volume_content_source::{SnapshotSource, Type, VolumeSource};
        let source = source.map(|source| VolumeContentSource {
            r#type: Some(match source {
                Source::Snapshot(snapshot_id) => Type::Snapshot(SnapshotSource { snapshot_id }),
                Source::Volume(volume_id) => Type::Volume(VolumeSource { volume_id }),
            }),
        });
        let request = CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(CapacityRange {
                required_bytes: 64 << 20,
                limit_bytes: 0,
            }),
            volume_capabilities: vec![capability(block)],
            volume_content_source: source,
            ..CreateVolumeRequest::default()
        };
        let made = self
            .driver
            .create_volume(Request::new(request))
            .await
            .unwrap()
            .into_inner();
        made.volume.unwrap().volume_id
    }

    async fn snapshot(&self, name: &str, volume: &str) -> std::result::Result<Snapshot, tonic::Status> {
        let request = CreateSnapshotRequest {
            name: name.into(),
            source_volume_id: volume.into(),
            ..CreateSnapshotRequest::default()
        };
        let taken = self.driver.create_snapshot(Request::new(request)).await?;
        Ok(taken.into_inner().snapshot.unwrap())
    }

    async fn publish(&self, volume: &str, pod: &str, block: bool) -> PathBuf {
        self.publish_as(volume, pod, block, false).await
    }

    async fn publish_as(&self, volume: &str, pod: &str, block: bool, readonly: bool) -> PathBuf {
        let target = self.folder.path().join("pods").join(pod);
        let request = NodePublishVolumeRequest {
            volume_id: volume.into(),
            target_path: target.display().to_string(),
            volume_capability: Some(capability(block)),
            readonly,
            ..NodePublishVolumeRequest::default()
        };
        self.driver
            .node_publish_volume(Request::new(request))
            .await
            .unwrap();
        target
    }

    async fn delete(&self, volume: &str) -> std::result::Result<(), tonic::Status> {
        let request = DeleteVolumeRequest {
            volume_id: volume.into(),
            ..DeleteVolumeRequest::default()
        };
        self.driver.delete_volume(Request::new(request)).await.map(drop)
    }
}

fn capability(block: bool) -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode {
            mode: Mode::SingleNodeWriter.into(),
        }),
        access_type: Some(if block {
            AccessType::Block(BlockVolume {})
        } else {
            AccessType::Mount(MountVolume::default())
        }),
    }
}

#[tokio::test]
async fn a_volume_from_a_snapshot_holds_what_was_there_then_and_outlives_it() {
    let world = World::new();
    let volume = world.volume("a", false, None).await;
    let folder = world.publish(&volume, "p1", false).await;
    fs::write(folder.join("file"), "before").unwrap();
    let taken = world.snapshot("s", &volume).await.unwrap();
    assert_eq!(taken.creation_time.unwrap().seconds, 1_000_000_000);
    fs::write(folder.join("file"), "after").unwrap();
    let copy = world
        .volume("b", false, Some(Source::Snapshot(taken.snapshot_id.clone())))
        .await;
    let deletion = DeleteSnapshotRequest {
        snapshot_id: taken.snapshot_id,
        ..DeleteSnapshotRequest::default()
    };
    world
        .driver
        .delete_snapshot(Request::new(deletion))
        .await
        .unwrap();
    let seen = world.publish(&copy, "p2", false).await;
    assert_eq!(fs::read_to_string(seen.join("file")).unwrap(), "before");
}

#[tokio::test]
async fn a_reader_of_a_volume_from_a_snapshot_needs_no_copy_and_a_writer_gets_one() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let volume = world.volume("a", false, None).await;
    let folder = world.publish(&volume, "p1", false).await;
    fs::write(folder.join("file"), "before").unwrap();
    let taken = world.snapshot("s", &volume).await.unwrap().snapshot_id;
    let stored = world
        .folder
        .path()
        .join("state/snapshots")
        .join(&taken)
        .join("file");
    let copy = world.volume("b", false, Some(Source::Snapshot(taken))).await;
    let reader = world.publish_as(&copy, "p2", false, true).await;
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&reader.join("file")), inode(&stored));
    let writer = world.publish(&copy, "p3", false).await;
    fs::write(writer.join("file"), "changed").unwrap();
    assert_eq!(fs::read_to_string(&stored).unwrap(), "before");
    assert_eq!(fs::read_to_string(reader.join("file")).unwrap(), "changed");
    // A second writer changes nothing any more.
    world.publish(&copy, "p4", false).await;
    assert_eq!(fs::read_to_string(writer.join("file")).unwrap(), "changed");
    let left = fs::read_dir(world.folder.path().join("state/volumes")).unwrap();
    assert_eq!(left.count(), 4, "two volumes, two records");
}

#[tokio::test]
async fn a_block_volume_is_a_file_of_its_capacity_and_its_clone_has_the_bytes() {
    let world = World::new();
    let volume = world.volume("a", true, None).await;
    let disk = world.publish(&volume, "p1", true).await;
    assert_eq!(fs::metadata(&disk).unwrap().len(), 64 << 20);
    let file = fs::File::options().write(true).open(&disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"raw", 1 << 20).unwrap();
    let copy = world.volume("b", true, Some(Source::Volume(volume))).await;
    let content = fs::read(world.publish(&copy, "p2", true).await).unwrap();
    assert_eq!(&content[1 << 20..(1 << 20) + 3], b"raw");
}

#[tokio::test]
async fn a_published_volume_is_not_deleted_and_after_unpublishing_its_folder_goes() {
    let world = World::new();
    let volume = world.volume("a", false, None).await;
    let target = world.publish(&volume, "p1", false).await;
    let folder = fs::canonicalize(&target).unwrap();
    assert_eq!(
        world.delete(&volume).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let request = NodeUnpublishVolumeRequest {
        volume_id: volume.clone(),
        target_path: target.display().to_string(),
    };
    world
        .driver
        .node_unpublish_volume(Request::new(request))
        .await
        .unwrap();
    assert!(fs::symlink_metadata(&target).is_err());
    world.delete(&volume).await.unwrap();
    world.delete(&volume).await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_snapshot_never_shows_half_of_a_change() {
    let world = World::new();
    let volume = world.volume("a", false, None).await;
    let folder = fs::canonicalize(world.publish(&volume, "p1", false).await).unwrap();
    let writers = Writers::of(&folder).unwrap();
    let change = writers.write().await;
    fs::write(folder.join("from"), "40").unwrap();
    let rest = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        fs::write(folder.join("to"), "60").unwrap();
        drop(change);
    };
    let (taken, ()) = tokio::join!(world.snapshot("s", &volume), rest);
    let snapshot = world
        .folder
        .path()
        .join("state/snapshots")
        .join(taken.unwrap().snapshot_id);
    assert!(snapshot.join("from").exists() && snapshot.join("to").exists());
}

#[tokio::test]
async fn a_driver_that_is_opened_again_finds_its_volumes_and_sweeps_what_has_no_record() {
    let world = World::new();
    let volume = world.volume("a", false, None).await;
    let state = world.folder.path().join("state");
    fs::create_dir(state.join("volumes/vol-half")).unwrap();
    let world = World {
        driver: World::open(world.folder.path()),
        folder: world.folder,
    };
    assert!(!state.join("volumes/vol-half").exists());
    assert!(world.snapshot("s", &volume).await.is_ok());
    assert_eq!(
        world.snapshot("t", "vol-none").await.unwrap_err().code(),
        Code::NotFound
    );
}
