//! The local APIC, after the Intel SDM vol. 3, chapter 11, as a kernel's driver knows it.

mod interrupts;
mod model;
mod msrs;
mod timer;

use runu_core::GuestAddr;
use runu_machine::Nanos;

use super::Bench;

/// Numbers of registers (table 11-1, a sixteenth of the offset).
mod register {
    pub(super) const ID: u32 = 0x02;
    pub(super) const VERSION: u32 = 0x03;
    pub(super) const TASK_PRIORITY: u32 = 0x08;
    pub(super) const PROCESSOR_PRIORITY: u32 = 0x0a;
    pub(super) const END: u32 = 0x0b;
    pub(super) const LOGICAL_DESTINATION: u32 = 0x0d;
    pub(super) const DESTINATION_FORMAT: u32 = 0x0e;
    pub(super) const SPURIOUS: u32 = 0x0f;
    pub(super) const IN_SERVICE: u32 = 0x10;
    pub(super) const TRIGGER_MODE: u32 = 0x18;
    pub(super) const REQUESTED: u32 = 0x20;
    pub(super) const ERRORS: u32 = 0x28;
    pub(super) const COMMAND: u32 = 0x30;
    pub(super) const COMMAND_HIGH: u32 = 0x31;
    pub(super) const TIMER: u32 = 0x32;
    pub(super) const LINT0: u32 = 0x35;
    pub(super) const LINT1: u32 = 0x36;
    pub(super) const ERROR: u32 = 0x37;
    pub(super) const INITIAL: u32 = 0x38;
    pub(super) const CURRENT: u32 = 0x39;
    pub(super) const DIVIDE: u32 = 0x3e;
    pub(super) const SELF: u32 = 0x3f;
}

const MASKED: u32 = 1 << 16;
const EXTINT: u32 = 0b111 << 8;
const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;
const BY_1: u32 = 0b1011;

/// IA32_APIC_BASE, its bits, and the MSR of register 0.
const BASE: u32 = 0x1b;
const OFF: u64 = 0xfee0_0100;
const IN_MEMORY: u64 = OFF | 1 << 11;
const BY_MSRS: u64 = OFF | 1 << 11 | 1 << 10;
const MSR: u32 = 0x800;

impl Bench {
    /// Reads a register in memory.
    fn apic(&mut self, register: u32) -> u32 {
        let mut bytes = [0; 4];
        assert!(self.pc.read_memory(address(register), &mut bytes, self.now), "its registers are memory");
        u32::from_le_bytes(bytes)
    }

    /// Writes a register in memory.
    fn set_apic(&mut self, register: u32, value: u32) {
        assert!(self.pc.write_memory(address(register), &value.to_le_bytes(), self.now));
    }

    fn rdmsr(&mut self, msr: u32) -> Option<u64> {
        self.pc.read_msr(msr, self.now)
    }

    fn wrmsr(&mut self, msr: u32, value: u64) -> bool {
        self.pc.write_msr(msr, value, self.now)
    }

    /// Time moves to so many nanoseconds since zero; timers follow.
    fn at_ns(&mut self, ns: u64) {
        self.now = Nanos(ns);
        self.pc.tick(self.now);
    }

    /// Sends a vector to the processor itself.
    fn send(&mut self, vector: u32) {
        self.set_apic(register::COMMAND, 1 << 18 | vector);
    }

    /// Takes an interrupt and tells its end at once, again and again.
    fn take_all(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some(vector) = self.interrupt() {
            self.set_apic(register::END, 0);
            taken.push(vector);
        }
        taken
    }
}

fn address(register: u32) -> GuestAddr {
    GuestAddr(0xfee0_0000 + u64::from(register) * 16)
}
