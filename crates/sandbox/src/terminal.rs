//! A terminal for a container: our end goes to whoever shows it, the other end becomes the container's standard input,
//! output and error.

use std::{
    io::IoSlice,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
        SocketType,
    },
    pty::OpenptFlags,
    termios::Winsize,
};

/// A pair of ends.
#[derive(Debug)]
pub struct Terminal {
    /// The end of whoever shows it.
    pub master: OwnedFd,
    /// The container's end.
    pub slave: OwnedFd,
}

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// The kernel has none for us.
    #[error("cannot open a terminal")]
    Open(#[source] Errno),
    /// Nobody takes our end.
    #[error("cannot hand the terminal to the console socket `{}`", .path.display())]
    HandOver {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
}

impl Blamed for TerminalError {
    fn blame(&self) -> Blame {
        match self {
            TerminalError::Open(_) => Blame::Host,
            TerminalError::HandOver { .. } => Blame::User,
        }
    }
}

impl Terminal {
    /// Opens a new one, of `(columns, rows)` if its size is known.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn open(size: Option<(u16, u16)>) -> Result<Self, TerminalError> {
        let open = || {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let master = rustix::pty::openpt(flags)?;
            rustix::pty::unlockpt(&master)?;
            let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
            if let Some((columns, rows)) = size {
                let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
                rustix::termios::tcsetwinsize(&master, size)?;
            }
            Ok(Terminal { master, slave })
        };
        open().map_err(TerminalError::Open)
    }

    /// Hands our end to the socket at `path`: one message with one descriptor, as runc does (runc docs/terminals.md).
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn hand_over(self, path: &Path) -> Result<OwnedFd, TerminalError> {
        let hand_over = || {
            let kind = (AddressFamily::UNIX, SocketType::STREAM);
            let socket = rustix::net::socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            let descriptors = [self.master.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(Errno::NOBUFS);
            }
            let name = [IoSlice::new(b"/dev/ptmx")];
            rustix::net::sendmsg(&socket, &name, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
        };
        match hand_over() {
            Ok(()) => Ok(self.slave),
            Err(source) => Err(TerminalError::HandOver { path: path.to_path_buf(), source }),
        }
    }
}
