//! One block in the making: what becomes of each instruction, and which marks and exits that takes.

#![expect(clippy::cast_possible_truncation, reason = "offsets in a block, which is some KiB long")]

use iced_x86::{Code, FlowControl, Instruction, OpKind, Register};
use runu_core::VirtAddr;

use crate::{cpu::SystemCall, lent::Operand};

use super::{
    Block, CodeSize, Exit, INSTRUCTIONS_MAX, Mark, Places, Site, Source,
    emit::{self, Emitter, Short},
    sensitive::{self, Handling, handling},
};

/// Whether a block goes on behind an instruction.
#[derive(PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    End,
}

/// A forward reference: a 32-bit displacement to fill in with the place of an exit's stub.
struct Stub {
    site: u32,
    exit: u32,
}

pub(super) struct Translator<'a> {
    source: &'a Source<'a>,
    emit: Emitter<'a>,
    pub(super) guest_len: u32,
    pub(super) instructions: u32,
    marks: Vec<Mark>,
    exits: Vec<Exit>,
    stubs: Vec<Stub>,
    /// Offset of the current instruction from the block's start.
    current: u32,
    /// The last instruction was `sti`: interrupts stay off until behind the next one (Intel SDM vol. 2, STI).
    enabling: bool,
}

impl<'a> Translator<'a> {
    pub(super) fn new(places: &'a Places, source: &'a Source<'a>) -> Self {
        let mut emit = Emitter::new(places, source.size);
        emit.entry();
        Translator {
            source,
            emit,
            guest_len: 0,
            instructions: 0,
            marks: Vec::with_capacity(32),
            exits: Vec::with_capacity(4),
            stubs: Vec::with_capacity(4),
            current: 0,
            enabling: false,
        }
    }

    pub(super) fn finish(mut self) -> Block {
        for stub in std::mem::take(&mut self.stubs) {
            let here = self.emit.here();
            self.mark(0, false);
            self.emit.patch_displacement(stub.site, here);
            self.emit.leave(stub.exit);
        }
        let departure = self.emit.here();
        self.mark(0, false);
        let target = self.source.start;
        self.leave(Exit::Direct { target, site: 1 });
        Block {
            departure,
            guest_len: self.guest_len,
            instructions: self.instructions,
            code: self.emit.finish(),
            marks: self.marks,
            exits: self.exits,
        }
    }

    // Marks.

    /// Starts the host code of the instruction at `offset`.
    pub(super) fn begin(&mut self, offset: usize, boundary: bool) {
        self.current = offset as u32;
        self.mark(0, boundary);
    }

    fn mark(&mut self, spilled: u16, boundary: bool) {
        let mark = Mark { host: self.emit.here(), guest: self.current, spilled, boundary };
        match self.marks.last_mut() {
            Some(last) if last.host == mark.host => *last = mark,
            _ => self.marks.push(mark),
        }
    }

    fn spill(&mut self, registers: &[Register], before: u16) -> u16 {
        let mut spilled = before;
        for &register in registers {
            self.emit.spill(register);
            spilled |= 1 << register.number();
        }
        self.mark(spilled, false);
        spilled
    }

    // Exits.

    fn exit(&mut self, exit: Exit) -> u32 {
        let number = self.source.first_exit + self.exits.len() as u32;
        self.exits.push(exit);
        number
    }

    /// Leaves here and now, for good.
    pub(super) fn leave(&mut self, exit: Exit) {
        let number = self.exit(exit);
        self.emit.leave(number);
    }

    /// Ends the block with a jump to a known address.
    pub(super) fn leave_to(&mut self, target: u64, offset: usize) {
        self.begin(offset, true);
        let site = self.emit.jump_rel32();
        self.link(target, site);
    }

    /// Makes the displacement at `site` lead to `target`, through an exit until the monitor links it.
    fn link(&mut self, target: u64, site: u32) {
        let exit = self.exit(Exit::Direct { target: VirtAddr(target), site });
        self.stubs.push(Stub { site, exit });
    }

    /// Leaves with the instruction; host code goes on behind.
    fn ask(&mut self, make: impl FnOnce(u32) -> Exit) {
        let resume = self.emit.here() + self.emit.leave_len();
        self.leave(make(resume));
        debug_assert_eq!(resume, self.emit.here());
    }

    // Instructions.

