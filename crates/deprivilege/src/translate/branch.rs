//! Near branches that the monitor takes itself: indirect ones of 32-bit code, and those whose stack or operand cannot be
//! touched natively.

use iced_x86::{FlowControl, Instruction, OpKind};

use crate::{
    bus::Bus,
    cpu::{Cpu, Registers},
    emulate::{Step, Trap},
};

/// Carries out a near jump, call or return, decoded at RIP with the current code size.
///
/// # Errors
/// [`Trap`]: a fault of the guest. RIP and the stack pointer are as before.
pub fn branch(
    insn: &Instruction,
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
) -> Result<(), Trap> {
    let size = if cpu.long_mode_code() { 8 } else { 4 };
    let mut step = Step { insn, cpu, regs, bus };
    match insn.flow_control() {
        FlowControl::Return => {
            let target = step.peek(0, size)?;
            let released = if insn.op0_kind() == OpKind::Immediate16 { insn.immediate16() } else { 0 };
            step.drop_stack(u64::from(size) + u64::from(released));
            step.regs.rip = target;
        }
        flow => {
            let target = match insn.op0_kind() {
                OpKind::NearBranch32 | OpKind::NearBranch64 => insn.near_branch_target(),
                _ => step.operand(0)?,
            };
            if matches!(flow, FlowControl::Call | FlowControl::IndirectCall) {
                step.push(insn.next_ip(), size)?;
            }
            step.regs.rip = target;
        }
    }
    Ok(())
}
