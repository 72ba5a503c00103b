//! One passage through a gate of the interrupt table: checks, stack, frame, new code.

use runu_core::VirtAddr;

use super::{Exception, vector};
use crate::{
    bus::Bus,
    cpu::{Cpu, RSP, Registers, flag, segment},
    emulate::{Segment, Trap, descriptor, mark_accessed},
    paging,
};

/// Where an event comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// An instruction raised it.
    Exception,
    /// A device asked for it.
    External,
    /// An instruction asked for it.
    Software,
}

/// What is to be delivered.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) vector: u8,
    pub(super) error_code: Option<u32>,
    pub(super) origin: Origin,
    /// Where the handler is to return to.
    pub(super) return_rip: u64,
}

impl Event {
    /// The EXT bit of error codes: the fault is not the program's (Intel SDM vol. 3 §7.13).
    fn external(self) -> u32 {
        u32::from(self.origin != Origin::Software)
    }

    /// A fault whose error code names this event's gate (bit 1: IDT).
    fn gate_fault(self, vector: u8) -> Trap {
        let code = u32::from(self.vector) << 3 | 2 | self.external();
        Exception { vector, error_code: Some(code), cr2: None }.into()
    }

    /// A fault whose error code names a selector, or none.
    fn selector_fault(self, vector: u8, selector: u16) -> Trap {
        let code = u32::from(selector & !3) | self.external();
        Exception { vector, error_code: Some(code), cr2: None }.into()
    }

    /// RFLAGS to be saved: RF is set for faults, so that an instruction breakpoint does not hit again (Intel SDM
    /// vol. 3 §19.3.1.1).
    fn saved_flags(self, cpu: &Cpu, regs: &Registers) -> u64 {
        let not_a_fault = matches!(
            self.vector,
            vector::DEBUG
                | vector::BREAKPOINT
                | vector::OVERFLOW
                | vector::DOUBLE_FAULT
                | vector::MACHINE_CHECK
        );
        let resume = if self.origin == Origin::Exception && !not_a_fault { flag::RESUME } else { 0 };
        cpu.rflags(regs) | resume
    }
}

/// Types of gates (Intel SDM vol. 3, table 3-2).
mod kind {
    pub(super) const TASK: u8 = 5;
    pub(super) const INTERRUPT16: u8 = 6;
    pub(super) const TRAP16: u8 = 7;
    pub(super) const INTERRUPT: u8 = 14;
    pub(super) const TRAP: u8 = 15;
}

/// A gate of the interrupt table.
struct Gate {
    selector: u16,
    offset: u64,
    /// Number of the stack in the TSS; 0 keeps the current one.
    stack: u8,
    /// An interrupt gate clears IF, a trap gate does not.
    masks: bool,
}

/// Passes through the gate of an event. Registers and CPU are untouched on error.
pub(super) fn enter(
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
    event: Event,
) -> Result<(), Trap> {
    let gate = read_gate(cpu, bus, event)?;
    let handler = handler_segment(cpu, bus, event, gate.selector)?;
    let long = cpu.long_mode();
    if long && !Cpu::canonical(gate.offset) {
        return Err(event.selector_fault(vector::GENERAL_PROTECTION, 0));
    }
    let rsp = if long {
        push_long(cpu, regs, bus, event, gate.stack)?
    } else {
        push_protected(cpu, regs, bus, event)?
    };
    mark_accessed(cpu, bus, handler)?;

    if let Some(register) = regs.gpr.get_mut(RSP) {
        *register = rsp;
    }
    let flags = cpu.rflags(regs) & !(flag::NESTED_TASK | if gate.masks { flag::INTERRUPT } else { 0 });
    cpu.set_rflags(regs, flags);
    let [_, cs, ..] = &mut cpu.selectors;
    *cs = gate.selector & !3;
    cpu.bounded_segments &= !(1 << segment::CS);
    cpu.code64 = long.into();
    regs.rip = gate.offset;
    Ok(())
}

fn read_gate(cpu: &Cpu, bus: &mut dyn Bus, event: Event) -> Result<Gate, Trap> {
    let long = cpu.long_mode();
    let size: u16 = if long { 16 } else { 8 };
    let offset = u16::from(event.vector) * size;
    if offset + (size - 1) > cpu.idt.limit {
        return Err(event.gate_fault(vector::GENERAL_PROTECTION));
    }
    let at = cpu.idt.base.wrapping_add(offset.into());
    let low = paging::read_value(cpu, bus, VirtAddr(at), 8)?;
    let high = if long { paging::read_value(cpu, bus, VirtAddr(at.wrapping_add(8)), 8)? } else { 0 };

    // Bits 44 to 40: the system bit, which must be 0, and the type.
    let kind = (low >> 40 & 0x1f) as u8;
    match kind {
        kind::INTERRUPT | kind::TRAP => {}
        kind::INTERRUPT16 | kind::TRAP16 | kind::TASK if !long => {
            return Err(Trap::Unsupported("a task gate or 16-bit gate in the interrupt table".to_owned()));
        }
        _ => return Err(event.gate_fault(vector::GENERAL_PROTECTION)),
    }
    let present = low >> 47 & 1 != 0;
    if !present {
        return Err(event.gate_fault(vector::NOT_PRESENT));
    }
    Ok(Gate {
        selector: (low >> 16 & 0xffff) as u16,
        offset: (low & 0xffff) | (low >> 32 & 0xffff_0000) | high << 32,
        stack: if long { (low >> 32 & 7) as u8 } else { 0 },
        masks: kind == kind::INTERRUPT,
    })
}

