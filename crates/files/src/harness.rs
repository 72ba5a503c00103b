//! A client without a guest: asks, and takes answers apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

use runu_sandbox::{Content, Piece, Tree};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    request::{HEADER, kind},
    session::{Limits, Session},
    wire::{Reader, Write},
};

/// A share with something beside it that is nobody's business, and its client.
pub(crate) struct Client {
    folder: tempfile::TempDir,
    session: Session,
}

pub(crate) const L: &[u8] = b"9P2000.L";
pub(crate) const U: &[u8] = b"9P2000.u";
pub(crate) const ROOT: u32 = 0;
/// No user is told.
pub(crate) const NOBODY: u32 = u32::MAX;

impl Client {
    /// Before anything was said.
    pub(crate) fn silent(read_only: bool, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("share")).unwrap();
        fs::write(folder.path().join("secret"), "not yours").unwrap();
        let root = rustix::fs::open(folder.path().join("share"), OFlags::PATH, Mode::empty()).unwrap();
        Client { session: Session::new(root, read_only, limits), folder }
    }

    /// With a dialect agreed on, and the root known as [`ROOT`].
    pub(crate) fn attached(dialect: &[u8], read_only: bool) -> Self {
        let mut client = Self::silent(read_only, Limits::default());
        client.version(64 << 10, dialect).unwrap();
        client.attach(ROOT, NOBODY).unwrap();
        client
    }

    /// The same, with a file mounted at `file` and memory at `memory`; none where this host lets us mount nothing, after
    /// saying so.
    pub(crate) fn with_mounts(dialect: &[u8]) -> Option<Self> {
        let mut client = Self::silent(false, Limits::default());
        let (share, secret) = (client.path("."), client.secret());
        let piece = |content| Piece { content, read_only: false };
        let pieces = [
            (Path::new("/file"), piece(Content::Host { path: &secret, whole: true })),
            (Path::new("/memory"), piece(Content::Memory(&[]))),
        ];
        let root = piece(Content::Host { path: &share, whole: true });
        let root = match runu_sandbox::tree(&Tree { root, pieces: &pieces }) {
            Ok(root) => root,
            Err(error) => {
                let test = std::thread::current();
                eprintln!("SKIP {}: no tree of mounts can be made: {error}", test.name().unwrap_or("?"));
                return None;
            }
        };
        client.session = Session::new(root, false, Limits::default());
        client.version(64 << 10, dialect).unwrap();
        client.attach(ROOT, NOBODY).unwrap();
        Some(client)
    }

    /// A path in the share.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("share").join(name)
    }

    /// The file beside the share.
    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    pub(crate) fn raw(&mut self, message: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        self.session.answer(message, &mut reply);
        reply
    }

    /// What is answered, or what went wrong.
    pub(crate) fn ask(&mut self, kind: u8, body: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut message = Vec::new();
        message.u32(u32::try_from(HEADER + body.len()).unwrap());
        message.u8(kind);
        message.u16(7);
        message.put(body);
        let reply = self.raw(&message);
        let mut reader = Reader::new(&reply);
        assert_eq!(reader.u32().unwrap() as usize, reply.len());
        let answered = reader.u8().unwrap();
        assert_eq!(reader.u16(), Ok(7));
        match answered - 1 {
            kind::ERROR => {
                assert!(!reader.string().unwrap().is_empty());
                Err(Errno::from_raw_os_error(reader.u32().unwrap().cast_signed()))
            }
            kind::LERROR => Err(Errno::from_raw_os_error(reader.u32().unwrap().cast_signed())),
            answered => {
                assert_eq!(answered, kind);
                Ok(reply[HEADER..].to_vec())
            }
        }
    }

    pub(crate) fn version(&mut self, size: u32, dialect: &[u8]) -> Result<(u32, Vec<u8>), Errno> {
        let mut body = Vec::new();
        body.u32(size);
        body.string(dialect);
        let reply = self.ask(kind::VERSION, &body)?;
        let mut reader = Reader::new(&reply);
        Ok((reader.u32().unwrap(), reader.string().unwrap().to_vec()))
    }

    pub(crate) fn attach(&mut self, fid: u32, user: u32) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        body.u32(u32::MAX);
        body.string(b"");
        body.string(b"");
        body.u32(user);
        self.ask(kind::ATTACH, &body)
    }

    /// How many names of the walk were found.
    pub(crate) fn walk(&mut self, fid: u32, new: u32, names: &[&str]) -> Result<u16, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        body.u32(new);
        body.u16(u16::try_from(names.len()).unwrap());
        names.iter().for_each(|name| body.string(name.as_bytes()));
        let reply = self.ask(kind::WALK, &body)?;
        Ok(Reader::new(&reply).u16().unwrap())
    }

    pub(crate) fn on_fid(&mut self, kind: u8, fid: u32) -> Result<Vec<u8>, Errno> {
        self.ask(kind, &fid.to_le_bytes())
    }

    pub(crate) fn l_open(&mut self, fid: u32, flags: u32) -> Result<Vec<u8>, Errno> {
        self.ask(kind::LOPEN, &[fid.to_le_bytes(), flags.to_le_bytes()].concat())
    }

    pub(crate) fn open(&mut self, fid: u32, mode: u8) -> Result<Vec<u8>, Errno> {
        self.ask(kind::OPEN, &[&fid.to_le_bytes()[..], &[mode]].concat())
    }

    pub(crate) fn l_create(&mut self, fid: u32, name: &str, flags: u32, mode: u32) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        body.string(name.as_bytes());
        [flags, mode, 0].into_iter().for_each(|number| body.u32(number));
        self.ask(kind::LCREATE, &body)
    }

    pub(crate) fn create(
        &mut self,
        fid: u32,
        name: &str,
        perm: u32,
        mode: u8,
        extension: &str,
    ) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        body.string(name.as_bytes());
        body.u32(perm);
        body.u8(mode);
        body.string(extension.as_bytes());
        self.ask(kind::CREATE, &body)
    }

    /// The data that is read, with `kind` a file's or a directory's.
    pub(crate) fn read(&mut self, kind: u8, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        body.u64(offset);
        body.u32(count);
        let reply = self.ask(kind, &body)?;
        let mut reader = Reader::new(&reply);
        let len = reader.u32().unwrap() as usize;
        let data = reader.bytes(len).unwrap().to_vec();
        assert!(reader.is_empty());
        Ok(data)
    }

    pub(crate) fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        body.u64(offset);
        body.u32(u32::try_from(data.len()).unwrap());
        body.put(data);
        let reply = self.ask(kind::WRITE, &body)?;
        Ok(Reader::new(&reply).u32().unwrap())
    }

    /// `Tsymlink`, `Tlink` and others that take a fid, strings, and numbers behind them.
    pub(crate) fn with_names(
        &mut self,
        kind: u8,
        fid: u32,
        names: &[&str],
        numbers: &[u32],
    ) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        body.u32(fid);
        names.iter().for_each(|name| body.string(name.as_bytes()));
        numbers.iter().for_each(|number| body.u32(*number));
        self.ask(kind, &body)
    }

    pub(crate) fn rename_at(&mut self, from: u32, name: &str, to: u32, new: &str) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        body.u32(from);
        body.string(name.as_bytes());
        body.u32(to);
        body.string(new.as_bytes());
        self.ask(kind::RENAMEAT, &body)
    }

    /// `Tsetattr` of mode, user, group and size, as far as `valid` says.
    pub(crate) fn set(
        &mut self,
        fid: u32,
        valid: u32,
        [mode, uid, gid]: [u32; 3],
        size: u64,
    ) -> Result<Vec<u8>, Errno> {
        let mut body = Vec::new();
        [fid, valid, mode, uid, gid].into_iter().for_each(|number| body.u32(number));
        body.u64(size);
        [11_u64, 12, 13, 14].into_iter().for_each(|number| body.u64(number));
        self.ask(kind::SETATTR, &body)
    }

    /// `Twstat` with a mode, a length, a modification time and a name.
    pub(crate) fn w_stat(
        &mut self,
        fid: u32,
        mode: u32,
        size: u64,
        modified: u32,
        name: &str,
    ) -> Result<Vec<u8>, Errno> {
        let mut record = vec![0xff; 2 + 4 + 13];
        [mode, u32::MAX, modified].into_iter().for_each(|number| record.u32(number));
        record.u64(size);
        [name, "", "", "", ""].into_iter().for_each(|text| record.string(text.as_bytes()));
        (0..3).for_each(|_| record.u32(u32::MAX));
        let mut body = Vec::from(fid.to_le_bytes());
        body.u16(u16::try_from(record.len() + 2).unwrap());
        body.string(&record);
        self.ask(kind::WSTAT, &body)
    }
}

