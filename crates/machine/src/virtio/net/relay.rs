//! A wire on which the card stands in for a name server.
//!
//! Some engines let a container's name server listen on a loopback address of the container's namespace (Docker on
//! 127.0.0.11, for networks with names), where no frame of a guest gets. So the guest is told of another address. What it
//! sends there never reaches the wire: questions go to the server through a socket, and answers come back as frames.
//!
//! ```text
//! guest ── frame to ADDRESS, UDP 53 ──► Relay ── question ──► server, which knows the containers' names
//!                                         ▲                     │ other names
//! other servers ◄── the guest's frames ── └──── inquiry ────────┘
//! ```
//!
//! What the server does not know itself it asks of others, in the container's namespace and with its address (so Docker's
//! does). That address is the guest's now; so such an inquiry leaves as a frame of the guest's, from the port and with the
//! number of the question that it is about, on the way that the question came.
//!
//! Nothing here keeps time. What is under way is bounded, and what comes next takes the place of the oldest. Who is never answered
//! is forgotten after many looks.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use super::{
    Wire, WireError, arp,
    datagram::{self, Datagram, End},
    header::Header,
    message,
    offload::{self, ETHERNET, IPV4},
    refusal,
};

/// Questions, inquiries and frames for the guest that are under way at once: resolvers of guests ask a few.
const UNDER_WAY: usize = 16;

/// How often it is looked in vain for answers to what was asked last: looking costs two calls, and a guest that serves many may
/// look tens of thousands of times a second. Then it is some seconds, after which resolvers have asked again or given up.
const LOOKS: u32 = 1 << 18;

/// The port of name servers (RFC 1035 §4.2).
const PORT: u16 = 53;

/// Where on the link a server is that has an address of the guest's own network: locally administered (IEEE 802, §8.2), as
/// none that an engine makes up begins.
const HARDWARE: datagram::HardwareAddress = [0x02, 0x72, 0x75, 0x6e, 0x75, 0x35];

/// Room for a message: more than any that fits into a packet.
const MESSAGE_MAX: usize = 2048;

/// A question that a name server asks of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Whom it asks.
    pub server: Ipv4Addr,
    /// Where it waits for the answer.
    pub from: SocketAddrV4,
}

/// A name server, as its sockets show it. Nothing here waits, and what cannot be sent is lost, as datagrams are.
pub trait NameServer: fmt::Debug {
    /// Asks it.
    fn ask(&mut self, question: &[u8]);

    /// Puts its next answer to the start of `into`, as far as there is room; its length. `None` if there is none.
    fn answer(&mut self, into: &mut [u8]) -> Option<usize>;

    /// Puts the next question that it asks of others to the start of `into`, and tells its length.
    fn inquiry(&mut self, into: &mut [u8]) -> Option<(usize, Inquiry)>;

    /// Brings it the answer to one.
    fn bring(&mut self, inquiry: Inquiry, answer: &[u8]);

    /// Answers are awaited, or none; frames for the guest are ready, or none. Who sleeps has to know.
    fn note(&mut self, awaited: bool, ready: bool);
}

/// A wire on which a name server is found at an address where nobody is.
#[derive(Debug)]
pub struct Relay<W, S> {
    wire: W,
    server: S,
    address: Ipv4Addr,
    /// The longest packet that the guest takes.
    mtu: usize,
    questions: VecDeque<Question>,
    /// Each belongs to a question.
    errands: VecDeque<Errand>,
    /// How often there was nothing since the last question.
    looks: u32,
    /// Frames for the guest, with headers before them.
    replies: VecDeque<Vec<u8>>,
    /// The frame that was received last, if it is not the wire's.
    own: Option<Vec<u8>>,
    message: Box<[u8; MESSAGE_MAX]>,
}

/// A question of the guest's.
#[derive(Clone, Copy, Debug)]
struct Question {
    number: u16,
    guest: End,
    /// To whom on the link it was sent.
    hop: datagram::HardwareAddress,
}

/// An inquiry that left as the guest's.
#[derive(Clone, Copy, Debug)]
struct Errand {
    number: u16,
    guest: SocketAddrV4,
    inquiry: Inquiry,
}

impl<W: Wire, S: NameServer> Relay<W, S> {
    /// A wire on which `server` is found at `address` by a guest that takes packets of `mtu` bytes.
    pub fn new(wire: W, server: S, address: Ipv4Addr, mtu: u16) -> Self {
        let (questions, errands, replies) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let message = Box::new([0; MESSAGE_MAX]);
        let mtu = mtu.into();
        Relay { wire, server, address, mtu, questions, errands, looks: 0, replies, own: None, message }
    }

