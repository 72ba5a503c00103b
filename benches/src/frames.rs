//! What frames can go through between an interface in a container's namespace and a guest: a packet socket on the interface,
//! or a tap device that is tied to it by redirection in both directions (tc-mirred(8)).
//!
//! The other end is a UDP socket behind a pair of veth. Each frame makes the same way there and back in this program; what
//! differs is only what the guest's process would hold. docs/design/network.md tells what came out.

mod tap;

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{RecvFlags, SendFlags},
    thread::CpuSet,
};

use crate::{
    arguments::Arguments,
    statistics::Spread,
    text::{self, Table},
    web::{
        again_in_a_namespace, missing,
        wires::{self, Namespace},
    },
};

/// Rounds, after one that is not counted, and frames in each.
const ROUNDS: usize = 20;
const QUICK_ROUNDS: usize = 3;
const FRAMES: u32 = 6400;
/// Frames that are under way at once at most: fewer than any queue here holds.
const BATCH: u32 = 64;

/// The other end's port, and what it sends.
const PORT: u16 = 9;
const PAYLOAD: usize = 1400;

/// Length of the header before each frame (linux/virtio_net.h).
const HEADER: usize = 10;
/// Where things are in a frame: Ethernet's addresses, IPv4's, UDP's ports and checksum.
const ETHERNET: usize = HEADER;
const IPV4: usize = HEADER + 14;
const UDP: usize = IPV4 + 20;

/// The hardware address there.
const MAC: &str = "02:00:00:00:00:09";

/// How long a frame may be under way.
const LIMIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What a guest's process would hold.
enum Wire {
    Packets(OwnedFd),
    Tap(File),
}

/// A wire, its other end, and the namespace in which it is.
struct Lane {
    name: &'static str,
    wire: Wire,
    outside: UdpSocket,
    inside: SocketAddr,
    _namespace: Namespace,
}

/// Nanoseconds by frame: of a call that takes one, of the whole way in, of a call that sends one, of the whole way out, and of
/// a way in and out with a thread on each processor.
type Costs = [f64; 5];

const HEADS: [&str; 5] =
    ["take ns", "whole way in ns", "send ns", "whole way out ns", "in and out, two threads ns"];

/// Measures and prints; nothing is promised.
pub(crate) fn compare(arguments: &Arguments) -> Result<bool, String> {
    if let Some(reason) = missing(&["ip", "tc", "unshare", "nsenter", "taskset"]) {
        return text::say(&format!("SKIP wires: {reason}\n")).map(|()| true);
    }
    if !wires::has_tap() {
        return text::say("SKIP wires: there is no /dev/net/tun\n").map(|()| true);
    }
    if !arguments.in_namespace {
        return again_in_a_namespace();
    }
    let mut lanes = [packets(1)?, tap(2)?];
    let rounds = arguments.rounds_or(if arguments.quick { QUICK_ROUNDS } else { ROUNDS });
    let mut costs: [Vec<Costs>; 2] = Default::default();
    for round in 0..=rounds {
        for (lane, costs) in lanes.iter_mut().zip(&mut costs) {
            let cost = lane.measure()?;
            costs.extend((round > 0).then_some(cost));
        }
    }
    let heads: Vec<&str> =
        ["wire"].into_iter().chain(HEADS.into_iter().flat_map(|head| [head, "range"])).collect();
    let mut table = Table::headed(&heads);
    for (lane, costs) in lanes.iter().zip(&costs) {
        let mut row = vec![lane.name.to_owned()];
        for column in 0..HEADS.len() {
            let spread = Spread::of(costs.iter().filter_map(|costs| costs.get(column).copied()));
            row.extend(
                spread
                    .map(|spread| [format!("{:.0}", spread.median), text::range(&spread)])
                    .unwrap_or_default(),
            );
        }
        table.rows.push(row);
    }
    let mut told = format!("{rounds} rounds of {FRAMES} frames of {PAYLOAD} bytes; medians\n\n");
    table.print(&mut told);
    text::say(&told).map(|()| true)
}

fn io(error: impl std::fmt::Display) -> String {
    format!("the wire does not work: {error}")
}

/// What runu uses: as it takes an interface over.
fn packets(number: u8) -> Result<Lane, String> {
    let namespace = namespace(number)?;
    let file = File::open(namespace.path()).map_err(io)?;
    let taken = runu_sandbox::take_over(file.as_fd(), None).map_err(io)?.ok_or("there is no interface")?;
    lane("packet socket", Wire::Packets(taken.frames), number, namespace)
}

fn tap(number: u8) -> Result<Lane, String> {
    let namespace = namespace(number)?;
    let name = format!("runubt{number}");
    let file = tap::open(&name).map_err(io)?;
    namespace.take(&name)?;
    namespace.shell(&format!(
        "set -e; ip addr flush dev eth0; ip link set {name} up
         for pair in 'eth0 {name}' '{name} eth0'; do set -- $pair
         tc qdisc add dev $1 ingress
         tc filter add dev $1 ingress protocol all u32 match u8 0 0 action mirred egress redirect dev $2; done"
    ))?;
    lane("tap, redirected", Wire::Tap(file), number, namespace)
}

