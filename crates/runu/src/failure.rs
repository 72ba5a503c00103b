//! How an error is told and what status it gives.
//!
//! ```text
//! error: what failed, with its names
//!   cause: each source, outermost first
//! hint: what to do about it
//! ```

use runu_core::{Blame, Blamed};

use crate::stdio;

/// An error on its way to the user, whichever operation it came from.
pub(crate) struct Failure(Box<dyn Blamed>);

/// `?` on the error of any operation.
impl<E: Blamed + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(Box::new(error))
    }
}

/// Something that cannot fail, and did.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}, which is a bug in runu")]
struct Bug {
    what: &'static str,
    source: Box<dyn std::error::Error>,
}

impl Blamed for Bug {
    fn blame(&self) -> Blame {
        Blame::Bug
    }

    fn hint(&self) -> Option<String> {
        Some("tell us in an issue, with this message".to_owned())
    }
}

impl Failure {
    /// The failure of something that our own code makes sure cannot fail.
    pub(crate) fn bug(what: &'static str, source: impl std::error::Error + 'static) -> Self {
        Bug { what, source: Box::new(source) }.into()
    }

    /// The error with its causes on one line, as engines log and match it.
    pub(crate) fn sentence(&self) -> String {
        runu_core::sentence(self.0.as_ref())
    }

    /// Tells the error on stderr; the exit status that its blame gives.
    pub(crate) fn report(&self) -> u8 {
        stdio::words(&lines(self.0.as_ref()));
        self.0.blame().exit_status()
    }
}

/// The lines of an error: itself, its causes, its hint.
fn lines(error: &dyn Blamed) -> Vec<String> {
    let mut lines = vec![format!("error: {error}")];
    lines.extend(runu_core::causes(error).map(|cause| format!("  cause: {cause}")));
    lines.extend(error.hint().map(|hint| format!("hint: {hint}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open `x`")]
    struct Broken(#[source] std::io::Error);

    impl Blamed for Broken {
        fn blame(&self) -> Blame {
            Blame::Image
        }

        fn hint(&self) -> Option<String> {
            Some("build it again".into())
        }
    }

    #[test]
    fn failure_is_told_with_its_cause_and_hint() {
        let failure = Broken(std::io::Error::other("bad sector"));
        assert_eq!(
            lines(&failure),
            ["error: cannot open `x`", "  cause: bad sector", "hint: build it again"]
        );
    }
}
