//! The three standard descriptors: whether the caller left them open, and how to write to them without surprise.
//!
//! `std` opens `/dev/null` in place of a closed descriptor before `main` runs. That keeps our own descriptors from
//! landing on 0, 1 or 2, but it also makes a closed stdout look like one that takes everything. So a probe runs before
//! `std` does, and a command whose output has nowhere to go says so instead of losing it.

use std::{
    ffi::c_int,
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use runu_core::{Blame, Blamed, Printable};

/// Whether descriptor 1 was closed when the process began.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether SIGPIPE had its default disposition when the process began; `std` ignores it before `main`.
static BROKEN_PIPE_WAS_DEFAULT: AtomicBool = AtomicBool::new(false);

/// Called by the C library before `main`, in the order of the ELF section `.init_array` (System V ABI, "Initialization
/// and Termination Functions").
// SAFETY: the section holds pointers to functions that the C library calls once, with arguments that `probe` ignores;
// `probe` needs nothing that is set up later: it makes two system calls and stores to atomics.
#[used]
#[unsafe(link_section = ".init_array")]
static PROBE: extern "C" fn() = probe;

extern "C" fn probe() {
    const STDOUT: c_int = 1;
    // SAFETY: F_GETFD takes no argument, reads no memory, and is defined for any number, open or not.
    let closed = unsafe { libc::fcntl(STDOUT, libc::F_GETFD) } == -1;
    STDOUT_WAS_CLOSED.store(closed, Ordering::Relaxed);
    // SAFETY: all-zero is a valid `sigaction`; the kernel stores the present one in it and is given no new one.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action);
        action
    };
    BROKEN_PIPE_WAS_DEFAULT.store(action.sa_sigaction == libc::SIG_DFL, Ordering::Relaxed);
}

/// Whether SIGPIPE had its default disposition when the process began.
pub(crate) fn broken_pipe_was_default() -> bool {
    BROKEN_PIPE_WAS_DEFAULT.load(Ordering::Relaxed)
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
