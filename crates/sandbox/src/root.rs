//! The file system inside: one empty directory that nobody can write to; for a program of the image, the image.

use std::ffi::CStr;

use rustix::{
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags},
};

use crate::step::Step;

/// Replaces all mounts of this mount namespace by an empty, read-only root. Runs in the supervisor.
///
/// No /proc, no /dev, no trace of the host: what the guest process needs, it holds as descriptors.
pub(crate) fn empty() -> Result<(), (Step, Errno)> {
    // Without this, unmounting here would unmount on the host wherever mounts are shared, as systemd makes them
    // (mount_namespaces(7), "Shared subtrees").
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| (Step::PrivateMounts, errno))?;
    // /proc serves as the place because it exists wherever we got this far: our executable was opened through it.
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"runu", c"/proc", c"tmpfs", flags, c"size=4k,nr_inodes=1,mode=555")
        .map_err(|errno| (Step::MountRoot, errno))?;
    // pivot_root(".", ".") stacks the old root on the new one, where "." then reaches it (pivot_root(2), NOTES).
    rustix::process::chdir(c"/proc").map_err(|errno| (Step::PivotRoot, errno))?;
    rustix::process::pivot_root(c".", c".").map_err(|errno| (Step::PivotRoot, errno))?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(|errno| (Step::DetachRoot, errno))?;
    // Fails unless the current directory is inside the new root.
    rustix::process::chdir(c"/").map_err(|errno| (Step::DetachRoot, errno))
}

/// Makes a mount namespace with the directory `root` as all that there is, for a program that comes from there: no /proc,
/// no /dev, and device files and set-user-ID bits of its own mean nothing.
pub(crate) fn replace(root: &CStr, read_only: bool) -> Result<(), Errno> {
    crate::sys::unshare(libc::CLONE_NEWNS)?;
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    rustix::mount::mount_bind_recursive(root, root)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let flags = if read_only { flags | MountFlags::RDONLY } else { flags };
    // The flags of a bind mount are taken only by a second call (mount(2)).
    rustix::mount::mount_remount(root, MountFlags::BIND | flags, c"")?;
    rustix::process::chdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}
