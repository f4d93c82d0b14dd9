//! Our objects against those that Velero 1.18.3 itself prints for the same flags (`fixtures/<platform>.json`).
//!
//! The fixtures were made with Velero's own binary, once for each platform, with the flags that each names under `flags`:
//! `velero install --provider aws --plugins velero/velero-plugin-for-aws:v1.14.3 --bucket b --no-secret
//! --backup-location-config region=us-east-1 --use-node-agent --features=EnableCSI --image velero/velero:v1.18.3
//! --dry-run -o json <flags>`. Only the objects that platforms change are kept, without nulls and empty statuses.

use clap::Parser;
use serde_json::{Value, json};

use super::objects;
use super::options::{Args, Options};
use super::platform::unprivileged;

/// The command, so that flags are read as a user types them.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// What the fixtures have in common; Velero mounts host paths unless it is told otherwise, we only when asked.
const SHARED: &[&str] = &[
    "install",
    "--provider=aws",
    "--plugins=velero/velero-plugin-for-aws:v1.14.3",
    "--bucket=b",
    "--no-secret",
    "--backup-location-config=region=us-east-1",
    "--use-node-agent",
    "--features=EnableCSI",
    "--image=velero/velero:v1.18.3",
];

struct Fixture {
    name: &'static str,
    flags: Vec<String>,
    items: Vec<Value>,
}

fn fixtures() -> Vec<Fixture> {
    macro_rules! fixtures {
        ($($name:literal),* $(,)?) => {
            [$(($name, include_str!(concat!("fixtures/", $name, ".json")))),*]
        };
    }
    let texts = fixtures![
        "azure-workload-identity",
        "data-movement-only",
        "nutanix",
        "openshift",
        "own-service-account",
        "priority-classes",
        "rancheros",
        "tkgi",
    ];
    let read = |(name, text): (&'static str, &str)| {
        let made: Value = serde_json::from_str(text).expect("a fixture is JSON");
        let flags = made["flags"].as_array().expect("flags");
        Fixture {
            name,
            flags: flags
                .iter()
                .map(|flag| flag.as_str().expect("a flag").to_owned())
                .collect(),
            items: made["items"].as_array().expect("items").clone(),
        }
    };
    texts.into_iter().map(read).collect()
}

fn options(flags: &[String]) -> Options {
    let words = SHARED
        .iter()
        .map(ToString::to_string)
        .chain(flags.iter().cloned());
    let command = Command::try_parse_from(words).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
    Options::from_args(&command.args, "velero".into()).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
}

/// Whether the flags speak of host paths at all; where they do not, Velero's default is asked of us by its flag.
fn as_velero_means_them(flags: &[String]) -> Vec<String> {
    let speaks = |flag: &String| {
        flag.starts_with("--kubelet-root-dir") || flag.starts_with("--node-agent-disable-host-path")
    };
    let mut flags = flags.to_vec();
    if !flags.iter().any(speaks) {
        flags.push("--node-agent-disable-host-path=false".into());
    }
    flags
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

/// What we change in each of Velero's workloads on every platform; `tests.rs` says why.
fn with_our_differences(theirs: &Value, has_host_paths: bool) -> Value {
    let mut theirs = theirs.clone();
    let spec = &mut theirs["spec"];
    let pod = &mut spec["template"]["spec"];
    match theirs_kind(&pod["containers"][0]) {
        "velero" => {
            pod.as_object_mut().expect("a pod").remove("initContainers");
            pod["containers"][0]["securityContext"] = unprivileged();
            spec["strategy"] = json!({"type": "Recreate"});
        }
        _ if has_host_paths => {
            pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = true.into()
        }
        _ => {
            pod.as_object_mut().expect("a pod").remove("securityContext");
            pod["containers"][0]["securityContext"] = unprivileged();
        }
    }
    theirs
}

fn theirs_kind(container: &Value) -> &'static str {
    if container["name"] == "velero" {
        "velero"
    } else {
        "node-agent"
    }
}

