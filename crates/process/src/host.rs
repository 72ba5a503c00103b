//! The host's side: memory at fixed addresses, signals, timers. All raw system calls of the monitor are here.

#![expect(clippy::cast_possible_truncation, reason = "addresses and lengths of a 64-bit process")]

use std::{
    arch::asm,
    io::{self, Error},
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, SocketAddrV4},
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    sync::atomic::AtomicU32,
};

use runu_deprivilege::{
    cpu::{Cpu, Registers},
    lent::AREA_LEN,
    translate::{PORT_WRITES, PortRead, PortWrite, folds},
};

#[cfg(test)]
use crate::layout::LOW;
use crate::{
    entry,
    layout::{self, CODE, CONTEXT, Context, FPU_LEN},
};

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// Stack of the signal handler, in bytes. Translation runs on it.
const SIGNAL_STACK_LEN: usize = 256 << 10;
/// Stack of the monitor between guest code, in bytes.
const MONITOR_STACK_LEN: usize = 256 << 10;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn now() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since 1970.
pub(crate) fn wall_clock() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` is writable; both clocks always exist.
    let time = unsafe {
        libc::clock_gettime(id, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Maps zeroed private memory at `range`, which must be free.
pub(crate) fn map_private(range: Range<u64>, executable: bool) -> io::Result<()> {
    let exec = if executable { libc::PROT_EXEC } else { 0 };
    // SAFETY: without MAP_FIXED's replacing nothing that is mapped can change.
    let at = unsafe {
        libc::mmap(
            range.start as *mut libc::c_void,
            (range.end - range.start) as usize,
            libc::PROT_READ | libc::PROT_WRITE | exec,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    if at as u64 == range.start { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Maps `len` bytes of guest memory at host address `at`, in place of what was there.
///
/// `at` must be in the guest's part of the address space ([`crate::layout::reach`]): the monitor has nothing there.
pub(crate) fn map_guest(
    at: u64,
    len: u64,
    file: BorrowedFd<'_>,
    offset: u64,
    writable: bool,
) -> io::Result<()> {
    let write = if writable { libc::PROT_WRITE } else { 0 };
    // SAFETY: the guest's part of the address space holds no Rust object; see above.
    let mapped = unsafe {
        libc::mmap(
            at as *mut libc::c_void,
            len as usize,
            libc::PROT_READ | write,
            libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            offset.cast_signed(),
        )
    };
    if mapped == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Unmaps a part of the guest's address space.
pub(crate) fn unmap_guest(at: u64, len: u64) -> io::Result<()> {
    // SAFETY: as in `map_guest`.
    check(unsafe { libc::munmap(at as *mut libc::c_void, len as usize) })
}

/// Makes a part of the guest's address space writable or read-only.
pub(crate) fn protect_guest(at: u64, len: u64, writable: bool) -> io::Result<()> {
    let write = if writable { libc::PROT_WRITE } else { 0 };
    // SAFETY: as in `map_guest`.
    check(unsafe { libc::mprotect(at as *mut libc::c_void, len as usize, libc::PROT_READ | write) })
}

/// The context at its fixed address, which [`map_private`] must have mapped.
pub(crate) fn context() -> *mut Context {
    CONTEXT as *mut Context
}

/// Makes the context in its place: the guest's first state. The place must be mapped and is never given up.
pub(crate) fn new_context(cpu: Cpu, regs: Registers) -> &'static mut Context {
    /// MXCSR after reset, also the C ABI's (Intel SDM vol. 1 §11.6.4): all exceptions masked.
    const MXCSR: u32 = 0x1f80;
    let mut fpu = [0; FPU_LEN];
    // XSTATE_BV is 0: every component starts in its initial state; MXCSR is taken from offset 24 all the same
    // (Intel SDM vol. 1 §13.8.1).
    fpu[24..28].copy_from_slice(&MXCSR.to_le_bytes());
    let context = Context {
        fpu,
        area: [0; AREA_LEN],
        cpu,
        regs,
        spills: [0; 16],
        target: 0,
        landing: 0,
        gate: entry::gate(),
        stack_pointer: 0,
        scratch: [0; 8],
        resume: 0,
        far_resume: [0; 2],
        lent: 0,
        host_stack: monitor_stack(),
        host_fs: fs_base(),
        exit: 0,
        signalled: AtomicU32::new(0),
        host_mxcsr: MXCSR,
        next_write: 0,
        wrote: 0,
        writes: [PortWrite::default(); PORT_WRITES],
        folds: folds(),
    };
    // SAFETY: the place is mapped, large enough and aligned; it is written once, before anything refers to it.
    unsafe {
        self::context().write(context);
        &mut *self::context()
    }
}

/// Copies translated code to its place.
pub(crate) fn place_code(at: u64, code: &[u8]) {
    assert!(CODE.contains(&at) && code.len() as u64 <= CODE.end - at, "translated code fits its area");
    // SAFETY: the range lies in the code area, which is mapped writable for the life of the process; translated code
    // runs on this thread only, so nothing executes it now.
    unsafe { ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) }
}

/// Reads a byte of translated code.
pub(crate) fn code_byte(at: u64) -> u8 {
    assert!(CODE.contains(&at), "an address of translated code");
    // SAFETY: the code area is mapped readable for the life of the process.
    unsafe { (at as *const u8).read_volatile() }
}

/// Says how translated code may use a port.
pub(crate) fn place_port(port: u16, may_wait: bool, read: PortRead) {
    // SAFETY: both tables have an entry for each port and are mapped writable for the life of the process; translated code,
    // which alone reads them, runs on this thread.
    unsafe {
        ptr::write_volatile(layout::may_wait(port) as *mut u8, may_wait.into());
        ptr::write_volatile(layout::port_read(port) as *mut u16, read.entry());
    }
}

/// Writes one entry of the branch table.
pub(crate) fn place_entry(tag_at: u64, tag: u64, code_at: u64, code: u32) {
    // SAFETY: callers compute both addresses from an index below the table's length; the table is mapped writable.
    unsafe {
        ptr::write_volatile(tag_at as *mut u64, tag);
        ptr::write_volatile(code_at as *mut u32, code);
    }
}

/// Reads what the monitor has placed in its part of low memory.
#[cfg(test)]
pub(crate) fn peek<const N: usize>(at: u64) -> [u8; N] {
    assert!(LOW.contains(&at));
    // SAFETY: tests read what they have mapped and placed.
    unsafe { (at as *const [u8; N]).read_unaligned() }
}

/// Base of GS, which belongs to the guest.
pub(crate) fn gs_base() -> u64 {
    // SAFETY: the monitor starts only where the kernel enabled FSGSBASE.
    unsafe {
        let base;
        asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags));
        base
    }
}

/// Sets the base of GS, which nothing of the monitor uses.
pub(crate) fn set_gs_base(base: u64) {
    // SAFETY: as in `gs_base`.
    unsafe { asm!("wrgsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) }
}

/// Base of FS: the monitor's own thread-local storage.
pub(crate) fn fs_base() -> u64 {
    // SAFETY: as in `gs_base`.
    unsafe {
        let base;
        asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags));
        base
    }
}

/// Whether the kernel lets programs use the FSGSBASE instructions (Linux arch/x86/include/uapi/asm/hwcap2.h,
/// HWCAP2_FSGSBASE).
pub(crate) fn has_fsgsbase() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & 2 != 0 }
}

/// Allocates the monitor's stack for good and returns its top.
pub(crate) fn monitor_stack() -> u64 {
    let stack: &'static mut [u8] = Box::leak(vec![0; MONITOR_STACK_LEN].into_boxed_slice());
    (stack.as_ptr_range().end as u64) & !0x3f
}

/// Loads DS and ES with the host's flat data segment (Linux arch/x86/include/asm/segment.h, `__USER_DS`): 32-bit guest
/// code uses them, 64-bit code does not care.
pub(crate) fn load_data_segments() {
    // SAFETY: the selector is valid in every Linux process; Rust code is 64-bit and ignores both.
    unsafe {
        asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) 0x2b_u32, options(nomem, nostack, preserves_flags));
    }
}

/// Sends the signals that guest code causes, and the timer's, to `handler` on a stack of its own.
pub(crate) fn handle_signals(handler: usize) -> io::Result<()> {
    let stack: &'static mut [u8] = Box::leak(vec![0; SIGNAL_STACK_LEN].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: SIGNAL_STACK_LEN };
    // SAFETY: the stack lives for ever.
    check(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) })?;
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGTRAP, libc::SIGILL, libc::SIGFPE, libc::SIGALRM] {
        // SAFETY: `action` is a plain structure, valid when zeroed; the handler has the three-argument form and keeps
        // to what a handler may do: it runs Rust code only when it interrupted translated code, never Rust code.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigfillset(&raw mut action.sa_mask);
            check(libc::sigaction(signal, &raw const action, ptr::null_mut()))?;
        }
    }
    // SAFETY: ignoring SIGPIPE lets a write to a closed console fail as an error.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    Ok(())
}

/// Sends SIGALRM whenever this thread has run for another `period` nanoseconds, more or less: the kernel counts in ticks. A
/// thread that sleeps is left alone.
pub(crate) fn interrupt_when_busy(period: u64) -> io::Result<()> {
    let mut timer: libc::timer_t = ptr::null_mut();
    // SAFETY: a null event means SIGALRM (timer_create(2)).
    check(unsafe { libc::timer_create(libc::CLOCK_THREAD_CPUTIME_ID, ptr::null_mut(), &raw mut timer) })?;
    let spec = libc::itimerspec { it_interval: timespec(period), it_value: timespec(period) };
    // SAFETY: the timer has just been made, and lives as long as the process.
    check(unsafe { libc::timer_settime(timer, 0, &raw const spec, ptr::null_mut()) })
}

/// A one-shot timer that sends SIGALRM.
#[derive(Clone, Copy)]
pub(crate) struct Timer(libc::timer_t);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: a null event means SIGALRM (timer_create(2)).
        check(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, ptr::null_mut(), &raw mut timer) })?;
        Ok(Timer(timer))
    }

    /// A stand-in where no timer is needed.
    pub(crate) fn none() -> Self {
        Timer(ptr::null_mut())
    }

    /// The kernel's number of the timer: glibc hands it out as the handle.
    pub(crate) fn id(self) -> u64 {
        self.0 as u64
    }

    /// Arms the timer for a point of `CLOCK_MONOTONIC` in nanoseconds.
    pub(crate) fn set(self, deadline: u64) {
        // Zero would disarm it.
        let value = timespec(deadline.max(1));
        let spec = libc::itimerspec { it_interval: timespec(0), it_value: value };
        // SAFETY: the timer exists for the life of the process. It cannot fail with a valid time.
        unsafe { libc::timer_settime(self.0, libc::TIMER_ABSTIME, &raw const spec, ptr::null_mut()) };
    }
}

fn timespec(nanos: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    }
}

/// A descriptor to wait for.
#[repr(transparent)]
pub(crate) struct Watch(libc::pollfd);

impl Watch {
    /// Until there is something to read from it, or, if `sends`, until it takes something; `None` is passed over.
    pub(crate) fn new(fd: Option<i32>, sends: bool) -> Self {
        let events = if sends { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        // A negative descriptor is passed over (poll(2)).
        Watch(libc::pollfd { fd: fd.unwrap_or(-1), events, revents: 0 })
    }

    /// Whether it was what was waited for.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Sleeps until `deadline` (nanoseconds of `CLOCK_MONOTONIC`; for ever if there is none), until a signal, or until one
/// of `watches` is ready. Only two numbers of them are allowed ([`crate::filter`]).
pub(crate) fn sleep_until(deadline: Option<u64>, watches: &mut [Watch]) {
    let timeout = deadline.map(|d| timespec(d.saturating_sub(now())));
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (first, count) = (watches.as_mut_ptr().cast(), watches.len() as u64);
    // SAFETY: a `Watch` is one descriptor to poll: as many as are told, in a writable array, a valid or null timeout, no mask.
    let ready = unsafe { libc::ppoll(first, count, timeout, ptr::null()) };
    if ready <= 0 {
        watches.iter_mut().for_each(|watch| watch.0.revents = 0);
    }
}

/// How many descriptors are polled at once, besides those of a name server and of shared directories.
pub(crate) const POLLED: u64 = 2;

/// Whether reading from a descriptor would not block.
pub(crate) fn is_readable(fd: i32) -> bool {
    let mut watches = [Watch::new(Some(fd), false), Watch::new(None, false)];
    sleep_until(Some(0), &mut watches);
    watches.iter().any(Watch::is_ready)
}

/// Reads from a descriptor once.
pub(crate) fn read(fd: i32, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the slice is writable.
    let len = unsafe { libc::read(fd, into.as_mut_ptr().cast(), into.len()) };
    usize::try_from(len).map_err(|_| Error::last_os_error())
}

/// Waits until a descriptor can be written to.
pub(crate) fn wait_writable(fd: i32) {
    let mut polls = [fd, -1].map(|fd| libc::pollfd { fd, events: libc::POLLOUT, revents: 0 });
    // SAFETY: as many descriptors as are told, in a writable array, no timeout, no mask.
    unsafe { libc::ppoll(polls.as_mut_ptr(), POLLED, ptr::null(), ptr::null()) };
}

/// Writes to a descriptor once.
pub(crate) fn write(fd: i32, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is readable.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).map_err(|_| Error::last_os_error())
}

/// Makes reading and writing never block.
pub(crate) fn never_block(fd: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) })
}

/// How many datagrams are received at once, at most, and always asked for.
pub(crate) const RECEIVED_MAX: usize = 8;

/// Takes datagrams that have arrived from a socket, each to the start of a slot of `slot` bytes, and their lengths; how many.
/// What is longer than a slot is cut off.
pub(crate) fn receive_many(
    fd: i32,
    slots: &mut [u8],
    slot: usize,
    lens: &mut [usize; RECEIVED_MAX],
) -> io::Result<usize> {
    // SAFETY: plain structures, valid when zeroed.
    let (mut parts, mut messages): ([libc::iovec; RECEIVED_MAX], [libc::mmsghdr; RECEIVED_MAX]) =
        unsafe { MaybeUninit::zeroed().assume_init() };
    // Without room a message takes nothing.
    for (part, room) in parts.iter_mut().zip(slots.chunks_exact_mut(slot)) {
        *part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    }
    for (message, part) in messages.iter_mut().zip(&mut parts) {
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
    }
    let (start, count) = (messages.as_mut_ptr(), RECEIVED_MAX as libc::c_uint);
    // SAFETY: as many messages as are told; each has one part, which is writable; nobody asks for the senders.
    let got = unsafe { libc::recvmmsg(fd, start, count, libc::MSG_DONTWAIT, ptr::null_mut()) };
    let got = usize::try_from(got).map_err(|_| Error::last_os_error())?;
    lens.iter_mut().zip(&messages).for_each(|(len, message)| *len = message.msg_len as usize);
    Ok(got)
}

/// Takes what has arrived from a socket: a datagram, of which the rest is lost if it is longer than `into`, or some of a
/// stream.
pub(crate) fn receive(fd: i32, into: &mut [u8]) -> io::Result<usize> {
    let (start, len) = (into.as_mut_ptr().cast(), into.len());
    // SAFETY: the slice is writable; nobody asks for the sender.
    let len = unsafe { libc::recvfrom(fd, start, len, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut()) };
    usize::try_from(len).map_err(|_| Error::last_os_error())
}

/// Sends a datagram, or as much as there is room for in a stream, over a socket that knows where to; how much.
pub(crate) fn send(fd: i32, bytes: &[u8]) -> io::Result<usize> {
    let (start, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the slice is readable, and no address is given.
    let sent = unsafe { libc::sendto(fd, start, len, libc::MSG_DONTWAIT, ptr::null(), 0) };
    usize::try_from(sent).map_err(|_| Error::last_os_error())
}

/// Takes a datagram that has arrived at a UDP socket that tells to whom (`IP_PKTINFO`, ip(7)); its length, as far as there is
/// room for it, where it is from, and to which address it was sent.
pub(crate) fn receive_from(fd: i32, into: &mut [u8]) -> io::Result<(usize, SocketAddrV4, Ipv4Addr)> {
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: plain structures, valid when zeroed.
    let (mut from, mut told): (libc::sockaddr_in, PacketInfo) = unsafe { mem::zeroed() };
    let mut message = datagram(&mut part, &mut from, &mut told);
    // SAFETY: all that the message refers to lives here, is writable and as long as it says.
    let len = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(len).map_err(|_| Error::last_os_error())?;
    let address = |address: libc::in_addr| Ipv4Addr::from(address.s_addr.to_ne_bytes());
    let from = SocketAddrV4::new(address(from.sin_addr), u16::from_be(from.sin_port));
    Ok((len, from, address(told.info.ipi_addr)))
}

/// Sends a datagram over a UDP socket as if it came from `sender`, which the socket must be allowed to (`IP_TRANSPARENT`,
/// ip(7)).
pub(crate) fn send_as(fd: i32, bytes: &[u8], to: SocketAddrV4, sender: Ipv4Addr) -> io::Result<()> {
    let address = |address: Ipv4Addr| libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
    // The kernel does not write to it (sendmsg(2)).
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut to = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: address(*to.ip()),
        sin_zero: [0; 8],
    };
    // SAFETY: a plain structure, valid when zeroed.
    let mut told: PacketInfo = unsafe { mem::zeroed() };
    told.header.cmsg_len = PACKET_INFO_LEN;
    told.header.cmsg_level = libc::IPPROTO_IP;
    told.header.cmsg_type = libc::IP_PKTINFO;
    told.info.ipi_spec_dst = address(sender);
    let message = datagram(&mut part, &mut to, &mut told);
    // SAFETY: all that the message refers to lives here and is as long as it says.
    let sent = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map(drop).map_err(|_| Error::last_os_error())
}

/// What is told of a datagram beside it: one control message (cmsg(3)).
#[repr(C)]
struct PacketInfo {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
}

/// Its length without what may follow to align the next.
const PACKET_INFO_LEN: usize = mem::offset_of!(PacketInfo, info) + size_of::<libc::in_pktinfo>();

/// A message of one part, with the address of its other end and what is told of it.
fn datagram(part: &mut libc::iovec, address: &mut libc::sockaddr_in, told: &mut PacketInfo) -> libc::msghdr {
    // SAFETY: a plain structure, valid when zeroed.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (part, 1);
    message.msg_name = ptr::from_mut(address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_control = ptr::from_mut(told).cast();
    message.msg_controllen = size_of::<PacketInfo>();
    message
}

/// Reads from a file once, at an offset.
pub(crate) fn read_at(fd: i32, into: &mut [u8], offset: u64) -> io::Result<usize> {
    // SAFETY: the slice is writable.
    let len = unsafe { libc::pread64(fd, into.as_mut_ptr().cast(), into.len(), offset.cast_signed()) };
    usize::try_from(len).map_err(|_| Error::last_os_error())
}

/// Writes to a file once, at an offset.
pub(crate) fn write_at(fd: i32, bytes: &[u8], offset: u64) -> io::Result<usize> {
    // SAFETY: the slice is readable.
    let written = unsafe { libc::pwrite64(fd, bytes.as_ptr().cast(), bytes.len(), offset.cast_signed()) };
    usize::try_from(written).map_err(|_| Error::last_os_error())
}

/// Returns when what was written to a file will survive a power failure.
pub(crate) fn synchronise(fd: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fdatasync(fd) })
}

/// Keeps all later allocations on the heap proper, so that the filter need not allow anonymous mappings.
pub(crate) fn confine_heap() {
    // SAFETY: documented options of mallopt(3).
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}

/// Ends the process.
pub(crate) fn exit(status: u8) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(i32::from(status)) }
}
