//! Names of containers.

use std::fmt;

use crate::ContainerError;

/// A container's name: letters, digits and `_ + - .`, as runc has it, and exactly one path component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Length of a name at most, in bytes: that of a file's name (limits.h, `NAME_MAX`).
    const MAX: usize = 255;

    /// Checks a name.
    ///
    /// # Errors
    /// It is none.
    pub fn new(text: &str) -> Result<Self, ContainerError> {
        let fits = !text.is_empty() && text.len() <= Self::MAX && text != "." && text != "..";
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte));
        if fits && plain {
            Ok(ContainerId(text.to_owned()))
        } else {
            Err(ContainerError::Id(text.to_owned()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_that_is_no_plain_name_is_refused() {
        let long = "a".repeat(300);
        for text in ["", ".", "..", "../x", "a/b", "a b", "a\0", "ä", "a\n", long.as_str()] {
            assert!(ContainerId::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn id_of_an_engine_is_taken() {
        for text in ["17", "web_1.a+b-c", "..a", &"f".repeat(64)] {
            assert!(ContainerId::new(text).is_ok(), "{text:?}");
        }
    }
}
