//! Port input and output.

use core::arch::asm;

/// Reads a byte from a port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: reading a port changes no memory of ours.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte to a port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: no device of ours writes to memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads two bytes from a port.
pub fn inw(port: u16) -> u16 {
    let value;
    // SAFETY: reading a port changes no memory of ours.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Reads four bytes from a port.
pub fn inl(port: u16) -> u32 {
    let value;
    // SAFETY: reading a port changes no memory of ours.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes four bytes to a port. Devices may read and write memory that they were told of, now and later.
pub fn outl(port: u16, value: u32) {
    // SAFETY: whoever tells a device of memory gives it away.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) };
}

/// Writes two bytes to a port. Devices may read and write memory that they were told of, now and later.
pub fn outw(port: u16, value: u16) {
    // SAFETY: whoever tells a device of memory gives it away.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack, preserves_flags)) };
}
