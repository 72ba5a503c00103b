//! What the loader left: command line, memory, initrd; from the multiboot information or from Linux's zero
//! page.

use crate::cell::OneCpu;
use crate::cmdline::{CommandLine, MAX_LINE, MAX_WORDS};
use crate::{power, println};
use core::slice;

/// Which entry was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Multiboot 1, 32-bit entry (Unikraft's `qemu` kind).
    Multiboot,
    /// Linux 64-bit boot protocol (Unikraft's `fc` kind).
    Linux64,
}

/// A range of physical memory.
#[derive(Clone, Copy)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
}

/// All that is known at the start.
pub struct Boot {
    /// Which entry was taken.
    pub kind: Kind,
    /// The command line as the loader left it.
    pub line: &'static [u8],
    /// Arguments and environment.
    pub cmdline: CommandLine,
    /// The initrd; empty when there is none.
    pub initrd: &'static [u8],
    /// The multiboot module behind the initrd; empty when there is none.
    pub second_module: &'static [u8],
    ram: [Range; MAX_RAM],
    ram_len: usize,
}

/// More ranges of RAM than any loader of ours reports.
const MAX_RAM: usize = 16;

impl Boot {
    /// The ranges of RAM, as the loader ordered them.
    pub fn ram(&self) -> &[Range] {
        &self.ram[..self.ram_len]
    }

    fn add_ram(&mut self, start: u64, size: u64) {
        if self.ram_len < MAX_RAM {
            self.ram[self.ram_len] = Range { start, end: start + size };
            self.ram_len += 1;
        }
    }
}

static BOOT: OneCpu<Boot> = OneCpu::new(Boot {
    kind: Kind::Multiboot,
    line: &[],
    cmdline: CommandLine::EMPTY,
    initrd: &[],
    second_module: &[],
    ram: [Range { start: 0, end: 0 }; MAX_RAM],
    ram_len: 0,
});

static TEXT: OneCpu<[u8; MAX_LINE]> = OneCpu::new([0; MAX_LINE]);
static WORDS: OneCpu<[&[u8]; MAX_WORDS]> = OneCpu::new([&[]; MAX_WORDS]);

/// Reads the loader's information at `info`; `kind` is what `entry.s` says.
///
/// # Safety
/// To be called once, with the address that the loader passed, while that memory still is as the loader left
/// it.
pub(crate) unsafe fn read(kind: u64, info: usize) -> &'static Boot {
    // SAFETY: the only call, so the only reference.
    let boot = unsafe { BOOT.get() };
    // SAFETY: the caller promises that `info` is the loader's.
    boot.line = unsafe {
        match kind {
            0 => read_multiboot(boot, info),
            _ => read_zero_page(boot, info),
        }
    };
    if boot.line.len() > MAX_LINE {
        println!("command line too long");
        power::crash();
    }
    // SAFETY: the only use of both.
    unsafe { boot.cmdline.read(boot.line, TEXT.get(), WORDS.get()) };
    boot
}

/// Reads a number at `base + offset`.
///
/// # Safety
/// There must be readable memory.
unsafe fn peek<T: Copy>(base: usize, offset: usize) -> T {
    // SAFETY: as promised by the caller; the structures are packed, so the read is unaligned.
    unsafe { ((base + offset) as *const T).read_unaligned() }
}

/// # Safety
/// There must be `size` bytes at `start` that nobody changes.
unsafe fn bytes(start: usize, size: usize) -> &'static [u8] {
    if size == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller; nothing of ours lies at address 0.
    unsafe { slice::from_raw_parts(start as *const u8, size) }
}

/// Multiboot specification 0.6.96, section 3.3; returns the command line.
///
/// # Safety
/// `info` must be the address of multiboot information.
unsafe fn read_multiboot(boot: &mut Boot, info: usize) -> &'static [u8] {
    const CMDLINE: u32 = 1 << 2;
    const MODULES: u32 = 1 << 3;
    const MEMORY_MAP: u32 = 1 << 6;

    // SAFETY: offsets within the information, which says by its flags what is there.
    unsafe {
        let flags: u32 = peek(info, 0);
        if flags & MODULES != 0 {
            let count: u32 = peek(info, 20);
            let list = peek::<u32>(info, 24) as usize;
            let module = |index: usize| {
                let start: u32 = peek(list, index * 16);
                let end: u32 = peek(list, index * 16 + 4);
                bytes(start as usize, (end - start) as usize)
            };
            if count > 0 {
                boot.initrd = module(0);
            }
            if count > 1 {
                boot.second_module = module(1);
            }
        }
        if flags & MEMORY_MAP != 0 {
            let (length, map) = (peek::<u32>(info, 44) as usize, peek::<u32>(info, 48) as usize);
            let mut at = 0;
            while at < length {
                if peek::<u32>(map, at + 20) == 1 {
                    boot.add_ram(peek(map, at + 4), peek(map, at + 12));
                }
                at += peek::<u32>(map, at) as usize + 4;
            }
        }
        if flags & CMDLINE == 0 {
            return &[];
        }
        let line = peek::<u32>(info, 16) as usize;
        let mut size = 0;
        while peek::<u8>(line, size) != 0 {
            size += 1;
        }
        bytes(line, size)
    }
}

/// Linux's Documentation/arch/x86/zero-page.rst and boot.rst; returns the command line. As Unikraft does, it
/// takes `cmd_line_size` for the line's length with or without its NUL, which is what Firecracker puts there.
///
/// # Safety
/// `zero_page` must be the address of boot parameters.
unsafe fn read_zero_page(boot: &mut Boot, zero_page: usize) -> &'static [u8] {
    // SAFETY: offsets within the zero page.
    unsafe {
        boot.kind = Kind::Linux64;
        let join = |low: usize, high: usize| {
            u64::from(peek::<u32>(zero_page, low)) | u64::from(peek::<u32>(zero_page, high)) << 32
        };
        boot.initrd = bytes(join(0x218, 0xc0) as usize, join(0x21c, 0xc4) as usize);
        for index in 0..usize::from(peek::<u8>(zero_page, 0x1e8)) {
            let entry = 0x2d0 + index * 20;
            if peek::<u32>(zero_page, entry + 16) == 1 {
                boot.add_ram(peek(zero_page, entry), peek(zero_page, entry + 8));
            }
        }
        let line = bytes(join(0x228, 0xc8) as usize, peek::<u32>(zero_page, 0x238) as usize);
        line.split(|byte| *byte == 0).next().unwrap_or(line)
    }
}