    pub(super) fn instruction(&mut self, insn: &Instruction, raw: &[u8], offset: usize) -> Then {
        let enabling = std::mem::take(&mut self.enabling);
        let site = (self.source.site)(insn.ip());
        // Behind the last instruction of a block nobody looks for the interrupt that `sti` lets in.
        let last =
            offset + insn.len() >= self.source.in_page || self.instructions as usize == INSTRUCTIONS_MAX;
        let handling = match handling(insn, self.source.size) {
            Handling::PushFlags | Handling::PopFlags
                if !self.source.conditions.inline_flags || site != Site::Native =>
            {
                Handling::Emulate
            }
            Handling::SystemCall if enabling || self.system_call().is_none() => Handling::EmulateAndEnd,
            Handling::EnableInterrupts if last => Handling::Emulate,
            other => other,
        };
        if !self.source.conditions.floating_point && sensitive::uses_floating_point(insn) {
            self.begin(offset, true);
            self.leave(Exit::NotAvailable { at: VirtAddr(insn.ip()) });
            return Then::End;
        }
        let branch = handling == Handling::Plain && insn.flow_control() != FlowControl::Next;
        if enabling && branch {
            // Behind it would be at its target: look before it.
            self.begin(offset, false);
            self.look_for_interrupt(insn.ip());
        }
        // An interrupt between `sti` and `hlt` would be lost to the halt: what `sti; hlt` exists to prevent.
        self.begin(offset, !enabling || branch);
        let then = match handling {
            Handling::Plain => self.plain(insn, raw),
            Handling::Emulate => {
                self.ask(|resume| Exit::Emulate { instruction: Box::new(*insn), resume });
                Then::GoOn
            }
            Handling::EmulateAndEnd => {
                self.ask(|resume| Exit::Emulate { instruction: Box::new(*insn), resume });
                self.leave_to(insn.next_ip(), offset + insn.len());
                Then::End
            }
            Handling::DisableInterrupts => {
                self.emit.disable_interrupts();
                Then::GoOn
            }
            Handling::EnableInterrupts => {
                self.emit.enable_interrupts();
                // A second `sti` in a row finds interrupts enabled and holds nothing off.
                self.enabling = !enabling;
                Then::GoOn
            }
            Handling::PushFlags => self.push_flags(),
            Handling::PopFlags => self.pop_flags(insn),
            Handling::SwapGs => self.swap_gs(),
            Handling::ReadMsr => self.read_msr(insn),
            Handling::WriteMsr => self.write_msr(insn),
            Handling::SystemCall => self.enter_kernel(insn),
            Handling::ReadPort => self.port(insn, Emitter::read_known_port),
            Handling::WritePort => self.port(insn, Emitter::queue_port_write),
            Handling::ReadField { register, field } => {
                self.emit.load(register, field);
                Then::GoOn
            }
            Handling::ReadSelector { register, field } => {
                self.emit.load_u16(register, field);
                Then::GoOn
            }
            Handling::ExtendedState => self.extended_state(insn),
        };
        // Behind an emulated instruction the monitor looks, `popf` looks itself, and behind `cli` there is nothing to see.
        let looks_itself = matches!(
            handling,
            Handling::Emulate
                | Handling::EmulateAndEnd
                | Handling::PopFlags
                | Handling::DisableInterrupts
                | Handling::SystemCall
        );
        if enabling && !branch && !looks_itself {
            self.begin(offset + insn.len(), false);
            self.look_for_interrupt(insn.next_ip());
        }
        then
    }

    fn plain(&mut self, insn: &Instruction, raw: &[u8]) -> Then {
        let site = (self.source.site)(insn.ip());
        match insn.flow_control() {
            FlowControl::Next => {
                self.data(insn, raw);
                Then::GoOn
            }
            FlowControl::ConditionalBranch => {
                let site = self.emit.conditional(insn, raw);
                self.link(insn.near_branch_target(), site);
                Then::GoOn
            }
            FlowControl::UnconditionalBranch => {
                let site = self.emit.jump_rel32();
                self.link(insn.near_branch_target(), site);
                Then::End
            }
            FlowControl::Call if site != Site::Native => {
                self.leave(Exit::Branch { instruction: Box::new(*insn) });
                Then::End
            }
            FlowControl::Call => {
                self.push_return(insn.next_ip());
                let site = self.emit.jump_rel32();
                self.link(insn.near_branch_target(), site);
                Then::End
            }
            FlowControl::IndirectBranch | FlowControl::IndirectCall | FlowControl::Return => {
                // Of what cannot be touched natively, only the operand of a jump is reached otherwise.
                let reached = match site {
                    Site::Native => true,
                    Site::Folded => {
                        insn.flow_control() == FlowControl::IndirectBranch && emit::has_foldable_operand(insn)
                    }
                    Site::OutOfReach => false,
                };
                if self.source.size == CodeSize::Bits64 && reached {
                    self.indirect(insn);
                } else {
                    self.leave(Exit::Branch { instruction: Box::new(*insn) });
                }
                Then::End
            }
            FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => {
                self.ask(|resume| Exit::Emulate { instruction: Box::new(*insn), resume });
                self.leave_to(insn.next_ip(), self.current as usize + insn.len());
                Then::End
            }
        }
    }

