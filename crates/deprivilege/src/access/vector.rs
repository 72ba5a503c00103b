//! SSE moves between XMM registers and memory.

use iced_x86::{Code, OpKind, Register};

use super::VectorRegisters;
use crate::{
    emulate::{Effect, Step, Trap},
    exception::Exception,
    paging,
};

/// How a move treats its memory operand and the register.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Move {
    /// Bytes in memory.
    size: usize,
    /// First byte of the register that takes part.
    lane: usize,
    /// Whether a load clears the rest of the register.
    clears: bool,
    /// Whether memory must be aligned to its size.
    aligned: bool,
}

const fn whole(aligned: bool) -> Move {
    Move { size: 16, lane: 0, clears: true, aligned }
}

const fn scalar(size: usize) -> Move {
    Move { size, lane: 0, clears: true, aligned: false }
}

const fn half(lane: usize) -> Move {
    Move { size: 8, lane, clears: false, aligned: false }
}

/// The moves that are interpreted.
fn kind(code: Code) -> Option<Move> {
    Some(match code {
        Code::Movups_xmm_xmmm128 | Code::Movups_xmmm128_xmm => whole(false),
        Code::Movupd_xmm_xmmm128 | Code::Movupd_xmmm128_xmm => whole(false),
        Code::Movdqu_xmm_xmmm128 | Code::Movdqu_xmmm128_xmm | Code::Lddqu_xmm_m128 => whole(false),
        Code::Movaps_xmm_xmmm128 | Code::Movaps_xmmm128_xmm => whole(true),
        Code::Movapd_xmm_xmmm128 | Code::Movapd_xmmm128_xmm => whole(true),
        Code::Movdqa_xmm_xmmm128 | Code::Movdqa_xmmm128_xmm => whole(true),
        Code::Movntps_m128_xmm | Code::Movntpd_m128_xmm => whole(true),
        Code::Movntdq_m128_xmm | Code::Movntdqa_xmm_m128 => whole(true),
        Code::Movq_xmm_xmmm64 | Code::Movq_xmmm64_xmm | Code::Movq_xmm_rm64 | Code::Movq_rm64_xmm => {
            scalar(8)
        }
        Code::Movd_xmm_rm32 | Code::Movd_rm32_xmm => scalar(4),
        Code::Movss_xmm_xmmm32 | Code::Movss_xmmm32_xmm => scalar(4),
        Code::Movsd_xmm_xmmm64 | Code::Movsd_xmmm64_xmm => scalar(8),
        Code::Movlps_xmm_m64 | Code::Movlps_m64_xmm | Code::Movlpd_xmm_m64 | Code::Movlpd_m64_xmm => half(0),
        Code::Movhps_xmm_m64 | Code::Movhps_m64_xmm | Code::Movhpd_xmm_m64 | Code::Movhpd_m64_xmm => half(8),
        _ => return None,
    })
}

impl Step<'_> {
    pub(super) fn vector_move(&mut self, xmm: &mut VectorRegisters) -> Result<Effect, Trap> {
        let refused = || self.unsupported("not a data instruction that is interpreted");
        let how = kind(self.insn.code()).ok_or_else(refused)?;
        let (memory, register) = match (self.insn.op0_kind(), self.insn.op1_kind()) {
            (OpKind::Memory, OpKind::Register) => (0, self.insn.op1_register()),
            (OpKind::Register, OpKind::Memory) => (1, self.insn.op0_register()),
            _ => return Err(refused()),
        };
        let register = Some(register).filter(|register| register.is_xmm()).map(Register::number);
        let register = register.and_then(|number| xmm.get_mut(number)).ok_or_else(refused)?;
        let lane = how.lane..how.lane + how.size;
        let at = self.address(memory, how.size)?;
        if how.aligned && at.0 & 15 != 0 {
            return Err(Exception::general_protection(0).into());
        }

        let mut bytes = [0; 16];
        let bytes = bytes.get_mut(..how.size).unwrap_or_default();
        if memory == 0 {
            bytes.copy_from_slice(register.get(lane).unwrap_or_default());
            paging::write(self.cpu, self.bus, at, bytes)?;
        } else {
            paging::read(self.cpu, self.bus, at, bytes)?;
            if how.clears {
                *register = [0; 16];
            }
            register.get_mut(lane).unwrap_or_default().copy_from_slice(bytes);
        }
        Ok(Effect::Next)
    }
}
