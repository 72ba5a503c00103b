//! Directories that a guest shares by 9P: whether it can, and how it is told.

use crate::{Guest, Kind, unikraft};

/// A shared directory as its guest is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// By which the guest finds the device.
    pub tag: String,
    /// Where it is to be in the guest: an absolute path, or `/` for its root.
    pub path: Vec<u8>,
}

impl Shared {
    /// Whether it becomes the guest's root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.path == b"/"
    }
}

/// Bytes that no path of a shared directory can hold: kernels separate fields by one, and no grammar has the others.
const SEPARATORS: [u8; 3] = [b':', 0, b'\n'];

/// What `guest` lacks to mount directories by 9P where it is told; `None` if it can.
#[must_use]
pub fn share_obstacle(guest: &Guest) -> Option<&'static str> {
    match &guest.kind {
        Kind::Unikraft(facts) => unikraft::share_obstacle(facts),
        Kind::Runu(facts) => {
            let shares = facts.uses.iter().any(|used| used == "shares");
            (!shares).then_some("it has no use for shared directories")
        }
        _ => Some("it is not known how its kernel is told to mount one"),
    }
}

/// Whether an initrd becomes the root file system of `guest`: then it needs one to have places to mount directories at.
#[must_use]
pub fn unpacks_initrd(guest: &Guest) -> bool {
    matches!(&guest.kind, Kind::Unikraft(facts) if unikraft::unpacks_initrd(facts))
}

/// Whether a directory can be mounted at `path` in a guest: an absolute path below the root whose parts are names, without what
/// means something to kernels' parsers.
#[must_use]
pub fn is_mount_point(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    let is_name = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    rest.split(|byte| *byte == b'/').all(is_name) && !rest.iter().any(|byte| SEPARATORS.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_point_is_an_absolute_path_of_names_without_separators() {
        for path in [&b"/data"[..], b"/a/b.c/d", b"/..a", b"/with space"] {
            assert!(is_mount_point(path));
        }
        for path in [&b"/"[..], b"", b"data", b"/a/../b", b"/a/", b"//a", b"/a:b", b"/a\n", b"/."] {
            assert!(!is_mount_point(path));
        }
    }
}
