//! Drivers' side of virtio (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2"; sections below are of that document), behind
//! both transports that Unikraft's kernels find devices by.
//!
//! ```text
//! pci.rs    legacy registers at I/O ports, found on the PCI bus
//! mmio.rs   registers of version 2 in memory, found on the command line
//! ring.rs   a split queue of buffers that its owner has
//! ```
//!
//! A driver trusts its device as any kernel does, but not what comes through it.

mod mmio;
mod pci;
mod ring;

pub use ring::{Ring, RingMemory, SIZE_MAX, WRITE};

use crate::boot::Boot;
use crate::cell::OneCpu;
use crate::time;
use crate::trap::Frame;
use mmio::Mmio;
use pci::Pci;

/// Device status (§2.1).
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

/// Indexes say when to interrupt and to notify (§6).
pub const EVENT_IDX: u64 = 1 << 29;
/// The device speaks version 1 (§6).
pub const VERSION_1: u64 = 1 << 32;

/// The parameter that names devices in memory, as Linux and Unikraft have it.
const PARAMETER: &[u8] = b"virtio_mmio.device";

/// What a device is (§5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Network card.
    Network = 1,
    /// Disk.
    Disk = 2,
    /// Directory of a 9P server.
    NineP = 9,
}

/// Where a device's registers are.
#[derive(Clone, Copy)]
enum Transport {
    Pci(Pci),
    Mmio(Mmio),
}

/// A device.
#[derive(Clone, Copy)]
pub struct Device {
    transport: Transport,
    features: u64,
}

impl Device {
    /// Device `number` of this kind, among those that the command line names, else among those on the PCI bus.
    pub fn find(boot: &Boot, kind: Kind, number: usize) -> Option<Self> {
        let mut named = boot.cmdline.parameters(PARAMETER).filter_map(|text| Mmio::named(text, kind));
        let transport =
            named.nth(number).map(Transport::Mmio).or_else(|| Pci::find(kind, number).map(Transport::Pci))?;
        Some(Self { transport, features: 0 })
    }

    /// Resets the device and takes what it has of the features `wanted`; whether it agrees.
    #[must_use]
    pub fn begin(&mut self, wanted: u64) -> bool {
        self.set_status(0);
        self.set_status(ACKNOWLEDGE);
        self.set_status(ACKNOWLEDGE | DRIVER);
        let features = match self.transport {
            Transport::Pci(pci) => Some(pci.negotiate(wanted)),
            Transport::Mmio(mmio) => mmio.negotiate(wanted | VERSION_1),
        };
        self.features = features.unwrap_or(0);
        features.is_some()
    }

    /// Its queues are in their places.
    pub fn ready(&self) {
        let modern = if self.has(VERSION_1) { FEATURES_OK } else { 0 };
        self.set_status(ACKNOWLEDGE | DRIVER | modern | DRIVER_OK);
    }

    /// Whether all of these features were agreed upon.
    pub fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    fn line(self) -> u8 {
        match self.transport {
            Transport::Pci(pci) => pci.line,
            Transport::Mmio(mmio) => mmio.line,
        }
    }

    fn set_status(&self, status: u8) {
        match self.transport {
            Transport::Pci(pci) => pci.set_status(status),
            Transport::Mmio(mmio) => mmio.set_status(status),
        }
    }

    /// Bytes of the device's own configuration, from `offset` on.
    pub fn config<const N: usize>(&self, offset: u16) -> [u8; N] {
        core::array::from_fn(|index| match self.transport {
            Transport::Pci(pci) => pci.config(offset + index as u16),
            Transport::Mmio(mmio) => mmio.config(offset + index as u16),
        })
    }

    /// Queue `number` in this memory, as large as the device has it.
    pub fn queue(&self, number: u16, memory: &'static OneCpu<RingMemory>) -> Ring {
        let size = match self.transport {
            Transport::Pci(pci) => pci.queue_size(number),
            Transport::Mmio(mmio) => mmio.queue_size(number),
        };
        let ring = Ring::new(memory, size, self.has(EVENT_IDX));
        match self.transport {
            Transport::Pci(pci) => pci.place_queue(number, ring.parts()[0]),
            Transport::Mmio(mmio) => mmio.place_queue(number, size, ring.parts()),
        }
        ring
    }

    /// Says that there are new buffers in queue `number`.
    pub fn notify(&self, number: u16) {
        match self.transport {
            Transport::Pci(pci) => pci.notify(number),
            Transport::Mmio(mmio) => mmio.notify(number),
        }
    }

    fn acknowledge_interrupt(self) {
        match self.transport {
            Transport::Pci(pci) => pci.acknowledge_interrupt(),
            Transport::Mmio(mmio) => mmio.acknowledge_interrupt(),
        }
    }

    /// Lets the device interrupt, which ends `hlt` and does nothing else. Interrupts must be off.
    pub fn listen(self) {
        // SAFETY: interrupts are off, so the handler is not running.
        unsafe { INTERRUPTING.get()[usize::from(self.line() & 0xf)] = Some(self) };
        time::listen(self.line(), on_interrupt);
    }
}

/// The devices that interrupt, by their lines.
static INTERRUPTING: OneCpu<[Option<Device>; 16]> = OneCpu::new([None; 16]);

fn on_interrupt(frame: &mut Frame) {
    // Lines 0 and 8 have vectors whose lowest bits are those of the lines.
    let line = (frame.vector & 0xf) as usize;
    // SAFETY: it is changed with interrupts off only, and handlers are not interrupted.
    if let Some(device) = unsafe { INTERRUPTING.get()[line] } {
        // First the device, so that what it says from now on is a new edge.
        device.acknowledge_interrupt();
        time::end_of_interrupt(device.line());
    }
}
