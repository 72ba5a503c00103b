//! What system calls do.

use core::slice;
use rt::cpu::{rdmsr, wrmsr};
use rt::{console, power};

use crate::entry::Call;
use crate::space;

/// Numbers of Linux (arch/x86/entry/syscalls/syscall_64.tbl).
mod number {
    pub(super) const WRITE: u64 = 1;
    pub(super) const POLL: u64 = 7;
    pub(super) const MMAP: u64 = 9;
    pub(super) const MPROTECT: u64 = 10;
    pub(super) const MUNMAP: u64 = 11;
    pub(super) const BRK: u64 = 12;
    pub(super) const RT_SIGACTION: u64 = 13;
    pub(super) const RT_SIGPROCMASK: u64 = 14;
    pub(super) const WRITEV: u64 = 20;
    pub(super) const GETPID: u64 = 39;
    pub(super) const EXIT: u64 = 60;
    pub(super) const SIGALTSTACK: u64 = 131;
    pub(super) const ARCH_PRCTL: u64 = 158;
    pub(super) const GETTID: u64 = 186;
    pub(super) const SET_TID_ADDRESS: u64 = 218;
    pub(super) const EXIT_GROUP: u64 = 231;
    pub(super) const GETRANDOM: u64 = 318;
}

/// Errors of Linux (include/uapi/asm-generic/errno-base.h, errno.h), as system calls return them.
const EBADF: u64 = (-9_i64).cast_unsigned();
const EINVAL: u64 = (-22_i64).cast_unsigned();
const ENOSYS: u64 = (-38_i64).cast_unsigned();

/// The only process and thread.
const OURSELVES: u64 = 1;

/// Serves a system call.
pub(crate) extern "C" fn serve(call: &mut Call) {
    let [first, second, third, fourth, ..] = call.arguments;
    call.rax = match call.rax {
        number::WRITE => write(first, second, third),
        number::WRITEV => write_all(first, second, third),
        number::BRK => space::set_heap_end(first),
        number::MMAP => map(second, fourth),
        number::GETRANDOM => fill(first, second),
        number::ARCH_PRCTL => set_thread(first, second),
        number::EXIT | number::EXIT_GROUP => power::exit(first as u8),
        number::GETPID | number::GETTID | number::SET_TID_ADDRESS => OURSELVES,
        // Nothing is ready, no signal comes, and memory is there for everything.
        number::POLL
        | number::MPROTECT
        | number::MUNMAP
        | number::RT_SIGACTION
        | number::RT_SIGPROCMASK
        | number::SIGALTSTACK => 0,
        _ => ENOSYS,
    };
}

/// Standard output and error are the console.
fn write(file: u64, start: u64, len: u64) -> u64 {
    if !matches!(file, 1 | 2) {
        return EBADF;
    }
    // SAFETY: the program's memory, which appears when it is touched.
    console::write(unsafe { slice::from_raw_parts(start as *const u8, len as usize) });
    len
}

fn write_all(file: u64, parts: u64, count: u64) -> u64 {
    // SAFETY: as above; an iovec is an address and a length.
    let parts = unsafe { slice::from_raw_parts(parts as *const [u64; 2], count as usize) };
    parts.iter().map(|[start, len]| write(file, *start, *len)).sum()
}

/// Memory without a file, anywhere.
fn map(len: u64, flags: u64) -> u64 {
    const FIXED: u64 = 0x10;
    const ANONYMOUS: u64 = 0x20;
    if flags & ANONYMOUS != 0 && flags & FIXED == 0 { space::map(len) } else { ENOSYS }
}

/// The same bytes every time: what is printed is compared.
fn fill(start: u64, len: u64) -> u64 {
    // SAFETY: the program's memory.
    unsafe { (start as *mut u8).write_bytes(0x5a, len as usize) };
    len
}

/// Sets the base of FS, which is where a thread's own data are.
fn set_thread(code: u64, address: u64) -> u64 {
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const FS_BASE: u32 = 0xc000_0100;
    // SAFETY: this kernel does not use FS; the address to write to is the program's.
    unsafe {
        match code {
            SET_FS => wrmsr(FS_BASE, address),
            GET_FS => (address as *mut u64).write(rdmsr(FS_BASE)),
            _ => return EINVAL,
        }
    }
    0
}
