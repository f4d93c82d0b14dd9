//! The checks, by topic.

mod access;
mod apply;
mod create;
mod custom_resources;
mod definitions;
mod delete;
mod discovery;
mod errors;
mod events;
mod finalizers;
mod kubectl;
mod list;
mod namespaces;
mod openapi;
mod owner_references;
mod patch_json;
mod patch_merge;
mod patch_strategic;
mod pod_environment;
mod pods;
mod selectors;
mod snapshots;
mod status;
mod table;
mod update;
mod volumes;
mod watch;
mod workloads;

use crate::Check;

/// All checks; within a topic in the order of its file.
pub fn checks() -> Vec<Check> {
    [
        create::checks(),
        list::checks(),
        selectors::checks(),
        watch::checks(),
        update::checks(),
        patch_json::checks(),
        patch_merge::checks(),
        patch_strategic::checks(),
        apply::checks(),
        delete::checks(),
        finalizers::checks(),
        status::checks(),
        errors::checks(),
        custom_resources::checks(),
        definitions::checks(),
        discovery::checks(),
        openapi::checks(),
        table::checks(),
        namespaces::checks(),
        owner_references::checks(),
        events::checks(),
        access::checks(),
        pods::checks(),
        pod_environment::checks(),
        workloads::checks(),
        volumes::checks(),
        snapshots::checks(),
        kubectl::checks(),
    ]
    .concat()
}

/// The checks of a file: functions by name, after what they need.
macro_rules! topic {
    ($($([$($needs:ident),*])? $name:ident,)*) => {
        pub(super) fn checks() -> Vec<$crate::Check> {
            let topic = module_path!().split("checks::").last().unwrap_or_default();
            vec![$($crate::Check {
                topic,
                name: stringify!($name),
                needs: &[$($($crate::Needs::$needs),*)?],
                run: |world| Box::pin($name(world)),
            },)*]
        }
    };
}
use topic;

/// A ConfigMap with this data.
fn config_map(name: &str, data: serde_json::Value) -> serde_json::Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// A Deployment of one container; its selector is `app=<name>`.
fn deployment(name: &str, replicas: u32, image: &str, command: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template(name, image, command)},
    })
}

/// A pod template labelled `app=<name>`, of one container `main`.
fn template(name: &str, image: &str, command: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(image, command)]},
    })
}

/// A pod of one container `main` that is not started again.
fn pod(name: &str, image: &str, command: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "containers": [container(image, command)]},
    })
}

fn container(image: &str, command: &[&str]) -> serde_json::Value {
    serde_json::json!({"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command})
}

/// What a pod does that stays.
const STAY: [&str; 3] = ["/bin/sh", "-c", "sleep 3600"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_two_checks_have_one_name() {
        let mut names = BTreeSet::new();
        for check in super::checks() {
            assert!(names.insert(check.full_name()), "{} twice", check.full_name());
        }
    }
}
