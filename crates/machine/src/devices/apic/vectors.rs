//! A set of interrupt vectors, as the APIC shows three of them: eight registers of 32 bits.

/// A set of vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vectors([u32; 8]);

impl Vectors {
    /// The register that a vector is in, and its bit there.
    fn place(vector: u8) -> (usize, u32) {
        (usize::from(vector / 32), 1 << (vector % 32))
    }

    /// Puts a vector in or takes it out.
    pub(super) fn set(&mut self, vector: u8, present: bool) {
        let (word, bit) = Self::place(vector);
        if let Some(word) = self.0.get_mut(word) {
            *word = if present { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a vector is in it.
    pub(super) fn has(&self, vector: u8) -> bool {
        let (word, bit) = Self::place(vector);
        self.word(word) & bit != 0
    }

    /// The highest vector in it.
    pub(super) fn highest(&self) -> Option<u8> {
        let (number, word) = (0_u8..).zip(self.0).filter(|(_, word)| *word != 0).last()?;
        // A word that is not zero has at most 31 leading zeros.
        Some(number * 32 + (31 - u8::try_from(word.leading_zeros()).unwrap_or(31)))
    }

    /// Vectors 32 `number` and on, as a register shows them.
    pub(super) fn word(&self, number: usize) -> u32 {
        self.0.get(number).copied().unwrap_or(0)
    }
}
