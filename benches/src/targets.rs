//! What runu promises, and whether this run bears it out.
//!
//! A start is promised by its median. On a machine that others use, a single run says little and a miss may be theirs.

use serde::Serialize;

use crate::{
    contender::{Category, Field, Role},
    report::{Exits, Held},
};

/// Time to the end of a hello, by runc's with a static hello that is started the same way.
const fn to_runc(category: Category, own: bool) -> f64 {
    match (category, own) {
        (Category::Run, true) => 0.3,
        (Category::Life, true) => 0.4,
        (Category::Run | Category::Life, false) => 0.5,
        // Most of it is Docker's own.
        (Category::Docker, _) => 1.0,
    }
}
/// Time to the end under QEMU without KVM, by runu's with the same kernel.
const EMULATOR_TO_RUNU: f64 = 20.0;
/// What a run holds beside what the guest has touched, in KiB.
const ABOVE_GUEST_KIB: u32 = 2048;

/// A promise and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    /// What is promised, of whom.
    pub(crate) what: String,
    /// The most, or the least, that it may be.
    pub(crate) bound: f64,
    /// Whether the bound is the least.
    pub(crate) at_least: bool,
    /// What was measured.
    pub(crate) measured: f64,
    /// Whether that is within the bound.
    pub(crate) met: bool,
}

impl Target {
    pub(crate) fn at_most(what: String, bound: f64, measured: f64) -> Self {
        Target { what, bound, at_least: false, measured, met: measured <= bound }
    }

    pub(crate) fn at_least(what: String, bound: f64, measured: f64) -> Self {
        Target { what, bound, at_least: true, measured, met: measured >= bound }
    }
}

/// Targets of starts.
pub(crate) fn starts(all: &[Exits<'_>]) -> Vec<Target> {
    let mut targets = Vec::new();
    for one in all.iter().filter(|one| one.is_runu()) {
        let name = &one.contender.name;
        let bound = to_runc(one.contender.category, one.contender.role == Role::RunuOwn);
        if let Some(ratio) = one.to_runc(all) {
            targets.push(Target::at_most(format!("{name}: time by runc's"), bound, ratio.median));
        }
        if let Some(ratio) = one.emulator_to_it(all) {
            let what = format!("{name}: time of QEMU TCG by this");
            targets.push(Target::at_least(what, EMULATOR_TO_RUNU, ratio.median));
        }
    }
    targets
}

/// Targets of memory.
pub(crate) fn memory(field: &Field, held: &[Held]) -> Vec<Target> {
    let promised =
        |held: &&Held| field.waiters.iter().any(|waiter| waiter.has_target && waiter.name == held.name);
    held.iter()
        .filter(promised)
        .map(|held| {
            let above = u32::try_from(held.above_guest_kib).unwrap_or(u32::MAX);
            let what = format!("{}: KiB above what the guest touched", held.name);
            Target::at_most(what, f64::from(ABOVE_GUEST_KIB), f64::from(above))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_on_its_bound_is_met() {
        assert!(Target::at_most(String::new(), 0.3, 0.3).met);
        assert!(Target::at_least(String::new(), 20.0, 20.0).met);
    }

    #[test]
    fn target_beyond_its_bound_is_missed() {
        assert!(!Target::at_most(String::new(), 0.3, 0.31).met);
        assert!(!Target::at_least(String::new(), 20.0, 19.9).met);
    }
}
