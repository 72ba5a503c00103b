//! The control group of a container: named by whoever runs containers, in every hierarchy that this host has, and there
//! until it is removed by another process than the one that made it.
//!
//! It is in *every* hierarchy because engines find a container's numbers through the control groups of its first process;
//! where that is in somebody else's group they show somebody else's numbers.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};

use super::{
    mounts::{self, Hierarchy, Version},
    resources::{self, Resources, Setting},
    usage::Usage,
};

/// Why something cannot be done with a container's control group.
#[derive(Debug, thiserror::Error)]
pub enum ContainerCgroupError {
    /// The name would leave the place of control groups.
    #[error("`{0}` cannot name a control group")]
    Name(String),
    /// This host has no control groups.
    #[error("this host has no control groups mounted")]
    NoneHere,
    /// A limit needs a controller that is not there.
    #[error("the control group cannot limit `{0}`: this host lacks the controller, or it is not ours to use")]
    NoController(&'static str),
    /// Somebody else's processes are in it.
    #[error("the control group `{}` is in use", .0.display())]
    InUse(PathBuf),
    /// The kernel refused.
    #[error("cannot {action} `{}`", .path.display())]
    Kernel {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
}

impl Blamed for ContainerCgroupError {
    fn blame(&self) -> Blame {
        match self {
            ContainerCgroupError::Name(_) => Blame::User,
            // A limit that the kernel calls invalid is the user's.
            ContainerCgroupError::Kernel { source: Errno::INVAL | Errno::RANGE, .. } => Blame::User,
            _ => Blame::Host,
        }
    }
}

type Result<T> = std::result::Result<T, ContainerCgroupError>;

/// A container's control group.
#[derive(Debug, Default)]
pub struct ContainerCgroup {
    directories: Vec<Directory>,
    to_join: Vec<OwnedFd>,
    to_clone_into: Option<OwnedFd>,
}

/// It in one hierarchy.
#[derive(Debug)]
struct Directory {
    version: Version,
    /// The controllers of the hierarchy.
    controllers: Vec<String>,
    path: PathBuf,
}

impl ContainerCgroup {
    /// Makes the group `path`, a path from the root of every hierarchy, and sets limits.
    ///
    /// # Errors
    /// The host has none for us, or the kernel refuses a limit. What was made is removed.
    pub fn create(path: &str, limits: &Resources) -> Result<Self> {
        let relative = relative(path)?;
        let mut group = ContainerCgroup::default();
        let made = group.make(relative, limits);
        if made.is_err() {
            // The error to tell is the first one.
            let _ = group.remove();
        }
        made.map(|()| group)
    }

    /// The group that [`ContainerCgroup::create`] made with that path, as far as it exists.
    ///
    /// # Errors
    /// The path is none that a group can have.
    pub fn find(path: &str) -> Result<Self> {
        let relative = relative(path)?;
        let found = mounts::hierarchies().into_iter().filter_map(|hierarchy| {
            let Hierarchy { version, controllers, mount } = hierarchy;
            let path = mount.join(relative);
            path.is_dir().then_some(Directory { version, controllers, path })
        });
        Ok(ContainerCgroup { directories: found.collect(), ..ContainerCgroup::default() })
    }

    fn make(&mut self, relative: &Path, limits: &Resources) -> Result<()> {
        let hierarchies = mounts::hierarchies();
        if hierarchies.is_empty() && limits.settings(Version::Unified).is_empty() {
            return Ok(());
        }
        if hierarchies.is_empty() {
            return Err(ContainerCgroupError::NoneHere);
        }
        for hierarchy in hierarchies {
            match make_directory(&hierarchy, relative) {
                Ok(path) => self.directories.push(Directory {
                    version: hierarchy.version,
                    controllers: hierarchy.controllers,
                    path,
                }),
                // Not ours to use; whether that matters the limits will tell.
                Err(ContainerCgroupError::Kernel {
                    source: Errno::ACCESS | Errno::PERM | Errno::ROFS,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        for directory in &self.directories {
            if !read(&directory.path.join("cgroup.procs")).trim().is_empty() {
                let path = directory.path.clone();
                self.directories.clear();
                return Err(ContainerCgroupError::InUse(path));
            }
        }
        self.limit(limits)?;
        for directory in &self.directories {
            match directory.version {
                Version::Separate => {
                    self.to_join.push(open("enter", &directory.path.join("tasks"), OFlags::WRONLY)?);
                }
                Version::Unified => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    self.to_clone_into = Some(open("open", &directory.path, flags)?);
                }
            }
        }
        Ok(())
    }

    /// Sets limits; those not named stay as they are.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn limit(&self, limits: &Resources) -> Result<()> {
        let version = match self.directories.iter().any(|directory| directory.version == Version::Separate) {
            true => Version::Separate,
            false => Version::Unified,
        };
        for setting in limits.settings(version) {
            let place = self.directories.iter().find(|directory| directory.has(setting.controller));
            let Some(directory) = place else {
                return Err(ContainerCgroupError::NoController(setting.controller));
            };
            directory.set(&setting)?;
        }
        Ok(())
    }

    /// Files through which a process enters the group: it writes `0` to each.
    pub(crate) fn entrances(&self) -> Result<Vec<OwnedFd>> {
        let open =
            |directory: &Directory| open("enter", &directory.path.join("cgroup.procs"), OFlags::WRONLY);
        self.directories.iter().map(open).collect()
    }

    /// Files that the first process inside writes `0` to.
    pub(crate) fn to_join(&self) -> &[OwnedFd] {
        &self.to_join
    }

    /// The group that the first process inside is cloned into.
    pub(crate) fn to_clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.to_clone_into.as_ref().map(OwnedFd::as_fd)
    }

    /// Process ids of everything inside.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let Some(directory) = self.directories.first() else { return Vec::new() };
        read(&directory.path.join("cgroup.procs")).lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Stops everything inside, or lets it go on.
    ///
    /// # Errors
    /// There is no freezer, or it does not stop everything.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        /// A process that is being stopped needs its turn on a processor, and no more than that.
        const TURNS: u32 = 100_000;
        let (file, wanted, state) =
            self.freezer(frozen).ok_or(ContainerCgroupError::NoController("freezer"))?;
        resources::write(&file, wanted).map_err(refused("write to", &file))?;
        for _ in 0..TURNS {
            if self.is_frozen() == frozen {
                return Ok(());
            }
            rustix::thread::sched_yield();
        }
        Err(refused("stop everything in", &state)(Errno::TIMEDOUT))
    }

    /// File to write to, what to write, file that tells the state.
    fn freezer(&self, frozen: bool) -> Option<(PathBuf, &'static str, PathBuf)> {
        let directory = self.directories.iter().find(|directory| directory.has("freezer"))?;
        Some(match directory.version {
            Version::Separate => {
                let file = directory.path.join("freezer.state");
                (file.clone(), if frozen { "FROZEN" } else { "THAWED" }, file)
            }
            Version::Unified => {
                let file = directory.path.join("cgroup.freeze");
                (file, if frozen { "1" } else { "0" }, directory.path.join("cgroup.events"))
            }
        })
    }

    /// Whether everything inside is stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let Some((_, _, state)) = self.freezer(true) else { return false };
        let text = read(&state);
        text.trim() == "FROZEN" || text.lines().any(|line| line == "frozen 1")
    }

    /// Kills everything inside and waits for its end; a frozen group is let go on to die.
    pub fn kill_all(&self) {
        let _ = self.is_frozen().then(|| self.freeze(false));
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // It may have ended by itself: fine.
            let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
        }
    }

