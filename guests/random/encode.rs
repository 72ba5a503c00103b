//! Instructions as bytes, and the chance that picks them.

use crate::machine::exit;
use rt::cell::OneCpu;

/// xorshift64* (Vigna 2016).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8 ^ self.0 << 32
    }

    /// 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 7) % bound
    }

    /// Once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// The operand of a ModRM byte's lower part.
#[derive(Clone, Copy)]
pub(crate) enum Operand {
    Register(u8),
    /// Prefixes (segment, address size), base, index and its scale's logarithm, displacement.
    Memory {
        prefixes: [u8; 2],
        base: Option<u8>,
        index: Option<(u8, u8)>,
        displacement: i32,
    },
    /// An address relative to RIP.
    Relative(u64),
}

/// An instruction with a ModRM byte, but for its immediate.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a> {
    /// Bytes in front of REX.
    pub(crate) prefixes: &'a [u8],
    pub(crate) opcode: &'a [u8],
    /// 64-bit operands.
    pub(crate) wide: bool,
    /// REX even if it is all zeros: SPL to DIL instead of AH to BH.
    pub(crate) rex: bool,
    /// The other part of the ModRM byte.
    pub(crate) register: u8,
    /// Bytes of immediate to come.
    pub(crate) immediate: u8,
}

const CODE_LEN: usize = 0x4000;

#[repr(C, align(0x1000))]
struct Buffer([u8; CODE_LEN]);

static BUFFER: OneCpu<Buffer> = OneCpu::new(Buffer([0xcc; CODE_LEN]));

/// Code being written.
pub(crate) struct Code {
    bytes: &'static mut [u8; CODE_LEN],
    start: usize,
    at: usize,
}

impl Code {
    /// Begins `start` bytes into the buffer.
    pub(crate) fn new(start: u64) -> Self {
        // SAFETY: one sequence is generated at a time, and none runs meanwhile.
        let Buffer(bytes) = unsafe { BUFFER.get() };
        bytes.fill(0xcc);
        Code { bytes, start: start as usize, at: start as usize }
    }

    /// Address of the next byte.
    pub(crate) fn here(&self) -> u64 {
        self.bytes.as_ptr() as u64 + self.at as u64
    }

    /// Ends the sequence and returns its code.
    pub(crate) fn finish(mut self) -> &'static [u8] {
        let jump = self.jump(&[0xe9]);
        self.land_at(jump, exit());
        &self.bytes[self.start..self.at]
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    pub(crate) fn immediate(&mut self, value: u64, len: u8) {
        self.bytes(&value.to_le_bytes()[..usize::from(len)]);
    }

    /// `mov register, value` in 64 bits; returns the value's address.
    pub(crate) fn constant(&mut self, register: u8, value: u64) -> u64 {
        self.bytes(&[0x48 | register >> 3, 0xb8 | register & 7]);
        self.immediate(value, 8);
        self.here() - 8
    }

    /// A branch with a displacement of 32 bits to be filled in.
    pub(crate) fn jump(&mut self, opcode: &[u8]) -> usize {
        self.bytes(opcode);
        self.bytes(&[0; 4]);
        self.at - 4
    }

    /// A branch with a displacement of 8 bits to be filled in.
    pub(crate) fn short(&mut self, opcode: &[u8]) -> usize {
        self.bytes(opcode);
        self.bytes(&[0]);
        self.at - 1
    }

    pub(crate) fn land(&mut self, jump: usize) {
        self.land_at(jump, self.here());
    }

    pub(crate) fn land_at(&mut self, jump: usize, target: u64) {
        let next = self.bytes.as_ptr() as u64 + jump as u64 + 4;
        self.bytes[jump..jump + 4].copy_from_slice(&(target.wrapping_sub(next) as u32).to_le_bytes());
    }

    pub(crate) fn land_short(&mut self, jump: usize) {
        self.bytes[jump] = (self.at - jump - 1) as u8;
    }

    pub(crate) fn form(&mut self, form: Form<'_>, operand: Operand) {
        let (base, index) = match operand {
            Operand::Register(register) => (register, 0),
            Operand::Memory { prefixes, base, index, .. } => {
                prefixes.iter().filter(|prefix| **prefix != 0).for_each(|prefix| self.bytes(&[*prefix]));
                (base.unwrap_or(0), index.map_or(0, |(index, _)| index))
            }
            Operand::Relative(_) => (0, 0),
        };
        self.bytes(form.prefixes);
        let rex = u8::from(form.wide) << 3 | form.register >> 3 << 2 | index >> 3 << 1 | base >> 3;
        if rex != 0 || form.rex {
            self.bytes(&[0x40 | rex]);
        }
        self.bytes(form.opcode);
        let register = (form.register & 7) << 3;
        match operand {
            Operand::Register(rm) => self.bytes(&[0xc0 | register | rm & 7]),
            Operand::Relative(target) => {
                self.bytes(&[register | 5]);
                let next = self.here() + 4 + u64::from(form.immediate);
                self.immediate(target.wrapping_sub(next), 4);
            }
            Operand::Memory { base, index, displacement, .. } => {
                self.memory(register, base, index, displacement);
            }
        }
    }

    /// ModRM, SIB and displacement (Intel SDM vol. 2 §2.1.5).
    fn memory(&mut self, register: u8, base: Option<u8>, index: Option<(u8, u8)>, displacement: i32) {
        let short = i8::try_from(displacement).is_ok();
        let (mode, len) = match base {
            None => (0, 4),
            Some(base) if displacement == 0 && base & 7 != 5 => (0, 0),
            Some(_) if short => (0x40, 1),
            Some(_) => (0x80, 4),
        };
        let low = base.map_or(5, |base| base & 7);
        match index {
            None if low != 4 && base.is_some() => self.bytes(&[mode | register | low]),
            _ => {
                let (index, scale) = index.unwrap_or((4, 0));
                self.bytes(&[mode | register | 4, scale << 6 | (index & 7) << 3 | low]);
            }
        }
        self.immediate(displacement as u64, len);
    }
}
