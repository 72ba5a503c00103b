//! What a disk does, over both transports.

#![expect(clippy::cast_possible_truncation, reason = "all lengths here are small")]

use std::{cell::RefCell, rc::Rc};

use runu_core::{
    BootProtocol::{self, Linux64, Multiboot},
    Bytes, GuestAddr,
};

use super::{Disk, Medium, MediumError};
use crate::virtio::harness::{Buffer, Driver};

const BOTH: [BootProtocol; 2] = [Multiboot, Linux64];

/// Requests (§5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;

/// Statuses (§5.2.6).
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;
/// What is where the device has written no status.
const NONE: u8 = 0xee;

/// `VIRTIO_BLK_F_RO`, `VIRTIO_BLK_F_FLUSH`.
const F_RO: u32 = 1 << 5;
const F_FLUSH: u32 = 1 << 9;

/// `DEVICE_NEEDS_RESET`.
const NEEDS_RESET: u32 = 0x40;

/// Where a request's parts lie, unless a test has a better place.
const HEADER: u64 = 0x20_0000;
const STATUS: u64 = 0x20_1000;
const OUTGOING: u64 = 0x28_0000;
const INCOMING: u64 = 0x30_0000;

/// Sectors of the disk, and bytes behind the last that fill none.
const SECTORS: usize = 1000;
const REST: usize = 100;

/// A medium in memory.
#[derive(Clone, Debug)]
struct TestMedium {
    bytes: Rc<RefCell<Vec<u8>>>,
    broken: Rc<RefCell<bool>>,
    flushes: Rc<RefCell<usize>>,
}

impl TestMedium {
    fn new() -> Self {
        let bytes = (0..=250).cycle().take(SECTORS * 512 + REST).collect();
        TestMedium { bytes: Rc::new(RefCell::new(bytes)), broken: Rc::default(), flushes: Rc::default() }
    }

    fn sectors(&self, first: usize, count: usize) -> Vec<u8> {
        self.bytes.borrow()[first * 512..][..count * 512].to_vec()
    }

    fn check(&self) -> Result<(), MediumError> {
        if *self.broken.borrow() { Err(MediumError) } else { Ok(()) }
    }
}

