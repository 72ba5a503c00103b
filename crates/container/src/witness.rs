//! What the caller tells about the monitor, and what the supervisor writes down about the guest's life.

use std::{
    cell::RefCell,
    ffi::CStr,
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use runu_core::{Plan, sentence};
use runu_guest::Guest;
use runu_sandbox::{CgroupName, ContainerCgroup, How, Witness};
use runu_volumes::FileServer;
use rustix::io::DupFlags;
use serde::{Deserialize, Serialize};

use crate::{ContainerError, Monitors, Wired, network::Note};

/// Whether the guest can be run in the monitor of that name, or any, as the operator allows; or why not.
pub type Fits<'a> = &'a dyn Fn(&Guest, Option<&str>, &Monitors) -> Result<(), String>;

/// What the caller knows about the monitor that is to run a guest.
pub struct Launch<'a> {
    /// Arguments of the guest's process; the first is the name by which it knows what it is.
    pub argv: &'a [&'a CStr],
    /// The descriptors that it finds open.
    pub numbers: Numbers,
    /// The process that serves files.
    pub files: FileServer,
    /// Length of its report at most, in bytes.
    pub report_max: usize,
    /// Whether it can run a guest, or why not.
    pub fits: Fits<'a>,
    /// What to make of its end: how the process ended, what it reported of itself, the kernel file.
    pub conclude: &'a dyn Fn(How, &[u8], &File) -> Conclusion,
}

/// Descriptors of the guest's process besides standard input, output and error.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The plan, as JSON.
    pub plan: RawFd,
    /// The kernel file.
    pub kernel: RawFd,
    /// The initrd, if there is one.
    pub initrd: RawFd,
    /// Where the report goes.
    pub report: RawFd,
    /// The socket of the first shared directory, if the plan has any; the others follow.
    pub share: RawFd,
    /// The socket for its frames, if the plan has a network card, and those to a name server, if that stands in for one
    /// (`Names` of [`runu_sandbox`]); ascending, and the greatest of these numbers.
    pub network: [RawFd; 3],
}

/// What became of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The container's exit status.
    pub status: u8,
    /// How the guest ended, in a few words.
    pub summary: String,
    /// How often the monitor stepped in while the guest ran, if it counted that.
    pub traps: Option<u64>,
    /// What to tell on standard error, if the end is an error; safe to print.
    pub complaint: Vec<String>,
}

/// A line of the life file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    /// The guest process runs.
    Started,
    /// The guest is over.
    Ended {
        /// The container's exit status.
        status: u8,
        /// How, in a few words.
        summary: String,
        /// How often the monitor stepped in before.
        #[serde(default)]
        traps: Option<u64>,
    },
}

/// The lines of a life file.
pub(crate) fn events(text: &str) -> Vec<Event> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The supervisor's pen: writes the life file, and what is to be told on standard error.
pub(crate) struct Chronicle<'a> {
    /// The life file.
    pub(crate) life: File,
    /// Where the guest's process reports.
    pub(crate) report: File,
    /// The kernel, for names of addresses.
    pub(crate) kernel: File,
    /// Its control group.
    pub(crate) cgroup: &'a CgroupName,
    /// Where the kernel counts the victims of a lack of memory, once the group is there; until then a descriptor that keeps
    /// the number and tells nothing.
    pub(crate) oom_counter: RefCell<OwnedFd>,
    /// The plan's file, which the guest's process reads.
    pub(crate) plan: File,
    /// Makes the plan anew for a guest on a network.
    pub(crate) planner: &'a dyn Fn(&Wired) -> Result<Plan, ContainerError>,
    /// What to make of it all.
    pub(crate) launch: &'a Launch<'a>,
}

impl Chronicle<'_> {
    /// The descriptors it uses.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let files = [&self.life, &self.report, &self.kernel, &self.plan].map(AsRawFd::as_raw_fd);
        files.into_iter().chain([self.oom_counter.borrow().as_raw_fd()]).collect()
    }

    fn write(&self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        // A full disk must not keep a container from ending; whoever reads finds no line then.
        let _ = (&self.life).write_all(&line);
    }
}

/// Writes another plan into its file, which is left at its start.
fn write_plan(mut file: &File, plan: &Plan) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(plan)?)?;
    file.rewind()
}

impl Witness for Chronicle<'_> {
    fn entered(&self) {
        let counter = ContainerCgroup::find(self.cgroup).ok().and_then(|group| group.oom_counter());
        if let Some(counter) = counter {
            // Fails only for numbers that are none.
            let _ = rustix::io::dup3(counter, &mut self.oom_counter.borrow_mut(), DupFlags::CLOEXEC);
        }
    }

    fn starting(&self, note: &[u8]) -> Result<(), String> {
        let note: Note = serde_json::from_slice(note).map_err(|error| sentence(&error))?;
        let Some(wired) = note.wired else { return Ok(()) };
        let plan = (self.planner)(&wired).map_err(|error| sentence(&error))?;
        write_plan(&self.plan, &plan).map_err(|error| sentence(&error))
    }

    fn started(&self) {
        self.write(&Event::Started);
    }

    fn ended(&self, how: How) -> u8 {
        let mut report = Vec::new();
        // The other end is closed with the guest's process; an unreadable report is one that is not there.
        let _ = (&self.report).take(self.launch.report_max as u64).read_to_end(&mut report);
        let how = match how {
            How::Signalled(libc::SIGKILL) if ContainerCgroup::oom_kills(&self.oom_counter.borrow()) > 0 => {
                How::OutOfMemory
            }
            how => how,
        };
        let Conclusion { status, summary, traps, complaint } =
            (self.launch.conclude)(how, &report, &self.kernel);
        self.write(&Event::Ended { status, summary, traps });
        let text: String = complaint.iter().map(|line| format!("{line}\n")).collect();
        let _ = std::io::stderr().write_all(text.as_bytes());
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_written_is_read_back_and_half_a_line_is_none() {
        let ended = Event::Ended { status: 3, summary: "exit code 3".into(), traps: Some(7) };
        let text = format!("{}\n{}\n{{\"ended\":", "\"started\"", serde_json::to_string(&ended).unwrap());
        assert_eq!(events(&text), [Event::Started, ended]);
    }
}
