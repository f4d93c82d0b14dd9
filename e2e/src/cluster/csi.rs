//! Volumes and snapshots: the snapshot CRDs, their controller, our CSI driver for tests with its sidecars, and the classes.
//!
//! Driver and sidecars run beside the kubelet as processes with the administrator's kubeconfig. The driver registers itself
//! with the kubelet (decisions.md section 5), so there is no registrar, and `attachRequired: false` saves the attacher.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::certificates::NODE;
use super::control_plane::{apply, kubectl};
use super::health;
use super::layout::Layout;
use super::processes::{Recipe, Started};
use crate::go_pieces::{self, Piece};
use crate::image;

/// The driver's name, in CSI and in Kubernetes.
pub const DRIVER: &str = "csi.caravel.dev";
/// The default StorageClass, and the VolumeSnapshotClass.
pub const CLASS: &str = "caravel";
/// The StorageClass that waits for a pod.
pub const CLASS_WAITING: &str = "caravel-wffc";

const SOCKET: &str = "/var/lib/kubelet/plugins/csi.caravel.dev/csi.sock";

/// Applies the snapshot CRDs (from their Go module) and starts the snapshot controller.
pub fn snapshots(layout: &Layout) -> Result<()> {
    let folder = go_pieces::snapshot_crds()?;
    kubectl(
        layout,
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            &folder.to_string_lossy(),
        ],
    )?;
    kubectl(
        layout,
        &[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "-f",
            &folder.to_string_lossy(),
        ],
    )?;
    Recipe::new(
        "snapshot-controller",
        go_pieces::provide(Piece::SnapshotController)?,
    )
    .arguments(patience(layout, 20))
    .ensure(layout)?;
    Ok(())
}

/// Starts the driver and its sidecars and applies the driver's object and classes.
///
/// `driver` is the built binary; it is copied into the cluster's folder, so that a later build does not pull the file from
/// under a running process, and it is restarted when its content has changed.
pub fn driver(layout: &Layout, driver: &Path) -> Result<()> {
    let content = std::fs::read(driver).with_context(|| format!("cannot read {}", driver.display()))?;
    let digest = image::sha256(&content);
    let program: PathBuf = layout.path(format!("bin/caravel-csi-driver-{}", &digest[..12]));
    if !program.exists() {
        layout.folder("bin")?;
        std::fs::copy(driver, &program).with_context(|| format!("cannot copy to {}", program.display()))?;
    }
    layout.folder("csi")?;
    layout.folder(format!("kubelet/plugins/{DRIVER}"))?;
    layout.folder("kubelet/plugins_registry")?;
    let seen_on_host = layout.path(format!("kubelet/plugins/{DRIVER}/csi.sock"));
    let started = Recipe::new("csi-driver", program)
        .in_namespace()
        .arguments([
            "--endpoint",
            SOCKET,
            "--node-id",
            NODE,
            "--state-dir",
            &layout.text("csi"),
            "--registration-dir",
            "/var/lib/kubelet/plugins_registry",
        ])
        .environment("RUST_LOG", "info")
        .ensure(layout)?;
    if started {
        // The sidecars end by themselves when the driver goes away, but only some time after; new ones start below.
        for sidecar in ["csi-provisioner", "csi-snapshotter"] {
            if let Some(earlier) = Started::remembered(layout, sidecar) {
                earlier.end(layout, Duration::from_secs(5))?;
            }
        }
        health::wait_for(layout, "csi-driver", "the CSI driver's socket", || {
            std::os::unix::net::UnixStream::connect(&seen_on_host).is_ok()
        })?;
    }
    sidecars(layout)?;
    apply(layout, &objects().to_string())?;
    let registered = health::wait(Duration::from_secs(60), Duration::from_millis(250), || {
        kubectl(
            layout,
            &["get", "csinode", NODE, "-o", "jsonpath={.spec.drivers[*].name}"],
        )
        .is_ok_and(|names| names.contains(DRIVER))
    });
    anyhow::ensure!(
        registered,
        "the kubelet did not register {DRIVER} within 60 s{}",
        super::processes::log_tail(layout, "csi-driver")
    );
    Ok(())
}

fn sidecars(layout: &Layout) -> Result<()> {
    let socket = [
        format!("--csi-address={SOCKET}"),
        "--timeout=60s".to_owned(),
        "--extra-create-metadata=true".to_owned(),
    ];
    Recipe::new("csi-provisioner", go_pieces::provide(Piece::CsiProvisioner)?)
        .in_namespace()
        .arguments(socket.clone())
        .arguments(patience(layout, 20))
        .arguments([
            "--feature-gates=Topology=false",
            "--enable-capacity=false",
            "--default-fstype=ext4",
        ])
        .ensure(layout)?;
    Recipe::new("csi-snapshotter", go_pieces::provide(Piece::CsiSnapshotter)?)
        .in_namespace()
        .arguments(socket)
        .arguments(patience(layout, 20))
        .ensure(layout)?;
    Ok(())
}

/// Flags that all sidecars share: fast retries, and requests that no client-side limit holds back.
fn patience(layout: &Layout, workers: usize) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", layout.text("kubeconfig/admin")),
        "--leader-election=false".to_owned(),
        "--retry-interval-start=200ms".to_owned(),
        "--retry-interval-max=5s".to_owned(),
        format!("--worker-threads={workers}"),
        "--kube-api-qps=100".to_owned(),
        "--kube-api-burst=200".to_owned(),
        "--v=2".to_owned(),
    ]
}

fn objects() -> Value {
    let class = |name: &str, default: bool, binding: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": name,
                         "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
            "provisioner": DRIVER, "volumeBindingMode": binding, "reclaimPolicy": "Delete",
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER},
            "spec": {"attachRequired": false, "podInfoOnMount": false, "fsGroupPolicy": "File",
                     "volumeLifecycleModes": ["Persistent"]},
        },
        class(CLASS, true, "Immediate"),
        class(CLASS_WAITING, false, "WaitForFirstConsumer"),
        {
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": {"name": CLASS, "labels": {"velero.io/csi-volumesnapshot-class": "true"}},
            "driver": DRIVER, "deletionPolicy": "Delete",
        },
    ]})
}
