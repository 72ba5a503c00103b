//! The transport over PCI, as drivers of before version 1 know it (§4.1.4.10): registers at I/O ports, one interrupt line.

use virtio_queue::QueueT;

use super::{Device, Dma, Function, Kind, function::Interface};

/// Registers of the configuration space (PCI Local Bus Specification 3.0, §6.1).
mod header {
    pub(super) const COMMAND: usize = 0x04;
    pub(super) const BAR0: usize = 0x10;
    pub(super) const INTERRUPT_LINE: usize = 0x3c;
}

/// Registers behind the base address (§4.1.4.10).
mod register {
    pub(super) const DEVICE_FEATURES: u16 = 0;
    pub(super) const DRIVER_FEATURES: u16 = 4;
    pub(super) const QUEUE_ADDRESS: u16 = 8;
    pub(super) const QUEUE_SIZE: u16 = 12;
    pub(super) const QUEUE_SELECT: u16 = 14;
    pub(super) const QUEUE_NOTIFY: u16 = 16;
    pub(super) const STATUS: u16 = 18;
    pub(super) const ISR: u16 = 19;
    pub(super) const CONFIG: u16 = 20;
}

/// Red Hat's vendor number, under which all virtio devices are (§4.1.2).
const VENDOR: u16 = 0x1af4;

/// I/O ports of one device.
const PORTS: u16 = 64;

/// A PCI function: its configuration space, and the device behind it.
#[derive(Debug)]
pub(crate) struct Pci {
    function: Function,
    header: [u8; 64],
    queue: u32,
}

impl Pci {
    /// A device whose registers firmware has put at the ports from `base` on, and whose interrupt it has wired to `line`.
    pub(crate) fn new(device: Box<dyn Device>, base: u16, line: u8) -> Self {
        // Transitional device numbers and the classes they have (§4.1.2.1, PCI Code and ID Assignment).
        let (number, class): (u16, [u8; 2]) = match device.kind() {
            Kind::Net => (0x1000, [0x00, 0x02]),
            Kind::Disk => (0x1001, [0x00, 0x01]),
            Kind::Console => (0x1003, [0x80, 0x07]),
            Kind::Entropy => (0x1005, [0x00, 0xff]),
            Kind::NineP => (0x1009, [0x00, 0x02]),
        };
        let mut header = [0; 64];
        let mut put = |at: usize, bytes: &[u8]| {
            header.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        };
        put(0x00, &VENDOR.to_le_bytes());
        put(0x02, &number.to_le_bytes());
        // Command: answers at I/O ports, may write to memory.
        put(header::COMMAND, &0b101_u16.to_le_bytes());
        put(0x0a, &class);
        put(header::BAR0, &(u32::from(base) | 1).to_le_bytes());
        put(0x2c, &VENDOR.to_le_bytes());
        put(0x2e, &(device.kind() as u16).to_le_bytes());
        // INTA.
        put(header::INTERRUPT_LINE, &[line, 1]);
        Pci { function: Function::new(device, Interface::Legacy), header, queue: 0 }
    }

    pub(crate) fn function(&self) -> &Function {
        &self.function
    }

    pub(crate) fn function_mut(&mut self) -> &mut Function {
        &mut self.function
    }

    /// A byte of the configuration space.
    pub(crate) fn header(&self, at: usize) -> u8 {
        self.header.get(at).copied().unwrap_or(0)
    }

    /// The driver writes a byte of the configuration space.
    pub(crate) fn set_header(&mut self, at: usize, value: u8) {
        // Which bits of a register can be written: of the base address those above the size, so that writing all ones tells it.
        let writable = match at {
            header::COMMAND => 0b111,
            header::BAR0 => !low_byte(PORTS - 1),
            0x11 => 0xff,
            header::INTERRUPT_LINE => 0xff,
            _ => 0,
        };
        if let Some(byte) = self.header.get_mut(at) {
            *byte = *byte & !writable | value & writable;
        }
    }

    /// The register at `port`, if it is one of this device's and it answers.
    pub(crate) fn register(&self, port: u16) -> Option<u16> {
        let enabled = self.header(header::COMMAND) & 1 != 0;
        let base = u16::from_le_bytes([self.header(header::BAR0) & !1, self.header(0x11)]);
        let within = port.checked_sub(base)?;
        (enabled && base != 0 && within < PORTS).then_some(within)
    }

    /// The guest reads `into.len()` bytes at a register.
    pub(crate) fn read(&mut self, register: u16, into: &mut [u8]) {
        into.fill(0);
        if let Some(within) = register.checked_sub(register::CONFIG) {
            self.function.config(usize::from(within), into);
            return;
        }
        let queue = self.function.queue(self.queue);
        let value = match register {
            register::DEVICE_FEATURES => {
                let [a, b, c, d, ..] = self.function.offered().to_le_bytes();
                u32::from_le_bytes([a, b, c, d])
            }
            register::QUEUE_ADDRESS => self.function.legacy_page(self.queue),
            register::QUEUE_SIZE => queue.map_or(0, |queue| u32::from(queue.size())),
            register::QUEUE_SELECT => self.queue,
            register::STATUS => u32::from(self.function.status()),
            register::ISR => {
                // Reading it is how the driver acknowledges (§4.1.4.5.1).
                let reasons = self.function.interrupt_status();
                self.function.acknowledge(reasons);
                u32::from(reasons)
            }
            _ => 0,
        };
        into.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
    }

    /// The guest writes a register.
    pub(crate) fn write(&mut self, register: u16, value: u32, dma: &Dma<'_>) {
        match register {
            register::DRIVER_FEATURES => self.function.accept(0, value),
            register::QUEUE_ADDRESS => self.function.place_legacy(self.queue, value),
            register::QUEUE_SELECT => self.queue = value & 0xffff,
            register::QUEUE_NOTIFY => self.function.kick(value & 0xffff, dma),
            register::STATUS => {
                if value & 0xff == 0 {
                    self.queue = 0;
                }
                let [status, ..] = value.to_le_bytes();
                self.function.set_status(status);
            }
            _ => {}
        }
    }
}

fn low_byte(value: u16) -> u8 {
    let [byte, _] = value.to_le_bytes();
    byte
}
