//! A Backup or Restore that is `InProgress` while nobody runs it: its server ended. It begins again, as the next attempt
//! (docs/decisions/0007), so that a server which dies costs time and nothing else.
//!
//! ```text
//! InProgress ─ server dies ─► InProgress, attempt 2 ─ dies ─► attempt 3 ─ dies ─► Failed: what kills three servers would
//!       └─ server is asked to end (SIGTERM): the attempt is not counted            kill the fourth
//! ```
//! The attempts are counted in an annotation; the first one has none.

use std::fmt::Debug;
use std::time::Duration;

use caravel_api::labels::ATTEMPT;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// After so many attempts it has failed.
pub const MOST: u32 = 3;

/// What becomes of one that nobody runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It begins again.
    Begin { attempt: u32 },
    /// It has failed, because of this.
    GiveUp { reason: String },
}

/// The number of the attempt that is going on, or was. An annotation that is no number was not written by a server.
pub fn of(object: &impl ResourceExt) -> u32 {
    let said = object.annotations().get(ATTEMPT);
    said.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// Decides for an object that is `InProgress` while nobody runs it. Pure.
pub fn next(object: &impl ResourceExt) -> Next {
    let attempt = of(object).saturating_add(1);
    if attempt <= MOST {
        return Next::Begin { attempt };
    }
    let reason = format!(
        "its server ended {MOST} times while it ran, so it is not begun again: see why in the log of the former container (kubectl -n {} logs deployment/velero --previous; memory is the usual reason)",
        object.namespace().unwrap_or_default()
    );
    Next::GiveUp { reason }
}

/// The merge patch that says which attempt it is; none: the first.
pub fn patch(attempt: Option<u32>) -> Value {
    json!({"metadata": {"annotations": {ATTEMPT: attempt.map(|number| number.to_string())}}})
}

/// The server is asked to end in the middle of an attempt: that is no reason to count it. Best effort, and soon over.
pub(crate) async fn not_counted<K>(api: &Api<K>, name: &str, is_in_progress: impl Fn(&K) -> bool)
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let written = async {
        let Some(object) = api.get_opt(name).await?.filter(is_in_progress) else {
            return Ok(());
        };
        let mut patch = patch(Some(of(&object).saturating_sub(1)));
        patch["metadata"]["resourceVersion"] = json!(object.resource_version());
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop)
    };
    let within: Result<Result<(), kube::Error>, _> =
        tokio::time::timeout(Duration::from_secs(3), written).await;
    if !matches!(within, Ok(Ok(()))) {
        tracing::warn!(
            object = name,
            "this attempt was ended by a request to end, and counts all the same"
        );
    }
}

#[cfg(test)]
mod tests {
    use caravel_api::v1::Backup;

    use super::*;

    fn backup(attempt: Option<&str>) -> Backup {
        let mut backup = Backup::new("b1", Default::default());
        if let Some(attempt) = attempt {
            backup
                .annotations_mut()
                .insert(ATTEMPT.to_owned(), attempt.to_owned());
        }
        backup
    }

    #[test]
    fn one_that_nobody_runs_begins_again_twice_and_then_has_failed_with_the_reason() {
        assert_eq!(next(&backup(None)), Next::Begin { attempt: 2 });
        assert_eq!(next(&backup(Some("2"))), Next::Begin { attempt: 3 });
        let Next::GiveUp { reason } = next(&backup(Some("3"))) else {
            panic!("is given up");
        };
        assert!(
            reason.contains("3 times") && reason.contains("--previous"),
            "{reason}"
        );
    }

    #[test]
    fn an_attempt_that_was_not_counted_is_made_again() {
        assert_eq!(next(&backup(Some("0"))), Next::Begin { attempt: 1 });
        assert_eq!(next(&backup(Some("1"))), Next::Begin { attempt: 2 });
    }

    #[test]
    fn an_annotation_that_is_no_number_counts_as_the_first_attempt() {
        for nonsense in ["", "-1", "many", "99999999999"] {
            assert_eq!(of(&backup(Some(nonsense))), 1, "{nonsense:?}");
        }
    }

    #[test]
    fn the_first_attempt_takes_an_annotation_off_that_somebody_copied() {
        assert_eq!(
            patch(None),
            json!({"metadata": {"annotations": {"velero.io/attempt": null}}})
        );
        assert_eq!(
            patch(Some(2)),
            json!({"metadata": {"annotations": {"velero.io/attempt": "2"}}})
        );
    }
}
