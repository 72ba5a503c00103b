//! README.md promises commands for each engine and what they print; this runs them in machines of their own.
//!
//! A block marked `shell-session` below a heading that names an engine holds commands behind `$ ` and, below each, what it
//! prints. What needs systemd is left out, because the daemon is started here.

use super::support::{Containerd, Docker, Machine, Podman, skip};

const README: &str = include_str!("../../README.md");

/// The commands below a heading, each with the lines that it prints.
fn examples(heading: &str) -> Vec<(String, Vec<String>)> {
    let section = README.split("\n## ").find(|section| section.starts_with(heading));
    let blocks = section.unwrap_or_default().split("```shell-session\n").skip(1);
    let lines = blocks.filter_map(|block| block.split("```").next()).flat_map(str::lines);
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => {}
        }
    }
    found
}

/// Runs the commands below a heading, for a person who is put before each of them.
#[track_caller]
fn run_all(heading: &str, machine: &Machine, daemon: &[&str], person: &[&str]) {
    let examples = examples(heading);
    assert!(!examples.is_empty(), "no command below {heading}");
    for (command, printed) in examples {
        if command.starts_with("systemctl") {
            machine.daemon(daemon);
            continue;
        }
        let script = format!("cd \"$HOME\"; {command}");
        let ran = machine.run(&[person, &["sh", "-c", &script]].concat());
        ran.succeeded();
        assert!(printed.is_empty() || ran.lines() == printed, "README.md shows {printed:#?}: {ran:#?}");
    }
}

const IMAGE: &str = "An image";

#[test]
fn readme_for_docker_holds() {
    let Some(machine) = made(Docker::machine_for_one()) else { return };
    run_all(IMAGE, &machine, &[], &[]);
    run_all("With Docker", &machine, &["dockerd"], &[]);
}

#[test]
fn readme_for_podman_holds_for_root() {
    let Some(machine) = made(Podman::machine_for_one()) else { return };
    run_all(IMAGE, &machine, &[], &[]);
    run_all("With Podman", &machine, &[], &[]);
}

#[test]
fn readme_for_podman_holds_for_a_user() {
    let Some(machine) = made(Podman::machine_for_one()) else { return };
    let user = Podman::user();
    let user: Vec<&str> = user.iter().map(String::as_str).collect();
    run_all(IMAGE, &machine, &[], &user);
    run_all("With Podman", &machine, &[], &user);
}

#[test]
fn readme_for_containerd_holds() {
    let Some(machine) = made(Containerd::machine_for_one()) else { return };
    run_all(IMAGE, &machine, &[], &[]);
    run_all("With containerd", &machine, &["containerd"], &[]);
}

fn made(machine: Result<Machine, String>) -> Option<Machine> {
    machine.map_err(|reason| skip(&reason)).ok()
}