    /// What everything inside uses.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::read(|controller| {
            let directory = self.directories.iter().find(|directory| directory.has(controller))?;
            Some((directory.version, directory.path.as_path()))
        })
    }

    /// How many processes the kernel killed for want of memory: open on the file that tells, so that it can be read where
    /// no file can be opened.
    #[must_use]
    pub fn oom_counter(&self) -> Option<OwnedFd> {
        let directory = self.directories.iter().find(|directory| directory.has("memory"))?;
        let file = match directory.version {
            Version::Separate => "memory.oom_control",
            Version::Unified => "memory.events",
        };
        open("read", &directory.path.join(file), OFlags::RDONLY).ok()
    }

    /// What a file from [`ContainerCgroup::oom_counter`] tells now.
    #[must_use]
    pub fn oom_kills(counter: &OwnedFd) -> u64 {
        let mut bytes = [0; 512];
        let len = rustix::io::pread(counter, &mut bytes, 0).unwrap_or(0);
        super::hierarchy::parse_oom_kills(bytes.get(..len).unwrap_or_default())
    }

    /// The directories, one for each hierarchy, with the hierarchy's controllers.
    pub fn paths(&self) -> impl Iterator<Item = (&[String], &Path)> {
        self.directories.iter().map(|directory| (directory.controllers.as_slice(), directory.path.as_path()))
    }

    /// Kills what is left inside and removes the group from every hierarchy.
    ///
    /// # Errors
    /// It is not empty for long.
    pub fn remove(&self) -> Result<()> {
        /// Ends are reported before a process has left its group (Linux 6.19 on), and the dying need their turns.
        const TURNS: u32 = 100_000;
        for directory in &self.directories {
            let mut result = Err(Errno::BUSY);
            for turn in 0..TURNS {
                result = rustix::fs::rmdir(&directory.path);
                if result != Err(Errno::BUSY) {
                    break;
                }
                if turn == 0 {
                    self.kill_all();
                }
                rustix::thread::sched_yield();
            }
            match result {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(refused("remove", &directory.path)(errno)),
            }
        }
        Ok(())
    }
}

