//! Unikraft's release numbers, which decide the grammar of its command line.

use std::fmt;

use serde::{Serialize, Serializer};

/// A release of Unikraft: `0.16.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 when it is not given.
    pub patch: u32,
}

impl Version {
    /// A release by its numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Version { major, minor, patch }
    }

    /// Reads `0.16.3`, `0.16.3~e453b74a` or `0.18`: two or three numbers, then anything that starts with another mark.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.');
        let mut number = || numbers.next()?.parse().ok();
        Some(Version { major: number()?, minor: number()?, patch: number().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_with_or_without_commit_and_patch_is_read() {
        assert_eq!(Version::parse("0.16.3"), Some(Version::new(0, 16, 3)));
        assert_eq!(Version::parse("0.16.3~e453b74a"), Some(Version::new(0, 16, 3)));
        assert_eq!(Version::parse("0.18"), Some(Version::new(0, 18, 0)));
        assert_eq!(Version::parse("0.20.0-rc1"), Some(Version::new(0, 20, 0)));
    }

    #[test]
    fn version_without_two_numbers_or_beyond_32_bits_is_unknown() {
        for text in ["", "staging", "7", "0.", ".1", "0.99999999999"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
