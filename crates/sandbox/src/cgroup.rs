//! The control group around a sandbox: one directory in the unified hierarchy (version 2), or one in the hierarchy of
//! each controller (version 1), wherever this host keeps the controllers for memory and processes.
//!
//! The group lies below the caller's own where that is possible. In version 2 a group that holds processes cannot pass
//! controllers on to groups below it (cgroup-v2, "No Internal Process Constraint"), so there it lies below the nearest
//! ancestor that does.
//!
//! This is not the crate libcgroups (0.7), because that takes 2.4 ms for what takes 0.25 ms here (make, limit, enter and
//! remove, on a host with version 1: it reads all mounts, makes a group for every controller and enters each from outside)
//! and brings 90 crates along.
//!
//! Entering is done in the two ways that do not take the lock that every fork and exit on the machine shares, which can
//! cost milliseconds: version 2 at the clone itself (`CLONE_INTO_CGROUP`), version 1 by the thread itself through `tasks`.

mod container;
mod directory;
mod hierarchy;
mod mounts;
mod name;
mod place;
mod resources;
mod systemd;
mod usage;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use container::{ContainerCgroup, ContainerCgroupError};
use hierarchy::Group;
pub use name::CgroupName;
use place::{Controller, Limit, Places};
pub use resources::{Resources, Throttle, Throttled};
pub use systemd::{BusError, Scope};
pub use usage::{Amount, CpuTime, Usage};

use crate::{
    error::SandboxError,
    spec::{CgroupSpec, Limits},
};

/// The control group of one sandbox, in as many hierarchies as it takes. Removed by [`Cgroup::remove`] or by dropping it.
pub(crate) struct Cgroup {
    groups: Vec<Group>,
    to_join: Vec<OwnedFd>,
}

impl Cgroup {
    /// No control group: the sandbox stays in the caller's.
    pub(crate) fn none() -> Self {
        Cgroup { groups: Vec::new(), to_join: Vec::new() }
    }

    /// Makes the group and sets its limits, or says why this host does not let us.
    pub(crate) fn create(spec: &CgroupSpec) -> Result<(Self, Limits), SandboxError> {
        if !is_component(&spec.name) {
            return Err(SandboxError::CgroupName(spec.name.clone()));
        }
        match Self::try_create(spec) {
            Ok(cgroup) => Ok((cgroup, Limits::Enforced)),
            Err(Obstacle::Host(reason)) => Ok((Self::none(), Limits::Unavailable(reason))),
            Err(Obstacle::Error(error)) => Err(error),
        }
    }

    fn try_create(spec: &CgroupSpec) -> Result<Self, Obstacle> {
        let places = Places::find()?;
        let mut cgroup = Self::none();
        let limits = [
            (Controller::Memory, spec.memory_max.map(|bytes| bytes.0)),
            (Controller::Pids, spec.pids_max.map(u64::from)),
        ];
        // A hierarchy costs two directory operations, so only those are used that limit something.
        let limits = limits.into_iter().filter_map(|(controller, limit)| Some((controller, limit?)));
        let (separate, unified): (Vec<Limit>, Vec<Limit>) =
            limits.partition(|(controller, _)| places.is_separate(*controller));
        for limit in &separate {
            let group = Group::separate(&places, &spec.name, *limit)?;
            cgroup.to_join.push(group.tasks()?);
            cgroup.groups.push(group);
        }
        if !unified.is_empty() || separate.is_empty() {
            cgroup.groups.push(Group::unified(&places, &spec.name, &unified)?);
        }
        Ok(cgroup)
    }

    /// Files that the first process inside writes `0` to.
    pub(crate) fn to_join(&self) -> &[OwnedFd] {
        &self.to_join
    }

    /// The group that the first process inside is cloned into.
    pub(crate) fn to_clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.groups.iter().find(|group| group.is_unified()).map(|group| group.directory().as_fd())
    }

    /// Whether the kernel killed a process inside because the group was out of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.groups.iter().any(|group| group.oom_kills() > 0)
    }

    /// Removes the group from every hierarchy. All processes of the sandbox must have been reaped.
    pub(crate) fn remove(mut self) -> Result<(), SandboxError> {
        self.groups.drain(..).try_for_each(Group::remove)
    }
}

/// Why there is no control group.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// This host has none for us; a caller may go on without.
    Host(String),
    /// Something failed that should not.
    Error(SandboxError),
}

/// Whether a name is exactly one path component.
fn is_component(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && name.len() <= 255 && !name.contains(['/', '\0', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_leaves_its_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/", "a\0", "a\nb"] {
            assert!(!is_component(name), "{name:?}");
        }
        assert!(is_component("runu-17"));
    }
}
