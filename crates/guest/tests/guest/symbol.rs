//! Names for addresses.

use runu_guest::symbol;

use crate::{
    elf_file::{ElfFile, SHT_STRTAB, SHT_SYMTAB, Section, fit, put16, put32, put64},
    unikraft_file::unikraft,
};

/// Adds a symbol table with these names, addresses and lengths.
pub(crate) fn add_symbols(file: &mut ElfFile, symbols: &[(&str, u64, u64)]) {
    let mut names = vec![0];
    let mut records = vec![0; 24];
    for (name, value, len) in symbols {
        put32(&mut records, &[fit(names.len())]);
        put16(&mut records, &[0x12, 1]);
        put64(&mut records, &[*value, *len]);
        names.extend(name.as_bytes());
        names.push(0);
    }
    // Section 0 is the null section, so the names come at the number of sections so far plus two.
    let link = fit::<u32>(file.sections.len()) + 2;
    let section = |name: &str, kind, bytes, link, entry_len| Section {
        name: name.to_owned(),
        kind,
        bytes,
        link,
        entry_len,
    };
    file.sections.push(section(".symtab", SHT_SYMTAB, records, link, 24));
    file.sections.push(section(".strtab", SHT_STRTAB, names, 0, 0));
}

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
