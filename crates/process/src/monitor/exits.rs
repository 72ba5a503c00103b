//! Exits: translated code came through the gate because of a branch not yet linked, or of an instruction that only the
//! virtual CPU can do.

use iced_x86::Instruction;
use runu_core::End;
use runu_deprivilege::{
    access,
    emulate::{self, Effect, Trap},
    exception::Exception,
    lent::Operand,
    paging::{self, Intent},
    translate::{self, Conditions, Exit},
};

use super::{Monitor, Stop};
use crate::{
    cache::Moment,
    layout::{self, Reach},
};

/// Where host code goes on behind an exit, unless code has become stale since.
#[derive(Clone, Copy)]
struct Resume {
    host: u64,
    moment: Moment,
}

impl Monitor {
    /// Translated code left through exit `number`.
    pub(super) fn exit(&mut self, number: u32) -> Result<(), Stop> {
        self.counters.exits += 1;
        self.stepping = false;
        let loan = self.loan.take();
        let Some((exit, block)) = self.cache.exit(number) else {
            return Err(End::MonitorFailed { reason: format!("translated code took unknown exit {number}") });
        };
        let moment = self.cache.moment();
        match exit {
            Exit::Direct { target, site } => {
                let site = block + u64::from(*site);
                self.context.regs.rip = target.0;
                let from = self.context.regs;
                let host = self.translated()?;
                // Only if fetching the target raised no exception and made nothing stale. A departure finds its own entry, which
                // leads to the new block by now.
                if self.context.regs == from && self.cache.moment() == moment && host + 1 != site {
                    self.cache.link(site, host);
                }
                self.resume_at(host);
            }
            Exit::Indirect => {
                self.restore(1 << 1 | 1 << 2);
                let target = self.context.target;
                self.context.regs.rip = target;
                let from = self.context.regs;
                let host = self.translated()?;
                if self.context.regs == from {
                    self.cache.remember_target(target, host);
                }
                self.resume_at(host);
            }
            Exit::Emulate { instruction, resume } => {
                let resume = Resume { host: block + u64::from(*resume), moment };
                let instruction = **instruction;
                self.emulate(&instruction, resume)?;
            }
            Exit::Access { instruction, resume } => {
                let resume = Resume { host: block + u64::from(*resume), moment };
                let instruction = **instruction;
                self.access(&instruction, resume)?;
            }
            Exit::Lend { operand, resume } => {
                let (operand, resume) = (**operand, block + u64::from(*resume));
                self.lend(&operand, resume)?;
            }
            Exit::GiveBack { next, resume } => {
                let resume = Resume { host: block + u64::from(*resume), moment };
                self.context.regs.rip = next.0;
                if let Some(loan) = loan {
                    loan.give_back(&mut self.board, &self.context.area);
                }
                self.go_on_behind(resume)?;
            }
            Exit::Branch { instruction } => {
                let instruction = **instruction;
                self.context.regs.rip = instruction.ip();
                let context = &mut *self.context;
                if let Err(trap) =
                    translate::branch(&instruction, &mut context.cpu, &mut context.regs, &mut self.board)
                {
                    self.trap(trap)?;
                }
                self.go_on();
            }
            Exit::Enabled { next } => {
                self.context.regs.rip = next.0;
                self.go_on();
            }
            Exit::NotAvailable { at } => {
                self.context.regs.rip = at.0;
                self.trap(Trap::Exception(Exception { vector: 7, error_code: None, cr2: None }))?;
                self.go_on();
            }
            Exit::Undefined { at } => {
                self.context.regs.rip = at.0;
                self.trap(Trap::Exception(Exception::invalid_opcode()))?;
                self.go_on();
            }
            Exit::Fetch { at, missing } => {
                self.context.regs.rip = at.0;
                let missing = *missing;
                match paging::check(&self.context.cpu, &mut self.board, missing, Intent::Execute) {
                    Err(trap) => self.trap(trap)?,
                    // It can be fetched by now.
                    Ok(_) => self.retire_at(at.0),
                }
                self.go_on();
            }
        }
        Ok(())
    }