    /// An instruction that only computes: copied, with its memory operand made reachable.
    fn data(&mut self, insn: &Instruction, raw: &[u8]) {
        match (self.source.site)(insn.ip()) {
            Site::Native if insn.is_ip_rel_memory_operand() => self.relative(insn, raw),
            Site::Native => self.emit.copy(raw),
            Site::Folded if self.folded(insn) => {}
            Site::Folded | Site::OutOfReach => self.out_of_reach(insn),
        }
    }

    /// Lends the operand of an instruction, or lets the monitor do it.
    fn out_of_reach(&mut self, insn: &Instruction) {
        match Operand::of(insn) {
            Some(operand) => {
                let scratch = emit::free_register(insn);
                self.lend(operand);
                self.spill(&[scratch], 0);
                self.emit.load_lent_address(scratch);
                self.emit.with_lent(insn, scratch);
                self.emit.unspill(scratch);
                self.give_back(&operand);
            }
            None => self.ask(|resume| Exit::Access { instruction: Box::new(*insn), resume }),
        }
    }

    fn lend(&mut self, operand: Operand) {
        self.ask(|resume| Exit::Lend { operand: Box::new(operand), resume });
        self.mark(0, false);
    }

    /// Behind an instruction on a lent operand. What only reads has nothing to give back, but an interrupt that came since it
    /// was lent has been held off.
    fn give_back(&mut self, operand: &Operand) {
        self.mark(0, false);
        let next = VirtAddr(operand.instruction().next_ip());
        if operand.writes() {
            self.ask(|resume| Exit::GiveBack { next, resume });
        } else {
            self.look_for_interrupt(next.0);
        }
    }

    /// `rip`-relative operands name a fixed guest address; host code runs elsewhere.
    fn relative(&mut self, insn: &Instruction, raw: &[u8]) {
        let target = insn.ip_rel_memory_address();
        if insn.code() == Code::Lea_r64_m {
            return self.emit.load_constant(insn.op0_register(), target);
        }
        if let Ok(short) = i32::try_from(target as i64) {
            if !self.emit.copy_with_absolute(insn, raw, short) {
                self.emit.with_absolute(insn, target);
            }
            return;
        }
        let scratch = emit::free_register(insn);
        self.spill(&[scratch], 0);
        self.emit.load_constant(scratch, target);
        self.emit.with_base(insn, scratch);
        self.emit.unspill(scratch);
    }

    /// The operand's address, folded if it is in the kernel half. `false` if the instruction has no plain operand.
    fn folded(&mut self, insn: &Instruction) -> bool {
        // 32-bit code has no kernel half.
        if self.source.size == CodeSize::Bits32 || !emit::has_foldable_operand(insn) {
            return false;
        }
        let scratch = emit::free_register(insn);
        self.spill(&[scratch], 0);
        self.emit.load_folded_address(insn, scratch);
        self.emit.with_base(insn, scratch);
        self.emit.unspill(scratch);
        true
    }

    fn push_return(&mut self, address: u64) {
        if self.source.size == CodeSize::Bits32 || i32::try_from(address as i64).is_ok() {
            self.emit.push_constant32(address as u32);
        } else {
            self.spill(&[Register::RCX], 0);
            self.emit.load_constant(Register::RCX, address);
            self.emit.push(Register::RCX);
            self.emit.unspill(Register::RCX);
        }
    }

