//! Which resources the cluster has, each once, in its group's preferred version (upstream `pkg/discovery/helper.go`); and in
//! which other versions it serves them.

use std::collections::BTreeSet;

use kube::Client;
use kube::core::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery, APIVersionDiscovery};

/// A kind of object that can be backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Group, version, kind and plural.
    pub api: ApiResource,
    pub namespaced: bool,
    /// Other words for it in a Backup's lists: singular, short names.
    words: Vec<String>,
}

impl Resource {
    /// `deployments.apps`, `pods`.
    pub fn group_resource(&self) -> String {
        if self.api.group.is_empty() {
            self.api.plural.clone()
        } else {
            format!("{}.{}", self.api.plural, self.api.group)
        }
    }

    /// The key of the resource list: `apps/v1/Deployment`, `v1/Pod`.
    pub fn list_key(&self) -> String {
        format!("{}/{}", self.api.api_version, self.api.kind)
    }
}

/// All resources, in the order in which Velero collects them.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    preferred: Vec<Resource>,
    /// The same resources in other versions.
    others: Vec<Resource>,
}

/// Without these an object can be neither backed up nor restored.
const NEEDED_VERBS: [&str; 4] = ["list", "create", "get", "delete"];

impl Resources {
    /// Asks the API server, in two requests.
    ///
    /// # Errors
    /// Those of the client.
    pub async fn discover(client: &Client) -> Result<Self, kube::Error> {
        let (core, groups) = tokio::try_join!(
            client.list_core_api_versions_aggregated(),
            client.list_api_groups_aggregated()
        )?;
        Ok(Self::from_groups(core.items.into_iter().chain(groups.items)))
    }

    /// Core first, `extensions` last; in core pods, PVCs and PVs first. Kinds that two groups share are taken once.
    pub fn from_groups(groups: impl IntoIterator<Item = APIGroupDiscovery>) -> Self {
        let (mut resources, mut others): (Vec<Resource>, Vec<Resource>) = Default::default();
        for group in groups {
            let name = group
                .metadata
                .and_then(|metadata| metadata.name)
                .unwrap_or_default();
            let mut seen = BTreeSet::new();
            // The server lists the preferred version first; others only add what the preferred one does not have.
            for version in &group.versions {
                for resource in usable(&name, version) {
                    if seen.insert(resource.api.plural.clone()) {
                        resources.push(resource);
                    } else {
                        others.push(resource);
                    }
                }
            }
        }
        resources.sort_by_key(order);
        let mut cohabitants = BTreeSet::new();
        resources.retain(|resource| match cohabitant(resource) {
            Some(kind) => cohabitants.insert(kind),
            None => true,
        });
        let mut found = Self {
            preferred: resources,
            others: Vec::new(),
        };
        others.retain(|other| found.find(&other.api.group, &other.api.plural).is_some());
        found.others = others;
        found
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.preferred.iter()
    }

    /// The resources in the versions that are not preferred.
    pub fn other_versions(&self) -> impl Iterator<Item = &Resource> {
        self.others.iter()
    }

    /// The resource of an identifier.
    pub fn find(&self, group: &str, plural: &str) -> Option<&Resource> {
        self.preferred
            .iter()
            .find(|resource| resource.api.group == group && resource.api.plural == plural)
    }

    /// `deploy`, `Deployment` or `deployments.apps` → `deployments.apps`; an unknown word comes back unchanged.
    pub fn resolve(&self, word: &str) -> String {
        self.scope_of(word)
            .map_or_else(|| word.to_owned(), |(name, _)| name)
    }

    /// A word's `deployments.apps`, and whether it is namespaced; `None` when the cluster does not know it.
    pub fn scope_of(&self, word: &str) -> Option<(String, bool)> {
        let wanted = word.to_lowercase();
        let (name, group) = wanted
            .split_once('.')
            .map_or((&*wanted, None), |(name, group)| (name, Some(group)));
        let found = self.preferred.iter().find(|resource| {
            group.is_none_or(|group| resource.api.group == group)
                && (resource.api.plural == name || resource.words.iter().any(|word| word == name))
        });
        found.map(|resource| (resource.group_resource(), resource.namespaced))
    }
}

