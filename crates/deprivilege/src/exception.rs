//! Exceptions and interrupts, delivered through the guest's interrupt table as the CPU does it (Intel SDM vol. 3 §7.12
//! to §7.15).
//!
//! A monitor calls [`raise`] for an exception of an instruction, whose address RIP still holds, and [`interrupt`] for
//! an interrupt between two instructions. Faults on the way become a double fault or end in a triple fault. The guest
//! is at CPL 0 before and after, so stacks are switched only by IST.

mod gate;

use runu_core::VirtAddr;

use crate::{
    bus::Bus,
    cpu::{Cpu, Registers},
    emulate::Trap,
};

use gate::{Event, Origin};

/// Exception vectors (Intel SDM vol. 3, table 7-1).
pub(crate) mod vector {
    pub(crate) const DIVIDE: u8 = 0;
    pub(crate) const DEBUG: u8 = 1;
    pub(crate) const BREAKPOINT: u8 = 3;
    pub(crate) const OVERFLOW: u8 = 4;
    pub(crate) const INVALID_OPCODE: u8 = 6;
    pub(crate) const DOUBLE_FAULT: u8 = 8;
    pub(crate) const INVALID_TSS: u8 = 10;
    pub(crate) const NOT_PRESENT: u8 = 11;
    pub(crate) const STACK: u8 = 12;
    pub(crate) const GENERAL_PROTECTION: u8 = 13;
    pub(crate) const PAGE_FAULT: u8 = 14;
    pub(crate) const MACHINE_CHECK: u8 = 18;
    pub(crate) const CONTROL_PROTECTION: u8 = 21;
}

/// An exception that an instruction raised and the guest is to handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector, 0 to 31.
    pub vector: u8,
    /// The error code, for vectors that have one.
    pub error_code: Option<u32>,
    /// The address that faulted, for page faults.
    pub cr2: Option<VirtAddr>,
}

impl Exception {
    /// #UD.
    #[must_use]
    pub fn invalid_opcode() -> Self {
        Self { vector: vector::INVALID_OPCODE, error_code: None, cr2: None }
    }

    /// #GP with an error code: 0 or a selector.
    #[must_use]
    pub fn general_protection(error_code: u32) -> Self {
        Self { vector: vector::GENERAL_PROTECTION, error_code: Some(error_code), cr2: None }
    }

    /// #PF at an address.
    #[must_use]
    pub fn page_fault(at: VirtAddr, error_code: u32) -> Self {
        Self { vector: vector::PAGE_FAULT, error_code: Some(error_code), cr2: Some(at) }
    }
}

/// Why an exception or interrupt did not reach a handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Not even the double fault could be delivered: hardware shuts down, a PC resets.
    #[error("triple fault: exception {vector} at {rip:#x} found no handler")]
    TripleFault {
        /// The vector that started it.
        vector: u8,
        /// RIP at that time.
        rip: u64,
    },
    /// Delivery needs something that is not represented; what, in one line.
    #[error("{0}")]
    Unsupported(String),
}

/// Delivers an exception of the instruction at RIP. A page fault's address goes to CR2.
///
/// # Errors
/// [`Undelivered`]: the guest has no way on.
pub fn raise(
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
    exception: Exception,
) -> Result<(), Undelivered> {
    let first = Event {
        vector: exception.vector,
        error_code: exception.error_code,
        origin: Origin::Exception,
        return_rip: regs.rip,
    };
    if let Some(addr) = exception.cr2 {
        cpu.cr2 = addr.0;
    }
    deliver(cpu, regs, bus, first)
}

/// Delivers an external interrupt before the instruction at RIP. The caller has seen that IF is set.
///
/// # Errors
/// [`Undelivered`]: the guest has no way on.
pub fn interrupt(
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
    vector: u8,
) -> Result<(), Undelivered> {
    let first = Event { vector, error_code: None, origin: Origin::External, return_rip: regs.rip };
    deliver(cpu, regs, bus, first)
}

/// Delivers INT n, INT1, INT3 or INTO, to return to `return_rip`. A fault on the way is the instruction's own.
pub(crate) fn software(
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
    vector: u8,
    return_rip: u64,
) -> Result<(), Trap> {
    gate::enter(cpu, regs, bus, Event { vector, error_code: None, origin: Origin::Software, return_rip })
}

/// Most faults that one delivery can meet: benign, contributory, page fault, double fault, and the end.
const MOST_FAULTS: usize = 5;

fn deliver(cpu: &mut Cpu, regs: &mut Registers, bus: &mut dyn Bus, first: Event) -> Result<(), Undelivered> {
    let mut current = first;
    for _ in 0..MOST_FAULTS {
        let next = match gate::enter(cpu, regs, bus, current) {
            Ok(()) => return Ok(()),
            Err(Trap::Unsupported(what)) => return Err(Undelivered::Unsupported(what)),
            Err(Trap::Exception(next)) => next,
        };
        if let Some(addr) = next.cr2 {
            cpu.cr2 = addr.0;
        }
        current = match after(current, next.vector) {
            Outcome::Serial => Event { vector: next.vector, error_code: next.error_code, ..first.fault() },
            Outcome::DoubleFault => {
                Event { vector: vector::DOUBLE_FAULT, error_code: Some(0), ..first.fault() }
            }
            Outcome::Shutdown => break,
        };
    }
    Err(Undelivered::TripleFault { vector: first.vector, rip: regs.rip })
}

impl Event {
    /// A fault met while this event was delivered: it returns to where the event would have returned to.
    fn fault(self) -> Self {
        Self { origin: Origin::Exception, ..self }
    }
}

/// Classes of exceptions (Intel SDM vol. 3, table 7-4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(vector: u8) -> Class {
    match vector {
        vector::DIVIDE
        | vector::INVALID_TSS
        | vector::NOT_PRESENT
        | vector::STACK
        | vector::GENERAL_PROTECTION
        | vector::CONTROL_PROTECTION => Class::Contributory,
        vector::PAGE_FAULT => Class::PageFault,
        vector::DOUBLE_FAULT => Class::DoubleFault,
        _ => Class::Benign,
    }
}

enum Outcome {
    Serial,
    DoubleFault,
    Shutdown,
}

/// What a second fault makes of the delivery of a first event (Intel SDM vol. 3, table 7-5).
fn after(first: Event, second: u8) -> Outcome {
    let first = if first.origin == Origin::Exception { class(first.vector) } else { Class::Benign };
    match (first, class(second)) {
        (_, Class::Benign) | (Class::Benign, _) | (Class::Contributory, Class::PageFault) => Outcome::Serial,
        (Class::DoubleFault, _) => Outcome::Shutdown,
        (Class::Contributory | Class::PageFault, _) => Outcome::DoubleFault,
    }
}

#[cfg(test)]
mod tests;
