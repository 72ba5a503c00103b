//! A guest's life under QEMU without KVM.

use std::fs;
use std::process::Command;

use crate::end::{End, Life};
use crate::guest::{Guest, KERNEL};
use crate::support::{GuestKind, Room};

const PROGRAM: &str = "qemu-system-x86_64";

/// A PC without what we don't emulate, with the two ways to end that our guests and Unikraft's use. `max` has every
/// feature that QEMU can emulate.
const MACHINE: &str = "-accel tcg -M pc -cpu max -m 64 -nodefaults -no-user-config -display none -serial stdio \
     -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 -device isa-debug-exit,iobase=0x501,iosize=2 \
     -device pvpanic -d cpu_reset -D qemu.log";

/// What isa-debug-exit makes of what Unikraft writes to it at its end and at its crash: 2 × 41 + 1, 2 × 42 + 1.
const UNIKRAFT_ENDED: i32 = 83;
const UNIKRAFT_CRASHED: i32 = 85;

/// Whether QEMU is here, or why not.
pub(crate) fn check() -> Result<(), String> {
    let room = Room::new();
    let mut command = Command::new(PROGRAM);
    room.settle(command.arg("--version"));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{PROGRAM} does not work: {status}")),
        Err(error) => Err(format!("{PROGRAM} is not installed: {error}")),
    }
}

/// Runs the guest.
pub(crate) fn life(guest: &Guest) -> Life {
    let room = Room::new();
    let (_, initrd) = guest.files(&room);
    let mut modules: Vec<&str> = initrd.iter().map(|_| "initrd").collect();
    let mut command = Command::new(PROGRAM);
    // In the room, names have no folder: QEMU makes argv[0] of the kernel's.
    room.settle(&mut command);
    command.args(MACHINE.split_whitespace());
    match guest.kind {
        GuestKind::Multiboot => command.args(["-kernel", KERNEL]),
        GuestKind::Linux64 => {
            // QEMU boots no such kernel; a multiboot kernel does it, with this one as its first module.
            room.file("shim", runu_guests::LXSHIM);
            modules.insert(0, KERNEL);
            command.args(["-kernel", "shim"])
        }
    };
    if !modules.is_empty() {
        command.arg("-initrd").arg(modules.join(","));
    }
    let disks = guest.disks(&room);
    for (index, (_, read_only)) in guest.disks.iter().enumerate() {
        let access = if *read_only { "on" } else { "off" };
        command
            .arg("-drive")
            .arg(format!("if=none,id=d{index},file=disk{index},format=raw,readonly={access}"));
        // Of the oldest kind of virtio, as ours over PCI are.
        command.arg("-device").arg(format!("virtio-blk-pci,drive=d{index},disable-modern=on"));
    }
    command.arg("-append").arg(guest.command_line());
    let (ended, endless) = guest.follow(room.start(&mut command));
    let log = fs::read_to_string(room.path("qemu.log")).unwrap_or_default();
    let end = match ended.status() {
        _ if endless => End::None,
        0 if log.contains("Triple fault") => End::TripleFault,
        0 | UNIKRAFT_ENDED => End::PowerOff,
        UNIKRAFT_CRASHED => End::Crash,
        status if status % 2 == 1 => End::Exit(u8::try_from(status / 2).expect("a status has eight bits")),
        _ => panic!("QEMU failed: {ended:?}"),
    };
    Life::new(ended.stdout, end, &disks)
}
