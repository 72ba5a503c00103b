//! The signals that travel from the caller to the supervisor, and what they mean there.

use std::{ffi::c_int, os::fd::OwnedFd};

use rustix::io::Errno;

use crate::sys::{self, SignalSet};

/// Signals that end the sandbox.
pub(crate) const ENDING: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Signals that the caller passes on: those that end, and two that mean nothing yet but must not kill the caller.
const FORWARDED: [c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// While this exists, forwarded signals do not act on the caller but can be read from a descriptor.
pub(crate) struct Forwarding {
    /// Where taken signals are read.
    descriptor: OwnedFd,
    /// What was blocked before.
    before: SignalSet,
    /// The ending signals that the caller did not ignore; those it ignores (nohup, a shell's `&`) are ignored inside too.
    ending: SignalSet,
}

impl Forwarding {
    /// Takes over the signals that the caller does not ignore.
    pub(crate) fn start() -> Result<Self, Errno> {
        let taken = |signals: &[c_int]| -> Vec<c_int> {
            signals.iter().copied().filter(|signal| !sys::is_ignored(*signal)).collect()
        };
        let mut inside = taken(&ENDING);
        inside.push(libc::SIGCHLD);
        let forwarded = SignalSet::of(&taken(&FORWARDED));
        let descriptor = sys::signal_descriptor(&forwarded)?;
        let before = forwarded.block()?;
        Ok(Forwarding { descriptor, before, ending: SignalSet::of(&inside) })
    }

    /// What the supervisor waits for: its child's end and the ending signals.
    pub(crate) fn awaited_inside(&self) -> SignalSet {
        self.ending
    }

    /// Readable when a signal was taken.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// The next taken signal.
    pub(crate) fn next(&self) -> Option<c_int> {
        read(&self.descriptor)
    }

    /// Forgets the signals that were taken and not read.
    pub(crate) fn discard(&self) {
        while self.next().is_some() {}
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // Fails only for a bad address. A signal that came after the last read acts on the caller now.
        let _ = self.before.set_mask();
    }
}

/// The next signal from a signal descriptor, if there is one.
pub(crate) fn read(descriptor: &OwnedFd) -> Option<c_int> {
    // struct signalfd_siginfo of signalfd(2): 128 bytes, of which the first four are the signal's number.
    let mut bytes = [0; 128];
    match rustix::io::read(descriptor, &mut bytes) {
        Ok(128) => {}
        _ => return None,
    }
    let number = bytes.first_chunk().copied().map(u32::from_ne_bytes)?;
    c_int::try_from(number).ok()
}
