//! A driver that does anything: registers, descriptors and rings of all cards, over both transports, in any order.
//!
//! What must hold: no panic, every step ends, and nothing outside is asked for what it does not have.
#![no_main]

#[path = "virtio/frame.rs"]
mod frame;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use arbitrary::Arbitrary;
use frame::Frame;
use libfuzzer_sys::fuzz_target;
use runu_core::{BootProtocol, Bytes, GuestAddr};
use runu_machine::{
    Cards, Channel, ChannelError, Console, Disk, Entropy, GuestMemory, HEADER_LEN, Inquiry, Keyboard, Mac,
    Medium, MediumError, NameServer, Narrow, Net, NineP, PortSize, Relay, Rng, SECTOR, Terminal, Wire,
    WireError,
};

/// The guest's memory, and where in it the queues are: those of each card behind those of the card before.
const MEMORY: u64 = 2 << 20;
const QUEUES: u64 = 0x8_0000;
const QUEUE_LEN: u64 = 0x4000;
/// Where the headers of requests to disks are, and room for what they read.
const HEADERS: u64 = 0x1000;
const DATA: u32 = 0x2000;
/// Where frames are that are sent, at most so many at once, and how far they are from each other.
const FRAMES: u32 = 0x3_0000;
const FRAMES_MAX: u16 = 32;
const FRAME_LEN: u32 = 0x1000;
/// Where messages for the 9P server are, and room for answers and what else arrives.
const MESSAGE: u32 = 0x6_0000;
const ROOM: u32 = 0x7_0000;

/// Cards of the machine.
const CARDS: u8 = 6;
/// Sectors of each disk: more than are carried at once.
const SECTORS: u64 = 200;
/// Steps of one run at most.
const STEPS: usize = 300;

/// What a driver does.
#[derive(Arbitrary, Debug)]
enum Step {
    /// Sets a card up as it should be.
    SetUp { card: u8, features: u32 },
    /// Writes a register of a card.
    Write { card: u8, register: u16, size: Size, value: u32 },
    /// Reads one.
    Read { card: u8, register: u16, size: Size },
    /// Writes and reads the PCI bus.
    Bus { address: u32, size: Size, value: u32 },
    /// Writes memory.
    Memory { at: u32, bytes: Vec<u8> },
    /// Writes the header of a request to a disk.
    Header { number: u8, kind: u8, sector: u8 },
    /// Fills a descriptor.
    Describe { card: u8, queue: u8, index: u8, buffer: Buffer, len: u32, shift: u8, flags: u8, next: u8 },
    /// Offers buffers as they should be offered, and says so.
    Ask { card: u8, queue: u8, buffers: Vec<(Buffer, u16, bool)> },
    /// Asks something of a disk, as it should be asked.
    Request { card: u8, kind: Asked, sector: u8, sectors: u8, more: u8 },
    /// Sends a frame, or several that follow each other.
    Send { frame: Frame, times: u8 },
    /// Sends a message to the 9P server, with its length before it and room for the answer.
    Message { message: Vec<u8>, room: u16 },
    /// Offers room for what arrives.
    Room { card: u8, len: u16, times: u8 },
    /// Offers a chain of descriptors.
    Offer { card: u8, queue: u8, head: u16 },
    /// Says that there are new buffers.
    Kick { card: u8, queue: u8 },
    /// Something arrives from outside.
    Arrive,
    /// A question for the name server is sent, as it should be, with these bytes as its own.
    Question { message: Vec<u8> },
    /// The same, with a number that few have.
    Numbered { number: u8, more: Vec<u8> },
}

/// What is asked of a disk.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Asked {
    Read,
    Write,
    Flush,
    Name,
    Any(u8),
}

/// What comes from outside, once.
#[derive(Arbitrary, Clone, Debug)]
enum Piece {
    /// Not now.
    Nothing,
    Bytes(Vec<u8>),
    Frame(Frame),
    /// The answer to an inquiry of the name server's.
    Brought(u8),
    /// The 9P server's, with its length before it.
    Answer(Vec<u8>),
    /// The name server's, so much longer.
    Named {
        number: u8,
        more: Vec<u8>,
        zeros: u16,
    },
}

impl Piece {
    fn bytes(self) -> Vec<u8> {
        match self {
            Piece::Nothing => Vec::new(),
            Piece::Bytes(bytes) => bytes,
            Piece::Frame(frame) => frame.bytes(false, 0),
            Piece::Brought(number) => Frame::brought(number).bytes(false, 0),
            Piece::Answer(answer) => lengthened(&answer),
            Piece::Named { number, more, zeros } => {
                [frame::message(number, &more), vec![0; usize::from(zeros % 4000)]].concat()
            }
        }
    }
}

