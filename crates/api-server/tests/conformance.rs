//! The API server, alone, against the checks that a real cluster passes (`e2e/conformance/`): those that need no controllers,
//! once in process and, where kubectl is installed, with it over HTTPS.
//!
//! `CONFORMANCE=watch,apply::force` runs only the checks whose names hold one of these words.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use anyhow::{Context, Result};
use caravel_api_server::{ApiServer, Authorization, User};
use caravel_conformance::{Filter, World, run};

/// Where this server still answers otherwise than Kubernetes. A check that passes must leave this list.
const KNOWN_DIFFERENCES: &[&str] = &[];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_answers_as_a_real_one_does() -> Result<()> {
    let server = ApiServer::builder()
        .seed(1)
        .authorization(Authorization::Rbac)
        .build();
    let others = server.clone();
    let as_user = move |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Ok(others.client_as(User {
            name: name.to_owned(),
            groups,
        }))
    };
    let mut world = World::new(server.client(), Arc::new(as_user));
    let folder = tempfile::tempdir()?;
    let serving = server
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
    report.must_pass_but_for(KNOWN_DIFFERENCES)
}
