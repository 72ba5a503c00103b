//! The side of the machine: makes the checks and tells on the console how each went.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

use rustix::process::Signal;

use crate::suite;

/// The word by which this program knows that it is to make checks.
pub(crate) const ROLE: &str = "checks";

/// What a line that tells of a check begins with.
const MARK: &str = "rig: ";

/// A line that tells of a check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    /// The check.
    pub(crate) name: &'a str,
    /// How it went, in the words of the standard harness.
    pub(crate) word: &'a str,
}

impl<'a> Told<'a> {
    /// Reads a line of the console; none if it tells of no check.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let (name, word) = line.split_once(MARK)?.1.split_once(' ')?;
        Some(Told { name, word })
    }
}

/// Makes the checks of a suite whose names contain `wanted`; whether there is such a suite.
pub(crate) fn main(name: &str, wanted: &str) -> bool {
    let Some(suite) = suite(name) else { return false };
    // A container's first process outlives its maker and becomes our child.
    if let Err(errno) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        say(&format!("cannot adopt orphans: {errno}"));
    }
    for (check, make) in suite.checks {
        let name = format!("{}::{check}", suite.name);
        if name.contains(wanted) {
            let word = make().map_or_else(|error| format!("FAILED: {error}"), |()| "ok".to_owned());
            say(&format!("{MARK}{name} {}", word.replace(['\n', '\r'], " | ")));
        }
    }
    true
}

/// Kills the parent of this process; whether that can be.
pub(crate) fn kill_parent() -> bool {
    let parent = rustix::process::getppid();
    parent.is_some_and(|parent| rustix::process::kill_process(parent, Signal::KILL).is_ok())
}

/// Writes a line to the machine's console and waits until it is out.
pub(crate) fn say(line: &str) {
    let console = OpenOptions::new().write(true).open("/dev/console");
    let out = |mut console: File| {
        console.write_all(format!("{line}\n").as_bytes())?;
        Ok::<_, std::io::Error>(rustix::termios::tcdrain(&console)?)
    };
    // Nobody else could be told.
    let _ = console.and_then(out);
}
