//! What the virtual CPU tells about itself: the host's features, filtered to what is represented.
//!
//! One logical CPU with APIC id 0 and nothing of the host's topology: Unikraft indexes an array of one by that id.
//! Told is only what runs natively in ring 3 or is emulated. Not told: TSC deadlines, MTRRs, machine checks, SYSENTER, MONITOR, VMX and SVM, PCID, INVPCID, SMEP, SMAP, UMIP, protection keys, five-level paging, any state beyond AVX
//! (save areas of existing kernels have 832 bytes), XSAVEC and XSAVES. Three answers change as the guest runs: OSXSAVE
//! follows CR4, APIC follows IA32_APIC_BASE, and the size of the save area follows XCR0.
//!
//! Translated code must hold to the same: the host's XCR0 may have more states than the guest's, so the XSAVE family
//! needs its mask cut to [`Host::extended_states`] before it runs.

mod table;
mod time_stamp;

use crate::cpu::{Cpu, cr4};

pub use table::{Clocks, Host, Leaves};
pub(crate) use table::{SAVE_AREA_MAX, save_area};

/// Width of guest-physical addresses in bits, as CPUID 0x80000008 tells it: 1 TiB, the default of QEMU's CPUs.
pub const PHYSICAL_ADDRESS_BITS: u8 = 40;

/// Width of guest-virtual addresses in bits: four-level paging.
const VIRTUAL_ADDRESS_BITS: u8 = 48;

/// A feature that decides how an instruction or register behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// XSAVE, XRSTOR, XSETBV, XGETBV.
    Xsave,
    /// AVX and its state.
    Avx,
    /// RDFSBASE and its relatives.
    FsGsBase,
    /// RDTSCP and IA32_TSC_AUX.
    Rdtscp,
    /// RDPID.
    Rdpid,
}

/// Answers CPUID; `apic` tells whether the local APIC is enabled. Leaves that are not told read as zero.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32, cpu: &Cpu, apic: bool, host: &Host) -> [u32; 4] {
    let mut answer = host.leaf(leaf, subleaf);
    let [_, ebx, ecx, edx] = &mut answer;
    match (leaf, subleaf) {
        (1, _) => {
            *ecx |= u32::from(cpu.cr4 & cr4::OSXSAVE != 0) << 27;
            *edx |= u32::from(apic) << 9;
        }
        (0xd, 0) if host.has(Feature::Xsave) => *ebx = save_area(cpu.xcr0),
        _ => {}
    }
    answer
}

#[cfg(test)]
mod tests;
