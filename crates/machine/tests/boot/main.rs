//! What a kernel finds when it is entered.

mod random;

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
};

use runu_core::{Blame, Blamed, BootProtocol, Bytes, GuestAddr, Plan, Segment};
use runu_machine::{
    GuestMemory,
    boot::{self, Entry, LoadError, Mode},
};

const KERNEL: u64 = 0x10_0000;

/// A file whose byte at `n` is `n % 251`.
fn file(len: usize) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let bytes: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).expect("below 251")).collect();
    file.write_all(&bytes).expect("room for it");
    file
}

fn segment(addr: u64, file_offset: u64, file_len: u64, mem_len: u64) -> Segment {
    Segment { addr: GuestAddr(addr), file_offset, file_len, mem_len }
}

/// A kernel of 8 KiB at 1 MiB, 4 KiB of it in the file, in 16 MiB of memory.
fn plan(boot: BootProtocol) -> Plan {
    Plan {
        boot,
        entry: GuestAddr(KERNEL + 0x10),
        segments: vec![segment(KERNEL, 100, 0x1000, 0x2000)],
        command_line: b"hello -- world".to_vec(),
        memory: Bytes::mib(16),
        initrd: None,
        network: None,
        shares: Vec::new(),
        disks: Vec::new(),
        learned_memory: None,
    }
}

fn memory(plan: &Plan) -> GuestMemory {
    GuestMemory::new(plan.memory).expect("memory")
}

fn load(plan: &Plan, initrd: Option<&File>) -> Result<(Entry, GuestMemory), LoadError> {
    let memory = memory(plan);
    boot::load(plan, &file(0x3000), initrd, &memory).map(|entry| (entry, memory))
}

fn bytes(memory: &GuestMemory, addr: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read(GuestAddr(addr), &mut bytes).expect("RAM");
    bytes
}

fn u32_at(memory: &GuestMemory, addr: u64) -> u32 {
    u32::from_le_bytes(bytes(memory, addr, 4).try_into().expect("four"))
}

fn u64_at(memory: &GuestMemory, addr: u64) -> u64 {
    memory.read_u64(GuestAddr(addr)).expect("RAM")
}

/// The NUL-terminated string at an address that is in memory as a 32-bit field.
fn string_at(memory: &GuestMemory, field: u64) -> Vec<u8> {
    let addr = u64::from(u32_at(memory, field));
    bytes(memory, addr, 256).into_iter().take_while(|&byte| byte != 0).collect()
}

#[test]
fn segment_with_fewer_bytes_in_file_than_in_memory_is_read_and_the_rest_is_zero() {
    let plan = plan(BootProtocol::Multiboot);
    let kernel = file(0x3000);
    (&kernel).seek(SeekFrom::Start(7)).expect("a position");
    let memory = memory(&plan);

    boot::load(&plan, &kernel, None, &memory).expect("a kernel that fits");

    let first: Vec<u8> = (100..104).collect();
    assert_eq!(bytes(&memory, KERNEL, 4), first);
    assert_eq!(bytes(&memory, KERNEL + 0x1000, 0x1000), [0; 0x1000]);
    assert_eq!((&kernel).stream_position().expect("a position"), 7);
}

#[test]
fn multiboot_kernel_is_entered_as_the_specification_says() {
    let (entry, memory) = load(&plan(BootProtocol::Multiboot), None).expect("a kernel that fits");

    assert_eq!((entry.mode, entry.rip, entry.rax), (Mode::Protected32, KERNEL + 0x10, 0x2bad_b002));
    assert_eq!((entry.cr0, entry.cr3, entry.cr4, entry.efer), (0x11, 0, 0, 0));
    let code = u64_at(&memory, entry.gdt.0 + u64::from(entry.code_selector));
    let data = u64_at(&memory, entry.gdt.0 + u64::from(entry.data_selector));
    assert_eq!((code, data), (0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff));
    assert!(entry.gdt_limit >= entry.data_selector + 7);
}

#[test]
fn multiboot_kernel_is_told_memory_command_line_and_loader() {
    let (entry, memory) = load(&plan(BootProtocol::Multiboot), None).expect("a kernel that fits");

    let info = entry.rbx;
    assert_eq!(
        u32_at(&memory, info),
        1 | 1 << 2 | 1 << 6 | 1 << 9,
        "memory, command line, map, loader; no module"
    );
    assert_eq!((u32_at(&memory, info + 4), u32_at(&memory, info + 8)), (639, 15 * 1024));
    assert_eq!(string_at(&memory, info + 16), b"hello -- world");
    assert_eq!(string_at(&memory, info + 64), b"runu");
    let map = u64::from(u32_at(&memory, info + 48));
    assert_eq!(u32_at(&memory, info + 44), 48);
    let entries: Vec<_> = (0..2)
        .map(|n| map + 24 * n)
        .map(|at| {
            (u32_at(&memory, at), u64_at(&memory, at + 4), u64_at(&memory, at + 12), u32_at(&memory, at + 20))
        })
        .collect();
    assert_eq!(entries, [(20, 0x1_0000, 0x8_fc00, 1), (20, 0x10_0000, 15 << 20, 1)]);
}

