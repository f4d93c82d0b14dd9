//! Which resources the target cluster serves, in the preferred version of each group, with the names a user may type
//! for them. Two requests with aggregated discovery (Kubernetes 1.30 and later).
//!
//! A restore asks once, and again after it created CustomResourceDefinitions.

use std::collections::BTreeMap;

use kube::Client;
use kube::core::ApiResource;

use crate::group_resource::GroupResource;

/// One resource as the cluster serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedResource {
    /// Plural and group.
    pub group_resource: GroupResource,
    /// Preferred version, `v1`.
    pub version: String,
    /// `Deployment`.
    pub kind: String,
    /// Lower case singular, `deployment`.
    pub singular: String,
    /// `deploy`.
    pub short_names: Vec<String>,
    /// False for cluster-scoped resources.
    pub namespaced: bool,
}

impl ServedResource {
    /// What `kube::Api::namespaced_with` and `all_with` need.
    pub fn api_resource(&self) -> ApiResource {
        let group = &self.group_resource.group;
        let api_version = if group.is_empty() {
            self.version.clone()
        } else {
            format!("{group}/{}", self.version)
        };
        ApiResource {
            group: group.clone(),
            version: self.version.clone(),
            api_version,
            kind: self.kind.clone(),
            plural: self.group_resource.resource.clone(),
        }
    }

    /// The key of the resource list file: `v1/Pod`, `apps/v1/Deployment`.
    pub fn group_version_kind(&self) -> String {
        if self.group_resource.group.is_empty() {
            format!("{}/{}", self.version, self.kind)
        } else {
            format!("{}/{}/{}", self.group_resource.group, self.version, self.kind)
        }
    }
}

/// All resources of a cluster that can be created.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    /// By `resource.group`; groups in the cluster's order of preference are in `by_preference`.
    resources: BTreeMap<GroupResource, ServedResource>,
    /// In the order in which the cluster lists groups: a bare name means the first match.
    by_preference: Vec<GroupResource>,
    /// All versions that serve a resource, the preferred one first.
    versions: BTreeMap<GroupResource, Vec<String>>,
}

impl Discovered {
    /// Asks the cluster. Errors are kube's; groups whose API service is down are missing from the answer, and their
    /// resources then count as not served.
    pub async fn of(client: &Client) -> Result<Self, kube::Error> {
        let core = client.list_core_api_versions_aggregated().await?;
        let groups = client.list_api_groups_aggregated().await?;
        let mut found = Self::default();
        for group in core.items.into_iter().chain(groups.items) {
            let group_name = group
                .metadata
                .and_then(|metadata| metadata.name)
                .unwrap_or_default();
            for version in group.versions {
                let Some(version_name) = version.version else {
                    continue;
                };
                for resource in version.resources {
                    if !resource.verbs.iter().any(|verb| verb == "create") {
                        continue;
                    }
                    let Some(plural) = resource.resource else { continue };
                    let Some(kind) = resource.response_kind.and_then(|kind| kind.kind) else {
                        continue;
                    };
                    found.add(ServedResource {
                        group_resource: GroupResource::new(group_name.clone(), plural),
                        version: version_name.clone(),
                        kind,
                        singular: resource.singular_resource.unwrap_or_default(),
                        short_names: resource.short_names,
                        namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    });
                }
            }
        }
        Ok(found)
    }

    /// Adds a resource unless a version of it is known: versions arrive in order of preference, and a resource that
    /// only an older version serves counts too.
    pub fn add(&mut self, resource: ServedResource) {
        let key = resource.group_resource.clone();
        let versions = self.versions.entry(key.clone()).or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
        if !self.resources.contains_key(&key) {
            self.by_preference.push(key.clone());
            self.resources.insert(key, resource);
        }
    }

    /// The resource with this plural and group.
    pub fn get(&self, group_resource: &GroupResource) -> Option<&ServedResource> {
        self.resources.get(group_resource)
    }

    /// The versions that serve a resource, the cluster's preferred one first; none where it does not serve it.
    pub fn versions(&self, group_resource: &GroupResource) -> &[String] {
        self.versions.get(group_resource).map_or(&[], Vec::as_slice)
    }

    /// From now on this resource is spoken to in `version`, which [`Discovered::versions`] names.
    pub fn use_version(&mut self, group_resource: &GroupResource, version: &str) {
        if self
            .versions(group_resource)
            .iter()
            .any(|served| served == version)
            && let Some(resource) = self.resources.get_mut(group_resource)
        {
            version.clone_into(&mut resource.version);
        }
    }

    /// Finds what a user means: `pods`, `po`, `pod`, `Pod`, `deployments.apps`, `deploy.apps`. `None` when the
    /// cluster has no such resource.
    pub fn resolve(&self, name: &str) -> Option<&ServedResource> {
        let name = name.to_lowercase();
        let wanted = GroupResource::parse(&name);
        if let Some(exact) = self.resources.get(&wanted) {
            return Some(exact);
        }
        self.by_preference
            .iter()
            .filter_map(|key| self.resources.get(key))
            .find(|served| {
                let same_name = served.group_resource.resource == wanted.resource
                    || served.singular == wanted.resource
                    || served.kind.to_lowercase() == wanted.resource
                    || served.short_names.contains(&wanted.resource);
                let same_group = wanted.group.is_empty() || served.group_resource.group == wanted.group;
                same_name && same_group
            })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn served(group: &str, plural: &str, kind: &str, namespaced: bool) -> ServedResource {
        ServedResource {
            group_resource: GroupResource::new(group, plural),
            version: "v1".into(),
            kind: kind.into(),
            singular: kind.to_lowercase(),
            short_names: vec![],
            namespaced,
        }
    }

    #[test]
    fn a_user_may_type_plural_singular_kind_short_name_with_or_without_group() {
        let mut discovered = Discovered::default();
        let mut deployments = served("apps", "deployments", "Deployment", true);
        deployments.short_names = vec!["deploy".into()];
        discovered.add(deployments);
        for name in [
            "deployments",
            "deployment",
            "Deployment",
            "deploy",
            "deployments.apps",
            "deploy.apps",
        ] {
            let found = discovered
                .resolve(name)
                .map(|served| served.group_resource.to_string());
            assert_eq!(found.as_deref(), Some("deployments.apps"), "{name}");
        }
        assert!(discovered.resolve("deployments.extensions").is_none());
    }

    #[test]
    fn the_preferred_version_wins_and_its_gvk_is_the_key_of_the_resource_list() {
        let mut discovered = Discovered::default();
        discovered.add(served("apps", "deployments", "Deployment", true));
        discovered.add(ServedResource {
            version: "v1beta1".into(),
            ..served("apps", "deployments", "Deployment", true)
        });
        let found = discovered
            .get(&GroupResource::parse("deployments.apps"))
            .expect("known");
        assert_eq!(found.group_version_kind(), "apps/v1/Deployment");
        assert_eq!(found.api_resource().api_version, "apps/v1");
    }
}
