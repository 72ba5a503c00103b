//! What a container's sandbox shares with others.
//!
//! Those that exist are entered by a process in between, which then clones the supervisor as its sister: so the caller
//! stays where it is, whose hooks run in its own namespaces, and so new namespaces belong to the user namespace that was
//! entered. It enters the user namespace late, because a namespace of somebody else's can be entered only with privileges
//! that are lost there, and one that the user namespace owns only with those that are found there.

use std::{
    ffi::c_int,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    pipe::PipeFlags,
    process::{Pid, PidfdFlags},
};

use crate::{
    identity::Identity,
    init::At,
    report::Message,
    spec::UserMaps,
    step::Step,
    supervisor::Supervisor,
    sys::{self, Side},
};

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

/// Where a sandbox gets its user namespace from.
#[derive(Debug, Default)]
pub enum UserNamespace {
    /// The caller's own, if the caller may become a user that owns nothing; else a new one with nobody in it.
    #[default]
    Callers,
    /// It is made with these maps.
    New(UserMaps),
    /// It exists: the descriptor is open on it.
    Joined(OwnedFd),
}

/// Where a sandbox gets its view of the clocks from.
#[derive(Debug, Default)]
pub enum TimeNamespace {
    /// The caller's own.
    #[default]
    Callers,
    /// It is made with these offsets: lines `CLOCK SECONDS NANOSECONDS` (time_namespaces(7)).
    New(String),
    /// It exists: the descriptor is open on it.
    Joined(OwnedFd),
}

/// Where a sandbox gets its namespaces from; all new by default but for user and time.
///
/// The mount namespace is always new, because the sandbox's root is empty.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Users and groups.
    pub user: UserNamespace,
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
    /// The clocks.
    pub time: TimeNamespace,
    /// A mount namespace that exists and of which the sandbox's own is a copy.
    pub mount: Option<OwnedFd>,
}

/// A supervisor that was cloned.
pub(crate) enum Cloned {
    /// The caller's side of it.
    Parent(OwnedFd, Pid),
    /// The supervisor, and the kinds of namespaces that it has still to enter.
    Supervisor(c_int),
}

impl Namespaces {
    /// Descriptors of those that exist, with their kinds; the user namespace is not among them.
    fn existing(&self) -> impl Iterator<Item = (&OwnedFd, c_int)> {
        let time = match &self.time {
            TimeNamespace::Joined(descriptor) => Some((descriptor, libc::CLONE_NEWTIME)),
            TimeNamespace::Callers | TimeNamespace::New(_) => None,
        };
        let mount = self.mount.as_ref().map(|descriptor| (descriptor, libc::CLONE_NEWNS));
        let others = self.kinds().into_iter().filter_map(|(namespace, kind)| match namespace {
            Namespace::Joined(descriptor) => Some((descriptor, kind)),
            Namespace::New | Namespace::Callers => None,
        });
        // The mounts last: files are found through the caller's until then.
        others.chain(time).chain(mount)
    }

    fn kinds(&self) -> [(&Namespace, c_int); 5] {
        [
            (&self.pid, libc::CLONE_NEWPID),
            (&self.network, libc::CLONE_NEWNET),
            (&self.ipc, libc::CLONE_NEWIPC),
            (&self.uts, libc::CLONE_NEWUTS),
            (&self.cgroup, libc::CLONE_NEWCGROUP),
        ]
    }

    /// Whether the host name is not the caller's.
    pub(crate) fn has_host_name(&self) -> bool {
        !matches!(self.uts, Namespace::Callers)
    }

