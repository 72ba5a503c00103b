//! Integer arithmetic and moves.

use super::{Generator, RAX, RCX, RDX, Size};
use crate::encode::{Form, Operand};
use crate::machine::{AREA_LEN, DIRECT_MAP, OUT_OF_REACH, area};

impl Generator {
    /// ADD OR ADC SBB AND SUB XOR CMP TEST.
    pub(super) fn arithmetic(&mut self) {
        const CMP: u8 = 7;
        let (size, operation) = (self.size(), self.random.below(8) as u8);
        let wide = u8::from(size.bytes > 1);
        match self.random.below(4) {
            0 => {
                let to = self.destination(size);
                let lock = Self::is_memory(to) && operation != CMP && self.random.one_in(3);
                let short = wide == 1 && self.random.one_in(2);
                let len = if short { 1 } else { size.immediate() };
                let opcode = if short { 0x83 } else { 0x80 | wide };
                self.form(size, &[opcode], (operation, true), len, lock, to);
                let value = self.random.next();
                self.code.immediate(value, len);
            }
            1 => {
                let to = self.destination(size);
                let lock = Self::is_memory(to) && operation != CMP && self.random.one_in(3);
                let from = self.other(size, to, false);
                self.form(size, &[operation << 3 | wide], from, 0, lock, to);
            }
            2 => {
                let from = self.memory(size.bytes.into(), false);
                let to = self.other(size, from, true);
                self.form(size, &[operation << 3 | 2 | wide], to, 0, false, from);
            }
            _ => {
                let to = self.destination(size);
                let from = self.other(size, to, false);
                self.form(size, &[0x84 | wide], from, 0, false, to);
            }
        }
    }

    /// NOT NEG INC DEC.
    pub(super) fn unary(&mut self) {
        let size = self.size();
        let to = self.destination(size);
        let lock = Self::is_memory(to) && self.random.one_in(3);
        let (opcode, extension) = self.random.pick(&[(0xf6, 2), (0xf6, 3), (0xfe, 0), (0xfe, 1)]);
        self.form(size, &[opcode | u8::from(size.bytes > 1)], (extension, true), 0, lock, to);
    }

    /// ROL ROR RCL RCR SHL SHR SAR, SHLD SHRD.
    pub(super) fn shift(&mut self) {
        let size = self.size();
        let to = self.with_locked(1 << RCX, |it| it.destination(size));
        let wide = u8::from(size.bytes > 1);
        let bits = u64::from(size.bytes) * 8;
        let operation = self.random.pick(&[0, 1, 2, 3, 4, 5, 7]);
        // CF is undefined for shifts by more than the operand has, and so is the result of SHLD.
        let count = 1 + self.random.below(bits - 1) as u8;
        if wide == 1 && size.bytes > 2 && self.random.one_in(4) {
            let from = self.any();
            // Not in memory: QEMU 7.2 computes RIP-relative addresses of this one wrongly.
            let to = if Self::is_memory(to) { Operand::Register(self.target()) } else { to };
            let opcode = [0x0f, self.random.pick(&[0xa4, 0xac])];
            self.form(size, &opcode, (from, true), 1, false, to);
            self.code.bytes(&[count]);
        } else {
            match self.random.below(3) {
                0 => self.form(size, &[0xd0 | wide], (operation, true), 0, false, to),
                1 if !self.is_locked(RCX) => {
                    self.code.bytes(&[0xb1, count]); // mov cl, count
                    self.form(size, &[0xd2 | wide], (operation, true), 0, false, to);
                }
                _ => {
                    self.form(size, &[0xc0 | wide], (operation, true), 1, false, to);
                    self.code.bytes(&[count]);
                }
            }
        }
        self.keep_flags(&[2, 3]); // CF
    }

