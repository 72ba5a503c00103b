//! One client of a share: the files that it knows by number, and which request is answered by what.

mod attributes;
mod data;
mod directory;
mod names;

use std::{collections::BTreeMap, fs::File, rc::Rc};

use rustix::{fd::OwnedFd, io::Errno};

use crate::{
    attributes::{Devices, Qid},
    node::Node,
    request::{Fid, HEADER, Request, kind},
    wire::{Malformed, Reader, Write},
};

/// Length of the smallest message that everything but data fits into: paths are 4 KiB at most. Clients that want less are
/// refused, as QEMU does (hw/9pfs/9p.c, `P9_MIN_MSIZE`).
const SIZE_MIN: u32 = 4096;

/// Length of an answer to a read without the data.
const READ_HEADER: u32 = 11;

/// What a client may make its server hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Length of a message at most, in bytes.
    pub message: u32,
    /// How many files it knows at once at most. Each takes a descriptor, two while it is open, and one for each directory
    /// above it.
    pub fids: usize,
}

impl Default for Limits {
    /// 512 KiB, which is more than the drivers of Linux and Unikraft take; 16,384 files.
    fn default() -> Self {
        Limits { message: 512 << 10, fids: 16 << 10 }
    }
}

/// Which extension of 9P2000 a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// 9P2000.L.
    Linux,
    /// 9P2000.u.
    Unix,
}

/// One client of a share.
#[derive(Debug)]
pub struct Session {
    root: Rc<Node>,
    read_only: bool,
    limits: Limits,
    dialect: Dialect,
    /// Length of a message at most; none is agreed on before `Tversion`.
    size_max: Option<u32>,
    fids: BTreeMap<Fid, Known>,
    devices: Devices,
}

/// A file that the client knows.
#[derive(Debug)]
struct Known {
    node: Rc<Node>,
    /// Who creates files through it, where the client has said so.
    owner: Option<u32>,
    opened: Option<Opened>,
}

/// A file that the client has opened.
#[derive(Debug)]
struct Opened {
    file: File,
    /// How far a directory was read in 9P2000.u.
    cursor: directory::Cursor,
    /// Whether it goes when the client is done with it.
    remove: bool,
}

impl Opened {
    fn new(file: File) -> Self {
        Opened { file, cursor: directory::Cursor::default(), remove: false }
    }
}

impl Session {
    /// A client of the directory that `root` is open on, with `O_PATH` or otherwise.
    #[must_use]
    pub fn new(root: OwnedFd, read_only: bool, limits: Limits) -> Self {
        Session {
            root: Node::root(root),
            read_only,
            limits,
            dialect: Dialect::Linux,
            size_max: None,
            fids: BTreeMap::new(),
            devices: Devices::default(),
        }
    }

    /// Length of a message at most, in bytes, as things are.
    #[must_use]
    pub fn message_max(&self) -> u32 {
        self.size_max.unwrap_or(self.limits.message)
    }

    /// Answers one message, which is whole but for the promise of its length in front; `reply` is what there is to send.
    pub fn answer(&mut self, message: &[u8], reply: &mut Vec<u8>) {
        reply.clear();
        reply.resize(HEADER, 0);
        let (kind, tag, body) = split(message).unwrap_or((0, u16::MAX, &[]));
        let done = match Request::parse(kind, body) {
            Ok(request) => self.respond(&request, reply),
            Err(Malformed) => Err(Errno::PROTO),
        };
        let done = done.and_then(|()| {
            let fits = u32::try_from(reply.len()).is_ok_and(|len| len <= self.message_max());
            if fits { Ok(()) } else { Err(Errno::MSGSIZE) }
        });
        let answered = match done {
            Ok(()) => kind.saturating_add(1),
            Err(errno) => {
                reply.truncate(HEADER);
                self.put_error(errno, reply)
            }
        };
        let len = u32::try_from(reply.len()).unwrap_or(u32::MAX).to_le_bytes();
        let header = len.into_iter().chain([answered]).chain(tag.to_le_bytes());
        reply.iter_mut().zip(header).for_each(|(to, from)| *to = from);
    }

