//! A driver without a guest: lays out queues in guest memory and speaks to a card's registers, over either transport.

#![expect(
    clippy::cast_possible_truncation,
    reason = "registers hold halves of addresses; all lengths here are small"
)]

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use runu_core::{BootProtocol, Bytes, GuestAddr, Place};

use super::{Cards, HEADER_LEN, Mac, Net, Wire, WireError};
use crate::{GuestMemory, PortSize};

/// Both ends of a wire.
#[derive(Clone, Debug, Default)]
pub(super) struct TestWire {
    /// Frames that were sent, and the headers before them.
    pub(super) sent: Rc<RefCell<Vec<Vec<u8>>>>,
    pub(super) headers: Rc<RefCell<Vec<[u8; HEADER_LEN]>>>,
    /// Frames with headers before them.
    pub(super) arriving: Rc<RefCell<VecDeque<Vec<u8>>>>,
    pub(super) busy: Rc<RefCell<bool>>,
    last: Vec<u8>,
}

impl TestWire {
    /// A frame arrives with which nothing is to be done.
    pub(super) fn bring(&self, frame: &[u8]) {
        self.bring_with([0; HEADER_LEN], frame);
    }

    pub(super) fn bring_with(&self, header: [u8; HEADER_LEN], frame: &[u8]) {
        self.arriving.borrow_mut().push_back([&header, frame].concat());
    }
}

impl Wire for TestWire {
    fn offloads(&self) -> bool {
        true
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        if *self.busy.borrow() {
            return Err(WireError::Busy);
        }
        let (header, frame) = frame.split_first_chunk().unwrap();
        self.headers.borrow_mut().push(*header);
        self.sent.borrow_mut().push(frame.to_vec());
        Ok(())
    }

    fn flush(&mut self) {}

    fn receive(&mut self) -> Result<(), WireError> {
        self.last = self.arriving.borrow_mut().pop_front().ok_or(WireError::Busy)?;
        Ok(())
    }

    fn frame(&mut self) -> &mut [u8] {
        &mut self.last
    }
}

/// A buffer of a chain: where, how long, whether the device writes it.
pub(super) type Buffer = (u64, u32, bool);

/// A machine with one card, and its driver.
pub(super) struct Driver<W = TestWire> {
    pub(super) cards: Cards,
    pub(super) memory: GuestMemory,
    /// What the card is plugged into.
    pub(super) wire: W,
    boot: BootProtocol,
    base: u16,
    /// Descriptors in each queue.
    size: u16,
    /// The lower half of the features that it chooses.
    pub(super) features: u32,
    next_used: [u16; 2],
    available: [u16; 2],
}

pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const SIZE: u16 = 256;
/// Where the queues lie, as the legacy interface wants: one after the other from a page on.
const QUEUES: [u64; 2] = [0x10_0000, 0x11_0000];

impl Driver {
    /// A machine with a network card that is entered by this boot protocol; its card is reset.
    pub(super) fn new(boot: BootProtocol) -> Self {
        let wire = TestWire::default();
        Self::with(boot, wire.clone(), |cards| Net::new(wire, Mac(MAC), 1500).plug(cards))
    }

    /// The same, set up as far as a driver sets it up.
    pub(super) fn ready(boot: BootProtocol) -> Self {
        let mut driver = Self::new(boot);
        driver.set_up();
        driver
    }

    pub(super) fn header_len(&self) -> usize {
        if self.boot == BootProtocol::Multiboot { 10 } else { 12 }
    }

    /// Sends a frame from one buffer for header and frame.
    pub(super) fn send(&mut self, head: u16, frame: &[u8]) {
        self.send_with([0; HEADER_LEN], head, frame);
    }

    pub(super) fn send_with(&mut self, header: [u8; HEADER_LEN], head: u16, frame: &[u8]) {
        let at = 0x20_0000 + u64::from(head) * 0x1000;
        let gap = vec![0; self.header_len() - HEADER_LEN];
        let bytes = [&header, gap.as_slice(), frame].concat();
        self.memory.write(GuestAddr(at), &bytes).unwrap();
        self.put(1, head, &[(at, bytes.len() as u32, false)]);
        self.kick(1);
    }
}

