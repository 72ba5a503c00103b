//! Processes as /proc shows them (proc_pid_stat(5)).

use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;

/// One process, at the moment it was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// Processor time of its own code and of the kernel on its behalf, in ticks of 10 ms (`USER_HZ`).
    pub(crate) ticks: u64,
}

impl Process {
    /// The process with this number, if there is one.
    pub(crate) fn find(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(folder(pid).join("stat")).ok()?;
        // The name stands in brackets and may hold anything, brackets too.
        let (_, behind_name) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = behind_name.split(' ').collect();
        // Numbers of the manual page, which counts from 1, where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            pid,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            ticks: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
        })
    }

    /// All processes of a process group, whatever namespace they are in.
    pub(crate) fn group(group: Pid) -> Vec<Self> {
        let entries = fs::read_dir("/proc").expect("the tests need /proc");
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .filter_map(Self::find)
            .filter(|process| process.group == group.as_raw_nonzero().get())
            .collect()
    }
}

/// The folder of a process in /proc.
pub(crate) fn folder(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()))
}
