//! What a client can ask for, in either dialect: bytes to requests.
//!
//! The numbers and layouts are those of 9P2000 (Plan 9 manual, section 5), of its Unix extension, and of diod's protocol.md
//! for 9P2000.L. The layouts of the messages that both dialects have are the same in both.

use crate::wire::{Malformed, Reader};

/// Length of what every message begins with: size, type, tag.
pub(crate) const HEADER: usize = 7;

/// `P9_NONUNAME`: the user is told by name, or not at all.
const NO_USER: u32 = u32::MAX;

/// Names in one walk at most (`MAXWELEM`).
const WALK_MAX: usize = 16;

/// Types of messages. The answer's is one more.
pub(crate) mod kind {
    pub(crate) const LERROR: u8 = 6;
    pub(crate) const STATFS: u8 = 8;
    pub(crate) const LOPEN: u8 = 12;
    pub(crate) const LCREATE: u8 = 14;
    pub(crate) const SYMLINK: u8 = 16;
    pub(crate) const MKNOD: u8 = 18;
    pub(crate) const RENAME: u8 = 20;
    pub(crate) const READLINK: u8 = 22;
    pub(crate) const GETATTR: u8 = 24;
    pub(crate) const SETATTR: u8 = 26;
    pub(crate) const XATTRWALK: u8 = 30;
    pub(crate) const XATTRCREATE: u8 = 32;
    pub(crate) const READDIR: u8 = 40;
    pub(crate) const FSYNC: u8 = 50;
    pub(crate) const LOCK: u8 = 52;
    pub(crate) const GETLOCK: u8 = 54;
    pub(crate) const LINK: u8 = 70;
    pub(crate) const MKDIR: u8 = 72;
    pub(crate) const RENAMEAT: u8 = 74;
    pub(crate) const UNLINKAT: u8 = 76;
    pub(crate) const VERSION: u8 = 100;
    pub(crate) const AUTH: u8 = 102;
    pub(crate) const ATTACH: u8 = 104;
    pub(crate) const ERROR: u8 = 106;
    pub(crate) const FLUSH: u8 = 108;
    pub(crate) const WALK: u8 = 110;
    pub(crate) const OPEN: u8 = 112;
    pub(crate) const CREATE: u8 = 114;
    pub(crate) const READ: u8 = 116;
    pub(crate) const WRITE: u8 = 118;
    pub(crate) const CLUNK: u8 = 120;
    pub(crate) const REMOVE: u8 = 122;
    pub(crate) const STAT: u8 = 124;
    pub(crate) const WSTAT: u8 = 126;
}

/// By which a client calls a file that it walked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fid(pub(crate) u32);

/// Changes of attributes; those that are `None` stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) accessed: Option<Time>,
    pub(crate) modified: Option<Time>,
}

/// A time stamp to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// That of now.
    Now,
    /// Seconds and nanoseconds since 1970.
    At(u64, u64),
}