    /// Says what went wrong; the type of that answer.
    fn put_error(&self, errno: Errno, reply: &mut Vec<u8>) -> u8 {
        let number = errno.raw_os_error();
        let kind = match self.dialect {
            Dialect::Linux => kind::LERROR,
            Dialect::Unix => {
                reply.string(std::io::Error::from(errno).to_string().as_bytes());
                kind::ERROR
            }
        };
        reply.u32(number.cast_unsigned());
        kind + 1
    }

    fn respond(&mut self, request: &Request<'_>, reply: &mut Vec<u8>) -> Result<(), Errno> {
        if let Request::Version { size_max, version } = *request {
            return self.version(size_max, version, reply);
        }
        if self.size_max.is_none() {
            return Err(Errno::PROTO);
        }
        if self.read_only && request.modifies() {
            if let Request::Remove { fid } = request {
                self.fids.remove(fid);
            }
            return Err(Errno::ROFS);
        }
        match *request {
            Request::Version { .. } | Request::Auth | Request::Xattr | Request::Unknown => {
                Err(Errno::OPNOTSUPP)
            }
            // Requests are answered in order, so what is to be flushed was answered before.
            Request::Flush => Ok(()),
            Request::Attach { fid, user } => self.attach(fid, user, reply),
            Request::Walk { fid, new, ref names } => self.walk(fid, new, names, reply),
            Request::Clunk { fid } => self.clunk(fid),
            Request::Open { fid, mode } => self.open(fid, data::open_mode(mode)?, reply),
            Request::LOpen { fid, flags } => self.open(fid, data::open_flags(flags)?, reply),
            Request::Create { fid, name, perm, mode, extension } => {
                self.create(fid, name, perm, mode, extension, reply)
            }
            Request::LCreate { fid, name, flags, mode, group } => {
                self.create_file(fid, name, data::open_flags(flags)?, mode, Some(group), reply)
            }
            Request::Read { fid, offset, count } => self.read(fid, offset, count, reply),
            Request::Write { fid, offset, data } => self.write(fid, offset, data, reply),
            Request::ReadDir { fid, offset, count } => self.read_dir(fid, offset, count, reply),
            Request::FSync { fid } => self.sync(fid),
            Request::Lock { fid } => self.lock(fid, reply),
            Request::GetLock { fid, start, length, process, client } => {
                self.get_lock(fid, (start, length), process, client, reply)
            }
            Request::Stat { fid } => self.stat(fid, reply),
            Request::WStat { fid, ref changes, name } => self.write_stat(fid, changes, name),
            Request::GetAttr { fid } => self.get_attributes(fid, reply),
            Request::SetAttr { fid, ref changes } => self.change(fid, changes),
            Request::StatFs { fid } => self.file_system(fid, reply),
            Request::ReadLink { fid } => self.read_link(fid, reply),
            Request::Symlink { fid, name, target, group } => {
                let qid = self.symlink(fid, name, target, group)?.1;
                qid.put(reply);
                Ok(())
            }
            Request::Link { directory, fid, name } => self.link(directory, fid, name),
            Request::MkNod { fid, name, mode, group } => self.make_node(fid, name, mode, group, reply),
            Request::MkDir { fid, name, mode, group } => {
                let qid = self.make_directory(fid, name, mode, Some(group))?.1;
                qid.put(reply);
                Ok(())
            }
            Request::Rename { fid, directory, name } => self.rename(fid, directory, name),
            Request::RenameAt { from, name, to, new_name } => self.rename_at(from, name, to, new_name),
            Request::UnlinkAt { fid, name, flags } => self.unlink_at(fid, name, flags),
            Request::Remove { fid } => self.remove(fid),
        }
    }

