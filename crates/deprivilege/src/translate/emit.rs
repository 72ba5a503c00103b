//! Host code, byte by byte.
//!
//! Fixed sequences are written as bytes (each with its assembly beside it); guest instructions with a changed operand go
//! through iced's encoder. Data of the monitor is addressed absolutely below 2 GiB, which fits a sign-extended 32-bit
//! displacement in 64-bit code (Intel SDM vol. 2 §2.2.1.3) and works in 32-bit code as well. Nothing here touches the
//! guest's stack or changes its flags unless the sequence says so: code may use the red zone below `rsp`.

#![expect(
    clippy::cast_possible_truncation,
    reason = "register numbers are below 16, a block is some KiB long"
)]

mod fold;
mod ports;
mod system;

use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, InstructionInfoFactory, InstructionInfoOptions,
    MemoryOperand, OpKind, Register,
};

pub use fold::folds;
pub(super) use fold::{has_foldable_operand, has_segment_base};
pub use ports::{PORT_WRITES, PortRead, PortWrite};

use super::{CodeSize, sensitive::Field};
use crate::cpu::flag;

/// Absolute addresses of what translated code uses, all below 2 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Sixteen 8-byte slots, one for each general register by hardware number.
    pub spills: u32,
    /// 8 bytes: where an indirect branch goes, as a guest address.
    pub target: u32,
    /// 8 bytes: where it goes, as a host address.
    pub landing: u32,
    /// 4 bytes: number of the exit taken.
    pub exit: u32,
    /// 8 bytes: address of the monitor's entry for 64-bit code.
    pub gate: u32,
    /// Address of code that is the entry for 32-bit code; entered in 64-bit mode by a far jump.
    pub gate32: u32,
    /// 8 bytes: `rsp` while flags are kept on the scratch stack.
    pub stack_pointer: u32,
    /// Top of a scratch stack of at least 8 bytes, for flags.
    pub scratch_top: u32,
    /// 8 bytes: the virtual interrupt flag, as it stands in RFLAGS.
    pub interrupts: u32,
    /// 8 bytes: the same flag if an interrupt is pending, else 0.
    pub pending: u32,
    /// 256 8-byte entries, one for each value of bits 47 to 40 of an address: what folding adds to it, see [`folds`].
    pub folds: u32,
    /// Six 2-byte selectors by hardware number.
    pub selectors: u32,
    /// 8 bytes each: control registers.
    pub cr0: u32,
    /// See `cr0`.
    pub cr2: u32,
    /// See `cr0`.
    pub cr3: u32,
    /// See `cr0`.
    pub cr4: u32,
    /// 8 bytes: the guest's XCR0.
    pub xcr0: u32,
    /// 8 bytes: `IA32_KERNEL_GS_BASE`.
    pub kernel_gs_base: u32,
    /// 1 byte: [`Cpu::bounded_segments`](crate::cpu::Cpu::bounded_segments).
    pub bounded_segments: u32,
    /// 65,536 bytes, one for each port: not zero if bytes written to it may wait in `writes`.
    pub may_wait: u32,
    /// 65,536 2-byte entries, one for each port: what a byte read from it will be, see [`PortRead::entry`].
    pub reads: u32,
    /// [`PORT_WRITES`] 4-byte entries: the queue of writes, each a [`PortWrite`].
    pub writes: u32,
    /// 1 byte: which entry of the queue is next; 0 if it takes none.
    pub next_write: u32,
    /// 1 byte: not zero if there was a write since something was last read that can be once after each.
    pub wrote: u32,
    /// 8 bytes: the address that stands for that of an operand which is lent.
    pub lent: u32,
    /// 65,536 8-byte entries: minus the guest address whose low 16 bits are the index.
    pub tags: u32,
    /// 65,536 4-byte entries: the host address for it.
    pub codes: u32,
}

/// IF in 32 bits.
const INTERRUPT_FLAG: u32 = flag::INTERRUPT as u32;

/// Selector of the host's 64-bit user code segment (Linux arch/x86/include/asm/segment.h, `__USER_CS`).
const USER_CS: u16 = 0x33;

/// A `jmp`/`jcc` displacement of one byte waiting for its target: where it stands.
#[must_use]
pub(super) struct Short(usize);

