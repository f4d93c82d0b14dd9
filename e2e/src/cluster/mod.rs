//! A single-node Kubernetes as plain processes: `cargo xtask cluster up|down|status`.
//!
//! `up` may be run at any time: it keeps what runs and is right, restarts what is not, and starts what is missing. A cluster
//! whose mount namespace is gone (the machine was restarted, someone killed it) is cleared away first.

pub mod certificates;
pub mod control_plane;
pub mod csi;
pub mod health;
pub mod layout;
pub mod namespace;
pub mod network;
pub mod node;
pub mod object_store;
pub mod packages;
pub mod processes;
mod teardown;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::facts::{Facts, S3};
use crate::go_pieces::{self, Piece};
use crate::{image, places};
use layout::Layout;
use network::Ports;
use processes::Started;

/// Brings the cluster up, or finds it up, and returns how to reach it.
pub fn up() -> Result<Facts> {
    let begun = Instant::now();
    let layout = Layout::new(places::cluster_root());
    let _lock = layout.lock()?;
    if !rustix::process::geteuid().is_root() {
        bail!("the cluster needs root (mounts, a bridge, containers)");
    }
    refuse_foreign_kubelet(&layout)?;
    let mut steps = Steps::default();
    steps.run("packages", packages::ensure)?;
    if layout.is_ours() && !namespace::is_alive(&layout) {
        steps.run("remove a stale cluster", || teardown::down(&layout))?;
    }
    layout.claim()?;
    let kube = steps.run("binaries", binaries)?;
    let ports = steps.run("network, certificates", || {
        network::ensure_bridge()?;
        let ports = Ports::choose(&layout)?;
        certificates::ensure(&layout)?;
        certificates::ensure_kubeconfigs(&layout, &ports)?;
        namespace::ensure(&layout)?;
        Ok(ports)
    })?;
    steps.run("containerd, images", || {
        node::containerd(&layout)?;
        node::import_base_images(&layout)
    })?;
    steps.run("S3", || object_store::ensure(&layout, &ports))?;
    steps.run("etcd, API server", || {
        control_plane::etcd(&layout, &kube, &ports)?;
        control_plane::api_server(&layout, &kube, &ports)
    })?;
    steps.run("controllers, kubelet", || {
        control_plane::controllers(&layout, &kube, &ports)?;
        node::kubelet_and_proxy(&layout, &kube, &ports)
    })?;
    steps.run("snapshot CRDs", || csi::snapshots(&layout))?;
    let facts = facts(&layout, &ports)?;
    facts.write(&layout.path("facts.json"))?;
    steps.run("node Ready", || node::wait_until_ready(&layout))?;
    let driver = steps.run("build the CSI driver", build_csi_driver)?;
    steps.run("CSI driver", || csi::driver(&layout, &driver))?;
    steps.print();
    println!(
        "up in {:.1} s; export KUBECONFIG={}",
        begun.elapsed().as_secs_f64(),
        facts.kubeconfig.display()
    );
    Ok(facts)
}

