//! Names that the guest asks for at its start: where each is, is told when the answer comes.

use crate::address::Address;
use rt::boot::Boot;
use rt::println;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::dns::{DnsQuery, GetQueryResultError, QueryHandle, Socket};
use smoltcp::wire::{DnsQueryType, IpAddress};

/// Names at most.
pub(crate) const NAMES: usize = 4;

/// Names that have been asked for.
pub(crate) struct Names {
    socket: SocketHandle,
    questions: [Option<(&'static str, QueryHandle)>; NAMES],
}

impl Names {
    /// Asks for the names of the arguments `ask=NAME`; `None` if there are none, or nobody to ask.
    pub(crate) fn ask<'a>(
        boot: &'static Boot,
        address: &Address,
        room: &'a mut [Option<DnsQuery>],
        interface: &mut Interface,
        sockets: &mut SocketSet<'a>,
    ) -> Option<Self> {
        let mut words = boot.cmdline.argv().iter().filter_map(|word| word.strip_prefix(b"ask=")).peekable();
        words.peek()?;
        let Some(server) = address.name_server else {
            println!("no name server");
            return None;
        };
        let mut socket = Socket::new(&[IpAddress::Ipv4(server)], room);
        let questions = core::array::from_fn(|_| {
            let name = str::from_utf8(words.next()?).ok()?;
            Some((name, socket.start_query(interface.context(), name, DnsQueryType::A).ok()?))
        });
        Some(Self { socket: sockets.add(socket), questions })
    }

    /// Tells what is known now.
    pub(crate) fn tell(&mut self, sockets: &mut SocketSet<'_>) {
        let socket = sockets.get_mut::<Socket>(self.socket);
        for question in &mut self.questions {
            let Some((name, handle)) = *question else { continue };
            match socket.get_query_result(handle) {
                Err(GetQueryResultError::Pending) => continue,
                Ok(addresses) if !addresses.is_empty() => println!("{name} is at {}", addresses[0]),
                _ => println!("{name} is nowhere"),
            }
            *question = None;
        }
    }
}
