//! From guest code to host code, a block at a time.
//!
//! [`translate`] decodes guest instructions from where control really arrived, up to the next branch, and produces host
//! code that does the same in ring 3:
//!
//! * most instructions are copied as they are; those relative to `rip` get an absolute address;
//! * branches leave through an [`Exit`] that the monitor links to the next block once it is known; returns and indirect
//!   branches look their target up in a table;
//! * instructions whose memory cannot be touched natively leave through an [`Exit`], and may run on a copy ([`crate::lent`]);
//! * instructions that read or change what ring 3 does not have ([`sensitive`]) become short sequences on the virtual CPU's
//!   fields, or leave through an [`Exit`] with the decoded instruction.
//!
//! The code is position independent: it refers to the monitor's data ([`Places`]) by absolute addresses below 2 GiB
//! and to itself by relative jumps, so that the monitor may put it anywhere below 4 GiB.
//!
//! Architecture Invariant: no byte is decoded that control did not reach, and guest bytes are never executed in place.

#![expect(clippy::cast_possible_truncation, reason = "offsets in a block, which is some KiB long")]

mod branch;
mod conditions;
mod emit;
mod sensitive;
#[cfg(test)]
mod tests;
mod translator;

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};
use runu_core::VirtAddr;

use crate::lent::Operand;
use emit::Emitter;
use translator::{Then, Translator};

pub use branch::branch;
pub use conditions::Conditions;
pub use emit::{PORT_WRITES, Places, PortRead, PortWrite, folds};

/// Instructions of a block at most. A longer run goes on in the next block; the bound keeps invalidation cheap.
const INSTRUCTIONS_MAX: usize = 96;

/// Operand and address size of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeSize {
    /// Protected mode with a 32-bit code segment.
    Bits32,
    /// Long mode, 64-bit code segment.
    Bits64,
}

impl CodeSize {
    /// The decoder's word for it.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            CodeSize::Bits32 => 32,
            CodeSize::Bits64 => 64,
        }
    }
}

/// What the monitor has learnt about the memory operand of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Site {
    /// Its addresses can be used as they are.
    #[default]
    Native,
    /// It has touched the kernel half: confine its address to [`HALF_BITS`] bits first.
    Folded,
    /// The host cannot map what it touches: leave with [`Exit::Lend`] or [`Exit::Access`].
    OutOfReach,
}

/// Kernel-half addresses are reached at their lowest 46 bits, which host user space can map.
pub const HALF_BITS: u32 = 46;

/// Guest code to translate.
pub struct Source<'a> {
    /// Virtual address of the first instruction.
    pub start: VirtAddr,
    /// How to decode it.
    pub size: CodeSize,
    /// The bytes at `start`: to the end of its page, and up to 14 more if the next page can be fetched.
    pub bytes: &'a [u8],
    /// How many of the bytes lie in the first page.
    pub in_page: usize,
    /// What is known of the instruction at an address.
    pub site: &'a dyn Fn(u64) -> Site,
    /// How the virtual CPU stands.
    pub conditions: Conditions,
    /// Number of the block's first exit; the others follow.
    pub first_exit: u32,
}

/// Why and how host code leaves to the monitor.
#[derive(Clone, Debug)]
pub enum Exit {
    /// Goes on at a known address. `site` is the offset of the 32-bit displacement that leads to this exit;
    /// point it at the target's code and this exit is never taken again.
    Direct {
        /// Where the guest goes on.
        target: VirtAddr,
        /// Offset in the block's code of the displacement to patch.
        site: u32,
    },
    /// Goes on at the address in [`Places::target`]; `rcx` and `rdx` are in their spill slots.
    Indirect,
    /// Only the monitor can do this instruction. If it just goes on, host code resumes at offset `resume`.
    Emulate {
        /// The instruction.
        instruction: Box<Instruction>,
        /// Offset in the block's code behind the exit.
        resume: u32,
    },
    /// The memory operand of this instruction cannot be touched natively, and only the monitor can do it.
    Access {
        /// The instruction.
        instruction: Box<Instruction>,
        /// Offset in the block's code behind the exit.
        resume: u32,
    },
    /// The memory operand of this instruction cannot be touched natively: lend it. The instruction runs from `resume` on, on
    /// what [`Places::lent`] says; there may be no interrupt before it, since devices have been read.
    Lend {
        /// The instruction.
        operand: Box<Operand>,
        /// Offset in the block's code behind the exit.
        resume: u32,
    },
    /// The instruction has run on what it was lent, and has written to it: give it back.
    GiveBack {
        /// Where the guest goes on.
        next: VirtAddr,
        /// Offset in the block's code behind the exit.
        resume: u32,
    },
    /// A near branch that only the monitor takes: an indirect one of 32-bit code, or one with a stack or an operand that
    /// cannot be touched natively.
    Branch {
        /// The instruction.
        instruction: Box<Instruction>,
    },
    /// Interrupts were just enabled while one is pending; the guest goes on at the address.
    Enabled {
        /// Where the guest goes on.
        next: VirtAddr,
    },
    /// The instruction at the address needs floating point, which is switched off: #NM.
    NotAvailable {
        /// Address of the instruction.
        at: VirtAddr,
    },
    /// The bytes at the address are no instruction: #UD.
    Undefined {
        /// Address of the instruction.
        at: VirtAddr,
    },
    /// An instruction at the address reaches into a page that could not be fetched.
    Fetch {
        /// Address of the instruction.
        at: VirtAddr,
        /// First address that could not be fetched.
        missing: VirtAddr,
    },
}

