//! Files in a container's root file system, which is hostile: no link in it may lead out of it.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Dir, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Largest file read as a whole: real kernels are below 100 MiB.
const LARGEST: u64 = 1 << 30;

/// An open root file system.
#[derive(Debug)]
pub(crate) struct RootFs(OwnedFd);

impl AsFd for RootFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl RootFs {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(RootFs(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens the regular file at `path`, as a process whose root this is would.
    pub(crate) fn file(&self, path: &Path) -> io::Result<File> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        regular(rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve)?)
    }

    /// Whether there is nothing at `path`, as a process would see it whose root this is, or an empty directory.
    pub(crate) fn has_nothing_at(&self, path: &Path) -> bool {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
            Ok(directory) => Dir::new(directory).is_ok_and(|entries| {
                // `.` and `..`.
                entries.flatten().count() == 2
            }),
            Err(errno) => errno == Errno::NOENT,
        }
    }
}

/// Opens the regular file at a path of the host's: neither a pipe that nobody writes to nor a device that never ends.
pub(crate) fn regular_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    regular(rustix::fs::open(path, flags, Mode::empty())?)
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// All bytes of a file, which is left at its start.
pub(crate) fn contents(file: &mut File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    if len > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(len).read_to_end(&mut bytes)?;
    file.rewind()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn link_out_of_the_root_stays_inside() {
        let root = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", root.path().join("absolute")).unwrap();
        symlink("../../../../etc/passwd", root.path().join("relative")).unwrap();
        let rootfs = RootFs::open(root.path()).unwrap();
        for name in ["absolute", "relative", "/../../etc/passwd"] {
            let error = rootfs.file(Path::new(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}");
        }
    }

    #[test]
    fn directory_is_no_file() {
        let root = tempfile::tempdir().unwrap();
        assert!(RootFs::open(root.path()).unwrap().file(Path::new("/")).is_err());
    }
}
