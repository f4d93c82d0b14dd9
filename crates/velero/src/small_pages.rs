//! A server or node agent that waits takes no more memory than it needs.
//!
//! The allocator asks the kernel for huge pages. They make a data mover faster, which goes through much memory once; a
//! process that mostly waits has a few small objects in each of its regions, and would hold 2 MiB for each.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

/// This process gets ordinary pages only. What it had before it said so stays huge (some 6 MiB), so it begins anew, once: the
/// kernel keeps the setting. A kernel that cannot tell (before 3.15), or a process that cannot begin anew, goes on as it is.
pub fn only() {
    if transparent_huge_pages_are_disabled().unwrap_or(true) {
        return;
    }
    let begun_anew = disable_transparent_huge_pages(true)
        .map_err(std::io::Error::from)
        .and_then(|()| std::env::current_exe())
        .map(|program| {
            let mut arguments = std::env::args_os();
            let mut again = Command::new(program);
            if let Some(name) = arguments.next() {
                again.arg0(name);
            }
            again.args(arguments).exec()
        });
    let (Ok(error) | Err(error)) = begun_anew;
    tracing::debug!(%error, "some huge pages stay");
}
