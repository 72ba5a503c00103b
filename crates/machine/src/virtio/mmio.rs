//! The transport of memory-mapped registers (§4.2), version 2.

use virtio_queue::QueueT;

use super::{
    Device, Dma, Function,
    function::{Interface, Part},
};

/// Registers (§4.2.2, table 4.1).
mod register {
    pub(super) const MAGIC: u64 = 0x000;
    pub(super) const VERSION: u64 = 0x004;
    pub(super) const DEVICE_ID: u64 = 0x008;
    pub(super) const VENDOR_ID: u64 = 0x00c;
    pub(super) const DEVICE_FEATURES: u64 = 0x010;
    pub(super) const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(super) const QUEUE_SEL: u64 = 0x030;
    pub(super) const QUEUE_NUM_MAX: u64 = 0x034;
    pub(super) const QUEUE_NUM: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_STATUS: u64 = 0x060;
    pub(super) const INTERRUPT_ACK: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    pub(super) const QUEUE_DESC_LOW: u64 = 0x080;
    pub(super) const QUEUE_DESC_HIGH: u64 = 0x084;
    pub(super) const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub(super) const QUEUE_DRIVER_HIGH: u64 = 0x094;
    pub(super) const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub(super) const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    pub(super) const CONFIG_GENERATION: u64 = 0x0fc;
    pub(super) const CONFIG: u64 = 0x100;
}

/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "runu": no driver looks at it.
const VENDOR: u32 = u32::from_le_bytes(*b"runu");

/// A device behind memory-mapped registers.
#[derive(Debug)]
pub(crate) struct Mmio {
    function: Function,
    device_half: u32,
    driver_half: u32,
    queue: u32,
}

impl Mmio {
    pub(crate) fn new(device: Box<dyn Device>) -> Self {
        Mmio { function: Function::new(device, Interface::Modern), device_half: 0, driver_half: 0, queue: 0 }
    }

    pub(crate) fn function(&self) -> &Function {
        &self.function
    }

    pub(crate) fn function_mut(&mut self) -> &mut Function {
        &mut self.function
    }

    /// The guest reads.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        if let Some(within) = offset.checked_sub(register::CONFIG) {
            self.function.config(usize::try_from(within).unwrap_or(usize::MAX), into);
        } else if into.len() == 4 {
            // Registers are read whole (§4.2.2.2).
            into.copy_from_slice(&self.register(offset).to_le_bytes());
        }
    }

    fn register(&self, offset: u64) -> u32 {
        let queue = self.function.queue(self.queue);
        match offset {
            register::MAGIC => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => self.function.kind() as u32,
            register::VENDOR_ID => VENDOR,
            register::DEVICE_FEATURES => match self.device_half {
                0 => half(self.function.offered()),
                1 => half(self.function.offered() >> 32),
                _ => 0,
            },
            register::QUEUE_NUM_MAX => queue.map_or(0, |queue| u32::from(queue.max_size())),
            register::QUEUE_READY => queue.map_or(0, |queue| u32::from(queue.ready())),
            register::INTERRUPT_STATUS => u32::from(self.function.interrupt_status()),
            register::STATUS => u32::from(self.function.status()),
            // Nothing in any configuration changes.
            register::CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    /// The guest writes.
    pub(crate) fn write(&mut self, offset: u64, from: &[u8], dma: &Dma<'_>) {
        let Ok(bytes) = <[u8; 4]>::try_from(from) else { return };
        let value = u32::from_le_bytes(bytes);
        let queue = self.queue;
        match offset {
            register::DEVICE_FEATURES_SEL => self.device_half = value,
            register::DRIVER_FEATURES_SEL => self.driver_half = value,
            register::DRIVER_FEATURES => self.function.accept(self.driver_half, value),
            register::QUEUE_SEL => self.queue = value,
            register::QUEUE_NUM => {
                if let Some(queue) = self.function.queue_to_set_up(queue) {
                    // A size that is none is not taken.
                    queue.set_size(u16::try_from(value).unwrap_or(0));
                }
            }
            register::QUEUE_READY => {
                if let Some(queue) = self.function.queue_to_set_up(queue) {
                    queue.set_ready(value & 1 != 0);
                }
            }
            register::QUEUE_NOTIFY => self.function.kick(value, dma),
            register::INTERRUPT_ACK => self.function.acknowledge(low_byte(value)),
            register::STATUS => {
                if value == 0 {
                    (self.device_half, self.driver_half, self.queue) = (0, 0, 0);
                }
                self.function.set_status(low_byte(value));
            }
            register::QUEUE_DESC_LOW => self.function.place(queue, Part::Descriptors, Some(value), None),
            register::QUEUE_DESC_HIGH => self.function.place(queue, Part::Descriptors, None, Some(value)),
            register::QUEUE_DRIVER_LOW => self.function.place(queue, Part::Available, Some(value), None),
            register::QUEUE_DRIVER_HIGH => self.function.place(queue, Part::Available, None, Some(value)),
            register::QUEUE_DEVICE_LOW => self.function.place(queue, Part::Used, Some(value), None),
            register::QUEUE_DEVICE_HIGH => self.function.place(queue, Part::Used, None, Some(value)),
            _ => {}
        }
    }
}

fn half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn low_byte(value: u32) -> u8 {
    let [byte, ..] = value.to_le_bytes();
    byte
}
