//! Linux itself, uncompressed: recognised by sections that only its link script makes (arch/x86/kernel/vmlinux.lds.S).

use crate::elf::Elf;

/// Whether the file is a `vmlinux`.
pub(crate) fn recognise(elf: &Elf) -> bool {
    elf.section(".data..percpu").is_some()
        || elf.section("__ksymtab").is_some() && elf.section(".init.text").is_some()
}
