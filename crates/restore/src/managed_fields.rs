//! Who set which field of a restored object (`metadata.managedFields`).
//!
//! An object that somebody applied server-side gets the fields' owners of the backup back: otherwise everything would be
//! the restore's, and the next apply in conflict with it. The restore stays on record with what it alone has set, its two
//! labels: by that a second attempt knows the object as its own ([`crate::own`]).

use caravel_api::labels;
use serde_json::{Value, json};

use crate::create::FIELD_MANAGER;

/// What to write for `created`, None when nobody applied the object server-side.
pub fn of_appliers(in_backup: &Value, created: &Value) -> Option<Value> {
    let in_backup = in_backup.pointer("/metadata/managedFields")?.as_array()?;
    if !in_backup.iter().any(|entry| entry["operation"] == "Apply") {
        return None;
    }
    let of_others = in_backup.iter().filter(|entry| !is_a_restores(entry)).cloned();
    Some(of_others.chain([of_the_restore(created)]).collect())
}

/// An earlier restore's: the object was backed up after it.
fn is_a_restores(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER
        && entry["operation"] == "Update"
        && entry.get("subresource").is_none_or(|name| name == "")
}

fn of_the_restore(created: &Value) -> Value {
    let owned = |label: &str| (format!("f:{label}"), json!({}));
    let labels = serde_json::Map::from_iter([owned(labels::BACKUP_NAME), owned(labels::RESTORE_NAME)]);
    json!({
        "manager": FIELD_MANAGER,
        "operation": "Update",
        "apiVersion": created["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": labels}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsV1": {"f:spec": {}}})
    }

    fn managers(entries: &[Value]) -> Option<Vec<String>> {
        let written = of_appliers(
            &json!({"metadata": {"managedFields": entries}}),
            &json!({"apiVersion": "v1"}),
        )?;
        let written = written.as_array().unwrap();
        Some(
            written
                .iter()
                .map(|entry| entry["manager"].as_str().unwrap().to_owned())
                .collect(),
        )
    }

    #[test]
    fn an_object_that_nobody_applied_stays_as_it_was_created() {
        assert_eq!(managers(&[entry("kubectl-create", "Update")]), None);
        assert_eq!(of_appliers(&json!({"metadata": {}}), &json!({})), None);
    }

    #[test]
    fn those_who_applied_it_own_their_fields_again_and_the_restore_its_labels() {
        let written = of_appliers(
            &json!({"metadata": {"managedFields": [entry("argocd", "Apply")]}}),
            &json!({"apiVersion": "apps/v1"}),
        )
        .unwrap();
        assert_eq!(written[0], entry("argocd", "Apply"));
        assert_eq!(written[1]["manager"], FIELD_MANAGER);
        assert_eq!(written[1]["apiVersion"], "apps/v1");
        let owned = json!({"f:metadata": {"f:labels": {"f:velero.io/backup-name": {}, "f:velero.io/restore-name": {}}}});
        assert_eq!(written[1]["fieldsV1"], owned);
    }

    #[test]
    fn an_earlier_restore_is_not_on_record_beside_this_one() {
        let entries = [entry("kubectl", "Apply"), entry(FIELD_MANAGER, "Update")];
        assert_eq!(managers(&entries).unwrap(), ["kubectl", FIELD_MANAGER]);
    }

    #[test]
    fn a_second_attempt_knows_what_somebody_had_applied_before_the_backup() {
        let restore =
            json!({"metadata": {"name": "r1", "creationTimestamp": "2026-11-21T10:00:00Z"}, "spec": {}});
        let own = crate::own::Own::of(&serde_json::from_value(restore).unwrap());
        let in_backup = json!({"metadata": {"managedFields": [entry("kubectl", "Apply")]}});
        let mut live = json!({"apiVersion": "v1", "metadata": {
            "labels": {"velero.io/restore-name": "r1"}, "creationTimestamp": "2026-11-21T10:00:01Z"}});
        live["metadata"]["managedFields"] = of_appliers(&in_backup, &live).unwrap();
        assert!(own.made(&live));
        live["metadata"]["managedFields"] = in_backup["metadata"]["managedFields"].clone();
        assert!(!own.made(&live), "the check sees who wrote");
    }
}
