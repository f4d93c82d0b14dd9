//! The item actions that are a few lines each: Job, Secret, ServiceAccount, role bindings, CustomResourceDefinition,
//! webhook configurations, APIService. Source: the files of the same names in Velero's `pkg/restore/actions/`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::metadata::{annotation, remove_annotations};

/// `velero.io/job`: the old controller's uid would keep the new one from finding its pods.
pub fn job(job: &mut Value) {
    for labels in [
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
        "/metadata/labels",
    ] {
        if let Some(labels) = job.pointer_mut(labels).and_then(Value::as_object_mut) {
            labels.remove("controller-uid");
            labels.remove("batch.kubernetes.io/controller-uid");
        }
    }
}

/// `velero.io/service-account`: `<account>-token-*` Secrets belong to the old account.
pub fn service_account(account: &mut Value) {
    let name = account
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let prefix = format!("{name}-token-");
    if let Some(secrets) = account.get_mut("secrets").and_then(Value::as_array_mut) {
        secrets.retain(|secret| {
            !secret
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| name.starts_with(&prefix))
        });
    }
}

/// True for Secrets that hold a ServiceAccount's token.
pub fn is_token_secret(secret: &Value) -> bool {
    secret.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token")
}

/// `velero.io/secret`, the part without the cluster: a token that a user asked for is filled in anew by the control
/// plane. (A token Secret that the control plane made by itself, `<account>-token-xxxxx`, is not restored at all.)
pub fn token_secret(secret: &mut Value) {
    if let Some(data) = secret.get_mut("data").and_then(Value::as_object_mut) {
        data.remove("token");
        data.remove("ca.crt");
    }
    remove_annotations(secret, &["kubernetes.io/service-account.uid"]);
}

/// Name of the ServiceAccount for which the control plane made this token Secret by itself; `None` when a user made
/// it. Auto-created ones are called `<account>-token-<5 characters>`.
pub fn auto_created_for(secret: &Value) -> Option<String> {
    let name = secret.pointer("/metadata/name").and_then(Value::as_str)?;
    let (account, random) = name.rsplit_once("-token-")?;
    let named = annotation(secret, "kubernetes.io/service-account.name").unwrap_or(account);
    (random.len() == 5 && named == account).then(|| account.to_owned())
}

/// `velero.io/role-bindings` and `velero.io/cluster-role-bindings`: subjects move with their namespaces.
pub fn role_binding(binding: &mut Value, namespace_mapping: &BTreeMap<String, String>) {
    for subject in binding
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let mapped = subject
            .get("namespace")
            .and_then(Value::as_str)
            .and_then(|name| namespace_mapping.get(name));
        if let Some(mapped) = mapped {
            subject["namespace"] = json!(mapped);
        }
    }
}

/// `velero.io/crd-preserve-fields`: v1 definitions may not have it set to true.
pub fn definition(definition: &mut Value) {
    let v1 = definition.get("apiVersion").and_then(Value::as_str) == Some("apiextensions.k8s.io/v1");
    if v1 && definition.pointer("/spec/preserveUnknownFields") == Some(&json!(true)) {
        definition["spec"]["preserveUnknownFields"] = json!(false);
    }
}

/// `velero.io/admission-webhook-configuration`: v1 knows only `None` and `NoneOnDryRun` as side effects.
pub fn webhook_configuration(configuration: &mut Value) {
    if configuration.get("apiVersion").and_then(Value::as_str) != Some("admissionregistration.k8s.io/v1") {
        return;
    }
    for webhook in configuration
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if matches!(
            webhook.get("sideEffects").and_then(Value::as_str),
            Some("Some" | "Unknown")
        ) {
            webhook["sideEffects"] = json!("None");
        }
    }
}

/// `velero.io/apiservice`: those that the API server makes for built-in groups and CRDs come back by themselves.
pub fn is_auto_managed_api_service(service: &Value) -> bool {
    service
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get("kube-aggregator.kubernetes.io/automanaged"))
        .is_some_and(|value| matches!(value.as_str(), Some("onstart" | "true")))
}
