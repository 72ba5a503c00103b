//! Where this host keeps its control groups, and where in them this process is.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::Obstacle;

/// A controller that we set a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Memory of every kind.
    Memory,
    /// Processes and threads.
    Pids,
}

/// The most that a controller lets a group have: bytes or processes.
pub(crate) type Limit = (Controller, u64);

impl Controller {
    /// Its name in /proc/self/cgroup, in `cgroup.controllers` and as a directory.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
        }
    }
}

/// The control groups of this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Path in the hierarchy of each controller that has one of its own (version 1).
    separate: Vec<(Controller, String)>,
    /// Path in the unified hierarchy (version 2).
    unified: Option<String>,
}

/// Where every distribution mounts them (file-hierarchy(7), systemd's "Control Group APIs and Delegation").
const MOUNT: &str = "/sys/fs/cgroup";

impl Places {
    /// Reads them from the kernel.
    pub(crate) fn find() -> Result<Self, Obstacle> {
        const PATH: &str = "/proc/self/cgroup";
        // Room for all of it at once: the kernel makes the text anew for every read.
        let mut text = String::with_capacity(4096);
        File::open(PATH)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|error| Obstacle::Host(format!("cannot read {PATH}: {error}")))?;
        let places = Self::parse(&text);
        if places == (Places { separate: Vec::new(), unified: None }) {
            return Err(Obstacle::Host("the kernel has no control groups for memory or processes".into()));
        }
        Ok(places)
    }

    /// Reads lines `ID:CONTROLLERS:PATH` (cgroups(7), "/proc files").
    fn parse(text: &str) -> Self {
        let mut places = Places { separate: Vec::new(), unified: None };
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if id == "0" && controllers.is_empty() {
                places.unified = Some(path.to_owned());
            }
            for controller in [Controller::Memory, Controller::Pids] {
                if controllers.split(',').any(|name| name == controller.name()) {
                    places.separate.push((controller, path.to_owned()));
                }
            }
        }
        places
    }

    /// Whether the controller has a hierarchy of its own.
    pub(crate) fn is_separate(&self, controller: Controller) -> bool {
        self.separate.iter().any(|(found, _)| *found == controller)
    }

    /// The directory of this process's group in the controller's own hierarchy.
    pub(crate) fn separate(&self, controller: Controller) -> Option<PathBuf> {
        let (_, path) = self.separate.iter().find(|(found, _)| *found == controller)?;
        Some(own_directory(&Path::new(MOUNT).join(controller.name()), path))
    }

    /// The directories of this process's group in the unified hierarchy and of all groups above it, nearest first; the
    /// last is the mount point.
    pub(crate) fn unified(&self) -> Vec<PathBuf> {
        let Some(path) = &self.unified else { return Vec::new() };
        let whole = Path::new(MOUNT);
        // On a hybrid host the mount point holds the version-1 hierarchies and the unified one has a directory among them.
        let mount =
            if whole.join("cgroup.controllers").exists() { whole.to_owned() } else { whole.join("unified") };
        let own = own_directory(&mount, path);
        own.ancestors().take_while(|path| path.starts_with(&mount)).map(Path::to_owned).collect()
    }
}

/// The directory of the group `path` in the hierarchy mounted at `mount`.
///
/// In a container without a cgroup namespace the path is the host's, but what is mounted is our own group.
fn own_directory(mount: &Path, path: &str) -> PathBuf {
    let relative = path.trim_start_matches('/');
    let directory = mount.join(relative);
    if relative.is_empty() || path.contains("/..") || !directory.exists() {
        mount.to_owned()
    } else {
        directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_hybrid_host_name_both_versions() {
        let places =
            Places::parse("9:name=systemd:/\n8:pids:/\n4:memory:/a:b/c\n2:cpu,cpuacct:/\n0::/user.slice\n");
        assert!(places.is_separate(Controller::Memory) && places.is_separate(Controller::Pids));
        assert_eq!(places.separate.last(), Some(&(Controller::Memory, "/a:b/c".to_owned())));
        assert_eq!(places.unified.as_deref(), Some("/user.slice"));
    }

    #[test]
    fn places_of_a_unified_host_name_no_separate_hierarchy() {
        let places = Places::parse("0::/user.slice/user-1000.slice/session-2.scope\n");
        assert!(!places.is_separate(Controller::Memory) && !places.is_separate(Controller::Pids));
    }

    #[test]
    fn places_in_malformed_text_are_none() {
        assert_eq!(Places::parse("\n0\n0:\nmemory\n"), Places { separate: Vec::new(), unified: None });
    }

    #[test]
    fn own_directory_outside_the_mount_is_the_mount() {
        let mount = Path::new("/nonexistent");
        assert_eq!(own_directory(mount, "/docker/1234"), mount);
        assert_eq!(own_directory(Path::new("/"), "/../../etc"), Path::new("/"));
    }
}
