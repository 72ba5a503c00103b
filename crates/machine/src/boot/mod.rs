//! Boot protocols: a kernel goes into guest memory, a description of the machine beside it, and out comes the state
//! to enter it in.
//!
//! A plan has been checked when it was made, but plan and files reach this code by different ways. So everything is
//! checked again, with checked arithmetic, against the memory that is really there.
//!
//! Where things go: kernel segments at the addresses the plan says; the initrd as high as possible below the first
//! hole of RAM; what the kernel is told (information structure, command line) in conventional memory, around whatever
//! the kernel itself has there; page tables and descriptors of the first instructions in the PC's ROM area, which no
//! kernel takes for RAM and gives away. Guest memory must be fresh: zeroes are not written again.

mod layout;
mod linux64;
mod multiboot;

use std::{fs::File, io};

use runu_core::{Blame, Blamed, BootProtocol, Bytes, GuestAddr, Plan};

use crate::memory::{FillError, GuestMemory, OutOfRam, StoreError};

use self::layout::Layout;

/// The longest command line, without its NUL. Kernels have limits of their own, 512 bytes to 4 KiB; this one only
/// bounds what is copied.
pub const COMMAND_LINE_MAX: usize = 64 << 10;

/// Where the global descriptor table of the first instructions is, in the ROM area of the PC.
const GDT: GuestAddr = GuestAddr(0xc_0000);
/// Selector of the flat code segment in it: `__BOOT_CS` (Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
const CODE_SELECTOR: u16 = 0x10;
/// Selector of the flat data segment in it: `__BOOT_DS` (as above).
const DATA_SELECTOR: u16 = 0x18;
/// Length of the table: two empty descriptors before these.
const GDT_LEN: usize = 0x20;
/// Its limit.
const GDT_LIMIT: u16 = 0x1f;
/// Flat 4 GiB data, writable, accessed, DPL 0 (Intel SDM vol. 3 §3.4.5).
const FLAT_DATA: u64 = 0x00cf_9300_0000_ffff;

/// The CPU mode a kernel is entered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit protected mode, paging off.
    Protected32,
    /// 64-bit mode.
    Long64,
}

/// The state to enter a kernel in. Registers that are not named are zero; RFLAGS is 2: interrupts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The CPU mode.
    pub mode: Mode,
    /// First instruction.
    pub rip: u64,
    /// A stack. Neither protocol promises one; it costs nothing and sits below 640 KiB.
    pub rsp: u64,
    /// RAX.
    pub rax: u64,
    /// RBX.
    pub rbx: u64,
    /// RSI.
    pub rsi: u64,
    /// CR0.
    pub cr0: u64,
    /// CR3; zero when paging is off.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The EFER model-specific register.
    pub efer: u64,
    /// Guest-physical (and linear) address of the global descriptor table.
    pub gdt: GuestAddr,
    /// Limit of the global descriptor table: its length less one.
    pub gdt_limit: u16,
    /// Selector of CS: flat, 4 GiB, DPL 0, 32-bit or 64-bit according to the mode.
    pub code_selector: u16,
    /// Selector of DS, ES, FS, GS and SS: flat, 4 GiB, writable, DPL 0.
    pub data_selector: u16,
}

