//! The caller's hold on the supervisor while it is the caller's child.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    process::{Signal, WaitId, WaitIdOptions, WaitIdStatus},
};

use crate::signals::Forwarding;

/// The running supervisor. Dropping it kills and reaps it, and with it all of the sandbox.
pub(crate) struct Supervisor {
    pidfd: OwnedFd,
    reaped: bool,
}

impl Supervisor {
    /// Takes hold of a new supervisor.
    pub(crate) fn new(pidfd: OwnedFd) -> Self {
        Supervisor { pidfd, reaped: false }
    }

    /// Readable when it has ended.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Lets it live on without us.
    pub(crate) fn release(mut self) {
        self.reaped = true;
    }

    /// Waits for its end, forwarding signals meanwhile.
    pub(crate) fn wait(mut self, forwarding: &Forwarding) -> Result<WaitIdStatus, Errno> {
        loop {
            let mut ready = [
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::new(forwarding.descriptor(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let ended = ready.first().is_some_and(|fd| !fd.revents().is_empty());
            if ended {
                return self.reap();
            }
            while let Some(signal) = forwarding.next().and_then(Signal::from_named_raw) {
                // Fails only if it has ended meanwhile, which the next round sees.
                let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn reap(&mut self) -> Result<WaitIdStatus, Errno> {
        /// Children whose end raises no signal are waited for only with `__WALL` (wait(2)).
        const WALL: WaitIdOptions = WaitIdOptions::from_bits_retain(0x4000_0000);
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WALL) {
                Ok(Some(status)) => {
                    self.reaped = true;
                    return Ok(status);
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.reaped {
            // Nobody is left to tell; what can be done is done.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = self.reap();
        }
    }
}
