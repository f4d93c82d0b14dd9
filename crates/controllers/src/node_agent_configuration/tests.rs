//! What the ConfigMap says, by Velero's own pages and by what goes wrong in it.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn reading(value: &serde_json::Value) -> Reading {
    read(&value.to_string(), &Configuration::default()).unwrap()
}

/// All of it counts.
fn taken(value: &serde_json::Value) -> Configuration {
    let reading = reading(value);
    assert_eq!(reading.refused, []);
    reading.configuration
}

fn labels(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn the_sample_of_veleros_page_on_concurrency_gives_each_node_its_number() {
    let read = taken(&json!({"loadConcurrency": {"globalConfig": 2, "perNodeConfig": [
        {"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "node1"}}, "number": 3},
        {"nodeSelector": {"matchLabels": {"beta.kubernetes.io/instance-type": "Standard_B4ms"}}, "number": 5},
    ]}}));
    let kind = ("beta.kubernetes.io/instance-type", "Standard_B4ms");
    for (node, number) in [
        (labels(&[("kubernetes.io/hostname", "node2")]), 2),
        (labels(&[("kubernetes.io/hostname", "node1")]), 3),
        (labels(&[("kubernetes.io/hostname", "node2"), kind]), 5),
        (labels(&[("kubernetes.io/hostname", "node1"), kind]), 3),
    ] {
        assert_eq!(read.load_concurrency.on_node(&node), number, "{node:?}");
    }
    assert_eq!(Configuration::default().load_concurrency.on_node(&labels(&[])), 1);
}

#[test]
fn every_operator_of_a_label_selector_picks_nodes() {
    let node = labels(&[("zone", "a"), ("disk", "ssd")]);
    for (expression, picks) in [
        (
            json!({"key": "zone", "operator": "In", "values": ["a", "b"]}),
            true,
        ),
        (
            json!({"key": "zone", "operator": "NotIn", "values": ["a"]}),
            false,
        ),
        (json!({"key": "rack", "operator": "NotIn", "values": ["a"]}), true),
        (json!({"key": "disk", "operator": "Exists"}), true),
        (json!({"key": "disk", "operator": "DoesNotExist"}), false),
    ] {
        let selector = serde_json::from_value(json!({"matchExpressions": [expression]})).unwrap();
        assert_eq!(concurrency::selects(&selector, &node), picks, "{expression}");
    }
}

#[test]
fn the_length_of_the_queue_is_read_where_the_code_and_where_the_page_has_it() {
    let length = |value| taken(&value).load_concurrency.prepare_queue_length;
    assert_eq!(
        length(json!({"loadConcurrency": {"prepareQueueLength": 10}})),
        Some(10)
    );
    assert_eq!(length(json!({"prepareQueueLength": 10})), Some(10));
    assert_eq!(
        length(json!({"prepareQueueLength": 10, "loadConcurrency": {"prepareQueueLength": 3}})),
        Some(3)
    );
    assert_eq!(length(json!({})), None);
}

#[test]
fn the_samples_of_veleros_pages_on_pods_and_volumes_are_understood() {
    let read = taken(&json!({
        "loadAffinity": [
            {"nodeSelector": {"matchLabels": {"type": "Standard_B4ms"}, "matchExpressions": [
                {"key": "kubernetes.io/hostname", "values": ["node-1", "node-2"], "operator": "In"},
                {"key": "xxx/critial-workload", "operator": "DoesNotExist"}]}},
            {"nodeSelector": {"matchLabels": {"environment": "backup"}}, "storageClass": "hdd"},
        ],
        "backupPVC": {
            "storage-class-1": {"storageClass": "backupPVC-storage-class", "readOnly": true},
            "storage-class-3": {"readOnly": true, "annotations": {"some-csi.provider.io/readOnlyClone": true}},
            "storage-class-4": {"readOnly": true, "spcNoRelabeling": true},
        },
        "restorePVC": {"ignoreDelayBinding": true},
        "podResources": {"cpuRequest": "1000m", "cpuLimit": "1000m", "ephemeralStorageRequest": "5Gi",
            "ephemeralStorageLimit": "10Gi", "memoryRequest": "512Mi", "memoryLimit": "1Gi"},
        "priorityClassName": "backup-priority",
        "podLabels": {"spectrocloud.com/connection": "proxy", "gnp/k8s-api-access": ""},
        "podAnnotations": {"iam.amazonaws.com/role": "velero-backup-role"},
    }));
    let settings = read.settings;
    assert_eq!(
        settings.affinity("hdd").unwrap().requirements()[0].key,
        "environment"
    );
    assert_eq!(settings.affinity("ssd").unwrap().requirements().len(), 3);
    assert!(settings.backup_pvc("storage-class-1").read_only);
    assert_eq!(
        settings.backup_pvc("storage-class-3").annotations["some-csi.provider.io/readOnlyClone"],
        "true"
    );
    assert!(settings.backup_pvc("storage-class-4").spc_no_relabeling);
    assert!(settings.restore_pvc.ignore_delay_binding);
    let resources = settings.pod_resources.unwrap();
    assert_eq!(resources.requests.unwrap()["memory"].0, "512Mi");
    assert_eq!(resources.limits.unwrap()["ephemeral-storage"].0, "10Gi");
    assert_eq!(settings.priority_class_name, "backup-priority");
    assert_eq!(settings.pod_labels.len(), 2);
}

#[test]
fn what_is_right_and_has_no_effect_is_said() {
    let reading = reading(&json!({
        "cachePVC": {"residentThresholdInMB": 1024, "storageClass": "sc-wffc"}, "privilegedFsBackup": true}));
    assert_eq!(reading.refused, []);
    assert!(!reading.remarks.iter().any(|said| said.contains("cachePVC")));
    assert!(
        reading
            .remarks
            .iter()
            .any(|said| said.contains("privilegedFsBackup"))
    );
    let said = reading.configuration.settings.cache_pvc.unwrap();
    assert_eq!(said.storage_class, "sc-wffc");
    assert_eq!(said.resident_threshold_mb, 1024);
    let pages = taken(&json!({"cachePVC": {"thresholdInGB": 2, "storageClass": "sc-wffc"}}));
    assert_eq!(pages.settings.cache_pvc.unwrap().resident_threshold_mb, 2048);
}

/// A value, and how its refusal must read.
#[test]
fn a_value_that_cannot_be_right_is_refused_with_its_key_itself_and_the_reason() {
    let one = |value| json!({"nodeSelector": {"matchLabels": {"a": "b"}}, "number": value});
    for (value, expected) in [
        (
            json!({"loadConcurrencies": {}}),
            "loadConcurrencies: {} is refused: unknown key",
        ),
        (
            json!({"loadConcurrency": {"globalConfig": 0}}),
            "loadConcurrency.globalConfig: 0 is refused: a whole number from 1 on",
        ),
        (
            json!({"loadConcurrency": {"globalConfig": "3"}}),
            "loadConcurrency.globalConfig: \"3\" is refused",
        ),
        (
            json!({"loadConcurrency": {"perNodeConfig": [one(json!(2)), one(json!(-1))]}}),
            "loadConcurrency.perNodeConfig[1].number: -1 is refused",
        ),
        (
            json!({"loadConcurrency": {"perNodeConfig": [{"nodeSelector": {"matchLabel": {}}, "number": 1}]}}),
            "loadConcurrency.perNodeConfig[0].nodeSelector.matchLabel: {} is refused: unknown key",
        ),
        (
            json!({"loadAffinity": [{"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]}),
            "loadAffinity[0].nodeSelector.matchExpressions[0]:",
        ),
        (
            json!({"loadAffinity": [{"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]}),
            "operator In needs values",
        ),
        (
            json!({"loadAffinity": [{"storageclass": "x"}]}),
            "loadAffinity[0].storageclass:",
        ),
        (
            json!({"loadAffinity": [{"nodeSelector": {}}, {"nodeSelector": {}}]}),
            "loadAffinity[1]: {\"nodeSelector\":{}} is refused: only the first entry without storageClass counts",
        ),
        (
            json!({"backupPVC": {"fast": {"readOnly": "yes"}}}),
            "backupPVC.fast.readOnly: \"yes\"",
        ),
        (
            json!({"backupPVC": {"fast": {"spcNoRelabeling": true}}}),
            "backupPVC.fast.spcNoRelabeling: true is refused: it counts only together with readOnly",
        ),
        (
            json!({"backupPVC": {"fast": {"secretNames": ["a"]}}}),
            "backupPVC.fast.secretNames: [\"a\"]",
        ),
        (
            json!({"restorePVC": {"ignoreDelayBinding": 1}}),
            "restorePVC.ignoreDelayBinding: 1",
        ),
        (
            json!({"cachePVC": {"residentThresholdInMB": 1}}),
            "storageClass is missing",
        ),
        (
            json!({"podResources": {"cpuRequest": "much"}}),
            "podResources.cpuRequest: \"much\" is refused",
        ),
        (
            json!({"podResources": {"memoryRequest": "2Gi", "memoryLimit": "1024Mi"}}),
            "podResources.memoryRequest: \"2Gi\" is refused: it is more than memoryLimit",
        ),
        (
            json!({"podResources": {"memory": "2Gi"}}),
            "podResources.memory: \"2Gi\" is refused: unknown key",
        ),
        (json!({"priorityClassName": 7}), "priorityClassName: 7"),
        (
            json!({"privilegedFsBackup": "true"}),
            "privilegedFsBackup: \"true\"",
        ),
        (json!({"podLabels": {"a": "not a label"}}), "podLabels:"),
        (
            json!({"podAnnotations": {"a b": "x"}}),
            "\"a b\" cannot be the name",
        ),
        (
            json!({"podLabels": ["a"]}),
            "podLabels: [\"a\"] is refused: a JSON object is expected",
        ),
    ] {
        let refused = reading(&value).refused;
        let said: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|one| one.contains(expected)), "{value}: {said:?}");
    }
}

#[test]
fn a_refused_value_costs_only_what_hangs_on_it_and_leaves_what_held_before() {
    let before = taken(&json!({
        "loadConcurrency": {"globalConfig": 4, "prepareQueueLength": 9},
        "loadAffinity": [{"nodeSelector": {"matchLabels": {"a": "b"}}}],
        "backupPVC": {"fast": {"readOnly": true}, "slow": {"readOnly": true}},
        "podResources": {"memoryLimit": "1Gi"},
        "podLabels": {"team": "a"},
    }));
    let now = json!({
        "loadConcurrency": {"globalConfig": "many", "prepareQueueLength": 5},
        "loadAffinity": "everywhere",
        "backupPVC": {"fast": {"readOnly": 1}, "slow": {"storageClass": "cheap"}},
        "podResources": {"memoryLimit": "1Gi", "cpuLimit": "x"},
    });
    let reading = read(&now.to_string(), &before).unwrap();
    assert_eq!(reading.refused.len(), 4, "{:?}", reading.refused);
    let after = reading.configuration;
    assert_eq!(after.load_concurrency.global, 4);
    assert_eq!(after.load_concurrency.prepare_queue_length, Some(5));
    assert_eq!(after.settings.load_affinity, before.settings.load_affinity);
    assert!(after.settings.backup_pvc["fast"].read_only);
    assert!(!after.settings.backup_pvc["slow"].read_only);
    assert_eq!(after.settings.pod_resources, before.settings.pod_resources);
    assert!(
        after.settings.pod_labels.is_empty(),
        "what is not said any more does not hold"
    );
}

#[test]
fn a_text_without_keys_cannot_be_read() {
    for text in ["", "{", "[]", "\"a\"", "null", "loadConcurrency: 1"] {
        assert!(read(text, &Configuration::default()).is_err(), "{text}");
    }
    assert_eq!(read("{}", &Configuration::default()).unwrap(), Reading::default());
}

#[test]
fn null_says_nothing_as_in_go() {
    let read =
        taken(&json!({"loadConcurrency": null, "podResources": {"cpuLimit": null}, "loadAffinity": null}));
    assert_eq!(read, Configuration::default());
}
