//! All nodes together: what the API server asks of them for `kubectl logs` and `kubectl exec`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use caravel_api_server::{ApiError, ExecOptions, Executed, LogOptions, Nodes, Reason};
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::Value;

use super::container::Started;
use super::kubelet::Kubelet;
use super::worker::Worker;
use crate::{ExecRequest, Log};

/// The kubelets of the cluster.
#[derive(Clone)]
pub struct Machines(Vec<Arc<Kubelet>>);

impl Machines {
    /// These kubelets.
    pub fn new(kubelets: Vec<Arc<Kubelet>>) -> Self {
        Self(kubelets)
    }

    /// Kills a container as if the machine had: exit code 137, restarted as the pod's policy says. False: it is not running.
    pub fn kill(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let worker = self
            .0
            .iter()
            .find_map(|kubelet| kubelet.worker_of(namespace, pod));
        let started = worker.and_then(|worker| worker.started.lock().get(container).cloned());
        match started.filter(Started::is_running) {
            Some(started) => {
                started.kill();
                true
            }
            None => false,
        }
    }

    /// A node goes off as if its plug were pulled: its pods stop at once, nothing of it is heard any more. False: there is no
    /// such node, or it is off.
    pub fn fail_node(&self, name: &str) -> bool {
        self.of(name).is_some_and(|kubelet| kubelet.fail())
    }

    /// A node goes on again. False: there is no such node.
    ///
    /// # Errors
    /// When the API server does not take what the node says; it is on, and says no more.
    pub async fn recover_node(&self, name: &str) -> Result<bool, kube::Error> {
        match self.of(name) {
            Some(kubelet) => kubelet.recover().await.map(|()| true),
            None => Ok(false),
        }
    }

    fn of(&self, name: &str) -> Option<&Arc<Kubelet>> {
        self.0.iter().find(|kubelet| kubelet.name() == name)
    }

    /// Real API servers cannot dial a node that is off.
    fn refuse_if_off(&self, pod: &Value) -> Result<(), ApiError> {
        let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        match self.of(name).filter(|kubelet| kubelet.is_off()) {
            None => Ok(()),
            Some(kubelet) => {
                let address = format!("{}:10250", kubelet.host_ip());
                let why = format!(
                    "error dialing backend: dial tcp {address}: connect: no route to host (node {name} is off)"
                );
                Err(ApiError::new(Reason::InternalError, why))
            }
        }
    }

    fn worker(&self, pod: &Value) -> Option<Arc<Worker>> {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.0.iter().find_map(|kubelet| kubelet.worker(uid))
    }

    /// A container of the pod: the one named, or the only one.
    fn container(&self, pod: &Value, name: &str, previous: bool) -> Result<Started, ApiError> {
        self.refuse_if_off(pod)?;
        let (namespace, pod_name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
        let first = pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default();
        let name = if name.is_empty() { first } else { name };
        let worker = self.worker(pod);
        let found = worker.as_ref().and_then(|worker| {
            let starts = if previous {
                worker.previous.lock()
            } else {
                worker.started.lock()
            };
            starts.get(name).cloned()
        });
        found.ok_or_else(|| {
            let pod_name = pod_name.as_str().unwrap_or_default();
            let why = match worker {
                _ if previous => {
                    format!("previous terminated container \"{name}\" in pod \"{pod_name}\" not found")
                }
                Some(worker) => {
                    let reason = worker
                        .record
                        .lock()
                        .container(name)
                        .map(super::status::Record::waits_for);
                    let reason = reason.unwrap_or_default();
                    format!("container \"{name}\" in pod \"{pod_name}\" is waiting to start: {reason}")
                }
                None => format!(
                    "pod {}/{pod_name} is on no node",
                    namespace.as_str().unwrap_or_default()
                ),
            };
            ApiError::new(Reason::BadRequest, why)
        })
    }
}

#[async_trait]
impl Nodes for Machines {
    async fn logs(&self, pod: &Value, options: LogOptions) -> Result<BoxStream<'static, Bytes>, ApiError> {
        let started = self.container(pod, &options.container, options.previous)?;
        let log = started.container.log.clone();
        let written = log.since(0);
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let of_tail = options
            .tail_lines
            .map_or(0, |lines| tail(&written, number(lines)));
        let of_time = options.since.map_or(0, |since| log.offset_at(since));
        let offset = of_tail.max(of_time);
        let view = View {
            log,
            started,
            offset,
            timestamps: options.timestamps,
        };
        if options.follow {
            return Ok(view.follow());
        }
        let limit = options.limit_bytes.map_or(usize::MAX, number);
        let bytes = view.dated(written.slice(offset..));
        let end = bytes.len().min(limit);
        Ok(stream::iter([bytes.slice(..end)]).boxed())
    }

    async fn exec(&self, pod: &Value, options: ExecOptions) -> Result<Executed, ApiError> {
        let started = self.container(pod, &options.container, false)?;
        if !started.is_running() {
            let name = &started.container.name;
            let why = format!("container not found (\"{name}\")");
            return Err(ApiError::new(Reason::BadRequest, why));
        }
        let request = ExecRequest {
            command: options.command,
            stdin: options.stdin,
        };
        Ok(started.program.exec(&started.container, request).await)
    }
}

/// Where the last lines begin.
fn tail(written: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return written.len();
    }
    let body = written.strip_suffix(b"\n").unwrap_or(written);
    let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.nth(lines - 1).map_or(0, |(at, _)| at + 1)
}

/// A log as somebody reads it.
struct View {
    log: Log,
    started: Started,
    offset: usize,
    timestamps: bool,
}

impl View {
    /// What begins at the offset, each line with its time if it is wanted.
    fn dated(&self, bytes: Bytes) -> Bytes {
        if !self.timestamps {
            return bytes;
        }
        let mut dated = Vec::with_capacity(bytes.len() * 2);
        let mut offset = self.offset;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let time = self.log.time_at(offset);
            dated.extend_from_slice(format!("{time:.9} ").as_bytes());
            dated.extend_from_slice(line);
            offset += line.len();
        }
        dated.into()
    }

    /// From here on, until the container has ended and all is told.
    fn follow(self) -> BoxStream<'static, Bytes> {
        stream::unfold(self, |mut view| async move {
            loop {
                let log = view.log.clone();
                let grown = log.grown();
                let was_running = view.started.is_running();
                let new = view.log.since(view.offset);
                if !new.is_empty() {
                    let length = new.len();
                    let said = view.dated(new);
                    view.offset += length;
                    return Some((said, view));
                }
                if !was_running {
                    return None;
                }
                tokio::select! {
                    biased;
                    () = grown => {}
                    _ = view.started.ended() => {}
                }
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn the_last_lines_are_whole_lines() {
        let log = b"one\ntwo\nthree\n";
        assert_eq!(&log[tail(log, 1)..], b"three\n");
        assert_eq!(&log[tail(log, 2)..], b"two\nthree\n");
        assert_eq!(&log[tail(log, 9)..], log);
        assert_eq!(&log[tail(log, 0)..], b"");
        assert_eq!(&b"one\ntw"[tail(b"one\ntw", 1)..], b"tw");
    }
}
