//! `docs/security.md` against the manifests: every right of every pod and account stands there with its reason, and
//! nothing stands there that none of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caravel_exposer::{DataMoverPod, LocationMount, Settings, Verb};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;

use super::objects;
use super::options::{Args, Options};
use super::platform::PlatformArgs;

/// Who has which right.
type Rights = BTreeSet<(String, String)>;

/// The objects of an installation with credentials, on a platform.
fn installed(platform: PlatformArgs) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[default]\n").unwrap();
    let args = Args {
        provider: Some("aws".into()),
        bucket: Some("b".into()),
        secret_file: Some(file.path().into()),
        use_node_agent: Some(true),
        image: "velero:1".into(),
        platform,
        ..Args::default()
    };
    objects::objects(&Options::from_args(&args, "velero".into()).expect("right flags"))
}

fn pod<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let workload = objects.iter().find(|object| object["kind"] == kind).expect(kind);
    &workload["spec"]["template"]["spec"]
}

/// The pod that a node agent of this manifest makes.
fn data_mover(objects: &[Value], verb: Verb, no_relabeling: bool) -> Value {
    let agent = objects
        .iter()
        .find(|object| object["kind"] == "DaemonSet")
        .expect("a DaemonSet");
    let agent: DaemonSet = serde_json::from_value(agent.clone()).expect("a DaemonSet");
    let mover = DataMoverPod {
        verb,
        name: "b-1",
        namespace: "velero",
        uid: "u-1",
        owner: OwnerReference::default(),
        volume_mode: "Filesystem",
        resource_timeout: Duration::from_secs(600),
        location: &LocationMount::default(),
        enable_compression: false,
        cache: None,
        service_account: Some("velero-data-mover"),
        on_node: None,
        topology: None,
        not_on_nodes: &[],
        storage_class: "fast",
        read_only: no_relabeling,
        no_relabeling,
        settings: &Settings::default(),
        priority_class: None,
    };
    let mut pod = serde_json::to_value(mover.build(&agent)).expect("a pod is JSON");
    pod["spec"].take()
}

/// What a pod may do beyond nothing.
fn of_pod(who: &str, pod: &Value) -> Rights {
    let mut rights = Vec::new();
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[shared] == true {
            rights.push(shared.to_owned());
        }
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        if let Some(path) = volume["hostPath"]["path"].as_str() {
            rights.push(format!("hostPath {path}"));
        }
        if let Some(secret) = volume["secret"]["secretName"].as_str() {
            rights.push(format!("Secret {secret}"));
        }
    }
    let containers = ["containers", "initContainers"].map(|list| pod[list].as_array());
    for container in containers.into_iter().flatten().flatten() {
        rights.extend(of_container(
            &pod["securityContext"],
            &container["securityContext"],
        ));
    }
    rights.into_iter().map(|right| (who.to_owned(), right)).collect()
}

/// A container's own word counts before its pod's, as for the kubelet.
fn of_container(of_pod: &Value, own: &Value) -> Vec<String> {
    let said = |key: &str| {
        if own[key].is_null() {
            &of_pod[key]
        } else {
            &own[key]
        }
    };
    let mut rights = Vec::new();
    if said("runAsUser") == 0 || (said("runAsUser").is_null() && said("runAsNonRoot") != true) {
        rights.push("runAsUser: 0".to_owned());
    }
    if own["privileged"] == true {
        rights.push("privileged: true".to_owned());
    }
    if own["allowPrivilegeEscalation"] != false {
        rights.push("privilege escalation".to_owned());
    }
    if own["readOnlyRootFilesystem"] != true {
        rights.push("a root file system that can be written".to_owned());
    }
    let dropped = own["capabilities"]["drop"].as_array();
    if !dropped.is_some_and(|dropped| dropped.contains(&"ALL".into())) {
        rights.push("the runtime's default capabilities".to_owned());
    }
    for capability in own["capabilities"]["add"].as_array().into_iter().flatten() {
        rights.push(format!("capability {}", capability.as_str().unwrap_or_default()));
    }
    if let Some(selinux) = said("seLinuxOptions")["type"].as_str() {
        rights.push(format!("seLinuxOptions.type: {selinux}"));
    }
    rights
}

/// What bindings give to accounts.
fn of_accounts(objects: &[Value]) -> Rights {
    let mut rights = Rights::new();
    let bindings = objects.iter().filter(|object| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("RoleBinding"))
    });
    for binding in bindings {
        let given = of_role(objects, &binding["roleRef"]);
        for subject in binding["subjects"].as_array().into_iter().flatten() {
            let who = format!(
                "{} {}",
                subject["kind"].as_str().unwrap_or_default(),
                subject["name"].as_str().unwrap_or_default()
            );
            rights.extend(given.iter().map(|right| (who.clone(), right.clone())));
        }
    }
    rights
}

