//! Which files are guests, of what kind, and why others are not.

use runu_core::{Blame, Blamed, BootProtocol, GuestAddr};
use runu_guest::{
    Class, DetectError, Foreign, Guest, Kind, detect, solo5,
    unikraft::{self, ParameterKind, Platform, Version},
};

use crate::{
    elf_file::{self, ElfFile, multiboot, put32, put64},
    samples::{add_symbols, solo5_file},
    unikraft_file::{self, libinfo_entry, unikraft},
};

fn facts(guest: &Guest) -> &unikraft::Facts {
    let Kind::Unikraft(facts) = &guest.kind else { panic!("{:?} is not Unikraft", guest.kind) };
    facts
}

fn refusal(file: &[u8]) -> DetectError {
    detect(file).expect_err("the file is no guest")
}

#[test]
fn unikraft_wrapped_for_multiboot_is_the_qemu_kind() {
    let guest = detect(&unikraft("0.16.3~e453b74a", &["libvfscore"]).multiboot()).expect("a guest");

    assert_eq!(guest.boot, Some(BootProtocol::Multiboot));
    assert_eq!(guest.class, Class::Elf32);
    assert_eq!(facts(&guest).platform, Platform::Qemu);
    assert_eq!(facts(&guest).version, Some(Version::new(0, 16, 3)));
    assert_eq!(facts(&guest).full_version.as_deref(), Some("0.16.3~e453b74a"));
    assert_eq!(facts(&guest).has_library("libvfscore"), Some(true));
    assert_eq!(facts(&guest).has_library("liblwip"), Some(false));
    assert_eq!(guest.kind.to_string(), "Unikraft 0.16.3 (qemu)");
}

#[test]
fn unikraft_as_elf64_is_the_fc_kind() {
    let guest = detect(&unikraft("0.17.0", &[]).elf64()).expect("a guest");

    assert_eq!(guest.boot, Some(BootProtocol::Linux64));
    assert_eq!(guest.class, Class::Elf64);
    assert_eq!(facts(&guest).platform, Platform::Fc);
    assert!(!guest.pie);
}

#[test]
fn unikraft_segments_are_told_in_file_order_with_their_place_in_the_file() {
    let file = unikraft("0.17.0", &[]).multiboot();
    let guest = detect(&file).expect("a guest");

    let addrs: Vec<u64> = guest.segments.iter().map(|segment| segment.addr.0).collect();
    assert_eq!(addrs, [0x10_0000, 0x10_2000, 0x10_1000]);
    assert_eq!(guest.entry, GuestAddr(0x10_0000));
    assert_eq!(guest.image_end(), GuestAddr(0x10_3000));
    let second = &guest.segments[1];
    let start: usize = elf_file::fit(second.file_offset);
    assert_eq!(file[start..start + 32], [7; 32]);
    assert_eq!(second.file_len, 32);
    assert_eq!(second.mem_len, 0x1000);
}

#[test]
fn unikraft_for_a_linux_process_or_xen_has_no_boot_protocol() {
    let linuxu = detect(&unikraft("0.16.3", &["liblinuxuplat"]).elf64()).expect("a guest");
    let xen = detect(&unikraft("0.16.3", &["libxenplat"]).elf64()).expect("a guest");

    assert_eq!((facts(&linuxu).platform, linuxu.boot), (Platform::Linuxu, None));
    assert_eq!((facts(&xen).platform, xen.boot), (Platform::Xen, None));
}

#[test]
fn unikraft_linked_where_linux_programs_are_without_libinfo_is_linuxu() {
    let mut file = ElfFile::kernel();
    file.segments.clear();
    file.entry = 0x40_1000;
    file.load(0x40_0000, vec![0; 16], 0x2000).section(".uk_inittab", []);
    let guest = detect(&file.elf64()).expect("a guest");

    assert_eq!(facts(&guest).platform, Platform::Linuxu);
    assert_eq!(guest.kind.to_string(), "Unikraft of unknown version (linuxu)");
}

#[test]
fn unikraft_debug_file_of_the_qemu_kind_is_entered_by_multiboot() {
    let mut file = unikraft("0.17.0", &[]);
    add_symbols(&mut file, &[("_multiboot_entry", 0x10_0000, 0)]);
    let guest = detect(&file.elf64()).expect("a guest");

    assert_eq!(facts(&guest).platform, Platform::Qemu);
    assert_eq!(guest.boot, Some(BootProtocol::Multiboot));
}

