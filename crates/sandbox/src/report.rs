//! What the supervisor tells the caller: one message of fixed size, because it must be written without allocating and
//! arrive in one piece (pipe(7), `PIPE_BUF`).

use std::os::fd::BorrowedFd;

use rustix::{io::Errno, process::WaitStatus};

use crate::step::Step;

/// The one message of a sandbox's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The sandbox could not be made.
    Failed { step: Step, errno: Errno },
    /// A sandbox that is started later got so far and waits to be told to go on.
    Reached(Stage),
    /// The supervisor was cloned and has this process id.
    Cloned(i32),
    /// The kernel refused the parameter of this place in their list.
    ParameterRefused { number: u32, errno: Errno },
    /// The witness does not agree with what the guest process would be started with; a text follows.
    Refused,
    /// The guest process is over.
    Ended { end: End, ready: u64, executed: u64, ended: u64 },
}

/// How far a sandbox got that is made now and started later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is in all of its namespaces.
    Placed,
    /// It is complete and waits for its start.
    Ready,
}

/// How the guest process ended, as far as the supervisor can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(u8),
    Signalled(i32),
    Requested(i32),
}

impl End {
    /// The end that a wait status tells, when the supervisor was asked to end the guest by the signal `requested`.
    pub(crate) fn new(status: WaitStatus, requested: Option<i32>) -> Self {
        match (status.exit_status(), status.terminating_signal(), requested) {
            (_, Some(libc::SIGKILL), Some(asked)) => End::Requested(asked),
            (_, Some(signal), _) => End::Signalled(signal),
            // The kernel keeps eight bits of an exit status (wait(2), WEXITSTATUS).
            (status, None, _) => {
                End::Exited(status.and_then(|s| u8::try_from(s & 0xff).ok()).unwrap_or(u8::MAX))
            }
        }
    }

    /// The exit status that tells this end to whoever waits for the supervisor.
    pub(crate) fn exit_status(self) -> i32 {
        match self {
            End::Exited(status) => i32::from(status),
            End::Signalled(signal) | End::Requested(signal) => 128 + signal,
        }
    }
}

/// Kind, two values, three points in time.
const WORDS: usize = 6;
/// Bytes of a message.
const LEN: usize = WORDS * size_of::<u64>();

const FAILED: u64 = 1;
const EXITED: u64 = 2;
const SIGNALLED: u64 = 3;
const REQUESTED: u64 = 4;
const PLACED: u64 = 5;
const READY: u64 = 6;
const CLONED: u64 = 7;
const PARAMETER_REFUSED: u64 = 8;
const REFUSED: u64 = 9;

impl Message {
    /// Writes the message. A caller that is gone needs none, so failure means nothing.
    pub(crate) fn send(self, pipe: BorrowedFd<'_>) {
        // A message is less than PIPE_BUF, so the pipe takes all of it or nothing.
        let _ = rustix::io::write(pipe, &self.encode());
    }

    /// Writes the message to a peer that is waiting for it; a peer that is gone needs none.
    pub(crate) fn send_to_peer(self, socket: BorrowedFd<'_>) {
        // Not a plain write: a peer that is gone would raise SIGPIPE.
        let _ = rustix::net::send(socket, &self.encode(), rustix::net::SendFlags::NOSIGNAL);
    }

    /// The message in the pipe, if there is a whole one.
    pub(crate) fn receive(pipe: BorrowedFd<'_>) -> Option<Self> {
        let mut bytes = [0; LEN];
        match rustix::io::read(pipe, &mut bytes) {
            Ok(LEN) => Self::decode(&bytes),
            _ => None,
        }
    }

    fn encode(self) -> [u8; LEN] {
        let words: [u64; WORDS] = match self {
            Message::Failed { step, errno } => {
                [FAILED, u64::from(step.number()), u64::from(errno.raw_os_error().cast_unsigned()), 0, 0, 0]
            }
            Message::Cloned(pid) => [CLONED, u64::from(pid.cast_unsigned()), 0, 0, 0, 0],
            Message::ParameterRefused { number, errno } => {
                let errno = u64::from(errno.raw_os_error().cast_unsigned());
                [PARAMETER_REFUSED, u64::from(number), errno, 0, 0, 0]
            }
            Message::Refused => [REFUSED, 0, 0, 0, 0, 0],
            Message::Reached(Stage::Placed) => [PLACED, 0, 0, 0, 0, 0],
            Message::Reached(Stage::Ready) => [READY, 0, 0, 0, 0, 0],
            Message::Ended { end, ready, executed, ended } => {
                let (kind, value) = match end {
                    End::Exited(status) => (EXITED, u64::from(status)),
                    End::Signalled(signal) => (SIGNALLED, u64::from(signal.cast_unsigned())),
                    End::Requested(signal) => (REQUESTED, u64::from(signal.cast_unsigned())),
                };
                [kind, value, 0, ready, executed, ended]
            }
        };
        let mut bytes = [0; LEN];
        for (slot, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *slot = word.to_ne_bytes();
        }
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*chunk);
        }
        let [kind, first, second, ready, executed, ended] = words;
        let end = match kind {
            FAILED => {
                let errno = Errno::from_raw_os_error(i32::try_from(second).ok()?);
                return Some(Message::Failed { step: Step::from_number(first)?, errno });
            }
            CLONED => return Some(Message::Cloned(i32::try_from(first).ok()?)),
            PARAMETER_REFUSED => {
                let errno = Errno::from_raw_os_error(i32::try_from(second).ok()?);
                return Some(Message::ParameterRefused { number: u32::try_from(first).ok()?, errno });
            }
            REFUSED => return Some(Message::Refused),
            PLACED => return Some(Message::Reached(Stage::Placed)),
            READY => return Some(Message::Reached(Stage::Ready)),
            EXITED => End::Exited(u8::try_from(first).ok()?),
            SIGNALLED => End::Signalled(i32::try_from(first).ok()?),
            REQUESTED => End::Requested(i32::try_from(first).ok()?),
            _ => return None,
        };
        Some(Message::Ended { end, ready, executed, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_any_kind_is_read_back() {
        let (ready, executed, ended) = (1, 2, u64::MAX);
        for message in [
            Message::Failed { step: Step::Exec, errno: Errno::ACCESS },
            Message::Reached(Stage::Placed),
            Message::Reached(Stage::Ready),
            Message::Cloned(17),
            Message::Refused,
            Message::ParameterRefused { number: 3, errno: Errno::INVAL },
            Message::Ended { end: End::Exited(255), ready, executed, ended },
            Message::Ended { end: End::Signalled(libc::SIGSYS), ready, executed, ended },
            Message::Ended { end: End::Requested(libc::SIGTERM), ready, executed, ended },
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn message_of_unknown_kind_or_step_is_none() {
        assert_eq!(Message::decode(&[0; LEN]), None);
        assert_eq!(Message::decode(&[0xff; LEN]), None);
    }
}
