//! Which namespaces a sandbox gets anew, which it shares with others.
//!
//! The mount namespace is not in the list: every sandbox has a new one, because its root is empty.

use std::{
    ffi::c_int,
    os::fd::{AsFd, OwnedFd},
};

use rustix::io::Errno;

use crate::sys;

/// Where a sandbox gets one of its namespaces from.
#[derive(Debug, Default)]
pub enum Namespace {
    /// It is made for the sandbox.
    #[default]
    New,
    /// It exists: the descriptor is open on it.
    Joined(OwnedFd),
    /// The caller's own.
    Callers,
}

/// Where a sandbox gets its namespaces from; all new by default.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Process ids. Unless it is new, the sandbox's processes are among others.
    pub pid: Namespace,
    /// Network interfaces.
    pub network: Namespace,
    /// System V IPC and POSIX message queues.
    pub ipc: Namespace,
    /// The host name.
    pub uts: Namespace,
    /// The view of the control groups.
    pub cgroup: Namespace,
}

impl Namespaces {
    fn all(&self) -> [(&Namespace, c_int); 5] {
        [
            (&self.pid, libc::CLONE_NEWPID),
            (&self.network, libc::CLONE_NEWNET),
            (&self.ipc, libc::CLONE_NEWIPC),
            (&self.uts, libc::CLONE_NEWUTS),
            (&self.cgroup, libc::CLONE_NEWCGROUP),
        ]
    }

    /// Whether nobody else sees the host name.
    pub(crate) fn has_own_host_name(&self) -> bool {
        matches!(self.uts, Namespace::New)
    }

    /// Those that are open.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.all().into_iter().filter_map(|(namespace, _)| match namespace {
            Namespace::Joined(descriptor) => Some(descriptor),
            Namespace::New | Namespace::Callers => None,
        })
    }

    /// Flags of the clone that makes the new ones.
    pub(crate) fn to_make(&self) -> c_int {
        let new = self.all().into_iter().filter(|(namespace, _)| matches!(namespace, Namespace::New));
        new.fold(libc::CLONE_NEWNS, |flags, (_, flag)| flags | flag)
    }

    /// Makes the next child a member of a process-id namespace that exists. Runs in the caller: the kernel lets nobody
    /// move by himself (setns(2)).
    pub(crate) fn prepare_child(&self) -> Result<(), Errno> {
        match &self.pid {
            Namespace::Joined(descriptor) => sys::join_namespace(descriptor.as_fd(), libc::CLONE_NEWPID),
            Namespace::New | Namespace::Callers => Ok(()),
        }
    }

    /// Enters the others that exist. Runs in the supervisor.
    pub(crate) fn join(&self) -> Result<(), Errno> {
        for (namespace, kind) in self.all() {
            if let Namespace::Joined(descriptor) = namespace
                && kind != libc::CLONE_NEWPID
            {
                sys::join_namespace(descriptor.as_fd(), kind)?;
            }
        }
        Ok(())
    }
}
