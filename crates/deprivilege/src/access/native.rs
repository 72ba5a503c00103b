//! The interpreted arithmetic against the real CPU: same operands, same flags before, same result and flags after.

use std::arch::asm;

use proptest::prelude::*;

use super::arithmetic::{self, Logic, Outcome, Shift};
use crate::{cpu::flag, emulate::truncate};

/// Defines a function that runs an instruction of two operands natively, at four widths.
macro_rules! two_operands {
    ($name:ident, $instruction:literal) => {
        fn $name(a: u64, b: u64, flags: u64, size: usize) -> Outcome {
            let mut value = a;
            let mut flags = flags & flag::STATUS | flag::FIXED;
            // SAFETY: the instruction works on registers alone; the stack is balanced and may be used, as `nostack` is
            // not given; DF and IF are clear and unchanged as the status flags are all that is loaded.
            unsafe {
                match size {
                    1 => asm!("push {f}", "popfq", concat!($instruction, " {a:l}, {b:l}"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, b = in(reg) b),
                    2 => asm!("push {f}", "popfq", concat!($instruction, " {a:x}, {b:x}"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, b = in(reg) b),
                    4 => asm!("push {f}", "popfq", concat!($instruction, " {a:e}, {b:e}"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, b = in(reg) b),
                    _ => asm!("push {f}", "popfq", concat!($instruction, " {a}, {b}"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, b = in(reg) b),
                }
            }
            Outcome { value: truncate(value, size), flags: flags & flag::STATUS }
        }
    };
}

/// Defines a function that shifts or rotates natively by CL, at four widths.
macro_rules! by_count {
    ($name:ident, $instruction:literal) => {
        fn $name(a: u64, count: u64, flags: u64, size: usize) -> Outcome {
            let mut value = a;
            let mut flags = flags & flag::STATUS | flag::FIXED;
            // SAFETY: as for two operands; the count is in CL.
            unsafe {
                match size {
                    1 => asm!("push {f}", "popfq", concat!($instruction, " {a:l}, cl"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, in("rcx") count),
                    2 => asm!("push {f}", "popfq", concat!($instruction, " {a:x}, cl"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, in("rcx") count),
                    4 => asm!("push {f}", "popfq", concat!($instruction, " {a:e}, cl"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, in("rcx") count),
                    _ => asm!("push {f}", "popfq", concat!($instruction, " {a}, cl"), "pushfq", "pop {f}",
                              f = inout(reg) flags, a = inout(reg) value, in("rcx") count),
                }
            }
            Outcome { value: truncate(value, size), flags: flags & flag::STATUS }
        }
    };
}

two_operands!(native_add, "add");
two_operands!(native_adc, "adc");
two_operands!(native_sub, "sub");
two_operands!(native_sbb, "sbb");
two_operands!(native_and, "and");
two_operands!(native_or, "or");
two_operands!(native_xor, "xor");
by_count!(native_shl, "shl");
by_count!(native_shr, "shr");
by_count!(native_sar, "sar");
by_count!(native_rol, "rol");
by_count!(native_ror, "ror");

/// Operands: anything, and the edges of each width.
fn operand() -> impl Strategy<Value = u64> {
    let edges =
        vec![0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    prop_oneof![
        any::<u64>(),
        prop::sample::select(edges),
        prop::sample::select(vec![i64::MAX.cast_unsigned(), i64::MIN.cast_unsigned(), u64::MAX]),
    ]
}

fn width() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1_usize, 2, 4, 8])
}

/// An outcome without flags that the manuals leave undefined.
fn defined(outcome: Outcome, undefined: u64) -> Outcome {
    Outcome { flags: outcome.flags & !undefined, ..outcome }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn sums_and_differences_agree_with_the_cpu(
        a in operand(), b in operand(), flags in any::<u64>(), size in width(),
    ) {
        let carry = flags & flag::CARRY != 0;
        prop_assert_eq!(arithmetic::add(a, b, size), native_add(a, b, flags, size));
        prop_assert_eq!(arithmetic::subtract(a, b, size), native_sub(a, b, flags, size));
        prop_assert_eq!(arithmetic::add_with_carry(a, b, carry, size), native_adc(a, b, flags, size));
        prop_assert_eq!(arithmetic::subtract_with_borrow(a, b, carry, size), native_sbb(a, b, flags, size));
    }

    #[test]
    fn logic_agrees_with_the_cpu(a in operand(), b in operand(), flags in any::<u64>(), size in width()) {
        let undefined = flag::ADJUST;
        for (operation, native) in [
            (Logic::And, native_and as fn(u64, u64, u64, usize) -> Outcome),
            (Logic::Or, native_or),
            (Logic::Xor, native_xor),
        ] {
            let expected = defined(native(a, b, flags, size), undefined);
            prop_assert_eq!(defined(arithmetic::logic(operation, a, b, size), undefined), expected);
        }
    }

    #[test]
    fn shifts_agree_with_the_cpu(a in operand(), count in any::<u8>(), flags in any::<u64>(), size in width()) {
        let mask = if size == 8 { 0x3f } else { 0x1f };
        let masked = u32::from(count) & mask;
        let bits = u32::try_from(8 * size).unwrap_or(64);
        for (operation, native) in [
            (Shift::Left, native_shl as fn(u64, u64, u64, usize) -> Outcome),
            (Shift::Right, native_shr),
            (Shift::RightSigned, native_sar),
            (Shift::RotateLeft, native_rol),
            (Shift::RotateRight, native_ror),
        ] {
            let rotates = matches!(operation, Shift::RotateLeft | Shift::RotateRight);
            let mut undefined = 0;
            if masked != 0 && !rotates {
                undefined |= flag::ADJUST;
            }
            if masked > 1 {
                undefined |= flag::OVERFLOW;
            }
            if masked >= bits && matches!(operation, Shift::Left | Shift::Right) {
                undefined |= flag::CARRY;
            }
            let expected = defined(native(a, count.into(), flags, size), undefined);
            let found = arithmetic::shift(operation, a, masked, size, flags);
            prop_assert_eq!(defined(found, undefined), expected, "{:?}", operation);
        }
    }
}
