//! A program while it runs, with its output and a limit on its time.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Ended;
use super::process::Process;

/// A program that runs longer than this hangs. Guests run for two seconds at most; a busy machine takes ten times that.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A program that was started in a process group of its own.
///
/// Dropping it before it ended kills the whole group, so that a failed test leaves nothing running either.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pidfd: OwnedFd,
    output: Receiver<Output>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    deadline: Instant,
    waited: bool,
}

/// A piece of output.
enum Output {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

impl Running {
    /// Starts the command; reads those of its outputs that are pipes of its own.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let pidfd =
            rustix::process::pidfd_open(pid_of(&child), PidfdFlags::empty()).expect("it is our child");
        let (sender, output) = channel();
        if let Some(pipe) = child.stdout.take() {
            let sender = sender.clone();
            thread::spawn(move || read_all(pipe, Output::Stdout, &sender));
        }
        if let Some(pipe) = child.stderr.take() {
            thread::spawn(move || read_all(pipe, Output::Stderr, &sender));
        }
        let deadline = Instant::now() + LIMIT;
        Self { child, pidfd, output, stdout: Vec::new(), stderr: Vec::new(), deadline, waited: false }
    }

    /// The program's process, whose number is also its group's.
    pub(crate) fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Sends a signal to the program alone, not to its group.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.pidfd, signal).expect("it has not been reaped");
    }

    /// Waits until standard output holds `text`; all that it holds then.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        while !holds(&self.stdout, text.as_bytes()) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let more = self.take(left);
            assert!(more.is_ok(), "`{text}` never came: {:?}, {}", more, self.so_far());
        }
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Takes what is said for so long; whether the program is still there then.
    pub(crate) fn goes_on_for(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            match self.take(end.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return !self.ended_within(Duration::ZERO),
            }
        }
    }

    /// Waits for the end of the program and of its output.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let in_time = loop {
            match self.take(self.deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => {
                    break self.ended_within(self.deadline.saturating_duration_since(Instant::now()));
                }
            }
        };
        assert!(in_time, "no end within {LIMIT:?}: {}", self.so_far());
        let how = self.child.wait().expect("it is our child");
        self.waited = true;
        let stderr = String::from_utf8_lossy(&self.stderr).into_owned();
        Ended { how, stdout: std::mem::take(&mut self.stdout), stderr }
    }

    /// Asks the program to end, and waits until it did.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// The processes that `runu` made: its child, which supervises, and that one's child, in which the guest runs.
    #[track_caller]
    pub(crate) fn sandbox(&self) -> [Process; 2] {
        let group = Process::group(self.pid());
        let child_of = |parent: Pid| {
            let parent = parent.as_raw_nonzero().get();
            let child = group.iter().find(|process| process.parent == parent);
            child.unwrap_or_else(|| panic!("{parent} has no child in {group:?}")).clone()
        };
        let supervisor = child_of(self.pid());
        let guest = child_of(supervisor.pid);
        [supervisor, guest]
    }

    /// Takes a piece of output that comes within `time`.
    fn take(&mut self, time: Duration) -> Result<(), RecvTimeoutError> {
        match self.output.recv_timeout(time)? {
            Output::Stdout(bytes) => self.stdout.extend(bytes),
            Output::Stderr(bytes) => self.stderr.extend(bytes),
        }
        Ok(())
    }

    fn ended_within(&self, time: Duration) -> bool {
        wait_for_end(&self.pidfd, time)
    }

    fn so_far(&self) -> String {
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        format!("stdout so far {stdout:?}, stderr {stderr:?}")
    }

    fn kill_group(&self) {
        // Fails only if all of the group is gone.
        let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            self.kill_group();
            // The only error is that it was waited for.
            let _ = self.child.wait();
        }
    }
}

/// Waits so long for the end of a process; whether it came.
pub(crate) fn wait_for_end(pidfd: &OwnedFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("a time that a test waits");
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut ended, Some(&time)).is_ok_and(|count| count > 0)
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn read_all(mut pipe: impl Read, wrap: fn(Vec<u8>) -> Output, sender: &Sender<Output>) {
    let mut bytes = [0; 4096];
    // An error is an end, and a test that has gone wants no more.
    while let Ok(count @ 1..) = pipe.read(&mut bytes) {
        if sender.send(wrap(bytes[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// Whether `text` is in `bytes`.
pub(crate) fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
