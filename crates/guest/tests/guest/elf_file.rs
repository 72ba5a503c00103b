//! Small ELF files: valid unless a test makes them otherwise, and wrapped as Unikraft wraps its multiboot kernels.

/// `p_type`, `sh_type`, `e_type` and `e_machine` as tests name them.
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_DYNAMIC: u32 = 2;
pub(crate) const PT_INTERP: u32 = 3;
pub(crate) const PT_NOTE: u32 = 4;
pub(crate) const SHT_PROGBITS: u32 = 1;
pub(crate) const SHT_SYMTAB: u32 = 2;
pub(crate) const SHT_STRTAB: u32 = 3;
pub(crate) const ET_REL: u16 = 1;
pub(crate) const ET_EXEC: u16 = 2;
pub(crate) const ET_DYN: u16 = 3;
pub(crate) const ET_CORE: u16 = 4;
pub(crate) const EM_386: u16 = 3;
pub(crate) const EM_X86_64: u16 = 62;
pub(crate) const EM_AARCH64: u16 = 183;

/// A program header and the bytes it covers.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) addr: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mem_len: u64,
}

/// A section header and the bytes it covers.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) link: u32,
    pub(crate) entry_len: u64,
}

/// An ELF64 file in the making.
#[derive(Clone, Debug)]
pub(crate) struct ElfFile {
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    pub(crate) osabi: u8,
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
    pub(crate) sections: Vec<Section>,
}

impl ElfFile {
    /// A kernel of three segments linked at 1 MiB, entered at its first byte, without any mark of its make.
    pub(crate) fn kernel() -> Self {
        let mut file = ElfFile {
            kind: ET_EXEC,
            machine: EM_X86_64,
            osabi: 0,
            entry: 0x10_0000,
            segments: Vec::new(),
            sections: Vec::new(),
        };
        file.load(0x10_0000, vec![0xf4; 64], 64);
        file.load(0x10_2000, vec![7; 32], 0x1000);
        file.load(0x10_1000, vec![1; 16], 16);
        file
    }

    /// Adds a loadable segment.
    pub(crate) fn load(&mut self, addr: u64, bytes: Vec<u8>, mem_len: u64) -> &mut Self {
        self.segment(PT_LOAD, addr, bytes, mem_len)
    }

    /// Adds a segment.
    pub(crate) fn segment(&mut self, kind: u32, addr: u64, bytes: Vec<u8>, mem_len: u64) -> &mut Self {
        self.segments.push(Segment { kind, addr, bytes, mem_len });
        self
    }

