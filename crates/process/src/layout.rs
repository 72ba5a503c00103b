//! Where things are in the address space of the guest's process.
//!
//! ```text
//! 0x0000_0000_0000  not mappable (vm.mmap_min_addr)
//! 0x0000_0001_0000  guest addresses, mapped as the guest's page tables say …
//! 0x0000_7000_0000  ours: virtual CPU, branch table, translated code (a hole in the guest's RAM as well)
//! 0x0000_8000_0000  … guest addresses
//! 0x2000_0000_0000  the top 32 TiB of the kernel half (from 0xffff_e000_0000_0000), folded to 46 bits
//! 0x4000_0000_0000  ours: program, heap, stack, a mapping of all guest memory, wherever the host puts them
//! ```
//!
//! What a guest maps elsewhere is reached by the monitor, for the instructions that touch it.

use std::{
    mem::offset_of,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use runu_core::VirtAddr;
use runu_deprivilege::{
    cpu::{Cpu, Registers},
    lent::{self, Loan},
    translate::{HALF_BITS, PORT_WRITES, Places, PortWrite},
};

/// Lowest address that the host lets an ordinary process map (Linux Documentation/admin-guide/sysctl/vm.rst,
/// mmap_min_addr: distributions set 65536).
const MAPPABLE_MIN: u64 = 0x1_0000;

/// Our part of low memory. The same guest-physical range is not RAM, see [`runu_machine::GuestMemory`].
pub(crate) const LOW: Range<u64> = 0x7000_0000..0x8000_0000;

/// The virtual CPU and what translated code shares with us: a [`Context`].
pub(crate) const CONTEXT: u64 = LOW.start;
/// Branch table: negated guest addresses.
pub(crate) const TAGS: u64 = LOW.start + 0x10_0000;
/// Branch table: host addresses.
pub(crate) const CODES: u64 = LOW.start + 0x18_0000;
/// Entries of the branch table: one for each value of an address's low 16 bits.
pub(crate) const TABLE_LEN: usize = 1 << 16;
/// What bytes read from ports will be, 2 bytes for each port.
const PORT_READS: u64 = LOW.start + 0x1c_0000;
/// Whether bytes written to ports may wait, a byte for each port.
const MAY_WAIT: u64 = LOW.start + 0x1e_0000;
/// Translated code.
pub(crate) const CODE: Range<u64> = LOW.start + 0x100_0000..LOW.start + 0x500_0000;
/// What must be mapped for data: context and tables.
pub(crate) const DATA: Range<u64> = LOW.start..LOW.start + 0x1f_0000;

/// End of the guest addresses that are used as they are.
const NATIVE_END: u64 = 0x2000_0000_0000;
/// Start of the part of the kernel half that is reached folded.
const FOLDED_START: u64 = 0xffff_e000_0000_0000;
/// Its end: the last page is left out, so that ends do not wrap.
const FOLDED_END: u64 = 0xffff_ffff_ffff_f000;

/// How an address that guest code uses is reached on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// At itself.
    Native,
    /// At its lowest [`HALF_BITS`] bits.
    Folded,
    /// Not at all.
    Out,
}

/// How guest-virtual address `va` is reached.
pub(crate) fn reach(va: u64) -> Reach {
    match va {
        _ if LOW.contains(&va) => Reach::Out,
        MAPPABLE_MIN..NATIVE_END => Reach::Native,
        FOLDED_START..FOLDED_END => Reach::Folded,
        _ => Reach::Out,
    }
}

/// The range of guest addresses around `va` that is reached in the same way.
pub(crate) fn reachable_around(va: u64) -> Range<u64> {
    match va {
        MAPPABLE_MIN..0x7000_0000 => MAPPABLE_MIN..LOW.start,
        0x8000_0000..NATIVE_END => LOW.end..NATIVE_END,
        FOLDED_START..FOLDED_END => FOLDED_START..FOLDED_END,
        _ => va..va,
    }
}

/// Where on the host a reachable guest address is.
pub(crate) fn host_of(va: u64) -> u64 {
    va & ((1 << HALF_BITS) - 1)
}

/// The guest address that a faulting host address stands for; translated code folds what it knows to be in the kernel half.
pub(crate) fn guest_of(host: u64) -> u64 {
    match host {
        NATIVE_END..0x4000_0000_0000 => host | !((1 << HALF_BITS) - 1),
        _ => host,
    }
}

