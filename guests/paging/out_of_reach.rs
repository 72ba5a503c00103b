//! Memory where a monitor that runs in a process has none: every kind of instruction works on it, with the flags and the
//! faults that it has elsewhere.

use core::arch::x86_64::__cpuid_count;
use core::arch::{asm, global_asm};

use crate::space::{self, FAULT_PRESENT, FAULT_WRITE, PAGE_FAULT, frame, map, peek, poke, unmap, write};
use rt::cell::OneCpu;
use rt::check::{Check, Outcome, equal, holds};
use rt::paging::WRITABLE;
use rt::tables::{self, TablePointer};
use rt::trap::{self, Record};
use rt::{cpu, faulting, time};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "far-arithmetic", run: arithmetic },
    Check { name: "far-multiply-and-divide", run: multiply_and_divide },
    Check { name: "far-bits", run: bits },
    Check { name: "far-exchange", run: exchange },
    Check { name: "far-flags", run: flags },
    Check { name: "far-segment", run: segment },
    Check { name: "far-strings-and-stack", run: strings_and_stack },
    Check { name: "far-sse", run: sse },
    Check { name: "far-avx", run: avx },
    Check { name: "far-x87", run: x87 },
    Check { name: "far-fxsave", run: fxsave },
    Check { name: "far-xsave", run: xsave },
    Check { name: "far-across-pages", run: across_pages },
    Check { name: "far-divide-error", run: divide_error },
    Check { name: "far-alignment", run: alignment },
    Check { name: "far-absent", run: absent },
    Check { name: "far-read-only", run: read_only },
    Check { name: "far-code", run: code },
    Check { name: "far-interrupted", run: interrupted },
    Check { name: "far-32-bit-code", run: code_of_32_bits },
];

/// Where a process on Linux has its own: its program, its heap, its stack are somewhere above.
const FAR: u64 = 0x4000_0000_0000;
/// Lower than a process may map (vm.mmap_min_addr).
const NEAR: u64 = 0x8000;

const DIVIDE_ERROR: u8 = 0;
const GENERAL_PROTECTION: u8 = 13;

/// CF, PF, ZF, SF, OF.
const STATUS: u64 = 0x8c5;
const CARRY: u64 = 1 << 0;
const ZERO: u64 = 1 << 6;
const OVERFLOW: u64 = 1 << 11;

/// The frame at [`FAR`], zeroed; a neighbour follows that is none in memory.
fn page() -> u64 {
    let [behind, _, page] = [frame(), frame(), frame()];
    map(FAR, page, WRITABLE);
    map(FAR + 0x1000, behind, WRITABLE);
    page
}

fn arithmetic() -> Outcome {
    let page = page();
    poke(page, 40);
    poke(page + 8, u64::MAX);
    let (sum, least): (u64, u64);
    // SAFETY: within the page.
    unsafe {
        asm!(
            "inc qword ptr [{at}]", "lock add qword ptr [{at}], 1", "sub dword ptr [{at}], -8", "xor byte ptr [{at}], 1",
            "stc", "adc word ptr [{at} + 8], 0", "setc [{at} + 16]", "neg byte ptr [{at} + 15]", "not byte ptr [{at} + 14]",
            "mov {sum}, 5", "add {sum}, [{at}]", "mov {least}, 100", "cmp {least}, [{at}]", "cmova {least}, [{at}]",
            "cmovbe {least:e}, [{at} + 8]",
            at = in(reg) FAR, sum = out(reg) sum, least = out(reg) least, options(nostack),
        );
    }
    equal("changed", peek(page), 51)?;
    equal("with carry", peek(page + 8), 0x0100_ffff_ffff_0000)?;
    equal("carry", peek(page + 16), 1)?;
    equal("sum", sum, 56)?;
    equal("moved on condition, and cut", least, 51)
}

