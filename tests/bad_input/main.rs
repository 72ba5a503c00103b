//! What `runu` says when what it is given is wrong: one error, its causes, a hint, the status of whose mistake it is.
//!
//! No guest runs in any of these tests, and nothing may be left of the attempt (`support`).

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "nothing runs long enough to be looked at or signalled")]
mod support;

mod disks;
mod elf;
mod files;
mod flags;
mod initrd;
mod memory;
mod refusal;
mod stdio;
mod volumes;
mod words;
