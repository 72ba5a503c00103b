//! Who the guest process is: a user that owns nothing and may do nothing.
//!
//! A caller with the privileges to become anyone gives the sandbox a user of its own, otherwise unused, and no user
//! namespace. Every other caller makes a user namespace that holds nobody but the caller, who is called `nobody` there, and
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
#[derive(Clone)]
pub(crate) enum Identity {
    /// By becoming a user and group of this number, without a user namespace.
    Own { id: u32 },
    /// By mapping only the caller's user and group into a new user namespace: lines for `uid_map` and `gid_map`.
    Mapped { uid_map: String, gid_map: String },
    /// By becoming a user and group of a new user namespace whose maps the caller fills in.
    Within { uid: u32, gid: u32 },
    /// By becoming a user and group of a user namespace that was entered.
    Joined,
}

/// First of 2^22 user and group numbers, one per process id, in a range that no known allocator of users hands out
/// (systemd, "Users, Groups, UIDs and GIDs on systemd Systems", leaves 0x70000000 to 0x7ffdffff unused).
const FIRST_ID: u32 = 0x7200_0000;

/// Process ids are less than 2^22 (proc(5), `pid_max`), and the caller's is not used again while its sandbox exists.
const PIDS: u32 = (1 << 22) - 1;

/// The user that owns nothing by convention: the name of every caller in its own user namespace, and the best there is
/// where we are already in someone's user namespace, in which the other range does not exist.
pub(crate) const NOBODY: u32 = 65534;

impl Identity {
    /// The best identity that this process can give away.
    pub(crate) fn choose() -> Result<Self, Errno> {
        let needed =
            CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP;
        if rustix::thread::capabilities(None)?.effective.contains(needed)
            && let Some(id) = unused_id()?
        {
            return Ok(Identity::Own { id });
        }
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Identity::Mapped {
            uid_map: format!("{NOBODY} {uid} 1\n"),
            gid_map: format!("{NOBODY} {gid} 1\n"),
        })
    }

    /// What this identity adds to the namespaces of the clone.
    pub(crate) fn namespaces(&self) -> c_int {
        match self {
            Identity::Own { .. } | Identity::Joined => 0,
            Identity::Mapped { .. } | Identity::Within { .. } => libc::CLONE_NEWUSER,
        }
    }

    /// The user number for a sandbox that outlives the caller: as long as its first process `init` exists, nobody else's
    /// number comes from that process id.
    pub(crate) fn outliving(&self, init: Pid) -> u32 {
        match *self {
            Identity::Own { id } if id >= FIRST_ID => FIRST_ID + (init.as_raw_pid().cast_unsigned() & PIDS),
            Identity::Own { id } => id,
            Identity::Mapped { .. } | Identity::Joined => NOBODY,
            Identity::Within { uid, .. } => uid,
        }
    }

    /// The same identity with the user number that the caller chose after the clone, or that a user namespace which was
    /// entered has. Runs in the supervisor while there is a /proc.
    pub(crate) fn settled(&self, id: u32) -> Result<Self, Errno> {
        let member = |path| {
            let map = std::fs::read_to_string(path).unwrap_or_default();
            member_of(&map).ok_or(Errno::INVAL)
        };
        Ok(match self {
            Identity::Own { .. } => Identity::Own { id },
            Identity::Joined => {
                Identity::Within { uid: member("/proc/self/uid_map")?, gid: member("/proc/self/gid_map")? }
            }
            other => other.clone(),
        })
    }

    /// Whether it takes a user namespace.
    pub(crate) fn needs_user_namespace(&self) -> bool {
        matches!(self, Identity::Mapped { .. } | Identity::Within { .. })
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
        sys::limit_bounding_set(0)?;
        match *self {
            Identity::Own { id } => {
                rustix::thread::set_thread_groups(&[])?;
                become_user(id, id)?;
            }
            Identity::Within { uid, gid } => {
                // Refused where whoever made the namespace could not drop groups either.
                match rustix::thread::set_thread_groups(&[]) {
                    Ok(()) | Err(Errno::PERM) => {}
                    Err(errno) => return Err(errno),
                }
                become_user(uid, gid)?;
            }
            Identity::Mapped { .. } => {}
            // Nobody is in it who could be become.
            Identity::Joined => return Err(Errno::INVAL),
        }
        drop_capabilities()
    }
}

/// Becomes a user and group, for good.
pub(crate) fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// A user and group number that owns nothing; none where the user namespace that we are in holds too few numbers.
fn unused_id() -> Result<Option<u32>, Errno> {
    /// Inode number of the first user namespace (linux/proc_ns.h, `PROC_USER_INIT_INO`), which holds all numbers.
    const FIRST_NAMESPACE: u64 = 0xefff_fffd;
    if rustix::fs::stat(c"/proc/self/ns/user")?.st_ino == FIRST_NAMESPACE {
        let pid = rustix::process::getpid().as_raw_nonzero().get().cast_unsigned();
        return Ok(Some(FIRST_ID + (pid & PIDS)));
    }
    let holds = |path: &str, id| std::fs::read_to_string(path).is_ok_and(|text| map_holds(&text, id));
    let nobody = holds("/proc/self/uid_map", NOBODY)
        && holds("/proc/self/gid_map", NOBODY)
        && std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "allow");
    Ok(nobody.then_some(NOBODY))
}

/// The number in a map that owns nothing if there is one, else the first.
fn member_of(map: &str) -> Option<u32> {
    if map_holds(map, NOBODY) {
        return Some(NOBODY);
    }
    map.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether the number `id` is in a map of lines `FIRST-INSIDE FIRST-OUTSIDE COUNT` (user_namespaces(7)).
fn map_holds(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => {
                u64::from(id).checked_sub(first).is_some_and(|offset| offset < count)
            }
            _ => false,
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_with_the_number_in_any_of_its_ranges_holds_it() {
        assert!(map_holds("         0          0 4294967295\n", NOBODY));
        assert!(map_holds("0 100000 1000\n1000 1000 1\n1001 101000 64536\n", NOBODY));
    }

    #[test]
    fn member_of_a_map_is_nobody_or_else_its_first() {
        assert_eq!(member_of("0 100000 65536\n"), Some(NOBODY));
        assert_eq!(member_of("7 1000 1\n9 100000 5\n"), Some(7));
        assert_eq!(member_of(""), None);
    }

    #[test]
    fn map_without_the_number_does_not_hold_it() {
        for map in ["", "0 1000 1\n", "0 100000 65534\n", "65535 0 1\n", "0 0\n", "x y z\n"] {
            assert!(!map_holds(map, NOBODY), "{map:?}");
        }
    }
}
