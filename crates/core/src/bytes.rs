//! Sizes in bytes and the way people write them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` KiB; saturates.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Bytes(n.saturating_mul(1 << 10))
    }

    /// `n` MiB; saturates.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Bytes(n.saturating_mul(1 << 20))
    }
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseBytesError {
    /// Not a decimal number with an optional unit.
    #[error("`{0}` is not a size: write a whole number with an optional unit, such as 64M")]
    Malformed(String),
    /// More than 2^64 - 1 bytes.
    #[error("`{0}` is more bytes than fit in 64 bits")]
    TooLarge(String),
}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    /// Reads a whole number and an optional unit, in either case: `b`, `k`, `m`, `g`, `t`, with `b` or `ib` behind
    /// (`64M`, `64mb`, `64MiB`). All units are powers of 1024, as in `docker run --memory`.
    fn from_str(text: &str) -> Result<Self, ParseBytesError> {
        let malformed = || ParseBytesError::Malformed(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(malformed());
        }
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(malformed()),
        };
        let too_large = || ParseBytesError::TooLarge(text.to_owned());
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number.checked_mul(1 << shift).map(Bytes).ok_or_else(too_large)
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit that divides the size evenly: `64 MiB`, `1536 KiB`, `17 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_with_any_spelling_of_its_unit_is_read() {
        for text in ["64m", "64M", "64mb", "64MiB"] {
            assert_eq!(text.parse(), Ok(Bytes::mib(64)), "{text}");
        }
        assert_eq!("0".parse(), Ok(Bytes(0)));
    }

    #[test]
    fn size_without_number_or_with_unknown_unit_is_malformed() {
        for text in ["", "M", "-1", "1.5G", "64 M", "64x", "0x10"] {
            assert_eq!(text.parse::<Bytes>(), Err(ParseBytesError::Malformed(text.into())), "{text}");
        }
    }

    #[test]
    fn size_beyond_64_bits_is_too_large() {
        for text in ["18446744073709551616", "16777216t"] {
            assert_eq!(text.parse::<Bytes>(), Err(ParseBytesError::TooLarge(text.into())), "{text}");
        }
    }

    #[test]
    fn size_is_printed_in_the_largest_even_unit() {
        assert_eq!(Bytes::mib(64).to_string(), "64 MiB");
        assert_eq!(Bytes::kib(1536).to_string(), "1536 KiB");
        assert_eq!(Bytes(17).to_string(), "17 bytes");
        assert_eq!(Bytes(0).to_string(), "0 bytes");
    }
}