impl<W> Driver<W> {
    /// A machine that is entered by this boot protocol, with the card that `plug` plugs into `wire`; it is reset.
    pub(super) fn with(boot: BootProtocol, wire: W, plug: impl FnOnce(&mut Cards) -> Option<Place>) -> Self {
        let mut cards = Cards::new(boot);
        plug(&mut cards).unwrap();
        let memory = GuestMemory::new(Bytes::mib(4)).unwrap();
        let (next_used, available) = ([0; 2], [0; 2]);
        let mut driver =
            Driver { cards, memory, wire, boot, base: 0, size: SIZE, features: 0, next_used, available };
        if boot == BootProtocol::Multiboot {
            driver.out(0xcf8, 4, 0x8000_0810);
            driver.base = (driver.input(0xcfc, 4) & !1) as u16;
        }
        driver
    }

    /// The same, with so many descriptors in each queue.
    pub(super) fn with_size(self, size: u16) -> Self {
        Driver { size, ..self }
    }

    pub(super) fn set_up(&mut self) {
        self.set_status(1 | 2);
        match self.boot {
            BootProtocol::Multiboot => {
                self.out(self.base + 4, 4, self.features);
                for (number, at) in QUEUES.into_iter().enumerate() {
                    self.out(self.base + 14, 2, number as u32);
                    self.out(self.base + 8, 4, (at / 4096) as u32);
                }
            }
            BootProtocol::Linux64 => {
                for (half, features) in [(0, self.features), (1, 1)] {
                    self.write(0x24, half);
                    self.write(0x20, features);
                }
                self.set_status(1 | 2 | 8);
                for (number, at) in QUEUES.into_iter().enumerate() {
                    self.write(0x30, number as u32);
                    self.write(0x38, u32::from(self.size));
                    for (register, at) in
                        [(0x80, at), (0x90, self.available_of(at)), (0xa0, self.used_of(at))]
                    {
                        self.write(register, at as u32);
                        self.write(register + 4, (at >> 32) as u32);
                    }
                    self.write(0x44, 1);
                }
            }
        }
        let status = self.status();
        self.set_status(status | 4);
    }

    /// Writes a register of memory.
    pub(super) fn write(&mut self, register: u64, value: u32) {
        let at = GuestAddr(0xfeb0_0000 + register);
        assert!(self.cards.write_memory(at, &value.to_le_bytes(), &self.memory));
    }

    /// Reads a register of memory.
    pub(super) fn read(&mut self, register: u64) -> u32 {
        let mut bytes = [0; 4];
        assert!(self.cards.read_memory(GuestAddr(0xfeb0_0000 + register), &mut bytes));
        u32::from_le_bytes(bytes)
    }

    pub(super) fn out(&mut self, port: u16, size: u8, value: u32) {
        assert!(self.cards.write_port(port, port_size(size), value, &self.memory));
    }

    pub(super) fn input(&mut self, port: u16, size: u8) -> u32 {
        self.cards.read_port(port, port_size(size)).unwrap()
    }

    pub(super) fn status(&mut self) -> u32 {
        match self.boot {
            BootProtocol::Multiboot => self.input(self.base + 18, 1),
            BootProtocol::Linux64 => self.read(0x70),
        }
    }

    pub(super) fn set_status(&mut self, status: u32) {
        match self.boot {
            BootProtocol::Multiboot => self.out(self.base + 18, 1, status),
            BootProtocol::Linux64 => self.write(0x70, status),
        }
    }

    pub(super) fn reset(&mut self) {
        self.set_status(0);
        (self.next_used, self.available) = ([0; 2], [0; 2]);
        for at in QUEUES {
            self.memory.zero(GuestAddr(at), 0x1_0000).unwrap();
        }
    }

    /// The card's configuration.
    pub(super) fn config(&mut self, offset: u16) -> u8 {
        match self.boot {
            BootProtocol::Multiboot => self.input(self.base + 20 + offset, 1) as u8,
            BootProtocol::Linux64 => {
                let mut byte = [0];
                let at = GuestAddr(0xfeb0_0100 + u64::from(offset));
                assert!(self.cards.read_memory(at, &mut byte));
                byte[0]
            }
        }
    }

