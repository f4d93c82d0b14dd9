//! Which kinds the API server serves, as it says itself.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};

use super::Answer;

/// One kind in its preferred version.
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

/// Every served kind in its preferred version, by group and plural.
pub async fn discover(client: &Client) -> Answer<Vec<Resource>> {
    let mut found = listed(client.list_core_api_resources("v1").await?, "", "v1");
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().or(group.versions.first());
        let Some(preferred) = preferred else { continue };
        let kinds = client.list_api_group_resources(&preferred.group_version).await?;
        found.extend(listed(kinds, &group.name, &preferred.version));
    }
    found.sort_by(|a, b| (&a.api.group, &a.api.plural).cmp(&(&b.api.group, &b.api.plural)));
    Ok(found)
}

fn listed(
    kinds: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList,
    group: &str,
    version: &str,
) -> Vec<Resource> {
    let whole = |kind: &k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource| !kind.name.contains('/');
    let resource = |kind: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource| Resource {
        api: ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(group, version, &kind.kind),
            &kind.name,
        ),
        namespaced: kind.namespaced,
        verbs: kind.verbs,
    };
    kinds.resources.into_iter().filter(whole).map(resource).collect()
}
