//! A driver of virtio network cards (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2"; sections below are of that
//! document), behind both transports that Unikraft's kernels find them by.
//!
//! ```text
//! pci.rs    legacy registers at I/O ports, found on the PCI bus
//! mmio.rs   registers of version 2 in memory, found on the command line
//! queue.rs  a split queue and the buffers in it
//! card.rs   the card, as smoltcp wants one
//! ```
//!
//! The driver trusts its device as any kernel does, but not its frames.

mod card;
mod mmio;
mod pci;
mod queue;

pub(crate) use card::Card;
use mmio::Mmio;
use pci::Pci;

use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::time;
use rt::trap::Frame;

/// Device status (§2.1).
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

/// Features (§5.1.3, §6).
mod feature {
    pub(super) const GUEST_CSUM: u64 = 1 << 1;
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const EVENT_IDX: u64 = 1 << 29;
    pub(super) const VERSION_1: u64 = 1 << 32;
}

/// The parameter that names devices in memory, as Linux and Unikraft have it.
const PARAMETER: &[u8] = b"virtio_mmio.device";

/// Where a card's registers are.
#[derive(Clone, Copy)]
enum Transport {
    Pci(Pci),
    Mmio(Mmio),
}

impl Transport {
    /// The first network card: one that the command line names, else one on the PCI bus.
    fn find(boot: &Boot) -> Option<Self> {
        boot.cmdline
            .parameters(PARAMETER)
            .find_map(Mmio::named)
            .map(Transport::Mmio)
            .or_else(|| Pci::find().map(Transport::Pci))
    }

    fn line(self) -> u8 {
        match self {
            Transport::Pci(pci) => pci.line,
            Transport::Mmio(mmio) => mmio.line,
        }
    }

    fn set_status(self, status: u8) {
        match self {
            Transport::Pci(pci) => pci.set_status(status),
            Transport::Mmio(mmio) => mmio.set_status(status),
        }
    }

    /// Takes what the card has of the features `wanted`; `None` if it does not agree.
    fn negotiate(self, wanted: u64) -> Option<u64> {
        match self {
            Transport::Pci(pci) => Some(pci.negotiate(wanted)),
            Transport::Mmio(mmio) => mmio.negotiate(wanted | feature::VERSION_1),
        }
    }

    /// A byte of the card's own configuration (§5.1.4).
    fn config(self, offset: u16) -> u8 {
        match self {
            Transport::Pci(pci) => pci.config(offset),
            Transport::Mmio(mmio) => mmio.config(offset),
        }
    }

    /// Buffers in queue `number`; zero if there is none.
    fn queue_size(self, number: u16) -> u16 {
        match self {
            Transport::Pci(pci) => pci.queue_size(number),
            Transport::Mmio(mmio) => mmio.queue_size(number),
        }
    }

    /// Says where queue `number` is: descriptors, available ring, used ring.
    fn place_queue(self, number: u16, size: u16, parts: [u64; 3]) {
        match self {
            Transport::Pci(pci) => pci.place_queue(number, parts[0]),
            Transport::Mmio(mmio) => mmio.place_queue(number, size, parts),
        }
    }

    /// Says that there are new buffers in queue `number`.
    fn notify(self, number: u16) {
        match self {
            Transport::Pci(pci) => pci.notify(number),
            Transport::Mmio(mmio) => mmio.notify(number),
        }
    }

    fn acknowledge_interrupt(self) {
        match self {
            Transport::Pci(pci) => pci.acknowledge_interrupt(),
            Transport::Mmio(mmio) => mmio.acknowledge_interrupt(),
        }
    }

    /// Lets the card interrupt, which ends `hlt` and does nothing else.
    fn listen(self) {
        // SAFETY: interrupts are off, so the handler is not running.
        unsafe { *INTERRUPTING.get() = Some(self) };
        time::listen(self.line(), on_interrupt);
    }
}

/// The card that interrupts.
static INTERRUPTING: OneCpu<Option<Transport>> = OneCpu::new(None);

fn on_interrupt(_: &mut Frame) {
    // SAFETY: it is changed with interrupts off only, and handlers are not interrupted.
    if let Some(transport) = unsafe { *INTERRUPTING.get() } {
        // First the card, so that what it says from now on is a new edge.
        transport.acknowledge_interrupt();
        time::end_of_interrupt(transport.line());
    }
}
