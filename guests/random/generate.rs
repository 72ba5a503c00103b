//! What sequences are made of: instructions whose results, flags included, the manuals define.
//!
//! RSP is never written but by the stack's instructions. Registers that a loop or a pointer needs are `locked`
//! meanwhile. Flags that an instruction leaves undefined are defined anew before anything can see them.

mod flow;
mod integer;
mod others;

use crate::encode::{Code, Form, Operand, Random};
use crate::machine::{AREA_LEN, DIRECT_MAP, OUT_OF_REACH, area};

const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RBX: u8 = 3;
const RSP: u8 = 4;
const RBP: u8 = 5;
const RSI: u8 = 6;
const RDI: u8 = 7;

pub(crate) struct Generator {
    random: Random,
    code: Code,
    locked: u16,
    ticking: bool,
    /// Addresses of immediates that later code may change.
    constants: [u64; 8],
}

/// Operand size.
#[derive(Clone, Copy)]
struct Size {
    bytes: u8,
}

impl Size {
    /// Immediates have at most 4 bytes.
    fn immediate(self) -> u8 {
        self.bytes.min(4)
    }

    fn prefixes(self, lock: bool) -> &'static [u8] {
        match (self.bytes == 2, lock) {
            (false, false) => &[],
            (true, false) => &[0x66],
            (false, true) => &[0xf0],
            (true, true) => &[0x66, 0xf0],
        }
    }
}

impl Generator {
    pub(crate) fn new(seed: u64, ticking: bool) -> Self {
        let mut random = Random::new(seed);
        // Often just before the end of a page.
        let start = if random.one_in(2) { 0x1000 - random.below(0x200) } else { random.below(0x1000) };
        Generator { random, code: Code::new(start), locked: 1 << RSP, ticking, constants: [0; 8] }
    }

