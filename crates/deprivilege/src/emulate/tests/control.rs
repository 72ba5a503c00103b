use runu_core::VirtAddr;

use crate::{
    cpu::{cr0, cr4, efer},
    emulate::{
        Effect,
        rig::{CODE, DATA, PML4, Rig},
    },
};

const MOV_CR0_EAX: &[u8] = &[0x0f, 0x22, 0xc0];
const MOV_EAX_CR0: &[u8] = &[0x0f, 0x20, 0xc0];
const MOV_CR2_RAX: &[u8] = &[0x0f, 0x22, 0xd0];
const MOV_CR3_EAX: &[u8] = &[0x0f, 0x22, 0xd8];
const MOV_CR4_EAX: &[u8] = &[0x0f, 0x22, 0xe0];
const MOV_CR8_RAX: &[u8] = &[0x44, 0x0f, 0x22, 0xc0];
const MOV_RBX_CR8: &[u8] = &[0x44, 0x0f, 0x20, 0xc3];
const MOV_DR7_RAX: &[u8] = &[0x0f, 0x23, 0xf8];
const MOV_RBX_DR7: &[u8] = &[0x0f, 0x21, 0xfb];
const MOV_RBX_DR5: &[u8] = &[0x0f, 0x21, 0xeb];
const MOV_RBX_DR6: &[u8] = &[0x0f, 0x21, 0xf3];
const XSETBV: &[u8] = &[0x0f, 0x01, 0xd1];
const XGETBV: &[u8] = &[0x0f, 0x01, 0xd0];
const LMSW_AX: &[u8] = &[0x0f, 0x01, 0xf0];
const SMSW_AX: &[u8] = &[0x66, 0x0f, 0x01, 0xe0];
const INVLPG_RAX: &[u8] = &[0x0f, 0x01, 0x38];

fn with_rax(mut rig: Rig, value: u64) -> Rig {
    rig.set("rax", value);
    rig
}

#[test]
fn kernel_that_enters_long_mode_gets_it_when_paging_starts() {
    let mut rig = with_rax(Rig::protected(), cr4::PAE);
    assert_eq!(rig.run(MOV_CR4_EAX), Ok(Effect::FlushAll));
    rig.set("rax", PML4);
    assert_eq!(rig.run(MOV_CR3_EAX), Ok(Effect::FlushAll));
    rig.cpu.efer = efer::LME;
    assert!(!rig.cpu.long_mode());
    rig.set("rax", cr0::PE | cr0::PG | cr0::WP);
    assert_eq!(rig.run(MOV_CR0_EAX), Ok(Effect::FlushAll));

    assert!(rig.cpu.long_mode() && rig.cpu.paging());
    assert_eq!(rig.cpu.code_size(), 32, "until a far jump");
    assert_eq!(rig.run(MOV_EAX_CR0), Ok(Effect::Next));
    assert_eq!(rig.get("rax"), cr0::PE | cr0::PG | cr0::WP | cr0::ET);
}

#[test]
fn paging_started_without_pae_or_stopped_in_64_bit_code_faults() {
    let mut rig = with_rax(Rig::protected(), cr0::PE | cr0::PG);
    rig.cpu.efer = efer::LME;
    assert_eq!(rig.exception(MOV_CR0_EAX), (13, Some(0)));
    assert_eq!(with_rax(Rig::long(), cr0::PE).exception(MOV_CR0_EAX), (13, Some(0)));
}

#[test]
fn paging_stopped_in_compatibility_mode_leaves_long_mode() {
    let mut rig = with_rax(Rig::long(), cr0::PE);
    rig.cpu.code64 = 0;
    assert_eq!(rig.run(MOV_CR0_EAX), Ok(Effect::FlushAll));
    assert!(!rig.cpu.long_mode() && !rig.cpu.paging());
}

#[test]
fn cr0_with_contradicting_or_upper_bits_faults() {
    for value in [cr0::PE | cr0::PG | cr0::NW, cr0::PG, cr0::PE | cr0::PG | 1 << 32] {
        assert_eq!(with_rax(Rig::long(), value).exception(MOV_CR0_EAX), (13, Some(0)), "{value:#x}");
    }
}

