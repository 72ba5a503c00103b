//! The three standard descriptors: whether the caller left them open, and how to write to them without surprise.
//!
//! A closed descriptor's number goes to the next file that is opened, and then a kernel would be standard input, or be
//! written to as standard output. So [`prepare`] comes first and puts /dev/null there, as `std`'s own start-up does; but
//! it remembers a closed stdout, so that a command whose output has nowhere to go can say so instead of losing it.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use runu_core::{Blame, Blamed, Printable};
use rustix::fs::{Mode, OFlags};

/// Whether standard output was closed when the process began.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Occupies closed standard descriptors, and makes writing to a pipe without reader an error instead of the end.
pub(crate) fn prepare() {
    for number in 0..=libc::STDERR_FILENO {
        // SAFETY: F_GETFD takes no argument, reads no memory, and is defined for any number, open or not.
        let closed = unsafe { libc::fcntl(number, libc::F_GETFD) } == -1;
        if closed {
            // The lowest free number is this one: all below are open. It stays open for the life of the process. Without
            // a /dev there is nothing to put there, and the sandbox will refuse for the same reason.
            // Exec keeps it, or the number would be free again in the guest's process.
            let _ = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()).map(std::mem::forget);
        }
        if number == libc::STDOUT_FILENO {
            STDOUT_WAS_CLOSED.store(closed, Ordering::Relaxed);
        }
    }
    // SAFETY: ignoring a signal installs no handler; no thread exists that could install one at the same time.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Why output did not reach its reader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Descriptor 1 was closed from the start.
    #[error("standard output is closed")]
    Closed,
    /// The write failed: a full disk, a device error.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}

impl Blamed for OutputError {
    fn blame(&self) -> Blame {
        match self {
            OutputError::Closed => Blame::User,
            OutputError::Write(_) => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            OutputError::Closed => Some("send it somewhere, to /dev/null if it does not matter".to_owned()),
            OutputError::Write(_) => None,
        }
    }
}

/// Fails if stdout was closed when the process began.
pub(crate) fn require_stdout() -> Result<(), OutputError> {
    if STDOUT_WAS_CLOSED.load(Ordering::Relaxed) { Err(OutputError::Closed) } else { Ok(()) }
}

/// Writes data to stdout. A reader that has gone away (`runu inspect … | head`) has seen enough: that is success.
pub(crate) fn data(text: &str) -> Result<(), OutputError> {
    require_stdout()?;
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(OutputError::Write(source)),
        _ => Ok(()),
    }
}

/// Writes words to stderr, a line each, made safe to print. Where stderr is gone there is nobody left to tell.
pub(crate) fn words(lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{}\n", Printable(line.as_bytes()))).collect();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
