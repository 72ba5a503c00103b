//! Why a guest cannot have the files that it is to have.

use std::{io, path::PathBuf};

use runu_core::{Blame, Blamed, Printable};
use runu_sandbox::{TreeError, TreeStep};
use rustix::io::Errno;

use crate::InitrdError;

/// Why a guest cannot have the files that it is to have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// No kernel can be told of the place.
    #[error("no volume can be at `{}`: a place is an absolute path of names without `:`", printable(.place))]
    Place {
        /// Where it was to be, in the guest.
        place: PathBuf,
    },
    /// The guest's kernel has no way to it.
    #[error("the guest cannot have the volume `{}`: {why}", printable(.place))]
    NoWay {
        /// Where it was to be, in the guest.
        place: PathBuf,
        /// What its kernel lacks.
        why: &'static str,
        /// Whether it could have it if it were read-only.
        if_read_only: bool,
    },
    /// More directories than a guest can be told of one by one.
    #[error("{count} shared directories are too many for this guest: {most} is the most")]
    TooMany {
        /// How many it would take.
        count: usize,
        /// How many there can be.
        most: usize,
    },
    /// It is not there, cannot be made, or has no place among the other files.
    #[error("the guest cannot have the volume `{}`", printable(.place))]
    Tree {
        /// Where it was to be, in the guest.
        place: PathBuf,
        /// What failed.
        source: TreeFailure,
    },
    /// The guest's root cannot be opened.
    #[error("the guest cannot have its root")]
    Root(#[source] TreeFailure),
    /// A file that is to become part of the initrd cannot be read.
    #[error("the guest cannot have the volume `{}`", printable(.place))]
    Read {
        /// Where it was to be, in the guest.
        place: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The initrd that files of the image, or volumes, were to become part of.
    #[error("the guest cannot have its files in its initrd")]
    Initrd(#[from] InitrdError),
    /// There are no descriptors left.
    #[error("cannot connect the guest with what serves its files")]
    Connect(#[source] Errno),
}

/// A step on the way to a tree of files that failed, and what the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {step}")]
pub struct TreeFailure {
    step: TreeStep,
    source: Errno,
}

impl From<TreeError> for TreeFailure {
    fn from(error: TreeError) -> Self {
        TreeFailure { step: error.step, source: error.source }
    }
}

fn printable(path: &std::path::Path) -> Printable<'_> {
    Printable(path.as_os_str().as_encoded_bytes())
}

impl Blamed for VolumeError {
    fn blame(&self) -> Blame {
        match self {
            VolumeError::Connect(_) => Blame::Host,
            VolumeError::Root(TreeFailure { step: TreeStep::Namespace | TreeStep::Copy, .. })
            | VolumeError::Tree {
                source: TreeFailure { step: TreeStep::Namespace | TreeStep::Copy, .. },
                ..
            } => Blame::Host,
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            VolumeError::NoWay { if_read_only: true, .. } => {
                "mount it read-only: then it becomes part of the initrd"
            }
            VolumeError::NoWay { if_read_only: false, .. } => {
                "build the kernel with 9pfs (CONFIG_LIB9PFS, CONFIG_LIBVIRTIO_9P)"
            }
            VolumeError::Tree { source: TreeFailure { step: TreeStep::Mount, .. }, .. } => {
                "a directory goes on a directory and a file on a file: the image has something else there"
            }
            VolumeError::TooMany { .. } => "mount a directory above several of them",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
