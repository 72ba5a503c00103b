//! All RAM in the upper half of the address space, reached by every kind of instruction that compilers use
//! for it.

use crate::space::{self, DIRECT_MAP, MAPPINGS, frame, frames, peek, poke, tables};
use core::arch::asm;
use rt::check::{Check, Outcome, equal};
use rt::paging::{self, Size, WRITABLE};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "direct-map-words", run: words },
    Check { name: "direct-map-widths", run: widths },
    Check { name: "direct-map-read-modify-write", run: read_modify_write },
    Check { name: "direct-map-addressing", run: addressing },
    Check { name: "direct-map-strings", run: strings },
    Check { name: "direct-map-sse", run: sse },
    Check { name: "direct-map-flags", run: flags },
    Check { name: "direct-map-across-pages", run: across_pages },
    Check { name: "direct-map-holds-tables", run: holds_tables },
];

fn words() -> Outcome {
    for _ in 0..16 {
        let frame = frame();
        for at in (0..0x1000).step_by(0x1f8) {
            poke(DIRECT_MAP + frame + at, at + frame);
            equal("written above", peek(frame + at), at + frame)?;
            poke(frame + at, at);
            equal("written below", peek(DIRECT_MAP + frame + at), at)?;
        }
    }
    Ok(())
}

fn widths() -> Outcome {
    let frame = frame();
    let above = DIRECT_MAP + frame;
    poke(frame, 0x8182_8384_8586_8788);
    let (byte, short, word, signed_byte, signed_word): (u64, u64, u64, u64, u64);
    // SAFETY: within the frame.
    unsafe {
        asm!(
            "movzx {byte:e}, byte ptr [{at} + 1]", "movzx {short:e}, word ptr [{at} + 2]",
            "mov {word:e}, [{at} + 4]", "movsx {signed_byte}, byte ptr [{at}]",
            "movsxd {signed_word}, dword ptr [{at}]",
            "mov byte ptr [{at} + 8], 0x11", "mov word ptr [{at} + 10], 0x2233",
            "mov dword ptr [{at} + 12], 0x44556677", "mov qword ptr [{at} + 16], -2",
            at = in(reg) above, byte = out(reg) byte, short = out(reg) short, word = out(reg) word,
            signed_byte = out(reg) signed_byte, signed_word = out(reg) signed_word, options(nostack),
        );
    }
    equal("byte", byte, 0x87)?;
    equal("short", short, 0x8586)?;
    equal("word", word, 0x8182_8384)?;
    equal("sign-extended byte", signed_byte, 0xffff_ffff_ffff_ff88)?;
    equal("sign-extended word", signed_word, 0xffff_ffff_8586_8788)?;
    equal("stores", peek(frame + 8), 0x4455_6677_2233_0011)?;
    equal("long store", peek(frame + 16), u64::MAX - 1)
}

fn read_modify_write() -> Outcome {
    let frame = frame();
    poke(frame, 40);
    let (exchanged, added, compared): (u64, u64, u64);
    // SAFETY: within the frame.
    unsafe {
        asm!(
            "inc qword ptr [{at}]", "lock add qword ptr [{at}], 1", "add dword ptr [{at}], 8",
            "xor byte ptr [{at}], 1", "xchg [{at} + 8], {exchanged}", "lock xadd [{at}], {added}",
            "mov rax, 56", "lock cmpxchg [{at}], {compared}",
            "bts qword ptr [{at} + 16], 5", "not qword ptr [{at} + 24]", "shl qword ptr [{at} + 16], 1",
            "mov {compared}, [{at}]",
            at = in(reg) DIRECT_MAP + frame, exchanged = inout(reg) 7_u64 => exchanged,
            added = inout(reg) 5_u64 => added, compared = inout(reg) 1000_u64 => compared, out("rax") _, options(nostack),
        );
    }
    equal("added", added, 51)?;
    equal("compared and exchanged", compared, 1000)?;
    equal("exchanged", exchanged, 0)?;
    equal("exchanged in memory", peek(frame + 8), 7)?;
    equal("bit set and shifted", peek(frame + 16), 64)?;
    equal("inverted", peek(frame + 24), u64::MAX)
}

/// Base, index, scale, displacement, also where the sum wraps into the upper half; and absolute 64-bit
/// addresses.
fn addressing() -> Outcome {
    let frame = frame();
    let above = DIRECT_MAP + frame;
    for at in 0..8 {
        poke(frame + at * 8, 500 + at);
    }
    let (indexed, displaced, wrapped, as_index): (u64, u64, u64, u64);
    // SAFETY: within the frame.
    unsafe {
        asm!(
            "mov {indexed}, [{base} + {two} * 8 + 8]",
            "mov {displaced}, [{behind} - 0x1000 + 32]",
            "mov {wrapped}, [{low} + {offset}]",
            "mov {as_index}, [{two} + {base} * 1 + 6]",
            base = in(reg) above, two = in(reg) 2_u64, behind = in(reg) above + 0x1000, low = in(reg) frame + 40,
            offset = in(reg) DIRECT_MAP, indexed = out(reg) indexed, displaced = out(reg) displaced,
            wrapped = out(reg) wrapped, as_index = out(reg) as_index, options(nostack),
        );
    }
    equal("indexed", indexed, 503)?;
    equal("displaced", displaced, 504)?;
    equal("wrapped", wrapped, 505)?;
    equal("as index", as_index, 501)?;
    let mut code = [0x48, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0, 0xc3]; // movabs rax, [address]; ret
    code[2..10].copy_from_slice(&(above + 48).to_le_bytes());
    let code_frame = self::frame();
    space::write(code_frame, &code);
    equal("absolute", space::call(code_frame), 506)
}

