//! One connection: requests one after the other, each answered in full before the next is read.

use crate::request::{Request, Wish};
use crate::text::Text;
use core::fmt::Write as _;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};

/// The longest head of a request, in bytes.
pub(crate) const HEAD_MAX: usize = 4096;
/// Room for the head of an answer and a page.
const ANSWER_MAX: usize = 512;
/// How long a connection may be without a request, so that nobody keeps others out.
const IDLE: Duration = Duration::from_secs(15);

/// Length of what `/big` answers.
pub(crate) const BIG_LEN: usize = 256 << 10;

/// A byte of what `/big` answers: no power of two is a period of it.
pub(crate) fn big(index: usize) -> u8 {
    (index % 251) as u8
}

/// What all connections share.
pub(crate) struct Site {
    /// The guest's name.
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// What `/big` answers.
    pub(crate) big: &'static [u8],
    /// Requests since the start.
    pub(crate) requests: u64,
    /// Somebody asked for the end.
    pub(crate) quitting: bool,
}

/// What a connection is about.
enum Stage {
    /// It waits for a request, or for more of one.
    Head,
    /// It answers: a head, or all, is in the text.
    Answer { sent: usize, rest: Rest, keep: bool },
    /// Nothing more is to be said.
    Closed,
}

/// What an answer is made of besides its text.
#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    /// What `/big` answers, from there on.
    Big(usize),
    /// What comes in, of this length.
    Echo(u64),
}

/// A connection, or the wait for one.
pub(crate) struct Connection {
    stage: Stage,
    head: &'static mut [u8; HEAD_MAX],
    head_len: usize,
    answer: Text<ANSWER_MAX>,
    /// Since when it waits for a request.
    since: Instant,
}

impl Connection {
    /// One that has not begun, with room for the heads of its requests.
    pub(crate) fn new(head: &'static mut [u8; HEAD_MAX]) -> Self {
        Self { stage: Stage::Head, head, head_len: 0, answer: Text::new(), since: Instant::ZERO }
    }

    /// Does what can be done now.
    pub(crate) fn serve(&mut self, socket: &mut Socket, site: &mut Site, now: Instant) {
        match socket.state() {
            State::Closed | State::TimeWait => self.listen(socket, site.port),
            State::Listen | State::SynReceived => self.since = now,
            _ => while self.proceed(socket, site, now) {},
        }
    }

    /// Waits for a client. The last one may still be in doubt about the end of its connection: it will be told by a reset.
    fn listen(&mut self, socket: &mut Socket, port: u16) {
        (self.stage, self.head_len) = (Stage::Head, 0);
        socket.abort();
        socket.listen(port).expect("it is closed, and the port is not zero");
    }

    /// Whether there may be more to do at once.
    fn proceed(&mut self, socket: &mut Socket, site: &mut Site, now: Instant) -> bool {
        match self.stage {
            Stage::Head => self.read_head(socket, site, now),
            Stage::Answer { sent, rest, keep } => {
                let sent = sent + socket.send_slice(&self.answer.bytes()[sent..]).unwrap_or(0);
                let rest =
                    if sent == self.answer.bytes().len() { send_rest(socket, site, rest) } else { rest };
                self.stage = Stage::Answer { sent, rest, keep };
                self.end_answer(socket, now)
            }
            Stage::Closed => false,
        }
    }

    fn read_head(&mut self, socket: &mut Socket, site: &mut Site, now: Instant) -> bool {
        if let Some(len) = self.find_head(socket) {
            self.head_len = 0;
            site.requests += 1;
            self.reply(Request::read(&self.head[..len]), site);
            return true;
        }
        if self.head_len == HEAD_MAX {
            self.refuse("431 Request Header Fields Too Large");
            return true;
        }
        if !socket.may_recv() || now - self.since > IDLE {
            self.close(socket);
        }
        false
    }

    /// Takes bytes up to the end of a head; its length when all of it is there.
    fn find_head(&mut self, socket: &mut Socket) -> Option<usize> {
        while self.head_len < HEAD_MAX && socket.can_recv() {
            let (head, old) = (&mut *self.head, self.head_len);
            let found = socket.recv(|bytes| {
                let len = bytes.len().min(HEAD_MAX - old);
                head[old..old + len].copy_from_slice(&bytes[..len]);
                // The end may have begun in what was there before.
                let searched = old.saturating_sub(3);
                let end = head[searched..old + len].windows(4).position(|it| it == b"\r\n\r\n");
                let end = end.map(|at| searched + at + 4);
                (end.map_or(len, |end| end - old), (end, old + len))
            });
            let (end, len) = found.ok()?;
            if end.is_some() {
                return end;
            }
            self.head_len = len;
        }
        None
    }