    /// MUL and IMUL with one, two, three operands.
    pub(super) fn multiply(&mut self) {
        if self.random.one_in(2) {
            let size = self.wide_size();
            let from = self.memory(size.bytes.into(), false);
            let to = (self.target(), true);
            match self.random.below(3) {
                0 => self.form(size, &[0x0f, 0xaf], to, 0, false, from),
                1 => {
                    self.form(size, &[0x6b], to, 1, false, from);
                    let value = self.random.next();
                    self.code.immediate(value, 1);
                }
                _ => {
                    self.form(size, &[0x69], to, size.immediate(), false, from);
                    let value = self.random.next();
                    self.code.immediate(value, size.immediate());
                }
            }
        } else if !self.is_locked(RAX) && !self.is_locked(RDX) {
            let size = self.size();
            let from = self.memory(size.bytes.into(), false);
            let extension = self.random.pick(&[4, 5]);
            self.form(size, &[0xf6 | u8::from(size.bytes > 1)], (extension, true), 0, false, from);
        } else {
            return;
        }
        self.keep_flags(&[0, 1, 2, 3]); // OF, CF
    }

    /// DIV and IDIV whose quotients fit: of a positive number of single width, by what is not zero.
    pub(super) fn divide(&mut self) {
        if self.is_locked(RAX) || self.is_locked(RDX) {
            return;
        }
        let size = Size { bytes: self.random.pick(&[4, 8]) };
        let by = self.with_locked(1 << RAX | 1 << RDX, |it| {
            if it.random.one_in(2) { Operand::Register(it.target()) } else { it.memory(8, false) }
        });
        self.form(size, &[0x83], (1, true), 1, false, by); // or by, 1
        self.code.bytes(&[1]);
        self.code.bytes(&[0x31, 0xd2]); // xor edx, edx
        self.form(size, &[0xd1], (5, true), 0, false, Operand::Register(RAX)); // shr rax
        let extension = self.random.pick(&[6, 7]);
        self.form(size, &[0xf7], (extension, true), 0, false, by);
        self.define_flags();
    }

    /// BT BTS BTR BTC, BSF BSR POPCNT, BSWAP.
    pub(super) fn bit(&mut self) {
        let size = self.wide_size();
        let operation = self.random.pick(&[4_u8, 5, 6, 7]);
        match self.random.below(5) {
            0 => {
                let to = self.destination(size);
                let lock = Self::is_memory(to) && operation != 4 && self.random.one_in(3);
                self.form(size, &[0x0f, 0xba], (operation, true), 1, lock, to);
                let value = self.random.next();
                self.code.immediate(value, 1);
                self.keep_flags(&[2, 3]);
            }
            1 => {
                // A register counts bits from the operand on, here within the area.
                let middle = area() + AREA_LEN as u64 / 2;
                let to = self.operand_at(middle);
                let index = self.with_locked(Self::needed(to), Self::target);
                let bit = self.random.below(0x6000).wrapping_sub(0x3000);
                self.code.constant(index, bit);
                self.form(size, &[0x0f, 0x83 | operation << 3], (index, true), 0, false, to);
                self.keep_flags(&[2, 3]);
            }
            2 => {
                let (from, to) = (self.target(), self.target());
                self.form(size, &[0x83], (1, true), 1, false, Operand::Register(from)); // or from, 64
                self.code.bytes(&[64]);
                let opcode = [0x0f, self.random.pick(&[0xbc, 0xbd])];
                self.form(size, &opcode, (to, true), 0, false, Operand::Register(from));
                self.define_flags();
            }
            3 => {
                let from = self.memory(size.bytes.into(), false);
                let register = self.target();
                let prefixes: &[u8] = if size.bytes == 2 { &[0x66, 0xf3] } else { &[0xf3] };
                let wide = size.bytes == 8;
                let opcode = &[0x0f, 0xb8];
                self.code.form(Form { prefixes, opcode, wide, rex: false, register, immediate: 0 }, from);
            }
            _ => {
                let register = self.target();
                let wide = u8::from(self.random.one_in(2)) << 3;
                self.code.bytes(&[0x40 | wide | register >> 3, 0x0f, 0xc8 | register & 7]);
            }
        }
    }