    /// Those that are open.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.existing().map(|(descriptor, _)| descriptor)
    }

    /// Flags of the clone that makes the new ones.
    ///
    /// That of control groups is made later: its root is where its maker is at that time, which must be the sandbox's group.
    fn to_clone(&self) -> c_int {
        let new = self.kinds().into_iter().filter(|(namespace, _)| matches!(namespace, Namespace::New));
        new.fold(libc::CLONE_NEWNS, |flags, (_, flag)| flags | flag) & !libc::CLONE_NEWCGROUP
    }

    /// Makes the one of control groups, if it is to be new. Runs in the supervisor when it is in its group.
    pub(crate) fn make_cgroup(&self) -> Result<(), Errno> {
        match self.cgroup {
            Namespace::New => sys::unshare(libc::CLONE_NEWCGROUP),
            Namespace::Joined(_) | Namespace::Callers => Ok(()),
        }
    }

    /// Clones the supervisor into all of them.
    pub(crate) fn clone_into(
        &self,
        identity: &Identity,
        oom_score_adj: Option<i32>,
        cgroup: Option<std::os::fd::BorrowedFd<'_>>,
    ) -> Result<Cloned, (Step, Errno)> {
        let flags = self.to_clone() | identity.namespaces();
        let enters = self.existing().next().is_some()
            || matches!(self.user, UserNamespace::Joined(_))
            || matches!(self.time, TimeNamespace::New(_));
        if !enters {
            return match sys::fork_into(flags, cgroup).at(Step::Clone)? {
                Side::Parent(pidfd, pid) => Ok(Cloned::Parent(pidfd, pid)),
                Side::Child => Ok(Cloned::Supervisor(0)),
            };
        }
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(Step::Pipe)?;
        match sys::fork_into(0, None).at(Step::Clone)? {
            Side::Child => {
                let cloned = oom_score_adj.map_or(Ok(()), set_oom_score_adj).at(Step::Limits);
                let cloned = cloned.and_then(|()| self.enter(identity)).and_then(|left| {
                    sys::fork_sister(flags, cgroup).at(Step::Clone).map(|sister| (sister, left))
                });
                match cloned {
                    Ok((None, left)) => return Ok(Cloned::Supervisor(left)),
                    Ok((Some(pid), _)) => Message::Cloned(pid.as_raw_pid()).send(writer.as_fd()),
                    Err((step, errno)) => Message::Failed { step, errno }.send(writer.as_fd()),
                }
                sys::exit_now(0)
            }
            Side::Parent(pidfd, _) => {
                drop(writer);
                // Reaped when this is dropped.
                let between = Supervisor::new(pidfd);
                let message = Message::receive(reader.as_fd());
                drop(between);
                match message {
                    // It is our child, so its number is its own until we reap it.
                    Some(Message::Cloned(pid)) => {
                        let pid = Pid::from_raw(pid).ok_or((Step::Clone, Errno::SRCH))?;
                        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).at(Step::Clone)?;
                        Ok(Cloned::Parent(pidfd, pid))
                    }
                    Some(Message::Failed { step, errno }) => Err((step, errno)),
                    _ => Err((Step::Clone, Errno::SRCH)),
                }
            }
        }
    }

    /// Enters those that exist; the kinds of those for which a new user namespace is needed first. Runs in between.
    fn enter(&self, identity: &Identity) -> Result<c_int, (Step, Errno)> {
        if matches!(self.user, UserNamespace::Joined(_)) {
            // Left for later is what the user namespace owns.
            let left = self.join(c_int::MAX).at(Step::JoinNamespaces)?;
            if let UserNamespace::Joined(descriptor) = &self.user {
                sys::join_namespace(descriptor.as_fd(), libc::CLONE_NEWUSER).at(Step::JoinNamespaces)?;
            }
            self.make_time()?;
            return match self.join(left).at(Step::JoinNamespaces)? {
                0 => Ok(0),
                _ => Err((Step::JoinNamespaces, Errno::PERM)),
            };
        }
        self.make_time()?;
        match self.join(c_int::MAX).at(Step::JoinNamespaces)? {
            // Nobody moves themselves between those of process ids (setns(2)).
            left if left & libc::CLONE_NEWPID != 0 || left != 0 && identity.namespaces() == 0 => {
                Err((Step::JoinNamespaces, Errno::PERM))
            }
            left => Ok(left),
        }
    }

    /// Enters those of these kinds; the kinds of those that this process may not enter.
    pub(crate) fn join(&self, kinds: c_int) -> Result<c_int, Errno> {
        let mut left = 0;
        for (descriptor, kind) in self.existing().filter(|(_, kind)| kind & kinds != 0) {
            match sys::join_namespace(descriptor.as_fd(), kind) {
                Ok(()) => {}
                Err(Errno::PERM) => left |= kind,
                Err(errno) => return Err(errno),
            }
        }
        Ok(left)
    }

    /// Makes the one of clocks, if it is to be new: for children, since its offsets are fixed when somebody is in it.
    fn make_time(&self) -> Result<(), (Step, Errno)> {
        let TimeNamespace::New(offsets) = &self.time else { return Ok(()) };
        sys::unshare(libc::CLONE_NEWTIME).at(Step::Clocks)?;
        if offsets.is_empty() {
            return Ok(());
        }
        rustix::fs::open(c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::write(file, offsets.as_bytes()).map(drop))
            .at(Step::Clocks)
    }
}

/// Says how readily the kernel kills this process and its children when memory runs out, from -1000 to 1000.
pub(crate) fn set_oom_score_adj(score: i32) -> Result<(), Errno> {
    let written = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    match written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)) {
        // Only the privileged may lower it (proc(5)); a guest more readily killed than asked is no danger to anyone.
        Ok(()) | Err(Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}
