//! Addresses that are not the guest's: the monitor's code, stack and data, if it has any in this address space.

use crate::Call;
use core::arch::asm;
use rt::cell::OneCpu;
use rt::trap::{self, Record};
use rt::{faulting, println};

const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

fn catch() {
    trap::on(PAGE_FAULT, Some(trap::record));
    trap::on(GENERAL_PROTECTION, Some(trap::record));
}

fn print_fault(what: &str, address: u64, Record { frame, cr2, .. }: &Record) {
    match frame.vector as u8 {
        PAGE_FAULT => println!("{what} {address:#x}: page fault, error {:#x}, cr2 {cr2:#x}", frame.error),
        vector => println!("{what} {address:#x}: exception {vector}"),
    }
}

/// Reads a word, which is worth nothing if there was an exception.
fn read(address: u64) -> (u64, Option<Record>) {
    let value;
    // SAFETY: a read changes nothing; faults are caught.
    unsafe { faulting!("mov {0}, [{0}]"; inout(reg) address => value) };
    (value, trap::last())
}

pub(crate) fn peek(address: u64) {
    catch();
    match read(address) {
        (value, None) => println!("peek {address:#x} = {value:#018x}"),
        (_, Some(record)) => print_fault("peek", address, &record),
    }
    trap::forget_exceptions();
}

/// Counts the addresses of a range that can be read, and names the first.
pub(crate) fn scan(start: u64, end: u64, step: u64) {
    catch();
    let (mut readable, mut first) = (0, None);
    let mut at = start;
    while at < end && step > 0 {
        if read(at).1.is_none() {
            readable += 1;
            first = first.or(Some(at));
        }
        at = at.saturating_add(step);
    }
    match first {
        Some(first) => println!("scan: {readable} readable, the first {first:#x}"),
        None => println!("scan: nothing readable"),
    }
    trap::forget_exceptions();
}

/// One page of `nop` that ends in the system call, to be copied over every page of a range.
static PAGE: OneCpu<[u8; 0x1000]> = OneCpu::new([0x90; 0x1000]);

/// Machine code that loads the registers and makes the call.
fn payload(call: &Call) -> [u8; 74] {
    /// `mov REGISTER, imm64` for RAX, RDI, RSI, RDX, R10, R8, R9.
    const LOADS: [[u8; 2]; 7] =
        [[0x48, 0xb8], [0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8], [0x49, 0xb9]];
    let mut code = [0x90; 74];
    for ((place, load), value) in code.chunks_exact_mut(10).zip(LOADS).zip(call) {
        place[..2].copy_from_slice(&load);
        place[2..].copy_from_slice(&value.to_le_bytes());
    }
    code[70..].copy_from_slice(&[0x0f, 0x05, 0x0f, 0x0b]); // syscall; ud2
    code
}

/// Covers every page of a range that can be written with the call's code. If code of the monitor runs from
/// there, the next thing that happens is the call.
pub(crate) fn overwrite(address: u64, length: u64, call: &Call) {
    catch();
    // SAFETY: the only reference.
    let page = unsafe { PAGE.get() };
    let code = payload(call);
    let at = page.len() - code.len();
    page[at..].copy_from_slice(&code);
    let (mut written, mut fault) = (0_u64, None);
    for target in (address..address.saturating_add(length)).step_by(page.len()) {
        // SAFETY: to overwrite what is not ours is the purpose; faults are caught.
        unsafe {
            faulting!(
                "rep movsb";
                inout("rcx") page.len() => _, inout("rsi") page.as_ptr() => _, inout("rdi") target => _
            );
        }
        match trap::last() {
            Some(record) => fault = fault.or(Some((target, record))),
            None => written += 1,
        }
    }
    println!("overwrite: {written} pages written");
    if let Some((target, record)) = fault {
        print_fault("overwrite", target, &record);
    }
    trap::forget_exceptions();
}

/// Jumps to an address with the call's registers, as if there were a `syscall` to be borrowed. The exception
/// that should come of it is reported by the runtime, which also ends the guest.
pub(crate) fn jump(address: u64, call: &Call) {
    println!("jump to {address:#x}");
    let [number, a1, a2, a3, a4, a5, a6] = *call;
    // SAFETY: does not come back.
    unsafe {
        asm!(
            "jmp {}", in(reg) address, in("rax") number, in("rdi") a1, in("rsi") a2, in("rdx") a3, in("r10") a4,
            in("r8") a5, in("r9") a6, options(noreturn),
        )
    }
}
