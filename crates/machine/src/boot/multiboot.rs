//! Multiboot 1: "Multiboot Specification version 0.6.96" (GRUB), called *the specification* below.

use runu_core::Plan;

use crate::memory::{EXTENDED_START, GuestMemory};

use super::{
    CODE_SELECTOR, DATA_SELECTOR, Entry, GDT, GDT_LIMIT, LoadError, Mode, gdt,
    layout::{INFO_LEN, Layout},
    put,
};

/// What EAX holds at entry (the specification, §3.2).
const BOOTLOADER_MAGIC: u64 = 0x2bad_b002;
/// Flat 4 GiB code, 32-bit, readable, accessed, DPL 0.
const FLAT_CODE_32: u64 = 0x00cf_9b00_0000_ffff;
/// CR0.PE and CR0.ET, which is fixed to 1 (Intel SDM vol. 3 §2.5).
const CR0: u64 = 0x11;

/// Offsets of the information structure and its flags (the specification, §3.3).
mod info {
    pub(super) const FLAG_MEMORY: u32 = 1 << 0;
    pub(super) const FLAG_CMDLINE: u32 = 1 << 2;
    pub(super) const FLAG_MODS: u32 = 1 << 3;
    pub(super) const FLAG_MMAP: u32 = 1 << 6;
    pub(super) const FLAG_BOOT_LOADER_NAME: u32 = 1 << 9;

    pub(super) const FLAGS: usize = 0;
    pub(super) const MEM_LOWER: usize = 4;
    pub(super) const MEM_UPPER: usize = 8;
    pub(super) const CMDLINE: usize = 16;
    pub(super) const MODS_COUNT: usize = 20;
    pub(super) const MODS_ADDR: usize = 24;
    pub(super) const MMAP_LENGTH: usize = 44;
    pub(super) const MMAP_ADDR: usize = 48;
    pub(super) const BOOT_LOADER_NAME: usize = 64;
}

/// Where our parts are in the page that starts with the information structure, which is 120 bytes long.
mod part {
    pub(super) const MODULE: usize = 0x80;
    pub(super) const MODULE_NAME: usize = 0xa0;
    pub(super) const BOOT_LOADER_NAME: usize = 0xb0;
    pub(super) const MMAP: usize = 0x100;
}

/// Bytes in an entry of the memory map besides its own `size` field.
const MMAP_ENTRY_SIZE: u32 = 20;
/// Type of available RAM in the memory map.
const MMAP_AVAILABLE: u32 = 1;
/// KiB of conventional memory: 640 less the extended BIOS data area.
const MEM_LOWER_KIB: u32 = 639;

/// Describes the machine to the kernel and returns the state of the specification, §3.2.
pub(super) fn prepare(plan: &Plan, layout: &Layout, memory: &GuestMemory) -> Result<Entry, LoadError> {
    let base = low32(layout.info.0);
    let mut page = [0; INFO_LEN];
    let mut flags = info::FLAG_MEMORY | info::FLAG_CMDLINE | info::FLAG_MMAP | info::FLAG_BOOT_LOADER_NAME;

    let upper = memory.regions().first().map_or(0, |region| region.len.saturating_sub(EXTENDED_START) / 1024);
    put(&mut page, info::MEM_LOWER, MEM_LOWER_KIB.to_le_bytes());
    put(&mut page, info::MEM_UPPER, low32(upper).to_le_bytes());
    put(&mut page, info::CMDLINE, low32(layout.command_line.0).to_le_bytes());
    put(&mut page, info::BOOT_LOADER_NAME, at(base, part::BOOT_LOADER_NAME));
    put(&mut page, part::BOOT_LOADER_NAME, *b"runu\0");

    if let Some(initrd) = &layout.initrd {
        flags |= info::FLAG_MODS;
        put(&mut page, info::MODS_COUNT, 1_u32.to_le_bytes());
        put(&mut page, info::MODS_ADDR, at(base, part::MODULE));
        put(&mut page, part::MODULE, low32(initrd.start).to_le_bytes());
        put(&mut page, part::MODULE + 4, low32(initrd.end).to_le_bytes());
        put(&mut page, part::MODULE + 8, at(base, part::MODULE_NAME));
        put(&mut page, part::MODULE_NAME, *b"initrd\0");
    }

    let mut end = part::MMAP;
    for ram in memory.usable() {
        put(&mut page, end, MMAP_ENTRY_SIZE.to_le_bytes());
        put(&mut page, end + 4, ram.start.to_le_bytes());
        put(&mut page, end + 12, (ram.end - ram.start).to_le_bytes());
        put(&mut page, end + 20, MMAP_AVAILABLE.to_le_bytes());
        end += 24;
    }
    put(&mut page, info::MMAP_ADDR, at(base, part::MMAP));
    put(&mut page, info::MMAP_LENGTH, at(0, end - part::MMAP));
    put(&mut page, info::FLAGS, flags.to_le_bytes());
    memory.store(layout.info, &page)?;
    memory.store(GDT, &gdt(FLAT_CODE_32))?;

    Ok(Entry {
        mode: Mode::Protected32,
        rip: plan.entry.0,
        rsp: layout.stack,
        rax: BOOTLOADER_MAGIC,
        rbx: layout.info.0,
        rsi: 0,
        cr0: CR0,
        cr3: 0,
        cr4: 0,
        efer: 0,
        gdt: GDT,
        gdt_limit: GDT_LIMIT,
        code_selector: CODE_SELECTOR,
        data_selector: DATA_SELECTOR,
    })
}

/// An address or KiB count that the layout keeps below 4 GiB.
fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The address `offset` bytes behind `base`, as a field.
fn at(base: u32, offset: usize) -> [u8; 4] {
    low32(u64::from(base) + offset as u64).to_le_bytes()
}
