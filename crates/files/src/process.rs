//! The process that serves a guest's shared directories: started beside the guest's with an empty file system, it holds a
//! socket and a directory for each share, and ends when the guest has closed the last socket.
//!
//! It runs as the container's user, because whoever owns the files decides what may be done with them; what the guest can make
//! it do is what its system-call filter allows: files beneath the directories that it holds.

use std::{
    env,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use runu_sandbox::seccomp::{self, ArgCheck, Rule};
use rustix::{
    event::{PollFd, PollFlags},
    fs::Mode,
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit},
};

use crate::{Limits, Served, Server, Session};

/// How this process is told what to serve.
pub mod descriptor {
    /// The first share's socket; its directory has the next number, the next share's socket the one after that. For each
    /// share there is an argument, [`READ_WRITE`] or [`READ_ONLY`].
    pub const FIRST: i32 = 3;
    /// The guest may change what is there.
    pub const READ_WRITE: &std::ffi::CStr = c"rw";
    /// The guest may only look.
    pub const READ_ONLY: &std::ffi::CStr = c"ro";
}

/// Descriptors left to everything but files that clients know.
const DESCRIPTORS_ASIDE: u64 = 64;

/// Serves the shares that the open descriptors and the arguments describe, until the last client is gone; the status to exit
/// with.
#[must_use]
pub fn files_main() -> u8 {
    let shares: Vec<Share> =
        env::args_os().skip(1).zip((descriptor::FIRST..).step_by(2)).map(Share::take_over).collect();
    match confine(shares.len()) {
        Ok(limits) => {
            serve(shares.into_iter().map(|share| share.server(limits)).collect());
            0
        }
        Err(reason) => {
            complain(&reason);
            1
        }
    }
}

/// What this process is given for a share.
struct Share {
    socket: UnixStream,
    directory: OwnedFd,
    read_only: bool,
}

impl Share {
    /// Takes over the descriptors of a share from its socket's number on.
    fn take_over((how, number): (std::ffi::OsString, RawFd)) -> Self {
        // SAFETY: the parent opened these descriptors for us, and nothing else here uses them.
        let (socket, directory) = unsafe { (OwnedFd::from_raw_fd(number), OwnedFd::from_raw_fd(number + 1)) };
        // What is not said to be writable is not.
        let read_only = how.as_encoded_bytes() != descriptor::READ_WRITE.to_bytes();
        Share { socket: socket.into(), directory, read_only }
    }

    fn server(self, limits: Limits) -> Server<UnixStream> {
        Server::new(self.socket, Session::new(self.directory, self.read_only, limits))
    }
}

/// Makes this process one that can do nothing but serve; what each client may make it hold.
fn confine(shares: usize) -> Result<Limits, String> {
    let cannot = |what: &'static str| move |errno: Errno| format!("it cannot {what}: {errno}");
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(cannot("hide its memory"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(cannot("limit its resources"))?;
    // Clients say which permissions new files have.
    rustix::process::umask(Mode::empty());
    let limits = share_limits(shares);
    seccomp::install(&rules()).map_err(|error| error.to_string())?;
    Ok(limits)
}

/// As many descriptors as can be had, shared evenly.
fn share_limits(shares: usize) -> Limits {
    let found = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    let most = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => found.maximum,
        Err(_) => found.current,
    };
    let limits = Limits::default();
    // Two for each file, once for looking and once open.
    let each = most.map(|most| most.saturating_sub(DESCRIPTORS_ASIDE) / 2 / shares.max(1) as u64);
    let fids = each.and_then(|each| usize::try_from(each).ok()).unwrap_or(limits.fids);
    Limits { fids: limits.fids.min(fids), ..limits }
}

/// Answers whoever asks until nobody is left.
fn serve(mut servers: Vec<Server<UnixStream>>) {
    while !servers.is_empty() {
        let mut sockets: Vec<PollFd<'_>> = servers
            .iter()
            .map(|server| PollFd::from_borrowed_fd(server.stream().as_fd(), PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut sockets, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return complain(&format!("it cannot wait for requests: {errno}")),
        }
        let ready: Vec<bool> = sockets.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        servers.retain_mut(|server| {
            if ready.next() != Some(true) {
                return true;
            }
            match server.serve() {
                Ok(Served::Request) => true,
                Ok(Served::End) => false,
                Err(error) => {
                    complain(&error.to_string());
                    false
                }
            }
        });
    }
}

/// Tells whoever reads the container's log.
fn complain(reason: &str) {
    // There is nobody else to tell.
    let _ = rustix::io::write(
        rustix::stdio::stderr(),
        format!("runu: shared directories: {reason}\n").as_bytes(),
    );
}

/// What this process may call. No call takes a path that leads anywhere: the root is empty, and what is opened is opened
/// beneath a descriptor.
fn rules() -> Vec<Rule<'static>> {
    const NEVER_EXECUTABLE: [ArgCheck; 1] = [ArgCheck::masked32(2, libc::PROT_EXEC.cast_unsigned(), 0)];
    // What the standard library asks before it closes a descriptor, where debug assertions are on.
    const IS_OPEN: [ArgCheck; 1] = [ArgCheck::eq32(1, libc::F_GETFD.cast_unsigned())];
    const TALK: &str = "requests and answers";
    const MEMORY: &str = "the heap";
    const LOOK: &str = "look at files";
    const DATA: &str = "read and write files";
    const NAMES: &str = "make, move and remove files";
    const CHANGE: &str = "change attributes of files";
    let free = |call, reason| Rule { call, args: &[], reason };
    vec![
        free(libc::SYS_poll, TALK),
        free(libc::SYS_ppoll, TALK),
        free(libc::SYS_recvfrom, TALK),
        free(libc::SYS_sendto, TALK),
        free(libc::SYS_read, TALK),
        free(libc::SYS_write, TALK),
        free(libc::SYS_brk, MEMORY),
        Rule { call: libc::SYS_mmap, args: &NEVER_EXECUTABLE, reason: MEMORY },
        free(libc::SYS_mremap, MEMORY),
        free(libc::SYS_munmap, MEMORY),
        free(libc::SYS_madvise, MEMORY),
        free(libc::SYS_openat2, LOOK),
        free(libc::SYS_close, LOOK),
        Rule { call: libc::SYS_fcntl, args: &IS_OPEN, reason: LOOK },
        free(libc::SYS_fstat, LOOK),
        free(libc::SYS_newfstatat, LOOK),
        free(libc::SYS_fstatfs, LOOK),
        free(libc::SYS_statx, LOOK),
        free(libc::SYS_readlinkat, LOOK),
        free(libc::SYS_lseek, LOOK),
        free(libc::SYS_getdents64, LOOK),
        free(libc::SYS_pread64, DATA),
        free(libc::SYS_pwrite64, DATA),
        free(libc::SYS_ftruncate, DATA),
        free(libc::SYS_fsync, DATA),
        free(libc::SYS_mkdirat, NAMES),
        free(libc::SYS_symlinkat, NAMES),
        free(libc::SYS_linkat, NAMES),
        free(libc::SYS_renameat, NAMES),
        free(libc::SYS_unlinkat, NAMES),
        free(libc::SYS_fchmod, CHANGE),
        free(libc::SYS_fchownat, CHANGE),
        free(libc::SYS_utimensat, CHANGE),
        free(libc::SYS_exit_group, "the end"),
    ]
}
