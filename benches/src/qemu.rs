//! The same kernels under QEMU without KVM: what there is today on a host without hardware virtualisation.
//!
//! Kernels of the Linux boot protocol are booted by our own multiboot shim, because QEMU takes none in an ELF file.

use std::path::Path;

use runu_guests::Guest;

use crate::{
    contender::{Category, Contender, Course, Field, Role, Waiter},
    host::{self, word},
    memory::{Ending, Idle},
    run::Job,
    runu::Kernel,
};

/// QEMU's program.
const PROGRAM: &str = "qemu-system-x86_64";

/// The smallest PC that it emulates, as the tests of our guests have it too.
const MACHINE: &[&str] = &[
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-m",
    "64",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-no-reboot",
    "-device",
    "isa-debug-exit,iobase=0xf4,iosize=1",
];

/// Enters QEMU for every kernel.
pub(crate) fn enter(field: &mut Field, kernels: &[Kernel]) {
    let Some(program) = host::find(PROGRAM) else {
        field.skip("QEMU", "qemu-system-x86_64 is not installed");
        return;
    };
    for kernel in kernels {
        field.contenders.push(Contender {
            name: format!("QEMU TCG {}", kernel.name),
            role: Role::Emulator,
            category: Category::Run,
            kernel: Some(kernel.name.clone()),
            course: Course::Program(job(&program, kernel, "pc")),
            elsewhere: false,
        });
    }
    let Some(idle) = Guest::named("idle") else { return };
    let kernel =
        Kernel { name: "idle".to_owned(), path: idle.multiboot_path(), linux64: false, unikraft: false };
    let mut job = job(&program, &kernel, "pc,memory-backend=ram");
    // The guest's memory has a name then, by which it can be told from QEMU's own.
    job.words.extend(["-object", "memory-backend-memfd,id=ram,size=64M"].map(str::to_owned));
    field.waiters.push(Waiter {
        name: "QEMU TCG idle-multiboot".to_owned(),
        has_target: false,
        idle: Idle {
            job,
            guest_memory: Some("/memfd:memory-backend-memfd".to_owned()),
            end: Ending::Terminate,
            beside: 0,
        },
        elsewhere: false,
    });
}

/// QEMU with a kernel on this machine.
pub(crate) fn job(program: &Path, kernel: &Kernel, machine: &str) -> Job {
    let mut words = vec![word(program), "-M".to_owned(), machine.to_owned()];
    words.extend(MACHINE.iter().map(|argument| (*argument).to_owned()));
    let file = word(&kernel.path);
    words.extend(if kernel.linux64 {
        ["-kernel".to_owned(), word(&runu_guests::lxshim_path()), "-initrd".to_owned(), file]
    } else {
        ["-kernel".to_owned(), file, "-append".to_owned(), String::new()]
    });
    if kernel.linux64 {
        // The first word of a Linux command line is the first argument, and there must be one.
        words.extend(["-append", &kernel.name].map(str::to_owned));
    }
    Job { words, expected: kernel.says().to_owned(), undo: None }
}

/// QEMU with our guest of microbenchmarks, if it is installed.
pub(crate) fn bench_guest() -> Option<Job> {
    let guest = Guest::named("bench")?;
    let kernel =
        Kernel { name: "bench".to_owned(), path: guest.multiboot_path(), linux64: false, unikraft: false };
    let mut job = job(&host::find(PROGRAM)?, &kernel, "pc");
    job.expected = crate::instructions::EXPECTED.to_owned();
    Some(job)
}
