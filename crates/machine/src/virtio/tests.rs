//! What every card does, and what a network card does, over both transports.

#![expect(clippy::cast_possible_truncation, reason = "all lengths here are small")]

use runu_core::{
    BootProtocol::{Linux64, Multiboot},
    GuestAddr,
};

use super::harness::{Driver, MAC};

const BOTH: [runu_core::BootProtocol; 2] = [Multiboot, Linux64];

/// `DEVICE_NEEDS_RESET`.
const NEEDS_RESET: u32 = 0x40;

#[test]
fn card_is_found_with_its_address_and_mtu() {
    for boot in BOTH {
        let mut driver = Driver::new(boot);
        let config: Vec<u8> = (0..12).map(|offset| driver.config(offset)).collect();
        assert_eq!(config, [&MAC[..], &[1, 0, 1, 0, 0xdc, 0x05]].concat());
    }
    let mut mmio = Driver::new(Linux64);
    let found = [0, 4, 8].map(|register| mmio.read(register));
    assert_eq!(found, [0x7472_6976, 2, 1]);
    let mut pci = Driver::new(Multiboot);
    pci.out(0xcf8, 4, 0x8000_0800);
    assert_eq!(pci.input(0xcfc, 4), 0x1000_1af4);
    pci.out(0xcf8, 4, 0x8000_083c);
    assert_eq!(pci.input(0xcfc, 2), 0x0105);
}

#[test]
fn slot_without_a_card_is_empty() {
    let mut pci = Driver::new(Multiboot);
    pci.out(0xcf8, 4, 0x8000_1000);
    assert_eq!(pci.input(0xcfc, 4), 0xffff_ffff);
    let mut mmio = Driver::new(Linux64);
    assert!(!mmio.cards.read_memory(GuestAddr(0xfeb0_0200), &mut [0; 4]));
}

#[test]
fn base_address_told_all_ones_tells_its_size_and_moves() {
    let mut pci = Driver::new(Multiboot);
    pci.out(0xcf8, 4, 0x8000_0810);
    pci.out(0xcfc, 4, 0xffff_ffff);
    assert_eq!(pci.input(0xcfc, 4), 0xffc1);
    pci.out(0xcfc, 4, 0xd001);
    assert_eq!(pci.input(0xd000 + 12, 2), 256);
}

#[test]
fn frame_sent_reaches_the_wire_without_its_header() {
    for boot in BOTH {
        let mut driver = Driver::ready(boot);
        driver.send(3, b"a frame");
        assert_eq!(*driver.wire.sent.borrow(), [b"a frame"]);
        assert_eq!(driver.used(1), Some((3, 0)));
        assert!(driver.line());
        assert_eq!(driver.take_interrupt(), 1);
        assert!(!driver.line());
    }
}

#[test]
fn frame_in_several_buffers_is_sent_as_one() {
    for boot in BOTH {
        let mut driver = Driver::ready(boot);
        driver.memory.write(GuestAddr(0x20_0000), &[0; 12]).unwrap();
        driver.memory.write(GuestAddr(0x21_0000), b"one ").unwrap();
        driver.memory.write(GuestAddr(0x22_0000), b"two").unwrap();
        let header = driver.header_len() as u32;
        driver.put(1, 0, &[(0x20_0000, header, false), (0x21_0000, 4, false), (0x22_0000, 3, false)]);
        driver.kick(1);
        assert_eq!(*driver.wire.sent.borrow(), [b"one two"]);
    }
}

#[test]
fn frame_on_a_busy_wire_waits_for_its_turn() {
    let mut driver = Driver::ready(Linux64);
    *driver.wire.busy.borrow_mut() = true;
    driver.send(0, b"first");
    driver.send(1, b"second");
    assert_eq!((driver.used(1), driver.used(1)), (Some((0, 0)), None));

    *driver.wire.busy.borrow_mut() = false;
    driver.cards.poll(&driver.memory);

    assert_eq!(*driver.wire.sent.borrow(), [&b"first"[..], b"second"]);
}