impl Medium for TestMedium {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), MediumError> {
        self.check()?;
        into.copy_from_slice(&self.bytes.borrow()[offset as usize..][..into.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), MediumError> {
        self.check()?;
        self.bytes.borrow_mut()[offset as usize..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        self.check()?;
        *self.flushes.borrow_mut() += 1;
        Ok(())
    }
}

/// A machine with a disk whose driver has not set it up.
fn unready(boot: BootProtocol, read_only: bool) -> Driver<TestMedium> {
    let medium = TestMedium::new();
    Driver::with(boot, medium.clone(), |cards| {
        Disk::new(medium, Bytes((SECTORS * 512 + REST) as u64), read_only, "disk0").plug(cards)
    })
}

fn ready(boot: BootProtocol, read_only: bool) -> Driver<TestMedium> {
    let mut driver = unready(boot, read_only);
    driver.features = F_FLUSH;
    driver.set_up();
    driver
}

impl Driver<TestMedium> {
    fn put_header(&mut self, kind: u32, sector: u64) {
        let bytes = [&kind.to_le_bytes()[..], &[9; 4], &sector.to_le_bytes()].concat();
        self.memory.write(GuestAddr(HEADER), &bytes).unwrap();
        self.memory.write(GuestAddr(STATUS), &[NONE]).unwrap();
    }

    /// Makes a request of three or four buffers; status, and how much the device says it has written.
    fn ask(&mut self, kind: u32, sector: u64, data: Option<Buffer>) -> (u8, u32) {
        self.put_header(kind, sector);
        let buffers: Vec<Buffer> =
            [Some((HEADER, 16, false)), data, Some((STATUS, 1, true))].into_iter().flatten().collect();
        self.put(0, 0, &buffers);
        self.kick(0);
        let (head, len) = self.used(0).expect("the request was answered");
        assert_eq!(head, 0);
        (self.bytes(STATUS, 1)[0], len)
    }

    fn read_sectors(&mut self, sector: u64, count: usize) -> (u8, u32) {
        self.memory.write(GuestAddr(INCOMING), &vec![NONE; count * 512]).unwrap();
        self.ask(IN, sector, Some((INCOMING, count as u32 * 512, true)))
    }

    fn write_sectors(&mut self, sector: u64, bytes: &[u8]) -> (u8, u32) {
        self.memory.write(GuestAddr(OUTGOING), bytes).unwrap();
        self.ask(OUT, sector, Some((OUTGOING, bytes.len() as u32, false)))
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(GuestAddr(at), &mut bytes).unwrap();
        bytes
    }
}

#[test]
fn disk_is_found_with_its_size_in_whole_sectors() {
    for boot in BOTH {
        let mut driver = unready(boot, false);
        let config: Vec<u8> = (0..32).map(|offset| driver.config(offset)).collect();
        let capacity = [0xe8, 3, 0, 0, 0, 0, 0, 0];
        let segments = [254, 0, 0, 0];
        let block = [0, 2, 0, 0];
        assert_eq!(config, [&capacity[..], &[0; 4], &segments, &[0; 4], &block, &[0; 8]].concat());
    }
    assert_eq!(unready(Linux64, false).read(8), 2);
    let mut pci = unready(Multiboot, false);
    let registers = [0x8000_0800, 0x8000_0808].map(|register| {
        pci.out(0xcf8, 4, register);
        pci.input(0xcfc, 4)
    });
    assert_eq!(registers, [0x1001_1af4, 0x0100_0000]);
}

#[test]
fn sectors_that_are_read_are_those_of_the_medium() {
    for boot in BOTH {
        let mut driver = ready(boot, false);
        driver.cards.take_written();
        assert_eq!(driver.read_sectors(7, 3), (OK, 3 * 512 + 1));
        assert_eq!(driver.bytes(INCOMING, 3 * 512), driver.wire.sectors(7, 3));
        assert!(driver.cards.take_written().contains(&INCOMING));
        assert!(driver.line());
    }
}

#[test]
fn sectors_that_are_written_are_on_the_medium_and_others_are_as_they_were() {
    for boot in BOTH {
        let mut driver = ready(boot, false);
        let before = driver.wire.bytes.borrow().clone();
        assert_eq!(driver.write_sectors(998, &[5; 1024]), (OK, 1));
        let after = driver.wire.bytes.borrow().clone();
        assert_eq!(after[998 * 512..1000 * 512], [5; 1024]);
        assert_eq!(
            (&after[..998 * 512], &after[1000 * 512..]),
            (&before[..998 * 512], &before[1000 * 512..])
        );
    }
}

#[test]
fn request_larger_than_what_is_carried_at_once_is_carried_whole() {
    for boot in BOTH {
        let mut driver = ready(boot, false);
        let bytes: Vec<u8> = (0..=252).cycle().take(300 * 512).collect();
        assert_eq!(driver.write_sectors(1, &bytes), (OK, 1));
        assert_eq!(driver.wire.sectors(1, 300), bytes);
        assert_eq!(driver.read_sectors(0, 500), (OK, 500 * 512 + 1));
        assert_eq!(driver.bytes(INCOMING, 500 * 512), driver.wire.sectors(0, 500));
    }
}

#[test]
fn request_in_buffers_of_any_lengths_is_carried_out() {
    let mut driver = ready(Linux64, false);
    driver.put_header(IN, 2);
    // The header in two, the data in two at odd addresses, the status behind them in the last one.
    let buffers = [
        (HEADER, 3, false),
        (HEADER + 3, 13, false),
        (INCOMING + 1, 700, true),
        (INCOMING + 5001, 324 + 1, true),
    ];
    driver.put(0, 4, &buffers);
    driver.kick(0);
    assert_eq!(driver.used(0), Some((4, 1025)));
    let read = [driver.bytes(INCOMING + 1, 700), driver.bytes(INCOMING + 5001, 324)].concat();
    assert_eq!(read, driver.wire.sectors(2, 2));
    assert_eq!(driver.bytes(INCOMING + 5001 + 324, 1), [OK]);
}

#[test]
fn request_that_leaves_the_disk_fails_and_moves_nothing() {
    for boot in BOTH {
        let mut driver = ready(boot, false);
        let before = driver.wire.bytes.borrow().clone();
        for sector in [1000, 999, 1 << 55, u64::MAX, u64::MAX - 1] {
            assert_eq!(driver.read_sectors(sector, 2), (IOERR, 0));
            assert_eq!(driver.bytes(INCOMING, 1024), [NONE; 1024]);
            assert_eq!(driver.write_sectors(sector, &[1; 1024]), (IOERR, 1));
        }
        assert!(*driver.wire.bytes.borrow() == before);
        // Nothing at the very end is within.
        assert_eq!(driver.ask(IN, 1000, None), (OK, 1));
    }
}

#[test]
fn request_for_a_part_of_a_sector_fails() {
    let mut driver = ready(Linux64, false);
    for len in [1, 511, 513] {
        assert_eq!(driver.ask(IN, 0, Some((INCOMING, len, true))), (IOERR, 0));
        assert_eq!(driver.ask(OUT, 0, Some((OUTGOING, len, false))), (IOERR, 1));
    }
}

#[test]
fn disk_that_is_read_only_says_so_and_is_never_written() {
    for (read_only, offered) in [(false, 0), (true, F_RO)] {
        assert_eq!(unready(Linux64, read_only).read(0x10) & F_RO, offered);
    }
    for boot in BOTH {
        let mut driver = ready(boot, true);
        let before = driver.wire.bytes.borrow().clone();
        assert_eq!(driver.write_sectors(0, &[1; 512]), (IOERR, 1));
        assert!(*driver.wire.bytes.borrow() == before);
        assert_eq!(driver.read_sectors(0, 1), (OK, 513));
        assert_eq!(driver.ask(FLUSH, 0, None), (OK, 1));
        assert_eq!(*driver.wire.flushes.borrow(), 0);
    }
}

#[test]
fn driver_that_flushes_decides_when_and_for_others_every_write_is_flushed() {
    for (features, flushes) in [(F_FLUSH, [0, 1]), (0, [1, 2])] {
        for boot in BOTH {
            let mut driver = unready(boot, false);
            driver.features = features;
            driver.set_up();
            driver.write_sectors(0, &[1; 512]);
            let after_write = *driver.wire.flushes.borrow();
            driver.ask(FLUSH, 0, None);
            assert_eq!([after_write, *driver.wire.flushes.borrow()], flushes);
        }
    }
}

#[test]
fn disk_tells_its_name_as_far_as_there_is_room() {
    let mut driver = ready(Linux64, false);
    assert_eq!(driver.ask(GET_ID, 0, Some((INCOMING, 20, true))), (OK, 21));
    assert_eq!(driver.bytes(INCOMING, 20), *b"disk0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(driver.ask(GET_ID, 0, Some((INCOMING, 4, true))), (OK, 5));
    // What is behind it stays, and is not counted.
    assert_eq!(driver.ask(GET_ID, 0, Some((INCOMING, 30, true))), (OK, 0));
}

#[test]
fn request_of_another_kind_is_not_supported() {
    for boot in BOTH {
        let mut driver = ready(boot, false);
        for kind in [2, 3, 5, 11, 13, 0x8000_0000, u32::MAX] {
            assert_eq!(driver.ask(kind, 0, None), (UNSUPP, 1));
        }
    }
}

#[test]
fn medium_that_fails_fails_the_request_and_not_the_disk() {
    let mut driver = ready(Linux64, false);
    *driver.wire.broken.borrow_mut() = true;
    assert_eq!(driver.read_sectors(0, 1), (IOERR, 0));
    assert_eq!(driver.write_sectors(0, &[1; 512]), (IOERR, 1));
    assert_eq!(driver.ask(FLUSH, 0, None), (IOERR, 1));
    *driver.wire.broken.borrow_mut() = false;
    assert_eq!(driver.read_sectors(0, 1), (OK, 513));
}

#[test]
fn request_without_header_or_status_breaks_the_disk_until_it_is_reset() {
    let cases: [&[Buffer]; 4] =
        [&[(HEADER, 16, false)], &[(STATUS, 1, true)], &[(HEADER, 15, false), (STATUS, 1, true)], &[]];
    for boot in BOTH {
        for buffers in cases {
            let mut driver = ready(boot, false);
            driver.put_header(IN, 0);
            driver.put(0, 0, buffers);
            driver.kick(0);
            assert_eq!(driver.status() & NEEDS_RESET, NEEDS_RESET, "{buffers:?}");
            driver.reset();
            driver.set_up();
            assert_eq!(driver.read_sectors(3, 1), (OK, 513));
        }
    }
}

#[test]
fn request_whose_buffers_are_not_memory_or_loop_does_no_harm() {
    for boot in BOTH {
        for (addr, len, next) in
            [(u64::MAX - 8, 512, 2), (0x3f_fff0, 0x1000, 2), (0, u32::MAX, 2), (INCOMING, 512, 1)]
        {
            let mut driver = ready(boot, false);
            let before = driver.wire.bytes.borrow().clone();
            driver.put_header(IN, 0);
            driver.put_descriptor(0, 0, HEADER, 16, 1, 1);
            driver.put_descriptor(0, 1, addr, len, 1 | 2, next);
            driver.put_descriptor(0, 2, STATUS, 1, 2, 0);
            driver.offer(0, 0);
            driver.kick(0);
            assert!(*driver.wire.bytes.borrow() == before);
            driver.reset();
            driver.set_up();
            assert_eq!(driver.read_sectors(3, 1), (OK, 513));
        }
    }
}

/// A medium of which each sector says that the ring which it is read into has one buffer more.
#[derive(Clone, Debug, Default)]
struct Feeding(Rc<RefCell<u16>>);

impl Medium for Feeding {
    fn read(&mut self, _: u64, into: &mut [u8]) -> Result<(), MediumError> {
        *self.0.borrow_mut() += 1;
        into.fill(0);
        into[..2].copy_from_slice(&(*self.0.borrow() + 1).to_le_bytes());
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), MediumError> {
        Err(MediumError)
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        Err(MediumError)
    }
}

#[test]
fn request_that_makes_the_disk_write_its_own_ring_comes_to_an_end() {
    let medium = Feeding::default();
    let mut driver = Driver::with(Linux64, medium.clone(), |cards| {
        Disk::new(medium, Bytes::mib(1), false, "disk0").plug(cards)
    });
    driver.set_up();
    driver.memory.write(GuestAddr(HEADER), &[0; 16]).unwrap();
    // The sector becomes the index of the available ring, and its elements: all of them this request.
    let ring = 0x10_0000 + 16 * 256;
    driver.put(0, 0, &[(HEADER, 16, false), (ring + 2, 512, true), (STATUS, 1, true)]);
    driver.kick(0);
    assert_eq!(*driver.wire.0.borrow(), 256);
}

proptest::proptest! {
    /// A guest may offer any buffers, wherever they are.
    #[test]
    fn requests_made_at_random_never_panic_and_change_no_size(
        pci in proptest::bool::ANY,
        headers in proptest::collection::vec((0_u32..12, 0_u64..1100), 8),
        descriptors in proptest::collection::vec(
            (0_u64..0x48_0000, proptest::num::u32::ANY, 0_u32..32, 0_u16..8, 0_u16..40),
            32,
        ),
        heads in proptest::collection::vec(0_u16..40, 1..40),
    ) {
        let mut driver = ready(if pci { Multiboot } else { Linux64 }, false);
        for (number, (kind, sector)) in headers.iter().enumerate() {
            driver.put_header(*kind, *sector);
            let bytes = driver.bytes(HEADER, 16);
            driver.memory.write(GuestAddr(number as u64 * 16), &bytes).unwrap();
        }
        for (number, (addr, len, shift, flags, next)) in descriptors.iter().enumerate() {
            // Every fourth is a header.
            let (addr, len) = if number % 4 == 0 { (number as u64 * 4, 16) } else { (*addr, len >> shift) };
            driver.put_descriptor(0, number as u16, addr, len, *flags, *next);
        }
        for head in heads {
            driver.offer(0, head);
            driver.kick(0);
        }
        proptest::prop_assert_eq!(driver.wire.bytes.borrow().len(), SECTORS * 512 + REST);
        driver.reset();
        driver.set_up();
        proptest::prop_assert_eq!(driver.read_sectors(3, 1), (OK, 513));
    }
}