/// Where a buffer is.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Buffer {
    Header(u8),
    Queue { card: u8, queue: u8, offset: u16 },
    Low(u32),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Byte,
    Word,
    Dword,
}

impl Size {
    fn ports(self) -> PortSize {
        match self {
            Size::Byte => PortSize::Byte,
            Size::Word => PortSize::Word,
            Size::Dword => PortSize::Dword,
        }
    }
}

/// Everything outside: what comes from it is in `arriving`, a piece at a time.
#[derive(Clone, Debug)]
struct Outside {
    arriving: VecDeque<Vec<u8>>,
    /// The frame that has arrived last.
    frame: Vec<u8>,
    offloads: bool,
}

impl Outside {
    fn take(&mut self, into: &mut [u8]) -> Option<usize> {
        let piece = self.arriving.pop_front()?;
        let len = piece.len().min(into.len());
        into[..len].copy_from_slice(&piece[..len]);
        Some(len)
    }
}

impl Wire for Outside {
    fn offloads(&self) -> bool {
        self.offloads
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        assert!(frame.len() > HEADER_LEN && frame.len() <= HEADER_LEN + 0x1_0000 + 18, "{}", frame.len());
        assert!(self.offloads || frame.starts_with(&[0; HEADER_LEN]));
        match frame.len() {
            len if len.is_multiple_of(7) => Err(WireError::Busy),
            len if len.is_multiple_of(5) => Err(WireError::Lost),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) {}

    fn receive(&mut self) -> Result<(), WireError> {
        let arrived = self.arriving.pop_front().filter(|frame| !frame.is_empty());
        // A wire always has the header before the frame, and zeros in it if nothing is left to the card.
        let mut frame = arrived.ok_or(WireError::Busy)?;
        frame.resize(frame.len().max(HEADER_LEN), 0);
        if !self.offloads {
            frame[..HEADER_LEN].fill(0);
        }
        self.frame = frame;
        Ok(())
    }

    fn frame(&mut self) -> &mut [u8] {
        &mut self.frame
    }
}

impl NameServer for Outside {
    fn ask(&mut self, question: &[u8]) {
        assert!(question.len() >= 12 && question.len() <= 0x1_0000);
    }

    fn answer(&mut self, into: &mut [u8]) -> Option<usize> {
        self.take(into)
    }

    fn inquiry(&mut self, into: &mut [u8]) -> Option<(usize, Inquiry)> {
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000);
        Some((self.take(into)?, Inquiry { server: Ipv4Addr::new(1, 1, 1, 1), from }))
    }

    fn bring(&mut self, _: Inquiry, answer: &[u8]) {
        assert!(answer.len() >= 12);
    }

    fn note(&mut self, _: bool, _: bool) {}
}

impl Channel for Outside {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        assert!(!bytes.is_empty());
        Ok(bytes.len().div_ceil(2))
    }

    fn receive(&mut self, into: &mut [u8]) -> Result<usize, ChannelError> {
        assert!(!into.is_empty());
        let mut piece =
            self.arriving.pop_front().filter(|piece| !piece.is_empty()).ok_or(ChannelError::Busy)?;
        let rest = piece.split_off(piece.len().min(into.len()));
        into[..piece.len()].copy_from_slice(&piece);
        // It is a stream: what there is no room for comes next.
        if !rest.is_empty() {
            self.arriving.push_front(rest);
        }
        Ok(piece.len())
    }
}

impl Console for Outside {
    fn write(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
    }
}

impl Keyboard for Outside {
    fn read(&mut self, into: &mut [u8]) -> usize {
        self.take(into).unwrap_or(0)
    }
}

impl Entropy for Outside {
    fn fill(&mut self, into: &mut [u8]) {
        into.fill(9);
    }
}

/// A disk's bytes.
#[derive(Debug)]
struct Platter {
    bytes: Vec<u8>,
    read_only: bool,
}

impl Platter {
    fn new(read_only: bool) -> Self {
        Self { bytes: vec![7; (SECTORS * SECTOR) as usize], read_only }
    }

    fn disk(self) -> Disk<Self> {
        let read_only = self.read_only;
        Disk::new(self, Bytes(SECTORS * SECTOR + 100), read_only, "fuzzed")
    }
}

