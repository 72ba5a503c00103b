//! The answers that never change, computed once from the host's.

use std::arch::x86_64::__cpuid_count;

use super::{Feature, PHYSICAL_ADDRESS_BITS, VIRTUAL_ADDRESS_BITS, time_stamp};

/// Highest basic leaf: extended states.
const HIGHEST_BASIC: u32 = 0xd;
/// Highest extended leaf: address sizes.
const HIGHEST_EXTENDED: u32 = 0x8000_0008;
/// First leaf of hypervisors, and the highest told: frequencies of TSC and local APIC, as VMware and QEMU tell them.
const HYPERVISOR: u32 = 0x4000_0000;
const HYPERVISOR_CLOCKS: u32 = 0x4000_0010;
/// Twelve bytes in EBX, ECX, EDX of the first hypervisor leaf.
const SIGNATURE: &[u8; 12] = b"runurunurunu";

/// A set of feature bits, by number.
const fn bits(numbers: &[u32]) -> u32 {
    let mut set = 0;
    let mut rest = numbers;
    while let [number, others @ ..] = rest {
        set |= 1 << *number;
        rest = others;
    }
    set
}

/// Leaf 1, ECX: SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, AVX, F16C, RDRAND.
const LEAF1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// Leaf 1, ECX, whatever the host has: x2APIC, running under a hypervisor.
const LEAF1_ECX_ALWAYS: u32 = bits(&[21, 31]);
/// Leaf 1, EDX: FPU, DE, PSE, TSC, MSR, PAE, CX8, PGE, CMOV, PAT, PSE-36, CLFSH, MMX, FXSR, SSE, SSE2.
const LEAF1_EDX: u32 = bits(&[0, 2, 3, 4, 5, 6, 8, 13, 15, 16, 17, 19, 23, 24, 25, 26]);
/// Leaf 6, EAX: the local APIC's timer runs on while the CPU waits.
const LEAF6_EAX: u32 = bits(&[2]);
/// Leaf 7, EBX: FSGSBASE, BMI1, AVX2, FDP_EXCPTN_ONLY, BMI2, ERMS, FCS/FDS deprecation, RDSEED, ADX, CLFLUSHOPT, CLWB,
/// SHA.
const LEAF7_EBX: u32 = bits(&[0, 3, 5, 6, 8, 9, 13, 18, 19, 23, 24, 29]);
const LEAF7_EBX_FSGSBASE: u32 = bits(&[0]);
/// Leaf 7, ECX: GFNI, VAES, VPCLMULQDQ, RDPID.
const LEAF7_ECX: u32 = bits(&[8, 9, 10, 22]);
/// Leaf 7, EDX: FSRM.
const LEAF7_EDX: u32 = bits(&[4]);
/// Leaf 0xd, subleaf 1, EAX: XSAVEOPT.
const LEAFD_XSAVEOPT: u32 = bits(&[0]);
/// Leaf 0x80000001, ECX: LAHF, LZCNT, SSE4a, misaligned SSE, PREFETCHW.
const EXTENDED1_ECX: u32 = bits(&[0, 5, 6, 7, 8]);
/// Leaf 0x80000001, EDX: what leaf 1 tells again (AMD), SYSCALL, MMXEXT, RDTSCP, LM.
const EXTENDED1_EDX: u32 =
    (LEAF1_EDX & bits(&[0, 2, 3, 4, 5, 6, 8, 13, 15, 16, 17, 23, 24])) | bits(&[11, 22, 27, 29]);
/// Leaf 0x80000001, EDX: NX and 1 GiB pages, which the page walk provides whatever the host does.
const EXTENDED1_EDX_PAGING: u32 = bits(&[20, 26]);
/// Leaf 0x80000007, EDX: invariant TSC.
const EXTENDED7_EDX: u32 = bits(&[8]);
/// Leaf 0x80000008, EBX: CLZERO.
const EXTENDED8_EBX: u32 = bits(&[0]);

/// Bits of XCR0: x87, SSE, AVX.
const STATES: u64 = 0b111;
const AVX_STATE: u64 = 0b100;
/// Legacy region and header of a save area, without and with the AVX state behind them (Intel SDM vol. 1 §13.4).
const SAVE_AREA_SSE: u32 = 576;
const SAVE_AREA_AVX: u32 = 832;
/// The most that an XSAVE of a guest's may touch, in bytes.
pub(crate) const SAVE_AREA_MAX: usize = SAVE_AREA_AVX as usize;
/// Subleaves of the cache leaf that are told: as many as any CPU has caches.
const CACHES: u32 = 5;

