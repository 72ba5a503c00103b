//! Limits, and the files of either version in which they are written.

use std::path::Path;

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::mounts::Version;

/// Limits of a control group. What is `None` is not set; -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory_max: Option<i64>,
    /// Bytes of memory and swap together.
    pub memory_and_swap_max: Option<i64>,
    /// Bytes of memory below which nothing is reclaimed while others have more.
    pub memory_reservation: Option<i64>,
    /// Share of processor time where it is short, 1024 being one share (cgroup-v1 `cpu.shares`).
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<i64>,
    /// Microseconds of a period.
    pub cpu_period: Option<u64>,
    /// Processors, as a list of ranges.
    pub cpus: Option<String>,
    /// Memory nodes, as a list of ranges.
    pub mems: Option<String>,
    /// Processes and threads.
    pub pids_max: Option<i64>,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The controller it belongs to.
    pub(crate) controller: &'static str,
    /// The file.
    pub(crate) file: &'static str,
    /// The value.
    pub(crate) value: String,
    /// Whether a kernel without the file is no failure.
    pub(crate) optional: bool,
    /// A file and a value without which the kernel may refuse this one.
    pub(crate) after: Option<(&'static str, String)>,
}

impl Resources {
    /// What is to be written for a version, in order.
    pub(crate) fn settings(&self, version: Version) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut set = |controller, file, value: Option<String>, optional| {
            if let Some(value) = value {
                settings.push(Setting { controller, file, value, optional, after: None });
            }
        };
        let plain = |value: Option<i64>| value.map(|value| value.to_string());
        let or_max = |value: Option<i64>| {
            value.map(|value| if value < 0 { "max".to_owned() } else { value.to_string() })
        };
        match version {
            Version::Separate => {
                set("memory", "memory.limit_in_bytes", plain(self.memory_max), false);
                set("memory", "memory.memsw.limit_in_bytes", plain(self.memory_and_swap_max), true);
                set("memory", "memory.soft_limit_in_bytes", plain(self.memory_reservation), true);
                set("cpu", "cpu.shares", self.cpu_shares.map(|shares| shares.to_string()), false);
                set("cpu", "cpu.cfs_period_us", self.cpu_period.map(|period| period.to_string()), false);
                set("cpu", "cpu.cfs_quota_us", plain(self.cpu_quota), false);
                set("cpuset", "cpuset.cpus", self.cpus.clone(), false);
                set("cpuset", "cpuset.mems", self.mems.clone(), false);
            }
            Version::Unified => {
                set("memory", "memory.max", or_max(self.memory_max), false);
                set("memory", "memory.swap.max", or_max(self.swap_max()), true);
                set("memory", "memory.low", or_max(self.memory_reservation), true);
                set("cpu", "cpu.weight", self.cpu_shares.map(|shares| weight(shares).to_string()), false);
                set("cpu", "cpu.max", self.cpu_max(), false);
                set("cpuset", "cpuset.cpus", self.cpus.clone(), false);
                set("cpuset", "cpuset.mems", self.mems.clone(), false);
            }
        }
        set("pids", "pids.max", or_max(self.pids_max), false);
        let with_swap = plain(self.memory_and_swap_max);
        for setting in &mut settings {
            if setting.file == "memory.limit_in_bytes" {
                setting.after = with_swap.clone().map(|value| ("memory.memsw.limit_in_bytes", value));
            }
        }
        settings
    }

    /// Swap alone: version 2 counts it apart.
    fn swap_max(&self) -> Option<i64> {
        match (self.memory_and_swap_max?, self.memory_max?) {
            (both, _) if both < 0 => Some(-1),
            (both, memory) if memory >= 0 => Some(both.saturating_sub(memory).max(0)),
            _ => None,
        }
    }

    /// `QUOTA PERIOD` (cgroup-v2, `cpu.max`).
    fn cpu_max(&self) -> Option<String> {
        let quota = match self.cpu_quota {
            None => {
                self.cpu_period?;
                "max".to_owned()
            }
            Some(quota) if quota <= 0 => "max".to_owned(),
            Some(quota) => quota.to_string(),
        };
        Some(self.cpu_period.map_or(quota.clone(), |period| format!("{quota} {period}")))
    }
}

/// Shares of version 1 (2 to 262144) as a weight of version 2 (1 to 10000), as the OCI runtimes agree (crun,
/// "Cgroup v2" in crun.1.md).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Writes `text` to a file of a control group.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, text.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(resources: &Resources, version: Version) -> Vec<String> {
        resources.settings(version).iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn limits_are_written_in_the_words_of_each_version() {
        let limits = Resources {
            memory_max: Some(100),
            memory_and_swap_max: Some(150),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            pids_max: Some(-1),
            ..Resources::default()
        };
        assert_eq!(
            lines(&limits, Version::Unified),
            ["memory.max=100", "memory.swap.max=50", "cpu.max=50000 100000", "pids.max=max"]
        );
        assert_eq!(
            lines(&limits, Version::Separate),
            [
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=150",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "pids.max=max",
            ]
        );
    }

    #[test]
    fn shares_become_weights_over_the_whole_range() {
        assert_eq!((weight(0), weight(2), weight(1024), weight(u64::MAX)), (1, 1, 39, 10_000));
    }
}
