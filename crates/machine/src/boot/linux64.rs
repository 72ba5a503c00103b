//! The Linux 64-bit boot protocol: Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol", and zero-page.rst
//! beside it. Entered at the ELF entry, as Firecracker enters Linux and Unikraft's `fc` kernels.

use runu_core::{GuestAddr, Plan};

use crate::memory::GuestMemory;

use super::{
    CODE_SELECTOR, DATA_SELECTOR, Entry, GDT, GDT_LIMIT, LoadError, Mode, gdt,
    layout::{INFO_LEN, Layout},
    put,
};

/// Flat 64-bit code, readable, accessed, DPL 0.
const FLAT_CODE_64: u64 = 0x00af_9b00_0000_ffff;
/// CR0.PG, CR0.ET, CR0.PE.
const CR0: u64 = 0x8000_0011;
/// CR4.PAE.
const CR4: u64 = 1 << 5;
/// EFER.LMA and EFER.LME.
const EFER: u64 = 1 << 10 | 1 << 8;

/// The first of the page tables, in the ROM area behind the descriptors: one PML4, one PDPT, four page directories.
const PAGE_TABLES: GuestAddr = GuestAddr(0xc_1000);
/// Present and writable (Intel SDM vol. 3 §4.5).
const TABLE: u64 = 0b11;
/// Present, writable, a 2 MiB page. Not 1 GiB pages: a CPU may lack them.
const LARGE_PAGE: u64 = 0b1000_0011;

/// Offsets in the zero page (zero-page.rst; boot.rst, "Details of Header Fields").
mod zero_page {
    pub(super) const E820_ENTRIES: usize = 0x1e8;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const HEADER: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const TYPE_OF_LOADER: usize = 0x210;
    pub(super) const LOADFLAGS: usize = 0x211;
    pub(super) const RAMDISK_IMAGE: usize = 0x218;
    pub(super) const RAMDISK_SIZE: usize = 0x21c;
    pub(super) const CMD_LINE_PTR: usize = 0x228;
    pub(super) const INITRD_ADDR_MAX: usize = 0x22c;
    pub(super) const CMDLINE_SIZE: usize = 0x238;
    pub(super) const E820_TABLE: usize = 0x2d0;
}

/// A header of protocol version 2.12, the first with 64-bit entries.
const PROTOCOL_VERSION: u16 = 0x020c;
/// A boot loader without an assigned number.
const LOADER_UNDEFINED: u8 = 0xff;
/// The kernel was loaded at 1 MiB or above.
const LOADED_HIGH: u8 = 1;
/// Type of usable RAM in the e820 map.
const E820_RAM: u32 = 1;

/// Describes the machine to the kernel and returns the state of boot.rst, "64-bit Boot Protocol".
pub(super) fn prepare(plan: &Plan, layout: &Layout, memory: &GuestMemory) -> Result<Entry, LoadError> {
    let mut page = [0; INFO_LEN];
    put(&mut page, zero_page::BOOT_FLAG, 0xaa55_u16.to_le_bytes());
    put(&mut page, zero_page::HEADER, *b"HdrS");
    put(&mut page, zero_page::VERSION, PROTOCOL_VERSION.to_le_bytes());
    put(&mut page, zero_page::TYPE_OF_LOADER, [LOADER_UNDEFINED]);
    put(&mut page, zero_page::LOADFLAGS, [LOADED_HIGH]);
    put(&mut page, zero_page::INITRD_ADDR_MAX, 0x7fff_ffff_u32.to_le_bytes());
    put(&mut page, zero_page::CMD_LINE_PTR, low32(layout.command_line.0));
    // Meant as the longest command line the kernel takes, but Unikraft copies that many bytes; so, as Firecracker does,
    // the length of this one with its NUL.
    put(&mut page, zero_page::CMDLINE_SIZE, low32(plan.command_line.len() as u64 + 1));
    if let Some(initrd) = &layout.initrd {
        put(&mut page, zero_page::RAMDISK_IMAGE, low32(initrd.start));
        put(&mut page, zero_page::RAMDISK_SIZE, low32(initrd.end - initrd.start));
    }
    let mut entries = 0_u8;
    for ram in memory.usable() {
        // Only RAM: Unikraft 0.16.3 and 0.17.0 stop on a reserved entry between 0xa0000 and 0x100000.
        let entry = zero_page::E820_TABLE + 20 * usize::from(entries);
        put(&mut page, entry, ram.start.to_le_bytes());
        put(&mut page, entry + 8, (ram.end - ram.start).to_le_bytes());
        put(&mut page, entry + 16, E820_RAM.to_le_bytes());
        entries += 1;
    }
    put(&mut page, zero_page::E820_ENTRIES, [entries]);
    memory.store(layout.info, &page)?;
    memory.store(GDT, &gdt(FLAT_CODE_64))?;
    memory.store(PAGE_TABLES, &page_tables())?;

    Ok(Entry {
        mode: Mode::Long64,
        rip: plan.entry.0,
        rsp: layout.stack,
        rax: 0,
        rbx: 0,
        rsi: layout.info.0,
        cr0: CR0,
        cr3: PAGE_TABLES.0,
        cr4: CR4,
        efer: EFER,
        gdt: GDT,
        gdt_limit: GDT_LIMIT,
        code_selector: CODE_SELECTOR,
        data_selector: DATA_SELECTOR,
    })
}

/// Tables that map 0 to 4 GiB to itself, writable and executable.
fn page_tables() -> Vec<u8> {
    let table = |number: u64| (PAGE_TABLES.0 + number * 0x1000) | TABLE;
    let pml4 = [table(1)].into_iter().chain([0; 511]);
    let pdpt = (2..6).map(table).chain([0; 508]);
    let directories = (0..4 * 512).map(|page| page << 21 | LARGE_PAGE);
    pml4.chain(pdpt).chain(directories).flat_map(u64::to_le_bytes).collect()
}

/// An address or length that the layout keeps below 4 GiB, as a field.
fn low32(value: u64) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}