#[test]
fn multiboot_kernel_with_initrd_gets_it_as_first_module() {
    let plan = Plan { initrd: Some(Bytes(5000)), ..plan(BootProtocol::Multiboot) };

    let (entry, memory) = load(&plan, Some(&file(5000))).expect("a kernel that fits");

    let module = u64::from(u32_at(&memory, entry.rbx + 24));
    let (start, end) = (u32_at(&memory, module), u32_at(&memory, module + 4));
    assert_eq!(u32_at(&memory, entry.rbx) & 1 << 3, 1 << 3);
    assert_eq!(u32_at(&memory, entry.rbx + 20), 1);
    assert_eq!((start, end), (0xff_e000, 0xff_e000 + 5000), "as high as fits, from a page on");
    assert_eq!(string_at(&memory, module + 8), b"initrd");
    assert_eq!(bytes(&memory, u64::from(start) + 4996, 4), [227, 228, 229, 230]);
}

#[test]
fn linux_kernel_is_entered_in_long_mode_with_its_zero_page() {
    let (entry, memory) = load(&plan(BootProtocol::Linux64), None).expect("a kernel that fits");

    assert_eq!((entry.mode, entry.rip), (Mode::Long64, KERNEL + 0x10));
    assert_eq!((entry.cr0, entry.cr4, entry.efer), (0x8000_0011, 0x20, 0x500));
    let zero_page = entry.rsi;
    assert_eq!(bytes(&memory, zero_page + 0x1fe, 2), [0x55, 0xaa]);
    assert_eq!(bytes(&memory, zero_page + 0x202, 4), b"HdrS");
    assert_eq!(bytes(&memory, zero_page + 0x210, 1), [0xff]);
    assert_eq!(string_at(&memory, zero_page + 0x228), b"hello -- world");
    assert_eq!(u32_at(&memory, zero_page + 0x238), 15, "the command line and its NUL");
    assert_eq!((u32_at(&memory, zero_page + 0x218), u32_at(&memory, zero_page + 0x21c)), (0, 0), "no initrd");
    assert_eq!(bytes(&memory, zero_page + 0x1e8, 1), [2]);
    let entries: Vec<_> = (0..2)
        .map(|n| zero_page + 0x2d0 + 20 * n)
        .map(|at| (u64_at(&memory, at), u64_at(&memory, at + 8), u32_at(&memory, at + 16)))
        .collect();
    assert_eq!(entries, [(0x1_0000, 0x8_fc00, 1), (0x10_0000, 15 << 20, 1)]);
    let code = u64_at(&memory, entry.gdt.0 + u64::from(entry.code_selector));
    assert_eq!((entry.code_selector, entry.data_selector, code), (0x10, 0x18, 0x00af_9b00_0000_ffff));
}

#[test]
fn linux_kernel_finds_the_first_4_gib_mapped_to_themselves() {
    let (entry, memory) = load(&plan(BootProtocol::Linux64), None).expect("a kernel that fits");

    for addr in [0, KERNEL, 0x7fff_ffff, 0xffff_ffff_u64] {
        let pml4e = u64_at(&memory, entry.cr3 + (addr >> 39) * 8);
        let pdpte = u64_at(&memory, (pml4e & !0xfff) + (addr >> 30 & 0x1ff) * 8);
        let pde = u64_at(&memory, (pdpte & !0xfff) + (addr >> 21 & 0x1ff) * 8);
        assert_eq!((pml4e & 0x83, pdpte & 0x83, pde & 0x83), (3, 3, 0x83), "{addr:#x}");
        assert_eq!(pde & !0x1f_ffff | addr & 0x1f_ffff, addr);
    }
}

#[test]
fn linux_kernel_with_initrd_gets_it_in_the_zero_page() {
    let plan = Plan { initrd: Some(Bytes(4096)), ..plan(BootProtocol::Linux64) };

    let (entry, memory) = load(&plan, Some(&file(4096))).expect("a kernel that fits");

    let (start, len) = (u32_at(&memory, entry.rsi + 0x218), u32_at(&memory, entry.rsi + 0x21c));
    assert_eq!((start, len), (0xff_f000, 4096));
    assert_eq!(bytes(&memory, u64::from(start), 4), [0, 1, 2, 3]);
}

