//! Processes that are not our children, and becoming another program.

use std::{
    ffi::{CStr, CString},
    fs,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags},
};

use crate::sys::{self, Arguments, Disposition};

/// When the process `pid` was started, in clock ticks since boot; none if it does not exist or has ended.
///
/// Together with the number it names a process for good: numbers are used again.
#[must_use]
pub fn started_at(pid: i32) -> Option<u64> {
    entry(pid).filter(|entry| !entry.ended).map(|entry| entry.start)
}

/// What the kernel has of a process.
struct Entry {
    /// Whether nothing but its status is left.
    ended: bool,
    /// As [`started_at`].
    start: u64,
}

fn entry(pid: i32) -> Option<Entry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything (proc(5), /proc/PID/stat).
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    /// State is field 3, the first after the name; start time is field 22.
    const BETWEEN: usize = 22 - 3 - 1;
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    Some(Entry { ended, start: fields.nth(BETWEEN)?.parse().ok()? })
}

/// Whether the process `pid` that was started at `start` ([`started_at`]) still runs.
#[must_use]
pub fn exists_since(pid: i32, start: u64) -> bool {
    started_at(pid) == Some(start)
}

/// Sends `signal` to the process `pid` that was started at `start`.
///
/// # Errors
/// It has ended (`ESRCH`), the number is no signal (`EINVAL`), we may not (`EPERM`).
pub fn signal(pid: i32, start: u64, signal: i32) -> Result<(), Errno> {
    let process = open(pid, |entry| !entry.ended && entry.start == start)?;
    sys::send_signal(&process, signal)
}

/// The process `pid` if it is the one that is looked for.
fn open(pid: i32, is_it: impl Fn(&Entry) -> bool) -> Result<OwnedFd, Errno> {
    let number = Pid::from_raw(pid).filter(|pid| pid.as_raw_pid() > 0).ok_or(Errno::SRCH)?;
    let process = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
    // Between opening and this look nobody else can have got the number.
    match entry(pid).is_some_and(|entry| is_it(&entry)) {
        true => Ok(process),
        false => Err(Errno::SRCH),
    }
}

/// Waits at most `timeout_ms` milliseconds for the end of the process `pid` that was started at `start`; whether it ended.
#[must_use]
pub fn wait_for_end(pid: i32, start: u64, timeout_ms: i64) -> bool {
    let process = open(pid, |entry| !entry.ended && entry.start == start);
    process.map_or(true, |process| ends_within(&process, timeout_ms))
}

/// Waits at most `timeout_ms` milliseconds until the process `pid` that was started at `start` has ended and its parent knows
/// (wait(2)); whether it does.
#[must_use]
pub fn wait_until_reaped(pid: i32, start: u64, timeout_ms: i64) -> bool {
    /// Nobody is told of it by the kernel.
    const LOOK_AGAIN: Duration = Duration::from_millis(1);
    let Ok(process) = open(pid, |entry| entry.start == start) else { return true };
    let until = Instant::now() + Duration::from_millis(timeout_ms.unsigned_abs());
    if !ends_within(&process, timeout_ms) {
        return false;
    }
    // A process that has ended takes signals until then (pidfd_send_signal(2), kill(2)).
    while sys::send_signal(&process, 0) != Err(Errno::SRCH) {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
    true
}

fn ends_within(process: &OwnedFd, timeout_ms: i64) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let timeout = Timespec { tv_sec: timeout_ms / 1000, tv_nsec: (timeout_ms % 1000) * 1_000_000 };
    matches!(rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)), Ok(1))
}

/// A program to become.
#[derive(Debug)]
pub struct Replacement {
    /// Where it is.
    pub path: CString,
    /// Its arguments; the first is its name.
    pub argv: Vec<CString>,
    /// Whether it is to have the default disposition of SIGPIPE, which this one ignores.
    pub default_broken_pipe: bool,
}

/// Becomes another program, which gets our environment, descriptors and signal mask. Returns only on failure.
#[must_use]
pub fn replace(program: &Replacement) -> Errno {
    let strings: Vec<&CStr> = program.argv.iter().map(CString::as_c_str).collect();
    let argv = Arguments::new(&strings);
    if program.default_broken_pipe {
        sys::set_disposition(libc::SIGPIPE, Disposition::Default);
    }
    let errno = sys::exec_path(&program.path, &argv);
    if program.default_broken_pipe {
        sys::set_disposition(libc::SIGPIPE, Disposition::Ignore);
    }
    errno
}

/// The signal of that number, if it is one that can be sent.
#[must_use]
pub fn is_signal(number: i32) -> bool {
    (1..=64).contains(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_pid() -> i32 {
        rustix::process::getpid().as_raw_pid()
    }

    #[test]
    fn process_with_its_own_start_time_exists() {
        let start = started_at(own_pid());
        assert!(start.is_some_and(|start| exists_since(own_pid(), start)));
    }

    #[test]
    fn process_of_another_start_time_is_not_signalled() {
        let start = started_at(own_pid()).unwrap_or_default();
        assert_eq!(signal(own_pid(), start + 1, libc::SIGKILL), Err(Errno::SRCH));
    }
    #[test]
    fn process_is_reaped_when_its_parent_waited_for_it() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = started_at(pid).unwrap();
        assert!(!wait_until_reaped(pid, start, 1), "it runs");
        drop(child.stdin.take());
        assert!(wait_for_end(pid, start, 10_000));
        assert!(!wait_until_reaped(pid, start, 1), "nobody waited for it");
        child.wait().unwrap();
        assert!(wait_until_reaped(pid, start, 1));
    }
}
