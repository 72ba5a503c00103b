//! From what the host knows of a guest's process and what the process told of itself to how the guest ended.
//!
//! The process status comes from the kernel and is true. The report comes from a process in which the guest may run as
//! it likes, so it is hostile: it can only describe an end that the guest could have chosen anyway.

use std::io::Read;

use runu_core::{End, Report, VirtAddr};
use runu_process::descriptor::REPORT_MAX;
use runu_sandbox::How;

/// How a guest ended, for people and for the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As the monitor or the filter tells.
    Ended(End),
    /// The kernel ended it because its control group was out of memory.
    OutOfMemory,
    /// We were asked to end it by this signal.
    Requested(i32),
}

/// Reads the report, if the process left a readable one.
pub(crate) fn read_report(pipe: impl Read) -> Option<Report> {
    let mut bytes = Vec::new();
    // The other end is closed when the process is gone; an error means the same as a report that is not there.
    pipe.take(REPORT_MAX as u64).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Verdict {
    /// Puts together what the kernel says of the process and what the process said of itself.
    pub(crate) fn new(how: How, report: Option<&Report>) -> Self {
        match how {
            How::Signalled(libc::SIGSYS) => Verdict::Ended(End::Filtered),
            // A terminal's keys reach the guest's process directly; nothing inside can send these.
            How::Signalled(asked @ (libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM)) => {
                Verdict::Requested(asked)
            }
            How::Signalled(signal) => Verdict::Ended(End::Signalled { signal }),
            How::OutOfMemory => Verdict::OutOfMemory,
            How::Requested(signal) => Verdict::Requested(signal),
            How::Exited(status) => Verdict::Ended(match report.map(|report| &report.end) {
                // Only the kernel can tell these two, and here it told something else.
                None | Some(End::Filtered | End::Signalled { .. }) => End::MonitorFailed {
                    reason: format!("its process left no report and exited with status {status}"),
                },
                Some(told) => told.clone(),
            }),
        }
    }

    /// The exit status for it.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Verdict::Ended(end) => end.exit_status(),
            Verdict::OutOfMemory => How::OutOfMemory.exit_status(),
            Verdict::Requested(signal) => How::Requested(*signal).exit_status(),
        }
    }

    /// The end in a few words: `powered off`, `exit code 3`.
    pub(crate) fn summary(&self) -> String {
        match self {
            Verdict::Ended(End::PowerOff) => "powered off".to_owned(),
            Verdict::Ended(End::Exit { code }) => format!("exit code {code}"),
            Verdict::Ended(End::Crash { .. }) => "crashed".to_owned(),
            Verdict::Ended(End::Unrepresentable { .. }) => "stopped by the monitor".to_owned(),
            Verdict::Ended(End::MonitorFailed { .. }) => "the monitor failed".to_owned(),
            Verdict::Ended(End::Filtered) => "killed by the system-call filter".to_owned(),
            Verdict::Ended(End::Signalled { signal }) | Verdict::Requested(signal) => {
                format!("ended by signal {signal}")
            }
            Verdict::OutOfMemory => How::OUT_OF_MEMORY.to_owned(),
        }
    }

    /// What to tell as an error, if the end is one; `symbol` names what an address of the kernel belongs to.
    pub(crate) fn complaint(&self, symbol: impl FnOnce(VirtAddr) -> Option<String>) -> Vec<String> {
        let (error, hint) = match self {
            Verdict::Ended(End::PowerOff | End::Exit { .. }) | Verdict::Requested(_) => return Vec::new(),
            Verdict::Ended(End::Crash { reason }) => {
                return vec![format!("error: the guest crashed: {reason}")];
            }
            Verdict::Ended(End::Unrepresentable { what, address }) => {
                let address = VirtAddr(*address);
                let place = symbol(address).map_or(String::new(), |symbol| format!(" in {symbol}"));
                (
                    format!(
                        "error: the guest needs what the process monitor cannot represent: {what} at {address}{place}"
                    ),
                    "tell us in an issue, with this message and the kernel if you may share it",
                )
            }
            Verdict::Ended(End::MonitorFailed { reason }) => (
                format!("error: the process monitor failed: {reason}"),
                "if this host has what the monitor needs, it is a bug in runu: tell us in an issue, with this message",
            ),
            Verdict::Ended(End::Filtered) => (
                "error: the guest's process was killed by its system-call filter".to_owned(),
                "a guest that behaves makes no system call: suspect an attack, or a bug in runu",
            ),
            // Sent from outside: nothing here is wrong.
            Verdict::Ended(End::Signalled { signal: signal @ libc::SIGKILL }) => {
                return vec![format!("error: the guest's process was ended by signal {signal}")];
            }
            Verdict::Ended(End::Signalled { signal }) => (
                format!("error: the guest's process was ended by signal {}", signal_name(*signal)),
                "the guest has overwritten the monitor's memory, or this is a bug in runu",
            ),
            Verdict::OutOfMemory => (
                "error: the guest's process was killed: its control group is out of memory".to_owned(),
                "let the control group that runu starts in have more memory, or give the guest less with -m",
            ),
        };
        vec![error, format!("hint: {hint}")]
    }
}

/// A signal's number and, of those that end a program which went wrong, its name.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTRAP => "SIGTRAP",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(end: End) -> Report {
        Report { end, phases: Default::default(), counters: Default::default() }
    }

    #[test]
    fn report_of_a_process_that_exited_is_believed() {
        let verdict = Verdict::new(How::Exited(3), Some(&report(End::Exit { code: 3 })));
        assert_eq!(verdict, Verdict::Ended(End::Exit { code: 3 }));
        assert_eq!(verdict.exit_status(), 3);
    }

    #[test]
    fn report_of_a_process_that_the_filter_killed_is_not_believed() {
        let verdict = Verdict::new(How::Signalled(libc::SIGSYS), Some(&report(End::PowerOff)));
        assert_eq!(verdict.exit_status(), 159);
    }

    #[test]
    fn process_that_a_terminal_ended_is_no_complaint() {
        let verdict = Verdict::new(How::Signalled(libc::SIGINT), None);
        assert_eq!(verdict.exit_status(), 130);
        assert_eq!(verdict.complaint(|_| None), Vec::<String>::new());
    }

    #[test]
    fn process_that_exited_without_report_is_a_failed_monitor() {
        assert_eq!(Verdict::new(How::Exited(0), None).exit_status(), 70);
        assert_eq!(Verdict::new(How::Exited(0), Some(&report(End::Filtered))).exit_status(), 70);
    }

    #[test]
    fn report_that_is_no_report_or_never_ends_is_none() {
        assert_eq!(read_report(&b"{}"[..]), None);
        assert_eq!(read_report(&b"\xff\xfe"[..]), None);
        assert_eq!(read_report(std::io::repeat(b'[')), None);
    }

    #[test]
    fn end_by_power_off_is_no_complaint() {
        assert_eq!(Verdict::Ended(End::PowerOff).complaint(|_| None), Vec::<String>::new());
    }

    #[test]
    fn unrepresentable_end_is_told_with_address_and_symbol() {
        let end = End::Unrepresentable { what: "`vmcall`".into(), address: 0x10_0010 };
        let lines = Verdict::Ended(end).complaint(|_| Some("boot+0x10".into()));
        assert!(lines[0].ends_with("`vmcall` at 0x100010 in boot+0x10"), "{lines:?}");
    }
}
