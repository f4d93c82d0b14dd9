//! `velero schedule get [NAMES]`. Columns: velero-behaviour.md 10.2, sample `schedule-get.txt`.

use caravel_api::v1::Schedule;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::flags::format_label_selector;
use super::super::listing::Listing;

const HEADER: [&str; 8] = [
    "NAME",
    "STATUS",
    "CREATED",
    "SCHEDULE",
    "BACKUP TTL",
    "LAST BACKUP",
    "SELECTOR",
    "PAUSED",
];

/// Get schedules.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<Schedule> = Api::namespaced(global.client().await?, &namespace);
    let mut schedules = args.listing.which.fetch(&api, &namespace, "schedule").await?;
    schedules.sort_by_key(ResourceExt::name_any);
    args.listing
        .print(&schedules, &text(&args.listing, &schedules, Timestamp::now()))
}

/// The table; one line says so when it would be empty.
pub fn text(listing: &Listing, schedules: &[Schedule], now: Timestamp) -> String {
    listing.table(schedules, &HEADER, |one| row(one, now), "No schedules found")
}

fn row(schedule: &Schedule, now: Timestamp) -> Vec<String> {
    let template = &schedule.spec.template;
    let last = schedule
        .status
        .as_ref()
        .and_then(|status| status.last_backup.as_ref());
    vec![
        schedule.name_any(),
        schedule.phase().to_string(),
        words::time(schedule.metadata.creation_timestamp.as_ref()),
        schedule.spec.schedule.clone(),
        template.ttl.unwrap_or_default().to_string(),
        last.map_or_else(|| "n/a".to_owned(), |last| words::remaining(last.0, now)),
        format_label_selector(template.label_selector.as_ref()),
        schedule.spec.paused.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schedule_table_is_veleros() {
        let schedule = serde_json::from_value(json!({
            "metadata": {"name": "s1", "creationTimestamp": "2026-11-21T03:49:25Z"},
            "spec": {"schedule": "@every 24h", "paused": true, "template": {}},
        }))
        .unwrap();
        let now = "2026-11-21T04:00:00Z".parse().unwrap();
        assert_eq!(
            text(&Listing::default(), &[schedule], now),
            "NAME   STATUS   CREATED                         SCHEDULE     BACKUP TTL   LAST BACKUP   SELECTOR   PAUSED\n\
             s1     New      2026-11-21 03:49:25 +0000 UTC   @every 24h   0s           n/a           <none>     true\n"
        );
        assert_eq!(text(&Listing::default(), &[], now), "No schedules found\n");
    }
}
