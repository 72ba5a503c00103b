//! A network card (§5.1): what the driver sends goes to a [`Wire`], what comes from there fills the driver's buffers.
//!
//! ```text
//! net/header.rs    what is told of a frame before its bytes
//! net/incoming.rs  frames on their way to the driver
//! net/outgoing.rs  frames on their way to the wire
//! net/offload.rs   what the other end of the wire leaves to the card: checksums, segments
//! ```
//!
//! Two wires stand before another one, where it takes that:
//!
//! ```text
//! net/narrow.rs    TCP is told of segments that fit into packets shorter than usual
//! net/relay.rs     a name server is found on it that frames do not reach (with datagram.rs, message.rs,
//!                  arp.rs and refusal.rs)
//! ```

mod arp;
mod datagram;
mod header;
mod incoming;
mod message;
mod narrow;
mod offload;
mod outgoing;
mod refusal;
mod relay;

use std::{
    fmt,
    io::{Read, Write},
    ops::Range,
};

use virtio_bindings::{
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_net::{
        VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6,
        VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS,
    },
};
use virtio_queue::Reader;

use super::{Broken, Device, Kind, Ring};
use header::{Checksum, Header, Segments};
use incoming::Incoming;
pub use narrow::Narrow;
use outgoing::Outgoing;
pub use relay::{Inquiry, NameServer, Relay};

/// Queues (§5.1.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// `VIRTIO_NET_S_LINK_UP` (§5.1.4).
const LINK_UP: u16 = 1;

/// Behind the header, for drivers of version 1: how many buffers a frame fills (§5.1.6).
const BUFFERS: [u8; 2] = 1_u16.to_le_bytes();

/// The longest frame: 64 KiB of payload behind an Ethernet header with a VLAN tag. What is longer is no frame.
pub const FRAME_MAX: usize = 65_535 + 18;

/// The longest packet that a driver takes that was not told of another.
const MTU: u16 = 1500;

/// Frames taken from the wire at one go, at most: a flood of such as the driver has no use for must not keep the guest from
/// running.
const FRAMES_AT_ONCE: usize = 1024;

/// The hardware address of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// Why a frame did not go over a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Not now; later it may.
    Busy,
    /// It is lost: the other end is gone, or takes no such frame.
    Lost,
}

/// What a network card is plugged into: whole Ethernet frames go in and come out.
///
/// Before each frame are [`HEADER_LEN`] bytes that say what is still to be done with it, as in Linux's `struct
/// virtio_net_hdr` (linux/virtio_net.h); where all are zero, nothing is.
pub trait Wire: fmt::Debug {
    /// Whether the other end does what those bytes say, and hands over frames with which something is to be done. If not,
    /// they are zero in both directions.
    fn offloads(&self) -> bool;

    /// Sends a header and a frame.
    ///
    /// # Errors
    /// It cannot be sent now, or not at all.
    fn send(&mut self, frame: &[u8]) -> Result<(), WireError>;

    /// Tries once more to send what there was no room for of frames that count as sent.
    fn flush(&mut self);

    /// Takes the next frame that has arrived: it is [`Wire::frame`] then.
    ///
    /// # Errors
    /// None has arrived, or none will.
    fn receive(&mut self) -> Result<(), WireError>;

    /// The header and the frame that were received last.
    fn frame(&mut self) -> &mut [u8];
}

/// How many bytes are before each frame on a [`Wire`].
pub const HEADER_LEN: usize = Header::LEN;