/// Removes the cluster with everything that it left on the machine.
pub fn down() -> Result<()> {
    let begun = Instant::now();
    let layout = Layout::new(places::cluster_root());
    let _lock = layout.lock()?;
    if !layout.is_ours() {
        println!("no cluster in {}", layout.root().display());
        return Ok(());
    }
    teardown::down(&layout)?;
    println!("down in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Prints a line per process; false when the cluster is not whole.
pub fn status() -> Result<bool> {
    let layout = Layout::new(places::cluster_root());
    if !layout.is_ours() {
        println!("no cluster in {}", layout.root().display());
        return Ok(false);
    }
    let mut whole = true;
    let mut all = Started::all(&layout);
    all.reverse();
    for started in all {
        let alive = started.is_alive();
        whole &= alive;
        let log = layout.path(format!("log/{}.log", started.name));
        println!(
            "{:<24} {:<8} pid {:<8} {}",
            started.name,
            if alive { "runs" } else { "ENDED" },
            started.pid,
            log.display()
        );
    }
    match control_plane::kubectl(&layout, &["get", "nodes", "--no-headers"]) {
        Ok(nodes) => println!("{}", nodes.trim()),
        Err(error) => {
            println!("{error:#}");
            whole = false;
        }
    }
    println!("facts: {}", layout.path("facts.json").display());
    Ok(whole)
}

/// Imports an image archive into the running cluster.
pub fn load_image(archive: &Path) -> Result<()> {
    let layout = Layout::new(places::cluster_root());
    if !namespace::is_alive(&layout) {
        bail!("no cluster runs; `cargo xtask cluster up` starts one");
    }
    node::import_image(&layout, archive)
}

/// A kubelet that is not ours would fight with it over cgroups, packet filters and containers.
fn refuse_foreign_kubelet(layout: &Layout) -> Result<()> {
    let ours = Started::remembered(layout, "kubelet")
        .filter(Started::is_alive)
        .map(|started| started.pid);
    for (pid, _) in processes::every() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "kubelet" && Some(pid) != ours {
            // Ours may have been left by a stale cluster, whose records are removed below.
            if layout.is_ours() && processes::command_line(pid).contains(&layout.text("config/kubelet.json"))
            {
                continue;
            }
            bail!(
                "a kubelet that is not ours runs here (pid {pid}); two cannot share a machine, so nothing was started"
            );
        }
    }
    Ok(())
}

/// Provides all binaries up front, so that a long build is not counted as a slow start; returns the `kube` one.
fn binaries() -> Result<std::path::PathBuf> {
    for piece in [
        Piece::SnapshotController,
        Piece::CsiSnapshotter,
        Piece::CsiProvisioner,
        Piece::Versitygw,
    ] {
        go_pieces::provide(piece)?;
    }
    go_pieces::snapshot_crds()?;
    go_pieces::provide(Piece::Kube)
}

fn build_csi_driver() -> Result<std::path::PathBuf> {
    if let Some(built) = std::env::var_os("CARAVEL_CSI_DRIVER") {
        return Ok(built.into());
    }
    image::cargo_build(&image::as_tested("caravel-csi-driver"), "caravel-csi-driver").context(
        "the CSI driver does not build; the rest of the cluster runs, and `cluster up` goes on from here",
    )
}

fn facts(layout: &Layout, ports: &Ports) -> Result<Facts> {
    Ok(Facts {
        kubeconfig: layout.path("kubeconfig/admin"),
        node_address: network::ADDRESS.to_string(),
        storage_class: csi::CLASS.to_owned(),
        storage_class_waiting: Some(csi::CLASS_WAITING.to_owned()),
        snapshot_class: csi::CLASS.to_owned(),
        driver: csi::DRIVER.to_owned(),
        image: image::PRODUCT_IMAGE.to_owned(),
        application_image: image::BUSYBOX_IMAGE.to_owned(),
        s3: S3 {
            url: format!("https://{}", ports.s3_address()),
            region: object_store::REGION.to_owned(),
            bucket: object_store::BUCKET.to_owned(),
            ca_file: Some(layout.path("pki/ca.crt")),
            other_ca_file: Some(layout.path("pki/other-ca.crt")),
            credentials_file: layout.path("s3-credentials"),
            folder: Some(layout.path("s3")),
        },
        root: Some(layout.root().to_owned()),
        mounts_pid: namespace::holder_pid(layout),
        velero: None,
        peer: None,
    })
}

/// Runs a command with the cluster's mounts in view.
pub fn inside(layout: &Layout, program: &str) -> Result<Command> {
    let words = namespace::enter(layout)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(program);
    Ok(command)
}

/// Names and durations of what `up` did.
#[derive(Default)]
struct Steps(Vec<(&'static str, f64)>);

impl Steps {
    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = step().with_context(|| format!("cluster up stopped at: {name}"));
        self.0.push((name, begun.elapsed().as_secs_f64()));
        result
    }

    fn print(&self) {
        for (name, seconds) in &self.0 {
            println!("{name:<28} {seconds:>6.1} s");
        }
    }
}
