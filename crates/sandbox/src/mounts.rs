//! Directories of the host for processes that have no file system.

use std::path::Path;

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    mount::OpenTreeFlags,
};

use crate::sys;

/// Attributes of mounts (linux/mount.h, `MOUNT_ATTR_*`).
const READ_ONLY: u64 = 1;
const NO_SET_USER: u64 = 2;
const NO_DEVICES: u64 = 4;
const NO_EXECUTION: u64 = 8;

/// Opens a directory as a mount of its own, which is nowhere: what is above it cannot be reached through the descriptor, device
/// files in it mean nothing, with `read_only` nobody can change anything through it, and it is gone when the descriptor is
/// closed. With `whole` the mounts below it are there too.
///
/// A caller who may not mount gets the plain directory.
///
/// # Errors
/// There is no such directory, or the kernel refuses.
pub fn directory(path: &Path, read_only: bool, whole: bool) -> Result<OwnedFd, Errno> {
    // Checked first: a tree can be opened of any file.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let plain = rustix::fs::open(path, flags, Mode::empty())?;
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, whole);
    let tree = match rustix::mount::open_tree(plain.as_fd(), c"", flags) {
        Ok(tree) => tree,
        Err(Errno::PERM) => return Ok(plain),
        Err(errno) => return Err(errno),
    };
    let kept = if read_only { READ_ONLY } else { 0 };
    sys::set_mount_attributes(tree.as_fd(), kept | NO_SET_USER | NO_DEVICES | NO_EXECUTION)?;
    Ok(tree)
}
