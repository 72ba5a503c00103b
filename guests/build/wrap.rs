//! Wraps an ELF64 guest into an ELF32 file that a multiboot loader takes.
//!
//! The layout is that of Unikraft's support/scripts/multiboot.py: ELF32 header, multiboot header at offset 0x34, ELF32
//! program headers, the complete ELF64 file, ELF32 section headers. A symbol table in ELF32 form is added at the end.

/// Multiboot specification 0.6.96, section 3.1: magic, page-align and memory-info, checksum.
const MULTIBOOT_HEADER: [u32; 3] = [0x1bad_b002, 0x0000_0003, 0xe452_4ffb];

const ELF32_HEADER: usize = 52;
const ELF32_PROGRAM_HEADER: usize = 32;
const ELF32_SECTION_HEADER: usize = 40;
const ELF64_PROGRAM_HEADER: usize = 56;
const ELF64_SECTION_HEADER: usize = 64;
const ELF64_SYMBOL: usize = 24;
const SHT_SYMTAB: u32 = 2;
const EM_386: u16 = 3;

/// Reads and writes the numbers of ELF files, all little-endian. The file is the linker's own, so a wrong one is a panic.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number<const N: usize>(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.0[at..at + N]);
        u64::from_le_bytes(bytes)
    }

    /// A 64-bit number that an ELF32 file can hold.
    fn word(&self, at: usize) -> u32 {
        u32::try_from(self.number::<8>(at)).expect("a guest lies below 4 GiB")
    }

    fn half(&self, at: usize) -> u32 {
        self.number::<4>(at) as u32
    }

    fn short(&self, at: usize) -> u16 {
        self.number::<2>(at) as u16
    }
}

fn put(out: &mut Vec<u8>, words: &[u32]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// The ELF32 file around `elf64`, with its entry at `entry`.
pub(crate) fn multiboot(elf64: &[u8], entry: u32) -> Vec<u8> {
    let elf = Reader(elf64);
    let (program_headers, sections) = (elf.number::<8>(0x20) as usize, elf.number::<8>(0x28) as usize);
    let (segment_count, section_count) = (elf.short(0x38), elf.short(0x3c));
    let shift =
        ELF32_HEADER + size_of_val(&MULTIBOOT_HEADER) + ELF32_PROGRAM_HEADER * usize::from(segment_count);
    let symbols_at = (shift + elf64.len()).next_multiple_of(4);
    let symbols = symbol_table(&elf, sections, section_count);
    let sections_at = symbols_at + symbols.len();
    let moved = |offset: u32| offset + shift as u32;

    let mut out = Vec::with_capacity(sections_at + ELF32_SECTION_HEADER * usize::from(section_count));
    out.extend(*b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&mut out, &[2 | u32::from(EM_386) << 16, 1, entry]);
    put(&mut out, &[(ELF32_HEADER + size_of_val(&MULTIBOOT_HEADER)) as u32, sections_at as u32, 0]);
    for short in
        [ELF32_HEADER as u16, ELF32_PROGRAM_HEADER as u16, segment_count, ELF32_SECTION_HEADER as u16]
    {
        out.extend(short.to_le_bytes());
    }
    out.extend(section_count.to_le_bytes());
    out.extend(elf.short(0x3e).to_le_bytes());
    put(&mut out, &MULTIBOOT_HEADER);

    for index in 0..usize::from(segment_count) {
        let at = program_headers + index * ELF64_PROGRAM_HEADER;
        let [offset, vaddr, paddr, filesz, memsz, align] =
            [8, 16, 24, 32, 40, 48].map(|field| elf.word(at + field));
        put(&mut out, &[elf.half(at), moved(offset), vaddr, paddr, filesz, memsz, elf.half(at + 4), align]);
    }
    out.extend(elf64);
    out.resize(symbols_at, 0);
    out.extend(&symbols);
    for index in 0..usize::from(section_count) {
        let at = sections + index * ELF64_SECTION_HEADER;
        let (name, kind, link, info) = (elf.half(at), elf.half(at + 4), elf.half(at + 40), elf.half(at + 44));
        let [flags, addr, offset, size, align, entry_size] =
            [8, 16, 24, 32, 48, 56].map(|field| elf.word(at + field));
        let (offset, size, entry_size) = match kind {
            0 => (0, 0, 0),
            SHT_SYMTAB => (symbols_at as u32, symbols.len() as u32, 16),
            _ => (moved(offset), size, entry_size),
        };
        put(&mut out, &[name, kind, flags, addr, offset, size, link, info, align, entry_size]);
    }
    out
}

/// The ELF32 form of the symbol table; empty when there is none.
fn symbol_table(elf: &Reader<'_>, sections: usize, section_count: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = (0..usize::from(section_count)).map(|index| sections + index * ELF64_SECTION_HEADER);
    for header in headers.filter(|header| elf.half(header + 4) == SHT_SYMTAB) {
        let (start, size) = (elf.word(header + 24) as usize, elf.word(header + 32) as usize);
        for at in (start..start + size).step_by(ELF64_SYMBOL) {
            put(&mut out, &[elf.half(at), elf.word(at + 8), elf.word(at + 16)]);
            out.extend(&elf.0[at + 4..at + 8]); // st_info, st_other, st_shndx
        }
    }
    out
}
