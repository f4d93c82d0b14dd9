//! The text of `velero schedule describe`; mirrors `pkg/cmd/util/output/schedule_describer.go`.

use std::fmt::Write;

use caravel_api::v1::Schedule;

use super::super::tab_writer;
use super::words::{phase, time};
use super::{backup, metadata};

/// The text.
pub fn text(schedule: &Schedule, colours: bool) -> String {
    let (spec, status) = (&schedule.spec, schedule.status.clone().unwrap_or_default());
    let mut out = String::new();
    metadata(&mut out, schedule, colours);
    let _ = writeln!(out, "\nPhase:\t{}", phase(schedule.phase().as_str(), colours));
    if !status.validation_errors.is_empty() {
        let _ = writeln!(
            out,
            "\nValidation errors:\t{}",
            status.validation_errors.join("\n\t")
        );
    }
    let _ = writeln!(out, "\nPaused:\t{}", spec.paused);
    let _ = writeln!(out, "\nSchedule:\t{}", spec.schedule);
    let mut template = String::new();
    backup::spec(&mut template, &spec.template);
    let _ = writeln!(out, "\nBackup Template:");
    for line in template.lines() {
        let _ = writeln!(out, "\t{line}");
    }
    let last = status
        .last_backup
        .as_ref()
        .map_or_else(|| "<never>".to_owned(), |last| time(Some(last)));
    let _ = writeln!(out, "\nLast Backup:\t{last}");
    tab_writer::describe(&out)
}
