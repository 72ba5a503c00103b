//! The file system that a kernel unpacks for its first process: a cpio archive in the format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    inodes: u32,
}

/// Types of file (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

impl Initramfs {
    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.entry(path, DIRECTORY | mode, (0, 0), &[])
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> &mut Self {
        self.entry(path, REGULAR | mode, (0, 0), bytes)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> &mut Self {
        self.entry(path, CHARACTER | mode, (major, minor), &[])
    }

    /// Adds what is in a folder of the host, except below the paths (relative to it) that are left out. All of it becomes
    /// root's.
    pub(crate) fn tree(&mut self, folder: &Path, left_out: &[&str]) -> io::Result<&mut Self> {
        self.branch(folder, "", left_out)?;
        Ok(self)
    }

    fn branch(&mut self, folder: &Path, inside: &str, left_out: &[&str]) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let path = format!("{inside}{}", name.to_string_lossy());
            if left_out.contains(&path.as_str()) {
                continue;
            }
            let metadata = entry.metadata()?;
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                self.directory(&path, mode);
                self.branch(&entry.path(), &format!("{path}/"), left_out)?;
            } else if metadata.is_symlink() {
                self.link(&path, &fs::read_link(entry.path())?.to_string_lossy());
            } else if metadata.is_file() {
                self.file(&path, mode, &fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), data: &[u8]) -> &mut Self {
        self.inodes += 1;
        let (size, name_size) = (data.len(), path.len() + 1);
        let fields = [self.inodes, mode, 0, 0, 1, 0].map(|field| format!("{field:08x}")).concat();
        // Into memory: cannot fail.
        let _ = write!(
            self.bytes,
            "070701{fields}{size:08x}{:08x}{:08x}{major:08x}{minor:08x}{name_size:08x}{:08x}{path}\0",
            0, 0, 0
        );
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
