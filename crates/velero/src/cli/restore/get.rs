//! `velero restore get [NAMES]`.
//!
//! Columns: velero-behaviour.md 10.2, sample `restore-get.txt`.

use caravel_api::v1::Restore;
use kube::ResourceExt;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::flags::format_label_selector;
use super::super::output::{Format, emit, print_objects};
use super::super::tab_writer::table;

const HEADER: [&str; 9] = [
    "NAME",
    "BACKUP",
    "STATUS",
    "STARTED",
    "COMPLETED",
    "ERRORS",
    "WARNINGS",
    "CREATED",
    "SELECTOR",
];

/// Get restores.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Names of restores; all of them when none is given.
    names: Vec<String>,
    /// Output format.
    #[arg(short, long, default_value = "table")]
    output: Format,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<Restore> = Api::namespaced(global.client().await?, &namespace);
    let mut restores = words::fetch(&api, &namespace, "restore", &args.names).await?;
    restores.sort_by_key(ResourceExt::name_any);
    if args.output == Format::Table {
        return emit(&text(&restores));
    }
    print_objects(&restores, &args.names, args.output)
}

/// The table; one line says so when it would be empty.
pub fn text(restores: &[Restore]) -> String {
    if restores.is_empty() {
        return "No restores found\n".to_owned();
    }
    let rows: Vec<Vec<String>> = restores.iter().map(row).collect();
    table(&HEADER, &rows)
}

fn row(restore: &Restore) -> Vec<String> {
    let status = restore.status.clone().unwrap_or_default();
    vec![
        restore.name_any(),
        restore.spec.backup_name.clone(),
        restore.phase().to_string(),
        words::time(status.start_timestamp.as_ref()),
        words::time(status.completion_timestamp.as_ref()),
        status.errors.to_string(),
        status.warnings.to_string(),
        words::time(restore.metadata.creation_timestamp.as_ref()),
        format_label_selector(restore.spec.label_selector.as_ref()),
    ]
}
