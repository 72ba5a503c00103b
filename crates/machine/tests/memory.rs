//! Guest memory: where it is, what it refuses, what the guest is told of it.

use std::{fs::File, os::unix::fs::FileExt};

use proptest::prelude::*;
use runu_core::{Blame, Blamed, Bytes, GuestAddr};
use runu_machine::{GuestMemory, OutOfRam};

const GIB: u64 = 1 << 30;

fn memory(size: Bytes) -> GuestMemory {
    GuestMemory::new(size).expect("memory")
}

/// Start, length and file offset of each region.
fn regions(size: Bytes) -> Vec<(u64, u64, u64)> {
    memory(size).regions().iter().map(|region| (region.start.0, region.len, region.file_offset)).collect()
}

#[test]
fn memory_that_fits_below_the_first_hole_is_one_region() {
    assert_eq!(regions(Bytes::mib(64)), [(0, 64 << 20, 0)]);
    assert_eq!(regions(Bytes(0x7000_0000)), [(0, 0x7000_0000, 0)]);
}

#[test]
fn memory_beyond_a_hole_goes_on_behind_it() {
    let first = (0, 0x7000_0000, 0);
    let second = (0x8000_0000, 0x4000_0000, 0x7000_0000);

    assert_eq!(regions(Bytes(0x7000_1000)), [first, (0x8000_0000, 0x1000, 0x7000_0000)]);
    assert_eq!(regions(Bytes(0xb000_0000)), [first, second]);
    assert_eq!(
        regions(GuestMemory::MAX),
        [first, second, (0x1_0000_0000, 64 * GIB - 0xb000_0000, 0xb000_0000)]
    );
}

#[test]
fn memory_is_whole_pages() {
    let memory = memory(Bytes((3 << 20) + 4095));

    assert_eq!(memory.size(), Bytes::mib(3));
    assert_eq!(
        File::from(memory.file().try_clone_to_owned().expect("a descriptor"))
            .metadata()
            .expect("a size")
            .len(),
        3 << 20
    );
}

#[test]
fn memory_too_small_or_too_large_is_refused() {
    let cases = [
        (Bytes(0), "0 bytes of memory are too little for a guest: it needs at least 2 MiB"),
        (Bytes::kib(2047), "2047 KiB of memory are too little for a guest: it needs at least 2 MiB"),
        (
            Bytes((64 << 30) + 4096),
            "67108868 KiB of memory are too much for a guest: it may have at most 64 GiB",
        ),
        (
            Bytes(u64::MAX),
            "18446744073709551615 bytes of memory are too much for a guest: it may have at most 64 GiB",
        ),
    ];
    for (size, message) in cases {
        let error = GuestMemory::new(size).expect_err("an absurd size");
        assert_eq!((error.to_string().as_str(), error.blame()), (message, Blame::User));
        assert!(error.hint().is_some());
    }
}

#[test]
fn memory_is_told_without_what_a_guest_cannot_use() {
    let usable: Vec<_> = memory(Bytes::mib(64)).usable().collect();
    assert_eq!(usable, [0x1_0000..0x9_fc00, 0x10_0000..64 << 20]);

    let usable: Vec<_> = memory(Bytes(4 * GIB)).usable().collect();
    let large = [
        0x1_0000..0x9_fc00,
        0x10_0000..0x7000_0000,
        0x8000_0000..0xc000_0000,
        4 * GIB..4 * GIB + 0x5000_0000,
    ];
    assert_eq!(usable, large);
}

#[test]
fn fresh_memory_is_zero_everywhere_including_behind_the_screen() {
    let memory = memory(Bytes::mib(2));
    for addr in [0, 0xfff8, 0xa_0000, 0xb_8000, 0xf_fff8, 0x1f_fff8] {
        assert_eq!(memory.read_u64(GuestAddr(addr)), Ok(0), "{addr:#x}");
    }
}

