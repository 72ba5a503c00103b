//! What is told of a file: its qid, and the records of both dialects.

use rustix::fs::{FileType, Stat};

use crate::{node::file_type, wire::Write};

/// `P9_GETATTR_BASIC`: all that `stat` tells; no birth time, generation or data version.
const BASIC: u64 = 0x7ff;

/// Bits of the mode of 9P2000 and its Unix extension (`DM*`).
pub(crate) mod dm {
    pub(crate) const DIRECTORY: u32 = 0x8000_0000;
    pub(crate) const SYMLINK: u32 = 0x0200_0000;
    pub(crate) const LINK: u32 = 0x0100_0000;
    pub(crate) const DEVICE: u32 = 0x0080_0000;
    pub(crate) const PIPE: u32 = 0x0020_0000;
    pub(crate) const SOCKET: u32 = 0x0010_0000;
    pub(crate) const SET_USER: u32 = 0x0008_0000;
    pub(crate) const SET_GROUP: u32 = 0x0004_0000;
}

/// Bits of a Unix mode (inode(7)).
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
/// All bits of a Unix mode but the type.
pub(crate) const PERMISSIONS: u32 = 0o7777;

/// By which a client tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Qid {
    kind: u8,
    version: u32,
    path: u64,
}

/// File systems of a share, in the order in which they were met: inode numbers are unique only within each.
#[derive(Debug, Default)]
pub(crate) struct Devices(Vec<u64>);

impl Devices {
    /// File systems that are told apart; those behind them look like the last. There is one, but for mounts in a volume.
    const MAX: usize = 256;

    /// A number for an inode that is unique in the share, as long as inode numbers leave their upper byte free.
    pub(crate) fn path(&mut self, device: u64, inode: u64) -> u64 {
        let known = self.0.iter().position(|known| *known == device);
        let index = known.unwrap_or_else(|| {
            if self.0.len() < Self::MAX {
                self.0.push(device);
            }
            self.0.len() - 1
        });
        inode ^ (index as u64) << 56
    }
}

impl Qid {
    /// Of a file of which the kernel says this.
    pub(crate) fn new(stat: &Stat, devices: &mut Devices) -> Self {
        // Anything that changes when the contents do.
        let [a, b, c, d, ..] =
            (stat.st_mtime.cast_unsigned() ^ stat.st_size.cast_unsigned() << 8).to_le_bytes();
        let version = u32::from_le_bytes([a, b, c, d]);
        Qid { kind: kind(file_type(stat)), version, path: devices.path(stat.st_dev, stat.st_ino) }
    }

    /// Of a directory entry that nobody has looked at more closely.
    pub(crate) fn of_entry(file_type: FileType, path: u64) -> Self {
        Qid { kind: kind(file_type), version: 0, path }
    }

    pub(crate) fn put(self, into: &mut Vec<u8>) {
        into.u8(self.kind);
        into.u32(self.version);
        into.u64(self.path);
    }
}

/// `QTDIR`, `QTSYMLINK`, or neither.
fn kind(file_type: FileType) -> u8 {
    match file_type {
        FileType::Directory => 0x80,
        FileType::Symlink => 0x02,
        _ => 0,
    }
}

/// What `Rgetattr` holds.
pub(crate) fn put_attributes(stat: &Stat, qid: Qid, into: &mut Vec<u8>) {
    into.u64(BASIC);
    qid.put(into);
    into.u32(stat.st_mode);
    into.u32(stat.st_uid);
    into.u32(stat.st_gid);
    into.u64(stat.st_nlink);
    into.u64(stat.st_rdev);
    into.u64(stat.st_size.cast_unsigned());
    into.u64(stat.st_blksize.cast_unsigned());
    into.u64(stat.st_blocks.cast_unsigned());
    let accessed = (stat.st_atime, stat.st_atime_nsec);
    let modified = (stat.st_mtime, stat.st_mtime_nsec);
    let changed = (stat.st_ctime, stat.st_ctime_nsec);
    for (seconds, nanos) in [accessed, modified, changed, (0, 0)] {
        into.u64(seconds.cast_unsigned());
        into.u64(nanos);
    }
    // Generation and data version.
    into.u64(0);
    into.u64(0);
}

/// A record of 9P2000.u, as `Rstat` and reading a directory give it, with its length before it.
pub(crate) fn put_record(name: &[u8], stat: &Stat, qid: Qid, target: &[u8], into: &mut Vec<u8>) {
    let mut record = Vec::with_capacity(128);
    // Type and device mean something to the kernel of Plan 9 alone.
    record.u16(0);
    record.u32(0);
    qid.put(&mut record);
    record.u32(mode(stat));
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    record.u32(seconds(stat.st_atime));
    record.u32(seconds(stat.st_mtime));
    let is_directory = file_type(stat) == FileType::Directory;
    record.u64(if is_directory { 0 } else { stat.st_size.cast_unsigned() });
    record.string(name);
    // User, group and last writer are told by their numbers.
    (0..3).for_each(|_| record.string(b""));
    record.string(target);
    record.u32(stat.st_uid);
    record.u32(stat.st_gid);
    record.u32(u32::MAX);
    into.string(&record);
}

/// The mode of 9P2000.u.
fn mode(stat: &Stat) -> u32 {
    let kind = match file_type(stat) {
        FileType::Directory => dm::DIRECTORY,
        FileType::Symlink => dm::SYMLINK,
        FileType::CharacterDevice | FileType::BlockDevice => dm::DEVICE,
        FileType::Fifo => dm::PIPE,
        FileType::Socket => dm::SOCKET,
        _ => 0,
    };
    let flag = |bit, dm| if stat.st_mode & bit != 0 { dm } else { 0 };
    kind | flag(SET_USER, dm::SET_USER) | flag(SET_GROUP, dm::SET_GROUP) | stat.st_mode & 0o777
}

/// The Unix permissions that a mode of 9P2000.u stands for.
pub(crate) fn permissions(mode: u32) -> u32 {
    let flag = |dm, bit| if mode & dm != 0 { bit } else { 0 };
    mode & 0o777 | flag(dm::SET_USER, SET_USER) | flag(dm::SET_GROUP, SET_GROUP)
}
