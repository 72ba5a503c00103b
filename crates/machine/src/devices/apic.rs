//! The local APIC of the only CPU (Intel SDM vol. 3, chapter 11, *the manual* below).
//!
//! It has a timer, sends interrupts to itself, and lets those of the 8259s through its pin LINT0. So it is left by a PC's
//! firmware ("virtual wire mode", MultiProcessor Specification 1.4 §3.6.2.2), and a kernel that knows the 8259s alone never
//! notices it. Its registers are reached as memory (xAPIC) or, when a kernel has switched to that, as MSRs (x2APIC).
//!
//! An interrupt that it accepts waits in the set of those requested until it is more urgent than what the CPU does; the CPU
//! takes it, which moves it to the set of those in service, and tells its end. Nothing waits between devices and
//! these sets, so whatever a register says about a delivery under way is "done".
//!
//! Not there: other CPUs and an I/O APIC, so only messages to itself arrive; NMI, SMI, INIT and start-up, which are dropped
//! whoever they are for; the timer's TSC-deadline mode; an address other than the usual one.

mod faces;
mod registers;
mod timer;
mod vectors;

use super::Nanos;

use self::{
    registers::{ENTRIES, Entry, command, error, local, spurious},
    timer::Timer,
    vectors::Vectors,
};

/// How fast the local APIC's timer counts where nothing is divided, in kHz. KVM's and QEMU's do the same.
pub const APIC_TIMER_KHZ: u32 = 1_000_000;

/// Vectors below are the CPU's own.
const LOWEST_VECTOR: u8 = 16;

/// How it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not at all: it is as if there were none.
    Disabled,
    Memory,
    Msrs,
}

/// The local APIC.
#[derive(Debug)]
pub(super) struct Apic {
    mode: Mode,
    task_priority: u8,
    /// LDR bits 31 to 24.
    logical_id: u8,
    /// DFR bits 31 to 28: 0xf is the flat model, 0 that of clusters.
    model: u8,
    /// SVR.
    spurious: u32,
    requested: Vectors,
    in_service: Vectors,
    /// Which of those requested and in service are level-triggered.
    level: Vectors,
    /// Errors since the guest last looked, and as it sees them.
    errors: u32,
    errors_shown: u32,
    /// ICR, with the destination as the mode has it.
    command: u64,
    local: [u32; ENTRIES],
    timer: Timer,
    /// Level of the pin LINT0: the 8259s ask for an interrupt.
    lint0: bool,
    /// The vector that the CPU is asked to take: kept, because it is asked for far more often than it changes.
    asks: Option<u8>,
}

impl Apic {
    /// As the firmware leaves it: enabled, LINT0 for the 8259s, LINT1 for an NMI that nobody raises.
    pub(super) fn new() -> Self {
        let mut apic = Self::powered_up(Mode::Memory, 0, false);
        apic.spurious |= spurious::ENABLED;
        apic.set_local(Entry::Lint0, local::EXTINT);
        apic.set_local(Entry::Lint1, local::NMI);
        apic
    }

    /// As after power-up (the manual, §11.4.7.1).
    fn powered_up(mode: Mode, now: u64, lint0: bool) -> Self {
        Self {
            mode,
            task_priority: 0,
            logical_id: 0,
            model: 0xf,
            spurious: 0xff,
            requested: Vectors::default(),
            in_service: Vectors::default(),
            level: Vectors::default(),
            errors: 0,
            errors_shown: 0,
            command: 0,
            local: [local::MASKED; ENTRIES],
            timer: Timer::new(now),
            lint0,
            asks: None,
        }
    }

    // The CPU's side.

    /// Whether the CPU is asked for an interrupt. `intr` is what the 8259s ask.
    #[inline]
    pub(super) fn pending(&mut self, intr: bool) -> bool {
        if self.lint0 != intr {
            self.set_lint0(intr);
        }
        self.asks.is_some() || intr && self.passes_8259()
    }

