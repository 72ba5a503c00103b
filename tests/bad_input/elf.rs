//! Files that are no kernels, or broken ones.

use crate::refusal::{IMAGE, assert_kernel_refused, assert_refused};
use crate::support::{BOTH_KINDS, GuestKind, Room};

const NO_KERNEL: &str = "error: `kernel` is not a kernel that runu can run";
const BUILD_AGAIN: &str = "hint: build the kernel again; `readelf -lS FILE` shows what runu reads";
const CUT_SHORT: &str = "hint: build or download the kernel again";

/// Offsets in the header of an ELF64 file and in its program headers, which follow (gABI, "ELF Header", "Program Header").
mod elf64 {
    pub(crate) const CLASS: usize = 4;
    pub(crate) const TYPE: usize = 0x10;
    pub(crate) const MACHINE: usize = 0x12;
    pub(crate) const ENTRY: usize = 0x18;
    pub(crate) const HEADERS: usize = 0x20;
    pub(crate) const HEADER_SIZE: usize = 0x36;
    pub(crate) const HEADER_COUNT: usize = 0x38;
    pub(crate) const FIRST: usize = 0x40;
    pub(crate) const SECOND: usize = FIRST + 0x38;
    pub(crate) const THIRD: usize = SECOND + 0x38;
    /// In a program header.
    pub(crate) const OFFSET: usize = 0x08;
    pub(crate) const PHYSICAL: usize = 0x18;
    pub(crate) const MEMORY_SIZE: usize = 0x28;
}

/// Offset of the entry in the header of an ELF32 file, and of the multiboot header in our own guests' files.
const ELF32_ENTRY: usize = 0x18;
const MULTIBOOT_HEADER: usize = 0x34;

/// A kernel's bytes with others at `offset`.
fn patched(kind: GuestKind, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut kernel = kind.image("hello").to_vec();
    kernel[offset..][..bytes.len()].copy_from_slice(bytes);
    kernel
}

#[track_caller]
fn assert_bytes_refused(bytes: &[u8], cause: &str, hint: &str) {
    let room = Room::new();
    room.file("kernel", bytes);
    assert_kernel_refused(&room, "kernel".as_ref(), IMAGE, &[NO_KERNEL, &format!("  cause: {cause}"), hint]);
}

/// Asserts that an ELF64 kernel with other bytes at `offset` is refused.
#[track_caller]
fn assert_patch_refused(offset: usize, bytes: &[u8], cause: &str, hint: &str) {
    assert_bytes_refused(&patched(GuestKind::Linux64, offset, bytes), cause, hint);
}

#[test]
fn kernel_cut_within_its_headers_is_refused() {
    for kind in BOTH_KINDS {
        for length in [1, 3, 4, 19, 51, 100] {
            assert_bytes_refused(&kind.image("hello")[..length], "the file is truncated: ", CUT_SHORT);
        }
    }
}

#[test]
fn kernel_cut_anywhere_is_refused() {
    for kind in BOTH_KINDS {
        let whole = kind.image("hello");
        for length in (200..whole.len()).step_by(whole.len() / 20) {
            assert_bytes_refused(&whole[..length], "the file is truncated: ", CUT_SHORT);
        }
    }
}

#[test]
fn kernel_for_another_architecture_is_refused_by_its_name() {
    for (machine, name) in [(183_u16, "arm64"), (243, "riscv"), (22, "s390"), (21, "ppc64")] {
        let cause = format!("the file is for another architecture: {name}");
        assert_patch_refused(
            elf64::MACHINE,
            &machine.to_le_bytes(),
            &cause,
            "hint: build the kernel for x86_64",
        );
    }
}

#[test]
fn program_of_linux_is_refused_by_what_it_is() {
    let room = Room::new();
    let program = env!("CARGO_BIN_EXE_runu");
    let lines = [
        &*format!("error: `{program}` is not a kernel that runu can run"),
        "  cause: the file is a statically linked Linux program, not a unikernel",
        "hint: give the unikernel's kernel file; a Linux program runs as an ordinary container with runc",
    ];
    assert_kernel_refused(&room, program.as_ref(), IMAGE, &lines);
}

#[test]
fn file_of_another_sort_is_refused_by_what_it_is() {
    let hint = "hint: give ";
    assert_bytes_refused(b"#!/bin/sh\necho hello\n", "the file is a script, not a unikernel", hint);
    assert_bytes_refused(b"just some words\n", "the file is a text, not a unikernel", hint);
    assert_bytes_refused(b"\x1f\x8b\x08\0\0\0\0\0", "the file is ", "hint: decompress the file first");
    assert_bytes_refused(&[0; 4096], "the file is ", hint);
}

