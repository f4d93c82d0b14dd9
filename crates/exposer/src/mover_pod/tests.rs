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
    plain(verb, volume_mode, location, &Settings::default()).build(&node_agent())
}

pub(super) fn plain<'a>(
    verb: Verb,
    volume_mode: &'a str,
    location: &'a LocationMount,
    settings: &'a Settings,
) -> DataMoverPod<'a> {
    DataMoverPod {
        verb,
        name: "b-1",
        namespace: "velero",
        uid: "u-1",
        owner: OwnerReference::default(),
        volume_mode,
        resource_timeout: Duration::from_secs(600),
        location,
        enable_compression: false,
        cache: None,
        service_account: Some("velero-data-mover"),
        on_node: None,
        topology: None,
        not_on_nodes: &[],
        storage_class: "fast",
        read_only: false,
        no_relabeling: false,
        settings,
        priority_class: None,
    }
}

pub(super) fn location() -> LocationMount {
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
    let variables = container.env.unwrap();
    for name in ["AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"] {
        let files: Vec<_> = variables
            .iter()
            .filter(|variable| variable.name == name)
            .map(|variable| variable.value.as_deref())
            .collect();
        assert_eq!(files, [Some("/location-credential/key")], "{name}");
    }
    let volumes = pod.spec.unwrap().volumes.unwrap();
    assert!(volumes.iter().all(|volume| volume.name != "cloud-credentials"));
}

#[test]
fn the_repository_password_is_a_file_and_so_is_the_next_one_while_it_is_being_changed() {
    let pod = pod(Verb::Backup, "Filesystem", &location());
    let spec = serde_json::to_value(pod.spec.unwrap()).unwrap();
    let volumes = spec["volumes"].as_array().unwrap();
    let password = volumes
        .iter()
        .find(|volume| volume["name"] == "repository-password")
        .unwrap();
    assert_eq!(
        password["secret"],
        json!({"secretName": "velero-repo-credentials", "defaultMode": 0o400, "optional": true, "items": [
            {"key": "repository-password", "path": "password"},
            {"key": "repository-password-next", "path": "password-next"}]})
    );
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn terms(pod: &Pod) -> serde_json::Value {
    let spec = serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap();
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        .clone()
}

#[test]
fn labels_and_annotations_of_the_configuration_take_the_place_of_the_inherited_ones_but_not_of_our_own() {
    let settings = Settings {
        pod_labels: map(&[("team", "backup"), ("velero.io/data-upload", "another")]),
        pod_annotations: map(&[("vault", "true")]),
        ..Settings::default()
    };
    let location = location();
    let pod = plain(Verb::Backup, "Filesystem", &location, &settings).build(&node_agent());
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels["team"], "backup");
    assert_eq!(labels["velero.io/data-upload"], "b-1");
    assert!(!labels.contains_key("azure.workload.identity/use"));
    assert_eq!(pod.metadata.annotations.unwrap(), map(&[("vault", "true")]));
}

