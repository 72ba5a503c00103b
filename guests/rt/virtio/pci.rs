//! Legacy registers at I/O ports (§4.1.4.10), found on the PCI bus.

use super::Kind;
use crate::port::{inb, inl, inw, outb, outl, outw};

/// Ports of configuration mechanism #1 (PCI Local Bus Specification 3.0, §3.2.2.3.2).
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
/// Registers of the configuration space (the same, §6.1).
const IDENTITY: u8 = 0x00;
const COMMAND: u8 = 0x04;
const BAR0: u8 = 0x10;
const INTERRUPT_LINE: u8 = 0x3c;
/// Answer at I/O ports, reach memory.
const COMMAND_IO_AND_MASTER: u32 = 0b101;
/// Red Hat's vendor number (§4.1.2).
const VENDOR: u32 = 0x1af4;

/// Registers behind the base address.
mod register {
    pub(super) const DEVICE_FEATURES: u16 = 0;
    pub(super) const DRIVER_FEATURES: u16 = 4;
    pub(super) const QUEUE_PAGE: u16 = 8;
    pub(super) const QUEUE_SIZE: u16 = 12;
    pub(super) const QUEUE_SELECT: u16 = 14;
    pub(super) const QUEUE_NOTIFY: u16 = 16;
    pub(super) const STATUS: u16 = 18;
    pub(super) const ISR: u16 = 19;
    pub(super) const CONFIG: u16 = 20;
}

/// A device on the PCI bus.
#[derive(Clone, Copy)]
pub(super) struct Pci {
    base: u16,
    pub(super) line: u8,
}

impl Pci {
    /// Device `number` of this kind on bus 0, as firmware has set it up.
    pub(super) fn find(kind: Kind, number: usize) -> Option<Self> {
        // Numbers of transitional devices (§4.1.2.1).
        let device = match kind {
            Kind::Network => 0x1000,
            Kind::Disk => 0x1001,
            Kind::NineP => 0x1009,
        };
        let slot = (0..32).filter(|slot| read(*slot, IDENTITY) == device << 16 | VENDOR).nth(number)?;
        // The upper half is the status, whose bits are cleared by writing ones.
        write(slot, COMMAND, read(slot, COMMAND) & 0xffff | COMMAND_IO_AND_MASTER);
        let base = read(slot, BAR0);
        let line = read(slot, INTERRUPT_LINE) as u8;
        (base & 1 == 1 && line < 16).then_some(Self { base: base as u16 & !3, line })
    }

    pub(super) fn set_status(self, status: u8) {
        outb(self.base + register::STATUS, status);
    }

    pub(super) fn negotiate(self, wanted: u64) -> u64 {
        let features = inl(self.base + register::DEVICE_FEATURES) & wanted as u32;
        outl(self.base + register::DRIVER_FEATURES, features);
        features.into()
    }

    pub(super) fn config(self, offset: u16) -> u8 {
        inb(self.base + register::CONFIG + offset)
    }

    pub(super) fn queue_size(self, number: u16) -> u16 {
        outw(self.base + register::QUEUE_SELECT, number);
        inw(self.base + register::QUEUE_SIZE)
    }

    pub(super) fn place_queue(self, number: u16, start: u64) {
        outw(self.base + register::QUEUE_SELECT, number);
        outl(self.base + register::QUEUE_PAGE, (start / 4096) as u32);
    }

    pub(super) fn notify(self, number: u16) {
        outw(self.base + register::QUEUE_NOTIFY, number);
    }

    pub(super) fn acknowledge_interrupt(self) {
        let _ = inb(self.base + register::ISR);
    }
}

fn select(slot: u32, register: u8) {
    outl(ADDRESS, 1 << 31 | slot << 11 | u32::from(register));
}

fn read(slot: u32, register: u8) -> u32 {
    select(slot, register);
    inl(DATA)
}

fn write(slot: u32, register: u8, value: u32) {
    select(slot, register);
    outl(DATA, value);
}
