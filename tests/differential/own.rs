//! Our own guests, each with everything that it can be asked to do. Their consoles are compared byte by byte.

use runu_guest::Variable;

use crate::emulated;
use crate::guest::{Guest, assert_none};
use crate::support::{BOTH_KINDS, skip};

/// The console as it is.
fn exactly(console: &[u8]) -> String {
    String::from_utf8_lossy(console).into_owned()
}

/// Compares guests of both kinds made by `guests`.
#[track_caller]
fn assert_same(guests: impl Fn(crate::support::GuestKind) -> Vec<Guest>) {
    match emulated::check() {
        Err(reason) => skip(&reason),
        Ok(()) => {
            let all = BOTH_KINDS.into_iter().flat_map(guests);
            assert_none(all.map(|guest| guest.difference(exactly)));
        }
    }
}

/// Compares the own guest `name` with each of these lists of arguments.
#[track_caller]
fn assert_same_with(name: &str, arguments: &[&[&str]]) {
    assert_same(|kind| arguments.iter().map(|words| Guest::own(name, kind, words)).collect());
}

#[test]
fn hello_with_arguments_and_variables_is_the_same() {
    assert_same(|kind| {
        let mut guest =
            Guest::own("hello", kind, &["one", "two three", "--", "qu\"ote", "back\\slash", "it's"]);
        guest.environment =
            vec![Variable::new("A", "b"), Variable::new("C", "d \"e\""), Variable::new("D", "")];
        vec![guest, Guest::own("hello", kind, &[])]
    });
}

#[test]
fn hello_with_an_initrd_is_the_same() {
    assert_same(|kind| {
        let mut guest = Guest::own("hello", kind, &[]);
        guest.initrd = Some((0..=u8::MAX).cycle().take(70_001).collect());
        vec![guest]
    });
}

#[test]
fn program_for_linux_in_a_guest_is_the_same() {
    assert_same(|kind| {
        let mut guest = Guest::own("loader", kind, &["one", "two three"]);
        guest.initrd = Some(runu_guests::PROGRAM.to_vec());
        vec![guest]
    });
}

#[test]
fn disks_are_the_same() {
    assert_same(|kind| {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(100 * 512).collect();
        let guest = |disks: &[bool], arguments: &[&str]| Guest {
            disks: disks.iter().map(|read_only| (bytes.clone(), *read_only)).collect(),
            ..Guest::own("disk", kind, arguments)
        };
        vec![guest(&[], &[]), guest(&[false], &[]), guest(&[true], &[]), guest(&[false, true], &["-second"])]
    });
}

#[test]
fn hello_ending_in_every_way_is_the_same() {
    assert_same_with(
        "hello",
        &[
            &["exit=0"],
            &["exit=1"],
            &["exit=100"],
            &["exit=255"],
            &["shutdown=acpi"],
            &["shutdown=i8042"],
            &["shutdown=triple"],
            &["shutdown=unikraft"],
            &["crash=unikraft"],
            &["sleep=50", "exit=2"],
        ],
    );
}

#[test]
fn processor_is_the_same() {
    // `sysret` goes to privilege level 3, which LIMITATIONS.md excludes; QEMU 7.2 takes anything for a base.
    assert_same_with("cpu", &[&["-sysret", "-msr-bases-bad"]]);
}

#[test]
fn page_tables_are_the_same() {
    assert_same_with("paging", &[&[]]);
}

#[test]
fn random_instructions_are_the_same() {
    assert_same_with("random", &[&["seed=1", "count=500"], &["seed=100000", "count=300", "tick"]]);
}

#[test]
fn timer_is_the_same() {
    assert_same_with("timer", &[&[]]);
}

#[test]
fn local_apic_is_the_same() {
    // QEMU has x2APIC from 9.0 on; checks of what a processor does not claim to have count as passed.
    assert_same_with("apic", &[&[]]);
}

#[test]
fn bad_instructions_are_the_same() {
    // Without `rdpmc`: no counter exists, so it is a general protection exception, and QEMU does not implement it.
    assert_same_with(
        "bad-instruction",
        &[&["lldt"], &["mov-dr"], &["wbinvd"], &["invd"], &["rsm"], &["getsec"], &["vmcall"]],
    );
}

#[test]
fn bad_ends_are_the_same() {
    assert_same_with("triple-fault", &[&[]]);
    assert_same_with("wild-jump", &[&[], &["no-idt"], &["to=8000000000"]]);
    assert_same_with("stack-overflow", &[&[], &["double"], &["page"]]);
}

#[test]
fn guests_that_never_end_are_the_same() {
    let endless = [
        ("idle", "ready\r\n"),
        ("hang", "about to halt with interrupts off\r\n"),
        ("spin", "about to loop with interrupts off\r\n"),
    ];
    assert_same(|kind| {
        let guest =
            |(name, last_words)| Guest { last_words: Some(last_words), ..Guest::own(name, kind, &[]) };
        endless.map(guest).into()
    });
}

#[test]
fn ways_into_the_kernel_are_the_same() {
    assert_same_with(
        "hostile",
        &[
            &["syscall"],
            &["syscall-unset"],
            &["x32"],
            &["int80"],
            &["int80-unset"],
            &["sysenter"],
            &["vsyscall"],
        ],
    );
}

#[test]
fn wild_state_is_the_same() {
    assert_same_with("hostile", &[&["stack"], &["bases"], &["ports"], &["msrs"], &["peek=8000000000"]]);
}
