//! Translated code: where each block is, what leads to it, and when it is no longer true.
//!
//! A block that has become stale is not taken apart: its entry is overwritten with a jump to its departure, so that whatever
//! still leads to it (a linked branch, the branch table) finds its way to a new translation. Space is reclaimed by
//! throwing everything away when the area is full.

#![expect(clippy::cast_possible_truncation, reason = "host code lies below 2 GiB and counts stay far below")]

use runu_core::VirtAddr;
use runu_deprivilege::translate::{self, Block, CodeSize, ENTRY_LEN, Exit, Mark};
use rustc_hash::FxHashMap;

use crate::{
    host::{self, PAGE},
    layout::{CODE, CODES, PLACES, TABLE_LEN, TAGS},
};

/// Room that any block with its exits fits in: 96 instructions of at most some 150 bytes.
const BLOCK_MAX: u64 = 32 << 10;

/// A block in its place.
struct Placed {
    start: VirtAddr,
    size: CodeSize,
    host: u64,
    host_len: u32,
    departure: u32,
    marks: Vec<Mark>,
    stale: bool,
}

/// An exit and the block it belongs to.
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

/// All translated code.
pub(crate) struct Cache {
    next: u64,
    blocks: Vec<Placed>,
    exits: Vec<PlacedExit>,
    by_start: FxHashMap<(u64, CodeSize), u64>,
    /// Blocks with code in a page, by guest-physical page and by guest-virtual page.
    by_phys: FxHashMap<u64, Vec<u32>>,
    by_virt: FxHashMap<u64, Vec<u32>>,
    table_used: Vec<u16>,
    /// Counts how often everything was thrown away: host addresses of an earlier generation mean nothing.
    pub(crate) generation: u32,
    /// Guest instructions translated so far.
    pub(crate) translated: u64,
}

impl Cache {
    /// Prepares the code area, which must be mapped.
    pub(crate) fn new() -> Self {
        let gate32 = translate::gate32(&PLACES);
        host::place_code(CODE.start, &gate32);
        // Index 0 belongs to addresses that end in 0000; minus 1 does not.
        host::place_entry(TAGS, 1, CODES, 0);
        Cache {
            next: first(),
            blocks: Vec::new(),
            exits: Vec::new(),
            by_start: FxHashMap::default(),
            by_phys: FxHashMap::default(),
            by_virt: FxHashMap::default(),
            table_used: Vec::new(),
            generation: 0,
            translated: 0,
        }
    }

    /// Host code for a guest address, if it has been translated.
    pub(crate) fn find(&self, rip: u64, size: CodeSize) -> Option<u64> {
        self.by_start.get(&(rip, size)).copied()
    }

    /// Whether there may be no room for another block.
    pub(crate) fn is_full(&self) -> bool {
        CODE.end - self.next < BLOCK_MAX
    }

    /// Number of the next exit.
    pub(crate) fn next_exit(&self) -> u32 {
        self.exits.len() as u32
    }

    /// Takes a block whose bytes lie in the given guest-physical pages and returns where its code is.
    pub(crate) fn place(&mut self, start: VirtAddr, size: CodeSize, block: Block, pages: &[u64]) -> u64 {
        let number = self.blocks.len() as u32;
        let host = self.next;
        host::place_code(host, &block.code);
        self.next = (host + block.code.len() as u64).next_multiple_of(16);
        self.translated += u64::from(block.instructions);
        self.exits.extend(block.exits.into_iter().map(|exit| PlacedExit { block: number, exit }));
        self.by_start.insert((start.0, size), host);
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
            marks: block.marks,
            stale: false,
        });
        host
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
        self.table_used.push(index);
        set_entry(index, rip.wrapping_neg(), host as u32);
    }

    /// Where in the guest a host address is; `None` outside translated code.
    pub(crate) fn position(&self, host: u64) -> Option<Position> {
        let number = self.blocks.partition_point(|block| block.host <= host).checked_sub(1)?;
        let block = self.blocks.get(number)?;
        let offset = u32::try_from(host - block.host).ok().filter(|offset| *offset < block.host_len)?;
        // In the entry's no-op, nothing has happened yet.
        let offset = offset.max(ENTRY_LEN as u32);
        let mark = block.marks.partition_point(|mark| mark.host <= offset).checked_sub(1)?;
        let mark = block.marks.get(mark)?;
        Some(Position {
            rip: block.start.0.wrapping_add(u64::from(mark.guest)),
            spilled: mark.spilled,
            boundary: mark.boundary && mark.host == offset,
            block: number as u32,
        })
    }

    /// Makes a block stale.
    pub(crate) fn retire(&mut self, number: u32) {
        let Some(block) = self.blocks.get_mut(number as usize) else { return };
        if block.stale {
            return;
        }
        block.stale = true;
        let key = (block.start.0, block.size);
        if self.by_start.get(&key) == Some(&block.host) {
            self.by_start.remove(&key);
        }
        host::place_code(block.host, &[0xe9]);
        let (entry, departure) = (block.host, block.host + u64::from(block.departure));
        self.link(entry + 1, departure);
    }

    /// Makes all blocks stale that have code in the guest-physical page at `page`, and says which.
    pub(crate) fn retire_written(&mut self, page: u64) -> Vec<u32> {
        let numbers = self.by_phys.remove(&page).unwrap_or_default();
        for &number in &numbers {
            self.retire(number);
        }
        numbers
    }

    /// Makes all blocks stale that have code in the guest-virtual page at `page`.
    pub(crate) fn retire_virtual(&mut self, page: u64) {
        for number in self.by_virt.remove(&page).unwrap_or_default() {
            self.retire(number);
        }
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        self.next = first();
        self.blocks.clear();
        self.exits.clear();
        self.by_start.clear();
        self.by_phys.clear();
        self.by_virt.clear();
        for index in std::mem::take(&mut self.table_used) {
            set_entry(index, u64::from(index == 0), 0);
        }
        self.generation = self.generation.wrapping_add(1);
    }
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
