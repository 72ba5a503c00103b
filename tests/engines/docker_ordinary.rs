//! Ordinary Linux containers with runu as their runtime: they behave as with runc.

use super::support::{Docker, ORDINARY};

#[test]
fn docker_run_of_an_ordinary_image_runs_its_program() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&[ORDINARY, "echo", "hi"]);
    assert_eq!(ran.ended_with(0).lines(), ["hi"]);
    assert_eq!(ran.stderr, "");
}

#[test]
fn docker_run_of_an_ordinary_image_exits_with_the_programs_code() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&[ORDINARY, "sh", "-c", "exit 42"]).ended_with(42);
}

#[test]
fn docker_run_of_a_missing_program_exits_with_127() {
    let Some(docker) = Docker::shared() else { return };
    docker
        .container()
        .run(&[ORDINARY, "/nonexistent"])
        .ended_with(127)
        .complained("no such file or directory");
}

#[test]
fn docker_run_of_a_file_that_is_no_program_exits_with_126() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&[ORDINARY, "/etc/passwd"]).ended_with(126).complained("permission denied");
}

#[test]
fn docker_run_with_input_hands_it_to_the_program() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let words = ["docker", "run", "-i", "--runtime=runu", "--name", &container.name, ORDINARY, "cat"];
    let ran = docker.machine().run_with_input(&words, b"through\n");
    assert_eq!(ran.ended_with(0).lines(), ["through"]);
}

#[test]
fn docker_run_in_a_terminal_gives_the_program_one_of_the_users_size() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    // Docker tells the size when the program runs already.
    let program = r#"tty; while [ "$(stty size 2> /dev/null)" != "33 77" ]; do :; done; echo resized"#;
    let run = format!("docker run -it --runtime=runu --name {} {ORDINARY} sh -c '{program}'", container.name);
    let ran = docker.machine().run_in_terminal(&format!("stty rows 33 cols 77; {run}"));
    ran.ended_with(0).printed("/dev/pts/0").printed("resized");
}

#[test]
fn docker_exec_into_an_ordinary_container_runs_beside_its_program() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[ORDINARY, "sleep", "1000"]);
    let exec = docker.run(&["exec", &container.name, "sh", "-c", "ps; exit 7"]);
    exec.ended_with(7).printed("sleep 1000");
}

#[test]
fn docker_exec_in_a_terminal_gives_the_program_one() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[ORDINARY, "sleep", "1000"]);
    let command = format!("docker exec -it {} sh -c 'tty; exit 3'", container.name);
    docker.machine().run_in_terminal(&command).ended_with(3).printed("/dev/pts/");
}

#[test]
fn docker_healthcheck_that_succeeds_makes_the_container_healthy() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&["--health-cmd", "true", "--health-interval", "100ms", ORDINARY, "sleep", "1000"]);
    let filter = format!("container={}", container.name);
    let words = ["docker", "events", "--since", "0", "--filter", &filter, "--filter", "event=health_status"];
    docker.machine().start(&words).until("health_status: healthy");
}

#[test]
fn docker_top_of_an_ordinary_container_shows_its_program() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[ORDINARY, "sleep", "1000"]);
    container.verb(&["top"]).ended_with(0).printed("sleep 1000");
}

#[test]
fn docker_stats_of_an_ordinary_container_shows_its_own_processes() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[ORDINARY, "sleep", "1000"]);
    let stats = container.verb(&["stats", "--no-stream", "--format", "{{.PIDs}}"]);
    assert_eq!(stats.succeeded(), "1");
}

#[test]
fn docker_pause_of_an_ordinary_container_stops_it_until_unpause() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[ORDINARY, "sleep", "1000"]);
    container.verb(&["pause"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "paused");
    container.verb(&["unpause"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
}

#[test]
fn docker_update_of_an_ordinary_container_changes_its_limit() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&["--memory", "64m", ORDINARY, "sleep", "1000"]);
    container.verb(&["update", "--memory", "96m", "--memory-swap", "96m"]).succeeded();
    // Version 1 of control groups, then version 2.
    let read = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max";
    let limit = docker.run(&["exec", &container.name, "sh", "-c", read]);
    assert_eq!(limit.succeeded(), "100663296");
}

#[test]
fn docker_run_out_of_memory_is_told_as_such() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let eat = "x=a; while true; do x=$x$x; done";
    container.run(&["--memory", "16m", "--memory-swap", "16m", ORDINARY, "sh", "-c", eat]).ended_with(137);
    assert_eq!(container.inspect("{{.State.OOMKilled}}"), "true");
}

#[test]
fn docker_stop_of_a_program_that_ignores_term_kills_it() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container
        .detach(&[ORDINARY, "sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done"])
        .logged("up");
    container.verb(&["stop", "--time", "1"]).succeeded();
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "137");
}

#[test]
fn docker_kill_with_a_signal_reaches_the_program() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let wait = "trap 'echo hangup; exit 5' HUP; echo up; while true; do sleep 0.1; done";
    container.detach(&[ORDINARY, "sh", "-c", wait]).logged("up");
    container.verb(&["kill", "--signal", "HUP"]).succeeded();
    assert_eq!(container.wait(), 5);
}

#[test]
fn docker_restart_of_an_ordinary_container_runs_it_again() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[ORDINARY, "sleep", "1000"]);
    container.verb(&["restart", "--time", "0"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
}

#[test]
fn docker_run_on_the_bridge_gives_the_program_an_address() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&[ORDINARY, "ip", "address", "show", "eth0"]).ended_with(0).printed("inet 172.");
}

#[test]
fn docker_run_with_a_volume_shows_it_to_the_program() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container
        .run(&["--volume", "/etc:/data:ro", ORDINARY, "cat", "/data/docker/daemon.json"])
        .printed("runu");
}