    /// MOVZX MOVSX MOVSXD, CBW to CQO, LEA.
    pub(super) fn move_extended(&mut self) {
        let size = self.wide_size();
        let to = (self.target(), true);
        match self.random.below(4) {
            0 => {
                let from = self.memory(2, false);
                let opcode = [0x0f, self.random.pick(&[0xb6, 0xb7, 0xbe, 0xbf])];
                self.form(size, &opcode, to, 0, false, from);
            }
            1 => {
                let from = self.memory(4, false);
                self.form(Size { bytes: 8 }, &[0x63], to, 0, false, from);
            }
            2 => {
                let from = self.memory(1, false);
                self.form(size, &[0x8d], to, 0, false, from);
            }
            _ if !self.is_locked(RAX) && !self.is_locked(RDX) => {
                let rex: &[u8] = self.random.pick(&[&[0x48], &[0x66], &[]]);
                self.code.bytes(rex);
                let opcode = self.random.pick(&[0x98, 0x99]);
                self.code.bytes(&[opcode]);
            }
            _ => {}
        }
    }

    /// CMOVcc SETcc.
    pub(super) fn on_condition(&mut self) {
        let condition = self.random.below(16) as u8;
        if self.random.one_in(2) {
            let to = self.destination(Size { bytes: 1 });
            return self.set(condition, to);
        }
        let size = self.wide_size();
        let from = self.memory(size.bytes.into(), false);
        let to = self.target();
        self.form(size, &[0x0f, 0x40 | condition], (to, true), 0, false, from);
    }

    /// XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B.
    pub(super) fn exchange(&mut self) {
        let size = self.size();
        let wide = u8::from(size.bytes > 1);
        let pair = [RAX, RDX].iter().all(|register| !self.is_locked(*register));
        match self.random.below(4) {
            0 => {
                let to = self.destination(size);
                let other = self.other(size, to, true);
                self.form(size, &[0x86 | wide], other, 0, false, to);
            }
            1 => {
                let to = self.destination(size);
                let lock = Self::is_memory(to) && self.random.one_in(2);
                let other = self.other(size, to, true);
                self.form(size, &[0x0f, 0xc0 | wide], other, 0, lock, to);
            }
            2 if pair => {
                let to = self.with_locked(1 << RAX, |it| it.memory(size.bytes.into(), false));
                if self.random.one_in(2) {
                    // So that it does exchange.
                    self.form(size, &[0x8a | wide], (RAX, true), 0, false, to);
                }
                let other = self.other(size, to, false);
                let lock = self.random.one_in(2);
                self.form(size, &[0x0f, 0xb0 | wide], other, 0, lock, to);
            }
            // QEMU 7.2 leaves nonsense in other flags than ZF, TF among them, for an interrupt to save.
            _ if pair && !self.ticking => {
                let size = Size { bytes: self.random.pick(&[4, 8]) };
                let to = self.memory(16, true);
                let lock = self.random.one_in(2);
                self.form(size, &[0x0f, 0xc7], (1, true), 0, lock, to);
                self.keep_flags(&[4, 5]);
            }
            _ => {}
        }
    }

    /// MOV.
    pub(super) fn plain_move(&mut self) {
        let size = self.size();
        let wide = u8::from(size.bytes > 1);
        match self.random.below(4) {
            0 => {
                let to = self.memory(size.bytes.into(), false);
                let from = self.other(size, to, false);
                self.form(size, &[0x88 | wide], from, 0, false, to);
            }
            1 => {
                let from = self.memory(size.bytes.into(), false);
                let to = self.other(size, from, true);
                self.form(size, &[0x8a | wide], to, 0, false, from);
            }
            2 => {
                let to = self.memory(size.bytes.into(), false);
                self.form(size, &[0xc6 | wide], (0, true), size.immediate(), false, to);
                let value = self.random.next();
                self.code.immediate(value, size.immediate());
            }
            _ if !self.is_locked(RAX) => {
                // Between AL to RAX and an address in the instruction.
                let high = self.random.pick(&[0, DIRECT_MAP, OUT_OF_REACH]);
                let place = self.place(size.bytes.into(), false) + high;
                self.code.bytes(size.prefixes(false));
                if size.bytes == 8 {
                    self.code.bytes(&[0x48]);
                }
                let opcode = self.random.pick(&[0xa0, 0xa2]);
                self.code.bytes(&[opcode | wide]);
                self.code.immediate(place, 8);
            }
            _ => {}
        }
    }
}
