//! The system calls that rustix does not wrap, each behind a safe function. All `unsafe` of this crate is here.
//!
//! Nothing here allocates or takes a lock: everything but [`signal_descriptor`] and [`is_ignored`] also runs in a
//! process that was cloned without exec, where the heap may have been left locked by a thread that does not exist.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::{self, MaybeUninit},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use rustix::{io::Errno, process::Pid};

/// Turns the C library's "-1 and errno" into a result.
fn check(result: i64) -> Result<i64, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: `__errno_location` has no preconditions and returns a valid pointer to this thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    Err(Errno::from_raw_os_error(errno))
}

/// Which side of a [`fork_into`] this is.
pub(crate) enum Side {
    /// The old process, with a process descriptor and the process id of the new one.
    Parent(OwnedFd, Pid),
    /// The new process.
    Child,
}

/// Clones this process, copying its memory, into new namespaces (`CLONE_NEW*` in `namespaces`) and, where given, into
/// the version-2 control group whose directory `cgroup` is open on.
///
/// The child's end raises no signal: a caller that ignores SIGCHLD would otherwise lose the status. Wait for it with
/// `__WALL` on the process descriptor.
pub(crate) fn fork_into(namespaces: c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    let mut pidfd: RawFd = -1;
    let pidfd_at = ptr::from_mut(&mut pidfd).expose_provenance() as u64;
    let Some(pid) = clone_process(namespaces | libc::CLONE_PIDFD, pidfd_at, cgroup)? else {
        return Ok(Side::Child);
    };
    // SAFETY: the call succeeded, so with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Side::Parent(pidfd, pid))
}

