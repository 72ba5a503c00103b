//! The `process` monitor: an unmodified kernel in ring 3 of one sandboxed process, without a virtual machine.
//!
//! [`guest_main`] is the whole life of a guest's process: it reads a [`Plan`], loads the kernel, gives up all that the
//! guest must not have, and enters translated guest code ([`runu_deprivilege::translate`]), to which the `monitor` module
//! is the rest of the machine. docs/design/process.md tells the story.
//!
//! Architecture Invariant: nothing here knows containers, images or the process's parents; what it needs are the
//! descriptors in [`descriptor`].
//!
//! `unsafe` is confined to `entry.rs` (the doors in assembly), `host.rs` (raw system calls) and
//! `monitor/doors.rs` (their Rust side).

mod board;
mod cache;
mod disk;
mod entry;
mod filter;
mod host;
mod layout;
mod monitor;
mod names;
mod shadow;
mod signal;
mod tsc;
mod wire;

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, FromRawFd},
};

use runu_core::{End, Phases, Plan, Report};
use runu_deprivilege::{
    cpu::{Cpu, Registers, Table},
    cpuid::{Clocks, Host},
};
use runu_machine::{
    APIC_TIMER_KHZ, GuestMemory,
    boot::{self, Entry, Mode},
};
use runu_sandbox::{guest_lockdown, seccomp};

pub use tsc::Reading;

use board::Board;
use filter::Devices;
use host::Timer;
use layout::{CODE, DATA};
use monitor::Monitor;

/// Descriptors that a guest's process finds open besides standard input, output and error.
pub mod descriptor {
    /// The plan: JSON of [`runu_core::Plan`], to the end of the file.
    pub const PLAN: i32 = 3;
    /// The kernel file.
    pub const KERNEL: i32 = 4;
    /// The initrd, if the plan has one.
    pub const INITRD: i32 = 5;
    /// Where the report goes: JSON of [`runu_core::Report`], at most [`REPORT_MAX`] bytes.
    pub const REPORT: i32 = 6;
    /// The first disk's file, if the plan has disks; the others follow.
    pub const DISK: i32 = 7;
    /// The first shared directory's server, if the plan has shared directories; the others follow.
    pub const SHARE: i32 = 16;
    /// How many shared directories there are at most.
    pub const SHARES_MAX: u8 = 8;
    /// A socket through which the guest's frames go, if the plan has a network card. It is handed over at the start, so it
    /// and what belongs to it come last.
    pub const NETWORK: i32 = 24;
    /// A UDP socket that is connected to the name server for which the network card stands in, if the plan names one.
    pub const NAMES: i32 = 25;
    /// A UDP socket that takes what this server asks of others and tells whom (`IP_PKTINFO`), and may answer in their place
    /// (`IP_TRANSPARENT`, ip(7)).
    pub const INQUIRIES: i32 = 26;
    /// Length of a report at most, in bytes: less than a pipe holds (pipe(7)), so that writing it never blocks.
    pub const REPORT_MAX: usize = 32 << 10;

    /// The file of disk `index`, if a guest has so many.
    #[must_use]
    pub fn disk(index: usize) -> Option<i32> {
        let number = i32::try_from(index).ok()?;
        (index < runu_core::Disk::MOST).then_some(DISK + number)
    }
}

/// Length of a plan at most, in bytes: a command line of 64 KiB and a few hundred segments.
const PLAN_MAX: u64 = 1 << 20;

/// Numbers of the system calls that the process of a guest without devices may make, each with arguments pinned.
#[must_use]
pub fn allowed_calls() -> BTreeSet<i64> {
    // Which descriptor and which timer the arguments are pinned to makes no difference here.
    let memory = std::io::stdin();
    filter::with_rules(memory.as_fd(), descriptor::REPORT, Timer::none(), Devices::default(), |rules| {
        rules.iter().map(|rule| rule.call).collect()
    })
}

/// Runs the guest that the open descriptors describe. The first argument, if there is one, is a [`Reading`] of the
/// parent's. Ends the process with [`End::exit_status`] and, where it still can, a report.
pub fn guest_main() -> ! {
    let now = Reading::now();
    // Without one from the parent, the frequency takes a millisecond to measure.
    let argument = std::env::args_os().nth(1);
    let argument = argument.as_ref().and_then(|argument| argument.to_str());
    let reading = argument.and_then(Reading::from_argument).unwrap_or(now);
    let phases = Phases { process_start: host::now(), ..Phases::default() };
    match start(reading, phases) {
        Ok(never) => match never {},
        Err(reason) => fail(reason),
    }
}

