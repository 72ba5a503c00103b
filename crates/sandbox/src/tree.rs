//! Trees of files for processes that have no file system: directories and files of the host, and file systems in memory, put
//! together as a container's mounts are.
//!
//! A tree is put together by a process that shares our memory and descriptors and has a mount namespace to itself. What
//! is handed out is a copy of it that is nowhere, the namespace is gone with the process, and the copy goes with its
//! last descriptor: there is nothing to unmount, whoever is killed when. (Only Linux 6.15 can mount onto a tree that is
//! nowhere.)
//!
//! A caller who may not mount does it in a user namespace in which there is nobody else, as the sandbox is made.

use std::{cell::Cell, fmt, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    },
    process::WaitOptions,
};

use crate::{identity::Identity, sys};

/// A tree of files.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    /// What is at its root.
    pub root: Piece<'a>,
    /// What is mounted in it, in order, and where: absolute paths whose parts are names. A link on the way is followed as a
    /// process would whose root this is. What is missing of a path is made.
    pub pieces: &'a [(&'a Path, Piece<'a>)],
}

/// A part of a tree. Set-user-ID bits and device files in it mean nothing.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Where its contents come from.
    pub content: Content<'a>,
    /// Whether nobody can change anything through the tree.
    pub read_only: bool,
}

/// Where the contents of a part of a tree come from.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A directory or a file of the host; with `whole` the mounts below it are there too.
    Host {
        /// Where it is.
        path: &'a Path,
        /// Whether mounts below it come along.
        whole: bool,
    },
    /// A new file system in memory, with these options (tmpfs(5)); one without a value is empty here.
    Memory(&'a [(String, String)]),
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {step}")]
pub struct TreeError {
    /// Which of its pieces it is about, from 0; none for its root.
    pub piece: Option<usize>,
    /// What was being done.
    pub step: TreeStep,
    /// What the kernel said.
    pub source: Errno,
}

/// What was being done when a tree could not be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeStep {
    /// Making the namespace in which it is put together.
    Namespace,
    /// Opening a directory or file of the host.
    Open,
    /// Making a file system in memory.
    Memory,
    /// Finding or making the place of a piece.
    Place,
    /// Putting a piece there.
    Mount,
    /// Making the copy that is handed out.
    Copy,
}

impl fmt::Display for TreeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TreeStep::Namespace => "make a mount namespace to put files together in",
            TreeStep::Open => "open it on the host",
            TreeStep::Memory => "make a file system in memory with these options",
            TreeStep::Place => "make its place among the guest's files",
            TreeStep::Mount => "mount it at its place",
            TreeStep::Copy => "take the files out of the mount namespace",
        })
    }
}

impl TreeStep {
    /// The error of this step.
    fn of(self, piece: Option<usize>) -> impl Fn(Errno) -> TreeError {
        move |source| TreeError { piece, step: self, source }
    }
}

/// Puts a tree together: a descriptor that is the only way to it. What is above its root cannot be reached through it.
///
/// # Errors
/// A part of it is not there or has no place, or the kernel refuses.
pub fn tree(tree: &Tree<'_>) -> Result<OwnedFd, TreeError> {
    let failed = TreeStep::Namespace.of(None);
    let identity = Identity::choose().map_err(&failed)?;
    let result = Cell::new(Err(failed(Errno::SRCH)));
    let child = || {
        result.set(grow(tree, &identity));
        0
    };
    let flags = libc::CLONE_NEWNS | libc::CLONE_FILES | identity.namespaces();
    let pid = sys::spawn_shared(flags, &child).map_err(&failed)?;
    // A caller that ignores SIGCHLD has no child any more.
    while let Err(Errno::INTR) = rustix::process::waitpid(Some(pid), WaitOptions::empty()) {}
    result.into_inner()
}

/// Puts it together. Runs in the process that ends with the namespace; what it opens is open in ours.
fn grow(tree: &Tree<'_>, identity: &Identity) -> Result<OwnedFd, TreeError> {
    let failed = TreeStep::Namespace.of(None);
    identity.map().map_err(|(_, errno)| failed(errno))?;
    // Without this, what is mounted here would be mounted on the host wherever mounts are shared (mount_namespaces(7)).
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(&failed)?;
    // All are opened before any is mounted, because what is mounted hides what is below.
    let root = take(&tree.root, None)?;
    let pieces: Vec<OwnedFd> = (0..)
        .zip(tree.pieces)
        .map(|(number, (_, piece))| take(piece, Some(number)))
        .collect::<Result<_, _>>()?;
    let here = open(Path::new("/")).map_err(&failed)?;
    mount(&root, &here).map_err(TreeStep::Mount.of(None))?;
    for (number, ((path, described), piece)) in tree.pieces.iter().zip(&pieces).enumerate() {
        let placed = is_directory(piece.as_fd()).and_then(|directory| place(root.as_fd(), path, directory));
        let placed = placed.map_err(TreeStep::Place.of(Some(number)))?;
        mount(piece, &placed).map_err(TreeStep::Mount.of(Some(number)))?;
        limit(piece.as_fd(), described.read_only).map_err(TreeStep::Mount.of(Some(number)))?;
    }
    // Last, because places were made in it.
    limit(root.as_fd(), tree.root.read_only).map_err(TreeStep::Mount.of(None))?;
    clone(root.as_fd(), true).map_err(TreeStep::Copy.of(None))
}

