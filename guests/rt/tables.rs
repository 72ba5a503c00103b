//! GDT, TSS and IDT, loaded as Unikraft loads them (plat/kvm/x86/traps.c): code 0x08, data 0x10, TSS 0x18;
//! interrupts on IST 1, exceptions on IST 2, those that may come at any moment on IST 3.

use crate::cell::OneCpu;
use core::arch::asm;

/// Selectors.
pub const CODE: u16 = 0x08;
/// The data segment's selector.
pub const DATA: u16 = 0x10;
/// The task state segment's selector.
pub const TSS: u16 = 0x18;

/// Interrupt stack table index for interrupts.
const IST_INTERRUPT: u8 = 1;
/// … for exceptions.
const IST_EXCEPTION: u8 = 2;
/// … for #DB, NMI, #BP, #DF and #MC.
const IST_CRITICAL: u8 = 3;

/// Size of each interrupt stack, in bytes: registers, the FXSAVE area, and a handler that prints.
const STACK_SIZE: usize = 0x4000;

/// What `lgdt` and `lidt` read.
#[repr(C, packed)]
pub struct TablePointer {
    /// Offset of the last byte.
    pub limit: u16,
    /// Address.
    pub base: u64,
}

impl TablePointer {
    /// Points to all of `table`.
    pub fn to<T>(table: *const T) -> Self {
        Self { limit: (size_of::<T>() - 1) as u16, base: table as u64 }
    }
}

/// Intel SDM vol. 3, figure 8-11. Words, because its 64-bit fields are not aligned.
#[repr(C, align(16))]
struct TaskState([u32; 26]);

impl TaskState {
    fn set_ist(&mut self, index: u8, top: u64) {
        let at = 7 + 2 * usize::from(index);
        self.0[at] = top as u32;
        self.0[at + 1] = (top >> 32) as u32;
    }
}

/// An interrupt gate (Intel SDM vol. 3, figure 6-8).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Gate {
    low: u64,
    high: u64,
}

impl Gate {
    /// No gate.
    pub const ABSENT: Self = Self { low: 0, high: 0 };

    /// A present 64-bit interrupt gate of privilege 0; `ist` 0 stays on the current stack.
    pub fn interrupt(target: u64, ist: u8) -> Self {
        let attributes = 0x8e00 | u64::from(ist);
        let low = target & 0xffff | u64::from(CODE) << 16 | attributes << 32 | (target >> 16 & 0xffff) << 48;
        Self { low, high: target >> 32 }
    }
}

#[repr(align(16))]
struct Stacks(#[expect(dead_code, reason = "only the processor uses them")] [[u8; STACK_SIZE]; 3]);

static GDT: OneCpu<[u64; 5]> = OneCpu::new([0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0]);
static TASK: OneCpu<TaskState> = OneCpu::new(TaskState([0; 26]));
static IDT: OneCpu<[Gate; 256]> = OneCpu::new([Gate::ABSENT; 256]);
static STACKS: OneCpu<Stacks> = OneCpu::new(Stacks([[0; STACK_SIZE]; 3]));

unsafe extern "C" {
    /// 256 stubs of 16 bytes each (traps.s).
    static trap_stubs: u8;
}

/// The stub of a vector.
pub fn stub(vector: u8) -> u64 {
    (&raw const trap_stubs) as u64 + u64::from(vector) * 16
}

/// Loads all three tables and reloads every segment register.
pub(crate) fn load() {
    // SAFETY: called once, at the start, with interrupts off; the tables are complete before they are loaded.
    unsafe {
        let task = TASK.get();
        for index in [IST_INTERRUPT, IST_EXCEPTION, IST_CRITICAL] {
            let bottom = STACKS.as_ptr() as u64;
            task.set_ist(index, bottom + u64::from(index) * STACK_SIZE as u64);
        }
        let gdt = GDT.get();
        let (base, limit) = (TASK.as_ptr() as u64, size_of::<TaskState>() as u64 - 1);
        gdt[3] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        gdt[4] = base >> 32;
        load_gdt(&TablePointer::to(gdt));

        let idt = IDT.get();
        for (vector, gate) in (0..=255).zip(idt.iter_mut()) {
            let ist = match vector {
                1 | 2 | 3 | 8 | 18 => IST_CRITICAL,
                32.. => IST_INTERRUPT,
                _ => IST_EXCEPTION,
            };
            *gate = Gate::interrupt(stub(vector), ist);
        }
        load_idt(&TablePointer::to(idt));
        asm!("ltr {:x}", in(reg) TSS, options(nostack, preserves_flags));
    }
}

/// Loads a GDT whose selectors [`CODE`] and [`DATA`] mean what they mean here, and reloads every segment
/// register: CS by a far return, FS and GS with 0.
///
/// # Safety
/// The table must stay where it is, and be right.
pub unsafe fn load_gdt(table: &TablePointer) {
    // SAFETY: as promised by the caller; the far return lands on the next line.
    unsafe {
        asm!(
            "lgdt [{table}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "mov fs, {zero:e}",
            "mov gs, {zero:e}",
            table = in(reg) table,
            code = const CODE,
            scratch = out(reg) _,
            data = in(reg) u32::from(DATA),
            zero = in(reg) 0,
            options(preserves_flags),
        );
    }
}

/// Loads an IDT.
///
/// # Safety
/// The table must stay where it is, and be right.
pub unsafe fn load_idt(table: &TablePointer) {
    // SAFETY: as promised by the caller.
    unsafe { asm!("lidt [{}]", in(reg) table, options(readonly, nostack, preserves_flags)) };
}

/// Loads an IDT in which no vector exists: the next exception or interrupt is a triple fault.
pub fn load_empty_idt() {
    // SAFETY: to end this way is what the caller wants.
    unsafe { load_idt(&TablePointer { limit: 0, base: 0 }) };
}

/// Changes the gate of one vector.
///
/// # Safety
/// The gate's target must be able to handle it.
pub unsafe fn set_gate(vector: u8, gate: Gate) {
    // SAFETY: no other reference to the table outlives its use; the processor reads it when the vector comes,
    // not now.
    unsafe { IDT.get()[usize::from(vector)] = gate };
}
