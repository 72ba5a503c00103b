//! A web server: `/` tells the guest's name and how many requests there were, `/big` is 256 KiB of known bytes, `/echo`
//! gives back what is posted to it, `/quit` ends. On UDP port 7 it gives every packet back. Names that arguments `ask=NAME` give
//! it asks the name server for.
//!
//! Its address comes from the kernel parameter `netdev.ip`, its port from the argument `port=N` (80). It keeps connections
//! open, serves many at once, and sleeps in `hlt` between what the card and the clock have for it.

#![no_std]
#![no_main]

mod address;
mod card;
mod clock;
mod connection;
mod frames;
mod names;
mod request;
mod text;

use address::Address;
use card::Card;
use clock::Clock;
use names::{NAMES, Names};
use connection::{BIG_LEN, Connection, HEAD_MAX, Site, big};
use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::{cpu, power, println};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};

rt::guest!("http", main, uses "network");

/// Connections at once; who comes when there are so many is refused.
const CONNECTIONS: usize = 32;
/// Buffers of each.
const RECEIVE_LEN: usize = 32 << 10;
const SEND_LEN: usize = 64 << 10;
/// When a client that says nothing is asked whether it is still there, and when it no longer is.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last answer may take to arrive.
const FAREWELL: Duration = Duration::from_secs(1);

/// Echo Protocol (RFC 862), and the buffers for it.
const ECHO_PORT: u16 = 7;
const ECHO_PACKETS: usize = 16;
const ECHO_LEN: usize = 16 << 10;

/// Exit codes.
const NO_CARD: u8 = 1;
const NO_ADDRESS: u8 = 2;

static BIG: OneCpu<[u8; BIG_LEN]> = OneCpu::new([0; BIG_LEN]);
static RECEIVED: OneCpu<[[u8; RECEIVE_LEN]; CONNECTIONS]> = OneCpu::new([[0; RECEIVE_LEN]; CONNECTIONS]);
static TO_SEND: OneCpu<[[u8; SEND_LEN]; CONNECTIONS]> = OneCpu::new([[0; SEND_LEN]; CONNECTIONS]);
static HEADS: OneCpu<[[u8; HEAD_MAX]; CONNECTIONS]> = OneCpu::new([[0; HEAD_MAX]; CONNECTIONS]);
static ECHOES: OneCpu<[[u8; ECHO_LEN]; 2]> = OneCpu::new([[0; ECHO_LEN]; 2]);
static ECHO_ENDS: OneCpu<[[udp::PacketMetadata; ECHO_PACKETS]; 2]> =
    OneCpu::new([[udp::PacketMetadata::EMPTY; ECHO_PACKETS]; 2]);

fn main(boot: &'static Boot) -> ! {
    let mut clock = Clock::start();
    let mut card = match Card::find(boot) {
        Ok(card) => card,
        Err(reason) => {
            println!("no network card: {reason:?}");
            power::exit(NO_CARD)
        }
    };
    let Some(address) = boot.cmdline.parameters(b"netdev.ip").next().and_then(Address::read) else {
        println!("no address: say netdev.ip=ADDRESS/PREFIX[:GATEWAY] before --");
        power::exit(NO_ADDRESS)
    };
    let mut interface = interface(&mut card, &address, clock.now());
    let mut questions = [const { None }; NAMES];
    // Connections, echoes, names.
    let mut storage = [SocketStorage::EMPTY; CONNECTIONS + 2];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let mut server = Server::new(boot, &address, &mut sockets);
    println!("listening on {}:{}", address.cidr.address(), server.site.port);
    let mut names = Names::ask(boot, &address, &mut questions, &mut interface, &mut sockets);
    loop {
        let now = clock.now();
        interface.poll(now, &mut card, &mut sockets);
        server.serve(&mut sockets, now);
        if let Some(names) = &mut names {
            names.tell(&mut sockets);
        }
        interface.poll_egress(now, &mut card, &mut sockets);
        card.flush();
        let delay = match interface.poll_delay(clock.now(), &sockets) {
            // Whatever is to be sent has to wait.
            _ if card.is_full() => None,
            Some(Duration::ZERO) => continue,
            delay => delay,
        };
        if !card.want_interrupt() {
            clock.sleep(delay);
        }
    }
}

