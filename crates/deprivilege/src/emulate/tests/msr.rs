use crate::{
    bus::fake::Deed,
    cpu::{cr4, efer},
    cpuid::Host,
    emulate::{
        Effect,
        rig::{CLOCKS, Rig},
    },
};

const RDMSR: &[u8] = &[0x0f, 0x32];
const WRMSR: &[u8] = &[0x0f, 0x30];
const SWAPGS: &[u8] = &[0x0f, 0x01, 0xf8];
const RDTSCP: &[u8] = &[0x0f, 0x01, 0xf9];
const RDPID_RAX: &[u8] = &[0xf3, 0x0f, 0xc7, 0xf8];
const WRFSBASE_RAX: &[u8] = &[0xf3, 0x48, 0x0f, 0xae, 0xd0];
const RDGSBASE_EAX: &[u8] = &[0xf3, 0x0f, 0xae, 0xc8];

const FS_BASE: u64 = 0xc000_0100;
const EFER: u64 = 0xc000_0080;

fn load(rig: &mut Rig, msr: u64, value: u64) {
    rig.set("rcx", 0xffff_ffff_0000_0000 | msr);
    rig.set("rax", 0xffff_ffff_0000_0000 | value & 0xffff_ffff);
    rig.set("rdx", value >> 32);
}

fn write(rig: &mut Rig, msr: u64, value: u64) -> Effect {
    load(rig, msr, value);
    rig.run(WRMSR).expect("an MSR that can be written")
}

fn read(rig: &mut Rig, msr: u64) -> u64 {
    rig.set("rcx", msr);
    assert_eq!(rig.run(RDMSR), Ok(Effect::Next));
    rig.get("rdx") << 32 | rig.get("rax")
}

#[test]
fn msr_written_is_read_back() {
    for (msr, value) in [
        (FS_BASE, 0x7fff_1234_5678),
        (0xc000_0101, 0xffff_8000_0000_1000),
        (0xc000_0102, 5),
        (0xc000_0081, 0x0008_0008_dead_beef),
        (0xc000_0082, 0xffff_ffff_8000_0000),
        (0xc000_0083, 0x1000),
        (0xc000_0084, 0x4_7700),
        (0xc000_0103, 3),
        (0x277, 0x0007_0106_0007_0406),
    ] {
        let mut rig = Rig::long();
        assert_eq!(write(&mut rig, msr, value), Effect::Next, "{msr:#x}");
        assert_eq!(read(&mut rig, msr), value, "{msr:#x}");
    }
}

#[test]
fn base_that_is_not_canonical_is_a_general_protection_fault() {
    for msr in [FS_BASE, 0xc000_0101, 0xc000_0102, 0xc000_0082, 0xc000_0083] {
        let mut rig = Rig::long();
        load(&mut rig, msr, 1 << 47);
        assert_eq!(rig.exception(WRMSR), (13, Some(0)), "{msr:#x}");
    }
}

#[test]
fn msr_of_a_feature_that_is_not_told_does_not_exist() {
    // SYSENTER, MTRR, machine check, TSC deadline, KVM clock.
    for msr in [0x174, 0xfe, 0x2ff, 0x179, 0x900, 0x6e0, 0x4b56_4d01] {
        let mut rig = Rig::long();
        load(&mut rig, msr, 0);
        assert_eq!(rig.exception(RDMSR), (13, Some(0)), "{msr:#x}");
        assert_eq!(rig.exception(WRMSR), (13, Some(0)), "{msr:#x}");
    }
}

#[test]
fn pat_with_a_reserved_type_and_reserved_bits_fault() {
    for (msr, value) in [(0x277, 2), (0x277, 8 << 56), (0xc000_0084, 1 << 32), (0xc000_0103, 1 << 32)] {
        let mut rig = Rig::long();
        load(&mut rig, msr, value);
        assert_eq!(rig.exception(WRMSR), (13, Some(0)), "{msr:#x}");
    }
}

#[test]
fn efer_keeps_lma_and_flushes_when_nx_changes() {
    let mut rig = Rig::long();
    assert_eq!(write(&mut rig, EFER, efer::LME | efer::SCE), Effect::Next);
    assert_eq!(write(&mut rig, EFER, efer::LME | efer::SCE | efer::NXE), Effect::FlushAll);
    assert_eq!(read(&mut rig, EFER), efer::LME | efer::LMA | efer::SCE | efer::NXE);
}

#[test]
fn efer_with_lme_cleared_while_paging_or_with_unknown_bits_faults() {
    for value in [0, efer::LME | 1 << 12, efer::LME | 1 << 40] {
        let mut rig = Rig::long();
        load(&mut rig, EFER, value);
        assert_eq!(rig.exception(WRMSR), (13, Some(0)), "{value:#x}");
    }
}

