//! How a program ended and what it said.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A program that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) how: ExitStatus,
    /// What it wrote to standard output, unless the test sent that elsewhere.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// Its exit status; as a shell tells it if a signal ended it.
    pub(crate) fn status(&self) -> i32 {
        self.how
            .code()
            .or(self.how.signal().map(|signal| 128 + signal))
            .expect("it ended in one of these ways")
    }

    /// A guest's console as lines, whose ends are CR LF on a serial line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<&str> {
        std::str::from_utf8(&self.stdout).expect("own guests print text").lines().collect()
    }

    /// Asserts a status and nothing on standard error.
    #[track_caller]
    pub(crate) fn assert_quiet(&self, status: i32) {
        assert_eq!((self.status(), self.stderr.as_str()), (status, ""), "{self:?}");
    }

    /// Asserts a status and a first line of standard error that starts so.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: i32, start: &str) {
        assert_eq!(self.status(), status, "{self:?}");
        assert!(self.stderr.starts_with(start), "not `{start}`: {self:?}");
    }
}
