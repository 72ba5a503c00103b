use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::virtio::{harness::TestWire, net::header::Checksum};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const BEYOND: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
const GUEST: datagram::HardwareAddress = [2, 0, 0, 0, 0, 2];
const ROUTER: datagram::HardwareAddress = [2, 0, 0, 0, 0, 1];
const MTU: u16 = 1500;

/// What both ends of a test look at.
type Shared<T> = Rc<RefCell<T>>;
type About<T> = (Inquiry, T);

/// A server that has been asked and told things.
#[derive(Clone, Debug, Default)]
struct Server {
    asked: Shared<Vec<Vec<u8>>>,
    answers: Shared<VecDeque<Vec<u8>>>,
    inquiries: Shared<VecDeque<About<Vec<u8>>>>,
    brought: Shared<Vec<About<Vec<u8>>>>,
    noted: Shared<(bool, bool)>,
}

/// As a socket does: what there is no room for is lost.
fn put(bytes: &[u8], into: &mut [u8]) -> usize {
    let len = bytes.len().min(into.len());
    into[..len].copy_from_slice(&bytes[..len]);
    len
}

impl NameServer for Server {
    fn ask(&mut self, question: &[u8]) {
        self.asked.borrow_mut().push(question.to_vec());
    }

    fn answer(&mut self, into: &mut [u8]) -> Option<usize> {
        self.answers.borrow_mut().pop_front().map(|answer| put(&answer, into))
    }

    fn inquiry(&mut self, into: &mut [u8]) -> Option<(usize, Inquiry)> {
        self.inquiries.borrow_mut().pop_front().map(|(inquiry, question)| (put(&question, into), inquiry))
    }

    fn bring(&mut self, inquiry: Inquiry, answer: &[u8]) {
        self.brought.borrow_mut().push((inquiry, answer.to_vec()));
    }

    fn note(&mut self, awaited: bool, ready: bool) {
        *self.noted.borrow_mut() = (awaited, ready);
    }
}

fn relay() -> (Relay<TestWire, Server>, TestWire, Server) {
    let (wire, server) = (TestWire::default(), Server::default());
    (Relay::new(wire.clone(), server.clone(), ADDRESS, MTU), wire, server)
}

fn guest(port: u16) -> End {
    End { hardware: GUEST, socket: SocketAddrV4::new([172, 18, 0, 2].into(), port) }
}

fn end(hardware: datagram::HardwareAddress, address: Ipv4Addr) -> End {
    End { hardware, socket: SocketAddrV4::new(address, PORT) }
}

/// A message about `db` with this number, and `len` bytes behind its question.
fn message(number: u16, len: usize) -> Vec<u8> {
    let header = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&number.to_be_bytes()[..], &header, b"\x02db\0", &[0, 1, 0, 1], &vec![0; len]].concat()
}

/// A question of the guest's with this number from this port.
fn question(number: u16, port: u16) -> Vec<u8> {
    let payload = message(number, 0);
    Datagram { from: guest(port), to: end(ROUTER, ADDRESS), payload: &payload }.frame().unwrap()
}

fn inquiry(port: u16) -> Inquiry {
    Inquiry { server: BEYOND, from: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port) }
}

#[test]
fn question_goes_to_the_server_and_its_answer_comes_back_as_a_frame() {
    let (mut relay, wire, server) = relay();
    relay.send(&question(7, 4000)).unwrap();
    assert_eq!(*server.asked.borrow(), [message(7, 0)]);
    assert_eq!(*server.noted.borrow(), (true, false));
    assert!(wire.sent.borrow().is_empty());

    assert_eq!(relay.receive(), Err(WireError::Busy));
    server.answers.borrow_mut().push_back(message(7, 16));
    relay.receive().unwrap();
    let expected = Datagram { from: end(ROUTER, ADDRESS), to: guest(4000), payload: &message(7, 16) };
    assert_eq!(Datagram::read(relay.frame()), Some(expected));
    assert_eq!(*server.noted.borrow(), (false, false));
}

#[test]
fn answers_in_another_order_come_to_those_who_asked() {
    let (mut relay, _, server) = relay();
    (0..4).for_each(|number| relay.send(&question(number, 4000 + number)).unwrap());
    for number in [2, 0, 3, 1] {
        server.answers.borrow_mut().push_back(message(number, 1));
        relay.receive().unwrap();
        assert_eq!(Datagram::read(relay.frame()).unwrap().to, guest(4000 + number));
    }
}

#[test]
fn answer_that_nobody_waits_for_is_dropped() {
    let (mut relay, _, server) = relay();
    relay.send(&question(7, 4000)).unwrap();
    server.answers.borrow_mut().extend([vec![], vec![0, 7], message(8, 1), message(7, 1), message(7, 1)]);
    relay.receive().unwrap();
    assert_eq!(Datagram::read(relay.frame()).unwrap().payload, message(7, 1));
    assert_eq!(relay.receive(), Err(WireError::Busy));
}

