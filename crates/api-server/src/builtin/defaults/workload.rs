//! Defaults of Deployment, ReplicaSet, StatefulSet, DaemonSet, Job and CronJob.

use serde_json::{Value, json};

use super::{at, child, claim, each, pod, set, text};

fn template(spec: &mut Value) {
    at(spec, &["template", "spec"], pod::spec);
}

pub(super) fn deployment(spec: &mut Value) {
    set(spec, "replicas", 1);
    if let Some(strategy) = child(spec, "strategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    template(spec);
}

pub(super) fn replica_set(spec: &mut Value) {
    set(spec, "replicas", 1);
    template(spec);
}

pub(super) fn stateful_set(spec: &mut Value) {
    set(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = child(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            set(strategy, "type", "RollingUpdate");
            set(strategy, "rollingUpdate", json!({}));
        }
        if text(strategy, "type") == "RollingUpdate" {
            at(strategy, &["rollingUpdate"], |rolling| {
                set(rolling, "partition", 0)
            });
        }
    }
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        set(policy, "whenDeleted", "Retain");
        set(policy, "whenScaled", "Retain");
    }
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    each(spec, "volumeClaimTemplates", |template| {
        set(template, "apiVersion", "v1");
        set(template, "kind", "PersistentVolumeClaim");
        claim(template);
    });
    template(spec);
}

pub(super) fn daemon_set(spec: &mut Value) {
    if let Some(strategy) = child(spec, "updateStrategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = child(strategy, "rollingUpdate")
        {
            set(rolling, "maxUnavailable", 1);
            set(rolling, "maxSurge", 0);
        }
    }
    set(spec, "revisionHistoryLimit", 10);
    template(spec);
}

/// A Job without labels takes those of its pods.
pub(super) fn job(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    if let (Some(labels), Some(metadata)) = (labels, child(object, "metadata")) {
        set(metadata, "labels", labels);
    }
    at(object, &["spec"], job_spec);
}

fn job_spec(spec: &mut Value) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if spec.get("backoffLimitPerIndex").is_some() {
        i32::MAX
    } else {
        6
    };
    set(spec, "backoffLimit", limit);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let policy = if spec.get("podFailurePolicy").is_some() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    set(spec, "podReplacementPolicy", policy);
    set(spec, "manualSelector", false);
    template(spec);
}

pub(super) fn cron_job(spec: &mut Value) {
    set(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    // The template's Job is defaulted only when it is created; its pods already here.
    at(spec, &["jobTemplate", "spec", "template", "spec"], pod::spec);
}
