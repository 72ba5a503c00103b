//! The parts of an ELF file that say what a kernel is: header, program headers, section headers, notes.
//!
//! Why not a crate: Unikraft's multiboot kernels are a 32-bit ELF around a complete 64-bit one (its
//! support/scripts/multiboot.py), so that 32-bit section headers describe tables of 64-bit records. The known readers
//! tie the width of every table to the class of the header. What is left of ELF for us is three structures and notes,
//! and we must tell a truncated file from a malformed one. Layouts are of the System V gABI, chapters 4 and 5.
//!
//! All numbers are hostile. Tables are capped, so that work and memory stay proportional to the file.

use runu_core::{Printable, VirtAddr};
use serde::Serialize;

use crate::{bytes::View, detect::DetectError};

/// `e_ident[EI_DATA]`: little-endian.
const ELFDATA2LSB: u8 = 1;
/// `e_ident[EI_CLASS]`.
const ELFCLASS32: u8 = 1;
const ELFCLASS64: u8 = 2;

/// `e_machine` of the two architectures a kernel for x86_64 machines may name.
pub(crate) const EM_386: u16 = 3;
pub(crate) const EM_X86_64: u16 = 62;

/// `e_type`.
pub(crate) const ET_REL: u16 = 1;
pub(crate) const ET_DYN: u16 = 3;
pub(crate) const ET_CORE: u16 = 4;

/// `p_type`.
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_DYNAMIC: u32 = 2;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const PT_NOTE: u32 = 4;

/// `DT_FLAGS_1`, and its flag of a program linked to run at any address (Solaris Linker and Libraries Guide; GNU ld).
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
/// Length of an entry of the dynamic table of class 64: tag and value.
const DYNAMIC_LEN: u64 = 16;

/// `sh_type`.
pub(crate) const SHT_SYMTAB: u32 = 2;
pub(crate) const SHT_NOBITS: u32 = 8;

/// Most program headers read. Real kernels have up to 8; 64 leaves room and bounds what a plan holds.
const PROGRAM_HEADERS_MAX: u64 = 64;
/// Most section headers read. Real kernels have up to a few hundred (one per library in Unikraft before 0.18).
const SECTIONS_MAX: u64 = 4096;
/// Longest section name read; longer ones are names of nothing we know.
const SECTION_NAME_MAX: u64 = 128;
/// Most notes read of one note segment. Real kernels have up to 25 (Linux).
const NOTES_MAX: usize = 256;

/// Width of an ELF file's headers. Says nothing about the code: a multiboot kernel of class 32 may hold 64-bit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

/// The first 20 bytes, which have the same layout in both classes.
pub(crate) struct Ident {
    pub(crate) class: Class,
    pub(crate) little_endian: bool,
    pub(crate) osabi: u8,
    pub(crate) kind: u16,
    pub(crate) machine: u16,
}

impl Ident {
    /// Reads the identification of a file that starts with the ELF magic.
    pub(crate) fn read(file: View) -> Result<Self, DetectError> {
        let short = || truncated("the ELF header", 20, file);
        let class = match file.u8(4).ok_or_else(short)? {
            ELFCLASS32 => Class::Elf32,
            ELFCLASS64 => Class::Elf64,
            other => return Err(malformed(format!("ELF class {other}"))),
        };
        let little_endian = file.u8(5).ok_or_else(short)? == ELFDATA2LSB;
        let osabi = file.u8(7).ok_or_else(short)?;
        let number = |at| {
            let raw = file.u16(at).ok_or_else(short)?;
            Ok(if little_endian { raw } else { raw.swap_bytes() })
        };
        Ok(Ident { class, little_endian, osabi, kind: number(16)?, machine: number(18)? })
    }
}

/// A program header, widened to 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramHeader {
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    pub(crate) file_len: u64,
    pub(crate) mem_len: u64,
}

/// A section header, widened to 64 bits, with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) link: u32,
    pub(crate) entry_len: u64,
}

/// A note: who wrote it, what it is, what it says.
pub(crate) struct Note<'a> {
    pub(crate) owner: &'a [u8],
    pub(crate) kind: u32,
    /// Offset of the description in the file.
    pub(crate) offset: u64,
    pub(crate) description: &'a [u8],
}

/// A little-endian ELF file whose header tables lie inside the file. What the tables point to is not checked.
pub(crate) struct Elf<'a> {
    pub(crate) file: View<'a>,
    pub(crate) class: Class,
    pub(crate) osabi: u8,
    pub(crate) kind: u16,
    pub(crate) entry: u64,
    pub(crate) program_headers: Vec<ProgramHeader>,
    pub(crate) sections: Vec<Section<'a>>,
}

