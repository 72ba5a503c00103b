//! What to run in a sandbox, and how that went.

use std::{
    ffi::CStr,
    fmt,
    os::fd::{OwnedFd, RawFd},
};

use runu_core::Bytes;
use serde::Serialize;

/// What to run and with what.
///
/// The program is always our own executable: it is run by descriptor, so the sandbox needs no file system.
#[derive(Debug)]
pub struct Spec<'a> {
    /// The program's arguments; the first is its name, by which it knows that it is a guest process.
    pub argv: &'a [&'a CStr],
    /// What it is given besides standard input, output and error, each with the number that it has there: 3 or more, each
    /// once. They are closed in the caller as soon as the sandbox has them, so that the end of the guest is the end of
    /// what it held.
    pub descriptors: Vec<(OwnedFd, RawFd)>,
    /// The host name inside.
    pub hostname: &'a str,
    /// Limits on memory and processes, and the means to account for both.
    pub cgroup: Option<CgroupSpec>,
}

/// The control group around a sandbox, in the hierarchies of those controllers that have a limit; without any limit, in
/// the unified hierarchy.
#[derive(Clone, Debug)]
pub struct CgroupSpec {
    /// Its name below the caller's own control group: one path component, unique on this machine while it exists.
    pub name: String,
    /// The most memory that all of the sandbox may hold, page cache and kernel memory included.
    pub memory_max: Option<Bytes>,
    /// The most processes and threads it may hold; the supervisor is one of them.
    pub pids_max: Option<u32>,
}

/// How the guest process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It exited by itself with this status.
    Exited(u8),
    /// A signal ended it; SIGSYS (31) is its system-call filter.
    Signalled(i32),
    /// The kernel ended it because its control group was out of memory.
    OutOfMemory,
    /// It was ended because the sandbox received this signal.
    Requested(i32),
}

impl How {
    /// The container's exit status: the guest's own, or 128 and the signal's number, where out of memory is SIGKILL.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            How::Exited(status) => status,
            How::Signalled(signal) | How::Requested(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            How::OutOfMemory => 137,
        }
    }
}

/// Which limits hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limits {
    /// None were asked for.
    Unasked,
    /// Those that were asked for.
    Enforced,
    /// None: this host does not let us make a control group, for this reason.
    Unavailable(String),
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limits::Unasked => f.write_str("no limits were asked for"),
            Limits::Enforced => f.write_str("a control group enforces the limits"),
            Limits::Unavailable(reason) => write!(f, "no control group enforces the limits: {reason}"),
        }
    }
}

/// When the sandbox reached what, in nanoseconds of `CLOCK_MONOTONIC`; zero where a point was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// [`run`](crate::run()) was called.
    pub called: u64,
    /// The control group exists and all else is ready for the clone.
    pub prepared: u64,
    /// The supervisor exists, in its namespaces.
    pub cloned: u64,
    /// The sandbox is complete: root, host name, identity.
    pub ready: u64,
    /// The guest process runs our program.
    pub executed: u64,
    /// The guest process ended.
    pub ended: u64,
    /// The supervisor ended, and with it everything inside.
    pub reaped: u64,
    /// The control group is gone too.
    pub removed: u64,
}

/// What [`run`](crate::run()) tells when all is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// How the guest process ended.
    pub how: How,
    /// Which limits held.
    pub limits: Limits,
    /// When it reached what.
    pub times: Times,
}
