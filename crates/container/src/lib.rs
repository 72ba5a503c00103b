//! OCI containers (runtime-spec 1.0 to 1.3) whose program is a unikernel.
//!
//! ```text
//! bundle ── Bundle::open ──► config.json, root file system
//!        ── detect ────────► Workload::Unikernel (kernel, initrd, image)  or  Workload::Ordinary ──► Delegate
//!        ── plan ──────────► what to boot and how, as pure data
//!        ── create ────────► sandbox that waits, state directory
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

mod annotations;
mod bundle;
mod config;
mod create;
mod delegate;
mod error;
mod example;
mod features;
mod guest_memory;
mod hooks;
mod id;
mod lifecycle;
mod limits;
mod lock;
mod mounts;
mod namespaces;
mod network;
mod parameters;
mod policy;
mod record;
mod rootfs;
mod time;
mod witness;
mod words;
mod workload;

pub use annotations::{AnnotationError, Wishes};
pub use bundle::Bundle;
pub use config::{
    Annotations, Config, ConfigError, DEFAULT_PATH, GuestDefaults, Isolation, Mistake, Monitors, Ordinary,
};
pub use create::{CreateFlags, create};
pub use delegate::{Delegate, DelegateError, Runtime};
pub use error::ContainerError;
pub use example::example;
pub use features::features;
pub use guest_memory::MemoryError;
pub use id::ContainerId;
pub use lifecycle::{Container, DeleteOutcome, delete, parse_signal};
pub use limits::{ResourcesError, resources_from_json};
pub use network::{Wired, Wiring};
pub use policy::{Image, plan};
pub use record::{Owner, Record, Root, Status};
pub use time::rfc3339_now;
pub use witness::{Conclusion, Fits, Launch, Numbers};
pub use workload::{Convention, Unikernel, UruncError, Workload, detect};
