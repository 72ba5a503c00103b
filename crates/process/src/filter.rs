//! The system calls that the guest's process may make, each with the reason.
//!
//! This list is the boundary. A guest that breaks out of translation (it shares its address space with the monitor) can
//! make these calls and no others: nothing here opens, starts, signals or reaches anything outside the process, and
//! nothing makes memory executable. What is not listed, `int 0x80` and x32 numbers among them, kills the process.

use std::os::fd::{AsRawFd, BorrowedFd};

use runu_core::{Disk, NetworkCard, WireKind};
use runu_sandbox::seccomp::{ArgCheck, Rule};

use crate::{
    descriptor,
    host::{POLLED, RECEIVED_MAX, Timer},
    names,
};

const READ_WRITE: u32 = (libc::PROT_READ | libc::PROT_WRITE) as u32;
/// A power of two, and so is what the number of the first is a multiple of: one mask covers them all.
const SHARES_MAX: u32 = descriptor::SHARES_MAX as u32;
const SHARED_FIXED: u32 = (libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE) as u32;

/// What the guest has besides what every guest has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Devices<'a> {
    /// Its network card, if it has one.
    pub(crate) network: Option<NetworkCard>,
    /// Its disks.
    pub(crate) disks: &'a [Disk],
    /// How many directories it shares.
    pub(crate) shares: usize,
}

