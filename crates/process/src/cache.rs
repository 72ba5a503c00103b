//! Translated code: where each block is, what leads to it, and when it is no longer true.
//!
//! A block that has become stale is not taken apart: its entry is overwritten with a jump to its departure, so that whatever
//! still leads to it (a linked branch, the branch table) finds its way to a new translation. The entry of the first block for
//! an address stays the way to all that follow it, so that the way does not grow. Space is reclaimed by
//! throwing everything away when the area is full.

#![expect(clippy::cast_possible_truncation, reason = "host code lies below 2 GiB and counts stay far below")]

use std::collections::hash_map::Entry;

use runu_core::{Bytes, VirtAddr};
use runu_deprivilege::translate::{self, Block, CodeSize, ENTRY_LEN, Exit, Mark};
use rustc_hash::FxHashMap;

use crate::{
    host::{self, PAGE},
    layout::{CODE, CODES, PLACES, TABLE_LEN, TAGS},
};

/// Room that any block with its exits fits in: 96 instructions of at most some 200 bytes.
const BLOCK_MAX: u64 = 32 << 10;

/// Blocks at most: what is kept of each takes some 500 bytes of the heap.
const BLOCKS_MAX: usize = 1 << 16;

/// What is kept of a block besides its code, its marks and its exits, in bytes of the heap: measured with a C library in a
/// Unikraft kernel, tables that have just grown included.
const BLOCK_COST: u64 = 400;

/// A block in its place.
struct Placed {
    start: VirtAddr,
    size: CodeSize,
    host: u64,
    host_len: u32,
    departure: u32,
    marks: Box<[Mark]>,
    stale: bool,
}

/// An exit and the block it belongs to, by number.
struct PlacedExit {
    block: u32,
    exit: Exit,
}

/// Where in the guest a host address in translated code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Address of the guest instruction.
    pub(crate) rip: u64,
    /// Registers whose guest value is in its spill slot.
    pub(crate) spilled: u16,
    /// The guest's state is exactly that before the instruction, and an interrupt may be delivered.
    pub(crate) boundary: bool,
    /// The block.
    pub(crate) block: u32,
}

/// A state of the cache: while it is the same, nothing has become stale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    generation: u64,
    retired: u64,
}

/// All translated code.
pub(crate) struct Cache {
    next: u64,
    /// Bytes that everything here takes, and how many it may take.
    used: u64,
    share: u64,
    blocks: Vec<Placed>,
    exits: Vec<PlacedExit>,
    by_start: FxHashMap<(u64, CodeSize), u64>,
    /// The first block for an address: the way to the one that holds now.
    first: FxHashMap<(u64, CodeSize), u32>,
    /// Blocks with code in a page, by guest-physical page and by guest-virtual page.
    by_phys: FxHashMap<u64, Vec<u32>>,
    by_virt: FxHashMap<u64, Vec<u32>>,
    /// A bit for each entry of the branch table: it is not empty.
    table_used: Box<[u64; TABLE_LEN / 64]>,
    /// The largest page that code was found in, in bytes.
    largest_page: u64,
    /// Counts how often everything was thrown away: host addresses of an earlier generation mean nothing.
    generation: u64,
    /// Counts how often a block became stale.
    retired: u64,
    /// Guest instructions translated so far.
    pub(crate) translated: u64,
}

impl Cache {
    /// Prepares the code area, which must be mapped. Code and what is kept of it take about `share` bytes at most, if that
    /// is less than there is room for.
    pub(crate) fn new(share: Option<Bytes>) -> Self {
        let gate32 = translate::gate32(&PLACES);
        host::place_code(CODE.start, &gate32);
        // Index 0 belongs to addresses that end in 0000; minus 1 does not.
        host::place_entry(TAGS, 1, CODES, 0);
        Cache {
            next: first(),
            used: 0,
            share: share.map_or(u64::MAX, |share| share.0),
            blocks: Vec::new(),
            exits: Vec::new(),
            by_start: FxHashMap::default(),
            first: FxHashMap::default(),
            by_phys: FxHashMap::default(),
            by_virt: FxHashMap::default(),
            table_used: Box::new([0; TABLE_LEN / 64]),
            largest_page: PAGE,
            generation: 0,
            retired: 0,
            translated: 0,
        }
    }

