//! A disk's file.

use std::io;

use runu_machine::{Medium, MediumError};

use crate::host;

/// A file by its descriptor, which the filter lets be read, written and synchronised.
#[derive(Debug)]
pub(crate) struct DiskFile(pub(crate) i32);

impl Medium for DiskFile {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), MediumError> {
        let mut done = 0;
        whole(into.len(), || {
            let rest = into.get_mut(done..).unwrap_or_default();
            let read = host::read_at(self.0, rest, offset + done as u64)?;
            done += read;
            Ok(read)
        })
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), MediumError> {
        let mut done = 0;
        whole(from.len(), || {
            let rest = from.get(done..).unwrap_or_default();
            let written = host::write_at(self.0, rest, offset + done as u64)?;
            done += written;
            Ok(written)
        })
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        host::synchronise(self.0).map_err(|_| MediumError)
    }
}

/// Goes on with `step`, which moves some bytes, until `len` have been moved.
fn whole(len: usize, mut step: impl FnMut() -> io::Result<usize>) -> Result<(), MediumError> {
    let mut left = len;
    while left > 0 {
        match step() {
            // The file has become shorter.
            Ok(0) => return Err(MediumError),
            Ok(moved) => left = left.saturating_sub(moved),
            Err(error) if is_passing(&error) => {}
            Err(_) => return Err(MediumError),
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}