#[test]
fn answer_longer_than_a_packet_is_truncated() {
    let (mut relay, _, server) = relay();
    for (len, truncated) in [(1500 - 28, false), (1500 - 27, true), (60_000, true)] {
        relay.send(&question(7, 4000)).unwrap();
        let answer = message(7, len - message(7, 0).len());
        server.answers.borrow_mut().push_back(answer.clone());
        relay.receive().unwrap();
        let datagram = Datagram::read(relay.frame()).unwrap();
        let expected = if truncated { message::truncated(&answer).unwrap() } else { answer };
        assert_eq!(datagram.payload, expected, "{len}");
    }
}

#[test]
fn question_that_is_asked_again_is_answered_once() {
    let (mut relay, _, server) = relay();
    (0..3).for_each(|_| relay.send(&question(7, 4000)).unwrap());
    assert_eq!(server.asked.borrow().len(), 3);
    server.answers.borrow_mut().extend([message(7, 1), message(7, 1)]);
    relay.receive().unwrap();
    assert_eq!(relay.receive(), Err(WireError::Busy));
}

#[test]
fn questions_without_answers_make_room_for_others() {
    let (mut relay, _, server) = relay();
    (0..1000).for_each(|number| relay.send(&question(number, 4000)).unwrap());
    assert_eq!(relay.questions.len(), UNDER_WAY);
    server.answers.borrow_mut().extend([message(0, 1), message(999, 1)]);
    relay.receive().unwrap();
    assert_eq!(Datagram::read(relay.frame()).unwrap().payload, message(999, 1));
}

#[test]
fn question_that_is_never_answered_is_forgotten_after_many_looks() {
    let (mut relay, _, server) = relay();
    (0..2).for_each(|number| {
        relay.send(&question(number, 4000)).unwrap();
        (1..LOOKS).for_each(|_| assert_eq!(relay.receive(), Err(WireError::Busy)));
    });
    assert_eq!(*server.noted.borrow(), (true, false));
    assert_eq!(relay.receive(), Err(WireError::Busy));
    assert_eq!(*server.noted.borrow(), (false, false));
    server.answers.borrow_mut().push_back(message(1, 1));
    assert_eq!(relay.receive(), Err(WireError::Busy));
}

#[test]
fn inquiry_leaves_as_the_guests_and_its_answer_goes_to_the_server() {
    let (mut relay, wire, server) = relay();
    relay.send(&question(7, 4000)).unwrap();
    server.inquiries.borrow_mut().push_back((inquiry(999), message(7, 0)));
    assert_eq!(relay.receive(), Err(WireError::Busy));
    let sent = [&[0; Header::LEN], wire.sent.borrow()[0].as_slice()].concat();
    let expected = Datagram { from: guest(4000), to: end(ROUTER, BEYOND), payload: &message(7, 0) };
    assert_eq!(Datagram::read(&sent), Some(expected));

    let payload = message(7, 50);
    let answer = Datagram { from: end(ROUTER, BEYOND), to: guest(4000), payload: &payload };
    let frame = answer.frame().unwrap();
    (0..2).for_each(|_| wire.bring(&frame[Header::LEN..]));
    relay.receive().unwrap();
    assert_eq!(*server.brought.borrow(), [(inquiry(999), payload.clone())]);
    // Nobody waits for the second: it is the guest's.
    assert_eq!(Datagram::read(relay.frame()), Some(answer));
}

#[test]
fn inquiry_about_nothing_that_was_asked_goes_nowhere() {
    let (mut relay, wire, server) = relay();
    relay.send(&question(7, 4000)).unwrap();
    let inquiries = [message(8, 0), vec![0], message(7, 1500)].map(|message| (inquiry(1), message));
    server.inquiries.borrow_mut().extend(inquiries);
    assert_eq!(relay.receive(), Err(WireError::Busy));
    assert!(wire.sent.borrow().is_empty());
}

#[test]
fn inquiry_where_no_router_is_goes_nowhere() {
    let (mut relay, wire, server) = relay();
    let payload = message(7, 0);
    let to = end(HARDWARE, ADDRESS);
    relay.send(&Datagram { from: guest(4000), to, payload: &payload }.frame().unwrap()).unwrap();
    server.inquiries.borrow_mut().push_back((inquiry(1), message(7, 0)));
    assert_eq!(relay.receive(), Err(WireError::Busy));
    assert!(wire.sent.borrow().is_empty());
}

