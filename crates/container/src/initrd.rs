//! Initrds that are made here: of what an image holds besides its kernel, and of volumes.

use std::{fs::File, io, path::Path};

use runu_core::Bytes;
use runu_guest::Guest;
use runu_sandbox::memory_file;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::{Convention, cpio::Archive, rootfs, rootfs::RootFs};

/// How long such an initrd can be: all of it is in memory, and again in the guest's.
const LARGEST: usize = 512 << 20;
/// How deep directories can be nested.
const DEEPEST: usize = 128;

/// An initrd and how long it is.
pub(crate) type Initrd = (File, Bytes);

/// Why there is no initrd.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitrdError {
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

/// An initrd with directories of the host at these places behind what is in `given`, and its size. Its times and owners tell
/// nothing and names are sorted, so that the same contents give the same bytes.
///
/// # Errors
/// What is given is no archive, a directory cannot be read, or is too much.
pub(crate) fn with_directories(
    given: Option<File>,
    directories: &[(&Path, &OwnedFd)],
) -> Result<Initrd, InitrdError> {
    let mut archive = match given {
        None => Archive::default(),
        Some(mut file) => {
            let contents = rootfs::contents(&mut file)?;
            Archive::continuing(&contents).ok_or(InitrdError::Form)?
        }
    };
    for (place, directory) in directories {
        use std::os::unix::ffi::OsStrExt;
        let place = place.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default();
        let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        ends.for_each(|end| archive.directory(place.get(..end).unwrap_or_default(), 0o755));
        add_directory(&mut archive, directory.as_fd(), place, 0, &|_| false)?;
    }
    archive_file(archive)
}

/// An archive in a memory file, at its start.
fn archive_file(archive: Archive) -> Result<Initrd, InitrdError> {
    let bytes = archive.finish();
    Ok((memory_file(c"initrd", &bytes)?, Bytes(bytes.len() as u64)))
}

/// What engines put into every container, and image tools beside a kernel.
const NOT_OF_THE_IMAGE: &[&[u8]] = &[
    b"dev",
    b"proc",
    b"sys",
    b"unikraft",
    b"urunc.json",
    b".dockerenv",
    b"run/.containerenv",
    b"etc/hosts",
    b"etc/hostname",
    b"etc/resolv.conf",
    b"etc/mtab",
];

/// An initrd of the files that an image holds besides its kernel, for a guest that unpacks one; none if there are none. An
/// image whose program is a kernel may hold all sorts of things, so nothing is made of those.
///
/// # Errors
/// They cannot be read, or are too much.
pub(crate) fn of_image(
    guest: &Guest,
    convention: &Convention,
    root: &Path,
) -> Result<Option<File>, InitrdError> {
    use std::os::unix::ffi::OsStrExt;
    let (Convention::Kraft { kernel } | Convention::Urunc { kernel, .. }) = convention else {
        return Ok(None);
    };
    if !runu_guest::unpacks_initrd(guest) {
        return Ok(None);
    }
    let kernel = kernel.as_os_str().as_bytes();
    let kernel = kernel.strip_prefix(b"/").unwrap_or(kernel);
    let is_left_out = |path: &[u8]| path == kernel || NOT_OF_THE_IMAGE.contains(&path);
    let mut archive = Archive::default();
    let root = RootFs::open(root)?;
    match add_directory(&mut archive, root.as_fd(), b"", 0, &is_left_out)? {
        true => Ok(Some(archive_file(archive)?.0)),
        false => Ok(None),
    }
}

/// Adds a directory and all in it but what is no file, such as sockets, and what is to be left out; whether there was more
/// than directories.
fn add_directory(
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
                has_files |= add_directory(archive, below.as_fd(), &path, depth + 1, is_left_out)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&opened, name.as_slice(), Vec::new())?;
                archive.link(&path, target.as_bytes());
                has_files = true;
            }
            FileType::RegularFile => {
                let mut file = File::from(open(opened.as_fd(), name, OFlags::RDONLY | OFlags::NONBLOCK)?);
                let size = file.metadata()?.len();
                let room = LARGEST.saturating_sub(archive.len()) as u64;
                let size = u32::try_from(size).ok().filter(|size| u64::from(*size) <= room);
                archive.file(&path, stat.st_mode, size.ok_or(InitrdError::Size)?, &mut file)?;
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
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    fn made(given: Option<File>, place: &str, folder: &Path) -> Result<Vec<u8>, InitrdError> {
        let directory = OwnedFd::from(File::open(folder).unwrap());
        let (mut file, size) = with_directories(given, &[(Path::new(place), &directory)])?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(size, Bytes(bytes.len() as u64));
        Ok(bytes)
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
        let [first, second] =
            folders.each_ref().map(|folder| made(None, "/srv/data", folder.path()).unwrap());
        assert_eq!(first, second);
        for name in [&b"srv\0"[..], b"srv/data\0", b"srv/data/a\0", b"srv/data/c/link\0", b"/etc/passwd"] {
            assert!(holds(&first, name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn names_of_one_file_each_have_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), "contents").unwrap();
        fs::hard_link(folder.path().join("one"), folder.path().join("two")).unwrap();
        let bytes = made(None, "/data", folder.path()).unwrap();
        assert_eq!(bytes.windows(8).filter(|window| *window == b"contents").count(), 2);
    }

    /// A kernel that unpacks an initrd.
    fn unikraft() -> Guest {
        use runu_guest::unikraft::{Facts, Platform, Version};
        let facts = Facts {
            version: Some(Version::new(0, 16, 3)),
            full_version: None,
            platform: Platform::Qemu,
            libraries: Some(vec!["libukcpio".to_owned(), "libvfscore".to_owned()]),
            takes_parameters: true,
            parameters: None,
        };
        let own = runu_guest::detect(runu_guests::HELLO_MULTIBOOT).unwrap();
        Guest { kind: runu_guest::Kind::Unikraft(facts), ..own }
    }

    fn of_root(guest: &Guest, root: &Path) -> Option<Vec<u8>> {
        let convention = Convention::Kraft { kernel: "/boot/kernel".into() };
        let mut bytes = Vec::new();
        of_image(guest, &convention, root).unwrap()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn files_of_an_image_become_an_initrd_without_kernel_and_what_engines_add() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["boot", "etc", "dev", "unikraft/bin", "www/pages"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["boot/kernel", "etc/hosts", "dev/console", "unikraft/bin/other", ".dockerenv"] {
            fs::write(root.path().join(file), "left out").unwrap();
        }
        assert_eq!(of_root(&unikraft(), root.path()), None);

        fs::write(root.path().join("www/pages/index.html"), "kept").unwrap();
        let bytes = of_root(&unikraft(), root.path()).unwrap();
        assert!(holds(&bytes, b"www/pages/index.html\0"));
        assert!(holds(&bytes, b"kept") && !holds(&bytes, b"left out"));
    }

    #[test]
    fn files_of_an_image_are_nothing_to_a_kernel_that_unpacks_none() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("page"), "contents").unwrap();
        let own = runu_guest::detect(runu_guests::HELLO_MULTIBOOT).unwrap();
        assert_eq!(of_root(&own, root.path()), None);
        assert!(of_root(&unikraft(), root.path()).is_some());
    }

    #[test]
    fn initrd_of_another_form_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::write(&other, [0x1f, 0x8b, 8, 0]).unwrap();
        let error = made(Some(File::open(other).unwrap()), "/data", folder.path()).unwrap_err();
        assert!(matches!(error, InitrdError::Form));
    }
}