/// A piece as a mount of its own that is nowhere yet.
fn take(piece: &Piece<'_>, number: Option<usize>) -> Result<OwnedFd, TreeError> {
    match piece.content {
        Content::Host { path, whole } => {
            let taken = open(path).and_then(|found| clone(found.as_fd(), whole)).and_then(|tree| {
                let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                sys::set_mount_attributes(tree.as_fd(), attributes.bits().into(), whole)?;
                Ok(tree)
            });
            taken.map_err(TreeStep::Open.of(number))
        }
        Content::Memory(options) => memory(options).map_err(TreeStep::Memory.of(number)),
    }
}

fn memory(options: &[(String, String)]) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        match value.as_str() {
            "" => rustix::mount::fsconfig_set_flag(&context, name.as_str())?,
            value => rustix::mount::fsconfig_set_string(&context, name.as_str(), value)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// A copy of the mount that `of` is open on, from there downwards, which is nowhere.
fn clone(of: BorrowedFd<'_>, whole: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, whole);
    rustix::mount::open_tree(of, c"", flags)
}

/// Mounts what is nowhere yet.
fn mount(piece: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(piece, c"", place, c"", flags)
}

/// Has nobody change anything through a mount, if it is to be so.
fn limit(mounted: BorrowedFd<'_>, read_only: bool) -> Result<(), Errno> {
    if !read_only {
        return Ok(());
    }
    sys::set_mount_attributes(mounted, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), false)
}