#[test]
fn the_configuration_chooses_resources_priority_and_nodes() {
    let settings = Settings {
        load_affinity: serde_json::from_value::<Vec<LabelSelector>>(json!([
            {"matchLabels": {"pool": "backup"}, "matchExpressions": [{"key": "busy", "operator": "DoesNotExist"}]}
        ]))
        .unwrap()
        .into_iter()
        .map(|node_selector| LoadAffinity { node_selector, storage_class: "fast".into() })
        .collect(),
        pod_resources: serde_json::from_value(json!({"limits": {"memory": "1Gi"}})).unwrap(),
        ..Settings::default()
    };
    let location = location();
    let topology: NodeSelector = serde_json::from_value(json!({"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}))
    .unwrap();
    let nodes = ["n3".to_owned()];
    let mover = DataMoverPod {
        topology: Some(&topology),
        not_on_nodes: &nodes,
        priority_class: Some("low"),
        ..plain(Verb::Backup, "Filesystem", &location, &settings)
    };
    let pod = mover.build(&node_agent());
    assert_eq!(
        terms(&pod),
        json!([{"matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["a"]},
            {"key": "pool", "operator": "In", "values": ["backup"]},
            {"key": "busy", "operator": "DoesNotExist"},
            {"key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"]},
            {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n3"]},
        ]}])
    );
    assert_eq!(
        pod.spec.as_ref().unwrap().priority_class_name.as_deref(),
        Some("low")
    );
    assert_eq!(
        only_container(&pod).resources.unwrap().limits.unwrap()["memory"].0,
        "1Gi"
    );

    let elsewhere = DataMoverPod {
        storage_class: "slow",
        ..mover.clone()
    }
    .build(&node_agent());
    assert!(
        !terms(&elsewhere).to_string().contains("pool"),
        "the entry is of another class"
    );
    let placed = DataMoverPod {
        on_node: Some("n1"),
        ..mover
    }
    .build(&node_agent());
    assert!(
        !terms(&placed).to_string().contains("pool"),
        "the application's node is where it must run"
    );
}

#[test]
fn a_read_only_pvc_is_mounted_so_and_not_relabelled_when_that_is_asked_for() {
    let (location, settings) = (location(), Settings::default());
    let mover = DataMoverPod {
        read_only: true,
        no_relabeling: true,
        ..plain(Verb::Backup, "Filesystem", &location, &settings)
    };
    let spec = serde_json::to_value(mover.build(&node_agent()).spec.unwrap()).unwrap();
    let volume = spec["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "u-1")
        .unwrap();
    assert_eq!(volume["persistentVolumeClaim"]["readOnly"], true);
    assert_eq!(spec["securityContext"]["seLinuxOptions"]["type"], "spc_t");
    assert_eq!(spec["os"]["name"], "linux");
}

#[test]
fn a_backup_that_compresses_is_told_so_and_another_hears_nothing_of_it() {
    let (location, settings) = (location(), Settings::default());
    let plain = plain(Verb::Backup, "Filesystem", &location, &settings);
    let without = serde_json::to_string(&plain.build(&node_agent())).unwrap();
    assert!(!without.contains(COMPRESSION_VARIABLE));
    let mover = DataMoverPod {
        enable_compression: true,
        ..plain
    };
    let variables = only_container(&mover.build(&node_agent())).env.unwrap();
    let said = variables.iter().find(|it| it.name == COMPRESSION_VARIABLE);
    assert_eq!(said.unwrap().value.as_deref(), Some("true"));
}

#[test]
fn a_restore_with_a_cache_volume_mounts_it_and_is_told_of_it() {
    let (location, settings) = (location(), Settings::default());
    let cache = CacheVolume {
        storage_class: "cheap".into(),
        limit_mb: 2000,
    };
    for volume_mode in ["Filesystem", "Block"] {
        let mover = DataMoverPod {
            cache: Some(&cache),
            ..plain(Verb::Restore, volume_mode, &location, &settings)
        };
        let pod = mover.build(&node_agent());
        let container = only_container(&pod);
        let args = container.args.unwrap();
        assert!(
            args.contains(&"--cache-volume-path=/cachedir".to_owned()),
            "{args:?}"
        );
        let mounts = container.volume_mounts.unwrap();
        let mount = mounts.iter().find(|mount| mount.name == "cachedir").unwrap();
        assert_eq!((mount.mount_path.as_str(), mount.read_only), ("/cachedir", None));
        let variables = container.env.unwrap();
        let limit = variables.iter().find(|it| it.name == CACHE_LIMIT_VARIABLE);
        assert_eq!(limit.unwrap().value.as_deref(), Some("2000"));
        let volumes = pod.spec.unwrap().volumes.unwrap();
        let volume = volumes.iter().find(|volume| volume.name == "cachedir").unwrap();
        let claim = volume.persistent_volume_claim.as_ref().unwrap();
        assert_eq!((claim.claim_name.as_str(), claim.read_only), ("b-1-cache", None));
    }
    let without = plain(Verb::Restore, "Filesystem", &location, &settings).build(&node_agent());
    assert!(!serde_json::to_string(&without).unwrap().contains("cache"));
}
