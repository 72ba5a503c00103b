//! Files that are in memory only: what is handed to a process as a descriptor and needs no name (memfd_create(2)).

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Seek, Write},
};

use rustix::fs::MemfdFlags;

/// A file that holds `bytes` and is at its start; `name` is for people who look into /proc.
///
/// # Errors
/// There are no descriptors or no memory left.
pub fn memory_file(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
