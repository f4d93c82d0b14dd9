//! The whole sandbox against the checks that a real cluster passes (`e2e/conformance/`), those with kubectl where it is
//! installed.
//!
//! `CONFORMANCE=watch,volumes::` runs only the checks whose names hold one of these words.

mod shell;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use anyhow::{Context, Result};
use caravel_api_server::{Authorization, User};
use caravel_conformance::{Filter, World, run};
use caravel_sandbox::{Sandbox, storage};
use serde_json::json;

/// Where the sandbox still answers otherwise than Kubernetes. A check that passes must leave this list.
const KNOWN_DIFFERENCES: &[&str] = &[];

/// What `kube-root-ca.crt` holds in every namespace; nothing here looks into it.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_answers_as_a_real_cluster_does() -> Result<()> {
    let sandbox = Sandbox::builder()
        .seed(1)
        .authorization(Authorization::Rbac)
        .certificate_authority(AUTHORITY.to_owned())
        .image("docker.io/local/busybox", Arc::new(shell::Busybox))
        .start()
        .await?;
    let server = sandbox.api().clone();
    let as_user = move |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Ok(server.client_as(User {
            name: name.to_owned(),
            groups,
        }))
    };
    let mut world = World::new(sandbox.client(), Arc::new(as_user));
    world.controllers = true;
    world.nodes = true;
    world.storage_class = Some(sandbox.storage_class().to_owned());
    world.storage_class_waiting = Some("waiting".to_owned());
    world.snapshot_class = Some(sandbox.snapshot_class().to_owned());
    let waiting = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "waiting"},
        "provisioner": storage::DRIVER, "volumeBindingMode": "WaitForFirstConsumer",
    });
    world
        .post("/apis/storage.k8s.io/v1/storageclasses", &waiting)
        .await?
        .created()?;

    let folder = tempfile::tempdir()?;
    let serving = sandbox
        .api()
        .serve(([127, 0, 0, 1], 0).into())
        .await
        .context("cannot listen")?;
    if caravel_conformance::kubectl_is_installed() {
        let path = folder.path().join("kubeconfig");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(serving.kubeconfig().as_bytes())?;
        world.kubeconfig = Some(path);
    }
    let report = run(&world, &Filter::from_environment()).await?;
    serving.shutdown().await;
    sandbox.shutdown().await;
    report.must_pass_but_for(KNOWN_DIFFERENCES)
}
