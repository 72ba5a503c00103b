use crate::{
    bus::fake::Deed,
    cpu::flag,
    emulate::{
        Effect,
        rig::{CODE, DATA, Rig},
    },
};

#[test]
fn in_of_each_width_replaces_as_much_of_rax_as_the_width_says() {
    for (code, size, expected) in [
        (&[0xec_u8] as &[u8], 1, 0xaaaa_aaaa_aaaa_aa11),
        (&[0x66, 0xed], 2, 0xaaaa_aaaa_aaaa_2211),
        (&[0xed], 4, 0x4433_2211),
    ] {
        let mut rig = Rig::long();
        rig.set("rax", 0xaaaa_aaaa_aaaa_aaaa);
        rig.set("rdx", 0xffff_03f8);
        assert_eq!(rig.run(code), Ok(Effect::Next));
        assert_eq!(rig.get("rax"), expected);
        assert_eq!(rig.bus.deeds, [Deed::In { port: 0x3f8, size }]);
    }
}

#[test]
fn out_to_an_immediate_port_writes_the_accumulator() {
    let mut rig = Rig::long();
    rig.set("rax", 0x1234_5678);
    assert_eq!(rig.run(&[0xe6, 0x80]), Ok(Effect::Next));
    assert_eq!(rig.run(&[0xe7, 0x80]), Ok(Effect::Next));
    let Some(Deed::Out { port: 0x80, size: 1, value }) = rig.bus.deeds.first().copied() else {
        panic!("{:?}", rig.bus.deeds);
    };
    assert_eq!(value & 0xff, 0x78);
    assert_eq!(rig.bus.deeds.last(), Some(&Deed::Out { port: 0x80, size: 4, value: 0x1234_5678 }));
}

#[test]
fn rep_insw_fills_memory_and_counts_down() {
    let mut rig = Rig::long();
    rig.set("rcx", 3);
    rig.set("rdi", DATA);
    rig.set("rdx", 0x1f0);
    assert_eq!(rig.run(&[0xf3, 0x66, 0x6d]), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), [0x11, 0x22, 0x11, 0x22, 0x11, 0x22, 0, 0]);
    assert_eq!((rig.get("rcx"), rig.get("rdi")), (0, DATA + 6));
    assert_eq!(rig.bus.deeds, [Deed::In { port: 0x1f0, size: 2 }; 3]);
}

#[test]
fn rep_outsb_backwards_walks_down() {
    let mut rig = Rig::long();
    rig.bus.poke(DATA, b"abc");
    rig.regs.rflags |= flag::DIRECTION;
    rig.set("rcx", 3);
    rig.set("rsi", DATA + 2);
    rig.set("rdx", 0x3f8);
    assert_eq!(rig.run(&[0xf3, 0x6e]), Ok(Effect::Next));
    let expected = b"cba".map(|byte| Deed::Out { port: 0x3f8, size: 1, value: byte.into() });
    assert_eq!(rig.bus.deeds, expected);
    assert_eq!(rig.get("rsi"), DATA - 1);
}

#[test]
fn rep_insb_without_end_stops_after_a_page_and_asks_to_be_called_again() {
    let mut rig = Rig::long();
    rig.set("rcx", u64::MAX);
    rig.set("rdi", DATA);
    assert_eq!(rig.run(&[0xf3, 0x6c]), Ok(Effect::Again));
    assert_eq!(rig.regs.rip, CODE);
    assert_eq!(rig.get("rcx"), u64::MAX - 4096);
    assert_eq!(rig.bus.deeds.len(), 4096);
}

#[test]
fn insb_to_a_page_that_is_not_mapped_leaves_the_port_alone() {
    let mut rig = Rig::long();
    rig.set("rdi", 1 << 30);
    assert_eq!(rig.exception(&[0x6c]), (14, Some(2)));
    assert_eq!(rig.bus.deeds, []);
}