/// Where host code stands in terms of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset in the block's code from which this holds.
    pub host: u32,
    /// Offset of the guest instruction from the block's start.
    pub guest: u32,
    /// Registers (bit n: hardware number n) whose guest value is in its spill slot.
    pub spilled: u16,
    /// At exactly `host`, the guest's state is that before the instruction and an interrupt may be delivered.
    pub boundary: bool,
}

/// Host code of a run of guest instructions.
#[derive(Debug)]
pub struct Block {
    /// Bytes of guest code that the block stands for.
    pub guest_len: u32,
    /// How many instructions that is.
    pub instructions: u32,
    /// The host code. It starts with [`ENTRY_LEN`] bytes of no-op that may be overwritten with a jump elsewhere.
    pub code: Vec<u8>,
    /// In ascending order of `host`; the first has offset [`ENTRY_LEN`].
    pub marks: Vec<Mark>,
    /// Its exits, numbered from [`Source::first_exit`].
    pub exits: Vec<Exit>,
    /// Offset in the code of a way out that leads to the block's own start: when the block is stale, a jump to it belongs
    /// in the entry. It is an [`Exit::Direct`] whose site is that jump.
    pub departure: u32,
}

/// Length of a block's overwritable entry: that of `jmp rel32`.
pub const ENTRY_LEN: usize = 5;

/// Translates one block. Never fails: what cannot be decoded becomes an exit that says so.
#[must_use]
pub fn translate(places: &Places, source: &Source<'_>) -> Block {
    let mut block = Translator::new(places, source);
    let mut decoder =
        Decoder::with_ip(source.size.bits(), source.bytes, source.start.0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    loop {
        let offset = decoder.position();
        let at = decoder.ip();
        if offset >= source.in_page || block.instructions as usize == INSTRUCTIONS_MAX {
            block.leave_to(at, offset);
            break;
        }
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            let missing = source.start.0.wrapping_add(source.bytes.len() as u64);
            let exit = match decoder.last_error() {
                DecoderError::NoMoreBytes if instruction_may_go_on(&source.bytes[offset..]) => {
                    Exit::Fetch { at: VirtAddr(at), missing: VirtAddr(missing) }
                }
                _ => Exit::Undefined { at: VirtAddr(at) },
            };
            block.begin(offset, true);
            block.leave(exit);
            // All bytes that decoding may have looked at: if they change, they may become an instruction.
            block.guest_len = source.bytes.len().min(offset + 15) as u32;
            break;
        }
        let raw = &source.bytes[offset..offset + instruction.len()];
        block.guest_len = (offset + instruction.len()) as u32;
        block.instructions += 1;
        if block.instruction(&instruction, raw, offset) == Then::End {
            break;
        }
    }
    block.finish()
}

/// Host code at [`Places::gate32`]: on from the far jump of 32-bit code to the monitor.
#[must_use]
pub fn gate32(places: &Places) -> Vec<u8> {
    let mut emit = Emitter::new(places, CodeSize::Bits64);
    emit.enter_monitor();
    emit.finish()
}

/// An instruction has at most 15 bytes (Intel SDM vol. 2 §2.3.11): fewer at the end of the bytes may go on behind it.
fn instruction_may_go_on(rest: &[u8]) -> bool {
    rest.len() < 15
}