    /// A return or a branch through a register or memory: `rcx` takes the target, then the table decides.
    fn indirect(&mut self, insn: &Instruction) {
        let mut spilled = self.spill(&[Register::RCX], 0);
        if insn.flow_control() == FlowControl::Return {
            self.emit.pop(Register::RCX);
            if insn.op_count() == 1 {
                self.emit.add_to_stack_pointer(insn.immediate16());
            }
        } else {
            if insn.op0_kind() == OpKind::Register {
                self.emit.move_register(Register::RCX, insn.op0_register());
            } else {
                self.load_target(insn, &emit::load_of_operand(insn, Register::RCX));
            }
            spilled = self.spill(&[Register::RDX], spilled);
            if insn.flow_control() == FlowControl::IndirectCall {
                if i32::try_from(insn.next_ip() as i64).is_ok() {
                    self.emit.push_constant32(insn.next_ip() as u32);
                } else {
                    self.emit.load_constant(Register::RDX, insn.next_ip());
                    self.emit.push(Register::RDX);
                }
            }
        }
        if spilled & 1 << Register::RDX.number() == 0 {
            self.spill(&[Register::RDX], spilled);
        }
        let exit = self.exit(Exit::Indirect);
        self.emit.look_up_and_jump(exit);
    }

    /// Loads `rcx` from the memory operand of an indirect branch. The only spilled register so far is `rcx`.
    fn load_target(&mut self, insn: &Instruction, load: &Instruction) {
        let before = 1 << Register::RCX.number();
        let folded = (self.source.site)(insn.ip()) == Site::Folded && emit::has_foldable_operand(insn);
        let target = insn.is_ip_rel_memory_operand().then(|| insn.ip_rel_memory_address());
        if folded {
            let scratch = emit::free_register(load);
            self.spill(&[scratch], before);
            self.emit.load_folded_address(insn, scratch);
            self.emit.with_base(load, scratch);
            self.emit.unspill(scratch);
            self.mark(before, false);
        } else if let Some(target) = target {
            if i32::try_from(target as i64).is_ok() && load.segment_prefix() == Register::None {
                self.emit.load_absolute(Register::RCX, target as u32);
            } else if i32::try_from(target as i64).is_ok() {
                self.emit.with_absolute(load, target);
            } else {
                self.emit.load_constant(Register::RCX, target);
                self.emit.with_base(load, Register::RCX);
            }
        } else {
            self.emit.instruction(load);
        }
    }

    // Sequences on the virtual CPU.

    fn look_for_interrupt(&mut self, next: u64) {
        self.emit.spill(Register::RCX);
        let over = self.emit.skip_unless_pending();
        self.emit.unspill(Register::RCX);
        self.leave(Exit::Enabled { next: VirtAddr(next) });
        self.emit.land_short(over);
        self.emit.unspill(Register::RCX);
    }

    fn push_flags(&mut self) -> Then {
        self.emit.push_native_flags();
        self.mark(0, false);
        self.spill(&[Register::RCX, Register::RDX], 0);
        self.emit.merge_interrupt_flag_on_stack();
        self.emit.unspill(Register::RDX);
        self.emit.unspill(Register::RCX);
        Then::GoOn
    }

    fn pop_flags(&mut self, insn: &Instruction) -> Then {
        self.spill(&[Register::RCX], 0);
        let unusual = self.emit.take_flags_from_stack();
        let none_pending = self.emit.pop_native_flags();
        self.emit.unspill(Register::RCX);
        self.leave(Exit::Enabled { next: VirtAddr(insn.next_ip()) });
        // TF, NT or AC: the flags are still on the stack, only the arithmetic ones are lost, which popf replaces.
        self.emit.land_near(unusual);
        self.emit.unspill(Register::RCX);
        self.ask(|resume| Exit::Emulate { instruction: Box::new(*insn), resume });
        self.emit.land_near(none_pending);
        self.emit.unspill(Register::RCX);
        Then::GoOn
    }

    fn swap_gs(&mut self) -> Then {
        self.spill(&[Register::RCX, Register::RDX], 0);
        self.emit.exchange_gs_bases();
        self.emit.unspill(Register::RDX);
        self.emit.unspill(Register::RCX);
        Then::GoOn
    }

    /// `rdmsr` of the bases of FS and GS, which kernels read with every thread that they change to; the rest is the monitor's.
    fn read_msr(&mut self, insn: &Instruction) -> Then {
        let ([fs, gs, kernel], spilled, done) = self.bases(insn);
        self.land(fs, spilled);
        self.emit.read_fs_base();
        let read_fs = self.emit.jump_short();
        self.land(gs, spilled);
        self.emit.read_gs_base();
        let read_gs = self.emit.jump_short();
        self.land(kernel, spilled);
        self.emit.read_kernel_gs_base();
        self.land(read_fs, spilled);
        self.land(read_gs, spilled);
        self.emit.split_halves();
        self.emit.unspill(Register::RCX);
        self.land(done, 0);
        Then::GoOn
    }

