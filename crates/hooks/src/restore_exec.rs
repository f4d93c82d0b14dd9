//! Hooks of a restore that are commands: which ones run in which container of a pod. [`crate::wait`] runs them.
//! Upstream: `GroupRestoreExecHooks` in `internal/hook/item_hook_handler.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use caravel_api::v1::{ExecRestoreHook, RestoreHooks, RestoreResourceHook};
use serde_json::Value;

use crate::annotations::{annotation, boolean, command, duration, on_error};
use crate::selector::HookSelector;
use crate::tracker::HookKey;
use crate::{FROM_ANNOTATION, HookLog, InvalidHooks, PodName, Source, list, restore_init, text};

/// One entry of `spec.hooks.resources`.
#[derive(Clone, Debug, Default)]
pub struct ResourceRestoreHook {
    pub name: String,
    pub selector: HookSelector,
    pub hooks: Vec<RestoreResourceHook>,
}

/// The hooks of a spec. They are for pods, whatever `includedResources` says: so in v1.18.3.
///
/// # Errors
/// [`InvalidHooks`]: a label selector or an init container is none.
pub fn from_spec(hooks: Option<&RestoreHooks>) -> Result<Vec<ResourceRestoreHook>, InvalidHooks> {
    let entries = hooks.into_iter().flat_map(|hooks| &hooks.resources);
    entries
        .map(|entry| {
            let init = entry.post_hooks.iter().filter_map(|hook| hook.init.as_ref());
            for container in init.flat_map(|init| &init.init_containers) {
                restore_init::validate(container).map_err(|why| InvalidHooks::new(&entry.name, why))?;
            }
            Ok(ResourceRestoreHook {
                name: entry.name.clone(),
                selector: HookSelector::new(
                    &entry.name,
                    (&entry.included_namespaces, &entry.excluded_namespaces),
                    (&[], &[]),
                    entry.label_selector.as_ref(),
                )?,
                hooks: entry.post_hooks.clone(),
            })
        })
        .collect()
}

/// A command that is to run once its container is up.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecRestore {
    pub source: Source,
    /// [`FROM_ANNOTATION`], or that of the spec's entry.
    pub name: String,
    pub index: usize,
    /// The container is always named.
    pub hook: ExecRestoreHook,
}

impl ExecRestore {
    /// By which it is counted.
    pub fn key(&self, pod: &PodName) -> HookKey {
        HookKey {
            pod: pod.clone(),
            container: self.hook.container.clone(),
            source: self.source,
            name: self.name.clone(),
            phase: None,
            index: self.index,
        }
    }

    /// How long its container may take to be up; `None`: as long as it takes.
    pub(crate) fn wait_timeout(&self) -> Option<Duration> {
        let timeout = self.hook.wait_timeout.unwrap_or_default().0;
        (!timeout.is_zero()).then_some(timeout)
    }
}

/// Commands by the name of their container, each in order.
pub type ByContainer = BTreeMap<String, Vec<ExecRestore>>;

/// The commands for a pod that was restored. An annotation stands in for all of the spec's.
pub fn by_container(pod: &Value, hooks: &[ResourceRestoreHook], log: &dyn HookLog) -> ByContainer {
    let Some(first) = list(pod, "/spec/containers").first() else {
        return ByContainer::new();
    };
    let first = text(first, "/name");
    let mut found = Vec::new();
    if let Some(hook) = from_annotations(pod, log) {
        found.push((Source::Annotation, FROM_ANNOTATION, 0, hook));
    } else {
        for entry in hooks.iter().filter(|entry| entry.selector.takes_here(pod)) {
            let execs = entry.hooks.iter().enumerate();
            found.extend(execs.filter_map(|(index, hook)| {
                Some((Source::Spec, entry.name.as_str(), index, hook.exec.clone()?))
            }));
        }
    }
    let mut by_container = ByContainer::new();
    for (source, name, index, mut hook) in found {
        if hook.container.is_empty() {
            first.clone_into(&mut hook.container);
        }
        let name = name.to_owned();
        by_container
            .entry(hook.container.clone())
            .or_default()
            .push(ExecRestore {
                source,
                name,
                index,
                hook,
            });
    }
    by_container
}

pub(crate) fn from_annotations(pod: &Value, log: &dyn HookLog) -> Option<ExecRestoreHook> {
    let key = |word: &str| format!("post.hook.restore.velero.io/{word}");
    Some(ExecRestoreHook {
        command: command(annotation(pod, &key("command"))?),
        container: annotation(pod, &key("container")).unwrap_or_default().to_owned(),
        on_error: on_error(annotation(pod, &key("on-error"))),
        exec_timeout: duration(pod, &key("exec-timeout"), log),
        wait_timeout: duration(pod, &key("wait-timeout"), log),
        wait_for_ready: Some(boolean(pod, &key("wait-for-ready"), log)),
    })
}