/// The code segment of a handler: CPL 0 code, 64-bit in long mode, flat 32-bit elsewhere.
fn handler_segment(cpu: &Cpu, bus: &mut dyn Bus, event: Event, selector: u16) -> Result<Segment, Trap> {
    if selector & !3 == 0 {
        return Err(event.selector_fault(vector::GENERAL_PROTECTION, 0));
    }
    let gp = || event.selector_fault(vector::GENERAL_PROTECTION, selector);
    let segment = descriptor(cpu, bus, selector)?.ok_or_else(gp)?;
    let found = segment.descriptor;
    let width_fits = !cpu.long_mode() || found.is_long() && !found.is_big();
    if !found.is_code() || found.privilege() != 0 || !width_fits {
        return Err(gp());
    }
    if !found.is_present() {
        return Err(event.selector_fault(vector::NOT_PRESENT, selector));
    }
    if !cpu.long_mode() && !found.is_flat() {
        return Err(Trap::Unsupported("an interrupt handler in 16-bit or bounded code".to_owned()));
    }
    Ok(segment)
}

/// Pushes the frame of long mode and returns the new stack pointer.
fn push_long(cpu: &Cpu, regs: &Registers, bus: &mut dyn Bus, event: Event, stack: u8) -> Result<u64, Trap> {
    let old = regs.gpr.get(RSP).copied().unwrap_or(0);
    let top = if stack == 0 { old } else { interrupt_stack(cpu, bus, event, stack)? };
    let [_, cs, ss, ..] = cpu.selectors;
    let flags = event.saved_flags(cpu, regs);
    let error_code = u64::from(event.error_code.unwrap_or(0));
    let frame = [error_code, event.return_rip, cs.into(), flags, old, ss.into()];
    let mut bytes = [0; 48];
    for (to, from) in bytes.chunks_exact_mut(8).zip(frame) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    let pushed = if event.error_code.is_some() { bytes.as_slice() } else { bytes.get(8..).unwrap_or(&[]) };

    // Frames are aligned to 16 bytes (Intel SDM vol. 3 §7.14.2).
    let top = top & !15;
    let len = if event.error_code.is_some() { 48 } else { 40 };
    let bottom = top.wrapping_sub(len);
    if !Cpu::canonical(bottom) || !Cpu::canonical(top.wrapping_sub(1)) {
        return Err(event.selector_fault(vector::STACK, 0));
    }
    paging::write(cpu, bus, VirtAddr(bottom), pushed)?;
    Ok(bottom)
}

/// Reads IST entry 1 to 7 from the TSS (Intel SDM vol. 3 §9.7).
fn interrupt_stack(cpu: &Cpu, bus: &mut dyn Bus, event: Event, number: u8) -> Result<u64, Trap> {
    const FIRST: u32 = 0x24;
    let offset = FIRST + 8 * (u32::from(number) - 1);
    if cpu.task.selector == 0 || offset + 7 > cpu.task.limit {
        return Err(event.selector_fault(vector::INVALID_TSS, cpu.task.selector));
    }
    let stack = paging::read_value(cpu, bus, VirtAddr(cpu.task.base.wrapping_add(offset.into())), 8)?;
    if Cpu::canonical(stack) { Ok(stack) } else { Err(event.selector_fault(vector::STACK, 0)) }
}

/// Pushes the frame of 32-bit protected mode at the same privilege and returns the new stack pointer.
fn push_protected(cpu: &Cpu, regs: &Registers, bus: &mut dyn Bus, event: Event) -> Result<u64, Trap> {
    let top = regs.gpr.get(RSP).copied().unwrap_or(0);
    let [_, cs, ..] = cpu.selectors;
    let error_code = u64::from(event.error_code.unwrap_or(0));
    let frame = [error_code, event.return_rip, cs.into(), event.saved_flags(cpu, regs)];
    let mut bytes = [0; 16];
    for (to, from) in bytes.chunks_exact_mut(4).zip(frame) {
        // 32-bit code holds nothing above 4 GiB.
        to.copy_from_slice(&((from & 0xffff_ffff) as u32).to_le_bytes());
    }
    let (len, pushed) =
        if event.error_code.is_some() { (16, bytes.as_slice()) } else { (12, bytes.get(4..).unwrap_or(&[])) };
    let bottom = top.wrapping_sub(len) & 0xffff_ffff;
    paging::write(cpu, bus, VirtAddr(bottom), pushed)?;
    Ok(bottom)
}