#[test]
fn frame_that_arrives_fills_the_drivers_buffer_behind_a_header() {
    for boot in BOTH {
        let mut driver = Driver::ready(boot);
        driver.put(0, 7, &[(0x30_0000, 2048, true)]);
        driver.kick(0);
        assert_eq!(driver.used(0), None);
        driver.cards.take_written();

        driver.wire.bring(b"from the outside");
        driver.cards.poll(&driver.memory);

        let header = driver.header_len();
        assert_eq!(driver.used(0), Some((7, header as u32 + 16)));
        let mut bytes = vec![0; header + 16];
        driver.memory.read(GuestAddr(0x30_0000), &mut bytes).unwrap();
        assert_eq!(bytes[header..], *b"from the outside");
        if boot == Linux64 {
            assert_eq!(bytes[..header], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        }
        assert!(driver.cards.take_written().contains(&0x30_0000));
    }
}

#[test]
fn frame_too_long_for_the_drivers_buffer_is_lost_and_the_next_is_not() {
    let mut driver = Driver::ready(Linux64);
    driver.put(0, 0, &[(0x30_0000, 64, true)]);
    driver.wire.bring(&[1; 100]);
    driver.wire.bring(&[2; 20]);
    driver.kick(0);
    assert_eq!(driver.used(0), Some((0, 32)));
}

#[test]
fn driver_that_wants_no_interrupt_gets_none() {
    let mut driver = Driver::ready(Linux64);
    driver.refuse_interrupts(1);
    driver.send(0, b"x");
    assert!(driver.used(1).is_some() && !driver.line());
}

#[test]
fn driver_that_goes_by_indexes_is_told_to_kick_for_every_next_buffer() {
    /// `VIRTIO_F_EVENT_IDX`.
    const EVENT_IDX: u32 = 1 << 29;
    for boot in BOTH {
        let mut driver = Driver::new(boot);
        driver.features = EVENT_IDX;
        driver.set_up();
        for sent in 1..=3 {
            driver.send(sent, b"a frame");
            assert_eq!(driver.kick_from(1), sent);
        }
    }
}

#[test]
fn card_that_was_reset_does_nothing_until_it_is_set_up_again() {
    for boot in BOTH {
        let mut driver = Driver::ready(boot);
        driver.send(0, b"before");
        driver.reset();
        assert!(!driver.line());
        driver.send(0, b"between");
        driver.reset();
        driver.set_up();
        driver.send(0, b"after");
        assert_eq!(*driver.wire.sent.borrow(), [&b"before"[..], b"after"]);
    }
}

#[test]
fn features_that_are_not_offered_are_refused() {
    let mut driver = Driver::new(Linux64);
    driver.write(0x24, 1);
    driver.write(0x20, 1 | 1 << 30);
    driver.set_status(1 | 2 | 8);
    assert_eq!(driver.status() & 8, 0);
}

#[test]
fn chain_that_loops_or_leaves_memory_or_never_ends_does_no_harm() {
    for boot in BOTH {
        for (addr, len, next) in
            [(0x20_0000, 64, 0), (u64::MAX - 8, 64, 1), (0x3f_fff0, 0x1000, 1), (0, u32::MAX, 0)]
        {
            let mut driver = Driver::ready(boot);
            driver.put_descriptor(1, 0, addr, len, 1, next);
            driver.offer(1, 0);
            driver.kick(1);
            // Whatever became of it, a reset mends it.
            driver.reset();
            driver.set_up();
            driver.send(0, b"well");
            assert_eq!(driver.wire.sent.borrow().last().unwrap(), b"well");
        }
    }
}

#[test]
fn ring_that_claims_more_than_it_holds_breaks_the_card_until_it_is_reset() {
    for boot in BOTH {
        let mut driver = Driver::ready(boot);
        driver.set_available(1, 40_000);
        driver.kick(1);
        assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET);
        assert!(driver.line());
        driver.reset();
        assert_eq!(driver.status(), 0);
    }
}

#[test]
fn queue_that_lies_outside_of_memory_is_never_served() {
    let mut driver = Driver::new(Linux64);
    driver.set_status(1 | 2);
    driver.write(0x24, 1);
    driver.write(0x20, 1);
    driver.set_status(1 | 2 | 8);
    for register in [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4] {
        driver.write(register, 0xffff_fff0);
    }
    driver.write(0x44, 1);
    driver.set_status(1 | 2 | 8 | 4);
    driver.kick(0);
    driver.kick(77);
    driver.cards.poll(&driver.memory);
    assert!(driver.wire.sent.borrow().is_empty());
}

proptest::proptest! {
    /// A guest may write anything anywhere at any time.
    #[test]
    fn registers_written_at_random_never_panic(
        pci in proptest::bool::ANY,
        writes in proptest::collection::vec((0_u64..0x140, 0_u8..3, proptest::num::u32::ANY), 1..200),
        memory in proptest::collection::vec(proptest::num::u8::ANY, 4096),
    ) {
        let mut driver = Driver::ready(if pci { Multiboot } else { Linux64 });
        for at in [0x10_0000, 0x10_1000, 0x11_0000] {
            driver.memory.write(GuestAddr(at), &memory).unwrap();
        }
        (0..20).for_each(|_| driver.wire.bring(&[9; 60]));
        for (at, size, value) in writes {
            if pci {
                let port = if at > 0x100 { 0xcf8 + (at & 7) as u16 } else { 0xc000 + at as u16 };
                let size = [crate::PortSize::Byte, crate::PortSize::Word, crate::PortSize::Dword][size as usize];
                driver.cards.write_port(port, size, value, &driver.memory);
                driver.cards.read_port(port, size);
            } else {
                let len = 1 << size;
                driver.cards.write_memory(GuestAddr(0xfeb0_0000 + at), &value.to_le_bytes()[..len], &driver.memory);
                driver.cards.read_memory(GuestAddr(0xfeb0_0000 + at), &mut vec![0; len]);
            }
            driver.cards.poll(&driver.memory);
        }
    }
}

