//! Guest-virtual memory: reads and writes through the page tables, to RAM or devices, across pages.

use runu_core::{GuestAddr, VirtAddr};

use super::{NotMapped, Translation, walk};
use crate::{
    bus::Bus,
    cpu::{Cpu, efer},
    emulate::Trap,
    exception::Exception,
};

/// Smallest page: an access is cut where pages end.
const PAGE: u64 = 4096;

/// What an access is for: it decides the error code of its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Reading data.
    Read,
    /// Writing data.
    Write,
    /// Fetching an instruction.
    Execute,
}

/// Error code of a page fault (Intel SDM vol. 3 §5.7). The user bit is never set: the guest is at CPL 0.
mod code {
    pub(super) const PROTECTION: u32 = 1 << 0;
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const RESERVED: u32 = 1 << 3;
    pub(super) const FETCH: u32 = 1 << 4;
}

/// What the CPU does about an address that leads nowhere. A non-canonical address is #GP(0); an access through SS,
/// whose fault is #SS(0), is told apart by the caller.
#[must_use]
pub fn fault(cpu: &Cpu, va: VirtAddr, intent: Intent, why: NotMapped) -> Trap {
    let reason = match why {
        NotMapped::NonCanonical => return Trap::Exception(Exception::general_protection(0)),
        NotMapped::Unsupported(what) => return Trap::Unsupported(what.to_owned()),
        NotMapped::NotPresent => 0,
        NotMapped::ReservedBit => code::PROTECTION | code::RESERVED,
    };
    page_fault(cpu, va, intent, reason)
}

fn page_fault(cpu: &Cpu, va: VirtAddr, intent: Intent, reason: u32) -> Trap {
    let kind = match intent {
        Intent::Read => 0,
        Intent::Write => code::WRITE,
        Intent::Execute if cpu.efer & efer::NXE != 0 => code::FETCH,
        Intent::Execute => 0,
    };
    Trap::Exception(Exception::page_fault(va, reason | kind))
}

/// Translates an address for an access, or says which exception the access raises.
///
/// # Errors
/// The page fault or general-protection fault, or that the paging mode is not represented.
pub fn check(cpu: &Cpu, bus: &mut dyn Bus, va: VirtAddr, intent: Intent) -> Result<Translation, Trap> {
    let read_u64 = |addr| {
        let mut bytes = [0; 8];
        bus.read_physical(addr, &mut bytes).then(|| u64::from_le_bytes(bytes))
    };
    let found = walk(cpu, read_u64, va).map_err(|why| fault(cpu, va, intent, why))?;
    let allowed = match intent {
        Intent::Read => true,
        Intent::Write => found.writable,
        Intent::Execute => found.executable,
    };
    if allowed { Ok(found) } else { Err(page_fault(cpu, va, intent, code::PROTECTION)) }
}

/// Guest-virtual memory that has been translated: some bytes, no more than a page has, in one page or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: Part,
    second: Option<Part>,
}

/// What of a span lies in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    addr: GuestAddr,
    len: usize,
}

impl Span {
    /// Translates `len` bytes at `va`.
    ///
    /// # Errors
    /// As [`check`], for the first byte that cannot be accessed.
    pub fn check(
        cpu: &Cpu,
        bus: &mut dyn Bus,
        va: VirtAddr,
        len: usize,
        intent: Intent,
    ) -> Result<Span, Trap> {
        let mut part = |at, len| check(cpu, bus, at, intent).map(|found| Part { addr: found.addr, len });
        let here = within_page(va, len);
        let first = part(va, here)?;
        let second = if len > here { Some(part(next_page(cpu, va), len - here)?) } else { None };
        Ok(Span { first, second })
    }

    /// Reads it: RAM, or devices outside it.
    pub fn read(self, bus: &mut dyn Bus, into: &mut [u8]) {
        let (first, second) = into.split_at_mut(self.first.len.min(into.len()));
        read_page(bus, self.first.addr, first);
        if let Some(part) = self.second {
            read_page(bus, part.addr, second);
        }
    }

    /// Reads what of it is RAM; the rest reads as zero.
    pub fn read_ram(self, bus: &mut dyn Bus, into: &mut [u8]) {
        let (first, second) = into.split_at_mut(self.first.len.min(into.len()));
        for (part, into) in [(Some(self.first), first), (self.second, second)] {
            if part.is_some_and(|part| !bus.read_physical(part.addr, into)) {
                into.fill(0);
            }
        }
    }