/// A displacement of four bytes waiting for its target: where it stands.
#[must_use]
pub(super) struct Near(usize);

pub(super) struct Emitter<'a> {
    places: &'a Places,
    size: CodeSize,
    code: Vec<u8>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(places: &'a Places, size: CodeSize) -> Self {
        Emitter { places, size, code: Vec::with_capacity(512) }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.code
    }

    /// Offset of the next byte.
    pub(super) fn here(&self) -> u32 {
        self.code.len() as u32
    }

    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// `nop dword [rax+rax]`: room for a jump elsewhere when the block is stale.
    pub(super) fn entry(&mut self) {
        self.copy(&[0x0f, 0x1f, 0x44, 0x00, 0x00]);
    }

    // Absolute operands: ModRM with a SIB byte and no base in 64-bit code.

    fn absolute(&mut self, prefix: &[u8], opcode: &[u8], reg: u8, address: u32) {
        self.copy(prefix);
        self.copy(opcode);
        match self.size {
            CodeSize::Bits64 => self.copy(&[0x04 | reg << 3, 0x25]),
            CodeSize::Bits32 => self.copy(&[0x05 | reg << 3]),
        }
        self.copy(&address.to_le_bytes());
    }

    fn with_register(&mut self, opcode: u8, register: Register, address: u32) {
        let number = register.number() as u8;
        match self.size {
            CodeSize::Bits64 => self.absolute(&[0x48 | (number >> 3) << 2], &[opcode], number & 7, address),
            CodeSize::Bits32 => self.absolute(&[], &[opcode], number & 7, address),
        }
    }

    /// `mov [address], r64`; `r32` in 32-bit code.
    fn store(&mut self, register: Register, address: u32) {
        self.with_register(0x89, register, address);
    }

    /// `mov r64, [address]`; `r32` in 32-bit code.
    fn fetch(&mut self, register: Register, address: u32) {
        self.with_register(0x8b, register, address);
    }

    fn slot(&self, register: Register) -> u32 {
        self.places.spills + 8 * register.number() as u32
    }

    pub(super) fn spill(&mut self, register: Register) {
        self.store(register, self.slot(register));
    }

    pub(super) fn unspill(&mut self, register: Register) {
        self.fetch(register, self.slot(register));
    }

    /// `mov r64, [field]`
    pub(super) fn load(&mut self, register: Register, field: Field) {
        let address = self.field(field);
        self.fetch(register.full_register(), address);
    }

    /// `movzx r32, word [field]`
    pub(super) fn load_u16(&mut self, register: Register, field: Field) {
        let address = self.field(field);
        let number = register.number() as u8;
        self.absolute(&[0x40 | (number >> 3) << 2], &[0x0f, 0xb7], number & 7, address);
    }

    fn field(&self, field: Field) -> u32 {
        match field {
            Field::Cr0 => self.places.cr0,
            Field::Cr2 => self.places.cr2,
            Field::Cr3 => self.places.cr3,
            Field::Cr4 => self.places.cr4,
            Field::Selector(number) => self.places.selectors + 2 * u32::from(number),
        }
    }

    // Leaving.

    /// `mov dword [exit], number; jmp gate`
    pub(super) fn leave(&mut self, number: u32) {
        self.absolute(&[], &[0xc7], 0, self.places.exit);
        self.copy(&number.to_le_bytes());
        match self.size {
            CodeSize::Bits64 => self.enter_monitor(),
            CodeSize::Bits32 => {
                self.copy(&[0xea]); // jmp USER_CS:gate32
                self.copy(&self.places.gate32.to_le_bytes());
                self.copy(&USER_CS.to_le_bytes());
            }
        }
    }

    /// `jmp [gate]`
    pub(super) fn enter_monitor(&mut self) {
        self.absolute(&[], &[0xff], 4, self.places.gate);
    }

    /// Length of what [`Emitter::leave`] emits.
    pub(super) fn leave_len(&self) -> u32 {
        match self.size {
            CodeSize::Bits64 => 11 + 7,
            CodeSize::Bits32 => 10 + 7,
        }
    }

    /// `jmp rel32` to be filled in; returns the offset of the displacement.
    pub(super) fn jump_rel32(&mut self) -> u32 {
        self.copy(&[0xe9, 0, 0, 0, 0]);
        self.here() - 4
    }

    /// A conditional near branch with a 32-bit displacement to be filled in; returns its offset.
    pub(super) fn conditional(&mut self, insn: &Instruction, raw: &[u8]) -> u32 {
        if insn.is_jcc_short_or_near() {
            // Iced numbers conditions from 1 in the order of the opcodes' low nibble (Intel SDM vol. 2 app. B.1.4.7).
            let condition = insn.condition_code() as u8 - 1;
            self.copy(&[0x0f, 0x80 | condition, 0, 0, 0, 0]);
            return self.here() - 4;
        }
        // loop, loope, loopne, jrcxz have only a short form: over a jump. Of the prefixes, 67h chooses the counter; 66h would
        // make AMD's processors cut the instruction pointer to 16 bits (AMD APM vol. 3, LOOPcc).
        if has_other_counter(insn.code(), self.size) {
            self.copy(&[0x67]);
        }
        let opcode = raw.get(raw.len().wrapping_sub(2)).copied().unwrap_or_default();
        self.copy(&[opcode, 2, 0xeb, 5]);
        self.jump_rel32()
    }

    /// Points the displacement at offset `site` to offset `target`.
    pub(super) fn patch_displacement(&mut self, site: u32, target: u32) {
        let displacement = target.wrapping_sub(site + 4);
        if let Some(bytes) = self.code.get_mut(site as usize..site as usize + 4) {
            bytes.copy_from_slice(&displacement.to_le_bytes());
        }
    }

    /// `jmp …`
    pub(super) fn jump_short(&mut self) -> Short {
        self.copy(&[0xeb, 0]);
        Short(self.code.len() - 1)
    }

    /// `jrcxz …`
    fn jump_if_no_rcx(&mut self) -> Short {
        self.copy(&[0xe3, 0]);
        Short(self.code.len() - 1)
    }

    pub(super) fn land_near(&mut self, jump: Near) {
        let here = self.here();
        self.patch_displacement(jump.0 as u32, here);
    }

    pub(super) fn land_short(&mut self, jump: Short) {
        let distance = self.code.len() - jump.0 - 1;
        assert!(distance < 128, "within the reach of a short jump");
        if let Some(byte) = self.code.get_mut(jump.0) {
            *byte = distance as u8;
        }
    }

    // Guest instructions with a changed operand.

    pub(super) fn instruction(&mut self, insn: &Instruction) {
        let mut encoder = Encoder::new(self.size.bits());
        match encoder.encode(insn, insn.ip()) {
            Ok(_) => self.copy(&encoder.take_buffer()),
            // Decoded instructions with a plain base register always encode; trap rather than do something else.
            Err(_) => self.copy(&[0x0f, 0x0b]),
        }
    }

    /// Copies an instruction relative to `rip` with its operand at the absolute address `target` instead: ModRM names a SIB byte
    /// with neither base nor index (Intel SDM vol. 2 §2.2.1.6, table 2-7). `false`, having done nothing, if that did not
    /// come out right. The encoder would do as well, but its tables cost a start half a millisecond and 400 KiB.
    pub(super) fn copy_with_absolute(&mut self, insn: &Instruction, raw: &[u8], target: i32) -> bool {
        /// Of ModRM: mod and rm. With mod 0, rm 5 is relative to `rip`, rm 4 a SIB byte.
        const MODE: u8 = 0b1100_0111;
        const NEITHER_BASE_NOR_INDEX: u8 = 0x25;
        let mut decoder = Decoder::with_ip(64, raw, insn.ip(), DecoderOptions::NONE);
        let decoded = decoder.decode();
        let offsets = decoder.get_constant_offsets(&decoded);
        let Some((head, tail)) = raw.split_at_checked(offsets.displacement_offset()) else { return false };
        let (Some((modrm, prefix)), Some((_, rest))) = (head.split_last(), tail.split_at_checked(4)) else {
            return false;
        };
        if modrm & MODE != 5 {
            return false;
        }
        let mut bytes = [0; 20];
        let parts = [prefix, &[modrm & !MODE | 4, NEITHER_BASE_NOR_INDEX], &target.to_le_bytes(), rest];
        let mut len = 0;
        for part in parts {
            let Some(room) = bytes.get_mut(len..len + part.len()) else { return false };
            room.copy_from_slice(part);
            len += part.len();
        }
        let copied = bytes.get(..len).unwrap_or_default();
        let check = Decoder::with_ip(64, copied, insn.ip(), DecoderOptions::NONE).decode();
        let right = check.code() == insn.code()
            && check.len() == len
            && check.memory_base() == Register::None
            && check.memory_index() == Register::None
            && check.memory_displacement64() == i64::from(target).cast_unsigned();
        if right {
            self.copy(copied);
        }
        right
    }

    /// `mov r64, r64`
    pub(super) fn move_register(&mut self, to: Register, from: Register) {
        let (to, from) = (to.number() as u8, from.number() as u8);
        self.copy(&[0x48 | (from >> 3) << 2 | to >> 3, 0x89, 0xc0 | (from & 7) << 3 | to & 7]);
    }

    /// `mov r64, [address]`, the address sign-extended.
    pub(super) fn load_absolute(&mut self, register: Register, address: u32) {
        self.fetch(register, address);
    }

    /// The instruction with its memory operand at the absolute address `target` (which fits 32 bits, sign-extended).
    pub(super) fn with_absolute(&mut self, insn: &Instruction, target: u64) {
        let mut changed = *insn;
        changed.set_memory_base(Register::None);
        changed.set_memory_index(Register::None);
        changed.set_memory_displacement64(target);
        changed.set_memory_displ_size(8);
        self.instruction(&changed);
    }

    /// `mov r, [lent]`
    pub(super) fn load_lent_address(&mut self, register: Register) {
        self.fetch(register, self.places.lent);
    }

    /// The instruction with its memory operand at `[base]`, in no segment that has a base.
    pub(super) fn with_lent(&mut self, insn: &Instruction, base: Register) {
        let mut changed = *insn;
        changed.set_segment_prefix(Register::None);
        let base = match self.size {
            CodeSize::Bits64 => base,
            CodeSize::Bits32 => Register::EAX + base.number() as u32,
        };
        self.with_base(&changed, base);
    }

    /// The instruction with its memory operand at `[base]`, in the same segment.
    pub(super) fn with_base(&mut self, insn: &Instruction, base: Register) {
        let mut changed = *insn;
        changed.set_memory_base(base);
        changed.set_memory_index(Register::None);
        changed.set_memory_index_scale(1);
        changed.set_memory_displacement64(0);
        changed.set_memory_displ_size(0);
        self.instruction(&changed);
    }

    /// `lea r64, operand`, without the segment's base.
    pub(super) fn load_address(&mut self, insn: &Instruction, register: Register) {
        if insn.memory_base() == Register::None && insn.memory_index() == Register::None {
            return self.load_constant(register, insn.memory_displacement64());
        }
        let operand = MemoryOperand::new(
            insn.memory_base(),
            insn.memory_index(),
            insn.memory_index_scale(),
            insn.memory_displacement64() as i64,
            1,
            false,
            Register::None,
        );
        match Instruction::with2(Code::Lea_r64_m, register, operand) {
            Ok(lea) => self.instruction(&lea),
            Err(_) => self.copy(&[0x0f, 0x0b]),
        }
    }

    /// `mov [stack_pointer], rsp; mov esp, scratch_top; pushfq`
    fn switch_to_scratch_stack(&mut self) {
        self.store(Register::RSP, self.places.stack_pointer);
        self.copy(&[0xbc]);
        self.copy(&self.places.scratch_top.to_le_bytes());
        self.copy(&[0x9c]);
    }

    /// `popfq; mov rsp, [stack_pointer]`
    fn leave_scratch_stack(&mut self) {
        self.copy(&[0x9d]);
        self.fetch(Register::RSP, self.places.stack_pointer);
    }

    /// `and eax, [xcr0]; and edx, [xcr0 + 4]`. Flags survive on the scratch stack.
    pub(super) fn confine_components(&mut self) {
        self.switch_to_scratch_stack();
        self.absolute(&[], &[0x23], 0, self.places.xcr0);
        self.absolute(&[], &[0x23], 2, self.places.xcr0 + 4);
        self.leave_scratch_stack();
    }

    /// `mov r, value`, in the register's own width, shortest form first.
    pub(super) fn load_constant(&mut self, register: Register, value: u64) {
        let register = register.full_register();
        let number = register.number() as u8;
        if let Ok(small) = u32::try_from(value) {
            self.copy(&[0x40 | number >> 3, 0xb8 | number & 7]);
            self.copy(&small.to_le_bytes());
        } else {
            self.copy(&[0x48 | number >> 3, 0xb8 | number & 7]);
            self.copy(&value.to_le_bytes());
        }
    }

    // The guest's stack.

    /// `push imm32`, sign-extended in 64-bit code.
    pub(super) fn push_constant32(&mut self, value: u32) {
        self.copy(&[0x68]);
        self.copy(&value.to_le_bytes());
    }

    pub(super) fn push(&mut self, register: Register) {
        self.copy(&[0x50 | register.number() as u8 & 7]);
    }

    pub(super) fn pop(&mut self, register: Register) {
        self.copy(&[0x58 | register.number() as u8 & 7]);
    }

    /// `lea rsp, [rsp + bytes]`
    pub(super) fn add_to_stack_pointer(&mut self, bytes: u16) {
        self.copy(&[0x48, 0x8d, 0xa4, 0x24]);
        self.copy(&u32::from(bytes).to_le_bytes());
    }

    // The virtual CPU.

    /// `mov qword [interrupts], 0`
    pub(super) fn disable_interrupts(&mut self) {
        self.set_interrupts(0);
    }

    /// `mov qword [interrupts], IF`
    pub(super) fn enable_interrupts(&mut self) {
        self.set_interrupts(INTERRUPT_FLAG);
    }

    fn set_interrupts(&mut self, value: u32) {
        self.absolute(&[0x48], &[0xc7], 0, self.places.interrupts);
        self.copy(&value.to_le_bytes());
    }

    /// `mov rcx, [pending]; jrcxz …`: the jump is taken when nothing is pending. Changes `rcx`.
    pub(super) fn skip_unless_pending(&mut self) -> Short {
        self.fetch(Register::RCX, self.places.pending);
        self.jump_if_no_rcx()
    }

    pub(super) fn push_native_flags(&mut self) {
        self.copy(&[0x9c]);
    }

    /// Replaces IF, which ring 3 sees set, on top of the guest's stack by the virtual one. All of them are taken and put back,
    /// because what is next is to pop them: a load from two stores would have to wait for both. Changes `rcx` and `rdx`.
    pub(super) fn merge_interrupt_flag_on_stack(&mut self) {
        self.pop(Register::RCX);
        self.fetch(Register::RDX, self.places.interrupts);
        self.copy(&[0x48, 0x8d, 0x8c, 0x11]); // lea rcx, [rcx+rdx-IF]
        self.copy(&INTERRUPT_FLAG.wrapping_neg().to_le_bytes());
        self.push(Register::RCX);
    }

    /// Takes IF from the flags on top of the guest's stack. Leaves `rcx` non-zero if an interrupt can now be delivered;
    /// jumps away, having changed nothing but `rcx` and the flags, if flags are set that ring 3 must not pop.
    pub(super) fn take_flags_from_stack(&mut self) -> Near {
        /// TF, NT, AC (Intel SDM vol. 1 §3.4.3).
        const UNUSUAL: u32 = 1 << 8 | 1 << 14 | 1 << 18;
        self.copy(&[0x48, 0x8b, 0x0c, 0x24]); // mov rcx, [rsp]
        self.copy(&[0xf7, 0xc1]); // test ecx, imm32
        self.copy(&UNUSUAL.to_le_bytes());
        self.copy(&[0x0f, 0x85, 0, 0, 0, 0]); // jnz unusual
        let unusual = Near(self.code.len() - 4);
        self.copy(&[0x81, 0xe1]); // and ecx, IF
        self.copy(&INTERRUPT_FLAG.to_le_bytes());
        self.store(Register::RCX, self.places.interrupts);
        self.absolute(&[], &[0x23], 1, self.places.pending); // and ecx, [pending]
        unusual
    }

    /// `popfq`, then a jump that is taken when `rcx` is zero.
    pub(super) fn pop_native_flags(&mut self) -> Near {
        self.copy(&[0x9d]);
        self.copy(&[0xe3, 2, 0xeb, 5]); // jrcxz +2; jmp +5
        self.copy(&[0xe9, 0, 0, 0, 0]);
        Near(self.code.len() - 4)
    }

    /// Exchanges the GS base with `kernel_gs_base`. Changes `rcx` and `rdx`.
    pub(super) fn exchange_gs_bases(&mut self) {
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xc9]); // rdgsbase rcx
        self.fetch(Register::RDX, self.places.kernel_gs_base);
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xda]); // wrgsbase rdx
        self.store(Register::RCX, self.places.kernel_gs_base);
    }

    /// Goes to the host code for the guest address in `rcx` if the table has it, else leaves with `exit`. `rcx` and `rdx`
    /// have been spilled. Flags are not touched: the compare is an addition of the negated tag and a `jrcxz`.
    pub(super) fn look_up_and_jump(&mut self, exit: u32) {
        self.store(Register::RCX, self.places.target);
        self.copy(&[0x0f, 0xb7, 0xd1]); // movzx edx, cx
        self.copy(&[0x48, 0x8b, 0x14, 0xd5]); // mov rdx, [rdx*8 + tags]
        self.copy(&self.places.tags.to_le_bytes());
        self.copy(&[0x48, 0x8d, 0x0c, 0x11]); // lea rcx, [rcx+rdx]
        let hit = self.jump_if_no_rcx();
        self.leave(exit);
        self.land_short(hit);
        self.absolute(&[], &[0x0f, 0xb7], 2, self.places.target); // movzx edx, word [target]
        self.copy(&[0x8b, 0x14, 0x95]); // mov edx, [rdx*4 + codes]
        self.copy(&self.places.codes.to_le_bytes());
        self.store(Register::RDX, self.places.landing);
        self.unspill(Register::RCX);
        self.unspill(Register::RDX);
        self.absolute(&[], &[0xff], 4, self.places.landing); // jmp [landing]
    }
}

