//! Which kinds the API server serves, as it says itself.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};

use super::Answer;

/// One kind, in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub api: ApiResource,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Resource {
    /// Objects of this kind in a namespace; of a kind without namespaces, all.
    pub fn objects(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.api),
            None => Api::all_with(client.clone(), &self.api),
        }
    }

    /// Whether the kind can be followed.
    pub fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|served| served == verb)
    }
}

/// Every served kind once, by group and plural, as `ServerPreferredResources` of client-go finds them: in the preferred version
/// of its group, else in the first one that has it. Two requests, of aggregated discovery.
pub async fn discover(client: &Client) -> Answer<Vec<Resource>> {
    let core = client.list_core_api_versions_aggregated().await?;
    let groups = client.list_api_groups_aggregated().await?;
    let mut found: BTreeMap<(String, String), Resource> = BTreeMap::new();
    for group in core.items.into_iter().chain(groups.items) {
        let name = group.metadata.and_then(|metadata| metadata.name);
        let name = name.unwrap_or_default();
        // The preferred one comes first. It need not have every kind: `velero.io/v1` has no DataUpload.
        for version in group.versions {
            let of_version = version.version.unwrap_or_default();
            let served = version.resources.into_iter().filter_map(|resource| {
                let kind = GroupVersionKind::gvk(&name, &of_version, &resource.response_kind?.kind?);
                Some(Resource {
                    api: ApiResource::from_gvk_with_plural(&kind, &resource.resource?),
                    namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    verbs: resource.verbs,
                })
            });
            for resource in served {
                let key = (name.clone(), resource.api.plural.clone());
                found.entry(key).or_insert(resource);
            }
        }
    }
    Ok(found.into_values().collect())
}