impl Medium for Platter {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), MediumError> {
        into.copy_from_slice(&self.bytes[offset as usize..][..into.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), MediumError> {
        assert!(!self.read_only);
        self.bytes[offset as usize..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        assert!(!self.read_only);
        Err(MediumError)
    }
}

/// A machine and its driver.
struct Machine {
    boot: BootProtocol,
    cards: Cards,
    memory: GuestMemory,
    /// Of each queue the buffers offered.
    offered: [[u16; 2]; CARDS as usize],
}

impl Machine {
    fn new(boot: BootProtocol, relays: bool, outside: &Outside) -> Self {
        let mut cards = Cards::new(boot);
        let new = || outside.clone();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let plugged = [
            match relays {
                true => Net::new(
                    Narrow::new(Relay::new(new(), new(), frame::NAMES.into(), 1280), 1280),
                    mac,
                    1280,
                )
                .plug(&mut cards),
                false => Net::new(new(), mac, 1500).plug(&mut cards),
            },
            Platter::new(false).disk().plug(&mut cards),
            Platter::new(true).disk().plug(&mut cards),
            NineP::new(new(), "tag").plug(&mut cards),
            Terminal::new(new(), new()).plug(&mut cards),
            Rng::new(new()).plug(&mut cards),
        ];
        assert!(plugged.iter().all(Option::is_some));
        let memory = GuestMemory::new(Bytes(MEMORY)).expect("there is memory");
        Self { boot, cards, memory, offered: Default::default() }
    }

    /// The registers of a card, as their driver finds them where firmware has put them.
    fn write(&mut self, card: u8, register: u16, size: Size, value: u32) {
        let card = card % CARDS;
        match self.boot {
            BootProtocol::Multiboot => {
                let port = 0xc000 + u16::from(card) * 0x40 + register % 0x40;
                self.cards.write_port(port, size.ports(), value, &self.memory);
            }
            BootProtocol::Linux64 => {
                let at = 0xfeb0_0000 + u64::from(card) * 512 + u64::from(register % 512);
                let bytes = &value.to_le_bytes()[..1 << size as u32];
                self.cards.write_memory(GuestAddr(at), bytes, &self.memory);
            }
        }
    }

    fn read(&mut self, card: u8, register: u16, size: Size) -> u32 {
        let card = card % CARDS;
        match self.boot {
            BootProtocol::Multiboot => {
                let port = 0xc000 + u16::from(card) * 0x40 + register % 0x40;
                self.cards.read_port(port, size.ports()).unwrap_or(u32::MAX)
            }
            BootProtocol::Linux64 => {
                let at = 0xfeb0_0000 + u64::from(card) * 512 + u64::from(register % 512);
                let mut bytes = [0; 4];
                self.cards.read_memory(GuestAddr(at), &mut bytes[..1 << size as u32]);
                u32::from_le_bytes(bytes)
            }
        }
    }

    fn set_up(&mut self, card: u8, features: u32) {
        let card = card % CARDS;
        self.offered[usize::from(card)] = [0; 2];
        match self.boot {
            BootProtocol::Multiboot => {
                for status in [0, 1, 3] {
                    self.write(card, 18, Size::Byte, status);
                }
                self.write(card, 4, Size::Dword, features);
                for queue in 0..2 {
                    self.write(card, 14, Size::Word, queue.into());
                    self.write(card, 8, Size::Dword, (queue_at(card, queue) / 4096) as u32);
                }
                self.write(card, 18, Size::Byte, 7);
            }
            BootProtocol::Linux64 => {
                for status in [0, 1, 3] {
                    self.write(card, 0x70, Size::Dword, status);
                }
                let offered = self.read(card, 0x10, Size::Dword);
                for (half, features) in [(0, features & offered), (1, 1)] {
                    self.write(card, 0x24, Size::Dword, half);
                    self.write(card, 0x20, Size::Dword, features);
                }
                self.write(card, 0x70, Size::Dword, 11);
                for queue in 0..2 {
                    self.write(card, 0x30, Size::Dword, queue.into());
                    let size = self.read(card, 0x34, Size::Dword);
                    self.write(card, 0x38, Size::Dword, size);
                    let at = queue_at(card, queue);
                    for (register, at) in [(0x80, at), (0x90, at + 0x1000), (0xa0, at + 0x2000)] {
                        self.write(card, register, Size::Dword, at as u32);
                    }
                    self.write(card, 0x44, Size::Dword, 1);
                }
                self.write(card, 0x70, Size::Dword, 15);
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::SetUp { card, features } => self.set_up(card, features),
            Step::Write { card, register, size, value } => self.write(card, register, size, value),
            Step::Read { card, register, size } => {
                self.read(card, register, size);
            }
            Step::Bus { address, size, value } => {
                // A slot with a card in it, most often.
                let address = 0x8000_0000 | address & 0x0000_3fff;
                self.cards.write_port(0xcf8, PortSize::Dword, address, &self.memory);
                self.cards.write_port(0xcfc + (value & 3) as u16, size.ports(), value, &self.memory);
                self.cards.read_port(0xcfc, size.ports());
            }
            Step::Memory { at, bytes } => self.store(u64::from(at) % MEMORY, &bytes),
            Step::Header { number, kind, sector } => {
                let at = header_at(number);
                self.store(at, &u32::from(kind).to_le_bytes());
                self.store(at + 8, &u64::from(sector).to_le_bytes());
            }
            Step::Describe { card, queue, index, buffer, len, shift, flags, next } => {
                self.describe(card, queue, index, buffer, len >> (shift % 32), flags.into(), next);
            }
            Step::Ask { card, queue, buffers } => self.ask(card, queue, &buffers),
            Step::Request { card, kind, sector, sectors, more } => {
                let number = match kind {
                    Asked::Read => 0,
                    Asked::Write => 1,
                    Asked::Flush => 4,
                    Asked::Name => 8,
                    Asked::Any(number) => number,
                };
                self.take(Step::Header { number: 0, kind: number, sector });
                // Now and then what is no number of sectors; in two pieces, because more does not fit into one length.
                let data = |len| (Buffer::Low(DATA), len, !matches!(kind, Asked::Write));
                let sectors = sectors % 254;
                let [first, second] = [sectors / 2, sectors.div_ceil(2)].map(|len| u16::from(len) * 512);
                let more = u16::from(more.saturating_sub(200));
                let status = (Buffer::Low(0x1), 1, true);
                // Of all cards these two are disks.
                let card = 1 + card % 2;
                self.ask(
                    card,
                    0,
                    &[(Buffer::Header(0), 16, false), data(first), data(second + more), status],
                );
            }
            Step::Send { frame, times } => self.send(&frame, 1 + u16::from(times) % FRAMES_MAX),
            Step::Message { message, room } => {
                let message = lengthened(&message);
                self.store(MESSAGE.into(), &message);
                let room = (Buffer::Low(ROOM), room, true);
                self.ask(3, 0, &[(Buffer::Low(MESSAGE), message.len() as u16, false), room]);
            }
            Step::Room { card, len, times } => {
                let card = card % CARDS;
                self.describe(card, 0, 0, Buffer::Low(ROOM), len.into(), 2, 0);
                (0..=times % 16).for_each(|_| self.offer(card, 0, 0));
                self.kick(card, 0);
            }
            Step::Offer { card, queue, head } => self.offer(card, queue, head),
            Step::Kick { card, queue } => self.kick(card, queue),
            Step::Arrive => self.cards.poll(&self.memory),
            Step::Question { message } => {
                self.transmit(0, question(&message));
                self.kick(0, 1);
            }
            Step::Numbered { number, more } => {
                self.take(Step::Question { message: frame::message(number, &more) });
            }
        }
    }

    /// Offers frames that follow each other, and says so once.
    fn send(&mut self, frame: &Frame, times: u16) {
        for number in 0..times {
            self.transmit(number, frame.bytes(true, number));
        }
        self.kick(0, 1);
    }

    /// Offers a frame that has the header of version 0 before it.
    fn transmit(&mut self, number: u16, mut frame: Vec<u8>) {
        if matches!(self.boot, BootProtocol::Linux64) {
            // Drivers of version 1 have a count of buffers behind the header.
            frame.splice(HEADER_LEN..HEADER_LEN, [0, 0]);
        }
        let (index, at) = (number as u8, FRAMES + u32::from(number) * FRAME_LEN);
        self.store(at.into(), &frame);
        self.describe(0, 1, index, Buffer::Low(at), frame.len() as u32, 0, 0);
        self.offer(0, 1, index.into());
    }

    fn ask(&mut self, card: u8, queue: u8, buffers: &[(Buffer, u16, bool)]) {
        for (index, (buffer, len, writable)) in (0..).zip(buffers) {
            let last = usize::from(index) + 1 >= buffers.len();
            let flags = u16::from(!last) | u16::from(*writable) << 1;
            self.describe(card, queue, index, *buffer, (*len).into(), flags, index.wrapping_add(1));
            if index == u8::MAX {
                break;
            }
        }
        self.offer(card, queue, 0);
        self.kick(card, queue);
    }

    #[expect(clippy::too_many_arguments, reason = "a descriptor has so many fields")]
    fn describe(&mut self, card: u8, queue: u8, index: u8, buffer: Buffer, len: u32, flags: u16, next: u8) {
        let addr = match buffer {
            Buffer::Header(number) => header_at(number),
            Buffer::Queue { card, queue, offset } => {
                queue_at(card % CARDS, queue % 2) + u64::from(offset) % QUEUE_LEN
            }
            Buffer::Low(at) => u64::from(at) % (MEMORY + 0x1000),
            Buffer::Any(at) => at,
        };
        let len = if matches!(buffer, Buffer::Header(_)) { 16 } else { len };
        let next = u16::from(next).to_le_bytes();
        let bytes = [&addr.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next];
        let at = queue_at(card % CARDS, queue % 2) + 16 * u64::from(index);
        self.store(at, &bytes.concat());
    }

    fn offer(&mut self, card: u8, queue: u8, head: u16) {
        let (card, queue) = (card % CARDS, queue % 2);
        let size = self.queue_size(card, queue);
        let offered = &mut self.offered[usize::from(card)][usize::from(queue)];
        let slot = u64::from(*offered % size.max(1));
        *offered = offered.wrapping_add(1);
        let index = *offered;
        let ring = self.available_at(card, queue, size);
        self.store(ring + 4 + 2 * slot, &head.to_le_bytes());
        self.store(ring + 2, &index.to_le_bytes());
    }

    fn kick(&mut self, card: u8, queue: u8) {
        let (register, size) = match self.boot {
            BootProtocol::Multiboot => (16, Size::Word),
            BootProtocol::Linux64 => (0x50, Size::Dword),
        };
        self.write(card, register, size, u32::from(queue % 3));
    }

    fn queue_size(&mut self, card: u8, queue: u8) -> u16 {
        let (select, max, width) = match self.boot {
            BootProtocol::Multiboot => (14, 12, Size::Word),
            BootProtocol::Linux64 => (0x30, 0x34, Size::Dword),
        };
        self.write(card, select, width, queue.into());
        self.read(card, max, width) as u16
    }

    fn available_at(&self, card: u8, queue: u8, size: u16) -> u64 {
        match self.boot {
            BootProtocol::Multiboot => queue_at(card, queue) + 16 * u64::from(size),
            BootProtocol::Linux64 => queue_at(card, queue) + 0x1000,
        }
    }

    fn store(&mut self, at: u64, bytes: &[u8]) {
        // What reaches beyond memory is not written.
        let _ = self.memory.write(GuestAddr(at), bytes);
    }
}

fn queue_at(card: u8, queue: u8) -> u64 {
    QUEUES + (u64::from(card) * 2 + u64::from(queue)) * QUEUE_LEN
}

fn header_at(number: u8) -> u64 {
    HEADERS + 16 * u64::from(number)
}

/// A header for drivers of version 0 and a frame with that question, its checksums left out where they may be.
fn question(message: &[u8]) -> Vec<u8> {
    let len = message.len().min(1400);
    let [udp, ip] = [8 + len, 28 + len].map(|len| (len as u16).to_be_bytes());
    let mut header =
        [&[0x45, 0], &ip[..], &[0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2], &frame::NAMES].concat();
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let ports = [4000_u16.to_be_bytes(), 53_u16.to_be_bytes()].concat();
    let ethernet = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0];
    [&[0; HEADER_LEN], &ethernet[..], &header, &ports, &udp, &[0; 2], &message[..len]].concat()
}

/// A 9P message with its length before it.
fn lengthened(message: &[u8]) -> Vec<u8> {
    let message = &message[..message.len().min(4000)];
    [&(message.len() as u32 + 4).to_le_bytes(), message].concat()
}

/// The features that all cards are set up with at first. Most of what a card does it does for who has set it up.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Start {
    All,
    Some(u32),
    NotSetUp,
}

fuzz_target!(|input: (bool, bool, bool, Start, Vec<Piece>, Vec<Step>)| {
    let (pci, plain, relays, start, arriving, steps) = input;
    let boot = if pci { BootProtocol::Multiboot } else { BootProtocol::Linux64 };
    let arriving = arriving.into_iter().map(Piece::bytes).collect();
    let outside = Outside { arriving, frame: vec![0; HEADER_LEN], offloads: !plain };
    let mut machine = Machine::new(boot, relays, &outside);
    match start {
        Start::All => (0..CARDS).for_each(|card| machine.set_up(card, u32::MAX)),
        Start::Some(features) => (0..CARDS).for_each(|card| machine.set_up(card, features)),
        Start::NotSetUp => {}
    }
    for step in steps.into_iter().take(STEPS) {
        machine.take(step);
        let pages = machine.cards.take_written();
        assert!(pages.iter().all(|page| page.is_multiple_of(4096) && *page < MEMORY));
        assert_eq!(machine.cards.lines().count(), usize::from(CARDS));
    }
});
