//! What the process that serves a guest's files is given, and what the guest's process is.

use std::{
    ffi::CStr,
    os::fd::{OwnedFd, RawFd},
};

use runu_core::Share;
use runu_guest::Shared;
use runu_sandbox::{Account, Companion};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::{OpenShare, VolumeError};

/// What the caller knows about the process that serves files.
#[derive(Clone, Copy, Debug)]
pub struct FileServer {
    /// The name by which it knows what it is: its first argument. One for each shared directory follows.
    pub name: &'static CStr,
    /// The argument for a directory in which the guest may change something.
    pub read_write: &'static CStr,
    /// The argument for one in which it may not.
    pub read_only: &'static CStr,
    /// The number of the first directory's socket; the directory has the next, and so on.
    pub first: RawFd,
}

/// What the process that serves files is given, and what the guest's process is.
#[derive(Debug)]
pub struct Served {
    /// Arguments of the serving process.
    argv: Vec<&'static CStr>,
    /// Its descriptors and their numbers.
    theirs: Vec<(OwnedFd, RawFd)>,
    /// Those of the guest's process.
    pub guests: Vec<(OwnedFd, RawFd)>,
}

impl Served {
    /// Connects both, if there is anything to serve; the guest's process has its first socket at `first`.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new(
        shares: Vec<OpenShare>,
        files: &FileServer,
        first: RawFd,
    ) -> Result<Option<Self>, VolumeError> {
        if shares.is_empty() {
            return Ok(None);
        }
        let mut served = Served { argv: vec![files.name], theirs: Vec::new(), guests: Vec::new() };
        let (mut their_next, guests_numbers) = (files.first, first..);
        for (OpenShare { tree, read_only }, guests_number) in shares.into_iter().zip(guests_numbers) {
            let (ours, theirs) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                    .map_err(VolumeError::Connect)?;
            served.argv.push(if read_only { files.read_only } else { files.read_write });
            served.theirs.extend([(theirs, their_next), (tree, their_next + 1)]);
            served.guests.push((ours, guests_number));
            their_next += 2;
        }
        Ok(Some(served))
    }

    /// The process that serves: it takes its descriptors with it and acts as `account`.
    pub fn companion(&mut self, account: Account) -> Companion<'_> {
        Companion { argv: &self.argv, descriptors: std::mem::take(&mut self.theirs), account: Some(account) }
    }
}

/// The devices through which a guest has what it is told of.
#[must_use]
pub fn devices(shared: &[Shared]) -> Vec<Share> {
    shared.iter().map(|shared| Share { tag: shared.tag.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const FILES: FileServer = FileServer { name: c"files", read_write: c"rw", read_only: c"ro", first: 3 };

    #[test]
    fn server_and_guest_are_given_their_ends_in_order() {
        let share = |read_only| OpenShare { tree: File::open("/").unwrap().into(), read_only };
        let served = Served::new(vec![share(false), share(true)], &FILES, 16).unwrap().unwrap();
        assert_eq!(served.argv, [c"files", c"rw", c"ro"]);
        let numbers = |given: &[(OwnedFd, RawFd)]| given.iter().map(|(_, n)| *n).collect::<Vec<_>>();
        assert_eq!((numbers(&served.theirs), numbers(&served.guests)), (vec![3, 4, 5, 6], vec![16, 17]));
    }

    #[test]
    fn guest_without_shares_needs_no_server() {
        assert!(Served::new(Vec::new(), &FILES, 16).unwrap().is_none());
    }
}
