use proptest::prelude::*;

use crate::{
    cpu::cr4,
    cpuid::cpuid,
    emulate::rig::{DATA, DEVICE, INTERRUPT_GATE, PML4, Rig, STACK, rich_host},
    exception::{Exception, interrupt, raise},
};

/// Values that registers of a hostile guest may hold: anywhere, and where it hurts.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x1_0000_u64,
        Just(DATA),
        Just(STACK),
        Just(DEVICE - 1),
        Just(u64::MAX),
        Just(0x7fff_ffff_ffff),
        Just(0x3fff_ffff),
    ]
}

/// Opcodes of privileged and string instructions, so that random bytes meet them more often than by chance.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        prop::sample::select(vec![
            vec![0x0f, 0x00],
            vec![0x0f, 0x01],
            vec![0x0f, 0x20],
            vec![0x0f, 0x22],
            vec![0x0f, 0x21],
            vec![0x0f, 0x23],
            vec![0x0f, 0x30],
            vec![0x0f, 0x32],
            vec![0x0f, 0xc7],
            vec![0x0f, 0xae],
            vec![0x0f, 0x02],
            vec![0x0f, 0x03],
            vec![0xcf],
            vec![0xcb],
            vec![0xca],
            vec![0xcd],
            vec![0xff],
            vec![0x8e],
            vec![0x8c],
            vec![0x6c],
            vec![0x6f],
            vec![0xa4],
            vec![0xab],
            vec![0xae],
            vec![0xa7],
            vec![0xea],
            vec![0x9a],
            vec![0x0f, 0xb2],
            vec![0x0f, 0xb1],
            vec![0x0f, 0xab],
            vec![0xd3],
        ]),
        Just(Vec::new()),
    ];
    let prefix = prop::sample::select(vec![
        vec![],
        vec![0x48],
        vec![0x66],
        vec![0xf3],
        vec![0xf2],
        vec![0x67],
        vec![0x64],
        vec![0xf3, 0x48],
        vec![0xf3, 0x67],
        vec![0x66, 0xf2],
    ]);
    (prefix, opcode, prop::collection::vec(any::<u8>(), 12)).prop_map(|parts| {
        let (prefix, opcode, rest) = parts;
        [prefix, opcode, rest].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn instruction_of_any_bytes_never_panics_and_stays_bounded(
        code in code(),
        gpr in prop::collection::vec(word(), 16),
        flags in any::<u64>(),
        long in any::<bool>(),
        tables in prop::collection::vec((0..0x8000_u64, any::<u8>()), 8),
    ) {
        let mut rig = if long { Rig::long() } else { Rig::protected() };
        for (to, from) in rig.regs.gpr.iter_mut().zip(gpr) {
            *to = if long { from } else { from & 0xffff_ffff };
        }
        for (at, byte) in tables {
            rig.bus.poke(at, &[byte]);
        }
        rig.cpu.set_rflags(&mut rig.regs, flags);
        rig.cpu.cr4 |= cr4::OSXSAVE | cr4::FSGSBASE;

        let _ = rig.access(&code);
        let _ = rig.run(&code);

        prop_assert!(rig.bus.deeds.len() <= 3 * 4096);
        prop_assert!(rig.cpu.long_mode_code() || rig.regs.rip <= 0xffff_ffff);
    }

    #[test]
    fn delivery_with_any_tables_never_panics(
        vector in any::<u8>(),
        error_code in any::<Option<u32>>(),
        gate in any::<[u64; 2]>(),
        descriptor in any::<u64>(),
        stack in word(),
        root in any::<u64>(),
        limits in any::<(u16, u32)>(),
        long in any::<bool>(),
        garble_root in any::<bool>(),
    ) {
        let mut rig = if long { Rig::long() } else { Rig::protected() };
        let [low, high] = gate;
        rig.gate(u64::from(vector), 0xb000, INTERRUPT_GATE, low & 7);
        rig.bus.poke_u64(0x5000 + 16 * u64::from(vector) + 8, high);
        rig.bus.poke_u64(0x4008, descriptor);
        rig.cpu.idt.limit = limits.0;
        rig.cpu.task.limit = limits.1;
        rig.set("rsp", stack);
        if garble_root {
            rig.bus.poke_u64(PML4, root);
        }

        let _ = raise(&mut rig.cpu, &mut rig.regs, &mut rig.bus, Exception { vector, error_code, cr2: None });
        let _ = interrupt(&mut rig.cpu, &mut rig.regs, &mut rig.bus, vector);
    }

    #[test]
    fn cpuid_of_any_leaf_never_panics(leaf in any::<u32>(), subleaf in any::<u32>()) {
        let rig = Rig::long();
        let _ = cpuid(leaf, subleaf, &rig.cpu, true, &rich_host());
    }
}