    fn retire_at(&mut self, rip: u64) {
        self.cache.retire_virtual(rip);
    }

    pub(super) fn restore(&mut self, spilled: u16) {
        // 32-bit code spills lower halves only, and has no others.
        let width = if self.context.cpu.long_mode_code() { u64::MAX } else { u64::from(u32::MAX) };
        for (n, (register, slot)) in self.context.regs.gpr.iter_mut().zip(self.context.spills).enumerate() {
            if spilled & 1 << n != 0 {
                *register = slot & width;
            }
        }
    }

    fn emulate(&mut self, insn: &Instruction, resume: Resume) -> Result<(), Stop> {
        self.take_port_writes();
        self.context.regs.rip = insn.ip();
        let context = &mut *self.context;
        let conditions = Conditions::of(&context.cpu);
        let result = emulate::emulate(insn, &mut context.cpu, &mut context.regs, &mut self.board, &self.host);
        if Conditions::of(&self.context.cpu) != conditions {
            self.forget_all_code();
        }
        self.carried_out(result, insn, resume)
    }

    fn access(&mut self, insn: &Instruction, resume: Resume) -> Result<(), Stop> {
        self.take_port_writes();
        self.context.regs.rip = insn.ip();
        let context = &mut *self.context;
        let result = access::access(insn, &mut context.cpu, &mut context.regs, &mut self.board);
        self.carried_out(result, insn, resume)
    }

    /// Lends an instruction its operand; it runs at host address `resume`.
    fn lend(&mut self, operand: &Operand, resume: u64) -> Result<(), Stop> {
        self.take_port_writes();
        self.context.regs.rip = operand.instruction().ip();
        let context = &mut *self.context;
        let (cpu, regs) = (&mut context.cpu, &mut context.regs);
        match operand.lend(cpu, regs, &mut self.board, &mut context.area) {
            Ok(loan) => {
                context.hand_over(&loan);
                self.loan = Some(loan);
                self.resume_at(resume);
            }
            Err(trap) => {
                self.trap(trap)?;
                self.go_on();
            }
        }
        Ok(())
    }

    /// The virtual CPU did an instruction, or could not.
    fn carried_out(
        &mut self,
        result: Result<Effect, Trap>,
        insn: &Instruction,
        resume: Resume,
    ) -> Result<(), Stop> {
        let effect = match result {
            Ok(effect) => effect,
            Err(Trap::Unsupported(what)) => {
                return Err(End::Unrepresentable { what, address: insn.ip() });
            }
            Err(trap) => {
                self.trap(trap)?;
                self.go_on();
                return Ok(());
            }
        };
        match effect {
            // `sti; hlt` must find what is pending still pending: nothing else would end the halt.
            Effect::NextShadowed if self.next_is_halt() => {
                let host = self.translated()?;
                self.resume_at(host);
                return Ok(());
            }
            Effect::Next | Effect::NextShadowed => return self.go_on_behind(resume),
            Effect::Jump | Effect::Again => {}
            Effect::Halt => self.halt()?,
            Effect::FlushAll => {
                self.shadow.clear().map_err(|error| self.failed(error))?;
                self.forget_all_code();
            }
            Effect::FlushPage(va) => {
                let retired = self.cache.retire_virtual(va.0);
                self.forget_sites(&retired);
                if layout::reach(va.0) != Reach::Out {
                    self.shadow.unmap_around(layout::host_of(va.0)).map_err(|error| self.failed(error))?;
                }
            }
        }
        self.go_on();
        Ok(())
    }

    /// The instruction has been done: looks at what it did to devices and code, and goes on.
    fn go_on_behind(&mut self, resume: Resume) -> Result<(), Stop> {
        let rip = self.context.regs.rip;
        self.settle()?;
        if self.context.regs.rip == rip && self.cache.moment() == resume.moment {
            self.resume_at(resume.host);
        } else {
            self.go_on();
        }
        Ok(())
    }

    fn next_is_halt(&mut self) -> bool {
        const HLT: u8 = 0xf4;
        let mut byte = [0];
        self.fetch(self.context.regs.rip, &mut byte).is_ok() && byte == [HLT]
    }
}
