//! What translation promises, checked on what it produces: by decoding the host code again.

#![expect(clippy::cast_possible_truncation, reason = "offsets in a block, which is some KiB long")]

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use proptest::prelude::*;
use runu_core::VirtAddr;

use super::{
    Block, CodeSize, Conditions, ENTRY_LEN, Exit, HALF_BITS, Places, Site, Source, folds, translate,
};

use crate::cpu::SystemCall;

const PLACES: Places = Places {
    spills: 0x7000_1000,
    target: 0x7000_1100,
    landing: 0x7000_1108,
    exit: 0x7000_1110,
    gate: 0x7000_1118,
    gate32: 0x7100_0000,
    stack_pointer: 0x7000_1120,
    scratch_top: 0x7000_1180,
    interrupts: 0x7000_1200,
    pending: 0x7000_1208,
    folds: 0x7000_1400,
    selectors: 0x7000_1188,
    cr0: 0x7000_11a0,
    cr2: 0x7000_11a8,
    cr3: 0x7000_11b0,
    cr4: 0x7000_11b8,
    xcr0: 0x7000_11c0,
    kernel_gs_base: 0x7000_11c8,
    bounded_segments: 0x7000_1182,
    may_wait: 0x701e_0000,
    reads: 0x701c_0000,
    writes: 0x7000_1c00,
    next_write: 0x7000_1210,
    wrote: 0x7000_1211,
    lent: 0x7000_11d0,
    tags: 0x7010_0000,
    codes: 0x7018_0000,
};

const START: u64 = 0x10_0000;

/// A CPU that does nothing special.
const PLAIN: Conditions = Conditions { inline_flags: true, floating_point: true, system_call: None };

fn block_at(start: u64, size: CodeSize, bytes: &[u8], site: Site) -> Block {
    let source = Source {
        start: VirtAddr(start),
        size,
        bytes,
        in_page: bytes.len(),
        site: &|_| site,
        conditions: PLAIN,
        first_exit: 100,
    };
    translate(&PLACES, &source)
}

fn block_under(conditions: Conditions, bytes: &[u8]) -> Block {
    let source = Source {
        start: VirtAddr(START),
        size: CodeSize::Bits64,
        bytes,
        in_page: bytes.len(),
        site: &|_| Site::Native,
        conditions,
        first_exit: 100,
    };
    translate(&PLACES, &source)
}

fn block(bytes: &[u8]) -> Block {
    block_at(START, CodeSize::Bits64, bytes, Site::Native)
}

fn host(block: &Block, size: CodeSize) -> Vec<Instruction> {
    Decoder::with_ip(size.bits(), &block.code, 0, DecoderOptions::NONE).into_iter().collect()
}

fn listing(block: &Block) -> Vec<String> {
    host(block, CodeSize::Bits64).iter().skip(1).map(ToString::to_string).collect()
}

/// What host code must never do, whatever the guest's code says.
fn is_forbidden(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let selector = |n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register();
    matches!(
        insn.mnemonic(),
        M::Syscall
            | M::Sysenter
            | M::Int
            | M::Int1
            | M::Int3
            | M::Into
            | M::Cpuid
            | M::Sgdt
            | M::Sidt
            | M::Sldt
            | M::Str
            | M::Smsw
            | M::Lar
            | M::Lsl
            | M::Verr
            | M::Verw
            | M::Iret
            | M::Iretd
            | M::Iretq
            | M::Retf
            | M::Ret
            | M::Call
            | M::Vmcall
            | M::Vmmcall
            | M::Rdtscp
            | M::Rdpid
            | M::Xgetbv
            | M::Wrpkru
            | M::Sti
            | M::Cli
            | M::Hlt
            | M::In
            | M::Out
            | M::Mwaitx
            | M::Ud2
            | M::Xbegin
    ) || (0..insn.op_count()).any(selector)
        || insn.is_privileged()
}

