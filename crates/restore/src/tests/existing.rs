//! Velero's tables about objects that exist, their status, and mappings by ConfigMap.

use caravel_cases::{each, same};
use serde_json::{Value, json};

use crate::existing::difference;
use crate::item_actions::mapping::{change_images, change_storage_classes};
use crate::restore_status;
use crate::selection::IncludesExcludes;

#[test]
fn the_patch_to_an_existing_object_is_veleros() {
    each("pkg_restore/TestGeneratePatch.json", |case| {
        let patch = difference(case.input("fromCluster"), case.want("desired"));
        let wanted = case.want("expectedString").as_str().unwrap_or_default();
        let wanted: Option<Value> = (!wanted.is_empty()).then(|| serde_json::from_str(wanted).unwrap());
        same(&patch, &wanted)
    });
}

#[test]
fn a_status_comes_back_where_it_does_in_velero() {
    each("pkg_restore/TestDetermineRestoreStatus.json", |case| {
        let by_spec = case.input("restoreSpecIncludes") == true;
        let kinds = by_spec.then(|| IncludesExcludes::new(["*"], []));
        let object = json!({"metadata": {"annotations": case.input("annotations")}});
        let ours = restore_status::wanted(kinds.as_ref(), "pods", &object);
        same(&ours, &(case.want("expectedDecision") == true))
    });
}

/// What the ConfigMap says to an action, which finds it by its label.
fn data(map: &Value, action: &str) -> std::collections::BTreeMap<String, String> {
    if map["metadata"]["labels"][action] != "RestoreItemAction" {
        return Default::default();
    }
    serde_json::from_value(map["data"].clone()).unwrap_or_default()
}

#[test]
fn storage_classes_are_mapped_as_in_velero() {
    each(
        "pkg_restore_actions/TestChangeStorageClassActionExecute.json",
        |case| {
            let mut item = case.input("pvOrPvcOrSTS").clone();
            let classes = change_storage_classes(
                &mut item,
                &data(case.input("configMap"), "velero.io/change-storage-class"),
            );
            let mut served: Vec<&Value> = case
                .input("storageClassSlice")
                .as_array()
                .into_iter()
                .flatten()
                .collect();
            served.push(case.input("storageClass"));
            let missing = classes
                .iter()
                .any(|class| !served.iter().any(|served| served["metadata"]["name"] == **class));
            same(&missing, &!case.want("wantErr").is_null())?;
            if missing {
                Ok(())
            } else {
                same(&item, case.want("want"))
            }
        },
    );
}

#[test]
fn images_are_mapped_as_in_velero() {
    each(
        "pkg_restore_actions/TestChangeImageRepositoryActionExecute.json",
        |case| {
            let mut item = case.input("podOrObj").clone();
            change_images(
                &mut item,
                &data(case.input("configMap"), "velero.io/change-image-name"),
            );
            let containers = item
                .pointer("/spec/containers")
                .and_then(Value::as_array)
                .unwrap();
            let images: Vec<&Value> = containers.iter().map(|container| &container["image"]).collect();
            same(&images, &vec![case.want("want")])
        },
    );
}

#[test]
fn an_object_forgets_what_it_forgets_in_velero() {
    each("pkg_restore/Test_resetVolumeBindingInfo.json", |case| {
        let mut object = case.input("obj").clone();
        crate::metadata::forget_binding(&mut object);
        same(&object, case.want("expected"))
    });
    each("pkg_restore/TestResetMetadata.json", |case| {
        let mut object = case.input("obj").clone();
        if case.want("expectedErr") == true {
            // Metadata that is none is left as it is: the API server refuses the object and says why.
            let before = object.clone();
            crate::metadata::forget_old_metadata(&mut object);
            return same(&object["metadata"], &before["metadata"]);
        }
        crate::metadata::forget_old_metadata(&mut object);
        same(&object, case.want("expectedRes"))
    });
}
