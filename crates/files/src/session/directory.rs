//! Reading directories.

use std::{fs::File, mem::MaybeUninit};

use rustix::{
    fs::{AtFlags, FileType, RawDir, RawDirEntry, SeekFrom},
    io::Errno,
};

use super::Session;
use crate::{
    attributes::{Qid, put_record},
    request::{Fid, HEADER},
    wire::Write,
};

/// How far a directory was read in 9P2000.u, where offsets count the bytes that were given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    given: u64,
    next: u64,
}

/// Where the data of an answer begins.
const DATA: usize = HEADER + size_of::<u32>();

impl Session {
    /// Entries as 9P2000.L tells them: qid, where the next is, type, name.
    pub(super) fn read_dir(
        &mut self,
        fid: Fid,
        offset: u64,
        count: u32,
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let count = self.data_max(count);
        let known = self.fids.get(&fid).ok_or(Errno::BADF)?;
        let file = &known.opened.as_ref().ok_or(Errno::BADF)?.file;
        let own = rustix::fs::fstat(file)?;
        // What is above the root of a share is not the client's to know.
        let above = match known.node.place() {
            Some(place) => place.directory.stat()?.st_ino,
            None => own.st_ino,
        };
        reply.u32(0);
        let devices = &mut self.devices;
        each_entry(file, offset, |entry| {
            let name = entry.file_name().to_bytes();
            let before = reply.len();
            let (file_type, inode) = match name {
                b".." => (FileType::Directory, above),
                _ => (type_of(file, entry), entry.ino()),
            };
            Qid::of_entry(file_type, devices.path(own.st_dev, inode)).put(reply);
            reply.u64(entry.next_entry_cookie());
            reply.u8(number_of(file_type));
            reply.string(name);
            let fits = reply.len() - DATA <= count;
            if !fits {
                reply.truncate(before);
            }
            Ok(fits)
        })?;
        put_count(reply)
    }

    /// Entries as 9P2000.u tells them: whole records, without `.` and `..`.
    pub(super) fn read_records(
        &mut self,
        fid: Fid,
        offset: u64,
        count: usize,
        reply: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let opened = self.fids.get_mut(&fid).and_then(|known| known.opened.as_mut()).ok_or(Errno::BADF)?;
        // A directory is read from its beginning, or on from where it was left (Plan 9 manual, read(5)).
        let mut cursor = if offset == 0 { Cursor::default() } else { opened.cursor };
        if offset != cursor.given {
            return Err(Errno::INVAL);
        }
        reply.u32(0);
        let devices = &mut self.devices;
        let file = &opened.file;
        each_entry(file, cursor.next, |entry| {
            let name = entry.file_name();
            // What was removed meanwhile is not there.
            if !matches!(name.to_bytes(), b"." | b"..")
                && let Ok(stat) = rustix::fs::statat(file, name, AtFlags::SYMLINK_NOFOLLOW)
            {
                let before = reply.len();
                let target = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Symlink => rustix::fs::readlinkat(file, name, Vec::new()).unwrap_or_default(),
                    _ => Default::default(),
                };
                let qid = Qid::new(&stat, devices);
                put_record(name.to_bytes(), &stat, qid, target.as_bytes(), reply);
                if reply.len() - DATA > count {
                    reply.truncate(before);
                    return Ok(false);
                }
            }
            cursor.next = entry.next_entry_cookie();
            Ok(true)
        })?;
        cursor.given = offset + (reply.len() - DATA) as u64;
        opened.cursor = cursor;
        put_count(reply)
    }
}

/// Writes the length of the data into its place.
fn put_count(reply: &mut [u8]) -> Result<(), Errno> {
    let len = u32::try_from(reply.len().saturating_sub(DATA)).map_err(|_| Errno::OVERFLOW)?;
    reply.iter_mut().skip(HEADER).zip(len.to_le_bytes()).for_each(|(to, from)| *to = from);
    Ok(())
}

/// Shows entries from a position on until there is no more, or no more are wanted.
fn each_entry(
    file: &File,
    from: u64,
    mut show: impl FnMut(&RawDirEntry<'_>) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    rustix::fs::seek(file, SeekFrom::Start(from))?;
    let mut space = [MaybeUninit::uninit(); 8 << 10];
    let mut entries = RawDir::new(file, &mut space);
    while let Some(entry) = entries.next() {
        if !show(&entry?)? {
            break;
        }
    }
    Ok(())
}

/// The type of an entry; some file systems do not tell it with the name (readdir(3), `DT_UNKNOWN`).
fn type_of(directory: &File, entry: &RawDirEntry<'_>) -> FileType {
    match entry.file_type() {
        FileType::Unknown => rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
        known => known,
    }
}

/// Numbers of types in directory entries (readdir(3), `DT_*`).
fn number_of(file_type: FileType) -> u8 {
    match file_type {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        FileType::Unknown => 0,
    }
}
