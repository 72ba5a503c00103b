//! Another mount namespace to measure in, where the unified hierarchy of a hybrid host is not mounted.
//!
//! crun before 1.9 refuses hosts that have control groups of both versions ("cgroups in hybrid mode not supported") though
//! it works with those of version 1 alone. So this program runs itself again where only those are to be seen, and asks
//! that process to measure; what it times is the same as here.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    contender::Course,
    memory::{Idle, Memory},
    run::Sample,
};

/// Where systemd and others mount the unified hierarchy on a hybrid host ("Control Group APIs and Delegation").
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// The process in the other namespace. It ends with us: its input does.
pub(crate) struct Elsewhere {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

#[derive(Serialize, Deserialize)]
enum Request {
    Time(Course),
    Measure(Idle),
}

impl Elsewhere {
    /// Whether this host is a hybrid one.
    pub(crate) fn is_needed() -> bool {
        Path::new(UNIFIED).join("cgroup.controllers").exists()
    }

    /// Starts the process.
    pub(crate) fn start() -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let script = format!("umount {UNIFIED} && exec \"$0\" --serve");
        let mut child = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", &script])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run `unshare`: {error}"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(replies)) => {
                Ok(Elsewhere { child, requests, replies: BufReader::new(replies) })
            }
            _ => Err("cannot talk to `unshare`".to_owned()),
        }
    }

    /// [`Course::time`] there.
    pub(crate) fn time(&mut self, course: &Course) -> Result<Sample, String> {
        self.ask(&Request::Time(course.clone()))
    }

    /// [`Idle::measure`] there.
    pub(crate) fn measure(&mut self, idle: &Idle) -> Result<Memory, String> {
        self.ask(&Request::Measure(idle.clone()))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, String> {
        let lost =
            |error: &dyn std::fmt::Display| format!("the process in the other namespace is lost: {error}");
        let mut line = serde_json::to_string(request).map_err(|error| lost(&error))?;
        line.push('\n');
        self.requests.write_all(line.as_bytes()).map_err(|error| lost(&error))?;
        line.clear();
        self.replies.read_line(&mut line).map_err(|error| lost(&error))?;
        serde_json::from_str(&line).unwrap_or_else(|error| Err(lost(&error)))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It waits for requests, and each reply has been read: it loses nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other end: measures what it is asked to, until nobody asks any more.
pub(crate) fn serve() -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| format!("cannot read a request: {error}"))?;
        let request =
            serde_json::from_str(&line).map_err(|error| format!("a request is malformed: {error}"))?;
        let reply = match request {
            Request::Time(course) => serde_json::to_string(&course.time()),
            Request::Measure(idle) => serde_json::to_string(&idle.measure()),
        };
        let reply = reply.map_err(|error| format!("cannot write a reply: {error}"))?;
        writeln!(output, "{reply}").and_then(|()| output.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}
