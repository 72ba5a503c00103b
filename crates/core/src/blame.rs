//! Who is to blame for an error decides its exit status and how loudly it is logged.

use std::error::Error;

/// Whose mistake an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The command line, the annotation, the configuration.
    User,
    /// The kernel, the initrd, the image around them.
    Image,
    /// The machine we run on: a missing feature, permission or resource.
    Host,
    /// The running guest.
    Guest,
    /// runu itself.
    Bug,
}

impl Blame {
    /// Exit status of `runu` when it fails with an error of this blame before a guest ran.
    ///
    /// User 125, as `docker run` reports its own usage errors; Image 126, "command cannot be invoked"
    /// (POSIX shell, exit status); Host 125; Guest and Bug 70, `EX_SOFTWARE` of sysexits.h.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Blame::User | Blame::Host => 125,
            Blame::Image => 126,
            Blame::Guest | Blame::Bug => 70,
        }
    }

    /// The word printed in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Blame::User => "user",
            Blame::Image => "image",
            Blame::Host => "host",
            Blame::Guest => "guest",
            Blame::Bug => "bug",
        }
    }
}

/// What caused an error, outermost first.
pub fn causes(error: &dyn Error) -> impl Iterator<Item = &dyn Error> {
    std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source())
}

/// An error with its causes on one line, as engines log and match it.
#[must_use]
pub fn sentence(error: &dyn Error) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// An error that knows whose mistake it is and, where a fix is known, says so.
pub trait Blamed: Error {
    /// Whose mistake it is.
    fn blame(&self) -> Blame;

    /// What the reader can do about it, as one imperative sentence without a trailing period.
    fn hint(&self) -> Option<String> {
        None
    }
}
