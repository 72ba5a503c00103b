//! What a shared directory does, over both transports.

#![expect(clippy::cast_possible_truncation, reason = "all lengths here are small")]

use std::{cell::RefCell, rc::Rc};

use runu_core::{
    BootProtocol::{self, Linux64, Multiboot},
    GuestAddr,
};

use super::{Channel, ChannelError, MESSAGE_MAX, NineP};
use crate::virtio::harness::Driver;

const BOTH: [BootProtocol; 2] = [Multiboot, Linux64];

/// `DEVICE_NEEDS_RESET`.
const NEEDS_RESET: u32 = 0x40;

/// Where a message and its answer lie.
const OUT: u64 = 0x20_0000;
const IN: u64 = 0x30_0000;

/// The end of a channel: what was sent, what arrives, and how many bytes go through before it is busy.
#[derive(Clone, Debug, Default)]
struct TestChannel(Rc<RefCell<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    sent: Vec<u8>,
    arriving: Vec<u8>,
    /// Bytes that go through at once.
    piece: usize,
    /// Bytes that are taken before it is busy.
    room: usize,
    lost: bool,
}

impl Channel for TestChannel {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        let mut ends = self.0.borrow_mut();
        let len = bytes.len().min(ends.piece).min(ends.room);
        match len {
            _ if ends.lost => Err(ChannelError::Lost),
            0 => Err(ChannelError::Busy),
            len => {
                ends.room -= len;
                ends.sent.extend(&bytes[..len]);
                Ok(len)
            }
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> Result<usize, ChannelError> {
        let mut ends = self.0.borrow_mut();
        let len = into.len().min(ends.piece).min(ends.arriving.len());
        match len {
            _ if ends.lost => Err(ChannelError::Lost),
            0 => Err(ChannelError::Busy),
            len => {
                let rest = ends.arriving.split_off(len);
                into[..len].copy_from_slice(&ends.arriving);
                ends.arriving = rest;
                Ok(len)
            }
        }
    }
}

impl Driver<TestChannel> {
    fn sharing(boot: BootProtocol) -> Self {
        let channel = TestChannel::default();
        (channel.0.borrow_mut().piece, channel.0.borrow_mut().room) = (3, usize::MAX);
        let mut driver =
            Self::with(boot, channel.clone(), |cards| NineP::new(channel, "fs1").plug(cards)).with_size(128);
        driver.set_up();
        driver
    }

    /// Puts a message into the queue and tells.
    fn request(&mut self, head: u16, message: &[u8], room: u32) {
        let (out, into) = (OUT + u64::from(head) * 0x1000, IN + u64::from(head) * 0x1000);
        self.memory.write(GuestAddr(out), message).unwrap();
        self.put(0, head, &[(out, message.len() as u32, false), (into, room, true)]);
        self.kick(0);
    }

    fn arrive(&mut self, answer: &[u8]) {
        self.wire.0.borrow_mut().arriving.extend(answer);
        self.cards.poll(&self.memory);
    }

    fn answer(&self, head: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(GuestAddr(IN + u64::from(head) * 0x1000), &mut bytes).unwrap();
        bytes
    }

    fn sent(&self) -> Vec<u8> {
        self.wire.0.borrow().sent.clone()
    }
}

fn message(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 7).to_le_bytes()[..], &[100, 1, 0], body].concat()
}

#[test]
fn card_is_found_with_its_tag() {
    for boot in BOTH {
        let mut driver = Driver::sharing(boot);
        let config: Vec<u8> = (0..6).map(|offset| driver.config(offset)).collect();
        assert_eq!(config, *b"\x03\0fs1\0");
    }
    let mut pci = Driver::sharing(Multiboot);
    pci.out(0xcf8, 4, 0x8000_0800);
    assert_eq!(pci.input(0xcfc, 4), 0x1009_1af4);
    pci.out(0xcf8, 4, 0x8000_082c);
    assert_eq!(pci.input(0xcfc, 4) >> 16, 9);
    assert_eq!(Driver::sharing(Linux64).read(8), 9);
}

#[test]
fn message_reaches_the_server_and_its_answer_the_driver() {
    for boot in BOTH {
        let mut driver = Driver::sharing(boot);
        driver.request(5, &message(b"what is there?"), 100);
        assert_eq!(driver.sent(), message(b"what is there?"));
        assert_eq!(driver.used(0), None);

        driver.arrive(&message(b"this"));

        assert_eq!(driver.used(0), Some((5, 11)));
        assert_eq!(driver.answer(5, 11), message(b"this"));
        assert!(driver.line());
        assert!(driver.cards.take_written().contains(&(IN + 5 * 0x1000)));
    }
}

