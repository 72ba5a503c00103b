//! Guest memory as devices reach it.

use std::{
    cell::{Cell, RefCell},
    iter,
};

use runu_core::GuestAddr;
use vm_memory::{
    GuestAddress, GuestMemory as Access, GuestMemoryError, GuestMemoryMmap, Permissions, VolatileSlice,
    guest_memory::GuestMemorySliceIterator,
};

use crate::memory::{GuestMemory, PAGE};

/// How many notes are made before doubles are looked for: a driver may name the same pages any number of times, and the
/// notes must not take more memory than there are pages.
const NOTES: usize = 4096;

/// Guest memory, and a note of each page that a device may have written: a monitor without a VM keeps translations of code
/// in guest memory, and must hear of code that changes.
#[derive(Debug)]
pub(crate) struct Dma<'a> {
    memory: &'a GuestMemory,
    written: RefCell<Vec<u64>>,
    /// How many notes there are when it is time to look for doubles.
    full: Cell<usize>,
}

impl<'a> Dma<'a> {
    /// Access to all of `memory`.
    pub(crate) fn new(memory: &'a GuestMemory) -> Self {
        Dma { memory, written: RefCell::new(Vec::new()), full: Cell::new(NOTES) }
    }

    /// Guest-physical addresses of the pages that were written, some of them more than once.
    pub(crate) fn into_written(self) -> Vec<u64> {
        self.written.into_inner()
    }

    fn note(&self, addr: u64, len: usize) {
        let last = addr.saturating_add((len as u64).saturating_sub(1)) & !(PAGE - 1);
        let mut written = self.written.borrow_mut();
        let mut page = addr & !(PAGE - 1);
        while page <= last {
            if written.last() != Some(&page) {
                if written.len() >= self.full.get() {
                    written.sort_unstable();
                    written.dedup();
                    self.full.set(written.len().saturating_mul(2).max(NOTES));
                }
                written.push(page);
            }
            page += PAGE;
        }
    }
}

impl Access for Dma<'_> {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, _access: Permissions) -> bool {
        self.memory.slice(GuestAddr(addr.0), count).is_ok()
    }

    fn get_slices<'s>(
        &'s self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'s, ()>, GuestMemoryError> {
        let slice = match count {
            0 => None,
            count => {
                let slice = self.memory.slice(GuestAddr(addr.0), count);
                Some(slice.map_err(|_| GuestMemoryError::InvalidGuestAddress(addr))?)
            }
        };
        if access.has_write() && count > 0 {
            self.note(addr.0, count);
        }
        Ok(One(slice.map(Ok).into_iter()))
    }
}

/// One slice: what is RAM in one piece is mapped in one piece.
struct One<'a>(std::option::IntoIter<Result<VolatileSlice<'a>, GuestMemoryError>>);

impl<'a> Iterator for One<'a> {
    type Item = Result<VolatileSlice<'a>, GuestMemoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl iter::FusedIterator for One<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ()> for One<'a> {}