    fn reply(&mut self, request: Option<Request>, site: &mut Site) {
        let Some(request) = request else { return self.refuse("400 Bad Request") };
        let rest = match request.wish {
            Wish::Page => return self.page(&request, site),
            Wish::Unmeasured => return self.refuse("411 Length Required"),
            Wish::Quit => {
                site.quitting = true;
                return self.refuse("200 OK");
            }
            Wish::Unknown => Rest::Nothing,
            Wish::Big => Rest::Big(0),
            Wish::Echo(length) => Rest::Echo(length),
        };
        self.answer.clear();
        if request.expects_continue && matches!(rest, Rest::Echo(1..)) {
            self.answer.push("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let (status, length) = match rest {
            Rest::Nothing => ("404 Not Found", 0),
            Rest::Big(_) => ("200 OK", BIG_LEN as u64),
            Rest::Echo(length) => ("200 OK", length),
        };
        self.head(status, "application/octet-stream", length, &request);
        self.stage = Stage::Answer { sent: 0, rest, keep: request.keep };
    }

    fn page(&mut self, request: &Request, site: &Site) {
        let mut page = Text::<256>::new();
        let (name, requests) = (site.name, site.requests);
        let _ =
            writeln!(page, "<!doctype html><title>{name}</title><h1>{name}</h1><p>request {requests}</p>");
        self.answer.clear();
        self.head("200 OK", "text/html", page.bytes().len() as u64, request);
        self.answer.push_bytes(page.bytes());
        self.stage = Stage::Answer { sent: 0, rest: Rest::Nothing, keep: request.keep };
    }

    fn head(&mut self, status: &str, content: &str, length: u64, request: &Request) {
        let connection = match (request.keep, request.old) {
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        };
        let _ = write!(
            self.answer,
            "HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n{connection}\r\n"
        );
    }

    /// Says so and nothing else, for the last time.
    fn refuse(&mut self, status: &str) {
        self.answer.clear();
        let _ = write!(self.answer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.stage = Stage::Answer { sent: 0, rest: Rest::Nothing, keep: false };
    }

    /// Goes on to the next request if all of the answer has been given; whether it has.
    fn end_answer(&mut self, socket: &mut Socket, now: Instant) -> bool {
        let Stage::Answer { sent, rest, keep } = self.stage else { return false };
        let is_over = sent == self.answer.bytes().len() && matches!(rest, Rest::Nothing);
        match (is_over, keep) {
            (true, true) => (self.stage, self.since) = (Stage::Head, now),
            (true, false) => self.close(socket),
            // What was to be echoed will never come.
            (false, _) if matches!(rest, Rest::Echo(_)) && !socket.may_recv() => socket.abort(),
            (false, _) => {}
        }
        is_over
    }

    fn close(&mut self, socket: &mut Socket) {
        socket.close();
        self.stage = Stage::Closed;
    }
}

/// Sends what there is room for; what then is left.
fn send_rest(socket: &mut Socket, site: &Site, rest: Rest) -> Rest {
    match rest {
        Rest::Nothing | Rest::Big(BIG_LEN) | Rest::Echo(0) => Rest::Nothing,
        Rest::Big(from) => match from + socket.send_slice(&site.big[from..]).unwrap_or(0) {
            BIG_LEN => Rest::Nothing,
            from => Rest::Big(from),
        },
        Rest::Echo(left) => match left - echo(socket, left) {
            0 => Rest::Nothing,
            left => Rest::Echo(left),
        },
    }
}

/// Sends back what has come in, `most` bytes at most; how many.
fn echo(socket: &mut Socket, most: u64) -> u64 {
    let mut bytes = [0; 4096];
    let mut done = 0;
    loop {
        let room = (socket.send_capacity() - socket.send_queue()).min(bytes.len());
        let room = (most - done).min(room as u64) as usize;
        match socket.recv_slice(&mut bytes[..room]) {
            Ok(len @ 1..) if socket.send_slice(&bytes[..len]) == Ok(len) => done += len as u64,
            _ => return done,
        }
    }
}
