//! The address space that all checks share, and how they reach memory.

use core::arch::asm;
use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::check::{Outcome, Wrong, equal};
use rt::cpu;
use rt::faulting;
use rt::paging::{self, Frames, PRESENT, Size, Tables, USER, WRITABLE};
use rt::trap::{self, Record};

/// Where Unikraft has its heap.
pub(crate) const HEAP: u64 = 0x4_0000_0000;
/// Where Unikraft puts mappings.
pub(crate) const MAPPINGS: u64 = 0x10_0000_0000;
/// Where Unikraft maps all RAM (plat/common/include/x86/paging.h).
pub(crate) const DIRECT_MAP: u64 = 0xffff_ff80_0000_0000;

/// #PF and its error code (Intel SDM vol. 3, section 4.7).
pub(crate) const PAGE_FAULT: u8 = 14;
pub(crate) const FAULT_PRESENT: u64 = 1 << 0;
pub(crate) const FAULT_WRITE: u64 = 1 << 1;
pub(crate) const FAULT_FETCH: u64 = 1 << 4;

static FRAMES: OneCpu<Option<Frames>> = OneCpu::new(None);
static TABLES: OneCpu<Tables> = OneCpu::new(Tables { root: 0 });

/// Makes and loads an address space with RAM where it is (page 0 absent) and at [`DIRECT_MAP`].
pub(crate) fn enter(boot: &Boot) {
    const EFER: u32 = 0xc000_0080;
    const NXE: u64 = 1 << 11;
    // SAFETY: every processor with long mode has it; called before anything else uses the statics.
    unsafe {
        cpu::wrmsr(EFER, cpu::rdmsr(EFER) | NXE);
        *FRAMES.get() = Some(Frames::of(boot));
        *TABLES.get() = address_space(top_of_ram(boot));
        TABLES.get().load();
    }
}

fn top_of_ram(boot: &Boot) -> u64 {
    boot.ram().iter().map(|range| range.end).filter(|end| *end <= 4 << 30).max().unwrap_or(0)
}

fn address_space(top: u64) -> Tables {
    let tables = Tables::new(frames());
    for page in 1..512 {
        tables.map(frames(), page * 0x1000, page * 0x1000, Size::Small, WRITABLE);
    }
    for page in 1..top.div_ceil(Size::Large.bytes()) {
        let address = page * Size::Large.bytes();
        tables.map(frames(), address, address, Size::Large, WRITABLE);
    }
    let size = if paging::has_huge_pages() { Size::Huge } else { Size::Large };
    for page in 0..top.div_ceil(size.bytes()) {
        let address = page * size.bytes();
        tables.map(frames(), DIRECT_MAP + address, address, size, WRITABLE | paging::NO_EXECUTE);
    }
    tables
}

/// The page frames that are free.
pub(crate) fn frames() -> &'static mut Frames {
    // SAFETY: every use is one call; handlers of page faults use it only where the interrupted code doesn't.
    unsafe { FRAMES.get().as_mut().expect("enter comes first") }
}

/// The address space in force.
pub(crate) fn tables() -> Tables {
    // SAFETY: copied at once.
    unsafe { *TABLES.get() }
}

/// A zeroed frame of 4 KiB.
pub(crate) fn frame() -> u64 {
    frames().allocate(Size::Small)
}

/// Maps a page of 4 KiB and forgets what was there.
pub(crate) fn map(address: u64, frame: u64, bits: u64) {
    tables().map(frames(), address, frame, Size::Small, bits);
    paging::invalidate(address);
}

/// Removes a page of 4 KiB.
pub(crate) fn unmap(address: u64) {
    let entry = tables().entry(frames(), address, Size::Small);
    // SAFETY: an entry of ours.
    unsafe { entry.write_volatile(entry.read_volatile() & !PRESENT) };
    paging::invalidate(address);
}

/// Reads a word.
pub(crate) fn peek(address: u64) -> u64 {
    // SAFETY: the callers mapped it, or handle the fault.
    unsafe { (address as *const u64).read_volatile() }
}

/// Writes a word.
pub(crate) fn poke(address: u64, value: u64) {
    // SAFETY: the callers mapped it for this purpose, or handle the fault.
    unsafe { (address as *mut u64).write_volatile(value) }
}

/// Writes bytes, as code into a frame.
pub(crate) fn write(address: u64, bytes: &[u8]) {
    // SAFETY: the callers name a frame of their own.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}

/// Requires the page fault that an access raises.
fn faults(access: impl FnOnce(), address: u64, error: u64) -> Outcome {
    trap::on(PAGE_FAULT, Some(trap::record));
    access();
    trap::on(PAGE_FAULT, None);
    let Some(Record { frame, cr2, .. }) = trap::last() else { return equal("page faults", 0, 1) };
    equal("cr2", cr2, address)?;
    equal("error code", frame.error, error)
}

/// Requires that a read faults.
pub(crate) fn read_faults(address: u64, error: u64) -> Outcome {
    // SAFETY: a read changes nothing.
    faults(|| unsafe { faulting!("mov {0}, [{0}]"; inout(reg) address => _) }, address, error)
}

/// Requires that a write faults.
pub(crate) fn write_faults(address: u64, error: u64) -> Outcome {
    // SAFETY: the callers name a page that is theirs.
    faults(|| unsafe { faulting!("mov [{0}], {0}"; in(reg) address) }, address, error)
}

/// Requires that a jump faults.
pub(crate) fn fetch_faults(address: u64, error: u64) -> Outcome {
    let fetch = || {
        // SAFETY: both the fault's handler and the code there, should it run, go on at the label.
        unsafe {
            asm!(
                "lea r10, [rip + 2f]", "mov r11, rsp", "push r10", "jmp {}", "2: mov rsp, r11",
                in(reg) address, out("rax") _, out("r10") _, out("r11") _,
            );
        }
    };
    faults(fetch, address, error)
}

/// Calls code.
pub(crate) fn call(address: u64) -> u64 {
    let result;
    // SAFETY: the callers have put code there that changes RAX only.
    unsafe { asm!("call {}", in(reg) address, out("rax") result) };
    result
}

/// `mov eax, value; ret`.
pub(crate) fn returning(value: u32) -> [u8; 6] {
    let [a, b, c, d] = value.to_le_bytes();
    [0xb8, a, b, c, d, 0xc3]
}

/// What the first wrong outcome of many is.
pub(crate) fn all<T>(items: impl IntoIterator<Item = T>, check: impl Fn(T) -> Outcome) -> Result<(), Wrong> {
    items.into_iter().try_for_each(check)
}

/// An address space with the same mappings, and own tables of the two highest levels.
pub(crate) fn copy_of_space() -> Tables {
    let copy = |from: u64| {
        let to = frame();
        for at in (0..0x1000).step_by(8) {
            poke(to + at, peek(from + at));
        }
        to
    };
    let there = Tables { root: copy(tables().root) };
    let lower = copy(peek(there.root) & 0x000f_ffff_ffff_f000);
    poke(there.root, lower | USER | WRITABLE | PRESENT);
    there
}