/// Ours without what `tests.rs` lists for every installation: the variable with the pod's name.
fn without_pod_name(ours: &Value) -> Value {
    let mut ours = ours.clone();
    if let Some(env) = ours["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut() {
        env.retain(|variable| variable["name"] != "POD_NAME");
    }
    ours
}

#[test]
fn on_each_platform_our_objects_are_veleros_but_for_least_privilege() {
    for fixture in fixtures() {
        let ours = objects::objects(&options(&as_velero_means_them(&fixture.flags)));
        for theirs in &fixture.items {
            let (kind, name) = (
                theirs["kind"].as_str().unwrap(),
                theirs["metadata"]["name"].as_str().unwrap(),
            );
            let ours = find(&ours, kind, name)
                .unwrap_or_else(|| panic!("{}: {kind} {name} is missing", fixture.name));
            if ours["spec"]["template"].is_null() {
                assert_eq!(ours, theirs, "{}: {kind} {name}", fixture.name);
                continue;
            }
            let has_host_paths = fixture.name != "data-movement-only";
            let expected = with_our_differences(theirs, has_host_paths);
            assert_eq!(
                without_pod_name(ours),
                expected,
                "{}: {kind} {name}",
                fixture.name
            );
        }
        for (kind, name) in [("ClusterRoleBinding", "velero"), ("ServiceAccount", "velero")] {
            assert_eq!(
                find(&ours, kind, name).is_some(),
                find(&fixture.items, kind, name).is_some(),
                "{}: {kind} {name}",
                fixture.name
            );
        }
    }
}

#[test]
fn an_installation_for_data_movement_mounts_no_host_path_and_runs_nothing_as_root() {
    let objects = objects::objects(&options(&[]));
    let workloads: Vec<&Value> = objects
        .iter()
        .filter(|object| !object["spec"]["template"].is_null())
        .collect();
    assert_eq!(workloads.len(), 2);
    for workload in workloads {
        let pod = &workload["spec"]["template"]["spec"];
        assert!(!pod.to_string().contains("hostPath"), "{pod}");
        assert!(pod["securityContext"].is_null(), "{pod}");
        assert_eq!(pod["containers"][0]["securityContext"], unprivileged());
    }
}

#[test]
fn openshift_gets_its_annotation_with_the_namespace() {
    let objects = objects::objects(&options(&[
        "--privileged-node-agent".into(),
        "--namespace-annotations=openshift.io/node-selector=".into(),
    ]));
    let namespace = find(&objects, "Namespace", "velero").unwrap();
    assert_eq!(
        namespace["metadata"]["annotations"],
        json!({"openshift.io/node-selector": ""})
    );
    let agent = find(&objects, "DaemonSet", "node-agent").unwrap();
    let pod = &agent["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["securityContext"]["privileged"], true);
    assert!(
        !pod.to_string().contains("hostPath"),
        "privileged does not mean host paths: {pod}"
    );
}

#[test]
fn the_data_mover_gets_the_identity_that_annotations_give() {
    let objects = objects::objects(&options(&["--sa-annotations=a=b".into()]));
    for account in ["velero", "velero-data-mover"] {
        let account = find(&objects, "ServiceAccount", account).unwrap();
        assert_eq!(account["metadata"]["annotations"], json!({"a": "b"}));
    }
    let own = options(&[
        "--service-account-name=mine".into(),
        "--sa-annotations=a=b".into(),
    ]);
    assert!(
        own.notes.iter().any(|note| note.contains("mine is yours")),
        "{:?}",
        own.notes
    );
    let objects = objects::objects(&own);
    assert!(find(&objects, "ServiceAccount", "velero-data-mover").is_some());
    let lease = find(&objects, "RoleBinding", "velero-leader-election").unwrap();
    assert_eq!(lease["subjects"][0]["name"], "mine");
}