fn of_role(objects: &[Value], role: &Value) -> Vec<String> {
    let (kind, name) = (
        role["kind"].as_str().unwrap_or_default(),
        role["name"].as_str().unwrap_or_default(),
    );
    if kind == "ClusterRole" {
        return vec![format!("ClusterRole {name}")];
    }
    let found = objects
        .iter()
        .find(|object| object["kind"] == "Role" && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("role {name} is bound and not there"));
    let mut rights = Vec::new();
    for rule in found["rules"].as_array().into_iter().flatten() {
        let words = |key: &str| -> Vec<String> {
            let words = rule[key].as_array().into_iter().flatten();
            words
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect()
        };
        for group in words("apiGroups") {
            for resource in words("resources") {
                let dot = if group.is_empty() { "" } else { "." };
                let named = words("resourceNames").into_iter().map(|name| format!(" {name}"));
                rights.push(format!(
                    "{} {resource}{dot}{group}{}",
                    words("verbs").join(", "),
                    named.collect::<String>()
                ));
            }
        }
    }
    rights
}

/// Every right of every manifest; what an option gives is told beyond what its pod has without.
fn rights() -> Rights {
    let plain = installed(PlatformArgs::default());
    let with_host_paths = installed(PlatformArgs {
        node_agent_disable_host_path: Some(false),
        ..PlatformArgs::default()
    });
    let privileged = installed(PlatformArgs {
        privileged_node_agent: Some(true),
        ..PlatformArgs::default()
    });
    let mut rights = of_accounts(&plain);
    rights.extend(of_pod("server", pod(&plain, "Deployment")));
    let agent = |who: &str, objects: &[Value]| of_pod(who, pod(objects, "DaemonSet"));
    rights.extend(agent("node agent", &plain));
    let usual = agent("", &plain);
    for (who, objects) in [
        ("node agent with host paths", &with_host_paths),
        ("privileged node agent", &privileged),
    ] {
        let further = agent("", objects).difference(&usual).cloned().collect::<Rights>();
        rights.extend(further.into_iter().map(|(_, right)| (who.to_owned(), right)));
    }
    rights.extend(of_pod(
        "data mover, backup",
        &data_mover(&plain, Verb::Backup, false),
    ));
    rights.extend(of_pod(
        "data mover, restore",
        &data_mover(&plain, Verb::Restore, false),
    ));
    let usual = of_pod("", &data_mover(&plain, Verb::Backup, false));
    let unlabelled = of_pod("", &data_mover(&plain, Verb::Backup, true));
    let further = unlabelled.difference(&usual).cloned();
    rights.extend(further.map(|(_, right)| ("data mover, backup, spcNoRelabeling".to_owned(), right)));
    let namespace = plain
        .iter()
        .find(|object| object["kind"] == "Namespace")
        .expect("a Namespace");
    let level = "pod-security.kubernetes.io/enforce";
    let allowed = namespace["metadata"]["labels"][level]
        .as_str()
        .unwrap_or("restricted");
    if allowed != "restricted" {
        rights.insert(("namespace".to_owned(), format!("{level}: {allowed}")));
    }
    rights
}

/// The rows of the document's table of rights, with their reasons.
fn documented() -> BTreeMap<(String, String), String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let path = std::path::PathBuf::from(package).join("../../docs/security.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table = text.split("<!-- rights -->").nth(1).expect("the table of rights");
    let rows = table
        .trim_start()
        .lines()
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        (
            (cells[0].to_owned(), cells[1].trim_matches('`').to_owned()),
            cells[2].to_owned(),
        )
    };
    rows.map(row).collect()
}

#[test]
fn every_right_of_a_manifest_stands_in_the_document_with_its_reason_and_no_other_does() {
    let (rights, documented) = (rights(), documented());
    let told: Rights = documented.keys().cloned().collect();
    let silent: Vec<_> = rights.difference(&told).collect();
    let stale: Vec<_> = told.difference(&rights).collect();
    assert!(
        silent.is_empty() && stale.is_empty(),
        "docs/security.md\n  does not name {silent:#?}\n  names what no manifest has {stale:#?}"
    );
    for (right, why) in &documented {
        assert!(why.len() >= 8, "{right:?} has no reason");
    }
}

#[test]
fn a_right_that_nobody_wrote_down_is_found() {
    let pod: Value = serde_json::json!({"hostPID": true, "volumes": [{"name": "x", "hostPath": {"path": "/"}}],
        "containers": [{"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}}]});
    let found = of_pod("x", &pod);
    for right in [
        "hostPID",
        "hostPath /",
        "capability SYS_ADMIN",
        "runAsUser: 0",
        "privilege escalation",
    ] {
        assert!(
            found.contains(&("x".to_owned(), right.to_owned())),
            "{right}: {found:?}"
        );
    }
}
