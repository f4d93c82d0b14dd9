//! The two ioctls that rustix has no safe call for: freezing and thawing a mounted filesystem.
//! The only unsafe code of the crate; its safe face is [`crate::freeze`].
#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::ioctl::{NoArg, Opcode, ioctl, opcode};

const FIFREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);
const FITHAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// Stops all writes to the filesystem that `directory` is on and brings its image to a state that mounts cleanly.
/// EBUSY when it is frozen already.
pub(crate) fn freeze(directory: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: FIFREEZE takes no argument that the kernel reads or writes (fs/ioctl.c, ioctl_fsfreeze).
    unsafe { ioctl(directory, NoArg::<FIFREEZE>::new()) }
}

/// Lets writes go on. EINVAL when the filesystem is not frozen.
pub(crate) fn thaw(directory: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: as above (ioctl_fsthaw).
    unsafe { ioctl(directory, NoArg::<FITHAW>::new()) }
}
