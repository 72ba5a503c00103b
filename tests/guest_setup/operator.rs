//! What the operator decides.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::rig::Rig;

#[test]
fn unknown_key_is_told_with_its_line() {
    let Some(rig) = Rig::kraft("hello") else { return };
    rig.operator("[guest]\nmemory = '32M'\nmemroy = '32M'\n");
    let told = rig.refusal();
    assert!(told.contains("config.toml` is wrong in line 3: unknown field `memroy`"), "{told}");
}

#[test]
fn file_that_others_may_change_is_refused() {
    let Some(rig) = Rig::kraft("hello") else { return };
    fs::set_permissions(rig.path("config.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let told = rig.refusal();
    assert!(told.contains("may be changed by others"), "{told}");
    assert!(told.contains("hint: chmod go-w"), "{told}");
}

#[test]
fn broken_file_keeps_nobody_from_ending_a_unikernel() {
    let Some(rig) = Rig::kraft("idle") else { return };
    rig.create();
    rig.operator("nonsense");
    rig.done(&["start"]);
    assert_eq!(rig.state()["status"], "running");
    rig.done(&["kill"]);
    assert!(rig.ends_within(30_000));
    rig.done(&["delete"]);
}

#[test]
fn broken_file_is_told_where_an_ordinary_container_is_made() {
    let Some(rig) = Rig::empty() else { return };
    rig.operator("nonsense");
    let told = rig.args(&["/bin/true"]).refusal();
    assert!(told.contains("is wrong in line 1"), "{told}");
}

#[test]
fn isolation_that_no_monitor_gives_is_refused() {
    let Some(rig) = Rig::kraft("hello") else { return };
    rig.operator("monitors.minimum_isolation = 'vm'");
    assert!(rig.refusal().contains("the operator demands a virtual machine"));
    rig.operator("monitors.allowed = []");
    assert!(rig.refusal().contains("the operator does not allow the monitor `process`"));
    rig.operator("monitors.allowed = ['process']");
    assert!(rig.console().contains("Hello from a unikernel"));
}

#[test]
fn monitor_that_an_annotation_asks_for_must_be_there() {
    for name in ["auto", "process"] {
        let Some(rig) = Rig::kraft("hello") else { return };
        assert!(rig.annotation("dev.runu.monitor", name).console().contains("Hello"));
    }
    let Some(rig) = Rig::kraft("hello") else { return };
    let told = rig.annotation("dev.runu.monitor", "kvm\u{1b}[31m").refusal();
    assert!(told.contains("there is no monitor `kvm\\u{1b}[31m`"), "{told}");
}

#[test]
fn annotation_that_is_not_allowed_or_not_known_is_refused() {
    for (name, value) in [
        ("dev.runu.memory", "32M"),
        ("dev.runu.cmdline", "x"),
        ("dev.runu.kernel", "/unikraft/bin/kernel"),
        ("dev.runu.initrd", "/unikraft/bin/kernel"),
    ] {
        let Some(rig) = Rig::kraft("hello") else { return };
        rig.operator("annotations.allowed = ['dev.runu.monitor']");
        let told = rig.annotation(name, value).refusal();
        assert!(told.contains(&format!("the annotation `{name}` cannot be obeyed")), "{told}");
        assert!(told.contains("the operator does not allow it"), "{told}");
    }
    let Some(rig) = Rig::kraft("hello") else { return };
    assert!(rig.annotation("dev.runu.speed", "9").refusal().contains("runu knows no such annotation"));
}

#[test]
fn annotations_of_urunc_that_are_not_allowed_are_passed_over() {
    let Some(rig) = Rig::kraft("hello") else { return };
    let mut rig = rig.args(&["a"]);
    rig.operator("annotations.allowed = []");
    for (key, value) in [("unikernelType", "unikraft"), ("hypervisor", "qemu"), ("binary", "/gone")] {
        rig = rig.annotation(&format!("com.urunc.unikernel.{key}"), value);
    }
    assert!(rig.console().contains("argv[1] = a\n"));
}

#[test]
fn processors_beyond_the_first_are_refused() {
    let Some(rig) = Rig::kraft("hello") else { return };
    assert!(rig.annotation("dev.runu.vcpus", "2").refusal().contains("a guest with 2 processors"));
    let Some(rig) = Rig::kraft("hello") else { return };
    assert!(rig.annotation("dev.runu.vcpus", "1").console().contains("Hello"));
}

#[test]
fn runtime_that_the_operator_chose_gets_the_ordinary_containers() {
    let Some(rig) = Rig::empty() else { return };
    let rig = rig.args(&["/bin/true"]);
    let chosen = rig.other_runtime();
    rig.operator(&format!("[ordinary]\nruntime = {chosen:?}"));
    assert!(rig.run().status.success());
    assert!(rig.handed_on().unwrap().contains(&"run".to_owned()));

    fs::remove_file(&chosen).unwrap();
    let told = rig.refusal();
    assert!(told.contains("other-runtime` for those is not installed"), "{told}");
}
