//! Velero's tests of small things: merging, forgetting, results, labels.

use std::collections::BTreeSet;
use std::path::PathBuf;

use caravel_backup_store::results::ResultSet;
use caravel_cases::{Case, api, each, same, texts};
use caravel_item_action::{RestoreItemAction as _, RestoreItemInput};
use serde_json::{Value, json};

use super::cases::object;
use crate::contents::{BackupContents, ContentsError, NamesByNamespace, SavedVersions};
use crate::create::{Creation, ExistingPolicy, create, means_exists};
use crate::discovery::tests::served;
use crate::existing::merge_service_account;
use crate::group_resource::GroupResource;
use crate::item_actions::init_hook::InitRestoreHook;
use crate::metadata;
use crate::priority::Priorities;
use crate::saved_volumes::older::{has_csi_snapshot, has_pod_volume_backup};
use crate::selection::{IncludesExcludes, list_errors};
use crate::versions::{CONFIG_KEY, UserVersions, first_common, kubernetes_order};

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
    let error = |case: &Case| case.input("err")["$error"].as_str().unwrap().to_owned();
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
    // Of maintenance Jobs.
    each("pkg_label/TestReturnNameOrHash.json", |case| {
        let ours = caravel_api::labels::name_or_hash(case.input("label").as_str().unwrap());
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

/// The files of a case, and the folder among them that it names. Absolute paths come below a temporary folder, too.
fn backup_folder(case: &Case, dir: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let below = |path: &str| folder.path().join(path.trim_start_matches('/'));
    for path in case.texts("files") {
        let file = below(&path);
        if path.ends_with('/') {
            std::fs::create_dir_all(file).unwrap();
        } else {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "{}").unwrap();
        }
    }
    let root = below(case.input(dir).as_str().unwrap());
    (folder, root)
}

#[test]
fn a_backup_is_read_as_velero_reads_it() {
    each("pkg_archive/TestParse.json", |case| {
        let (_folder, root) = backup_folder(case, "dir");
        let read = BackupContents::read(&root);
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
    let client = api::client(move |asked| match (asked.method.as_str(), exists.is_null()) {
        ("POST", _) => (422, refusal.clone()),
        (_, true) => api::failure(404, "NotFound"),
        (_, false) => (200, exists.clone()),
    });
    let services = served("", "services", "Service", true);
    let mut object = object.clone();
    object["apiVersion"] = json!("v1");
    create(&client, &services, "default", &object, ExistingPolicy::Keep, None).await
}

/// A version's name in Velero's lists of them.
fn names(versions: &Value) -> Vec<String> {
    let versions = versions.as_array().into_iter().flatten();
    versions
        .map(|version| version["version"].as_str().unwrap().to_owned())
        .collect()
}

fn saved(versions: &Value) -> SavedVersions {
    SavedVersions {
        all: names(versions).into_iter().collect(),
        ..SavedVersions::default()
    }
}

#[test]
fn a_users_version_is_taken_where_velero_takes_it() {
    each("pkg_restore/TestFindSupportedUserVersion.json", |case| {
        let (user, served) = (names(case.input("userGVs")), names(case.input("targetGVs")));
        let ours = first_common(user.iter(), &saved(case.input("sourceGVs")), &served);
        same(&json!(ours.unwrap_or_default()), case.want("want"))
    });
    each("pkg_restore/TestVersionsContain.json", |case| {
        let wanted = [case.input("ver").as_str().unwrap().to_owned()];
        let listed = case.input("GVs");
        let ours = first_common(wanted.iter(), &saved(listed), &names(listed));
        same(&json!(ours.is_some()), case.want("want"))
    });
}

#[test]
fn versions_are_sorted_as_kubernetes_sorts_them() {
    each("pkg_restore/TestK8sPrioritySort.json", |case| {
        let mut ours = names(case.input("orig"));
        ours.sort_by(|one, other| kubernetes_order(other).cmp(&kubernetes_order(one)));
        same(&ours, &names(case.want("want")))
    });
}

#[test]
fn a_users_versions_are_read_as_velero_reads_them() {
    each(
        "pkg_restore/TestUserResourceGroupVersionPriorities.json",
        |case| {
            let text = case.input("cm")["data"][CONFIG_KEY].as_str().unwrap();
            let wanted = case.want("want").as_object().into_iter().flatten();
            let wanted = wanted.map(|(resource, group)| (resource.clone(), names(&group["versions"])));
            let ours = UserVersions::parse(text);
            same(&ours.versions, &wanted.collect())?;
            same(&ours.unread.is_empty(), &(case.want("wantErrMsg") == ""))
        },
    );
}

#[test]
fn the_versions_of_a_backup_are_found_where_velero_finds_them() {
    each("pkg_archive/TestExtractGroupName.json", |case| {
        let ours = GroupResource::parse(case.input("rgDir").as_str().unwrap()).group;
        same(&json!(ours), case.want("want"))
    });
    each("pkg_archive/TestParseGroupVersions.json", |case| {
        let (folder, root) = backup_folder(case, "backupDir");
        let read = BackupContents::read(&root);
        same(&read.is_err(), &!case.want("wantErrMsg").is_null())?;
        let Ok(contents) = read else { return Ok(()) };
        let ours = contents.versions().map_err(|error| error.to_string())?;
        drop(folder);
        let wanted = case.want("want").as_object().into_iter().flatten();
        let wanted = wanted.map(|(resource, group)| {
            let saved = SavedVersions {
                preferred: group["preferredVersion"]["version"].as_str().map(str::to_owned),
                ..saved(&group["versions"])
            };
            (GroupResource::parse(resource), saved)
        });
        same(&ours, &wanted.collect())
    });
}

#[test]
fn a_volume_was_saved_where_velero_says_that_it_was() {
    each("pkg_restore/TestHasPodVolumeBackup.json", |case| {
        let backups = case.input("pvbs").as_array().cloned().unwrap_or_default();
        // The volume that Velero's test makes for all of them.
        let ours = has_pod_volume_backup("test-ns", "test-pvc", &backups);
        same(&json!(ours), case.want("expected"))
    });
    each("pkg_restore/TestHasCSIVolumeSnapshot.json", |case| {
        let of_claim = |field: &str| case.input("obj").pointer(&format!("/spec/claimRef/{field}"));
        let text = |field: &str| of_claim(field).and_then(Value::as_str).unwrap_or_default();
        let snapshots = [case.input("vs").clone()];
        let ours = has_csi_snapshot(text("namespace"), text("name"), &snapshots);
        same(&json!(ours), case.want("expectedResult"))
    });
}
