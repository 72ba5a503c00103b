//! The web server that is our guest `http` as an ordinary program: the same requests, answers and way of keeping connections,
//! one thread, but with the host's TCP behind epoll(7) where the guest has its own. What reads a request is the guest's own
//! source; what answers is written as the guest's is.
//!
//! It has no `/quit`, which would end the guest as a machine; a container is ended by its runtime.

#[path = "../../../guests/http/request.rs"]
mod request;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
};

use request::{Request, Wish};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// As the guest has them (guests/http/connection.rs).
const HEAD_MAX: usize = 4096;
const BIG_LEN: usize = 256 << 10;

/// Where it listens.
const ADDRESS: &str = "0.0.0.0:80";

/// The listener's name among the connections.
const LISTENER: u64 = u64::MAX;

/// What all connections share.
struct Site {
    big: Vec<u8>,
    requests: u64,
}

/// What an answer is made of besides its text.
enum Rest {
    Nothing,
    /// What `/big` answers, from there on.
    Big(usize),
    /// What comes in, of this length.
    Echo(u64),
}

/// A connection: requests one after the other.
struct Connection {
    stream: TcpStream,
    /// What has come and was not yet looked at.
    input: Vec<u8>,
    /// What is to be sent, and how much of it has been.
    answer: Vec<u8>,
    sent: usize,
    rest: Rest,
    keep: bool,
}

/// Serves until it is ended.
///
/// # Errors
/// There is no port to listen at.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut site = Site { big: (0..=250).cycle().take(BIG_LEN).collect(), requests: 0 };
    let mut connections = BTreeMap::new();
    let mut next = 0;
    println!("listening on {ADDRESS}");
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let wanted = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    epoll::add(&poll, stream.as_fd(), EventData::new_u64(next), wanted)?;
                    connections.insert(next, Connection::new(stream));
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&number)
                && !connection.serve(&mut site)
            {
                connections.remove(&number);
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let (input, answer) = (Vec::with_capacity(HEAD_MAX), Vec::with_capacity(HEAD_MAX));
        Connection { stream, input, answer, sent: 0, rest: Rest::Nothing, keep: true }
    }

    /// Does what can be done now; whether the connection goes on.
    fn serve(&mut self, site: &mut Site) -> bool {
        loop {
            match self.proceed(site) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// A step; whether there may be another.
    fn proceed(&mut self, site: &mut Site) -> io::Result<bool> {
        while let Some(bytes) = self.answer.get(self.sent..).filter(|bytes| !bytes.is_empty()) {
            self.sent += self.stream.write(bytes)?;
        }
        match self.rest {
            Rest::Big(from) if from < site.big.len() => {
                let sent = self.stream.write(site.big.get(from..).unwrap_or_default())?;
                self.rest = Rest::Big(from + sent);
                return Ok(true);
            }
            Rest::Echo(left @ 1..) => return self.echo(left),
            _ => self.rest = Rest::Nothing,
        }
        if !self.keep {
            return Ok(false);
        }
        match self.input.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => {
                site.requests += 1;
                let head: Vec<u8> = self.input.drain(..end + 4).collect();
                self.reply(Request::read(&head), site);
                Ok(true)
            }
            None if self.input.len() >= HEAD_MAX => {
                self.refuse("431 Request Header Fields Too Large");
                Ok(true)
            }
            None => self.read(),
        }
    }

    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; HEAD_MAX];
        let len = self.stream.read(&mut bytes)?;
        self.input.extend(bytes.iter().take(len));
        Ok(len > 0)
    }

    fn echo(&mut self, left: u64) -> io::Result<bool> {
        if self.input.is_empty() && !self.read()? {
            return Ok(false);
        }
        let len = self.input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        (self.answer, self.sent) = (self.input.drain(..len).collect(), 0);
        self.rest = Rest::Echo(left - len as u64);
        Ok(true)
    }

    fn reply(&mut self, request: Option<Request>, site: &Site) {
        let Some(request) = request else { return self.refuse("400 Bad Request") };
        self.keep = request.keep;
        let (status, length) = match request.wish {
            Wish::Page => return self.page(&request, site),
            Wish::Unmeasured => return self.refuse("411 Length Required"),
            Wish::Big => ("200 OK", BIG_LEN as u64),
            Wish::Echo(length) => ("200 OK", length),
            Wish::Quit | Wish::Unknown => ("404 Not Found", 0),
        };
        let mut text = String::new();
        if request.expects_continue && matches!(request.wish, Wish::Echo(1..)) {
            text.push_str("HTTP/1.1 100 Continue\r\n\r\n");
        }
        head(&mut text, status, "application/octet-stream", length, &request);
        self.rest = match request.wish {
            Wish::Big => Rest::Big(0),
            Wish::Echo(length) => Rest::Echo(length),
            _ => Rest::Nothing,
        };
        self.say(text);
    }

    fn page(&mut self, request: &Request, site: &Site) {
        let (name, requests) = ("guest", site.requests);
        let page = format!("<!doctype html><title>{name}</title><h1>{name}</h1><p>request {requests}</p>\n");
        let mut text = String::new();
        head(&mut text, "200 OK", "text/html", page.len() as u64, request);
        text.push_str(&page);
        self.say(text);
    }

    /// Says so and nothing else, for the last time.
    fn refuse(&mut self, status: &str) {
        self.keep = false;
        self.say(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    }

    fn say(&mut self, text: String) {
        (self.answer, self.sent) = (text.into_bytes(), 0);
    }
}

fn head(text: &mut String, status: &str, content: &str, length: u64, request: &Request) {
    let connection = match (request.keep, request.old) {
        (false, _) => "Connection: close\r\n",
        (true, true) => "Connection: keep-alive\r\n",
        (true, false) => "",
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n{connection}\r\n"
    );
}