    /// Whether a block is no longer what its guest code says.
    pub(crate) fn is_stale(&self, block: u32) -> bool {
        self.blocks.get(block as usize).is_none_or(|block| block.stale)
    }

    /// The present state.
    pub(crate) fn moment(&self) -> Moment {
        Moment { generation: self.generation, retired: self.retired }
    }

    /// Whether the host code of a guest instruction starts at `host`, and with `byte`.
    pub(crate) fn starts_with(&self, host: u64, byte: u8) -> bool {
        self.mark(host).is_some_and(|(_, mark, offset)| mark.host == offset) && host::code_byte(host) == byte
    }

    /// Host code for a guest address, if it has been translated.
    pub(crate) fn find(&self, rip: u64, size: CodeSize) -> Option<u64> {
        self.by_start.get(&(rip, size)).copied()
    }

    /// Whether there may be no room for another block.
    pub(crate) fn is_full(&self) -> bool {
        CODE.end - self.next < BLOCK_MAX || self.blocks.len() >= BLOCKS_MAX || self.used >= self.share
    }

    /// Number of the next exit.
    pub(crate) fn next_exit(&self) -> u32 {
        self.exits.len() as u32
    }

    /// Takes a block whose bytes lie in the given guest-physical pages, which were found in a page of `page_size` bytes, and
    /// returns the way to it.
    pub(crate) fn place(
        &mut self,
        start: VirtAddr,
        size: CodeSize,
        block: Block,
        pages: &[u64],
        page_size: u64,
    ) -> u64 {
        let number = self.blocks.len() as u32;
        let host = self.next;
        host::place_code(host, &block.code);
        self.used += cost(&block);
        self.next = (host + block.code.len() as u64).next_multiple_of(16);
        self.translated += u64::from(block.instructions);
        self.exits.extend(block.exits.into_iter().map(|exit| PlacedExit { block: number, exit }));
        let key = (start.0, size);
        let way = match self.first.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(number);
                host
            }
            Entry::Occupied(first) => {
                let entry = self.blocks.get(*first.get() as usize).map_or(host, |first| first.host);
                self.link(entry + 1, host);
                entry
            }
        };
        self.by_start.insert(key, way);
        self.largest_page = self.largest_page.max(page_size);
        for page in pages {
            self.by_phys.entry(*page).or_default().push(number);
        }
        let last = start.0.wrapping_add(u64::from(block.guest_len.max(1)) - 1);
        for page in [start.0 & !(PAGE - 1), last & !(PAGE - 1)] {
            let blocks = self.by_virt.entry(page).or_default();
            if blocks.last() != Some(&number) {
                blocks.push(number);
            }
        }
        self.blocks.push(Placed {
            start,
            size,
            host,
            host_len: block.code.len() as u32,
            departure: block.departure,
            marks: block.marks.into_boxed_slice(),
            stale: false,
        });
        way
    }

    /// An exit and the host address of its block's code.
    pub(crate) fn exit(&self, number: u32) -> Option<(&Exit, u64)> {
        let placed = self.exits.get(number as usize)?;
        let host = self.blocks.get(placed.block as usize)?.host;
        Some((&placed.exit, host))
    }

    /// Points the displacement at host address `site` to `target`.
    pub(crate) fn link(&self, site: u64, target: u64) {
        let displacement = (target as u32).wrapping_sub(site as u32 + 4);
        host::place_code(site, &displacement.to_le_bytes());
    }

    /// Lets indirect branches to `rip` find `host` by themselves. 64-bit code only.
    pub(crate) fn remember_target(&mut self, rip: u64, host: u64) {
        let index = rip as u16;
        if let Some(word) = self.table_used.get_mut(usize::from(index) / 64) {
            *word |= 1 << (index % 64);
        }
        set_entry(index, rip.wrapping_neg(), host as u32);
    }

    /// Where in the guest a host address is; `None` outside translated code.
    pub(crate) fn position(&self, host: u64) -> Option<Position> {
        let (number, mark, offset) = self.mark(host)?;
        let block = self.blocks.get(number)?;
        Some(Position {
            rip: block.start.0.wrapping_add(u64::from(mark.guest)),
            spilled: mark.spilled,
            boundary: mark.boundary && mark.host == offset,
            block: number as u32,
        })
    }

    /// Number of the block around a host address, the mark that holds there, and the offset in the block.
    fn mark(&self, host: u64) -> Option<(usize, &Mark, u32)> {
        let number = self.blocks.partition_point(|block| block.host <= host).checked_sub(1)?;
        let block = self.blocks.get(number)?;
        let offset = u32::try_from(host - block.host).ok().filter(|offset| *offset < block.host_len)?;
        // In the entry's no-op, nothing has happened yet.
        let offset = offset.max(ENTRY_LEN as u32);
        let mark = block.marks.partition_point(|mark| mark.host <= offset).checked_sub(1)?;
        Some((number, block.marks.get(mark)?, offset))
    }

    /// Makes a block stale.
    pub(crate) fn retire(&mut self, number: u32) {
        let Some(block) = self.blocks.get_mut(number as usize) else { return };
        if block.stale {
            return;
        }
        block.stale = true;
        self.retired += 1;
        let key = (block.start.0, block.size);
        if self.by_start.remove(&key).is_none() {
            return;
        }
        // The first block's entry becomes, or becomes again, a jump to its departure.
        let Some(first) = self.first.get(&key).and_then(|first| self.blocks.get(*first as usize)) else {
            return;
        };
        host::place_code(first.host, &[0xe9]);
        self.link(first.host + 1, first.host + u64::from(first.departure));
    }

    /// Makes all blocks stale that have code in the guest-physical page at `page`, and says which.
    pub(crate) fn retire_written(&mut self, page: u64) -> Vec<u32> {
        let numbers = self.by_phys.remove(&page).unwrap_or_default();
        for &number in &numbers {
            self.retire(number);
        }
        numbers
    }

    /// Makes all blocks stale that have code in the page around guest-virtual `va`, whatever its size was, and says which.
    pub(crate) fn retire_virtual(&mut self, va: u64) -> Vec<u32> {
        let size = self.largest_page;
        let pages: Vec<u64> = if size == PAGE {
            vec![va & !(PAGE - 1)]
        } else {
            self.by_virt.keys().copied().filter(|page| page / size == va / size).collect()
        };
        let numbers: Vec<u32> =
            pages.iter().flat_map(|page| self.by_virt.remove(page).unwrap_or_default()).collect();
        for &number in &numbers {
            self.retire(number);
        }
        numbers
    }

    /// Addresses of a block's instructions.
    pub(crate) fn instructions(&self, number: u32) -> impl Iterator<Item = u64> + '_ {
        let block = self.blocks.get(number as usize);
        let marks =
            block.into_iter().flat_map(|block| block.marks.iter().map(|mark| (block.start.0, mark.guest)));
        marks.map(|(start, offset)| start.wrapping_add(u64::from(offset)))
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        self.next = first();
        self.used = 0;
        self.blocks.clear();
        self.exits.clear();
        self.by_start.clear();
        self.by_phys.clear();
        self.by_virt.clear();
        self.first.clear();
        self.largest_page = PAGE;
        for (word, used) in self.table_used.iter_mut().enumerate() {
            while *used != 0 {
                let index = (64 * word) as u16 | used.trailing_zeros() as u16;
                set_entry(index, u64::from(index == 0), 0);
                *used &= *used - 1;
            }
        }
        self.generation = self.generation.wrapping_add(1);
    }
}

