//! A network card (§5.1): what the driver sends goes to a [`Wire`], what comes from there fills the driver's buffers.

use std::{
    fmt,
    io::{Read, Write},
    ops::Range,
};

use virtio_bindings::{
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS},
};

use super::{Broken, Device, Kind, Ring};

/// Queues (§5.1.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// `VIRTIO_NET_S_LINK_UP` (§5.1.4).
const LINK_UP: u16 = 1;

/// Length of the header before each frame (§5.1.6): that of version 1 has the number of buffers besides.
const LEGACY_HEADER: usize = 10;
const HEADER: usize = 12;

/// The longest frame: 64 KiB of payload behind an Ethernet header with a VLAN tag. What is longer is no frame.
pub(crate) const FRAME_MAX: usize = 65_535 + 18;

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
pub trait Wire: fmt::Debug {
    /// Sends a frame.
    ///
    /// # Errors
    /// It cannot be sent now, or not at all.
    fn send(&mut self, frame: &[u8]) -> Result<(), WireError>;

    /// Takes a frame that has arrived; its length. What is longer than `into` is cut off.
    ///
    /// # Errors
    /// None has arrived, or none will.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, WireError>;
}

/// A network card.
#[derive(Debug)]
pub struct Net<W> {
    wire: W,
    mac: Mac,
    mtu: u16,
    header: usize,
    buffer: Vec<u8>,
}

impl<W: Wire> Net<W> {
    /// A card with that hardware address, plugged into `wire`, which takes packets of `mtu` bytes.
    pub fn new(wire: W, mac: Mac, mtu: u16) -> Self {
        Net { wire, mac, mtu, header: LEGACY_HEADER, buffer: vec![0; HEADER + FRAME_MAX] }
    }

    /// Puts it into the next slot of a machine, if there is one.
    pub fn plug(self, cards: &mut super::Cards) -> Option<runu_core::Place>
    where
        W: 'static,
    {
        cards.plug(Box::new(self))
    }

    fn transmit(&mut self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let head = chain.head();
            let mut reader = chain.reader()?;
            let len = reader.available_bytes();
            // A frame without a header or too long for anybody is swallowed: its buffers come back.
            if let Some(bytes) = self.buffer.get_mut(..len)
                && reader.read_exact(bytes).is_ok()
                && let Some(frame) = bytes.get(self.header..).filter(|frame| !frame.is_empty())
                && self.wire.send(frame) == Err(WireError::Busy)
            {
                ring.unpop();
                return Ok(());
            }
            ring.push(head, 0)?;
        }
        Ok(())
    }

    fn receive(&mut self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let head = chain.head();
            let mut writer = chain.writer()?;
            let room = writer.available_bytes();
            loop {
                let frame = self.buffer.get_mut(self.header..).unwrap_or_default();
                let Ok(len) = self.wire.receive(frame) else {
                    ring.unpop();
                    return Ok(());
                };
                let len = self.header + len;
                // A frame that the driver has no room for is lost.
                if len > room {
                    continue;
                }
                self.put_header();
                let bytes = self.buffer.get(..len).unwrap_or_default();
                writer.write_all(bytes).map_err(|_| Broken("a buffer that cannot be written"))?;
                ring.push(head, u32::try_from(len).unwrap_or(u32::MAX))?;
                break;
            }
        }
        Ok(())
    }

    /// A header that says nothing: no checksum to fill in, no segments, one buffer.
    fn put_header(&mut self) {
        let mut header = [0; HEADER];
        if let Some(buffers) = header.get_mut(LEGACY_HEADER) {
            *buffers = 1;
        }
        self.buffer.iter_mut().zip(header).take(self.header).for_each(|(to, from)| *to = from);
    }
}

impl<W: Wire> Device for Net<W> {
    fn kind(&self) -> Kind {
        Kind::Net
    }

    /// Not the MTU: Unikraft reads it from where the address is (0.16 to 0.17, `drivers/virtio/net/virtio_net.c`), and sends
    /// nothing longer than an acknowledgement then.
    fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS
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
        self.header = if features & 1 << VIRTIO_F_VERSION_1 != 0 { HEADER } else { LEGACY_HEADER };
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
        self.header = LEGACY_HEADER;
    }
}
