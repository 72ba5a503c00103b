//! What a control group uses, as its files of either version tell. What a kernel does not count is zero or empty.

use std::{collections::BTreeMap, fs, path::Path};

use super::mounts::Version;

/// What a control group uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory.
    pub memory: Amount,
    /// Memory and swap together where version 1 counts it, swap alone in version 2.
    pub swap: Amount,
    /// The kernel's memory on its behalf; version 1 only.
    pub kernel: Amount,
    /// Bytes of memory that hold files.
    pub cache: u64,
    /// The kernel's own table of numbers about memory, as it names them.
    pub memory_stat: BTreeMap<String, u64>,
    /// Processor time.
    pub cpu: CpuTime,
    /// Processes and threads.
    pub pids: u64,
    /// Processes and threads at most; zero where there is no limit.
    pub pids_max: u64,
}

/// An amount with its limit, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Now.
    pub now: u64,
    /// At most; `u64::MAX` where there is no limit.
    pub limit: u64,
    /// The most there was.
    pub peak: u64,
    /// How often the limit was met.
    pub failures: u64,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it.
    pub total_ns: u64,
    /// In user mode.
    pub user_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
    /// By processor; version 1 only.
    pub by_processor_ns: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// How long it waited for the next period.
    pub throttled_ns: u64,
}

impl Usage {
    /// Reads it; `directory` finds the directory of a controller.
    pub(crate) fn read<'a>(directory: impl Fn(&str) -> Option<(Version, &'a Path)>) -> Self {
        let mut usage = Usage::default();
        if let Some((version, path)) = directory("memory") {
            usage.read_memory(version, path);
        }
        if let Some((version, path)) = directory("cpuacct") {
            usage.cpu = CpuTime::read(version, path, directory("cpu").map(|(_, path)| path));
        }
        if let Some((_, path)) = directory("pids") {
            usage.pids = number(path, "pids.current").unwrap_or_default();
            usage.pids_max = number(path, "pids.max").filter(|max| *max != u64::MAX).unwrap_or_default();
        }
        usage
    }

    fn read_memory(&mut self, version: Version, path: &Path) {
        self.memory_stat = table(path, "memory.stat");
        let counted = |key: &str| self.memory_stat.get(key).copied().unwrap_or_default();
        match version {
            Version::Separate => {
                self.cache = counted("cache");
                self.memory = Amount::separate(path, "memory");
                self.swap = Amount::separate(path, "memory.memsw");
                self.kernel = Amount::separate(path, "memory.kmem");
            }
            Version::Unified => {
                self.cache = counted("file");
                self.memory = Amount::unified(path, "memory");
                self.memory.failures = table(path, "memory.events").get("max").copied().unwrap_or_default();
                self.swap = Amount::unified(path, "memory.swap");
            }
        }
    }
}

impl Amount {
    /// Files of version 1 whose names begin so (cgroup-v1 memory.txt).
    fn separate(path: &Path, prefix: &str) -> Self {
        let read = |file: &str| number(path, &format!("{prefix}.{file}"));
        Amount {
            now: read("usage_in_bytes").unwrap_or_default(),
            limit: read("limit_in_bytes").unwrap_or(u64::MAX),
            peak: read("max_usage_in_bytes").unwrap_or_default(),
            failures: read("failcnt").unwrap_or_default(),
        }
    }

    /// The same of version 2 (cgroup-v2, "Memory Interface Files").
    fn unified(path: &Path, prefix: &str) -> Self {
        let read = |file: &str| number(path, &format!("{prefix}.{file}"));
        Amount {
            now: read("current").unwrap_or_default(),
            limit: read("max").unwrap_or(u64::MAX),
            peak: read("peak").unwrap_or_default(),
            failures: 0,
        }
    }
}

impl CpuTime {
    fn read(version: Version, path: &Path, quota: Option<&Path>) -> Self {
        /// `cpuacct.stat` counts in these of 10 ms (`USER_HZ`).
        const TICK_NS: u64 = 10_000_000;
        const MICROSECOND_NS: u64 = 1000;
        let stat = quota.map(|path| table(path, "cpu.stat")).unwrap_or_default();
        let quota = |key: &str| stat.get(key).copied().unwrap_or_default();
        let mut time = CpuTime {
            periods: quota("nr_periods"),
            throttled_periods: quota("nr_throttled"),
            ..CpuTime::default()
        };
        match version {
            Version::Separate => {
                let modes = table(path, "cpuacct.stat");
                let mode = |key: &str| modes.get(key).copied().unwrap_or_default().saturating_mul(TICK_NS);
                time.total_ns = number(path, "cpuacct.usage").unwrap_or_default();
                (time.user_ns, time.kernel_ns) = (mode("user"), mode("system"));
                let processors = text(path, "cpuacct.usage_percpu");
                time.by_processor_ns =
                    processors.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
                time.throttled_ns = quota("throttled_time");
            }
            Version::Unified => {
                // Here even a group without a quota has this file.
                let stat = table(path, "cpu.stat");
                let micro =
                    |key: &str| stat.get(key).copied().unwrap_or_default().saturating_mul(MICROSECOND_NS);
                time.total_ns = micro("usage_usec");
                (time.user_ns, time.kernel_ns) = (micro("user_usec"), micro("system_usec"));
                time.throttled_ns = micro("throttled_usec");
            }
        }
        time
    }
}

fn text(path: &Path, file: &str) -> String {
    fs::read_to_string(path.join(file)).unwrap_or_default()
}

/// A file with one number, or `max` for none.
fn number(path: &Path, file: &str) -> Option<u64> {
    match text(path, file).trim() {
        "max" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

/// A file with a name and a number in each line.
fn table(path: &Path, file: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text(path, file).lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn usage_in_the_files_of_version_2_is_read() {
        let folder = folder(&[
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\nfile 2\n"),
            ("memory.events", "low 0\nmax 3\n"),
            ("cpu.stat", "usage_usec 7\nuser_usec 4\nnr_periods 5\n"),
            ("pids.max", "max\n"),
        ]);
        let usage = Usage::read(|_| Some((Version::Unified, folder.path())));
        assert_eq!((usage.memory.now, usage.memory.limit, usage.memory.failures), (4096, u64::MAX, 3));
        assert_eq!((usage.cache, usage.pids_max), (2, 0));
        assert_eq!((usage.cpu.total_ns, usage.cpu.user_ns, usage.cpu.periods), (7000, 4000, 5));
    }

    #[test]
    fn usage_in_the_files_of_version_1_is_read() {
        let folder = folder(&[
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.limit_in_bytes", "8192\n"),
            ("memory.failcnt", "1\n"),
            ("cpuacct.usage", "70\n"),
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpuacct.usage_percpu", "30 40 \n"),
            ("pids.max", "9\n"),
        ]);
        let usage = Usage::read(|_| Some((Version::Separate, folder.path())));
        assert_eq!((usage.memory.now, usage.memory.limit, usage.memory.failures), (4096, 8192, 1));
        assert_eq!((usage.cpu.total_ns, usage.cpu.user_ns), (70, 20_000_000));
        assert_eq!((usage.cpu.by_processor_ns.as_slice(), usage.pids_max), (&[30, 40][..], 9));
    }

    #[test]
    fn usage_without_files_is_none() {
        assert_eq!(Usage::read(|_| None), Usage::default());
    }
}