#[test]
fn initrd_beside_a_kernel_at_the_top_of_memory_goes_below_it() {
    let top = Bytes::mib(16).0;
    let plan = Plan {
        entry: GuestAddr(top - 0x2800),
        segments: vec![segment(top - 0x2800, 0, 0x1000, 0x2800), segment(KERNEL, 0, 1, 1)],
        initrd: Some(Bytes(4097)),
        ..plan(BootProtocol::Linux64)
    };

    let (entry, memory) = load(&plan, Some(&file(4097))).expect("a kernel that fits");

    assert_eq!(u64::from(u32_at(&memory, entry.rsi + 0x218)), top - 0x5000);
}

#[test]
fn initrd_in_a_guest_with_much_memory_stays_below_the_hole() {
    let plan =
        Plan { memory: Bytes::mib(5 << 10), initrd: Some(Bytes(4096)), ..plan(BootProtocol::Multiboot) };

    let (entry, memory) = load(&plan, Some(&file(4096))).expect("a kernel that fits");

    let module = u64::from(u32_at(&memory, entry.rbx + 24));
    assert_eq!(u32_at(&memory, module), 0x6fff_f000);
    assert_eq!(u32_at(&memory, entry.rbx + 44), 4 * 24, "conventional memory and all three regions");
}

#[test]
fn initrd_of_no_bytes_is_no_initrd() {
    let plan = Plan { initrd: Some(Bytes(0)), ..plan(BootProtocol::Multiboot) };

    let (entry, memory) = load(&plan, Some(&file(0))).expect("a kernel that fits");

    assert_eq!(u32_at(&memory, entry.rbx) & 1 << 3, 0);
}

#[test]
fn kernel_in_low_memory_keeps_it_and_the_rest_moves_up() {
    let plan = Plan {
        entry: GuestAddr(0x1_0000),
        segments: vec![segment(0x1_0000, 0, 0x3000, 0x1_1800)],
        ..plan(BootProtocol::Multiboot)
    };

    let (entry, memory) = load(&plan, None).expect("a kernel that fits");

    assert_eq!(entry.rbx, 0x2_2000);
    assert_eq!(string_at(&memory, entry.rbx + 16), b"hello -- world");
    assert_eq!(bytes(&memory, 0x1_0000, 3), [0, 1, 2]);
}

/// What loading `plan` says, and whose mistake that is.
fn refusal(plan: &Plan) -> (String, Blame) {
    let initrd = plan.initrd.map(|_| file(100));
    let error = load(plan, initrd.as_ref()).expect_err("a plan that cannot be loaded");
    (error.to_string(), error.blame())
}

#[test]
fn segment_that_cannot_be_in_memory_is_refused() {
    let cases = [
        (
            segment(KERNEL, 0, 2, 1),
            "the kernel's segment at 0x100000 is malformed: it has more bytes in the file than in memory",
        ),
        (
            segment(u64::MAX, 0, 1, 2),
            "the kernel's segment at 0xffffffffffffffff is malformed: it ends beyond 64 bits",
        ),
        (
            segment(KERNEL, u64::MAX, 1, 1),
            "the kernel's segment at 0x100000 is malformed: it ends beyond 64 bits in the file",
        ),
        (
            segment(0x8000, 0, 1, 1),
            "the kernel's segment of 1 bytes at 0x8000 lies outside of what can be RAM",
        ),
        (
            segment(0x9_f000, 0, 1, 0x1000),
            "the kernel's segment of 4096 bytes at 0x9f000 lies outside of what can be RAM",
        ),
        (
            segment(0xf_ffff, 0, 1, 1),
            "the kernel's segment of 1 bytes at 0xfffff lies outside of what can be RAM",
        ),
        (
            segment(0x6fff_ffff, 0, 1, 2),
            "the kernel's segment of 2 bytes at 0x6fffffff lies outside of what can be RAM",
        ),
        (
            segment(0x1_0000_0000, 0, 1, 1),
            "the kernel's segment of 1 bytes at 0x100000000 lies outside of what can be RAM",
        ),
    ];
    for (segment, message) in cases {
        let plan = Plan { segments: vec![segment], ..plan(BootProtocol::Linux64) };
        assert_eq!(refusal(&plan), (message.to_owned(), Blame::Image));
    }
}

