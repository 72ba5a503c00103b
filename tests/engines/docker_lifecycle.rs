//! A unikernel in the background: what Docker shows of it and does with it, until its end.

use super::support::{Docker, IDLE, Image, UNIKERNEL};

#[test]
fn docker_logs_of_a_running_guest_show_its_console() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]).logged("ready");
}

#[test]
fn docker_logs_of_an_ended_guest_show_its_console() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[UNIKERNEL, "kept"]);
    assert_eq!(container.wait(), 0);
    container.verb(&["logs"]).ended_with(0).printed("argv[1] = kept");
}

#[test]
fn docker_inspect_of_a_running_guest_shows_it_running() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    assert_eq!(
        container.inspect("{{.State.Status}} {{.State.OOMKilled}} {{.HostConfig.Runtime}}"),
        "running false runu"
    );
    let pid = container.inspect("{{.State.Pid}}");
    docker.machine().run(&["kill", "-0", &pid]).ended_with(0);
}

#[test]
fn docker_inspect_of_an_ended_guest_shows_its_exit_code() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&[UNIKERNEL, "exit=3"]);
    let state =
        container.inspect("{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Pid}}");
    assert_eq!(state, "exited 3 false 0");
}

#[test]
fn docker_ps_shows_a_running_guest() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    docker.run(&["ps", "--format", "{{.Names}} {{.Image}}"]).printed(&format!("{} {IDLE}", container.name));
}

#[test]
fn docker_top_of_a_guest_shows_its_processes() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    container.verb(&["top"]).ended_with(0).printed("runu");
}

#[test]
fn docker_stats_of_a_guest_shows_its_own_memory_and_processes() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&["--memory", "128m", IDLE]).logged("ready");
    let stats = container.verb(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}"]);
    stats.ended_with(0).printed("128MiB");
    let processes: u32 =
        stats.stdout.trim().rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!((1..=8).contains(&processes), "{stats:#?}");
}

#[test]
fn docker_pause_of_a_guest_stops_it_until_unpause() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    container.verb(&["pause"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "paused");
    container.verb(&["unpause"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
}

#[test]
fn docker_update_of_a_guest_changes_its_limits() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&["--memory", "128m", IDLE]).logged("ready");
    container.verb(&["update", "--memory", "256m", "--memory-swap", "256m"]).succeeded();
    container.verb(&["stats", "--no-stream", "--format", "{{.MemUsage}}"]).printed("256MiB");
}

#[test]
fn docker_stop_of_a_guest_ends_it_without_waiting_for_the_kill() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]).logged("ready");
    // Longer than a command of these tests may take: nobody has waited for it.
    container.verb(&["stop", "--time", "600"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}} {{.State.ExitCode}}"), "exited 143");
}

#[test]
fn docker_kill_of_a_guest_ends_it_with_137() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    container.verb(&["kill"]).succeeded();
    assert_eq!(container.wait(), 137);
    assert_eq!(container.inspect("{{.State.OOMKilled}}"), "false");
}

#[test]
fn docker_kill_of_an_ended_guest_is_refused() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&[UNIKERNEL]);
    container.verb(&["kill"]).ended_with(1).complained("is not running");
}

#[test]
fn docker_restart_of_a_guest_runs_it_again() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]).logged("ready");
    let before = container.inspect("{{.State.Pid}}");
    container.verb(&["restart"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    assert_ne!(container.inspect("{{.State.Pid}}"), before);
}

#[test]
fn docker_start_of_an_ended_guest_runs_it_again() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&[UNIKERNEL, "exit=5"]).ended_with(5);
    container.verb(&["start", "--attach"]).ended_with(5).printed("Hello from a unikernel");
}

#[test]
fn docker_create_then_start_runs_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    docker.run(&["create", "--runtime=runu", "--name", &container.name, UNIKERNEL]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "created");
    container.verb(&["start", "--attach"]).ended_with(0).printed("argv[1] = first");
}

#[test]
fn docker_rm_force_of_a_running_guest_leaves_nothing() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]).logged("ready");
    let id = container.inspect("{{.Id}}");
    container.verb(&["rm", "--force"]).succeeded();
    docker.has_nothing_of(&id);
}

#[test]
fn docker_wait_for_a_guest_tells_its_exit_code() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[UNIKERNEL, "exit=17"]);
    assert_eq!(container.wait(), 17);
}

