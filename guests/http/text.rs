//! Text of bounded length.

use core::fmt;

/// Text of up to `MAX` bytes; what does not fit is cut off.
pub(crate) struct Text<const MAX: usize> {
    bytes: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Text<MAX> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MAX], len: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(MAX - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    pub(crate) fn push(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }
}

impl<const MAX: usize> fmt::Write for Text<MAX> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}