fn multiply_and_divide() -> Outcome {
    let page = page();
    poke(page, 1 << 40);
    poke(page + 8, 7);
    poke(page + 16, 0xffff_fff9);
    let (low, high, signed, quotient, rest, negative): (u64, u64, u64, u64, u64, u64);
    // SAFETY: reads the page.
    unsafe {
        asm!("mul qword ptr [{at}]", at = in(reg) FAR, inout("rax") 3_u64 << 30 => low, out("rdx") high);
        asm!("imul {0}, [{at} + 8], -6", out(reg) signed, at = in(reg) FAR);
        asm!("div qword ptr [{at} + 8]", at = in(reg) FAR, inout("rax") 100_u64 => quotient, inout("rdx") 0_u64 => rest);
        asm!("cdq", "idiv dword ptr [{at} + 16]", at = in(reg) FAR, inout("rax") 50_u64 => negative, out("rdx") _);
    }
    equal("low half", low, 0)?;
    equal("high half", high, 3 << 6)?;
    equal("signed", signed, (-42_i64).cast_unsigned())?;
    equal("quotient", quotient, 14)?;
    equal("rest", rest, 2)?;
    equal("negative", negative, 0xffff_fff9)
}

fn bits() -> Outcome {
    let page = page();
    poke(page + 0x800, 0xf0);
    poke(page, 0x8000_0000_0000_0000);
    let (first, last, ones, set, before): (u64, u64, u64, u64, u64);
    // SAFETY: within the page.
    unsafe {
        asm!(
            "bsf {first}, [{at} + 0x800]", "bsr {last}, [{at} + 0x800]", "popcnt {ones}, [{at} + 0x800]",
            "bts qword ptr [{at} + 0x800], 1", "setc {set:l}", "movzx {set:e}, {set:l}",
            "mov {index}, -0x3fc1", "lock btr qword ptr [{at} + 0x800], {index}",
            "setc {before:l}", "movzx {before:e}, {before:l}",
            "mov {index}, -0x3fc0", "lock bts qword ptr [{at} + 0x800], {index}",
            "mov {index:e}, 9", "btc dword ptr [{at} + 0x800], {index:e}",
            "mov {index:e}, 0x12345678", "shld [{at} + 0x808], {index:e}, 12", "ror byte ptr [{at} + 0x809], 4",
            at = in(reg) FAR, first = out(reg) first, last = out(reg) last, ones = out(reg) ones, set = out(reg) set,
            before = out(reg) before, index = out(reg) _, options(nostack),
        );
    }
    equal("first", first, 4)?;
    equal("last", last, 7)?;
    equal("ones", ones, 4)?;
    equal("was not set", set, 0)?;
    equal("set", peek(page + 0x800), 0x2f2)?;
    equal("was set, far before", before, 1)?;
    equal("taken away, far before", peek(page), 0)?;
    equal("put there, far before", peek(page + 8), 1)?;
    equal("shifted from a register and rotated", peek(page + 0x808), 0x1023)?;
    if !has(20) || !has(22) {
        return Ok(());
    }
    let (sum, same_sum, swapped): (u64, u64, u64);
    // SAFETY: reads the page, with SSE4.2 and MOVBE.
    unsafe {
        asm!(
            "crc32 {sum}, qword ptr [{at} + 0x800]", "mov {swapped}, [{at} + 0x800]", "crc32 {same}, {swapped}",
            "movbe {swapped:e}, [{at} + 0x808]",
            at = in(reg) FAR, sum = inout(reg) 1_u64 => sum, same = inout(reg) 1_u64 => same_sum,
            swapped = out(reg) swapped, options(nostack),
        );
    }
    equal("sum", sum, same_sum)?;
    equal("swapped", swapped, 0x2310_0000)
}

/// Whether the processor has what this bit of CPUID leaf 1, ECX, tells.
fn has(bit: u32) -> bool {
    cpu::cpuid(1, 0).ecx >> bit & 1 != 0
}

