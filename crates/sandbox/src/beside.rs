//! Programs that run beside a container's processes, in the container's namespaces.

use std::{
    ffi::{CString, c_int},
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    ContainerCgroup, ContainerCgroupError,
    identity::Identity,
    init::FIRST_GIVEN,
    root,
    sys::{self, Close},
};

/// Kinds of namespaces by their names in /proc, but for users'; the mounts last, because files are found through the
/// caller's until then.
const KINDS: [(&str, c_int); 7] = [
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
    ("mnt", libc::CLONE_NEWNS),
];

/// How a program of a container's own files is confined, besides by the container's namespaces.
#[derive(Debug)]
pub struct InRoot<'a> {
    /// The directory that becomes its root.
    pub root: &'a Path,
    /// Whether it may only read there.
    pub read_only: bool,
    /// The container's control group.
    pub cgroup: &'a ContainerCgroup,
    /// Its user, in the container's user namespace.
    pub uid: u32,
    /// Its group there.
    pub gid: u32,
}

/// Namespaces to enter between fork and exec.
struct Entry {
    user: Option<OwnedFd>,
    others: Vec<(OwnedFd, c_int)>,
}

/// Makes the child of `command` run in all namespaces of the process `pid`.
///
/// # Errors
/// The process is gone, or is not ours to look at.
pub fn run_beside(command: &mut Command, pid: i32) -> Result<(), Errno> {
    let mut others = Vec::new();
    for (name, kind) in KINDS {
        others.extend(foreign(pid, name)?.map(|namespace| (namespace, kind)));
    }
    let entry = Entry { user: foreign(pid, "user")?, others };
    sys::prepare_before_exec(command, move || entry.enter());
    Ok(())
}

/// Makes the child of `command` run in all namespaces of the process `pid` but its mounts, with a root of its own, in the
/// container's control group, without any capability, descriptor or way to new privileges.
///
/// # Errors
/// The process is gone or is not ours to look at, or the control group cannot be entered.
pub fn run_in_root(command: &mut Command, pid: i32, place: &InRoot<'_>) -> Result<(), Errno> {
    let mut others = Vec::new();
    for (name, kind) in KINDS.into_iter().filter(|(name, _)| *name != "mnt") {
        others.extend(foreign(pid, name)?.map(|namespace| (namespace, kind)));
    }
    let entry = Entry { user: foreign(pid, "user")?, others };
    let groups = place.cgroup.entrances().map_err(|error| match error {
        ContainerCgroupError::Kernel { source, .. } => source,
        _ => Errno::NOENT,
    })?;
    let root = CString::new(place.root.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let (uid, gid, read_only) = (place.uid, place.gid, place.read_only);
    sys::prepare_before_exec(command, move || {
        for group in &groups {
            rustix::io::write(group, b"0")?;
        }
        let entered = entry.join_all()?;
        root::replace(&root, read_only)?;
        if entered & libc::CLONE_NEWPID != 0 {
            sys::continue_in_child()?;
        }
        Identity::Within { uid, gid }.assume()?;
        rustix::thread::set_no_new_privs(true)?;
        sys::close_range(FIRST_GIVEN, RawFd::MAX, Close::OnExec)
    });
    Ok(())
}

/// A namespace of a process, unless it is our own.
fn foreign(pid: i32, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(format!("/proc/{pid}/ns/{name}"), flags, Mode::empty())?;
    let own = rustix::fs::stat(format!("/proc/self/ns/{name}"))?;
    let same = rustix::fs::fstat(&theirs)?.st_ino == own.st_ino;
    Ok((!same).then_some(theirs))
}

impl Entry {
    /// Enters them. Runs in the child, which must not allocate.
    fn enter(&self) -> Result<(), Errno> {
        // Only a child is in another namespace of process ids than its parent.
        if self.join_all()? & libc::CLONE_NEWPID != 0 { sys::continue_in_child() } else { Ok(()) }
    }

    /// Enters them, that of process ids for children; the kinds of all.
    fn join_all(&self) -> Result<c_int, Errno> {
        // First what takes the privileges that we have, then what takes those that the user namespace gives.
        let mut entered = 0;
        self.join(&mut entered, true)?;
        if let Some(user) = &self.user {
            sys::join_namespace(user.as_fd(), libc::CLONE_NEWUSER)?;
            self.join(&mut entered, false)?;
        }
        Ok(entered)
    }

    /// Enters those whose kind is not in `entered`, and adds it.
    fn join(&self, entered: &mut c_int, first: bool) -> Result<(), Errno> {
        for (namespace, kind) in &self.others {
            if *entered & kind != 0 {
                continue;
            }
            match sys::join_namespace(namespace.as_fd(), *kind) {
                Ok(()) => *entered |= kind,
                Err(Errno::PERM) if first && self.user.is_some() => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
