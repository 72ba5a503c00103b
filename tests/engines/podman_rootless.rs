//! Podman as an ordinary user: a user namespace of several users, no control group, no network.

use super::support::{IDLE, ORDINARY, Podman, UNIKERNEL};

#[test]
fn podman_run_of_a_unikernel_by_a_user_prints_its_console_and_exits_with_its_code() {
    let Some(podman) = Podman::of_a_user() else { return };
    podman.container().run(&[UNIKERNEL, "one", "exit=42"]).ended_with(42).printed("argv[1] = one");
}

#[test]
fn podman_stop_of_a_unikernel_by_a_user_ends_it() {
    let Some(podman) = Podman::of_a_user() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    container.verb(&["stop", "--time=600"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 143");
}

#[test]
fn podman_run_of_a_unikernel_by_a_user_in_a_terminal_prints_to_it() {
    let Some(podman) = Podman::of_a_user() else { return };
    let container = podman.container();
    let words = ["--runtime=runu", "run", "-it", "--name", &container.name, UNIKERNEL, "exit=9"];
    podman.run_in_terminal(&words).ended_with(9).printed("argv[1] = exit=9\r");
}

#[test]
fn podman_run_of_an_ordinary_image_by_a_user_runs_its_program() {
    let Some(podman) = Podman::of_a_user() else { return };
    podman.container().run(&[ORDINARY, "sh", "-c", "echo hi; exit 42"]).ended_with(42).printed("hi\n");
}

#[test]
fn podman_exec_into_an_ordinary_container_by_a_user_runs_beside_its_program() {
    let Some(podman) = Podman::of_a_user() else { return };
    let container = podman.container();
    container.run(&["--detach", ORDINARY, "sleep", "1000"]).succeeded();
    let exec = podman.run(&["--runtime=runu", "exec", &container.name, "sh", "-c", "ps; exit 7"]);
    exec.ended_with(7).printed("sleep 1000");
}

#[test]
fn podman_restart_of_a_unikernel_by_a_user_runs_it_again_and_kill_ends_it() {
    let Some(podman) = Podman::of_a_user() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    container.verb(&["restart", "--time=0"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    podman.run(&["--runtime=runu", "ps", "--format", "{{.Names}}"]).printed(&container.name);
    container.verb(&["kill"]).succeeded();
    assert_eq!(container.verb(&["wait"]).succeeded(), "137");
}

#[test]
fn podman_logs_of_a_unikernel_by_a_user_show_its_console() {
    let Some(podman) = Podman::of_a_user() else { return };
    let container = podman.container();
    container.run(&["--detach", UNIKERNEL, "kept"]).succeeded();
    container.verb(&["wait"]).succeeded();
    container.verb(&["logs"]).printed("argv[1] = kept");
}

#[test]
fn podman_exec_into_a_unikernel_by_a_user_is_refused_with_a_reason() {
    let Some(podman) = Podman::of_a_user() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    let exec = podman.run(&["--runtime=runu", "exec", &container.name, "sh"]);
    assert_ne!(exec.status, 0);
    exec.complained("unikernel");
}
