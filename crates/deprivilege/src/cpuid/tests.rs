use super::{Feature, Host, cpuid};
use crate::{
    cpu::{Cpu, Table, cr4},
    emulate::rig::{CLOCKS, rich_host},
};

fn cpu() -> Cpu {
    Cpu::new_protected32(Table::default(), 8, 16)
}

fn ask(leaf: u32, subleaf: u32) -> [u32; 4] {
    cpuid(leaf, subleaf, &cpu(), false, &rich_host())
}

#[test]
fn guest_sees_one_cpu_with_apic_id_0() {
    let [_, ebx, _, edx] = ask(1, 0);
    assert_eq!(ebx >> 16, 1, "one logical CPU, initial APIC id 0");
    assert_eq!(edx >> 28 & 1, 0, "no hyper-threading");
    for leaf in [0x1f, 0x8000_001e, 0x8000_0026] {
        assert_eq!(ask(leaf, 0), [0; 4], "{leaf:#x}");
    }
    assert_eq!([0, 1, 2].map(|level| ask(0xb, level)), [[0, 1, 0x100, 0], [0, 1, 0x201, 0], [0, 0, 2, 0]]);
    let [eax, ..] = ask(4, 0);
    assert_eq!(eax >> 14, 0, "caches are shared with nobody");
    let [_, _, ecx, _] = ask(0x8000_0008, 0);
    assert_eq!(ecx, 0, "one core");
}

#[test]
fn feature_that_is_not_represented_is_hidden() {
    let [_, _, ecx1, edx1] = ask(1, 0);
    // MONITOR, VMX, SMX, EST, PCID, TSC deadline, OSXSAVE while CR4 has it off.
    for bit in [3, 5, 6, 7, 17, 24, 27] {
        assert_eq!(ecx1 >> bit & 1, 0, "leaf 1 ECX {bit}");
    }
    // VME, MCE, APIC while it is disabled, SEP, MTRR, MCA.
    for bit in [1, 7, 9, 11, 12, 14] {
        assert_eq!(edx1 >> bit & 1, 0, "leaf 1 EDX {bit}");
    }
    let [_, ebx7, ecx7, edx7] = ask(7, 0);
    // SMEP, INVPCID, AVX-512, SMAP, AVX-512 and on.
    for bit in [2, 7, 10, 11, 16, 17, 20, 21, 28, 30, 31] {
        assert_eq!(ebx7 >> bit & 1, 0, "leaf 7 EBX {bit}");
    }
    // UMIP, PKU, OSPKE, WAITPKG, CET, LA57.
    for bit in [2, 3, 4, 5, 7, 16] {
        assert_eq!(ecx7 >> bit & 1, 0, "leaf 7 ECX {bit}");
    }
    assert_eq!(edx7, 1 << 4);
    let [_, _, ecx, edx] = ask(0x8000_0001, 0);
    // SVM, extended APIC space, XOP, FMA4, topology, MWAITX.
    for bit in [1, 2, 3, 11, 16, 22, 29] {
        assert_eq!(ecx >> bit & 1, 0, "leaf 0x80000001 ECX {bit}");
    }
    // SYSCALL, NX, 1 GiB pages, RDTSCP, LM.
    for bit in [11, 20, 26, 27, 29] {
        assert_eq!(edx >> bit & 1, 1, "leaf 0x80000001 EDX {bit}");
    }
}

#[test]
fn osxsave_follows_cr4_and_the_save_area_follows_xcr0() {
    let (mut cpu, host) = (cpu(), rich_host());
    assert_eq!(cpuid(0xd, 0, &cpu, false, &host), [7, 576, 832, 0]);
    cpu.cr4 |= cr4::OSXSAVE;
    cpu.xcr0 = 7;
    let [_, _, ecx, _] = cpuid(1, 0, &cpu, false, &host);
    assert_eq!(ecx >> 27 & 1, 1);
    assert_eq!(cpuid(0xd, 0, &cpu, false, &host), [7, 832, 832, 0]);
    assert_eq!(cpuid(0xd, 1, &cpu, false, &host), [1, 0, 0, 0], "XSAVEOPT alone");
    assert_eq!(cpuid(0xd, 2, &cpu, false, &host), [256, 576, 0, 0]);
    assert_eq!(cpuid(0xd, 9, &cpu, false, &host), [0; 4], "no protection keys");
}

#[test]
fn host_without_room_for_avx_hides_what_needs_it() {
    let leaves = |leaf, _| match leaf {
        0 => [0xd, 0, 0, 0],
        0xd => [3, 0, 0, 0],
        _ => [u32::MAX; 4],
    };
    let host = Host::filtered(&leaves, CLOCKS, true);
    assert!(host.has(Feature::Xsave) && !host.has(Feature::Avx));
    assert_eq!(host.extended_states(), 3);
    assert_eq!(cpuid(0xd, 0, &cpu(), false, &host), [3, 576, 576, 0]);
    let [_, _, ecx1, _] = cpuid(1, 0, &cpu(), false, &host);
    let [_, ebx7, ecx7, _] = cpuid(7, 0, &cpu(), false, &host);
    assert_eq!((ecx1 >> 12 & 1, ecx1 >> 29 & 1, ebx7 >> 5 & 1, ecx7 >> 9 & 3), (0, 0, 0, 0));
}

#[test]
fn host_that_forbids_fsgsbase_hides_it() {
    assert!(Host::filtered(&|_, _| [u32::MAX; 4], CLOCKS, true).has(Feature::FsGsBase));
    assert!(!Host::filtered(&|_, _| [u32::MAX; 4], CLOCKS, false).has(Feature::FsGsBase));
}

#[test]
fn local_apic_is_told_while_it_is_enabled_and_its_msrs_whatever_the_host_has() {
    let host = Host::filtered(&|_, _| [0; 4], CLOCKS, true);
    let [_, _, ecx, edx] = cpuid(1, 0, &cpu(), true, &host);
    assert_eq!((edx >> 9 & 1, ecx >> 21 & 1), (1, 1));
    assert_eq!(cpuid(6, 0, &cpu(), true, &host), [4, 0, 0, 0], "its timer never stops");
}

#[test]
fn hypervisor_leaf_tells_the_rates_of_time_stamp_and_apic_timer() {
    let [highest, ebx, ecx, edx] = ask(0x4000_0000, 0);
    assert_eq!(highest, 0x4000_0010);
    assert_eq!([ebx, ecx, edx].map(u32::to_le_bytes).concat(), b"runurunurunu");
    assert_eq!(ask(0x4000_0010, 0), [3_000_000, 1_000_000, 0, 0]);
    assert_eq!(ask(0x4000_0001, 0), [0; 4], "no KVM features");
    let [_, _, ecx, _] = ask(1, 0);
    assert_eq!(ecx >> 31, 1);
}

#[test]
fn leaf_beyond_the_hosts_last_reads_as_zero() {
    // A CPU that repeats its last leaf for all others.
    let leaves = |leaf, _| if leaf == 0 { [1, 0, 0, 0] } else { [u32::MAX; 4] };
    let host = Host::filtered(&leaves, CLOCKS, true);
    assert_eq!(cpuid(7, 0, &cpu(), false, &host), [0; 4]);
}

#[test]
fn this_machine_offers_long_mode() {
    let host = Host::detect(CLOCKS, false);
    let [_, _, _, edx] = cpuid(0x8000_0001, 0, &cpu(), false, &host);
    assert_eq!(edx >> 29 & 1, 1);
    let [sizes, ..] = cpuid(0x8000_0008, 0, &cpu(), false, &host);
    assert_eq!(sizes, 48 << 8 | 40);
}