fn exchange() -> Outcome {
    let page = page();
    poke(page, 5);
    poke(page + 16, 1);
    poke(page + 24, 2);
    let (exchanged, added): (u64, u64);
    let (low, high, found): (u64, u64, u64);
    // SAFETY: within the page; RBX, which the compiler keeps, is brought back.
    unsafe {
        asm!(
            "xchg [{at}], {exchanged}", "lock xadd [{at}], {added}", "mov eax, 12", "lock cmpxchg [{at}], {new}",
            at = in(reg) FAR, exchanged = inout(reg) 7_u64 => exchanged, added = inout(reg) 5_u64 => added,
            new = in(reg) 1000_u64, out("rax") _, options(nostack),
        );
        asm!(
            "mov r8, rbx", "mov ebx, 30",
            "lock cmpxchg16b [rdi + 16]", "mov r9, rax", "lock cmpxchg16b [rdi + 16]",
            "mov rbx, r8",
            in("rdi") FAR, out("r8") _, out("r9") found,
            inout("rax") 0_u64 => low, inout("rdx") 2_u64 => high, in("rcx") 31_u64, options(nostack),
        );
    }
    equal("exchanged", exchanged, 5)?;
    equal("added", added, 7)?;
    equal("compared and exchanged", peek(page), 1000)?;
    equal("found", found, 1)?;
    equal("low", low, 1)?;
    equal("high", high, 2)?;
    equal("low in memory", peek(page + 16), 30)?;
    equal("high in memory", peek(page + 24), 31)
}

/// Flags are those of the instruction, and those it leaves alone stay.
fn flags() -> Outcome {
    let page = page();
    poke(page, i64::MAX.cast_unsigned());
    let (overflown, kept, product): (u64, u64, u64);
    // SAFETY: within the page.
    unsafe {
        asm!(
            "xor {scratch:e}, {scratch:e}", "add qword ptr [{at}], 1", "pushfq", "pop {overflown}",
            "stc", "dec qword ptr [{at} + 8]", "inc qword ptr [{at} + 8]", "movups [{at} + 16], xmm0", "pushfq", "pop {kept}",
            "mov {scratch}, 2", "imul {scratch}, [{at}]", "pushfq", "pop {product}",
            at = in(reg) FAR, scratch = out(reg) _, overflown = out(reg) overflown, kept = out(reg) kept,
            product = out(reg) product,
        );
    }
    equal("of a sum", overflown & STATUS, OVERFLOW | 1 << 7 | 1 << 2)?;
    equal("kept", kept & (CARRY | ZERO), CARRY | ZERO)?;
    equal("of a product", product & (CARRY | OVERFLOW), CARRY | OVERFLOW)
}

fn segment() -> Outcome {
    const GS_BASE: u32 = 0xc000_0101;
    let page = page();
    let sum: u64;
    // SAFETY: the base leads to the page; nothing else uses it.
    unsafe {
        cpu::wrmsr(GS_BASE, FAR);
        asm!(
            "add qword ptr gs:[0x20], 7", "lock xadd gs:[{four} * 8], {sum}", "sub qword ptr gs:[{four} * 8], -1",
            four = in(reg) 4_u64, sum = inout(reg) 1_u64 => sum, options(nostack),
        );
        cpu::wrmsr(GS_BASE, 0);
    }
    equal("before", sum, 7)?;
    equal("after", peek(page + 0x20), 9)
}

fn strings_and_stack() -> Outcome {
    let page = page();
    let (left, popped): (u64, u64);
    // SAFETY: within the page; the stack is there only where nothing else needs one.
    unsafe {
        asm!("rep stosq", inout("rcx") 0x100_u64 => _, inout("rdi") FAR => _, in("rax") 0x77_u64);
        asm!("rep movsb", inout("rcx") 0x333_u64 => _, inout("rsi") FAR => _, inout("rdi") FAR + 0x801 => _);
        asm!("repe cmpsq", inout("rcx") 0x180_u64 => left, inout("rsi") FAR => _, inout("rdi") FAR + 8 => _);
        asm!(
            "mov {old}, rsp", "lea rsp, [{at} + 0xf00]", "push 77", "push qword ptr [{at}]", "call 2f", "jmp 3f",
            "2: ret", "3: pop qword ptr [{at} + 0xf80]", "pop {popped}", "mov rsp, {old}",
            at = in(reg) FAR, old = out(reg) _, popped = out(reg) popped,
        );
    }
    equal("copied", peek(page + 0x801 + 0x330) & 0xff_ffff, 0x77)?;
    equal("equal", left, 0x80)?;
    equal("pushed and popped", popped, 77)?;
    equal("from memory to memory", peek(page + 0xf80), 0x77)
}

