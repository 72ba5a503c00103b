//! Whole messages off a stream, answers onto it.

use std::io::{self, Read, Write};

use crate::{request::HEADER, session::Session};

/// Why a client is no longer served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream cannot be read or written.
    #[error("cannot reach the client")]
    Stream(#[source] io::Error),
    /// A message says that it is shorter than every message, or longer than agreed: where the next begins is not known.
    #[error("the client says that a message has {0} bytes")]
    Length(u32),
}

/// How serving one request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It was answered.
    Request,
    /// There is none: the client has gone.
    End,
}

/// A session on a stream.
#[derive(Debug)]
pub struct Server<S> {
    stream: S,
    session: Session,
    message: Vec<u8>,
    reply: Vec<u8>,
}

impl<S: Read + Write> Server<S> {
    /// Serves whoever is at the other end of `stream`.
    pub fn new(stream: S, session: Session) -> Self {
        Server { stream, session, message: Vec::new(), reply: Vec::new() }
    }

    /// What it is served through.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Waits for one request and answers it.
    ///
    /// # Errors
    /// The stream fails, or what comes is no message; nothing can be served after either.
    pub fn serve(&mut self) -> Result<Served, ServeError> {
        let mut size = [0; 4];
        match self.stream.read_exact(&mut size) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Served::End),
            Err(error) => return Err(ServeError::Stream(error)),
        }
        let len = u32::from_le_bytes(size);
        let header = u32::try_from(HEADER).unwrap_or(u32::MAX);
        if !(header..=self.session.message_max()).contains(&len) {
            return Err(ServeError::Length(len));
        }
        self.message.clear();
        self.message.extend(size);
        self.message.resize(usize::try_from(len).map_err(|_| ServeError::Length(len))?, 0);
        let rest = self.message.get_mut(size.len()..).unwrap_or_default();
        self.stream.read_exact(rest).map_err(ServeError::Stream)?;
        self.session.answer(&self.message, &mut self.reply);
        self.stream.write_all(&self.reply).map_err(ServeError::Stream)?;
        Ok(Served::Request)
    }
}
