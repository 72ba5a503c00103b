//! OCI containers (runtime-spec 1.0 to 1.3) whose program is a unikernel.
//!
//! ```text
//! bundle ── Bundle::open ──► config.json, root file system
//!        ── detect ────────► Workload::Unikernel (kernel, initrd, words)  or  Workload::Ordinary ──► Delegate
//!        ── create ────────► plan, sandbox that waits, state directory
//!        ── start, kill, delete … by id
//! ```
//!
//! Ordinary containers are not run here: they are handed to an installed runtime, which gets a state directory of its own
//! beside ours ([`Root`]).
//!
//! Architecture invariant: which monitor runs a guest and how its process is spoken to is the caller's to say
//! ([`Launch`]); nothing here knows one.
//!
//! Architecture invariant: no daemon. Whatever outlives a call is in the container's state directory, its sandbox and its
//! control group, and `delete` removes all three.

mod bundle;
mod create;
mod delegate;
mod error;
mod example;
mod features;
mod hooks;
mod id;
mod lifecycle;
mod limits;
mod lock;
mod namespaces;
mod record;
mod rootfs;
mod time;
mod witness;
mod workload;

pub use bundle::Bundle;
pub use create::{CreateFlags, create};
pub use delegate::{Delegate, DelegateError, Runtime};
pub use error::ContainerError;
pub use example::example;
pub use features::features;
pub use id::ContainerId;
pub use lifecycle::{Container, DeleteOutcome, delete, parse_signal};
pub use limits::{ResourcesError, resources_from_json};
pub use record::{Owner, Record, Root, Status};
pub use time::rfc3339_now;
pub use witness::{Conclusion, Launch, Numbers};
pub use workload::{Unikernel, Workload, detect};