/// What translated code and the assembly in `entry.rs` share with us. Lies at [`CONTEXT`].
#[repr(C, align(64))]
pub(crate) struct Context {
    /// The guest's extended state while the monitor runs: XSAVE format.
    pub(crate) fpu: [u8; FPU_LEN],
    /// Copies of operands that are lent.
    pub(crate) area: lent::Area,
    pub(crate) cpu: Cpu,
    pub(crate) regs: Registers,
    pub(crate) spills: [u64; 16],
    pub(crate) target: u64,
    pub(crate) landing: u64,
    pub(crate) gate: u64,
    pub(crate) stack_pointer: u64,
    pub(crate) scratch: [u64; 8],
    /// Where 64-bit host code goes on.
    pub(crate) resume: u64,
    /// Where 32-bit host code goes on: offset, then selector, as `jmp m16:32` reads them.
    pub(crate) far_resume: [u32; 2],
    /// What translated code takes for the address of an operand that is lent.
    pub(crate) lent: u64,
    /// Top of the monitor's stack.
    pub(crate) host_stack: u64,
    /// The monitor's FS base.
    pub(crate) host_fs: u64,
    pub(crate) exit: u32,
    /// Not zero: a signal came while the monitor ran.
    pub(crate) signalled: AtomicU32,
    /// Value of MXCSR for the monitor.
    pub(crate) host_mxcsr: u32,
    /// The entry of `writes` for the next one; 0: none is taken.
    pub(crate) next_write: u8,
    /// See [`Places::wrote`].
    pub(crate) wrote: u8,
    /// Writes to ports that wait, from entry 1 on.
    pub(crate) writes: [PortWrite; PORT_WRITES],
    /// See [`runu_deprivilege::translate::folds`].
    pub(crate) folds: [u64; 256],
}

/// Bytes for x87, SSE, AVX and AVX-512 state in XSAVE's standard format (Intel SDM vol. 1 §13.5): 2688.
pub(crate) const FPU_LEN: usize = 2752;

/// State components that we save around the monitor: x87, SSE, AVX and AVX-512 (XCR0 bits 0-2 and 5-7).
pub(crate) const FPU_COMPONENTS: u32 = 0b1110_0111;

const _: () = assert!(size_of::<Context>() < 0x4000);
const _: () = assert!(offset_of!(Context, area).is_multiple_of(64));

impl Context {
    /// Notes that a signal came while the monitor ran.
    pub(crate) fn note_signal(&self) {
        self.signalled.store(1, Ordering::SeqCst);
    }

    /// Tells translated code where what it is lent lies.
    pub(crate) fn hand_over(&mut self, loan: &Loan) {
        self.lent = loan.address(VirtAddr(CONTEXT + offset_of!(Context, area) as u64));
    }

    /// Whether a signal came since the last call.
    pub(crate) fn take_signal(&self) -> bool {
        self.signalled.swap(0, Ordering::SeqCst) != 0
    }
}

/// An address of ours as the 32 bits that translated code has for it.
#[expect(clippy::cast_possible_truncation, reason = "checked")]
pub(crate) const fn below_4g(address: u64) -> u32 {
    assert!(LOW.start <= address && address < LOW.end);
    address as u32
}

/// Address of a field of the context.
macro_rules! at {
    ($($field:tt)+) => {
        below_4g(CONTEXT + offset_of!(Context, $($field)+) as u64)
    };
}

/// Where the table says whether bytes written to `port` may wait.
pub(crate) fn may_wait(port: u16) -> u64 {
    MAY_WAIT + u64::from(port)
}

/// Where the table says what bytes read from `port` will be.
pub(crate) fn port_read(port: u16) -> u64 {
    PORT_READS + 2 * u64::from(port)
}

/// Where translated code finds everything.
pub(crate) const PLACES: Places = Places {
    spills: at!(spills),
    target: at!(target),
    landing: at!(landing),
    exit: at!(exit),
    gate: at!(gate),
    gate32: below_4g(CODE.start),
    stack_pointer: at!(stack_pointer),
    scratch_top: at!(scratch) + 64,
    interrupts: at!(cpu.interrupts),
    pending: at!(cpu.pending),
    folds: at!(folds),
    may_wait: below_4g(MAY_WAIT),
    reads: below_4g(PORT_READS),
    writes: at!(writes),
    next_write: at!(next_write),
    wrote: at!(wrote),
    selectors: at!(cpu.selectors),
    cr0: at!(cpu.cr0),
    cr2: at!(cpu.cr2),
    cr3: at!(cpu.cr3),
    cr4: at!(cpu.cr4),
    xcr0: at!(cpu.xcr0),
    kernel_gs_base: at!(cpu.kernel_gs_base),
    bounded_segments: at!(cpu.bounded_segments),
    lent: at!(lent),
    tags: below_4g(TAGS),
    codes: below_4g(CODES),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_in_the_kernel_half_is_reached_folded_and_comes_back() {
        let va = 0xffff_ff80_0010_0000;
        assert_eq!(reach(va), Reach::Folded);
        assert_eq!(host_of(va), 0x3f80_0010_0000);
        assert_eq!(guest_of(host_of(va)), va);
    }

    #[test]
    fn address_of_ours_or_below_the_mappable_is_out_of_reach() {
        for va in [0, 0xffff, 0x7000_0000, 0x7fff_ffff, 0x4000_0000_0000, 0xffff_8000_0000_0000] {
            assert_eq!(reach(va), Reach::Out, "{va:#x}");
            assert!(reachable_around(va).is_empty(), "{va:#x}");
        }
    }

    #[test]
    fn address_of_the_guest_is_reached_at_itself() {
        for va in [0x1_0000, 0x10_0000, 0x6fff_ffff, 0x8000_0000, 0x1f_ffff_ffff] {
            assert_eq!((reach(va), host_of(va), guest_of(va)), (Reach::Native, va, va));
            assert!(reachable_around(va).contains(&va));
        }
    }
}
