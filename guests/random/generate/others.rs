//! The stack, flags, strings, vectors, code that changes, and oddities.

use super::{Generator, RAX, RBP, RBX, RCX, RDI, RSI, RSP, Size};
use crate::encode::{Form, Operand};
use crate::machine::{AREA_LEN, DIRECT_MAP, OUT_OF_REACH, area};

impl Generator {
    /// PUSH and POP of all kinds, in pairs; ENTER and LEAVE; the red zone.
    pub(super) fn stack(&mut self) {
        let plain = Size { bytes: 4 };
        match self.random.below(8) {
            0 => {
                let from = self.any();
                self.code.bytes(&[0x40 | from >> 3, 0x50 | from & 7]);
            }
            1 => {
                let from = self.memory(8, false);
                self.form(plain, &[0xff], (6, true), 0, false, from);
            }
            2 => {
                let value = self.random.next();
                self.code.bytes(&[0x6a]);
                self.code.immediate(value, 1);
            }
            3 => {
                let value = self.random.next();
                self.code.bytes(&[0x68]);
                self.code.immediate(value, 4);
            }
            4 => self.code.bytes(&[0x9c]),
            5 => self.code.bytes(&[0x54]), // push rsp
            6 if !self.is_locked(RBP) => {
                self.code.bytes(&[0xc8, 0x40, 0, 0]); // enter 64, 0
                self.with_locked(1 << RBP, |it| it.items(2, 0));
                return self.code.bytes(&[0xc9]);
            }
            _ => {
                // Below RSP nothing may change by itself.
                let register = self.any();
                let displacement = -8 - 8 * self.random.below(15) as i32;
                let place = Operand::Memory { prefixes: [0; 2], base: Some(RSP), index: None, displacement };
                self.form(Size { bytes: 8 }, &[0x89], (register, true), 0, false, place);
                let register = self.target();
                return self.form(Size { bytes: 8 }, &[0x03], (register, true), 0, false, place);
            }
        }
        if self.random.one_in(3) {
            let to = self.memory(8, false);
            self.form(plain, &[0x8f], (0, true), 0, false, to);
        } else if self.random.one_in(4) {
            self.code.bytes(&[0x48, 0x8d, 0x64, 0x24, 8]); // lea rsp, [rsp+8]
        } else {
            let to = self.target();
            self.code.bytes(&[0x40 | to >> 3, 0x58 | to & 7]);
        }
    }

    /// CLC STC CMC CLD STD, LAHF SAHF, POPF, CLI STI.
    pub(super) fn flags(&mut self) {
        match self.random.below(8) {
            0..4 => {
                let opcode = self.random.pick(&[0xf5, 0xf8, 0xf9, 0xfc, 0xfd]);
                self.code.bytes(&[opcode]);
            }
            4 if !self.is_locked(RAX) => {
                let opcode = self.random.pick(&[0x9e, 0x9f]);
                self.code.bytes(&[opcode]);
            }
            5 if self.ticking => {
                self.code.bytes(&[0xfa]);
                self.items(2, 0);
                self.code.bytes(&[0xfb]);
            }
            _ => {
                // Status flags and DF at will, IF as it is.
                let flip = self.random.next() & 0xcd5;
                self.code.bytes(&[0x9c, 0x48, 0x81, 0x34, 0x24]); // pushfq; xor qword [rsp], flip
                self.code.immediate(flip, 4);
                self.code.bytes(&[0x9d]);
            }
        }
    }

    /// MOVS CMPS STOS LODS SCAS with and without prefixes, XLAT.
    pub(super) fn string(&mut self) {
        let needed = 1 << RAX | 1 << RCX | 1 << RSI | 1 << RDI | 1 << RBX;
        if self.locked & needed != 0 {
            return;
        }
        if self.random.one_in(6) {
            self.code.constant(RBX, area() + 0x100);
            return self.code.bytes(&[0xd7]);
        }
        let middle = area() + AREA_LEN as u64 / 2;
        for register in [RSI, RDI] {
            let high = self.random.pick(&[0, 0, DIRECT_MAP, OUT_OF_REACH]);
            let near = self.random.below(0x100);
            self.code.constant(register, middle + near + high);
        }
        let count = self.random.below(40);
        self.code.constant(RCX, count);
        let direction = self.random.pick(&[0xfc, 0xfd]);
        let prefix: &[u8] = self.random.pick(&[&[], &[0xf2], &[0xf3]]);
        let (opcode, size) = (self.random.pick(&[0xa4, 0xa6, 0xaa, 0xac, 0xae]), self.size());
        self.code.bytes(&[direction]);
        // REPNE means nothing to those that do not compare.
        self.code.bytes(if prefix == [0xf2] && !matches!(opcode, 0xa6 | 0xae) { &[0xf3] } else { prefix });
        self.code.bytes(match size.bytes {
            2 => &[0x66],
            8 => &[0x48],
            _ => &[],
        });
        self.code.bytes(&[opcode | u8::from(size.bytes > 1)]);
    }