fn usable<'a>(group: &'a str, version: &'a APIVersionDiscovery) -> impl Iterator<Item = Resource> + 'a {
    version.resources.iter().filter_map(move |resource| {
        let name = version.version.clone()?;
        let has = |verb: &&str| resource.verbs.iter().any(|offered| offered == verb);
        NEEDED_VERBS
            .iter()
            .all(has)
            .then(|| resource_of(group, &name, resource))?
    })
}

fn resource_of(group: &str, version: &str, found: &APIResourceDiscovery) -> Option<Resource> {
    let plural = found.resource.clone()?;
    let kind = found.response_kind.as_ref()?.kind.clone()?;
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut words = vec![kind.to_lowercase()];
    words.extend(found.singular_resource.clone());
    words.extend(found.short_names.iter().cloned());
    Some(Resource {
        api: ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind,
            plural,
        },
        namespaced: found.scope.as_deref() == Some("Namespaced"),
        words,
    })
}

/// Collection order; equal values keep the server's order.
fn order(resource: &Resource) -> (u8, u8) {
    let group = match &*resource.api.group {
        "" => 0,
        "extensions" => 2,
        _ => 1,
    };
    let core = match (group, &*resource.api.plural) {
        (0, "pods") => 0,
        (0, "persistentvolumeclaims") => 1,
        (0, "persistentvolumes") => 2,
        _ => 3,
    };
    (group, core)
}

/// Kinds that live in two groups under one storage object.
fn cohabitant(resource: &Resource) -> Option<String> {
    let shared = matches!(
        (&*resource.api.plural, &*resource.api.group),
        (
            "deployments" | "daemonsets" | "replicasets",
            "apps" | "extensions"
        ) | ("networkpolicies", "networking.k8s.io" | "extensions")
            | ("events", "" | "events.k8s.io")
    );
    shared.then(|| resource.api.plural.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<APIGroupDiscovery> {
        let resource = |plural: &str, kind: &str, scope: &str, short: &[&str], verbs: &[&str]| {
            serde_json::json!({"resource": plural, "scope": scope, "singularResource": kind.to_lowercase(),
                "responseKind": {"group": "", "version": "v1", "kind": kind}, "shortNames": short, "verbs": verbs})
        };
        let all = &["create", "delete", "get", "list", "watch"][..];
        let group = |name: &str, versions: serde_json::Value| {
            serde_json::from_value(serde_json::json!({"metadata": {"name": name}, "versions": versions}))
                .unwrap()
        };
        vec![
            group(
                "",
                serde_json::json!([{"version": "v1", "resources": [
                resource("bindings", "Binding", "Namespaced", &[], &["create"]),
                resource("events", "Event", "Namespaced", &["ev"], all),
                resource("persistentvolumes", "PersistentVolume", "Cluster", &["pv"], all),
                resource("pods", "Pod", "Namespaced", &["po"], all)]}]),
            ),
            group(
                "events.k8s.io",
                serde_json::json!([{"version": "v1", "resources": [
                resource("events", "Event", "Namespaced", &["ev"], all)]}]),
            ),
            group(
                "apps",
                serde_json::json!([
                {"version": "v1", "resources": [resource("deployments", "Deployment", "Namespaced", &["deploy"], all)]},
                {"version": "v1beta1", "resources": [
                    resource("deployments", "Deployment", "Namespaced", &["deploy"], all),
                    resource("oldthings", "OldThing", "Namespaced", &[], all)]}]),
            ),
        ]
    }

    #[test]
    fn each_resource_comes_once_in_its_preferred_version_and_in_veleros_order() {
        let resources = Resources::from_groups(groups());
        let found: Vec<String> = resources
            .iter()
            .map(|resource| format!("{}/{}", resource.api.version, resource.group_resource()))
            .collect();
        assert_eq!(
            found,
            [
                "v1/pods",
                "v1/persistentvolumes",
                "v1/events",
                "v1/deployments.apps",
                "v1beta1/oldthings.apps"
            ]
        );
        let others: Vec<String> = resources.other_versions().map(Resource::list_key).collect();
        assert_eq!(others, ["apps/v1beta1/Deployment"]);
    }

    #[test]
    fn words_of_a_backup_resolve_to_group_resources() {
        let resources = Resources::from_groups(groups());
        for word in [
            "deploy",
            "Deployment",
            "deployments",
            "deployments.apps",
            "deployment.apps",
        ] {
            assert_eq!(resources.resolve(word), "deployments.apps", "{word}");
        }
        assert_eq!(resources.resolve("widgets.example.com"), "widgets.example.com");
    }
}
