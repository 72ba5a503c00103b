//! Which instructions ring 3 must not run as they stand.
//!
//! Three kinds: what needs privilege and would trap; what needs none but shows or changes the host's state instead of the
//! guest's (Intel SDM vol. 3 §26.1 lists them as reasons for VM exits; Robin and Irvine, "Analysis of the Intel Pentium's
//! Ability to Support a Secure Virtual Machine Monitor", 2000, lists those that don't trap); what transfers control in a
//! way only the virtual CPU understands. The table errs on the safe side: an instruction too many costs an exit, a
//! privileged one too few still traps.

use iced_x86::{Code, CpuidFeature as Feature, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::CodeSize;

/// A 64-bit or 16-bit field of the virtual CPU that translated code may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    /// Selector of the segment register with this hardware number.
    Selector(u8),
}

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handling {
    /// Copy, or link if it is a near branch.
    Plain,
    /// Leave with it; usually goes on behind.
    Emulate,
    /// Leave with it; control goes elsewhere.
    EmulateAndEnd,
    DisableInterrupts,
    EnableInterrupts,
    PushFlags,
    PopFlags,
    SwapGs,
    ReadMsr,
    WriteMsr,
    /// `in al, dx`
    ReadPort,
    /// `out dx, al`
    WritePort,
    SystemCall,
    ReadField {
        register: Register,
        field: Field,
    },
    ReadSelector {
        register: Register,
        field: Field,
    },
    ExtendedState,
}

/// What becomes of `insn`.
pub(super) fn handling(insn: &Instruction, size: CodeSize) -> Handling {
    use Mnemonic as M;
    let inline = match size {
        CodeSize::Bits64 => inline(insn),
        CodeSize::Bits32 => None,
    };
    if let Some(handling) = inline {
        return handling;
    }
    if is_odd_branch(insn) {
        return Handling::EmulateAndEnd;
    }
    match insn.mnemonic() {
        // Control transfer through the virtual CPU.
        M::Iret
        | M::Iretd
        | M::Iretq
        | M::Uiret
        | M::Retf
        | M::Syscall
        | M::Sysret
        | M::Sysretq
        | M::Sysenter
        | M::Sysexit
        | M::Sysexitq
        | M::Int
        | M::Int1
        | M::Int3
        | M::Into
        | M::Ud0
        | M::Ud1
        | M::Ud2
        | M::Rsm
        | M::Xbegin
        | M::Xabort
        | M::Xend => Handling::EmulateAndEnd,
        // Flags with the interrupt flag in them.
        M::Pushf
        | M::Pushfd
        | M::Pushfq
        | M::Popf
        | M::Popfd
        | M::Popfq
        | M::Cli
        | M::Sti
        | M::Clac
        | M::Stac
        | M::Clui
        | M::Stui
        | M::Testui
        | M::Senduipi => Handling::Emulate,
        // Host state that no privilege guards.
        M::Cpuid
        | M::Sgdt
        | M::Sidt
        | M::Sldt
        | M::Str
        | M::Smsw
        | M::Lar
        | M::Lsl
        | M::Verr
        | M::Verw
        | M::Xgetbv
        | M::Rdpid
        | M::Rdtscp
        | M::Rdpmc
        | M::Rdpru
        | M::Rdpkru
        | M::Wrpkru
        | M::Lds
        | M::Les
        | M::Lfs
        | M::Lgs
        | M::Lss
        | M::Swapgs => Handling::Emulate,
        M::Xsave
        | M::Xsave64
        | M::Xsaveopt
        | M::Xsaveopt64
        | M::Xsavec
        | M::Xsavec64
        | M::Xrstor
        | M::Xrstor64 => Handling::ExtendedState,
        // Doors to hypervisors, enclaves, firmware, and idle states of the host.
        M::Vmcall
        | M::Vmmcall
        | M::Vmgexit
        | M::Vmfunc
        | M::Enclu
        | M::Enclv
        | M::Encls
        | M::Getsec
        | M::Skinit
        | M::Monitor
        | M::Mwait
        | M::Monitorx
        | M::Mwaitx
        | M::Umonitor
        | M::Umwait
        | M::Tpause
        | M::Hlt => Handling::Emulate,
        M::In | M::Out | M::Insb | M::Insw | M::Insd | M::Outsb | M::Outsw | M::Outsd => Handling::Emulate,
        M::Mov | M::Push | M::Pop if touches_selector(insn) => Handling::Emulate,
        _ if insn.is_privileged() => Handling::Emulate,
        _ => Handling::Plain,
    }
}

