//! Telling and changing attributes.

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::Errno,
};

use super::{Session, names};
use crate::{
    attributes::{PERMISSIONS, permissions, put_attributes, put_record},
    node::{Name, Node, Place, file_type},
    request::{Changes, Fid, HEADER, Time},
    wire::Write,
};

impl Session {
    /// `Tgetattr`.
    pub(super) fn get_attributes(&mut self, fid: Fid, reply: &mut Vec<u8>) -> Result<(), Errno> {
        let node = self.node(fid)?;
        let qid = self.qid(&node)?;
        put_attributes(&node.stat()?, qid, reply);
        Ok(())
    }

    /// `Tstat`.
    pub(super) fn stat(&mut self, fid: Fid, reply: &mut Vec<u8>) -> Result<(), Errno> {
        let node = self.node(fid)?;
        let (stat, qid) = (node.stat()?, self.qid(&node)?);
        let target = match file_type(&stat) {
            FileType::Symlink => node.target()?,
            _ => Vec::new(),
        };
        let place = node.place();
        let name = place.as_ref().map_or(&b"/"[..], |place| place.name.bytes());
        reply.u16(0);
        put_record(name, &stat, qid, &target, reply);
        // The record's length, its own length field included.
        let len = u16::try_from(reply.len() - HEADER - 2).map_err(|_| Errno::MSGSIZE)?;
        reply.iter_mut().skip(HEADER).zip(len.to_le_bytes()).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// `Twstat`: changes, a new name in the same directory, or, if neither, a sync (Plan 9 manual, stat(5)).
    pub(super) fn write_stat(&mut self, fid: Fid, changes: &Changes, name: &[u8]) -> Result<(), Errno> {
        if *changes == Changes::default() && name.is_empty() {
            return if self.known(fid)?.opened.is_some() { self.sync(fid) } else { Ok(()) };
        }
        self.change(fid, &Changes { mode: changes.mode.map(permissions), ..*changes })?;
        if !name.is_empty() {
            let from = self.node(fid)?.place_if_there()?;
            let to = Place { directory: from.directory.clone(), name: Name::new(name)? };
            if to.name != from.name {
                self.move_to(&from, &to)?;
            }
        }
        Ok(())
    }

    /// `Tsetattr`. In this order, because giving a file away, and cutting it, take its set-user-ID bits (chown(2)).
    pub(super) fn change(&mut self, fid: Fid, changes: &Changes) -> Result<(), Errno> {
        if let Some(size) = changes.size {
            self.resize(fid, size)?;
        }
        let node = self.node(fid)?;
        if changes.uid.is_some() || changes.gid.is_some() {
            names::chown(&node, changes.uid, changes.gid)?;
        }
        if let Some(mode) = changes.mode {
            self.change_mode(fid, Mode::from_raw_mode(mode & PERMISSIONS))?;
        }
        if changes.accessed.is_some() || changes.modified.is_some() {
            set_times(&node, changes.accessed, changes.modified)?;
        }
        Ok(())
    }

    fn resize(&self, fid: Fid, size: u64) -> Result<(), Errno> {
        let known = self.known(fid)?;
        // A file that has lost its name can still be reached by who has it open.
        match known.opened.as_ref().map(|opened| rustix::fs::ftruncate(&opened.file, size)) {
            Some(Ok(())) => Ok(()),
            _ => rustix::fs::ftruncate(known.node.open(OFlags::WRONLY)?, size),
        }
    }

    /// Changes the permissions of a regular file or directory: there is no way to those of an unopened file but by name,
    /// which may have become a link's (Linux before 6.6 has no `fchmodat2`).
    fn change_mode(&self, fid: Fid, mode: Mode) -> Result<(), Errno> {
        let known = self.known(fid)?;
        if let Some(opened) = &known.opened {
            return rustix::fs::fchmod(&opened.file, mode);
        }
        let file = match known.node.open(OFlags::RDONLY) {
            Err(Errno::ACCESS) => known.node.open(OFlags::WRONLY)?,
            opened => opened?,
        };
        rustix::fs::fchmod(file, mode)
    }

    /// `Tstatfs`.
    pub(super) fn file_system(&self, fid: Fid, reply: &mut Vec<u8>) -> Result<(), Errno> {
        let node = self.node(fid)?;
        let of = rustix::fs::fstatfs(node.handle())?;
        let small = |value: i64| u32::try_from(value).unwrap_or(0);
        reply.u32(small(of.f_type));
        reply.u32(small(of.f_bsize));
        reply.u64(of.f_blocks);
        reply.u64(of.f_bfree);
        reply.u64(of.f_bavail);
        reply.u64(of.f_files);
        reply.u64(of.f_ffree);
        // Its number on the host is the host's.
        reply.u64(0);
        reply.u32(small(of.f_namelen));
        Ok(())
    }
}

fn set_times(node: &Node, accessed: Option<Time>, modified: Option<Time>) -> Result<(), Errno> {
    let time = |time: Option<Time>| match time {
        None => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
        Some(Time::Now) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        Some(Time::At(seconds, nanos)) => {
            let tv_sec = i64::try_from(seconds).map_err(|_| Errno::INVAL)?;
            let tv_nsec = i64::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
            Ok(Timespec { tv_sec, tv_nsec: tv_nsec.ok_or(Errno::INVAL)? })
        }
    };
    let times = Timestamps { last_access: time(accessed)?, last_modification: time(modified)? };
    rustix::fs::utimensat(node.handle(), c"", &times, AtFlags::EMPTY_PATH)
}
