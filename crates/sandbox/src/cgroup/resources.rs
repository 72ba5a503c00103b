//! Limits, and the files of either version in which they are written.

use std::{collections::BTreeMap, path::Path};

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
    /// Microseconds that may be saved up from one period for another.
    pub cpu_burst: Option<u64>,
    /// 1 for "only what nobody else wants".
    pub cpu_idle: Option<i64>,
    /// Processors, as a list of ranges.
    pub cpus: Option<String>,
    /// Memory nodes, as a list of ranges.
    pub mems: Option<String>,
    /// Processes and threads.
    pub pids_max: Option<i64>,
    /// Share of disk time where it is short, from 10 to 1000 (cgroup-v1 `blkio.weight`).
    pub io_weight: Option<u16>,
    /// The most that may be done to a disk.
    pub io_throttles: Vec<Throttle>,
    /// Bytes of huge pages by their size (`2MB`).
    pub huge_pages: Vec<(String, i64)>,
    /// Files of version 2 by name, and what to write into them, after all others.
    pub unified: BTreeMap<String, String>,
}

/// The most that may be done to a disk in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// What is counted.
    pub what: Throttled,
    /// The disk's device number.
    pub device: (i64, i64),
    /// The most of it.
    pub rate: u64,
}

/// What is counted of what is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Requests to read.
    Reads,
    /// Requests to write.
    Writes,
}

impl Throttled {
    /// The file of version 1, and the key in version 2's `io.max`.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Throttled::ReadBytes => ("blkio.throttle.read_bps_device", "rbps"),
            Throttled::WriteBytes => ("blkio.throttle.write_bps_device", "wbps"),
            Throttled::Reads => ("blkio.throttle.read_iops_device", "riops"),
            Throttled::Writes => ("blkio.throttle.write_iops_device", "wiops"),
        }
    }
}