fn check_block(block: &Block, size: CodeSize) {
    let code = host(block, size);
    let starts: Vec<u32> = code.iter().map(|insn| insn.ip() as u32).collect();
    for insn in &code {
        let far_to_gate = insn.is_jmp_far() && insn.far_branch_selector() == 0x33;
        assert!(!insn.is_invalid(), "host code decodes: {block:x?}");
        let bytes = &block.code[insn.ip() as usize..insn.next_ip() as usize];
        let branches = insn.flow_control() != FlowControl::Next && !insn.is_jmp_far();
        assert!(!branches || bytes[0] != 0x66, "a branch cut to 16 bits: {block:x?}");
        assert!(!is_forbidden(insn) || far_to_gate, "forbidden `{insn}` in {block:x?}");
        if insn.is_jcc_short_or_near() || insn.is_jmp_short_or_near() {
            let target = insn.near_branch_target() as u32;
            assert!(starts.contains(&target), "`{insn}` jumps to an instruction of the block: {block:x?}");
        }
    }
    assert!(block.marks.is_sorted_by_key(|mark| mark.host));
    assert_eq!(block.marks.first().map(|mark| mark.host), Some(ENTRY_LEN as u32));
    for mark in &block.marks {
        assert!(starts.contains(&mark.host), "mark at an instruction: {block:x?}");
    }
}

#[test]
fn plain_instruction_is_copied() {
    // mov rax, rbx; add rax, [rcx+8]; jmp $
    let block = block(&[0x48, 0x89, 0xd8, 0x48, 0x03, 0x41, 0x08, 0xeb, 0xfe]);
    assert_eq!(&block.code[ENTRY_LEN..ENTRY_LEN + 7], &[0x48, 0x89, 0xd8, 0x48, 0x03, 0x41, 0x08]);
    assert!(matches!(block.exits[0], Exit::Direct { target: VirtAddr(t), .. } if t == START + 7));
    assert_eq!((block.instructions, block.guest_len), (3, 9));
}

#[test]
fn operand_relative_to_rip_becomes_absolute() {
    // mov eax, [rip+0x10]; lea rdi, [rip-0x20]
    let block = block(&[0x8b, 0x05, 0x10, 0, 0, 0, 0x48, 0x8d, 0x3d, 0xe0, 0xff, 0xff, 0xff]);
    let listing = listing(&block);
    assert_eq!(listing[0], "mov eax,[100016h]");
    assert_eq!(listing[1], "mov edi,0FFFEDh");
}

