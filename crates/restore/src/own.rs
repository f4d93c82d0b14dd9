//! Objects that an earlier attempt of this very Restore has made: its server ended, and it began again
//! (docs/decisions/0007). They are the Restore's own, and not "already there".

use caravel_api::labels::ATTEMPT;
use caravel_api::v1::Restore;
use caravel_api::{label_value, labels};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use crate::create::FIELD_MANAGER;

/// By what a Restore knows its own objects.
#[derive(Clone, Debug)]
pub struct Own {
    /// Of the label `velero.io/restore-name`.
    restore: String,
    /// When the Restore was made, by the API server's clock, which dates its objects, too: an earlier Restore of this name
    /// has made older ones.
    since: Timestamp,
    /// It began again.
    pub is_again: bool,
}

impl Own {
    /// Of one Restore.
    pub fn of(restore: &Restore) -> Self {
        let created = restore.creation_timestamp();
        Self {
            restore: label_value(&restore.name_any()),
            since: created.map_or(Timestamp::MAX, |time| time.0),
            is_again: restore.annotations().contains_key(ATTEMPT),
        }
    }

    /// Whether this Restore has made `live`. Controllers copy labels (Endpoints have those of their Service): where it is
    /// known who wrote the object, it must have been a restore ([`crate::managed_fields`] keeps that known).
    pub fn made(&self, live: &Value) -> bool {
        let labels = live.pointer("/metadata/labels");
        let restore = labels.and_then(|labels| labels.get(labels::RESTORE_NAME)?.as_str());
        restore == Some(&self.restore) && self.is_since(live) && is_written_by_a_restore(live)
    }

    /// Whether `live` is not older than the Restore: for namespaces, which have no label.
    pub fn is_since(&self, live: &Value) -> bool {
        let created = live
            .pointer("/metadata/creationTimestamp")
            .and_then(Value::as_str);
        let created = created.and_then(|text| text.parse::<Timestamp>().ok());
        created.is_some_and(|created| created >= self.since)
    }
}

fn is_written_by_a_restore(live: &Value) -> bool {
    let fields = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let mut writers = fields.into_iter().flatten().peekable();
    writers.peek().is_none()
        || writers.any(|entry| entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own() -> Own {
        let restore =
            json!({"metadata": {"name": "r1", "creationTimestamp": "2026-11-21T10:00:00Z"}, "spec": {}});
        Own::of(&serde_json::from_value(restore).unwrap())
    }

    fn live(restore: &str, created: &str, managers: &[&str]) -> Value {
        let fields: Vec<Value> = managers.iter().map(|name| json!({"manager": name})).collect();
        json!({"metadata": {"labels": {"velero.io/restore-name": restore}, "creationTimestamp": created, "managedFields": fields}})
    }

    #[test]
    fn an_object_with_this_restores_label_that_is_not_older_than_it_is_its_own() {
        let after = "2026-11-21T10:00:00Z";
        assert!(own().made(&live("r1", after, &[])));
        assert!(own().made(&live("r1", after, &["kubectl", "velero-server"])));
        assert!(!own().made(&live("r2", after, &[])), "another restore's");
        assert!(
            !own().made(&json!({"metadata": {"creationTimestamp": after}})),
            "a user's"
        );
    }

    #[test]
    fn an_object_of_an_earlier_restore_of_this_name_is_not() {
        assert!(!own().made(&live("r1", "2026-11-21T09:59:59Z", &[])));
    }

    #[test]
    fn an_object_to_which_a_controller_copied_the_label_is_not() {
        let endpoints = live("r1", "2026-11-21T10:05:00Z", &["kube-controller-manager"]);
        assert!(!own().made(&endpoints));
    }

    #[test]
    fn without_its_own_time_a_restore_owns_nothing() {
        let own = Own::of(&Restore::new("r1", Default::default()));
        assert!(!own.made(&live("r1", "2026-11-21T10:05:00Z", &[])));
    }
}