/// As [`fork_into`], but the new process is a child of our parent; its process id, or none in itself. Its end raises the
/// signal that ours does.
pub(crate) fn fork_sister(namespaces: c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Option<Pid>, Errno> {
    clone_process(namespaces | libc::CLONE_PARENT, 0, cgroup)
}

/// The call of both; the new process's id, or none in itself. With `CLONE_PIDFD`, `pidfd_at` is the address of an `RawFd`.
fn clone_process(flags: c_int, pidfd_at: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Option<Pid>, Errno> {
    // SAFETY: `clone_args` is plain integers, for which all-zero is a valid value that asks for nothing.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned());
    args.pidfd = pidfd_at;
    if let Some(directory) = cgroup {
        /// `CLONE_INTO_CGROUP` of linux/sched.h; the C library's binding is too narrow to hold it.
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(directory.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` is a live `clone_args` of the size given; without CLONE_VM and with no stack the child returns here
    // on its own copy of this stack, as after fork.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match check(result)? {
        0 => Ok(None),
        // A successful clone returns a process id: positive, and it fits.
        pid => i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL).map(Some),
    }
}

/// Runs `child` in a new process that shares this one's memory, and returns when that process has called exec or ended. It
/// differs from this one as `flags` say (`CLONE_NEW*`, and `CLONE_FILES` to share descriptors too).
///
/// Sharing the memory saves the copy of the page tables that an exec would throw away at once. `child` acts as this thread,
/// which stands still meanwhile, and must not unwind; it ends with exec or by returning its exit status. Its end raises
/// SIGCHLD.
pub(crate) fn spawn_shared<F: Fn() -> c_int>(flags: c_int, child: &F) -> Result<Pid, Errno> {
    /// Enough for a few frames of system-call wrappers, with a path in each.
    const STACK: usize = 64 << 10;

    #[repr(C, align(16))]
    struct Stack(MaybeUninit<[u8; STACK]>);

    extern "C" fn enter<F: Fn() -> c_int>(child: *mut c_void) -> c_int {
        // SAFETY: `spawn_shared` passes a pointer to an `F` that it borrows, and does not return before this process
        // stops using its memory (CLONE_VFORK).
        let child = unsafe { &*child.cast::<F>() };
        child()
    }

    let mut stack = Stack(MaybeUninit::uninit());
    // SAFETY: one past the end of the array is within the bounds that pointer arithmetic allows.
    let top = unsafe { stack.0.as_mut_ptr().cast::<u8>().add(STACK) };
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is aligned to 16 bytes and outlives the child's use of it, as does `child`, because CLONE_VFORK
    // suspends this thread until the child has its own memory or none.
    let pid = unsafe {
        libc::clone(enter::<F>, top.cast::<c_void>(), flags, ptr::from_ref(child).cast_mut().cast::<c_void>())
    };
    let pid = check(i64::from(pid))?;
    // A successful clone returns a process id in the parent: positive, and it came from a `c_int`.
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)
}

/// A null-terminated array of C strings, as exec wants it.
pub(crate) struct Arguments<'a> {
    pointers: Vec<*const c_char>,
    _strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Arguments<'a> {
    /// The strings, in order.
    pub(crate) fn new(strings: &[&'a CStr]) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Arguments { pointers, _strings: std::marker::PhantomData }
    }
}

/// Replaces this process by the program that `program` is open on, with an empty environment. Returns only on failure.
pub(crate) fn exec(program: BorrowedFd<'_>, argv: &Arguments<'_>) -> Errno {
    let environment = [ptr::null::<c_char>()];
    // SAFETY: path, argument and environment arrays are live, null-terminated arrays of live C strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check(result).err().unwrap_or(Errno::INVAL)
}

/// Ends this process without running destructors or exit handlers, which belong to the process it was cloned from.
pub(crate) fn exit_now(status: c_int) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(status) }
}

/// A set of signals.
#[derive(Clone, Copy)]
pub(crate) struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// The set of `signals`.
    pub(crate) fn of(signals: &[c_int]) -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises the set it is given.
        let mut set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        for signal in signals {
            // SAFETY: the set is initialised; a number that is no signal is refused without effect.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        SignalSet(set)
    }

    /// Every signal there is.
    pub(crate) fn all() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigfillset` initialises the set it is given.
        SignalSet(unsafe {
            libc::sigfillset(set.as_mut_ptr());
            set.assume_init()
        })
    }

    /// Adds these signals to the blocked ones and returns which were blocked before.
    pub(crate) fn block(&self) -> Result<SignalSet, Errno> {
        self.change_mask(libc::SIG_BLOCK)
    }

    /// Blocks exactly these signals.
    pub(crate) fn set_mask(&self) -> Result<(), Errno> {
        self.change_mask(libc::SIG_SETMASK).map(drop)
    }

    fn change_mask(&self, how: c_int) -> Result<SignalSet, Errno> {
        let mut old = SignalSet::of(&[]);
        // SAFETY: both sets are live and initialised.
        check(i64::from(unsafe { libc::sigprocmask(how, &raw const self.0, &raw mut old.0) }))?;
        Ok(old)
    }

    /// Waits for one of these signals, which must be blocked, and takes it.
    pub(crate) fn wait(&self) -> Result<c_int, Errno> {
        // SAFETY: the set is live and initialised; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const self.0, ptr::null_mut()) };
        check(i64::from(signal))?;
        Ok(signal)
    }
}

/// A descriptor from which `signals`, which must be blocked, can be read. Reads do not wait; closed on exec.
pub(crate) fn signal_descriptor(signals: &SignalSet) -> Result<OwnedFd, Errno> {
    // SAFETY: the set is live and initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const signals.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(i64::from(fd))?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether this process ignores `signal`.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given; the old one is written to live memory of its size.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so it stored the action.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// What a signal does where no handler takes it.
#[derive(Clone, Copy)]
pub(crate) enum Disposition {
    /// What the kernel does with it by default.
    Default,
    /// Nothing.
    Ignore,
}

/// Sets what `signal` does. Numbers that are no signal, and the two that cannot be changed, are left as they are.
pub(crate) fn set_disposition(signal: c_int, disposition: Disposition) {
    // SAFETY: `sigaction` is integers and an optional pointer, for which all-zero is valid: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = match disposition {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    // SAFETY: the action is live and names no handler, so no code of ours can be entered by it.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// Whether `number` is an open descriptor.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD on a number touches no memory and changes no descriptor.
    check(i64::from(unsafe { libc::fcntl(number, libc::F_GETFD) })).is_ok()
}

/// Makes `to` a copy of `from` that survives exec.
pub(crate) fn duplicate_onto(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: dup2 on numbers touches no memory. Replacing `to` is the purpose: this runs in a new process that owns its
    // whole descriptor table and holds no owner object of `to`.
    check(i64::from(unsafe { libc::dup2(from, to) })).map(drop)
}

/// What happens to a range of descriptors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// They are closed at once.
    Now,
    /// They are closed by exec.
    OnExec,
}

/// Closes all descriptors whose number is from `first` to `last`. An empty range is nothing to do.
///
/// The caller must own the whole table: objects that own a descriptor in the range must be forgotten, not dropped.
pub(crate) fn close_range(first: RawFd, last: RawFd, how: Close) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    let flags = match how {
        Close::Now => 0,
        Close::OnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: close_range on numbers touches no memory.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Closes all descriptors but those in `keep`, which this sorts. The caller must own the whole table, as for
/// [`close_range`].
pub(crate) fn close_all_but(keep: &mut [RawFd]) -> Result<RawFd, Errno> {
    keep.sort_unstable();
    let mut next = 0;
    for number in keep {
        close_range(next, *number - 1, Close::Now)?;
        next = number.checked_add(1).ok_or(Errno::BADF)?;
    }
    close_range(next, RawFd::MAX, Close::Now)?;
    Ok(next)
}

/// Enters the namespace that `descriptor` is open on, which must be of the kind `kind` (`CLONE_NEW*`).
pub(crate) fn join_namespace(descriptor: BorrowedFd<'_>, kind: c_int) -> Result<(), Errno> {
    // SAFETY: setns on numbers touches no memory.
    check(i64::from(unsafe { libc::setns(descriptor.as_raw_fd(), kind) })).map(drop)
}

/// Options of packet sockets that are switched on (packet(7), linux/if_packet.h).
#[derive(Clone, Copy, Debug)]
pub(crate) enum PacketOption {
    /// `PACKET_VNET_HDR`: a `struct virtio_net_hdr` is before each frame.
    Headers,
    /// `PACKET_IGNORE_OUTGOING`: frames that others send over the same interface are not heard.
    IgnoreOutgoing,
}

/// Switches an option of a packet socket on.
pub(crate) fn set_packet_option(socket: BorrowedFd<'_>, option: PacketOption) -> Result<(), Errno> {
    let name = match option {
        PacketOption::Headers => libc::PACKET_VNET_HDR,
        PacketOption::IgnoreOutgoing => PACKET_IGNORE_OUTGOING,
    };
    switch_on(socket, libc::SOL_PACKET, name)
}

/// linux/if_packet.h.
const PACKET_IGNORE_OUTGOING: c_int = 23;

/// Options of IPv4 sockets that are switched on (ip(7)).
#[derive(Clone, Copy, Debug)]
pub(crate) enum IpOption {
    /// `IP_PKTINFO`: beside each datagram is told to which address it was sent.
    PacketInfo,
    /// `IP_TRANSPARENT`: what is sent may come from any address.
    Transparent,
}

/// Switches an option of an IPv4 socket on.
pub(crate) fn set_ip_option(socket: BorrowedFd<'_>, option: IpOption) -> Result<(), Errno> {
    let name = match option {
        IpOption::PacketInfo => libc::IP_PKTINFO,
        IpOption::Transparent => libc::IP_TRANSPARENT,
    };
    switch_on(socket, libc::IPPROTO_IP, name)
}

/// Switches an option on whose value is an `int`.
fn switch_on(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> Result<(), Errno> {
    /// Bytes of an `int`.
    const LEN: libc::socklen_t = 4;
    let on: c_int = 1;
    // SAFETY: the value is as long as we say and outlives the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), LEN) };
    check(i64::from(set)).map(drop)
}

/// Frames of every protocol (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;

/// Binds a packet socket to the interface of that number, for frames of all protocols (packet(7)).
pub(crate) fn bind_packets(socket: BorrowedFd<'_>, index: u32) -> Result<(), Errno> {
    // SAFETY: all zeroes are a valid address of this kind.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = rustix::net::AddressFamily::PACKET.as_raw();
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = index.cast_signed();
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: the address is as long as we say and outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    check(i64::from(bound)).map(drop)
}

/// Makes new namespaces of these kinds (`CLONE_NEW*`) for this process, or for its children where the kind is so.
pub(crate) fn unshare(kinds: c_int) -> Result<(), Errno> {
    // SAFETY: with flags of namespaces alone, unshare touches no memory and no descriptor.
    check(i64::from(unsafe { libc::unshare(kinds) })).map(drop)
}

/// Sets attributes (`MOUNT_ATTR_*`) of the mount that `tree` is open on, or with `whole` of all below it too, and makes it
/// private.
pub(crate) fn set_mount_attributes(tree: BorrowedFd<'_>, attributes: u64, whole: bool) -> Result<(), Errno> {
    /// `struct mount_attr` (linux/mount.h).
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let below = if whole { libc::AT_RECURSIVE } else { 0 };
    let attr = MountAttr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: the path is a live string, the structure is live and of the size that is told.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | below,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(set).map(drop)
}

/// Makes standard input the controlling terminal of this session, which this process must lead.
pub(crate) fn take_terminal() -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number and touches no memory.
    check(i64::from(unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) })).map(drop)
}

/// Makes the child of `command` do something before its program runs; `prepare` must only make system calls.
pub(crate) fn prepare_before_exec(
    command: &mut std::process::Command,
    prepare: impl Fn() -> Result<(), Errno> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure only makes system calls, on what it owns.
    unsafe { command.pre_exec(move || Ok(prepare()?)) };
}

/// Goes on in a new child of this process, which has a single thread; this process waits for the child's end and ends as it
/// did. When this process is killed, so is the child.
pub(crate) fn continue_in_child() -> Result<(), Errno> {
    use rustix::process::{Signal, WaitOptions, waitpid};
    let child = match fork_into(0, None)? {
        Side::Child => return rustix::process::set_parent_process_death_signal(Some(Signal::KILL)),
        Side::Parent(_, child) => child,
    };
    // Whoever waits for the program to begin, or to have ended, waits for these to be closed.
    close_range(0, RawFd::MAX, Close::Now)?;
    loop {
        // `__WALL`: its end raises no signal, and only this finds it (wait(2)).
        match waitpid(Some(child), WaitOptions::from_bits_retain(0x4000_0000)) {
            Ok(Some((_, status))) => {
                let killed = status.terminating_signal().map(|signal| 128 + signal);
                exit_now(status.exit_status().or(killed).unwrap_or(255));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => exit_now(255),
        }
    }
}

/// Sends the signal of that number to a process.
pub(crate) fn send_signal(process: &OwnedFd, number: c_int) -> Result<(), Errno> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; without information the kernel reads no memory.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), number, info, 0_u32) };
    check(result).map(drop)
}

