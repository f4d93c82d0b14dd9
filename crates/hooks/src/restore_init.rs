//! Hooks of a restore that are init containers: put into the pod before it is created. Upstream:
//! `InitContainerRestoreHookHandler` in `internal/hook/item_hook_handler.go`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::annotations::{annotation, command};
use crate::restore_exec::ResourceRestoreHook;
use crate::{InvalidHooks, PodName, list, text};

/// The container that waits for the volumes of a file system restore: nothing runs before it.
const RESTORE_WAIT: &str = "restore-wait";

/// Puts the init containers of a pod's hooks before its own. `namespace` is where the pod goes; `seed` makes the name of
/// a container that is not named.
///
/// # Errors
/// [`InvalidHooks`]: a container of the spec lacks its name, image or command.
pub fn add_init_containers(
    pod: &mut Value,
    hooks: &[ResourceRestoreHook],
    namespace: &str,
    seed: &str,
) -> Result<(), InvalidHooks> {
    let mut added = match from_annotations(pod, seed) {
        Some(container) => vec![container],
        None => from_spec(pod, hooks, namespace)?,
    };
    if added.is_empty() {
        return Ok(());
    }
    let mut own = list(pod, "/spec/initContainers").to_vec();
    if own
        .first()
        .is_some_and(|first| text(first, "/name") == RESTORE_WAIT)
    {
        added.insert(0, own.remove(0));
    }
    // A pod that was restored with this hook before has the container already; two of one name are refused.
    own.retain(|container| {
        !added
            .iter()
            .any(|new| text(new, "/name") == text(container, "/name"))
    });
    added.extend(own);
    let spec = pod
        .as_object_mut()
        .map(|pod| pod.entry("spec").or_insert_with(|| json!({})));
    if let Some(spec) = spec.and_then(Value::as_object_mut) {
        spec.insert("initContainers".into(), Value::Array(added));
    }
    Ok(())
}

fn from_spec(
    pod: &Value,
    hooks: &[ResourceRestoreHook],
    namespace: &str,
) -> Result<Vec<Value>, InvalidHooks> {
    let mut containers = Vec::new();
    for entry in hooks.iter().filter(|entry| entry.selector.takes(pod, namespace)) {
        let init = entry.hooks.iter().filter_map(|hook| hook.init.as_ref());
        for container in init.flat_map(|init| &init.init_containers) {
            validate(container).map_err(|why| InvalidHooks::new(&entry.name, why))?;
            containers.push(container.clone());
        }
    }
    Ok(containers)
}

/// Whether an init container of a spec can be one.
///
/// # Errors
/// What is missing.
pub fn validate(container: &Value) -> Result<(), String> {
    let missing: Vec<&str> = [
        ("command", list(container, "/command").is_empty()),
        ("name", text(container, "/name").is_empty()),
        ("image", text(container, "/image").is_empty()),
    ]
    .into_iter()
    .filter_map(|(field, missing)| missing.then_some(field))
    .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "invalid InitContainer in restore hook, it doesn't have Command, Name or Image field: {} is missing",
            missing.join(", ")
        ))
    }
}

/// The one init container that annotations can ask for. Without a command, the image's own is run.
pub(crate) fn from_annotations(pod: &Value, seed: &str) -> Option<Value> {
    let key = |word: &str| format!("init.hook.restore.velero.io/{word}");
    let image = annotation(pod, &key("container-image"))?;
    let name = annotation(pod, &key("container-name"))
        .map_or_else(|| generated_name(&PodName::of(pod), seed), str::to_owned);
    let mut container = Map::new();
    container.insert("name".into(), json!(name));
    container.insert("image".into(), json!(image));
    if let Some(words) = annotation(pod, &key("command")) {
        container.insert("command".into(), json!(command(words)));
    }
    Some(Value::Object(container))
}

/// `velero-restore-init-` and 8 hexadecimal digits: the same for the same pod of the same restore.
fn generated_name(pod: &PodName, seed: &str) -> String {
    let digest = Sha256::digest(format!("{seed}/{pod}"));
    let digits = hex::encode(digest.get(..4).unwrap_or_default());
    format!("velero-restore-init-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_was_restored_with_the_hook_before_gets_its_container_once() {
        let annotations = json!({
            "init.hook.restore.velero.io/container-name": "prepare",
            "init.hook.restore.velero.io/container-image": "busybox:2",
        });
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "shop", "annotations": annotations},
            "spec": {"initContainers": [{"name": "prepare", "image": "busybox:1"}, {"name": "own", "image": "x"}]},
        });
        add_init_containers(&mut pod, &[], "shop", "seed").unwrap();
        assert_eq!(
            pod["spec"]["initContainers"],
            json!([{"name": "prepare", "image": "busybox:2"}, {"name": "own", "image": "x"}])
        );
    }
}