#[test]
fn access_that_leaves_its_region_is_refused_and_changes_nothing() {
    let memory = memory(Bytes(0x7000_1000));
    let last = GuestAddr(0x6fff_fffc);
    let out_of_ram = OutOfRam { addr: last, len: 8 };

    assert_eq!(memory.write_u64(last, u64::MAX), Err(out_of_ram));
    assert_eq!(memory.write(last, &[1; 8]), Err(out_of_ram));
    assert_eq!(memory.zero(last, 8), Err(out_of_ram));
    assert_eq!(memory.read_u64(last), Err(out_of_ram));
    let mut bytes = [7; 4];
    assert_eq!((memory.read(last, &mut bytes), bytes), (Ok(()), [0; 4]));

    assert_eq!(out_of_ram.to_string(), "8 bytes at guest-physical address 0x6ffffffc are not all RAM");
}

#[test]
fn address_in_a_hole_is_no_region() {
    let memory = memory(Bytes(4 * GIB));
    for addr in [0x7000_0000, 0x7fff_ffff, 0xc000_0000, 0xffff_ffff, 4 * GIB + 0x5000_0000, u64::MAX] {
        assert_eq!(memory.region_of(GuestAddr(addr)), None, "{addr:#x}");
    }
}

#[test]
fn zeroing_reaches_exactly_what_was_asked() {
    let memory = memory(Bytes::mib(2));
    memory.write(GuestAddr(0x1000), &[0xff; 0x3000]).expect("RAM");

    memory.zero(GuestAddr(0x1001), 0x2ffe).expect("RAM");

    let mut bytes = vec![0; 0x3000];
    memory.read(GuestAddr(0x1000), &mut bytes).expect("RAM");
    let kept: Vec<usize> = (0..bytes.len()).filter(|&n| bytes[n] != 0).collect();
    assert_eq!(kept, [0, 0x2fff]);
}

#[test]
fn file_holds_what_the_regions_say() {
    let memory = memory(Bytes(0x7000_1000));
    memory.write_u64(GuestAddr(0x8000_0008), 0x1122_3344_5566_7788).expect("RAM");

    let file = File::from(memory.file().try_clone_to_owned().expect("a descriptor"));
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0x7000_0008).expect("the memory file");

    assert_eq!(u64::from_le_bytes(bytes), 0x1122_3344_5566_7788);
}

#[test]
fn file_can_be_neither_shortened_nor_extended() {
    let memory = memory(Bytes::mib(2));
    let file = File::from(memory.file().try_clone_to_owned().expect("a descriptor"));

    assert!(file.set_len(4096).is_err());
    assert!(file.set_len(4 << 20).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn access_anywhere_succeeds_exactly_when_one_region_holds_it(
        addr in prop_oneof![0..6 * GIB, 0x6fff_f000..0x7000_1000_u64, any::<u64>()],
        len in 0..9000_usize,
    ) {
        let memory = memory(Bytes(4 * GIB));
        let inside = memory.regions().iter().any(|region| {
            let end = region.start.0 + region.len;
            region.start.0 <= addr && addr < end && len as u64 <= end - addr
        });

        let mut bytes = vec![0xaa; len];
        prop_assert_eq!(memory.read(GuestAddr(addr), &mut bytes).is_ok(), inside);
        prop_assert_eq!(memory.write(GuestAddr(addr), &bytes).is_ok(), inside);
        prop_assert_eq!(memory.zero(GuestAddr(addr), len).is_ok(), inside);
    }

    #[test]
    fn bytes_written_are_read_back(addr in 0..0x1f_0000_u64, bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        let memory = memory(Bytes::mib(2));
        memory.write(GuestAddr(addr), &bytes).expect("RAM");

        let mut read = vec![0; bytes.len()];
        memory.read(GuestAddr(addr), &mut read).expect("RAM");
        prop_assert_eq!(read, bytes);
    }
}
