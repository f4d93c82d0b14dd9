//! What a kind's strategy and the admission plugins fill in besides defaults, when an object is created.
//! Source: Kubernetes v1.34, `pkg/registry/{core/service,batch/job}` strategies and
//! `plugin/pkg/admission/{serviceaccount,priority,defaulttolerationseconds,storage/storageclass/setdefault}`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::State;
use crate::error::ApiError;
use crate::kind::Kind;
use crate::store::{Key, Resource};

/// Of a StorageClass.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Pods leave a node that is not ready after this.
const TOLERATION_SECONDS: i64 = 300;
/// What a Service's strategy gives and keeps.
const SERVICE_ADDRESS: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];
const NODE_PORTS: std::ops::Range<i64> = 30_000..32_768;

/// Completes a new object; its metadata is filled in already.
pub(crate) fn complete(state: &mut State, kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    if kind.custom.is_some() || !object["spec"].is_object() {
        return Ok(());
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => pod(state, object)?,
        ("", "services") => service(state, object),
        ("", "persistentvolumeclaims") => {
            claim(state, object);
            data_sources(&mut object["spec"]);
        }
        ("batch", "jobs") => job(object),
        _ => {}
    }
    Ok(())
}

/// Keeps what was given to the old object and the new one leaves out.
pub(crate) fn keep_given(kind: &Kind, old: &Value, new: &mut Value) {
    if kind.custom.is_some() || !kind.group.is_empty() || kind.plural != "services" {
        return;
    }
    let external = |service: &Value| service["spec"]["type"] == "ExternalName";
    if external(old) || external(new) || !new["spec"].is_object() {
        return;
    }
    if new["spec"]["clusterIP"].as_str().is_none_or(str::is_empty) {
        for field in SERVICE_ADDRESS {
            if !old["spec"][field].is_null() {
                new["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let before = old["spec"]["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|before| before["port"] == port["port"] && before["protocol"] == port["protocol"]);
        if let Some(before) =
            before.filter(|before| port["nodePort"].is_null() && !before["nodePort"].is_null())
        {
            port["nodePort"] = before["nodePort"].clone();
        }
    }
}

fn pod(state: &mut State, object: &mut Value) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let class = object["spec"]["priorityClassName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let (priority, policy) = priority(state, &class, &name)?;
    let spec = &mut object["spec"];
    if spec["serviceAccountName"].as_str().is_none_or(str::is_empty) {
        spec["serviceAccountName"] = "default".into();
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    spec["priority"] = priority;
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = policy;
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|toleration| {
            let effect = toleration["effect"].as_str().unwrap_or_default();
            let any_key = toleration["key"].as_str().is_none_or(str::is_empty);
            (toleration["key"] == key || any_key) && matches!(effect, "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    spec["tolerations"] = tolerations.into();
    mount_account(state, object);
    Ok(())
}

/// Where containers find the token of their ServiceAccount.
const ACCOUNT_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Mounts token, certificate authority and namespace into the containers, when the ServiceAccount is there and does not
/// say otherwise. (Real Kubernetes refuses a pod without its ServiceAccount; this server has one only where the
/// sandbox's controllers run.)
fn mount_account(state: &mut State, object: &mut Value) {
    let namespace = object["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let account = object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    let resource: Resource = (String::new(), "serviceaccounts".to_owned());
    let Some(account) = state.store.get(&resource, &Key::new(Some(&namespace), account)) else {
        return;
    };
    let wanted = object["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if !wanted {
        return;
    }
    let volumes = object["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let there = volumes
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| name.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let name = there
        .clone()
        .unwrap_or_else(|| super::metadata::generated_name("kube-api-access-", &mut state.rng));
    let mut mounted = false;
    for list in ["containers", "initContainers"] {
        // Not by index, which would leave a null where there is no such list.
        let containers = object["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == ACCOUNT_MOUNT) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": ACCOUNT_MOUNT}));
            container["volumeMounts"] = mounts.into();
            mounted = true;
        }
    }
    if there.is_none() && mounted {
        let mut volumes = volumes;
        volumes.push(json!({"name": name, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ]}}));
        object["spec"]["volumes"] = volumes.into();
    }
}

/// Priority and preemption policy of a PriorityClass; of the global default one when none is named.
fn priority(state: &State, class: &str, pod: &str) -> Result<(Value, Value), ApiError> {
    let resource: Resource = ("scheduling.k8s.io".to_owned(), "priorityclasses".to_owned());
    let found = if class.is_empty() {
        let all = state.store.list(&resource, None);
        all.into_iter().find(|class| class["globalDefault"] == true)
    } else {
        let found = state.store.get(&resource, &Key::new(None, class)).cloned();
        if found.is_none() {
            let why = format!("no PriorityClass with name {class} was found");
            return Err(ApiError::forbidden("", "pods", pod, &why));
        }
        found
    };
    let preempts = || Value::from("PreemptLowerPriority");
    Ok(match found {
        None => (0.into(), preempts()),
        Some(class) => (
            class["value"].clone(),
            Some(class["preemptionPolicy"].clone())
                .filter(Value::is_string)
                .unwrap_or_else(preempts),
        ),
    })
}

/// A claim that names no class gets the default one, if there is one.
fn claim(state: &State, object: &mut Value) {
    let annotated = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    if !object["spec"]["storageClassName"].is_null() || !annotated.is_null() {
        return;
    }
    let resource: Resource = ("storage.k8s.io".to_owned(), "storageclasses".to_owned());
    let classes = state.store.list(&resource, None);
    // Of several default classes the newest counts.
    let chosen = classes
        .iter()
        .filter(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true")
        .max_by_key(|class| {
            class["metadata"]["creationTimestamp"]
                .as_str()
                .unwrap_or_default()
        });
    if let Some(class) = chosen {
        object["spec"]["storageClassName"] = class["metadata"]["name"].clone();
    }
}

/// `dataSource` and `dataSourceRef` say the same where both can; the older one can name only claims and snapshots, and
/// what else it names is dropped. Source: `pkg/api/persistentvolumeclaim/util.go`, `NormalizeDataSources`.
fn data_sources(spec: &mut Value) {
    let is_old_kind = |source: &Value| {
        let group = source["apiGroup"].as_str().unwrap_or_default();
        let kind = source["kind"].as_str().unwrap_or_default();
        matches!(
            (group, kind),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if let Some(fields) = spec.as_object_mut()
        && fields
            .get("dataSource")
            .is_some_and(|source| !is_old_kind(source))
    {
        fields.remove("dataSource");
    }
    let (old, new) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if new.is_null() && !old.is_null() {
        spec["dataSourceRef"] = old.clone();
    } else if old.is_null() && is_old_kind(new) && new["namespace"].is_null() {
        spec["dataSource"] = new.clone();
    }
}

/// An address, and ports of the nodes where the type has them.
fn service(state: &State, object: &mut Value) {
    let resource: Resource = (String::new(), "services".to_owned());
    let services = state.store.list(&resource, None);
    let kind = object["spec"]["type"].as_str().unwrap_or_default().to_owned();
    if kind == "ExternalName" {
        return;
    }
    let asked = object["spec"]["clusterIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let spec = &mut object["spec"];
    let headless = asked == "None";
    let without_selector = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let address = if asked.is_empty() {
        free_address(
            services
                .iter()
                .filter_map(|one| one["spec"]["clusterIP"].as_str()),
        )
    } else {
        asked
    };
    spec["clusterIP"] = address.as_str().into();
    spec["clusterIPs"] = json!([address]);
    if spec["ipFamilies"].is_null() {
        // As an apiserver answers for a headless Service whose endpoints are not of its making.
        let (families, policy) = if headless && without_selector {
            (json!(["IPv4", "IPv6"]), "RequireDualStack")
        } else {
            (json!(["IPv4"]), "SingleStack")
        };
        spec["ipFamilies"] = families;
        spec["ipFamilyPolicy"] = policy.into();
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        let mut taken: BTreeSet<i64> = services
            .iter()
            .flat_map(|one| one["spec"]["ports"].as_array().into_iter().flatten())
            .filter_map(|port| port["nodePort"].as_i64())
            .collect();
        for port in spec["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].as_i64().is_none_or(|number| number == 0)
                && let Some(free) = NODE_PORTS.clone().find(|number| !taken.contains(number))
            {
                taken.insert(free);
                port["nodePort"] = free.into();
            }
        }
    }
}

/// The first free address of 10.96.0.0/16; `.1` of the first block is the API server's.
fn free_address<'a>(taken: impl Iterator<Item = &'a str>) -> String {
    let taken: BTreeSet<&str> = taken.collect();
    (0..60_000_u32)
        .map(|number| format!("10.96.{}.{}", number / 250, number % 250 + 2))
        .find(|address| !taken.contains(address.as_str()))
        .unwrap_or_default()
}

/// A selector and labels of its own, unless the job brings them.
fn job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    object["spec"]["manualSelector"] = false.into();
    let template = &mut object["spec"]["template"];
    if !template.is_object() {
        return;
    }
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        template["metadata"]["labels"][label] = value.clone();
    }
    let labels = template["metadata"]["labels"].clone();
    if object["metadata"]["labels"].is_null() {
        // The v1 defaults take a job's labels from its template.
        object["metadata"]["labels"] = labels;
    }
    object["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
}