/// Why a kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A segment's lengths or addresses contradict each other.
    #[error("the kernel's segment at {addr} is malformed: {what}")]
    MalformedSegment {
        /// Where it was to go.
        addr: GuestAddr,
        /// What is wrong.
        what: &'static str,
    },
    /// Two segments claim the same memory.
    #[error("the kernel's segments at {first} and {second} overlap")]
    SegmentsOverlap {
        /// The one that starts first.
        first: GuestAddr,
        /// The other.
        second: GuestAddr,
    },
    /// A segment belongs where this machine never has RAM, whatever its size.
    #[error("the kernel's segment of {len} bytes at {addr} lies outside of what can be RAM")]
    SegmentMisplaced {
        /// Where it was to go.
        addr: GuestAddr,
        /// Its length in memory.
        len: u64,
    },
    /// The kernel needs more memory than the guest has.
    #[error("the kernel reaches up to {end} and does not fit into {memory} of memory")]
    KernelTooLarge {
        /// Where its last segment ends.
        end: GuestAddr,
        /// The guest's memory.
        memory: Bytes,
    },
    /// The kernel has no segment that occupies memory.
    #[error("the kernel has nothing to load")]
    KernelEmpty,
    /// The first instruction is in no segment.
    #[error("the kernel's entry {0} is outside of the kernel")]
    EntryOutside(GuestAddr),
    /// The kernel file ended before a segment did.
    #[error("the kernel file ends inside of the segment that goes to {addr}")]
    KernelTruncated {
        /// Where the segment was to go.
        addr: GuestAddr,
    },
    /// The kernel file could not be read.
    #[error("cannot read the kernel file")]
    ReadKernel(#[source] io::Error),
    /// Plan and caller disagree about whether there is an initrd.
    #[error("the plan and the files at hand disagree about an initrd")]
    InitrdMismatch,
    /// No room is left for the initrd.
    #[error("the initrd of {initrd} does not fit into {memory} of memory beside the kernel")]
    InitrdTooLarge {
        /// Its length.
        initrd: Bytes,
        /// The guest's memory.
        memory: Bytes,
    },
    /// The initrd became shorter since the plan was made.
    #[error("the initrd ends before its {0}")]
    InitrdTruncated(Bytes),
    /// The initrd could not be read.
    #[error("cannot read the initrd")]
    ReadInitrd(#[source] io::Error),
    /// The command line is longer than [`COMMAND_LINE_MAX`].
    #[error("the command line has {0} bytes, more than the {COMMAND_LINE_MAX} that can be handed over")]
    CommandLineTooLong(usize),
    /// The command line holds a NUL, where the kernel would stop reading.
    #[error("the command line holds a NUL byte")]
    CommandLineNul,
    /// The kernel occupies the conventional memory that the boot protocol needs.
    #[error("the kernel leaves no room below 640 KiB for the command line and the memory map")]
    NoLowMemory,
    /// The host gave no memory.
    #[error("cannot write to guest memory")]
    WriteMemory(#[source] io::Error),
    /// Memory that was checked turned out not to be RAM.
    #[error(transparent)]
    OutOfRam(#[from] OutOfRam),
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OutOfRam(error) => LoadError::OutOfRam(error),
            StoreError::Host(source) => LoadError::WriteMemory(source),
        }
    }
}

impl LoadError {
    /// What went wrong with a file, told in the words for that file.
    fn of_file(error: FillError, short: Self, read: fn(io::Error) -> Self) -> Self {
        match error {
            FillError::Store(error) => error.into(),
            FillError::Short => short,
            FillError::Read(source) => read(source),
        }
    }
}

impl Blamed for LoadError {
    fn blame(&self) -> Blame {
        match self {
            LoadError::MalformedSegment { .. }
            | LoadError::SegmentsOverlap { .. }
            | LoadError::SegmentMisplaced { .. }
            | LoadError::KernelEmpty
            | LoadError::EntryOutside(_)
            | LoadError::KernelTruncated { .. }
            | LoadError::NoLowMemory
            | LoadError::InitrdTruncated(_) => Blame::Image,
            LoadError::KernelTooLarge { .. }
            | LoadError::InitrdTooLarge { .. }
            | LoadError::CommandLineTooLong(_)
            | LoadError::CommandLineNul => Blame::User,
            LoadError::ReadKernel(_) | LoadError::ReadInitrd(_) | LoadError::WriteMemory(_) => Blame::Host,
            LoadError::InitrdMismatch | LoadError::OutOfRam(_) => Blame::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LoadError::KernelTooLarge { end, .. } => {
                Some(format!("give the guest at least {} of memory", Bytes::mib(end.0.div_ceil(1 << 20))))
            }
            LoadError::InitrdTooLarge { .. } => Some("give the guest more memory".to_owned()),
            _ => None,
        }
    }
}

/// Puts the kernel and the initrd into `memory`, which must be fresh, and says how to enter.
///
/// Neither file's position matters or moves.
///
/// # Errors
///
/// When kernel, initrd or command line are malformed, don't fit or can't be read. Memory is then in no state to be used.
pub fn load(
    plan: &Plan,
    kernel: &File,
    initrd: Option<&File>,
    memory: &GuestMemory,
) -> Result<Entry, LoadError> {
    let layout = Layout::of(plan, memory)?;
    for segment in &plan.segments {
        let addr = segment.addr;
        memory.fill(addr, kernel, segment.file_offset, segment.file_len).map_err(|error| {
            LoadError::of_file(error, LoadError::KernelTruncated { addr }, LoadError::ReadKernel)
        })?;
    }
    match (&layout.initrd, initrd) {
        (None, None) => {}
        (Some(range), Some(file)) => {
            let len = range.end - range.start;
            memory.fill(GuestAddr(range.start), file, 0, len).map_err(|error| {
                LoadError::of_file(error, LoadError::InitrdTruncated(Bytes(len)), LoadError::ReadInitrd)
            })?;
        }
        (None, Some(_)) if plan.initrd == Some(Bytes(0)) => {}
        (Some(_), None) | (None, Some(_)) => return Err(LoadError::InitrdMismatch),
    }
    // Guest memory is fresh, so the NUL behind the command line is there.
    memory.store(layout.command_line, &plan.command_line)?;
    match plan.boot {
        BootProtocol::Multiboot => multiboot::prepare(plan, &layout, memory),
        BootProtocol::Linux64 => linux64::prepare(plan, &layout, memory),
    }
}

/// A table of descriptors for flat segments, code as given.
fn gdt(code: u64) -> [u8; GDT_LEN] {
    let mut table = [0; GDT_LEN];
    put(&mut table, usize::from(CODE_SELECTOR), code.to_le_bytes());
    put(&mut table, usize::from(DATA_SELECTOR), FLAT_DATA.to_le_bytes());
    table
}

/// `value` placed into the little-endian structure `bytes` at `offset`; fields that don't fit are a bug of the caller.
fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(offset..offset + N) {
        field.copy_from_slice(&value);
    } else {
        debug_assert!(false, "field of {N} bytes at {offset:#x} does not fit into {} bytes", bytes.len());
    }
}
