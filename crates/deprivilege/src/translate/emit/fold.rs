//! Addresses of the kernel half: host user space has them at their lowest [`HALF_BITS`] bits.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::Emitter;
use crate::translate::HALF_BITS;

/// What folding an address adds to it, by its bits 47 to 40: in the top 32 TiB of the kernel half, where these are all ones from
/// bit 45 on, what makes it wrap to its lowest [`HALF_BITS`] bits. An address that is not canonical stays one that is not.
#[must_use]
pub fn folds() -> [u64; 256] {
    let top = |bits: usize| bits >> (HALF_BITS - 1 - 40) == 0b111;
    std::array::from_fn(|bits| if top(bits) { 1 << HALF_BITS } else { 0 })
}

impl Emitter<'_> {
    /// The address of the operand; in the top 32 TiB of the kernel half, with all bits from [`HALF_BITS`] on cleared. Any
    /// other address stays and faults where it must. Neither flags nor branches are used: loops over memory go through here.
    pub(in crate::translate) fn load_folded_address(&mut self, insn: &Instruction, register: Register) {
        let helper = if register == Register::RCX { Register::RDX } else { Register::RCX };
        let (number, other) = (register.number() as u8, helper.number() as u8);
        self.load_address(insn, register);
        self.spill(helper);
        self.store(register, self.places.target);
        self.absolute(&[], &[0x0f, 0xb6], other, self.places.target + 5); // movzx helper, byte [target+5]
        self.copy(&[0x48, 0x8b, 0x04 | other << 3, 0xc5 | other << 3]); // mov helper, [helper*8+folds]
        self.copy(&self.places.folds.to_le_bytes());
        let (extended, low) = (number >> 3, number & 7);
        // lea register, [helper+register]: as a base, RBP would stand for a displacement (Intel SDM vol. 2, table 2-3).
        self.copy(&[0x48 | extended << 2 | extended << 1, 0x8d, 0x04 | low << 3, low << 3 | other]);
        self.unspill(helper);
    }
}

/// Whether the instruction has one explicit memory operand whose address a base register can stand for.
pub(in crate::translate) fn has_foldable_operand(insn: &Instruction) -> bool {
    let explicit = (0..insn.op_count()).filter(|&n| insn.op_kind(n) == OpKind::Memory).count() == 1;
    let segment = has_segment_base(insn);
    let narrow = insn.memory_base().size() == 4 || insn.memory_index().size() == 4;
    // `pop [rsp+x]` computes its address with the stack pointer already moved (Intel SDM vol. 2, POP).
    let moved = insn.memory_base() == Register::RSP && insn.mnemonic() == Mnemonic::Pop;
    // The address of `xlat` is rbx + al.
    let implied = insn.mnemonic() == Mnemonic::Xlatb;
    let odd = segment || narrow || moved || implied || insn.is_vsib() || insn.is_ip_rel_memory_operand();
    explicit && !odd && !has_bare_address(insn)
}

/// Whether the operand's segment has a base.
pub(in crate::translate) fn has_segment_base(insn: &Instruction) -> bool {
    matches!(insn.memory_segment(), Register::FS | Register::GS)
}

/// Moves between the accumulator and a 64-bit address in the instruction itself: their encoding has no base register.
fn has_bare_address(insn: &Instruction) -> bool {
    matches!(
        insn.code(),
        Code::Mov_AL_moffs8
            | Code::Mov_AX_moffs16
            | Code::Mov_EAX_moffs32
            | Code::Mov_RAX_moffs64
            | Code::Mov_moffs8_AL
            | Code::Mov_moffs16_AX
            | Code::Mov_moffs32_EAX
            | Code::Mov_moffs64_RAX
    )
}
