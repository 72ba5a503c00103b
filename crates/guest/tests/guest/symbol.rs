//! Names for addresses.

use runu_guest::symbol;

use crate::{elf_file::ElfFile, samples::add_symbols, unikraft_file::unikraft};

fn kernel() -> ElfFile {
    let mut file = unikraft("0.17.0", &[]);
    add_symbols(
        &mut file,
        &[("start", 0x10_0000, 0), ("main", 0x10_0010, 0x10), ("\u{1b}[2J", 0x10_0030, 4)],
    );
    file
}

#[test]
fn symbol_of_an_address_is_the_nearest_below_with_the_offset() {
    for file in [kernel().elf64(), kernel().multiboot()] {
        assert_eq!(symbol(&file, 0x10_0000).as_deref(), Some("start+0x0"));
        assert_eq!(symbol(&file, 0x10_000f).as_deref(), Some("start+0xf"));
        assert_eq!(symbol(&file, 0x10_001f).as_deref(), Some("main+0xf"));
    }
}

#[test]
fn symbol_of_an_address_past_a_sized_one_or_before_all_is_none() {
    assert_eq!(symbol(&kernel().elf64(), 0x10_0020), None);
    assert_eq!(symbol(&kernel().elf64(), 0xf_ffff), None);
}

#[test]
fn symbol_with_control_characters_is_escaped() {
    assert_eq!(symbol(&kernel().elf64(), 0x10_0031).as_deref(), Some("\\u{1b}[2J+0x1"));
}

#[test]
fn symbol_in_a_stripped_kernel_or_another_file_is_none() {
    assert_eq!(symbol(&unikraft("0.17.0", &[]).elf64(), 0x10_0000), None);
    assert_eq!(symbol(b"", 0), None);
    assert_eq!(symbol(b"\x7fELF", 0), None);
}
