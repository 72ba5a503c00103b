//! Files that a user named: opened once, known to be regular, bounded in size.
//!
//! The descriptor opened here is the one the guest's process reads from later, so what was looked at is what is run,
//! whatever happens to the name meanwhile.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed, Bytes, Printable};

/// Largest file taken as kernel or initrd. Real kernels are below 100 MiB; the bound keeps a mistaken path (a disk
/// image) from filling memory.
const LARGEST: Bytes = Bytes::mib(1024);

/// What a directory is found to be.
pub(crate) const A_DIRECTORY: &str = "a directory";

/// An open file and its size.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The file, at its start.
    pub(crate) file: File,
    /// Its size when it was opened.
    pub(crate) size: Bytes,
}

/// Why a named file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It does not exist, or we may not.
    #[error("cannot open {what} `{}`", Printable(path.as_os_str().as_bytes()))]
    Open {
        /// What the file was to be.
        what: &'static str,
        /// The name as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{what} `{}` is {found}, not a regular file", Printable(path.as_os_str().as_bytes()))]
    NotRegular {
        /// What the file was to be.
        what: &'static str,
        /// The name as given.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// No bytes.
    #[error("{what} `{}` is empty", Printable(path.as_os_str().as_bytes()))]
    Empty {
        /// What the file was to be.
        what: &'static str,
        /// The name as given.
        path: PathBuf,
    },
    /// More than [`LARGEST`].
    #[error("{what} `{}` has {size}, more than {LARGEST}", Printable(path.as_os_str().as_bytes()))]
    TooLarge {
        /// What the file was to be.
        what: &'static str,
        /// The name as given.
        path: PathBuf,
        /// Its size.
        size: Bytes,
    },
    /// The system failed while reading.
    #[error("cannot read {what} `{}`", Printable(path.as_os_str().as_bytes()))]
    Read {
        /// What the file was to be.
        what: &'static str,
        /// The name as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Blamed for OpenError {
    fn blame(&self) -> Blame {
        match self {
            OpenError::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Blame::User,
                _ if is_forbidden(source) => Blame::User,
                _ => Blame::Host,
            },
            OpenError::NotRegular { .. } => Blame::User,
            OpenError::Empty { .. } | OpenError::TooLarge { .. } => Blame::Image,
            OpenError::Read { .. } => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            OpenError::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the path; `runu demo` needs no file",
                io::ErrorKind::PermissionDenied => {
                    "the file and every folder on the way to it must be open to you"
                }
                _ => return None,
            },
            OpenError::NotRegular { found: A_DIRECTORY, .. } => {
                "name the kernel inside it, in a kraft image unikraft/bin/kernel"
            }
            OpenError::NotRegular { .. } => "copy it to a regular file",
            OpenError::Empty { .. } => "build or copy it again",
            OpenError::TooLarge { .. } | OpenError::Read { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is read.
    Read,
    /// It is read and written.
    ReadWrite,
}

/// Whether a file exists and may not be opened so.
pub(crate) fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Opens the file at `path`, which is to be `what` ("kernel", "initrd"), for reading.
pub(crate) fn open(path: &Path, what: &'static str) -> Result<Opened, OpenError> {
    match open_as(path, what, Access::Read)? {
        Opened { size, .. } if size > LARGEST => {
            Err(OpenError::TooLarge { what, path: path.to_path_buf(), size })
        }
        opened => Ok(opened),
    }
}

/// Opens the file at `path`, which is to be `what`, however large it is.
pub(crate) fn open_as(path: &Path, what: &'static str, access: Access) -> Result<Opened, OpenError> {
    let name = || path.to_path_buf();
    // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever. Regular files ignore it.
    let file = OpenOptions::new()
        .read(true)
        .write(access == Access::ReadWrite)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|source| match source.kind() {
            // Only for writing is this found so early.
            io::ErrorKind::IsADirectory => OpenError::NotRegular { what, path: name(), found: A_DIRECTORY },
            _ => OpenError::Open { what, path: name(), source },
        })?;
    let metadata = file.metadata().map_err(|source| OpenError::Read { what, path: name(), source })?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { A_DIRECTORY } else { "a device, pipe or socket" };
        return Err(OpenError::NotRegular { what, path: name(), found });
    }
    match Bytes(metadata.len()) {
        Bytes(0) => Err(OpenError::Empty { what, path: name() }),
        size => Ok(Opened { file, size }),
    }
}

/// All bytes of the file, which was opened from `path` to be `what`; the file is left at its start.
pub(crate) fn contents(opened: &mut Opened, path: &Path, what: &'static str) -> Result<Vec<u8>, OpenError> {
    let mut bytes = Vec::with_capacity(usize::try_from(opened.size.0).unwrap_or(0));
    // A file that grows while it is read is cut where it ended at first.
    (&mut opened.file)
        .take(opened.size.0)
        .read_to_end(&mut bytes)
        .and_then(|_| opened.file.rewind())
        .map_err(|source| OpenError::Read { what, path: path.to_path_buf(), source })?;
    Ok(bytes)
}
