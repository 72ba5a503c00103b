//! The card: two queues, as smoltcp wants them.
//!
//! Nothing is copied: smoltcp reads a frame where the card wrote it and writes one where the card will read it. The card is
//! told of new buffers by [`Card::flush`] only, once for many.

use crate::frames::{BUFFERS_MAX, FRAME_MAX, Frames, HEADER, LEGACY_HEADER, Memory, Writer};
use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::virtio::{Device, EVENT_IDX, Kind, RingMemory, VERSION_1};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

/// Features (§5.1.3).
const GUEST_CSUM: u64 = 1 << 1;
const MTU_KNOWN: u64 = 1 << 3;
const MAC: u64 = 1 << 5;

/// Queues (§5.1.2).
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Flags of a header (§5.1.6): the checksum is to be filled in, or was verified.
const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VALID: u8 = 2;

/// What Ethernet carries, and its header.
const MTU: u16 = 1500;
const ETHERNET_HEADER: u16 = 14;

static RINGS: [OneCpu<RingMemory>; 2] = [const { OneCpu::new(RingMemory::new()) }; 2];
static BUFFERS: [OneCpu<Memory>; 2] = [const { OneCpu::new(Memory::new()) }; 2];

/// A network card.
pub(crate) struct Card {
    device: Device,
    receive: Receive,
    transmit: Transmit,
    mac: [u8; 6],
    mtu: u16,
}

/// Why there is no card.
#[derive(Debug)]
pub(crate) enum NoCard {
    /// None was found.
    Missing,
    /// It does not take this driver's features.
    Unwilling,
}

impl Card {
    /// Sets up the first card of the machine. To be called once, with interrupts off.
    pub(crate) fn find(boot: &Boot) -> Result<Self, NoCard> {
        let mut device = Device::find(boot, Kind::Network, 0).ok_or(NoCard::Missing)?;
        if !device.begin(GUEST_CSUM | MTU_KNOWN | MAC | EVENT_IDX) {
            return Err(NoCard::Unwilling);
        }
        let header = if device.has(VERSION_1) { HEADER } else { LEGACY_HEADER };
        let queue = |number: u16, writer| {
            let index = usize::from(number);
            Frames::new(&BUFFERS[index], device.queue(number, &RINGS[index]), header, writer)
        };
        let receive = Receive { queue: queue(RECEIVE, Writer::Device), header };
        let transmit = Transmit::new(queue(TRANSMIT, Writer::Driver));
        device.listen();
        device.ready();
        // Without an address of its own it gets one that is locally administered.
        let mac = if device.has(MAC) { device.config(0) } else { [2, 0, 0, 0, 0, 1] };
        let mtu = if device.has(MTU_KNOWN) { u16::from_le_bytes(device.config(10)) } else { MTU };
        let mut card = Self { device, receive, transmit, mac, mtu: mtu.min(MTU) };
        for buffer in 0..card.receive.queue.buffers() {
            card.receive.queue.offer(buffer);
        }
        card.flush();
        Ok(card)
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Tells the card of all buffers that it has been given.
    pub(crate) fn flush(&mut self) {
        for (number, queue) in [(RECEIVE, &mut self.receive.queue), (TRANSMIT, &mut self.transmit.queue)] {
            if queue.publish() {
                self.device.notify(number);
            }
        }
    }

    /// Whether no frame can be sent until the card has sent others.
    pub(crate) fn is_full(&mut self) -> bool {
        !self.transmit.has_room()
    }

    /// Wants an interrupt when there is something to do; whether there is already.
    pub(crate) fn want_interrupt(&mut self) -> bool {
        // What arrives cannot be answered while nothing can be sent.
        if self.is_full() {
            return self.transmit.queue.want_interrupt();
        }
        self.receive.queue.want_interrupt()
    }
}

impl phy::Device for Card {
    type RxToken<'a> = Arrived<'a>;
    type TxToken<'a> = Blank<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Blank<'_>)> {
        if !self.transmit.has_room() {
            return None;
        }
        let (buffer, len) = self.receive.next()?;
        Some((Arrived { receive: &mut self.receive, buffer, len }, Blank(&mut self.transmit)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Blank<'_>> {
        self.transmit.has_room().then_some(Blank(&mut self.transmit))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = usize::from(self.mtu + ETHERNET_HEADER);
        // `Receive::next` verifies these, frame by frame.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}

/// Frames that have arrived.
struct Receive {
    queue: Frames,
    /// Length of the header.
    header: usize,
}

impl Receive {
    /// The next frame that is sound: its buffer and length. Others are dropped.
    fn next(&mut self) -> Option<(u16, usize)> {
        loop {
            let (buffer, len) = self.queue.peek()?;
            let len = len.saturating_sub(self.header).min(FRAME_MAX);
            let verified = self.queue.header(buffer)[0] & (NEEDS_CHECKSUM | CHECKSUM_VALID) != 0;
            if verified || checksum_is_right(&self.queue.frame(buffer)[..len]) {
                return Some((buffer, len));
            }
            self.recycle();
        }
    }

    /// Gives the buffer of the next frame back to the card.
    fn recycle(&mut self) {
        if let Some(buffer) = self.queue.take() {
            self.queue.offer(buffer);
        }
    }
}

/// Whether the checksum of the TCP or UDP packet in a frame is right; frames with others have none to be verified here.
fn checksum_is_right(frame: &[u8]) -> bool {
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return true;
    }
    let Ok(packet) = Ipv4Packet::new_checked(frame.payload()) else { return false };
    if packet.more_frags() || packet.frag_offset() != 0 {
        // smoltcp drops fragments.
        return true;
    }
    let (from, to) = (IpAddress::Ipv4(packet.src_addr()), IpAddress::Ipv4(packet.dst_addr()));
    match packet.next_header() {
        IpProtocol::Tcp => {
            TcpPacket::new_checked(packet.payload()).is_ok_and(|tcp| tcp.verify_checksum(&from, &to))
        }
        IpProtocol::Udp => {
            UdpPacket::new_checked(packet.payload()).is_ok_and(|udp| udp.verify_checksum(&from, &to))
        }
        _ => true,
    }
}

/// Frames to be sent.
struct Transmit {
    queue: Frames,
    /// Buffers that are ours.
    free: [u16; BUFFERS_MAX],
    free_len: usize,
}

impl Transmit {
    fn new(queue: Frames) -> Self {
        let free = core::array::from_fn(|index| index as u16);
        let free_len = usize::from(queue.buffers());
        Self { queue, free, free_len }
    }

    /// Takes back what was sent; whether there is a buffer.
    fn has_room(&mut self) -> bool {
        while let Some(buffer) = self.queue.take() {
            self.free[self.free_len] = buffer;
            self.free_len += 1;
        }
        self.free_len > 0
    }
}

/// The next frame that has arrived.
pub(crate) struct Arrived<'a> {
    receive: &'a mut Receive,
    buffer: u16,
    len: usize,
}

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.receive.queue.frame(self.buffer)[..self.len]);
        self.receive.recycle();
        result
    }
}

/// A buffer for a frame: there is one.
pub(crate) struct Blank<'a>(&'a mut Transmit);

impl phy::TxToken for Blank<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let Transmit { queue, free, free_len } = self.0;
        *free_len -= 1;
        let buffer = free[*free_len];
        let result = write(&mut queue.frame(buffer)[..len]);
        queue.set_frame_len(buffer, len);
        queue.offer(buffer);
        result
    }
}
