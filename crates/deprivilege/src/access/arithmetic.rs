//! Integer arithmetic with its status flags (Intel SDM vol. 1, appendix A), as pure functions.

use crate::cpu::flag;
use crate::emulate::truncate;

/// A result and the status flags it sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// Bitwise operations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Logic {
    And,
    Or,
    Xor,
}

/// Shifts and rotations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shift {
    Left,
    Right,
    RightSigned,
    RotateLeft,
    RotateRight,
}

/// Width in bits of `size` bytes (1, 2, 4 or 8).
fn width(size: usize) -> u32 {
    match size {
        1 => 8,
        2 => 16,
        4 => 32,
        _ => 64,
    }
}

fn sign_bit(size: usize) -> u64 {
    1 << (width(size) - 1)
}

fn when(condition: bool, flag: u64) -> u64 {
    if condition { flag } else { 0 }
}

/// SF, ZF and PF of a truncated result.
fn result_flags(value: u64, size: usize) -> u64 {
    let low_byte = value & 0xff;
    when(value & sign_bit(size) != 0, flag::SIGN)
        | when(value == 0, flag::ZERO)
        | when(low_byte.count_ones().is_multiple_of(2), flag::PARITY)
}

pub(super) fn add(a: u64, b: u64, size: usize) -> Outcome {
    add_with_carry(a, b, false, size)
}

pub(super) fn add_with_carry(a: u64, b: u64, carry: bool, size: usize) -> Outcome {
    let (a, b) = (truncate(a, size), truncate(b, size));
    let full = u128::from(a) + u128::from(b) + u128::from(carry);
    let value = truncate(a.wrapping_add(b).wrapping_add(carry.into()), size);
    let overflow = (a ^ value) & (b ^ value) & sign_bit(size) != 0;
    let flags = result_flags(value, size)
        | when(full >> width(size) != 0, flag::CARRY)
        | ((a ^ b ^ value) & flag::ADJUST)
        | when(overflow, flag::OVERFLOW);
    Outcome { value, flags }
}

pub(super) fn subtract(a: u64, b: u64, size: usize) -> Outcome {
    subtract_with_borrow(a, b, false, size)
}

pub(super) fn subtract_with_borrow(a: u64, b: u64, borrow: bool, size: usize) -> Outcome {
    let (a, b) = (truncate(a, size), truncate(b, size));
    let value = truncate(a.wrapping_sub(b).wrapping_sub(borrow.into()), size);
    let overflow = (a ^ b) & (a ^ value) & sign_bit(size) != 0;
    let flags = result_flags(value, size)
        | when(u128::from(a) < u128::from(b) + u128::from(borrow), flag::CARRY)
        | ((a ^ b ^ value) & flag::ADJUST)
        | when(overflow, flag::OVERFLOW);
    Outcome { value, flags }
}

/// CF and OF are cleared; AF is undefined and cleared.
pub(super) fn logic(operation: Logic, a: u64, b: u64, size: usize) -> Outcome {
    let value = match operation {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    };
    let value = truncate(value, size);
    Outcome { value, flags: result_flags(value, size) }
}

/// A shift or rotation by a count already masked to 5 or 6 bits. `before` are the flags that a rotation, or a count of
/// zero, keeps. OF is defined for a count of one only and set alike for all (Intel SDM vol. 2B, SAL/SAR/SHL/SHR and
/// RCL/RCR/ROL/ROR).
pub(super) fn shift(operation: Shift, a: u64, count: u32, size: usize, before: u64) -> Outcome {
    let a = truncate(a, size);
    if count == 0 {
        return Outcome { value: a, flags: before & flag::STATUS };
    }
    let bits = width(size);
    let top = |value: u64| value & sign_bit(size) != 0;
    let (value, carry, overflow) = match operation {
        Shift::Left => {
            let full = u128::from(a) << count;
            let value = low(full, size);
            let carry = full >> bits & 1 != 0;
            (value, carry, top(value) != carry)
        }
        Shift::Right => {
            let carry = u128::from(a) >> (count - 1) & 1 != 0;
            (low(u128::from(a) >> count, size), carry, top(a))
        }
        Shift::RightSigned => {
            // Extended to 128 bits by its sign, so that any count shifts signs in.
            let extended = if top(a) { u128::from(a) | u128::MAX << bits } else { u128::from(a) };
            let carry = extended >> (count - 1) & 1 != 0;
            (low(extended >> count, size), carry, false)
        }
        Shift::RotateLeft => {
            let value = rotate_left(a, count % bits, size);
            let carry = value & 1 != 0;
            (value, carry, top(value) != carry)
        }
        Shift::RotateRight => {
            let value = rotate_left(a, (bits - count % bits) % bits, size);
            let below_top = value & sign_bit(size) >> 1 != 0;
            (value, top(value), top(value) != below_top)
        }
    };
    let rotates = matches!(operation, Shift::RotateLeft | Shift::RotateRight);
    let rest = if rotates {
        before & flag::STATUS & !(flag::CARRY | flag::OVERFLOW)
    } else {
        result_flags(value, size)
    };
    Outcome { value, flags: rest | when(carry, flag::CARRY) | when(overflow, flag::OVERFLOW) }
}

/// The low `size` bytes (1, 2, 4 or 8).
pub(super) fn low(value: u128, size: usize) -> u64 {
    truncate(u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0), size)
}

/// Rotates the low `size` bytes left by less than their width.
fn rotate_left(a: u64, count: u32, size: usize) -> u64 {
    let bits = width(size);
    let doubled = u128::from(a) << bits | u128::from(a);
    low(doubled << count >> bits, size)
}
