//! `velero schedule delete [NAMES]`. The backups that it made stay, unless they are owned by it.

use caravel_api::v1::Schedule;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};

use super::super::connection::Global;
use super::super::failure::{Outcome, kubernetes};
use super::super::output::emit;
use super::super::select::{Deletion, all_of};

/// Delete schedules. Their backups stay.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    deletion: Deletion,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    if !args.deletion.confirmed("schedule")? {
        return Ok(());
    }
    let namespace = global.namespace();
    let api: Api<Schedule> = Api::namespaced(global.client().await?, &namespace);
    let found = args.deletion.select.fetch(&api, &namespace, "schedule").await?;
    if found.is_empty() {
        return emit("No schedules found\n");
    }
    let mut failures = Vec::new();
    for schedule in found {
        let name = schedule.name_any();
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => emit(&format!("Schedule deleted: {name}\n"))?,
            Err(error) => failures.push(kubernetes(
                format!("deleting schedule {namespace}/{name}"),
                &error,
            )),
        }
    }
    all_of(failures)
}
