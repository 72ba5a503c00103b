//! How much memory a guest has, and that it may use all of it.

use crate::rig::Rig;

const MIB: i64 = 1 << 20;

/// KiB that the guest `fill` used.
#[track_caller]
fn filled(console: &str) -> i64 {
    let first = console.lines().next().unwrap_or_default();
    let number = first.strip_prefix("filled ").and_then(|text| text.strip_suffix(" KiB"));
    number.unwrap_or_else(|| panic!("{console}")).parse().unwrap()
}

/// What `fill` leaves alone: everything below its first free page.
const UNUSED_KIB: i64 = 4 << 10;

#[test]
fn guest_that_uses_all_its_memory_is_not_killed_for_it() {
    for limit in [16, 24, 32, 64, 128, 256, 512, 1024] {
        for how in [&["--"][..], &["--", "twice"], &["--", "backwards"]] {
            let Some(rig) = Rig::kraft("fill") else { return };
            let output = rig.args(how).memory_limit(limit * MIB).run();
            assert!(output.status.success(), "{limit} MiB {how:?}: {output:?}");
            let used = filled(&String::from_utf8(output.stdout).unwrap()) + UNUSED_KIB;
            // What is left is worth having.
            assert!(used > limit * 1024 * 5 / 8, "{limit} MiB: {used} KiB");
            assert!(used < limit * 1024, "{limit} MiB: {used} KiB");
        }
    }
}

#[test]
fn guest_with_much_code_and_no_memory_left_is_not_killed_for_it() {
    for limit in [16, 64, 256] {
        let Some(rig) = Rig::kraft("fill") else { return };
        let console = rig.args(&["--", "twice", "code"]).memory_limit(limit * MIB).console();
        assert!(console.contains("ran 131072 functions"), "{limit} MiB: {console}");
    }
}

#[test]
fn limit_that_leaves_too_little_is_refused_with_what_would_do() {
    for limit in [4096, MIB, 4 * MIB] {
        let Some(rig) = Rig::kraft("hello") else { return };
        let told = rig.memory_limit(limit).refusal();
        assert!(told.contains("leaves too little to the guest"), "{told}");
        assert!(told.contains("hint: raise the container's memory limit"), "{told}");
    }
}

#[test]
fn guest_of_an_unlimited_container_has_what_the_operator_says() {
    for (operator, expected) in [("", 64), ("guest.memory = '24M'", 24)] {
        let Some(rig) = Rig::kraft("fill") else { return };
        rig.operator(operator);
        assert_eq!(filled(&rig.memory_limit(-1).console()) + UNUSED_KIB, expected << 10);
    }
}

#[test]
fn memory_that_an_annotation_asks_for_is_given_within_the_limit() {
    let Some(rig) = Rig::kraft("fill") else { return };
    let rig = rig.annotation("dev.runu.memory", "20M").memory_limit(64 * MIB);
    assert_eq!(filled(&rig.console()) + UNUSED_KIB, 20 << 10);

    let told = rig.memory_limit(20 * MIB).refusal();
    assert!(told.contains("the container's memory limit of 20 MiB leaves"), "{told}");

    for (text, named) in
        [("lots", "is not a size"), ("33554433", "multiple of 4 KiB"), ("4G", "no guest uses more")]
    {
        let Some(rig) = Rig::kraft("hello") else { return };
        let told = rig.annotation("dev.runu.memory", text).refusal();
        assert!(told.contains(named), "{told}");
    }
}
