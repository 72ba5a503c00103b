//! One volume: what of the host a guest is to have, and where.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use runu_sandbox::Piece;

use crate::VolumeError;

/// What a guest is to have beside its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub(crate) place: PathBuf,
    /// What it is.
    pub content: Content,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Whether nobody asked for it by name, so that a guest which cannot have it does without.
    pub optional: bool,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory or file of the host.
    Host {
        /// Where it is.
        path: PathBuf,
        /// Whether what is mounted below it is there too.
        whole: bool,
    },
    /// An empty directory in memory, which is gone with the guest, with these options (tmpfs(5)); one without a value is
    /// empty here.
    Memory(Vec<(String, String)>),
}

impl Volume {
    /// A volume at `place` in the guest.
    ///
    /// # Errors
    /// No kernel can be told of a place like that: it is no absolute path of names, or holds what separates fields.
    pub fn new(place: PathBuf, content: Content, read_only: bool) -> Result<Self, VolumeError> {
        match runu_guest::is_mount_point(place.as_os_str().as_bytes()) {
            true => Ok(Volume { place, content, read_only, optional: false }),
            false => Err(VolumeError::Place { place }),
        }
    }

    /// Where it is to be in the guest.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The part that it is of a tree.
    pub(crate) fn piece(&self) -> Piece<'_> {
        let content = match &self.content {
            Content::Host { path, whole } => runu_sandbox::Content::Host { path, whole: *whole },
            Content::Memory(options) => runu_sandbox::Content::Memory(options),
        };
        Piece { content, read_only: self.read_only }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_at_a_place_that_no_kernel_can_be_told_of_is_refused() {
        for place in ["/", "data", "/a:b", "/a/../b", "/a//b", ""] {
            let content = Content::Memory(Vec::new());
            assert!(Volume::new(place.into(), content, false).is_err(), "{place}");
        }
    }
}
