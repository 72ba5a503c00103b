//! Statics of a machine with one processor.

use core::cell::UnsafeCell;

/// A static that only the one processor touches. Handlers that share it with `main` are told so by the
/// `unsafe` of `get`.
#[repr(transparent)]
pub struct OneCpu<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and `get` leaves the exclusion of interrupt handlers to its caller.
unsafe impl<T> Sync for OneCpu<T> {}

impl<T> OneCpu<T> {
    /// A static with this value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value.
    ///
    /// # Safety
    /// No other reference from `get` may be in use, neither further up the stack nor in an interrupted
    /// function.
    #[expect(clippy::mut_from_ref, reason = "exclusion is the caller's promise")]
    pub unsafe fn get(&self) -> &mut T {
        // SAFETY: the caller promises that this is the only reference.
        unsafe { &mut *self.0.get() }
    }

    /// The value's address.
    pub const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}