/// A network card.
#[derive(Debug)]
pub struct Net<W> {
    wire: W,
    mac: Mac,
    mtu: u16,
    /// What the driver chose.
    features: u64,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl<W: Wire> Net<W> {
    /// A card with that hardware address, plugged into `wire`, which takes packets of `mtu` bytes.
    pub fn new(wire: W, mac: Mac, mtu: u16) -> Self {
        Net { wire, mac, mtu, features: 0, outgoing: Outgoing::new(), incoming: Incoming::new(mtu.min(MTU)) }
    }

    /// Puts it into the next slot of a machine, if there is one.
    pub fn plug(self, cards: &mut super::Cards) -> Option<runu_core::Place>
    where
        W: 'static,
    {
        cards.plug(Box::new(self))
    }

    fn has(&self, feature: u32) -> bool {
        self.features & 1 << feature != 0
    }

    /// How many bytes are between header and frame in the driver's buffers.
    fn gap(&self) -> usize {
        if self.has(VIRTIO_F_VERSION_1) { BUFFERS.len() } else { 0 }
    }

    fn transmit(&mut self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        self.wire.flush();
        while let Some(chain) = ring.pop()? {
            let head = chain.head();
            let mut reader = chain.reader()?;
            // A frame that cannot be sent is swallowed: its buffers come back.
            if let Some((header, len)) = self.take(&mut reader)
                && self.outgoing.put(header, len, &mut self.wire) == Err(WireError::Busy)
            {
                ring.unpop();
                return Ok(());
            }
            ring.push(head, 0)?;
        }
        // What cannot be sent now waits until there is room.
        let _ = self.outgoing.send(&mut self.wire);
        Ok(())
    }

    /// Takes a frame from the driver: what is to be done with it, and its length. `None` if there is none, if it is too long
    /// for anybody, or if its header asks for what was not agreed on.
    fn take(&mut self, reader: &mut Reader<'_>) -> Option<(Header, usize)> {
        let (mut header, mut gap) = ([0; Header::LEN], BUFFERS);
        reader.read_exact(&mut header).ok()?;
        reader.read_exact(gap.get_mut(..self.gap())?).ok()?;
        let header = self.allowed(header)?;
        let len = reader.available_bytes();
        reader.read_exact(self.outgoing.room(len).filter(|frame| !frame.is_empty())?).ok()?;
        Some((header, len))
    }

    /// What counts of a driver's header. One that may ask for nothing need not write anything sensible.
    fn allowed(&self, header: [u8; Header::LEN]) -> Option<Header> {
        if !self.has(VIRTIO_NET_F_CSUM) {
            return Some(Header::default());
        }
        let mut header = Header::read(header)?;
        // Only devices may say so (§5.1.6.2.1).
        if header.checksum == Checksum::Verified {
            header.checksum = Checksum::AsItIs;
        }
        let agreed = match header.segments {
            None => true,
            Some((Segments::Tcp4, _)) => self.has(VIRTIO_NET_F_HOST_TSO4),
            Some((Segments::Tcp6, _)) => self.has(VIRTIO_NET_F_HOST_TSO6),
            Some((Segments::Udp, _)) => false,
        };
        agreed.then_some(header)
    }

    fn receive(&mut self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        let mut frames = FRAMES_AT_ONCE;
        let gap = self.gap();
        while let Some(chain) = ring.pop()? {
            let head = chain.head();
            let mut writer = chain.writer()?;
            let room = writer.available_bytes();
            let len = loop {
                let Some(header) = self.incoming.next(&mut self.wire, &mut frames) else {
                    ring.unpop();
                    return Ok(());
                };
                let frame = self.incoming.frame(&mut self.wire);
                let len = Header::LEN + gap + frame.len();
                // A frame that the driver has no room for is lost.
                if len <= room {
                    let parts = [&header.bytes(), BUFFERS.get(..gap).unwrap_or_default(), frame];
                    let written = parts.into_iter().try_for_each(|part| writer.write_all(part));
                    written.map_err(|_| Broken("a buffer that cannot be written"))?;
                    break len;
                }
            };
            ring.push(head, u32::try_from(len).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }
}

impl<W: Wire> Device for Net<W> {
    fn kind(&self) -> Kind {
        Kind::Net
    }

    /// Not the MTU: Unikraft reads it from where the address is (0.16 to 0.17, `drivers/virtio/net/virtio_net.c`), and sends
    /// nothing longer than an acknowledgement then.
    ///
    /// Not that frames may come uncut: buffers are of 2 KiB with every driver here, and Unikraft's ends its interface when
    /// one is longer than 1514 bytes.
    ///
    /// Checksums of both directions or of none: Unikraft takes the one for the other.
    fn features(&self) -> u64 {
        let always = 1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS;
        let checksums = 1 << VIRTIO_NET_F_CSUM | 1 << VIRTIO_NET_F_GUEST_CSUM;
        let segments = 1 << VIRTIO_NET_F_HOST_TSO4 | 1 << VIRTIO_NET_F_HOST_TSO6;
        if self.wire.offloads() { always | checksums | segments } else { always }
    }

    fn queues(&self) -> usize {
        2
    }

    fn config(&self, offset: usize, into: &mut [u8]) {
        // Address, status, pairs of queues, MTU (§5.1.4).
        let mut config = [0; 12];
        let fields = self
            .mac
            .0
            .into_iter()
            .chain(LINK_UP.to_le_bytes())
            .chain(1_u16.to_le_bytes())
            .chain(self.mtu.to_le_bytes());
        config.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let rest = config.get(offset..).unwrap_or_default();
        into.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    }

    fn ready(&mut self, features: u64) {
        self.features = features;
        self.incoming.set_takes_unfinished(self.has(VIRTIO_NET_F_GUEST_CSUM));
    }

    fn serve(&mut self, number: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        match number {
            RECEIVE => self.receive(ring),
            TRANSMIT => self.transmit(ring),
            _ => Ok(()),
        }
    }

    fn inputs(&self) -> Range<usize> {
        RECEIVE..TRANSMIT + 1
    }

    fn reset(&mut self) {
        self.features = 0;
        self.incoming.clear();
        self.outgoing.clear();
    }
}
