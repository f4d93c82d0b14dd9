//! `velero kopia maintenance info`.

use caravel_repository::maintenance::{Cycle, MaintenanceParameters, Schedule};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::App,
    failure::{Failure, Outcome},
    json, units,
};

/// Who maintains the repository, how often, and what was done.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON, with Kopia's names.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    parameters: &'a MaintenanceParameters,
    schedule: Value,
}

/// As Kopia prints it, which has no list of runs before the first.
fn shown(schedule: &Schedule) -> Outcome<Value> {
    let mut value = serde_json::to_value(schedule)
        .map_err(|error| Failure::new(format!("printing the schedule: {error}")))?;
    if schedule.runs.is_empty() {
        value["runs"] = Value::Null;
    }
    Ok(value)
}

/// Runs the command.
pub fn run(args: &Args, app: &App) -> Outcome {
    let repository = app.open()?;
    let parameters = repository.maintenance_parameters()?;
    let schedule = repository.maintenance_schedule()?;
    let console = &app.console;
    if args.json {
        let document = Document {
            parameters: &parameters,
            schedule: shown(&schedule)?,
        };
        json::print(console, &document)?;
        return console.flush();
    }
    console.line(format!("Owner: {}", parameters.owner))?;
    for (name, cycle, next) in [
        ("Quick Cycle", parameters.quick, schedule.next_quick),
        ("Full Cycle", parameters.full, schedule.next_full),
    ] {
        console.line(format!("{name}:"))?;
        for line in cycle_lines(cycle, next) {
            console.line(format!("  {line}"))?;
        }
    }
    let logs = parameters.log_retention.or_standard();
    let locks = if parameters.extend_object_locks {
        "enabled"
    } else {
        "disabled"
    };
    for line in [
        "Log Retention:".to_owned(),
        format!("  max count:       {}", logs.max_count),
        format!("  max age of logs: {}", units::duration(logs.max_age)),
        format!(
            "  max total size:  {}",
            units::bytes(u64::try_from(logs.max_total_size).unwrap_or(0))
        ),
        format!("Object Lock Extension: {locks}"),
    ] {
        console.line(line)?;
    }
    console.line("Recent Maintenance Runs:")?;
    for (task, runs) in &schedule.runs {
        console.line(format!("  {task}:"))?;
        for run in runs {
            let took = run.end.duration_since(run.start).as_secs();
            let how = if run.success {
                "SUCCESS".to_owned()
            } else {
                format!("ERROR: {}", run.error)
            };
            console.line(format!("    {} ({took}s) {how}", units::time(run.start)))?;
        }
    }
    console.flush()
}

fn cycle_lines(cycle: Cycle, next: Option<Timestamp>) -> Vec<String> {
    let mut lines = vec![format!("scheduled: {}", cycle.enabled)];
    if cycle.enabled {
        lines.push(format!("interval: {}", units::duration(cycle.interval)));
        lines.push(match next {
            Some(next) => format!("next run: {}", units::time(next)),
            None => "next run: now".into(),
        });
    }
    lines
}
