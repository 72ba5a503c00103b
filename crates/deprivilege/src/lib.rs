//! Running an x86 kernel without the privilege it believes to have.
//!
//! Two halves. The *CPU* half ([`cpu`], [`emulate`], [`exception`], [`paging`], [`cpuid`], [`access`], [`lent`]) is the
//! architecture in Rust: what a privileged instruction, an exception, an interrupt does to a virtual CPU. The
//! *translation* half ([`translate`]) turns guest code, a block at a time, into host code that runs natively in
//! ring 3 and leaves it wherever only the first half can go on. docs/design/translation.md argues why that is sound.
//!
//! Architecture Invariant: nothing here performs I/O, makes a system call or touches memory that it was not handed;
//! a monitor supplies memory and ports through [`bus::Bus`] and places the produced code.

pub mod access;
pub mod bus;
pub mod cpu;
pub mod cpuid;
pub mod emulate;
pub mod exception;
pub mod lent;
pub mod paging;
pub mod translate;