/// Prepares everything and enters the guest.
fn start(reading: Reading, mut phases: Phases) -> Result<std::convert::Infallible, String> {
    if !host::has_fsgsbase() {
        return Err("the host lacks FSGSBASE: it takes Linux 5.9 and a processor of 2012 or later".into());
    }
    if !is_x86_feature_detected!("xsaveopt") {
        return Err("the host lacks XSAVEOPT: it takes a processor of 2012 or later".into());
    }
    let plan = read_plan()?;
    let memory = GuestMemory::new(plan.memory).map_err(|error| error.to_string())?;
    // SAFETY: the parent opened these descriptors for us, and nothing else here uses them.
    let kernel = unsafe { File::from_raw_fd(descriptor::KERNEL) };
    // SAFETY: as above; the plan says that there is one.
    let initrd = plan.initrd.map(|_| unsafe { File::from_raw_fd(descriptor::INITRD) });
    let shares = plan.shares.len();
    if shares > descriptor::SHARES_MAX.into() {
        return Err(format!("the plan has {shares} shared directories"));
    }
    let share_numbers = (descriptor::SHARE..).take(shares);
    let entry = boot::load(&plan, &kernel, initrd.as_ref(), &memory).map_err(|error| error.to_string())?;
    phases.loaded = host::now();

    let step = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    host::map_private(DATA, false).map_err(step("map the virtual CPU"))?;
    host::map_private(CODE, true).map_err(step("map memory for translated code"))?;
    let timer = Timer::new().map_err(step("create a timer"))?;
    host::handle_signals(entry::signal_handler()).map_err(step("handle signals"))?;
    let outside: Vec<i32> = network_numbers(&plan).chain(share_numbers).collect();
    for number in &outside {
        host::never_block(*number).map_err(step("listen to what comes from outside"))?;
    }
    if !outside.is_empty() {
        host::interrupt_when_busy(board::LOOK_PERIOD_NS).map_err(step("create a timer"))?;
    }
    host::load_data_segments();
    let memory_fd = memory.file().as_raw_fd();
    let devices = Devices { network: plan.network, disks: &plan.disks, shares };
    let filter =
        filter::with_rules(memory.file(), descriptor::REPORT, timer, devices, seccomp::Filter::compile)
            .map_err(|error| error.to_string())?;
    let context = host::new_context(cpu(&entry), registers(&entry));
    let clocks = Clocks { tsc_khz: tsc::frequency_khz(reading), apic_khz: APIC_TIMER_KHZ };
    let host = Host::detect(clocks, host::has_fsgsbase());
    let board = Board::new(memory, &plan)?;
    let mut monitor = Monitor::new(context, board, host, timer, plan.learned_memory);

    drop((kernel, initrd));
    let mut kept = vec![libc::STDIN_FILENO, libc::STDOUT_FILENO, descriptor::REPORT, memory_fd];
    kept.extend(outside);
    kept.extend((0..plan.disks.len()).filter_map(descriptor::disk));
    guest_lockdown(&kept).map_err(|error| error.to_string())?;
    host::confine_heap();
    filter.install().map_err(|error| error.to_string())?;
    phases.entered = host::now();
    monitor.phases = phases;
    monitor.enter()
}

/// What the network card of the plan uses, if there is one.
fn network_numbers(plan: &Plan) -> impl Iterator<Item = i32> {
    let names = plan.network.and_then(|card| card.name_server).map(|_| names::NUMBERS);
    plan.network.map(|_| descriptor::NETWORK).into_iter().chain(names.into_iter().flatten())
}

fn read_plan() -> Result<Plan, String> {
    // SAFETY: the parent opened this descriptor for us, and nothing else here uses it.
    let plan = unsafe { File::from_raw_fd(descriptor::PLAN) };
    let mut json = Vec::new();
    plan.take(PLAN_MAX).read_to_end(&mut json).map_err(|error| format!("cannot read the plan: {error}"))?;
    serde_json::from_slice(&json).map_err(|error| format!("the plan is malformed: {error}"))
}

/// The virtual CPU as the boot protocol hands it over.
fn cpu(entry: &Entry) -> Cpu {
    let gdt = Table { base: entry.gdt.0, limit: entry.gdt_limit };
    let mut cpu = match entry.mode {
        Mode::Protected32 => Cpu::new_protected32(gdt, entry.code_selector, entry.data_selector),
        Mode::Long64 => {
            Cpu::new_long64(runu_core::GuestAddr(entry.cr3), gdt, entry.code_selector, entry.data_selector)
        }
    };
    (cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer) = (entry.cr0, entry.cr3, entry.cr4, entry.efer);
    cpu
}

fn registers(entry: &Entry) -> Registers {
    let mut regs = Registers { rip: entry.rip, rflags: 2, ..Registers::default() };
    // Hardware order: rax rcx rdx rbx rsp rbp rsi rdi.
    (regs.gpr[0], regs.gpr[3], regs.gpr[4], regs.gpr[6]) = (entry.rax, entry.rbx, entry.rsp, entry.rsi);
    regs
}

/// Ends the process when the guest has ended.
fn finish(monitor: &mut Monitor, end: End) -> ! {
    monitor.board.pc.flush();
    monitor.phases.ended = host::now();
    monitor.phases.first_output = monitor.board.first_output.get();
    report(&Report { end, phases: monitor.phases, counters: monitor.counters })
}

/// Ends the process because of the monitor.
fn fail(reason: String) -> ! {
    report(&Report {
        end: End::MonitorFailed { reason },
        phases: Phases::default(),
        counters: Default::default(),
    })
}

fn report(report: &Report) -> ! {
    let status = report.end.exit_status();
    if let Ok(json) = serde_json::to_vec(report) {
        let json = json.get(..descriptor::REPORT_MAX).unwrap_or(&json);
        // Whoever reads it has gone if this fails; the status still tells.
        let _ = host::write(descriptor::REPORT, json);
    }
    host::exit(status)
}
