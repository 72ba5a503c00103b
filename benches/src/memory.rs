//! How much memory a run holds while its guest or its container waits: the proportional set size (PSS) of every process
//! it consists of, from /proc/PID/smaps (proc(5)). In it a page that several processes share counts in parts, and a page
//! that one process maps in several places counts once.
//!
//! Guest memory is a mapping of a file without a name, by which it is known and set apart.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::run::Job;

/// Something that prints `ready` and then waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    /// What is run.
    pub(crate) job: Job,
    /// How the name of the mapping begins that is the guest's memory; a container has none.
    pub(crate) guest_memory: Option<String>,
    /// How it is ended.
    pub(crate) end: Ending,
    /// How many of the same run beside the one that is measured: they share pages of files.
    pub(crate) beside: u32,
}

/// How an idle run is ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// By SIGTERM.
    Terminate,
    /// By the end of its standard input.
    EndOfInput,
}

/// What a run holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// How many processes it consists of.
    pub(crate) processes: u64,
    /// PSS of all of them, in KiB.
    pub(crate) total_kib: u64,
    /// How much of that is memory that the guest has touched, in KiB.
    pub(crate) guest_kib: u64,
}

impl Memory {
    /// What it holds beside what the guest has touched, in KiB.
    pub(crate) fn above_guest_kib(self) -> u64 {
        self.total_kib.saturating_sub(self.guest_kib)
    }
}

impl Idle {
    /// Runs it, and as many beside it as asked for, until all are ready; measures the last; ends them.
    pub(crate) fn measure(&self) -> Result<Memory, String> {
        let mut waiting = Vec::new();
        for _ in 0..self.beside {
            waiting.push(self.start()?);
        }
        let last = self.start()?;
        self.settled(last.child.id()).inspect_err(|_| self.job.clean_up())
    }

    fn start(&self) -> Result<Waiting<'_>, String> {
        let words = &self.job.words;
        let child =
            self.job.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("cannot run `{}`: {error}", words.join(" ")))?;
        let mut waiting = Waiting { child, idle: self };
        wait_until_ready(&mut waiting.child)?;
        Ok(waiting)
    }

    /// Measures until nothing changes any more: whoever started the program may not have finished with it.
    fn settled(&self, root: u32) -> Result<Memory, String> {
        const TRIES: usize = 50;
        let mut last = now(root, self.guest_memory.as_deref())?;
        for _ in 0..TRIES {
            let next = now(root, self.guest_memory.as_deref())?;
            if next == last {
                break;
            }
            last = next;
        }
        Ok(last)
    }
}

/// What a process and all that descend from it hold now; the guest's memory is in mappings whose name begins with
/// `guest_memory`.
pub(crate) fn now(root: u32, guest_memory: Option<&str>) -> Result<Memory, String> {
    let mut memory = Memory::default();
    for process in tree(root) {
        let path = format!("/proc/{process}/smaps");
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        let (total, guest) = sizes(&text, guest_memory);
        memory.processes += 1;
        memory.total_kib += total;
        memory.guest_kib += guest;
    }
    Ok(memory)
}

/// A run that waits; ended when dropped.
struct Waiting<'a> {
    child: Child,
    idle: &'a Idle,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        match self.idle.end {
            Ending::Terminate => {
                // Fails only if it has ended by itself.
                let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
            }
            Ending::EndOfInput => drop(self.child.stdin.take()),
        }
        let _ = self.child.wait();
    }
}

fn wait_until_ready(child: &mut Child) -> Result<(), String> {
    let stdout = child.stdout.take().map(BufReader::new);
    let ready =
        stdout.into_iter().flat_map(BufRead::lines).map_while(Result::ok).any(|line| line.trim() == "ready");
    if ready { Ok(()) } else { Err("it ended before it was ready".to_owned()) }
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process: u32| Some((process, parent(process)?)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(process) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| *child));
        at += 1;
    }
    found
}

/// The parent of a process: the second field behind its name in parentheses (proc(5), /proc/PID/stat).
fn parent(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// PSS in KiB of all mappings of a process, and of those whose name begins with `guest`.
fn sizes(smaps: &str, guest: Option<&str>) -> (u64, u64) {
    let (mut total, mut touched) = (0, 0);
    let mut is_guest = false;
    for line in smaps.lines() {
        if let Some(kib) = line.strip_prefix("Pss:").and_then(|rest| rest.trim().strip_suffix(" kB")) {
            let kib: u64 = kib.parse().unwrap_or(0);
            total += kib;
            touched += if is_guest { kib } else { 0 };
        } else if !line.split_ascii_whitespace().next().is_some_and(|word| word.ends_with(':')) {
            // The head of a mapping: address, rights, offset, device, inode, name.
            let name = line.split_ascii_whitespace().nth(5).unwrap_or_default();
            is_guest = guest.is_some_and(|guest| name.starts_with(guest));
        }
    }
    (total, touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_mappings_are_summed_and_the_guests_told_apart() {
        let smaps = "00100000-00200000 rw-s 00100000 00:01 1 /memfd:guest-ram (deleted)\n\
                     Size: 1024 kB\nPss: 100 kB\nPss_Dirty: 7 kB\nVmFlags: rd wr\n\
                     555588af4000-555588b16000 rw-p 00000000 00:00 0 [heap]\nPss: 20 kB\n\
                     7000-8000 rw-p 00000000 00:00 0 \nPss: 3 kB\n";
        assert_eq!(sizes(smaps, Some("/memfd:guest-ram")), (123, 100));
        assert_eq!(sizes(smaps, None), (123, 0));
    }

    #[test]
    fn tree_of_this_process_has_its_child() {
        let mut child =
            std::process::Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let tree = tree(std::process::id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(tree.contains(&child.id()), "{tree:?}");
    }
}
