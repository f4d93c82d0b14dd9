//! Our objects against those of Velero 1.18.3 for the same flags, and the files in `deploy/` against our objects.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::objects;
use super::options::{Args, Options};
use super::platform::{PlatformArgs, unprivileged};
use crate::cli::output;
use crate::server::SnapshotObjects;

/// The flags that the sample was made with:
/// `velero install --provider aws --plugins velero/velero-plugin-for-aws:v1.14.3 --bucket b --no-secret
/// --backup-location-config region=us-east-1 --use-node-agent --features=EnableCSI --dry-run -o yaml`.
fn sample_args() -> Args {
    Args {
        provider: Some("aws".into()),
        plugins: vec!["velero/velero-plugin-for-aws:v1.14.3".into()],
        bucket: Some("b".into()),
        no_secret: Some(true),
        backup_location_config: vec!["region=us-east-1".into()],
        use_node_agent: Some(true),
        image: "velero/velero:v1.18.3".into(),
        // What Velero does unless it is told otherwise; here it is the other way round.
        platform: PlatformArgs {
            node_agent_disable_host_path: Some(false),
            ..PlatformArgs::default()
        },
        ..Args::default()
    }
}

fn install(args: &Args) -> Vec<Value> {
    objects::objects(&Options::from_args(args, "velero".into()).expect("these flags are right"))
}

/// The checkout, as cargo says at run time: checkouts share one target folder, so the path that was compiled in may be
/// that of another one, long gone.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("../..")
}

fn velero_objects() -> Option<Vec<Value>> {
    let samples =
        std::env::var_os("CARAVEL_SAMPLES").map_or_else(|| root().join("../shared/samples"), PathBuf::from);
    let path = samples.join("objects/install.yaml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        assert!(std::env::var("CI").is_err(), "{} is missing", path.display());
        eprintln!("skipped: {} is missing", path.display());
        return None;
    };
    let list: Value = serde_saphyr::from_str(&text).expect("the sample is YAML");
    let objects = list["items"].as_array().expect("a List").clone();
    Some(
        objects
            .into_iter()
            .filter(|object| object["kind"] != "CustomResourceDefinition")
            .map(without_nulls)
            .collect(),
    )
}

/// Go prints `creationTimestamp: null`, empty statuses and empty strategies; the API server reads them as absent.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(object) = &mut value {
        let taken = std::mem::take(object);
        *object = taken
            .into_iter()
            .filter(|(key, value)| !value.is_null() && key != "status")
            .map(|(key, value)| (key, without_nulls(value)))
            .collect();
    } else if let Value::Array(list) = &mut value {
        *list = std::mem::take(list).into_iter().map(without_nulls).collect();
    }
    value
}

fn find<'a>(objects: &'a mut [Value], kind: &str) -> &'a mut Value {
    objects
        .iter_mut()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("{kind} is there"))
}

