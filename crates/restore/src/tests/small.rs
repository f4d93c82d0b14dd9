//! Velero's tests of small things: merging, forgetting, results, labels.

use std::collections::BTreeSet;

use caravel_backup_store::results::ResultSet;
use caravel_cases::{each, same, texts};
use caravel_item_action::{RestoreItemAction as _, RestoreItemInput};
use kube::client::Body;
use serde_json::{Value, json};

use super::cases::object;
use crate::contents::{BackupContents, ContentsError, NamesByNamespace};
use crate::create::{Creation, ExistingPolicy, create, means_exists};
use crate::discovery::tests::served;
use crate::existing::merge_service_account;
use crate::group_resource::GroupResource;
use crate::item_actions::init_hook::InitRestoreHook;
use crate::metadata;
use crate::priority::Priorities;
use crate::selection::{IncludesExcludes, list_errors};

#[test]
fn references_and_maps_are_merged_as_velero_merges_them() {
    for (file, list) in [
        ("pkg_restore/TestMergeObjectReferenceSlices.json", "secrets"),
        (
            "pkg_restore/TestMergeLocalObjectReferenceSlices.json",
            "imagePullSecrets",
        ),
    ] {
        each(file, |case| {
            let account = |entries: &Value| json!({"metadata": {"name": "a"}, list: entries});
            let merged = merge_service_account(&account(case.input("first")), &account(case.input("second")));
            same(&merged[list], case.want("expected"))
        });
    }
    each("pkg_restore/TestMergeMaps.json", |case| {
        let account = |labels: &Value| json!({"metadata": {"name": "a", "labels": labels}});
        let merged = merge_service_account(
            &account(case.input("destination")),
            &account(case.input("source")),
        );
        same(&merged["metadata"]["labels"], case.want("expected"))
    });
}

#[test]
fn a_status_and_annotations_are_forgotten_as_in_velero() {
    each("pkg_restore/TestResetStatus.json", |case| {
        let mut ours = case.input("obj").clone();
        metadata::forget_status(&mut ours);
        same(&ours, case.want("expectedRes"))
    });
    each("pkg_restore_actions/TestRemovePVCAnnotations.json", |case| {
        let mut claim = case.input("pvc").clone();
        let keys = case.texts("removeAnnotations");
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        metadata::remove_annotations(&mut claim, &keys);
        same(
            &claim["metadata"]["annotations"],
            case.want("expectedAnnotations"),
        )
    });
}

#[test]
fn the_action_for_init_hooks_does_what_veleros_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    each(
        "pkg_restore_actions/TestInitContainerRestoreHookPodActionExecute.json",
        |case| {
            let input = RestoreItemInput {
                item: case.input("obj").clone(),
                item_from_backup: case.input("obj"),
                restore: &object(case.input("restore")),
            };
            let output = runtime.block_on(InitRestoreHook.execute(input));
            let item = output.map_err(|error| error.to_string())?.item;
            // Go writes `resources: {}` where there is nothing.
            let init = |pod: &Value| {
                let mut containers = pod.pointer("/spec/initContainers").cloned().unwrap_or_default();
                for container in containers.as_array_mut().into_iter().flatten() {
                    let fields = container.as_object_mut().unwrap();
                    fields.retain(|field, value| field != "resources" || *value != json!({}));
                }
                containers
            };
            same(&init(&item), &init(case.want("expectedRes")))
        },
    );
}

#[test]
fn results_are_collected_as_in_velero() {
    let set = |value: &Value| -> ResultSet { serde_json::from_value(value.clone()).unwrap() };
    let error = |case: &caravel_cases::Case| case.input("err")["$error"].as_str().unwrap().to_owned();
    each("pkg_util_results/TestAdd.json", |case| {
        let mut ours = set(case.input("result"));
        ours.add(case.input("ns").as_str().unwrap_or_default(), error(case));
        same(&ours, &set(case.want("want")))
    });
    each("pkg_util_results/TestAddVeleroError.json", |case| {
        let mut ours = set(case.input("result"));
        ours.add_velero(error(case));
        same(&ours, &set(case.want("want")))
    });
    each("pkg_util_results/TestMerge.json", |case| {
        let mut ours = set(case.input("result"));
        ours.merge(set(case.input("other")));
        same(&ours, &set(case.want("want")))
    });
}

#[test]
fn long_values_of_labels_are_shortened_as_in_velero() {
    each("pkg_label/TestGetValidLabelName.json", |case| {
        let ours = caravel_api::label_value(case.input("label").as_str().unwrap());
        same(&json!(ours), case.want("expectedLabel"))
    });
}

#[test]
fn a_tarball_is_unpacked_where_velero_unpacks_it() {
    each("pkg_archive/TestUnzipAndExtractBackup.json", |case| {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("backup.tar.gz");
        let file = std::fs::File::create(&archive).unwrap();
        if case.input("IsTarball") == true {
            let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            let mut tar = tar::Builder::new(gzip);
            for path in case.texts("files") {
                let mut header = tar::Header::new_gnu();
                header.set_size(2);
                header.set_mode(0o644);
                tar.append_data(&mut header, path, &b"{}"[..]).unwrap();
            }
            tar.into_inner().unwrap().finish().unwrap();
        }
        let to = folder.path().join("unpacked");
        let ours = caravel_backup_store::tarball::unpack(&archive, &to);
        same(&ours.is_err(), &(case.want("wantErr") == true))?;
        let there = case.texts("files").iter().all(|path| to.join(path).is_file());
        same(&there, &true)
    });
}