impl Directory {
    fn has(&self, controller: &str) -> bool {
        let everywhere = self.version == Version::Unified && matches!(controller, "freezer" | "cpuacct");
        everywhere || self.controllers.iter().any(|found| found == controller)
    }

    fn set(&self, setting: &Setting) -> Result<()> {
        let file = self.path.join(setting.file);
        match resources::write(&file, &setting.value) {
            Err(Errno::NOENT) if setting.optional => Ok(()),
            // Raising the limit of memory above that of memory and swap is refused: the latter comes first then.
            Err(Errno::INVAL | Errno::BUSY) if setting.after.is_some() => {
                let (first, value) = setting.after.clone().unwrap_or_default();
                resources::write(&self.path.join(first), &value)
                    .and_then(|()| resources::write(&file, &setting.value))
                    .map_err(refused("set a limit of", &file))
            }
            result => result.map_err(refused("set a limit of", &file)),
        }
    }
}

/// The path below a hierarchy's root: no way out of it.
fn relative(path: &str) -> Result<&Path> {
    let relative = path.trim_start_matches('/');
    let bad = relative.is_empty()
        || relative.contains(['\0', '\n'])
        || relative.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > 255);
    if bad { Err(ContainerCgroupError::Name(path.to_owned())) } else { Ok(Path::new(relative)) }
}

/// Makes the directory and those above it.
fn make_directory(hierarchy: &Hierarchy, relative: &Path) -> Result<PathBuf> {
    let mut path = hierarchy.mount.clone();
    for part in relative {
        if hierarchy.version == Version::Unified {
            // What is refused here is missed where a limit is set.
            for controller in &hierarchy.controllers {
                let _ = resources::write(&path.join("cgroup.subtree_control"), &format!("+{controller}"));
            }
        }
        let parent = path.clone();
        path.push(part);
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused("make", &path)(errno)),
        }
        if hierarchy.version == Version::Separate && hierarchy.controllers.iter().any(|name| name == "cpuset")
        {
            inherit_cpuset(&parent, &path)?;
        }
    }
    Ok(path)
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

fn open(action: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(refused(action, path))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn refused(action: &'static str, path: &Path) -> impl Fn(Errno) -> ContainerCgroupError {
    let path = path.to_owned();
    move |source| ContainerCgroupError::Kernel { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_that_leaves_the_hierarchy_is_refused() {
        for path in ["", "/", "/..", "a/../b", "/a/./b", "a//b", "a\0"] {
            assert!(relative(path).is_err(), "{path:?}");
        }
        assert_eq!(relative("/docker/17").ok(), Some(Path::new("docker/17")));
    }

    #[test]
    fn group_with_limits_is_made_limited_and_removed() -> std::result::Result<(), Box<dyn std::error::Error>>
    {
        let limits = Resources { memory_max: Some(64 << 20), pids_max: Some(7), ..Resources::default() };
        let name = format!("/runu-test-container-{}", std::process::id());
        let group = match ContainerCgroup::create(&name, &limits) {
            Ok(group) => group,
            Err(error) => {
                eprintln!("skipped: no control group for us here: {error}");
                return Ok(());
            }
        };
        assert_eq!(group.usage().memory.limit, 64 << 20);

        group.limit(&Resources { memory_max: Some(128 << 20), ..Resources::default() })?;
        assert_eq!(group.usage().memory.limit, 128 << 20);

        group.remove()?;
        assert!(group.paths().all(|(_, path)| !path.exists()));
        Ok(())
    }
}
