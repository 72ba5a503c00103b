//! From facts and wishes to a plan: does this guest fit into that much memory?
//!
//! A plan that comes out of here can be carried out by any machine of runu's: everything lies in RAM, nothing overlaps.
//! What a machine itself puts into guest memory (boot structures, the command line) lies below 1 MiB, where no kernel
//! may be.

use runu_core::{Blame, Blamed, Bytes, GuestAddr, Plan};

use crate::{CommandLine, Guest};

/// Kernels start at 1 MiB or above: below lie the boot structures, the VGA window and the firmware's place.
const LOW_MEMORY: Bytes = Bytes::mib(1);
/// The least memory: the smallest real kernel (Unikraft's helloworld) runs from 2 MiB on.
const MEMORY_MIN: Bytes = Bytes::mib(2);
/// The most memory, as runu's machines have it: a bound against typing errors.
const MEMORY_MAX: Bytes = Bytes::mib(64 << 10);
/// RAM is in one piece up to here on runu's machines, however much there is. Kernel and initrd lie in that piece.
const FIRST_PIECE: Bytes = Bytes(0x7000_0000);
/// Memory is given in pages, and the initrd starts on one.
const PAGE: u64 = 4096;

/// Makes the plan for a guest with `memory` bytes of RAM, and an initrd of that length if there is one. It has neither
/// network card nor disks: those are for the caller to add.
///
/// # Errors
///
/// The guest cannot be entered by runu's own machines, or kernel and initrd do not fit into the memory.
pub fn plan(
    guest: &Guest,
    command_line: CommandLine,
    memory: Bytes,
    initrd: Option<Bytes>,
) -> Result<Plan, PlanError> {
    let boot = guest.boot.ok_or_else(|| PlanError::NoBootProtocol { kind: guest.kind.to_string() })?;
    if memory < MEMORY_MIN {
        return Err(PlanError::TooLittleMemory { memory, least: MEMORY_MIN });
    }
    if memory > MEMORY_MAX {
        return Err(PlanError::TooMuchMemory { memory, most: MEMORY_MAX });
    }
    if !memory.0.is_multiple_of(PAGE) {
        return Err(PlanError::MemoryNotPages { memory });
    }
    if let Some(low) = guest.segments.iter().map(|segment| segment.addr).find(|addr| addr.0 < LOW_MEMORY.0) {
        return Err(PlanError::KernelTooLow { addr: low });
    }
    let image_end = guest.image_end();
    if image_end.0 > FIRST_PIECE.0 {
        return Err(PlanError::KernelTooHigh { end: image_end, most: GuestAddr(FIRST_PIECE.0) });
    }
    if image_end.0 > memory.0 {
        let needs = Bytes(image_end.0.next_multiple_of(1 << 20));
        return Err(PlanError::KernelTooLarge { needs, memory });
    }
    if let Some(len) = initrd {
        fit_initrd(image_end, len, memory)?;
    }
    Ok(Plan {
        boot,
        entry: guest.entry,
        segments: guest.segments.clone(),
        command_line: command_line.into_bytes(),
        memory,
        initrd,
        network: None,
        shares: Vec::new(),
        disks: Vec::new(),
        learned_memory: None,
    })
}

/// Whether the initrd fits above the kernel, on pages of its own.
fn fit_initrd(image_end: GuestAddr, len: Bytes, memory: Bytes) -> Result<(), PlanError> {
    if len == Bytes(0) {
        return Err(PlanError::InitrdEmpty);
    }
    // Kernel and memory each end with a page, so what fits by bytes fits by pages.
    let kernel_pages_end = image_end.0.next_multiple_of(PAGE);
    let room = Bytes(memory.min(FIRST_PIECE).0.saturating_sub(kernel_pages_end));
    if len > room {
        return Err(PlanError::InitrdTooLarge { initrd: len, room, memory });
    }
    Ok(())
}

/// Why there is no plan for a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// None of runu's own machines can enter the kernel.
    #[error("no monitor of runu's own can boot this kernel: it is {kind}")]
    NoBootProtocol {
        /// What the kernel is.
        kind: String,
    },
    /// Less memory than any kernel needs.
    #[error("{memory} of memory is too little for any guest: {least} is the least")]
    TooLittleMemory {
        /// What was asked for.
        memory: Bytes,
        /// The least.
        least: Bytes,
    },
    /// More memory than a machine has.
    #[error("{memory} of memory is too much for a guest: {most} is the most")]
    TooMuchMemory {
        /// What was asked for.
        memory: Bytes,
        /// The most.
        most: Bytes,
    },
    /// Memory that does not end with a page.
    #[error("{memory} of memory is not a multiple of 4 KiB")]
    MemoryNotPages {
        /// What was asked for.
        memory: Bytes,
    },
    /// The kernel wants memory where the machine keeps its boot structures.
    #[error("the kernel's segment at {addr} lies below 1 MiB, where a machine keeps its boot structures")]
    KernelTooLow {
        /// Where the segment goes.
        addr: GuestAddr,
    },
    /// The kernel reaches higher than RAM in one piece does.
    #[error("the kernel reaches up to {end}, and {most} is the highest it may")]
    KernelTooHigh {
        /// End of the kernel.
        end: GuestAddr,
        /// Where the first piece of RAM ends at most.
        most: GuestAddr,
    },
    /// The kernel does not fit into the memory.
    #[error("the kernel does not fit into {memory} of memory: it reaches up to {needs}")]
    KernelTooLarge {
        /// End of the kernel, in whole MiB.
        needs: Bytes,
        /// What was asked for.
        memory: Bytes,
    },
    /// The initrd holds nothing.
    #[error("the initrd is empty")]
    InitrdEmpty,
    /// The initrd does not fit into what the kernel leaves of the memory.
    #[error("the initrd of {initrd} does not fit into {memory} of memory: the kernel leaves {room}")]
    InitrdTooLarge {
        /// Its length.
        initrd: Bytes,
        /// What is free above the kernel.
        room: Bytes,
        /// What was asked for.
        memory: Bytes,
    },
}

impl Blamed for PlanError {
    fn blame(&self) -> Blame {
        match self {
            PlanError::NoBootProtocol { .. }
            | PlanError::KernelTooLow { .. }
            | PlanError::KernelTooHigh { .. } => Blame::Image,
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PlanError::NoBootProtocol { .. } => {
                "give a kernel with a multiboot header, or one that Unikraft built for qemu or fc".to_owned()
            }
            PlanError::TooLittleMemory { .. } => "give more with -m; 64M suits most guests".to_owned(),
            PlanError::TooMuchMemory { most, .. } => format!("give at most -m {}M", most.0 >> 20),
            PlanError::MemoryNotPages { .. } => "give -m in whole MiB, such as 64M".to_owned(),
            PlanError::KernelTooLow { .. } => "link the kernel at 1 MiB or above".to_owned(),
            PlanError::KernelTooHigh { .. } => "link the kernel lower, such as at 1 MiB".to_owned(),
            PlanError::KernelTooLarge { needs, .. } => {
                format!("give at least -m {}M, and more for what the guest allocates", needs.0 >> 20)
            }
            PlanError::InitrdEmpty => "give an initrd with contents, or none".to_owned(),
            PlanError::InitrdTooLarge { memory, .. } if *memory >= FIRST_PIECE => {
                "give a smaller initrd: more memory leaves no more room for it".to_owned()
            }
            PlanError::InitrdTooLarge { .. } => {
                "give more memory with -m: a guest that unpacks its initrd needs twice its size".to_owned()
            }
        })
    }
}