/// Bytes that a block takes.
fn cost(block: &Block) -> u64 {
    let kept = size_of_val(block.marks.as_slice()) + block.exits.len() * size_of::<PlacedExit>();
    BLOCK_COST + (block.code.len() + kept) as u64
}

/// Where the first block goes: behind the entry for 32-bit code.
fn first() -> u64 {
    CODE.start + 64
}

fn set_entry(index: u16, tag: u64, host: u32) {
    let index = u64::from(index);
    const { assert!(TABLE_LEN == 1 << 16) };
    host::place_entry(TAGS + 8 * index, tag, CODES + 4 * index, host);
}

#[cfg(test)]
mod tests {
    use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

    use runu_deprivilege::translate::{Conditions, Site, Source, translate};

    use super::*;
    use crate::layout::DATA;

    const START: u64 = 0x10_0000;

    /// A CPU that does nothing special.
    const PLAIN: Conditions = Conditions { inline_flags: true, floating_point: true, system_call: None };

    /// The area that all caches of a process share, for one test at a time.
    fn area() -> MutexGuard<'static, ()> {
        static AREA: LazyLock<Mutex<()>> = LazyLock::new(|| {
            host::map_private(DATA, false).expect("low memory is free");
            host::map_private(CODE, true).expect("low memory is free");
            Mutex::new(())
        });
        AREA.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(cache: &mut Cache, start: u64, bytes: &[u8]) -> u64 {
        let source = Source {
            start: VirtAddr(start),
            size: CodeSize::Bits64,
            bytes,
            in_page: bytes.len(),
            site: &|_| Site::Native,
            conditions: PLAIN,
            first_exit: cache.next_exit(),
        };
        let block = translate(&PLACES, &source);
        cache.place(VirtAddr(start), CodeSize::Bits64, block, &[start & !(PAGE - 1)], PAGE)
    }

