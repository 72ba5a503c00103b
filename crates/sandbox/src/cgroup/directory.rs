//! The control group of a container in one hierarchy.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    container::ContainerCgroupError,
    mounts::{Hierarchy, Version},
    resources::{self, Setting},
};

type Result<T> = std::result::Result<T, ContainerCgroupError>;

/// A group in one hierarchy.
#[derive(Debug)]
pub(crate) struct Directory {
    version: Version,
    /// The controllers that the group has.
    controllers: Vec<String>,
    path: PathBuf,
}

impl Directory {
    /// Makes the directory and those above it. In version 2 the groups above are asked to pass on all that they have; who
    /// may not, or holds processes, does not, and then the group lacks controllers ([`Directory::has`]).
    pub(crate) fn make(hierarchy: &Hierarchy, relative: &Path) -> Result<Self> {
        let Hierarchy { version, controllers, mount } = hierarchy;
        let has_cpuset = controllers.iter().any(|name| name == "cpuset");
        let mut path = mount.clone();
        for part in relative {
            if *version == Version::Unified {
                pass_controllers_on(&path);
            }
            let parent = path.clone();
            path.push(part);
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(refused("make", &path)(errno)),
            }
            if *version == Version::Separate && has_cpuset {
                inherit_cpuset(&parent, &path)?;
            }
        }
        Ok(Self::at(path, *version, controllers.clone()))
    }

    /// The directory, if it is there.
    pub(crate) fn existing(hierarchy: &Hierarchy, relative: &Path) -> Option<Self> {
        let path = hierarchy.mount.join(relative);
        path.is_dir().then(|| Self::at(path, hierarchy.version, hierarchy.controllers.clone()))
    }

    fn at(path: PathBuf, version: Version, controllers: Vec<String>) -> Self {
        let controllers = match version {
            Version::Separate => controllers,
            Version::Unified => words(&path.join("cgroup.controllers")),
        };
        Directory { version, controllers, path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Of which kind its hierarchy is.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Its controllers.
    pub(crate) fn controllers(&self) -> &[String] {
        &self.controllers
    }

    /// Whether it has the controller. Every group of version 2 can be frozen and counts processor time.
    pub(crate) fn has(&self, controller: &str) -> bool {
        let everywhere =
            self.version == Version::Unified && matches!(controller, "cgroup" | "freezer" | "cpuacct");
        everywhere || self.controllers.iter().any(|found| found == controller)
    }

    /// Process ids of everything inside.
    pub(crate) fn processes(&self) -> Vec<i32> {
        read(&self.path.join("cgroup.procs")).lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Whether there is any process inside.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.processes().is_empty()
    }

    /// Moves a process in, unless it is in it.
    pub(crate) fn take_in(&self, pid: i32) -> Result<()> {
        if self.processes().contains(&pid) {
            return Ok(());
        }
        let gate = self.path.join("cgroup.procs");
        resources::write(&gate, &pid.to_string()).map_err(refused("enter", &gate))
    }

    /// Sets a limit.
    pub(crate) fn set(&self, setting: &Setting) -> Result<()> {
        let file = self.path.join(&setting.file);
        match (resources::write(&file, &setting.value), &setting.instead, &setting.after) {
            (Err(Errno::NOENT), _, _) if setting.optional => Ok(()),
            (Err(Errno::NOENT), Some((other, value)), _) => {
                let file = self.path.join(other);
                resources::write(&file, value).map_err(refused("set a limit of", &file))
            }
            // Raising the limit of memory above that of memory and swap is refused: the latter comes first then.
            (Err(Errno::INVAL | Errno::BUSY), _, Some((first, value))) => {
                resources::write(&self.path.join(first), value)
                    .and_then(|()| resources::write(&file, &setting.value))
                    .map_err(refused("set a limit of", &file))
            }
            (result, _, _) => result.map_err(refused("set a limit of", &file)),
        }
    }
}

/// Has a group of version 2 give its controllers to the groups below it, each apart, because one that cannot be given does
/// not hinder the others then.
///
/// One that holds processes is left as it is: the kernel would let it give some, and make a threaded domain of it, below
/// which no process can be put (cgroup-v2, "Threads"). The root of all, which has no type, may hold them.
fn pass_controllers_on(group: &Path) {
    if group.join("cgroup.type").exists() && !read(&group.join("cgroup.procs")).is_empty() {
        return;
    }
    let file = group.join("cgroup.subtree_control");
    let passed = words(&file);
    let missing = words(&group.join("cgroup.controllers")).into_iter().filter(|name| !passed.contains(name));
    for controller in missing {
        // What is refused here is missed where a limit is set.
        let _ = resources::write(&file, &format!("+{controller}"));
    }
}

/// A new group of the version-1 controller `cpuset` has no processor and no memory, and takes no process until it has
/// both (cpusets(7)).
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let to = child.join(file);
        if read(&to).trim().is_empty() {
            let value = read(&parent.join(file));
            resources::write(&to, value.trim()).map_err(refused("set", &to))?;
        }
    }
    Ok(())
}

/// Opens a file of a group.
pub(crate) fn open(action: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(refused(action, path))
}

/// What a file of a group says; nothing where there is none.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn words(path: &Path) -> Vec<String> {
    read(path).split_ascii_whitespace().map(str::to_owned).collect()
}

/// The error of something that the kernel refused.
pub(crate) fn refused(action: &'static str, path: &Path) -> impl Fn(Errno) -> ContainerCgroupError {
    let path = path.to_owned();
    move |source| ContainerCgroupError::Kernel { action, path: path.clone(), source }
}