#[test]
fn answers_that_are_not_to_an_inquiry_are_the_guests() {
    let (mut relay, wire, server) = relay();
    relay.send(&question(7, 4000)).unwrap();
    server.inquiries.borrow_mut().push_back((inquiry(999), message(7, 0)));
    assert_eq!(relay.receive(), Err(WireError::Busy));
    let others = [
        (end(ROUTER, BEYOND), guest(4000), message(8, 0)),
        (end(ROUTER, BEYOND), guest(4001), message(7, 0)),
        (end(ROUTER, ADDRESS), guest(4000), message(7, 0)),
        (guest(4001), guest(4000), message(7, 0)),
    ];
    for (from, to, payload) in others {
        let frame = Datagram { from, to, payload: &payload }.frame().unwrap();
        wire.bring(&frame[Header::LEN..]);
        relay.receive().unwrap();
        assert_eq!(relay.frame(), frame);
    }
    assert!(server.brought.borrow().is_empty());
}

#[test]
fn inquiries_without_answers_make_room_for_others() {
    let (mut relay, _, server) = relay();
    relay.send(&question(7, 4000)).unwrap();
    for port in 0..1000 {
        server.inquiries.borrow_mut().push_back((inquiry(port), message(7, 0)));
        let _ = relay.receive();
    }
    assert_eq!(relay.errands.len(), UNDER_WAY);
    relay.send(&question(7, 4001)).unwrap();
    assert!(relay.errands.is_empty());
}

#[test]
fn what_else_is_sent_to_the_address_goes_nowhere() {
    let (mut relay, wire, server) = relay();
    let whole = question(7, 4000);
    let mut other_port = Datagram::read(&whole).unwrap();
    other_port.to.socket.set_port(54);
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    for frame in [other_port.frame().unwrap(), damaged] {
        relay.send(&frame).unwrap();
    }
    assert!(wire.sent.borrow().is_empty() && server.asked.borrow().is_empty());
    assert_eq!(*server.noted.borrow(), (false, false));
}

#[test]
fn who_wants_a_connection_with_the_server_is_refused_at_once() {
    let (mut relay, wire, server) = relay();
    let payload = [0x50; 20];
    let ends = (guest(4000), end(ROUTER, ADDRESS));
    let mut frame = Datagram { from: ends.0, to: ends.1, payload: &payload }.frame().unwrap();
    // What follows the ports is a header of TCP, of 20 bytes and with a flag, whose checksum others make.
    let packet = Header::LEN + ETHERNET;
    frame[packet + 9] = offload::TCP;
    offload::finish_ip(&mut frame[packet..], true, 20).unwrap();
    let header = Header { checksum: Checksum::Missing { start: 34, offset: 16 }, ..Header::default() };
    frame[..Header::LEN].copy_from_slice(&header.bytes());
    relay.send(&frame).unwrap();
    assert!(wire.sent.borrow().is_empty() && server.asked.borrow().is_empty());
    assert_eq!(*server.noted.borrow(), (false, true));
    relay.receive().unwrap();
    assert_eq!(relay.frame(), refusal::to(&frame).unwrap());
}

#[test]
fn frames_for_others_go_over_the_wire_as_they_are() {
    let (mut relay, wire, _) = relay();
    let payload = message(7, 0);
    let frame = Datagram { from: guest(4000), to: end(ROUTER, BEYOND), payload: &payload }.frame().unwrap();
    for len in Header::LEN..=frame.len() {
        relay.send(&frame[..len]).unwrap();
        assert_eq!(wire.sent.borrow().last().unwrap(), &frame[Header::LEN..len]);
    }
    wire.bring(&frame[Header::LEN..]);
    relay.receive().unwrap();
    assert_eq!(relay.frame(), frame);
}

#[test]
fn who_asks_where_the_address_is_gets_an_answer_at_once() {
    let (mut relay, wire, server) = relay();
    let request = [
        &[0; Header::LEN][..],
        &[0xff; 6],
        &GUEST,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &GUEST,
        &[172, 18, 0, 2],
        &[0; 6],
        &ADDRESS.octets(),
    ];
    (0..1000).for_each(|_| relay.send(&request.concat()).unwrap());
    assert!(wire.sent.borrow().is_empty());
    assert_eq!(*server.noted.borrow(), (false, true));
    assert_eq!(relay.replies.len(), UNDER_WAY);
    (0..UNDER_WAY).for_each(|_| relay.receive().unwrap());
    let expected = arp::answer(&request.concat()[Header::LEN..], ADDRESS, HARDWARE).unwrap();
    assert_eq!(relay.frame()[Header::LEN..], expected);
    assert_eq!(relay.receive(), Err(WireError::Busy));
    assert_eq!(*server.noted.borrow(), (false, false));
}
