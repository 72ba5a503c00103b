//! The life of a container as an engine leads it: `create`, `start`, the end of its first process, `delete`.

use std::{
    fs,
    io::{self, PipeReader, PipeWriter, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags, WaitId, WaitIdOptions},
};
use serde::{Deserialize, Serialize};

use crate::run::{LIMIT, Sample, judge, milliseconds};

/// A container to lead through its life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Life {
    /// The runtime's program and its global flags.
    pub(crate) runtime: Vec<String>,
    /// What it is to run.
    pub(crate) bundle: PathBuf,
    /// The container's name.
    pub(crate) id: String,
    /// What it must print somewhere on its standard output.
    pub(crate) expected: String,
}

impl Life {
    /// Leads it through its life once, or says what went wrong. Its end is that of `delete`.
    pub(crate) fn time(&self) -> Result<Sample, String> {
        let adoption = Adoption::begin()?;
        let result = self.lead().and_then(|sample| judge(sample, true, &self.expected));
        if result.is_err() {
            // It fails where there is nothing to remove.
            let _ = self.command(&["delete", "--force", &self.id]).stderr(Stdio::null()).status();
        }
        drop(adoption);
        result
    }

    fn lead(&self) -> Result<Sample, String> {
        let start = Instant::now();
        let pipe = || io::pipe().map_err(|error| format!("cannot make a pipe: {error}"));
        let ((stdout, to_stdout), (stderr, to_stderr)) = (pipe()?, pipe()?);
        let (stdout, stderr) = (read(stdout, start), read(stderr, start));
        let step = |words: &[&str]| self.step(words, start, &to_stdout, &to_stderr);
        let pid_file = self.bundle.join("pid");
        step(&[
            "create",
            "--bundle",
            &self.bundle.to_string_lossy(),
            "--pid-file",
            &pid_file.to_string_lossy(),
            &self.id,
        ])?;
        let pid = fs::read_to_string(&pid_file).ok().and_then(|text| Pid::from_raw(text.parse().ok()?));
        let pid = pid.ok_or("its process id was not written down")?;
        step(&["start", &self.id])?;
        wait(pid, start)?;
        reap(pid);
        step(&["delete", &self.id])?;
        let exit_ms = milliseconds(start.elapsed());
        drop((to_stdout, to_stderr));
        let told = |thread: thread::JoinHandle<_>| thread.join().map_err(|_| "a reader failed".to_owned());
        let ((first_byte, stdout), (_, stderr)): (Told, Told) = (told(stdout)?, told(stderr)?);
        let first_byte_ms = first_byte.map_or(exit_ms, milliseconds);
        Ok(Sample { first_byte_ms, exit_ms, stdout, stderr })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.runtime.first().map_or("", String::as_str));
        command.args(self.runtime.get(1..).unwrap_or_default()).args(words).stdin(Stdio::null());
        command
    }

    /// Calls the runtime and waits for it; what it prints and what the container prints go the same way.
    fn step(
        &self,
        words: &[&str],
        start: Instant,
        stdout: &PipeWriter,
        stderr: &PipeWriter,
    ) -> Result<(), String> {
        let clone = |pipe: &PipeWriter| pipe.try_clone().map_err(|error| error.to_string());
        let mut command = self.command(words);
        command.stdout(clone(stdout)?).stderr(clone(stderr)?);
        let child = command.spawn().map_err(|error| format!("cannot run the runtime: {error}"))?;
        match finish(child, start)? {
            true => Ok(()),
            false => Err(format!("`{}` failed", words.first().unwrap_or(&""))),
        }
    }
}

/// When the first byte came out of a pipe, and all that did.
type Told = (Option<Duration>, String);

/// Reads a pipe to its end.
fn read(mut pipe: PipeReader, start: Instant) -> thread::JoinHandle<Told> {
    thread::spawn(move || {
        let mut bytes = vec![0; 1];
        let first = match pipe.read(&mut bytes) {
            Ok(1) => Some(start.elapsed()),
            _ => return (None, String::new()),
        };
        // A pipe that can no longer be read is one that has ended.
        let _ = pipe.read_to_end(&mut bytes);
        (first, String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// Waits for the end of a call; whether it succeeded.
fn finish(mut child: Child, start: Instant) -> Result<bool, String> {
    if let Err(reason) = wait(Pid::from_child(&child), start) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(reason);
    }
    child.wait().map(|status| status.success()).map_err(|error| format!("cannot wait for a process: {error}"))
}

/// Waits for the end of a process, without reaping it.
fn wait(pid: Pid, start: Instant) -> Result<(), String> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    let pidfd = pidfd.map_err(|error| format!("cannot watch a process: {error}"))?;
    let left = LIMIT.saturating_sub(start.elapsed());
    let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
    match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
        Ok(1) => Ok(()),
        _ => Err(format!("it did not end within {} s", LIMIT.as_secs())),
    }
}

/// Reaps a container's first process, if it was we who adopted it.
fn reap(pid: Pid) {
    let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}

/// While it lasts, processes whose parents have ended become our children, as they do those of an engine's shim.
struct Adoption;

impl Adoption {
    fn begin() -> Result<Self, String> {
        let set = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        set.map(|()| Adoption).map_err(|error| format!("cannot adopt processes: {error}"))
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        // It was possible to begin, so it is possible to end.
        let _ = rustix::process::set_child_subreaper(None);
    }
}