#[test]
fn cr0_that_cannot_be_represented_is_refused() {
    for (value, why) in [
        (0, "real mode"),
        (cr0::PE | cr0::EM, "floating point"),
        (cr0::PE | cr0::EM, "floating point"),
        (cr0::PE | cr0::PG, "paging outside long mode"),
    ] {
        let refusal = with_rax(Rig::protected(), value).refusal(MOV_CR0_EAX);
        assert!(refusal.contains(why), "{refusal}");
        assert!(refusal.starts_with("mov cr0,eax: "), "{refusal}");
    }
}

#[test]
fn write_protect_changed_flushes_and_other_bits_do_not() {
    let mut rig = Rig::long();
    let before = rig.cpu.cr0;
    rig.set("rax", before | cr0::WP);
    assert_eq!(rig.run(MOV_CR0_EAX), Ok(Effect::FlushAll));
    rig.set("rax", before | cr0::WP | cr0::NE | cr0::MP);
    assert_eq!(rig.run(MOV_CR0_EAX), Ok(Effect::Next));
}

#[test]
fn cr3_beyond_the_address_width_faults() {
    assert_eq!(with_rax(Rig::long(), 1 << 40).exception(MOV_CR3_EAX), (13, Some(0)));
    assert_eq!(with_rax(Rig::long(), 1 << 63).exception(MOV_CR3_EAX), (13, Some(0)));
}

#[test]
fn cr4_takes_what_cpuid_tells_and_nothing_else() {
    let told = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::FSGSBASE;
    let mut rig = with_rax(Rig::long(), told);
    assert_eq!(rig.run(MOV_CR4_EAX), Ok(Effect::FlushAll));
    assert_eq!(rig.cpu.cr4, told);
    // VME, MCE, UMIP, LA57, VMXE, PCIDE, SMEP, SMAP, PKE.
    for bit in [0, 6, 11, 12, 13, 17, 20, 21, 22] {
        assert_eq!(with_rax(Rig::long(), cr4::PAE | 1 << bit).exception(MOV_CR4_EAX), (13, Some(0)), "{bit}");
    }
    assert_eq!(with_rax(Rig::long(), 0).exception(MOV_CR4_EAX), (13, Some(0)), "PAE must stay");
}

#[test]
fn cr2_and_cr8_hold_what_was_written() {
    let mut rig = with_rax(Rig::long(), 15);
    assert_eq!(rig.run(MOV_CR2_RAX), Ok(Effect::Next));
    assert_eq!(rig.run(MOV_CR8_RAX), Ok(Effect::Next));
    assert_eq!(rig.run(MOV_RBX_CR8), Ok(Effect::Next));
    assert_eq!((rig.cpu.cr2, rig.get("rbx")), (15, 15));
    assert_eq!(with_rax(Rig::long(), 16).exception(MOV_CR8_RAX), (13, Some(0)));
}

#[test]
fn debug_registers_keep_their_fixed_bits_and_arming_one_is_refused() {
    let mut rig = with_rax(Rig::long(), 0);
    assert_eq!(rig.run(MOV_DR7_RAX), Ok(Effect::Next));
    assert_eq!(rig.run(MOV_RBX_DR7), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), 0x400);
    assert_eq!(rig.run(MOV_RBX_DR6), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), 0xffff_0ff0);
    assert!(with_rax(Rig::long(), 1).refusal(MOV_DR7_RAX).contains("hardware breakpoints"));
    assert_eq!(with_rax(Rig::long(), 1 << 32).exception(MOV_DR7_RAX), (13, Some(0)));
}

#[test]
fn debug_register_5_is_7_until_debugging_extensions_are_on() {
    let mut rig = Rig::long();
    assert_eq!(rig.run(MOV_RBX_DR5), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), 0x400);
    rig.cpu.cr4 |= cr4::DE;
    assert_eq!(rig.exception(MOV_RBX_DR5), (6, None));
}

