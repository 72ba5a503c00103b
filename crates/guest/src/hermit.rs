//! Hermit: recognised by the OS/ABI of its ELF header.

use crate::elf::Elf;

/// `ELFOSABI_STANDALONE` (gABI, "e_ident\[`EI_OSABI`\]"), which Hermit's loader demands of an application.
const STANDALONE: u8 = 255;

/// Whether the file is a Hermit application.
pub(crate) fn recognise(elf: &Elf) -> bool {
    elf.osabi == STANDALONE
}
