//! Kernel files with Unikraft's marks, as the releases write them.

use crate::elf_file::{ElfFile, fit, put16, put32, put64};

/// Where the tests put texts that parameters refer to.
const TEXTS: u64 = 0x10_8000;

/// `_UK_LIBPARAM_PARAM_TYPE_charp`.
pub(crate) const TEXT: u32 = 11;

/// A parameter to be listed: prefix, name, type, capacity.
pub(crate) type Parameter<'a> = (&'a str, &'a str, u32, u64);

/// A kernel of that release with these libraries, and `libkvmplat` and `libukboot`.
pub(crate) fn unikraft(full_version: &str, libraries: &[&str]) -> ElfFile {
    let mut file = ElfFile::kernel();
    let mut info = libinfo_entry(&[(7, full_version)]);
    for library in ["libkvmplat", "libukboot"].iter().chain(libraries) {
        info.extend(libinfo_entry(&[(1, library), (11, "gcc (Debian 12) 12.2.0")]));
    }
    file.section(".uk_libinfo", info).section(".uk_bootinfo", [0; 16]).section(".uk_inittab", []);
    file
}

/// An entry of `.uk_libinfo` with these records.
pub(crate) fn libinfo_entry(records: &[(u16, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, text) in records {
        put16(&mut body, &[*kind]);
        put32(&mut body, &[7 + fit::<u32>(text.len())]);
        body.extend(text.as_bytes());
        body.push(0);
    }
    let mut entry = Vec::new();
    put32(&mut entry, &[6 + fit::<u32>(body.len())]);
    put16(&mut entry, &[1]);
    entry.extend(body);
    entry
}

/// Texts that will lie at known addresses.
struct Texts(Vec<u8>);

impl Texts {
    /// The address of a text.
    fn add(&mut self, text: &str) -> u64 {
        let addr = TEXTS + self.0.len() as u64;
        self.0.extend(text.as_bytes());
        self.0.push(0);
        addr
    }
}

/// Lists parameters as 0.18 and later do.
pub(crate) fn list_parameters(file: &mut ElfFile, parameters: &[Parameter]) {
    let mut texts = Texts(Vec::new());
    let mut records = Vec::new();
    for (prefix, name, kind, capacity) in parameters {
        let addrs = [texts.add(prefix), texts.add(name), texts.add("what it is for")];
        put64(&mut records, &addrs);
        put64(&mut records, &[u64::from(*kind), *capacity, 0, 0]);
    }
    let len = texts.0.len() as u64;
    file.load(TEXTS, texts.0, len).section(".uk_libparam_params", records);
}

/// Lists a parameter of a library as 0.13 to 0.17 do: the section points to the structure.
pub(crate) fn list_old_parameter(file: &mut ElfFile, library: &str, name: &str, kind: u32, capacity: u64) {
    let mut texts = Texts(Vec::new());
    let addrs = [texts.add(name), texts.add("what it is for")];
    texts.0.resize(texts.0.len().next_multiple_of(8), 0);
    let structure = TEXTS + texts.0.len() as u64;
    put64(&mut texts.0, &addrs);
    put64(&mut texts.0, &[u64::from(kind), capacity, 0, 0]);
    let len = texts.0.len() as u64;
    let section = format!(".uk_libparam_params_{library}");
    file.load(TEXTS, texts.0, len).section(&section, structure.to_le_bytes());
}