#[test]
fn unikraft_linked_to_run_anywhere_is_pie() {
    let mut file = unikraft("0.17.0", &[]);
    file.segment(elf_file::PT_DYNAMIC, 0x10_0000, Vec::new(), 0);

    assert!(detect(&file.elf64()).expect("a guest").pie);
    assert!(detect(&file.multiboot()).expect("a guest").pie);
}

#[test]
fn unikraft_without_libinfo_tells_neither_version_nor_libraries() {
    let mut file = ElfFile::kernel();
    file.section(".uk_ctortab", []);
    let guest = detect(&file.multiboot()).expect("a guest");

    assert_eq!(facts(&guest).version, None);
    assert_eq!(facts(&guest).libraries, None);
    assert_eq!(facts(&guest).has_library("libvfscore"), None);
    assert!(!facts(&guest).takes_parameters);
}

#[test]
fn unikraft_parameters_since_018_are_listed_with_type_and_capacity() {
    let mut file = unikraft("0.18.0", &["libuklibparam"]);
    let listed = [("env", "vars", unikraft_file::TEXT, 8), ("ns16550", "early_port", 5, 1)];
    unikraft_file::list_parameters(&mut file, &listed);

    for file in [file.elf64(), file.multiboot()] {
        let guest = detect(&file).expect("a guest");
        let vars = facts(&guest).parameter("env.vars").flatten().expect("a parameter");
        assert_eq!((vars.kind, vars.capacity), (ParameterKind::Text, 8));
        assert_eq!(vars.description.as_deref(), Some("what it is for"));
        let port = facts(&guest).parameter("ns16550.early_port").flatten().expect("a parameter");
        assert_eq!((port.kind, port.capacity), (ParameterKind::Unsigned(16), 1));
        assert_eq!(facts(&guest).parameter("vfs.fstab"), Some(None));
    }
}

#[test]
fn unikraft_parameters_up_to_017_go_by_their_librarys_prefix() {
    let mut known = unikraft("0.16.3", &["libuklibparam"]);
    unikraft_file::list_old_parameter(&mut known, "libposix_environ", "vars", unikraft_file::TEXT, 64);
    let mut own = unikraft("0.16.3", &["libuklibparam"]);
    unikraft_file::list_old_parameter(&mut own, "appmine", "speed", 6, 1);

    let known = detect(&known.multiboot()).expect("a guest");
    let vars = facts(&known).parameter("env.vars").flatten().expect("a parameter");
    assert_eq!((vars.kind, vars.capacity), (ParameterKind::Text, 64));
    let own = detect(&own.elf64()).expect("a guest");
    assert!(facts(&own).parameter("appmine.speed").flatten().is_some());
}

#[test]
fn unikraft_parameters_that_point_nowhere_are_unknown_not_none() {
    let mut file = unikraft("0.18.0", &["libuklibparam"]);
    file.section(".uk_libparam_params", [0; 56]);

    let guest = detect(&file.elf64()).expect("a guest");
    assert!(facts(&guest).takes_parameters);
    assert_eq!(facts(&guest).parameters, None);
}

#[test]
fn unikraft_with_inconsistent_libinfo_is_malformed() {
    let entry = libinfo_entry(&[(7, "0.16.3")]);
    let cut = &entry[..entry.len() - 1];
    let mut too_long = entry.clone();
    too_long[0] += 1;
    let mut shorter_than_its_header = entry.clone();
    shorter_than_its_header[0] = 5;
    let mut record_too_long = entry.clone();
    record_too_long[8] += 1;
    let unprintable = libinfo_entry(&[(1, "lib\u{1b}[2J")]);

    for info in [cut, &too_long, &shorter_than_its_header, &record_too_long, &unprintable] {
        let mut file = ElfFile::kernel();
        file.section(".uk_libinfo", info);
        let error = refusal(&file.elf64());
        assert!(matches!(error, DetectError::Malformed { .. }), "{info:02x?}: {error}");
    }
}