    /// Moves and integer arithmetic of SSE2.
    pub(super) fn vector(&mut self) {
        /// PADD PSUB, logic, PCMPEQ PCMPGT, PUNPCK, PMUL, PACK, PMIN PMAX PAVG PSADBW, shifts by a register.
        const ARITHMETIC: &[u8] = &[
            0xfc, 0xfd, 0xfe, 0xd4, 0xf8, 0xf9, 0xfa, 0xfb, 0xdb, 0xdf, 0xeb, 0xef, 0x74, 0x75, 0x76, 0x64,
            0x65, 0x66, 0x60, 0x61, 0x62, 0x6c, 0x68, 0x69, 0x6a, 0x6d, 0xd5, 0xe5, 0xf4, 0x67, 0x63, 0x6b,
            0xda, 0xde, 0xea, 0xee, 0xe0, 0xe3, 0xf6, 0xd1, 0xf1, 0xe1,
        ];
        /// Prefix and opcode of loads and stores: MOVUPS MOVDQU MOVQ MOVSD MOVSS MOVLPD MOVHPD.
        const MOVES: &[(u8, u8)] = &[
            (0, 0x10),
            (0, 0x11),
            (0xf3, 0x6f),
            (0xf3, 0x7f),
            (0xf3, 0x7e),
            (0x66, 0xd6),
            (0xf2, 0x10),
            (0xf2, 0x11),
            (0xf3, 0x10),
            (0xf3, 0x11),
            (0x66, 0x12),
            (0x66, 0x13),
            (0x66, 0x16),
            (0x66, 0x17),
        ];
        let register = self.any();
        let (prefix, opcode, rm, wide) = match self.random.below(4) {
            0 => (0x66, self.random.pick(ARITHMETIC), self.memory(16, true), false),
            1 => (0x66, self.random.pick(ARITHMETIC), Operand::Register(self.any()), false),
            2 => {
                let (prefix, opcode) = self.random.pick(MOVES);
                (prefix, opcode, self.memory(16, false), false)
            }
            _ => {
                // MOVD MOVQ
                let (wide, out) = (self.random.one_in(2), self.random.one_in(2));
                let rm = if out { Operand::Register(self.target()) } else { self.memory(8, false) };
                (0x66, if out { 0x7e } else { 0x6e }, rm, wide)
            }
        };
        let prefixes: &[u8] = if prefix == 0 { &[] } else { &[prefix] };
        let opcode = &[0x0f, opcode];
        self.code.form(Form { prefixes, opcode, wide, rex: false, register, immediate: 0 }, rm);
    }

    /// MOV of a constant that other instructions may change, or such a change.
    pub(super) fn change_code(&mut self) {
        let slot = self.random.below(8) as usize;
        let place = self.constants[slot];
        if place == 0 || self.random.one_in(3) {
            let (register, value) = (self.target(), self.random.next());
            self.constants[slot] = self.code.constant(register, value);
            return;
        }
        let size = self.size();
        let to = self.operand_at(place);
        let from = self.other(size, to, false);
        let opcode = [self.random.pick(&[0x00, 0x30, 0x88]) | u8::from(size.bytes > 1)];
        self.form(size, &opcode, from, 0, false, to);
    }

    /// What does nothing, and what shows state that ring 3 does not have.
    pub(super) fn odd(&mut self) {
        let register = self.target();
        let b = register >> 3;
        match self.random.below(6) {
            0 => {
                let nothing: &[u8] = self.random.pick(&[
                    &[0x90],
                    &[0xf3, 0x90],
                    &[0x66, 0x0f, 0x1f, 0x44, 0, 0],
                    &[0xf3, 0x0f, 0x1e, 0xfa],
                    &[0x0f, 0xae, 0xf0],
                    &[0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8], // swapgs; swapgs
                ]);
                self.code.bytes(nothing);
            }
            1 => {
                let from = self.random.below(4) as u8; // es cs ss ds
                self.code.bytes(&[0x48 | b, 0x8c, 0xc0 | from << 3 | register & 7]);
            }
            2 => self.code.bytes(&[0x40 | b, 0x0f, 0x20, 0xd8 | register & 7]), // mov register, cr3
            3 => self.code.bytes(&[0xf3, 0x48 | b, 0x0f, 0xae, 0xc0 | register & 7]), // rdfsbase
            4 => self.code.bytes(&[0x48 | b, 0x89, 0xe0 | register & 7]),       // mov register, rsp
            _ => {
                let displacement = self.random.next() as i8;
                self.code.bytes(&[0x48 | b << 2, 0x8d, 0x44 | (register & 7) << 3, 0x24]); // lea register, [rsp+n]
                self.code.immediate(displacement as u64, 1);
            }
        }
    }
}