/// One value for one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The controller it belongs to.
    pub(crate) controller: String,
    /// The file.
    pub(crate) file: String,
    /// The value.
    pub(crate) value: String,
    /// Whether a kernel without the file is no failure.
    pub(crate) optional: bool,
    /// What a kernel without the file may have instead.
    pub(crate) instead: Option<(&'static str, String)>,
    /// A file and a value without which the kernel may refuse this one.
    pub(crate) after: Option<(&'static str, String)>,
}

/// Files of every group that limit something. With the others a configuration could have the host's processes moved into
/// the group, or the container stopped before it is made, for whoever makes it to wait for ever.
const HARMLESS: [&str; 3] = ["cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure"];

/// Why limits cannot be, in a few words.
pub(crate) type Contradiction = &'static str;

impl Resources {
    /// What is to be written for a version, in order.
    pub(crate) fn settings(&self, version: Version) -> Result<Vec<Setting>, Contradiction> {
        let mut settings = Vec::new();
        let mut set = |controller: &str, file: &str, value: Option<String>, optional| {
            if let Some(value) = value {
                let (controller, file) = (controller.to_owned(), file.to_owned());
                settings.push(Setting { controller, file, value, optional, ..Setting::default() });
            }
        };
        let plain = |value: Option<i64>| value.map(|value| value.to_string());
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let or_max = |value: Option<i64>| {
            value.map(|value| if value < 0 { "max".to_owned() } else { value.to_string() })
        };
        match version {
            Version::Separate => {
                if !self.unified.is_empty() {
                    return Err("`unified` needs control groups of version 2, and this host has version 1");
                }
                set("memory", "memory.limit_in_bytes", plain(self.memory_max), false);
                set("memory", "memory.memsw.limit_in_bytes", plain(self.memory_and_swap_max), true);
                set("memory", "memory.soft_limit_in_bytes", plain(self.memory_reservation), true);
                set("cpu", "cpu.shares", number(self.cpu_shares), false);
                set("cpu", "cpu.cfs_period_us", number(self.cpu_period), false);
                set("cpu", "cpu.cfs_quota_us", plain(self.cpu_quota), false);
                set("cpu", "cpu.cfs_burst_us", number(self.cpu_burst), false);
                set("blkio", "blkio.weight", self.io_weight.map(|weight| weight.to_string()), false);
            }
            Version::Unified => {
                set("memory", "memory.max", or_max(self.memory_max), false);
                set("memory", "memory.swap.max", or_max(self.swap_max()?), true);
                set("memory", "memory.low", or_max(self.memory_reservation), true);
                set("cpu", "cpu.weight", self.cpu_shares.map(|shares| weight(shares).to_string()), false);
                set("cpu", "cpu.max", self.cpu_max(), false);
                set("cpu", "cpu.max.burst", number(self.cpu_burst), false);
                set("io", "io.bfq.weight", self.io_weight.map(|weight| weight.to_string()), false);
            }
        }
        set("cpu", "cpu.idle", plain(self.cpu_idle), false);
        set("cpuset", "cpuset.cpus", self.cpus.clone(), false);
        set("cpuset", "cpuset.mems", self.mems.clone(), false);
        set("pids", "pids.max", or_max(self.pids_max), false);
        for Throttle { what, device: (major, minor), rate } in &self.io_throttles {
            let (file, key) = what.names();
            match version {
                Version::Separate => set("blkio", file, Some(format!("{major}:{minor} {rate}")), false),
                Version::Unified => {
                    set("io", "io.max", Some(format!("{major}:{minor} {key}={rate}")), false);
                }
            }
        }
        for (size, bytes) in &self.huge_pages {
            if !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err("a size of huge pages is malformed");
            }
            // What is reserved counts apart since Linux 5.7 (hugetlb.rst).
            let (value, reserved) = match version {
                Version::Separate => (bytes.to_string(), format!("hugetlb.{size}.rsvd.limit_in_bytes")),
                Version::Unified => {
                    (or_max(Some(*bytes)).unwrap_or_default(), format!("hugetlb.{size}.rsvd.max"))
                }
            };
            set("hugetlb", &reserved.replace(".rsvd", ""), Some(value.clone()), false);
            set("hugetlb", &reserved, Some(value), true);
        }
        for (file, lines) in &self.unified {
            let controller = file.split_once('.').map(|(controller, _)| controller);
            let Some(controller) = controller.filter(|_| !file.contains(['/', '\0'])) else {
                return Err("a name in `unified` is not that of a file of a control group");
            };
            if controller == "cgroup" && !HARMLESS.contains(&file.as_str()) {
                return Err("`unified` may set limits, not move, stop or end processes");
            }
            for line in lines.lines() {
                set(controller, file, Some(line.to_owned()), false);
            }
        }
        for setting in &mut settings {
            self.complete(setting);
        }
        Ok(settings)
    }

    /// Adds what some files need besides their value.
    fn complete(&self, setting: &mut Setting) {
        match setting.file.as_str() {
            "memory.limit_in_bytes" => {
                let both = self.memory_and_swap_max.map(|both| both.to_string());
                setting.after = both.map(|value| ("memory.memsw.limit_in_bytes", value));
            }
            // The weights of whichever scheduler the kernel has.
            "blkio.weight" => setting.instead = Some(("blkio.bfq.weight", setting.value.clone())),
            "io.bfq.weight" => {
                let weight = self.io_weight.map(|weight| io_weight(weight).to_string());
                setting.instead = weight.map(|weight| ("io.weight", weight));
            }
            _ => {}
        }
    }

    /// Swap alone: version 2 counts it apart.
    pub(crate) fn swap_max(&self) -> Result<Option<i64>, Contradiction> {
        match (self.memory_and_swap_max, self.memory_max) {
            // In version 1, memory without limit is memory and swap without limit.
            (None, Some(memory)) if memory < 0 => Ok(Some(-1)),
            (None, _) => Ok(None),
            (Some(both), _) if both < 0 => Ok(Some(-1)),
            (Some(both), Some(memory)) if memory >= 0 => match both.checked_sub(memory) {
                Some(swap) if swap >= 0 => Ok(Some(swap)),
                _ => Err("the limit of memory and swap is below that of memory"),
            },
            (Some(_), _) => Err("a limit of memory and swap needs a limit of memory"),
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

/// Shares of version 1 (2 to 262144) as a weight of version 2 (1 to 10000), as runc up to 1.3 and crun up to 1.22 have it
/// (crun.1, "Cgroup v2"), so that a unikernel weighs as much as the ordinary containers beside it.
pub(crate) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// A weight of version 1 (10 to 1000) as one of version 2 (1 to 10000; crun.1, "Cgroup v2").
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
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
        let settings = resources.settings(version).unwrap();
        settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect()
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
    fn disks_and_huge_pages_are_written_in_the_words_of_each_version() {
        let throttle = Throttle { what: Throttled::WriteBytes, device: (8, 0), rate: 1024 };
        let limits = Resources {
            io_throttles: vec![throttle],
            huge_pages: vec![("2MB".to_owned(), 4 << 20)],
            ..Resources::default()
        };
        let unified = ["io.max=8:0 wbps=1024", "hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"];
        assert_eq!(lines(&limits, Version::Unified), unified);
        let separate = [
            "blkio.throttle.write_bps_device=8:0 1024",
            "hugetlb.2MB.limit_in_bytes=4194304",
            "hugetlb.2MB.rsvd.limit_in_bytes=4194304",
        ];
        assert_eq!(lines(&limits, Version::Separate), separate);
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let of = |memory_max, memory_and_swap_max| Resources {
            memory_max,
            memory_and_swap_max,
            ..Resources::default()
        };
        for limits in [of(Some(100), Some(50)), of(None, Some(50)), of(Some(-1), Some(50))] {
            assert!(limits.settings(Version::Unified).is_err(), "{limits:?}");
        }
        let sizes = Resources { huge_pages: vec![("../2MB".to_owned(), 1)], ..Resources::default() };
        assert!(sizes.settings(Version::Separate).is_err());
    }

    #[test]
    fn file_named_by_the_user_is_one_of_the_group_or_refused() {
        let of = |name: &str| Resources {
            unified: BTreeMap::from([(name.to_owned(), "1\n2".to_owned())]),
            ..Resources::default()
        };
        assert_eq!(lines(&of("memory.high"), Version::Unified), ["memory.high=1", "memory.high=2"]);
        for name in ["", "memory", "../memory.high", "a.b/c", "a.b\0", "cgroup.freeze", "cgroup.procs"] {
            assert!(of(name).settings(Version::Unified).is_err(), "{name:?}");
        }
        assert!(of("memory.high").settings(Version::Separate).is_err());
    }

    #[test]
    fn shares_become_weights_over_the_whole_range() {
        assert_eq!((weight(0), weight(2), weight(1024), weight(u64::MAX)), (1, 1, 39, 10_000));
        assert_eq!((io_weight(0), io_weight(10), io_weight(500), io_weight(u16::MAX)), (1, 1, 4950, 10_000));
    }
}
