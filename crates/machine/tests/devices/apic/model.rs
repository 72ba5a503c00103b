//! Whatever a guest does to it, it takes interrupts in the order of a model that is as simple as can be.

use std::collections::BTreeSet;

use proptest::prelude::*;
use runu_core::GuestAddr;

use super::{BASE, BY_MSRS, Bench, IN_MEMORY, MSR, OFF, register};

#[derive(Clone, Copy, Debug)]
enum Act {
    Send(u8),
    Take,
    End,
    Task(u8),
    SwitchToMsrs,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (16..=u8::MAX).prop_map(Act::Send),
        6 => Just(Act::Take),
        4 => Just(Act::End),
        2 => any::<u8>().prop_map(Act::Task),
        1 => Just(Act::SwitchToMsrs),
    ]
}

/// What waits, what is in service, and the priority of the task.
#[derive(Default)]
struct Model {
    requested: BTreeSet<u8>,
    in_service: BTreeSet<u8>,
    task: u8,
}

impl Model {
    fn take(&mut self) -> Option<u8> {
        let vector = *self.requested.last()?;
        let busy = self.in_service.last().map_or(0, |vector| vector >> 4).max(self.task >> 4);
        if vector >> 4 <= busy {
            return None;
        }
        self.requested.remove(&vector);
        self.in_service.insert(vector);
        Some(vector)
    }
}

/// A register of the APIC by whichever face it shows.
fn set(bench: &mut Bench, by_msrs: bool, register: u32, value: u32) {
    if by_msrs {
        assert!(bench.wrmsr(MSR + register, value.into()));
    } else {
        bench.set_apic(register, value);
    }
}

proptest! {
    #[test]
    fn interrupts_come_as_in_the_model(acts in prop::collection::vec(act(), 0..200)) {
        let (mut bench, mut model, mut by_msrs) = (Bench::new(), Model::default(), false);
        for act in acts {
            match act {
                Act::Send(vector) => {
                    set(&mut bench, by_msrs, register::COMMAND, 1 << 18 | u32::from(vector));
                    model.requested.insert(vector);
                }
                Act::Take => prop_assert_eq!(bench.interrupt(), model.take()),
                Act::End => {
                    set(&mut bench, by_msrs, register::END, 0);
                    model.in_service.pop_last();
                }
                Act::Task(priority) => {
                    set(&mut bench, by_msrs, register::TASK_PRIORITY, priority.into());
                    model.task = priority;
                }
                Act::SwitchToMsrs => {
                    prop_assert!(bench.wrmsr(BASE, BY_MSRS));
                    by_msrs = true;
                }
            }
        }
    }

    #[test]
    fn any_access_at_any_time_leaves_it_sane(
        steps in prop::collection::vec((any::<u8>(), 0_u32..0x44, any::<u64>(), 0_u64..1 << 40), 0..200),
    ) {
        let mut bench = Bench::with_interrupts();
        for (kind, register, value, pause) in steps {
            let at = GuestAddr(0xfee0_0000 + u64::from(register) * 16);
            let low = value.to_le_bytes();
            match kind % 16 {
                0..=4 => { bench.pc.write_memory(at, &low[..4], bench.now); }
                5..=8 => { bench.wrmsr(MSR + register, value); }
                9 => { bench.wrmsr(MSR + register, value & 0x1_f0ff); }
                10 => { bench.wrmsr(BASE, [OFF, IN_MEMORY, BY_MSRS][(value % 3) as usize]); }
                11 => bench.at_ns(bench.now.0 + pause),
                12 => bench.pc.set_line((value % 16) as u8, value & 16 != 0),
                13 => bench.pc.set_priority_class(low[0]),
                14 => { bench.pc.read_memory(at, &mut [0; 4], bench.now); }
                _ => { bench.rdmsr(MSR + register); }
            }
            if let Some(deadline) = bench.pc.next_deadline() {
                prop_assert!(deadline > bench.now, "a deadline that has passed would be told for ever");
            }
            if kind & 0x80 != 0 {
                bench.interrupt();
            }
            prop_assert!(bench.pc.priority_class() < 16);
        }
    }
}
