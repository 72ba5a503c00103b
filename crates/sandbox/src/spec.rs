//! What to run in a sandbox, and how that went.

use std::{
    ffi::CStr,
    fmt,
    os::fd::{OwnedFd, RawFd},
};

use runu_core::Bytes;
use rustix::process::{Resource, Rlimit};
use serde::Serialize;

use crate::{cgroup::ContainerCgroup, companion::Companion, namespaces::Namespaces};

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
    /// A process beside the guest's.
    pub companion: Option<Companion<'a>>,
    /// The host name inside; none leaves what is there.
    pub hostname: Option<&'a str>,
    /// Limits on memory and processes, and the means to account for both.
    pub cgroup: Option<CgroupSpec>,
}

/// What a sandbox has besides its [`Spec`] when one process makes it and another starts it.
pub struct Holding<'a> {
    /// Where it gets its namespaces from.
    pub namespaces: Namespaces,
    /// The control group that it enters; the `cgroup` of the [`Spec`] is not looked at.
    pub cgroup: &'a ContainerCgroup,
    /// The terminal that becomes its standard input, output and error.
    pub terminal: Option<OwnedFd>,
    /// The domain name inside (NIS); none leaves what is there.
    pub domain_name: Option<&'a str>,
    /// Kernel parameters of its namespaces, in order.
    pub parameters: Vec<Parameter>,
    /// Resource limits of the guest process. Hard limits above the caller's own are for the privileged (setrlimit(2)).
    pub limits: Vec<(Resource, Rlimit)>,
    /// How readily the kernel kills what is inside when memory runs out, from -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// A listening socket through which the start is asked for ([`crate::start`]).
    pub listener: OwnedFd,
    /// Numbers of what the guest process is handed at its start ([`crate::start`]), ascending, all above those of the
    /// [`Spec`]: what is not there yet when the sandbox is made, as network interfaces that an engine wires in between.
    pub handed_at_start: Vec<RawFd>,
    /// Who is told what happens. It runs in the supervisor, after the caller is gone.
    pub witness: &'a dyn Witness,
    /// Descriptors that the witness uses.
    pub kept: Vec<RawFd>,
}

/// Lines `FIRST-INSIDE FIRST-OUTSIDE COUNT` (user_namespaces(7)), and who the guest process is inside.
#[derive(Clone, Debug)]
pub struct UserMaps {
    /// The map of users.
    pub uid_map: String,
    /// The map of groups.
    pub gid_map: String,
    /// The guest process's user inside.
    pub uid: u32,
    /// The guest process's group inside.
    pub gid: u32,
}

/// A kernel parameter of a namespace (sysctl(8)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its file, below /proc/sys.
    pub path: String,
    /// Its value.
    pub value: String,
    /// Whether the sandbox may be without it.
    pub optional: bool,
}

/// Who is told of the life of a sandbox that outlives its maker.
///
/// It runs in the supervisor: without privileges, with an empty root, with no descriptors but those that it was said to
/// use and standard error.
pub trait Witness {
    /// The supervisor is in its control group and still sees the files of its maker.
    fn entered(&self);
    /// Someone asks for the start with this note; the guest process is run next.
    ///
    /// # Errors
    /// It must not be started like this, for this reason: the sandbox ends.
    fn starting(&self, note: &[u8]) -> Result<(), String>;
    /// The guest process runs.
    fn started(&self);
    /// The guest process is over; the status to exit with.
    fn ended(&self, how: How) -> u8;
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
    /// [`How::OutOfMemory`] in a few words.
    pub const OUT_OF_MEMORY: &'static str = "out of memory";

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
