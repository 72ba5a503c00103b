//! Making, linking, renaming and removing directory entries.

use std::rc::Rc;

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, StatxAttributes, StatxFlags, Uid},
    io::Errno,
};

use super::Session;
use crate::{
    attributes::{PERMISSIONS, Qid},
    node::{Name, Node, Place, file_type, is_same},
    request::Fid,
    wire::Write,
};

impl Session {
    /// Makes a directory.
    pub(super) fn make_directory(
        &mut self,
        fid: Fid,
        name: &[u8],
        mode: u32,
        group: Option<u32>,
    ) -> Result<(Rc<Node>, Qid), Errno> {
        let (directory, name) = (self.node(fid)?, Name::new(name)?);
        rustix::fs::mkdirat(directory.handle(), name.bytes(), Mode::from_raw_mode(mode & PERMISSIONS))?;
        self.made(fid, &directory, name, group)
    }

    /// Makes a symbolic link; whatever it says, nobody here goes there.
    pub(super) fn symlink(
        &mut self,
        fid: Fid,
        name: &[u8],
        target: &[u8],
        group: u32,
    ) -> Result<(Rc<Node>, Qid), Errno> {
        let (directory, name) = (self.node(fid)?, Name::new(name)?);
        rustix::fs::symlinkat(target, directory.handle(), name.bytes())?;
        self.made(fid, &directory, name, Some(group))
    }

    /// Makes a regular file, without opening it. Device files, pipes and sockets are no guest's to make on the host.
    pub(super) fn make_node(
        &mut self,
        fid: Fid,
        name: &[u8],
        mode: u32,
        group: u32,
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        if !matches!(FileType::from_raw_mode(mode), FileType::RegularFile) {
            return Err(Errno::PERM);
        }
        let owner = self.known(fid)?.owner;
        let flags = OFlags::WRONLY | OFlags::EXCL;
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        let (node, _file) = self.node(fid)?.create(Name::new(name)?, flags, mode)?;
        own(&node, owner, Some(group))?;
        self.qid(&node)?.put(reply);
        Ok(())
    }

    /// What was made belongs to who made it.
    fn made(
        &mut self,
        fid: Fid,
        directory: &Rc<Node>,
        name: Name,
        group: Option<u32>,
    ) -> Result<(Rc<Node>, Qid), Errno> {
        let node = directory.child(name)?;
        own(&node, self.known(fid)?.owner, group)?;
        let qid = self.qid(&node)?;
        Ok((node, qid))
    }

    /// Gives a file another name besides.
    pub(super) fn link(&mut self, directory: Fid, fid: Fid, name: &[u8]) -> Result<(), Errno> {
        let (directory, name) = (self.node(directory)?, Name::new(name)?);
        let place = self.node(fid)?.place_if_there()?;
        let (from, to) = (place.directory.handle(), directory.handle());
        rustix::fs::linkat(from, place.name.bytes(), to, name.bytes(), AtFlags::empty())
    }

    /// Gives a file another name, in any directory.
    pub(super) fn rename(&mut self, fid: Fid, directory: Fid, name: &[u8]) -> Result<(), Errno> {
        let place = self.node(fid)?.place_if_there()?;
        let to = Place { directory: self.node(directory)?, name: Name::new(name)? };
        self.move_to(&place, &to)
    }

    /// Gives whatever is called `name` another name.
    pub(super) fn rename_at(
        &mut self,
        from: Fid,
        name: &[u8],
        to: Fid,
        new_name: &[u8],
    ) -> Result<(), Errno> {
        let from = Place { directory: self.node(from)?, name: Name::new(name)? };
        let to = Place { directory: self.node(to)?, name: Name::new(new_name)? };
        self.move_to(&from, &to)
    }

    pub(super) fn move_to(&mut self, from: &Place, to: &Place) -> Result<(), Errno> {
        check_mount(&from.directory, &from.name)?;
        check_mount(&to.directory, &to.name)?;
        rustix::fs::renameat(
            from.directory.handle(),
            from.name.bytes(),
            to.directory.handle(),
            to.name.bytes(),
        )?;
        // What the client knows by the old name it will want to open, rename or remove by the new one; and what is above what
        // it knows must be found there by `..`.
        let directory = from.directory.stat()?;
        for node in self.fids.values().flat_map(|known| known.node.up()) {
            if let Some(place) = node.place()
                && place.name == from.name
                && place.directory.stat().is_ok_and(|stat| is_same(&stat, &directory))
            {
                node.set_place(to.clone());
            }
        }
        Ok(())
    }

    /// Removes whatever is called `name`.
    pub(super) fn unlink_at(&mut self, fid: Fid, name: &[u8], flags: u32) -> Result<(), Errno> {
        /// `AT_REMOVEDIR`, as diod's protocol has it too.
        const REMOVE_DIRECTORY: u32 = 0x200;
        let (directory, name) = (self.node(fid)?, Name::new(name)?);
        let flags = if flags & REMOVE_DIRECTORY != 0 { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        check_mount(&directory, &name)?;
        rustix::fs::unlinkat(directory.handle(), name.bytes(), flags)
    }

    /// Removes a file, and forgets it whether that goes well or not (Plan 9 manual, remove(5)).
    pub(super) fn remove(&mut self, fid: Fid) -> Result<(), Errno> {
        let known = self.fids.remove(&fid).ok_or(Errno::BADF)?;
        unlink(&known.node)
    }

    /// Tells where a symbolic link leads.
    pub(super) fn read_link(&self, fid: Fid, reply: &mut Vec<u8>) -> Result<(), Errno> {
        reply.string(&self.node(fid)?.target()?);
        Ok(())
    }
}

/// Removes a file or an empty directory from its place.
pub(super) fn unlink(node: &Node) -> Result<(), Errno> {
    let place = node.place_if_there()?;
    let is_directory = file_type(&node.stat()?) == FileType::Directory;
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    check_mount(&place.directory, &place.name)?;
    rustix::fs::unlinkat(place.directory.handle(), place.name.bytes(), flags)
}

/// Has a place where something is mounted stay as it is. The kernel says so itself of mounts in a process's own namespace; from
/// a tree that is nowhere it would take what is mounted away.
fn check_mount(directory: &Node, name: &Name) -> Result<(), Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(directory.handle(), name.bytes(), flags, StatxFlags::empty()) {
        Ok(found) if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => Err(Errno::BUSY),
        // What is not there cannot be mounted on.
        _ => Ok(()),
    }
}

/// Gives a new file to the user that the client named, as far as this process may give files away: a client that named none
/// knows of no users, so its files belong to the user that this process runs as, and its word on groups means nothing
/// (Unikraft's driver always says 0).
pub(super) fn own(node: &Node, owner: Option<u32>, group: Option<u32>) -> Result<(), Errno> {
    let Some(owner) = owner else { return Ok(()) };
    let stat = node.stat()?;
    let group = group.filter(|group| *group != u32::MAX).unwrap_or(stat.st_gid);
    if (stat.st_uid, stat.st_gid) == (owner, group) {
        return Ok(());
    }
    match chown(node, Some(owner), Some(group)) {
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        result => result,
    }
}

/// Gives a file to another user or group; what is none stays.
pub(super) fn chown(node: &Node, owner: Option<u32>, group: Option<u32>) -> Result<(), Errno> {
    let told = |id: &u32| *id != u32::MAX;
    let (owner, group) = (owner.filter(told).map(Uid::from_raw), group.filter(told).map(Gid::from_raw));
    rustix::fs::chownat(node.handle(), c"", owner, group, AtFlags::EMPTY_PATH)
}
