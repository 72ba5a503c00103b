//! From the bytes of a file to the guest it is.
//!
//! A call goes: magic → architecture → header tables → whose marks the file bears → boot protocol → segments. A file
//! that bears no mark of a kernel is an error that names what it is instead; it is never guessed to be a kernel.

use runu_core::{Blame, Blamed, BootProtocol, GuestAddr, Segment};

use crate::{
    Arch, Class, Foreign, Guest, Kind,
    bytes::View,
    elf::{self, Elf, Ident},
    foreign, hermit, linux, multiboot, osv, runu, solo5, unikraft,
};

/// End of the highest address a segment may have. Multiboot kernels are entered in 32-bit mode, and the Linux 64-bit
/// boot protocol promises an identity map of what the kernel needs, which Unikraft's own first map puts below 4 GiB
/// (plat/kvm/x86/pagetable64.S); a kernel above is malformed or meant for another loader.
const IMAGE_END_MAX: u64 = 1 << 32;

/// Xen's ELF note for the PVH entry point: `XEN_ELFNOTE_PHYS32_ENTRY` (xen/include/public/elfnote.h).
const PVH_NOTE: u32 = 18;

/// Says what a kernel file is and what it understands.
///
/// Work is linear in the length of `file`, and nothing in it makes this panic.
///
/// # Errors
///
/// The file is not a kernel of a known kind for `x86_64`, or it is damaged; the error says what it is.
pub fn detect(file: &[u8]) -> Result<Guest, DetectError> {
    if file.is_empty() {
        return Err(DetectError::Empty);
    }
    if !file.starts_with(b"\x7fELF") {
        return Err(not_elf(file));
    }
    let view = View(file);
    let ident = Ident::read(view)?;
    if !ident.little_endian || !matches!(ident.machine, elf::EM_386 | elf::EM_X86_64) {
        return Err(DetectError::ForeignArchitecture { architecture: foreign::machine_name(ident.machine) });
    }
    match ident.kind {
        elf::ET_REL => return Err(DetectError::NotAKernel(Foreign::Object)),
        elf::ET_CORE => return Err(DetectError::NotAKernel(Foreign::CoreDump)),
        _ => {}
    }
    let elf = Elf::read(view, &ident)?;
    let kind = kind(&elf)?;
    let boot = boot_protocol(&elf, &kind)?;
    let segments = segments(&elf)?;
    let entry = GuestAddr(elf.entry);
    if boot.is_some() && !segments.iter().any(|segment| contains(segment, entry)) {
        return Err(DetectError::EntryOutside { entry });
    }
    let pie = elf.kind == elf::ET_DYN || elf.has(elf::PT_DYNAMIC);
    Ok(Guest { kind, class: elf.class, arch: Arch::X86_64, boot, entry, segments, pie })
}

/// The error for a file without the ELF magic.
fn not_elf(file: &[u8]) -> DetectError {
    match foreign::raw_image_architecture(file) {
        Some(architecture) => DetectError::ForeignArchitecture { architecture: architecture.to_owned() },
        // A kernel cut within its first four bytes.
        None if b"\x7fELF".starts_with(file) => {
            DetectError::Truncated { what: "the ELF header".to_owned(), needs: 20, has: file.len() as u64 }
        }
        None => DetectError::NotAKernel(Foreign::name(file)),
    }
}

