//! Velero's own table tests of hooks (`cases/internal_hook`).

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use caravel_api::v1::ExecHook;
use caravel_cases::{Case, each, same, texts};
use futures::{StreamExt, stream};
use kube::core::Selector;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::backup::{self, Phase, ResourceHook};
use crate::ended::Forgotten;
use crate::exec::{HookError, PodCommandExecutor};
use crate::restore_exec::{self, ByContainer, ExecRestore, ResourceRestoreHook, by_container};
use crate::restore_init::{self, add_init_containers};
use crate::selector::HookSelector;
use crate::tracker::{HookKey, Tracker};
use crate::wait::{Seen, Waiting, expect, has_container, is_up, max_wait};
use crate::{HookLog, Level, PodName, Source};

struct Silent;

impl HookLog for Silent {
    fn line(&self, _: Level, _: &PodName, _: &str) {}
}

/// Fails for the containers that a case says, and remembers its calls.
#[derive(Default)]
struct Recorded {
    errors: BTreeMap<String, String>,
    every: Option<String>,
    calls: Mutex<Vec<Value>>,
}

#[async_trait]
impl PodCommandExecutor for Recorded {
    async fn execute(
        &self,
        _: &dyn HookLog,
        _: &Value,
        name: &str,
        hook: &ExecHook,
    ) -> Result<(), HookError> {
        let call = json!({"name": name, "hook": lean(&serde_json::to_value(hook).unwrap())});
        self.calls.lock().push(call);
        let error = self.every.as_ref().or_else(|| self.errors.get(&hook.container));
        error.map_or(Ok(()), |error| Err(HookError::Failed(error.clone())))
    }
}

/// Without what says nothing: null, empty maps and lists, durations of nothing, false.
fn lean(value: &Value) -> Value {
    let nothing = |value: &Value| {
        matches!(value, Value::Null | Value::Bool(false))
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value == "0s"
            || value == ""
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), lean(value)));
            Value::Object(fields.filter(|(_, value)| !nothing(value)).collect())
        }
        Value::Array(entries) => entries.iter().map(lean).collect(),
        other => other.clone(),
    }
}

fn selector(value: &Value) -> HookSelector {
    let lists = |field: &str| {
        let list = |which: &str| texts(&value[field][which]["String"]);
        (list("includes"), list("excludes"))
    };
    let (namespaces, resources) = (lists("Namespaces"), lists("Resources"));
    let labels = value["LabelSelector"]["$selector"].as_str();
    let mut made = HookSelector::new(
        "",
        (&namespaces.0, &namespaces.1),
        (&resources.0, &resources.1),
        None,
    )
    .unwrap();
    made.set_labels(labels.map(equalities));
    made
}

