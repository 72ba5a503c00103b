//! Checks and their report: one line each, the same on every machine that behaves.
//!
//! A check returns `Ok` or the first thing that was wrong. A feature that the processor does not claim to
//! have is not checked and counts as `ok`, so that the lines do not depend on the host.

use crate::boot::Boot;
use crate::{power, println, trap};

/// What was wrong.
pub struct Wrong {
    what: &'static str,
    got: u64,
    expected: u64,
}

/// The end of a check.
pub type Outcome = Result<(), Wrong>;

/// A named check.
pub struct Check {
    /// What it prints behind `ok` or `FAIL`.
    pub name: &'static str,
    /// What it does.
    pub run: fn() -> Outcome,
}

/// Requires a number.
pub fn equal(what: &'static str, got: u64, expected: u64) -> Outcome {
    if got == expected { Ok(()) } else { Err(Wrong { what, got, expected }) }
}

/// Requires a condition.
pub fn holds(what: &'static str, condition: bool) -> Outcome {
    equal(what, u64::from(condition), 1)
}

/// Runs the checks and ends with the number of failures as exit code.
///
/// Arguments select: names of checks to run instead of all, and `-name` for one to leave out.
pub fn run(boot: &Boot, groups: &[&[Check]]) -> ! {
    let (mut done, mut failed) = (0_u32, 0_u32);
    for check in groups.iter().copied().flatten().filter(|check| selected(boot, check.name.as_bytes())) {
        done += 1;
        match (check.run)() {
            Ok(()) => println!("ok {}", check.name),
            Err(Wrong { what, got, expected }) => {
                failed += 1;
                println!("FAIL {} {what}: got {got:#x}, expected {expected:#x}", check.name);
            }
        }
        trap::forget_exceptions();
    }
    println!("{done} checks, {failed} failed");
    power::exit(failed.min(255) as u8)
}

fn selected(boot: &Boot, name: &[u8]) -> bool {
    let arguments = || boot.cmdline.argv().iter().skip(1);
    let left_out = arguments().any(|it| it.strip_prefix(b"-") == Some(name));
    let chosen = arguments().all(|it| it.starts_with(b"-")) || arguments().any(|it| *it == name);
    chosen && !left_out
}
