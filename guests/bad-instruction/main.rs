//! Executes one privileged instruction that kernels of this kind have no use for, and says whether it survived.
//!
//! The argument names it: `lldt` (default), `mov-dr`, `rdpmc`, `wbinvd`, `invd`; or one that is undefined on
//! this machine: `rsm`, `getsec`, `vmcall`. Each has a function of its own, whose symbol an error message can
//! name.

#![no_std]
#![no_main]

use core::arch::naked_asm;
use rt::boot::Boot;
use rt::{power, println};

rt::guest!("bad-instruction", main);

/// A function that only executes these instructions.
macro_rules! functions {
    ($($name:ident: $($line:literal),+;)*) => {$(
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        extern "C" fn $name() {
            naked_asm!($($line,)+ "ret")
        }
    )*};
}

functions! {
    load_local_table: "mov eax, 0x10", "lldt ax";
    set_debug_register: "mov eax, 0x400", "mov dr7, rax";
    read_performance_counter: "xor ecx, ecx", "rdpmc";
    write_back_caches: "wbinvd";
    forget_caches: "invd";
    leave_system_management: "rsm";
    enter_safer_mode: "mov eax, 4", "getsec";
    call_hypervisor: "mov eax, 0", "vmcall";
}

fn main(boot: &'static Boot) -> ! {
    let choices: [(&[u8], extern "C" fn()); 8] = [
        (b"lldt", load_local_table),
        (b"mov-dr", set_debug_register),
        (b"rdpmc", read_performance_counter),
        (b"wbinvd", write_back_caches),
        (b"invd", forget_caches),
        (b"rsm", leave_system_management),
        (b"getsec", enter_safer_mode),
        (b"vmcall", call_hypervisor),
    ];
    let chosen = choices.iter().find(|(name, _)| boot.cmdline.has(name)).unwrap_or(&choices[0]);
    println!("about to execute {}", core::str::from_utf8(chosen.0).unwrap_or("?"));
    chosen.1();
    println!("survived");
    power::exit(0)
}