/// Whose marks the file bears. Own marks come before general ones: a Solo5 guest also looks like a dynamic program.
fn kind(elf: &Elf) -> Result<Kind, DetectError> {
    if let Some(facts) = solo5::recognise(elf)? {
        return Ok(Kind::Solo5(facts));
    }
    if let Some(facts) = runu::recognise(elf)? {
        return Ok(Kind::Runu(facts));
    }
    if let Some(facts) = unikraft::recognise(elf)? {
        return Ok(Kind::Unikraft(facts));
    }
    if hermit::recognise(elf) {
        return Ok(Kind::Hermit);
    }
    if osv::recognise(elf) {
        return Ok(Kind::Osv);
    }
    if linux::recognise(elf) {
        return Ok(Kind::Linux);
    }
    if elf.has(elf::PT_INTERP) {
        return Err(DetectError::NotAKernel(Foreign::DynamicProgram));
    }
    let pvh = elf.notes().any(|note| note.owner == b"Xen" && note.kind == PVH_NOTE);
    if pvh || multiboot::has_header(elf.file)? {
        return Ok(Kind::Unknown);
    }
    Err(DetectError::NotAKernel(match elf.class {
        Class::Elf32 => Foreign::Program32,
        Class::Elf64 if elf.kind == elf::ET_DYN && !elf.is_marked_program() => Foreign::SharedLibrary,
        Class::Elf64 => Foreign::StaticProgram,
    }))
}

/// How the kernel wants to be entered, if in a way that runu's own machines know.
fn boot_protocol(elf: &Elf, kind: &Kind) -> Result<Option<BootProtocol>, DetectError> {
    match kind {
        Kind::Solo5(_) | Kind::Hermit | Kind::Osv => Ok(None),
        Kind::Linux => Ok(Some(BootProtocol::Linux64)),
        Kind::Unikraft(facts) if !facts.platform.is_kvm() => Ok(None),
        Kind::Unikraft(facts) if facts.platform == unikraft::Platform::Qemu => {
            // The debug file of a qemu kernel is the 64-bit ELF before wrapping: same entry, its header still inside.
            if elf.class == Class::Elf32 && !multiboot::has_header(elf.file)? {
                return Err(DetectError::NoMultibootHeader);
            }
            Ok(Some(BootProtocol::Multiboot))
        }
        Kind::Unikraft(_) => Ok(Some(BootProtocol::Linux64)),
        Kind::Runu(_) | Kind::Unknown => {
            if multiboot::has_header(elf.file)? {
                return Ok(Some(BootProtocol::Multiboot));
            }
            match (kind, elf.class) {
                (Kind::Runu(_), Class::Elf64) => Ok(Some(BootProtocol::Linux64)),
                (Kind::Runu(_), Class::Elf32) => Err(DetectError::NoMultibootHeader),
                _ => Ok(None),
            }
        }
    }
}

/// What is to be loaded, in file order: complete in the file, below 4 GiB, without overlap.
fn segments(elf: &Elf) -> Result<Vec<Segment>, DetectError> {
    let segments: Vec<Segment> = elf
        .loads()
        .map(|header| Segment {
            addr: GuestAddr(header.paddr),
            file_offset: header.offset,
            file_len: header.file_len,
            mem_len: header.mem_len,
        })
        .collect();
    if segments.is_empty() {
        return Err(DetectError::NothingToLoad);
    }
    for segment in &segments {
        let Segment { addr, file_offset, file_len, mem_len } = *segment;
        if file_len > mem_len {
            return Err(DetectError::SegmentShrinks { addr, file_len, mem_len });
        }
        let end = file_offset.saturating_add(file_len);
        if end > elf.file.len() {
            let what = format!("the segment for {addr}");
            return Err(DetectError::Truncated { what, needs: end, has: elf.file.len() });
        }
        if addr.checked_add(mem_len).is_none_or(|end| end.0 > IMAGE_END_MAX) {
            return Err(DetectError::SegmentTooHigh { addr, mem_len });
        }
    }
    let mut ordered: Vec<&Segment> = segments.iter().collect();
    ordered.sort_by_key(|segment| segment.addr);
    for pair in ordered.windows(2) {
        if let [lower, upper] = pair
            && contains(lower, upper.addr)
        {
            return Err(DetectError::SegmentsOverlap { lower: lower.addr, upper: upper.addr });
        }
    }
    Ok(segments)
}

/// Whether the address lies in the segment. The segment must not end beyond 64 bits.
fn contains(segment: &Segment, addr: GuestAddr) -> bool {
    addr >= segment.addr && addr.0 - segment.addr.0 < segment.mem_len
}

