//! The interrupt controllers: two Intel 8259A, the second behind input 2 of the first, as in the IBM PC AT
//! (Intel 8259A data sheet, order number 231468, *the data sheet* below).
//!
//! Differences from the chip, none of which a working driver sees: an edge stays latched until it is acknowledged even
//! if the line falls; the cascade input counts as level-triggered; 8080 vectors and buffered mode don't exist.

/// Input of the first chip that the second hangs on.
const CASCADE: u8 = 2;
/// The input that a chip names when nothing asks any more (the data sheet, "Edge and level triggered modes").
const SPURIOUS: u8 = 7;

/// ICW1, also told by bit 4 of a write to the even port.
const ICW1: u8 = 1 << 4;
const ICW1_NEEDS_ICW4: u8 = 1 << 0;
const ICW1_SINGLE: u8 = 1 << 1;
const ICW1_LEVEL: u8 = 1 << 3;
const ICW4_AUTO_EOI: u8 = 1 << 1;
const ICW4_FULLY_NESTED: u8 = 1 << 4;
/// Told apart from OCW2 by bit 3.
const OCW3: u8 = 1 << 3;
const OCW3_READ_IN_SERVICE: u8 = 1 << 0;
const OCW3_READ: u8 = 1 << 1;
const OCW3_POLL: u8 = 1 << 2;
const OCW3_SPECIAL_MASK: u8 = 1 << 5;
const OCW3_SET_SPECIAL_MASK: u8 = 1 << 6;

/// Inputs that may be level-triggered, per chip: never the timer, the keyboard, the cascade, the clock, the FPU
/// (Intel PIIX4 data sheet, "ELCR1", "ELCR2").
const LEVEL_WRITABLE: [u8; 2] = [0xf8, 0xde];

/// What the next write to the odd port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Ocw1,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Debug)]
struct Chip {
    /// Edges that have come and not been acknowledged.
    latched: u8,
    lines: u8,
    in_service: u8,
    mask: u8,
    /// Inputs that are level-triggered by nature or by the ELCR.
    level: u8,
    /// ICW1 made all inputs level-triggered.
    all_level: bool,
    vector_base: u8,
    expects: Expects,
    icw1: u8,
    /// The input with the lowest priority; the one after it has the highest.
    lowest: u8,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    fully_nested: bool,
    read_in_service: bool,
    poll: bool,
}

impl Chip {
    /// As a PC's BIOS leaves it, with every input unmasked.
    fn new(vector_base: u8, level: u8) -> Self {
        Self {
            latched: 0,
            lines: 0,
            in_service: 0,
            mask: 0,
            level,
            all_level: false,
            vector_base,
            expects: Expects::Ocw1,
            icw1: 0,
            lowest: 7,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_mask: false,
            fully_nested: false,
            read_in_service: false,
            poll: false,
        }
    }

    fn set(&mut self, input: u8, high: bool) {
        let bit = 1 << (input & 7);
        if high {
            self.latched |= bit & !self.lines;
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
    }

    fn requests(&self) -> u8 {
        let level = if self.all_level { 0xff } else { self.level };
        (self.latched & !level) | (self.lines & level)
    }

    /// How urgent the most urgent of `inputs` is, 0 the most; 8 for none.
    fn urgency(&self, inputs: u8) -> u8 {
        // At most 8, so the conversion is exact.
        inputs.rotate_right(u32::from(self.lowest) + 1).trailing_zeros().min(8).try_into().unwrap_or(8)
    }

    fn input_of(&self, urgency: u8) -> u8 {
        (urgency + self.lowest + 1) & 7
    }

    /// The input that asks for an interrupt, if one may.
    fn pending(&self) -> Option<u8> {
        let asking = self.urgency(self.requests() & !self.mask);
        if asking == 8 {
            return None;
        }
        let input = self.input_of(asking);
        let mut blocking = self.in_service;
        if self.special_mask {
            blocking &= !self.mask;
        }
        if self.fully_nested && input == CASCADE {
            // A more urgent input of the second chip passes while a less urgent one is in service.
            blocking &= !(1 << CASCADE);
        }
        (asking < self.urgency(blocking)).then_some(input)
    }

    /// The second pulse of INTA: names an input and takes it into service.
    fn acknowledge(&mut self) -> Option<u8> {
        let input = self.pending()?;
        self.latched &= !(1 << input);
        if !self.auto_eoi {
            self.in_service |= 1 << input;
        } else if self.rotate_on_auto_eoi {
            self.lowest = input;
        }
        Some(input)
    }

    fn vector(&self, input: Option<u8>) -> u8 {
        self.vector_base | input.unwrap_or(SPURIOUS)
    }

    fn read(&mut self, odd: bool) -> u8 {
        if self.poll {
            self.poll = false;
            return self.acknowledge().map_or(0, |input| 0x80 | input);
        }
        match (odd, self.read_in_service) {
            (true, _) => self.mask,
            (false, true) => self.in_service,
            (false, false) => self.requests(),
        }
    }

    fn write(&mut self, odd: bool, value: u8) {
        match (odd, self.expects) {
            (false, _) if value & ICW1 != 0 => self.initialize(value),
            (false, _) if value & OCW3 != 0 => self.ocw3(value),
            (false, _) => self.ocw2(value),
            (true, Expects::Ocw1) => self.mask = value,
            (true, Expects::Icw2) => {
                self.vector_base = value & 0xf8;
                self.expects = if self.icw1 & ICW1_SINGLE == 0 { Expects::Icw3 } else { self.after_icw3() };
            }
            // Who hangs on which input is soldered.
            (true, Expects::Icw3) => self.expects = self.after_icw3(),
            (true, Expects::Icw4) => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.fully_nested = value & ICW4_FULLY_NESTED != 0;
                self.expects = Expects::Ocw1;
            }
        }
    }