#[test]
fn registers_of_the_local_apic_are_asked_of_it() {
    let mut rig = Rig::long();
    assert_eq!(read(&mut rig, 0x1b), 0xfee0_0900);
    load(&mut rig, 0x802, 0);
    assert_eq!(rig.exception(RDMSR), (13, Some(0)), "it has none of that number");
    assert_eq!(write(&mut rig, 0x1b, 0xfee0_0d00), Effect::Next);
    assert_eq!(write(&mut rig, 0x838, 7), Effect::Next);
    let deeds = [(0x1b, 0xfee0_0d00), (0x838, 7)].map(|(msr, value)| Deed::Apic { msr, value });
    assert_eq!(rig.bus.deeds, deeds);
}

#[test]
fn cpuid_tells_the_local_apic_while_it_is_on() {
    const CPUID: &[u8] = &[0x0f, 0xa2];
    let mut rig = Rig::long();
    let mut told = |base| {
        rig.bus.apic_base = base;
        rig.set("rax", 1);
        assert_eq!(rig.run(CPUID), Ok(Effect::Next));
        rig.get("rdx") >> 9 & 1
    };
    assert_eq!((told(0xfee0_0900), told(0xfee0_0100)), (1, 0));
}

#[test]
fn local_apic_cannot_be_moved() {
    let mut rig = Rig::long();
    load(&mut rig, 0x1b, 0xfee0_1900);
    assert!(rig.refusal(WRMSR).contains("moving the local APIC"));
    assert_eq!(rig.bus.deeds, []);
}

#[test]
fn swapgs_exchanges_the_bases_and_does_not_exist_in_32_bit_code() {
    let mut rig = Rig::long();
    (rig.cpu.gs_base, rig.cpu.kernel_gs_base) = (1, 2);
    assert_eq!(rig.run(SWAPGS), Ok(Effect::Next));
    assert_eq!((rig.cpu.gs_base, rig.cpu.kernel_gs_base), (2, 1));
    assert_eq!(Rig::protected().exception(SWAPGS), (6, None));
}

#[test]
fn fsgsbase_instructions_follow_cr4() {
    let mut rig = Rig::long();
    rig.set("rax", 0x1234_5678_9abc);
    assert_eq!(rig.exception(WRFSBASE_RAX), (6, None));
    rig.cpu.cr4 |= cr4::FSGSBASE;
    assert_eq!(rig.run(WRFSBASE_RAX), Ok(Effect::Next));
    assert_eq!(rig.cpu.fs_base, 0x1234_5678_9abc);
    rig.cpu.gs_base = 0xffff_8000_1111_2222;
    assert_eq!(rig.run(RDGSBASE_EAX), Ok(Effect::Next));
    assert_eq!(rig.get("rax"), 0x1111_2222);
    rig.set("rax", 1 << 47);
    assert_eq!(rig.exception(WRFSBASE_RAX), (13, Some(0)));
}

#[test]
fn rdtscp_and_rdpid_tell_the_guests_own_number() {
    let mut rig = Rig::long();
    rig.cpu.tsc_aux = 7;
    assert_eq!(rig.run(RDTSCP), Ok(Effect::Next));
    assert_eq!(rig.get("rcx"), 7);
    assert_eq!(rig.run(RDPID_RAX), Ok(Effect::Next));
    assert_eq!(rig.get("rax"), 7);
}

#[test]
fn rdtscp_and_rdpid_without_the_feature_do_not_exist() {
    let mut rig = Rig::long();
    rig.host = Host::filtered(&|_, _| [0; 4], CLOCKS, false);
    assert_eq!(rig.exception(RDTSCP), (6, None));
    assert_eq!(rig.exception(RDPID_RAX), (6, None));
}

#[test]
fn time_stamp_read_twice_moves_on() {
    let mut rig = Rig::long();
    let first = read(&mut rig, 0x10);
    let second = read(&mut rig, 0x10);
    assert!(second > first && first > 0);
}

#[test]
fn cpuid_clears_the_upper_halves_and_shows_osxsave_when_enabled() {
    let mut rig = Rig::long();
    rig.set("rax", 0xffff_ffff_0000_0001);
    assert_eq!(rig.run(&[0x0f, 0xa2]), Ok(Effect::Next));
    assert_eq!(rig.get("rcx") >> 27 & 1, 0);
    rig.cpu.cr4 |= cr4::OSXSAVE;
    rig.set("rax", 1);
    assert_eq!(rig.run(&[0x0f, 0xa2]), Ok(Effect::Next));
    assert_eq!(rig.get("rcx") >> 27 & 1, 1);
}

#[test]
fn rdpmc_finds_no_counter() {
    assert_eq!(Rig::long().exception(&[0x0f, 0x33]), (13, Some(0)));
}