#[test]
fn unikraft_libinfo_of_a_later_layout_is_skipped() {
    let mut later = libinfo_entry(&[(7, "9.9.9")]);
    later[4] = 2;
    let mut file = ElfFile::kernel();
    file.section(".uk_libinfo", [later, libinfo_entry(&[(7, "0.16.3")]), vec![0; 7]].concat());

    let guest = detect(&file.elf64()).expect("a guest");
    assert_eq!(facts(&guest).version, Some(Version::new(0, 16, 3)));
}

#[test]
fn own_guest_is_named_by_its_section_in_both_kinds() {
    let mut file = ElfFile::kernel();
    file.section(".runu_guest", b"name=hello\0version=1\0");

    let multiboot = detect(&file.multiboot()).expect("a guest");
    let linux64 = detect(&file.elf64()).expect("a guest");
    assert_eq!(multiboot.boot, Some(BootProtocol::Multiboot));
    assert_eq!(linux64.boot, Some(BootProtocol::Linux64));
    for guest in [multiboot, linux64] {
        let Kind::Runu(facts) = guest.kind else { panic!("{:?}", guest.kind) };
        assert_eq!((facts.name.as_str(), facts.version.as_deref()), ("hello", Some("1")));
    }
}

#[test]
fn own_guest_without_a_printable_name_is_malformed() {
    for contents in [&b""[..], b"version=1\0", b"name=\0", b"name=a\x1bb\0"] {
        let mut file = ElfFile::kernel();
        file.section(".runu_guest", contents);
        let error = refusal(&file.elf64());
        assert!(matches!(error, DetectError::Malformed { .. }), "{contents:?}: {error}");
    }
}

#[test]
fn solo5_guest_is_told_with_target_and_devices() {
    let guest = detect(&solo5_file(1, 3).elf64()).expect("a guest");

    assert_eq!(guest.boot, None);
    let Kind::Solo5(facts) = guest.kind else { panic!("{:?}", guest.kind) };
    assert_eq!((facts.target, facts.abi_version), (solo5::Target::Hvt, 2));
    let devices: Vec<_> = facts.devices.iter().map(|device| (device.name.as_str(), device.kind)).collect();
    assert_eq!(devices, [("storage", solo5::DeviceKind::Block), ("service", solo5::DeviceKind::Net)]);
}

#[test]
fn solo5_guest_with_unknown_target_or_more_entries_than_there_are_is_malformed() {
    for file in [solo5_file(99, 3), solo5_file(1, 4), solo5_file(1, 0), solo5_file(1, 65)] {
        assert!(matches!(refusal(&file.elf64()), DetectError::Malformed { .. }));
    }
}

#[test]
fn other_unikernels_and_linux_are_recognised_by_their_marks() {
    let mut hermit = ElfFile::kernel();
    hermit.osabi = 255;
    let mut osv = ElfFile::kernel();
    osv.section(".tracepoint_patch_sites", []).section(".percpu_workers", []);
    let mut linux = ElfFile::kernel();
    linux.section(".data..percpu", []);

    let kind = |file: ElfFile| detect(&file.elf64()).map(|guest| (guest.kind, guest.boot));
    assert_eq!(kind(hermit), Ok((Kind::Hermit, None)));
    assert_eq!(kind(osv), Ok((Kind::Osv, None)));
    assert_eq!(kind(linux), Ok((Kind::Linux, Some(BootProtocol::Linux64))));
}

#[test]
fn kernel_of_unknown_make_is_known_by_its_boot_protocol() {
    let mut pvh = ElfFile::kernel();
    pvh.note(b"Xen", 18, &[0, 0, 16, 0]);

    let multiboot = detect(&ElfFile::kernel().multiboot()).expect("a guest");
    assert_eq!((multiboot.kind, multiboot.boot), (Kind::Unknown, Some(BootProtocol::Multiboot)));
    let pvh = detect(&pvh.elf64()).expect("a guest");
    assert_eq!((pvh.kind, pvh.boot), (Kind::Unknown, None));
}

