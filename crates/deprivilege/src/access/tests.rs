//! Data instructions as stories.

mod moves;
mod strings;

use crate::emulate::{Trap, rig::Rig};

/// Runs an instruction that must raise an exception; its vector and error code.
fn exception(rig: &mut Rig, code: &[u8]) -> (u8, Option<u32>) {
    match rig.access(code) {
        Err(Trap::Exception(exception)) => (exception.vector, exception.error_code),
        other => panic!("expected an exception, found {other:?}"),
    }
}
