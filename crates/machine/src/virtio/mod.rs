//! Virtio devices (OASIS, "Virtual I/O Device (VIRTIO) Version 1.2"; sections below are of that document).
//!
//! ```text
//! cards.rs           the machine's slots and what is in them
//! mmio.rs, pci.rs   registers, as a driver finds them: two transports
//! function.rs       what both are about: features, status, queues, the interrupt
//! ring.rs, dma.rs   one queue while it is served; guest memory as devices reach it
//! net.rs, blk.rs, ninep.rs, console.rs, rng.rs   devices: what their queues mean
//! ```
//!
//! Architecture invariant: a device sees its queues and an end of something outside ([`Wire`], [`Medium`],
//! [`Channel`], [`Keyboard`], [`Entropy`]). It knows no transport, no port, no descriptor and no clock, so it is tested by a driver without any guest.
//!
//! A driver that breaks the rules breaks its device: the device says so (§2.1.1, `DEVICE_NEEDS_RESET`) and does nothing
//! more until it is reset.

mod blk;
mod cards;
mod console;
mod dma;
mod function;
mod mmio;
mod net;
mod ninep;
mod pci;
mod ring;
mod rng;

use std::fmt::Debug;

pub use blk::{Disk, Medium, MediumError, SECTOR};
pub use cards::Cards;
pub use console::{Keyboard, Terminal};
pub(crate) use dma::Dma;
pub(crate) use function::Function;
pub(crate) use mmio::Mmio;
pub use net::{FRAME_MAX, HEADER_LEN, Inquiry, Mac, NameServer, Narrow, Net, Relay, Wire, WireError};
pub use ninep::{Channel, ChannelError, NineP};
pub(crate) use pci::Pci;
use ring::Ring;
pub use rng::{Entropy, Rng};

#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;

/// What a device is (§5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Network card.
    Net = 1,
    /// Disk.
    Disk = 2,
    /// Console.
    Console = 3,
    /// Source of random bytes.
    Entropy = 4,
    /// Directory of a 9P server.
    NineP = 9,
}

/// A driver broke a rule of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver breaks a rule: {0}")]
pub(crate) struct Broken(pub(crate) &'static str);

/// A device behind a transport.
pub(crate) trait Device: Debug {
    /// What it is.
    fn kind(&self) -> Kind;

    /// Features that it offers, besides those of all devices (§6).
    fn features(&self) -> u64;

    /// How many queues it has.
    fn queues(&self) -> usize;

    /// Buffers in each queue at most, and always for drivers of the legacy interface.
    fn queue_size(&self) -> u16 {
        function::QUEUE_SIZE
    }

    /// Its configuration space from `offset` on (§2.5); behind its end it reads as zero.
    fn config(&self, offset: usize, into: &mut [u8]);

    /// The driver has chosen these features and is ready.
    fn ready(&mut self, features: u64);

    /// The driver may have put buffers into queue `number`, or there may be something new to put into those that are there.
    fn serve(&mut self, number: usize, ring: &mut Ring<'_>) -> Result<(), Broken>;

    /// Queues to serve when something may have come from outside.
    fn inputs(&self) -> std::ops::Range<usize>;

    /// As after power-on.
    fn reset(&mut self);
}