#[test]
fn file_of_another_format_is_named() {
    let mut bzimage = vec![0; 0x300];
    bzimage[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bzimage[0x202..0x206].copy_from_slice(b"HdrS");
    let mut efi_bzimage = bzimage.clone();
    efi_bzimage[..2].copy_from_slice(b"MZ");
    let mut disk = vec![0; 0x400];
    disk[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    let mut tar = vec![b'a'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let mut raw = vec![0x90; 64];
    put32(&mut raw, &[0x1bad_b002, 0, 0u32.wrapping_sub(0x1bad_b002)]);

    let cases: [(&[u8], Foreign); 15] = [
        (b"!<arch>\n", Foreign::Object),
        (b"#!/bin/sh\n", Foreign::Script),
        (b"FROM scratch\n", Foreign::Text),
        (b"MZ\x90\0", Foreign::Pe),
        (&bzimage, Foreign::BzImage),
        (&efi_bzimage, Foreign::BzImage),
        (&[0x1f, 0x8b, 8], Foreign::Compressed),
        (&[0x28, 0xb5, 0x2f, 0xfd], Foreign::Compressed),
        (b"070701", Foreign::Cpio),
        (&tar, Foreign::Tar),
        (&disk, Foreign::Disk),
        (b"QFI\xfb", Foreign::Disk),
        (&[0xcf, 0xfa, 0xed, 0xfe], Foreign::MachO),
        (&raw, Foreign::RawMultiboot),
        (&[0, 1, 2, 3], Foreign::Unknown),
    ];
    for (file, foreign) in cases {
        assert_eq!(refusal(file), DetectError::NotAKernel(foreign));
    }
}

#[test]
fn elf_file_that_is_no_kernel_is_named() {
    let with = |change: fn(&mut ElfFile)| {
        let mut file = ElfFile::kernel();
        change(&mut file);
        file.elf64()
    };
    let program32 = {
        let mut file = multiboot(&ElfFile::kernel().elf64(), 3);
        file[52] ^= 1;
        file
    };
    let dynamic = with(|file| {
        file.segment(elf_file::PT_INTERP, 0, b"/lib64/ld-linux-x86-64.so.2\0".to_vec(), 28);
    });
    let library = with(|file| file.kind = elf_file::ET_DYN);
    let static_pie = with(|file| {
        file.kind = elf_file::ET_DYN;
        let mut dynamic = Vec::new();
        put64(&mut dynamic, &[5, 0, 0x6fff_fffb, 0x0800_0001, 0, 0]);
        file.segment(elf_file::PT_DYNAMIC, 0, dynamic, 48);
    });

    assert_eq!(refusal(&dynamic), DetectError::NotAKernel(Foreign::DynamicProgram));
    assert_eq!(refusal(&ElfFile::kernel().elf64()), DetectError::NotAKernel(Foreign::StaticProgram));
    assert_eq!(refusal(&static_pie), DetectError::NotAKernel(Foreign::StaticProgram));
    assert_eq!(refusal(&program32), DetectError::NotAKernel(Foreign::Program32));
    assert_eq!(refusal(&library), DetectError::NotAKernel(Foreign::SharedLibrary));
    let object = with(|file| file.kind = elf_file::ET_REL);
    assert_eq!(refusal(&object), DetectError::NotAKernel(Foreign::Object));
    let core = with(|file| file.kind = elf_file::ET_CORE);
    assert_eq!(refusal(&core), DetectError::NotAKernel(Foreign::CoreDump));
}

#[test]
fn kernel_for_another_architecture_is_named() {
    let mut arm64 = unikraft("0.17.0", &[]);
    arm64.machine = elf_file::EM_AARCH64;
    let mut image = vec![0; 64];
    image[56..60].copy_from_slice(b"ARM\x64");
    let mut big_endian = unikraft("0.17.0", &[]).elf64();
    big_endian[5] = 2;
    big_endian[18..20].copy_from_slice(&21u16.to_be_bytes());

    let foreign = |name: &str| DetectError::ForeignArchitecture { architecture: name.to_owned() };
    assert_eq!(refusal(&arm64.elf64()), foreign("arm64"));
    assert_eq!(refusal(&image), foreign("arm64"));
    assert_eq!(refusal(&big_endian), foreign("ppc64"));
}

#[test]
fn kernel_with_overlapping_segments_is_refused() {
    let mut file = unikraft("0.17.0", &[]);
    file.load(0x10_2fff, vec![0; 4], 4);

    let overlap = DetectError::SegmentsOverlap { lower: GuestAddr(0x10_2000), upper: GuestAddr(0x10_2fff) };
    assert_eq!(refusal(&file.elf64()), overlap);
}

#[test]
fn kernel_with_a_huge_or_high_segment_is_refused() {
    for (addr, mem_len) in [(0x20_0000, u64::MAX), (u64::MAX, 2), (0x20_0000, 1 << 32), (1 << 32, 1)] {
        let mut file = unikraft("0.17.0", &[]);
        file.load(addr, vec![0], mem_len);
        let too_high = DetectError::SegmentTooHigh { addr: GuestAddr(addr), mem_len };
        assert_eq!(refusal(&file.elf64()), too_high);
    }
}

#[test]
fn kernel_with_a_segment_larger_in_the_file_than_in_memory_is_refused() {
    let mut file = unikraft("0.17.0", &[]);
    file.load(0x20_0000, vec![0; 9], 8);

    let shrinks = DetectError::SegmentShrinks { addr: GuestAddr(0x20_0000), file_len: 9, mem_len: 8 };
    assert_eq!(refusal(&file.elf64()), shrinks);
}

#[test]
fn kernel_with_entry_outside_its_segments_is_refused() {
    for entry in [0, 0xf_ffff, 0x10_0040, 0x10_3000, u64::from(u32::MAX)] {
        let mut file = unikraft("0.17.0", &[]);
        file.entry = entry;
        let outside = DetectError::EntryOutside { entry: GuestAddr(entry) };
        assert_eq!(refusal(&file.elf64()), outside);
        assert_eq!(refusal(&file.multiboot()), outside);
    }
}

#[test]
fn kernel_without_segments_is_refused() {
    let mut file = unikraft("0.17.0", &[]);
    file.segments.clear();
    file.load(0x10_0000, Vec::new(), 0);

    assert_eq!(refusal(&file.elf64()), DetectError::NothingToLoad);
}

#[test]
fn kernel_with_more_segments_than_any_kernel_has_is_refused() {
    let mut file = unikraft("0.17.0", &[]);
    (0..100).for_each(|index| {
        file.load(0x20_0000 + 16 * index, vec![0], 1);
    });

    let too_many = DetectError::TooMany { what: "program headers", count: 103, most: 64 };
    assert_eq!(refusal(&file.elf64()), too_many);
}

#[test]
fn kernel_32_bit_wide_without_multiboot_header_or_with_demands_is_refused() {
    let file = unikraft("0.17.0", &[]).elf64();
    let mut without = multiboot(&file, 3);
    without[60] ^= 1;

    assert_eq!(refusal(&without), DetectError::NoMultibootHeader);
    assert_eq!(refusal(&multiboot(&file, 3 | 1 << 16)), DetectError::MultibootAddresses);
    assert_eq!(refusal(&multiboot(&file, 7)), DetectError::MultibootDemand { unmet: 4 });
}

#[test]
fn file_that_is_empty_or_cut_within_its_magic_is_refused() {
    assert_eq!(refusal(b""), DetectError::Empty);
    assert!(matches!(refusal(b"\x7fEL"), DetectError::Truncated { .. }));
    assert!(matches!(refusal(b"\x7fELF"), DetectError::Truncated { .. }));
}

#[test]
fn kernel_truncated_anywhere_is_refused() {
    let mut file = unikraft("0.18.0", &["libuklibparam"]);
    unikraft_file::list_parameters(&mut file, &[("env", "vars", unikraft_file::TEXT, 8)]);

    for file in [file.elf64(), file.multiboot(), solo5_file(1, 3).elf64()] {
        for len in 0..file.len() {
            detect(&file[..len]).expect_err("a truncated kernel is no guest");
        }
    }
}

#[test]
fn refusal_blames_the_image_and_gives_a_hint() {
    let error = refusal(b"#!/bin/sh\n");
    assert_eq!(error.blame(), Blame::Image);
    assert_eq!(error.to_string(), "the file is a script, not a unikernel");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("runc"), "{hint}");
}

#[test]
fn facts_in_json_have_the_kind_beside_the_rest() {
    let guest = detect(&unikraft("0.16.3", &[]).multiboot()).expect("a guest");
    let json = serde_json::to_value(&guest).expect("facts are plain data");

    assert_eq!(json["kind"], "unikraft");
    assert_eq!(json["version"], "0.16.3");
    assert_eq!(json["platform"], "qemu");
    assert_eq!(json["arch"], "x86_64");
    assert_eq!(json["boot"], "multiboot");
    assert_eq!(json["entry"], 0x10_0000);
}
