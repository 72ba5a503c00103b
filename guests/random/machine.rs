//! What the sequences run on: registers loaded before and saved after, memory that they may use, the timer.

use crate::encode::Random;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use rt::cell::OneCpu;
use rt::trap::{self, Frame};
use rt::{cpu, port, print, println, time};

/// Bytes of the memory that sequences read and write; as many are their stack.
pub(crate) const AREA_LEN: usize = 0x2000;
/// All RAM once more, in the kernel half.
pub(crate) const DIRECT_MAP: u64 = 0xffff_ff80_0000_0000;
/// All RAM once more, where a monitor that runs in a process cannot map it.
pub(crate) const OUT_OF_REACH: u64 = 0x4000_0000_0000;
/// IA32_FS_BASE and IA32_GS_BASE (Intel SDM vol. 4, table 2-2).
const BASES: [u32; 2] = [0xc000_0100, 0xc000_0101];

/// What a sequence starts with and leaves.
#[repr(C)]
pub(crate) struct State {
    xmm: [[u64; 2]; 16],
    /// In the processor's order: RAX RCX RDX RBX RSP RBP RSI RDI R8 and on.
    general: [u64; 16],
    flags: u64,
    /// The stack pointer outside.
    outside: u64,
    entry: u64,
}

#[repr(C, align(0x1000))]
pub(crate) struct Memory {
    area: [u8; AREA_LEN],
    stack: [u8; AREA_LEN],
}

#[unsafe(no_mangle)]
static RANDOM_STATE: OneCpu<State> =
    OneCpu::new(State { xmm: [[0; 2]; 16], general: [0; 16], flags: 0, outside: 0, entry: 0 });

static MEMORY: OneCpu<Memory> = OneCpu::new(Memory { area: [0; AREA_LEN], stack: [0; AREA_LEN] });

global_asm!(
    ".macro each_register do",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "\\do \\n",
    ".endr",
    ".endm",
    ".macro load_xmm n",
    "movdqu xmm\\n, [RANDOM_STATE + 16 * \\n]",
    ".endm",
    ".macro save_xmm n",
    "movdqu [RANDOM_STATE + 16 * \\n], xmm\\n",
    ".endm",
    ".macro general do",
    ".set at, RANDOM_STATE + 256",
    ".irp r, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15",
    "\\do \\r",
    ".set at, at + 8",
    ".endr",
    ".endm",
    ".macro load_general r",
    "mov \\r, [at]",
    ".endm",
    ".macro save_general r",
    "mov [at], \\r",
    ".endm",
    ".globl random_run",
    "random_run:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [RANDOM_STATE + 392], rsp",
    "each_register load_xmm",
    "push qword ptr [RANDOM_STATE + 384]",
    "popfq",
    "general load_general",
    "jmp [RANDOM_STATE + 400]",
    ".globl random_exit",
    "random_exit:",
    "general save_general",
    "mov rsp, [RANDOM_STATE + 392]",
    "pushfq",
    "pop qword ptr [RANDOM_STATE + 384]",
    "cld",
    "each_register save_xmm",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

unsafe extern "C" {
    fn random_run();
    fn random_exit();
}

/// Where sequences go at their end.
pub(crate) fn exit() -> u64 {
    random_exit as *const () as u64
}

/// Address of the memory that sequences read and write.
pub(crate) fn area() -> u64 {
    &raw const MEMORY as u64
}

/// There was an interrupt.
pub(crate) static TICKING: AtomicBool = AtomicBool::new(false);

/// Changes all registers that are not the compiler's to be relied on.
fn on_tick(_: &mut Frame) {
    TICKING.store(true, Relaxed);
    port::outb(time::PIC[0].0, 0x20);
    // SAFETY: all that changes is named; the stubs bring the interrupted registers back.
    unsafe {
        asm!(
            "mov rax, -3", "mov rcx, rax", "mov rdx, rax", "mov rsi, rax", "mov rdi, rax", "mov r8, rax",
            "mov r9, rax", "mov r10, rax", "mov r11, rax", "movq xmm0, rax", "pcmpeqb xmm1, xmm1",
            "movdqa xmm15, xmm1", "add rax, 3",
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _, out("xmm0") _, out("xmm1") _, out("xmm15") _, options(nostack, nomem),
        );
    }
}

pub(crate) struct Machine {
    ticking: bool,
}

impl Machine {
    pub(crate) fn prepare(ticking: bool) -> Self {
        let root = cpu::read_cr3();
        for entry in [511, OUT_OF_REACH >> 39] {
            // SAFETY: the runtime's table of the highest level, where it maps itself; the entry was not present.
            unsafe { ((root + entry * 8) as *mut u64).write_volatile((root as *const u64).read_volatile()) };
        }
        for (base, far) in BASES.into_iter().zip([0, OUT_OF_REACH]) {
            // SAFETY: both exist, and nothing of the runtime uses FS or GS.
            unsafe { cpu::wrmsr(base, area() + far) };
        }
        if ticking {
            time::start_periodic(100);
            trap::on(time::PIC_VECTORS[0], Some(on_tick));
        }
        Machine { ticking }
    }

    /// Prints what the last sequence left.
    pub(crate) fn print(&self) {
        // SAFETY: the only references.
        let (state, memory) = unsafe { (RANDOM_STATE.get(), MEMORY.get()) };
        println!("flags {:x}", state.flags);
        state.general.iter().enumerate().for_each(|(number, value)| println!("r{number} {value:x}"));
        state
            .xmm
            .iter()
            .enumerate()
            .for_each(|(number, [low, high])| println!("xmm{number} {high:x} {low:x}"));
        for (line, bytes) in memory.area.chunks(64).chain(memory.stack.chunks(64)).enumerate() {
            print!("{:x}: ", area() + 64 * line as u64);
            bytes.iter().for_each(|byte| print!("{byte:02x}"));
            println!("");
        }
    }

    pub(crate) fn rest(&self) {
        if self.ticking {
            time::stop();
        }
    }

    /// Runs a sequence, twice, and adds what it did to a hash.
    pub(crate) fn run(&mut self, seed: u64, code: &[u8], hash: u64) -> u64 {
        const INTERRUPTS: u64 = 1 << 9;
        const SEEN: u64 = 0xcd5;
        let mut random = Random::new(!seed);
        // SAFETY: the only references; sequences change the same memory only while `random_run` is called.
        let (state, memory) = unsafe { (RANDOM_STATE.get(), MEMORY.get()) };
        state.xmm = [(); 16].map(|()| [random.next(), random.next()]);
        state.general = [(); 16].map(|()| random.next());
        state.flags = random.next() & 0x8d5 | 2;
        memory.area.fill_with(|| random.next() as u8);
        memory.stack.fill(0);
        let mut hash = Fnv(hash);
        for _ in 0..2 {
            state.general[4] = (&raw const memory.stack) as u64 + AREA_LEN as u64 / 2;
            state.entry = code.as_ptr() as u64;
            if self.ticking {
                state.flags |= INTERRUPTS;
            }
            // SAFETY: the generator makes nothing that changes other memory or other registers than are saved.
            unsafe { asm!("call {}", sym random_run, clobber_abi("C")) };
            cpu::cli();
            state.flags = state.flags & SEEN | 2;
            state.xmm.iter().flatten().for_each(|word| hash.add(*word));
            state.general.iter().for_each(|word| hash.add(*word));
            hash.add(state.flags);
            memory.area.iter().chain(&memory.stack).for_each(|byte| hash.add((*byte).into()));
        }
        hash.0
    }
}

/// FNV-1a, a word at a time.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ 0xcbf2_9ce4_8422_2325 ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }
}
