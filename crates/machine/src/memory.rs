//! Guest RAM: one memory file, mapped once for the monitor.
//!
//! A guest's physical address space has RAM in up to three regions, all backed by one file so that a monitor can map
//! any page of it again wherever the guest's page tables want it. The file is mapped here a second time, in one piece,
//! at an address of the kernel's choice: that is where devices and page-table walks reach guest memory.
//!
//! | guest-physical | what |
//! |---|---|
//! | 0 .. 0x7000_0000 | RAM, first region |
//! | 0x7000_0000 .. 0x8000_0000 | never RAM: a monitor without a VM keeps translated code at these virtual addresses |
//! | 0x8000_0000 .. 0xc000_0000 | RAM, second region |
//! | 0xc000_0000 .. 0x1_0000_0000 | never RAM: devices |
//! | 0x1_0000_0000 .. | RAM, third region |
//!
//! What the guest is *told* to be RAM is less: see [`GuestMemory::usable`].
//!
//! The mapping is `vm-memory`'s, whose volatile accesses are sound while the guest changes the same bytes. The region
//! table is our own: with one mapping behind three regions, a lookup is two comparisons.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
};

use runu_core::{Blame, Blamed, Bytes, GuestAddr};
use rustix::fs::{MemfdFlags, SealFlags};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// Size of a page frame.
pub(crate) const PAGE: u64 = 4096;

/// First guest-physical address behind the first region of RAM.
const FIRST_END: u64 = 0x7000_0000;
/// The second region of RAM: behind the monitor's hole, before the devices' hole.
const SECOND: Range<u64> = 0x8000_0000..0xc000_0000;
/// Where the third region of RAM starts.
const THIRD_START: u64 = 0x1_0000_0000;

/// Lowest RAM a guest is told about. Linux forbids processes to map anything below `vm.mmap_min_addr`, 65536 wherever
/// nobody changed it, so a monitor without a VM could not show these page frames at their own addresses.
const USABLE_START: u64 = 0x1_0000;
/// End of conventional memory; the last KiB below 640 KiB is the extended BIOS data area of a PC.
pub(crate) const CONVENTIONAL_END: u64 = 0x9_fc00;
/// Where RAM goes on behind video memory and ROMs.
pub(crate) const EXTENDED_START: u64 = 0x10_0000;

/// What [`GuestMemory::usable`] says below 4 GiB when there is plenty of memory.
pub(crate) const USABLE_BELOW_4_GIB: [Range<u64>; 3] =
    [USABLE_START..CONVENTIONAL_END, EXTENDED_START..FIRST_END, SECOND];

/// A piece of guest-physical address space that is RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Guest-physical address of its first byte, page-aligned.
    pub start: GuestAddr,
    /// Its length in bytes, a multiple of the page size.
    pub len: u64,
    /// Where it starts in the memory file.
    pub file_offset: u64,
    /// Where the monitor's mapping of it starts.
    pub host: usize,
}

impl Region {
    /// Whether `addr` lies in the region.
    #[inline]
    #[must_use]
    pub fn contains(&self, addr: GuestAddr) -> bool {
        // Wraps to a large number when `addr` is below `start`.
        addr.0.wrapping_sub(self.start.0) < self.len
    }
}

/// A guest named memory that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at guest-physical address {addr} are not all RAM")]
pub struct OutOfRam {
    /// The first address of the access.
    pub addr: GuestAddr,
    /// Its length in bytes.
    pub len: u64,
}

/// Why guest memory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Less than [`GuestMemory::MIN`].
    #[error("{0} of memory are too little for a guest: it needs at least {min}", min = GuestMemory::MIN)]
    TooSmall(Bytes),
    /// More than [`GuestMemory::MAX`].
    #[error("{0} of memory are too much for a guest: it may have at most {max}", max = GuestMemory::MAX)]
    TooLarge(Bytes),
    /// The host refused the memory file.
    #[error("cannot create a memory file of {size}")]
    File {
        /// Its intended size.
        size: Bytes,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host refused to map the memory file.
    #[error("cannot map {size} of guest memory")]
    Map {
        /// Its size.
        size: Bytes,
        /// What the kernel said.
        source: vm_memory::mmap::MmapRegionError,
    },
}

impl Blamed for MemoryError {
    fn blame(&self) -> Blame {
        match self {
            MemoryError::TooSmall(_) | MemoryError::TooLarge(_) => Blame::User,
            MemoryError::File { .. } | MemoryError::Map { .. } => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            MemoryError::TooSmall(_) => Some(format!("ask for at least {}", GuestMemory::MIN)),
            MemoryError::TooLarge(_) => Some(format!("ask for at most {}", GuestMemory::MAX)),
            MemoryError::File { .. } | MemoryError::Map { .. } => None,
        }
    }
}