/// Why a file is no guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It ends too early.
    #[error("the file is truncated: {what} needs {needs} bytes, the file has {has}")]
    Truncated {
        /// The part that is missing or cut.
        what: String,
        /// Where that part ends, in bytes from the start of the file.
        needs: u64,
        /// Length of the file in bytes.
        has: u64,
    },
    /// It is something else.
    #[error("the file is {0}, not a unikernel")]
    NotAKernel(Foreign),
    /// It is for another architecture.
    #[error("the file is for another architecture: {architecture}, and runu runs x86_64")]
    ForeignArchitecture {
        /// Name of the architecture.
        architecture: String,
    },
    /// It is an ELF file whose parts contradict each other or the format.
    #[error("the kernel is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// A table has more entries than a kernel has.
    #[error("the kernel is malformed: it has {count} {what}, and {most} is the most that runu reads")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many the file says there are.
        count: u64,
        /// How many are read at most.
        most: u64,
    },
    /// The kernel has no segment.
    #[error("the kernel has nothing to load: no program header occupies memory")]
    NothingToLoad,
    /// A segment holds more bytes than it occupies.
    #[error("the kernel's segment at {addr} has {file_len} bytes in the file but occupies only {mem_len}")]
    SegmentShrinks {
        /// Where the segment goes.
        addr: GuestAddr,
        /// Bytes in the file.
        file_len: u64,
        /// Bytes in memory.
        mem_len: u64,
    },
    /// A segment goes where no kernel for the known boot protocols can be.
    #[error("the kernel's segment at {addr} of {mem_len} bytes does not lie in the first 4 GiB")]
    SegmentTooHigh {
        /// Where the segment goes.
        addr: GuestAddr,
        /// Bytes in memory.
        mem_len: u64,
    },
    /// Two segments want the same memory.
    #[error("the kernel's segments at {lower} and {upper} overlap")]
    SegmentsOverlap {
        /// Where the lower one goes.
        lower: GuestAddr,
        /// Where the upper one goes.
        upper: GuestAddr,
    },
    /// The first instruction is not part of the kernel.
    #[error("the kernel's entry point {entry} lies outside its segments")]
    EntryOutside {
        /// Where the first instruction should be.
        entry: GuestAddr,
    },
    /// A 32-bit kernel without the header that tells how to enter it.
    #[error("the kernel is a 32-bit ELF without a multiboot header in its first 8192 bytes")]
    NoMultibootHeader,
    /// The multiboot header gives load addresses instead of leaving them to ELF.
    #[error("the kernel's multiboot header has address fields (flag 16), which runu does not load by")]
    MultibootAddresses,
    /// The multiboot header demands what no loader of runu's offers.
    #[error("the kernel's multiboot header demands what runu cannot offer: flags {unmet:#x}")]
    MultibootDemand {
        /// The flags that are not met.
        unmet: u32,
    },
}

impl Blamed for DetectError {
    fn blame(&self) -> Blame {
        Blame::Image
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            DetectError::Empty | DetectError::Truncated { .. } => {
                "build or download the kernel again; a copy of it may have been cut short"
            }
            DetectError::NotAKernel(foreign) => foreign.hint(),
            DetectError::ForeignArchitecture { .. } => {
                "build the kernel for x86_64, or pull the image for that platform"
            }
            DetectError::MultibootAddresses => "link the kernel as ELF with no address fields in the header",
            DetectError::MultibootDemand { .. } => "build the kernel without a demand for a video mode",
            DetectError::NoMultibootHeader => {
                "use the file that the build calls the final image; an intermediate one lacks the header"
            }
            DetectError::Malformed { .. }
            | DetectError::TooMany { .. }
            | DetectError::NothingToLoad
            | DetectError::SegmentShrinks { .. }
            | DetectError::SegmentTooHigh { .. }
            | DetectError::SegmentsOverlap { .. }
            | DetectError::EntryOutside { .. } => {
                "build the kernel again; `readelf -lS FILE` shows what runu reads"
            }
        };
        Some(hint.to_owned())
    }
}