/// Gives the list to `use_rules`: guest memory is `memory`, reports go to `report`.
pub(crate) fn with_rules<R>(
    memory: BorrowedFd<'_>,
    report: i32,
    timer: Timer,
    devices: Devices<'_>,
    use_rules: impl FnOnce(&[Rule<'_>]) -> R,
) -> R {
    let never_executable = ArgCheck::masked32(2, !READ_WRITE, 0);
    let map = [
        never_executable,
        ArgCheck::eq32(3, SHARED_FIXED),
        ArgCheck::eq32(4, memory.as_raw_fd().cast_unsigned()),
    ];
    let console = [ArgCheck::eq32(0, libc::STDOUT_FILENO.cast_unsigned())];
    let reports = [ArgCheck::eq32(0, report.cast_unsigned())];
    let timers = [ArgCheck::eq64(0, timer.id())];
    let monotonic = [ArgCheck::eq32(0, libc::CLOCK_MONOTONIC.cast_unsigned())];
    let input = [ArgCheck::eq32(0, libc::STDIN_FILENO.cast_unsigned())];
    // Two descriptors: console input and network to listen to, or console output to wait for.
    let two = [ArgCheck::eq64(1, POLLED)];
    let network = descriptor::NETWORK.cast_unsigned();
    let frames = [ArgCheck::eq32(0, network)];
    let frames_at_once = [
        ArgCheck::eq32(0, network),
        ArgCheck::eq64(2, RECEIVED_MAX as u64),
        ArgCheck::eq32(3, libc::MSG_DONTWAIT.cast_unsigned()),
        ArgCheck::eq64(4, 0),
    ];
    let no_addresses = [
        ArgCheck::eq32(0, network),
        ArgCheck::eq32(3, libc::MSG_DONTWAIT.cast_unsigned()),
        ArgCheck::eq64(4, 0),
        ArgCheck::eq64(5, 0),
    ];
    let (taking, sending) = ("frames for the guest", "frames of the guest");
    let receive = Rule { call: libc::SYS_recvfrom, args: &no_addresses, reason: taking };
    let receive_many = Rule { call: libc::SYS_recvmmsg, args: &frames_at_once, reason: taking };
    let send = Rule { call: libc::SYS_sendto, args: &no_addresses, reason: sending };
    let read = Rule { call: libc::SYS_read, args: &frames, reason: taking };
    let write = Rule { call: libc::SYS_write, args: &frames, reason: sending };
    let of_wire = match devices.network.map(|card| card.wire) {
        None => Vec::new(),
        Some(WireKind::Packets) => vec![receive_many, send],
        Some(WireKind::Tap) => vec![read, write],
        Some(WireKind::Stream) => vec![receive, send],
    };
    let [_, at_once, nobody, nowhere] = no_addresses;
    let has_names = devices.network.is_some_and(|card| card.name_server.is_some());
    let questions = [ArgCheck::eq32(0, descriptor::NAMES.cast_unsigned()), at_once, nobody, nowhere];
    // Whom these are from and go to stands in memory; from where the socket is nobody is reached but that name server.
    let inquiries = [
        ArgCheck::eq32(0, descriptor::INQUIRIES.cast_unsigned()),
        ArgCheck::eq32(2, libc::MSG_DONTWAIT.cast_unsigned()),
    ];
    let of_names = match has_names {
        false => Vec::new(),
        true => vec![
            Rule { call: libc::SYS_recvfrom, args: &questions, reason: "answers of the name server" },
            Rule { call: libc::SYS_sendto, args: &questions, reason: "questions to the name server" },
            Rule { call: libc::SYS_recvmsg, args: &inquiries, reason: "what it asks of others" },
            Rule { call: libc::SYS_sendmsg, args: &inquiries, reason: "what others answer it" },
        ],
    };
    // Those that there are not are closed.
    let share = ArgCheck::masked32(0, !(SHARES_MAX - 1), descriptor::SHARE.cast_unsigned());
    let shared = [share, at_once, nobody, nowhere];
    // Those two, those of a name server, and a socket for each shared directory.
    let others = devices.shares + if has_names { names::NUMBERS.len() } else { 0 };
    let all = [ArgCheck::eq64(1, POLLED + others as u64)];
    let of_shares = match devices.shares {
        0 => Vec::new(),
        _ => vec![
            Rule { call: libc::SYS_recvfrom, args: &shared, reason: "answers of shared directories" },
            Rule { call: libc::SYS_sendto, args: &shared, reason: "requests to shared directories" },
        ],
    };
    let protect = [never_executable];
    let mut rules = vec![
        Rule { call: libc::SYS_read, args: &input, reason: "console input" },
        Rule { call: libc::SYS_write, args: &console, reason: "console output" },
        Rule { call: libc::SYS_write, args: &reports, reason: "the report at the end" },
        Rule {
            call: libc::SYS_mmap,
            args: &map,
            reason: "map guest memory where the guest's page tables say",
        },
        Rule { call: libc::SYS_mprotect, args: &protect, reason: "notice writes to translated code" },
        Rule { call: libc::SYS_munmap, args: &[], reason: "follow changes of the guest's page tables" },
        Rule { call: libc::SYS_rt_sigreturn, args: &[], reason: "return from faults of guest code" },
        Rule { call: libc::SYS_timer_settime, args: &timers, reason: "the guest's timer while it runs" },
        Rule { call: libc::SYS_ppoll, args: &two, reason: "wait for the console" },
        Rule { call: libc::SYS_ppoll, args: &all, reason: "sleep while the guest is idle" },
        Rule {
            call: libc::SYS_clock_gettime,
            args: &monotonic,
            reason: "time where the vDSO cannot tell it",
        },
        Rule { call: libc::SYS_brk, args: &[], reason: "the monitor's heap: translations and books" },
        Rule { call: libc::SYS_exit_group, args: &[], reason: "the end" },
    ];
    rules.extend(of_wire);
    rules.extend(of_names);
    rules.extend(of_shares);
    let numbers = (0..).map_while(descriptor::disk).map(|number| [ArgCheck::eq32(0, number.cast_unsigned())]);
    let files: Vec<_> = devices.disks.iter().zip(numbers).collect();
    for (disk, file) in &files {
        rules.push(Rule { call: libc::SYS_pread64, args: file, reason: "sectors of a disk" });
        if !disk.read_only {
            rules.extend([
                Rule { call: libc::SYS_pwrite64, args: file, reason: "sectors of a disk" },
                Rule { call: libc::SYS_fdatasync, args: file, reason: "the guest's wish that they last" },
            ]);
        }
    }
    use_rules(&rules)
}
