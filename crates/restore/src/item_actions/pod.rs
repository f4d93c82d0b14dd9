//! `velero.io/pod`: a pod is scheduled anew. Source: Velero `pkg/restore/actions/pod_action.go`.

use serde_json::Value;

/// Node and priority go (both are decided again), and the token volumes that clusters before 1.24 put into pods.
/// Returns the pod's priority class, which must exist before the pod.
pub fn execute(pod: &mut Value) -> Option<String> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut)?;
    spec.remove("nodeName");
    spec.remove("priority");
    let account = spec
        .get("serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let token_prefix = format!("{account}-token-");
    drop_named(spec.get_mut("volumes"), &token_prefix);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            drop_named(container.get_mut("volumeMounts"), &token_prefix);
        }
    }
    // A new pod cannot be created with them.
    spec.remove("ephemeralContainers");
    let class = spec.get("priorityClassName").and_then(Value::as_str)?;
    (!class.is_empty()).then(|| class.to_owned())
}

fn drop_named(list: Option<&mut Value>, prefix: &str) {
    if let Some(list) = list.and_then(Value::as_array_mut) {
        list.retain(|entry| {
            !entry
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| name.starts_with(prefix))
        });
    }
}

/// `velero.io/add-pvc-from-pod`: the claims of a pod are restored with it. Source: Velero
/// `pkg/restore/actions/add_pvc_from_pod_action.go`.
pub fn claims(pod: &Value) -> Vec<String> {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
        .map(str::to_owned)
        .collect()
}
