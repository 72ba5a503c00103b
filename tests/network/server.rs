//! The guest under `runu run`, behind passt, or under QEMU without KVM, behind QEMU's own little network, which look alike.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::{Ended, GuestKind, Room, Running, skip};

const PROGRAM: &str = "qemu-system-x86_64";

/// A PC without what the guest does not use, and a card of the oldest kind of virtio.
const MACHINE: &str = "-accel tcg -M pc -cpu max -m 64 -nodefaults -no-user-config -display none -serial stdio \
     -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 -device virtio-net-pci,netdev=net,disable-modern=on";

/// Where QEMU's network (slirp) has a guest.
pub(crate) const ADDRESS: &str = "netdev.ip=10.0.2.15/24:10.0.2.2:::guest:";

/// Who runs the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Runu,
    Qemu,
}

/// A server that listens.
pub(crate) struct Server {
    running: Running,
    /// How much can be sent to the guest while it sends as much: passt as of 2023 may wait for ever where both sides have
    /// filled each other's windows, as it sends an acknowledgement before data that it follows.
    pub(crate) upload: usize,
    /// What the guest is called.
    pub(crate) name: &'static str,
    /// Where its web server is reached.
    pub(crate) web: SocketAddr,
    /// Where its echo of datagrams is reached.
    pub(crate) echo: SocketAddr,
}

impl Host {
    /// Whether what it needs is here. If not, that part of the test is skipped.
    pub(crate) fn is_here(self) -> bool {
        let program = match self {
            Host::Runu => "passt",
            Host::Qemu => PROGRAM,
        };
        let room = Room::new();
        let found = Command::new(program).arg("--version").output();
        drop(room);
        match found {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                skip(&format!("{program} does not work: {}", output.status));
                false
            }
            Err(error) => {
                skip(&format!("{program} is not installed: {error}"));
                false
            }
        }
    }
}

impl Server {
    /// Starts the guest and waits until it listens.
    #[track_caller]
    pub(crate) fn start(room: &Room, host: Host, kind: GuestKind) -> Self {
        let [web, echo] = [free(), free()];
        let (mut command, name, upload) = match host {
            Host::Qemu => {
                let forward = format!("user,id=net,hostfwd=tcp:{web}-:80,hostfwd=udp:{echo}-:7");
                let mut command = command(room, kind, &format!("{ADDRESS} --"));
                command.args(["-netdev", &forward]);
                (command, "guest", 3 << 20)
            }
            Host::Runu => {
                let [web, echo] = [format!("{web}:80"), format!("{echo}:7/udp")];
                let mut command = room.runu(&["run", "--publish", &web, "--publish", &echo]);
                command.arg(room.guest("http", kind));
                (command, "http", 16 << 10)
            }
        };
        let mut running = room.start(&mut command);
        running.wait_for("listening on 10.0.2.15:80\r\n");
        Server { running, upload, name, web, echo }
    }

    /// Waits for the guest's end.
    #[track_caller]
    pub(crate) fn wait(self) -> Ended {
        self.running.wait()
    }
}

/// QEMU with the guest, but without a network to plug its card into.
pub(crate) fn command(room: &Room, kind: GuestKind, parameters: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    room.settle(&mut command);
    command.args(MACHINE.split_whitespace());
    let kernel = room.guest("http", kind);
    match kind {
        GuestKind::Multiboot => command.arg("-kernel").arg(kernel),
        GuestKind::Linux64 => {
            // QEMU boots no such kernel; a multiboot kernel does it, with this one as its first module.
            let shim = room.file("shim", runu_guests::LXSHIM);
            command.arg("-kernel").arg(shim).arg("-initrd").arg(kernel)
        }
    };
    command.args(["-append", &format!("http {parameters}")]);
    command
}

/// An address of this host that nobody else uses: all of 127.0.0.0/8 is this host, so each process of tests has its own.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    // Process numbers have 22 bits (`PID_MAX_LIMIT`); the upper two keep away from 127.0.0.1.
    let address = Ipv4Addr::from_bits(0x7f80_0000 | std::process::id() & 0x3f_ffff);
    SocketAddr::from((address, NEXT.fetch_add(1, Ordering::Relaxed)))
}