fn is_directory(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(file)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The place at `path` in the tree at `root`, which is hostile: no link in it leads out. What is missing is made, a directory
/// or an empty file.
fn place(root: BorrowedFd<'_>, path: &Path, directory: bool) -> Result<OwnedFd, Errno> {
    let whole = path;
    let find = |path: &Path| {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    match find(path) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    // The kernel has read the path, so it is not long.
    let mut above = find(Path::new("/"))?;
    let mut to: Vec<&Path> = path.ancestors().collect();
    to.reverse();
    for path in to {
        above = match (find(path), path.file_name()) {
            (Err(Errno::NOENT), Some(name)) => {
                make(above.as_fd(), Path::new(name), directory || path != whole)?;
                find(path)?
            }
            (found, _) => found?,
        };
    }
    Ok(above)
}

/// Makes an empty directory or file for the owner of the directory it is in. A link of that name that leads nowhere is not
/// followed.
fn make(above: BorrowedFd<'_>, name: &Path, directory: bool) -> Result<(), Errno> {
    if directory {
        rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755))?;
    } else {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(above, name, flags, Mode::from_raw_mode(0o644))?;
    }
    let owner = rustix::fs::fstat(above)?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    let made = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid) {
        return Ok(());
    }
    rustix::fs::chownat(above, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::symlink,
        path::PathBuf,
    };

    use tempfile::TempDir;

    use super::*;

    fn host(path: &Path) -> Content<'_> {
        Content::Host { path, whole: true }
    }

    fn writable(content: Content<'_>) -> Piece<'_> {
        Piece { content, read_only: false }
    }

    /// A file in a tree; what comes of it in words.
    fn read(tree: &OwnedFd, path: &str) -> Result<String, Errno> {
        let file = rustix::fs::openat(tree, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        fs::File::from(file).read_to_string(&mut text).unwrap();
        Ok(text)
    }

    fn write(tree: &OwnedFd, path: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(tree, path, flags, Mode::from_raw_mode(0o644))?;
        fs::File::from(file).write_all(b"written").unwrap();
        Ok(())
    }

    /// A folder with `root`, which is to be the root, and a file and a directory beside it.
    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        fs::create_dir_all(path.join("root/etc")).unwrap();
        fs::create_dir(path.join("volume")).unwrap();
        fs::write(path.join("file"), "a file").unwrap();
        fs::write(path.join("volume/inner"), "inner").unwrap();
        (folder, path)
    }

    /// Whether this host lets us mount at all; says so if not.
    fn may_mount() -> bool {
        let memory = Tree { root: writable(Content::Memory(&[])), pieces: &[] };
        match tree(&memory) {
            Err(TreeError { step: TreeStep::Namespace, source, .. }) => {
                let test = std::thread::current();
                eprintln!("SKIP {}: no mount namespace can be made: {source}", test.name().unwrap_or("?"));
                false
            }
            made => {
                made.unwrap();
                true
            }
        }
    }

    #[test]
    fn pieces_are_in_the_tree_at_places_that_were_made_and_nowhere_else() {
        if !may_mount() {
            return;
        }
        let (_folder, path) = folder();
        let (root, volume, file) = (path.join("root"), path.join("volume"), path.join("file"));
        let options = [("size".to_owned(), "64k".to_owned()), ("mode".to_owned(), "700".to_owned())];
        let pieces = [
            (Path::new("/srv/data"), writable(host(&volume))),
            (Path::new("/etc/name"), writable(host(&file))),
            (Path::new("/srv/data/tmp"), writable(Content::Memory(&options))),
        ];
        let made = tree(&Tree { root: writable(host(&root)), pieces: &pieces }).unwrap();

        assert_eq!(read(&made, "srv/data/inner").unwrap(), "inner");
        assert_eq!(read(&made, "etc/name").unwrap(), "a file");
        write(&made, "srv/data/tmp/gone").unwrap();
        let memory = rustix::fs::statat(&made, "srv/data/tmp", AtFlags::empty()).unwrap();
        assert_eq!(memory.st_mode & 0o7777, 0o700);
        write(&made, "kept").unwrap();

        assert_eq!(fs::read_to_string(root.join("kept")).unwrap(), "written");
        assert_eq!(fs::read(root.join("etc/name")).unwrap(), b"");
        assert_eq!(fs::read_dir(root.join("srv/data")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(volume.join("tmp")).unwrap().count(), 0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(path.to_str().unwrap()), "{mounts}");
    }

    #[test]
    fn read_only_root_gets_its_places_and_nothing_else_and_pieces_keep_their_own_word() {
        if !may_mount() {
            return;
        }
        let (_folder, path) = folder();
        let (root, volume) = (path.join("root"), path.join("volume"));
        let fixed = Piece { content: host(&volume), read_only: true };
        let pieces = [(Path::new("/data"), writable(host(&volume))), (Path::new("/fixed"), fixed)];
        let root = Piece { content: host(&root), read_only: true };
        let made = tree(&Tree { root, pieces: &pieces }).unwrap();
        assert_eq!(write(&made, "new"), Err(Errno::ROFS));
        assert_eq!(write(&made, "fixed/new"), Err(Errno::ROFS));
        write(&made, "data/new").unwrap();
        assert_eq!(read(&made, "fixed/new").unwrap(), "written");
    }

    #[test]
    fn places_behind_links_of_the_root_stay_in_the_root() {
        if !may_mount() {
            return;
        }
        let (_folder, path) = folder();
        let (root, file, outside) = (path.join("root"), path.join("file"), path.join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir(root.join("inside")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../../outside", root.join("relative")).unwrap();
        symlink("/inside", root.join("fine")).unwrap();
        let at = |place: &str| {
            let pieces = [(Path::new(place), writable(host(&file)))];
            tree(&Tree { root: writable(host(&root)), pieces: &pieces })
        };
        assert_eq!(read(&at("/fine/name").unwrap(), "inside/name").unwrap(), "a file");
        for place in ["/absolute/name", "/relative/name", "/absolute", "/relative"] {
            let error = at(place).unwrap_err();
            assert_eq!((error.piece, error.step), (Some(0), TreeStep::Place), "{place}: {error}");
        }
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    }

    #[test]
    fn piece_that_is_not_there_or_does_not_go_with_its_place_is_named() {
        if !may_mount() {
            return;
        }
        let (_folder, path) = folder();
        let (root, file, none) = (path.join("root"), path.join("file"), path.join("none"));
        let options = [("size".to_owned(), "some".to_owned())];
        for (content, step) in [
            (host(&none), TreeStep::Open),
            (Content::Memory(&options), TreeStep::Memory),
            // A file on a directory.
            (host(&file), TreeStep::Mount),
        ] {
            let pieces =
                [(Path::new("/fine"), writable(host(&file))), (Path::new("/etc"), writable(content))];
            let error = tree(&Tree { root: writable(host(&root)), pieces: &pieces }).unwrap_err();
            assert_eq!((error.piece, error.step), (Some(1), step), "{error}");
        }
    }
}
