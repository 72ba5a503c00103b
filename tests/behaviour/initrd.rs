//! A file that is handed to the guest arrives whole.

use crate::support::{BOTH_KINDS, Room};

/// Bytes that are not alike anywhere, by a linear congruential generator (Knuth's MMIX).
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// The 64-bit FNV-1a hash, as `hello` computes it.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[track_caller]
fn assert_arrives(count: usize, flags: &[&str]) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let bytes = bytes(count);
        let initrd = room.file("initrd", &bytes);
        let mut command = room.runu(&["run", "--initrd"]);
        let ended = room.finish(command.arg(initrd).args(flags).arg(kernel));
        ended.assert_quiet(0);
        let expected = format!("initrd {count} bytes, fnv1a {:016x}", fnv1a(&bytes));
        assert_eq!(ended.lines().last(), Some(&&*expected));
    }
}

#[test]
fn initrd_of_one_byte_arrives() {
    assert_arrives(1, &[]);
}

#[test]
fn initrd_of_a_whole_page_arrives() {
    assert_arrives(4096, &[]);
}

#[test]
fn initrd_that_ends_within_a_page_arrives() {
    assert_arrives(300_001, &[]);
}

#[test]
fn initrd_that_nearly_fills_the_memory_arrives() {
    assert_arrives(14 << 20, &["-m", "16M"]);
}
