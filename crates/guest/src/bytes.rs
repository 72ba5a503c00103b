//! Reading little-endian numbers and pieces out of bytes that nobody has checked.
//!
//! Every read is bounds-checked and answers `None` outside; offsets are `u64`, as files and ELF headers have them, so
//! that no caller converts an unchecked number to `usize`.

/// Bytes of a file or a section, read at offsets that may be wrong.
#[derive(Clone, Copy)]
pub(crate) struct View<'a>(pub(crate) &'a [u8]);

impl<'a> View<'a> {
    /// How many bytes there are.
    pub(crate) fn len(self) -> u64 {
        self.0.len() as u64
    }

    /// `len` bytes from `at` on; all of them or none.
    pub(crate) fn piece(self, at: u64, len: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(at).ok()?;
        let end = usize::try_from(at.checked_add(len)?).ok()?;
        self.0.get(start..end)
    }

    /// The number of one byte at `at`.
    pub(crate) fn u8(self, at: u64) -> Option<u8> {
        self.piece(at, 1)?.first().copied()
    }

    /// The little-endian number of two bytes at `at`.
    pub(crate) fn u16(self, at: u64) -> Option<u16> {
        Some(u16::from_le_bytes(self.piece(at, 2)?.try_into().ok()?))
    }

    /// The little-endian number of four bytes at `at`.
    pub(crate) fn u32(self, at: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.piece(at, 4)?.try_into().ok()?))
    }

    /// The little-endian number of eight bytes at `at`.
    pub(crate) fn u64(self, at: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.piece(at, 8)?.try_into().ok()?))
    }

    /// The bytes from `at` up to the first NUL, which must come within `most` bytes.
    pub(crate) fn text(self, at: u64, most: u64) -> Option<&'a [u8]> {
        let available = self.len().checked_sub(at)?;
        let window = self.piece(at, available.min(most))?;
        let end = window.iter().position(|byte| *byte == 0)?;
        window.get(..end)
    }
}

/// Text of an image that is safe to store and to print as it is: one line of printable ASCII, at most `most` bytes.
pub(crate) fn plain(text: &[u8], most: usize) -> Option<String> {
    let printable = text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if text.is_empty() || text.len() > most || !printable {
        return None;
    }
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_past_the_end_or_past_64_bits_is_none() {
        let view = View(&[1, 2, 3, 4]);
        assert_eq!(view.u32(0), Some(0x0403_0201));
        assert_eq!(view.u32(1), None);
        assert_eq!(view.u64(0), None);
        assert_eq!(view.piece(u64::MAX, 2), None);
        assert_eq!(view.piece(4, 0), Some(&[][..]));
        assert_eq!(view.piece(5, 0), None);
    }

    #[test]
    fn text_without_nul_within_the_bound_is_none() {
        let view = View(b"abc\0def");
        assert_eq!(view.text(0, 64), Some(&b"abc"[..]));
        assert_eq!(view.text(0, 3), None);
        assert_eq!(view.text(4, 64), None);
        assert_eq!(view.text(99, 64), None);
    }

    #[test]
    fn plain_with_control_or_foreign_bytes_is_none() {
        assert_eq!(plain(b"libukboot", 16).as_deref(), Some("libukboot"));
        for text in [&b""[..], b"a\x1b[2J", b"a\nb", b"\xc3\xa9", b"too long for four"] {
            assert_eq!(plain(text, 8), None);
        }
    }
}
