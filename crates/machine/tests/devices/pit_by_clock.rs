//! The interval timer against a model that does what the data sheet draws: one step for each clock.
//!
//! Counter 2 is the one with a gate. Its output shows in port 0x61; the model is compared one clock after each act. Mode 3,
//! whose counting element is peculiar, is left to `pit.rs`.

use proptest::prelude::*;

use super::Bench;

/// A counter in binary, clock by clock (Intel 8254 data sheet, "Mode definitions").
#[derive(Debug, Default)]
struct Model {
    mode: u8,
    gate: bool,
    out: bool,
    /// The count register.
    register: u32,
    /// The counting element, once it was loaded.
    element: Option<u32>,
    /// The register goes to the element at the next clock.
    load: bool,
    /// A count was written since the mode.
    written: bool,
    /// The element has not come to zero since it was loaded.
    armed: bool,
}

impl Model {
    fn set_mode(&mut self, mode: u8) {
        *self = Self { mode, gate: self.gate, out: mode != 0, ..Self::default() };
    }

    fn write(&mut self, count: u32) {
        self.register = count;
        match self.mode {
            0 => (self.out, self.load, self.armed) = (false, true, true),
            4 => self.load = true,
            2 => self.load |= !self.written && self.gate,
            _ => {}
        }
        self.written = true;
    }

    fn set_gate(&mut self, gate: bool) {
        let rises = gate && !self.gate;
        self.gate = gate;
        match self.mode {
            1 | 5 => self.load |= rises && self.written,
            2 => {
                self.load = self.written && (rises || gate && self.load);
                self.out |= !gate;
            }
            _ => {}
        }
    }

    fn clock(&mut self) {
        if std::mem::take(&mut self.load) {
            self.element = Some(self.register);
            self.armed = true;
            self.out = !matches!(self.mode, 0 | 1);
            return;
        }
        let Some(element) = self.element else { return };
        let counts = self.gate || matches!(self.mode, 1 | 5);
        if !counts {
            return;
        }
        match self.mode {
            2 => {
                let next = if element == 1 { self.register } else { element - 1 };
                self.out = next != 1;
                self.element = Some(next);
            }
            _ => {
                let next = element.wrapping_sub(1) & 0xffff;
                self.element = Some(next);
                let reached = next == 0 && self.armed;
                self.armed &= next != 0;
                match self.mode {
                    0 | 1 => self.out |= reached,
                    _ => self.out = !reached,
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Mode(u8),
    Count(u16),
    Gate(bool),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => prop::sample::select(&[0_u8, 1, 2, 4, 5]).prop_map(Act::Mode),
        2 => (2..14_u16).prop_map(Act::Count),
        3 => any::<bool>().prop_map(Act::Gate),
        3 => (0..40_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counter_shows_what_a_counter_that_counts_shows(acts in prop::collection::vec(act(), 1..40)) {
        let mut bench = Bench::new();
        let mut model = Model { out: true, ..Model::default() };
        let mut tick = 0;
        bench.outb(0x43, 0xb0);
        model.set_mode(0);
        for act in acts {
            match act {
                Act::Mode(mode) => {
                    bench.outb(0x43, 0xb0 | mode << 1);
                    model.set_mode(mode);
                }
                Act::Count(count) => {
                    for byte in count.to_le_bytes() {
                        bench.outb(0x42, byte);
                    }
                    model.write(u32::from(count));
                }
                Act::Gate(gate) => {
                    bench.outb(0x61, u8::from(gate));
                    model.set_gate(gate);
                }
                Act::Wait(clocks) => {
                    for _ in 0..=clocks {
                        tick += 1;
                        bench.at_tick(tick);
                        model.clock();
                    }
                    prop_assert_eq!(bench.inb(0x61) & 0x20 != 0, model.out, "{:?} at {}", &model, tick);
                    if let Some(element) = model.element && model.gate {
                        let count = u32::from(u16::from_le_bytes([bench.inb(0x42), bench.inb(0x42)]));
                        prop_assert_eq!(count, element, "{:?} at {}", &model, tick);
                    }
                }
            }
        }
    }
}
