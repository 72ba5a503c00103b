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

use crate::{
    identity::drop_capabilities,
    sys::{self, Close},
};

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
    let after_last = close_all_but(keep).map_err(cannot("close its descriptors"))?;
    for resource in NOTHING {
        limit(resource, 0).map_err(cannot("limit its resources"))?;
    }
    // Not zero: poll takes no more descriptors than this limit (poll(2), EINVAL).
    limit(Resource::Nofile, u64::from(after_last.cast_unsigned())).map_err(cannot("limit its descriptors"))
}

fn limit(resource: Resource, most: u64) -> Result<(), Errno> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// Closes every descriptor that is not in `keep`; returns the number after the last kept one.
fn close_all_but(keep: &[RawFd]) -> Result<RawFd, Errno> {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut next = 0;
    for number in keep {
        sys::close_range(next, number - 1, Close::Now)?;
        next = number.checked_add(1).ok_or(Errno::BADF)?;
    }
    sys::close_range(next, RawFd::MAX, Close::Now)?;
    Ok(next)
}