#[test]
fn object_and_core_dump_are_refused_by_what_they_are() {
    let cause = "the file is an object file, not linked yet, not a unikernel";
    assert_patch_refused(elf64::TYPE, &[1, 0], cause, "hint: link it into a kernel first");
    assert_patch_refused(elf64::TYPE, &[4, 0], "the file is a core dump, not a unikernel", "hint: give ");
}

#[test]
fn kernel_of_an_unknown_class_is_refused() {
    assert_patch_refused(elf64::CLASS, &[7], "the kernel is malformed: ELF class 7", BUILD_AGAIN);
}

#[test]
fn kernel_with_overlapping_segments_is_refused() {
    let first = &GuestKind::Linux64.image("hello")[elf64::FIRST + elf64::PHYSICAL..][..8];
    let cause = "the kernel's segments at 0x100000 and 0x100000 overlap";
    assert_patch_refused(elf64::SECOND + elf64::PHYSICAL, first, cause, BUILD_AGAIN);
}

#[test]
fn kernel_with_a_huge_segment_is_refused() {
    for size in [1_u64 << 32, 1 << 40, u64::MAX] {
        let cause =
            format!("the kernel's segment at 0x100000 of {size} bytes does not lie in the first 4 GiB");
        assert_patch_refused(elf64::FIRST + elf64::MEMORY_SIZE, &size.to_le_bytes(), &cause, BUILD_AGAIN);
    }
}

#[test]
fn kernel_with_a_segment_larger_in_the_file_than_in_memory_is_refused() {
    let cause = "the kernel's segment at 0x100000 has ";
    assert_patch_refused(elf64::FIRST + elf64::MEMORY_SIZE, &1_u64.to_le_bytes(), cause, BUILD_AGAIN);
}

#[test]
fn kernel_with_a_segment_outside_the_file_is_refused() {
    for offset in [1_u64 << 20, u64::MAX] {
        let cause = "the file is truncated: the segment for 0x100000 needs ";
        assert_patch_refused(elf64::FIRST + elf64::OFFSET, &offset.to_le_bytes(), cause, CUT_SHORT);
    }
}

#[test]
fn kernel_with_a_segment_where_the_machine_is_is_refused_to_run() {
    let room = Room::new();
    let at = elf64::THIRD + elf64::PHYSICAL;
    room.file("kernel", &patched(GuestKind::Linux64, at, &0x8000_u64.to_le_bytes()));
    let lines = [
        "error: the kernel's segment at 0x8000 lies below 1 MiB, where a machine keeps its boot structures",
        "hint: link the kernel at 1 MiB or above",
    ];
    assert_refused(&room.finish(&mut room.runu(&["run", "kernel"])), IMAGE, &lines);
}

#[test]
fn kernel_whose_end_is_too_high_is_refused_to_run() {
    let room = Room::new();
    let at = elf64::THIRD + elf64::MEMORY_SIZE;
    room.file("kernel", &patched(GuestKind::Linux64, at, &(2_u64 << 30).to_le_bytes()));
    let lines = ["error: the kernel reaches up to 0x", "hint: link the kernel lower"];
    assert_refused(&room.finish(&mut room.runu(&["run", "-m", "3G", "kernel"])), IMAGE, &lines);
}

#[test]
fn kernel_with_its_entry_outside_is_refused() {
    let cause = "the kernel's entry point 0x10 lies outside its segments";
    assert_patch_refused(elf64::ENTRY, &0x10_u64.to_le_bytes(), cause, BUILD_AGAIN);
    let multiboot = patched(GuestKind::Multiboot, ELF32_ENTRY, &0x10_u32.to_le_bytes());
    assert_bytes_refused(&multiboot, cause, BUILD_AGAIN);
}

#[test]
fn kernel_with_impossible_headers_is_refused() {
    let (size, count, at) = (elf64::HEADER_SIZE, elf64::HEADER_COUNT, elf64::HEADERS);
    let none = "the kernel has nothing to load: no program header occupies memory";
    assert_patch_refused(
        size,
        &[1, 0],
        "the kernel is malformed: program headers of 1 bytes each",
        BUILD_AGAIN,
    );
    assert_patch_refused(
        count,
        &[0xff, 0xff],
        "the kernel is malformed: it has 65535 program headers",
        BUILD_AGAIN,
    );
    assert_patch_refused(count, &[0, 0], none, BUILD_AGAIN);
    assert_patch_refused(
        at,
        &(u64::MAX - 7).to_le_bytes(),
        "the file is truncated: the program headers",
        CUT_SHORT,
    );
}

#[test]
fn elf32_without_a_multiboot_header_is_refused() {
    let cause = "the kernel is a 32-bit ELF without a multiboot header in its first 8192 bytes";
    let hint = "hint: use the file that the build calls the final image";
    assert_bytes_refused(&patched(GuestKind::Multiboot, MULTIBOOT_HEADER, &[0; 4]), cause, hint);
}