/// Whether the instruction raises #NM while CR0.TS is set (Intel SDM vol. 3 §2.5, TS): x87, MMX, SSE, AVX and what saves
/// their state. XSAVE's instructions are treated apart.
pub(super) fn uses_floating_point(insn: &Instruction) -> bool {
    let exempt = matches!(
        insn.mnemonic(),
        // "except PAUSE, PREFETCHh, SFENCE, LFENCE, MFENCE, MOVNTI, CLFLUSH, CRC32, and POPCNT"
        Mnemonic::Pause
            | Mnemonic::Sfence
            | Mnemonic::Lfence
            | Mnemonic::Mfence
            | Mnemonic::Movnti
            | Mnemonic::Prefetcht0
            | Mnemonic::Prefetcht1
            | Mnemonic::Prefetcht2
            | Mnemonic::Prefetchnta
            | Mnemonic::Crc32
    );
    let vector = |n| {
        let register = insn.op_register(n);
        insn.op_kind(n) == OpKind::Register
            && (register.is_vector_register() || register.is_mm() || register.is_st())
    };
    let feature = |feature: &Feature| {
        matches!(
            feature,
            Feature::FPU
                | Feature::FPU287
                | Feature::FPU387
                | Feature::MMX
                | Feature::FXSR
                | Feature::SSE
                | Feature::SSE2
                | Feature::SSE3
                | Feature::SSSE3
                | Feature::SSE4_1
                | Feature::SSE4_2
                | Feature::SSE4A
                | Feature::AVX
                | Feature::AVX2
                | Feature::FMA
                | Feature::F16C
        )
    };
    !exempt && ((0..insn.op_count()).any(vector) || insn.cpuid_features().iter().any(feature))
}

/// Short sequences for what kernels do often, in 64-bit code.
fn inline(insn: &Instruction) -> Option<Handling> {
    Some(match insn.code() {
        Code::Cli => Handling::DisableInterrupts,
        Code::Sti => Handling::EnableInterrupts,
        Code::Pushfq => Handling::PushFlags,
        Code::Popfq => Handling::PopFlags,
        Code::Swapgs => Handling::SwapGs,
        Code::Rdmsr => Handling::ReadMsr,
        Code::Wrmsr => Handling::WriteMsr,
        Code::Syscall => Handling::SystemCall,
        Code::In_AL_DX => Handling::ReadPort,
        Code::Out_DX_AL => Handling::WritePort,
        Code::Mov_r64_cr => {
            let field = match insn.op1_register() {
                Register::CR0 => Field::Cr0,
                Register::CR2 => Field::Cr2,
                Register::CR3 => Field::Cr3,
                Register::CR4 => Field::Cr4,
                _ => return None,
            };
            Handling::ReadField { register: insn.op0_register(), field }
        }
        // Both clear the bits above the selector (Intel SDM vol. 2, MOV, note on segment registers).
        Code::Mov_r32m16_Sreg | Code::Mov_r64m16_Sreg if insn.op0_kind() == OpKind::Register => {
            let number = u8::try_from(insn.op1_register().number()).ok()?;
            Handling::ReadSelector { register: insn.op0_register(), field: Field::Selector(number) }
        }
        _ => return None,
    })
}

fn touches_selector(insn: &Instruction) -> bool {
    (0..insn.op_count())
        .any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register())
}

/// Branches that are not near ones of the code's own size: far ones, and those cut to 16 bits by a prefix.
fn is_odd_branch(insn: &Instruction) -> bool {
    match insn.flow_control() {
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::Call => {
            !matches!(insn.op0_kind(), OpKind::NearBranch32 | OpKind::NearBranch64)
        }
        FlowControl::IndirectBranch | FlowControl::IndirectCall => {
            !matches!(insn.code(), Code::Jmp_rm64 | Code::Call_rm64 | Code::Jmp_rm32 | Code::Call_rm32)
        }
        FlowControl::Return => {
            !matches!(insn.code(), Code::Retnq | Code::Retnq_imm16 | Code::Retnd | Code::Retnd_imm16)
        }
        _ => false,
    }
}
