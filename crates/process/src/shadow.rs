//! The guest's page tables as mappings of the host.
//!
//! A guest address is mapped when it is first touched, as far around it as the guest's tables map the same way, and
//! unmapped when the guest says that its tables changed. Pages that hold translated code are read-only here whatever
//! the guest's tables say, so that writing to them is noticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    os::fd::BorrowedFd,
};

use runu_core::{Bytes, GuestAddr};

use crate::host::{self, PAGE};

/// A stretch of host addresses that shows guest memory.
#[derive(Clone, Copy)]
struct Mapping {
    end: u64,
    /// Guest-physical address of its start.
    phys: u64,
    rights: Rights,
}

/// What a mapping allows and what it stands for.
#[derive(Clone, Copy)]
pub(crate) struct Rights {
    /// The guest may write.
    pub(crate) writable: bool,
    /// It comes from a large page, or several: when the guest flushes an address in it, all of it may have changed.
    pub(crate) large: bool,
}

/// A stretch of guest memory and where it is to be shown.
pub(crate) struct View {
    /// The host address.
    pub(crate) at: u64,
    /// How long it is, in bytes.
    pub(crate) len: u64,
    /// Its guest-physical address.
    pub(crate) phys: GuestAddr,
    /// Where it is in the memory file.
    pub(crate) offset: u64,
    /// What the guest may do with it.
    pub(crate) rights: Rights,
}

/// What a mapping costs, in bytes: the kernel's `vm_area_struct` (192 of /proc/slabinfo on Linux 6.18, and its share of a maple
/// tree's node), our entry of it, and what allocators lose on both; rounded up.
const MAPPING_COST: u64 = 384;

/// What is mapped for the guest.
pub(crate) struct Shadow {
    /// By host address of their start; they do not overlap.
    mappings: BTreeMap<u64, Mapping>,
    /// How many of them there may be.
    most: usize,
    /// Guest-physical pages that hold translated code.
    code: BTreeSet<u64>,
    /// Mappings made so far.
    pub(crate) made: u64,
}

impl Shadow {
    /// Of as many mappings as take about `share` bytes at most; by default as many as a process can have.
    pub(crate) fn new(share: Option<Bytes>) -> Self {
        let most = share.and_then(|share| usize::try_from(share.0 / MAPPING_COST).ok()).unwrap_or(usize::MAX);
        Shadow { mappings: BTreeMap::new(), most, code: BTreeSet::new(), made: 0 }
    }

    /// Shows guest memory. Where there can be no more mappings all others go: those that the guest still uses come back when
    /// it touches them.
    pub(crate) fn map(&mut self, view: &View, file: BorrowedFd<'_>) -> io::Result<()> {
        if self.mappings.len() >= self.most {
            self.clear()?;
        }
        // A process has some 65,000 mappings (Linux Documentation/admin-guide/sysctl/vm.rst, max_map_count).
        self.try_map(view, file).or_else(|_| {
            self.clear()?;
            self.try_map(view, file)
        })
    }

    fn try_map(&mut self, view: &View, file: BorrowedFd<'_>) -> io::Result<()> {
        let View { at, len, phys: GuestAddr(phys), offset, rights } = *view;
        host::map_guest(at, len, file, offset, rights.writable)?;
        self.made += 1;
        self.forget(at..at + len);
        self.mappings.insert(at, Mapping { end: at + len, phys, rights });
        if rights.writable {
            for run in runs(self.code.range(phys..phys + len)) {
                host::protect_guest(at + (run.start - phys), run.end - run.start, false)?;
            }
        }
        Ok(())
    }

    /// Whether host address `at` is mapped.
    pub(crate) fn is_mapped(&self, at: u64) -> bool {
        self.mappings.range(..=at).next_back().is_some_and(|(_, mapping)| at < mapping.end)
    }

    /// Unmaps the guest's page around host address `at`, and more if that is cheaper.
    pub(crate) fn unmap_around(&mut self, at: u64) -> io::Result<()> {
        let Some((&start, mapping)) = self.mappings.range(..=at).next_back().filter(|(_, m)| at < m.end)
        else {
            return Ok(());
        };
        let page = at & !(PAGE - 1);
        let range = if mapping.rights.large { start..mapping.end } else { page..page + PAGE };
        self.forget(range.clone());
        // To unmap from the middle takes a mapping more than there are, and there may be no more (max_map_count).
        host::unmap_guest(range.start, range.end - range.start).or_else(|_| self.clear())
    }

