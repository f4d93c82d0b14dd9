//! `velero schedule create NAME --schedule CRON`. Mirrors `pkg/cmd/cli/schedule/create.go`; an expression that is none
//! is refused here, before an object exists that could only fail.

use caravel_api::v1::{Metadata, Schedule, ScheduleSpec};
use caravel_controllers::schedule::cron::Cron;
use kube::api::{Api, PostParams};

use super::super::backup::spec::SpecFlags;
use super::super::connection::Global;
use super::super::failure::{Failure, Outcome, kubernetes};
use super::super::flags::{boolean, map};
use super::super::output::{Format, emit, print};

/// Create a schedule.
///
/// --schedule takes a cron expression of five fields (minute, hour, day of month, month, day of week) in UTC, or with
/// TZ=Europe/Berlin before it in that zone; a word such as @daily; or "@every 2h30m".
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Name of the schedule.
    name: String,
    /// When a backup is made: "0 */6 * * *", "@daily", "@every 6h".
    #[arg(long, value_name = "CRON", value_parser = cron)]
    schedule: String,
    #[command(flatten)]
    spec: SpecFlags,
    /// Labels of the Schedule and of its backups: key1=value1,key2=value2.
    #[arg(long)]
    labels: Vec<String>,
    /// Annotations of the Schedule and of its backups: key1=value1,key2=value2.
    #[arg(long)]
    annotations: Vec<String>,
    /// Backups are owned by the Schedule: they are deleted with it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    use_owner_references_in_backup: Option<bool>,
    /// It makes no backups until it is unpaused.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    paused: Option<bool>,
    /// Leave out the backup that is due next [default: the server's].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    skip_immediately: Option<bool>,
    /// Print the Schedule instead of creating it: yaml or json.
    #[arg(short, long)]
    output: Option<Format>,
}

fn cron(text: &str) -> Result<String, String> {
    Cron::parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let schedule = schedule(args, &namespace)?;
    if let Some(format) = args.output {
        return print(&schedule, format);
    }
    let api: Api<Schedule> = Api::namespaced(global.client().await?, &namespace);
    let name = &args.name;
    api.create(&PostParams::default(), &schedule)
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.is_already_exists() => {
                Failure::new(format!("schedule {namespace}/{name} exists already")).next(format!(
                    "velero schedule describe {name}    (or choose another name)"
                ))
            }
            _ => kubernetes(format!("creating schedule {namespace}/{name}"), &error),
        })?;
    emit(&format!("Schedule \"{name}\" created successfully.\n"))
}

fn schedule(args: &Args, namespace: &str) -> Outcome<Schedule> {
    let labels = map(&args.labels).map_err(|why| Failure::usage(format!("--labels: {why}")))?;
    let annotations =
        map(&args.annotations).map_err(|why| Failure::usage(format!("--annotations: {why}")))?;
    let mut template = args.spec.spec()?;
    template.metadata = (!labels.is_empty()).then(|| Metadata {
        labels: labels.clone(),
    });
    let spec = ScheduleSpec {
        template,
        schedule: args.schedule.clone(),
        use_owner_references_in_backup: args.use_owner_references_in_backup,
        paused: args.paused.unwrap_or(false),
        skip_immediately: args.skip_immediately,
    };
    let mut schedule = Schedule::new(&args.name, spec);
    schedule.metadata.namespace = Some(namespace.to_owned());
    schedule.metadata.labels = (!labels.is_empty()).then_some(labels);
    schedule.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Ok(schedule)
}

#[cfg(test)]
mod tests {
    use super::super::super::filters::FilterFlags;
    use super::*;

    #[test]
    fn flags_land_in_the_schedule_and_its_template() {
        let args = Args {
            name: "daily".into(),
            schedule: "@daily".into(),
            spec: SpecFlags {
                filters: FilterFlags {
                    include_namespaces: vec!["shop".into()],
                    ..FilterFlags::default()
                },
                ..SpecFlags::default()
            },
            labels: vec!["team=shop".into()],
            paused: Some(true),
            ..Args::default()
        };
        let made = schedule(&args, "velero").ok().unwrap();
        assert_eq!(made.spec.template.included_namespaces, ["shop"]);
        assert_eq!(made.spec.template.metadata.unwrap().labels["team"], "shop");
        assert!(made.spec.paused && made.spec.skip_immediately.is_none());
        assert_eq!(made.metadata.labels.unwrap()["team"], "shop");
    }

    #[test]
    fn an_expression_that_is_none_is_refused_by_the_command() {
        assert!(cron("@every 6h").is_ok());
        assert!(cron("0 */6 * *").unwrap_err().contains("5 fields"));
        assert!(cron("0 0 30 2 *").is_err());
    }
}
