//! The ends that both sides can tell apart.

use std::fs;
use std::path::PathBuf;

/// How a guest's life ended, whoever tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It powered off or reset the machine.
    PowerOff,
    /// It ended with this code, of which QEMU keeps seven bits.
    Exit(u8),
    /// It reported a crash.
    Crash,
    /// An exception could not be delivered, nor could the double fault.
    TripleFault,
    /// It has stopped for good without an end, or goes on for ever.
    None,
    /// `runu` gave up on it.
    Stopped,
}

/// A guest's life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// All that it printed.
    pub(crate) console: Vec<u8>,
    /// Its end.
    pub(crate) end: End,
    /// What its disks held afterwards.
    pub(crate) disks: Vec<Vec<u8>>,
}

impl Life {
    /// A life after which the disks are in these files.
    pub(crate) fn new(console: Vec<u8>, end: End, disks: &[PathBuf]) -> Self {
        let disks = disks.iter().map(|disk| fs::read(disk).expect("the test wrote it")).collect();
        Self { console, end, disks }
    }
}
