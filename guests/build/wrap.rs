//! Wraps an ELF64 guest into an ELF32 file that a multiboot loader takes.
//!
//! The layout is that of Unikraft's support/scripts/multiboot.py: ELF32 header, multiboot header at offset
//! 0x34, ELF32 program headers, the complete ELF64 file, ELF32 section headers. A symbol table in ELF32 form
//! is added at the end.

/// Multiboot specification 0.6.96, section 3.1: magic, page-align and memory-info, checksum.
const MULTIBOOT_HEADER: [u32; 3] = [0x1bad_b002, 0x0000_0003, 0xe452_4ffb];

/// Sizes of headers and symbols in the two classes (System V ABI, gABI chapters 4 and 5).
const ELF32_HEADER: u16 = 52;
const ELF32_PROGRAM_HEADER: u16 = 32;
const ELF32_SECTION_HEADER: u16 = 40;
const ELF32_SYMBOL: u32 = 16;
const ELF64_PROGRAM_HEADER: usize = 56;
const ELF64_SECTION_HEADER: usize = 64;
const ELF64_SYMBOL: usize = 24;

const ET_EXEC: u32 = 2;
const EM_386: u32 = 3;
const SHT_NULL: u32 = 0;
const SHT_SYMTAB: u32 = 2;

/// Reads the numbers of an ELF64 file, all little-endian. The file is the linker's own, so a wrong one is a
/// panic.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("the range has this length")
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    /// A 64-bit number that an ELF32 file can hold.
    fn narrowed(&self, at: usize) -> u32 {
        u32::try_from(u64::from_le_bytes(self.bytes(at))).expect("a guest lies below 4 GiB")
    }

    fn offset(&self, at: usize) -> usize {
        self.narrowed(at) as usize
    }
}

/// A size or an offset of a file that is far smaller than 4 GiB.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).expect("a guest's file is small")
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// The ELF32 file around `elf64`, with its entry at `entry`.
pub(crate) fn multiboot(elf64: &[u8], entry: u32) -> Vec<u8> {
    let elf = Reader(elf64);
    let (segment_count, section_count) = (elf.half(0x38), elf.half(0x3c));
    let segments = headers(elf.offset(0x20), segment_count, ELF64_PROGRAM_HEADER);
    let sections = headers(elf.offset(0x28), section_count, ELF64_SECTION_HEADER);
    let segments_at = usize::from(ELF32_HEADER) + size_of_val(&MULTIBOOT_HEADER);
    let elf64_at = segments_at + usize::from(ELF32_PROGRAM_HEADER * segment_count);
    let symbols_at = (elf64_at + elf64.len()).next_multiple_of(4);
    let symbols = symbol_table(&elf, &sections);
    let moved = |offset: u32| offset + narrow(elf64_at);

    let mut out = Vec::new();
    out.extend(*b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&mut out, &[ET_EXEC | EM_386 << 16, 1, entry]);
    put(&mut out, &[narrow(segments_at), narrow(symbols_at + symbols.len()), 0]);
    for half in [
        ELF32_HEADER,
        ELF32_PROGRAM_HEADER,
        segment_count,
        ELF32_SECTION_HEADER,
        section_count,
        elf.half(0x3e),
    ] {
        out.extend(half.to_le_bytes());
    }
    put(&mut out, &MULTIBOOT_HEADER);
    for at in segments {
        let [offset, vaddr, paddr, filesz, memsz, align] =
            [8, 16, 24, 32, 40, 48].map(|field| elf.narrowed(at + field));
        put(&mut out, &[elf.word(at), moved(offset), vaddr, paddr, filesz, memsz, elf.word(at + 4), align]);
    }
    out.extend(elf64);
    out.resize(symbols_at, 0);
    out.extend(&symbols);
    for at in sections {
        let (name, kind, link, info) = (elf.word(at), elf.word(at + 4), elf.word(at + 40), elf.word(at + 44));
        let [flags, addr, offset, size, align, entry_size] =
            [8, 16, 24, 32, 48, 56].map(|field| elf.narrowed(at + field));
        let (offset, size, entry_size) = match kind {
            SHT_NULL => (0, 0, 0),
            SHT_SYMTAB => (narrow(symbols_at), narrow(symbols.len()), ELF32_SYMBOL),
            _ => (moved(offset), size, entry_size),
        };
        put(&mut out, &[name, kind, flags, addr, offset, size, link, info, align, entry_size]);
    }
    out
}

/// The offsets of `count` headers of `size` bytes.
fn headers(start: usize, count: u16, size: usize) -> Vec<usize> {
    (0..usize::from(count)).map(|index| start + index * size).collect()
}

/// The ELF32 form of the symbol table; empty when there is none.
fn symbol_table(elf: &Reader<'_>, sections: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    for section in sections.iter().filter(|at| elf.word(**at + 4) == SHT_SYMTAB) {
        let (start, size) = (elf.offset(section + 24), elf.offset(section + 32));
        for at in (start..start + size).step_by(ELF64_SYMBOL) {
            put(&mut out, &[elf.word(at), elf.narrowed(at + 8), elf.narrowed(at + 16)]);
            out.extend(elf.bytes::<4>(at + 4)); // st_info, st_other, st_shndx
        }
    }
    out
}