/// Why bytes did not get into fresh guest memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// They were to go where no RAM is.
    #[error(transparent)]
    OutOfRam(#[from] OutOfRam),
    /// The host gave no memory.
    #[error("cannot write to the memory file")]
    Host(#[source] io::Error),
}

/// Why a file's bytes did not get into fresh guest memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    /// They could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file has fewer bytes than were asked for.
    #[error("the file ends early")]
    Short,
    /// The file could not be read.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
}

/// The RAM of one guest. Fresh memory reads as zero and costs nothing until it is touched.
#[derive(Debug)]
pub struct GuestMemory {
    file: Arc<File>,
    map: MmapRegion,
    regions: Vec<Region>,
    size: Bytes,
}

impl GuestMemory {
    /// The least memory a guest can have: 1 MiB of it is the PC's legacy area, the rest must hold the kernel.
    pub const MIN: Bytes = Bytes::mib(2);

    /// The most memory a guest can have. A bound keeps every sum of addresses far from overflow and a typing error
    /// from reserving the host's address space; it has no other reason.
    pub const MAX: Bytes = Bytes::mib(64 << 10);

    /// Makes `size` bytes of RAM, rounded down to whole pages.
    ///
    /// # Errors
    ///
    /// When `size` is below [`Self::MIN`] or above [`Self::MAX`], or when the host refuses the file or its mapping.
    pub fn new(size: Bytes) -> Result<Self, MemoryError> {
        if size < Self::MIN {
            return Err(MemoryError::TooSmall(size));
        }
        if size > Self::MAX {
            return Err(MemoryError::TooLarge(size));
        }
        let size = Bytes(size.0 / PAGE * PAGE);
        let file = memory_file(size).map_err(|source| MemoryError::File { size, source })?;
        let file = Arc::new(file);
        let len = usize::try_from(size.0).map_err(|_| MemoryError::TooLarge(size))?;
        // Shared and without reservation of swap space: memory costs what is touched.
        let map = MmapRegion::from_file(FileOffset::from_arc(Arc::clone(&file), 0), len)
            .map_err(|source| MemoryError::Map { size, source })?;
        let regions = regions(size.0, map.as_ptr().addr());
        Ok(Self { file, map, regions, size })
    }

    /// The memory file: page frame by page frame what [`Self::regions`] says. It can be neither shortened nor extended.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Size of the RAM.
    #[must_use]
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// Where RAM is, in ascending order; at least one region.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The region that holds `addr`.
    #[inline]
    #[must_use]
    pub fn region_of(&self, addr: GuestAddr) -> Option<&Region> {
        self.regions.iter().find(|region| region.contains(addr))
    }

    /// The RAM that a guest may be told about, in ascending order: not the page frames below 64 KiB, which a monitor
    /// without a VM cannot map at their own addresses, and not 0x9fc00 to 0x100000, where a PC has BIOS data, video
    /// memory and ROMs (there is memory behind those, so that stray writes to a text screen do no harm).
    pub fn usable(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let all = self.regions.iter().map(|region| region.start.0..region.start.0 + region.len);
        let first =
            all.clone().take(1).flat_map(|low| [USABLE_START..CONVENTIONAL_END, EXTENDED_START..low.end]);
        first.chain(all.skip(1))
    }

    /// Copies guest memory at `addr` into `into`.
    ///
    /// # Errors
    ///
    /// [`OutOfRam`] when not all of it is RAM; then nothing was copied.
    pub fn read(&self, addr: GuestAddr, into: &mut [u8]) -> Result<(), OutOfRam> {
        self.slice(addr, into.len())?.copy_to(into);
        Ok(())
    }

    /// Copies `from` into guest memory at `addr`.
    ///
    /// # Errors
    ///
    /// [`OutOfRam`] when not all of it is RAM; then nothing was copied.
    pub fn write(&self, addr: GuestAddr, from: &[u8]) -> Result<(), OutOfRam> {
        self.slice(addr, from.len())?.copy_from(from);
        Ok(())
    }

    /// Reads the little-endian number at `addr`, at once if `addr` is aligned.
    ///
    /// # Errors
    ///
    /// [`OutOfRam`] when not all of its eight bytes are RAM.
    #[inline]
    pub fn read_u64(&self, addr: GuestAddr) -> Result<u64, OutOfRam> {
        let bytes = self.slice(addr, 8)?;
        let number = bytes.get_ref::<u64>(0).map_err(|_| OutOfRam { addr, len: 8 })?;
        Ok(u64::from_le(number.load()))
    }