/// Replaces this process by the program at `path`, with our environment. Returns only on failure.
pub(crate) fn exec_path(path: &CStr, argv: &Arguments<'_>) -> Errno {
    // SAFETY: path and argument array are live, null-terminated; the array's strings are live.
    let result = unsafe { libc::execv(path.as_ptr(), argv.pointers.as_ptr()) };
    check(i64::from(result)).err().unwrap_or(Errno::INVAL)
}

/// Sets the host name of this UTS namespace.
pub(crate) fn set_host_name(name: &str) -> Result<(), Errno> {
    // SAFETY: the pointer and length are those of a live string.
    check(i64::from(unsafe { libc::sethostname(name.as_ptr().cast::<c_char>(), name.len()) })).map(drop)
}

/// Sets the domain name (NIS) of this UTS namespace.
pub(crate) fn set_domain_name(name: &str) -> Result<(), Errno> {
    // SAFETY: the pointer and length are those of a live string.
    check(i64::from(unsafe { libc::setdomainname(name.as_ptr().cast::<c_char>(), name.len()) })).map(drop)
}

/// Takes every capability out of the bounding set whose bit is not in `kept`, so that no exec can ever bring one back.
pub(crate) fn limit_bounding_set(kept: u64) -> Result<(), Errno> {
    /// Capability sets are 64 bits wide (capget(2), version 3).
    const CAPABILITIES: c_int = 64;
    for capability in (0..CAPABILITIES).filter(|capability| kept & 1 << capability == 0) {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        match check(i64::from(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })) {
            Ok(_) => {}
            // The first number that this kernel does not know as a capability.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