/// Answers of a CPU: EAX, EBX, ECX, EDX by leaf and subleaf.
pub type Leaves<'a> = &'a dyn Fn(u32, u32) -> [u32; 4];

/// How fast what guests measure time with is, in kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The time stamp counter.
    pub tsc_khz: u32,
    /// The local APIC's timer where nothing is divided.
    pub apic_khz: u32,
}

/// Size in bytes of a save area for these states, in the standard format.
pub(crate) fn save_area(states: u64) -> u32 {
    if states & AVX_STATE == 0 { SAVE_AREA_SSE } else { SAVE_AREA_AVX }
}

/// What the host offers to guests, filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    clocks: Clocks,
    /// EBX, ECX, EDX of leaf 0.
    vendor: [u32; 3],
    leaf1: [u32; 4],
    leaf2: [u32; 4],
    caches: [[u32; 4]; CACHES as usize],
    leaf7: [u32; 4],
    xsaveopt: u32,
    /// EBX, ECX, EDX of leaf 0x80000000.
    extended_vendor: [u32; 3],
    extended1: [u32; 4],
    /// Leaves 0x80000002 to 0x80000006: the CPU's name and its first caches.
    name_and_caches: [[u32; 4]; 5],
    extended7: [u32; 4],
    extended8_ebx: u32,
}

impl Host {
    /// What the CPU this runs on offers. `fsgsbase` tells whether the operating system allows RDFSBASE and its relatives
    /// (`AT_HWCAP2` bit 1 on Linux).
    #[must_use]
    pub fn detect(clocks: Clocks, fsgsbase: bool) -> Self {
        let native = |leaf, subleaf| {
            let answer = __cpuid_count(leaf, subleaf);
            [answer.eax, answer.ebx, answer.ecx, answer.edx]
        };
        Self::filtered(&native, clocks, fsgsbase)
    }

    /// What a CPU that gives these answers offers.
    #[must_use]
    pub fn filtered(native: Leaves<'_>, clocks: Clocks, fsgsbase: bool) -> Self {
        let [highest, ebx, ecx, edx] = native(0, 0);
        let [highest_extended, extended_ebx, extended_ecx, extended_edx] = native(0x8000_0000, 0);
        // A leaf beyond the highest repeats another one (Intel SDM vol. 2A, CPUID): read it as zero.
        let ask = |leaf: u32, subleaf| {
            let end = if leaf < HYPERVISOR { highest } else { highest_extended };
            if leaf <= end { native(leaf, subleaf) } else { [0; 4] }
        };

        let mut leaf1 = filter_leaf1(ask(1, 0));
        let mut leaf7 = and(ask(7, 0), [0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX]);
        if !fsgsbase {
            let [_, ebx, ..] = &mut leaf7;
            *ebx &= !LEAF7_EBX_FSGSBASE;
        }
        let [states, ..] = ask(0xd, 0);
        if u64::from(states) & STATES != STATES {
            hide_avx(&mut leaf1, &mut leaf7);
        }
        let [xsave_features, ..] = ask(0xd, 1);
        let [signature, _, ecx1, edx1] = ask(0x8000_0001, 0);
        let extended1 = [signature, 0, ecx1 & EXTENDED1_ECX, edx1 & EXTENDED1_EDX | EXTENDED1_EDX_PAGING];
        let [_, extended8_ebx, ..] = ask(0x8000_0008, 0);

        Self {
            clocks,
            vendor: [ebx, ecx, edx],
            leaf1,
            leaf2: ask(2, 0),
            caches: [0, 1, 2, 3, 4].map(|cache| alone(ask(4, cache))),
            leaf7,
            xsaveopt: xsave_features & LEAFD_XSAVEOPT,
            extended_vendor: [extended_ebx, extended_ecx, extended_edx],
            extended1,
            name_and_caches: [2, 3, 4, 5, 6].map(|leaf| ask(0x8000_0000 + leaf, 0)),
            extended7: and(ask(0x8000_0007, 0), [0, 0, 0, EXTENDED7_EDX]),
            extended8_ebx: extended8_ebx & EXTENDED8_EBX,
        }
    }

