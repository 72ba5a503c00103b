//! Memory of no, absurd or unreadable size.

use crate::refusal::{USER, assert_refused};
use crate::support::{GuestKind, Room};

#[track_caller]
fn assert_size_refused(size: &str, lines: &[&str]) {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    assert_refused(&room.finish(room.runu(&["run", &format!("-m{size}")]).arg(kernel)), USER, lines);
}

#[test]
fn memory_too_small_for_any_guest_is_refused() {
    for (size, told) in [("0", "0 bytes"), ("1", "1 bytes"), ("4095", "4095 bytes"), ("1M", "1 MiB")] {
        let error = format!("error: {told} of memory is too little for any guest: 2 MiB is the least");
        assert_size_refused(size, &[&error, "hint: give more with -m; 64M suits most guests"]);
    }
}

#[test]
fn memory_larger_than_any_guest_can_use_is_refused() {
    for (size, told) in [("100T", "100 TiB"), ("16777215T", "16777215 TiB")] {
        let error = format!("error: {told} of memory is too much for a guest: ");
        assert_size_refused(size, &[&error, "hint: give at most -m "]);
    }
}

#[test]
fn memory_that_ends_within_a_page_is_refused() {
    let error = "error: 2049 KiB of memory is not a multiple of 4 KiB";
    assert_size_refused("2049k", &[error, "hint: give -m in whole MiB, such as 64M"]);
}

#[test]
fn memory_that_is_no_size_is_refused() {
    for size in ["-1", "1.5G", "64X", "M", "0x40M", "64 M"] {
        let error = format!("error: invalid value '{size}' for '--memory <SIZE>': `{size}` is not a size");
        assert_size_refused(size, &[&error, "hint: "]);
    }
}

#[test]
fn memory_beyond_64_bits_is_refused() {
    for size in ["18446744073709551616", "16777216T"] {
        let error =
            format!("error: invalid value '{size}' for '--memory <SIZE>': `{size}` is more bytes than fit");
        assert_size_refused(size, &[&error, "hint: "]);
    }
}

#[test]
fn memory_too_small_for_the_kernel_is_refused() {
    let room = Room::new();
    let mut kernel = GuestKind::Linux64.image("hello").to_vec();
    // p_memsz of the third program header.
    kernel[0x40 + 2 * 0x38 + 0x28..][..8].copy_from_slice(&(100_u64 << 20).to_le_bytes());
    room.file("kernel", &kernel);
    let lines = [
        "error: the kernel does not fit into 64 MiB of memory: it reaches up to 102 MiB",
        "hint: give at least -m 102M",
    ];
    assert_refused(&room.finish(&mut room.runu(&["run", "kernel"])), USER, &lines);
}