    /// Writes it: RAM, or devices outside it.
    pub fn write(self, bus: &mut dyn Bus, from: &[u8]) {
        let (first, second) = from.split_at(self.first.len.min(from.len()));
        write_page(bus, self.first.addr, first);
        if let Some(part) = self.second {
            write_page(bus, part.addr, second);
        }
    }
}

/// Reads guest-virtual memory, no more than a page has: RAM, or devices outside it.
///
/// # Errors
/// As [`check`], for the first byte that cannot be read; nothing has been read then.
pub fn read(cpu: &Cpu, bus: &mut dyn Bus, va: VirtAddr, into: &mut [u8]) -> Result<(), Trap> {
    Span::check(cpu, bus, va, into.len(), Intent::Read).map(|span| span.read(bus, into))
}

/// Writes guest-virtual memory, no more than a page has: RAM, or devices outside it.
///
/// # Errors
/// As [`check`], for the first byte that cannot be written; nothing has been written then.
pub fn write(cpu: &Cpu, bus: &mut dyn Bus, va: VirtAddr, from: &[u8]) -> Result<(), Trap> {
    Span::check(cpu, bus, va, from.len(), Intent::Write).map(|span| span.write(bus, from))
}

/// Reads a little-endian value of `size` bytes (1 to 8).
///
/// # Errors
/// As [`read`].
pub fn read_value(cpu: &Cpu, bus: &mut dyn Bus, va: VirtAddr, size: usize) -> Result<u64, Trap> {
    let mut bytes = [0; 8];
    if let Some(into) = bytes.get_mut(..size) {
        read(cpu, bus, va, into)?;
    }
    Ok(u64::from_le_bytes(bytes))
}

/// Writes the low `size` bytes (1 to 8) of a value, little-endian.
///
/// # Errors
/// As [`write()`].
pub fn write_value(cpu: &Cpu, bus: &mut dyn Bus, va: VirtAddr, size: usize, value: u64) -> Result<(), Trap> {
    match value.to_le_bytes().get(..size) {
        Some(from) => write(cpu, bus, va, from),
        None => Ok(()),
    }
}

/// How many of `len` bytes from `at` on lie in its page.
fn within_page(at: VirtAddr, len: usize) -> usize {
    usize::try_from(PAGE - at.0 % PAGE).map_or(len, |room| room.min(len))
}

/// The start of the next page; addresses wrap at 4 GiB outside long mode.
fn next_page(cpu: &Cpu, at: VirtAddr) -> VirtAddr {
    let next = at.align_down(PAGE).0.wrapping_add(PAGE);
    VirtAddr(if cpu.long_mode() { next } else { next & 0xffff_ffff })
}

fn read_page(bus: &mut dyn Bus, addr: GuestAddr, into: &mut [u8]) {
    if !bus.read_physical(addr, into) {
        read_device(bus, addr, into);
    }
}

fn write_page(bus: &mut dyn Bus, addr: GuestAddr, from: &[u8]) {
    if !bus.write_physical(addr, from) {
        write_device(bus, addr, from);
    }
}

/// The widths of one device access, largest first; odd lengths arise only where an access crosses pages.
fn device_width(len: usize) -> u8 {
    match len {
        8.. => 8,
        4..8 => 4,
        2..4 => 2,
        _ => 1,
    }
}

fn read_device(bus: &mut dyn Bus, addr: GuestAddr, into: &mut [u8]) {
    let mut at = addr.0;
    let mut rest = into;
    while !rest.is_empty() {
        let width = device_width(rest.len());
        let (now, later) = rest.split_at_mut(width.into());
        let bytes = bus.read_device(GuestAddr(at), width).to_le_bytes();
        for (to, from) in now.iter_mut().zip(bytes) {
            *to = from;
        }
        at = at.wrapping_add(width.into());
        rest = later;
    }
}

fn write_device(bus: &mut dyn Bus, addr: GuestAddr, from: &[u8]) {
    let mut at = addr.0;
    let mut rest = from;
    while !rest.is_empty() {
        let width = device_width(rest.len());
        let (now, later) = rest.split_at(width.into());
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(now) {
            *to = *from;
        }
        bus.write_device(GuestAddr(at), width, u64::from_le_bytes(bytes));
        at = at.wrapping_add(width.into());
        rest = later;
    }
}
