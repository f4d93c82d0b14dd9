//! An application of every kind of object that issue 6 names, in two namespaces and beside them: what a backup of resources
//! is tried on.
//!
//! No volumes: those are the shop's. Nothing of it does anything but sleep, and the webhooks match no object.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Cluster, Dump, Kind, until};

/// Group of its own kind of object.
const GROUP: &str = "exhibits.caravel.test";
/// Time in which its pods must run.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is in it: `resource.group`, and how many at least, in both namespaces together.
const HOLDS: &[(&str, usize)] = &[
    ("namespaces", 2),
    ("deployments.apps", 1),
    ("replicasets.apps", 1),
    ("statefulsets.apps", 1),
    ("controllerrevisions.apps", 1),
    ("pods", 3),
    ("cronjobs.batch", 1),
    ("jobs.batch", 1),
    ("services", 5),
    ("endpointslices.discovery.k8s.io", 1),
    ("ingresses.networking.k8s.io", 1),
    ("networkpolicies.networking.k8s.io", 1),
    ("horizontalpodautoscalers.autoscaling", 1),
    ("poddisruptionbudgets.policy", 1),
    ("serviceaccounts", 3),
    ("roles.rbac.authorization.k8s.io", 1),
    ("rolebindings.rbac.authorization.k8s.io", 1),
    ("secrets", 11),
    ("configmaps", 4),
    ("limitranges", 1),
    ("resourcequotas", 1),
    ("exhibits.exhibits.caravel.test", 3),
    ("customresourcedefinitions.apiextensions.k8s.io", 1),
    ("clusterroles.rbac.authorization.k8s.io", 1),
    ("clusterrolebindings.rbac.authorization.k8s.io", 1),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", 1),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", 1),
    ("priorityclasses.scheduling.k8s.io", 1),
];

/// Cluster-scoped resources that a backup of the set must ask for by name, as `--include-cluster-scoped-resources` takes them.
pub const CLUSTER_SCOPED: &str = "customresourcedefinitions,clusterroles,clusterrolebindings,\
                                  validatingwebhookconfigurations,mutatingwebhookconfigurations,priorityclasses";

/// The set, in the namespaces `<name>` and `<name>-store`.
#[derive(Debug, Clone)]
pub struct ApplicationSet {
    name: String,
    store: String,
}

