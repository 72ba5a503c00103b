//! Page tables built at run time (Intel SDM vol. 3, section 4.5).

use crate::boot::Boot;
use crate::cpu;
use core::arch::asm;

/// Entry bits.
pub const PRESENT: u64 = 1 << 0;
/// Writable.
pub const WRITABLE: u64 = 1 << 1;
/// Reachable from privilege 3.
pub const USER: u64 = 1 << 2;
/// Not executable; needs EFER.NXE.
pub const NO_EXECUTE: u64 = 1 << 63;
/// In an entry above the lowest level: a page, not a table.
const LARGE: u64 = 1 << 7;
/// The bits of an entry that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The size of a page, as the level of its entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB.
    Small = 1,
    /// 2 MiB.
    Large = 2,
    /// 1 GiB; not every processor has it.
    Huge = 3,
}

impl Size {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        0x1000 << (9 * (self as u64 - 1))
    }
}

/// Whether there are pages of 1 GiB.
pub fn has_huge_pages() -> bool {
    cpu::cpuid(0x8000_0001, 0).edx & 1 << 26 != 0
}

/// Hands out page frames, upwards, and never takes one back.
pub struct Frames {
    next: u64,
    end: u64,
}

impl Frames {
    /// The RAM above this kernel: before, between or behind what its loader put there, wherever there is most of it.
    pub fn of(boot: &Boot) -> Self {
        const START: u64 = 4 << 20;
        let end = boot.ram().iter().filter(|range| range.start <= START).map(|range| range.end).max();
        let end = end.unwrap_or(0).min(4 << 30);
        let modules = [boot.initrd, boot.second_module].map(|module| module.as_ptr_range());
        let modules = modules.map(|module| (module.start as u64, module.end as u64));
        let behind = |place: u64| {
            let next = place.max(START).next_multiple_of(0x1000);
            let starts = modules.into_iter().map(|(start, _)| start).filter(|start| *start >= next);
            Self { next, end: starts.fold(end, u64::min) }
        };
        let places = [START, modules[0].1, modules[1].1].map(behind);
        places.into_iter().max_by_key(|place| place.end.saturating_sub(place.next)).expect("there are three")
    }

    /// A zeroed page frame of this size.
    pub fn allocate(&mut self, size: Size) -> u64 {
        let frame = self.next.next_multiple_of(size.bytes());
        self.next = frame + size.bytes();
        assert!(self.next <= self.end, "out of memory");
        // SAFETY: free RAM, mapped where it is.
        unsafe { (frame as *mut u8).write_bytes(0, size.bytes() as usize) };
        frame
    }
}

/// One address space. Its tables are reached at their physical addresses, so every address space must map
/// them there.
#[derive(Clone, Copy)]
pub struct Tables {
    /// The physical address of the highest table, as for CR3.
    pub root: u64,
}

impl Tables {
    /// Nothing mapped.
    pub fn new(frames: &mut Frames) -> Self {
        Self { root: frames.allocate(Size::Small) }
    }

    /// Maps one page, in place of what was mapped there by a page of the same size. Stale translations stay.
    pub fn map(&self, frames: &mut Frames, address: u64, frame: u64, size: Size, bits: u64) {
        let large = if size == Size::Small { 0 } else { LARGE };
        let entry = self.entry(frames, address, size);
        // SAFETY: an entry of ours; what it maps is the caller's business.
        unsafe { entry.write_volatile(frame | bits | large | PRESENT) };
    }

    /// The entry for a page of this size, with the tables above it made where there is none.
    pub fn entry(&self, frames: &mut Frames, address: u64, size: Size) -> *mut u64 {
        let mut table = self.root;
        for level in (1..=4).rev() {
            let index = address >> (12 + 9 * (level - 1)) & 0x1ff;
            let entry = (table + index * 8) as *mut u64;
            if level == size as u64 {
                return entry;
            }
            // SAFETY: tables lie in RAM and are mapped where they are.
            unsafe {
                if entry.read_volatile() & PRESENT == 0 {
                    entry.write_volatile(frames.allocate(Size::Small) | USER | WRITABLE | PRESENT);
                }
                table = entry.read_volatile() & ADDRESS;
            }
        }
        unreachable!("sizes are levels 1 to 3")
    }

    /// Makes this the address space in force; no stale translation survives.
    ///
    /// # Safety
    /// It must map all that is in use.
    pub unsafe fn load(&self) {
        // SAFETY: as promised by the caller.
        unsafe { cpu::write_cr3(self.root) };
    }
}

/// Forgets the translation of one page.
pub fn invalidate(address: u64) {
    // SAFETY: only costs time.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}
