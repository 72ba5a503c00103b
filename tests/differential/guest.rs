//! What to run on both sides, and the comparison.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use runu_guest::{Invocation, Variable};

use crate::support::{Ended, GuestKind, Room, Running};
use crate::{emulated, native};

/// A guest and all that it is given.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// What to call it in a failure.
    pub(crate) name: String,
    pub(crate) image: Vec<u8>,
    pub(crate) kind: GuestKind,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Variable>,
    pub(crate) initrd: Option<Vec<u8>>,
    /// What its disks hold, and whether they can only be read.
    pub(crate) disks: Vec<(Vec<u8>, bool)>,
    /// For a guest that never ends: its last words.
    pub(crate) last_words: Option<&'static str>,
}

/// Name of the kernel's file on both sides. `argv[0]` is made of it: by `runu`, by QEMU for multiboot kernels, and the
/// shim that boots the others says so, too.
pub(crate) const KERNEL: &str = "kernel";

/// How long a guest that has said its last words is watched.
const WATCHED: Duration = Duration::from_millis(500);

impl Guest {
    /// The own guest `name` with these arguments.
    pub(crate) fn own(name: &str, kind: GuestKind, arguments: &[&str]) -> Self {
        Self {
            name: format!("{name} ({}) {arguments:?}", kind.name()),
            image: kind.image(name).to_vec(),
            kind,
            arguments: arguments.iter().map(|word| word.as_bytes().to_vec()).collect(),
            environment: Vec::new(),
            initrd: None,
            disks: Vec::new(),
            last_words: None,
        }
    }

    /// The command line that `runu` makes for this guest, without the program's name: what QEMU is told to append.
    pub(crate) fn command_line(&self) -> OsString {
        let guest = runu_guest::detect(&self.image).expect("it is a kernel");
        let invocation = Invocation {
            argv0: KERNEL.into(),
            args: self.arguments.clone(),
            env: self.environment.clone(),
            parameters: Vec::new(),
            initrd: self.initrd.is_some(),
            shares: Vec::new(),
        };
        let line = runu_guest::command_line(&guest, &invocation).expect("it can be expressed").into_bytes();
        let tail = line.strip_prefix(KERNEL.as_bytes()).expect("the name comes first");
        OsString::from_vec(tail.trim_ascii_start().to_vec())
    }

    /// Writes kernel and initrd into the room; their paths.
    pub(crate) fn files(&self, room: &Room) -> (PathBuf, Option<PathBuf>) {
        let initrd = self.initrd.as_ref().map(|bytes| room.file("initrd", bytes));
        (room.file(KERNEL, &self.image), initrd)
    }

    /// Writes the disks into the room; their paths.
    pub(crate) fn disks(&self, room: &Room) -> Vec<PathBuf> {
        let disks = self.disks.iter().enumerate();
        disks.map(|(index, (bytes, _))| room.file(&format!("disk{index}"), bytes)).collect()
    }

    /// Follows the guest to its end, or past its last words; whether it was still there then.
    pub(crate) fn follow(&self, mut running: Running) -> (Ended, bool) {
        let Some(last_words) = self.last_words else { return (running.wait(), false) };
        running.wait_for(last_words);
        if running.goes_on_for(WATCHED) { (running.stop(), true) } else { (running.wait(), false) }
    }

    /// Why this guest's life differs between both sides, if it does; `same` makes equal what may differ on a console.
    pub(crate) fn difference(&self, same: impl Fn(&[u8]) -> String) -> Option<String> {
        let (native, emulated) = (native::life(self), emulated::life(self));
        let consoles = [&native, &emulated].map(|life| same(&life.console));
        if native.end == emulated.end && consoles[0] == consoles[1] && native.disks == emulated.disks {
            return None;
        }
        let [ours, theirs] = consoles;
        Some(format!(
            "{}: ended by {:?}, under QEMU by {:?}, disks {} afterwards\n--- runu\n{ours}\n--- QEMU\n{theirs}\n",
            self.name,
            native.end,
            emulated.end,
            if native.disks == emulated.disks { "alike" } else { "different" },
        ))
    }
}

/// Fails with all differences.
#[track_caller]
pub(crate) fn assert_none(differences: impl Iterator<Item = Option<String>>) {
    let differences: Vec<String> = differences.flatten().collect();
    assert!(differences.is_empty(), "{} guests differ\n{}", differences.len(), differences.join("\n"));
}
