//! A program of ours takes no more memory than it needs (decision 0017): a server waits for most of its life, and a data mover's
//! pod may have a limit that ends it.
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
    let are_disabled = || transparent_huge_pages_are_disabled().unwrap_or(true);
    let were_huge = !are_disabled();
    // Asked again: where the kernel has not done it, beginning anew would not help, and would come again.
    let disabled_now = were_huge && disable_transparent_huge_pages(true).is_ok() && are_disabled();
    if disabled_now || std::env::var_os(PURGE_DELAY).is_none() {
        begin_anew();
    }
}

/// The same program with the same words in this process; returns only when that failed, which costs memory and nothing else.
fn begin_anew() {
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    if std::env::var_os(PURGE_DELAY).is_none() {
        again.env(PURGE_DELAY, PURGE_DELAY_MS);
    }
    let _refused = again.args(arguments).exec();
}
