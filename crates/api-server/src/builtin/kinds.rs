//! The table of built-in kinds this server serves, and the rules in which they differ from each other.
//! Source: Kubernetes v1.34, `pkg/registry/*/*/strategy.go` and `storage/storage.go` of each kind, and
//! `kubectl api-resources`.

use crate::kind::{Kind, Scope};

/// One line of the table.
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
    /// `status` is a subresource.
    status: bool,
    /// `metadata.generation` is kept.
    generation: bool,
}

/// What a kind's strategy says differently from most others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A PUT to a name that does not exist creates it.
    pub create_on_update: bool,
    /// A PUT without a resourceVersion overwrites.
    pub unconditional_update: bool,
    /// DELETE answers with the object, not with a `Status`.
    pub returns_deleted: bool,
    /// Dependents stay when the caller does not say otherwise.
    pub orphans_dependents: bool,
    /// Only POST is served: reviews.
    pub create_only: bool,
    /// There is no DELETE of the collection.
    pub no_delete_collection: bool,
}

const NS: Scope = Scope::Namespaced;
const CLUSTER: Scope = Scope::Cluster;
const NONE: &[&str] = &[];
const ALL: &[&str] = &["all"];
const EXTENSIONS: &[&str] = &["api-extensions"];

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("", "v1", "Namespace", "namespaces", &["ns"], NONE, CLUSTER, true, false),
    row("", "v1", "Pod", "pods", &["po"], ALL, NS, true, true),
    row("", "v1", "Node", "nodes", &["no"], NONE, CLUSTER, true, false),
    row("", "v1", "ConfigMap", "configmaps", &["cm"], NONE, NS, false, false),
    row("", "v1", "Secret", "secrets", NONE, NONE, NS, false, false),
    row("", "v1", "Service", "services", &["svc"], ALL, NS, true, false),
    row("", "v1", "Endpoints", "endpoints", &["ep"], NONE, NS, false, false),
    row("", "v1", "ServiceAccount", "serviceaccounts", &["sa"], NONE, NS, false, false),
    row("", "v1", "PersistentVolume", "persistentvolumes", &["pv"], NONE, CLUSTER, true, false),
    row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], NONE, NS, true, false),
    row("", "v1", "Event", "events", &["ev"], NONE, NS, false, false),
    row("", "v1", "ReplicationController", "replicationcontrollers", &["rc"], ALL, NS, true, true),
    row("", "v1", "ResourceQuota", "resourcequotas", &["quota"], NONE, NS, true, false),
    row("", "v1", "LimitRange", "limitranges", &["limits"], NONE, NS, false, false),
    row("", "v1", "PodTemplate", "podtemplates", NONE, NONE, NS, false, true),
    row("apps", "v1", "Deployment", "deployments", &["deploy"], ALL, NS, true, true),
    row("apps", "v1", "ReplicaSet", "replicasets", &["rs"], ALL, NS, true, true),
    row("apps", "v1", "StatefulSet", "statefulsets", &["sts"], ALL, NS, true, true),
    row("apps", "v1", "DaemonSet", "daemonsets", &["ds"], ALL, NS, true, true),
    row("apps", "v1", "ControllerRevision", "controllerrevisions", NONE, NONE, NS, false, false),
    row("batch", "v1", "Job", "jobs", NONE, ALL, NS, true, true),
    row("batch", "v1", "CronJob", "cronjobs", &["cj"], ALL, NS, true, true),
    row("rbac.authorization.k8s.io", "v1", "Role", "roles", NONE, NONE, NS, false, false),
    row("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", NONE, NONE, NS, false, false),
    row("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", NONE, NONE, CLUSTER, false, false),
    row("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", NONE, NONE, CLUSTER, false, false),
    row("storage.k8s.io", "v1", "StorageClass", "storageclasses", &["sc"], NONE, CLUSTER, false, false),
    row("storage.k8s.io", "v1", "CSIDriver", "csidrivers", NONE, NONE, CLUSTER, false, false),
    row("storage.k8s.io", "v1", "CSINode", "csinodes", NONE, NONE, CLUSTER, false, false),
    row("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", NONE, NONE, CLUSTER, true, false),
    row("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", NONE, NONE, NS, false, false),
    row("coordination.k8s.io", "v1", "Lease", "leases", NONE, NONE, NS, false, false),
    row("events.k8s.io", "v1", "Event", "events", &["ev"], NONE, NS, false, false),
    row("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], EXTENSIONS, CLUSTER, true, true),
    row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], NONE, NS, true, true),
    row("networking.k8s.io", "v1", "Ingress", "ingresses", &["ing"], NONE, NS, true, true),
    row("networking.k8s.io", "v1", "IngressClass", "ingressclasses", NONE, NONE, CLUSTER, false, true),
    row("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", &["netpol"], NONE, NS, false, true),
    row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", NONE, NONE, NS, false, true),
    row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &["pc"], NONE, CLUSTER, false, true),
    row("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", NONE, EXTENSIONS, CLUSTER, false, true),
    row("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", NONE, EXTENSIONS, CLUSTER, false, true),
    row("apiregistration.k8s.io", "v1", "APIService", "apiservices", NONE, EXTENSIONS, CLUSTER, true, false),
    row("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", NONE, NONE, CLUSTER, false, false),
    row("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", NONE, NONE, CLUSTER, false, false),
    row("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", NONE, NONE, CLUSTER, false, false),
    row("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", NONE, NONE, NS, false, false),
    row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", NONE, NONE, CLUSTER, false, false),
    row("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", NONE, NONE, CLUSTER, false, false),
];

