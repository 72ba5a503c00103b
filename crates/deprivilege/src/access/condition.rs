//! SETcc and CMOVcc.

use iced_x86::{ConditionCode, Mnemonic as M};

use crate::{
    cpu::flag,
    emulate::{Effect, Step, Trap},
};

/// Whether a mnemonic is SETcc.
pub(super) fn is_set(mnemonic: M) -> bool {
    matches!(
        mnemonic,
        M::Seta
            | M::Setae
            | M::Setb
            | M::Setbe
            | M::Sete
            | M::Setg
            | M::Setge
            | M::Setl
            | M::Setle
            | M::Setne
            | M::Setno
            | M::Setnp
            | M::Setns
            | M::Seto
            | M::Setp
            | M::Sets
    )
}

/// Whether a mnemonic is CMOVcc.
pub(super) fn is_move(mnemonic: M) -> bool {
    matches!(
        mnemonic,
        M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovg
            | M::Cmovge
            | M::Cmovl
            | M::Cmovle
            | M::Cmovne
            | M::Cmovno
            | M::Cmovnp
            | M::Cmovns
            | M::Cmovo
            | M::Cmovp
            | M::Cmovs
    )
}

/// Whether a condition holds (Intel SDM vol. 1, appendix B).
fn holds(condition: ConditionCode, flags: u64) -> bool {
    let is = |flag: u64| flags & flag != 0;
    let less = is(flag::SIGN) != is(flag::OVERFLOW);
    match condition {
        ConditionCode::None => true,
        ConditionCode::o => is(flag::OVERFLOW),
        ConditionCode::no => !is(flag::OVERFLOW),
        ConditionCode::b => is(flag::CARRY),
        ConditionCode::ae => !is(flag::CARRY),
        ConditionCode::e => is(flag::ZERO),
        ConditionCode::ne => !is(flag::ZERO),
        ConditionCode::be => is(flag::CARRY) || is(flag::ZERO),
        ConditionCode::a => !(is(flag::CARRY) || is(flag::ZERO)),
        ConditionCode::s => is(flag::SIGN),
        ConditionCode::ns => !is(flag::SIGN),
        ConditionCode::p => is(flag::PARITY),
        ConditionCode::np => !is(flag::PARITY),
        ConditionCode::l => less,
        ConditionCode::ge => !less,
        ConditionCode::le => less || is(flag::ZERO),
        ConditionCode::g => !(less || is(flag::ZERO)),
    }
}

impl Step<'_> {
    pub(super) fn set_on_condition(&mut self) -> Result<Effect, Trap> {
        let value = holds(self.insn.condition_code(), self.regs.rflags);
        self.set_operand(0, value.into())?;
        Ok(Effect::Next)
    }

    /// Memory is read in either case, and a 32-bit register loses its upper half in either case.
    pub(super) fn move_on_condition(&mut self) -> Result<Effect, Trap> {
        let value = self.operand(1)?;
        let old = self.operand(0)?;
        let moves = holds(self.insn.condition_code(), self.regs.rflags);
        self.set_operand(0, if moves { value } else { old })?;
        Ok(Effect::Next)
    }
}
