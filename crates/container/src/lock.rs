//! One at a time makes or deletes a container: who does holds a lock on its directory (flock(2)), which ends with its
//! holder at the latest.
//!
//! `start`, `kill` and the others hold none: the supervisor takes one start, and the kernel takes any signal.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{ContainerError, record::state};

/// Holding it proves that nobody else makes or deletes the container of that directory, which existed when it was locked.
#[derive(Debug)]
pub(crate) struct Lock {
    _directory: OwnedFd,
}

/// A container's directory before it is locked.
pub(crate) struct Lockable {
    path: PathBuf,
    directory: OwnedFd,
}

impl Lock {
    /// Waits until nobody else has the lock of a directory, and takes it; none if the directory is gone.
    pub(crate) fn wait(path: &Path) -> Result<Option<Self>, ContainerError> {
        match Lockable::open(path)? {
            None => Ok(None),
            Some(lockable) => lockable.lock(),
        }
    }
}

impl Lockable {
    /// Opens a directory; none if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, ContainerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Lockable { path: path.to_path_buf(), directory })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(state("open", path)(errno.into())),
        }
    }

    /// Whether somebody else has the lock now.
    pub(crate) fn is_locked(&self) -> bool {
        let taken = rustix::fs::flock(&self.directory, FlockOperation::NonBlockingLockExclusive);
        if taken.is_ok() {
            // Fails only for a descriptor that is none.
            let _ = rustix::fs::flock(&self.directory, FlockOperation::Unlock);
        }
        taken == Err(Errno::WOULDBLOCK)
    }

    /// Waits until nobody else has the lock, and takes it; none if the directory was removed meanwhile.
    pub(crate) fn lock(self) -> Result<Option<Lock>, ContainerError> {
        let fail = |errno: Errno| state("lock", &self.path)(io::Error::from(errno));
        rustix::io::retry_on_intr(|| rustix::fs::flock(&self.directory, FlockOperation::LockExclusive))
            .map_err(fail)?;
        // A removed directory has no links (stat(2)); what has its name now is another container's.
        let exists = rustix::fs::fstat(&self.directory).map_err(fail)?.st_nlink > 0;
        Ok(exists.then_some(Lock { _directory: self.directory }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_that_somebody_has_locked_is_locked_until_they_are_done() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::wait(folder.path()).unwrap().unwrap();
        let second = Lockable::open(folder.path()).unwrap().unwrap();
        assert!(second.is_locked());
        drop(first);
        assert!(!second.is_locked());
        assert!(second.lock().unwrap().is_some());
    }

    #[test]
    fn directory_removed_while_somebody_waited_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let waiting = Lockable::open(folder.path()).unwrap().unwrap();
        drop(folder);
        assert!(waiting.lock().unwrap().is_none());
    }

    #[test]
    fn directory_that_is_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Lock::wait(&folder.path().join("x")).unwrap().is_none());
    }
}
