//! A server or node agent that waits takes no more memory than it needs.
//!
//! The allocator asks the kernel for huge pages. They make a data mover faster, which goes through much memory once; a
//! process that mostly waits has a few small objects in each of its regions, and would hold 2 MiB for each.

/// From now on this process gets ordinary pages only. A kernel that cannot tell (before 3.15) gives what it gave before.
pub fn only() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}