#[test]
fn operand_relative_to_rip_stays_what_it_is_in_every_encoding() {
    // cmp byte [rip+0x10], 5; lock add [rip], r9; movaps xmm9, [rip]; vaddps ymm1, ymm2, [rip]; redundant REX.XB
    let cases: &[(&[u8], &str)] = &[
        (&[0x80, 0x3d, 0x10, 0, 0, 0, 5], "cmp byte ptr [100017h],5"),
        (&[0xf0, 0x4c, 0x01, 0x0d, 0, 0, 0, 0], "lock add [100008h],r9"),
        (&[0x44, 0x0f, 0x28, 0x0d, 0, 0, 0, 0], "movaps xmm9,[100008h]"),
        (&[0xc5, 0xec, 0x58, 0x0d, 0, 0, 0, 0], "vaddps ymm1,ymm2,[100008h]"),
        (&[0x43, 0x8b, 0x05, 0, 0, 0, 0], "mov eax,[100007h]"),
        (&[0xff, 0x35, 0, 0, 0, 0], "push qword ptr [100006h]"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(listing(&block(bytes))[0], *expected, "{bytes:x?}");
    }
}

#[test]
fn target_of_an_indirect_call_is_loaded_from_every_kind_of_operand() {
    let cases: &[(&[u8], &str)] = &[
        (&[0xff, 0xd0], "mov rcx,rax"),                       // call rax
        (&[0x41, 0xff, 0xd3], "mov rcx,r11"),                 // call r11
        (&[0xff, 0xd4], "mov rcx,rsp"),                       // call rsp
        (&[0xff, 0x15, 0x10, 0, 0, 0], "mov rcx,[100016h]"),  // call [rip+0x10]
        (&[0xff, 0x54, 0xc8, 0x08], "mov rcx,[rax+rcx*8+8]"), // call [rax+rcx*8+8]
    ];
    for (bytes, expected) in cases {
        assert_eq!(listing(&block(bytes))[1], *expected, "{bytes:x?}");
    }
}

#[test]
fn operand_relative_to_a_high_rip_goes_through_a_register_that_is_not_used() {
    // add [rip+0x10], r11d
    let block = block_at(0x10_0000_0000, CodeSize::Bits64, &[0x44, 0x01, 0x1d, 0x10, 0, 0, 0], Site::Native);
    let listing = listing(&block);
    assert_eq!(
        listing[..4],
        ["mov [70001038h],rdi", "mov rdi,1000000017h", "add [rdi],r11d", "mov rdi,[70001038h]",]
    );
    let mark = block.marks.iter().find(|mark| mark.spilled != 0).expect("the operand may fault");
    assert_eq!(mark.spilled, 1 << 7);
}

#[test]
fn return_takes_the_target_without_touching_flags() {
    let block = block(&[0xc3]);
    for insn in host(&block, CodeSize::Bits64) {
        assert_eq!(insn.rflags_modified(), 0, "`{insn}`");
    }
    assert!(matches!(block.exits[0], Exit::Indirect));
}

#[test]
fn call_pushes_the_guest_return_address() {
    let block = block(&[0xe8, 0x10, 0, 0, 0]);
    assert_eq!(listing(&block)[0], "push 100005h");
    assert!(matches!(block.exits[0], Exit::Direct { target: VirtAddr(t), .. } if t == START + 0x15));
}

#[test]
fn call_from_high_code_pushes_all_64_bits() {
    let block = block_at(0x10_0000_0000, CodeSize::Bits64, &[0xe8, 0x10, 0, 0, 0], Site::Native);
    let listing = listing(&block);
    assert_eq!(listing[1..3], ["mov rcx,1000000005h", "push rcx"]);
}

#[test]
fn folded_access_clears_the_high_bits_and_keeps_flags() {
    // mov rax, [rbx+rcx*8+0x10]
    let block = block_at(START, CodeSize::Bits64, &[0x48, 0x8b, 0x44, 0xcb, 0x10], Site::Folded);
    let listing = listing(&block);
    assert_eq!(listing[1], "lea rdi,[rbx+rcx*8+10h]");
    let fold = [
        "mov [70001008h],rcx",
        "mov [70001100h],rdi",
        "movzx ecx,byte ptr [70001105h]",
        "mov rcx,[rcx*8+70001400h]",
        "lea rdi,[rcx+rdi]",
        "mov rcx,[70001008h]",
        "mov rax,[rdi]",
    ];
    assert_eq!(listing[2..9], fold);
}

#[test]
fn folded_access_of_an_instruction_that_needs_every_other_register_goes_through_rbp() {
    // cmpxchg16b [rdi+rsi]
    let block = block_at(START, CodeSize::Bits64, &[0x48, 0x0f, 0xc7, 0x0c, 0x37], Site::Folded);
    let listing = listing(&block);
    for expected in ["lea rbp,[rcx+rbp]", "cmpxchg16b [rbp]"] {
        assert!(listing.iter().any(|line| line == expected), "{expected} in {listing:#?}");
    }
}

#[test]
fn folding_confines_the_top_of_the_kernel_half_and_makes_nothing_else_an_address() {
    let folded = |address: u64| address.wrapping_add(folds()[usize::from(address.to_le_bytes()[5])]);
    let canonical = |address: u64| matches!(address >> 47, 0 | 0x1_ffff);
    for address in [0xffff_e000_0000_0000, 0xffff_ff80_1234_5678, u64::MAX] {
        assert_eq!(folded(address), address & ((1 << HALF_BITS) - 1), "{address:#x}");
    }
    for address in [0, 0x1234, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, 0xffff_dfff_ffff_ffff] {
        assert_eq!(folded(address), address, "{address:#x}");
    }
    for top in (0x0001..0xffff).step_by(17).chain([0xfffe]) {
        for bits in 0..256 {
            let address = top << 48 | bits << 40;
            assert!(!canonical(address) && !canonical(folded(address)), "{address:#x}");
        }
    }
}

proptest! {
    #[test]
    fn folded_address_of_any_operand_is_computed_without_touching_flags(
        bytes in proptest::collection::vec(any::<u8>(), 15),
    ) {
        let insn = Decoder::with_ip(64, &bytes, START, DecoderOptions::NONE).decode();
        if insn.is_invalid() || insn.flow_control() != FlowControl::Next || insn.is_privileged() {
            return Ok(());
        }
        let block = block_at(START, CodeSize::Bits64, &bytes[..insn.len()], Site::Folded);
        let host = host(&block, CodeSize::Bits64);
        let changed = host.iter().fold(0, |changed, insn| changed | insn.rflags_modified());
        prop_assert_eq!(changed & !insn.rflags_modified(), 0, "{}", insn);
    }
}

#[test]
fn folded_access_with_a_high_byte_register_takes_a_scratch_register_without_prefix() {
    // mov [rbp+0x10], ah
    let block = block_at(START, CodeSize::Bits64, &[0x88, 0x65, 0x10], Site::Folded);
    assert!(listing(&block).contains(&"mov [rdi],ah".to_owned()));
}

#[test]
fn folded_access_of_a_string_instruction_is_left_to_the_monitor() {
    // rep stosq
    let block = block_at(START, CodeSize::Bits64, &[0xf3, 0x48, 0xab], Site::Folded);
    assert!(matches!(block.exits[0], Exit::Access { .. }));
}

#[test]
fn folded_access_whose_address_no_register_can_stand_for_is_left_to_the_monitor() {
    let cases: &[&[u8]] = &[
        &[0xd7],                               // xlat
        &[0x8f, 0x44, 0x24, 0x08],             // pop [rsp+8]
        &[0x48, 0xa1, 1, 2, 3, 4, 5, 6, 7, 8], // mov rax, [0x0807060504030201]
        &[0x65, 0x48, 0x8b, 0x03],             // mov rax, gs:[rbx]
        &[0x67, 0x8b, 0x03],                   // mov eax, [ebx]
    ];
    for bytes in cases {
        let block = block_at(START, CodeSize::Bits64, bytes, Site::Folded);
        assert!(matches!(block.exits[0], Exit::Access { .. }), "{bytes:x?}: {block:x?}");
    }
}

#[test]
fn operand_out_of_reach_is_lent_and_given_back() {
    // lock add fs:[rbx+rdi*8+0x10], rax
    let bytes = [0x64, 0xf0, 0x48, 0x01, 0x44, 0xfb, 0x10];
    let block = block_at(START, CodeSize::Bits64, &bytes, Site::OutOfReach);
    check_block(&block, CodeSize::Bits64);
    assert_eq!(
        listing(&block)[2..6],
        ["mov [70001030h],rsi", "mov rsi,[700011D0h]", "lock add [rsi],rax", "mov rsi,[70001030h]"]
    );
    let Exit::Lend { resume, .. } = block.exits[0] else { panic!("{block:x?}") };
    let Exit::GiveBack { next, resume: behind } = block.exits[1] else { panic!("{block:x?}") };
    assert_eq!(next, VirtAddr(START + 7));
    let boundaries = block.marks.iter().filter(|mark| mark.boundary).map(|mark| mark.host);
    assert_eq!(boundaries.collect::<Vec<_>>(), [ENTRY_LEN as u32, behind], "none in between: {block:x?}");
    let faulting = block.marks.iter().find(|mark| mark.spilled != 0).expect("it may fault");
    assert_eq!((faulting.spilled, faulting.guest), (1 << 6, 0));
    assert!(resume < faulting.host);
}

#[test]
fn operand_that_was_only_read_is_not_given_back() {
    // div qword [rbx]
    let block = block_at(START, CodeSize::Bits64, &[0x48, 0xf7, 0x33], Site::OutOfReach);
    assert!(matches!(block.exits[0], Exit::Lend { .. }));
    let Exit::Enabled { next } = block.exits[1] else { panic!("{block:x?}") };
    assert_eq!(next, VirtAddr(START + 3));
}

#[test]
fn operand_of_32_bit_code_is_lent_through_a_register_of_its_own() {
    // add fs:[bx+si], cl; cmpxchg8b [esi+edi]; xrstor [esi]
    let cases: &[(&[u8], &str)] = &[
        (&[0x64, 0x67, 0x00, 0x08], "add [edi],cl"),
        (&[0x0f, 0xc7, 0x0c, 0x3e], "cmpxchg8b [ebp]"),
        (&[0x0f, 0xae, 0x2e], "xrstor [edi]"),
    ];
    for (bytes, expected) in cases {
        let block = block_at(START, CodeSize::Bits32, bytes, Site::OutOfReach);
        let code: Vec<_> = host(&block, CodeSize::Bits32).iter().map(ToString::to_string).collect();
        assert!(matches!(block.exits[0], Exit::Lend { .. }), "{block:x?}");
        assert!(code.contains(&(*expected).to_owned()), "{expected}: {code:#?}");
    }
}

#[test]
fn instruction_out_of_reach_without_one_plain_operand_is_left_to_the_monitor() {
    let cases: &[&[u8]] = &[
        &[0x8b, 0x03],                         // mov eax, [rbx]: in one exit
        &[0xd7],                               // xlat
        &[0x55],                               // push rbp
        &[0xff, 0x33],                         // push [rbx]
        &[0x8f, 0x03],                         // pop [rbx]
        &[0xc9],                               // leave
        &[0xc8, 0x10, 0, 0],                   // enter 16, 0
        &[0xf3, 0x48, 0xa5],                   // rep movsq
        &[0x66, 0x0f, 0xf7, 0xc1],             // maskmovdqu xmm0, xmm1
        &[0xc4, 0xe2, 0x71, 0x2c, 0x03],       // vmaskmovps xmm0, xmm1, [rbx]
        &[0xc4, 0xe2, 0x71, 0x92, 0x04, 0x17], // vgatherdps xmm0, [rdi+xmm2], xmm1
        &[0x66, 0x0f, 0x38, 0xf8, 0x03],       // movdir64b rax, [rbx]
        &[0x0f, 0x01, 0xfc],                   // clzero
    ];
    for bytes in cases {
        let block = block_at(START, CodeSize::Bits64, bytes, Site::OutOfReach);
        assert!(matches!(block.exits[0], Exit::Access { .. }), "{bytes:x?}: {block:x?}");
    }
}

#[test]
fn saved_state_is_lent_where_its_address_cannot_be_used() {
    let cases: &[(CodeSize, &[u8], Site)] = &[
        (CodeSize::Bits64, &[0x0f, 0xae, 0x23], Site::OutOfReach), // xsave [rbx]
        (CodeSize::Bits64, &[0x64, 0x0f, 0xae, 0x23], Site::Native), // xsave fs:[rbx]
        (CodeSize::Bits32, &[0x0f, 0xae, 0x23], Site::Native),     // xsave [ebx]
    ];
    for (size, bytes, site) in cases {
        let block = block_at(START, *size, bytes, *site);
        check_block(&block, *size);
        assert!(matches!(block.exits[..2], [Exit::Lend { .. }, Exit::GiveBack { .. }]), "{block:x?}");
    }
    let native = block(&[0x0f, 0xae, 0x23]);
    assert!(matches!(native.exits[..], [Exit::Direct { .. }, Exit::Direct { .. }]), "{native:x?}");
}

#[test]
fn sensitive_instructions_that_do_not_trap_leave_to_the_monitor() {
    let cases: &[&[u8]] = &[
        &[0x0f, 0xa2],             // cpuid
        &[0x0f, 0x01, 0x00],       // sgdt [rax]
        &[0x0f, 0x01, 0xe0],       // smsw eax
        &[0x0f, 0x00, 0xc8],       // str eax
        &[0x0f, 0x02, 0xc1],       // lar eax, cx
        &[0x8e, 0xd8],             // mov ds, eax
        &[0x0f, 0xa0],             // push fs
        &[0x0f, 0x05],             // syscall
        &[0x0f, 0x32],             // rdmsr
        &[0x0f, 0x30],             // wrmsr
        &[0x0f, 0x34],             // sysenter
        &[0xcd, 0x80],             // int 80h
        &[0xcc],                   // int3
        &[0x48, 0xcf],             // iretq
        &[0x0f, 0x01, 0xf9],       // rdtscp
        &[0xf3, 0x0f, 0xc7, 0xf8], // rdpid rax
        &[0x0f, 0x01, 0xd0],       // xgetbv
        &[0x0f, 0x01, 0xd9],       // vmmcall
        &[0x66, 0x9c],             // pushf
        &[0x0f, 0x01, 0xef],       // wrpkru
    ];
    for bytes in cases {
        let block = block(bytes);
        assert!(matches!(block.exits[0], Exit::Emulate { .. }), "{bytes:x?}: {block:x?}");
    }
}

#[test]
fn system_call_leads_to_the_kernels_entry_with_its_flags_and_selectors() {
    let call = SystemCall { target: VirtAddr(0x20_0000), mask: 0x4_7700, code: 0x08, stack: 0x10 };
    let conditions = Conditions { system_call: Some(call), ..PLAIN };
    let block = block_under(conditions, &[0x0f, 0x05]);
    check_block(&block, CodeSize::Bits64);
    assert!(matches!(block.exits[0], Exit::Direct { target: VirtAddr(0x20_0000), .. }));
    let listing = listing(&block);
    for expected in ["mov ecx,100002h", "mov dword ptr [7000118Ah],100008h", "and ecx,0FFFB88FFh"] {
        assert!(listing.iter().any(|line| line == expected), "{expected} in {listing:#?}");
    }
}

#[test]
fn system_call_is_left_to_the_monitor_where_it_may_not_be_one() {
    let call = SystemCall { target: VirtAddr(0x20_0000), mask: 0, code: 0x08, stack: 0x10 };
    let kept = Conditions { system_call: Some(call), inline_flags: false, ..PLAIN };
    for conditions in [PLAIN, kept] {
        let block = block_under(conditions, &[0x0f, 0x05]);
        assert!(matches!(block.exits[0], Exit::Emulate { .. }), "{conditions:?}");
    }
    // sti; syscall: an interrupt must be able to come behind it.
    let block = block_under(Conditions { system_call: Some(call), ..PLAIN }, &[0xfb, 0x0f, 0x05]);
    assert!(matches!(block.exits[0], Exit::Emulate { .. }));
}

#[test]
fn registers_other_than_the_bases_of_fs_and_gs_are_left_to_the_monitor() {
    for bytes in [[0x0f, 0x32], [0x0f, 0x30]] {
        let block = block(&bytes);
        check_block(&block, CodeSize::Bits64);
        assert!(matches!(block.exits[0], Exit::Emulate { .. }));
        let listing = listing(&block);
        let bases = ["lea ecx,[rcx+3FFFFF00h]", "lea ecx,[rcx-1]", "lea ecx,[rcx-1]"];
        let told_apart: Vec<&String> = listing.iter().filter(|line| line.starts_with("lea")).collect();
        assert_eq!(told_apart, bases);
        for insn in host(&block, CodeSize::Bits64) {
            assert_eq!(insn.rflags_modified(), 0, "`{insn}`");
        }
    }
}

#[test]
fn port_that_the_monitor_knows_is_used_without_asking_it() {
    // out dx, al; in al, dx
    let block = block(&[0xee, 0xec]);
    check_block(&block, CodeSize::Bits64);
    assert!(matches!(block.exits[..2], [Exit::Emulate { .. }, Exit::Emulate { .. }]));
    let listing = listing(&block);
    for expected in ["mov [rcx*4+70001C00h],dx", "mov [rcx*4+70001C02h],al", "mov al,[70001100h]"] {
        assert!(listing.iter().any(|line| line == expected), "{expected} in {listing:#?}");
    }
    for insn in host(&block, CodeSize::Bits64) {
        assert_eq!(insn.rflags_modified(), 0, "`{insn}`");
    }
}

#[test]
fn flags_that_the_cpu_keeps_apart_are_left_to_the_monitor() {
    let block = block_under(Conditions { inline_flags: false, ..PLAIN }, &[0x9c]);
    assert!(matches!(block.exits[0], Exit::Emulate { .. }));
}

#[test]
fn floating_point_that_is_switched_off_is_not_available() {
    let cases: &[(&[u8], bool)] = &[
        (&[0x0f, 0x28, 0xc1], true),  // movaps xmm0, xmm1
        (&[0xd9, 0xe8], true),        // fld1
        (&[0x0f, 0xae, 0x00], true),  // fxsave [rax]
        (&[0xc5, 0xf8, 0x77], true),  // vzeroupper
        (&[0x0f, 0xae, 0xf0], false), // mfence
        (&[0x48, 0x89, 0xc8], false), // mov rax, rcx
    ];
    for (bytes, expected) in cases {
        let block = block_under(Conditions { floating_point: false, ..PLAIN }, bytes);
        assert_eq!(matches!(block.exits[0], Exit::NotAvailable { .. }), *expected, "{bytes:x?}");
    }
}

#[test]
fn interrupt_is_looked_for_behind_the_instruction_after_sti() {
    // sti; nop
    let block = block(&[0xfb, 0x90]);
    let Exit::Enabled { next } = block.exits[0] else { panic!("{block:x?}") };
    assert_eq!(next, VirtAddr(START + 2));
}

#[test]
fn no_interrupt_is_taken_between_sti_and_hlt() {
    let block = block(&[0xfb, 0xf4]);
    assert!(matches!(block.exits[0], Exit::Emulate { .. }));
    let hlt = block.marks.iter().find(|mark| mark.guest == 1).expect("hlt has a mark");
    assert!(!hlt.boundary);
}

#[test]
fn instruction_cut_by_the_end_of_fetchable_bytes_is_a_fetch() {
    let block = block(&[0x48, 0xb8, 1, 2, 3]);
    assert!(matches!(
        block.exits[0],
        Exit::Fetch { at: VirtAddr(START), missing: VirtAddr(m) } if m == START + 5
    ));
}

#[test]
fn undecodable_bytes_are_an_undefined_instruction() {
    let mut bytes = [0x90; 16];
    bytes[0] = 0x06; // push es: not in 64-bit code
    let block = block(&bytes);
    assert!(matches!(block.exits[0], Exit::Undefined { at: VirtAddr(START) }));
}

#[test]
fn loop_with_a_prefix_that_amd_takes_for_16_bits_loses_it() {
    let block = block(&[0x66, 0xe2, 0x00]);
    assert_eq!(block.code[ENTRY_LEN..ENTRY_LEN + 4], [0xe2, 2, 0xeb, 5]);
    let block = self::block(&[0x67, 0xe3, 0x00]);
    assert_eq!(block.code[ENTRY_LEN..ENTRY_LEN + 5], [0x67, 0xe3, 2, 0xeb, 5]);
}

#[test]
fn long_run_of_instructions_ends_in_a_jump_to_the_rest() {
    let block = block(&[0x90; 200]);
    assert!(matches!(block.exits[0], Exit::Direct { target: VirtAddr(t), .. } if t == START + 96));
}

#[test]
fn code_of_32_bits_leaves_by_a_far_jump() {
    // mov eax, cr0; ret
    let block = block_at(START, CodeSize::Bits32, &[0x0f, 0x20, 0xc0, 0xc3], Site::Native);
    check_block(&block, CodeSize::Bits32);
    assert!(matches!(block.exits[..2], [Exit::Emulate { .. }, Exit::Branch { .. }]));
}

#[test]
fn departure_leads_to_the_start_of_the_block() {
    let block = block(&[0x90, 0xc3]);
    let last = block.exits.last().expect("a block has a departure");
    assert!(matches!(last, Exit::Direct { target: VirtAddr(START), site: 1 }));
    let mut decoder = Decoder::with_ip(64, &block.code, 0, DecoderOptions::NONE);
    decoder.set_position(block.departure as usize).expect("within the code");
    assert_eq!(decoder.decode().immediate32(), 100 + block.exits.len() as u32 - 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_become_host_code_that_does_nothing_forbidden(
        bytes in proptest::collection::vec(any::<u8>(), 1..120),
        site in prop_oneof![Just(Site::Native), Just(Site::Folded), Just(Site::OutOfReach)],
        high in any::<bool>(),
    ) {
        let start = if high { 0x10_0000_0ff0 } else { START };
        check_block(&block_at(start, CodeSize::Bits64, &bytes, site), CodeSize::Bits64);
    }

    #[test]
    fn any_bytes_of_32_bit_code_become_host_code_that_does_nothing_forbidden(
        bytes in proptest::collection::vec(any::<u8>(), 1..120),
        site in prop_oneof![Just(Site::Native), Just(Site::Folded), Just(Site::OutOfReach)],
    ) {
        check_block(&block_at(START, CodeSize::Bits32, &bytes, site), CodeSize::Bits32);
    }

    #[test]
    fn free_register_is_used_by_no_instruction(bytes in proptest::collection::vec(any::<u8>(), 15)) {
        let insn = Decoder::with_ip(64, &bytes, START, DecoderOptions::NONE).decode();
        if insn.is_invalid() {
            return Ok(());
        }
        let free = super::emit::free_register(&insn);
        prop_assert!(free.is_gpr64() && free != Register::RSP);
        for n in 0..insn.op_count() {
            if insn.op_kind(n) == OpKind::Register {
                prop_assert_ne!(insn.op_register(n).full_register(), free);
            }
        }
    }
}