    /// Agrees on dialect and size, and forgets all that was before.
    fn version(&mut self, size_max: u32, version: &[u8], reply: &mut Vec<u8>) -> Result<(), Errno> {
        self.fids.clear();
        self.size_max = None;
        if size_max < SIZE_MIN {
            return Err(Errno::MSGSIZE);
        }
        let dialect = match version {
            b"9P2000.L" => Some(Dialect::Linux),
            b"9P2000.u" => Some(Dialect::Unix),
            _ => None,
        };
        let size = size_max.min(self.limits.message);
        reply.u32(size);
        match dialect {
            Some(dialect) => {
                (self.dialect, self.size_max) = (dialect, Some(size));
                reply.string(version);
            }
            None => reply.string(b"unknown"),
        }
        Ok(())
    }

    /// Makes the root of the share known. What tree the client wants does not matter: there is one.
    fn attach(&mut self, fid: Fid, user: Option<u32>, reply: &mut Vec<u8>) -> Result<(), Errno> {
        let node = Rc::clone(&self.root);
        let qid = self.qid(&node)?;
        self.learn(fid, Known { node, owner: user, opened: None })?;
        qid.put(reply);
        Ok(())
    }

    /// Goes from one file to another, name by name, as far as there is a way.
    fn walk(&mut self, fid: Fid, new: Fid, names: &[&[u8]], reply: &mut Vec<u8>) -> Result<(), Errno> {
        let known = self.known(fid)?;
        if fid == new && known.opened.is_some() {
            return Err(Errno::INVAL);
        }
        let (mut node, owner) = (Rc::clone(&known.node), known.owner);
        let mut qids = Vec::with_capacity(names.len());
        for name in names {
            match node.walk(name).and_then(|node| Ok((self.qid(&node)?, node))) {
                Ok((qid, next)) => {
                    qids.push(qid);
                    node = next;
                }
                // Only the first name can fail; behind it the answer tells how far it went (Plan 9 manual, walk(5)).
                Err(errno) if qids.is_empty() => return Err(errno),
                Err(_) => break,
            }
        }
        if qids.len() == names.len() {
            if fid == new {
                self.fids.remove(&fid);
            }
            self.learn(new, Known { node, owner, opened: None })?;
        }
        reply.u16(u16::try_from(qids.len()).unwrap_or(u16::MAX));
        qids.into_iter().for_each(|qid| qid.put(reply));
        Ok(())
    }

    /// Forgets a file.
    fn clunk(&mut self, fid: Fid) -> Result<(), Errno> {
        let known = self.fids.remove(&fid).ok_or(Errno::BADF)?;
        if known.opened.is_some_and(|opened| opened.remove) && !self.read_only {
            // Somebody else may have removed it.
            let _ = names::unlink(&known.node);
        }
        Ok(())
    }

    fn known(&self, fid: Fid) -> Result<&Known, Errno> {
        self.fids.get(&fid).ok_or(Errno::BADF)
    }

    fn node(&self, fid: Fid) -> Result<Rc<Node>, Errno> {
        self.known(fid).map(|known| Rc::clone(&known.node))
    }

    fn opened(&self, fid: Fid) -> Result<&Opened, Errno> {
        self.known(fid)?.opened.as_ref().ok_or(Errno::BADF)
    }

    fn learn(&mut self, fid: Fid, known: Known) -> Result<(), Errno> {
        if self.fids.contains_key(&fid) {
            return Err(Errno::INVAL);
        }
        if self.fids.len() >= self.limits.fids {
            return Err(Errno::MFILE);
        }
        self.fids.insert(fid, known);
        Ok(())
    }

    fn qid(&mut self, node: &Node) -> Result<Qid, Errno> {
        Ok(Qid::new(&node.stat()?, &mut self.devices))
    }

    /// How much data an answer to a read can hold.
    fn data_max(&self, count: u32) -> usize {
        let room = self.message_max().saturating_sub(READ_HEADER);
        usize::try_from(count.min(room)).unwrap_or(0)
    }
}

/// The type, tag and body of a message.
fn split(message: &[u8]) -> Result<(u8, u16, &[u8]), Malformed> {
    let mut reader = Reader::new(message);
    reader.u32()?;
    let (kind, tag) = (reader.u8()?, reader.u16()?);
    Ok((kind, tag, message.get(HEADER..).ok_or(Malformed)?))
}