    /// The CPU takes an interrupt of the APIC's own, if one asks.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.asks?;
        self.requested.set(vector, false);
        self.in_service.set(vector, true);
        self.settle();
        Some(vector)
    }

    /// Whether interrupts of the 8259s reach the CPU, which then takes their vector from them. They pass all priorities.
    pub(super) fn passes_8259(&self) -> bool {
        let lint0 = self.local(Entry::Lint0) & (local::MODE | local::MASKED);
        self.mode == Mode::Disabled || lint0 == local::EXTINT
    }

    /// The vector that the CPU gets for an interrupt that is gone when it takes it (the manual, §11.9).
    pub(super) fn spurious_vector(&self) -> u8 {
        low_byte(self.spurious)
    }

    /// Whether it is not switched off.
    pub(super) fn is_on(&self) -> bool {
        self.mode != Mode::Disabled
    }

    /// CR8: bits 7 to 4 of the task priority.
    pub(super) fn priority_class(&self) -> u8 {
        self.task_priority >> 4
    }

    /// The CPU writes CR8 (the manual, §11.8.6.1).
    pub(super) fn set_priority_class(&mut self, class: u8) {
        self.task_priority = class << 4;
        self.settle();
    }

    // Time.

    /// Time passes.
    #[inline]
    pub(super) fn advance(&mut self, now: Nanos) {
        let entry = self.local(Entry::Timer);
        if self.timer.advance(now, entry & local::PERIODIC != 0) {
            self.raise(Entry::Timer);
        }
    }

    /// When the timer will ask for an interrupt that it does not ask for yet.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        let entry = self.local(Entry::Timer);
        let wanted = entry & local::MASKED == 0 && !self.requested.has(low_byte(entry));
        self.timer.next().filter(|_| wanted)
    }

    // Interrupts.

    fn local(&self, entry: Entry) -> u32 {
        self.local.get(entry as usize).copied().unwrap_or(local::MASKED)
    }

    fn set_local(&mut self, entry: Entry, value: u32) {
        if let Some(slot) = self.local.get_mut(entry as usize) {
            *slot = value;
        }
    }

    fn enabled(&self) -> bool {
        self.spurious & spurious::ENABLED != 0
    }

    /// Something of its own asks for the interrupt of an entry.
    fn raise(&mut self, entry: Entry) {
        let value = self.local(entry);
        if value & local::MASKED == 0 {
            self.accept(low_byte(value), false);
        }
    }

    /// Accepts an interrupt (the manual, §11.8.4).
    fn accept(&mut self, vector: u8, level: bool) {
        if vector < LOWEST_VECTOR {
            self.fail(error::RECEIVED_ILLEGAL_VECTOR);
        } else if self.enabled() {
            self.requested.set(vector, true);
            self.level.set(vector, level);
            self.settle();
        }
    }

    /// Something was wrong (the manual, §11.5.3).
    fn fail(&mut self, what: u32) {
        self.errors |= what;
        let vector = low_byte(self.local(Entry::Error));
        if vector < LOWEST_VECTOR {
            // An error as well, which asks for no interrupt: that would be illegal again.
            if self.local(Entry::Error) & local::MASKED == 0 {
                self.errors |= error::RECEIVED_ILLEGAL_VECTOR;
            }
        } else {
            self.raise(Entry::Error);
        }
    }

    /// The processor priority (the manual, §11.8.3.1): of what is in service or of the task, whichever is higher.
    fn processor_priority(&self) -> u8 {
        let in_service = self.in_service.highest().unwrap_or(0);
        if self.task_priority >> 4 >= in_service >> 4 { self.task_priority } else { in_service & 0xf0 }
    }

    /// Works out what the CPU is asked to take: the highest that is requested, if its class is above the CPU's.
    fn settle(&mut self) {
        let class = self.processor_priority() >> 4;
        self.asks = self.requested.highest().filter(|vector| vector >> 4 > class);
    }

    /// The CPU has done with what it took last (the manual, §11.8.5).
    fn end_of_interrupt(&mut self) {
        let Some(vector) = self.in_service.highest() else { return };
        self.in_service.set(vector, false);
        let lint0 = self.local(Entry::Lint0);
        if self.level.has(vector) && low_byte(lint0) == vector {
            self.set_local(Entry::Lint0, lint0 & !local::REMOTE_IRR);
            self.sample_lint0(false);
        }
        self.settle();
    }

    /// The pin LINT0 goes high or low.
    fn set_lint0(&mut self, high: bool) {
        self.lint0 = high;
        self.sample_lint0(high);
    }

    /// Raises the interrupt of LINT0, if it is one of the APIC's own (the manual, §11.5.1): because the pin `rose`, or because
    /// it is high and its level is what counts.
    fn sample_lint0(&mut self, rose: bool) {
        let entry = self.local(Entry::Lint0);
        let fixed = entry & (local::MODE | local::MASKED) == local::FIXED;
        if self.mode == Mode::Disabled || !fixed {
            return;
        }
        if entry & local::LEVEL == 0 {
            if rose {
                self.accept(low_byte(entry), false);
            }
        } else if self.lint0 && entry & local::REMOTE_IRR == 0 {
            self.set_local(Entry::Lint0, entry | local::REMOTE_IRR);
            self.accept(low_byte(entry), true);
        }
    }

    /// Sends what is in the command register (the manual, §11.6.1).
    fn send(&mut self) {
        let mode = self.command & command::MODE;
        if mode == command::FIXED || mode == command::LOWEST_PRIORITY {
            let [vector, ..] = self.command.to_le_bytes();
            self.send_vector(vector, self.is_destination());
        }
    }

    /// Sends an interrupt, to this CPU or to another, which there is not. Level-triggered ones are taken for edges (the
    /// manual, §11.6.1, "Trigger Mode").
    fn send_vector(&mut self, vector: u8, to_self: bool) {
        if vector < LOWEST_VECTOR {
            self.fail(error::SENT_ILLEGAL_VECTOR);
        } else if to_self {
            self.accept(vector, false);
        }
    }

    /// Whether what is in the command register is for this CPU (the manual, §11.6.2). Its id is 0.
    fn is_destination(&self) -> bool {
        let [_, _, _, _, destination @ ..] = self.command.to_le_bytes();
        let destination = u32::from_le_bytes(destination);
        let logical = self.command & command::LOGICAL != 0;
        match self.command & command::SHORTHAND {
            command::TO_DESTINATION => {}
            others => return others != command::TO_OTHERS,
        }
        if self.mode == Mode::Msrs {
            // A cluster of sixteen CPUs, and one bit for each of them (the manual, §11.12.10.2).
            let ours =
                if logical { destination >> 16 == 0 && destination & 1 != 0 } else { destination == 0 };
            return ours || destination == u32::MAX;
        }
        let [.., destination] = destination.to_le_bytes();
        let ours = match (logical, self.model) {
            (false, _) => destination == 0,
            (true, 0) => destination >> 4 == self.logical_id >> 4 && destination & self.logical_id & 0xf != 0,
            (true, _) => destination & self.logical_id != 0,
        };
        ours || destination == u8::MAX
    }
}

fn low_byte(value: u32) -> u8 {
    let [byte, ..] = value.to_le_bytes();
    byte
}