/// A namespace with an interface of a known hardware address.
fn namespace(number: u8) -> Result<Namespace, String> {
    let namespace = Namespace::new()?;
    let name = format!("runubw{number}");
    namespace.wire(&name, number)?;
    namespace.shell(&format!("ip link set eth0 address {MAC}"))?;
    let address = wires::address(number);
    wires::shell(&format!("ip neigh replace {address} lladdr {MAC} dev {name}"))?;
    Ok(namespace)
}

fn lane(name: &'static str, wire: Wire, number: u8, namespace: Namespace) -> Result<Lane, String> {
    let outside = UdpSocket::bind((wires::here(number), PORT)).map_err(io)?;
    outside.set_read_timeout(Some(Duration::from_secs(5))).map_err(io)?;
    let address: Ipv4Addr = wires::address(number);
    Ok(Lane { name, wire, outside, inside: SocketAddr::from((address, PORT)), _namespace: namespace })
}

impl Wire {
    fn take(&mut self, into: &mut [u8]) -> Result<usize, String> {
        match self {
            Wire::Packets(socket) => {
                rustix::net::recv(socket, into, RecvFlags::empty()).map(|(len, _)| len).map_err(io)
            }
            Wire::Tap(file) => file.read(into).map_err(io),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        match self {
            Wire::Packets(socket) => {
                rustix::net::send(socket, frame, SendFlags::empty()).map(drop).map_err(io)
            }
            Wire::Tap(file) => file.write(frame).map(drop).map_err(io),
        }
    }

    fn wait(&self) -> Result<(), String> {
        let fd = match self {
            Wire::Packets(socket) => socket.as_fd(),
            Wire::Tap(file) => file.as_fd(),
        };
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&LIMIT)) {
            Ok(1) => Ok(()),
            _ => Err("a frame was lost".to_owned()),
        }
    }

    /// Takes the next of our frames: others may come, of the kernel's own.
    fn take_ours(&mut self, into: &mut [u8]) -> Result<usize, String> {
        loop {
            let len = self.take(into)?;
            if len == UDP + 8 + PAYLOAD {
                return Ok(len);
            }
        }
    }
}

impl Lane {
    fn measure(&mut self) -> Result<Costs, String> {
        let (mut frame, payload, mut back) = (vec![0; 70_000], [7; PAYLOAD], [0; PAYLOAD]);
        let (mut take, mut way_in, mut send, mut way_out) =
            (Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for _ in 0..FRAMES / BATCH {
            let began = Instant::now();
            for _ in 0..BATCH {
                self.outside.send_to(&payload, self.inside).map_err(io)?;
            }
            let sent = Instant::now();
            let mut len = 0;
            for _ in 0..BATCH {
                self.wire.wait_first(len == 0)?;
                len = self.wire.take_ours(&mut frame)?;
            }
            take += sent.elapsed();
            way_in += began.elapsed();

            turn(&mut frame);
            let frame = frame.get(..len).unwrap_or_default();
            let began = Instant::now();
            for _ in 0..BATCH {
                self.wire.send(frame)?;
            }
            send += began.elapsed();
            for _ in 0..BATCH {
                self.outside.recv(&mut back).map_err(io)?;
            }
            way_out += began.elapsed();
        }
        let both = self.ping_pong(&payload)?;
        Ok([take, way_in, send, way_out, both].map(|time| time.as_secs_f64() * 1e9 / f64::from(FRAMES)))
    }

    /// A frame in and out, one at a time, the guest's side on the second processor.
    fn ping_pong(&mut self, payload: &[u8]) -> Result<Duration, String> {
        let (wire, outside, inside) = (&mut self.wire, &self.outside, self.inside);
        thread::scope(|scope| {
            let guest = scope.spawn(move || {
                let mut set = CpuSet::new();
                set.set(1);
                // On one processor both share it.
                let _ = rustix::thread::sched_setaffinity(None, &set);
                let mut frame = vec![0; 70_000];
                for _ in 0..FRAMES {
                    wire.wait()?;
                    let len = wire.take_ours(&mut frame)?;
                    turn(&mut frame);
                    wire.send(frame.get(..len).unwrap_or_default())?;
                }
                Ok::<(), String>(())
            });
            let mut back = [0; PAYLOAD];
            let began = Instant::now();
            for _ in 0..FRAMES {
                outside.send_to(payload, inside).map_err(io)?;
                outside.recv(&mut back).map_err(io)?;
            }
            let took = began.elapsed();
            guest.join().map_err(|_| "a thread failed".to_owned())??;
            Ok(took)
        })
    }
}

impl Wire {
    /// Waits for the first frame of many: the others come with it.
    fn wait_first(&self, is_first: bool) -> Result<(), String> {
        if is_first { self.wait() } else { Ok(()) }
    }
}

/// Makes a frame go back to where it came from: addresses and ports change places, which no checksum notices; UDP's, which may
/// be unfinished, is left out.
fn turn(frame: &mut [u8]) {
    if let Some(header) = frame.get_mut(..HEADER) {
        header.fill(0);
    }
    for (at, len) in [(ETHERNET, 6), (IPV4 + 12, 4), (UDP, 2)] {
        if let Some((one, other)) =
            frame.get_mut(at..at + 2 * len).and_then(|both| both.split_at_mut_checked(len))
        {
            one.swap_with_slice(other);
        }
    }
    if let Some(checksum) = frame.get_mut(UDP + 6..UDP + 8) {
        checksum.fill(0);
    }
}
