//! Where the parts of a guest go in its memory, and the checks that they can go there.

use std::ops::Range;

use runu_core::{Bytes, GuestAddr, Plan, Segment};

use crate::memory::{CONVENTIONAL_END, EXTENDED_START, GuestMemory, PAGE, USABLE_BELOW_4_GIB};

use super::{COMMAND_LINE_MAX, LoadError};

/// Where the information structure goes, if the kernel isn't there: the first page frame a guest is told about.
const INFO: u64 = 0x1_0000;
/// The least address of the command line.
const COMMAND_LINE: u64 = 0x2_0000;
/// Room for the information structure of either protocol.
pub(super) const INFO_LEN: usize = 4096;

/// Where everything goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The initrd, page-aligned start, exact end; `None` when there is none or it is empty.
    pub(super) initrd: Option<Range<u64>>,
    /// [`INFO_LEN`] bytes for the protocol's information structure.
    pub(super) info: GuestAddr,
    /// The command line and its NUL.
    pub(super) command_line: GuestAddr,
    /// Top of a stack, aligned to 16 bytes.
    pub(super) stack: u64,
}

impl Layout {
    /// Checks the plan against the memory and finds room for what the kernel does not bring.
    pub(super) fn of(plan: &Plan, memory: &GuestMemory) -> Result<Self, LoadError> {
        let kernel = kernel_ranges(&plan.segments, memory)?;
        if !kernel.iter().any(|range| range.contains(&plan.entry.0)) {
            return Err(LoadError::EntryOutside(plan.entry));
        }
        // Nothing else shares a page frame with the kernel: kernels account for memory by pages.
        let kernel: Vec<_> =
            kernel.iter().map(|range| range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE)).collect();
        let command_line_len = plan.command_line.len();
        if command_line_len > COMMAND_LINE_MAX {
            return Err(LoadError::CommandLineTooLong(command_line_len));
        }
        if plan.command_line.contains(&0) {
            return Err(LoadError::CommandLineNul);
        }
        let initrd = match plan.initrd {
            None | Some(Bytes(0)) => None,
            Some(len) => Some(place_initrd(len, &kernel, memory)?),
        };
        let info = place_low(INFO, INFO_LEN as u64, &kernel)?;
        let command_line =
            place_low(COMMAND_LINE.max(info + INFO_LEN as u64), command_line_len as u64 + 1, &kernel)?;
        Ok(Self {
            initrd,
            info: GuestAddr(info),
            command_line: GuestAddr(command_line),
            stack: CONVENTIONAL_END & !0xf,
        })
    }
}

/// The memory each segment occupies, in ascending order, all of it RAM that the guest knows of and below 4 GiB,
/// which is as far as a kernel of either protocol can see at its entry.
fn kernel_ranges(segments: &[Segment], memory: &GuestMemory) -> Result<Vec<Range<u64>>, LoadError> {
    let mut ranges = Vec::with_capacity(segments.len());
    for segment in segments {
        let addr = segment.addr;
        let malformed = |what| LoadError::MalformedSegment { addr, what };
        if segment.file_len > segment.mem_len {
            return Err(malformed("it has more bytes in the file than in memory"));
        }
        let end = addr.checked_add(segment.mem_len).ok_or_else(|| malformed("it ends beyond 64 bits"))?;
        segment
            .file_offset
            .checked_add(segment.file_len)
            .ok_or_else(|| malformed("it ends beyond 64 bits in the file"))?;
        if segment.mem_len == 0 {
            continue;
        }
        let range = addr.0..end.0;
        if !USABLE_BELOW_4_GIB.iter().any(|ram| holds(ram, &range)) {
            return Err(LoadError::SegmentMisplaced { addr, len: segment.mem_len });
        }
        if !memory.usable().any(|ram| holds(&ram, &range)) {
            return Err(LoadError::KernelTooLarge { end, memory: memory.size() });
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err(LoadError::KernelEmpty);
    }
    ranges.sort_unstable_by_key(|range| range.start);
    for (one, next) in ranges.iter().zip(ranges.iter().skip(1)) {
        if one.end > next.start {
            return Err(LoadError::SegmentsOverlap {
                first: GuestAddr(one.start),
                second: GuestAddr(next.start),
            });
        }
    }
    Ok(ranges)
}

fn holds(outer: &Range<u64>, inner: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The highest page-aligned place for `len` bytes in the first region of RAM, beside the kernel's page frames and above
/// 1 MiB.
fn place_initrd(len: Bytes, kernel: &[Range<u64>], memory: &GuestMemory) -> Result<Range<u64>, LoadError> {
    let too_large = || LoadError::InitrdTooLarge { initrd: len, memory: memory.size() };
    let mut top = memory.regions().first().map_or(0, |region| region.start.0 + region.len);
    for occupied in kernel.iter().rev().map(Some).chain([None]) {
        // The gap between `occupied` and `top`; behind the lowest segment it reaches down to 1 MiB.
        let bottom = occupied.map_or(EXTENDED_START, |range| range.end.max(EXTENDED_START));
        let start = top.checked_sub(len.0).map(|start| start & !(PAGE - 1));
        if let Some(start) = start.filter(|&start| start >= bottom) {
            return Ok(start..start + len.0);
        }
        top = occupied.map_or(top, |range| range.start.min(top));
    }
    Err(too_large())
}

/// The lowest page-aligned place for `len` bytes in conventional memory at or above `from`, beside the
/// kernel's page frames.
fn place_low(from: u64, len: u64, kernel: &[Range<u64>]) -> Result<u64, LoadError> {
    let mut start = from;
    for occupied in kernel {
        if occupied.start < start + len && start < occupied.end {
            start = occupied.end;
        }
    }
    if start + len <= CONVENTIONAL_END { Ok(start) } else { Err(LoadError::NoLowMemory) }
}