    fn after_icw3(&self) -> Expects {
        if self.icw1 & ICW1_NEEDS_ICW4 != 0 { Expects::Icw4 } else { Expects::Ocw1 }
    }

    /// ICW1 (the data sheet, "Initialization command words 1 and 2").
    fn initialize(&mut self, icw1: u8) {
        // Lines stay as they are: an input must go low and high again.
        *self = Self {
            lines: self.lines,
            icw1,
            expects: Expects::Icw2,
            ..Self::new(self.vector_base, self.level)
        };
        self.all_level = icw1 & ICW1_LEVEL != 0;
    }

    /// End of interrupt and rotation (the data sheet, figure "OCW2").
    fn ocw2(&mut self, value: u8) {
        let named = value & 7;
        let most_urgent = match self.urgency(self.in_service) {
            8 => None,
            urgency => Some(self.input_of(urgency)),
        };
        match value >> 5 {
            0b000 => self.rotate_on_auto_eoi = false,
            0b100 => self.rotate_on_auto_eoi = true,
            0b001 => self.end(most_urgent, false),
            0b101 => self.end(most_urgent, true),
            0b011 => self.end(Some(named), false),
            0b111 => self.end(Some(named), true),
            0b110 => self.lowest = named,
            _ => {}
        }
    }

    fn end(&mut self, input: Option<u8>, rotate: bool) {
        if let Some(input) = input {
            self.in_service &= !(1 << input);
            if rotate {
                self.lowest = input;
            }
        }
    }

    fn ocw3(&mut self, value: u8) {
        if value & OCW3_SET_SPECIAL_MASK != 0 {
            self.special_mask = value & OCW3_SPECIAL_MASK != 0;
        }
        self.poll = value & OCW3_POLL != 0;
        if value & OCW3_READ != 0 {
            self.read_in_service = value & OCW3_READ_IN_SERVICE != 0;
        }
    }
}

/// Which of the two chips a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Inputs 0 to 7.
    First,
    /// Inputs 8 to 15.
    Second,
}

/// The two chips.
#[derive(Debug)]
pub(super) struct Pic {
    first: Chip,
    second: Chip,
}

impl Pic {
    pub(super) fn new() -> Self {
        Self { first: Chip::new(0x08, 1 << CASCADE), second: Chip::new(0x70, 0) }
    }

    /// An input of 0 to 15 goes high or low; 2 is not an input.
    #[inline]
    pub(super) fn set(&mut self, irq: u8, high: bool) {
        if irq < 8 {
            self.first.set(irq, high);
        } else {
            self.second.set(irq - 8, high);
            self.cascade();
        }
    }

    /// Whether the CPU's INTR line is high.
    #[inline]
    pub(super) fn pending(&self) -> bool {
        self.first.pending().is_some()
    }

    /// Whether an edge on `irq`, one of the first chip, would change anything: it is unmasked and not waiting already.
    pub(super) fn wants_edge(&self, irq: u8) -> bool {
        (self.first.mask | self.first.latched) & 1 << (irq & 7) == 0
    }

    /// The CPU takes the interrupt: its vector.
    pub(super) fn acknowledge(&mut self) -> u8 {
        let input = self.first.acknowledge();
        if input != Some(CASCADE) {
            return self.first.vector(input);
        }
        let input = self.second.acknowledge();
        self.cascade();
        self.second.vector(input)
    }

    pub(super) fn read(&mut self, which: Which, odd: bool) -> u8 {
        let value = self.chip(which).read(odd);
        self.cascade();
        value
    }

    pub(super) fn write(&mut self, which: Which, odd: bool, value: u8) {
        self.chip(which).write(odd, value);
        self.cascade();
    }

    /// The edge/level control register of a chip.
    pub(super) fn level(&self, which: Which) -> u8 {
        match which {
            Which::First => self.first.level & LEVEL_WRITABLE[0],
            Which::Second => self.second.level,
        }
    }

    pub(super) fn set_level(&mut self, which: Which, value: u8) {
        match which {
            Which::First => self.first.level = value & LEVEL_WRITABLE[0] | 1 << CASCADE,
            Which::Second => self.second.level = value & LEVEL_WRITABLE[1],
        }
        self.cascade();
    }

    fn chip(&mut self, which: Which) -> &mut Chip {
        match which {
            Which::First => &mut self.first,
            Which::Second => &mut self.second,
        }
    }

    fn cascade(&mut self) {
        let asks = self.second.pending().is_some();
        self.first.set(CASCADE, asks);
    }
}