fn sse() -> Outcome {
    let page = page();
    poke(page + 16, 1.5_f64.to_bits());
    poke(page + 24, (-2.0_f64).to_bits());
    poke(page + 32, 0x0706_0504_0302_0100);
    poke(page + 40, 0x8080_8080_8080_8080);
    let (low, whole, less): (u64, u64, u64);
    // SAFETY: within the page.
    unsafe {
        asm!(
            "movapd {x}, [{at} + 16]", "addpd {x}, [{at} + 16]", "movlpd [{at} + 48], {x}", "movhpd [{at} + 56], {x}",
            "movdqa {y}, [{at} + 32]", "paddb {y}, [{at} + 32]", "movntdq [{at} + 64], {y}",
            "sqrtsd {x}, qword ptr [{at} + 48]", "cvttsd2si {whole}, qword ptr [{at} + 48]",
            "comisd {x}, qword ptr [{at} + 24]", "seta {less:l}", "movzx {less:e}, {less:l}",
            "movq {low}, {y}", "sfence",
            at = in(reg) FAR, x = out(xmm_reg) _, y = out(xmm_reg) _, low = out(reg) low, whole = out(reg) whole,
            less = out(reg) less, options(nostack),
        );
    }
    equal("sum", peek(page + 48), 3.0_f64.to_bits())?;
    equal("other sum", peek(page + 56), (-4.0_f64).to_bits())?;
    equal("bytes", low, 0x0e0c_0a08_0604_0200)?;
    equal("bytes in memory", peek(page + 64), low)?;
    equal("high bytes", peek(page + 72), 0)?;
    equal("cut", whole, 3)?;
    equal("compared", less, 1)?;
    if has(9) {
        let reversed: u64;
        poke(page + 80, 0x0001_0203_0405_0607);
        // SAFETY: reads the page, with SSSE3.
        unsafe {
            asm!(
                "movdqa {x}, [{at} + 32]", "pshufb {x}, [{at} + 80]", "movq {0}, {x}",
                out(reg) reversed, at = in(reg) FAR, x = out(xmm_reg) _, options(nostack),
            );
        }
        equal("reversed", reversed, 0x0001_0203_0405_0607)?;
    }
    Ok(())
}

fn has_avx() -> bool {
    // SAFETY: CR4.OSXSAVE says that XCR0 can be read.
    cpu::read_cr4() & cpu::CR4_OSXSAVE != 0 && unsafe { cpu::read_xcr0() } & 4 != 0
}

fn avx() -> Outcome {
    if !has_avx() {
        return Ok(());
    }
    let page = page();
    for at in (0..32).step_by(8) {
        poke(page + at, (at as f64).to_bits());
    }
    // SAFETY: within the page; AVX is enabled.
    unsafe {
        asm!(
            "vmovapd ymm1, [{at}]", "vaddpd ymm1, ymm1, [{at}]", "vmovupd [{at} + 33], ymm1",
            "vbroadcastsd ymm2, qword ptr [{at} + 8]", "vextractf128 [{at} + 80], ymm2, 1", "vzeroupper",
            at = in(reg) FAR, out("xmm1") _, out("xmm2") _, options(nostack),
        );
    }
    equal("third", peek(page + 49), 32.0_f64.to_bits())?;
    equal("fourth", peek(page + 57), 48.0_f64.to_bits())?;
    equal("upper half", peek(page + 88), 8.0_f64.to_bits())
}

fn x87() -> Outcome {
    let page = page();
    poke(page, 2.5_f64.to_bits());
    poke(page + 8, 3);
    // SAFETY: within the page; leaves the register stack empty.
    unsafe {
        asm!(
            "fninit", "fld qword ptr [{at}]", "fimul dword ptr [{at} + 8]", "fst qword ptr [{at} + 16]",
            "fstp tbyte ptr [{at} + 0xffb]", "fld tbyte ptr [{at} + 0xffb]", "fistp word ptr [{at} + 24]",
            "fnstcw [{at} + 32]", "fldpi", "fnsave [{at} + 64]", "frstor [{at} + 64]", "fstp dword ptr [{at} + 40]", "fninit",
            at = in(reg) FAR, options(nostack),
        );
    }
    equal("product", peek(page + 16), 7.5_f64.to_bits())?;
    equal("whole", peek(page + 24), 8)?;
    equal("control word", peek(page + 32), 0x37f)?;
    equal("saved and restored", peek(page + 40), u64::from(core::f32::consts::PI.to_bits()))
}