    /// Takes a frame of the guest's if it is for the name server; whether it was.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let frame = bytes.get(Header::LEN..).unwrap_or_default();
        match offload::word(frame, 12) {
            // Where an IPv4 packet tells whom it is for (RFC 791 §3.1).
            Some(IPV4) if frame.get(ETHERNET + 16..ETHERNET + 20) == Some(&self.address.octets()) => {
                if self.put_question(bytes).is_none()
                    && let Some(refusal) = refusal::to(bytes)
                {
                    push(&mut self.replies, refusal);
                }
                true
            }
            Some(arp::TYPE) => match arp::answer(frame, self.address, HARDWARE) {
                Some(answer) => {
                    push(&mut self.replies, [&[0; Header::LEN], answer.as_slice()].concat());
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Asks the server; `None` if it is no question.
    fn put_question(&mut self, bytes: &[u8]) -> Option<()> {
        let datagram = Datagram::read(bytes).filter(|datagram| datagram.to.socket.port() == PORT)?;
        let number = message::number(datagram.payload)?;
        // A question that is asked once more, or whose number another one has taken, has no other answer to wait for.
        self.forget(number);
        if self.questions.len() >= UNDER_WAY
            && let Some(oldest) = self.questions.front().map(|question| question.number)
        {
            self.forget(oldest);
        }
        self.questions.push_back(Question { number, guest: datagram.from, hop: datagram.to.hardware });
        self.looks = 0;
        self.server.ask(datagram.payload);
        Some(())
    }

    /// The question with this number, which is no longer under way.
    fn forget(&mut self, number: u16) -> Option<Question> {
        self.errands.retain(|errand| errand.number != number);
        let at = self.questions.iter().position(|question| question.number == number)?;
        self.questions.remove(at)
    }

    /// Takes the frame that the wire brought if it is the answer to an inquiry; whether it was.
    fn divert(&mut self) -> bool {
        let Some(Datagram { from, to, payload }) = Datagram::read(self.wire.frame()) else { return false };
        let number = message::number(payload);
        let is_about = |errand: &Errand| {
            (errand.inquiry.server, PORT) == (*from.socket.ip(), from.socket.port())
                && errand.guest == to.socket
                && Some(errand.number) == number
        };
        let found = self.errands.iter().position(is_about);
        let Some(errand) = found.and_then(|at| self.errands.remove(at)) else { return false };
        self.server.bring(errand.inquiry, payload);
        true
    }

    /// Sends inquiries of the server's on their way.
    fn send_inquiries(&mut self) {
        for _ in 0..UNDER_WAY {
            let Some((len, inquiry)) = self.server.inquiry(self.message.as_mut_slice()) else { return };
            let message = self.message.get(..len).unwrap_or_default();
            let Some(number) = message::number(message) else { continue };
            let about = self.questions.iter().find(|question| question.number == number);
            // Where the question did not go to a router there is none that leads to others.
            let Some(question) = about.filter(|question| question.hop != HARDWARE) else { continue };
            let server = SocketAddrV4::new(inquiry.server, PORT);
            let to = End { hardware: question.hop, socket: server };
            let datagram = Datagram { from: question.guest, to, payload: message };
            if !self.fits(message) {
                continue;
            }
            if let Some(frame) = datagram.frame() {
                push(&mut self.errands, Errand { number, guest: question.guest.socket, inquiry });
                // Who gets no answer asks again.
                let _ = self.wire.send(&frame);
            }
        }
    }

    /// The server's next answer as a frame.
    fn answer(&mut self) -> Option<Vec<u8>> {
        for _ in 0..UNDER_WAY {
            let len = self.server.answer(self.message.as_mut_slice())?;
            let number = self.message.get(..len).and_then(message::number);
            let Some(question) = number.and_then(|number| self.forget(number)) else { continue };
            let message = self.message.get(..len).unwrap_or_default();
            let answer = match self.fits(message) {
                true => Some(Cow::Borrowed(message)),
                false => message::truncated(message).map(Cow::Owned),
            };
            let hop = End { hardware: question.hop, socket: SocketAddrV4::new(self.address, PORT) };
            let frame = answer
                .and_then(|answer| Datagram { from: hop, to: question.guest, payload: &answer }.frame());
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    /// Nothing has come again.
    fn give_up_in_time(&mut self) {
        self.looks += 1;
        if self.looks >= LOOKS {
            self.looks = 0;
            self.questions.clear();
            self.errands.clear();
        }
    }

    fn fits(&self, message: &[u8]) -> bool {
        datagram::HEADERS + message.len() <= self.mtu
    }

    fn note(&mut self) {
        self.server.note(!self.questions.is_empty(), !self.replies.is_empty());
    }
}

impl<W: Wire, S: NameServer> Wire for Relay<W, S> {
    fn offloads(&self) -> bool {
        self.wire.offloads()
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        if !self.take(frame) {
            return self.wire.send(frame);
        }
        self.note();
        Ok(())
    }

    fn flush(&mut self) {
        self.wire.flush();
    }

    fn receive(&mut self) -> Result<(), WireError> {
        self.own = self.replies.pop_front();
        if self.own.is_some() {
            self.note();
            return Ok(());
        }
        // Each frame that is diverted was awaited, so there are few.
        let error = loop {
            match self.wire.receive() {
                Ok(()) if !self.errands.is_empty() && self.divert() => {}
                Ok(()) => return Ok(()),
                Err(error) => break error,
            }
        };
        if self.questions.is_empty() {
            return Err(error);
        }
        self.send_inquiries();
        self.own = self.answer();
        if self.own.is_none() {
            self.give_up_in_time();
        }
        self.note();
        self.own.as_ref().map(drop).ok_or(error)
    }

    fn frame(&mut self) -> &mut [u8] {
        match &mut self.own {
            Some(own) => own,
            None => self.wire.frame(),
        }
    }
}

/// Adds what is under way; the oldest makes room.
fn push<T>(queue: &mut VecDeque<T>, new: T) {
    if queue.len() >= UNDER_WAY {
        queue.pop_front();
    }
    queue.push_back(new);
}

#[cfg(test)]
mod tests;
