//! The end of a pod: its containers are asked, then made to stop; then volumes, object and folder go.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};

use super::container::Started;
use super::volumes::{OnPod, give_back, pod_folder};
use super::worker::Worker;
use crate::machinery::{Kinds, Told, is_conflict, is_not_found};

/// The grace of a pod that does not say (Kubernetes' default).
const USUAL_GRACE: Duration = Duration::from_secs(30);
/// The grace when the whole sandbox ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// A killed task ends at its next await; one that never awaits is not waited for longer.
const KILL_WAIT: Duration = Duration::from_secs(2);

impl Worker {
    /// The pod is being deleted, or is gone.
    pub(super) async fn end(&self) {
        let latest = self.changes.borrow().clone();
        let grace = latest.as_ref().map_or(Duration::ZERO, grace);
        let running: Vec<Started> = self
            .started
            .lock()
            .values()
            .filter(|it| it.is_running())
            .cloned()
            .collect();
        if !running.is_empty() && latest.is_some() {
            for started in &running {
                let told = format!("Stopping container {}", started.container.name);
                let mut told = Told::normal("kubelet", "Killing", told);
                told.host.clone_from(&self.node.name);
                told.field_path = format!("spec.containers{{{}}}", started.container.name);
                self.node.context.recorder.tell(&self.pod, told).await;
            }
        }
        tokio::select! {
            biased;
            () = stop(&running, grace) => {}
            // Deleted by force meanwhile.
            () = self.gone() => stop(&running, Duration::ZERO).await,
        }
        for started in &running {
            let code = started.ended().await;
            if let Some(spec) = self.spec_of(&started.container.name) {
                self.note_end(&spec, started, code);
            }
        }
        self.unmount().await;
        // Without a start here there is nothing new to say: the machine may have been off meanwhile.
        if !self.started.lock().is_empty() {
            self.record.lock().is_over = self.has_run_all();
            self.report().await;
        }
        self.delete_object().await;
        self.gone().await;
        let folder = pod_folder(&self.node.root, &self.pod);
        if let Err(error) = std::fs::remove_dir_all(&folder) {
            tracing::debug!(%error, folder = %folder.display(), "pod folder stays");
        }
    }

    /// The sandbox ends: programs are asked to stop, objects stay as they are.
    pub(super) async fn stop_quickly(&self) {
        let running: Vec<Started> = self.started.lock().values().cloned().collect();
        stop(&running, SHUTDOWN_GRACE).await;
        // A driver that refuses is not waited for: with the sandbox all publications end.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, self.unmount()).await;
    }

    fn has_run_all(&self) -> bool {
        let started = self.started.lock();
        self.pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .all(|spec| started.contains_key(&spec.name))
    }

    fn spec_of(&self, name: &str) -> Option<k8s_openapi::api::core::v1::Container> {
        self.record
            .lock()
            .container(name)
            .map(|record| record.spec.clone())
    }

    /// Gives the volumes back.
    pub(super) async fn unmount(&self) {
        self.mounted.lock().clear();
        // Each leaves the set only when it is given back: this may be dropped at an await, and is then begun again.
        let asked = self.asked.lock().clone();
        let uid = self.pod.uid().unwrap_or_default();
        let on = OnPod {
            node: &self.node.name,
            pod: &uid,
        };
        for handle in asked {
            give_back(&*self.node.volumes, &handle, &on).await;
            self.asked.lock().remove(&handle);
        }
    }

    /// The object goes, now that nothing of the pod runs any more.
    async fn delete_object(&self) {
        let api = self
            .node
            .context
            .client
            .of::<Pod>(&self.pod.namespace().unwrap_or_default());
        let now = DeleteParams::default()
            .grace_period(0)
            .preconditions(Preconditions {
                uid: self.pod.uid(),
                resource_version: None,
            });
        let mut wait = Duration::from_millis(10);
        while self.changes.borrow().is_some() {
            match api.delete(&self.pod.name_any(), &now).await {
                Ok(_) => return,
                Err(error) if is_not_found(&error) || is_conflict(&error) => return,
                Err(error) => {
                    tracing::debug!(%error, pod = %self.pod.name_any(), "pod will be deleted again")
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
    }

    /// Returns when the API server has the pod no more.
    async fn gone(&self) {
        let mut changes = self.changes.clone();
        let _ = changes.wait_for(Option::is_none).await;
    }
}

fn grace(pod: &Pod) -> Duration {
    let spec = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = pod.metadata.deletion_grace_period_seconds.or(spec);
    seconds.map_or(USUAL_GRACE, |seconds| {
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    })
}

/// Asks all to stop; kills what still runs after the grace.
async fn stop(running: &[Started], grace: Duration) {
    for started in running {
        started.ask_to_stop();
    }
    let all_ended = || join_all(running.iter().map(Started::ended));
    if tokio::time::timeout(grace, all_ended()).await.is_ok() {
        return;
    }
    for started in running {
        started.kill();
    }
    let _ = tokio::time::timeout(KILL_WAIT, all_ended()).await;
}
