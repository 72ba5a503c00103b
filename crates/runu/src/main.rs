//! The program `runu`; all of it is in the library beside this file.
//!
//! The C library calls [`main`] without `std`'s start-up in between, which reads /proc/self/maps and makes a stack for
//! reports of overflows: 75 µs, twice for each guest. What we need of it is in `stdio.rs`.

#![no_main]

use std::ffi::{c_char, c_int};

/// Entry from the C library.
// SAFETY: no other symbol of this name exists: `no_main` keeps the compiler from making one.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    runu::main().into()
}
