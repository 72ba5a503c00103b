use super::exception;
use crate::{
    bus::fake::Deed,
    emulate::{
        Effect,
        rig::{DATA, DEVICE, Rig},
    },
};

const BYTES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn rig(at: u64) -> Rig {
    let mut rig = Rig::long();
    rig.set("rdi", at);
    rig.xmm = [[0xee; 16]; 16];
    rig
}

#[test]
fn whole_register_is_stored_and_loaded_unaligned() {
    let mut rig = rig(DATA + 4096 - 7);
    rig.xmm[9] = BYTES;
    assert_eq!(rig.access(&[0x44, 0x0f, 0x11, 0x0f]), Ok(Effect::Next)); // movups [rdi], xmm9
    assert_eq!(rig.bus.peek(DATA + 4096 - 7), BYTES);
    assert_eq!(rig.access(&[0xf3, 0x0f, 0x6f, 0x07]), Ok(Effect::Next)); // movdqu xmm0, [rdi]
    assert_eq!(rig.xmm[0], BYTES);
}

#[test]
fn aligned_move_of_unaligned_memory_faults() {
    let mut rig = rig(DATA + 8);
    assert_eq!(exception(&mut rig, &[0x0f, 0x28, 0x07]), (13, Some(0))); // movaps xmm0, [rdi]
    assert_eq!(exception(&mut rig, &[0x66, 0x0f, 0xe7, 0x07]), (13, Some(0))); // movntdq [rdi], xmm0
}

#[test]
fn scalar_load_clears_the_rest_and_half_load_keeps_it() {
    let mut rig = rig(DATA);
    rig.bus.poke(DATA, &BYTES);
    assert_eq!(rig.access(&[0xf2, 0x0f, 0x10, 0x07]), Ok(Effect::Next)); // movsd xmm0, [rdi]
    assert_eq!(rig.xmm[0], [0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.access(&[0x66, 0x0f, 0x6e, 0x0f]), Ok(Effect::Next)); // movd xmm1, [rdi]
    assert_eq!(rig.xmm[1], [0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.access(&[0x0f, 0x16, 0x17]), Ok(Effect::Next)); // movhps xmm2, [rdi]
    let kept = [0xee; 8];
    assert_eq!(rig.xmm[2].split_at(8), (kept.as_slice(), [0, 1, 2, 3, 4, 5, 6, 7].as_slice()));
}

#[test]
fn half_store_takes_the_upper_half() {
    let mut rig = rig(DATA);
    rig.xmm[0] = BYTES;
    assert_eq!(rig.access(&[0x0f, 0x17, 0x07]), Ok(Effect::Next)); // movhps [rdi], xmm0
    assert_eq!(rig.bus.peek(DATA), [8, 9, 10, 11, 12, 13, 14, 15, 0]);
}

#[test]
fn device_sees_two_halves_of_a_whole_register() {
    let mut rig = rig(DEVICE);
    rig.xmm[0] = BYTES;
    assert_eq!(rig.access(&[0x0f, 0x11, 0x07]), Ok(Effect::Next));
    let write = |addr, value| Deed::Write { addr, size: 8, value };
    let expected = [write(DEVICE, 0x0706_0504_0302_0100), write(DEVICE + 8, 0x0f0e_0d0c_0b0a_0908)];
    assert_eq!(rig.bus.deeds, expected);
}

#[test]
fn load_that_faults_leaves_the_register() {
    let mut rig = rig(1 << 30);
    assert_eq!(exception(&mut rig, &[0x0f, 0x10, 0x07]), (14, Some(0)));
    assert_eq!(rig.xmm[0], [0xee; 16]);
}