fn fxsave() -> Outcome {
    let page = page();
    poke(page + 0x40 + 504, 0x5555);
    let (first, back): (u64, u64);
    // SAFETY: within the page; the state is as before but for XMM5.
    unsafe {
        asm!(
            "movq xmm5, {value}", "fxsave64 [{at} + 0x40]", "pxor xmm5, xmm5", "movq {first}, xmm5",
            "fxrstor64 [{at} + 0x40]", "movq {back}, xmm5",
            at = in(reg) FAR, value = in(reg) 0x1234_u64, first = out(reg) first, back = out(reg) back, out("xmm5") _,
            options(nostack),
        );
    }
    equal("cleared", first, 0)?;
    equal("restored", back, 0x1234)?;
    equal("in memory", peek(page + 0x40 + 160 + 5 * 16), 0x1234)?;
    equal("what is not saved", peek(page + 0x40 + 504), 0x5555)
}

fn xsave() -> Outcome {
    if !has_avx() {
        return Ok(());
    }
    let page = page();
    let back: u64;
    // SAFETY: within the page; the state is as before but for YMM6.
    unsafe {
        asm!(
            "movq xmm6, {value}", "vinsertf128 ymm6, ymm6, xmm6, 1", "xsave64 [{at} + 0x40]", "vzeroall",
            "xrstor64 [{at} + 0x40]", "vextractf128 xmm6, ymm6, 1", "movq {back}, xmm6", "vzeroupper",
            at = in(reg) FAR, value = in(reg) 0x4321_u64, back = out(reg) back, in("eax") 7, in("edx") 0,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _, options(nostack),
        );
    }
    let upper_halves = __cpuid_count(0xd, 2).ebx;
    equal("restored", back, 0x4321)?;
    equal("lower half", peek(page + 0x40 + 160 + 6 * 16), 0x4321)?;
    equal("upper half", peek(page + 0x40 + u64::from(upper_halves) + 6 * 16), 0x4321)
}

