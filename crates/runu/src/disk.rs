//! Files that a user gives to a guest as its disks.

use std::{
    ffi::OsString,
    fs::TryLockError,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed, Bytes, Disk, Printable};

use crate::open::{self, Access, OpenError, Opened};

/// Bytes of a sector: a disk holds whole ones.
const SECTOR: u64 = 512;

/// What `--disk` takes: `FILE`, or `FILE:ro` for one that the guest can only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskFlag {
    path: PathBuf,
    read_only: bool,
}

impl From<OsString> for DiskFlag {
    fn from(text: OsString) -> Self {
        let mut path = text.into_vec();
        let read_only = path.ends_with(b":ro");
        if read_only {
            path.truncate(path.len().saturating_sub(3));
        }
        DiskFlag { path: OsString::from_vec(path).into(), read_only }
    }
}

/// A disk whose file is open, and locked against use by another guest.
#[derive(Debug)]
pub(crate) struct OpenDisk {
    /// What the guest's process reads and writes.
    pub(crate) opened: Opened,
    /// Whether it may only read.
    pub(crate) read_only: bool,
}

impl OpenDisk {
    /// The disk as its guest sees it.
    pub(crate) fn disk(&self) -> Disk {
        Disk { size: self.opened.size, read_only: self.read_only }
    }
}

/// Why a file cannot be a disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// It cannot be opened, or is no regular file with something in it.
    #[error(transparent)]
    Open(OpenError),
    /// It ends within a sector.
    #[error("disk `{}` has {size}, not a multiple of 512 bytes", Printable(path.as_os_str().as_bytes()))]
    Sectors {
        /// The name as given.
        path: PathBuf,
        /// Its size.
        size: Bytes,
    },
    /// Another guest has it.
    #[error("disk `{}` is in use", Printable(path.as_os_str().as_bytes()))]
    InUse {
        /// The name as given.
        path: PathBuf,
    },
    /// There are more than a guest has room for.
    #[error("{count} disks are too many: a guest has {most} at most", most = Disk::MOST)]
    TooMany {
        /// How many are asked for.
        count: usize,
    },
}

impl Blamed for DiskError {
    fn blame(&self) -> Blame {
        match self {
            DiskError::Open(OpenError::Empty { .. }) => Blame::User,
            DiskError::Open(error) => error.blame(),
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            DiskError::Open(OpenError::Open { source, .. }) if open::is_forbidden(source) => {
                "the file must be writable to you; write FILE:ro for a disk that the guest only reads"
            }
            DiskError::Open(OpenError::Open { .. }) => "check the path",
            DiskError::Open(OpenError::NotRegular { found: open::A_DIRECTORY, .. }) => {
                "make an image of it, such as with `mke2fs -d DIRECTORY FILE SIZE`"
            }
            DiskError::Open(OpenError::Empty { .. }) => "give it a size, such as with `truncate -s 64M FILE`",
            DiskError::Open(error) => return error.hint(),
            DiskError::Sectors { .. } => "make it longer, such as with `truncate -s %512 FILE`",
            DiskError::InUse { .. } => {
                "only guests that all have it as FILE:ro can share it; wait for the other to end, or copy it"
            }
            DiskError::TooMany { .. } => "give fewer",
        };
        Some(hint.to_owned())
    }
}

/// Opens the files that are to be a guest's disks.
pub(crate) fn open_all(flags: &[DiskFlag]) -> Result<Vec<OpenDisk>, DiskError> {
    if flags.len() > Disk::MOST {
        return Err(DiskError::TooMany { count: flags.len() });
    }
    flags.iter().map(open).collect()
}

fn open(flag: &DiskFlag) -> Result<OpenDisk, DiskError> {
    let path: &Path = &flag.path;
    let access = if flag.read_only { Access::Read } else { Access::ReadWrite };
    let opened = open::open_as(path, "disk", access).map_err(DiskError::Open)?;
    if !opened.size.0.is_multiple_of(SECTOR) {
        return Err(DiskError::Sectors { path: path.to_path_buf(), size: opened.size });
    }
    // The lock belongs to the descriptor, so the guest's process holds it as long as it lives.
    let locked = if flag.read_only { opened.file.try_lock_shared() } else { opened.file.try_lock() };
    match locked {
        Err(TryLockError::WouldBlock) => Err(DiskError::InUse { path: path.to_path_buf() }),
        // A file system without locks is no reason to run without the disk.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(OpenDisk { opened, read_only: flag.read_only }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_that_ends_in_ro_is_read_only_and_others_are_names() {
        let flag = |text: &str| DiskFlag::from(OsString::from(text));
        assert_eq!(flag("a:ro"), DiskFlag { path: "a".into(), read_only: true });
        for name in ["a", "a:rw", "a:ro.img", "ro"] {
            assert_eq!(flag(name), DiskFlag { path: name.into(), read_only: false });
        }
    }
}
