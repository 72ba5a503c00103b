//! How a guest's life went: what a monitor tells when it is over.

use serde::{Deserialize, Serialize};

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// The guest powered the machine off or reset it.
    PowerOff,
    /// The guest told an exit code.
    Exit {
        /// The code.
        code: u8,
    },
    /// The guest crashed: it said so, or it did something no working guest does.
    Crash {
        /// What happened, in one line without a trailing period.
        reason: String,
    },
    /// The guest did something that the monitor cannot represent.
    Unrepresentable {
        /// The instruction, in Intel syntax, or what else could not be represented.
        what: String,
        /// Guest-virtual address of the instruction.
        address: u64,
    },
    /// The monitor itself failed.
    MonitorFailed {
        /// What went wrong, in one line without a trailing period.
        reason: String,
    },
    /// The guest's process was killed by its system-call filter.
    Filtered,
    /// The guest's process was ended by a signal.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
}

impl End {
    /// The container's exit status for this end: 134 is 128 + SIGABRT, 159 is 128 + SIGSYS, 70 is `EX_SOFTWARE`.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            End::PowerOff => 0,
            End::Exit { code } => *code,
            End::Crash { .. } => 134,
            End::Unrepresentable { .. } | End::MonitorFailed { .. } => 70,
            End::Filtered => 159,
            // Signals are numbered 1 to 64, so the sum fits.
            End::Signalled { signal } => u8::try_from(128 + signal).unwrap_or(255),
        }
    }
}

/// Points in time of one start, in nanoseconds of `CLOCK_MONOTONIC`; zero where a point was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// The monitor's process reached its first line.
    pub process_start: u64,
    /// Kernel and initrd are in guest memory.
    pub loaded: u64,
    /// The system-call filter is in place; the guest's first instruction follows.
    pub entered: u64,
    /// The first byte of console output left.
    pub first_output: u64,
    /// The guest's end.
    pub ended: u64,
}

/// What the monitor counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Guest instructions translated.
    pub translated: u64,
    /// Exits from translated code without a signal.
    pub exits: u64,
    /// Signals taken on behalf of the guest.
    pub signals: u64,
    /// Interrupts injected.
    pub interrupts: u64,
    /// Mappings made for the guest's page tables.
    pub mappings: u64,
}

/// What a monitor tells about a guest's life when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    #[serde(flatten)]
    pub end: End,
    /// When it reached what.
    #[serde(default)]
    pub phases: Phases,
    /// What it took.
    #[serde(default)]
    pub counters: Counters,
}
