//! The CSI driver, called in process: every call has a deadline and an error as the sidecars report it.
//!
//! All calls go through [`Csi::run`], which asks the rules ([`super::faults`]) what goes wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use caravel_api_server::faults::Subject;
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
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::faults::{CsiFault, CsiRules};

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
    faults: Arc<CsiRules>,
    /// Snapshots that a rule keeps from being ready, by handle, and until when.
    unready: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Csi {
    pub fn new(driver: Driver, faults: Arc<CsiRules>) -> Self {
        Self {
            driver,
            faults,
            unready: Arc::default(),
        }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        object: &str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        self.run(name, object, answer).await.map(|(answer, _)| answer)
    }

    /// The driver's answer, and for how long what was made is not ready.
    async fn run<T>(
        &self,
        name: &'static str,
        object: &str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<(T, Duration), CallError> {
        let failed = |code, message| Err(CallError { code, message });
        let fault = self.faults.fault(&Subject {
            operation: name,
            name: object,
            ..Subject::default()
        });
        let mut wait = Duration::ZERO;
        let mut unready = Duration::ZERO;
        match &fault {
            Some(CsiFault::Fail(code, message)) => return failed(*code, message.clone()),
            Some(CsiFault::DiskFull) => {
                return failed(
                    Code::ResourceExhausted,
                    format!("{object}: no space left on device"),
                );
            }
            Some(CsiFault::Slow(time)) => wait = *time,
            Some(CsiFault::NotReadyFor(time)) => unready = *time,
            Some(CsiFault::LostAnswer) | None => {}
        }
        let answer = async {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            answer.await
        };
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(_)) if fault == Some(CsiFault::LostAnswer) => {
                failed(Code::Unavailable, "error reading from server: EOF".to_owned())
            }
            Ok(Ok(response)) => Ok((response.into_inner(), unready)),
            Ok(Err(status)) => failed(status.code(), status.message().to_owned()),
            Err(_) => failed(
                Code::DeadlineExceeded,
                format!("{name}: no answer within {} s", DEADLINE.as_secs()),
            ),
        }
    }

    /// The snapshot as the storage shows it at this moment.
    fn shown(&self, mut snapshot: Snapshot) -> Snapshot {
        let mut unready = self.unready.lock();
        if let Some(until) = unready.get(&snapshot.snapshot_id) {
            if *until > Instant::now() {
                snapshot.ready_to_use = false;
            } else {
                unready.remove(&snapshot.snapshot_id);
            }
        }
        snapshot
    }

    pub async fn create_volume(&self, request: CreateVolumeRequest) -> Result<Volume, CallError> {
        let name = request.name.clone();
        let answer = self.driver.create_volume(Request::new(request));
        required(self.call("CreateVolume", &name, answer).await?.volume, "volume")
    }

    pub async fn delete_volume(&self, handle: &str) -> Result<(), CallError> {
        let request = DeleteVolumeRequest {
            volume_id: handle.to_owned(),
            ..DeleteVolumeRequest::default()
        };
        let answer = self.driver.delete_volume(Request::new(request));
        self.call("DeleteVolume", handle, answer).await.map(drop)
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
        let grown = self.call("ControllerExpandVolume", handle, answer).await?;
        Ok(grown.capacity_bytes)
    }

    pub async fn create_snapshot(&self, name: &str, handle: &str) -> Result<Snapshot, CallError> {
        let request = CreateSnapshotRequest {
            name: name.to_owned(),
            source_volume_id: handle.to_owned(),
            ..CreateSnapshotRequest::default()
        };
        let answer = self.driver.create_snapshot(Request::new(request));
        let (answer, unready) = self.run("CreateSnapshot", handle, answer).await?;
        let snapshot = required(answer.snapshot, "snapshot")?;
        if !unready.is_zero() {
            let until = Instant::now() + unready;
            // Asked again, the storage does not begin anew.
            self.unready
                .lock()
                .entry(snapshot.snapshot_id.clone())
                .or_insert(until);
        }
        Ok(self.shown(snapshot))
    }

    pub async fn delete_snapshot(&self, handle: &str) -> Result<(), CallError> {
        let request = DeleteSnapshotRequest {
            snapshot_id: handle.to_owned(),
            ..DeleteSnapshotRequest::default()
        };
        let answer = self.driver.delete_snapshot(Request::new(request));
        self.call("DeleteSnapshot", handle, answer).await.map(drop)
    }

    /// The snapshot that exists under this handle.
    pub async fn find_snapshot(&self, handle: &str) -> Result<Snapshot, CallError> {
        let request = ListSnapshotsRequest {
            snapshot_id: handle.to_owned(),
            ..ListSnapshotsRequest::default()
        };
        let answer = self.driver.list_snapshots(Request::new(request));
        let found = self
            .call("ListSnapshots", handle, answer)
            .await?
            .entries
            .into_iter()
            .next();
        let found = found.and_then(|entry| entry.snapshot).ok_or_else(|| CallError {
            code: Code::NotFound,
            message: format!("can not find snapshot for snapshotID {handle}"),
        })?;
        Ok(self.shown(found))
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
        self.call("NodePublishVolume", handle, answer).await.map(drop)
    }

    pub async fn unpublish(&self, handle: &str, target: &Path) -> Result<(), CallError> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: handle.to_owned(),
            target_path: target.display().to_string(),
        };
        let answer = self.driver.node_unpublish_volume(Request::new(request));
        self.call("NodeUnpublishVolume", handle, answer).await.map(drop)
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