/// Names in what reading a directory gave in 9P2000.L, and where the last one said that the next is.
pub(crate) fn names_l(data: &[u8]) -> (Vec<String>, u64) {
    let (mut reader, mut names, mut next) = (Reader::new(data), Vec::new(), 0);
    while !reader.is_empty() {
        reader.bytes(13).unwrap();
        next = reader.u64().unwrap();
        reader.u8().unwrap();
        names.push(String::from_utf8(reader.string().unwrap().to_vec()).unwrap());
    }
    (names, next)
}

/// A record of 9P2000.u.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) uid: u32,
}

/// The records in what reading a directory gave in 9P2000.u.
pub(crate) fn records(data: &[u8]) -> Vec<Record> {
    let (mut reader, mut records) = (Reader::new(data), Vec::new());
    while !reader.is_empty() {
        let mut record = Reader::new(reader.string().unwrap());
        record.bytes(2 + 4 + 13).unwrap();
        let mode = record.u32().unwrap();
        record.bytes(8).unwrap();
        let size = record.u64().unwrap();
        let [name, _, _, _, target] =
            [(); 5].map(|()| String::from_utf8(record.string().unwrap().to_vec()).unwrap());
        let uid = record.u32().unwrap();
        records.push(Record { mode, size, name, target, uid });
    }
    records
}
