//! Whatever a guest does at its ports, devices stay bounded, quiet and alive.

use proptest::prelude::*;
use runu_machine::{Nanos, PortSize};

use super::Bench;

/// Ports with something behind them, and now and then any port.
fn port() -> impl Strategy<Value = u16> {
    const DEVICES: &[u16] = &[
        0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xa0, 0xa1, 0xf4, 0x3b4,
        0x3b5, 0x3c2, 0x3cc, 0x3d4, 0x3d5, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x4d0,
        0x4d1, 0x501, 0x505, 0x604, 0xcf8, 0xcf9, 0xcfc, 0xb004, 0xffff,
    ];
    prop_oneof![9 => prop::sample::select(DEVICES), 1 => any::<u16>()]
}

fn size() -> impl Strategy<Value = PortSize> {
    prop_oneof![8 => Just(PortSize::Byte), 1 => Just(PortSize::Word), 1 => Just(PortSize::Dword)]
}

/// Steps of time: none, a few ticks, a while, back, and to the end of it.
fn time(now: u64, step: u64) -> u64 {
    match step % 8 {
        0..=2 => now,
        3 | 4 => now.saturating_add(step % 5000),
        5 => now.saturating_add(step % 1_000_000_000_000),
        6 => now.saturating_sub(step % 1_000_000),
        _ if step.is_multiple_of(1024) => u64::MAX,
        _ => now,
    }
}

#[derive(Clone, Debug)]
enum Act {
    Read(u16, PortSize),
    Write(u16, PortSize, u32),
    Tick,
    Acknowledge,
    Input(Vec<u8>),
    Flush,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (port(), size()).prop_map(|(port, size)| Act::Read(port, size)),
        8 => (port(), size(), any::<u32>()).prop_map(|(port, size, value)| Act::Write(port, size, value)),
        2 => Just(Act::Tick),
        1 => Just(Act::Acknowledge),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Act::Input),
        1 => Just(Act::Flush),
    ]
}

fn perform(bench: &mut Bench, act: Act) {
    match act {
        Act::Read(port, size) => {
            let value = bench.pc.read(port, size, bench.now);
            assert_eq!(value & !size.mask(), 0);
        }
        Act::Write(port, size, value) => {
            let _ended = bench.out(port, size, value);
        }
        Act::Tick => bench.pc.tick(bench.now),
        Act::Acknowledge => {
            bench.pc.acknowledge();
        }
        Act::Input(bytes) => {
            let room = bench.pc.input_room();
            assert_eq!(bench.pc.input(&bytes), room.min(bytes.len()));
        }
        Act::Flush => bench.pc.flush(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn devices_under_random_traffic_keep_their_promises(acts in prop::collection::vec((act(), any::<u64>()), 1..200)) {
        let mut bench = Bench::with_interrupts();
        let mut latest = 0;
        for (act, step) in acts {
            bench.now = Nanos(time(bench.now.0, step));
            latest = latest.max(bench.now.0);
            perform(&mut bench, act);

            bench.pc.tick(Nanos(latest));
            if let Some(deadline) = bench.pc.next_deadline() {
                prop_assert!(deadline.0 > latest || latest > u64::MAX - 1_000_000_000, "{deadline:?} is past at {latest}");
            }
        }
        prop_assert!(bench.pieces.0.borrow().iter().all(|piece| !piece.is_empty() && piece.len() <= 4096));
    }

    #[test]
    fn timer_whose_deadline_is_met_interrupts_then_and_not_before(
        mode in prop::sample::select(&[0_u8, 2, 3, 4, 6, 7]),
        bcd in any::<bool>(),
        count in any::<u16>(),
        start in 0..1_000_000_000_000_000_u64,
    ) {
        let mut bench = Bench::with_interrupts();
        bench.now = Nanos(start);
        bench.outb(0x43, 0x30 | mode << 1 | u8::from(bcd));
        for byte in count.to_le_bytes() {
            bench.outb(0x40, byte);
        }

        for _ in 0..3 {
            let Some(deadline) = bench.pc.next_deadline() else { break };
            bench.pc.tick(Nanos(deadline.0 - 1));
            prop_assert_eq!(bench.interrupt(), None);
            bench.pc.tick(deadline);
            prop_assert_eq!(bench.interrupt(), Some(32));
            bench.now = deadline;
            bench.outb(0x20, 0x20);
        }
    }

    #[test]
    fn console_output_in_any_pieces_is_what_was_sent(bytes in prop::collection::vec(any::<u8>(), 0..10_000)) {
        let mut bench = Bench::new();
        for &byte in &bytes {
            bench.outb(0x3f8, byte);
        }
        bench.pc.flush();

        prop_assert_eq!(bench.output(), bytes);
    }
}
