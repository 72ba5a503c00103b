//! What a virtual CPU is wired to: RAM, memory-mapped devices, ports, and its local APIC. The monitor implements it.

use runu_core::GuestAddr;

/// The guest-physical world around a virtual CPU.
///
/// Every address comes from a hostile guest. No call may panic or block for long.
pub trait Bus {
    /// Reads RAM. False, with `into` unspecified, when a byte of the range is outside RAM.
    fn read_physical(&mut self, addr: GuestAddr, into: &mut [u8]) -> bool;

    /// Writes RAM. False, with nothing written, when a byte of the range is outside RAM.
    fn write_physical(&mut self, addr: GuestAddr, from: &[u8]) -> bool;

    /// Reads `size` bytes (1, 2, 4 or 8) outside RAM. Where no device is, all ones, as an idle bus reads.
    fn read_device(&mut self, addr: GuestAddr, size: u8) -> u64;

    /// Writes the low `size` bytes (1, 2, 4 or 8) of `value` outside RAM. Where no device is, nothing happens.
    fn write_device(&mut self, addr: GuestAddr, size: u8, value: u64);

    /// Reads `size` bytes (1, 2 or 4) from a port. Where no device is, all ones.
    fn port_in(&mut self, port: u16, size: u8) -> u32;

    /// Writes the low `size` bytes (1, 2 or 4) of `value` to a port. Where no device is, nothing happens.
    fn port_out(&mut self, port: u16, size: u8, value: u32);

    /// Reads a model-specific register that is not the CPU's own but its local APIC's: IA32_APIC_BASE (0x1b), 0x800 to 0x8ff.
    /// `None` where there is none to read: #GP.
    fn apic_in(&mut self, msr: u32) -> Option<u64>;

    /// Writes one. False where there is none to write or it does not take the value: #GP, and nothing has changed.
    fn apic_out(&mut self, msr: u32, value: u64) -> bool;

    /// Whether there is a local APIC: it can be switched off by IA32_APIC_BASE.
    fn has_apic(&mut self) -> bool;

    /// Reads the priority of the task, 0 to 15: CR8.
    fn priority_class(&mut self) -> u8;

    /// Writes it.
    fn set_priority_class(&mut self, class: u8);
}

#[cfg(test)]
pub(crate) mod fake;
