//! Text that a stranger wrote, made safe to print.

use std::fmt;

/// Shows hostile text on one line: control characters and bytes that are not UTF-8 are escaped, length is bounded.
///
/// A terminal obeys escape sequences, and a log reader trusts line ends; neither may come from an image or a guest.
pub struct Printable<'a>(pub &'a [u8]);

impl Printable<'_> {
    /// Bytes shown before the rest is replaced by an ellipsis.
    const SHOWN: usize = 512;
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..Self::SHOWN).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                // Bidirectional overrides reorder what a reader sees (Unicode TR 36, §3.3).
                let bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                if c.is_control() || bidi { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if shown.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_with_escape_sequence_or_line_end_is_escaped() {
        assert_eq!(Printable(b"a\x1b[31mb\nc\xff").to_string(), "a\\u{1b}[31mb\\nc\\xff");
    }

    #[test]
    fn printable_beyond_the_bound_is_cut() {
        assert_eq!(Printable(&[b'a'; 1000]).to_string().chars().count(), 513);
    }
}
