//! Linux as a sandbox: namespaces, mounts, control groups, limits, system-call filters and the tree of processes.
//!
//! No policy and nothing about guests: who calls decides what is run, with which descriptors, limits and system calls.
//!
//! ```text
//! caller           opens files, clones the supervisor, forwards signals, waits, cleans up      run.rs, signals.rs, cgroup.rs
//! └─ supervisor    process 1 of new namespaces, cloned without exec: makes the sandbox,        init.rs, root.rs, identity.rs
//!    │             gives up its privileges, reaps, ends with the guest's status
//!    ├─ companion  our own executable beside it, for what the guest must not do itself              companion.rs
//!    └─ guest      our own executable, run afresh by descriptor; locks itself down             lockdown.rs, seccomp.rs
//! ```
//!
//! [`run()`] is the whole life of a sandbox, seen from the caller. The guest process calls [`guest_lockdown`] and
//! [`seccomp::install`] before it does anything for a guest.
//!
//! Needs Linux 5.11 (`CLOSE_RANGE_CLOEXEC`; `clone3` with `CLONE_INTO_CGROUP` and process descriptors are older) and /proc.
//!
//! Architecture invariant: no step is skipped because it failed. What a host cannot give is an error, with one exception
//! that the caller sees in [`Ended`]: an ordinary user's limits on memory and processes ([`Limits::Unavailable`]).

mod beside;
mod cgroup;
mod clock;
mod companion;
mod create;
mod error;
mod hold;
mod identity;
mod init;
mod lockdown;
mod memory_file;
mod namespaces;
mod network;
mod parcel;
mod process;
mod report;
mod root;
mod run;
pub mod seccomp;
mod signals;
mod spec;
mod start;
mod step;
mod supervisor;
mod sys;
mod terminal;
mod tree;

pub use beside::{InRoot, run_beside, run_in_root};
pub use cgroup::{
    Amount, BusError, CgroupName, ContainerCgroup, ContainerCgroupError, CpuTime, Resources, Scope, Throttle,
    Throttled, Usage,
};
pub use companion::{Account, Companion};
pub use create::{Placed, Ready, create};
pub use error::SandboxError;
pub use lockdown::{LockdownError, guest_lockdown};
pub use memory_file::memory_file;
pub use namespaces::{Namespace, Namespaces, TimeNamespace, UserNamespace};
pub use network::{Interface, Names, NetworkError, Taken, take_over};
pub use process::{
    Replacement, exists_since, is_signal, replace, signal, started_at, wait_for_end, wait_until_reaped,
};
pub use run::run;
pub use spec::{CgroupSpec, Ended, Holding, How, Limits, Parameter, Spec, Times, UserMaps, Witness};
pub use start::{NOTE_MAX, StartError, listen, start};
pub use step::Step;
pub use terminal::{Terminal, TerminalError};
pub use tree::{Content, Piece, Tree, TreeError, TreeStep, tree};
