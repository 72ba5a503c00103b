//! Who the guest process is: a user that owns nothing and may do nothing.
//!
//! A caller with the privileges to become anyone gives the sandbox a user of its own, otherwise unused, and no user
//! namespace. Every other caller makes a user namespace that holds nobody but the caller, under the same number, and
//! gives up the privileges that this grants before any guest runs. Supplementary groups of an ordinary user stay: the
//! kernel lets nobody drop them who could not have added them (user_namespaces(7), "setgroups"). They open no file where
//! there is no file.

use std::ffi::c_int;

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Gid, Pid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{step::Step, sys};

/// How the sandbox gets its identity.
pub(crate) enum Identity {
    /// By becoming a user and group of this number, without a user namespace.
    Own { id: u32 },
    /// By mapping only the caller's user and group into a new user namespace: lines for `uid_map` and `gid_map`.
    Mapped { uid_map: String, gid_map: String },
}

/// First of 2^22 user and group numbers, one per process id, in a range that no known allocator of users hands out
/// (systemd, "Users, Groups, UIDs and GIDs on systemd Systems", leaves 0x70000000 to 0x7ffdffff unused).
const FIRST_ID: u32 = 0x7200_0000;

/// `nobody`: for where the other range does not exist because we are in someone's user namespace.
const NOBODY: u32 = 65534;

impl Identity {
    /// The best identity that this process can give away.
    pub(crate) fn choose() -> Result<Self, Errno> {
        let needed =
            CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP;
        if rustix::thread::capabilities(None)?.effective.contains(needed) {
            let pid = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
            return Ok(Identity::Own { id: FIRST_ID + (pid & 0x3f_ffff) });
        }
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Identity::Mapped { uid_map: format!("{uid} {uid} 1\n"), gid_map: format!("{gid} {gid} 1\n") })
    }

    /// What this identity adds to the namespaces of the clone.
    pub(crate) fn namespaces(&self) -> c_int {
        if self.needs_user_namespace() { libc::CLONE_NEWUSER } else { 0 }
    }

    /// Whether it takes a user namespace.
    pub(crate) fn needs_user_namespace(&self) -> bool {
        matches!(self, Identity::Mapped { .. })
    }

    /// Fills the maps of a new user namespace. Runs in the supervisor, first of all.
    pub(crate) fn map(&self) -> Result<(), (Step, Errno)> {
        let Identity::Mapped { uid_map, gid_map } = self else { return Ok(()) };
        // Denying setgroups comes first: the kernel refuses a group map from an ordinary user without it.
        for (file, text) in [
            (c"/proc/self/setgroups", "deny"),
            (c"/proc/self/uid_map", uid_map.as_str()),
            (c"/proc/self/gid_map", gid_map.as_str()),
        ] {
            rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(|file| rustix::io::write(&file, text.as_bytes()))
                .map_err(|errno| (Step::UserMap, errno))?;
        }
        Ok(())
    }

    /// Becomes that user, for good and without any capability. Runs in the supervisor, last of all privileged steps.
    pub(crate) fn assume(&self) -> Result<(), Errno> {
        sys::empty_bounding_set()?;
        if let Identity::Own { id } = *self {
            rustix::thread::set_thread_groups(&[])?;
            match become_user(id) {
                Err(Errno::INVAL) => become_user(NOBODY)?,
                result => result?,
            }
        }
        drop_capabilities()
    }
}

fn become_user(id: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Gives up every capability that this thread holds or could pass on.
pub(crate) fn drop_capabilities() -> Result<(), Errno> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let this_thread: Option<Pid> = None;
    rustix::thread::set_capabilities(
        this_thread,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
}
