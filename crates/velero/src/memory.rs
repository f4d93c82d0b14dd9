//! A process of the cluster takes no more memory than it needs (decision 0017): a server waits for most of its life, and a data
//! mover's pod may have a limit that ends it.
//!
//! The allocator asks the kernel for huge pages, of which a small object holds 2 MiB; and it keeps what was freed for a second,
//! in which a data mover frees a hundred megabytes.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

/// Read by the allocator when a process begins: milliseconds from when memory is freed until the kernel has it back.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// Measured: below it a restore is slower, above it the restore holds more (decision 0017).
const PURGE_DELAY_MS: &str = "50";

/// This process gets ordinary pages only, and gives memory back soon. Both must be so before the allocator's first page: it
/// begins anew, once, as the kernel keeps the one and the environment the other. A process that cannot, or a kernel that cannot
/// tell (before 3.15), goes on as it is.
pub fn keep_small() {
    let huge = !transparent_huge_pages_are_disabled().unwrap_or(true);
    let begins_anew = std::env::var_os(PURGE_DELAY).is_none();
    let ordinary = match huge {
        true => disable_transparent_huge_pages(true),
        false => Ok(()),
    };
    if let Err(error) = &ordinary {
        tracing::debug!(%error, "huge pages stay");
    }
    if begins_anew || (huge && ordinary.is_ok()) {
        let error = begin_anew();
        tracing::debug!(%error, "memory is given back late");
    }
}

/// The same program with the same words in this process; returns only when that failed.
fn begin_anew() -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    if std::env::var_os(PURGE_DELAY).is_none() {
        again.env(PURGE_DELAY, PURGE_DELAY_MS);
    }
    again.args(arguments).exec()
}
