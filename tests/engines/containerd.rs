//! containerd, by its command `ctr`.

use super::support::{Containerd, IDLE, ORDINARY, UNIKERNEL};

#[test]
fn containerd_reads_what_install_wrote() {
    let Some(containerd) = Containerd::shared() else { return };
    let dump = containerd.machine().run(&["containerd", "config", "dump"]);
    dump.ended_with(0).printed("containerd.runtimes.runu]").printed("BinaryName = \"/usr/local/bin/runu\"");
}

#[test]
fn ctr_run_of_a_unikernel_prints_its_console() {
    let Some(containerd) = Containerd::shared() else { return };
    let ran = containerd.task().run(&["--rm"], UNIKERNEL, &[]);
    ran.ended_with(0).printed("Hello from a unikernel").printed("argv[1] = first");
}

#[test]
fn ctr_run_of_a_unikernel_exits_with_its_code() {
    let Some(containerd) = Containerd::shared() else { return };
    containerd.task().run(&["--rm"], UNIKERNEL, &["exit=42"]).ended_with(42);
}

#[test]
fn ctr_run_of_a_unikernel_with_its_own_name_for_it_finds_it_running() {
    let Some(containerd) = Containerd::shared() else { return };
    let task = containerd.task();
    task.run(&["--detach"], IDLE, &[]).succeeded();
    containerd.machine().run(&["ctr", "tasks", "list"]).printed(&task.id).printed("RUNNING");
    task.verb(&["metrics"], &[]).ended_with(0);
    task.verb(&["pause"], &[]).succeeded();
    task.verb(&["resume"], &[]).succeeded();
    task.verb(&["kill", "--signal", "KILL"], &[]).succeeded();
}

#[test]
fn ctr_run_of_a_unikernel_in_a_terminal_prints_to_it() {
    let Some(containerd) = Containerd::shared() else { return };
    let task = containerd.task();
    let words = task.run_words(&["--rm", "--tty"], UNIKERNEL, &["on-a-terminal"]).join(" ");
    containerd.machine().run_in_terminal(&words).ended_with(0).printed("argv[1] = on-a-terminal");
}

#[test]
fn ctr_exec_into_a_unikernel_is_refused_with_a_reason() {
    let Some(containerd) = Containerd::shared() else { return };
    let task = containerd.task();
    task.run(&["--detach"], IDLE, &[]).succeeded();
    task.verb(&["exec", "--exec-id", "one"], &["sh"]).ended_with(1).complained("unikernel");
}

#[test]
fn ctr_run_of_an_ordinary_image_runs_its_program() {
    let Some(containerd) = Containerd::shared() else { return };
    let ran = containerd.task().run(&["--rm"], ORDINARY, &["sh", "-c", "echo hi; exit 42"]);
    ran.ended_with(42).printed("hi\n");
}

#[test]
fn ctr_exec_into_an_ordinary_container_runs_beside_its_program() {
    let Some(containerd) = Containerd::shared() else { return };
    let task = containerd.task();
    task.run(&["--detach"], ORDINARY, &["sleep", "1000"]).succeeded();
    task.verb(&["exec", "--exec-id", "one"], &["sh", "-c", "ps; exit 7"]).ended_with(7).printed("sleep 1000");
}

#[test]
fn ctr_run_of_a_unikernel_with_too_little_memory_is_refused_with_a_reason() {
    let Some(containerd) = Containerd::shared() else { return };
    containerd
        .task()
        .run(&["--rm", "--memory-limit", "1000000"], UNIKERNEL, &[])
        .ended_with(1)
        .complained("memory");
}

#[test]
fn ctr_checkpoint_of_a_unikernel_is_refused_and_it_goes_on() {
    let Some(containerd) = Containerd::shared() else { return };
    let task = containerd.task();
    task.run(&["--detach"], IDLE, &[]).succeeded();
    let refused = task.verb(&["checkpoint"], &[]);
    assert_ne!(refused.status, 0, "{refused:#?}");
    refused.complained("not supported for a unikernel");
    containerd.machine().run(&["ctr", "tasks", "list"]).printed("RUNNING");
}
