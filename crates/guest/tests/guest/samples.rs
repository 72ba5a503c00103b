//! Whole kernel files of all kinds that are known by sections and notes.

use crate::{
    elf_file::{ElfFile, PT_INTERP, SHT_STRTAB, SHT_SYMTAB, Section, fit, put16, put32, put64},
    unikraft_file::{self, TEXT, unikraft},
};

/// Files of all kinds, with everything in them that is read.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let mut new = unikraft("0.18.0~abc", &["libuklibparam", "libvfscore", "libukcpio"]);
    unikraft_file::list_parameters(&mut new, &[("vfs", "fstab", TEXT, 16), ("env", "vars", TEXT, 8)]);
    add_symbols(&mut new, &[("start", 0x10_0000, 0), ("main", 0x10_0010, 8)]);
    let mut old = unikraft("0.16.3", &["libuklibparam"]);
    unikraft_file::list_old_parameter(&mut old, "libposix_environ", "vars", TEXT, 8);
    let mut own = ElfFile::kernel();
    own.section(".runu_guest", b"name=hello\0version=1\0");
    let mut noted = ElfFile::kernel();
    noted.note(b"Xen", 18, &[0, 0, 16, 0]).note(b"Solo5", 1, b"x");
    vec![
        new.elf64(),
        new.multiboot(),
        old.elf64(),
        old.multiboot(),
        own.elf64(),
        own.multiboot(),
        noted.elf64(),
        solo5_file(1, 3).elf64(),
    ]
}

/// A Solo5 guest for that target with one block and one net device.
pub(crate) fn solo5_file(target: u32, entries: u32) -> ElfFile {
    let mut manifest = Vec::new();
    put32(&mut manifest, &[0, 1, entries]);
    for (name, kind) in [("", 1 << 30), ("storage", 1), ("service", 2)] {
        let mut entry = name.as_bytes().to_vec();
        entry.resize(68, 0);
        put32(&mut entry, &[kind]);
        entry.resize(104, 0);
        manifest.extend(entry);
    }
    let mut abi = Vec::new();
    put32(&mut abi, &[target, 2, 0, 0]);
    let mut file = ElfFile::kernel();
    file.segment(PT_INTERP, 0, b"/nonexistent/solo5/\0".to_vec(), 20).note(b"Solo5", 0x3149_4241, &abi).note(
        b"Solo5",
        0x3154_464d,
        &manifest,
    );
    file
}

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