#[test]
fn objects_equal_veleros_but_for_the_differences_listed_here() {
    let Some(mut theirs) = velero_objects() else {
        return;
    };
    let ours = install(&sample_args());

    // 1. Data mover pods have a ServiceAccount and a Role of their own; the Lease has a Role.
    let (leaders, ours): (Vec<Value>, Vec<Value>) = ours
        .into_iter()
        .partition(|object| object["metadata"]["name"] == "velero-leader-election");
    assert_eq!(leaders.len(), 2);
    let (movers, mut ours): (Vec<Value>, Vec<Value>) = ours
        .into_iter()
        .partition(|object| object["metadata"]["name"] == "velero-data-mover");
    assert_eq!(
        movers
            .iter()
            .map(|object| object["kind"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["ServiceAccount", "Role", "RoleBinding"]
    );
    // 2. An old and a new server never run at once. 3. Built-in stores need no init container. 4. Least privilege.
    let server = &mut find(&mut theirs, "Deployment")["spec"];
    server["strategy"] = json!({"type": "Recreate"});
    server["template"]["spec"]
        .as_object_mut()
        .unwrap()
        .remove("initContainers");
    server["template"]["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 65532,
    });
    assert_eq!(
        server["template"]["spec"]["containers"][0]["securityContext"],
        unprivileged()
    );
    find(&mut theirs, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] =
        true.into();
    // 5. The server knows its pod's name.
    let env = &mut find(&mut ours, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"];
    let env = env.as_array_mut().unwrap();
    env.retain(|variable| variable["name"] != "POD_NAME");
    // 6. `--features=EnableCSI` was given for the sample and is our default: no difference in the objects.

    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(&without_nulls(ours.clone()), theirs, "{} differs", theirs["kind"]);
    }
}

#[test]
fn the_data_mover_may_only_report() {
    let mut objects = install(&sample_args());
    assert_eq!(
        find(&mut objects, "Role")["rules"],
        json!([
            {"apiGroups": ["velero.io"], "resources": ["datauploads", "datadownloads"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        ])
    );
}

#[test]
fn the_lease_needs_these_rights_and_no_others() {
    let objects = install(&sample_args());
    let role = objects
        .iter()
        .find(|object| object["kind"] == "Role" && object["metadata"]["name"] == "velero-leader-election")
        .unwrap();
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["velero-server"], "verbs": ["get", "update"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        ])
    );
}

#[test]
fn one_server_is_installed_unless_more_are_asked_for_and_those_are_kept_apart() {
    let mut objects = install(&sample_args());
    let alone = find(&mut objects, "Deployment")["spec"].clone();
    assert_eq!(alone.get("replicas"), None);
    let mut objects = install(&Args {
        server_replicas: std::num::NonZeroU32::new(2),
        ..sample_args()
    });
    let two = find(&mut objects, "Deployment")["spec"].clone();
    assert_eq!(
        (&two["replicas"], &two["strategy"]),
        (&json!(2), &json!({"type": "Recreate"}))
    );
    let affinity = &two["template"]["spec"]["affinity"];
    assert!(affinity["podAntiAffinity"].is_object() && affinity["nodeAffinity"].is_object());
}

#[test]
fn the_server_is_told_how_often_and_how_repositories_are_maintained() {
    let args = Args {
        default_repo_maintain_frequency: Some(caravel_api::Duration::from_hours(2)),
        repo_maintenance_job_configmap: Some("repo-maintenance".into()),
        ..sample_args()
    };
    let mut objects = install(&args);
    let server = &find(&mut objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"];
    let said: Vec<&str> = server
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        said.ends_with(&[
            "--default-repo-maintain-frequency=2h0m0s",
            "--repo-maintenance-job-configmap=repo-maintenance"
        ]),
        "{said:?}"
    );
}

#[test]
fn server_and_node_agent_are_told_the_configmap_of_backup_repositories_and_nothing_where_there_is_none() {
    let flag = "--backup-repository-configmap=backup-repository";
    for (name, said) in [(None, false), (Some("backup-repository".to_owned()), true)] {
        let mut objects = install(&Args {
            node_agent_configmap: Some("node-agent-config".into()),
            backup_repository_configmap: name,
            repo_maintenance_job_configmap: Some("repo-maintenance".into()),
            ..sample_args()
        });
        for (kind, before_last) in [("Deployment", true), ("DaemonSet", false)] {
            let args = &find(&mut objects, kind)["spec"]["template"]["spec"]["containers"][0]["args"];
            let args = args.as_array().unwrap();
            let place = args.iter().position(|arg| arg == flag);
            let expected = args.len() - 1 - usize::from(before_last);
            assert_eq!(place, said.then_some(expected), "{kind}: {args:?}");
        }
    }
}

#[test]
fn the_server_is_told_to_keep_the_objects_of_snapshots_and_nothing_where_nobody_says_so() {
    let args_of = |objects: Option<SnapshotObjects>| {
        let mut objects = install(&Args {
            csi_snapshot_objects: objects,
            ..sample_args()
        });
        find(&mut objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    assert!(args_of(Some(SnapshotObjects::Keep)).contains("\"--csi-snapshot-objects=keep\""));
    assert!(args_of(Some(SnapshotObjects::Remove)).contains("\"--csi-snapshot-objects=remove\""));
    assert!(!args_of(None).contains("csi-snapshot-objects"));
}

#[test]
fn the_node_agent_is_told_the_name_of_its_configmap() {
    let mut objects = install(&Args {
        node_agent_configmap: Some("node-agent-config".into()),
        ..sample_args()
    });
    let args = &find(&mut objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().unwrap();
    assert_eq!(args.last().unwrap(), "--node-agent-configmap=node-agent-config");
}

#[test]
fn credentials_are_mounted_and_named_in_the_environment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[default]\n").unwrap();
    let mut objects = install(&Args {
        no_secret: None,
        secret_file: Some(file.path().into()),
        ..sample_args()
    });
    assert_eq!(find(&mut objects, "Secret")["data"]["cloud"], "W2RlZmF1bHRdCg==");
    for kind in ["Deployment", "DaemonSet"] {
        let pod = find(&mut objects, kind)["spec"]["template"]["spec"].clone();
        assert!(
            pod["volumes"].to_string().contains(r#""defaultMode":292"#),
            "{pod}"
        );
        assert!(
            pod["containers"][0]["env"]
                .to_string()
                .contains(r#"{"name":"AWS_SHARED_CREDENTIALS_FILE","value":"/credentials/cloud"}"#),
            "{pod}"
        );
    }
}

#[test]
fn a_certificate_lands_in_the_backup_location() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let mut objects = install(&Args {
        cacert: Some(file.path().into()),
        ..sample_args()
    });
    assert_eq!(
        find(&mut objects, "BackupStorageLocation")["spec"]["objectStorage"]["caCert"],
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="
    );
}

#[test]
fn another_namespace_gets_a_cluster_role_binding_of_its_own() {
    let objects = objects::objects(&Options::from_args(&sample_args(), "dr".into()).ok().unwrap());
    assert_eq!(objects[1]["metadata"]["name"], "velero-dr");
    assert!(
        objects
            .iter()
            .skip(2)
            .all(|object| object["metadata"]["namespace"] == "dr")
    );
}

#[test]
fn yaml_reads_back_as_the_same_objects() {
    let objects = Value::from([objects::crds(), install(&sample_args())].concat());
    let text = output::yaml(&objects).ok().unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), objects);
}

/// `deploy/` holds what `install` would create. `CARAVEL_BLESS=1 cargo test -p caravel-velero deploy` writes it anew.
#[test]
fn deploy_holds_what_install_creates() {
    let mut files = Vec::new();
    for crd in objects::crds() {
        files.push((
            format!("crds/{}.yaml", crd["metadata"]["name"].as_str().unwrap()),
            crd,
        ));
    }
    let args = Args {
        bucket: Some("backups".into()),
        image: super::options::DEFAULT_IMAGE.into(),
        platform: PlatformArgs::default(),
        ..sample_args()
    };
    files.push(("velero.yaml".to_owned(), output::list(install(&args))));
    let mut stale = Vec::new();
    for (name, object) in files {
        let path = root().join("deploy").join(&name);
        let text = format!(
            "# Written by `CARAVEL_BLESS=1 cargo test -p caravel-velero deploy`; do not edit.\n{}",
            output::yaml(&object).ok().unwrap()
        );
        if std::env::var_os("CARAVEL_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "stale in deploy/: {stale:?}; run CARAVEL_BLESS=1 cargo test -p caravel-velero deploy"
    );
}