/// Where the fields of the header lie (gABI, "ELF Header"), and how long the records of the tables are.
struct Layout {
    header_len: u64,
    /// Offsets of `e_entry`, `e_phoff`, `e_shoff`; each as wide as an address.
    entry: u64,
    phoff: u64,
    shoff: u64,
    /// Offset of `e_phentsize`, followed by `e_phnum`, `e_shentsize`, `e_shnum`, `e_shstrndx`; 16 bits each.
    counts: u64,
    program_header_len: u64,
    section_len: u64,
}

const LAYOUT32: Layout = Layout {
    header_len: 52,
    entry: 24,
    phoff: 28,
    shoff: 32,
    counts: 42,
    program_header_len: 32,
    section_len: 40,
};
const LAYOUT64: Layout = Layout {
    header_len: 64,
    entry: 24,
    phoff: 32,
    shoff: 40,
    counts: 54,
    program_header_len: 56,
    section_len: 64,
};

impl<'a> Elf<'a> {
    /// Reads header and tables.
    pub(crate) fn read(file: View<'a>, ident: &Ident) -> Result<Self, DetectError> {
        let layout = match ident.class {
            Class::Elf32 => LAYOUT32,
            Class::Elf64 => LAYOUT64,
        };
        let short = || truncated("the ELF header", layout.header_len, file);
        let address = |at| address(file, ident.class, at).ok_or_else(short);
        let count = |index: u64| file.u16(layout.counts + 2 * index).map(u64::from).ok_or_else(short);
        let program_headers = Table {
            what: "program headers",
            offset: address(layout.phoff)?,
            entry_len: count(0)?,
            entries: count(1)?,
            most: PROGRAM_HEADERS_MAX,
        };
        let section_headers = Table {
            what: "section headers",
            offset: address(layout.shoff)?,
            entry_len: count(2)?,
            entries: count(3)?,
            most: SECTIONS_MAX,
        };
        let names = count(4)?;
        Ok(Elf {
            file,
            class: ident.class,
            osabi: ident.osabi,
            kind: ident.kind,
            entry: address(layout.entry)?,
            program_headers: program_headers
                .records(file, layout.program_header_len)?
                .map(|at| program_header(file, ident.class, at).ok_or_else(short))
                .collect::<Result<_, _>>()?,
            sections: sections(file, ident.class, &section_headers, layout.section_len, names)?,
        })
    }

    /// The first section of that name.
    pub(crate) fn section(&self, name: &str) -> Option<Section<'a>> {
        self.sections.iter().find(|section| section.name == name.as_bytes()).copied()
    }

    /// Whether some section's name starts so.
    pub(crate) fn has_section_prefix(&self, prefix: &str) -> bool {
        self.sections.iter().any(|section| section.name.starts_with(prefix.as_bytes()))
    }

    /// The bytes of a section. Empty for one that occupies no space in the file.
    pub(crate) fn contents(&self, section: Section<'a>) -> Result<&'a [u8], DetectError> {
        if section.kind == SHT_NOBITS {
            return Ok(&[]);
        }
        let end = section.offset.saturating_add(section.len);
        self.file
            .piece(section.offset, section.len)
            .ok_or_else(|| truncated(&format!("section `{}`", Printable(section.name)), end, self.file))
    }

    /// Whether there is a program header of that type.
    pub(crate) fn has(&self, kind: u32) -> bool {
        self.program_headers.iter().any(|header| header.kind == kind)
    }

    /// The program headers that occupy memory.
    pub(crate) fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.program_headers.iter().filter(|header| header.kind == PT_LOAD && header.mem_len > 0)
    }

    /// Where the byte at a virtual address lies in the file, if it comes from the file.
    pub(crate) fn offset_of(&self, addr: VirtAddr) -> Option<u64> {
        self.loads().find_map(|header| {
            let within = addr.0.checked_sub(header.vaddr)?;
            if within < header.file_len { header.offset.checked_add(within) } else { None }
        })
    }

    /// Whether the dynamic table of a file of class 64 says that it is a program, and not a library.
    pub(crate) fn is_marked_program(&self) -> bool {
        let Some(table) = self.program_headers.iter().find(|header| header.kind == PT_DYNAMIC) else {
            return false;
        };
        let mut entries = (0..table.file_len / DYNAMIC_LEN).map_while(|index| {
            let at = table.offset.checked_add(index * DYNAMIC_LEN)?;
            Some((self.file.u64(at)?, self.file.u64(at.checked_add(8)?)?))
        });
        entries.any(|(tag, flags)| tag == DT_FLAGS_1 && flags & DF_1_PIE != 0)
    }

    /// The notes of all note segments (gABI, "Note Section"), up to the first that is malformed.
    pub(crate) fn notes(&self) -> impl Iterator<Item = Note<'a>> {
        let file = self.file;
        self.program_headers.iter().filter(|header| header.kind == PT_NOTE).flat_map(move |header| {
            let end = header.offset.saturating_add(header.file_len);
            let mut at = header.offset;
            std::iter::from_fn(move || {
                let (note, next) = note(file, at, end)?;
                at = next;
                Some(note)
            })
            .take(NOTES_MAX)
        })
    }
}

