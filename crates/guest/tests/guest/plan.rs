//! Plans: what fits into memory and what does not.

use proptest::prelude::*;
use runu_core::{Blame, Blamed, BootProtocol, Bytes, GuestAddr, Plan};
use runu_guest::{CommandLine, Guest, Invocation, PlanError, command_line, detect, plan};

use crate::{elf_file::ElfFile, unikraft_file::unikraft};

/// A kernel whose last byte is at `end - 1`.
fn kernel_up_to(end: u64) -> Guest {
    let mut file = unikraft("0.17.0", &[]);
    file.load(end - 8, vec![1; 8], 8);
    detect(&file.multiboot()).expect("a guest")
}

fn kernel() -> Guest {
    detect(&unikraft("0.17.0", &[]).multiboot()).expect("a guest")
}

fn words(guest: &Guest) -> CommandLine {
    let invocation = Invocation { argv0: b"app".to_vec(), ..Invocation::default() };
    command_line(guest, &invocation).expect("a line")
}

fn plan_for(guest: &Guest, memory: Bytes, initrd: Option<Bytes>) -> Result<Plan, PlanError> {
    plan(guest, words(guest), memory, initrd)
}

#[test]
fn plan_holds_what_was_detected_and_asked_for() {
    let guest = kernel();
    let plan = plan_for(&guest, Bytes::mib(64), Some(Bytes(5))).expect("a plan");

    assert_eq!(plan.boot, BootProtocol::Multiboot);
    assert_eq!(plan.entry, guest.entry);
    assert_eq!(plan.segments, guest.segments);
    assert_eq!(plan.command_line, b"app");
    assert_eq!((plan.memory, plan.initrd), (Bytes::mib(64), Some(Bytes(5))));
}

#[test]
fn memory_of_zero_or_below_the_least_is_refused() {
    for memory in [Bytes(0), Bytes(1), Bytes::mib(1), Bytes(Bytes::mib(2).0 - 1)] {
        let error = plan_for(&kernel(), memory, None).expect_err("too little");
        assert_eq!(error, PlanError::TooLittleMemory { memory, least: Bytes::mib(2) });
        assert_eq!(error.blame(), Blame::User);
    }
    assert!(plan_for(&kernel(), Bytes::mib(2), None).is_ok());
}

#[test]
fn memory_beyond_the_most_is_refused() {
    for memory in [Bytes(Bytes::mib(65536).0 + 1), Bytes::mib(1 << 20), Bytes(u64::MAX)] {
        let too_much = PlanError::TooMuchMemory { memory, most: Bytes::mib(65536) };
        assert_eq!(plan_for(&kernel(), memory, None), Err(too_much));
    }
    assert!(plan_for(&kernel(), Bytes::mib(65536), None).is_ok());
}

#[test]
fn memory_that_ends_within_a_page_is_refused() {
    let memory = Bytes(Bytes::mib(64).0 + 1);
    assert_eq!(plan_for(&kernel(), memory, None), Err(PlanError::MemoryNotPages { memory }));
}

#[test]
fn kernel_that_ends_with_the_memory_fits_and_one_byte_more_does_not() {
    let memory = Bytes::mib(8);
    assert!(plan_for(&kernel_up_to(memory.0), memory, None).is_ok());

    let error = plan_for(&kernel_up_to(memory.0 + 1), memory, None).expect_err("too large");
    assert_eq!(error, PlanError::KernelTooLarge { needs: Bytes::mib(9), memory });
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("-m 9M"), "{hint}");
}

#[test]
fn kernel_that_ends_with_the_first_piece_of_ram_fits_and_one_byte_more_does_not() {
    let memory = Bytes::mib(4096);
    assert!(plan_for(&kernel_up_to(0x7000_0000), memory, None).is_ok());

    let error = plan_for(&kernel_up_to(0x7000_0001), memory, None).expect_err("too high");
    let (end, most) = (GuestAddr(0x7000_0001), GuestAddr(0x7000_0000));
    assert_eq!(error, PlanError::KernelTooHigh { end, most });
}

#[test]
fn initrd_beyond_the_first_piece_of_ram_is_refused_without_asking_for_memory() {
    let error = plan_for(&kernel(), Bytes::mib(4096), Some(Bytes::mib(2048))).expect_err("too large");
    assert!(matches!(error, PlanError::InitrdTooLarge { .. }), "{error}");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("smaller"), "{hint}");
}

#[test]
fn kernel_below_one_mib_is_refused() {
    let mut file = unikraft("0.17.0", &[]);
    file.load(0xf_f000, vec![1; 8], 8);
    let guest = detect(&file.multiboot()).expect("a guest");

    let error = plan_for(&guest, Bytes::mib(64), None).expect_err("too low");
    assert_eq!(error, PlanError::KernelTooLow { addr: GuestAddr(0xf_f000) });
    assert_eq!(error.blame(), Blame::Image);
}

#[test]
fn kernel_without_a_boot_protocol_is_refused() {
    let mut file = ElfFile::kernel();
    file.osabi = 255;
    let hermit = detect(&file.elf64()).expect("a guest");

    let error = plan(&hermit, words(&kernel()), Bytes::mib(64), None).expect_err("no protocol");
    assert_eq!(error, PlanError::NoBootProtocol { kind: "Hermit".to_owned() });
}

#[test]
fn initrd_that_fills_the_rest_fits_and_one_byte_more_does_not() {
    let memory = Bytes::mib(4);
    let room = Bytes(memory.0 - kernel().image_end().0);
    assert!(plan_for(&kernel(), memory, Some(room)).is_ok());

    for initrd in [Bytes(room.0 + 1), memory, Bytes::mib(1 << 30), Bytes(u64::MAX)] {
        let too_large = PlanError::InitrdTooLarge { initrd, room, memory };
        assert_eq!(plan_for(&kernel(), memory, Some(initrd)), Err(too_large));
    }
}

#[test]
fn initrd_that_is_empty_is_refused() {
    assert_eq!(plan_for(&kernel(), Bytes::mib(64), Some(Bytes(0))), Err(PlanError::InitrdEmpty));
}

proptest! {
    #[test]
    fn plan_of_any_sizes_keeps_kernel_and_initrd_apart_and_in_memory(
        end in 0x10_4000u64..0x1_0000_0000,
        memory in prop_oneof![any::<u64>(), (0u64..1 << 21).prop_map(|pages| pages * 4096)],
        initrd in proptest::option::of(prop_oneof![any::<u64>(), 0u64..1 << 32]),
    ) {
        let guest = kernel_up_to(end);
        if let Ok(plan) = plan_for(&guest, Bytes(memory), initrd.map(Bytes)) {
            prop_assert_eq!(plan.memory, Bytes(memory));
            let piece = memory.min(0x7000_0000);
            prop_assert!(guest.image_end().0 <= piece);
            let initrd_start = piece - initrd.unwrap_or(0).next_multiple_of(4096);
            prop_assert!(initrd_start >= guest.image_end().0);
        }
    }
}