#[allow(
    clippy::too_many_arguments,
    reason = "one argument per column keeps the table a table"
)]
const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    scope: Scope,
    status: bool,
    generation: bool,
) -> Row {
    Row {
        group,
        version,
        kind,
        plural,
        short_names,
        categories,
        scope,
        status,
        generation,
    }
}

/// All built-in kinds, in the order of the table.
pub fn kinds() -> Vec<Kind> {
    TABLE.iter().map(kind).collect()
}

fn kind(row: &Row) -> Kind {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Kind {
        group: row.group.to_owned(),
        version: row.version.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: owned(row.short_names),
        categories: owned(row.categories),
        scope: row.scope,
        status_subresource: row.status,
        stored: true,
        generation: row.generation,
        custom: None,
    }
}

/// The rules of a kind; custom kinds have those of `apiextensions-apiserver`'s `customresource/strategy.go`.
pub fn rules(kind: &Kind) -> Rules {
    if kind.custom.is_some() {
        return Rules {
            create_on_update: false,
            unconditional_update: false,
            returns_deleted: false,
            orphans_dependents: false,
            create_only: false,
            no_delete_collection: false,
        };
    }
    let plural = kind.plural.as_str();
    Rules {
        create_on_update: matches!(
            plural,
            "endpoints"
                | "events"
                | "leases"
                | "limitranges"
                | "roles"
                | "rolebindings"
                | "clusterroles"
                | "clusterrolebindings"
        ),
        unconditional_update: !matches!(
            plural,
            "leases"
                | "customresourcedefinitions"
                | "csinodes"
                | "volumeattachments"
                | "poddisruptionbudgets"
                | "csistoragecapacities"
                | "mutatingwebhookconfigurations"
                | "validatingwebhookconfigurations"
                | "apiservices"
        ),
        returns_deleted: matches!(
            plural,
            "pods"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
                | "storageclasses"
                | "csidrivers"
                | "csinodes"
                | "volumeattachments"
        ),
        orphans_dependents: matches!(plural, "jobs" | "replicationcontrollers"),
        create_only: matches!(
            kind.group.as_str(),
            "authorization.k8s.io" | "authentication.k8s.io"
        ),
        no_delete_collection: kind.group.is_empty() && plural == "namespaces",
    }
}

/// Subresources of a kind besides `status`.
pub fn subresources(kind: &Kind) -> &'static [&'static str] {
    if let Some(custom) = &kind.custom {
        return if custom.scale.is_some() { &["scale"] } else { NONE };
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => &["binding", "eviction", "exec", "log"],
        ("", "namespaces") => &["finalize"],
        ("", "serviceaccounts") => &["token"],
        ("", "replicationcontrollers") | ("apps", "deployments" | "replicasets" | "statefulsets") => {
            &["scale"]
        }
        _ => NONE,
    }
}

/// Subresources that Kubernetes has and this server has not: a request for one says so, as it is not the caller's fault.
pub fn unserved(kind: &Kind) -> &'static [&'static str] {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => &["attach", "ephemeralcontainers", "portforward", "proxy", "resize"],
        ("", "services" | "nodes") => &["proxy"],
        _ => NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_share_a_path() {
        let mut paths: Vec<(String, String)> = kinds()
            .into_iter()
            .map(|kind| (kind.api_version(), kind.plural))
            .collect();
        let before = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), before);
    }
}
