//! Both faces of the registers: as memory and as MSRs.
//!
//! What is wrong is an error bit in memory, or nothing; as an MSR it is a fault of the instruction.

use runu_core::GuestAddr;

use super::{
    Apic, Mode,
    registers::{Entry, Register, VECTOR, base, command, error, local, spurious},
    timer,
};
use crate::devices::Nanos;

/// A version of the integrated APICs, and the number of the last local vector (the manual, §11.4.8).
const VERSION: u32 = 0x14 | (Entry::Error as u32) << 16;

/// IA32_APIC_BASE.
const MSR_BASE: u32 = 0x1b;
/// Number of the first MSR in x2APIC mode, and how many are the APIC's.
const MSR_FIRST: u32 = 0x800;
const MSR_COUNT: u32 = 0x100;

impl Apic {
    // Memory (the manual, §11.4.1).

    /// The guest reads memory; whether the APIC is there.
    pub(in super::super) fn read_memory(&mut self, addr: GuestAddr, into: &mut [u8], now: Nanos) -> bool {
        let Some(offset) = self.offset(addr) else { return false };
        self.advance(now);
        into.fill(0);
        // Other accesses than aligned ones of 32 bits are undefined.
        if let (Some(number), Some(into)) = (number(offset), into.first_chunk_mut()) {
            *into = self.read_register(number).to_le_bytes();
        }
        true
    }

    /// The guest writes memory; whether the APIC is there.
    pub(in super::super) fn write_memory(&mut self, addr: GuestAddr, from: &[u8], now: Nanos) -> bool {
        let Some(offset) = self.offset(addr) else { return false };
        self.advance(now);
        if let (Some(number), Some(value)) = (number(offset), from.first_chunk()) {
            self.write_register(number, u32::from_le_bytes(*value));
        }
        true
    }

    /// Offset of an address from the first register, where the registers are memory.
    fn offset(&self, addr: GuestAddr) -> Option<u64> {
        let offset = addr.0.checked_sub(base::ADDRESS)?;
        (self.mode == Mode::Memory && offset < base::LEN).then_some(offset)
    }

    fn read_register(&mut self, number: u64) -> u32 {
        match Register::numbered(number) {
            Some(Register::LogicalDestination) => u32::from(self.logical_id) << 24,
            // The low 28 bits are all ones (the manual, figure 11-14).
            Some(Register::DestinationFormat) => u32::from(self.model) << 28 | 0x0fff_ffff,
            Some(Register::Command) => halves(self.command)[0],
            Some(Register::CommandHigh) => halves(self.command)[1],
            Some(Register::EndOfInterrupt) => 0,
            Some(Register::SelfInterrupt) | None => self.no_register(),
            Some(register) => self.register(register),
        }
    }

    fn write_register(&mut self, number: u64, value: u32) {
        let [low, .., high] = value.to_le_bytes();
        let command_high = self.command >> 32 << 32;
        match Register::numbered(number) {
            Some(Register::LogicalDestination) => self.logical_id = high,
            Some(Register::DestinationFormat) => self.model = high >> 4,
            Some(Register::TaskPriority) => self.set_task_priority(low),
            Some(Register::EndOfInterrupt) => self.end_of_interrupt(),
            Some(Register::Errors) => self.show_errors(),
            Some(Register::Command) => {
                self.command = command_high | u64::from(value) & command::WRITABLE;
                self.send();
            }
            Some(Register::CommandHigh) => {
                let [command, _] = halves(self.command);
                self.command = u64::from(high) << 56 | u64::from(command);
            }
            Some(Register::SelfInterrupt) | None => {
                self.no_register();
            }
            Some(register) => self.set_register(register, value),
        }
    }

    /// There is none with that number.
    fn no_register(&mut self) -> u32 {
        self.fail(error::ILLEGAL_REGISTER);
        0
    }

    // MSRs (the manual, §11.12.1.2).

    /// The CPU reads an MSR: `None` is a fault.
    pub(in super::super) fn read_msr(&mut self, msr: u32, now: Nanos) -> Option<u64> {
        self.advance(now);
        match self.msr(msr)? {
            Msr::Base => Some(self.base()),
            Msr::Register(Register::Command) => Some(self.command),
            // Cluster 0, CPU 0 in it (the manual, §11.12.10.2).
            Msr::Register(Register::LogicalDestination) => Some(1),
            Msr::Register(Register::EndOfInterrupt | Register::SelfInterrupt) => None,
            Msr::Register(register) => Some(self.register(register).into()),
        }
    }

    /// The CPU writes an MSR: false is a fault, and nothing has changed.
    pub(in super::super) fn write_msr(&mut self, msr: u32, value: u64, now: Nanos) -> bool {
        self.advance(now);
        match self.msr(msr) {
            None => return false,
            Some(Msr::Base) => return self.set_base(value),
            Some(Msr::Register(register)) if value & !writable(register) != 0 => return false,
            Some(Msr::Register(Register::Command)) => {
                self.command = value & !command::STATUS;
                self.send();
            }
            Some(Msr::Register(Register::SelfInterrupt)) => {
                let [vector, ..] = value.to_le_bytes();
                self.send_vector(vector, true);
            }
            Some(Msr::Register(Register::EndOfInterrupt)) => self.end_of_interrupt(),
            Some(Msr::Register(Register::Errors)) => self.show_errors(),
            Some(Msr::Register(Register::TaskPriority)) => {
                let [priority, ..] = value.to_le_bytes();
                self.set_task_priority(priority);
            }
            Some(Msr::Register(register)) => {
                if is_read_only(register) {
                    return false;
                }
                self.set_register(register, halves(value)[0]);
            }
        }
        true
    }

