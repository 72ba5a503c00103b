//! Far transfers: jumps, calls and returns between code segments, interrupt returns, software interrupts, SYSCALL.
//!
//! The guest stays at CPL 0. What would leave it (a return to an outer privilege level, SYSRET) is refused by name, so
//! is what needs gates or tasks. Changing between 64-bit and 32-bit code is an ordinary far transfer.

use iced_x86::{Code, Mnemonic};

use super::{
    Effect, Step, Trap,
    segments::{
        Descriptor, Segment, descriptor, is_null, mark_accessed, requested_privilege, selector_fault,
    },
};
use crate::{
    cpu::{Cpu, SystemCall, efer, flag, segment},
    exception::{self, Exception, vector},
};

/// Segment registers that 32-bit code addresses through: ES, CS, SS, DS.
const FLAT_NEEDED: u8 = 0b1111;

/// Hardware numbers of the registers that SYSCALL uses.
const RCX: usize = 1;
const R11: usize = 11;

/// A code segment that passed its checks.
#[derive(Clone, Copy)]
struct CodeSegment {
    segment: Segment,
    long: bool,
}

impl Step<'_> {
    pub(super) fn far_jump(&mut self) -> Result<Effect, Trap> {
        let (offset, selector, _) = self.far_target()?;
        let code = self.code_segment(selector)?;
        self.check_target(code, offset)?;
        self.enter(code, offset)?;
        Ok(Effect::Jump)
    }

    pub(super) fn far_call(&mut self) -> Result<Effect, Trap> {
        let (offset, selector, width) = self.far_target()?;
        let code = self.code_segment(selector)?;
        self.check_target(code, offset)?;
        let stack = self.rsp();
        let here = self.selector(segment::CS);
        let pushed = self.push(here.into(), width).and_then(|()| self.push(self.next_rip(), width));
        let entered = pushed.and_then(|()| self.enter(code, offset));
        if let Err(trap) = entered {
            self.set_rsp(stack);
            return Err(trap);
        }
        Ok(Effect::Jump)
    }

    pub(super) fn far_return(&mut self) -> Result<Effect, Trap> {
        let width = match self.insn.code() {
            Code::Retfq | Code::Retfq_imm16 => 8,
            Code::Retfd | Code::Retfd_imm16 => 4,
            _ => 2,
        };
        let offset = self.peek(0, width)?;
        let selector = (self.peek(width.into(), width)? & 0xffff) as u16;
        self.refuse_outer_privilege(selector)?;
        let code = self.code_segment(selector)?;
        self.check_target(code, offset)?;
        let parameters = if self.insn.op_count() == 1 { self.operand(0)? & 0xffff } else { 0 };
        let stack = self.rsp();
        self.drop_stack(2 * u64::from(width) + parameters);
        if let Err(trap) = self.enter(code, offset) {
            self.set_rsp(stack);
            return Err(trap);
        }
        Ok(Effect::Jump)
    }

    /// Intel SDM vol. 2A, IRET: five words from 64-bit code, three from 32-bit code of the same privilege.
    pub(super) fn iret(&mut self) -> Result<Effect, Trap> {
        let width: u8 = match self.insn.mnemonic() {
            Mnemonic::Iretq => 8,
            Mnemonic::Iretd => 4,
            _ => return Err(self.unsupported("a 16-bit interrupt frame")),
        };
        if self.cpu.kept_flags & flag::NESTED_TASK != 0 {
            let long = self.cpu.long_mode();
            return Err(if long {
                general_protection()
            } else {
                self.unsupported("a return to another task")
            });
        }
        let step = u64::from(width);
        let offset = self.peek(0, width)?;
        let selector = (self.peek(step, width)? & 0xffff) as u16;
        let flags = self.peek(2 * step, width)?;
        let from_long = self.cpu.long_mode_code();
        if !self.cpu.long_mode() && flags & flag::VIRTUAL_8086 != 0 {
            return Err(self.unsupported("virtual-8086 mode"));
        }
        self.refuse_single_step(flags)?;
        self.refuse_outer_privilege(selector)?;
        let stack = if from_long {
            Some((self.peek(3 * step, width)?, (self.peek(4 * step, width)? & 0xffff) as u16))
        } else {
            None
        };

        let code = self.code_segment(selector)?;
        self.check_target(code, offset)?;
        mark_accessed(self.cpu, self.bus, code.segment)?;
        match stack {
            Some((pointer, selector)) => {
                if is_null(selector) && !code.long {
                    return Err(general_protection());
                }
                self.load_segment(segment::SS, selector)?;
                self.set_rsp(pointer);
            }
            None => self.drop_stack(3 * step),
        }
        self.load_flags(flags, width.into());
        self.switch(code, offset)?;
        Ok(Effect::Jump)
    }

    pub(super) fn software_interrupt(&mut self) -> Result<Effect, Trap> {
        let vector = match self.insn.mnemonic() {
            Mnemonic::Int1 => vector::DEBUG,
            Mnemonic::Int3 => vector::BREAKPOINT,
            Mnemonic::Into if !self.overflow() => return Ok(Effect::Next),
            Mnemonic::Into => vector::OVERFLOW,
            _ => self.insn.immediate8(),
        };
        let next = self.next_rip();
        exception::software(self.cpu, self.regs, self.bus, vector, next)?;
        Ok(Effect::Jump)
    }

    /// Intel SDM vol. 2B, SYSCALL. No descriptor is read: CS and SS are flat by definition.
    pub(super) fn syscall(&mut self) -> Result<Effect, Trap> {
        if self.cpu.efer & efer::SCE == 0 || !self.cpu.long_mode_code() {
            return Err(Exception::invalid_opcode().into());
        }
        let call = SystemCall::of(self.cpu);
        let flags = self.cpu.rflags(self.regs);
        let next = self.next_rip();
        if let Some(rcx) = self.regs.gpr.get_mut(RCX) {
            *rcx = next;
        }
        if let Some(r11) = self.regs.gpr.get_mut(R11) {
            *r11 = flags;
        }
        self.cpu.set_rflags(self.regs, flags & !call.mask);
        let [_, cs, ss, ..] = &mut self.cpu.selectors;
        (*cs, *ss) = (call.code, call.stack);
        self.cpu.bounded_segments &= !(1 << segment::CS | 1 << segment::SS);
        self.regs.rip = call.target.0;
        Ok(Effect::Jump)
    }

    /// SYSRET always enters CPL 3 (Intel SDM vol. 2B).
    pub(super) fn sysret(&mut self) -> Result<Effect, Trap> {
        if self.cpu.efer & efer::SCE == 0 || !self.cpu.long_mode_code() {
            return Err(Exception::invalid_opcode().into());
        }
        let returns_to_long = self.insn.code() == Code::Sysretq;
        let target = self.regs.gpr.get(RCX).copied().unwrap_or(0);
        if returns_to_long && !Cpu::canonical(target) {
            return Err(general_protection());
        }
        Err(self.unsupported("code at privilege level 3 inside the guest"))
    }

    /// Offset, selector and operand width of a far jump or call.
    fn far_target(&mut self) -> Result<(u64, u16, u8), Trap> {
        let width = match self.insn.code() {
            Code::Jmp_ptr1616 | Code::Call_ptr1616 => {
                return Ok((self.insn.far_branch16().into(), self.insn.far_branch_selector(), 2));
            }
            Code::Jmp_ptr1632 | Code::Call_ptr1632 => {
                return Ok((self.insn.far_branch32().into(), self.insn.far_branch_selector(), 4));
            }
            Code::Jmp_m1616 | Code::Call_m1616 => 2,
            Code::Jmp_m1632 | Code::Call_m1632 => 4,
            Code::Jmp_m1664 | Code::Call_m1664 => 8,
            _ => return Err(self.unsupported("not an instruction that is emulated")),
        };
        let (offset, selector) = self.far_pointer(width.into())?;
        Ok((offset, selector, width))
    }

    fn refuse_outer_privilege(&self, selector: u16) -> Result<(), Trap> {
        match requested_privilege(selector) {
            0 => Ok(()),
            level => Err(self.unsupported(&format!("code at privilege level {level} inside the guest"))),
        }
    }

    /// Checks that a selector names code that CPL 0 can transfer to (Intel SDM vol. 3 §6.8.1).
    fn code_segment(&mut self, selector: u16) -> Result<CodeSegment, Trap> {
        let gp = || selector_fault(vector::GENERAL_PROTECTION, selector);
        if is_null(selector) {
            return Err(general_protection());
        }
        let segment = descriptor(self.cpu, self.bus, selector)?.ok_or_else(gp)?;
        let found = segment.descriptor;
        if is_gate_or_task(found, self.cpu.long_mode()) {
            return Err(self.unsupported("a call gate or a task"));
        }
        let privileged =
            found.privilege() == 0 && (found.is_conforming() || requested_privilege(selector) == 0);
        let long = self.cpu.long_mode() && found.is_long();
        if !found.is_code() || !privileged || long && found.is_big() {
            return Err(gp());
        }
        if !found.is_present() {
            return Err(selector_fault(vector::NOT_PRESENT, selector));
        }
        if !long && !found.is_flat() {
            return Err(self.unsupported("16-bit code, or 32-bit code in a segment with a base or limit"));
        }
        Ok(CodeSegment { segment, long })
    }

    /// The target must be canonical, or within 4 GiB in 32-bit code.
    fn check_target(&self, code: CodeSegment, offset: u64) -> Result<(), Trap> {
        let reachable = if code.long { Cpu::canonical(offset) } else { offset >> 32 == 0 };
        if reachable { Ok(()) } else { Err(general_protection()) }
    }

    fn enter(&mut self, code: CodeSegment, offset: u64) -> Result<(), Trap> {
        mark_accessed(self.cpu, self.bus, code.segment)?;
        self.switch(code, offset)
    }

    /// Makes a checked code segment and target current.
    fn switch(&mut self, code: CodeSegment, offset: u64) -> Result<(), Trap> {
        if !code.long {
            if self.cpu.bounded_segments & FLAT_NEEDED & !(1 << segment::CS) != 0 {
                return Err(self.unsupported("32-bit code with data segments that have a base or limit"));
            }
            // Upper halves are undefined after leaving 64-bit mode (Intel SDM vol. 1 §3.4.1.1).
            for register in &mut self.regs.gpr {
                *register &= 0xffff_ffff;
            }
        }
        let [_, cs, ..] = &mut self.cpu.selectors;
        *cs = code.segment.selector & !3;
        self.cpu.bounded_segments &= !(1 << segment::CS);
        self.cpu.code64 = code.long.into();
        self.regs.rip = offset;
        Ok(())
    }
}

fn general_protection() -> Trap {
    Exception::general_protection(0).into()
}

/// Call gates, and outside long mode task gates and TSSs (Intel SDM vol. 3, table 3-2).
fn is_gate_or_task(found: Descriptor, long: bool) -> bool {
    if found.is_code_or_data() {
        return false;
    }
    match found.kind() {
        12 => true,
        1 | 4 | 5 | 9 => !long,
        _ => false,
    }
}
