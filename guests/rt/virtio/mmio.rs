//! Registers of version 2 in memory (§4.2), found on the command line.

use super::{ACKNOWLEDGE, DRIVER, FEATURES_OK, Kind, VERSION_1};
use crate::cmdline::{decimal, hexadecimal};

/// "virt" and the version (§4.2.2).
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;

/// Registers (§4.2.2, table 4.1).
mod register {
    pub(super) const MAGIC: u64 = 0x000;
    pub(super) const VERSION: u64 = 0x004;
    pub(super) const DEVICE_ID: u64 = 0x008;
    pub(super) const DEVICE_FEATURES: u64 = 0x010;
    pub(super) const DEVICE_FEATURES_SELECT: u64 = 0x014;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SELECT: u64 = 0x024;
    pub(super) const QUEUE_SELECT: u64 = 0x030;
    pub(super) const QUEUE_SIZE_MAX: u64 = 0x034;
    pub(super) const QUEUE_SIZE: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_STATUS: u64 = 0x060;
    pub(super) const INTERRUPT_ACKNOWLEDGE: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    /// Descriptors, available ring, used ring; the upper halves four bytes further.
    pub(super) const QUEUE_PARTS: [u64; 3] = [0x080, 0x090, 0x0a0];
    pub(super) const CONFIG: u64 = 0x100;
}

/// Where the first page table ends; there are no others (rt/entry.s).
const MAPPED: u64 = 1 << 32;

/// A device whose registers are in memory.
#[derive(Clone, Copy)]
pub(super) struct Mmio {
    base: u64,
    pub(super) line: u8,
}

impl Mmio {
    /// The device that is named as Linux names it, `SIZE@BASE:LINE[:ID]` (drivers/virtio/virtio_mmio.c), if it is of this
    /// kind.
    pub(super) fn named(text: &'static [u8], kind: Kind) -> Option<Self> {
        let mut fields = text.split(|byte| matches!(byte, b'@' | b':')).skip(1);
        let (base, line) = (number(fields.next()?), number(fields.next()?));
        if base == 0 || base % 4 != 0 || base >= MAPPED - 0x1000 || line >= 16 {
            return None;
        }
        let device = Self { base, line: line as u8 };
        let identity = [register::MAGIC, register::VERSION, register::DEVICE_ID].map(|it| device.read(it));
        (identity == [MAGIC, VERSION, kind as u32]).then_some(device)
    }

    fn read(self, register: u64) -> u32 {
        // SAFETY: `named` keeps it within what is mapped; whoever named a device there knows that reading it is harmless.
        unsafe { ((self.base + register) as *const u32).read_volatile() }
    }

    fn write(self, register: u64, value: u32) {
        // SAFETY: a device is there, by its magic number; what it writes to memory is given away to it.
        unsafe { ((self.base + register) as *mut u32).write_volatile(value) };
    }

    pub(super) fn set_status(self, status: u8) {
        self.write(register::STATUS, status.into());
    }

    /// A device may also agree to no features at all (§3.1.1).
    pub(super) fn negotiate(self, wanted: u64) -> Option<u64> {
        let offered = [0, 1].map(|half| {
            self.write(register::DEVICE_FEATURES_SELECT, half);
            u64::from(self.read(register::DEVICE_FEATURES))
        });
        let features = (offered[0] | offered[1] << 32) & wanted;
        for half in [0, 1] {
            self.write(register::DRIVER_FEATURES_SELECT, half);
            self.write(register::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        let agreed = self.read(register::STATUS) & u32::from(FEATURES_OK) != 0;
        (agreed && features & VERSION_1 != 0).then_some(features)
    }

    pub(super) fn config(self, offset: u16) -> u8 {
        // SAFETY: as in `read`; the configuration may be read by bytes (§4.2.2.2).
        unsafe { ((self.base + register::CONFIG + u64::from(offset)) as *const u8).read_volatile() }
    }

    pub(super) fn queue_size(self, number: u16) -> u16 {
        self.write(register::QUEUE_SELECT, number.into());
        self.read(register::QUEUE_SIZE_MAX).min(256) as u16
    }

    pub(super) fn place_queue(self, number: u16, size: u16, parts: [u64; 3]) {
        self.write(register::QUEUE_SELECT, number.into());
        self.write(register::QUEUE_SIZE, size.into());
        for (register, address) in register::QUEUE_PARTS.into_iter().zip(parts) {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(register::QUEUE_READY, 1);
    }

    pub(super) fn notify(self, number: u16) {
        self.write(register::QUEUE_NOTIFY, number.into());
    }

    pub(super) fn acknowledge_interrupt(self) {
        self.write(register::INTERRUPT_ACKNOWLEDGE, self.read(register::INTERRUPT_STATUS));
    }
}

/// A number as C writes them.
fn number(digits: &[u8]) -> u64 {
    if digits.starts_with(b"0x") { hexadecimal(digits) } else { decimal(digits) }
}
