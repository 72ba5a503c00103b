//! Names for addresses in a guest, from the kernel file's symbol table if it has one.
//!
//! Stripped kernels have none, as most images do; their debug file (`.dbg`) has one.

use runu_core::Printable;

use crate::{
    bytes::View,
    elf::{self, Elf, Ident, Section},
};

/// How far a label without a size is taken to reach, in bytes: hand-written assembly has such labels.
const UNSIZED_REACH: u64 = 4096;

/// Length of a record of a symbol table, by class (gABI, "Symbol Table"). The record's length decides its layout, not
/// the file's class: Unikraft's 32-bit wrapping keeps the tables of the 64-bit file.
const SYMBOL32_LEN: u64 = 16;
const SYMBOL64_LEN: u64 = 24;
/// Longest name shown.
const NAME_MAX: u64 = 256;
/// `SHN_UNDEF` and the reserved indices from `SHN_LORESERVE` on hold no place in the image.
const SHN_UNDEF: u16 = 0;
const SHN_LORESERVE: u16 = 0xff00;
/// `STT_SECTION`, `STT_FILE`, `STT_TLS`: no name of a place.
const NOT_PLACES: [u8; 3] = [3, 4, 6];

/// What lies at a guest-virtual address: `name+0xoffset`. Work is linear in the length of `file`.
///
/// `None` when the file is no ELF file, has no symbol table, or has no symbol that reaches to the address.
#[must_use]
pub fn symbol(file: &[u8], addr: u64) -> Option<String> {
    let view = View(file);
    if !file.starts_with(b"\x7fELF") {
        return None;
    }
    let elf = Elf::read(view, &Ident::read(view).ok()?).ok()?;
    let table = Table::of(&elf)?;
    let symbols = table.symbols().filter(|symbol| symbol.value <= addr);
    // The nearest one below; of several at one place a sized one, as hand-written labels have no size.
    let nearest = symbols.max_by_key(|symbol| (symbol.value, symbol.len))?;
    let offset = addr - nearest.value;
    let reach = if nearest.len > 0 { nearest.len } else { UNSIZED_REACH };
    if offset >= reach {
        return None;
    }
    let name = table.names.text(nearest.name.into(), NAME_MAX)?;
    let name = Printable(name).to_string();
    Some(format!("{:#}+{offset:#x}", rustc_demangle::demangle(&name)))
}

/// Whether a symbol of that name lies exactly there.
pub(crate) fn is_at(elf: &Elf, name: &str, addr: u64) -> bool {
    let Some(table) = Table::of(elf) else { return false };
    table.symbols().any(|symbol| {
        symbol.value == addr && table.names.text(symbol.name.into(), NAME_MAX) == Some(name.as_bytes())
    })
}

/// A symbol table and the texts it refers to.
struct Table<'a> {
    records: View<'a>,
    record_len: u64,
    names: View<'a>,
}

struct Symbol {
    name: u32,
    value: u64,
    len: u64,
}

impl<'a> Table<'a> {
    fn of(elf: &Elf<'a>) -> Option<Self> {
        let table = elf.sections.iter().find(|section| section.kind == elf::SHT_SYMTAB)?;
        let names = elf.sections.get(usize::try_from(table.link).ok()?)?;
        let view = |section: &Section<'a>| elf.contents(*section).ok().map(View);
        let known = matches!(table.entry_len, SYMBOL32_LEN | SYMBOL64_LEN);
        known.then_some(Table { records: view(table)?, record_len: table.entry_len, names: view(names)? })
    }

    /// The symbols that name a place in the image.
    fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let count = self.records.len() / self.record_len;
        (0..count).filter_map(|index| self.symbol(index * self.record_len))
    }

    fn symbol(&self, at: u64) -> Option<Symbol> {
        let records = self.records;
        let name = records.u32(at)?;
        let (info, section, value, len) = if self.record_len == SYMBOL64_LEN {
            (records.u8(at + 4)?, records.u16(at + 6)?, records.u64(at + 8)?, records.u64(at + 16)?)
        } else {
            let (value, len) = (records.u32(at + 4)?, records.u32(at + 8)?);
            (records.u8(at + 12)?, records.u16(at + 14)?, value.into(), len.into())
        };
        let placed = section != SHN_UNDEF && section < SHN_LORESERVE && !NOT_PLACES.contains(&(info & 0xf));
        (placed && name != 0).then_some(Symbol { name, value, len })
    }
}