/// Two pages that are no neighbours in memory.
fn across_pages() -> Outcome {
    let page = page();
    let end = FAR + 0x1000;
    write(page + 0xff8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let rest: u64;
    // SAFETY: within the two pages.
    unsafe {
        asm!("not dword ptr [{0} - 2]", "inc word ptr [{0} - 1]", in(reg) end, options(nostack));
        asm!(
            "movups xmm1, [{at} - 7]", "paddb xmm1, xmm1", "movups [{at} - 7], xmm1", "mov {rest}, [{at}]",
            at = in(reg) end, rest = out(reg) rest, out("xmm1") _, options(nostack),
        );
    }
    equal("first page", peek(page + 0xff8), 0xf0f0_0c0a_0806_0401)?;
    equal("second page", rest, 0xfefe)
}

/// Runs what must raise `vector`; the record.
fn raised(vector: u8, code: impl FnOnce()) -> Result<Record, rt::check::Wrong> {
    trap::on(vector, Some(trap::record));
    code();
    trap::on(vector, None);
    let record = trap::last().ok_or(equal("exceptions", 0, 1));
    record.map_err(|missing| missing.expect_err("0 is not 1"))
}

fn divide_error() -> Outcome {
    let page = page();
    poke(page + 8, 1);
    let mut here = 0_u64;
    for offset in [0_u64, 8] {
        // SAFETY: the division only raises its exception: by zero, or because the quotient is too long.
        let record = raised(DIVIDE_ERROR, || unsafe {
            faulting!(
                "lea {0}, [rip + 2f]", "stc", "2: div qword ptr [{1}]";
                out(reg) here, in(reg) FAR + offset, inout("rax") 11_u64 => _, inout("rdx") 12_u64 => _
            );
        })?;
        equal("rip", record.frame.rip, here)?;
        equal("rax is kept", record.frame.rax, 11)?;
        equal("rdx is kept", record.frame.rdx, 12)?;
    }
    equal("memory is kept", peek(page), 0)
}

/// An instruction on what RDI names, always the same one: where it has been once it is known to be out of reach.
type Access = fn(u64);

/// An [`Access`] that may fault.
macro_rules! access {
    ($line:literal) => {{
        #[inline(never)]
        fn access(address: u64) {
            // SAFETY: the checks name addresses in their pages; what it changes is named.
            unsafe { faulting!($line; in("rdi") address, inout("rax") 7_u64 => _, inout("rdx") 0_u64 => _, out("xmm0") _) }
        }
        access
    }};
}

fn alignment() -> Outcome {
    let accesses: [(Access, u64); 3] = [
        (access!("lock cmpxchg16b [rdi]"), 8),
        (access!("fxsave64 [rdi]"), 8),
        (access!("xsave64 [rdi]"), 0x30),
    ];
    let page = page();
    for (access, off) in accesses.into_iter().take(if has_avx() { 3 } else { 2 }) {
        // So that it is known to be out of reach.
        access(FAR);
        let record = raised(GENERAL_PROTECTION, || access(FAR + 0x400 + off))?;
        equal("error code", record.frame.error, 0)?;
    }
    for at in (0x400..0x800).step_by(8) {
        equal("nothing is written", peek(page + at), 0)?;
    }
    Ok(())
}

/// Requires a page fault.
fn faults(code: impl FnOnce(), address: u64, error: u64) -> Outcome {
    let record = raised(PAGE_FAULT, code)?;
    equal("cr2", record.cr2, address)?;
    equal("error code", record.frame.error, error)
}

/// Each instruction finds its page, and finds it no more. Of what reads before it writes QEMU tells the read only.
fn absent() -> Outcome {
    let accesses: [(Access, u64, u64); 6] = [
        (access!("mul qword ptr [rdi + 0x10]"), 0x10, 0),
        (access!("stmxcsr [rdi + 4]"), 4, FAULT_WRITE),
        (access!("pxor xmm0, [rdi]"), 0, 0),
        (access!("fnstcw [rdi + 8]"), 8, FAULT_WRITE),
        // The second page of two.
        (access!("popcnt rax, [rdi - 4]"), 0, 0),
        (access!("fxsave64 [rdi - 0x100]"), 0, FAULT_WRITE),
    ];
    let _ = page();
    let start = FAR + 0x1000;
    for _ in 0..2 {
        accesses.iter().for_each(|(access, ..)| access(start));
        unmap(start);
        space::all(accesses, |(access, at, error)| faults(|| access(start), start + at, error))?;
        map(start, frame(), WRITABLE);
    }
    Ok(())
}

fn read_only() -> Outcome {
    const PROTECTED: u64 = FAULT_PRESENT | FAULT_WRITE;
    let accesses: [(Access, u64); 4] = [
        (access!("lock add qword ptr [rdi], 1"), 0),
        (access!("movups [rdi + 3], xmm0"), 3),
        (access!("lock cmpxchg [rdi], rax"), 0),
        (access!("setz [rdi + 9]"), 9),
    ];
    let page = page();
    for _ in 0..2 {
        accesses.iter().for_each(|(access, _)| access(FAR));
        poke(page, 9);
        map(FAR, page, 0);
        let product: u64;
        // SAFETY: reads the page.
        unsafe { asm!("imul {0}, [{1}], 3", out(reg) product, in(reg) FAR) };
        equal("can be read", product, 27)?;
        space::all(accesses, |(access, at)| faults(|| access(FAR), FAR + at, PROTECTED))?;
        equal("unchanged", peek(page), 9)?;
        map(FAR, page, WRITABLE);
    }
    Ok(())
}

/// Code that is changed through an address out of reach is the new code at once.
fn code() -> Outcome {
    let page = page();
    write(page + 0x100, &space::returning(1));
    equal("before", space::call(page + 0x100), 1)?;
    for value in 2..20 {
        // SAFETY: the instruction's immediate.
        unsafe { asm!("lock inc dword ptr [{0} + 0x101]", in(reg) FAR, options(nostack)) };
        equal("value", space::call(page + 0x100), value)?;
    }
    // inc dword [rdi + behind + 1]; mov eax, imm32; ret: it changes what comes next.
    write(page + 0x200, &[0xff, 0x87, 0x07, 0, 0, 0, 0xb8, 5, 0, 0, 0, 0xc3]);
    for value in 6..20 {
        let result: u64;
        // SAFETY: changes RAX alone.
        unsafe { asm!("call {0}", in(reg) page + 0x200, in("rdi") FAR + 0x200, out("rax") result) };
        equal("changed by itself", result, value)?;
    }
    Ok(())
}

fn interrupted() -> Outcome {
    let page = page();
    let mut expected = 0_u64;
    let enough = time::while_ticking(10, || {
        for _ in 0..1000 {
            let rest: u64;
            // SAFETY: within the page.
            unsafe {
                asm!(
                    "inc qword ptr [{at}]", "addsd xmm0, qword ptr [{at} + 8]", "add qword ptr [{at}], 2",
                    "mov eax, 7", "xor edx, edx", "mov {rest}, [{at}]", "mul qword ptr [{at}]", "sub {rest}, [{at}]",
                    at = in(reg) FAR, rest = out(reg) rest, out("rax") _, out("rdx") _, out("xmm0") _, options(nostack),
                );
            }
            expected += 3;
            equal("no change between", rest, 0)?;
            equal("each once", peek(page), expected)?;
        }
        Ok(())
    })?;
    holds("ticks came", enough)
}

global_asm!(
    ".globl paging_code32",
    "paging_code32:",
    ".code32",
    "mov dword ptr [0x8000], 20",
    "add [0x8000], ecx",
    "mov eax, 3",
    "mul dword ptr [0x8000]",
    "mov [0x8004], eax",
    "mov eax, 20",
    "mov ebx, 77",
    "lock cmpxchg [0x8000], ebx",
    "fld1",
    "fstp qword ptr [0x8008]",
    "movups xmm0, [0x8000]",
    "paddd xmm0, [0x8000]",
    "movups [0x8013], xmm0",
    "fxsave [0x8200]",
    "mov edi, 0x8100",
    "mov eax, -2040",
    "bts [edi], eax",
    ".byte 0xea",
    ".long paging_code64",
    ".word 8",
    ".code64",
    ".globl paging_code64",
    "paging_code64:",
    "ret",
);

unsafe extern "C" {
    fn paging_code32();
}

fn code_of_32_bits() -> Outcome {
    const CODE32: u16 = 0x28;
    static GDT: OneCpu<[u64; 6]> = OneCpu::new([0; 6]);
    let page = frame();
    map(NEAR, page, WRITABLE);
    let mut original = TablePointer { limit: 0, base: 0 };
    // SAFETY: the copy holds all that the original does, and a flat segment of 32-bit code, which comes back by itself.
    unsafe {
        asm!("sgdt [{}]", in(reg) &raw mut original, options(nostack, preserves_flags));
        let table = GDT.get();
        table[..5].copy_from_slice(&*(original.base as *const [u64; 5]));
        table[5] = 0x00cf_9b00_0000_ffff;
        tables::load_gdt(&TablePointer::to(GDT.as_ptr()));
        asm!(
            "push rbx", "lea {back}, [rip + 2f]", "push {back}", "push {selector}", "push {code}", "retfq",
            "2: pop rbx", "fninit",
            selector = in(reg) u64::from(CODE32), code = in(reg) paging_code32 as *const () as u64, back = out(reg) _,
            in("ecx") 5, out("eax") _, out("edx") _, out("edi") _, out("xmm0") _,
        );
        tables::load_gdt(&original);
    }
    map(NEAR, NEAR, WRITABLE);
    equal("sum, product, and bit far before", peek(page), 1 << 8 | 25 | 75 << 32)?;
    equal("one", peek(page + 8), 1.0_f64.to_bits())?;
    equal("doubled", peek(page + 0x13), 50 | 150 << 32)?;
    equal("saved", peek(page + 0x200 + 160), 50 | 150 << 32)
}
