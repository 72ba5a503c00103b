//! The guest's page tables, walked as the CPU walks them (Intel SDM vol. 3 §5.5, four-level paging), and guest-virtual
//! memory on top of them.
//!
//! A walk reads only: accessed and dirty bits are left alone. All accesses are a supervisor's; neither SMEP, SMAP nor
//! protection keys are offered to guests, so the user bit decides nothing. Reserved bits are checked against the
//! physical address width that CPUID tells.

mod memory;

use runu_core::{GuestAddr, VirtAddr};

use crate::{
    cpu::{Cpu, cr0, cr4, efer},
    cpuid::PHYSICAL_ADDRESS_BITS,
};

pub use memory::{Intent, Span, check, fault, read, read_value, write, write_value};

/// Bits of a table entry (Intel SDM vol. 3, tables 5-15 to 5-20).
mod entry {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const LARGE: u64 = 1 << 7;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
    /// Where an address can stand: bits 12 to 51.
    pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Where a guest-virtual address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address of the byte asked for.
    pub addr: GuestAddr,
    /// Whether the kernel may write: the tables allow it, or CR0.WP does not ask them.
    pub writable: bool,
    /// Whether the kernel may execute.
    pub executable: bool,
    /// Size in bytes of the page around the address; the whole page translates alike. 1 GiB without paging.
    pub page_size: u64,
}

/// Why a guest-virtual address leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMapped {
    /// Bits 63 to 47 differ: #GP or #SS rather than a page fault.
    #[error("the address is not canonical")]
    NonCanonical,
    /// An entry on the way is not present.
    #[error("a table entry is not present")]
    NotPresent,
    /// An entry on the way has a reserved bit set, or a table is outside RAM, where a bus reads as all ones.
    #[error("a table entry has a reserved bit set")]
    ReservedBit,
    /// The CPU is in a paging mode that is not represented; what it is.
    #[error("{0} is not represented")]
    Unsupported(&'static str),
}

/// Follows the guest's page tables for one address. `read_u64` reads RAM, `None` outside it.
///
/// # Errors
/// [`NotMapped`] says why there is no translation.
pub fn walk(
    cpu: &Cpu,
    mut read_u64: impl FnMut(GuestAddr) -> Option<u64>,
    va: VirtAddr,
) -> Result<Translation, NotMapped> {
    if !cpu.paging() {
        let addr = GuestAddr(va.0 & 0xffff_ffff);
        return Ok(Translation { addr, writable: true, executable: true, page_size: 1 << 30 });
    }
    if !cpu.long_mode() {
        return Err(NotMapped::Unsupported("32-bit paging"));
    }
    if cpu.cr4 & cr4::LA57 != 0 {
        return Err(NotMapped::Unsupported("five-level paging"));
    }
    if !Cpu::canonical(va.0) {
        return Err(NotMapped::NonCanonical);
    }

    let no_execute_enabled = cpu.efer & efer::NXE != 0;
    let beyond = entry::ADDRESS & !((1 << PHYSICAL_ADDRESS_BITS) - 1);
    let reserved = if no_execute_enabled { beyond } else { beyond | entry::NO_EXECUTE };
    let (mut writable, mut executable) = (true, true);
    let mut table = cpu.cr3 & entry::ADDRESS;
    // Bit positions of the table indices: PML4, PDPT, PD, PT.
    for shift in [39, 30, 21, 12] {
        let slot = GuestAddr(table | ((va.0 >> shift) & 0x1ff) << 3);
        let found = read_u64(slot).ok_or(NotMapped::ReservedBit)?;
        if found & entry::PRESENT == 0 {
            return Err(NotMapped::NotPresent);
        }
        if found & reserved != 0 {
            return Err(NotMapped::ReservedBit);
        }
        writable &= found & entry::WRITABLE != 0;
        executable &= found & entry::NO_EXECUTE == 0;
        table = found & entry::ADDRESS;
        // Bit 7 is PAT in the last level and must be 0 in the first.
        let large = shift != 12 && found & entry::LARGE != 0;
        if shift == 12 || large {
            let size = 1_u64 << shift;
            // Bit 12 of a large page is PAT; the others below its size are reserved.
            let in_page = table & (size - 1) & !(1 << 12);
            if shift == 39 || (large && in_page != 0) {
                return Err(NotMapped::ReservedBit);
            }
            let addr = GuestAddr((table & !(size - 1)) | (va.0 & (size - 1)));
            writable |= cpu.cr0 & cr0::WP == 0;
            return Ok(Translation { addr, writable, executable, page_size: size });
        }
    }
    // The last level always returns.
    Err(NotMapped::NotPresent)
}

#[cfg(test)]
mod tests;