fn strings() -> Outcome {
    let [source, target] = [frame(), frame()];
    let (from, above) = (DIRECT_MAP + source, DIRECT_MAP + target);
    // SAFETY: within the frames.
    unsafe {
        asm!("rep stosb", inout("rcx") 0x800_u64 => _, inout("rdi") from => _, in("al") 0x5a_u8);
        asm!("rep movsb", inout("rcx") 0x1000_u64 => _, inout("rsi") from => _, inout("rdi") above => _);
    }
    equal("filled", peek(target + 0x7f8), 0x5a5a_5a5a_5a5a_5a5a)?;
    equal("not filled", peek(target + 0x800), 0)?;
    poke(target + 0x400, 0);
    let (left, same): (u64, u64);
    // SAFETY: reads within the frames.
    unsafe {
        asm!("repe cmpsq", inout("rcx") 0x200_u64 => same, inout("rsi") source => _, inout("rdi") above => _);
        asm!("repne scasb", inout("rcx") 0x1000_u64 => left, inout("rdi") above => _, in("al") 0_u8);
        asm!("rep stosq", inout("rcx") 0x200_u64 => _, inout("rdi") above => _, in("rax") 3_u64);
    }
    equal("compared", same, 0x200 - 0x81)?;
    equal("scanned", left, 0x1000 - 0x401)?;
    equal("filled with words", (0..0x200).map(|at| peek(target + at * 8)).sum(), 0x600)
}

fn sse() -> Outcome {
    let frame = frame();
    poke(frame, 11);
    poke(frame + 8, 22);
    // SAFETY: within the frame.
    unsafe {
        asm!(
            "movups {x}, [{at}]", "paddq {x}, [{at}]", "movaps [{at} + 16], {x}",
            "movq {x}, qword ptr [{at} + 24]", "movntdq [{at} + 32], {x}", "sfence", "movss {x}, [{at}]", "movhps [{at} + 48], {x}",
            at = in(reg) DIRECT_MAP + frame, x = out(xmm_reg) _, options(nostack),
        );
    }
    equal("low half", peek(frame + 16), 22)?;
    equal("high half", peek(frame + 24), 44)?;
    equal("past the cache", peek(frame + 32), 44)
}

/// Comparing with memory sets flags; moving does not change them.
fn flags() -> Outcome {
    let frame = frame();
    poke(frame, 100);
    let (less, kept): (u64, u64);
    // SAFETY: within the frame.
    unsafe {
        asm!(
            "xor {less:e}, {less:e}", "xor {kept:e}, {kept:e}",
            "cmp qword ptr [{at}], 101", "mov [{at} + 8], {at}", "mov {scratch}, [{at}]", "setb {less:l}",
            "test byte ptr [{at}], 4", "mov byte ptr [{at} + 16], 1", "setnz {kept:l}",
            at = in(reg) DIRECT_MAP + frame, scratch = out(reg) _, less = out(reg) less, kept = out(reg) kept,
            options(nostack),
        );
    }
    equal("less", less, 1)?;
    equal("kept", kept, 1)
}

fn across_pages() -> Outcome {
    let [first, second] = [frame(), frame()];
    equal("frames are neighbours", second, first + 0x1000)?;
    poke(DIRECT_MAP + second - 4, 0x1122_3344_5566_7788);
    equal("first half", peek(second - 8) >> 32, 0x5566_7788)?;
    equal("second half", peek(second), 0x1122_3344)?;
    equal("read", peek(DIRECT_MAP + second - 4), 0x1122_3344_5566_7788)
}

/// Unikraft edits its page tables through the direct map.
fn holds_tables() -> Outcome {
    const ADDRESS: u64 = MAPPINGS + (12 << 30);
    let frames_of_two = [frame(), frame()];
    poke(frames_of_two[0], 1);
    poke(frames_of_two[1], 2);
    let entry = DIRECT_MAP + tables().entry(frames(), ADDRESS, Size::Small) as u64;
    for turn in 0..4 {
        poke(entry, frames_of_two[turn & 1] | WRITABLE | 1);
        paging::invalidate(ADDRESS);
        equal("word", peek(ADDRESS), 1 + (turn as u64 & 1))?;
    }
    Ok(())
}