/// The interface that has the address.
fn interface(card: &mut Card, address: &Address, now: Instant) -> Interface {
    let mut config = Config::new(EthernetAddress(card.mac()).into());
    config.random_seed = cpu::rdtsc();
    let mut interface = Interface::new(config, card, now);
    interface.update_ip_addrs(|addresses| {
        // There is room for one.
        let _ = addresses.push(IpCidr::Ipv4(address.cidr));
    });
    if let Some(gateway) = address.gateway {
        let _ = interface.routes_mut().add_default_ipv4_route(gateway);
    }
    interface
}

/// What listens.
struct Server {
    site: Site,
    handles: [SocketHandle; CONNECTIONS],
    clients: [Connection; CONNECTIONS],
    echo: SocketHandle,
    /// When to end at the latest, if that was asked for.
    end: Option<Instant>,
}

impl Server {
    /// Listens. To be called once.
    fn new(boot: &Boot, address: &Address, sockets: &mut SocketSet<'_>) -> Self {
        let port = boot.cmdline.number(b"port").and_then(|port| u16::try_from(port).ok());
        // SAFETY: these are the only uses, and this is called once.
        let (big_bytes, received, to_send, heads) =
            unsafe { (BIG.get(), RECEIVED.get(), TO_SEND.get(), HEADS.get()) };
        for (index, byte) in big_bytes.iter_mut().enumerate() {
            *byte = big(index);
        }
        let mut buffers = received.iter_mut().zip(to_send);
        let handles = core::array::from_fn(|_| {
            let (receive, send) = buffers.next().expect("there are as many as connections");
            let mut socket = tcp::Socket::new(
                tcp::SocketBuffer::new(&mut receive[..]),
                tcp::SocketBuffer::new(&mut send[..]),
            );
            socket.set_nagle_enabled(false);
            socket.set_keep_alive(Some(KEEP_ALIVE));
            socket.set_timeout(Some(TIMEOUT));
            sockets.add(socket)
        });
        let site = Site {
            name: address.hostname.unwrap_or("http"),
            port: port.filter(|port| *port != 0).unwrap_or(80),
            big: big_bytes,
            requests: 0,
            quitting: false,
        };
        let mut heads = heads.iter_mut();
        let clients = core::array::from_fn(|_| {
            Connection::new(heads.next().expect("there are as many as connections"))
        });
        let mut server = Self { site, handles, clients, echo: sockets.add(echo_socket()), end: None };
        server.serve(sockets, Instant::ZERO);
        server
    }

    /// Does what can be done now.
    fn serve(&mut self, sockets: &mut SocketSet<'_>, now: Instant) {
        for (handle, client) in self.handles.iter().zip(&mut self.clients) {
            client.serve(sockets.get_mut(*handle), &mut self.site, now);
        }
        answer_echoes(sockets.get_mut(self.echo));
        if self.site.quitting {
            self.quit(sockets, now);
        }
    }

    /// Ends when every answer has arrived, or it is time.
    fn quit(&mut self, sockets: &mut SocketSet<'_>, now: Instant) {
        let end = *self.end.get_or_insert(now + FAREWELL);
        let unanswered = |handle: &SocketHandle| sockets.get::<tcp::Socket>(*handle).send_queue() > 0;
        if now >= end || !self.handles.iter().any(unanswered) {
            println!("{} requests", self.site.requests);
            power::off()
        }
    }
}

/// To be called once.
fn echo_socket() -> udp::Socket<'static> {
    // SAFETY: the only uses.
    let ([received, to_send], [froms, tos]) = unsafe { (ECHOES.get(), ECHO_ENDS.get()) };
    let mut socket = udp::Socket::new(
        udp::PacketBuffer::new(&mut froms[..], &mut received[..]),
        udp::PacketBuffer::new(&mut tos[..], &mut to_send[..]),
    );
    socket.bind(ECHO_PORT).expect("it is not bound, and the port is not zero");
    socket
}

fn answer_echoes(socket: &mut udp::Socket) {
    let mut bytes = [0; 2048];
    while socket.can_send() {
        let Ok((len, from)) = socket.recv_slice(&mut bytes) else { return };
        // Without room it is lost, as packets are.
        let _ = socket.send_slice(&bytes[..len], from.endpoint);
    }
}
