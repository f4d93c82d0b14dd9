//! Hooks of a backup: commands before and after a pod and its volumes are saved. Upstream: `HandleHooks` in
//! `internal/hook/item_hook_handler.go`.

use caravel_api::v1::{BackupHooks, ExecHook, HookErrorMode};
use serde_json::Value;

use crate::annotations::{annotation, command, duration, on_error};
use crate::exec::{HookError, PodCommandExecutor};
use crate::selector::HookSelector;
use crate::tracker::{HookKey, Tracker};
use crate::{FROM_ANNOTATION, HookLog, InvalidHooks, Level, PodName, Source, text};

/// Before or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Pre,
    Post,
}

/// One entry of `spec.hooks.resources`.
#[derive(Clone, Debug, Default)]
pub struct ResourceHook {
    pub name: String,
    pub selector: HookSelector,
    pub pre: Vec<ExecHook>,
    pub post: Vec<ExecHook>,
}

/// The hooks of a spec. `resolve` gives the `resource.group` of a word (`po` → `pods`).
///
/// # Errors
/// [`InvalidHooks`].
pub fn from_spec(
    hooks: Option<&BackupHooks>,
    resolve: impl Fn(&str) -> String,
) -> Result<Vec<ResourceHook>, InvalidHooks> {
    let resolved = |words: &[String]| words.iter().map(|word| resolve(word)).collect::<Vec<_>>();
    let entries = hooks.into_iter().flat_map(|hooks| &hooks.resources);
    entries
        .map(|entry| {
            let selector = HookSelector::new(
                &entry.name,
                (&entry.included_namespaces, &entry.excluded_namespaces),
                (
                    &resolved(&entry.included_resources),
                    &resolved(&entry.excluded_resources),
                ),
                entry.label_selector.as_ref(),
            )?;
            Ok(ResourceHook {
                name: entry.name.clone(),
                selector,
                pre: entry.pre.iter().map(|hook| hook.exec.clone()).collect(),
                post: entry.post.iter().map(|hook| hook.exec.clone()).collect(),
            })
        })
        .collect()
}

/// A hook that is to run in a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub source: Source,
    /// Of the spec's entry.
    pub name: String,
    pub index: usize,
    pub exec: ExecHook,
}

/// The hooks of a pod for one phase, in order. An annotation stands in for all of the spec's; `hook.backup.velero.io`
/// without `pre.` is what it was called first.
pub fn planned(pod: &Value, spec: &[ResourceHook], phase: Phase, log: &dyn HookLog) -> Vec<Planned> {
    let by_annotation = match phase {
        Phase::Pre => from_annotations(pod, "pre.", log).or_else(|| from_annotations(pod, "", log)),
        Phase::Post => from_annotations(pod, "post.", log),
    };
    if let Some(exec) = by_annotation {
        return vec![Planned {
            source: Source::Annotation,
            name: String::new(),
            index: 0,
            exec,
        }];
    }
    let mut planned = Vec::new();
    for entry in spec.iter().filter(|entry| entry.selector.takes_here(pod)) {
        let hooks = match phase {
            Phase::Pre => &entry.pre,
            Phase::Post => &entry.post,
        };
        // An entry without `exec` asks for nothing.
        let hooks = hooks
            .iter()
            .enumerate()
            .filter(|(_, exec)| **exec != ExecHook::default());
        planned.extend(hooks.map(|(index, exec)| Planned {
            source: Source::Spec,
            name: entry.name.clone(),
            index,
            exec: exec.clone(),
        }));
    }
    planned
}

/// True when anything is to be run in this pod, before or after. Cheap: nothing is logged.
pub fn concerns(pod: &Value, spec: &[ResourceHook]) -> bool {
    [Phase::Pre, Phase::Post]
        .into_iter()
        .any(|phase| !planned(pod, spec, phase, &NoLog).is_empty())
}

struct NoLog;

impl HookLog for NoLog {
    fn line(&self, _: Level, _: &PodName, _: &str) {}
}

/// `prefix` is `pre.`, `post.` or nothing.
pub(crate) fn from_annotations(pod: &Value, prefix: &str, log: &dyn HookLog) -> Option<ExecHook> {
    let key = |word: &str| format!("{prefix}hook.backup.velero.io/{word}");
    Some(ExecHook {
        command: command(annotation(pod, &key("command"))?),
        container: annotation(pod, &key("container")).unwrap_or_default().to_owned(),
        on_error: on_error(annotation(pod, &key("on-error"))),
        timeout: duration(pod, &key("timeout"), log),
    })
}

/// Runs the hooks of a pod for one phase, one after the other. After one that fails and says `onError: Fail` no other
/// is run; they still count as attempted. Where a hook does not say what its error means, the error is counted and the
/// pod is saved all the same: so does v1.18.3, against its documentation.
///
/// # Errors
/// That of the hook that said `Fail`.
pub async fn run(
    executor: &dyn PodCommandExecutor,
    pod: &Value,
    spec: &[ResourceHook],
    phase: Phase,
    tracker: &Tracker,
    log: &dyn HookLog,
) -> Result<(), HookError> {
    let mut failed = None;
    for hook in planned(pod, spec, phase, log) {
        let key = HookKey {
            pod: PodName::of(pod),
            container: hook.exec.container.clone(),
            source: hook.source,
            name: hook.name.clone(),
            phase: Some(phase),
            index: hook.index,
        };
        tracker.add(key.clone());
        if failed.is_some() {
            continue;
        }
        let name = match hook.source {
            Source::Annotation => FROM_ANNOTATION,
            Source::Spec => &hook.name,
        };
        let ran = executor.execute(log, pod, name, &hook.exec).await;
        tracker.record(&key, ran.as_ref().err().map(ToString::to_string));
        if let Err(error) = ran {
            let container = text_or(&hook.exec.container, "its first container");
            let said = format!("Error executing hook {name} in {container}: {error}");
            log.line(Level::Error, &key.pod, &said);
            if hook.exec.on_error == Some(HookErrorMode::Fail) {
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn text_or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// The claims that a pod mounts; `<pod>-<volume>` for an ephemeral volume.
pub fn claims_of(pod: &Value) -> Vec<String> {
    let claim = |volume: &Value| {
        if volume.get("ephemeral").is_some_and(|volume| !volume.is_null()) {
            return Some(format!(
                "{}-{}",
                text(pod, "/metadata/name"),
                text(volume, "/name")
            ));
        }
        let claim = text(volume, "/persistentVolumeClaim/claimName");
        (!claim.is_empty()).then(|| claim.to_owned())
    };
    crate::list(pod, "/spec/volumes")
        .iter()
        .filter_map(claim)
        .collect()
}
