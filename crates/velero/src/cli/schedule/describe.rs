//! `velero schedule describe [NAMES]`; the text is made in `cli/describe/schedule.rs`.

use caravel_api::v1::Schedule;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::schedule::text;
use super::super::failure::Outcome;
use super::super::listing::Which;
use super::super::output::emit;

/// Describe schedules.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<Schedule> = Api::namespaced(global.client().await?, &namespace);
    let mut schedules = args.which.fetch(&api, &namespace, "schedule").await?;
    schedules.sort_by_key(ResourceExt::name_any);
    if schedules.is_empty() {
        return emit("No schedules found\n");
    }
    let texts: Vec<String> = schedules
        .iter()
        .map(|schedule| text(schedule, global.colours()))
        .collect();
    emit(&texts.join("\n\n"))
}