    /// Writes a little-endian number to `addr`, at once if `addr` is aligned.
    ///
    /// # Errors
    ///
    /// [`OutOfRam`] when not all of its eight bytes are RAM; then nothing was written.
    #[inline]
    pub fn write_u64(&self, addr: GuestAddr, value: u64) -> Result<(), OutOfRam> {
        let bytes = self.slice(addr, 8)?;
        let number = bytes.get_ref::<u64>(0).map_err(|_| OutOfRam { addr, len: 8 })?;
        number.store(value.to_le());
        Ok(())
    }

    /// Fills `len` bytes at `addr` with zeroes.
    ///
    /// # Errors
    ///
    /// [`OutOfRam`] when not all of it is RAM; then nothing was written.
    pub fn zero(&self, addr: GuestAddr, len: usize) -> Result<(), OutOfRam> {
        const ZEROES: [u8; 4096] = [0; 4096];
        let mut rest = self.slice(addr, len)?;
        while !rest.is_empty() {
            rest.copy_from(&ZEROES);
            let done = ZEROES.len().min(rest.len());
            rest = rest.offset(done).map_err(|_| OutOfRam { addr, len: len as u64 })?;
        }
        Ok(())
    }

    /// Copies `len` bytes of `file` at `offset` into guest memory at `addr`, leaving the file's position alone.
    ///
    /// Fresh page frames are made by writing to the memory file, which costs half of faulting them in by writing to the
    /// mapping: 110 µs against 220 µs for the kernel of a small Unikraft.
    pub(crate) fn fill(&self, addr: GuestAddr, file: &File, offset: u64, len: u64) -> Result<(), FillError> {
        /// Fits into a CPU's second-level cache with room to spare.
        const CHUNK: u64 = 64 << 10;
        let target = self.file_offset(addr, len).map_err(StoreError::OutOfRam)?;
        let mut buffer = vec![0; usize::try_from(len.min(CHUNK)).unwrap_or(0)];
        let mut done = 0;
        while done < len {
            let wanted = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
            let Some(buffer) = buffer.get_mut(..wanted) else { break };
            let source = offset.checked_add(done).ok_or(FillError::Short)?;
            file.read_exact_at(buffer, source).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => FillError::Short,
                _ => FillError::Read(error),
            })?;
            self.file.write_all_at(buffer, target + done).map_err(StoreError::Host)?;
            done += wanted as u64;
        }
        Ok(())
    }

    /// As [`Self::write`], for fresh memory: see [`Self::fill`].
    pub(crate) fn store(&self, addr: GuestAddr, from: &[u8]) -> Result<(), StoreError> {
        let target = self.file_offset(addr, from.len() as u64)?;
        self.file.write_all_at(from, target).map_err(StoreError::Host)
    }

    /// Where `len` bytes at `addr`, all in one region, are in the memory file.
    #[inline]
    fn file_offset(&self, addr: GuestAddr, len: u64) -> Result<u64, OutOfRam> {
        let out_of_ram = OutOfRam { addr, len };
        let region = self.region_of(addr).ok_or(out_of_ram)?;
        let within = addr.0 - region.start.0;
        if len > region.len - within {
            return Err(out_of_ram);
        }
        Ok(region.file_offset + within)
    }

    /// The monitor's view of `len` bytes at `addr`, all in one region.
    #[inline]
    pub(crate) fn slice(&self, addr: GuestAddr, len: usize) -> Result<VolatileSlice<'_>, OutOfRam> {
        let out_of_ram = OutOfRam { addr, len: len as u64 };
        let offset = usize::try_from(self.file_offset(addr, len as u64)?).map_err(|_| out_of_ram)?;
        self.map.get_slice(offset, len).map_err(|_| out_of_ram)
    }
}

/// Cuts `size` bytes into regions whose mapping starts at `host`.
fn regions(size: u64, host: usize) -> Vec<Region> {
    let room = [0..FIRST_END, SECOND, THIRD_START..u64::MAX];
    let mut file_offset = 0;
    let mut regions = Vec::with_capacity(room.len());
    for range in room {
        let len = (size - file_offset).min(range.end - range.start);
        let Ok(distance) = usize::try_from(file_offset) else { break };
        if len == 0 {
            break;
        }
        regions.push(Region { start: GuestAddr(range.start), len, file_offset, host: host + distance });
        file_offset += len;
    }
    regions
}

/// A file in memory that nobody can execute or resize.
fn memory_file(size: Bytes) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux before 6.3 does not know NOEXEC_SEAL.
    let file = match rustix::fs::memfd_create(c"guest-ram", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(c"guest-ram", flags)?,
        other => other?,
    };
    rustix::fs::ftruncate(&file, size.0)?;
    // A mapping whose file shrinks raises SIGBUS.
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file.into())
}
