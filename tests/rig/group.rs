//! Control groups as files, seen by the checks.

use std::{
    error::Error,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use crate::{Outcome, expect};

/// Where the groups are.
const MOUNT: &str = "/sys/fs/cgroup";

/// A group, by its path from where all of them are: in version 1 that begins with a hierarchy.
pub(crate) struct Group(String);

impl Group {
    /// The group at that path.
    pub(crate) fn at(path: &str) -> Self {
        Group(path.to_owned())
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&format!("{MOUNT}{}", self.0)).join(name)
    }

    /// Whether it is there.
    pub(crate) fn exists(&self) -> bool {
        self.file("").exists()
    }

    /// What one of its files says.
    pub(crate) fn read(&self, name: &str) -> Result<String, Box<dyn Error>> {
        let path = self.file(name);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Writes to one of its files.
    pub(crate) fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.file(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Fails unless its file says so.
    pub(crate) fn expect(&self, name: &str, expected: &str) -> Outcome {
        expect(name, self.read(name)?.as_str(), expected)
    }

    /// The number behind `key` in a file of lines `KEY NUMBER`.
    pub(crate) fn number(&self, name: &str, key: &str) -> Result<u64, Box<dyn Error>> {
        let text = self.read(name)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("{name} has no {key}"))?.parse()?)
    }

    /// Process ids inside, in order.
    pub(crate) fn processes(&self) -> Result<Vec<i32>, Box<dyn Error>> {
        let mut pids: Vec<i32> =
            self.read("cgroup.procs")?.lines().map(str::parse).collect::<Result<_, _>>()?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// Makes it, with all controllers, and gives it to a user as systemd does ("Control Group APIs and Delegation").
    pub(crate) fn delegate(&self, user: u32) -> Outcome {
        fs::create_dir_all(self.file(""))?;
        Group::at("").write("cgroup.subtree_control", "+memory +pids +cpu +cpuset")?;
        for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            chown(self.file(name), Some(user), Some(user))?;
        }
        Ok(())
    }

    /// Moves the process that makes the checks in.
    pub(crate) fn enter(&self) -> Outcome {
        fs::create_dir_all(self.file(""))?;
        self.write("cgroup.procs", "0")
    }
}
