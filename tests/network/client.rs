//! A client of HTTP/1.1, just large enough for one server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use crate::LIMIT;

/// A connection that is kept open.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content: Vec<u8>,
    /// Whether the server will take another request on this connection.
    pub(crate) keeps: bool,
}

impl Answer {
    /// The content as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("what is asked so is text")
    }
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&to, LIMIT).expect("the server listens");
        // So no test can hang.
        stream.set_read_timeout(Some(LIMIT)).expect("the limit is not zero");
        stream.set_write_timeout(Some(LIMIT)).expect("the limit is not zero");
        Client { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the server reads");
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n").as_bytes());
        self.answer()
    }

    /// Sends content while it reads the answer: a server may answer before all of it has arrived.
    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, content: &[u8]) -> Answer {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n", content.len());
        let mut writer = self.stream.get_ref().try_clone().expect("a descriptor is left");
        thread::scope(|scope| {
            scope.spawn(move || {
                // What went wrong is seen in the answer.
                let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(content));
            });
            self.answer()
        })
    }

    /// Reads an answer whose length is told.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let status = self.line();
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let (mut length, mut keeps) = (None, true);
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            match name {
                "Content-Length" => length = value.parse().ok(),
                "Connection" => keeps = value != "close",
                _ => {}
            }
        }
        let mut content = vec![0; length.expect("an answer tells its length")];
        self.stream.read_exact(&mut content).expect("the answer is as long as it says");
        Answer { status: status.expect("an answer begins with its status"), content, keeps }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server answers");
        line.truncate(line.trim_end().len());
        line
    }

    /// Waits for the server's end of the connection; whether it said nothing more before.
    pub(crate) fn ends_quietly(mut self) -> bool {
        self.stream.read(&mut [0]).is_ok_and(|len| len == 0)
    }
}
