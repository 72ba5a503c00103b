//! What the suites share: a place to run `runu` in that is searched for leftovers when a test leaves it.
//!
//! A test makes a [`Room`], starts programs in it, and looks at how they [`Ended`]; the room's drop is the leak check. A
//! program that does not end in time is killed and fails its test, so no suite can hang.

mod ended;
mod guest;
mod leaks;
pub(crate) mod process;
pub(crate) mod room;
mod running;
pub(crate) mod user;

pub(crate) use ended::Ended;
pub(crate) use guest::{BOTH_KINDS, GuestKind};
pub(crate) use room::Room;
pub(crate) use running::Running;

/// Says that the running test cannot run here, in the form that `cargo xtask test` counts.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP {}: {reason}", std::thread::current().name().unwrap_or("?"));
}