    /// `wrmsr` of the same.
    fn write_msr(&mut self, insn: &Instruction) -> Then {
        let ([fs, gs, kernel], spilled, done) = self.bases(insn);
        self.land(fs, spilled);
        self.emit.join_halves();
        self.emit.write_fs_base();
        let wrote_fs = self.emit.jump_short();
        self.land(gs, spilled);
        self.emit.join_halves();
        self.emit.write_gs_base();
        let wrote_gs = self.emit.jump_short();
        self.land(kernel, spilled);
        self.emit.join_halves();
        self.spill(&[Register::RDX], spilled);
        self.emit.write_kernel_gs_base();
        self.emit.unspill(Register::RDX);
        self.land(wrote_fs, spilled);
        self.land(wrote_gs, spilled);
        self.emit.unspill(Register::RCX);
        self.land(done, 0);
        Then::GoOn
    }

    /// Port I/O that may be possible here: `attempt` does it, or jumps to where the monitor is asked.
    fn port(&mut self, insn: &Instruction, attempt: fn(&mut Emitter<'a>) -> [Short; 2]) -> Then {
        let spilled = self.spill(&[Register::RCX], 0);
        let impossible = attempt(&mut self.emit);
        self.emit.unspill(Register::RCX);
        let done = self.emit.jump_short();
        impossible.into_iter().for_each(|jump| self.land(jump, spilled));
        self.emit.unspill(Register::RCX);
        self.ask(|resume| Exit::Emulate { instruction: Box::new(*insn), resume });
        self.land(done, 0);
        Then::GoOn
    }

    /// Jumps for each of these bases, with these registers spilled, and one away from what was done for any other register.
    fn bases(&mut self, insn: &Instruction) -> ([Short; 3], u16, Short) {
        let spilled = self.spill(&[Register::RCX], 0);
        let bases = self.emit.tell_bases_apart();
        self.emit.unspill(Register::RCX);
        self.ask(|resume| Exit::Emulate { instruction: Box::new(*insn), resume });
        (bases, spilled, self.emit.jump_short())
    }

    /// A jump leads here.
    fn land(&mut self, jump: Short, spilled: u16) {
        self.emit.land_short(jump);
        self.mark(spilled, false);
    }

    /// What `syscall` does, if it can be done here.
    fn system_call(&self) -> Option<SystemCall> {
        let conditions = self.source.conditions;
        conditions.system_call.filter(|_| conditions.inline_flags)
    }

    fn enter_kernel(&mut self, insn: &Instruction) -> Then {
        if let Some(call) = self.system_call() {
            self.emit.enter_kernel(&call, insn.next_ip());
            let site = self.emit.jump_rel32();
            self.link(call.target.0, site);
        }
        Then::End
    }

    /// `xsave` and kin with the requested components confined to the guest's XCR0: hardware would use the host's.
    fn extended_state(&mut self, insn: &Instruction) -> Then {
        let site = (self.source.site)(insn.ip());
        let named = self.source.size == CodeSize::Bits64 && !emit::has_segment_base(insn);
        let lent = if named && site != Site::OutOfReach { None } else { Operand::of(insn) };
        if let Some(operand) = lent {
            self.lend(operand);
        }
        let scratch = emit::free_register(insn);
        let spilled = self.spill(&[scratch, Register::RAX, Register::RDX], 0);
        if lent.is_some() {
            self.emit.load_lent_address(scratch);
        } else if insn.is_ip_rel_memory_operand() {
            self.emit.load_constant(scratch, insn.ip_rel_memory_address());
        } else if site == Site::Folded {
            self.emit.load_folded_address(insn, scratch);
        } else {
            self.emit.load_address(insn, scratch);
        }
        self.emit.confine_components();
        self.mark(spilled, false);
        self.emit.with_lent(insn, scratch);
        for register in [Register::RDX, Register::RAX, scratch] {
            self.emit.unspill(register);
        }
        if let Some(operand) = lent {
            self.give_back(&operand);
        }
        Then::GoOn
    }
}