    fn entry_of(tag: u64) -> (u64, u32) {
        let index = u64::from(tag as u16);
        let (tag, code) = (host::peek(TAGS + 8 * index), host::peek(CODES + 4 * index));
        (u64::from_le_bytes(tag), u32::from_le_bytes(code))
    }

    #[test]
    fn position_within_a_block_names_the_guest_instruction() {
        let _area = area();
        let mut cache = Cache::new(None);
        // nop; mov rax, rbx; jmp $
        let host = place(&mut cache, START, &[0x90, 0x48, 0x89, 0xd8, 0xeb, 0xfe]);
        let body = host + ENTRY_LEN as u64;
        let at = |host| cache.position(host).map(|position| (position.rip, position.boundary));

        assert_eq!(cache.find(START, CodeSize::Bits64), Some(host));
        assert_eq!(cache.find(START, CodeSize::Bits32), None);
        assert_eq!(at(host), Some((START, true)), "in the entry's no-op");
        assert_eq!(at(body), Some((START, true)));
        assert_eq!(at(body + 1), Some((START + 1, true)));
        assert_eq!(at(body + 2), Some((START + 1, false)), "inside an instruction");
        assert_eq!(at(body + 4), Some((START + 4, true)));
        assert_eq!(at(host - 1), None);
        assert_eq!(at(host + 0x1000), None);
    }

