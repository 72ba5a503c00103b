//! The control group of a container: named by whoever runs containers, in every hierarchy that this host has, and there
//! until it is removed by another process than the one that made it.
//!
//! It is in *every* hierarchy because engines find a container's numbers through the control groups of its first process;
//! where that is in somebody else's group they show somebody else's numbers.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed};
use rustix::{
    fs::OFlags,
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};

use super::{
    directory::{self, Directory, read, refused},
    mounts::{self, Version},
    name::CgroupName,
    resources::{self, Resources},
    systemd::{self, BusError, Scope},
    usage::Usage,
};

/// Why something cannot be done with a container's control group.
#[derive(Debug, thiserror::Error)]
pub enum ContainerCgroupError {
    /// The name would leave the place of control groups.
    #[error("`{0}` cannot name a control group")]
    Name(String),
    /// The name is not one for systemd.
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead"
    )]
    ScopeName(String),
    /// This host has no control groups.
    #[error("this host has no control groups mounted")]
    NoneHere,
    /// A limit needs a controller that is not there.
    #[error("the control group cannot limit `{0}`: this host lacks the controller, or it is not ours to use")]
    NoController(String),
    /// Limits contradict each other, or the host.
    #[error("{0}")]
    Contradiction(&'static str),
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
    /// systemd does not do it.
    #[error("systemd cannot {action} `{unit}`")]
    Systemd {
        /// What it was asked for.
        action: &'static str,
        /// Of which unit.
        unit: String,
        /// Why not.
        source: BusError,
    },
    /// systemd cannot be asked.
    #[error("there is no systemd to manage control groups")]
    NoSystemd(#[source] BusError),
}

impl Blamed for ContainerCgroupError {
    fn blame(&self) -> Blame {
        match self {
            ContainerCgroupError::Name(_)
            | ContainerCgroupError::ScopeName(_)
            | ContainerCgroupError::Contradiction(_) => Blame::User,
            // A limit that the kernel calls invalid is the user's.
            ContainerCgroupError::Kernel { source: Errno::INVAL | Errno::RANGE, .. } => Blame::User,
            _ => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            ContainerCgroupError::NoSystemd(_) => {
                "leave out --systemd-cgroup, or set the engine's cgroup driver to cgroupfs"
            }
            ContainerCgroupError::NoController(_) => {
                "a group that holds processes passes no controllers on to groups below it, and an ordinary user \
                 has those that were delegated (systemd's `Delegate=`)"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

type Result<T> = std::result::Result<T, ContainerCgroupError>;

/// A container's control group.
#[derive(Debug, Default)]
pub struct ContainerCgroup {
    directories: Vec<Directory>,
    to_join: Vec<OwnedFd>,
    to_clone_into: Option<OwnedFd>,
    /// The scope of systemd that it is.
    scope: Option<Scope>,
    /// What [`ContainerCgroup::adopt`] has yet to do.
    to_adopt: Option<(CgroupName, Resources)>,
}

impl ContainerCgroup {
    /// Makes the group and sets limits. A scope of systemd needs a process, so all of it is done when there is one.
    ///
    /// # Errors
    /// The host has none for us, or the kernel refuses a limit. What was made is removed.
    pub fn create(name: &CgroupName, limits: &Resources) -> Result<Self> {
        relative(&name.path)?;
        // Contradictions are found before anything is made.
        limits.settings(version()).map_err(ContainerCgroupError::Contradiction)?;
        if name.scope.is_some() {
            let to_adopt = Some((name.clone(), limits.clone()));
            return Ok(ContainerCgroup { to_adopt, ..ContainerCgroup::default() });
        }
        let mut group = ContainerCgroup::default();
        let made = group.make(&name.path, limits, None).and_then(|()| group.open_ways_in());
        if made.is_err() && !matches!(made, Err(ContainerCgroupError::InUse(_))) {
            // The error to tell is the first one.
            let _ = group.remove();
        }
        made.map(|()| group)
    }

    /// The group that [`ContainerCgroup::create`] made with that name, as far as it exists.
    ///
    /// # Errors
    /// The name is none that a group can have.
    pub fn find(name: &CgroupName) -> Result<Self> {
        let relative = relative(&name.path)?;
        let found =
            mounts::hierarchies().iter().filter_map(|hierarchy| Directory::existing(hierarchy, relative));
        let directories = found.collect();
        Ok(ContainerCgroup { directories, scope: name.scope.clone(), ..ContainerCgroup::default() })
    }

    /// Whether somebody's processes are in a group of that name.
    #[must_use]
    pub fn is_in_use(name: &CgroupName) -> bool {
        ContainerCgroup::find(name).is_ok_and(|group| group.directories.iter().any(Directory::is_in_use))
    }

    /// Takes the first process of the container in, where systemd has to.
    ///
    /// # Errors
    /// systemd or the kernel refuses. What was made stays for [`ContainerCgroup::find`] to find.
    pub(crate) fn adopt(&self, pid: Pid) -> Result<()> {
        let Some((name, limits)) = &self.to_adopt else { return Ok(()) };
        let Some(scope) = &name.scope else { return Ok(()) };
        let number = pid.as_raw_pid();
        scope.start(number.cast_unsigned(), limits, version()).map_err(|error| {
            match systemd::is_taken(&error) {
                true => ContainerCgroupError::InUse(PathBuf::from(&name.path)),
                false => asked("start", scope)(error),
            }
        })?;
        let mut group = ContainerCgroup::default();
        group.make(&name.path, limits, Some(number))?;
        for directory in &group.directories {
            directory.take_in(number)?;
        }
        Ok(())
    }

    /// Makes the group's directories, in which at most that process may be.
    fn make(&mut self, path: &str, limits: &Resources, process: Option<i32>) -> Result<()> {
        let relative = relative(path)?;
        let hierarchies = mounts::hierarchies();
        let settings = limits.settings(Version::Unified).map_err(ContainerCgroupError::Contradiction);
        if hierarchies.is_empty() {
            return match settings?.is_empty() {
                true => Ok(()),
                false => Err(ContainerCgroupError::NoneHere),
            };
        }
        for hierarchy in hierarchies {
            match Directory::make(hierarchy, relative) {
                Ok(directory) => self.directories.push(directory),
                // Not ours to use; whether that matters the limits will tell.
                Err(ContainerCgroupError::Kernel {
                    source: Errno::ACCESS | Errno::PERM | Errno::ROFS,
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        let strangers =
            |directory: &&Directory| directory.processes().into_iter().any(|pid| Some(pid) != process);
        if let Some(directory) = self.directories.iter().find(strangers) {
            let path = directory.path().to_owned();
            self.directories.clear();
            return Err(ContainerCgroupError::InUse(path));
        }
        self.limit_files(limits)
    }

    /// Opens what the first process inside enters through.
    fn open_ways_in(&mut self) -> Result<()> {
        for directory in &self.directories {
            match directory.version() {
                Version::Separate => {
                    self.to_join.push(directory::open(
                        "enter",
                        &directory.path().join("tasks"),
                        OFlags::WRONLY,
                    )?);
                }
                Version::Unified => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                    self.to_clone_into = Some(directory::open("open", directory.path(), flags)?);
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
        let mut limits = limits.clone();
        if limits.memory_max.is_none() && limits.memory_and_swap_max.is_some() {
            // Version 2 counts swap apart, so the sum says nothing without its other part.
            limits.memory_max = i64::try_from(self.usage().memory.limit).ok().or(Some(-1));
        }
        limits.settings(version()).map_err(ContainerCgroupError::Contradiction)?;
        if let Some(scope) = &self.scope {
            scope.limit(&limits, version()).map_err(asked("limit", scope))?;
        }
        self.limit_files(&limits)
    }

    fn limit_files(&self, limits: &Resources) -> Result<()> {
        for setting in limits.settings(version()).map_err(ContainerCgroupError::Contradiction)? {
            let place = self.directories.iter().find(|directory| directory.has(&setting.controller));
            match place {
                Some(directory) => directory.set(&setting)?,
                None => return Err(ContainerCgroupError::NoController(setting.controller)),
            }
        }
        Ok(())
    }

    /// Files through which a process enters the group: it writes `0` to each.
    pub(crate) fn entrances(&self) -> Result<Vec<OwnedFd>> {
        let enter =
            |group: &Directory| directory::open("enter", &group.path().join("cgroup.procs"), OFlags::WRONLY);
        self.directories.iter().map(enter).collect()
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
        self.directories.first().map(Directory::processes).unwrap_or_default()
    }

    /// Stops everything inside, or lets it go on.
    ///
    /// # Errors
    /// There is no freezer, or it does not stop everything.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        /// A process that is being stopped needs its turn on a processor, and no more than that.
        const TURNS: u32 = 100_000;
        let (file, wanted, state) =
            self.freezer(frozen).ok_or_else(|| ContainerCgroupError::NoController("freezer".to_owned()))?;
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
        Some(match directory.version() {
            Version::Separate => {
                let file = directory.path().join("freezer.state");
                (file.clone(), if frozen { "FROZEN" } else { "THAWED" }, file)
            }
            Version::Unified => {
                let file = directory.path().join("cgroup.freeze");
                (file, if frozen { "1" } else { "0" }, directory.path().join("cgroup.events"))
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
        for directory in self.directories.iter().filter(|directory| directory.version() == Version::Unified) {
            // All at once, those being forked included (Linux 5.14).
            let _ = resources::write(&directory.path().join("cgroup.kill"), "1");
        }
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
            Some((directory.version(), directory.path()))
        })
    }

    /// How many processes the kernel killed for want of memory: open on the file that tells, so that it can be read where
    /// no file can be opened.
    #[must_use]
    pub fn oom_counter(&self) -> Option<OwnedFd> {
        let directory = self.directories.iter().find(|directory| directory.has("memory"))?;
        let file = match directory.version() {
            Version::Separate => "memory.oom_control",
            Version::Unified => "memory.events",
        };
        directory::open("read", &directory.path().join(file), OFlags::RDONLY).ok()
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
        self.directories.iter().map(|directory| (directory.controllers(), directory.path()))
    }

    /// Kills what is left inside and removes the group from every hierarchy.
    ///
    /// # Errors
    /// It is not empty for long, or systemd does not let go of it.
    pub fn remove(&self) -> Result<()> {
        /// Ends are reported before a process has left its group (Linux 6.19 on), and the dying need their turns.
        const TURNS: u32 = 100_000;
        if let Some(scope) = &self.scope {
            // systemd would ask first and kill after a minute and a half.
            self.kill_all();
            scope.stop().map_err(asked("stop", scope))?;
        }
        for path in self.directories.iter().map(Directory::path) {
            let mut result = Err(Errno::BUSY);
            for turn in 0..TURNS {
                result = rustix::fs::rmdir(path);
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
                Err(errno) => return Err(refused("remove", path)(errno)),
            }
        }
        Ok(())
    }
}

/// The version in which this host's limits are.
fn version() -> Version {
    let separate = mounts::hierarchies().iter().any(|hierarchy| hierarchy.version == Version::Separate);
    if separate { Version::Separate } else { Version::Unified }
}

fn asked(action: &'static str, scope: &Scope) -> impl Fn(BusError) -> ContainerCgroupError {
    let unit = scope.unit.clone();
    move |source| ContainerCgroupError::Systemd { action, unit: unit.clone(), source }
}

/// The path below a hierarchy's root: no way out of it.
fn relative(path: &str) -> Result<&Path> {
    let relative = path.trim_start_matches('/');
    let bad = relative.is_empty()
        || relative.contains(['\0', '\n'])
        || relative.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > 255);
    if bad { Err(ContainerCgroupError::Name(path.to_owned())) } else { Ok(Path::new(relative)) }
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
    fn group_with_processes_of_others_is_refused_and_they_live_on()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let name = CgroupName::plain(format!("/runu-test-in-use-{}", std::process::id()));
        let group = match ContainerCgroup::create(&name, &Resources::default()) {
            Ok(group) => group,
            Err(error) => {
                eprintln!("skipped: no control group for us here: {error}");
                return Ok(());
            }
        };
        // Waits for input that never comes.
        let mut other = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()?;
        for (_, path) in group.paths() {
            std::fs::write(path.join("cgroup.procs"), other.id().to_string())?;
        }

        let refused = ContainerCgroup::create(&name, &Resources::default());

        assert!(matches!(refused, Err(ContainerCgroupError::InUse(_))), "{refused:?}");
        assert!(ContainerCgroup::is_in_use(&name));
        assert_eq!(other.try_wait()?, None);
        group.remove()?;
        other.wait()?;
        Ok(())
    }

    #[test]
    fn group_with_limits_is_made_limited_and_removed() -> std::result::Result<(), Box<dyn std::error::Error>>
    {
        let limits = Resources { memory_max: Some(64 << 20), pids_max: Some(7), ..Resources::default() };
        let name = CgroupName::plain(format!("/runu-test-container-{}", std::process::id()));
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
