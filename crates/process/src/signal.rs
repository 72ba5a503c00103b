//! What the kernel tells with a signal, and what it takes back: the frame on the signal stack.

use runu_deprivilege::cpu::Registers;

/// Selector of 64-bit user code (Linux arch/x86/include/asm/segment.h, `__USER_CS`).
const USER_CS: u16 = 0x33;
/// Selector of 32-bit user code (`__USER32_CS`).
pub(crate) const USER32_CS: u16 = 0x23;
/// RFLAGS.TF.
pub(crate) const TRAP_FLAG: u64 = 1 << 8;
/// RFLAGS.DF.
const DIRECTION_FLAG: u64 = 1 << 10;
/// Page-fault error code: the access was a write.
pub(crate) const WRITE: u64 = 1 << 1;

/// Exception vectors as the kernel reports them (`gregs[REG_TRAPNO]`).
pub(crate) mod trap {
    pub(crate) const DIVIDE: u8 = 0;
    pub(crate) const BOUND: u8 = 5;
    pub(crate) const INVALID_OPCODE: u8 = 6;
    pub(crate) const STACK: u8 = 12;
    pub(crate) const GENERAL_PROTECTION: u8 = 13;
    pub(crate) const PAGE_FAULT: u8 = 14;
    pub(crate) const X87: u8 = 16;
    pub(crate) const SIMD: u8 = 19;
}

/// An index into `gregs`; the C headers have them as `int`.
type Index = i32;

/// `gregs` indices of the general registers in hardware order (glibc sys/ucontext.h).
const GENERAL: [Index; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// A signal and the state that it interrupted.
pub(crate) struct Frame<'a> {
    number: i32,
    gregs: &'a mut [i64; 23],
}

impl<'a> Frame<'a> {
    pub(crate) fn new(number: i32, context: &'a mut libc::ucontext_t) -> Self {
        Frame { number, gregs: &mut context.uc_mcontext.gregs }
    }

    /// The signal.
    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    fn greg(&self, index: Index) -> u64 {
        self.gregs[index.cast_unsigned() as usize].cast_unsigned()
    }

    fn set(&mut self, index: Index, value: u64) {
        self.gregs[index.cast_unsigned() as usize] = value.cast_signed();
    }

    /// Host instruction pointer.
    pub(crate) fn rip(&self) -> u64 {
        self.greg(libc::REG_RIP)
    }

    /// Stack pointer.
    pub(crate) fn stack_pointer(&self) -> u64 {
        self.greg(libc::REG_RSP)
    }

    /// Vector of the exception behind the signal.
    pub(crate) fn trap(&self) -> u8 {
        u8::try_from(self.greg(libc::REG_TRAPNO)).unwrap_or(u8::MAX)
    }

    /// Its error code.
    pub(crate) fn error_code(&self) -> u64 {
        self.greg(libc::REG_ERR)
    }

    /// The address of a page fault.
    pub(crate) fn address(&self) -> u64 {
        self.greg(libc::REG_CR2)
    }

    /// Whether host code is being stepped.
    pub(crate) fn is_stepping(&self) -> bool {
        self.greg(libc::REG_EFL) & TRAP_FLAG != 0
    }

    /// Makes host code be stepped, or no longer.
    pub(crate) fn set_stepping(&mut self, on: bool) {
        let flags = self.greg(libc::REG_EFL);
        self.set(libc::REG_EFL, if on { flags | TRAP_FLAG } else { flags & !TRAP_FLAG });
    }

    /// Copies the interrupted general registers and flags.
    pub(crate) fn save(&self, regs: &mut Registers) {
        for (register, index) in regs.gpr.iter_mut().zip(GENERAL) {
            *register = self.greg(index);
        }
        regs.rflags = self.greg(libc::REG_EFL) & !TRAP_FLAG;
    }

    /// Goes back with these registers, at host address `resume`.
    pub(crate) fn load(&mut self, regs: &Registers, resume: u64, code64: bool) {
        for (register, index) in regs.gpr.iter().zip(GENERAL) {
            self.set(index, *register);
        }
        self.set(libc::REG_RIP, resume);
        self.set(libc::REG_EFL, regs.rflags & !TRAP_FLAG);
        let cs = if code64 { USER_CS } else { USER32_CS };
        // CS is the lowest of four 16-bit fields.
        let selectors = self.greg(libc::REG_CSGSFS) & !0xffff | u64::from(cs);
        self.set(libc::REG_CSGSFS, selectors);
    }

    /// Goes back to `rip` with stack pointer `rsp`, everything else as it was.
    pub(crate) fn restart(&mut self, rip: u64, rsp: u64) {
        self.set(libc::REG_RIP, rip);
        self.set(libc::REG_RSP, rsp);
        // The guest's flags may be in place already; Rust code needs DF clear (System V ABI, x86-64, §3.2.1).
        let flags = self.greg(libc::REG_EFL) & !(TRAP_FLAG | DIRECTION_FLAG);
        self.set(libc::REG_EFL, flags);
    }
}
