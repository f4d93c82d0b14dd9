//! The data mover pod: Velero's shape, less power.

use serde_json::json;

use super::*;

fn node_agent() -> DaemonSet {
    serde_json::from_value(json!({"spec": {"selector": {}, "template": {
        "metadata": {"labels": {"azure.workload.identity/use": "true", "name": "node-agent"}},
        "spec": {
            "serviceAccountName": "velero",
            "tolerations": [{"key": "CriticalAddonsOnly"}, {"key": "mine"}],
            "containers": [{
                "name": "node-agent", "image": "example/velero:1", "args": ["node-agent", "server", "--log-level=debug", "--features=x"],
                "env": [{"name": "VELERO_NAMESPACE", "value": "velero"}, {"name": "AWS_SHARED_CREDENTIALS_FILE", "value": "/credentials/cloud"}],
                "volumeMounts": [{"name": "host-pods", "mountPath": "/host_pods"}, {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "cloud-credentials", "mountPath": "/credentials"}],
            }],
            "volumes": [{"name": "host-pods", "hostPath": {"path": "/var/lib/kubelet/pods"}}, {"name": "scratch", "emptyDir": {}},
                {"name": "cloud-credentials", "secret": {"secretName": "cloud-credentials"}}],
        },
    }}}))
    .unwrap()
}

fn pod(verb: Verb, volume_mode: &str, location: &LocationMount) -> Pod {
    DataMoverPod {
        verb,
        name: "b-1",
        namespace: "velero",
        uid: "u-1",
        owner: OwnerReference::default(),
        volume_mode,
        resource_timeout: Duration::from_secs(600),
        location,
        service_account: Some("velero-data-mover"),
        on_node: None,
        topology: None,
    }
    .build(&node_agent())
}

fn location() -> LocationMount {
    LocationMount {
        json: "{}".into(),
        credential: None,
    }
}

fn only_container(pod: &Pod) -> Container {
    let spec = pod.spec.clone().unwrap();
    assert_eq!(spec.containers.len(), 1);
    spec.containers[0].clone()
}

#[test]
fn pod_has_veleros_command_names_and_labels() {
    let pod = pod(Verb::Backup, "Filesystem", &location());
    let container = only_container(&pod);
    assert_eq!(container.command.unwrap(), ["/velero", "data-mover", "backup"]);
    assert_eq!(
        container.args.unwrap(),
        [
            "--volume-path=/u-1",
            "--volume-mode=Filesystem",
            "--data-upload=b-1",
            "--resource-timeout=10m0s",
            "--log-level=debug"
        ]
    );
    assert_eq!(
        (container.name.as_str(), container.image_pull_policy.as_deref()),
        ("u-1", Some("Never"))
    );
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels["velero.io/data-upload"], "b-1");
    assert_eq!(labels["velero.io/exposer-pod-group"], "snapshot-exposer");
    assert_eq!(labels["azure.workload.identity/use"], "true");
    assert!(!labels.contains_key("name"), "or the DaemonSet would adopt it");
}

#[test]
fn pod_mounts_the_volume_read_only_for_a_backup_and_no_host_path() {
    let pod = pod(Verb::Backup, "Filesystem", &location());
    let container = only_container(&pod);
    let mounts = container.volume_mounts.unwrap();
    let volume = mounts.iter().find(|mount| mount.mount_path == "/u-1").unwrap();
    assert_eq!(volume.read_only, Some(true));
    assert!(mounts.iter().all(|mount| mount.name != "host-pods"));
    assert!(mounts.iter().any(|mount| mount.mount_path == "/repository"));
    assert!(
        pod.spec
            .unwrap()
            .volumes
            .unwrap()
            .iter()
            .all(|volume| volume.host_path.is_none())
    );
}

#[test]
fn block_volume_is_attached_as_a_device() {
    let container = only_container(&pod(Verb::Restore, "Block", &location()));
    assert_eq!(container.volume_devices.unwrap()[0].device_path, "/u-1");
    assert!(
        container
            .volume_mounts
            .unwrap()
            .iter()
            .all(|mount| mount.mount_path != "/u-1")
    );
}

#[test]
fn pod_drops_every_power_that_moving_files_does_not_need() {
    let pod = pod(Verb::Backup, "Filesystem", &location());
    let security = only_container(&pod).security_context.unwrap();
    assert_eq!(security.privileged, Some(false));
    assert_eq!(security.read_only_root_filesystem, Some(true));
    let capabilities = security.capabilities.unwrap();
    assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
    assert_eq!(capabilities.add.unwrap(), ["DAC_READ_SEARCH", "FOWNER"]);
    let spec = pod.spec.unwrap();
    assert_eq!(spec.service_account_name.as_deref(), Some("velero-data-mover"));
    assert_eq!(spec.tolerations.unwrap().len(), 1);
}

#[test]
fn location_with_a_credential_of_its_own_is_all_the_pod_can_open() {
    let own = LocationMount {
        json: "{}".into(),
        credential: Some(("other".into(), "key".into())),
    };
    let pod = pod(Verb::Backup, "Filesystem", &own);
    let container = only_container(&pod);
    let file = container
        .env
        .unwrap()
        .into_iter()
        .find(|variable| variable.name == "AWS_SHARED_CREDENTIALS_FILE")
        .unwrap();
    assert_eq!(file.value.as_deref(), Some("/location-credential/key"));
    let volumes = pod.spec.unwrap().volumes.unwrap();
    assert!(volumes.iter().all(|volume| volume.name != "cloud-credentials"));
}
