//! What a hostile guest can reach: nothing.
//!
//! `entries` raises every way into a kernel from guest code, where each is the guest's own affair. `attacks` has the guest
//! overwrite the monitor's translated code with raw system calls, so that they do reach the host's kernel, which ends the
//! process. `confinement` looks at the guest's process from outside while it runs.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "processor time and control groups are not looked at here")]
mod support;

mod attacks;
mod confinement;
mod entries;
