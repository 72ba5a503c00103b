//! What kernels do at every system call and every change of threads, without leaving translated code: `syscall`, and the bases
//! of FS and GS as model-specific registers.

use iced_x86::Register;

use super::{Emitter, Short};
use crate::{
    cpu::SystemCall,
    cpu::{flag, segment},
    emulate::msr::number,
};

/// `[base + displacement]` with `rcx` as base and 32 bits of displacement, and `ecx` as the register (Intel SDM vol. 2, table 2-2).
const ECX_OF_RCX: u8 = 0x89;

impl Emitter<'_> {
    /// Jumps that are taken when `ecx` names the base of FS, of GS, and the one that `swapgs` brings. Changes `rcx`.
    pub(in crate::translate) fn tell_bases_apart(&mut self) -> [Short; 3] {
        const _: () = assert!(number::GS_BASE - number::FS_BASE == 1);
        const _: () = assert!(number::KERNEL_GS_BASE - number::GS_BASE == 1);
        [number::FS_BASE, 1, 1].map(|distance| {
            self.copy(&[0x8d, ECX_OF_RCX]); // lea ecx, [rcx-distance]
            self.copy(&distance.wrapping_neg().to_le_bytes());
            self.jump_if_no_rcx()
        })
    }

    /// Loads `rcx` with EDX:EAX, by way of a slot: flags are not touched.
    pub(in crate::translate) fn join_halves(&mut self) {
        let slot = self.slot(Register::RDX);
        self.absolute(&[], &[0x89], 0, slot); // mov [slot], eax
        self.absolute(&[], &[0x89], 2, slot + 4); // mov [slot+4], edx
        self.fetch(Register::RCX, slot);
    }

    /// Takes `rcx` apart into EDX:EAX.
    pub(in crate::translate) fn split_halves(&mut self) {
        let slot = self.slot(Register::RDX);
        self.store(Register::RCX, slot);
        self.absolute(&[], &[0x8b], 0, slot); // mov eax, [slot]
        self.absolute(&[], &[0x8b], 2, slot + 4); // mov edx, [slot+4]
    }

    /// `rdfsbase rcx`
    pub(in crate::translate) fn read_fs_base(&mut self) {
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xc1]);
    }

    /// `rdgsbase rcx`
    pub(in crate::translate) fn read_gs_base(&mut self) {
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xc9]);
    }

    /// `mov rcx, [kernel_gs_base]`
    pub(in crate::translate) fn read_kernel_gs_base(&mut self) {
        self.fetch(Register::RCX, self.places.kernel_gs_base);
    }

    /// `wrfsbase rcx`, which faults as `wrmsr` does if that is no address.
    pub(in crate::translate) fn write_fs_base(&mut self) {
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xd1]);
    }

    /// `wrgsbase rcx`, likewise.
    pub(in crate::translate) fn write_gs_base(&mut self) {
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xd9]);
    }

    /// `mov [kernel_gs_base], rcx`, with the fault that it has on a CPU if that is no address: GS is to bear it for a moment.
    /// Changes `rdx`.
    pub(in crate::translate) fn write_kernel_gs_base(&mut self) {
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xca]); // rdgsbase rdx
        self.write_gs_base();
        self.copy(&[0xf3, 0x48, 0x0f, 0xae, 0xda]); // wrgsbase rdx
        self.store(Register::RCX, self.places.kernel_gs_base);
    }

    /// What `syscall` does but for the jump: `rcx` and `r11` tell where it was and with which flags; flags and selectors are
    /// those of the kernel's entry.
    pub(in crate::translate) fn enter_kernel(&mut self, call: &SystemCall, next: u64) {
        // TF is the monitor's, if it is set. All of these are below bit 31, so nothing is extended by a sign.
        let live = low_half(flag::LIVE | flag::FIXED);
        let cleared = low_half(call.mask);
        self.switch_to_scratch_stack();
        self.copy(&[0x41, 0x5b]); // pop r11
        self.copy(&[0x41, 0x81, 0xe3]); // and r11d, live
        self.copy(&live.to_le_bytes());
        self.fetch(Register::RCX, self.places.interrupts);
        self.copy(&[0x49, 0x09, 0xcb]); // or r11, rcx
        let segments: u8 = 1 << segment::CS | 1 << segment::SS;
        self.absolute(&[], &[0x80], 4, self.places.bounded_segments); // and byte [bounded_segments], !segments
        self.copy(&[!segments]);
        self.copy(&[0x44, 0x89, 0xd9]); // mov ecx, r11d
        self.copy(&[0x81, 0xe1]); // and ecx, !cleared
        self.copy(&(!cleared).to_le_bytes());
        self.copy(&[0x51]); // push rcx
        self.leave_scratch_stack();
        if call.mask & flag::INTERRUPT != 0 {
            self.disable_interrupts();
        }
        const _: () = assert!(segment::SS == segment::CS + 1);
        let selectors = u32::from(call.stack) << 16 | u32::from(call.code);
        self.absolute(&[], &[0xc7], 0, self.places.selectors + 2 * segment::CS as u32); // mov dword [cs], selectors
        self.copy(&selectors.to_le_bytes());
        self.load_constant(Register::RCX, next);
    }
}

/// The lower half of flags: the upper one is reserved (Intel SDM vol. 1 §3.4.3).
fn low_half(flags: u64) -> u32 {
    flags as u32
}
