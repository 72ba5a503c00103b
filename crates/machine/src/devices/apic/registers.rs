//! Which register has which number, and the bits of those that have many.

/// A register. Both faces number them alike (the manual, tables 11-1 and 11-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Id,
    Version,
    TaskPriority,
    ProcessorPriority,
    EndOfInterrupt,
    LogicalDestination,
    DestinationFormat,
    Spurious,
    /// Eight registers of 32 vectors each, and so are the next two.
    InService(usize),
    TriggerMode(usize),
    Requested(usize),
    Errors,
    Command,
    CommandHigh,
    Local(Entry),
    InitialCount,
    CurrentCount,
    Divide,
    SelfInterrupt,
}

/// An entry of the local vector table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
}

/// How many entries there are.
pub(super) const ENTRIES: usize = 6;

impl Register {
    /// The register with this number: the MSR's less 0x800, a sixteenth of the offset in memory.
    pub(super) fn numbered(number: u64) -> Option<Self> {
        let word = usize::try_from(number & 7).ok()?;
        Some(match number {
            0x02 => Self::Id,
            0x03 => Self::Version,
            0x08 => Self::TaskPriority,
            0x0a => Self::ProcessorPriority,
            0x0b => Self::EndOfInterrupt,
            0x0d => Self::LogicalDestination,
            0x0e => Self::DestinationFormat,
            0x0f => Self::Spurious,
            0x10..=0x17 => Self::InService(word),
            0x18..=0x1f => Self::TriggerMode(word),
            0x20..=0x27 => Self::Requested(word),
            0x28 => Self::Errors,
            0x30 => Self::Command,
            0x31 => Self::CommandHigh,
            0x32 => Self::Local(Entry::Timer),
            0x33 => Self::Local(Entry::Thermal),
            0x34 => Self::Local(Entry::Performance),
            0x35 => Self::Local(Entry::Lint0),
            0x36 => Self::Local(Entry::Lint1),
            0x37 => Self::Local(Entry::Error),
            0x38 => Self::InitialCount,
            0x39 => Self::CurrentCount,
            0x3e => Self::Divide,
            0x3f => Self::SelfInterrupt,
            _ => return None,
        })
    }
}

/// The interrupt vector in many a register.
pub(super) const VECTOR: u32 = 0xff;

/// Entries of the local vector table (the manual, figure 11-8).
pub(super) mod local {
    pub(in super::super) const MODE: u32 = 0b111 << 8;
    pub(in super::super) const FIXED: u32 = 0;
    pub(in super::super) const NMI: u32 = 0b100 << 8;
    pub(in super::super) const EXTINT: u32 = 0b111 << 8;
    /// Reads as zero: an interrupt is delivered at once.
    pub(in super::super) const STATUS: u32 = 1 << 12;
    pub(in super::super) const POLARITY: u32 = 1 << 13;
    /// A level-triggered interrupt has been accepted and its end not been told.
    pub(in super::super) const REMOTE_IRR: u32 = 1 << 14;
    pub(in super::super) const LEVEL: u32 = 1 << 15;
    pub(in super::super) const MASKED: u32 = 1 << 16;
    pub(in super::super) const PERIODIC: u32 = 1 << 17;
}

impl Entry {
    /// The bits that a kernel can write.
    pub(super) fn writable(self) -> u32 {
        use local::{LEVEL, MASKED, MODE, PERIODIC, POLARITY};
        VECTOR
            | MASKED
            | match self {
                Self::Timer => PERIODIC,
                Self::Thermal | Self::Performance => MODE,
                Self::Lint0 | Self::Lint1 => MODE | POLARITY | LEVEL,
                Self::Error => 0,
            }
    }

    /// The bits that exist and cannot be written.
    pub(super) fn read_only(self) -> u32 {
        match self {
            Self::Lint0 | Self::Lint1 => local::STATUS | local::REMOTE_IRR,
            _ => local::STATUS,
        }
    }
}

/// The spurious-interrupt vector register (the manual, figure 11-23).
pub(super) mod spurious {
    /// The APIC is software-enabled.
    pub(in super::super) const ENABLED: u32 = 1 << 8;
    pub(in super::super) const WRITABLE: u32 = super::VECTOR | ENABLED;
}

/// The error status register (the manual, figure 11-9).
pub(super) mod error {
    pub(in super::super) const SENT_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(in super::super) const RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(in super::super) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// The interrupt command register (the manual, figures 11-12 and 11-28).
pub(super) mod command {
    pub(in super::super) const MODE: u64 = 0b111 << 8;
    pub(in super::super) const FIXED: u64 = 0;
    pub(in super::super) const LOWEST_PRIORITY: u64 = 0b001 << 8;
    pub(in super::super) const LOGICAL: u64 = 1 << 11;
    /// Reads as zero: a message is sent at once.
    pub(in super::super) const STATUS: u64 = 1 << 12;
    pub(in super::super) const SHORTHAND: u64 = 0b11 << 18;
    pub(in super::super) const TO_DESTINATION: u64 = 0;
    pub(in super::super) const TO_OTHERS: u64 = 0b11 << 18;
    /// Vector, mode, destination mode, level and trigger, shorthand.
    pub(in super::super) const WRITABLE: u64 = 0xff | MODE | LOGICAL | 0b11 << 14 | SHORTHAND;
}

/// IA32_APIC_BASE (the manual, figures 11-5 and 11-26).
pub(super) mod base {
    /// Where the registers are in memory, and stay.
    pub(in super::super) const ADDRESS: u64 = 0xfee0_0000;
    pub(in super::super) const LEN: u64 = 0x1000;
    /// The CPU that the firmware started.
    pub(in super::super) const BOOTSTRAP: u64 = 1 << 8;
    pub(in super::super) const X2APIC: u64 = 1 << 10;
    pub(in super::super) const ENABLED: u64 = 1 << 11;
}
