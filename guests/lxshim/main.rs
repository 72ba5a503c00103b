//! Boots a kernel of the Linux 64-bit boot protocol where only multiboot is to be had, as under `qemu -kernel`.
//!
//! The first module is the kernel (ELF64), the second its initrd; the kernel's command line is `kernel`
//! followed by what follows the first word of ours. It sees what Firecracker shows (src/vmm/src/arch/x86_64):
//! zero page, flat segments, an identity map, and of memory only RAM, because Unikraft 0.16.3 and 0.17.0 stop
//! at a reserved range below 1 MiB. This kernel lies at 16 MiB, the modules behind it, so that the other
//! finds its place at 1 MiB free.

#![no_std]
#![no_main]

use core::arch::asm;
use core::ptr;
use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::tables::TablePointer;
use rt::{cpu, power, println};

rt::guest!("lxshim", main);

/// Where Firecracker puts them.
const ZERO_PAGE: usize = 0x7000;
const COMMAND_LINE: usize = 0x2_0000;
/// A kernel must end below this one.
const TOP: u64 = 0x100_0000;

/// The boot protocol's segments: code 0x10, data 0x18.
static GDT: OneCpu<[u64; 4]> = OneCpu::new([0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff]);

fn main(boot: &'static Boot) -> ! {
    match load(boot.initrd) {
        Some(entry) => {
            // SAFETY: low memory is RAM that nobody else uses.
            unsafe { write_boot_parameters(boot) };
            // SAFETY: the kernel's segments are at their addresses.
            unsafe { enter(entry) }
        }
        None => {
            println!("lxshim: the first module is no ELF64 kernel that ends below 16 MiB");
            power::crash()
        }
    }
}

fn number<const N: usize>(file: &[u8], at: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(file.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(bytes))
}

/// Copies the loadable segments of an ELF64 file to their physical addresses; returns its entry.
fn load(file: &[u8]) -> Option<u64> {
    const PT_LOAD: u64 = 1;
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (headers, count) = (number::<8>(file, 0x20)? as usize, number::<2>(file, 0x38)? as usize);
    for at in (0..count).map(|index| headers + index * 56) {
        if number::<4>(file, at)? != PT_LOAD {
            continue;
        }
        let [offset, address, file_size, memory_size] = [
            number::<8>(file, at + 8)?,
            number::<8>(file, at + 24)?,
            number::<8>(file, at + 32)?,
            number::<8>(file, at + 40)?,
        ];
        let from = file.get(offset as usize..(offset + file_size) as usize)?;
        if address == 0 || address.checked_add(memory_size)? > TOP || file_size > memory_size {
            return None;
        }
        let to = ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: the range ends below this kernel and its modules, and is RAM.
        unsafe {
            ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
            ptr::write_bytes(to.add(from.len()), 0, (memory_size - file_size) as usize);
        }
    }
    number::<8>(file, 0x18)
}

/// Writes the zero page (Linux's Documentation/arch/x86/zero-page.rst) and the command line.
///
/// # Safety
/// The memory from [`ZERO_PAGE`] and from [`COMMAND_LINE`] must be free.
unsafe fn write_boot_parameters(boot: &Boot) {
    // SAFETY: as promised by the caller.
    unsafe {
        ptr::write_bytes(ZERO_PAGE as *mut u8, 0, 0x1000);
        let put = |offset: usize, value: u32| ((ZERO_PAGE + offset) as *mut u32).write_unaligned(value);
        ((ZERO_PAGE + 0x1fe) as *mut u16).write(0xaa55); // boot_flag
        put(0x202, u32::from_le_bytes(*b"HdrS"));
        put(0x210, 0xff); // type_of_loader: unknown
        if !boot.second_module.is_empty() {
            put(0x218, boot.second_module.as_ptr() as u32);
            put(0x21c, boot.second_module.len() as u32);
        }
        let name = b"kernel";
        let rest = boot.line.iter().position(|byte| *byte == b' ').map_or(&[][..], |at| &boot.line[at..]);
        let line = COMMAND_LINE as *mut u8;
        ptr::copy_nonoverlapping(name.as_ptr(), line, name.len());
        ptr::copy_nonoverlapping(rest.as_ptr(), line.add(name.len()), rest.len());
        let size = name.len() + rest.len();
        line.add(size).write(0);
        put(0x228, COMMAND_LINE as u32);
        put(0x238, (size + 1) as u32); // cmd_line_size: with the NUL, as Firecracker counts

        for (index, range) in boot.ram().iter().enumerate() {
            let entry = (ZERO_PAGE + 0x2d0 + index * 20) as *mut u64;
            entry.write_unaligned(range.start);
            entry.add(1).write_unaligned(range.end - range.start);
            entry.add(2).cast::<u32>().write_unaligned(1);
        }
        ((ZERO_PAGE + 0x1e8) as *mut u8).write(boot.ram().len() as u8);
    }
}

/// Jumps to the kernel with plain control registers, the protocol's segments and the zero page in RSI.
///
/// # Safety
/// There must be a kernel.
unsafe fn enter(entry: u64) -> ! {
    // SAFETY: this code needs none of what is switched off, and never returns.
    unsafe {
        cpu::write_cr4(0x20); // PAE
        cpu::write_cr0(0x8000_0011); // PG, ET, PE
        asm!(
            "lgdt [{table}]",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "push 0x10",
            "push {entry}",
            "retfq",
            table = in(reg) &TablePointer::to(GDT.as_ptr()),
            data = in(reg) 0x18,
            entry = in(reg) entry,
            in("rsi") ZERO_PAGE,
            options(noreturn),
        )
    }
}