    /// Whether guests are offered a feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        let [_, _, ecx1, _] = self.leaf1;
        let [_, ebx7, ecx7, _] = self.leaf7;
        let [.., edx] = self.extended1;
        let (word, bit) = match feature {
            Feature::Xsave => (ecx1, 26),
            Feature::Avx => (ecx1, 28),
            Feature::FsGsBase => (ebx7, 0),
            Feature::Rdtscp => (edx, 27),
            Feature::Rdpid => (ecx7, 22),
        };
        word >> bit & 1 != 0
    }

    /// The bits of XCR0 that a guest may set, and the most that an XSAVE of its may touch.
    #[must_use]
    pub fn extended_states(&self) -> u64 {
        if self.has(Feature::Avx) { STATES } else { STATES & !AVX_STATE }
    }

    /// The time stamp counter as RDTSC reads it.
    #[must_use]
    pub fn time_stamp(&self) -> u64 {
        time_stamp::read()
    }

    /// The answer to a leaf, but for what changes as the guest runs.
    pub(super) fn leaf(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        match leaf {
            0 => with_eax(HIGHEST_BASIC, self.vendor),
            1 => self.leaf1,
            2 => self.leaf2,
            4 => pick(&self.caches, subleaf),
            6 => [LEAF6_EAX, 0, 0, 0],
            7 if subleaf == 0 => self.leaf7,
            0xb => topology(subleaf),
            0xd => self.extended_state_leaf(subleaf),
            HYPERVISOR => with_eax(HYPERVISOR_CLOCKS, signature()),
            HYPERVISOR_CLOCKS => [self.clocks.tsc_khz, self.clocks.apic_khz, 0, 0],
            0x8000_0000 => with_eax(HIGHEST_EXTENDED, self.extended_vendor),
            0x8000_0001 => self.extended1,
            0x8000_0002..=0x8000_0006 => pick(&self.name_and_caches, leaf - 0x8000_0002),
            0x8000_0007 => self.extended7,
            0x8000_0008 => {
                let sizes = u32::from(VIRTUAL_ADDRESS_BITS) << 8 | u32::from(PHYSICAL_ADDRESS_BITS);
                [sizes, self.extended8_ebx, 0, 0]
            }
            _ => [0; 4],
        }
    }

    /// Leaf 0xd (Intel SDM vol. 1 §13.2): states, features, and where the AVX state lies.
    fn extended_state_leaf(&self, subleaf: u32) -> [u32; 4] {
        if !self.has(Feature::Xsave) {
            return [0; 4];
        }
        let states = self.extended_states();
        match subleaf {
            0 => [(states & STATES) as u32, SAVE_AREA_SSE, save_area(states), 0],
            1 => [self.xsaveopt, 0, 0, 0],
            2 if states & AVX_STATE != 0 => [SAVE_AREA_AVX - SAVE_AREA_SSE, SAVE_AREA_SSE, 0, 0],
            _ => [0; 4],
        }
    }
}

/// Family and cache-line size stay; one logical CPU with APIC id 0 (Intel SDM vol. 2A, CPUID, figure 3-6 and on).
fn filter_leaf1([eax, ebx, ecx, edx]: [u32; 4]) -> [u32; 4] {
    const CACHE_LINE: u32 = 0xff00;
    const ONE_CPU: u32 = 1 << 16;
    [eax, ebx & CACHE_LINE | ONE_CPU, ecx & LEAF1_ECX | LEAF1_ECX_ALWAYS, edx & LEAF1_EDX]
}

/// Leaf 0xb (Intel SDM vol. 2A, CPUID): levels of threads (1) and of cores (2), one of each, x2APIC id 0. A CPU with x2APIC
/// has it.
fn topology(level: u32) -> [u32; 4] {
    let (kind, count) = if level < 2 { (level + 1, 1) } else { (0, 0) };
    [0, count, kind << 8 | level & 0xff, 0]
}

/// Without room for the AVX state nothing that uses it can be told: AVX, FMA, F16C, AVX2, VAES, VPCLMULQDQ.
fn hide_avx(leaf1: &mut [u32; 4], leaf7: &mut [u32; 4]) {
    let [_, _, ecx1, _] = leaf1;
    *ecx1 &= !bits(&[12, 28, 29]);
    let [_, ebx7, ecx7, _] = leaf7;
    *ebx7 &= !bits(&[5]);
    *ecx7 &= !bits(&[9, 10]);
}

/// A cache as a lone CPU has it: bits 31 to 14 of EAX count who shares it and how many cores there are.
fn alone([eax, ebx, ecx, edx]: [u32; 4]) -> [u32; 4] {
    [eax & 0x3fff, ebx, ecx, edx]
}

fn and(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a, b);
    [a0 & b0, a1 & b1, a2 & b2, a3 & b3]
}

fn with_eax(eax: u32, [ebx, ecx, edx]: [u32; 3]) -> [u32; 4] {
    [eax, ebx, ecx, edx]
}

fn pick(leaves: &[[u32; 4]], index: u32) -> [u32; 4] {
    usize::try_from(index).ok().and_then(|index| leaves.get(index)).copied().unwrap_or([0; 4])
}

fn signature() -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *SIGNATURE;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
}