    #[test]
    fn stale_block_is_found_no_more_and_leads_to_its_own_start() {
        let _area = area();
        let mut cache = Cache::new(None);
        let host = place(&mut cache, START, &[0x90, 0xc3]);
        let other = place(&mut cache, START + PAGE, &[0xc3]);

        assert_eq!(cache.retire_written(START), [0]);

        assert_eq!(cache.find(START, CodeSize::Bits64), None);
        assert_eq!(cache.find(START + PAGE, CodeSize::Bits64), Some(other));
        let [jump, rest @ ..] = host::peek::<5>(host);
        assert_eq!(jump, 0xe9);
        let departure = host + 5 + u64::from(u32::from_le_bytes(rest));
        let [.., n0, n1, n2, n3] = host::peek::<11>(departure);
        let (exit, block) = cache.exit(u32::from_le_bytes([n0, n1, n2, n3])).expect("the exit exists");
        assert!(matches!(exit, Exit::Direct { target: VirtAddr(START), site: 1 }));
        assert_eq!(block, host);
    }

    #[test]
    fn way_to_the_current_block_leads_through_the_first() {
        let _area = area();
        let mut cache = Cache::new(None);
        let first = place(&mut cache, START, &[0x90, 0xc3]);
        for _ in 0..3 {
            cache.retire_written(START);
            assert_eq!(place(&mut cache, START, &[0x90, 0xc3]), first);
            let current = cache.blocks.last().expect("placed").host;
            let [jump, rest @ ..] = host::peek::<5>(first);
            assert_eq!((jump, first + 5 + u64::from(u32::from_le_bytes(rest))), (0xe9, current));
        }
    }

    #[test]
    fn flushed_page_was_as_large_as_any_that_held_code() {
        let _area = area();
        let mut cache = Cache::new(None);
        place(&mut cache, START, &[0xc3]);
        place(&mut cache, START + 0x10_0000, &[0xc3]);
        cache.largest_page = 2 << 20;

        cache.retire_virtual(START + 0x1000);

        assert_eq!(cache.find(START, CodeSize::Bits64), None);
        assert!(cache.find(START + 0x10_0000, CodeSize::Bits64).is_some(), "in the next large page");
    }

    #[test]
    fn block_across_two_pages_is_stale_when_either_changes() {
        let _area = area();
        for page in [START, START + PAGE] {
            let mut cache = Cache::new(None);
            let start = START + PAGE - 1;
            let source_pages = [START, START + PAGE];
            let source = Source {
                start: VirtAddr(start),
                size: CodeSize::Bits64,
                bytes: &[0x48, 0x89, 0xd8],
                in_page: 1,
                site: &|_| Site::Native,
                conditions: PLAIN,
                first_exit: 0,
            };
            cache.place(VirtAddr(start), CodeSize::Bits64, translate(&PLACES, &source), &source_pages, PAGE);
            cache.retire_virtual(page);
            assert_eq!(cache.find(start, CodeSize::Bits64), None, "{page:#x}");
        }
    }

    #[test]
    fn table_entry_holds_until_everything_is_thrown_away() {
        let _area = area();
        let mut cache = Cache::new(None);
        for rip in [START + 0x123, 0, 0xffff_ffff_ffff_0000] {
            let host = place(&mut cache, rip, &[0xc3]);
            cache.remember_target(rip, host);
            assert_eq!(entry_of(rip), (rip.wrapping_neg(), host as u32), "{rip:#x}");
        }
        let moment = cache.moment();

        cache.clear();

        assert_ne!(cache.moment(), moment);
        assert_eq!(entry_of(START + 0x123), (0, 0));
        // An empty entry must match no address that leads to it.
        assert_eq!(entry_of(0), (1, 0));
        assert_eq!(cache.find(START + 0x123, CodeSize::Bits64), None);
    }

    #[test]
    fn cache_with_a_small_share_is_full_early_and_empty_again() {
        let _area = area();
        let share = Bytes::kib(64);
        let mut cache = Cache::new(Some(share));
        let mut start = START;
        while !cache.is_full() {
            place(&mut cache, start, &[0x90, 0xc3]);
            start += 2;
        }
        let blocks = cache.blocks.len() as u64;
        assert!((10..share.0 / BLOCK_COST + 1).contains(&blocks), "{blocks} blocks");
        cache.clear();
        assert!(!cache.is_full());
    }
}