#[test]
fn kernel_larger_than_memory_is_refused_with_the_size_it_needs() {
    let plan = Plan { segments: vec![segment(KERNEL, 0, 1, 16 << 20)], ..plan(BootProtocol::Multiboot) };

    let error = load(&plan, None).expect_err("too large a kernel");

    assert_eq!(
        error.to_string(),
        "the kernel reaches up to 0x1100000 and does not fit into 16 MiB of memory"
    );
    assert_eq!(error.hint().as_deref(), Some("give the guest at least 17 MiB of memory"));
    assert_eq!(error.blame(), Blame::User);
}

#[test]
fn segments_that_overlap_are_refused() {
    let plan = Plan {
        segments: vec![segment(KERNEL + 0x1000, 0, 1, 1), segment(KERNEL, 0, 1, 0x1001)],
        ..plan(BootProtocol::Multiboot)
    };

    assert_eq!(
        refusal(&plan),
        ("the kernel's segments at 0x100000 and 0x101000 overlap".into(), Blame::Image)
    );
}

#[test]
fn kernel_without_bytes_or_with_its_entry_elsewhere_is_refused() {
    let empty = Plan { segments: vec![segment(KERNEL, 0, 0, 0)], ..plan(BootProtocol::Multiboot) };
    let elsewhere = Plan { entry: GuestAddr(KERNEL + 0x2000), ..plan(BootProtocol::Multiboot) };

    assert_eq!(refusal(&empty), ("the kernel has nothing to load".into(), Blame::Image));
    assert_eq!(
        refusal(&elsewhere),
        ("the kernel's entry 0x102000 is outside of the kernel".into(), Blame::Image)
    );
}

#[test]
fn kernel_file_shorter_than_its_plan_is_refused() {
    let plan = Plan { segments: vec![segment(KERNEL, 0x2fff, 2, 0x100)], ..plan(BootProtocol::Multiboot) };

    assert_eq!(
        refusal(&plan),
        ("the kernel file ends inside of the segment that goes to 0x100000".into(), Blame::Image)
    );
}

#[test]
fn kernel_that_fills_low_memory_is_refused() {
    let plan = Plan {
        entry: GuestAddr(0x1_0000),
        segments: vec![segment(0x1_0000, 0, 1, 0x8_f000)],
        ..plan(BootProtocol::Multiboot)
    };

    assert_eq!(
        refusal(&plan),
        (
            "the kernel leaves no room below 640 KiB for the command line and the memory map".into(),
            Blame::Image
        )
    );
}

#[test]
fn initrd_that_does_not_fit_beside_the_kernel_is_refused() {
    for len in [Bytes::mib(15), Bytes::mib(17), Bytes(u64::MAX)] {
        let plan = Plan { initrd: Some(len), ..plan(BootProtocol::Multiboot) };
        let message = format!("the initrd of {len} does not fit into 16 MiB of memory beside the kernel");
        assert_eq!(refusal(&plan), (message, Blame::User));
    }
}

#[test]
fn initrd_shorter_than_planned_is_refused() {
    let plan = Plan { initrd: Some(Bytes(101)), ..plan(BootProtocol::Multiboot) };

    assert_eq!(refusal(&plan), ("the initrd ends before its 101 bytes".into(), Blame::Image));
}

#[test]
fn initrd_that_only_one_side_knows_of_is_refused() {
    let without = plan(BootProtocol::Multiboot);
    let with = Plan { initrd: Some(Bytes(1)), ..without.clone() };

    assert!(matches!(load(&with, None), Err(LoadError::InitrdMismatch)));
    assert!(matches!(load(&without, Some(&file(1))), Err(LoadError::InitrdMismatch)));
}

#[test]
fn command_line_that_cannot_be_handed_over_is_refused() {
    let nul = Plan { command_line: b"a\0b".to_vec(), ..plan(BootProtocol::Linux64) };
    let long = Plan { command_line: vec![b'a'; boot::COMMAND_LINE_MAX + 1], ..plan(BootProtocol::Linux64) };

    assert_eq!(refusal(&nul), ("the command line holds a NUL byte".into(), Blame::User));
    assert_eq!(
        refusal(&long),
        ("the command line has 65537 bytes, more than the 65536 that can be handed over".into(), Blame::User)
    );
}

#[test]
fn command_line_of_full_length_arrives() {
    let line = vec![b'a'; boot::COMMAND_LINE_MAX];
    let plan = Plan { command_line: line.clone(), ..plan(BootProtocol::Linux64) };

    let (entry, memory) = load(&plan, None).expect("a kernel that fits");

    let addr = u64::from(u32_at(&memory, entry.rsi + 0x228));
    assert_eq!(bytes(&memory, addr, line.len()), line);
    assert_eq!(u32_at(&memory, entry.rsi + 0x238), 0x1_0001);
}