#[test]
fn a_definition_is_ready_when_velero_says_so() {
    for file in [
        "pkg_util_kube/TestIsCRDReady.json",
        "pkg_util_kube/TestIsV1CRDReady.json",
        "pkg_util_kube/TestIsV1Beta1CRDReady.json",
    ] {
        each(file, |case| {
            let ours = crate::established::is_ready(case.input("crd"));
            same(&ours, &(case.want("want") == true))
        });
    }
}

#[test]
fn a_backup_is_read_as_velero_reads_it() {
    each("pkg_archive/TestParse.json", |case| {
        let folder = tempfile::tempdir().unwrap();
        for path in case.texts("files") {
            let file = folder.path().join(&path);
            if path.ends_with('/') {
                std::fs::create_dir_all(file).unwrap();
            } else {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, "{}").unwrap();
            }
        }
        let read = BackupContents::read(&folder.path().join(case.input("dir").as_str().unwrap()));
        same(&read.is_err(), &!case.want("wantErrMsg").is_null())?;
        let Ok(contents) = read else { return Ok(()) };
        let words = |names: &NamesByNamespace| -> Value {
            let lists = names.iter().map(|(namespace, names)| {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                (namespace.clone(), json!(names))
            });
            Value::Object(lists.collect())
        };
        let names = contents
            .resources()
            .map(|resource| (resource.to_string(), contents.names(resource).map(words).into()));
        let wanted = case.want("want").as_object().into_iter().flatten();
        let wanted = wanted.map(|(name, items)| (name.clone(), items["ItemsByNamespace"].clone()));
        same(&names.collect::<serde_json::Map<_, _>>(), &wanted.collect())
    });
}

#[test]
fn a_name_that_would_leave_the_backup_is_not_read() {
    each(
        "pkg_archive/TestGetItemFilePathRejectsPathTraversal.json",
        |case| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("resources")).unwrap();
            let contents = BackupContents::read(folder.path()).unwrap();
            let text = |field: &str| case.input(field).as_str().unwrap_or_default().to_owned();
            let read = contents.object(
                &GroupResource::parse(&text("groupResource")),
                &text("namespace"),
                &text("itemName"),
            );
            same(&matches!(read, Err(ContentsError::NotInBackup { .. })), &true)
        },
    );
}

#[test]
fn globs_of_namespaces_take_what_they_take_in_velero() {
    each("pkg_restore/TestExpandNamespaceWildcards.json", |case| {
        let (includes, excludes) = (case.texts("includeNamespaces"), case.texts("excludeNamespaces"));
        let refused = !list_errors("namespace", &includes, &excludes).is_empty();
        same(&refused, &(case.want("expectedError") != ""))?;
        // Null: nothing to expand, names are taken as they are.
        if refused || case.want("expectedWildcardResult").is_null() {
            return Ok(());
        }
        let lists = IncludesExcludes::new(
            includes.iter().map(String::as_str),
            excludes.iter().map(String::as_str),
        );
        let in_backup = case.input("backupResources")["namespaces"]["ItemsByNamespace"].as_object();
        let names = in_backup.into_iter().flatten().map(|(name, _)| name.clone());
        let taken: BTreeSet<String> = names.filter(|name| lists.includes(name)).collect();
        same(
            &taken,
            &texts(case.want("expectedWildcardResult")).into_iter().collect(),
        )
    });
}

#[test]
fn priorities_are_read_as_velero_reads_them() {
    each("pkg_types/TestSetOfPriority.json", |case| {
        let ours = case.input("input").as_str().unwrap().parse::<Priorities>();
        same(&ours.is_err(), &(case.want("hasErr") == true))?;
        let Ok(ours) = ours else { return Ok(()) };
        let list = |field: &str| texts(&case.input("priorities")[field]);
        same(&ours.high, &list("HighPriorities"))?;
        same(&ours.low, &list("LowPriorities"))
    });
}

#[test]
fn what_means_that_an_object_exists_is_veleros() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    each("pkg_restore/TestIsAlreadyExistsError.json", |case| {
        let status = &case.want("err")["detail"]["ErrStatus"];
        let object = case.input("obj");
        let wanted = case.want("expected") == true;
        let refused = || kube::Error::Api(serde_json::from_value(status.clone()).unwrap());
        if object["metadata"].is_null() {
            // Nothing was refused: nothing exists.
            let ours = !status.is_null() && means_exists(&refused(), object);
            return same(&ours, &wanted);
        }
        let exists = case.input("apiResource")["items"][0].clone();
        let created = runtime.block_on(create_refused(status.clone(), exists, object));
        same(&created.is_ok(), &wanted)
    });
}

/// Creates a Service where the API server refuses every creation, and has `exists`, unless it is null.
async fn create_refused(refusal: Value, exists: Value, object: &Value) -> Result<Creation, kube::Error> {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (code, answer) = match (request.method().as_str(), exists.is_null()) {
            ("POST", _) => (422, refusal.clone()),
            (_, true) => (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
            (_, false) => (200, exists.clone()),
        };
        let response = http::Response::builder()
            .status(code)
            .header("content-type", "application/json");
        let response = response
            .body(Body::from(serde_json::to_vec(&answer).unwrap()))
            .unwrap();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let client = kube::Client::new(service, "default");
    let services = served("", "services", "Service", true);
    let mut object = object.clone();
    object["apiVersion"] = json!("v1");
    create(&client, &services, "default", &object, ExistingPolicy::Keep, None).await
}