    fn msr(&self, msr: u32) -> Option<Msr> {
        if msr == MSR_BASE {
            return Some(Msr::Base);
        }
        let number = msr.checked_sub(MSR_FIRST).filter(|number| *number < MSR_COUNT)?;
        let register = Register::numbered(number.into())?;
        let exists = self.mode == Mode::Msrs
            && !matches!(register, Register::DestinationFormat | Register::CommandHigh);
        exists.then_some(Msr::Register(register))
    }

    // IA32_APIC_BASE.

    fn base(&self) -> u64 {
        let mode = match self.mode {
            Mode::Disabled => 0,
            Mode::Memory => base::ENABLED,
            Mode::Msrs => base::ENABLED | base::X2APIC,
        };
        base::ADDRESS | base::BOOTSTRAP | mode
    }

    /// Changes the mode (the manual, §11.4.3, §11.12.5). False is a fault.
    fn set_base(&mut self, value: u64) -> bool {
        const MODE: u64 = base::ENABLED | base::X2APIC;
        if value & !(MODE | base::BOOTSTRAP) != base::ADDRESS {
            return false;
        }
        let to = match value & MODE {
            0 => Mode::Disabled,
            base::ENABLED => Mode::Memory,
            base::X2APIC => return false,
            _ => Mode::Msrs,
        };
        match (self.mode, to) {
            (Mode::Msrs, Mode::Memory) | (Mode::Disabled, Mode::Msrs) => return false,
            (_, Mode::Disabled) => *self = Self::powered_up(to, self.timer.now(), self.lint0),
            // The destination has another place there.
            (Mode::Memory, Mode::Msrs) => self.command = u64::from(halves(self.command)[0]),
            _ => {}
        }
        self.mode = to;
        true
    }

    // What both have in common.

    fn register(&self, register: Register) -> u32 {
        match register {
            Register::Version => VERSION,
            Register::TaskPriority => self.task_priority.into(),
            Register::ProcessorPriority => self.processor_priority().into(),
            Register::Spurious => self.spurious,
            Register::InService(word) => self.in_service.word(word),
            Register::TriggerMode(word) => self.level.word(word),
            Register::Requested(word) => self.requested.word(word),
            Register::Errors => self.errors_shown,
            Register::Local(entry) => self.local(entry),
            Register::InitialCount => self.timer.initial(),
            Register::CurrentCount => self.timer.current(),
            Register::Divide => self.timer.divide(),
            // The id is 0; the others have been read by the face that has them.
            Register::Id
            | Register::EndOfInterrupt
            | Register::LogicalDestination
            | Register::DestinationFormat
            | Register::Command
            | Register::CommandHigh
            | Register::SelfInterrupt => 0,
        }
    }

    fn set_register(&mut self, register: Register, value: u32) {
        match register {
            Register::Spurious => self.set_spurious(value),
            Register::Local(entry) => self.write_local(entry, value),
            Register::InitialCount => self.timer.start(value),
            Register::Divide => self.timer.set_divide(value),
            // Read-only, or written by the face that has it.
            _ => {}
        }
    }

    fn set_task_priority(&mut self, priority: u8) {
        self.task_priority = priority;
        self.settle();
    }

    /// Shows the errors since the last time.
    fn show_errors(&mut self) {
        self.errors_shown = std::mem::take(&mut self.errors);
    }

    /// Software-disabled, it masks all local vectors (the manual, §11.4.7.2). What is requested stays so.
    fn set_spurious(&mut self, value: u32) {
        self.spurious = value & spurious::WRITABLE;
        if !self.enabled() {
            self.local.iter_mut().for_each(|entry| *entry |= local::MASKED);
        }
    }

    fn write_local(&mut self, entry: Entry, value: u32) {
        let forced = if self.enabled() { 0 } else { local::MASKED };
        let mut new = value & entry.writable() | forced;
        if entry == Entry::Lint0 && new & (local::MODE | local::LEVEL) == local::LEVEL {
            new |= self.local(entry) & local::REMOTE_IRR;
        }
        self.set_local(entry, new);
        if entry == Entry::Lint0 {
            self.sample_lint0(false);
        }
    }
}

/// An MSR of the APIC.
enum Msr {
    Base,
    Register(Register),
}

/// The number of the register at an offset.
fn number(offset: u64) -> Option<u64> {
    offset.is_multiple_of(16).then_some(offset / 16)
}

/// The low and the high half.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Whether an MSR cannot be written.
fn is_read_only(register: Register) -> bool {
    matches!(
        register,
        Register::Id
            | Register::Version
            | Register::ProcessorPriority
            | Register::LogicalDestination
            | Register::InService(_)
            | Register::TriggerMode(_)
            | Register::Requested(_)
            | Register::CurrentCount
    )
}

/// The bits of an MSR that are not reserved (the manual, table 11-6).
fn writable(register: Register) -> u64 {
    match register {
        Register::TaskPriority | Register::SelfInterrupt => VECTOR.into(),
        Register::Spurious => spurious::WRITABLE.into(),
        Register::Command => 0xffff_ffff << 32 | command::WRITABLE | command::STATUS,
        Register::Local(entry) => (entry.writable() | entry.read_only()).into(),
        Register::InitialCount => 0xffff_ffff,
        Register::Divide => timer::DIVIDE.into(),
        // Only zero can be written, if anything.
        _ => 0,
    }
}