fn equalities(text: &str) -> Selector {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn backup_hooks(value: &Value) -> Vec<ResourceHook> {
    let execs = |list: &Value| -> Vec<ExecHook> {
        let entries = list.as_array().into_iter().flatten();
        entries
            .map(|hook| serde_json::from_value(hook["exec"].clone()).unwrap_or_default())
            .collect()
    };
    let entries = value.as_array().into_iter().flatten();
    entries
        .map(|entry| ResourceHook {
            name: entry["Name"].as_str().unwrap_or_default().to_owned(),
            selector: selector(&entry["Selector"]),
            pre: execs(&entry["Pre"]),
            post: execs(&entry["Post"]),
        })
        .collect()
}

fn restore_hooks(value: &Value) -> Vec<ResourceRestoreHook> {
    let entries = value.as_array().into_iter().flatten();
    entries
        .map(|entry| ResourceRestoreHook {
            name: entry["Name"].as_str().unwrap_or_default().to_owned(),
            selector: selector(&entry["Selector"]),
            hooks: match &entry["RestoreHooks"] {
                Value::Null => Vec::new(),
                hooks => serde_json::from_value(hooks.clone()).unwrap(),
            },
        })
        .collect()
}

fn grouped(value: &Value) -> ByContainer {
    let exec = |hook: &Value| {
        let mut fields = hook["Hook"].clone();
        // A wait of less than nothing is one without end, as is none.
        if fields["waitTimeout"]
            .as_str()
            .is_some_and(|text| text.starts_with('-'))
        {
            fields["waitTimeout"] = Value::Null;
        }
        ExecRestore {
            source: match hook["HookSource"].as_str() {
                Some("annotation") => Source::Annotation,
                _ => Source::Spec,
            },
            name: hook["HookName"].as_str().unwrap_or_default().to_owned(),
            index: hook["hookIndex"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok())
                .unwrap_or_default(),
            hook: serde_json::from_value(fields).unwrap(),
        }
    };
    let containers = value.as_object().into_iter().flatten();
    containers
        .map(|(name, hooks)| {
            (
                name.clone(),
                hooks.as_array().into_iter().flatten().map(exec).collect(),
            )
        })
        .collect()
}

fn as_dumped(hooks: &ByContainer) -> Value {
    let exec = |hook: &ExecRestore| {
        json!({
            "Hook": serde_json::to_value(&hook.hook).unwrap(),
            "HookName": hook.name,
            "HookSource": match hook.source { Source::Annotation => "annotation", Source::Spec => "spec" },
            "hookIndex": hook.index,
        })
    };
    let containers = hooks
        .iter()
        .map(|(name, hooks)| (name.clone(), hooks.iter().map(exec).collect()));
    lean(&Value::Object(containers.collect()))
}

fn annotated(annotations: &Value) -> Value {
    json!({"metadata": {"annotations": annotations, "name": "a", "namespace": "ns"}})
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(work)
}

#[test]
fn annotations_of_a_pod_are_read_as_in_velero() {
    each("internal_hook/TestGetPodExecHookFromAnnotations.json", |case| {
        let prefix = match case.input("$outer").as_str() {
            Some("") | None => String::new(),
            Some(phase) => format!("{phase}."),
        };
        let hook = backup::from_annotations(&annotated(case.input("annotations")), &prefix, &Silent);
        same(&lean(&json!(hook)), &lean(case.want("expectedHook")))
    });
    each(
        "internal_hook/TestGetPodExecRestoreHookFromAnnotations.json",
        |case| {
            let hook = restore_exec::from_annotations(&annotated(case.input("inputAnnotations")), &Silent);
            same(&lean(&json!(hook)), &lean(case.want("expected")))
        },
    );
    each("internal_hook/TestGetInitContainerFromAnnotations.json", |case| {
        let container = restore_init::from_annotations(&annotated(case.input("inputAnnotations")), "r");
        let wanted = case.want("expected");
        same(&container.is_none(), &wanted.is_null())?;
        let container = container.unwrap_or_default();
        same(&container["image"], &wanted["image"])?;
        same(&lean(&container["command"]), &lean(&wanted["command"]))
    });
}

#[test]
fn hooks_of_a_spec_are_for_the_pods_that_velero_takes() {
    each("internal_hook/TestResourceHookApplicableTo.json", |case| {
        let lists = |field: &str| case.texts(field);
        let (group, resource) = (
            &case.input("resource")["Group"],
            &case.input("resource")["Resource"],
        );
        let resource = match (group.as_str(), resource.as_str()) {
            (Some(""), Some(resource)) => resource.to_owned(),
            (Some(group), Some(resource)) => format!("{resource}.{group}"),
            _ => String::new(),
        };
        let mut selector = HookSelector::new(
            "",
            (&lists("includedNamespaces"), &lists("excludedNamespaces")),
            (&lists("includedResources"), &lists("excludedResources")),
            None,
        )
        .unwrap();
        let labels = case
            .input("labelSelector")
            .as_str()
            .filter(|text| !text.is_empty());
        selector.set_labels(labels.map(equalities));
        let labels = match case.input("labels")["$selector"].as_str() {
            Some(text) => text
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            None => serde_json::from_value(case.input("labels").clone()).unwrap_or_default(),
        };
        let ours = selector.applies_to(
            &resource,
            case.input("namespace").as_str().unwrap_or_default(),
            &labels,
        );
        same(&ours, &(case.want("expected") == true))
    });
    each("internal_hook/TestGetRestoreHooksFromSpec.json", |case| {
        let spec = match case.input("hookSpec") {
            Value::Null => None,
            spec => Some(serde_json::from_value(spec.clone()).unwrap()),
        };
        let ours = restore_exec::from_spec(spec.as_ref()).map_err(|error| error.to_string())?;
        let wanted = case.want("expected").as_array().cloned().unwrap_or_default();
        same(&ours.len(), &wanted.len())?;
        for (ours, wanted) in ours.iter().zip(&wanted) {
            same(&json!(ours.name), &wanted["Name"])?;
            same(&lean(&json!(ours.hooks)), &lean(&wanted["RestoreHooks"]))?;
            let namespaces = &wanted["Selector"]["Namespaces"];
            for (list, taken) in [("includes", true), ("excludes", false)] {
                for namespace in texts(&namespaces[list]["String"]) {
                    same(
                        &ours.selector.applies_to("pods", &namespace, &BTreeMap::new()),
                        &taken,
                    )?;
                }
            }
        }
        Ok(())
    });
}

/// Runs the hooks of one pod of a case.
fn run_backup_hooks(pod: &Value, phase: &Value, tracker: &Tracker) -> (Option<String>, Vec<Value>) {
    let errors = pod["hookErrorsByContainer"].as_object().into_iter().flatten();
    let executor = Recorded {
        errors: errors
            .map(|(name, error)| (name.clone(), error["$error"].as_str().unwrap().to_owned()))
            .collect(),
        every: pod["expectedPodHookError"]["$error"].as_str().map(str::to_owned),
        ..Recorded::default()
    };
    let phase = if phase == "post" { Phase::Post } else { Phase::Pre };
    let hooks = backup_hooks(&pod["hooks"]);
    let ran = block_on(backup::run(
        &executor,
        &pod["item"],
        &hooks,
        phase,
        tracker,
        &Silent,
    ));
    let calls = executor.calls.into_inner();
    (ran.err().map(|error| error.to_string()), calls)
}

fn check_backup_hooks(pod: &Value, phase: &Value) -> Result<(), String> {
    let (error, calls) = run_backup_hooks(pod, phase, &Tracker::default());
    same(
        &error,
        &pod["expectedError"]["$error"].as_str().map(str::to_owned),
    )?;
    let phase = if phase == "post" { Phase::Post } else { Phase::Pre };
    if !pod["expectedPodHook"].is_null() {
        let wanted = json!({"name": "<from-annotation>", "hook": lean(&pod["expectedPodHook"])});
        return same(&calls, &vec![wanted]);
    }
    let mut wanted = Vec::new();
    for entry in pod["hooks"].as_array().into_iter().flatten() {
        let list = &entry[if phase == Phase::Post { "Post" } else { "Pre" }];
        for hook in list
            .as_array()
            .into_iter()
            .flatten()
            .filter(|hook| !hook["exec"].is_null())
        {
            wanted.push(json!({"name": entry["Name"], "hook": lean(&hook["exec"])}));
        }
    }
    // After one that fails and says so, none is run.
    let last = wanted.iter().position(|call| {
        call["hook"]["onError"] == "Fail"
            && !pod["hookErrorsByContainer"][call["hook"]["container"].as_str().unwrap_or_default()].is_null()
    });
    wanted.truncate(last.map_or(wanted.len(), |last| last + 1));
    same(&calls, &wanted)
}

#[test]
fn hooks_of_a_backup_run_and_count_as_in_velero() {
    each("internal_hook/TestHandleHooks.json", |case| {
        let mut pod = case.0["input"].clone();
        for field in ["expectedError", "expectedPodHook", "expectedPodHookError"] {
            pod[field] = case.want(field).clone();
        }
        check_backup_hooks(&pod, case.input("phase"))
    });
    each("internal_hook/TestHandleHooksSkips.json", |case| {
        let executor = Recorded::default();
        let hooks = backup_hooks(case.input("hooks"));
        for phase in [Phase::Pre, Phase::Post] {
            let ran = block_on(backup::run(
                &executor,
                case.input("item"),
                &hooks,
                phase,
                &Tracker::default(),
                &Silent,
            ));
            same(&ran, &Ok(()))?;
        }
        same(&executor.calls.into_inner(), &Vec::new())
    });
    each("internal_hook/TestBackupHookTracker.json", |case| {
        let tracker = Tracker::default();
        for pod in case.input("pods").as_array().unwrap() {
            run_backup_hooks(pod, case.input("phase"), &tracker);
        }
        let status = tracker.status();
        same(&json!(status.hooks_attempted), case.want("expectedHookAttempted"))?;
        same(&json!(status.hooks_failed), case.want("expectedHookFailed"))
    });
}

#[test]
fn init_containers_stand_where_velero_puts_them() {
    each("internal_hook/TestHandleRestoreHooks.json", |case| {
        let mut pod = case.input("podInput").clone();
        let hooks = restore_hooks(case.input("restoreHooks"));
        let own = pod["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let namespace = case.input("namespaceMapping")[&own]
            .as_str()
            .unwrap_or(&own)
            .to_owned();
        let ours = add_init_containers(&mut pod, &hooks, &namespace, "r");
        same(&ours.is_err(), &!case.want("expectedError").is_null())?;
        if ours.is_err() {
            return Ok(());
        }
        same(&lean(&pod), &lean(case.want("expectedPod")))
    });
}

#[test]
fn exec_hooks_of_a_restore_are_grouped_and_counted_as_in_velero() {
    each("internal_hook/TestGroupRestoreExecHooks.json", |case| {
        let ours = by_container(
            case.input("pod"),
            &restore_hooks(case.input("resourceRestoreHooks")),
            &Silent,
        );
        same(&as_dumped(&ours), &lean(case.want("expected")))
    });
    each("internal_hook/TestRestoreHookTrackerAdd.json", |case| {
        let pod = case.input("pod");
        let mut hooks = by_container(pod, &restore_hooks(case.input("resourceRestoreHooks")), &Silent);
        let tracker = Tracker::default();
        expect(&PodName::of(pod), &mut hooks, &tracker, &Forgotten);
        same(&json!(tracker.status().hooks_attempted), case.want("expectedCnt"))
    });
}

#[test]
fn containers_are_up_when_velero_says_so() {
    each("internal_hook/TestIsContainerUp.json", |case| {
        let hooks = grouped(&json!({"c": case.input("hooks")}))
            .remove("c")
            .unwrap_or_default();
        let ours = is_up(
            case.input("pod"),
            case.input("container").as_str().unwrap(),
            &hooks,
        );
        same(&ours, &(case.want("expect") == true))
    });
    each("internal_hook/TestPodHasContainer.json", |case| {
        let ours = has_container(case.input("pod"), case.input("container").as_str().unwrap());
        same(&ours, &(case.want("expect") == true))
    });
    each("internal_hook/TestMaxHookWait.json", |case| {
        let wanted: caravel_api::Duration = case.want("expect").as_str().unwrap().parse().unwrap();
        let ours = max_wait(&grouped(case.input("byContainer"))).unwrap_or_default();
        same(&ours, &wanted.0)
    });
}

/// The pod of a case as it is first, then its changes, then nothing more happens.
fn seen(case: &Case) -> impl futures::Stream<Item = Seen> + use<> {
    let wait = |change: &Value| match change["wait"].as_str() {
        Some(text) => text.parse::<caravel_api::Duration>().unwrap().0,
        None => Duration::ZERO,
    };
    let changes = case.input("changes").as_array().cloned().unwrap_or_default();
    let mut pods = vec![(Duration::ZERO, case.input("initialPod").clone())];
    pods.extend(
        changes
            .iter()
            .map(|change| (wait(change), change["updated"].clone())),
    );
    stream::iter(pods)
        .then(|(wait, pod)| async move {
            tokio::time::sleep(wait).await;
            Seen::Pod(pod)
        })
        .chain(stream::pending())
}

async fn wait_for_hooks(case: &Case, tracker: &Tracker, counted: bool) -> (Vec<String>, Vec<Value>) {
    let executions = case
        .want("expectedExecutions")
        .as_array()
        .cloned()
        .unwrap_or_default();
    let errors = executions.iter().filter_map(|call| {
        let container = call["hook"]["container"].as_str().unwrap_or_default().to_owned();
        Some((container, call["error"]["$error"].as_str()?.to_owned()))
    });
    let executor = Recorded {
        errors: errors.collect(),
        ..Recorded::default()
    };
    let pod = case.input("initialPod");
    let mut hooks = grouped(case.input("byContainer"));
    if counted {
        expect(&PodName::of(pod), &mut hooks, tracker, &Forgotten);
    }
    let shared = case.input("sharedHooksContextTimeout").as_str().unwrap_or("0s");
    let waiting = Waiting {
        pod: PodName::of(pod),
        hooks,
        limit: shared
            .parse::<caravel_api::Duration>()
            .unwrap()
            .or(Duration::from_secs(3600)),
        executor: &executor,
        tracker,
        ended: &Forgotten,
        log: &Silent,
    };
    let errors = waiting.run(pod, seen(case)).await;
    (errors, executor.calls.into_inner())
}

#[test]
fn exec_hooks_wait_for_their_containers_as_in_velero() {
    let file = "internal_hook/TestWaitExecHandleHooks.json";
    each(file, |case| {
        let (errors, calls) = block_on(wait_for_hooks(case, &Tracker::default(), true));
        let wanted = case
            .want("expectedErrors")
            .as_array()
            .cloned()
            .unwrap_or_default();
        same(&errors.len(), &wanted.len())?;
        for (ours, wanted) in errors.iter().zip(&wanted) {
            // Why one was not executed, we say in words of our own.
            let whole = wanted["$error"].as_str().unwrap_or_default();
            let begin = whole.split(": context ").next().unwrap_or_default();
            same(&ours.starts_with(begin), &true).map_err(|_| format!("{ours}, not {begin}"))?;
        }
        let executions = case
            .want("expectedExecutions")
            .as_array()
            .cloned()
            .unwrap_or_default();
        let wanted: Vec<Value> = executions
            .iter()
            .map(|call| json!({"name": call["name"], "hook": lean(&call["hook"])}))
            .collect();
        same(&calls, &wanted)
    });
    each("internal_hook/TestRestoreHookTrackerUpdate.json", |case| {
        let tracker = Tracker::default();
        // One case records a hook that was never added.
        let counted = case.input("hookTracker")["trackers"]
            .as_object()
            .is_some_and(|known| !known.is_empty());
        block_on(wait_for_hooks(case, &tracker, counted));
        same(&json!(tracker.status().hooks_failed), case.want("expectedFailed"))
    });
}

/// What the finalizer waits for, and what it counts then.
#[test]
fn the_hooks_of_a_restore_are_waited_for_and_counted_as_in_velero() {
    each("pkg_controller/TestWaitRestoreExecHook.json", |case| {
        let tracker = Tracker::default();
        let trackers = case.input("hookTracker")["trackers"]
            .as_object()
            .into_iter()
            .flatten();
        let hooks = trackers.flat_map(|(_, tracker)| tracker["tracker"].as_array().into_iter().flatten());
        for hook in hooks {
            let text = |field: &str| hook["key"][field].as_str().unwrap_or_default().to_owned();
            let key = HookKey {
                pod: PodName {
                    namespace: text("podNamespace"),
                    name: text("podName"),
                },
                container: text("container"),
                source: Source::Spec,
                name: text("hookName"),
                phase: None,
                index: 0,
            };
            tracker.add(key.clone());
            if hook["value"]["hookExecuted"] == true {
                tracker.record(&key, None);
            }
            if case.input("hookName") == &hook["key"]["hookName"] {
                tracker.record(&key, case.input("hookErr")["$error"].as_str().map(str::to_owned));
            }
        }
        let count = |field: &str| case.want(field).clone();
        let status = tracker.status();
        same(&tracker.is_complete(), &true)?;
        same(&json!(status.hooks_attempted), &count("expectedHooksAttempted"))?;
        same(&json!(status.hooks_failed), &count("expectedHooksFailed"))?;
        same(&json!(tracker.errors().len()), &count("expectedHookErrs"))
    });
}
