//! A machine for tests: a CPU as a kernel has it after booting, and code given as bytes.

use iced_x86::{Decoder, DecoderOptions, Instruction};
use runu_core::GuestAddr;

use super::{Effect, Trap, emulate};
use crate::{
    access::access,
    bus::fake::Fake,
    cpu::{Cpu, Registers, SystemSegment, Table},
    cpuid::{Clocks, Host},
};

/// Where things are.
pub(crate) const PML4: u64 = 0x1000;
pub(crate) const PDPT: u64 = 0x2000;
pub(crate) const GDT: u64 = 0x4000;
pub(crate) const IDT: u64 = 0x5000;
pub(crate) const TSS: u64 = 0x6000;
pub(crate) const STACK: u64 = 0x8000;
pub(crate) const CODE: u64 = 0x9000;
pub(crate) const DATA: u64 = 0xa000;
/// The first address that is not RAM.
pub(crate) const DEVICE: u64 = 0x10_0000;

/// Selectors of the table at [`GDT`].
pub(crate) mod selector {
    pub(crate) const CODE64: u16 = 0x08;
    pub(crate) const DATA: u16 = 0x10;
    pub(crate) const CODE32: u16 = 0x18;
    /// Sixteen bytes: two slots.
    pub(crate) const TASK: u16 = 0x20;
    pub(crate) const USER_DATA: u16 = 0x30;
    pub(crate) const ABSENT_CODE: u16 = 0x38;
    pub(crate) const BASED_DATA: u16 = 0x40;
    pub(crate) const CALL_GATE: u16 = 0x48;
    pub(crate) const USER_CODE: u16 = 0x50;
    pub(crate) const ABSENT_DATA: u16 = 0x58;
    pub(crate) const BEYOND: u16 = 0x60;
}

/// Descriptors; bits as in Intel SDM vol. 3 §3.4.5.
const DESCRIPTORS: [u64; 12] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_9b00_0000_ffff,
    0x0000_8900_6000_0067,
    0,
    0x00cf_f300_0000_ffff,
    0x00af_1b00_0000_ffff,
    0x12cf_9234_5678_ffff,
    0x0000_8c00_0008_0000,
    0x00af_fb00_0000_ffff,
    0x00cf_1300_0000_ffff,
];

/// A machine under test.
pub(crate) struct Rig {
    pub(crate) cpu: Cpu,
    pub(crate) regs: Registers,
    pub(crate) bus: Fake,
    pub(crate) host: Host,
}

/// Frequencies that no test depends on.
pub(crate) const CLOCKS: Clocks = Clocks { tsc_khz: 3_000_000, apic_khz: 1_000_000 };

/// A host with every feature that CPUID can tell.
pub(crate) fn rich_host() -> Host {
    let leaves = |leaf, _| match leaf {
        0 => [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        0x8000_0000 => [0x8000_0021, 0, 0, 0],
        _ => [u32::MAX; 4],
    };
    Host::filtered(&leaves, CLOCKS, true)
}

impl Rig {
    /// A machine in 64-bit mode: the first GiB mapped to itself, a task with interrupt stacks, interrupts off.
    pub(crate) fn long() -> Self {
        let gdt = table(GDT);
        let mut rig = Self::with(Cpu::new_long64(GuestAddr(PML4), gdt, selector::CODE64, selector::DATA));
        rig.bus.poke_u64(PML4, PDPT | 3);
        rig.bus.poke_u64(PDPT, 0x83);
        rig.cpu.idt = Table { base: IDT, limit: 0xfff };
        rig.cpu.task = SystemSegment { base: TSS, limit: 0x67, selector: selector::TASK };
        rig
    }

    /// A machine in 32-bit protected mode without paging.
    pub(crate) fn protected() -> Self {
        Self::with(Cpu::new_protected32(table(GDT), selector::CODE32, selector::DATA))
    }

    fn with(cpu: Cpu) -> Self {
        let mut rig = Self { cpu, regs: Registers::default(), bus: Fake::new(), host: rich_host() };
        for (slot, descriptor) in (0..).zip(DESCRIPTORS) {
            rig.bus.poke_u64(GDT + 8 * slot, descriptor);
        }
        rig.regs.rip = CODE;
        rig.regs.rflags = 2;
        rig.set("rsp", STACK);
        rig
    }

    /// Decodes one instruction as the CPU would now.
    pub(crate) fn decode(&self, code: &[u8]) -> Instruction {
        Decoder::with_ip(self.cpu.code_size(), code, self.regs.rip, DecoderOptions::NONE).decode()
    }

    /// Emulates one instruction.
    pub(crate) fn run(&mut self, code: &[u8]) -> Result<Effect, Trap> {
        let insn = self.decode(code);
        emulate(&insn, &mut self.cpu, &mut self.regs, &mut self.bus, &self.host)
    }

    /// Carries out one data instruction.
    pub(crate) fn access(&mut self, code: &[u8]) -> Result<Effect, Trap> {
        let insn = self.decode(code);
        access(&insn, &mut self.cpu, &mut self.regs, &mut self.bus)
    }

    /// Runs an instruction that must raise an exception; its vector and error code.
    pub(crate) fn exception(&mut self, code: &[u8]) -> (u8, Option<u32>) {
        let before = (self.cpu.clone(), self.regs);
        let result = self.run(code);
        assert_eq!((&self.cpu, &self.regs), (&before.0, &before.1), "a faulting instruction changes nothing");
        match result {
            Err(Trap::Exception(exception)) => (exception.vector, exception.error_code),
            other => panic!("expected an exception, found {other:?}"),
        }
    }

    /// Runs an instruction that must be refused; the reason.
    pub(crate) fn refusal(&mut self, code: &[u8]) -> String {
        match self.run(code) {
            Err(Trap::Unsupported(why)) => why,
            other => panic!("expected a refusal, found {other:?}"),
        }
    }

    /// Sets a register by its 64-bit name.
    pub(crate) fn set(&mut self, name: &str, value: u64) {
        *self.slot(name) = value;
    }

    /// Reads a register by its 64-bit name.
    pub(crate) fn get(&mut self, name: &str) -> u64 {
        *self.slot(name)
    }

    fn slot(&mut self, name: &str) -> &mut u64 {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
            "r14", "r15",
        ];
        let slots = NAMES.iter().zip(&mut self.regs.gpr);
        let found = slots.filter(|(known, _)| **known == name).map(|(_, slot)| slot).next();
        found.expect("a register's name")
    }

    /// The 64-bit value that lies `n` words above the stack pointer.
    pub(crate) fn stacked(&mut self, n: u64) -> u64 {
        let at = self.get("rsp") + 8 * n;
        self.bus.peek_u64(at)
    }

    /// Installs a 64-bit gate: `attributes` is its type byte, `stack` its IST entry.
    pub(crate) fn gate(&mut self, vector: u64, handler: u64, attributes: u64, stack: u64) {
        let low = handler & 0xffff
            | u64::from(selector::CODE64) << 16
            | stack << 32
            | attributes << 40
            | (handler >> 16 & 0xffff) << 48;
        self.bus.poke_u64(IDT + 16 * vector, low);
        self.bus.poke_u64(IDT + 16 * vector + 8, handler >> 32);
    }
}

fn table(base: u64) -> Table {
    Table { base, limit: selector::BEYOND - 1 }
}

/// Type bytes of present gates.
pub(crate) const INTERRUPT_GATE: u64 = 0x8e;
pub(crate) const TRAP_GATE: u64 = 0x8f;
