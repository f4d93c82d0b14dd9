//! Canceling a Backup or Restore: an addition to Velero, which has no such thing.
//!
//! ```text
//! velero backup cancel b1 ─┐
//! kubectl annotate backup  ├► annotation velero.io/cancel=<who> ─► the controller whose turn it is ends the work:
//!         b1 velero.io/cancel=alice                                 Failed, or PartiallyFailed, and who and when
//! ```
//! Only an annotation is added, and only phases that Velero has are written: its own tools read the objects as ever.
//! The annotation is a wish. One on a Backup that has ended changes nothing.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The annotation; its value is who wishes it (`alice`, or just `true`).
pub const CANCEL: &str = "velero.io/cancel";

/// How a reason begins, by which a cancel that was acted on is known.
const CANCELED_BY: &str = "canceled by ";

/// Who wishes that the work on an object ends. None: nobody; `velero.io/cancel=false` is nobody, too.
pub fn wished_by(object: &impl ResourceExt) -> Option<String> {
    let who = object.annotations().get(CANCEL)?.trim();
    match who {
        "false" => None,
        "" | "true" => Some("somebody who did not say their name".to_owned()),
        who => Some(who.to_owned()),
    }
}

/// For `status.failureReason`: who, when, and what there is now.
pub fn reason(who: &str, now: jiff::Timestamp, what: &str) -> String {
    let when = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("{CANCELED_BY}{who} at {when}: {what}")
}

/// Whether a reason says that the cancel was acted on.
pub fn is_said(failure_reason: &str) -> bool {
    failure_reason.starts_with(CANCELED_BY)
}

/// The patch of the command: the wish, and nothing else.
pub fn wish(who: &str) -> Value {
    json!({"metadata": {"annotations": {CANCEL: who}}})
}

/// Waits until somebody wishes that the work on this very object ends, by watch; gives who. Does not end otherwise: an
/// object that is gone is noticed by whoever writes it.
pub async fn wished<K>(api: Api<K>, name: &str, uid: Option<String>) -> String
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let objects = watcher::watch_object(api, name).default_backoff();
    futures::pin_mut!(objects);
    while let Some(seen) = objects.next().await {
        if let Ok(Some(object)) = seen
            && object.meta().uid == uid
            && let Some(who) = wished_by(&object)
        {
            return who;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use caravel_api::v1::Backup;

    use super::*;

    fn annotated(value: Option<&str>) -> Backup {
        let mut backup = Backup::new("b1", Default::default());
        if let Some(value) = value {
            backup
                .annotations_mut()
                .insert(CANCEL.to_owned(), value.to_owned());
        }
        backup
    }

    #[test]
    fn the_annotation_says_who() {
        assert_eq!(wished_by(&annotated(None)), None);
        assert_eq!(wished_by(&annotated(Some("false"))), None);
        assert_eq!(wished_by(&annotated(Some("alice"))).as_deref(), Some("alice"));
        for nameless in ["", "true"] {
            assert!(
                wished_by(&annotated(Some(nameless)))
                    .unwrap()
                    .contains("did not say")
            );
        }
    }

    #[test]
    fn the_reason_says_who_and_when_and_is_known_again() {
        let reason = reason(
            "alice",
            "2026-11-21T10:00:00.5Z".parse().unwrap(),
            "it had not begun",
        );
        assert_eq!(
            reason,
            "canceled by alice at 2026-11-21T10:00:00Z: it had not begun"
        );
        assert!(is_said(&reason) && !is_said("the disk is full"));
    }

    #[test]
    fn the_command_writes_the_wish_and_nothing_else() {
        assert_eq!(
            wish("alice"),
            json!({"metadata": {"annotations": {"velero.io/cancel": "alice"}}})
        );
    }
}
