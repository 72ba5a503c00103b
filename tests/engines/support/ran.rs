//! A command that is over.

use std::{fmt, os::unix::process::ExitStatusExt, process::Output};

/// What a command was, how it ended and what it said.
pub(crate) struct Ran {
    /// Its words.
    words: Vec<String>,
    /// Its exit status; as a shell tells it if a signal ended it.
    pub(crate) status: i32,
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

/// All of it, for the message of a test that fails.
impl fmt::Debug for Ran {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { words, status, stdout, stderr } = self;
        write!(formatter, "$ {}\n{stdout}{stderr}[exit status {status}]", words.join(" "))
    }
}

impl Ran {
    pub(crate) fn new(words: &[&str], output: Output) -> Self {
        let signalled = || output.status.signal().map_or(-1, |signal| 128 + signal);
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            status: output.status.code().unwrap_or_else(signalled),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it succeeded; what it printed, without the last end of line.
    #[track_caller]
    pub(crate) fn succeeded(&self) -> &str {
        assert_eq!(self.status, 0, "{self:#?}");
        self.stdout.trim_end()
    }

    /// Asserts its exit status.
    #[track_caller]
    pub(crate) fn ended_with(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// Asserts that it printed this.
    #[track_caller]
    pub(crate) fn printed(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "`{text}` is not printed: {self:#?}");
        self
    }

    /// Asserts that it said this on standard error.
    #[track_caller]
    pub(crate) fn complained(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "`{text}` is not said: {self:#?}");
        self
    }

    /// What it printed as lines, whose ends are CR LF on a terminal and on a guest's console.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}
