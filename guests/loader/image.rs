//! A program's file and what it finds on its stack (System V ABI for AMD64, sections 3.4.1 and 5.1).

use rt::boot::Boot;

/// Where a program lies that may lie anywhere: behind all RAM.
const BASE: u64 = 0x4000_0000;
/// The top of its stack, and how large that is.
pub(crate) const STACK_TOP: u64 = 0x20_0000_0000;
pub(crate) const STACK_LEN: u64 = 1 << 20;

const LOAD: u32 = 1;
const DYNAMIC: u16 = 3;

/// A program's file.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    file: &'static [u8],
    base: u64,
}

/// A part of it that is loaded.
pub(crate) struct Segment {
    /// Where it begins.
    pub(crate) start: u64,
    /// Its first bytes; zeroes follow.
    pub(crate) bytes: &'static [u8],
    /// Its length in memory.
    pub(crate) len: u64,
}

impl Image {
    /// The program in this file, if it is an ELF64 executable for x86_64 with all that its headers say.
    pub(crate) fn read(file: &'static [u8]) -> Option<Self> {
        let is_elf = file.get(..6)? == b"\x7fELF\x02\x01" && half(file, 18)? == 62;
        let base = if half(file, 16)? == DYNAMIC { BASE } else { 0 };
        let image = Image { file, base };
        (is_elf && (0..image.count()).all(|number| image.header(number).is_some())).then_some(image)
    }

    /// Its first instruction.
    pub(crate) fn entry(self) -> u64 {
        self.base + word(self.file, 24).unwrap_or(0)
    }

    fn headers(self) -> u64 {
        word(self.file, 32).unwrap_or(0)
    }

    fn count(self) -> u64 {
        half(self.file, 56).unwrap_or(0).into()
    }

    fn header(self, number: u64) -> Option<&'static [u8]> {
        let at = self.headers().checked_add(number * 56)? as usize;
        self.file.get(at..at + 56)
    }

    /// What of it is loaded.
    pub(crate) fn segments(self) -> impl Iterator<Item = Segment> {
        (0..self.count()).filter_map(move |number| {
            let header = self.header(number)?;
            let (offset, len) = (word(header, 8)? as usize, word(header, 32)? as usize);
            let is_loaded = u32::from_le_bytes(header[..4].try_into().ok()?) == LOAD;
            let bytes = self.file.get(offset..offset.checked_add(len)?)?;
            let start = self.base + word(header, 16)?;
            is_loaded.then_some(Segment { start, bytes, len: word(header, 40)? })
        })
    }

    /// The first address behind it.
    pub(crate) fn end(self) -> u64 {
        self.segments().map(|segment| segment.start + segment.len).max().unwrap_or(self.base)
    }

    /// Puts arguments, environment and auxiliary vector on its stack; the stack pointer.
    pub(crate) fn stack(self, boot: &'static Boot) -> u64 {
        const AT: [u64; 8] = [3, 4, 5, 6, 7, 9, 23, 25];
        let mut stack = Stack { at: STACK_TOP };
        let mut words = [0; 160];
        let mut count = 0;
        let mut push = |word| {
            words[count] = word;
            count += 1;
        };
        let random = stack.put(b"sixteen bytes...");
        let argv = boot.cmdline.argv();
        push(argv.len() as u64);
        argv.iter().for_each(|text| push(stack.put(text)));
        push(0);
        boot.cmdline.env().iter().for_each(|text| push(stack.put(text)));
        push(0);
        // Program headers, their size and number, page size, no interpreter, entry, not secure, random bytes.
        let values =
            [self.base + self.headers(), 56, self.count(), 0x1000, 0, self.entry(), 0, random];
        for (kind, value) in AT.into_iter().zip(values) {
            push(kind);
            push(value);
        }
        push(0);
        push(0);
        let bottom = (stack.at - count as u64 * 8) & !15;
        for (address, word) in (bottom..).step_by(8).zip(&words[..count]) {
            // SAFETY: the stack's pages appear when they are touched.
            unsafe { (address as *mut u64).write_volatile(*word) };
        }
        bottom
    }
}

/// A stack that grows down.
struct Stack {
    at: u64,
}

impl Stack {
    /// Puts a text with a NUL behind it there; its address.
    fn put(&mut self, text: &[u8]) -> u64 {
        self.at -= text.len() as u64 + 1;
        for (address, byte) in (self.at..).zip(text.iter().chain(&[0])) {
            // SAFETY: the stack's pages appear when they are touched.
            unsafe { (address as *mut u8).write_volatile(*byte) };
        }
        self.at
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
