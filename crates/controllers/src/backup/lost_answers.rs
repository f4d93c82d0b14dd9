//! Writes of a Backup whose answers never come: what was written is done, what was not is written once more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use caravel_api::labels::ATTEMPT;
use caravel_api::v1::{Backup, BackupPhase};
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::status::{StatusError, StatusWriter};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Done, and the connection breaks.
    LostAnswer,
    /// Done, and answered with 504.
    TimesOut,
    /// Not done: the connection is dead.
    Unreachable,
}

/// An API server with one Backup.
struct Server {
    object: Mutex<Value>,
    /// Of the next requests; without one, a request is answered.
    fates: Mutex<Vec<Fate>>,
    /// Merged into the object after the first write, by somebody else.
    then: Mutex<Option<Value>>,
    writes: Mutex<usize>,
}

impl Server {
    fn new(fates: &[Fate]) -> Arc<Self> {
        let object = json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": "b", "namespace": "velero", "uid": "1", "resourceVersion": "1"},
            "spec": {}, "status": {"phase": "InProgress"},
        });
        Arc::new(Self {
            object: Mutex::new(object),
            fates: Mutex::new(fates.iter().rev().copied().collect()),
            then: Mutex::default(),
            writes: Mutex::default(),
        })
    }

    fn and_then(self: Arc<Self>, somebody: Value) -> Arc<Self> {
        *self.then.lock() = Some(somebody);
        self
    }

    fn writer(self: &Arc<Self>) -> StatusWriter {
        let server = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move { server.answer(request).await }
        });
        let current = serde_json::from_value(self.object.lock().clone()).unwrap();
        StatusWriter::new(&Client::new(service, "velero"), current)
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, io::Error> {
        let method = request.method().clone();
        let body = request.into_body().collect_bytes().await.unwrap_or_default();
        let fate = self.fates.lock().pop().unwrap_or(Fate::Answered);
        if fate == Fate::Unreachable {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (code, answer) = self.done(&method, serde_json::from_slice(&body).unwrap_or_default());
        let (code, answer) = match fate {
            Fate::LostAnswer => return Err(io::ErrorKind::ConnectionReset.into()),
            Fate::TimesOut => (504, status(504, "Timeout")),
            _ => (code, answer),
        };
        let response = Response::builder()
            .status(code)
            .header("content-type", "application/json");
        let response = response.body(Body::from(answer.to_string().into_bytes()));
        Ok(response.unwrap())
    }

    fn done(&self, method: &Method, patch: Value) -> (u16, Value) {
        let mut object = self.object.lock();
        if *method == Method::PATCH {
            *self.writes.lock() += 1;
            if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                return (409, status(409, "Conflict"));
            }
            change(&mut object, &patch);
            let answer = object.clone();
            if let Some(somebody) = self.then.lock().take() {
                change(&mut object, &somebody);
            }
            return (200, answer);
        }
        (200, object.clone())
    }

    fn phase(&self) -> String {
        self.object.lock()["status"]["phase"].as_str().unwrap().to_owned()
    }
}

fn change(object: &mut Value, patch: &Value) {
    let before = object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    json_patch::merge(object, patch);
    let after: u64 = before.parse::<u64>().unwrap() + 1;
    object["metadata"]["resourceVersion"] = json!(after.to_string());
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": reason})
}

/// The end of a run: it goes on to its operations.
fn end() -> Value {
    json!({"status": {"phase": BackupPhase::WaitingForPluginOperations, "errors": 0, "warnings": 2}})
}

const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_read_back_and_done() {
    for fate in [Fate::LostAnswer, Fate::TimesOut] {
        let server = Server::new(&[fate]);
        let mut writer = server.writer();
        writer.write(end()).await.unwrap();
        let seen: Backup = writer.current;
        assert_eq!(seen.phase(), BackupPhase::WaitingForPluginOperations, "{fate:?}");
        assert_eq!(*server.writes.lock(), 1, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_cannot_be_read_back_at_once_is_read_back_before_it_is_tried_again() {
    let server = Server::new(&[Fate::LostAnswer, Fate::Unreachable, Fate::Unreachable]);
    let mut writer = server.writer();
    writer.write_persistently(end(), TIMEOUT).await.unwrap();
    assert_eq!(server.phase(), "WaitingForPluginOperations");
    assert_eq!(writer.current.status.unwrap().warnings, 2);
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_has_gone_on_from_a_write_without_an_answer_has_got_it() {
    let on = json!({"status": {"phase": "FinalizingPartiallyFailed", "errors": 1}});
    for fates in [
        &[Fate::LostAnswer][..],
        &[Fate::LostAnswer, Fate::Unreachable, Fate::Unreachable][..],
    ] {
        let server = Server::new(fates).and_then(on.clone());
        let mut writer = server.writer();
        writer.write_persistently(end(), TIMEOUT).await.unwrap();
        assert_eq!(
            server.phase(),
            "FinalizingPartiallyFailed",
            "it is not moved back"
        );
        assert_eq!(writer.current.status.unwrap().errors, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_not_made_is_made_once_the_server_is_there() {
    let server = Server::new(&[Fate::Unreachable; 4]);
    let mut writer = server.writer();
    writer.write_persistently(end(), TIMEOUT).await.unwrap();
    assert_eq!(server.phase(), "WaitingForPluginOperations");
    assert_eq!(*server.writes.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_made_of_it_is_still_theirs() {
    let deleting = json!({"status": {"phase": "Deleting"}});
    let again = json!({"metadata": {"annotations": {ATTEMPT: "2"}}, "status": {"phase": "Finalizing"}});
    for theirs in [deleting, again] {
        // Nobody hears of the first write, and another server has the second word.
        let server = Server::new(&[Fate::LostAnswer]).and_then(theirs.clone());
        let mut writer = server.writer();
        let taken = writer.write_persistently(end(), TIMEOUT).await;
        assert!(
            matches!(taken, Err(StatusError::TakenAway { .. })),
            "{theirs}: {taken:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_was_written_after_all_does_not_count_as_failed() {
    // The end was written, and nobody could say so for as long as it was tried.
    let server = Server::new(&[Fate::LostAnswer, Fate::Unreachable]);
    let mut writer = server.writer();
    assert!(matches!(writer.write(end()).await, Err(StatusError::Api { .. })));
    let taken = writer.look_again(TIMEOUT).await.unwrap_err();
    assert!(!taken.is_gone(), "{taken}");
    assert_eq!(server.phase(), "WaitingForPluginOperations");
}