/// Features of network cards (§5.1.3).
const CSUM: u32 = 1 << 0;
const GUEST_CSUM: u32 = 1 << 1;
const HOST_TSO4: u32 = 1 << 11;

/// A header of a frame whose checksum is missing.
const UNFINISHED: [u8; 10] = [1, 0, 0, 0, 0, 0, 20, 0, 16, 0];

/// A frame of 60 bytes, of which a checksum from byte 20 on is to be put at byte 36, and that checksum.
const FRAME: [u8; 60] = [3; 60];
const CHECKSUM: [u8; 2] = (!(0x0303_u16 * 20)).to_be_bytes();

fn with_features(features: u32) -> Driver {
    let mut driver = Driver::new(Linux64);
    driver.features = features;
    driver.set_up();
    driver
}

/// What arrives in the driver's first buffer: header and frame.
fn arrived(driver: &mut Driver) -> (Vec<u8>, Vec<u8>) {
    driver.put(0, 0, &[(0x30_0000, 4096, true)]);
    driver.kick(0);
    let (_, len) = driver.used(0).unwrap();
    let mut bytes = vec![0; len as usize];
    driver.memory.read(GuestAddr(0x30_0000), &mut bytes).unwrap();
    let frame = bytes.split_off(12);
    (bytes, frame)
}

#[test]
fn checksum_that_is_missing_is_left_to_a_driver_that_wants_it() {
    let mut driver = with_features(CSUM | GUEST_CSUM);
    driver.wire.bring_with(UNFINISHED, &FRAME);
    let (header, frame) = arrived(&mut driver);
    assert_eq!((&header[..10], &frame[..]), (&UNFINISHED[..], &FRAME[..]));
}

#[test]
fn checksum_that_is_missing_is_made_for_a_driver_that_does_not() {
    let mut driver = with_features(0);
    driver.wire.bring_with(UNFINISHED, &FRAME);
    let (header, frame) = arrived(&mut driver);
    assert_eq!(header[..10], [0; 10]);
    assert_eq!(frame[36..38], CHECKSUM);
}

#[test]
fn header_of_a_driver_reaches_the_wire_if_it_was_agreed_on() {
    let segments = [1, 1, 54, 0, 100, 0, 34, 0, 16, 0];
    let mut driver = with_features(CSUM | HOST_TSO4);
    driver.send_with(segments, 0, &FRAME);
    assert_eq!(*driver.wire.headers.borrow(), [segments]);
}

#[test]
fn header_of_a_driver_that_was_not_agreed_on_does_not_reach_the_wire() {
    let mut ignored = with_features(0);
    ignored.send_with(UNFINISHED, 0, &FRAME);
    assert_eq!(*ignored.wire.headers.borrow(), [[0; 10]]);

    let mut refused = with_features(CSUM);
    for cut in [1, 3, 4, 5, 0x77] {
        refused.send_with([1, cut, 54, 0, 100, 0, 34, 0, 16, 0], 0, &FRAME);
        assert!(refused.used(1).is_some());
    }
    assert!(refused.wire.sent.borrow().is_empty());
}

#[test]
fn frame_of_many_segments_arrives_cut_also_when_buffers_run_out_between() {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0, 0x45, 0, 0x0b, 0xe0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 9, 9, 0, 0, 0, 0]);
    frame.extend([7; 3000]);
    let mut driver = with_features(CSUM | GUEST_CSUM);
    driver.wire.bring_with([1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0], &frame);
    for sequence in [0_u32, 1000, 2000] {
        driver.put(0, 0, &[(0x30_0000, 2048, true)]);
        driver.kick(0);
        let mut bytes = vec![0; 12 + 54 + 1000];
        assert_eq!(driver.used(0), Some((0, bytes.len() as u32)));
        driver.memory.read(GuestAddr(0x30_0000), &mut bytes).unwrap();
        assert_eq!(bytes[..2], [1, 0]);
        assert_eq!(bytes[12 + 38..12 + 42], sequence.to_be_bytes());
    }
    driver.put(0, 0, &[(0x30_0000, 2048, true)]);
    driver.kick(0);
    assert_eq!(driver.used(0), None);
}

#[test]
fn frame_too_short_or_too_long_for_ethernet_never_arrives() {
    let mut driver = with_features(CSUM | GUEST_CSUM);
    driver.wire.bring(&[1; 13]);
    driver.wire.bring(&[1; 1515]);
    driver.wire.bring_with([1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0], &[1; 3000]);
    driver.wire.bring_with([0, 3, 0, 0, 0, 0, 0, 0, 0, 0], &[1; 60]);
    driver.wire.arriving.borrow_mut().push_back(vec![0; 5]);
    driver.wire.bring(&[6; 1514]);
    let (_, frame) = arrived(&mut driver);
    assert_eq!(frame, [6; 1514]);
}
