//! Actions whose mapping stands in a ConfigMap of Velero's namespace (labels `velero.io/plugin-config` and
//! `velero.io/change-…: RestoreItemAction`): `velero.io/change-storage-class` and `velero.io/change-image-name`
//! (velero-behaviour.md 8.5; upstream `change_storageclass_action.go`, `change_image_name_action.go`).

use std::collections::BTreeMap;

use async_trait::async_trait;
use caravel_item_action::{
    ActionError, ResourceSelector, RestoreItemAction, RestoreItemInput, RestoreItemOutput,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Reads a mapping once a restore.
struct Mapping {
    client: Client,
    namespace: String,
    action: &'static str,
    data: OnceCell<BTreeMap<String, String>>,
}

impl Mapping {
    fn new(client: &Client, namespace: &str, action: &'static str) -> Self {
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            action,
            data: OnceCell::new(),
        }
    }

    /// Empty when nobody has made one.
    async fn data(&self) -> Result<&BTreeMap<String, String>, ActionError> {
        self.data.get_or_try_init(|| self.read()).await
    }

    async fn read(&self) -> Result<BTreeMap<String, String>, ActionError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("velero.io/plugin-config,{}=RestoreItemAction", self.action);
        let found = api
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(|error| {
                ActionError::because(format!("cannot list the ConfigMaps of {}", self.action), error)
            })?;
        if found.items.len() > 1 {
            let names: Vec<String> = found.items.iter().map(ResourceExt::name_any).collect();
            return Err(ActionError::new(format!(
                "found more than one ConfigMap matching label selector {selector:?}: {}; keep one",
                names.join(", ")
            )));
        }
        let map = found.items.into_iter().next();
        Ok(map.and_then(|map| map.data).unwrap_or_default())
    }
}

/// `velero.io/change-storage-class`.
pub(super) struct ChangeStorageClass {
    mapping: Mapping,
}

impl ChangeStorageClass {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            mapping: Mapping::new(client, namespace, "velero.io/change-storage-class"),
        }
    }

    async fn require(&self, class: &str) -> Result<(), ActionError> {
        let api: Api<StorageClass> = Api::all(self.mapping.client.clone());
        match api.get_opt(class).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ActionError::new(format!(
                "error getting storage class {class} from API: it does not exist; create it, or correct the mapping"
            ))),
            Err(error) => Err(ActionError::because(
                format!("error getting storage class {class} from API"),
                error,
            )),
        }
    }
}

#[async_trait]
impl RestoreItemAction for ChangeStorageClass {
    fn name(&self) -> &str {
        "velero.io/change-storage-class"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&["persistentvolumeclaims", "persistentvolumes", "statefulsets.apps"])
    }

    async fn execute(&self, input: RestoreItemInput<'_>) -> Result<RestoreItemOutput, ActionError> {
        let mut item = input.item;
        for class in change_storage_classes(&mut item, self.mapping.data().await?) {
            self.require(&class).await?;
        }
        Ok(RestoreItemOutput {
            item,
            ..RestoreItemOutput::default()
        })
    }
}

/// Maps the classes of a PV, a PVC, or a StatefulSet's templates; gives the new ones, which must exist.
pub fn change_storage_classes(item: &mut Value, mapping: &BTreeMap<String, String>) -> Vec<String> {
    let mut changed = Vec::new();
    let mut change = |class: Option<&mut Value>| {
        let Some(class) = class else { return };
        let new = class.as_str().and_then(|old| mapping.get(old));
        if let Some(new) = new {
            *class = Value::from(new.as_str());
            changed.push(new.clone());
        }
    };
    change(item.pointer_mut("/spec/storageClassName"));
    let templates = item
        .pointer_mut("/spec/volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten() {
        change(template.pointer_mut("/spec/storageClassName"));
    }
    changed
}

/// `velero.io/change-image-name`.
pub(super) struct ChangeImageName {
    mapping: Mapping,
}

impl ChangeImageName {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            mapping: Mapping::new(client, namespace, "velero.io/change-image-name"),
        }
    }
}

#[async_trait]
impl RestoreItemAction for ChangeImageName {
    fn name(&self) -> &str {
        "velero.io/change-image-name"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(&[
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "replicasets.apps",
            "replicationcontrollers",
            "jobs.batch",
            "cronjobs.batch",
            "pods",
        ])
    }

    async fn execute(&self, input: RestoreItemInput<'_>) -> Result<RestoreItemOutput, ActionError> {
        let mut item = input.item;
        change_images(&mut item, self.mapping.data().await?);
        Ok(RestoreItemOutput {
            item,
            ..RestoreItemOutput::default()
        })
    }
}

/// Replaces `old` by `new`, wherever it stands, in the image of every container, by the first pair `old,new` of the
/// mapping (in the order of its keys) that fits.
pub fn change_images(item: &mut Value, mapping: &BTreeMap<String, String>) {
    let pod_specs = [
        "/spec",
        "/spec/template/spec",
        "/spec/jobTemplate/spec/template/spec",
    ];
    for pod_spec in pod_specs {
        for list in ["containers", "initContainers"] {
            let containers = item
                .pointer_mut(&format!("{pod_spec}/{list}"))
                .and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                if let Some(image) = container.get_mut("image")
                    && let Some(new) = image.as_str().and_then(|old| changed_image(old, mapping))
                {
                    *image = Value::from(new);
                }
            }
        }
    }
}

fn changed_image(image: &str, mapping: &BTreeMap<String, String>) -> Option<String> {
    mapping.values().find_map(|pair| {
        let (old, new) = pair.split_once(',')?;
        let (old, new) = (old.trim(), new.trim());
        let fits = !old.is_empty() && !new.is_empty() && image.contains(old);
        fits.then(|| image.replace(old, new))
    })
}
