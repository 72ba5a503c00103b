//! A process beside the guest's, for what the guest must not do itself: our own executable too, with other descriptors.
//!
//! It is started by the supervisor when the root is empty and privileges are still there, so that it can be a user who owns
//! something. It sees no file system but what it holds descriptors of, ends with the sandbox at the latest, and locks itself
//! down like the guest process.

use std::{
    cell::Cell,
    ffi::CStr,
    os::fd::{OwnedFd, RawFd},
};

use rustix::{
    io::Errno,
    process::{Gid, Pid},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{
    identity::{Identity, become_user, drop_capabilities},
    init::{self, CANNOT_EXECUTE},
    step::Step,
    sys::{self, Arguments},
};

/// A process beside the guest's.
#[derive(Debug)]
pub struct Companion<'a> {
    /// Its arguments; the first is its name, by which it knows what it is.
    pub argv: &'a [&'a CStr],
    /// What it is given besides standard input, output and error, each with the number that it has there: 3 or more, each
    /// once.
    pub descriptors: Vec<(OwnedFd, RawFd)>,
    /// Whom it becomes; `None` where the sandbox knows nobody but its caller.
    pub account: Option<Account>,
}

impl Companion<'_> {
    /// The same, where a sandbox with that identity knows its user.
    pub(crate) fn known_to(mut self, identity: &Identity) -> Self {
        if matches!(identity, Identity::Mapped { .. }) {
            self.account = None;
        }
        self
    }
}

/// A user in the sandbox's user namespace.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its further groups.
    pub groups: Vec<u32>,
    /// What it may do besides if it is root, where nobody else may do anything: capabilities by their numbers
    /// (linux/capability.h).
    pub capabilities: Vec<u32>,
}

/// A companion, ready to be started: all is there that starting takes, because the supervisor does not allocate.
pub(crate) struct Prepared<'a> {
    argv: Arguments<'a>,
    /// In ascending order of the numbers they get; all numbers that they have now are higher.
    descriptors: Vec<(OwnedFd, RawFd)>,
    uid: u32,
    gid: u32,
    groups: Vec<Gid>,
    kept: CapabilitySet,
    changes_user: bool,
    pid: Cell<Option<Pid>>,
}

impl<'a> Prepared<'a> {
    /// Prepares a companion whose descriptors have been checked and moved.
    pub(crate) fn new(
        argv: &'a [&'a CStr],
        descriptors: Vec<(OwnedFd, RawFd)>,
        account: Option<Account>,
    ) -> Self {
        let changes_user = account.is_some();
        let Account { uid, gid, groups, capabilities } = account.unwrap_or_default();
        let may = changes_user && uid == 0;
        let bits = capabilities.iter().filter(|number| may && **number < 64).fold(0, |bits, n| bits | 1 << n);
        Prepared {
            argv: Arguments::new(argv),
            descriptors,
            uid,
            gid,
            groups: groups.into_iter().map(Gid::from_raw).collect(),
            kept: CapabilitySet::from_bits_truncate(bits),
            changes_user,
            pid: Cell::new(None),
        }
    }

    /// Its descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.descriptors.iter().map(|(descriptor, _)| descriptor)
    }

    /// Its process, once it was started.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid.get()
    }

    /// Starts it. Runs in the supervisor.
    pub(crate) fn start(&self, program: &OwnedFd) -> Result<(), (Step, Errno)> {
        let failed = Cell::new(None);
        let child = || {
            failed.set(Some(self.turn_into_it(program)));
            CANNOT_EXECUTE
        };
        let pid = sys::spawn_shared(0, &child).map_err(|errno| (Step::Companion, errno))?;
        self.pid.set(Some(pid));
        // It shares this memory until its exec, which has succeeded or failed by now.
        failed.take().map_or(Ok(()), |errno| Err((Step::Companion, errno)))
    }

    /// Becomes it; returns only on failure.
    fn turn_into_it(&self, program: &OwnedFd) -> Errno {
        use std::os::fd::AsFd;
        let ready = self.assume().and_then(|()| init::place(self.descriptors.iter()));
        ready.err().unwrap_or_else(|| sys::exec(program.as_fd(), &self.argv))
    }

    fn assume(&self) -> Result<(), Errno> {
        sys::limit_bounding_set(self.kept.bits())?;
        if !self.changes_user {
            return drop_capabilities();
        }
        match rustix::thread::set_thread_groups(&self.groups) {
            // Refused where whoever made the user namespace could not change groups either.
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        become_user(self.uid, self.gid)?;
        rustix::thread::clear_ambient_capability_set()?;
        let held = rustix::thread::capabilities(None)?.permitted & self.kept;
        let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
        rustix::thread::set_capabilities(None, sets)
    }
}
