//! `velero backup get [NAMES]`.
//!
//! Columns and order: velero-behaviour.md 10.2, sample `backup-get.txt`.

use caravel_api::v1::Backup;
use jiff::Timestamp;
use kube::api::Api;

use super::super::connection::Global;
use super::super::describe::words;
use super::super::failure::Outcome;
use super::super::flags::format_label_selector;
use super::super::listing::Listing;

const HEADER: [&str; 9] = [
    "NAME",
    "STATUS",
    "ERRORS",
    "WARNINGS",
    "CREATED",
    "EXPIRES",
    "STORAGE LOCATION",
    "QUEUE POSITION",
    "SELECTOR",
];

/// Get backups.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    listing: Listing,
}

/// Runs the command.
pub async fn run(args: &Args, global: &Global) -> Outcome {
    let namespace = global.namespace();
    let api: Api<Backup> = Api::namespaced(global.client().await?, &namespace);
    let mut backups = args.listing.which.fetch(&api, &namespace, "backup").await?;
    sort(&mut backups);
    args.listing
        .print(&backups, &text(&args.listing, &backups, Timestamp::now()))
}

/// The table; one line says so when it would be empty.
pub fn text(listing: &Listing, backups: &[Backup], now: Timestamp) -> String {
    listing.table(backups, &HEADER, |one| row(one, now), "No backups found")
}

fn row(backup: &Backup, now: Timestamp) -> Vec<String> {
    let status = backup.status.clone().unwrap_or_default();
    let phase = if backup.metadata.deletion_timestamp.is_some() {
        "Deleting".to_owned()
    } else {
        backup.phase().to_string()
    };
    // A backup that never started has not been created as far as a reader of this column cares; Velero's rule.
    let created = status
        .start_timestamp
        .as_ref()
        .or(backup.metadata.creation_timestamp.as_ref());
    let expires = status
        .expiration
        .as_ref()
        .map_or_else(|| "n/a".to_owned(), |at| words::remaining(at.0, now));
    vec![
        backup.metadata.name.clone().unwrap_or_default(),
        phase,
        status.errors.to_string(),
        status.warnings.to_string(),
        words::time(created),
        expires,
        backup.spec.storage_location.clone(),
        if status.queue_position == 0 {
            String::new()
        } else {
            status.queue_position.to_string()
        },
        format_label_selector(backup.spec.label_selector.as_ref()),
    ]
}

/// By name without a schedule's timestamp, newest first within one schedule.
pub fn sort(backups: &mut [Backup]) {
    backups.sort_by(|a, b| {
        let key = |backup: &Backup| {
            let name = backup.metadata.name.clone().unwrap_or_default();
            match name.rsplit_once('-') {
                Some((prefix, time)) if time.len() == 14 && time.bytes().all(|it| it.is_ascii_digit()) => {
                    (prefix.to_owned(), time.to_owned())
                }
                _ => (name, String::new()),
            }
        };
        let ((a, a_time), (b, b_time)) = (key(a), key(b));
        a.cmp(&b).then(b_time.cmp(&a_time))
    });
}
