//! What a server costs that nobody asks: memory, and how often it wakes the host.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::site::Running;
use crate::memory;

/// A server at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// PSS of all its processes, in KiB.
    pub(super) memory_kib: f64,
    /// How much of that is memory that the guest has touched, in KiB.
    pub(super) guest_kib: f64,
    /// How often in a second one of its processes began to run.
    pub(super) wakes_per_s: f64,
    /// How many descriptors its processes have open.
    pub(super) descriptors: usize,
}

/// Looks at it for some time, after it has come to rest.
pub(super) fn rest(running: &Running, time: Duration) -> Result<Rest, String> {
    /// What is still on its way arrives.
    const SETTLE: Duration = Duration::from_millis(500);
    thread::sleep(SETTLE);
    let processes = memory::tree(running.root());
    let (began, before) = (Instant::now(), wakes(&processes));
    thread::sleep(time);
    let (after, took) = (wakes(&processes), began.elapsed());
    let held = memory::now(running.root(), running.guest_memory())?;
    Ok(Rest {
        memory_kib: float(held.total_kib),
        guest_kib: float(held.guest_kib),
        wakes_per_s: float(after.saturating_sub(before)) / took.as_secs_f64(),
        descriptors: processes.iter().map(|process| descriptors(*process)).sum(),
    })
}

fn float(number: u64) -> f64 {
    // Less than 2^32 in all cases, so nothing is lost.
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// How often these have begun to run: each wait and each time that another was let run before ends with that (proc(5),
/// /proc/PID/task/TID/status).
fn wakes(processes: &[u32]) -> u64 {
    let tasks = processes.iter().filter_map(|process| fs::read_dir(format!("/proc/{process}/task")).ok());
    let status =
        tasks.flatten().flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    status
        .flat_map(|text| {
            let counts = text.lines().filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            counts.filter_map(|count| count.trim().parse::<u64>().ok()).collect::<Vec<_>>()
        })
        .sum()
}

/// How long the processes of a server have run, in microseconds: the first number of their schedstat (Documentation/scheduler/
/// sched-stats.rst) is in nanoseconds.
pub(super) fn ran_us(running: &Running) -> f64 {
    let processes = memory::tree(running.root());
    let tasks = processes.iter().filter_map(|process| fs::read_dir(format!("/proc/{process}/task")).ok());
    let times = tasks.flatten().flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / 1000.0
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}