#[test]
fn answer_that_comes_in_pieces_is_given_when_it_is_whole() {
    let mut driver = Driver::sharing(Linux64);
    driver.request(0, &message(b"x"), 100);
    let answer = message(b"an answer");
    for byte in &answer[..answer.len() - 1] {
        driver.arrive(&[*byte]);
        assert_eq!(driver.used(0), None);
    }
    driver.arrive(&answer[answer.len() - 1..]);
    assert_eq!(driver.used(0), Some((0, 16)));
}

#[test]
fn message_on_a_busy_channel_goes_on_where_it_stopped() {
    let mut driver = Driver::sharing(Linux64);
    driver.wire.0.borrow_mut().room = 4;
    driver.request(0, &message(b"long message"), 100);
    assert_eq!(driver.sent().len(), 4);
    driver.wire.0.borrow_mut().room = usize::MAX;
    driver.cards.poll(&driver.memory);
    assert_eq!(driver.sent(), message(b"long message"));
}

#[test]
fn next_message_waits_for_the_answer_to_the_one_before() {
    let mut driver = Driver::sharing(Multiboot);
    driver.request(0, &message(b"first"), 100);
    driver.request(2, &message(b"second"), 100);
    assert_eq!(driver.sent(), message(b"first"));
    driver.arrive(&message(b"1"));
    assert_eq!(driver.sent(), [message(b"first"), message(b"second")].concat());
    driver.arrive(&message(b"2"));
    assert_eq!((driver.used(0), driver.used(0)), (Some((0, 8)), Some((2, 8))));
    assert_eq!(driver.answer(2, 8), message(b"2"));
}

#[test]
fn answer_to_a_driver_that_was_reset_is_not_given_to_the_next() {
    for boot in BOTH {
        let mut driver = Driver::sharing(boot);
        driver.wire.0.borrow_mut().room = 4;
        driver.request(0, &message(b"before"), 100);
        driver.reset();
        driver.set_up();
        driver.wire.0.borrow_mut().room = usize::MAX;
        driver.request(1, &message(b"after"), 100);
        assert_eq!(driver.sent(), message(b"before"));
        driver.arrive(&message(b"old"));
        assert_eq!(driver.sent(), [message(b"before"), message(b"after")].concat());
        assert_eq!(driver.used(0), None);
        driver.arrive(&message(b"new"));
        assert_eq!(driver.used(0), Some((1, 10)));
        assert_eq!(driver.answer(1, 10), message(b"new"));
    }
}

#[test]
fn message_that_lies_about_its_length_breaks_the_card() {
    let too_long = (MESSAGE_MAX as u32 + 1).to_le_bytes();
    for header in [[0; 4], [6, 0, 0, 0], [100, 0, 0, 0], [0xff; 4], too_long] {
        let mut driver = Driver::sharing(Linux64);
        driver.request(0, &[&header[..], &[0; 20]].concat(), 100);
        assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET, "{header:?}");
        assert!(driver.sent().is_empty());
    }
    let mut driver = Driver::sharing(Linux64);
    driver.request(0, &[1], 100);
    assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET);
}

#[test]
fn answer_that_does_not_fit_or_never_comes_breaks_the_card() {
    let mut driver = Driver::sharing(Linux64);
    driver.request(0, &message(b"x"), 10);
    driver.arrive(&message(b"too long"));
    assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET);

    let mut driver = Driver::sharing(Linux64);
    driver.request(0, &message(b"x"), 10);
    driver.wire.0.borrow_mut().lost = true;
    driver.cards.poll(&driver.memory);
    assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET);

    let mut driver = Driver::sharing(Linux64);
    driver.request(0, &message(b"x"), 10);
    driver.arrive(&[0xff; 4]);
    assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET);
}

#[test]
fn message_that_the_driver_takes_back_breaks_the_card() {
    let mut driver = Driver::sharing(Linux64);
    driver.request(0, &message(b"x"), 100);
    driver.set_available(0, 0);
    driver.arrive(&message(b"y"));
    assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET);
    assert_eq!(driver.used(0), None);
}

proptest::proptest! {
    /// A driver may put anything into its queue, and a server may answer anything.
    #[test]
    fn anything_in_queue_and_channel_never_panics(
        pci in proptest::bool::ANY,
        queue in proptest::collection::vec(proptest::num::u8::ANY, 8192),
        arriving in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        heads in proptest::collection::vec(proptest::num::u16::ANY, 1..20),
    ) {
        let mut driver = Driver::sharing(if pci { Multiboot } else { Linux64 });
        driver.memory.write(GuestAddr(0x10_0000), &queue).unwrap();
        driver.wire.0.borrow_mut().arriving.extend(arriving);
        for head in heads {
            driver.offer(0, head % 128);
            driver.kick(0);
            driver.cards.poll(&driver.memory);
        }
    }
}
