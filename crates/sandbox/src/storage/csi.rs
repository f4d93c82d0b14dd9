//! The CSI driver, called in process: every call has a deadline and an error as the sidecars report it.
//!
//! All calls go through [`Csi::call`]: a fault that storage can have (slow, refused, failing now and then) belongs
//! there.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use caravel_csi_driver::Driver;
use caravel_csi_driver::csi::controller_server::Controller;
use caravel_csi_driver::csi::node_server::Node;
use caravel_csi_driver::csi::volume_capability::access_mode::Mode;
use caravel_csi_driver::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use caravel_csi_driver::csi::{
    CapacityRange, ControllerExpandVolumeRequest, CreateSnapshotRequest, CreateVolumeRequest,
    DeleteSnapshotRequest, DeleteVolumeRequest, ListSnapshotsRequest, NodePublishVolumeRequest,
    NodeUnpublishVolumeRequest, Snapshot, Volume, VolumeCapability,
};
use tonic::{Code, Request, Response, Status};

/// Above the driver's own patience with writers (30 s), so that its reason is what is reported.
const DEADLINE: Duration = Duration::from_secs(60);

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallError {
    pub code: Code,
    pub message: String,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As gRPC errors read in Go, which is what users know from events.
        write!(f, "rpc error: code = {:?} desc = {}", self.code, self.message)
    }
}

/// The driver's services.
#[derive(Clone)]
pub(super) struct Csi {
    driver: Driver,
}

impl Csi {
    pub fn new(driver: Driver) -> Self {
        Self { driver }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(CallError {
                code: status.code(),
                message: status.message().to_owned(),
            }),
            Err(_) => Err(CallError {
                code: Code::DeadlineExceeded,
                message: format!("{name}: no answer within {} s", DEADLINE.as_secs()),
            }),
        }
    }

    pub async fn create_volume(&self, request: CreateVolumeRequest) -> Result<Volume, CallError> {
        let answer = self.driver.create_volume(Request::new(request));
        required(self.call("CreateVolume", answer).await?.volume, "volume")
    }

    pub async fn delete_volume(&self, handle: &str) -> Result<(), CallError> {
        let request = DeleteVolumeRequest {
            volume_id: handle.to_owned(),
            ..DeleteVolumeRequest::default()
        };
        let answer = self.driver.delete_volume(Request::new(request));
        self.call("DeleteVolume", answer).await.map(drop)
    }

    /// Bytes that the volume has afterwards.
    pub async fn expand(&self, handle: &str, bytes: i64, block: bool) -> Result<i64, CallError> {
        let request = ControllerExpandVolumeRequest {
            volume_id: handle.to_owned(),
            capacity_range: Some(CapacityRange {
                required_bytes: bytes,
                limit_bytes: 0,
            }),
            volume_capability: Some(capability(block, &[])),
            ..ControllerExpandVolumeRequest::default()
        };
        let answer = self.driver.controller_expand_volume(Request::new(request));
        let grown = self.call("ControllerExpandVolume", answer).await?;
        Ok(grown.capacity_bytes)
    }

    pub async fn create_snapshot(&self, name: &str, handle: &str) -> Result<Snapshot, CallError> {
        let request = CreateSnapshotRequest {
            name: name.to_owned(),
            source_volume_id: handle.to_owned(),
            ..CreateSnapshotRequest::default()
        };
        let answer = self.driver.create_snapshot(Request::new(request));
        required(self.call("CreateSnapshot", answer).await?.snapshot, "snapshot")
    }

    pub async fn delete_snapshot(&self, handle: &str) -> Result<(), CallError> {
        let request = DeleteSnapshotRequest {
            snapshot_id: handle.to_owned(),
            ..DeleteSnapshotRequest::default()
        };
        let answer = self.driver.delete_snapshot(Request::new(request));
        self.call("DeleteSnapshot", answer).await.map(drop)
    }

    /// The snapshot that exists under this handle.
    pub async fn find_snapshot(&self, handle: &str) -> Result<Snapshot, CallError> {
        let request = ListSnapshotsRequest {
            snapshot_id: handle.to_owned(),
            ..ListSnapshotsRequest::default()
        };
        let answer = self.driver.list_snapshots(Request::new(request));
        let found = self
            .call("ListSnapshots", answer)
            .await?
            .entries
            .into_iter()
            .next();
        found.and_then(|entry| entry.snapshot).ok_or_else(|| CallError {
            code: Code::NotFound,
            message: format!("can not find snapshot for snapshotID {handle}"),
        })
    }

    pub async fn publish(
        &self,
        handle: &str,
        target: &Path,
        capability: VolumeCapability,
        read_only: bool,
    ) -> Result<(), CallError> {
        let request = NodePublishVolumeRequest {
            volume_id: handle.to_owned(),
            target_path: target.display().to_string(),
            volume_capability: Some(capability),
            readonly: read_only,
            ..NodePublishVolumeRequest::default()
        };
        let answer = self.driver.node_publish_volume(Request::new(request));
        self.call("NodePublishVolume", answer).await.map(drop)
    }

    pub async fn unpublish(&self, handle: &str, target: &Path) -> Result<(), CallError> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: handle.to_owned(),
            target_path: target.display().to_string(),
        };
        let answer = self.driver.node_unpublish_volume(Request::new(request));
        self.call("NodeUnpublishVolume", answer).await.map(drop)
    }
}

fn required<T>(found: Option<T>, what: &str) -> Result<T, CallError> {
    found.ok_or_else(|| CallError {
        code: Code::Internal,
        message: format!("the driver's answer has no {what}"),
    })
}

/// The capability that Kubernetes' access modes ask for; the first of several. None named: one node may write.
pub(super) fn capability(block: bool, access_modes: &[String]) -> VolumeCapability {
    let mode = match access_modes.first().map(String::as_str) {
        Some("ReadOnlyMany") => Mode::MultiNodeReaderOnly,
        Some("ReadWriteMany") => Mode::MultiNodeMultiWriter,
        Some("ReadWriteOncePod") => Mode::SingleNodeSingleWriter,
        // The driver has the capability SINGLE_NODE_MULTI_WRITER, and ReadWriteOnce allows several pods of a node.
        _ => Mode::SingleNodeMultiWriter,
    };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(if block {
            AccessType::Block(BlockVolume {})
        } else {
            AccessType::Mount(MountVolume::default())
        }),
    }
}