impl ApplicationSet {
    /// The set of that name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            store: format!("{name}-store"),
        }
    }

    /// The same objects under the names of another set, as a mapped restore makes them.
    pub fn renamed(&self, name: &str) -> Self {
        Self::named(name)
    }

    /// Its namespaces, as `--include-namespaces` takes them.
    pub fn namespaces(&self) -> String {
        format!("{},{}", self.name, self.store)
    }

    /// From its namespaces to another set's, as `--namespace-mappings` takes them.
    pub fn mappings(&self, to: &Self) -> String {
        format!("{}:{},{}:{}", self.name, to.name, self.store, to.store)
    }

    /// Makes it anew and returns when its pods run and its token is there.
    pub fn create(&self, cluster: &Cluster) -> Result<()> {
        self.destroy(cluster)?;
        cluster.apply(&list(&[
            self.namespace_objects(),
            self.beside(),
            self.definition(),
        ]))?;
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &format!("customresourcedefinition/exhibits.{GROUP}"),
        ])?;
        cluster.apply(&list(&[
            self.access(),
            self.data(),
            self.network(),
            self.workloads(cluster),
            self.exhibits(),
        ]))?;
        self.runs(cluster)
    }

    /// Deletes its namespaces and what belongs to it beside them, as a disaster would.
    pub fn destroy(&self, cluster: &Cluster) -> Result<()> {
        for namespace in [&self.name, &self.store] {
            cluster.begin_deletion(Kind::NAMESPACE, "", namespace)?;
        }
        for (resource, name) in self.cluster_scoped() {
            cluster.kubectl(&["delete", resource, &name, "--ignore-not-found", "--timeout=120s"])?;
        }
        for namespace in [&self.name, &self.store] {
            cluster.delete(Kind::NAMESPACE, "", namespace)?;
        }
        Ok(())
    }

    /// Waits until every pod of it is ready, and until Kubernetes has filled the token's Secret.
    pub fn runs(&self, cluster: &Cluster) -> Result<()> {
        let patience = format!("--timeout={}s", PATIENCE.as_secs());
        for workload in ["deployment/web", "statefulset/ledger"] {
            cluster.kubectl(&[
                "rollout",
                "status",
                workload,
                "--namespace",
                &self.name,
                &patience,
            ])?;
        }
        until("the token of the ServiceAccount", PATIENCE, || {
            let secret = cluster.must_get(Kind::SECRET, &self.name, "robot-credentials")?;
            let token = secret["data"]["token"].as_str().unwrap_or_default();
            Ok(if token.is_empty() {
                Err("the Secret has none".to_owned())
            } else {
                Ok(())
            })
        })
    }

    /// Everything of it, without what the server sets; its namespaces are called as `called`'s.
    pub fn dump(&self, cluster: &Cluster, called: &Self) -> Result<Dump> {
        let names = [
            (self.name.as_str(), called.name.as_str()),
            (self.store.as_str(), called.store.as_str()),
        ];
        // Objects beside the namespaces keep the names that they were made with.
        Dump::take(cluster, &names, &called.cluster_scoped())
    }

    /// Fails when a kind is missing: a comparison of two empty sets shows nothing.
    pub fn is_whole(dump: &Dump) -> Result<()> {
        for (resource, at_least) in HOLDS {
            let found = dump.count(resource);
            ensure!(
                found >= *at_least,
                "the application set has {found} {resource}, not {at_least}"
            );
        }
        Ok(())
    }

    fn cluster_scoped(&self) -> Vec<(&'static str, String)> {
        let name = &self.name;
        vec![
            (
                "mutatingwebhookconfigurations.admissionregistration.k8s.io",
                name.clone(),
            ),
            (
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
                name.clone(),
            ),
            ("clusterrolebindings.rbac.authorization.k8s.io", name.clone()),
            ("clusterroles.rbac.authorization.k8s.io", name.clone()),
            ("priorityclasses.scheduling.k8s.io", name.clone()),
            (
                "customresourcedefinitions.apiextensions.k8s.io",
                format!("exhibits.{GROUP}"),
            ),
        ]
    }

    fn namespace_objects(&self) -> Vec<Value> {
        let namespace = |name: &str| {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": name, "labels": {"team": "curators"}, "annotations": {"caravel.test/purpose": "an exhibition"}}})
        };
        vec![namespace(&self.name), namespace(&self.store)]
    }

    fn beside(&self) -> Vec<Value> {
        let name = &self.name;
        // Matches nothing, and would be passed over if it did: the service behind it does not answer.
        let webhook = json!([{
            "name": format!("check.{GROUP}"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "timeoutSeconds": 1,
            "objectSelector": {"matchLabels": {"caravel.test/never": "true"}},
            "rules": [{"apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["exhibits"]}],
            "clientConfig": {"service": {"name": "guard", "namespace": name, "path": "/check", "port": 443}},
        }]);
        vec![
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                   "value": 1000, "description": "before everything else"}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                   "rules": [{"apiGroups": [GROUP], "resources": ["exhibits"], "verbs": ["get", "list"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                   "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": name}]}),
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                   "metadata": {"name": name}, "webhooks": webhook}),
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                   "metadata": {"name": name}, "webhooks": webhook}),
        ]
    }

    fn definition(&self) -> Vec<Value> {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "title": {"type": "string"}, "year": {"type": "integer"},
                "lent": {"type": "boolean", "default": false}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}});
        let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}}});
        vec![json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("exhibits.{GROUP}")},
            "spec": {"group": GROUP, "scope": "Namespaced",
                "names": {"plural": "exhibits", "singular": "exhibit", "kind": "Exhibit", "shortNames": ["ex"]},
                "versions": [version("v1alpha1", false), version("v1beta1", false), version("v1", true)]},
        })]
    }

    /// One object written in each version.
    fn exhibits(&self) -> Vec<Value> {
        let exhibit = |version: &str, namespace: &str, year: u32| {
            json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "Exhibit",
                   "metadata": {"name": format!("of-{version}"), "namespace": namespace,
                                "finalizers": [], "annotations": {"caravel.test/note": "<&> \"quoted\" ☃"}},
                   "spec": {"title": format!("Made as {version}"), "year": year}})
        };
        vec![
            exhibit("v1alpha1", &self.name, 1871),
            exhibit("v1beta1", &self.name, 1912),
            exhibit("v1", &self.store, 2026),
        ]
    }

    fn access(&self) -> Vec<Value> {
        let name = &self.name;
        vec![
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                   "metadata": {"name": "robot", "namespace": name, "annotations": {"caravel.test/owner": "curators"}},
                   "imagePullSecrets": [{"name": "registry"}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                   "metadata": {"name": "reader", "namespace": name},
                   "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "watch"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                   "metadata": {"name": "reader", "namespace": name},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
                   "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": name},
                                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "curators"}]}),
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": name},
                   "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "1m", "memory": "8Mi"}}]}}),
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": self.store},
                   "spec": {"hard": {"configmaps": "100", "secrets": "100"}}}),
        ]
    }

    /// Secrets of every type that Kubernetes has, and config maps.
    fn data(&self) -> Vec<Value> {
        let secret = |name: &str, kind: &str, data: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.name},
                   "type": kind, "stringData": data})
        };
        let mut token = secret(
            "robot-credentials",
            "kubernetes.io/service-account-token",
            json!({"extra": "kept"}),
        );
        token["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "robot"});
        let mut immutable = secret("sealed", "Opaque", json!({"till": "0000"}));
        immutable["immutable"] = json!(true);
        let registry = r#"{"auths":{"registry.invalid":{"auth":"Y3VyYXRvcjpzZWNyZXQ="}}}"#;
        let old_registry = r#"{"registry.invalid":{"auth":"Y3VyYXRvcjpzZWNyZXQ="}}"#;
        let config = |name: &str, namespace: &str, fields: Value| {
            let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                                    "metadata": {"name": name, "namespace": namespace}});
            for (field, value) in fields.as_object().into_iter().flatten() {
                object[field] = value.clone();
            }
            object
        };
        vec![
            secret(
                "plain",
                "Opaque",
                json!({"password": "p\u{e4}ss\nword", "empty": ""}),
            ),
            token,
            secret(
                "registry",
                "kubernetes.io/dockerconfigjson",
                json!({".dockerconfigjson": registry}),
            ),
            secret(
                "old-registry",
                "kubernetes.io/dockercfg",
                json!({".dockercfg": old_registry}),
            ),
            secret(
                "basic",
                "kubernetes.io/basic-auth",
                json!({"username": "u", "password": "p"}),
            ),
            secret(
                "ssh",
                "kubernetes.io/ssh-auth",
                json!({"ssh-privatekey": "not a key"}),
            ),
            secret(
                "tls",
                "kubernetes.io/tls",
                json!({"tls.crt": "not a certificate", "tls.key": "not a key"}),
            ),
            secret(
                "bootstrap-token-abcdef",
                "bootstrap.kubernetes.io/token",
                json!({"token-id": "abcdef", "token-secret": "0123456789abcdef"}),
            ),
            secret("own-type", "caravel.test/own", json!({"anything": "goes"})),
            immutable,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "binary", "namespace": self.store},
                   "data": {"bytes": "AAECA//+/fw="}}),
            config(
                "prices",
                &self.name,
                json!({"data": {"apple": "3", "multi": "a\nb\n", "empty": ""}}),
            ),
            config(
                "binary",
                &self.store,
                json!({"binaryData": {"bytes": "AAECA//+/fw="}, "immutable": true}),
            ),
        ]
    }

    fn network(&self) -> Vec<Value> {
        let name = &self.name;
        let service = |service: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": name}, "spec": spec});
        vec![
            service(
                "web",
                json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}),
            ),
            service(
                "ledger",
                json!({"clusterIP": "None", "selector": {"app": "ledger"}, "ports": [{"port": 5432}]}),
            ),
            service(
                "outside",
                json!({"type": "ExternalName", "externalName": "example.invalid"}),
            ),
            service(
                "door",
                json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]}),
            ),
            // Without a selector: its endpoints are written by hand.
            service("archive", json!({"ports": [{"name": "db", "port": 5432}]})),
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                   "metadata": {"name": "archive-by-hand", "namespace": name, "labels": {
                        "kubernetes.io/service-name": "archive", "endpointslice.kubernetes.io/managed-by": "caravel.test"}},
                   "endpoints": [{"addresses": ["10.9.8.7"], "conditions": {"ready": true}}],
                   "ports": [{"name": "db", "port": 5432, "protocol": "TCP"}]}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": name},
                   "spec": {"tls": [{"hosts": ["gallery.invalid"], "secretName": "tls"}],
                            "rules": [{"host": "gallery.invalid", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"name": "http"}}}}]}}]}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                   "metadata": {"name": "only-web", "namespace": name},
                   "spec": {"podSelector": {"matchLabels": {"app": "ledger"}}, "policyTypes": ["Ingress"],
                            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}}),
        ]
    }

    fn workloads(&self, cluster: &Cluster) -> Vec<Value> {
        let name = &self.name;
        let pod = |labels: Value| {
            json!({"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 0, "serviceAccountName": "robot", "priorityClassName": name,
                "containers": [{
                    "name": "main", "image": cluster.facts().application_image, "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sh", "-c", "sleep 2147483647"],
                    "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "plain", "key": "password"}}}],
                    "volumeMounts": [{"name": "prices", "mountPath": "/prices"}, {"name": "scratch", "mountPath": "/scratch"}],
                }],
                "volumes": [{"name": "prices", "configMap": {"name": "prices"}}, {"name": "scratch", "emptyDir": {}}],
            }})
        };
        let mut once = pod(json!({"app": "once"}));
        once["spec"]["restartPolicy"] = json!("Never");
        let meta =
            |object: &str| json!({"name": object, "namespace": name, "labels": {"part-of": "gallery"}});
        vec![
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": pod(json!({"app": "web"}))}}),
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta("ledger"), "spec": {
                "replicas": 1, "serviceName": "ledger", "selector": {"matchLabels": {"app": "ledger"}},
                "template": pod(json!({"app": "ledger"}))}}),
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("yearly"), "spec": {
                "schedule": "0 3 1 1 *", "timeZone": "Etc/UTC", "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {"template": once}}}}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("import"), "spec": {
                "suspend": true, "template": once}}),
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta("web"), "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 2, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("web"), "spec": {
                "minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
        ]
    }
}

/// A List of all of these, as text.
fn list(parts: &[Vec<Value>]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": parts.concat()}).to_string()
}