    /// The code, of at most so many parts.
    pub(crate) fn sequence(mut self, most: u64) -> &'static [u8] {
        let items = 10 + self.random.below(50);
        self.items(items.min(most), 3);
        self.code.finish()
    }

    fn items(&mut self, count: u64, depth: u8) {
        for _ in 0..count {
            self.item(depth);
        }
    }

    fn item(&mut self, depth: u8) {
        match self.random.below(if depth > 0 { 24 } else { 20 }) {
            0..4 => self.arithmetic(),
            4 => self.unary(),
            5 => self.shift(),
            6 => self.multiply(),
            7 => self.divide(),
            8 => self.bit(),
            9 => self.move_extended(),
            10 => self.on_condition(),
            11 => self.exchange(),
            12 => self.stack(),
            13 => self.flags(),
            14 => self.string(),
            15 | 16 => self.vector(),
            17 => self.change_code(),
            18 => self.plain_move(),
            19 => self.odd(),
            20 => self.skip(depth - 1),
            21 => self.repeat(depth - 1),
            22 => self.call(depth - 1),
            _ => self.indirect(depth - 1),
        }
    }

    // Operands.

    fn is_locked(&self, register: u8) -> bool {
        self.locked >> register & 1 != 0
    }

    /// A register to write.
    fn target(&mut self) -> u8 {
        loop {
            let register = self.random.below(16) as u8;
            if !self.is_locked(register) {
                return register;
            }
        }
    }

    fn any(&mut self) -> u8 {
        self.random.below(16) as u8
    }

    fn size(&mut self) -> Size {
        Size { bytes: self.random.pick(&[1, 2, 4, 8]) }
    }

    fn wide_size(&mut self) -> Size {
        Size { bytes: self.random.pick(&[2, 4, 8]) }
    }

    /// Runs `inside` with a register locked.
    fn with_locked<T>(&mut self, registers: u16, inside: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.locked;
        self.locked |= registers;
        let result = inside(self);
        self.locked = before;
        result
    }

    /// An address in the area with `len` bytes behind it.
    fn place(&mut self, len: u64, aligned: bool) -> u64 {
        let middle = AREA_LEN as u64 / 2;
        let offset = match self.random.below(4) {
            // Around a page's end.
            0 => middle - self.random.below(16),
            _ => self.random.below(AREA_LEN as u64 - len),
        };
        area() + if aligned { offset & !15 & (AREA_LEN as u64 - 32) } else { offset }
    }

    /// An operand of `len` bytes in the area, after loading the registers that it takes.
    fn memory(&mut self, len: u64, aligned: bool) -> Operand {
        let place = self.place(len, aligned);
        self.operand_at(place)
    }

    fn operand_at(&mut self, place: u64) -> Operand {
        let fits = self.locked.count_ones() < 12;
        let displacement = match self.random.below(3) {
            0 => 0,
            1 => self.random.next() as i8 as i32,
            _ => self.random.next() as i32 >> 8,
        };
        match self.random.below(12) {
            0 | 1 => Operand::Relative(place),
            2 => Operand::Memory { prefixes: [0; 2], base: None, index: None, displacement: place as i32 },
            3 => {
                let displacement = (place - area()) as i32;
                let segment = self.random.pick(&[0x64, 0x65]);
                Operand::Memory { prefixes: [segment, 0], base: None, index: None, displacement }
            }
            _ if !fits => Operand::Relative(place),
            4 => {
                // Addresses of 32 bits; what is above them in the register must not matter.
                let base = self.target();
                let garbage = self.random.next() << 32;
                let value = (place as u32).wrapping_sub(displacement as u32);
                self.code.constant(base, u64::from(value) | garbage);
                Operand::Memory { prefixes: [0x67, 0], base: Some(base), index: None, displacement }
            }
            way => {
                let place = match way {
                    5 | 6 => place,
                    7..10 => place + DIRECT_MAP,
                    _ => place + OUT_OF_REACH,
                };
                let base = self.target();
                let index = self.with_locked(1 << base, |it| it.random.one_in(2).then(|| it.target()));
                let scale = self.random.below(4) as u8;
                let mut value = place.wrapping_sub(i64::from(displacement).cast_unsigned());
                if let Some(index) = index {
                    let steps = self.random.below(0x1_0000).wrapping_sub(0x8000);
                    self.code.constant(index, steps);
                    value = value.wrapping_sub(steps << scale);
                }
                self.code.constant(base, value);
                let index = index.map(|index| (index, scale));
                Operand::Memory { prefixes: [0; 2], base: Some(base), index, displacement }
            }
        }
    }

    /// Registers that an operand's address needs.
    fn needed(operand: Operand) -> u16 {
        match operand {
            Operand::Memory { base, index, .. } => {
                base.map_or(0, |base| 1 << base) | index.map_or(0, |(index, _)| 1 << index)
            }
            _ => 0,
        }
    }

    /// Whether the operand fits beside AH to BH, which exclude a REX prefix.
    fn is_low(operand: Operand) -> bool {
        match operand {
            Operand::Register(register) => register < 4,
            _ => Self::needed(operand) < 1 << 8,
        }
    }

    /// The instruction's other operand, to be written or read; and whether it needs a REX prefix.
    fn other(&mut self, size: Size, operand: Operand, write: bool) -> (u8, bool) {
        let high = self.random.below(4) as u8;
        if size.bytes == 1
            && Self::is_low(operand)
            && self.random.one_in(2)
            && !(write && self.is_locked(high))
        {
            return (4 + high, false);
        }
        let register = if write { self.target() } else { self.any() };
        (register, true)
    }

    fn form(
        &mut self,
        size: Size,
        opcode: &[u8],
        register: (u8, bool),
        immediate: u8,
        lock: bool,
        rm: Operand,
    ) {
        let (register, rex) = register;
        let rex = rex && size.bytes == 1;
        let prefixes = size.prefixes(lock);
        self.code.form(Form { prefixes, opcode, wide: size.bytes == 8, rex, register, immediate }, rm);
    }

    /// A register or memory to be written.
    fn destination(&mut self, size: Size) -> Operand {
        if self.random.one_in(2) {
            Operand::Register(self.target())
        } else {
            self.memory(size.bytes.into(), false)
        }
    }

    fn is_memory(operand: Operand) -> bool {
        !matches!(operand, Operand::Register(_))
    }

    /// Defines all flags: `cmp` of two registers.
    fn define_flags(&mut self) {
        let (a, b) = (self.any(), self.any());
        self.code.form(
            Form { prefixes: &[], opcode: &[0x39], wide: true, rex: false, register: a, immediate: 0 },
            Operand::Register(b),
        );
    }

    /// Keeps some flags, by `setcc`, before the others are defined anew.
    fn keep_flags(&mut self, conditions: &[u8]) {
        let condition = self.random.pick(conditions);
        let register = self.target();
        self.set(condition, Operand::Register(register));
        self.define_flags();
    }

    fn set(&mut self, condition: u8, to: Operand) {
        let opcode = [0x0f, 0x90 | condition];
        self.code.form(
            Form { prefixes: &[], opcode: &opcode, wide: false, rex: true, register: 0, immediate: 0 },
            to,
        );
    }
}
