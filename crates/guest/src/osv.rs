//! `OSv`: recognised by sections that only its loader's link script makes (arch/x64/loader.ld).

use crate::elf::Elf;

/// Whether the file is an `OSv` loader.
pub(crate) fn recognise(elf: &Elf) -> bool {
    elf.section(".tracepoint_patch_sites").is_some() && elf.section(".percpu_workers").is_some()
}
