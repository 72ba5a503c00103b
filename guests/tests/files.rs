//! The produced files are what loaders and runu's detection expect: class, machine, magic, entry, mark.

use runu_guests::{ALL, Guest, HELLO_LINUX64, HELLO_MULTIBOOT, LXSHIM};

/// Multiboot specification 0.6.96, section 3.1.
const MULTIBOOT_MAGIC: u64 = 0x1bad_b002;
const EM_386: u64 = 3;
const EM_X86_64: u64 = 62;
const PT_LOAD: u64 = 1;

/// Where the fields of the two ELF classes lie.
struct Layout {
    /// Bytes of an address.
    word: usize,
    entry: usize,
    segments: usize,
    sections: usize,
    /// Offsets of e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
    counts: [usize; 5],
    /// Offsets of p_offset, p_vaddr, p_paddr, p_filesz, p_memsz.
    segment: [usize; 5],
    /// Offsets of sh_offset, sh_size.
    section: [usize; 2],
}

const ELF32: Layout = Layout {
    word: 4,
    entry: 0x18,
    segments: 0x1c,
    sections: 0x20,
    counts: [0x2a, 0x2c, 0x2e, 0x30, 0x32],
    segment: [4, 8, 12, 16, 20],
    section: [16, 20],
};
const ELF64: Layout = Layout {
    word: 8,
    entry: 0x18,
    segments: 0x20,
    sections: 0x28,
    counts: [0x36, 0x38, 0x3a, 0x3c, 0x3e],
    segment: [8, 16, 24, 32, 40],
    section: [24, 32],
};

fn number(file: &[u8], at: usize, size: usize) -> u64 {
    file[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn word(file: &[u8], layout: &Layout, at: usize) -> usize {
    usize::try_from(number(file, at, layout.word)).expect("a guest lies below 4 GiB")
}

fn count(file: &[u8], layout: &Layout, which: usize) -> usize {
    let at = layout.counts[which];
    usize::from(u16::from_le_bytes([file[at], file[at + 1]]))
}

/// Each loadable segment's file offset, virtual address, physical address, size in the file, size in memory.
fn loads(file: &[u8], layout: &Layout) -> Vec<[usize; 5]> {
    (0..count(file, layout, 1))
        .map(|index| word(file, layout, layout.segments) + index * count(file, layout, 0))
        .filter(|at| number(file, *at, 4) == PT_LOAD)
        .map(|at| layout.segment.map(|field| word(file, layout, at + field)))
        .collect()
}

fn section<'a>(file: &'a [u8], layout: &Layout, name: &str) -> Option<&'a [u8]> {
    let header = |index: usize| word(file, layout, layout.sections) + index * count(file, layout, 2);
    let content = |at: usize| {
        let [offset, size] = layout.section.map(|field| word(file, layout, at + field));
        &file[offset..offset + size]
    };
    let names = content(header(count(file, layout, 4)));
    (0..count(file, layout, 3)).map(header).find_map(|at| {
        let start = usize::try_from(number(file, at, 4)).ok()?;
        let this = names[start..].split(|byte| *byte == 0).next()?;
        (this == name.as_bytes()).then(|| content(at))
    })
}

fn mark(guest: &Guest) -> Vec<u8> {
    format!("name={}\0version=1\0", guest.name).into_bytes()
}

#[test]
fn multiboot_kind_is_an_elf32_for_i386_with_the_magic_behind_its_header() {
    for guest in ALL {
        let file = guest.multiboot;
        assert_eq!(&file[..7], b"\x7fELF\x01\x01\x01", "{}", guest.name);
        assert_eq!(number(file, 0x12, 2), EM_386, "{}", guest.name);
        let header = [0x34, 0x38, 0x3c].map(|at| number(file, at, 4));
        assert_eq!(header[0], MULTIBOOT_MAGIC, "{}", guest.name);
        assert_eq!(header.iter().sum::<u64>(), 1 << 32, "{}", guest.name);
        assert!(
            section(file, &ELF32, ".runu_guest").is_some_and(|it| it.starts_with(&mark(guest))),
            "{}",
            guest.name
        );
    }
}

#[test]
fn linux64_kind_is_an_elf64_without_a_multiboot_header() {
    for guest in ALL {
        let file = guest.linux64;
        assert_eq!(&file[..7], b"\x7fELF\x02\x01\x01", "{}", guest.name);
        assert_eq!(number(file, 0x12, 2), EM_X86_64, "{}", guest.name);
        let searched = &file[..file.len().min(8192)];
        assert!(
            !searched.chunks_exact(4).any(|it| it == &MULTIBOOT_MAGIC.to_le_bytes()[..4]),
            "{}",
            guest.name
        );
        assert!(
            section(file, &ELF64, ".runu_guest").is_some_and(|it| it.starts_with(&mark(guest))),
            "{}",
            guest.name
        );
    }
}

#[test]
fn segments_of_both_kinds_are_the_same_bytes_at_the_same_addresses_from_1_mib() {
    for guest in ALL {
        let (narrow, wide) = (loads(guest.multiboot, &ELF32), loads(guest.linux64, &ELF64));
        assert_eq!(narrow.len(), wide.len(), "{}", guest.name);
        for (narrow, wide) in narrow.iter().zip(&wide) {
            assert_eq!(narrow[1..], wide[1..], "{}", guest.name);
            assert_eq!(narrow[1], narrow[2], "{}: paddr = vaddr", guest.name);
            assert_eq!(
                guest.multiboot[narrow[0]..narrow[0] + narrow[3]],
                guest.linux64[wide[0]..wide[0] + wide[3]],
                "{}",
                guest.name
            );
        }
        assert_eq!(wide[0][1], 0x10_0000, "{}", guest.name);
    }
}

#[test]
fn entry_of_both_kinds_lies_in_the_first_segment_of_the_file() {
    for guest in ALL {
        for (file, layout) in [(guest.multiboot, ELF32), (guest.linux64, ELF64)] {
            let entry = word(file, &layout, layout.entry);
            let [_, start, _, size, _] = loads(file, &layout)[0];
            assert!((start..start + size).contains(&entry), "{} {entry:#x}", guest.name);
        }
    }
}

#[test]
fn hello_constants_are_the_files_that_the_table_names() {
    let hello = Guest::named("hello").expect("hello is built");
    assert_eq!(hello.multiboot, HELLO_MULTIBOOT);
    assert_eq!(hello.linux64, HELLO_LINUX64);
    assert_eq!(std::fs::read(hello.multiboot_path()).expect("built here"), HELLO_MULTIBOOT);
    assert_eq!(std::fs::read(hello.linux64_path()).expect("built here"), HELLO_LINUX64);
}

#[test]
fn shim_lies_above_every_guest_so_that_it_can_load_each() {
    let shim = loads(LXSHIM, &ELF32)[0][1];
    for guest in ALL {
        let end = loads(guest.linux64, &ELF64).iter().map(|load| load[1] + load[4]).max();
        assert!(end < Some(shim), "{}", guest.name);
    }
}
