//! runu's own tiny unikernels, as bytes.
//!
//! Each guest is built in the two kinds of file that Unikraft's kernels come in, from one source (see
//! `README.md` for what each does and understands). They are embedded here, so that whoever links this crate
//! needs no file; tests that hand a file to another program find it in [`DIRECTORY`].

use std::path::PathBuf;

/// One guest in both kinds.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// Its folder's name, which is also in its ELF section `.runu_guest` as `name=…`.
    pub name: &'static str,
    /// ELF32 for i386 with a multiboot 1 header and a 32-bit entry (Unikraft's `qemu` kind).
    pub multiboot: &'static [u8],
    /// ELF64 entered by the Linux 64-bit boot protocol (Unikraft's `fc` kind).
    pub linux64: &'static [u8],
}

impl Guest {
    /// The file of the multiboot kind. It exists where this crate was built, as long as its build directory
    /// does.
    #[must_use]
    pub fn multiboot_path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(format!("{}-multiboot", self.name))
    }

    /// The file of the Linux 64-bit kind. It exists where this crate was built, as long as its build
    /// directory does.
    #[must_use]
    pub fn linux64_path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(format!("{}-linux64", self.name))
    }

    /// The guest of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|guest| guest.name == name)
    }
}

/// The file of [`LXSHIM`]. It exists where this crate was built, as long as its build directory does.
#[must_use]
pub fn lxshim_path() -> PathBuf {
    PathBuf::from(DIRECTORY).join("lxshim-multiboot")
}

/// A static program for Linux, which the guest `loader` runs from its initrd: it prints the same wherever it runs.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/program"));

/// Every guest, in no particular order.
pub const ALL: &[Guest] = include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// The directory that the guests' files were built into: `NAME-multiboot` and `NAME-linux64`.
pub const DIRECTORY: &str = env!("OUT_DIR");

/// The `hello` guest for a multiboot loader.
pub const HELLO_MULTIBOOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello-multiboot"));

/// The `hello` guest for a loader of the Linux 64-bit boot protocol.
pub const HELLO_LINUX64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello-linux64"));

/// The `http` guest for a multiboot loader.
pub const HTTP_MULTIBOOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/http-multiboot"));

/// The `http` guest for a loader of the Linux 64-bit boot protocol.
pub const HTTP_LINUX64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/http-linux64"));

/// A multiboot kernel that boots the Linux 64-bit kernel in its first module, with the second as initrd; for
/// QEMU, which boots no such kernel itself.
pub const LXSHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lxshim-multiboot"));
