//! Opening, reading, writing.

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use super::{Known, Opened, Session};
use crate::{
    attributes::{PERMISSIONS, dm, permissions},
    node::{Name, file_type},
    request::{Fid, HEADER},
    wire::Write,
};

/// How a file is to be opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    flags: OFlags,
    /// Whether it goes when the client is done with it.
    remove: bool,
}

/// How `Topen` and `Tcreate` say it (Plan 9 manual, open(5), and the Unix extension).
pub(super) fn open_mode(mode: u8) -> Result<How, Errno> {
    const WRITE: u8 = 1;
    const READ_WRITE: u8 = 2;
    const TRUNCATE: u8 = 0x10;
    const REMOVE: u8 = 0x40;
    const APPEND: u8 = 0x80;
    let access = match mode & 3 {
        WRITE => OFlags::WRONLY,
        READ_WRITE => OFlags::RDWR,
        // Reading, and executing, which takes reading.
        _ => OFlags::RDONLY,
    };
    let mut flags = access;
    flags.set(OFlags::TRUNC, mode & TRUNCATE != 0);
    flags.set(OFlags::APPEND, mode & APPEND != 0);
    Ok(How { flags, remove: mode & REMOVE != 0 })
}

/// How `Tlopen` and `Tlcreate` say it: flags of Linux on x86 (diod's protocol.md; include/net/9p/9p.h, `p9_open_mode_t`).
pub(super) fn open_flags(flags: u32) -> Result<How, Errno> {
    // Bits with a meaning for who opens the file here; the others are the client's own business.
    const EFFECTIVE: [(u32, OFlags); 6] = [
        (0o200, OFlags::EXCL),
        (0o1000, OFlags::TRUNC),
        (0o2000, OFlags::APPEND),
        (0o10000, OFlags::DSYNC),
        (0o200_000, OFlags::DIRECTORY),
        (0o4_000_000, OFlags::SYNC),
    ];
    let mut effective = match flags & 3 {
        0 => OFlags::RDONLY,
        1 => OFlags::WRONLY,
        2 => OFlags::RDWR,
        _ => return Err(Errno::INVAL),
    };
    for (bit, flag) in EFFECTIVE {
        effective.set(flag, flags & bit != 0);
    }
    Ok(How { flags: effective, remove: false })
}

impl How {
    fn writes(self) -> bool {
        self.remove || self.flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC)
    }
}

impl Session {
    /// Opens a file that is there.
    pub(super) fn open(&mut self, fid: Fid, how: How, reply: &mut Vec<u8>) -> Result<(), Errno> {
        let known = self.known(fid)?;
        if known.opened.is_some() {
            return Err(Errno::INVAL);
        }
        if self.read_only && how.writes() {
            return Err(Errno::ROFS);
        }
        let file = known.node.open(how.flags.difference(OFlags::EXCL))?;
        let node = self.node(fid)?;
        let qid = self.qid(&node)?;
        let known = self.fids.get_mut(&fid).ok_or(Errno::BADF)?;
        known.opened = Some(Opened { remove: how.remove, ..Opened::new(file) });
        qid.put(reply);
        reply.u32(NO_UNIT);
        Ok(())
    }

    /// Makes what `Tcreate` asks for, and has the client know it in place of the directory.
    pub(super) fn create(
        &mut self,
        fid: Fid,
        name: &[u8],
        perm: u32,
        mode: u8,
        extension: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let how = open_mode(mode)?;
        let mode = permissions(perm);
        if perm & (dm::DEVICE | dm::PIPE | dm::SOCKET) != 0 {
            return Err(Errno::PERM);
        }
        if perm & (dm::DIRECTORY | dm::SYMLINK | dm::LINK) == 0 {
            return self.create_file(fid, name, how, mode, None, reply);
        }
        let owner = self.known(fid)?.owner;
        let (node, qid, opened) = if perm & dm::DIRECTORY != 0 {
            let (node, qid) = self.make_directory(fid, name, mode, None)?;
            let file = node.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            (node, qid, Some(Opened::new(file)))
        } else if perm & dm::SYMLINK != 0 {
            let (node, qid) = self.symlink(fid, name, extension, u32::MAX)?;
            (node, qid, None)
        } else {
            let number = std::str::from_utf8(extension).ok().and_then(|text| text.trim().parse().ok());
            self.link(fid, Fid(number.ok_or(Errno::INVAL)?), name)?;
            let node = self.node(fid)?.child(Name::new(name)?)?;
            let qid = self.qid(&node)?;
            (node, qid, None)
        };
        self.fids.insert(fid, Known { node, owner, opened });
        qid.put(reply);
        reply.u32(NO_UNIT);
        Ok(())
    }

    /// Makes a regular file, and has the client know it, opened, in place of the directory.
    pub(super) fn create_file(
        &mut self,
        fid: Fid,
        name: &[u8],
        how: How,
        mode: u32,
        group: Option<u32>,
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let known = self.known(fid)?;
        if known.opened.is_some() {
            return Err(Errno::INVAL);
        }
        let owner = known.owner;
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        let (node, file) =
            known.node.create(Name::new(name)?, how.flags.difference(OFlags::DIRECTORY), mode)?;
        super::names::own(&node, owner, group)?;
        let qid = self.qid(&node)?;
        let opened = Some(Opened { remove: how.remove, ..Opened::new(file) });
        self.fids.insert(fid, Known { node, owner, opened });
        qid.put(reply);
        reply.u32(NO_UNIT);
        Ok(())
    }

    /// Reads a file; in 9P2000.u a directory too.
    pub(super) fn read(
        &mut self,
        fid: Fid,
        offset: u64,
        count: u32,
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let count = self.data_max(count);
        let opened = self.opened(fid)?;
        if file_type(&rustix::fs::fstat(&opened.file)?) == FileType::Directory {
            return self.read_records(fid, offset, count, reply);
        }
        let start = HEADER + size_of::<u32>();
        reply.resize(start + count, 0);
        let read = rustix::io::pread(&opened.file, reply.get_mut(start..).unwrap_or_default(), offset)?;
        reply.truncate(start + read);
        let len = u32::try_from(read).unwrap_or(u32::MAX).to_le_bytes();
        reply.iter_mut().skip(HEADER).zip(len).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Writes a file.
    pub(super) fn write(
        &mut self,
        fid: Fid,
        offset: u64,
        data: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let written = rustix::io::pwrite(&self.opened(fid)?.file, data, offset)?;
        reply.u32(u32::try_from(written).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Has what was written reach the disk.
    pub(super) fn sync(&self, fid: Fid) -> Result<(), Errno> {
        rustix::fs::fsync(&self.opened(fid)?.file)
    }

    /// Grants a lock: among the guest's own programs its kernel keeps them; towards others there are none.
    pub(super) fn lock(&self, fid: Fid, reply: &mut Vec<u8>) -> Result<(), Errno> {
        /// `P9_LOCK_SUCCESS`.
        const SUCCESS: u8 = 0;
        self.opened(fid)?;
        reply.u8(SUCCESS);
        Ok(())
    }

    /// Says that nobody holds a lock.
    pub(super) fn get_lock(
        &self,
        fid: Fid,
        (start, length): (u64, u64),
        process: u32,
        client: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        /// `P9_LOCK_TYPE_UNLCK`.
        const UNLOCKED: u8 = 2;
        self.opened(fid)?;
        reply.u8(UNLOCKED);
        reply.u64(start);
        reply.u64(length);
        reply.u32(process);
        reply.string(client);
        Ok(())
    }
}

/// No length of reads and writes is better than another (`iounit`).
const NO_UNIT: u32 = 0;
