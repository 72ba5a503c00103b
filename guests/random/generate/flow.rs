//! Branches, loops, calls, and what goes where a register or memory says.

use super::{Generator, RCX, Size};
use crate::encode::Operand;

impl Generator {
    /// A conditional branch over some items.
    pub(super) fn skip(&mut self, depth: u8) {
        let count = 1 + self.random.below(3);
        if self.random.one_in(4) {
            // jrcxz or jecxz has only a short form.
            let wide = self.random.one_in(2);
            let jump = self.code.short(if wide { &[0xe3] } else { &[0x67, 0xe3] });
            let register = self.target();
            self.code.bytes(&[0x48 | register >> 3, 0xff, 0xc0 | register & 7]); // inc register
            return self.code.land_short(jump);
        }
        let condition = self.random.below(16) as u8;
        let jump = self.code.jump(&[0x0f, 0x80 | condition]);
        self.items(count, depth);
        self.code.land(jump);
    }

    /// Items a few times over, counted by DEC or LOOP.
    pub(super) fn repeat(&mut self, depth: u8) {
        let counter = if self.random.one_in(2) { RCX } else { self.target() };
        if self.is_locked(counter) {
            return;
        }
        let times = 1 + self.random.below(6);
        self.code.constant(counter, times);
        let start = self.code.here();
        let before = self.constants;
        let count = 1 + self.random.below(3);
        self.with_locked(1 << counter, |it| it.items(count, depth));
        self.constants = if self.random.one_in(2) { before } else { self.constants };
        if counter == RCX && self.random.one_in(2) {
            // loop only reaches 128 bytes: over a jump back
            let out = self.code.short(&[0xe2, 2, 0xeb]);
            let back = self.code.jump(&[0xe9]);
            self.code.land_at(back, start);
            self.code.land_short(out);
        } else {
            self.code.bytes(&[0x48 | counter >> 3, 0xff, 0xc8 | counter & 7]); // dec counter
            let back = self.code.jump(&[0x0f, 0x85]);
            self.code.land_at(back, start);
        }
    }

    /// A call of items that end with a return.
    pub(super) fn call(&mut self, depth: u8) {
        let call = self.code.jump(&[0xe8]);
        let over = self.code.jump(&[0xe9]);
        self.code.land(call);
        self.items(2, depth);
        self.code.bytes(&[0xc3]);
        self.code.land(over);
    }

    /// A call, jump or return to an address that was computed.
    pub(super) fn indirect(&mut self, depth: u8) {
        let register = self.target();
        let r = register & 7;
        // lea register, [rip + target]
        let lea = self.code.jump(&[0x48 | register >> 3 << 2, 0x8d, 0x05 | r << 3]);
        let way = self.random.below(5);
        let place = self.with_locked(1 << register, |it| it.memory(8, false));
        if matches!(way, 2 | 3) {
            self.form(Size { bytes: 8 }, &[0x89], (register, true), 0, false, place);
        }
        let four = Size { bytes: 4 };
        match way {
            0 => self.form(four, &[0xff], (4, true), 0, false, Operand::Register(register)),
            1 => self.form(four, &[0xff], (2, true), 0, false, Operand::Register(register)),
            2 => self.form(four, &[0xff], (4, true), 0, false, place),
            3 => self.form(four, &[0xff], (2, true), 0, false, place),
            _ => self.code.bytes(&[0x6a, 7, 0x40 | register >> 3, 0x50 | r, 0xc2, 8, 0]), // push 7; push; ret 8
        }
        let over = self.code.jump(&[0xe9]);
        self.code.land(lea);
        self.items(1, depth);
        if matches!(way, 1 | 3) {
            self.code.bytes(&[0xc3]);
        }
        self.code.land(over);
    }
}