#[test]
fn docker_attach_to_a_guest_shows_its_console_and_exits_with_its_code() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    docker
        .run(&["create", "--runtime=runu", "--name", &container.name, UNIKERNEL, "sleep=500", "exit=6"])
        .succeeded();
    // What follows `start` on one connection would be `start --attach`; this is another client's view.
    let script = format!("docker start {0} >/dev/null && docker attach {0}", container.name);
    docker.machine().sh(&script).ended_with(6).printed("slept");
}

#[test]
fn docker_events_tell_the_life_of_a_guest_in_order() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&[UNIKERNEL, "exit=8"]);
    let filter = format!("container={}", container.name);
    let words = ["docker", "events", "--since", "0", "--filter", &filter, "--format"];
    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    let told = docker.machine().start(&[&words, [format].as_slice()].concat()).until("die");
    let told: Vec<&str> = told.lines().map(|line| line.trim_end_matches("<no value>").trim()).collect();
    assert_eq!(told, ["create", "attach", "start", "die 8"]);
}

#[test]
fn docker_restart_policy_on_failure_runs_a_failing_guest_again() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&["--restart", "on-failure:2", UNIKERNEL, "exit=1"]);
    // `docker wait` ends with the first of the ends.
    let filter = format!("container={}", container.name);
    let words = [
        "docker",
        "events",
        "--since",
        "0",
        "--filter",
        &filter,
        "--filter",
        "event=die",
        "--format",
        "{{.Action}}",
    ];
    let mut events = docker.machine().start(&words);
    for _ in 0..3 {
        events.until("die");
    }
    assert_eq!(container.inspect("{{.RestartCount}}"), "2");
}

#[test]
fn docker_healthcheck_of_a_guest_finds_it_unhealthy_and_says_why() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let check = ["--health-cmd", "true", "--health-interval", "100ms", "--health-retries", "1"];
    container.detach(&[check.as_slice(), &[IDLE]].concat());
    let filter = format!("container={}", container.name);
    let words = ["docker", "events", "--since", "0", "--filter", &filter, "--filter", "event=health_status"];
    docker.machine().start(&words).until("health_status: unhealthy");
    let told = container.inspect("{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}");
    assert!(told.contains("unikernel"), "{told}");
}

#[test]
fn docker_kill_with_term_ends_a_guest_with_143() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    container.verb(&["kill", "--signal", "TERM"]).succeeded();
    assert_eq!(container.wait(), 143);
}

#[test]
fn docker_rm_force_of_a_paused_guest_removes_it() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    container.verb(&["pause"]).succeeded();
    container.verb(&["rm", "--force"]).succeeded();
    container.verb(&["inspect"]).ended_with(1);
}

#[test]
fn docker_commit_of_a_running_guest_makes_an_image_that_runs() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    docker.run(&["commit", &container.name, "committed"]).succeeded();
    assert_eq!(container.inspect("{{.State.Status}}"), "running");
    let again = docker.container();
    again.detach(&["committed"]).logged("ready");
}

#[test]
fn docker_run_of_a_guest_out_of_memory_is_told_as_such() {
    let Some(docker) = Docker::shared() else { return };
    // A guest keeps to its container's limit, so it is given a narrower place: that of a group around the container.
    let group = format!("{}/narrow", docker.machine().control_group());
    let narrow = format!(
        "cd /sys/fs/cgroup; if [ -d memory ]; then
             mkdir -p memory{group}; echo 16M > memory{group}/memory.limit_in_bytes
         else
             mkdir -p .{group}; echo 16M > .{group}/memory.max
         fi"
    );
    docker.machine().sh(&narrow).succeeded();
    let folder = docker.machine().folder();
    let image = Image::unikernel(folder, "large", "hello").with_initrd(&vec![0xaa; 32 << 20]);
    docker.import("large", &image, "CMD [\"--\"]");
    let container = docker.container();
    container.run(&["--memory", "64m", "--cgroup-parent", &group, "large"]).ended_with(137);
    assert_eq!(container.inspect("{{.State.OOMKilled}}"), "true");
}

#[test]
fn docker_exec_into_a_guest_is_refused_with_a_reason() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.detach(&[IDLE]);
    let exec = docker.run(&["exec", &container.name, "sh"]);
    exec.ended_with(126);
    assert!(format!("{}{}", exec.stdout, exec.stderr).contains("unikernel"), "{exec:#?}");
}

#[test]
fn docker_runs_twenty_guests_at_once_and_leaves_nothing() {
    let Some(docker) = Docker::shared() else { return };
    let containers: Vec<_> = (0..20).map(|_| docker.container()).collect();
    std::thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| {
                container.run(&[UNIKERNEL, "exit=4"]).ended_with(4).printed("Hello");
            });
        }
    });
}
