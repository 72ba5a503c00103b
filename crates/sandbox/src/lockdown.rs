//! What the guest process gives up by itself, before its system-call filter.
//!
//! The supervisor has taken away what it can; these are the things that an exec gives back or that only the process itself
//! knows.

use std::os::fd::RawFd;

use runu_core::{Blame, Blamed};
use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit},
};

use crate::{identity::drop_capabilities, sys};

/// Why a process could not be locked down. It must not go on.
#[derive(Debug, thiserror::Error)]
#[error("the guest process cannot {action}")]
pub struct LockdownError {
    action: &'static str,
    source: Errno,
}

impl Blamed for LockdownError {
    fn blame(&self) -> Blame {
        Blame::Host
    }
}

/// Limits of a guest process that are zero, both soft and hard.
const NOTHING: [Resource; 4] = [
    // Guest memory never reaches a disk by way of a crash.
    Resource::Core,
    // No other process and no further thread.
    Resource::Nproc,
    Resource::Memlock,
    Resource::Msgqueue,
];

/// Makes this process one that nobody can look into, that holds only the descriptors in `keep`, that can open no others,
/// start nothing, lock nothing and dump nothing, and that has no capability nor any way to get one.
///
/// Standard input, output and error are closed as well unless they are in `keep`. Objects that own a descriptor that is
/// not kept must be forgotten, not dropped.
///
/// # Errors
/// The kernel refuses a step; those done so far stay done.
pub fn guest_lockdown(keep: &[RawFd]) -> Result<(), LockdownError> {
    let cannot = |action| move |source| LockdownError { action, source };
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(cannot("hide its memory"))?;
    rustix::thread::set_no_new_privs(true).map_err(cannot("forgo new privileges"))?;
    drop_capabilities().map_err(cannot("drop its capabilities"))?;
    let after_last = sys::close_all_but(&mut keep.to_vec()).map_err(cannot("close its descriptors"))?;
    for resource in NOTHING {
        limit(resource, 0).map_err(cannot("limit its resources"))?;
    }
    // Not zero: poll takes no more descriptors than this limit (poll(2), EINVAL).
    limit(Resource::Nofile, u64::from(after_last.cast_unsigned())).map_err(cannot("limit its descriptors"))
}

fn limit(resource: Resource, most: u64) -> Result<(), Errno> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}
