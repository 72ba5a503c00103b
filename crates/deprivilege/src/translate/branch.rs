//! Near branches that the monitor takes itself: those of 32-bit code that go where a register, memory or the stack says.

use iced_x86::{FlowControl, Instruction, OpKind};

use crate::{
    bus::Bus,
    cpu::{Cpu, Registers},
    emulate::{Step, Trap},
};

/// Carries out an indirect jump, an indirect call or a return, decoded at RIP in 32-bit code.
///
/// # Errors
/// [`Trap`]: a fault of the guest. RIP and the stack pointer are as before.
pub fn branch(
    insn: &Instruction,
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
) -> Result<(), Trap> {
    let mut step = Step { insn, cpu, regs, bus };
    match insn.flow_control() {
        FlowControl::Return => {
            let target = step.peek(0, 4)?;
            let released = if insn.op0_kind() == OpKind::Immediate16 { insn.immediate16() } else { 0 };
            step.drop_stack(4 + u64::from(released));
            step.regs.rip = target;
        }
        flow => {
            let target = step.operand(0)?;
            if flow == FlowControl::IndirectCall {
                step.push(insn.next_ip(), 4)?;
            }
            step.regs.rip = target;
        }
    }
    Ok(())
}
