//! What a refusal looks like.

use std::path::Path;

use crate::support::{Ended, Room};

/// Status of what is the user's mistake or the host's.
pub(crate) const USER: i32 = 125;
/// Status of what is the image's mistake.
pub(crate) const IMAGE: i32 = 126;

/// Asserts that nothing was said but an error, on lines that start so, one for one.
#[track_caller]
pub(crate) fn assert_refused(ended: &Ended, status: i32, lines: &[&str]) {
    assert_eq!(ended.status(), status, "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(said.len(), lines.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(lines) {
        assert!(said.starts_with(expected), "`{said}` does not start with `{expected}`");
    }
}

/// Asserts that both verbs that take a kernel refuse this one.
#[track_caller]
pub(crate) fn assert_kernel_refused(room: &Room, kernel: &Path, status: i32, lines: &[&str]) {
    for verb in ["run", "inspect"] {
        assert_refused(&room.finish(room.runu(&[verb]).arg(kernel)), status, lines);
    }
}