#[test]
fn xsetbv_takes_the_states_told_and_xgetbv_gives_them_back() {
    let mut rig = with_rax(Rig::long(), 7);
    rig.cpu.cr4 |= cr4::OSXSAVE;
    assert_eq!(rig.run(XSETBV), Ok(Effect::Next));
    rig.set("rax", 0);
    assert_eq!(rig.run(XGETBV), Ok(Effect::Next));
    assert_eq!((rig.get("rax"), rig.get("rdx")), (7, 0));
}

#[test]
fn xsetbv_with_other_states_or_registers_faults() {
    // No x87, AVX without SSE, AVX-512, protection keys, AMX.
    for value in [6, 5, 0xe7, 0x207, 0x6_0007] {
        let mut rig = with_rax(Rig::long(), value);
        rig.cpu.cr4 |= cr4::OSXSAVE;
        assert_eq!(rig.exception(XSETBV), (13, Some(0)), "{value:#x}");
    }
    let mut rig = with_rax(Rig::long(), 7);
    rig.cpu.cr4 |= cr4::OSXSAVE;
    rig.set("rcx", 1);
    assert_eq!(rig.exception(XSETBV), (13, Some(0)));
    assert_eq!(rig.exception(XGETBV), (13, Some(0)));
}

#[test]
fn xgetbv_before_osxsave_does_not_exist() {
    assert_eq!(Rig::long().exception(XGETBV), (6, None));
    assert_eq!(Rig::long().exception(XSETBV), (6, None));
}

#[test]
fn lmsw_cannot_clear_pe_and_smsw_reads_the_low_word() {
    let mut rig = with_rax(Rig::long(), cr0::MP);
    assert_eq!(rig.run(LMSW_AX), Ok(Effect::Next));
    rig.set("rax", 0xffff_0000);
    assert_eq!(rig.run(SMSW_AX), Ok(Effect::Next));
    assert_eq!(rig.get("rax"), 0xffff_0000 | cr0::PE | cr0::MP | cr0::ET);
}

#[test]
fn invlpg_names_its_page_and_touches_no_memory() {
    let unmapped = 0xffff_9000_0000_1234;
    let mut rig = with_rax(Rig::long(), unmapped);
    assert_eq!(rig.run(INVLPG_RAX), Ok(Effect::FlushPage(VirtAddr(unmapped))));
    assert_eq!(rig.regs.rip, CODE + 3);
    assert_eq!(with_rax(Rig::long(), 1 << 47).run(INVLPG_RAX), Ok(Effect::Next));
}

#[test]
fn cache_flushes_do_nothing() {
    for code in [&[0x0f_u8, 0x08] as &[u8], &[0x0f, 0x09], &[0xf3, 0x0f, 0x09]] {
        assert_eq!(Rig::long().run(code), Ok(Effect::Next));
    }
}

#[test]
fn instructions_of_hidden_features_do_not_exist() {
    for code in [
        &[0x0f_u8, 0x0b] as &[u8],       // ud2
        &[0x0f, 0xb9, 0xc0],             // ud1
        &[0x0f, 0x34],                   // sysenter
        &[0x0f, 0x35],                   // sysexit
        &[0x0f, 0x01, 0xc1],             // vmcall
        &[0x0f, 0x01, 0xd9],             // vmmcall
        &[0x0f, 0x01, 0xc8],             // monitor
        &[0x0f, 0x01, 0xc9],             // mwait
        &[0x0f, 0xaa],                   // rsm
        &[0x0f, 0x37],                   // getsec
        &[0x66, 0x0f, 0x38, 0x82, 0x00], // invpcid
        &[0x0f, 0x22, 0xc8],             // mov cr1, eax
        &[0xc7, 0xf8, 0, 0, 0, 0],       // xbegin
        &[0x0f, 0x01, 0xd5],             // xend
    ] {
        let mut rig = with_rax(Rig::long(), DATA);
        assert_eq!(rig.exception(code), (6, None), "{code:x?}");
    }
}

#[test]
fn instruction_that_is_not_privileged_is_refused_by_name() {
    assert_eq!(Rig::long().refusal(&[0x01, 0xd8]), "add eax,ebx: not an instruction that is emulated");
}
