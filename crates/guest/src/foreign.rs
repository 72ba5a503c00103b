//! What a file is that is no kernel: named for the message, by its first bytes.
//!
//! Only names are wanted here, so a few magic numbers suffice; a wrong guess costs a wrong word in a message.

use std::fmt;

use crate::bytes::View;

/// A file that is no unikernel, by what it is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Starts with `#!`.
    Script,
    /// Plain text of another kind.
    Text,
    /// A Windows or EFI executable.
    Pe,
    /// A compressed Linux kernel for x86.
    BzImage,
    /// A Linux program that needs a dynamic loader.
    DynamicProgram,
    /// A Linux program that needs nothing but a Linux kernel.
    StaticProgram,
    /// A 32-bit Linux program, or one of the x32 kind.
    Program32,
    /// A library for dynamic linking.
    SharedLibrary,
    /// A compiler's output that is not linked yet, an archive of such, or a kernel module.
    Object,
    /// The memory of a crashed process.
    CoreDump,
    /// A program for macOS.
    MachO,
    /// A compressed file.
    Compressed,
    /// An archive of the kind an initrd is.
    Cpio,
    /// A tar archive, such as a saved container image.
    Tar,
    /// A disk or CD image.
    Disk,
    /// A multiboot kernel that is not ELF.
    RawMultiboot,
    /// None of the above.
    Unknown,
}

impl Foreign {
    /// Names a file that does not start with the ELF magic.
    pub(crate) fn name(file: &[u8]) -> Self {
        let view = View(file);
        let has = |at, magic: &[u8]| view.piece(at, magic.len() as u64) == Some(magic);
        // Linux Documentation/arch/x86/boot.rst: "HdrS" at 0x202, after the boot sector's 0xaa55.
        if has(0x1fe, &[0x55, 0xaa]) && has(0x202, b"HdrS") {
            return Foreign::BzImage;
        }
        let starts: &[(&[u8], Foreign)] = &[
            (b"#!", Foreign::Script),
            (b"MZ", Foreign::Pe),
            (&[0x1f, 0x8b], Foreign::Compressed),
            (b"\xfd7zXZ", Foreign::Compressed),
            (&[0x28, 0xb5, 0x2f, 0xfd], Foreign::Compressed),
            (b"BZh", Foreign::Compressed),
            (b"PK\x03\x04", Foreign::Compressed),
            (b"!<arch>\n", Foreign::Object),
            (b"07070", Foreign::Cpio),
            (b"QFI\xfb", Foreign::Disk),
            (&[0xcf, 0xfa, 0xed, 0xfe], Foreign::MachO),
            (&[0xce, 0xfa, 0xed, 0xfe], Foreign::MachO),
            (&[0xca, 0xfe, 0xba, 0xbe], Foreign::MachO),
        ];
        if let Some((_, foreign)) = starts.iter().find(|(magic, _)| file.starts_with(magic)) {
            return *foreign;
        }
        // POSIX pax, "ustar Interchange Format"; ECMA-119 §8.1.
        if has(257, b"ustar") {
            return Foreign::Tar;
        }
        // A raw kernel may carry code that looks like a boot sector, so multiboot comes before disks.
        if !matches!(crate::multiboot::has_header(view), Ok(false)) {
            return Foreign::RawMultiboot;
        }
        if has(0x1fe, &[0x55, 0xaa]) || has(0x8001, b"CD001") {
            return Foreign::Disk;
        }
        let head = file.get(..512).unwrap_or(file);
        let text = head.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
        if text { Foreign::Text } else { Foreign::Unknown }
    }

    /// What to do instead, where that is known.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Foreign::BzImage => "runu boots unikernels; run Linux programs as ordinary containers with runc",
            Foreign::DynamicProgram | Foreign::StaticProgram | Foreign::Program32 | Foreign::Script => {
                "give the unikernel's kernel file; a Linux program runs as an ordinary container with runc"
            }
            Foreign::Compressed => "decompress the file first",
            Foreign::Cpio => "give this file with --initrd, and the kernel file as KERNEL",
            Foreign::Tar => "extract the kernel first; kraft images hold it at /unikraft/bin/kernel",
            Foreign::Pe => "build the kernel for the qemu or fc platform instead of EFI",
            Foreign::RawMultiboot => "link the kernel as ELF",
            Foreign::Object => "link it into a kernel first",
            Foreign::SharedLibrary
            | Foreign::Text
            | Foreign::CoreDump
            | Foreign::MachO
            | Foreign::Disk
            | Foreign::Unknown => "give an x86_64 kernel file, such as kraft's /unikraft/bin/kernel",
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Script => "a script",
            Foreign::Text => "a text",
            Foreign::Pe => "a Windows or EFI executable (PE)",
            Foreign::BzImage => "a compressed Linux kernel (bzImage)",
            Foreign::DynamicProgram => "a dynamically linked Linux program",
            Foreign::StaticProgram => "a statically linked Linux program",
            Foreign::Program32 => "a 32-bit Linux program",
            Foreign::SharedLibrary => "a shared library",
            Foreign::Object => "an object file, not linked yet",
            Foreign::CoreDump => "a core dump",
            Foreign::MachO => "a macOS executable (Mach-O)",
            Foreign::Compressed => "a compressed file",
            Foreign::Cpio => "a cpio archive, as initrds are",
            Foreign::Tar => "a tar archive",
            Foreign::Disk => "a disk image",
            Foreign::RawMultiboot => "a multiboot kernel in another format than ELF",
            Foreign::Unknown => "no kind of file known to runu",
        })
    }
}

/// What architecture a foreign file is for, where its format tells.
///
/// Linux Documentation/arch/arm64/booting.rst §4: magic `ARM\x64` at 56. RISC-V: Documentation/arch/riscv/boot-image-header.rst,
/// magic2 `RSC\x05` at 56.
pub(crate) fn raw_image_architecture(file: &[u8]) -> Option<&'static str> {
    match View(file).piece(56, 4)? {
        b"ARM\x64" => Some("arm64"),
        b"RSC\x05" => Some("riscv"),
        _ => None,
    }
}

/// The name of an `e_machine` of another architecture (gABI, "e_machine").
pub(crate) fn machine_name(machine: u16) -> String {
    let known = match machine {
        8 => "mips",
        20 => "ppc",
        21 => "ppc64",
        22 => "s390",
        40 => "arm",
        183 => "arm64",
        243 => "riscv",
        258 => "loongarch",
        _ => return format!("ELF machine {machine}"),
    };
    known.to_owned()
}
