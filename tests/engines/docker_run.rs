//! `docker run` of a unikernel in the foreground: arguments, output, exit status, refusals.

use super::support::{Docker, IDLE, INITRD, UNIKERNEL};

#[test]
fn docker_run_of_a_unikernel_prints_its_console() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&[UNIKERNEL]);
    ran.ended_with(0);
    let expected = ["Hello from a unikernel, booted by multiboot", "argv[0] = kernel", "argv[1] = first"];
    assert!(ran.lines().starts_with(&expected), "{ran:#?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn docker_run_with_arguments_hands_them_to_the_guest_exactly() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&[UNIKERNEL, "one", "two words", "a=b"]);
    ran.ended_with(0);
    assert_eq!(ran.lines()[2..5], ["argv[1] = one", "argv[2] = two words", "argv[3] = a=b"]);
}

#[test]
fn docker_run_with_an_environment_hands_the_users_variables_to_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&["--env", "GREETING=good day", UNIKERNEL]);
    ran.ended_with(0).printed("env GREETING=good day");
}

#[test]
fn docker_run_of_kraftkits_lone_dashes_gives_no_argument() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&[UNIKERNEL, "--"]);
    ran.ended_with(0);
    assert!(!ran.stdout.contains("argv[1]"), "{ran:#?}");
}

#[test]
fn docker_run_of_an_image_with_initrd_hands_it_over() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&[INITRD]).ended_with(0).printed("initrd 20 bytes");
}

#[test]
fn docker_run_exits_with_the_guests_code() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&[UNIKERNEL, "exit=42"]).ended_with(42);
}

#[test]
fn docker_run_of_a_guest_that_crashes_exits_with_134() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&[UNIKERNEL, "crash=unikraft"]).ended_with(134);
}

#[test]
fn docker_run_rm_removes_the_container_at_its_end() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&["--rm", UNIKERNEL]).ended_with(0);
    container.verb(&["inspect"]).ended_with(1).complained("No such object");
}

#[test]
fn docker_run_in_every_network_mode_starts_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    let other = docker.container();
    other.detach(&[IDLE]);
    let own = format!("network-of-{}", other.name);
    docker.run(&["network", "create", &own]).succeeded();
    for mode in ["none", "host", "bridge", &own, &format!("container:{}", other.name)] {
        docker.container().run(&["--network", mode, UNIKERNEL]).ended_with(0);
    }
    docker.run(&["network", "rm", &own]).succeeded();
}

#[test]
fn docker_run_with_flags_of_every_day_starts_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    for flags in [
        ["--memory", "64m"],
        ["--cpus", "0.5"],
        ["--pids-limit", "20"],
        ["--hostname", "here"],
        ["--user", "1000:1000"],
        ["--workdir", "/somewhere"],
        ["--security-opt", "no-new-privileges"],
        ["--security-opt", "seccomp=unconfined"],
        ["--cap-drop", "ALL"],
        ["--ulimit", "nofile=64:64"],
        ["--oom-score-adj", "100"],
        ["--ipc", "host"],
        ["--pid", "host"],
        ["--publish", "127.0.0.1:0:80"],
        ["--add-host", "other:10.0.0.1"],
        ["--device", "/dev/null"],
        ["--sysctl", "net.ipv4.ip_forward=0"],
        ["--tmpfs", "/tmp"],
        ["--cgroupns", "private"],
        ["--shm-size", "1m"],
        ["--log-driver", "json-file"],
    ] {
        docker.container().run(&[flags.as_slice(), &[UNIKERNEL]].concat()).ended_with(0);
    }
}

#[test]
fn docker_run_read_only_starts_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&["--read-only", UNIKERNEL]).ended_with(0);
}

#[test]
fn docker_run_privileged_starts_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&["--privileged", UNIKERNEL]).ended_with(0);
}

#[test]
fn docker_run_with_an_init_of_dockers_runs_the_guest_without_it() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&["--init", UNIKERNEL, "one"]);
    ran.ended_with(0).printed("argv[1] = one");
    assert!(!ran.stdout.contains("argv[2]"), "{ran:#?}");
}

#[test]
fn docker_run_with_a_host_name_tells_it_to_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&["--hostname", "here", UNIKERNEL]).ended_with(0).printed("env HOSTNAME=here");
}

#[test]
fn docker_run_with_input_hands_it_to_the_guest() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let words = ["docker", "run", "-i", "--runtime=runu", "--name", &container.name, UNIKERNEL, "echo"];
    let ran = docker.machine().run_with_input(&words, b"through\n");
    ran.ended_with(0).printed("echo: through");
}

#[test]
fn docker_run_in_a_terminal_prints_to_it() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let command =
        format!("docker run -it --runtime=runu --name {} {UNIKERNEL} on-a-terminal", container.name);
    docker.machine().run_in_terminal(&command).ended_with(0).printed("argv[1] = on-a-terminal\r");
}

#[test]
fn docker_run_in_a_terminal_exits_with_the_guests_code() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    let command = format!("docker run -it --runtime=runu --name {} {UNIKERNEL} exit=9", container.name);
    docker.machine().run_in_terminal(&command).ended_with(9);
}