    /// Unmaps everything.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let mut pending: Option<Range<u64>> = None;
        for (start, mapping) in std::mem::take(&mut self.mappings) {
            match &mut pending {
                Some(run) if run.end == start => run.end = mapping.end,
                _ => {
                    if let Some(run) = pending.replace(start..mapping.end) {
                        host::unmap_guest(run.start, run.end - run.start)?;
                    }
                }
            }
        }
        pending.map_or(Ok(()), |run| host::unmap_guest(run.start, run.end - run.start))
    }

    /// Whether the page at guest-physical address `page` holds translated code.
    pub(crate) fn is_code(&self, page: u64) -> bool {
        self.code.contains(&page)
    }

    /// Notes whether a page holds translated code, and makes every mapping of it read-only or writable again.
    pub(crate) fn set_code(&mut self, page: u64, holds_code: bool) -> io::Result<()> {
        let changed = if holds_code { self.code.insert(page) } else { self.code.remove(&page) };
        if !changed {
            return Ok(());
        }
        let mut protected = Ok(());
        for (start, mapping) in &self.mappings {
            let len = mapping.end - start;
            let within = page.wrapping_sub(mapping.phys);
            if mapping.rights.writable && within < len {
                protected = protected.and_then(|()| host::protect_guest(start + within, PAGE, !holds_code));
            }
        }
        // As in `unmap_around`.
        protected.or_else(|_| self.clear())
    }

    /// Takes a range of host addresses out of the books.
    fn forget(&mut self, range: Range<u64>) {
        while let Some((start, mapping)) = self
            .mappings
            .range(..range.end)
            .next_back()
            .map(|(s, m)| (*s, *m))
            .filter(|(_, m)| m.end > range.start)
        {
            self.mappings.remove(&start);
            if start < range.start {
                self.mappings.insert(start, Mapping { end: range.start, ..mapping });
            }
            if mapping.end > range.end {
                let phys = mapping.phys + (range.end - start);
                self.mappings.insert(range.end, Mapping { phys, ..mapping });
            }
            if start <= range.start {
                break;
            }
        }
    }
}

/// Joins adjacent pages.
fn runs<'a>(pages: impl Iterator<Item = &'a u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some(run) if run.end == page => run.end += PAGE,
            _ => runs.push(page..page + PAGE),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHTS: Rights = Rights { writable: true, large: false };

    fn books(shadow: &Shadow) -> Vec<(u64, u64, u64)> {
        shadow.mappings.iter().map(|(start, m)| (*start, m.end, m.phys)).collect()
    }

    #[test]
    fn forgetting_the_middle_of_a_mapping_leaves_both_ends() {
        let mut shadow = Shadow::new(None);
        shadow.mappings.insert(0x10_0000, Mapping { end: 0x20_0000, phys: 0x5000_0000, rights: RIGHTS });

        shadow.forget(0x14_0000..0x15_0000);

        assert_eq!(
            books(&shadow),
            [(0x10_0000, 0x14_0000, 0x5000_0000), (0x15_0000, 0x20_0000, 0x5005_0000)]
        );
    }

    #[test]
    fn forgetting_over_several_mappings_takes_all_between() {
        let mut shadow = Shadow::new(None);
        for start in [0x1000, 0x2000, 0x3000, 0x4000] {
            shadow.mappings.insert(start, Mapping { end: start + 0x1000, phys: start, rights: RIGHTS });
        }

        shadow.forget(0x1800..0x4000);

        assert_eq!(books(&shadow), [(0x1000, 0x1800, 0x1000), (0x4000, 0x5000, 0x4000)]);
    }

    #[test]
    fn adjacent_pages_make_one_run() {
        assert_eq!(runs([0x1000, 0x2000, 0x5000].iter()), [0x1000..0x3000, 0x5000..0x6000]);
    }
}