/// A table of an ELF header, unchecked.
struct Table {
    what: &'static str,
    offset: u64,
    entry_len: u64,
    entries: u64,
    most: u64,
}

impl Table {
    /// Offsets of the records, all of which lie inside the file.
    fn records(
        &self,
        file: View,
        expected_len: u64,
    ) -> Result<impl Iterator<Item = u64> + use<>, DetectError> {
        // Offset 0 means that there is no table, whatever the other fields say.
        let entries = if self.offset == 0 { 0 } else { self.entries };
        if entries > self.most {
            return Err(DetectError::TooMany { what: self.what, count: entries, most: self.most });
        }
        if entries > 0 && self.entry_len != expected_len {
            return Err(malformed(format!("{} of {} bytes each", self.what, self.entry_len)));
        }
        let end = self.offset.saturating_add(entries * expected_len);
        if entries > 0 && end > file.len() {
            return Err(truncated(&format!("the {}", self.what), end, file));
        }
        let offset = self.offset;
        Ok((0..entries).map(move |index| offset + index * expected_len))
    }
}

/// A number as wide as an address of the class.
fn address(file: View, class: Class, at: u64) -> Option<u64> {
    match class {
        Class::Elf32 => file.u32(at).map(u64::from),
        Class::Elf64 => file.u64(at),
    }
}

fn program_header(file: View, class: Class, at: u64) -> Option<ProgramHeader> {
    let [offset, vaddr, paddr, file_len, mem_len] = match class {
        Class::Elf32 => [4, 8, 12, 16, 20],
        Class::Elf64 => [8, 16, 24, 32, 40],
    };
    let field = |within| address(file, class, at + within);
    Some(ProgramHeader {
        kind: file.u32(at)?,
        offset: field(offset)?,
        vaddr: field(vaddr)?,
        paddr: field(paddr)?,
        file_len: field(file_len)?,
        mem_len: field(mem_len)?,
    })
}

fn sections<'a>(
    file: View<'a>,
    class: Class,
    table: &Table,
    section_len: u64,
    names: u64,
) -> Result<Vec<Section<'a>>, DetectError> {
    let [offset, len, link, entry_len] = match class {
        Class::Elf32 => [16, 20, 24, 36],
        Class::Elf64 => [24, 32, 40, 56],
    };
    let records: Vec<u64> = table.records(file, section_len)?.collect();
    let field = |at: u64, within| address(file, class, at + within).unwrap_or_default();
    let strings = usize::try_from(names).ok().and_then(|index| records.get(index)).map(|at| {
        let (start, len) = (field(*at, offset), field(*at, len));
        View(file.piece(start, len.min(file.len().saturating_sub(start))).unwrap_or_default())
    });
    let section = |at: u64| Section {
        name: strings
            .and_then(|strings| strings.text(file.u32(at)?.into(), SECTION_NAME_MAX))
            .unwrap_or_default(),
        kind: file.u32(at + 4).unwrap_or_default(),
        offset: field(at, offset),
        len: field(at, len),
        link: file.u32(at + link).unwrap_or_default(),
        entry_len: field(at, entry_len),
    };
    Ok(records.into_iter().map(section).collect())
}

/// The note at `at` and where the next one starts. Names and descriptions are padded to 4 bytes.
fn note(file: View, at: u64, end: u64) -> Option<(Note, u64)> {
    let name_len = u64::from(file.u32(at)?);
    let description_len = u64::from(file.u32(at.checked_add(4)?)?);
    let kind = file.u32(at.checked_add(8)?)?;
    let name_at = at.checked_add(12)?;
    let offset = name_at.checked_add(name_len.next_multiple_of(4))?;
    let next = offset.checked_add(description_len.next_multiple_of(4))?;
    if offset.checked_add(description_len)? > end {
        return None;
    }
    let owner = file.piece(name_at, name_len)?;
    let owner = owner.strip_suffix(b"\0").unwrap_or(owner);
    Some((Note { owner, kind, offset, description: file.piece(offset, description_len)? }, next))
}

/// The file ends before something that its headers promise.
fn truncated(what: &str, needs: u64, file: View) -> DetectError {
    DetectError::Truncated { what: what.to_owned(), needs, has: file.len() }
}

fn malformed(what: String) -> DetectError {
    DetectError::Malformed { what }
}