/// What a client asks for. Names are as they came: no one has looked at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Version {
        size_max: u32,
        version: &'a [u8],
    },
    Auth,
    Attach {
        fid: Fid,
        user: Option<u32>,
    },
    Flush,
    Walk {
        fid: Fid,
        new: Fid,
        names: Vec<&'a [u8]>,
    },
    Open {
        fid: Fid,
        mode: u8,
    },
    LOpen {
        fid: Fid,
        flags: u32,
    },
    Create {
        fid: Fid,
        name: &'a [u8],
        perm: u32,
        mode: u8,
        extension: &'a [u8],
    },
    LCreate {
        fid: Fid,
        name: &'a [u8],
        flags: u32,
        mode: u32,
        group: u32,
    },
    Read {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    ReadDir {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Write {
        fid: Fid,
        offset: u64,
        data: &'a [u8],
    },
    Clunk {
        fid: Fid,
    },
    Remove {
        fid: Fid,
    },
    Stat {
        fid: Fid,
    },
    WStat {
        fid: Fid,
        changes: Changes,
        name: &'a [u8],
    },
    GetAttr {
        fid: Fid,
    },
    SetAttr {
        fid: Fid,
        changes: Changes,
    },
    StatFs {
        fid: Fid,
    },
    FSync {
        fid: Fid,
    },
    ReadLink {
        fid: Fid,
    },
    Symlink {
        fid: Fid,
        name: &'a [u8],
        target: &'a [u8],
        group: u32,
    },
    Link {
        directory: Fid,
        fid: Fid,
        name: &'a [u8],
    },
    MkNod {
        fid: Fid,
        name: &'a [u8],
        mode: u32,
        group: u32,
    },
    MkDir {
        fid: Fid,
        name: &'a [u8],
        mode: u32,
        group: u32,
    },
    Rename {
        fid: Fid,
        directory: Fid,
        name: &'a [u8],
    },
    RenameAt {
        from: Fid,
        name: &'a [u8],
        to: Fid,
        new_name: &'a [u8],
    },
    UnlinkAt {
        fid: Fid,
        name: &'a [u8],
        flags: u32,
    },
    Lock {
        fid: Fid,
    },
    GetLock {
        fid: Fid,
        start: u64,
        length: u64,
        process: u32,
        client: &'a [u8],
    },
    Xattr,
    /// A type that nobody knows.
    Unknown,
}

impl<'a> Request<'a> {
    /// Reads the body of a message of that type.
    pub(crate) fn parse(kind: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let r = &mut reader;
        let request = match kind {
            kind::VERSION => Request::Version { size_max: r.u32()?, version: r.string()? },
            kind::AUTH => return Ok(Request::Auth),
            kind::ATTACH => {
                let (fid, _auth, _name, _tree) = (fid(r)?, r.u32()?, r.string()?, r.string()?);
                // The extensions of both dialects add the user's number; the plain protocol has none.
                let user = if r.is_empty() { NO_USER } else { r.u32()? };
                Request::Attach { fid, user: (user != NO_USER).then_some(user) }
            }
            kind::FLUSH => {
                r.u16()?;
                Request::Flush
            }
            kind::WALK => {
                let (fid, new, count) = (fid(r)?, fid(r)?, usize::from(r.u16()?));
                if count > WALK_MAX {
                    return Err(Malformed);
                }
                let names = (0..count).map(|_| r.string()).collect::<Result<_, _>>()?;
                Request::Walk { fid, new, names }
            }
            kind::OPEN => Request::Open { fid: fid(r)?, mode: r.u8()? },
            kind::LOPEN => Request::LOpen { fid: fid(r)?, flags: r.u32()? },
            kind::CREATE => Request::Create {
                fid: fid(r)?,
                name: r.string()?,
                perm: r.u32()?,
                mode: r.u8()?,
                extension: if r.is_empty() { b"" } else { r.string()? },
            },
            kind::LCREATE => Request::LCreate {
                fid: fid(r)?,
                name: r.string()?,
                flags: r.u32()?,
                mode: r.u32()?,
                group: r.u32()?,
            },
            kind::READ => Request::Read { fid: fid(r)?, offset: r.u64()?, count: r.u32()? },
            kind::READDIR => Request::ReadDir { fid: fid(r)?, offset: r.u64()?, count: r.u32()? },
            kind::WRITE => {
                let (fid, offset, count) = (fid(r)?, r.u64()?, r.u32()?);
                let data = r.bytes(usize::try_from(count).map_err(|_| Malformed)?)?;
                Request::Write { fid, offset, data }
            }
            kind::CLUNK => Request::Clunk { fid: fid(r)? },
            kind::REMOVE => Request::Remove { fid: fid(r)? },
            kind::STAT => Request::Stat { fid: fid(r)? },
            kind::WSTAT => {
                let fid = fid(r)?;
                let (changes, name) = record(r)?;
                Request::WStat { fid, changes, name }
            }
            kind::GETATTR => {
                let fid = fid(r)?;
                r.u64()?;
                Request::GetAttr { fid }
            }
            kind::SETATTR => Request::SetAttr { fid: fid(r)?, changes: changes(r)? },
            kind::STATFS => Request::StatFs { fid: fid(r)? },
            kind::FSYNC => {
                let fid = fid(r)?;
                // Whether data alone will do: older clients do not say.
                if !r.is_empty() {
                    r.u32()?;
                }
                Request::FSync { fid }
            }
            kind::READLINK => Request::ReadLink { fid: fid(r)? },
            kind::SYMLINK => {
                Request::Symlink { fid: fid(r)?, name: r.string()?, target: r.string()?, group: r.u32()? }
            }
            kind::LINK => Request::Link { directory: fid(r)?, fid: fid(r)?, name: r.string()? },
            kind::MKNOD => {
                let (fid, name, mode, _device, group) = (fid(r)?, r.string()?, r.u32()?, r.u64()?, r.u32()?);
                Request::MkNod { fid, name, mode, group }
            }
            kind::MKDIR => {
                Request::MkDir { fid: fid(r)?, name: r.string()?, mode: r.u32()?, group: r.u32()? }
            }
            kind::RENAME => Request::Rename { fid: fid(r)?, directory: fid(r)?, name: r.string()? },
            kind::RENAMEAT => {
                Request::RenameAt { from: fid(r)?, name: r.string()?, to: fid(r)?, new_name: r.string()? }
            }
            kind::UNLINKAT => Request::UnlinkAt { fid: fid(r)?, name: r.string()?, flags: r.u32()? },
            kind::LOCK => {
                let fid = fid(r)?;
                // Type, flags, start, length, process, client.
                r.bytes(1 + 4 + 8 + 8 + 4)?;
                r.string()?;
                Request::Lock { fid }
            }
            kind::GETLOCK => {
                let (fid, _type) = (fid(r)?, r.u8()?);
                let (start, length, process, client) = (r.u64()?, r.u64()?, r.u32()?, r.string()?);
                Request::GetLock { fid, start, length, process, client }
            }
            kind::XATTRWALK | kind::XATTRCREATE => return Ok(Request::Xattr),
            _ => return Ok(Request::Unknown),
        };
        if reader.is_empty() { Ok(request) } else { Err(Malformed) }
    }

    /// Whether it changes what is on disk; opening and creating say so by their flags.
    pub(crate) fn modifies(&self) -> bool {
        match self {
            Request::Create { .. }
            | Request::LCreate { .. }
            | Request::Write { .. }
            | Request::Remove { .. }
            | Request::SetAttr { .. }
            | Request::Symlink { .. }
            | Request::Link { .. }
            | Request::MkNod { .. }
            | Request::MkDir { .. }
            | Request::Rename { .. }
            | Request::RenameAt { .. }
            | Request::UnlinkAt { .. } => true,
            // One that changes nothing asks for a sync.
            Request::WStat { changes, name, .. } => *changes != Changes::default() || !name.is_empty(),
            _ => false,
        }
    }
}

fn fid(reader: &mut Reader<'_>) -> Result<Fid, Malformed> {
    reader.u32().map(Fid)
}

/// The changes of `Tsetattr`.
fn changes(r: &mut Reader<'_>) -> Result<Changes, Malformed> {
    const MODE: u32 = 0x1;
    const UID: u32 = 0x2;
    const GID: u32 = 0x4;
    const SIZE: u32 = 0x8;
    const ATIME: u32 = 0x10;
    const MTIME: u32 = 0x20;
    const ATIME_SET: u32 = 0x80;
    const MTIME_SET: u32 = 0x100;
    let valid = r.u32()?;
    let (mode, uid, gid, size) = (r.u32()?, r.u32()?, r.u32()?, r.u64()?);
    let (accessed, modified) = ((r.u64()?, r.u64()?), (r.u64()?, r.u64()?));
    let time = |bit, set, (seconds, nanos)| {
        let time = if valid & set != 0 { Time::At(seconds, nanos) } else { Time::Now };
        (valid & bit != 0).then_some(time)
    };
    Ok(Changes {
        mode: (valid & MODE != 0).then_some(mode),
        uid: (valid & UID != 0).then_some(uid),
        gid: (valid & GID != 0).then_some(gid),
        size: (valid & SIZE != 0).then_some(size),
        accessed: time(ATIME, ATIME_SET, accessed),
        modified: time(MTIME, MTIME_SET, modified),
    })
}

/// The record of `Twstat`: changes, and the new name, if any. What is all ones, or empty, stays (Plan 9 manual, stat(5)).
fn record<'a>(r: &mut Reader<'a>) -> Result<(Changes, &'a [u8]), Malformed> {
    let told = |value: u32| (value != u32::MAX).then_some(value);
    // Length of the record, again, type, device, qid.
    r.bytes(2 + 2 + 2 + 4 + 13)?;
    let (mode, accessed, modified, size) = (r.u32()?, r.u32()?, r.u32()?, r.u64()?);
    let (name, _user, _group, _last) = (r.string()?, r.string()?, r.string()?, r.string()?);
    let (uid, gid) = if r.is_empty() {
        (None, None)
    } else {
        r.string()?;
        let ids = (told(r.u32()?), told(r.u32()?));
        r.u32()?;
        ids
    };
    let time = |value| told(value).map(|seconds| Time::At(u64::from(seconds), 0));
    let changes = Changes {
        mode: told(mode),
        uid,
        gid,
        size: (size != u64::MAX).then_some(size),
        accessed: time(accessed),
        modified: time(modified),
    };
    Ok((changes, name))
}