/// Whether a `loop` or `jcxz` counts in a register of another width than the code's own.
fn has_other_counter(code: Code, size: CodeSize) -> bool {
    match size {
        CodeSize::Bits64 => matches!(
            code,
            Code::Loop_rel8_64_ECX | Code::Loope_rel8_64_ECX | Code::Loopne_rel8_64_ECX | Code::Jecxz_rel8_64
        ),
        CodeSize::Bits32 => matches!(
            code,
            Code::Loop_rel8_32_CX | Code::Loope_rel8_32_CX | Code::Loopne_rel8_32_CX | Code::Jcxz_rel8_32
        ),
    }
}

/// A general register that the instruction does not use in any way, explicit or implied.
pub(super) fn free_register(insn: &Instruction) -> Register {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info_options(insn, InstructionInfoOptions::NO_MEMORY_USAGE);
    let used = |r: Register| info.used_registers().iter().any(|u| u.register().full_register() == r);
    let named = |r: Register| {
        let operand = |n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).full_register() == r;
        insn.memory_base().full_register() == r
            || insn.memory_index().full_register() == r
            || (0..insn.op_count()).any(operand)
    };
    // Those that need no REX prefix first: an instruction on AH, BH, CH or DH cannot have one, nor has 32-bit code.
    use Register::{R8, R9, RBP, RBX, RCX, RDI, RDX, RSI};
    [RDI, RSI, RBX, RCX, RDX, RBP, R8, R9]
        .into_iter()
        .find(|&r| !used(r) && !named(r))
        // No instruction uses seven general registers besides rax, rcx, rdx and the stack's.
        .unwrap_or(Register::R9)
}

/// `mov register, operand` for the operand of an indirect branch.
pub(super) fn load_of_operand(insn: &Instruction, register: Register) -> Instruction {
    let mut load = Instruction::default();
    load.set_code(Code::Mov_r64_rm64);
    load.set_ip(insn.ip());
    load.set_op0_kind(OpKind::Register);
    load.set_op0_register(register);
    if insn.op0_kind() == OpKind::Register {
        load.set_op1_kind(OpKind::Register);
        load.set_op1_register(insn.op0_register());
    } else {
        load.set_op1_kind(OpKind::Memory);
        load.set_memory_base(insn.memory_base());
        load.set_memory_index(insn.memory_index());
        load.set_memory_index_scale(insn.memory_index_scale());
        load.set_memory_displacement64(insn.memory_displacement64());
        load.set_memory_displ_size(insn.memory_displ_size());
        load.set_segment_prefix(insn.segment_prefix());
    }
    load
}
