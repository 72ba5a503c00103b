//! A bus for tests: a little RAM from address 0, and devices that remember what was done to them.

use runu_core::GuestAddr;

use super::Bus;

/// Size of the RAM in bytes.
pub(crate) const RAM: usize = 1 << 20;

/// What was done to a device or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Read { addr: u64, size: u8 },
    Write { addr: u64, size: u8, value: u64 },
    In { port: u16, size: u8 },
    Out { port: u16, size: u8, value: u32 },
    Apic { msr: u32, value: u64 },
}

/// RAM and devices.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) ram: Vec<u8>,
    pub(crate) deeds: Vec<Deed>,
    /// What devices and ports read as.
    pub(crate) answer: u64,
    /// IA32_APIC_BASE, the only register of the local APIC that can be read.
    pub(crate) apic_base: u64,
    pub(crate) priority_class: u8,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            ram: vec![0; RAM],
            deeds: Vec::new(),
            answer: 0x8877_6655_4433_2211,
            apic_base: 0xfee0_0900,
            priority_class: 0,
        }
    }

    /// Writes RAM that the test knows to exist.
    pub(crate) fn poke(&mut self, addr: u64, bytes: &[u8]) {
        assert!(self.write_physical(GuestAddr(addr), bytes), "{addr:#x} is outside RAM");
    }

    /// Writes a 64-bit value to RAM.
    pub(crate) fn poke_u64(&mut self, addr: u64, value: u64) {
        self.poke(addr, &value.to_le_bytes());
    }

    /// Reads RAM that the test knows to exist.
    pub(crate) fn peek<const N: usize>(&mut self, addr: u64) -> [u8; N] {
        let mut bytes = [0; N];
        assert!(self.read_physical(GuestAddr(addr), &mut bytes), "{addr:#x} is outside RAM");
        bytes
    }

    /// Reads a 64-bit value from RAM.
    pub(crate) fn peek_u64(&mut self, addr: u64) -> u64 {
        u64::from_le_bytes(self.peek(addr))
    }

    fn range(addr: GuestAddr, len: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(addr.0).ok()?;
        Some(start..start.checked_add(len)?)
    }
}

impl Bus for Fake {
    fn read_physical(&mut self, addr: GuestAddr, into: &mut [u8]) -> bool {
        let found = Self::range(addr, into.len()).and_then(|range| self.ram.get(range));
        found.map(|found| into.copy_from_slice(found)).is_some()
    }

    fn write_physical(&mut self, addr: GuestAddr, from: &[u8]) -> bool {
        let found = Self::range(addr, from.len()).and_then(|range| self.ram.get_mut(range));
        found.map(|found| found.copy_from_slice(from)).is_some()
    }

    fn read_device(&mut self, addr: GuestAddr, size: u8) -> u64 {
        self.deeds.push(Deed::Read { addr: addr.0, size });
        self.answer
    }

    fn write_device(&mut self, addr: GuestAddr, size: u8, value: u64) {
        self.deeds.push(Deed::Write { addr: addr.0, size, value });
    }

    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        self.deeds.push(Deed::In { port, size });
        u32::try_from(self.answer & 0xffff_ffff).unwrap_or(0)
    }

    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        self.deeds.push(Deed::Out { port, size, value });
    }

    fn apic_in(&mut self, msr: u32) -> Option<u64> {
        (msr == 0x1b).then_some(self.apic_base)
    }

    fn apic_out(&mut self, msr: u32, value: u64) -> bool {
        let exists = msr == 0x1b || (0x800..=0x8ff).contains(&msr);
        if exists {
            self.deeds.push(Deed::Apic { msr, value });
        }
        exists
    }

    fn has_apic(&mut self) -> bool {
        self.apic_base & 1 << 11 != 0
    }

    fn priority_class(&mut self) -> u8 {
        self.priority_class
    }

    fn set_priority_class(&mut self, class: u8) {
        self.priority_class = class;
    }
}