    /// Reads and acknowledges the reasons of the interrupt.
    pub(super) fn take_interrupt(&mut self) -> u32 {
        match self.boot {
            BootProtocol::Multiboot => self.input(self.base + 19, 1),
            BootProtocol::Linux64 => {
                let reasons = self.read(0x60);
                self.write(0x64, reasons);
                reasons
            }
        }
    }

    /// Puts buffers into a queue as one chain that starts at descriptor `head`, without telling.
    pub(super) fn put(&mut self, queue: usize, head: u16, buffers: &[Buffer]) {
        for (number, (addr, len, writable)) in buffers.iter().enumerate() {
            let last = number + 1 == buffers.len();
            let flags = u16::from(!last) | u16::from(*writable) << 1;
            self.put_descriptor(queue, head + number as u16, *addr, *len, flags, head + number as u16 + 1);
        }
        self.offer(queue, head);
    }

    pub(super) fn put_descriptor(
        &mut self,
        queue: usize,
        number: u16,
        addr: u64,
        len: u32,
        flags: u16,
        next: u16,
    ) {
        let at = QUEUES[queue] + 16 * u64::from(number);
        let mut bytes = Vec::from(addr.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.memory.write(GuestAddr(at), &bytes).unwrap();
    }

    pub(super) fn offer(&mut self, queue: usize, head: u16) {
        let ring = self.available_of(QUEUES[queue]);
        let slot = ring + 4 + 2 * u64::from(self.available[queue] % self.size);
        self.memory.write(GuestAddr(slot), &head.to_le_bytes()).unwrap();
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.set_available(queue, self.available[queue]);
    }

    pub(super) fn set_available(&mut self, queue: usize, index: u16) {
        let at = GuestAddr(self.available_of(QUEUES[queue]) + 2);
        self.memory.write(at, &index.to_le_bytes()).unwrap();
    }

    pub(super) fn refuse_interrupts(&mut self, queue: usize) {
        self.memory.write(GuestAddr(self.available_of(QUEUES[queue])), &1_u16.to_le_bytes()).unwrap();
    }

    pub(super) fn kick(&mut self, queue: u32) {
        match self.boot {
            BootProtocol::Multiboot => self.out(self.base + 16, 2, queue),
            BootProtocol::Linux64 => self.write(0x50, queue),
        }
    }

    /// The next chain that the device gave back: its head, how much was written.
    pub(super) fn used(&mut self, queue: usize) -> Option<(u32, u32)> {
        let ring = self.used_of(QUEUES[queue]);
        let mut index = [0; 2];
        self.memory.read(GuestAddr(ring + 2), &mut index).unwrap();
        if u16::from_le_bytes(index) == self.next_used[queue] {
            return None;
        }
        let mut element = [0; 8];
        let at = ring + 4 + 8 * u64::from(self.next_used[queue] % self.size);
        self.memory.read(GuestAddr(at), &mut element).unwrap();
        self.next_used[queue] = self.next_used[queue].wrapping_add(1);
        let number = u64::from_le_bytes(element);
        Some((number as u32, (number >> 32) as u32))
    }

    /// From which buffer on the device wants to be told.
    pub(super) fn kick_from(&mut self, queue: usize) -> u16 {
        let mut index = [0; 2];
        let at = self.used_of(QUEUES[queue]) + 4 + 8 * u64::from(self.size);
        self.memory.read(GuestAddr(at), &mut index).unwrap();
        u16::from_le_bytes(index)
    }

    fn available_of(&self, queue: u64) -> u64 {
        queue + 16 * u64::from(self.size)
    }

    fn used_of(&self, queue: u64) -> u64 {
        (self.available_of(queue) + 2 * (3 + u64::from(self.size))).next_multiple_of(4096)
    }

    pub(super) fn line(&self) -> bool {
        self.cards.lines().any(|(_, level)| level)
    }
}

fn port_size(size: u8) -> PortSize {
    match size {
        1 => PortSize::Byte,
        2 => PortSize::Word,
        _ => PortSize::Dword,
    }
}
