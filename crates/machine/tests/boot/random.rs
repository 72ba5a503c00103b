//! Plans that nobody checked: whatever they hold, loading either refuses or puts everything in its own place.

use std::ops::Range;

use proptest::prelude::*;
use runu_core::{BootProtocol, Bytes, GuestAddr, Plan, Segment};
use runu_machine::boot::{self, Mode};

use super::{bytes, file, memory, string_at, u32_at};

const FILE: usize = 0x8000;

fn addr() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0x10_0000..0x40_0000_u64,
        2 => 0x1_0000..0xa_0000_u64,
        1 => 0..0x100_0000_u64,
        1 => any::<u64>(),
    ]
}

fn segment() -> impl Strategy<Value = Segment> {
    let file_offset = prop_oneof![9 => 0..FILE as u64, 1 => any::<u64>()];
    let len = prop_oneof![9 => 0..0x4000_u64, 1 => any::<u64>()];
    (addr(), file_offset, 0..0x2000_u64, len).prop_map(|(addr, file_offset, file_len, extra)| Segment {
        addr: GuestAddr(addr),
        file_offset,
        file_len,
        mem_len: file_len.wrapping_add(extra),
    })
}

prop_compose! {
    fn plan()(
        multiboot in any::<bool>(),
        segments in prop::collection::vec(segment(), 0..4),
        entry in prop_oneof![3 => (0..4_usize, 0..0x100_u64).prop_map(Ok), 1 => addr().prop_map(Err)],
        command_line in prop::collection::vec(1..=255_u8, 0..200),
        memory in prop_oneof![Just(2_u64), Just(4), Just(16)],
        initrd in prop::option::of(prop_oneof![9 => 0..FILE as u64, 1 => any::<u64>()]),
    ) -> Plan {
        let entry = match entry {
            Ok((segment, offset)) => segments.get(segment).map_or(0, |segment| segment.addr.0.wrapping_add(offset)),
            Err(addr) => addr,
        };
        Plan {
            boot: if multiboot { BootProtocol::Multiboot } else { BootProtocol::Linux64 },
            entry: GuestAddr(entry),
            segments,
            command_line,
            memory: Bytes::mib(memory),
            initrd: initrd.map(Bytes),
            network: None,
            shares: Vec::new(),
            disks: Vec::new(),
            learned_memory: None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plan_of_any_kind_is_refused_or_loaded_without_overlap(plan in plan()) {
        let kernel = file(FILE);
        let memory = memory(&plan);
        let initrd = plan.initrd.map(|_| &kernel);
        let Ok(entry) = boot::load(&plan, &kernel, initrd, &memory) else { return Ok(()) };

        let mut taken: Vec<Range<u64>> = plan.segments.iter().map(|s| s.addr.0..s.addr.0 + s.mem_len).collect();
        let (info, command_line) = match entry.mode {
            Mode::Protected32 => (entry.rbx, entry.rbx + 16),
            Mode::Long64 => (entry.rsi, entry.rsi + 0x228),
        };
        prop_assert_eq!(&string_at(&memory, command_line), &plan.command_line);
        let start = u64::from(u32_at(&memory, command_line));
        taken.extend([info..info + 4096, start..start + plan.command_line.len() as u64 + 1]);
        if let Some(Bytes(len @ 1..)) = plan.initrd {
            let field = match entry.mode {
                Mode::Protected32 => u64::from(u32_at(&memory, info + 24)),
                Mode::Long64 => info + 0x218,
            };
            let start = u64::from(u32_at(&memory, field));
            prop_assert_eq!(start % 4096, 0);
            taken.push(start..start + len);
        }
        taken.retain(|range| !range.is_empty());
        taken.sort_by_key(|range| range.start);
        for pair in taken.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start, "{:#x?}", taken);
        }
        for range in taken {
            prop_assert!(memory.usable().any(|ram| ram.start <= range.start && range.end <= ram.end), "{:#x?}", range);
        }
        for segment in &plan.segments {
            let expected: Vec<u8> = (segment.file_offset..segment.file_offset + segment.file_len)
                .map(|n| u8::try_from(n % 251).expect("below 251"))
                .collect();
            prop_assert_eq!(bytes(&memory, segment.addr.0, expected.len()), expected);
        }
    }
}
