//! What all workloads do with pods: make them from a template, adopt them, count them, delete them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::core::Selector;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::machinery::{Answer, Context, Kinds, Told, controller_of, is_not_found, merge, settled};

/// Characters that no word is made of (`k8s.io/apimachinery` `util/rand`).
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Ends of pods.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

/// Neither ended nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none()
}

/// Since when it has been ready; `None`: it is not.
pub fn ready_since(pod: &Pod) -> Option<jiff::Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|it| it.type_ == "Ready" && it.status == "True")?;
    Some(
        ready
            .last_transition_time
            .as_ref()
            .map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0),
    )
}

/// Ready for at least so long.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: jiff::Timestamp) -> bool {
    ready_since(pod).is_some_and(|since| {
        min_ready_seconds <= 0 || now.as_second() - since.as_second() >= i64::from(min_ready_seconds)
    })
}

/// A short name of a template: changes when the template does.
pub fn template_hash(template: &impl Serialize) -> String {
    let text = serde_json::to_string(template).unwrap_or_default();
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619);
    let hash = text.as_bytes().iter().fold(2_166_136_261_u32, step);
    let safe = |byte: u8| char::from(SAFE[usize::from(byte) % SAFE.len()]);
    hash.to_string().bytes().map(safe).collect()
}

/// The reference of a controller to what it made.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A pod of this template. `name`: its whole name, or the beginning of one ending in `-`.
pub fn from_template(
    template: &PodTemplateSpec,
    owner: OwnerReference,
    name: &str,
    labels: &[(&str, String)],
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut all_labels = meta.labels.unwrap_or_default();
    all_labels.extend(
        labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
    let is_beginning = name.ends_with('-');
    Pod {
        metadata: ObjectMeta {
            name: (!is_beginning).then(|| name.to_owned()),
            generate_name: is_beginning.then(|| name.to_owned()),
            labels: Some(all_labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// What belongs to this owner: its own, and those that fit its selector and belong to nobody, which it adopts.
pub async fn claim<K>(
    api: &Api<K>,
    owner: &OwnerReference,
    is_owner_going: bool,
    selector: &LabelSelector,
    may_adopt: impl Fn(&K) -> bool,
) -> Answer<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    // One that cannot be read fits nothing.
    let Ok(selector) = Selector::try_from(selector.clone()) else {
        return Ok(Vec::new());
    };
    let mut mine = Vec::new();
    let fitting = ListParams::default().labels_from(&selector);
    for object in api.list(&fitting).await?.items {
        match controller_of(object.meta()) {
            Some(controller) if controller.uid == owner.uid => mine.push(object),
            Some(_) => {}
            None => {
                let is_going = object.meta().deletion_timestamp.is_some();
                if !is_owner_going && !is_going && may_adopt(&object) {
                    mine.extend(adopt(api, owner, &object).await?);
                }
            }
        }
    }
    Ok(mine)
}

async fn adopt<K>(api: &Api<K>, owner: &OwnerReference, object: &K) -> Answer<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut owners = object.owner_references().to_vec();
    owners.push(owner.clone());
    let patch = json!({"metadata": {"uid": object.uid(), "ownerReferences": owners}});
    match merge(api, &object.name_any(), &patch).await {
        Ok(adopted) => Ok(Some(adopted)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a pod and tells so.
pub async fn create<K>(context: &Context, owner: &K, component: &'static str, pod: &Pod) -> Answer<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let api = context.client.of::<Pod>(&owner.namespace().unwrap_or_default());
    let told = match api.create(&PostParams::default(), pod).await {
        Ok(made) => Told::normal(
            component,
            "SuccessfulCreate",
            format!("Created pod: {}", made.name_any()),
        ),
        Err(error) => {
            let why = format!("Error creating: {}", said(&error));
            context
                .recorder
                .tell(owner, Told::warning(component, "FailedCreate", why))
                .await;
            return Err(error);
        }
    };
    context.recorder.tell(owner, told).await;
    Ok(())
}

/// What the API server said.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Deletes exactly this pod and tells so.
pub async fn delete<K>(context: &Context, owner: &K, component: &'static str, pod: &Pod) -> Answer<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let api = context.client.of::<Pod>(&owner.namespace().unwrap_or_default());
    let exactly = DeleteParams::default().preconditions(Preconditions {
        uid: pod.uid(),
        resource_version: None,
    });
    settled(api.delete(&pod.name_any(), &exactly).await)?;
    let told = Told::normal(
        component,
        "SuccessfulDelete",
        format!("Deleted pod: {}", pod.name_any()),
    );
    context.recorder.tell(owner, told).await;
    Ok(())
}

/// Writes the status, if it says something new.
pub async fn write_status<K>(api: &Api<K>, object: &K, status: Value) -> Answer<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Serialize,
{
    let before = serde_json::to_value(object).unwrap_or_default();
    let is_new = status.as_object().is_some_and(|fields| {
        fields.iter().any(|(field, value)| {
            let old = &before["status"][field];
            // What is null is to be absent; a count of 0 is written as absent by some.
            old != value && !(old.is_null() && *value == json!(0))
        })
    });
    if !is_new {
        return Ok(());
    }
    let patch = json!({"metadata": {"uid": object.uid()}, "status": status});
    settled(crate::machinery::merge_status(api, &object.name_any(), &patch).await)
}

/// Which pods go first when there are too many: those that do least (`ActivePodsWithRanks` of kube-controller-manager).
pub fn deletion_order(pods: &mut [Pod]) {
    pods.sort_by_key(|pod| {
        let is_placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let rank = match phase(pod) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let cost: i64 = pod
            .annotations()
            .get("controller.kubernetes.io/pod-deletion-cost")
            .and_then(|cost| cost.parse().ok())
            .unwrap_or(0);
        let age = std::cmp::Reverse(pod.creation_timestamp());
        (
            is_placed,
            rank,
            ready_since(pod).is_some(),
            cost,
            age,
            pod.name_any(),
        )
    });
}

/// Labels of a template with one more.
pub fn with_label(
    labels: Option<&BTreeMap<String, String>>,
    key: &str,
    value: &str,
) -> BTreeMap<String, String> {
    let mut all = labels.cloned().unwrap_or_default();
    all.insert(key.to_owned(), value.to_owned());
    all
}
