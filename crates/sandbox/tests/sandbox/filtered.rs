//! A guest program that confines itself and then does one thing, allowed or not.

use std::{arch::asm, fs::File, io::Write};

use runu_sandbox::{
    guest_lockdown,
    seccomp::{self, ArgCheck, Rule},
};

use crate::caller::TOLD;

/// Status that says that the thing was done.
const DONE: i32 = 55;

/// Confines this process and does `what`; the exit status is [`DONE`] if that did not kill it.
pub(crate) fn main(told: &mut File, what: &str) -> i32 {
    let channel = TOLD.cast_unsigned();
    let rules = [
        Rule { call: libc::SYS_write, args: &[ArgCheck::eq32(0, channel)], reason: "to tell" },
        Rule {
            call: libc::SYS_mmap,
            args: &[
                ArgCheck::masked32(2, libc::PROT_EXEC.cast_unsigned(), 0),
                ArgCheck::eq32(3, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned()),
            ],
            reason: "for memory that is never code",
        },
        Rule { call: libc::SYS_exit_group, args: &[], reason: "to end" },
    ];
    let confined = guest_lockdown(&[TOLD])
        .map_err(|error| format!("{error:?}"))
        .and_then(|()| seccomp::install(&rules).map_err(|error| format!("{error:?}")));
    if let Err(error) = confined {
        // A test that hears nothing fails.
        let _ = writeln!(told, "{error}");
        return 1;
    }
    act(what);
    // SAFETY: _exit has no preconditions. Nothing else at the end of a Rust program is on the list.
    unsafe { libc::_exit(DONE) }
}

fn act(what: &str) {
    let data = libc::PROT_READ;
    let code = libc::PROT_READ | libc::PROT_EXEC;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let text = c"x".as_ptr();
    // SAFETY: each call is refused by the filter, fails, maps memory that nobody uses, or writes a live string.
    unsafe {
        match what {
            "write-channel" => libc::syscall(libc::SYS_write, TOLD, text, 1),
            // The kernel looks at 32 bits of a descriptor, and so does the filter.
            "write-channel-high-bits" => {
                libc::syscall(libc::SYS_write, 0x7_0000_0000 | i64::from(TOLD), text, 1)
            }
            "write-other" => libc::syscall(libc::SYS_write, 1, text, 1),
            "map-data" => libc::syscall(libc::SYS_mmap, 0, 4096, data, private, -1, 0),
            "map-code" => libc::syscall(libc::SYS_mmap, 0, 4096, code, private, -1, 0),
            "map-shared" => libc::syscall(libc::SYS_mmap, 0, 4096, data, shared, -1, 0),
            "protect" => libc::syscall(libc::SYS_mprotect, 0, 0, code),
            "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, text, 0),
            "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0),
            "kill" => libc::syscall(libc::SYS_kill, 1, libc::SIGKILL),
            "trace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, 0, 0),
            "exec" => libc::syscall(libc::SYS_execve, text, 0, 0),
            "fork" => libc::syscall(libc::SYS_fork),
            // x32: bit 30 of the number (asm/unistd.h, __X32_SYSCALL_BIT).
            "x32" => libc::syscall(0x4000_0000 | libc::SYS_write, TOLD, text, 1),
            // exit_group in the 32-bit table, with a status that no survivor has.
            "int80" => {
                asm!("int 0x80", in("eax") 252, in("edi") 0);
                0
            }
            other => panic!("unknown act {other}"),
        }
    };
}
