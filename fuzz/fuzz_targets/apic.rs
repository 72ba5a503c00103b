//! A kernel that does anything to its local APIC, by both of its faces, and to the 8259s behind it, while time passes.
//!
//! What must hold: no panic; no deadline has passed when it is told; what the CPU takes from the APIC is more urgent than all
//! that is in service and than its task, and in service from then on.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use runu_core::GuestAddr;
use runu_machine::{Console, Nanos, Pc, PortSize, WallClock};

/// Steps of one run at most.
const STEPS: usize = 500;

/// The APIC's registers in memory; their MSRs; IA32_APIC_BASE.
const MEMORY: u64 = 0xfee0_0000;
const MSRS: u32 = 0x800;
const BASE: u32 = 0x1b;
/// The modes that it has: off, memory, MSRs.
const MODES: [u64; 3] = [0xfee0_0100, 0xfee0_0900, 0xfee0_0d00];
/// The 8259s' ports, and the old timer's.
const PORTS: [u16; 7] = [0x20, 0x21, 0xa0, 0xa1, 0x40, 0x43, 0x4d0];

/// Numbers of registers.
const TASK_PRIORITY: u64 = 0x08;
const IN_SERVICE: u64 = 0x10;

/// What a kernel and its world do.
#[derive(Arbitrary, Debug)]
enum Step {
    /// Reads the registers' memory.
    Read { register: u8, offset: u8, len: u8 },
    /// Writes it.
    Write { register: u8, offset: u8, bytes: Vec<u8> },
    /// Writes a register whole.
    Set { register: u8, value: u32 },
    /// Reads any MSR there may be.
    ReadMsr { register: u8 },
    /// Writes one.
    WriteMsr { register: u8, value: u64 },
    /// Switches to another mode, if that can be.
    Mode { mode: u8 },
    /// Writes IA32_APIC_BASE.
    WriteBase { value: u64 },
    /// Sends itself a vector.
    Send { vector: u8 },
    /// Tells the end of an interrupt.
    End,
    /// Writes CR8.
    TaskPriority { class: u8 },
    /// Uses the 8259s or the old timer.
    Port { port: u8, value: u8 },
    /// A device's line goes high or low.
    Line { line: u8, level: bool },
    /// Time passes.
    Wait { ns: u32, shift: u8 },
    /// Takes an interrupt, if it is asked for one.
    Take,
}

struct Nowhere;

impl Console for Nowhere {
    fn write(&mut self, _: &[u8]) {}
}

struct Machine {
    pc: Pc<Nowhere>,
    now: Nanos,
}

impl Machine {
    /// Reads a register by the face that it shows; `None` if it is off.
    fn register(&mut self, number: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        if self.pc.read_memory(GuestAddr(MEMORY + number * 16), &mut bytes, self.now) {
            return Some(u32::from_le_bytes(bytes));
        }
        self.pc.read_msr(MSRS + number as u32, self.now).map(|value| value as u32)
    }

    fn set(&mut self, number: u64, value: u32) {
        if !self.pc.write_memory(GuestAddr(MEMORY + number * 16), &value.to_le_bytes(), self.now) {
            self.pc.write_msr(MSRS + number as u32, value.into(), self.now);
        }
    }

    fn in_service(&mut self) -> Vec<u32> {
        let words = (0..8).map(|word| self.register(IN_SERVICE + word).unwrap_or(0));
        let words: Vec<u32> = words.collect();
        (0..256).filter(|vector| words[*vector as usize / 32] >> (vector % 32) & 1 != 0).collect()
    }

    fn take(&mut self) {
        let pending = self.pc.interrupt_pending();
        assert_eq!(pending, self.pc.interrupt_pending(), "asking changes nothing");
        if !pending {
            return;
        }
        let before = self.in_service();
        let task = self.register(TASK_PRIORITY).unwrap_or(0);
        let vector = u32::from(self.pc.acknowledge());
        let after = self.in_service();
        if after != before {
            let highest = before.last().copied().unwrap_or(0);
            assert!(vector >= 16 && vector >> 4 > highest >> 4 && vector >> 4 > task >> 4);
            assert_eq!(after.last(), Some(&vector));
            assert_eq!(after.len(), before.len() + 1);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Read { register, offset, len } => {
                let at = GuestAddr(MEMORY + u64::from(register) * 16 + u64::from(offset));
                self.pc.read_memory(at, &mut [0; 8][..usize::from(len % 9)], self.now);
            }
            Step::Write { register, offset, bytes } => {
                let at = GuestAddr(MEMORY + u64::from(register) * 16 + u64::from(offset));
                self.pc.write_memory(at, &bytes, self.now);
            }
            Step::Set { register, value } => self.set((register & 0x3f).into(), value),
            Step::ReadMsr { register } => {
                self.pc.read_msr(MSRS + u32::from(register), self.now);
            }
            Step::WriteMsr { register, value } => {
                self.pc.write_msr(MSRS + u32::from(register), value, self.now);
            }
            Step::Mode { mode } => {
                self.pc.write_msr(BASE, MODES[usize::from(mode) % MODES.len()], self.now);
            }
            Step::WriteBase { value } => {
                self.pc.write_msr(BASE, value, self.now);
            }
            Step::Send { vector } => self.set(0x30, 1 << 18 | u32::from(vector)),
            Step::End => self.set(0x0b, 0),
            Step::TaskPriority { class } => self.pc.set_priority_class(class),
            Step::Port { port, value } => {
                let port = PORTS[usize::from(port) % PORTS.len()];
                self.pc.write(port, PortSize::Byte, value.into(), self.now);
            }
            Step::Line { line, level } => self.pc.set_line(line & 0xf, level),
            Step::Wait { ns, shift } => {
                self.now = Nanos(self.now.0.saturating_add(u64::from(ns) << (shift % 20)));
                self.pc.tick(self.now);
            }
            Step::Take => self.take(),
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut machine = Machine { pc: Pc::new(Nowhere, WallClock::default()), now: Nanos(0) };
    for step in steps.into_iter().take(STEPS) {
        machine.step(step);
        machine.pc.tick(machine.now);
        assert!(machine.pc.next_deadline().is_none_or(|deadline| deadline > machine.now));
        assert!(machine.pc.priority_class() < 16);
    }
});
