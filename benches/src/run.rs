//! One run of one program: from before it is spawned to the first byte it prints and to its end.

use std::{
    io::Read,
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags, Signal},
};
use serde::{Deserialize, Serialize};

/// How long a run may take. The slowest, QEMU's on a busy machine, takes some seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A program to run, and how to know that it did what it should.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Program and arguments.
    pub(crate) words: Vec<String>,
    /// What it must print somewhere on its standard output.
    pub(crate) expected: String,
    /// What removes what it may leave when it fails.
    pub(crate) undo: Option<Vec<String>>,
}

/// When a run reached what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The first byte of its output, in milliseconds since before it was spawned.
    pub(crate) first_byte_ms: f64,
    /// Its end, in milliseconds since before it was spawned.
    pub(crate) exit_ms: f64,
    /// What it printed on its standard output.
    pub(crate) stdout: String,
    /// What it printed on its standard error.
    pub(crate) stderr: String,
}

impl Job {
    /// The command, its standard streams not yet set.
    pub(crate) fn command(&self) -> Command {
        command(&self.words)
    }

    /// Removes what a run that failed may have left.
    pub(crate) fn clean_up(&self) {
        if let Some(words) = &self.undo {
            // It fails where there is nothing to remove.
            let _ = command(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    /// Runs it to its end, or says why it could not be or did something else.
    pub(crate) fn time(&self) -> Result<Sample, String> {
        let start = Instant::now();
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.map_err(|error| format!("cannot run `{}`: {error}", self.words.join(" ")))?;
        let result =
            follow(child, start).and_then(|(sample, success)| judge(sample, success, &self.expected));
        if result.is_err() {
            self.clean_up();
        }
        result
    }
}

/// The sample, if it is one of what should have been done; else the last words of what was.
pub(crate) fn judge(sample: Sample, success: bool, expected: &str) -> Result<Sample, String> {
    if success && sample.stdout.contains(expected) {
        return Ok(sample);
    }
    let told = [&sample.stderr, &sample.stdout].into_iter().find_map(|text| text.lines().last());
    Err(told.filter(|line| !line.is_empty()).unwrap_or("it failed without a word").to_owned())
}

/// The command of these words.
pub(crate) fn command(words: &[String]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    command
}

/// A pipe from the child, and what has come out of it.
struct Stream<R> {
    pipe: Option<R>,
    bytes: Vec<u8>,
}

impl<R: Read + AsFd> Stream<R> {
    fn new(pipe: Option<R>) -> Self {
        Stream { pipe, bytes: Vec::new() }
    }

    fn take_in(&mut self) {
        let mut bytes = [0; 4096];
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut bytes)) {
            Some(Ok(len @ 1..)) => self.bytes.extend(bytes.iter().take(len)),
            _ => self.pipe = None,
        }
    }
}

/// Reads what the child prints and waits for its end; whether it says that it succeeded.
fn follow(mut child: Child, start: Instant) -> Result<(Sample, bool), String> {
    let mut stdout = Stream::new(child.stdout.take());
    let mut stderr = Stream::new(child.stderr.take());
    let pidfd = Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pidfd, PidfdFlags::empty())
        .map_err(|error| format!("cannot watch a process: {error}"))?;
    let (mut first_byte, mut exit) = (None, None);
    while exit.is_none() || stdout.pipe.is_some() || stderr.pipe.is_some() {
        let left = LIMIT.saturating_sub(start.elapsed());
        let mut watched = Vec::with_capacity(3);
        watched.extend(exit.is_none().then(|| PollFd::new(&pidfd, PollFlags::IN)));
        let ends = watched.len();
        watched.extend(stdout.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let prints = watched.len();
        watched.extend(stderr.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
        let ready = rustix::event::poll(&mut watched, Some(&timeout));
        let now = start.elapsed();
        if left.is_zero() || ready.is_err() {
            end(&mut child, &pidfd);
            return Err(format!("it did not end within {} s", LIMIT.as_secs()));
        }
        let is_ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        let any =
            |range: std::ops::Range<usize>| is_ready.get(range).is_some_and(|some| some.contains(&true));
        let (ended, printed, complained) = (any(0..ends), any(ends..prints), any(prints..is_ready.len()));
        if printed {
            stdout.take_in();
            if !stdout.bytes.is_empty() {
                first_byte.get_or_insert(now);
            }
        }
        if complained {
            stderr.take_in();
        }
        if ended {
            exit = Some(now);
        }
    }
    let status = child.wait().map_err(|error| format!("cannot wait for a process: {error}"))?;
    let exit = exit.unwrap_or_default();
    let sample = Sample {
        first_byte_ms: milliseconds(first_byte.unwrap_or(exit)),
        exit_ms: milliseconds(exit),
        stdout: String::from_utf8_lossy(&stdout.bytes).into_owned(),
        stderr: String::from_utf8_lossy(&stderr.bytes).into_owned(),
    };
    Ok((sample, status.success()))
}

/// Ends a process that should have ended by itself, and lets it clean up first if it can.
fn end(child: &mut Child, pidfd: &OwnedFd) {
    const GRACE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
    let _ = rustix::process::kill_process(Pid::from_child(child), Signal::TERM);
    let _ = rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&GRACE));
    let _ = child.kill();
    let _ = child.wait();
}

/// A time as the report tells it.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(script: &str) -> Job {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Job { words, expected: "hello".to_owned(), undo: None }
    }

    #[test]
    fn run_that_prints_and_ends_has_both_times_in_order() {
        let sample = job("echo hello; echo words >&2").time().unwrap();
        assert!(0.0 < sample.first_byte_ms && sample.first_byte_ms <= sample.exit_ms, "{sample:?}");
        assert_eq!((sample.stdout.as_str(), sample.stderr.as_str()), ("hello\n", "words\n"));
    }

    #[test]
    fn run_that_fails_or_prints_something_else_is_no_sample() {
        assert_eq!(job("echo hello; echo broken >&2; exit 1").time().unwrap_err(), "broken");
        assert_eq!(job("echo good-bye").time().unwrap_err(), "good-bye");
        assert_eq!(job("exit 0").time().unwrap_err(), "it failed without a word");
    }

    #[test]
    fn run_of_a_missing_program_is_no_sample() {
        let job = Job { words: vec!["/nonexistent/program".to_owned()], ..job("") };
        assert!(job.time().unwrap_err().starts_with("cannot run"));
    }
}
