//! Velero's own table tests of where a data mover pod may run and how it has its volume (`pkg_util_kube`).

use caravel_cases::{each, same};
use serde_json::{Value, json};

use super::tests::{location, plain};
use super::*;

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    (!value.is_null()).then(|| serde_json::from_value(value.clone()).unwrap())
}

fn load_affinity(value: &Value) -> Option<LoadAffinity> {
    let node_selector = read(value.get("nodeSelector")?)?;
    let storage_class = value["storageClass"].as_str().unwrap_or_default().to_owned();
    Some(LoadAffinity {
        node_selector,
        storage_class,
    })
}

#[test]
fn the_load_affinity_of_a_storage_class_is_found_as_velero_finds_it() {
    each("pkg_util_kube/TestGetLoadAffinityByStorageClass.json", |case| {
        let all = case.input("affinityList").as_array();
        let settings = Settings {
            load_affinity: all.into_iter().flatten().filter_map(load_affinity).collect(),
            ..Settings::default()
        };
        let ours = settings.affinity(case.input("scName").as_str().unwrap_or_default());
        same(&ours.cloned(), &load_affinity(case.want("expectedAffinity")))
    });
}

#[test]
fn a_data_mover_pod_may_run_where_veleros_may() {
    each("pkg_util_kube/TestToSystemAffinity.json", |case| {
        let settings = Settings {
            load_affinity: load_affinity(case.input("loadAffinity")).into_iter().collect(),
            ..Settings::default()
        };
        let topology: Option<NodeSelector> = read(case.input("volumeTopology"));
        let location = location();
        let pod = DataMoverPod {
            topology: topology.as_ref(),
            ..plain(Verb::Backup, "Filesystem", &location, &settings)
        };
        let mut ours = serde_json::to_value(pod.affinity()).unwrap();
        // Velero adds "not on Windows" to every pod, too, but later.
        let required = &mut ours["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let mut says_more = false;
        for term in required["nodeSelectorTerms"].as_array_mut().into_iter().flatten() {
            if let Some(all) = term["matchExpressions"].as_array_mut() {
                all.retain(|it| it["key"] != "kubernetes.io/os");
            }
            if term["matchExpressions"] == json!([]) {
                term.as_object_mut().unwrap().remove("matchExpressions");
            }
            says_more |= term.as_object().is_some_and(|term| !term.is_empty());
        }
        same(&if says_more { ours } else { Value::Null }, case.want("expected"))
    });
}

#[test]
fn a_volume_is_in_a_data_mover_pod_as_velero_puts_it_there() {
    each("pkg_util_kube/TestMakePodPVCAttachment.json", |case| {
        // What is read only is backed up.
        let verb = match case.input("readOnly") == true {
            true => Verb::Backup,
            false => Verb::Restore,
        };
        let mode = case.input("volumeMode").as_str().filter(|mode| !mode.is_empty());
        let settings = Settings::default();
        let location = location();
        let pod = DataMoverPod {
            uid: case.input("volumeName").as_str().unwrap_or_default(),
            ..plain(verb, mode.unwrap_or("Filesystem"), &location, &settings)
        };
        let container = pod.container(&Container::default(), Vec::new());
        let mounts = container.volume_mounts.filter(|mounts| !mounts.is_empty());
        same(&json!(mounts), case.want("expectedVolumeMount"))?;
        same(
            &json!(container.volume_devices),
            case.want("expectedVolumeDevice"),
        )?;
        same(&json!(pod.volume_path()), case.want("expectedVolumePath"))
    });
}
