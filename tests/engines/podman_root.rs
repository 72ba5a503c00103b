//! Podman, as root.

use super::support::{IDLE, ORDINARY, Podman, UNIKERNEL};

#[test]
fn podman_run_of_a_unikernel_prints_its_console_and_exits_with_its_code() {
    let Some(podman) = Podman::of_root() else { return };
    let ran = podman.container().run(&[UNIKERNEL, "one", "exit=42"]);
    ran.ended_with(42).printed("argv[1] = one");
}

#[test]
fn podman_run_rm_of_a_unikernel_removes_the_container() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--rm", UNIKERNEL]).ended_with(0);
    container.verb(&["inspect"]).ended_with(125).complained("no such");
}

#[test]
fn podman_run_of_a_unikernel_in_a_terminal_prints_to_it() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    let words = ["--runtime=runu", "run", "-it", "--name", &container.name, UNIKERNEL, "exit=9"];
    podman.run_in_terminal(&words).ended_with(9).printed("argv[1] = exit=9\r");
}

#[test]
fn podman_logs_of_a_unikernel_show_its_console() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", UNIKERNEL, "kept"]).succeeded();
    container.verb(&["wait"]).succeeded();
    container.verb(&["logs"]).printed("argv[1] = kept");
}

#[test]
fn podman_stop_of_a_unikernel_ends_it() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    container.verb(&["stop", "--time=600"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 143");
}

#[test]
fn podman_kill_of_a_unikernel_ends_it_with_137() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    container.verb(&["kill"]).succeeded();
    assert_eq!(container.verb(&["wait"]).succeeded(), "137");
}

#[test]
fn podman_pause_of_a_unikernel_stops_it_until_unpause() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    container.verb(&["pause"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "paused");
    container.verb(&["unpause"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
}

#[test]
fn podman_restart_of_a_unikernel_runs_it_again() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    container.verb(&["restart", "--time=0"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
}

#[test]
fn podman_stats_of_a_unikernel_shows_its_own_processes() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    let stats = container.verb(&["stats", "--no-stream", "--format", "{{.PIDS}}"]);
    let processes: u32 = stats.succeeded().parse().unwrap_or(0);
    assert!((1..=8).contains(&processes), "{stats:#?}");
}

#[test]
fn podman_exec_into_a_unikernel_is_refused_with_a_reason() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    let exec = podman.run(&["--runtime=runu", "exec", &container.name, "sh"]);
    assert_ne!(exec.status, 0);
    exec.complained("unikernel");
}

#[test]
fn podman_run_of_an_ordinary_image_runs_its_program() {
    let Some(podman) = Podman::of_root() else { return };
    podman.container().run(&[ORDINARY, "sh", "-c", "echo hi; exit 42"]).ended_with(42).printed("hi\n");
}

#[test]
fn podman_run_of_a_missing_program_exits_with_127() {
    let Some(podman) = Podman::of_root() else { return };
    podman.container().run(&[ORDINARY, "/nonexistent"]).ended_with(127);
}

#[test]
fn podman_run_of_a_file_that_is_no_program_exits_with_126() {
    let Some(podman) = Podman::of_root() else { return };
    podman.container().run(&[ORDINARY, "/etc/passwd"]).ended_with(126);
}

#[test]
fn podman_exec_into_an_ordinary_container_runs_beside_its_program() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", ORDINARY, "sleep", "1000"]).succeeded();
    let exec = podman.run(&["--runtime=runu", "exec", &container.name, "sh", "-c", "ps; exit 7"]);
    exec.ended_with(7).printed("sleep 1000");
}

#[test]
fn podman_run_of_an_ordinary_image_in_a_terminal_gives_the_program_one() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    let words = ["--runtime=runu", "run", "-it", "--name", &container.name, ORDINARY, "tty"];
    podman.run_in_terminal(&words).ended_with(0).printed("/dev/pts/0");
}

#[test]
fn podman_run_of_a_unikernel_with_too_little_memory_is_refused_with_a_reason() {
    let Some(podman) = Podman::of_root() else { return };
    podman.container().run(&["--memory", "4m", UNIKERNEL]).ended_with(126).complained("memory");
}

#[test]
fn podman_run_of_a_unikernel_without_a_network_or_in_anothers_starts_it() {
    let Some(podman) = Podman::of_root() else { return };
    let other = podman.container();
    other.run(&["--detach", IDLE]).succeeded();
    for mode in ["none", "host", &format!("container:{}", other.name)] {
        podman.container().run(&["--network", mode, UNIKERNEL]).ended_with(0);
    }
}

#[test]
fn podman_rm_force_of_a_running_unikernel_removes_it() {
    let Some(podman) = Podman::of_root() else { return };
    let container = podman.container();
    container.run(&["--detach", IDLE]).succeeded();
    podman.run(&["--runtime=runu", "ps", "--format", "{{.Names}} {{.Status}}"]).printed(&container.name);
    container.verb(&["rm", "--force", "--time=0"]).succeeded();
    container.verb(&["inspect"]).ended_with(125);
}
