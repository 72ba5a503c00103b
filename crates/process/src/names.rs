//! The sockets of the name server for which the network card stands in ([`runu_machine::Relay`]).

use std::{cell::Cell, rc::Rc};

use runu_machine::{Inquiry, NameServer};

use crate::{descriptor, host};

/// Their numbers.
pub(crate) const NUMBERS: [i32; 2] = [descriptor::NAMES, descriptor::INQUIRIES];

/// What is to be known of a [`Sockets`] that has been given away.
#[derive(Clone, Debug, Default)]
pub(crate) struct Awaited {
    /// Something may come from the server.
    pub(crate) answers: Rc<Cell<bool>>,
    /// There is a frame for the guest already, of which no descriptor tells.
    pub(crate) ready: Rc<Cell<bool>>,
}

/// Both sockets.
#[derive(Debug)]
pub(crate) struct Sockets(pub(crate) Awaited);

impl NameServer for Sockets {
    fn ask(&mut self, question: &[u8]) {
        // Lost if nobody listens there.
        let _ = host::send(descriptor::NAMES, question);
    }

    fn answer(&mut self, into: &mut [u8]) -> Option<usize> {
        host::receive(descriptor::NAMES, into).ok()
    }

    fn inquiry(&mut self, into: &mut [u8]) -> Option<(usize, Inquiry)> {
        let (len, from, server) = host::receive_from(descriptor::INQUIRIES, into).ok()?;
        Some((len, Inquiry { server, from }))
    }

    fn bring(&mut self, inquiry: Inquiry, answer: &[u8]) {
        // Lost if the server waits no longer.
        let _ = host::send_as(descriptor::INQUIRIES, answer, inquiry.from, inquiry.server);
    }

    fn note(&mut self, awaited: bool, ready: bool) {
        self.0.answers.set(awaited);
        self.0.ready.set(ready);
    }
}
