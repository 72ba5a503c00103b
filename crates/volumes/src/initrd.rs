//! Initrds that are made here: of what an image holds besides its kernel, and of volumes.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use runu_core::Bytes;
use runu_sandbox::memory_file;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::cpio::Archive;

/// How long such an initrd can be: all of it is in memory, and again in the guest's.
const LARGEST: usize = 512 << 20;
/// How deep directories can be nested.
const DEEPEST: usize = 128;

/// An initrd and how long it is.
pub(crate) type Initrd = (File, Bytes);

/// Why there is no initrd.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// It is there, and is none that can be continued.
    #[error("the initrd of the image is no cpio archive of the kind `newc`, so nothing can be added")]
    Form,
    /// It is too much.
    #[error("what is to be in it does not fit into an initrd: more than {} or {DEEPEST} directories deep", Bytes(LARGEST as u64))]
    Size,
    /// The kernel refuses.
    #[error("cannot read what becomes part of the initrd")]
    Read(#[source] io::Error),
}

impl From<Errno> for InitrdError {
    fn from(errno: Errno) -> Self {
        InitrdError::Read(errno.into())
    }
}

impl From<io::Error> for InitrdError {
    fn from(error: io::Error) -> Self {
        InitrdError::Read(error)
    }
}

/// An archive that goes on behind what is in `given`, which is left at its start.
pub(crate) fn continued(mut given: &File) -> Result<Archive, InitrdError> {
    let mut contents = Vec::new();
    given.take(LARGEST as u64 + 1).read_to_end(&mut contents)?;
    given.rewind()?;
    if contents.len() > LARGEST {
        return Err(InitrdError::Size);
    }
    Archive::continuing(&contents).ok_or(InitrdError::Form)
}

/// An archive in a memory file, at its start, and its size.
pub(crate) fn file_of(archive: Archive) -> Result<Initrd, InitrdError> {
    let bytes = archive.finish();
    Ok((memory_file(c"initrd", &bytes)?, Bytes(bytes.len() as u64)))
}

/// An archive of the files below a directory of the host; none if there are none but what is left out.
pub(crate) fn of_directory(
    path: &Path,
    left_out: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<Archive>, InitrdError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let mut archive = Archive::default();
    let has_files = descend(&mut archive, root.as_fd(), b"", 0, left_out)?;
    Ok(has_files.then_some(archive))
}

/// Adds an open directory of the host and all in it, at a path without the first `/`. Times and owners tell nothing and names
/// are sorted, so that the same contents give the same bytes.
pub(crate) fn add_directory(
    archive: &mut Archive,
    directory: BorrowedFd<'_>,
    path: &[u8],
) -> Result<(), InitrdError> {
    descend(archive, directory, path, 0, &|_| false).map(drop)
}

/// Adds a regular file.
pub(crate) fn add_file(archive: &mut Archive, file: &mut File, path: &[u8]) -> Result<(), InitrdError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata()?;
    let room = LARGEST.saturating_sub(archive.len()) as u64;
    let size = u32::try_from(metadata.len()).ok().filter(|size| u64::from(*size) <= room);
    Ok(archive.file(path, metadata.permissions().mode(), size.ok_or(InitrdError::Size)?, file)?)
}

/// Adds a directory and all in it but what is no file, such as sockets, and what is to be left out; whether there was more
/// than directories.
fn descend(
    archive: &mut Archive,
    directory: BorrowedFd<'_>,
    path: &[u8],
    depth: usize,
    is_left_out: &dyn Fn(&[u8]) -> bool,
) -> Result<bool, InitrdError> {
    if depth > DEEPEST {
        return Err(InitrdError::Size);
    }
    let opened = open(directory, b".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    if !path.is_empty() {
        archive.directory(path, rustix::fs::fstat(&opened)?.st_mode);
    }
    let mut names: Vec<Vec<u8>> = Dir::read_from(&opened)?
        .map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()))
        .collect::<Result<_, _>>()?;
    names.sort_unstable();
    let mut has_files = false;
    for name in names.iter().filter(|name| !matches!(name.as_slice(), b"." | b"..")) {
        let path = if path.is_empty() { name.clone() } else { [path, b"/", name].concat() };
        if is_left_out(&path) {
            continue;
        }
        let stat = rustix::fs::statat(&opened, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let below = open(opened.as_fd(), name, OFlags::PATH | OFlags::DIRECTORY)?;
                has_files |= descend(archive, below.as_fd(), &path, depth + 1, is_left_out)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&opened, name.as_slice(), Vec::new())?;
                archive.link(&path, target.as_bytes());
                has_files = true;
            }
            FileType::RegularFile => {
                let mut file = File::from(open(opened.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK)?);
                add_file(archive, &mut file, &path)?;
                has_files = true;
            }
            _ => {}
        }
        if archive.len() > LARGEST {
            return Err(InitrdError::Size);
        }
    }
    Ok(has_files)
}

/// Opens an entry of a directory, and nothing that a link leads to.
fn open(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn of(folder: &Path) -> Vec<u8> {
        let mut archive = Archive::default();
        add_directory(&mut archive, File::open(folder).unwrap().as_fd(), b"data").unwrap();
        archive.finish()
    }

    fn holds(bytes: &[u8], text: &[u8]) -> bool {
        bytes.windows(text.len()).any(|window| window == text)
    }

    #[test]
    fn directory_becomes_the_same_archive_in_whatever_order_it_was_made() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for (folder, names) in folders.iter().zip([["a", "b"], ["b", "a"]]) {
            names.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
            fs::create_dir(folder.path().join("c")).unwrap();
            symlink("/etc/passwd", folder.path().join("c/link")).unwrap();
        }
        let [first, second] = folders.each_ref().map(|folder| of(folder.path()));
        assert_eq!(first, second);
        for name in [&b"data\0"[..], b"data/a\0", b"data/c/link\0", b"/etc/passwd"] {
            assert!(holds(&first, name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn names_of_one_file_each_have_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), "contents").unwrap();
        fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        let bytes = of(folder.path());
        assert_eq!(bytes.windows(8).filter(|window| *window == b"contents").count(), 2);
    }

    #[test]
    fn directory_of_nothing_but_what_is_left_out_becomes_none() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("boot/empty")).unwrap();
        fs::write(root.path().join("boot/kernel"), "left out").unwrap();
        let is_left_out = |path: &[u8]| path == b"boot/kernel";
        assert!(of_directory(root.path(), &is_left_out).unwrap().is_none());

        fs::write(root.path().join("boot/page"), "kept").unwrap();
        let bytes = of_directory(root.path(), &is_left_out).unwrap().unwrap().finish();
        assert!(holds(&bytes, b"boot/page\0") && holds(&bytes, b"kept") && !holds(&bytes, b"left out"));
    }

    #[test]
    fn initrd_of_another_form_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::write(&other, [0x1f, 0x8b, 8, 0]).unwrap();
        assert!(matches!(continued(&File::open(other).unwrap()), Err(InitrdError::Form)));
    }
}
