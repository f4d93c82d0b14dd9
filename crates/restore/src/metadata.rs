//! What of an object's old life is taken off before it is created again, and what marks it as restored
//! (velero-behaviour.md 8.3 items 2, 4, 6; Velero's `resetMetadata`, `resetStatus`, `isCompleted`,
//! `addRestoreLabels`, `resetVolumeBindingInfo` in `pkg/restore/restore.go`).

use caravel_api::{label_value, labels};
use serde_json::{Map, Value, json};

use crate::group_resource::{GroupResource, known};

/// Annotation of a pod that the kubelet made from a file: it comes back by itself.
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// What the API server owns. Finalizers stay, as in Velero. Managed fields stay for the item actions (a Service's
/// tell which node ports a user chose); [`forget_managed_fields`] drops them at creation.
const OF_THE_OLD_LIFE: &[&str] = &[
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
];

/// Finalizers of controllers that look only at objects they know: on a restored claim they would never go away,
/// and the claim could never be deleted.
const STALE_FINALIZERS: &[&str] = &[
    "snapshot.storage.kubernetes.io/pvc-as-source-protection",
    "external-provisioner.volume.kubernetes.io/finalizer",
];

/// The annotations by which Kubernetes remembers that a claim or volume is bound.
const BINDING: &[&str] = &[
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
];

/// Takes uid, owner references and the rest of the old life off, and the status.
pub fn forget_old_life(object: &mut Value) {
    forget_status(object);
    forget_old_metadata(object);
}

/// What a controller finds out anew.
pub fn forget_status(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
}

/// Takes the old life off the metadata. Objects without any are left: the API server refuses them with a better
/// message.
pub fn forget_old_metadata(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in OF_THE_OLD_LIFE {
            metadata.remove(*field);
        }
        if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|name| !STALE_FINALIZERS.contains(&name.as_str().unwrap_or_default()));
            if finalizers.is_empty() {
                metadata.remove("finalizers");
            }
        }
    }
}

/// Takes the record of who set which field off; the API server starts a new one.
pub fn forget_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Labels every restored object with where it came from; values are shortened to what a label may hold.
pub fn add_restore_labels(object: &mut Value, backup: &str, restore: &str) {
    let labels = map_at(object, "labels");
    labels.insert(labels::BACKUP_NAME.into(), json!(label_value(backup)));
    labels.insert(labels::RESTORE_NAME.into(), json!(label_value(restore)));
}

/// Takes the binding annotations off a claim or volume, and the identity of the old claim off a volume's claimRef.
pub fn forget_binding(object: &mut Value) {
    remove_annotations(object, BINDING);
    if let Some(claim_ref) = object
        .pointer_mut("/spec/claimRef")
        .and_then(Value::as_object_mut)
    {
        claim_ref.remove("uid");
        claim_ref.remove("resourceVersion");
    }
}

/// Why an object of the backup is not restored, in words for the log; `None` when it is.
///
/// Finished pods and jobs have done their work, and a mirror pod is the kubelet's.
pub fn reason_to_skip(group_resource: &GroupResource, object: &Value) -> Option<&'static str> {
    if is_completed(group_resource, object) {
        return Some("it had finished when it was backed up");
    }
    let mirror = object
        .pointer("/metadata/annotations")
        .is_some_and(|annotations| annotations.get(MIRROR_POD).is_some());
    (group_resource.is(known::PODS) && mirror).then_some("it is a mirror pod, the kubelet makes it")
}

/// A pod that succeeded or failed, or a job with a completion time.
pub fn is_completed(group_resource: &GroupResource, object: &Value) -> bool {
    if group_resource.is(known::PODS) {
        let phase = object.pointer("/status/phase").and_then(Value::as_str);
        return matches!(phase, Some("Succeeded" | "Failed"));
    }
    let completion_time = object.pointer("/status/completionTime").and_then(Value::as_str);
    group_resource.is(known::JOBS) && completion_time.is_some_and(|time| !time.is_empty())
}

/// An annotation's value.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// Takes annotations off; an empty map stays, as in Velero.
pub fn remove_annotations(object: &mut Value, keys: &[&str]) {
    if let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        for key in keys {
            annotations.remove(*key);
        }
    }
}

/// `metadata.labels` or `metadata.annotations`, made when missing or null.
pub fn map_at<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let metadata = child_map(object, "metadata");
    child_of(metadata, field)
}

/// A member that is an object, made when it is missing or something else.
pub fn child_map<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    child_of(object.as_object_mut().expect("made an object above"), field)
}

fn child_of<'a>(parent: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let child = parent.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut().expect("made an object above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_life_and_status_go_while_names_labels_and_annotations_stay() {
        let mut pod = json!({
            "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "shop", "uid": "1", "resourceVersion": "2", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{}], "managedFields": [{}],
                "generateName": "a-", "labels": {"x": "y"}, "annotations": {"k": "v"}, "finalizers": ["example.com/keep"],
            },
            "status": {"phase": "Running"},
        });
        forget_old_life(&mut pod);
        forget_managed_fields(&mut pod);
        assert_eq!(
            pod,
            json!({"kind": "Pod", "metadata": {
                "name": "a", "namespace": "shop", "labels": {"x": "y"}, "annotations": {"k": "v"},
                "finalizers": ["example.com/keep"],
            }})
        );
    }

    #[test]
    fn finalizers_that_nobody_would_take_off_again_go() {
        let mut claim = json!({"metadata": {"finalizers": [
            "kubernetes.io/pvc-protection", "snapshot.storage.kubernetes.io/pvc-as-source-protection"]}});
        forget_old_life(&mut claim);
        assert_eq!(
            claim["metadata"]["finalizers"],
            json!(["kubernetes.io/pvc-protection"])
        );
    }

    #[test]
    fn restored_objects_say_from_which_backup_and_restore_even_when_they_had_no_labels() {
        let mut object = json!({"metadata": {"labels": null}});
        add_restore_labels(&mut object, "b1", "r1");
        assert_eq!(
            object["metadata"]["labels"],
            json!({"velero.io/backup-name": "b1", "velero.io/restore-name": "r1"})
        );
    }

    #[test]
    fn finished_pods_finished_jobs_and_mirror_pods_are_skipped_with_a_reason() {
        let pods = GroupResource::parse("pods");
        let jobs = GroupResource::parse("jobs.batch");
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        for (resource, object, skipped) in [
            (&pods, json!({"status": {"phase": "Succeeded"}}), true),
            (&pods, json!({"status": {"phase": "Failed"}}), true),
            (&pods, json!({"status": {"phase": "Running"}}), false),
            (
                &jobs,
                json!({"status": {"completionTime": "2026-01-01T00:00:00Z"}}),
                true,
            ),
            (&jobs, json!({"status": {"completionTime": null}}), false),
            (&pods, mirror.clone(), true),
            (&jobs, mirror, false),
        ] {
            assert_eq!(
                reason_to_skip(resource, &object).is_some(),
                skipped,
                "{resource} {object}"
            );
        }
    }
}
