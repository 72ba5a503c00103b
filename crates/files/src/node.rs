//! One file or directory of a share, and the only way to others.

use std::{cell::RefCell, fs::File, iter, rc::Rc};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

/// How far below the root of a share a file can be: as deep as a path can say, about (`PATH_MAX`).
const DEPTH_MAX: u16 = 1024;

/// Length of a directory entry's name at most (`NAME_MAX`), in bytes.
const NAME_MAX: usize = 255;

/// Nothing is found but beneath the directory that is asked, and nothing by following a link.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A file or directory that a client knows, whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct Node {
    /// Open with `O_PATH`: it can be looked at, and searched for names if it is a directory.
    handle: OwnedFd,
    /// Where it was found; the root of a share nowhere.
    place: RefCell<Option<Place>>,
    depth: u16,
}

/// A directory entry.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) directory: Rc<Node>,
    pub(crate) name: Name,
}

/// What can be the name of a directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// The name, if it can be one: `.` and `..` are none.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Errno> {
        match bytes {
            [] => Err(Errno::NOENT),
            b"." | b".." => Err(Errno::INVAL),
            _ if bytes.len() > NAME_MAX => Err(Errno::NAMETOOLONG),
            _ if bytes.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(Errno::INVAL),
            _ => Ok(Name(bytes.to_vec())),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Node {
    /// The root of a share.
    pub(crate) fn root(directory: OwnedFd) -> Rc<Self> {
        Rc::new(Node { handle: directory, place: RefCell::new(None), depth: 0 })
    }

    /// What `name` is, seen from here; `.` and `..` are what they are everywhere, but that the root is its own parent.
    pub(crate) fn walk(self: &Rc<Self>, name: &[u8]) -> Result<Rc<Self>, Errno> {
        if matches!(name, b"." | b"..") {
            if file_type(&self.stat()?) != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            let above = self.place().map(|place| place.directory).filter(|_| name == b"..");
            return Ok(above.unwrap_or_else(|| Rc::clone(self)));
        }
        self.child(Name::new(name)?)
    }

    /// The entry of this directory that is called so.
    pub(crate) fn child(self: &Rc<Self>, name: Name) -> Result<Rc<Self>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat2(&self.handle, name.bytes(), flags, Mode::empty(), BENEATH)?;
        self.adopt(handle, name)
    }

    fn adopt(self: &Rc<Self>, handle: OwnedFd, name: Name) -> Result<Rc<Self>, Errno> {
        let depth = self.depth + 1;
        if depth > DEPTH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let place = RefCell::new(Some(Place { directory: Rc::clone(self), name }));
        Ok(Rc::new(Node { handle, place, depth }))
    }

    /// Where it is; the root of a share is nowhere.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place.borrow().clone()
    }

    /// The client has given it another name. If that seems to be somewhere below it, others have moved directories meanwhile:
    /// then it stays where it was thought to be, because directories that hold each other are never let go.
    pub(crate) fn set_place(self: &Rc<Self>, place: Place) {
        if place.directory.up().any(|above| Rc::ptr_eq(&above, self)) {
            return;
        }
        *self.place.borrow_mut() = Some(place);
    }

    /// It, and all that is above it.
    pub(crate) fn up(self: &Rc<Self>) -> impl Iterator<Item = Rc<Self>> {
        let above = |node: &Rc<Self>| node.place.borrow().as_ref().map(|place| Rc::clone(&place.directory));
        iter::successors(Some(Rc::clone(self)), above)
    }

    /// For calls that take a directory and a name.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// What the kernel says of it.
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::fstat(&self.handle)
    }

    /// The target of a symbolic link.
    pub(crate) fn target(&self) -> Result<Vec<u8>, Errno> {
        rustix::fs::readlinkat(&self.handle, c"", Vec::new()).map(|target| target.into_bytes()).map_err(
            // What the kernel says of a descriptor that is none of a link's (readlink(2)).
            |errno| if errno == Errno::NOENT { Errno::INVAL } else { errno },
        )
    }

    /// Its place, if it is still there: somebody else may have put another file there.
    pub(crate) fn place_if_there(&self) -> Result<Place, Errno> {
        // The root of a share cannot be removed or renamed.
        let place = self.place().ok_or(Errno::BUSY)?;
        let found =
            rustix::fs::statat(place.directory.handle(), place.name.bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
        if is_same(&found, &self.stat()?) { Ok(place) } else { Err(Errno::STALE) }
    }

    /// Opens it for reading or writing, if it is a regular file or a directory.
    pub(crate) fn open(&self, flags: OFlags) -> Result<File, Errno> {
        let stat = self.stat()?;
        match file_type(&stat) {
            FileType::RegularFile | FileType::Directory => {}
            FileType::Symlink => return Err(Errno::LOOP),
            // As for a device without a driver: the host's devices and pipes are not the guest's.
            _ => return Err(Errno::NXIO),
        }
        // Opened before it is known to be the same file, so nothing is done to it yet.
        let truncate = flags.contains(OFlags::TRUNC);
        let flags = flags.difference(OFlags::TRUNC);
        let file = match self.place() {
            Some(place) => open_beneath(place.directory.handle(), place.name.bytes(), flags, Mode::empty())?,
            None => open_beneath(self.handle(), b".", flags, Mode::empty())?,
        };
        // Asked again: on an overlay, opening a file for writing makes it another one of the layer below.
        if !is_same(&self.stat()?, &rustix::fs::fstat(&file)?) {
            return Err(Errno::STALE);
        }
        if truncate {
            rustix::fs::ftruncate(&file, 0)?;
        }
        Ok(file)
    }

    /// Creates a regular file, or opens the one that is there, unless `flags` say that there must be none.
    pub(crate) fn create(
        self: &Rc<Self>,
        name: Name,
        flags: OFlags,
        mode: Mode,
    ) -> Result<(Rc<Self>, File), Errno> {
        let truncate = flags.contains(OFlags::TRUNC);
        let flags = flags.difference(OFlags::TRUNC) | OFlags::CREATE;
        let file = open_beneath(self.handle(), name.bytes(), flags, mode)?;
        let stat = rustix::fs::fstat(&file)?;
        if file_type(&stat) != FileType::RegularFile {
            return Err(Errno::NXIO);
        }
        if truncate {
            rustix::fs::ftruncate(&file, 0)?;
        }
        let node = self.child(name)?;
        if is_same(&stat, &node.stat()?) { Ok((node, file)) } else { Err(Errno::STALE) }
    }
}

impl Drop for Node {
    /// Lets those above go one after the other: directories can be moved below others until there are more of them above a
    /// file than a stack has room for.
    fn drop(&mut self) {
        let mut above = self.place.take();
        while let Some(place) = above {
            above = Rc::into_inner(place.directory).and_then(|node| node.place.take());
        }
    }
}

/// Opens a directory entry. That it never waits and never becomes a terminal is for files that are neither regular nor
/// directories, and come up between a look and the opening.
fn open_beneath(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<File, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat2(directory, name, flags, mode, BENEATH).map(File::from)
}

/// What kind of file it is.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether both are of one file.
pub(crate) fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}
