//! Unikraft: recognised by its sections, described by `.uk_libinfo` and `.uk_libparam_params`.
//!
//! Section headers survive Unikraft's `strip -s` and its 32-bit wrapping. Kernels before 0.15, or built without
//! `LIBUKLIBID_INFO`, tell neither version nor libraries; kernels before 0.13 do not tell their parameters in a form
//! that is read here. What is not told stays `None`, and no default is invented here.

mod command_line;
mod libinfo;
mod libparam;
mod parameters;
mod version;

use std::fmt;

use serde::Serialize;

pub(crate) use command_line::{Grammar, share_obstacle, unpacks_initrd};
pub use libparam::{Parameter, ParameterKind};
pub use parameters::{parameters, words};
pub use version::Version;

use crate::{Class, detect::DetectError, elf::Elf, symbol};

/// Sections of a Unikraft kernel start so (`.uk_bootinfo`, `.uk_libinfo`, `.uk_inittab`, `.uk_ctortab`, …).
const MARK: &str = ".uk_";
/// Sections of parameters start so before 0.13; see `libparam` for later ones.
const OLD_PARAMETERS_MARK: &str = "uk_lib_arg";
/// Where GNU ld links x86-64 programs, which a linuxu kernel is; all others are linked at 1 MiB.
const LINUXU_BASE: u64 = 0x40_0000;
/// Entry point of kernels that are entered by multiboot (plat/kvm/Linker.uk).
const MULTIBOOT_ENTRY: &str = "_multiboot_entry";

/// What a Unikraft kernel says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The release, such as `0.16.3`.
    pub version: Option<Version>,
    /// The release with the commit, such as `0.16.3~e453b74a`.
    pub full_version: Option<String>,
    /// What the kernel was built to run on.
    pub platform: Platform,
    /// Names of the libraries inside, such as `libvfscore`; `None` when the kernel does not say.
    pub libraries: Option<Vec<String>>,
    /// Whether it understands parameters on its command line (`libuklibparam`).
    pub takes_parameters: bool,
    /// The parameters it understands; `None` when the kernel does not list them.
    pub parameters: Option<Vec<Parameter>>,
}

/// What a Unikraft kernel was built to run on, in kraft's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// QEMU or another machine with virtio over PCI; entered by multiboot.
    Qemu,
    /// Firecracker or another machine with virtio over MMIO; entered by the Linux 64-bit boot protocol.
    Fc,
    /// A Linux process.
    Linuxu,
    /// A Xen domain.
    Xen,
}

impl Platform {
    /// Whether the kernel is for a virtual machine with hardware assistance, as QEMU's and Firecracker's are.
    #[must_use]
    pub fn is_kvm(self) -> bool {
        matches!(self, Platform::Qemu | Platform::Fc)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Platform::Qemu => "qemu",
            Platform::Fc => "fc",
            Platform::Linuxu => "linuxu",
            Platform::Xen => "xen",
        })
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "Unikraft {version} ({})", self.platform),
            None => write!(f, "Unikraft of unknown version ({})", self.platform),
        }
    }
}

impl Facts {
    /// Whether the library is inside; `None` when the kernel does not say.
    #[must_use]
    pub fn has_library(&self, name: &str) -> Option<bool> {
        Some(self.libraries.as_ref()?.iter().any(|library| library == name))
    }

    /// What the kernel says about a parameter: `None` when it lists none at all, `Some(None)` when not this one.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Option<&Parameter>> {
        Some(self.parameters.as_ref()?.iter().find(|parameter| parameter.name == name))
    }
}

/// The facts, if the file is a Unikraft kernel.
pub(crate) fn recognise(elf: &Elf) -> Result<Option<Facts>, DetectError> {
    if !elf.has_section_prefix(MARK) {
        return Ok(None);
    }
    let info = libinfo::read(elf)?;
    let takes_parameters = match &info.libraries {
        Some(libraries) => libraries.iter().any(|library| library == "libuklibparam"),
        None => elf.has_section_prefix(libparam::MARK) || elf.has_section_prefix(OLD_PARAMETERS_MARK),
    };
    // A kernel that is new enough to say so, and has no section of parameters, has no parameter.
    let parameters_told = takes_parameters && !elf.has_section_prefix(OLD_PARAMETERS_MARK);
    let version = info.version.as_deref().or(info.full_version.as_deref()).and_then(Version::parse);
    Ok(Some(Facts {
        version,
        full_version: info.full_version,
        platform: platform(elf, info.libraries.as_deref()),
        libraries: info.libraries,
        takes_parameters,
        parameters: parameters_told.then(|| libparam::read(elf)).transpose()?.flatten(),
    }))
}

/// The platform, by its library where the kernel lists them, else by how it is linked.
fn platform(elf: &Elf, libraries: Option<&[String]>) -> Platform {
    let has = |name: &str| libraries.is_some_and(|libraries| libraries.iter().any(|library| library == name));
    if has("liblinuxuplat") {
        return Platform::Linuxu;
    }
    if has("libxenplat") || elf.notes().any(|note| note.owner == b"Xen") {
        return Platform::Xen;
    }
    if elf.class == Class::Elf32 || symbol::is_at(elf, MULTIBOOT_ENTRY, elf.entry) {
        return Platform::Qemu;
    }
    if libraries.is_none() && elf.loads().map(|header| header.vaddr).min() == Some(LINUXU_BASE) {
        return Platform::Linuxu;
    }
    Platform::Fc
}