    /// Adds a note segment with one note.
    pub(crate) fn note(&mut self, owner: &[u8], kind: u32, description: &[u8]) -> &mut Self {
        let mut note = Vec::new();
        let owner = [owner, b"\0"].concat();
        put32(&mut note, &[fit(owner.len()), fit(description.len()), kind]);
        for part in [&owner, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        let len = note.len() as u64;
        self.segment(PT_NOTE, 0, note, len)
    }

    /// Adds a section.
    pub(crate) fn section(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.sections.push(Section {
            name: name.to_owned(),
            kind: SHT_PROGBITS,
            bytes: bytes.into(),
            link: 0,
            entry_len: 0,
        });
        self
    }

    /// The file as ELF64: headers, contents of segments, contents of sections, section headers.
    pub(crate) fn elf64(&self) -> Vec<u8> {
        let names = self.names();
        let header_len = 64 + 56 * self.segments.len();
        let mut contents = Vec::new();
        let mut place = |bytes: &[u8]| {
            contents.resize((header_len + contents.len()).next_multiple_of(8) - header_len, 0);
            let offset = (header_len + contents.len()) as u64;
            contents.extend(bytes);
            offset
        };
        let segments: Vec<u64> = self.segments.iter().map(|segment| place(&segment.bytes)).collect();
        let sections: Vec<u64> = self.sections.iter().map(|section| place(&section.bytes)).collect();
        let names_at = place(&names.text);
        let table_at = place(&[]);

        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.push(self.osabi);
        file.resize(16, 0);
        put16(&mut file, &[self.kind, self.machine, 1, 0]);
        put64(&mut file, &[self.entry, 64, table_at]);
        let (segment_count, section_count) =
            (fit::<u16>(self.segments.len()), fit::<u16>(self.sections.len()));
        put16(&mut file, &[0, 0, 64, 56, segment_count, 64, section_count + 2, section_count + 1]);
        for (segment, offset) in self.segments.iter().zip(segments) {
            put32(&mut file, &[segment.kind, 7]);
            let len = segment.bytes.len() as u64;
            put64(&mut file, &[offset, segment.addr, segment.addr, len, segment.mem_len, 8]);
        }
        file.extend(contents);
        file.resize(file.len() + 64, 0);
        for ((section, offset), name) in self.sections.iter().zip(sections).zip(&names.at) {
            put32(&mut file, &[*name, section.kind]);
            put64(&mut file, &[0, 0, offset, section.bytes.len() as u64]);
            put32(&mut file, &[section.link, 0]);
            put64(&mut file, &[1, section.entry_len]);
        }
        put32(&mut file, &[0, SHT_STRTAB]);
        put64(&mut file, &[0, 0, names_at, names.text.len() as u64]);
        put32(&mut file, &[0, 0]);
        put64(&mut file, &[1, 0]);
        file
    }

    /// The file as a multiboot kernel: what Unikraft's support/scripts/multiboot.py makes of the ELF64 file.
    pub(crate) fn multiboot(&self) -> Vec<u8> {
        multiboot(&self.elf64(), 3)
    }

    fn names(&self) -> Names {
        let mut names = Names { text: vec![0], at: Vec::new() };
        for section in &self.sections {
            names.at.push(fit(names.text.len()));
            names.text.extend(section.name.as_bytes());
            names.text.push(0);
        }
        names
    }
}

/// The table of section names, and where each name is in it.
struct Names {
    text: Vec<u8>,
    at: Vec<u32>,
}

/// Wraps an ELF64 file into an ELF32 file with a multiboot header of these flags.
pub(crate) fn multiboot(elf64: &[u8], flags: u32) -> Vec<u8> {
    let (phnum, shnum) = (get16(elf64, 56), get16(elf64, 60));
    let shift = 64 + 32 * u64::from(phnum);
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    put16(&mut file, &[get16(elf64, 16), EM_386, 1, 0]);
    let shoff = shift + elf64.len() as u64;
    put32(&mut file, &[fit(get64(elf64, 24)), 64, fit(shoff), 0]);
    put16(&mut file, &[52, 32, phnum, 40, shnum, get16(elf64, 62)]);
    put32(&mut file, &[0x1bad_b002, flags, 0u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags)]);
    for at in (0..phnum).map(|index| 64 + 56 * usize::from(index)) {
        let [offset, vaddr, paddr, len, mem_len] = [8, 16, 24, 32, 40].map(|field| get64(elf64, at + field));
        let kind = fit(get64(elf64, at) & 0xffff_ffff);
        let fields = [offset + shift, vaddr, paddr, len, mem_len].map(fit);
        put32(&mut file, &[kind]);
        put32(&mut file, &fields);
        put32(&mut file, &[7, 8]);
    }
    file.extend(elf64);
    let table = fit::<usize>(get64(elf64, 40));
    for at in (0..shnum).map(|index| table + 64 * usize::from(index)) {
        let [name_kind, offset, len, link, entry_len] =
            [0, 24, 32, 40, 56].map(|field| get64(elf64, at + field));
        put64(&mut file, &[name_kind]);
        put32(&mut file, &[0, 0, fit(offset + shift), fit(len)]);
        put64(&mut file, &[link]);
        put32(&mut file, &[1, fit(entry_len)]);
    }
    file
}

/// The number in a narrower type.
pub(crate) fn fit<Narrow: TryFrom<u64>>(number: impl TryInto<u64>) -> Narrow {
    let wide: u64 = number.try_into().ok().expect("a number of a small file");
    Narrow::try_from(wide).ok().expect("numbers of a small file are small")
}

fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn put16(bytes: &mut Vec<u8>, numbers: &[u16]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

pub(crate) fn put32(bytes: &mut Vec<u8>, numbers: &[u32]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

pub(crate) fn put64(bytes: &mut Vec<u8>, numbers: &[u64]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}
