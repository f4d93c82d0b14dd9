//! `velero schedule pause|unpause [NAMES]`. Mirrors `pkg/cmd/cli/schedule/pause.go`; `--skip-immediately` is only written
//! when it is given (Velero forgets the schedule's own setting).

use caravel_api::v1::Schedule;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::connection::Global;
use super::super::failure::{Outcome, kubernetes};
use super::super::flags::boolean;
use super::super::output::emit;
use super::super::select::{Select, all_of};

/// Which schedules, and what is due first when they go on.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Leave out the backup that is due next.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    skip_immediately: Option<bool>,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global, paused: bool) -> Outcome {
    let namespace = global.namespace();
    args.select.check("schedule")?;
    let api: Api<Schedule> = Api::namespaced(global.client().await?, &namespace);
    let found = args.select.fetch(&api, &namespace, "schedule").await?;
    if found.is_empty() {
        return emit("No schedules found\n");
    }
    let done = if paused { "paused" } else { "unpaused" };
    let mut failures = Vec::new();
    for schedule in found {
        let name = schedule.name_any();
        if schedule.spec.paused == paused {
            emit(&format!("Schedule {name} is already {done}, skip\n"))?;
            continue;
        }
        let change = Patch::Merge(patch(paused, args.skip_immediately));
        match api.patch(&name, &PatchParams::default(), &change).await {
            Ok(_) => emit(&format!("Schedule {name} {done} successfully\n"))?,
            Err(error) => failures.push(kubernetes(
                format!("changing schedule {namespace}/{name}"),
                &error,
            )),
        }
    }
    all_of(failures)
}

fn patch(paused: bool, skip_immediately: Option<bool>) -> Value {
    let mut patch = json!({"spec": {"paused": paused}});
    if let Some(skip) = skip_immediately {
        patch["spec"]["skipImmediately"] = json!(skip);
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_changed() {
        assert_eq!(patch(true, None), json!({"spec": {"paused": true}}));
        assert_eq!(
            patch(false, Some(true)),
            json!({"spec": {"paused": false, "skipImmediately": true}})
        );
    }
}
