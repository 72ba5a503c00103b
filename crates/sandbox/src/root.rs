//! The file system inside: one empty directory that nobody can write to.

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
