//! One directory of a control group in one hierarchy.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};

use super::{
    Obstacle,
    place::{Controller, Limit, Places},
};
use crate::error::SandboxError;

/// A directory that we made, and that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    directory: OwnedFd,
    version: Version,
    removed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// One hierarchy for each controller.
    Separate,
    /// One hierarchy for all.
    Unified,
}

impl Group {
    /// Makes a group in the hierarchy of one controller, below our own group, with a limit.
    pub(crate) fn separate(
        places: &Places,
        name: &str,
        (controller, limit): Limit,
    ) -> Result<Self, Obstacle> {
        let own = places.separate(controller).ok_or_else(|| missing(controller))?;
        let group = Self::make(&own, name, Version::Separate)?;
        let file = match controller {
            Controller::Memory => "memory.limit_in_bytes",
            Controller::Pids => "pids.max",
        };
        group.limit(file, limit)?;
        Ok(group)
    }

    /// Makes a group in the unified hierarchy, near our own, with limits.
    pub(crate) fn unified(places: &Places, name: &str, limits: &[Limit]) -> Result<Self, Obstacle> {
        let limited = || limits.iter().map(|(controller, _)| *controller);
        let directories = places.unified();
        let parent = match directories.iter().find(|directory| passes_on(directory, limited())) {
            Some(parent) => parent,
            // Only the root may pass controllers on while it holds processes.
            None => {
                let root = directories.last().ok_or_else(|| Obstacle::Host("no unified hierarchy".into()))?;
                for controller in limited() {
                    let file = root.join("cgroup.subtree_control");
                    write(&file, &format!("+{}", controller.name())).map_err(|errno| match errno {
                        Errno::NOENT | Errno::BUSY => missing(controller),
                        errno => obstacle("enable controllers of", &file, errno),
                    })?;
                }
                root
            }
        };
        // Entering takes the right to write here, which mkdir does not prove (cgroup-v2, "Delegation Containment").
        let gate = parent.join("cgroup.procs");
        rustix::fs::open(&gate, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| obstacle("enter", &gate, errno))?;
        let group = Self::make(parent, name, Version::Unified)?;
        for (controller, limit) in limits {
            let file = match controller {
                Controller::Memory => "memory.max",
                Controller::Pids => "pids.max",
            };
            group.limit(file, *limit)?;
        }
        Ok(group)
    }

    fn make(parent: &Path, name: &str, version: Version) -> Result<Self, Obstacle> {
        let path = parent.join(name);
        let make = || rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755));
        let made = match make() {
            // Left by a caller that was killed: names are unique among the living. Not empty means not dead.
            Err(Errno::EXIST) => rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR).and_then(|()| make()),
            result => result,
        };
        made.map_err(|errno| obstacle("make", &path, errno))?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(directory) => Ok(Group { path, directory, version, removed: false }),
            Err(errno) => {
                // Made a moment ago and still empty, so nothing keeps it.
                let _ = rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR);
                Err(obstacle("open", &path, errno))
            }
        }
    }

    fn limit(&self, file: &str, limit: u64) -> Result<(), Obstacle> {
        self.open(file, OFlags::WRONLY)
            .and_then(|file| rustix::io::write(file, limit.to_string().as_bytes()))
            .map(drop)
            .map_err(|errno| obstacle("set a limit of", &self.path.join(file), errno))
    }

    fn open(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.directory, file, flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// The file through which a thread enters a version-1 group by itself.
    pub(crate) fn tasks(&self) -> Result<OwnedFd, Obstacle> {
        self.open("tasks", OFlags::WRONLY).map_err(|errno| obstacle("enter", &self.path, errno))
    }

    /// Whether this is a group of version 2.
    pub(crate) fn is_unified(&self) -> bool {
        self.version == Version::Unified
    }

    /// Open on the directory.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// How many processes the kernel killed for want of memory; zero where this hierarchy does not count them.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::Separate => "memory.oom_control",
            Version::Unified => "memory.events",
        };
        let mut bytes = [0; 512];
        let Ok(len) = self.open(file, OFlags::RDONLY).and_then(|file| rustix::io::read(file, &mut bytes))
        else {
            return 0;
        };
        parse_oom_kills(bytes.get(..len).unwrap_or_default())
    }

    /// Removes the directory.
    pub(crate) fn remove(mut self) -> Result<(), SandboxError> {
        self.try_remove()
    }

    fn try_remove(&mut self) -> Result<(), SandboxError> {
        /// A dead process leaves its group a moment after it was reaped (Linux 6.19 on), and a moment is a few turns.
        const TURNS: u32 = 10_000;
        self.removed = true;
        let mut result = Err(Errno::BUSY);
        for _ in 0..TURNS {
            result = rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR);
            if result != Err(Errno::BUSY) {
                break;
            }
            if !self.end_leftovers() {
                rustix::thread::sched_yield();
            }
        }
        match result {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(SandboxError::Cgroup { action: "remove", path: self.path.clone(), source }),
        }
    }

    /// Kills whatever is left in the group, which someone else must have put there, and waits for its end. Whether there
    /// was anything.
    fn end_leftovers(&self) -> bool {
        let procs = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        let mut found = false;
        for pid in procs.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
            let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if rustix::process::pidfd_send_signal(&process, Signal::KILL).is_ok() {
                found = true;
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                // Its end or a second: the caller's bound on turns is the bound on the whole.
                let _ = rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&second));
            }
        }
        found
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.removed {
            // On the way out with another error, which is the one to tell.
            let _ = self.try_remove();
        }
    }
}

/// Whether groups below `directory` have all of these controllers.
fn passes_on(directory: &Path, mut controllers: impl Iterator<Item = Controller>) -> bool {
    let passed = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
    controllers.all(|controller| passed.split_ascii_whitespace().any(|name| name == controller.name()))
}

fn write(path: &Path, text: &str) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, text.as_bytes()).map(drop)
}

fn missing(controller: Controller) -> Obstacle {
    Obstacle::Host(format!("the {} controller is not available here", controller.name()))
}

/// Tells a host that does not let us from a failure.
fn obstacle(action: &'static str, path: &Path, source: Errno) -> Obstacle {
    match source {
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT => {
            Obstacle::Host(format!("cannot {action} `{}`: {source}", path.display()))
        }
        source => Obstacle::Error(SandboxError::Cgroup { action, path: path.to_owned(), source }),
    }
}

/// The number behind `oom_kill` in lines of `NAME NUMBER` (memory controller, `memory.oom_control` and `memory.events`).
pub(crate) fn parse_oom_kills(bytes: &[u8]) -> u64 {
    String::from_utf8_lossy(bytes)
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn group_with_a_process_left_in_it_kills_and_removes() -> Result<(), Box<dyn std::error::Error>> {
        let name = format!("runu-test-left-{}", std::process::id());
        let group = Places::find().and_then(|places| Group::separate(&places, &name, (Controller::Pids, 4)));
        let group = match group {
            Ok(group) => group,
            Err(obstacle) => {
                eprintln!("skipped: no version-1 group here: {obstacle:?}");
                return Ok(());
            }
        };
        let path = group.path.clone();
        // Waits for input that never comes.
        let mut left = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        fs::write(path.join("cgroup.procs"), left.id().to_string())?;

        group.remove()?;

        assert!(!path.exists());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&left.wait()?), Some(libc::SIGKILL));
        Ok(())
    }

    #[test]
    fn oom_kills_of_either_version_are_counted() {
        assert_eq!(parse_oom_kills(b"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(parse_oom_kills(b"low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(parse_oom_kills(b"under_oom 1\n"), 0);
    }
}
