//! Guests that do not end when asked, and shims that are no more.

use std::process::{Command, Stdio};

use crate::container::Container;

/// It never gives the processor away.
#[test]
fn guest_that_is_busy_ends_when_asked() {
    let Some(container) = Container::new("spin", |_| ()) else { return };
    container.start();
    container.wait_for_console("about to loop");
    container.done_with_signal("TERM");
    assert_eq!(container.wait(), 143);
}

/// A stopped process takes no signal but the last.
#[test]
fn container_that_does_not_hear_term_ends_by_kill() {
    let Some(container) = Container::new("spin", |_| ()) else { return };
    container.start();
    container.done_with_signal("STOP");
    container.done_with_signal("TERM");
    assert_eq!(container.state()["status"], "running");
    container.fails(&["delete"], "is not stopped: running");
    container.done_with_signal("KILL");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.state()["status"], "stopped");
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn container_that_does_not_hear_term_is_deleted_by_force() {
    let Some(container) = Container::new("spin", |_| ()) else { return };
    container.start();
    container.done_with_signal("STOP");
    container.done(&["delete", "--force"]);
    container.nothing_left();
}

#[test]
fn guest_whose_supervisor_is_killed_ends_with_it() {
    let Some(container) = Container::new("spin", |_| ()) else { return };
    container.start();
    let pids: Vec<i32> = serde_json::from_str(&container.done(&["ps", "--format", "json"])).unwrap();
    let guest = *pids.iter().find(|pid| **pid != container.pid()).unwrap();
    let started = runu_sandbox::started_at(guest).unwrap();
    container.done_with_signal("KILL");
    container.wait();
    assert!(runu_sandbox::wait_for_end(guest, started, 10_000));
    container.done(&["delete"]);
}

#[test]
fn supervisor_whose_guest_is_killed_tells_so() {
    let Some(container) = Container::new("spin", |_| ()) else { return };
    container.start();
    let pids: Vec<i32> = serde_json::from_str(&container.done(&["ps", "--format", "json"])).unwrap();
    let guest = *pids.iter().find(|pid| **pid != container.pid()).unwrap();
    let started = runu_sandbox::started_at(guest).unwrap();
    runu_sandbox::signal(guest, started, libc::SIGKILL).unwrap();
    assert_eq!(container.wait(), 137);
    assert_eq!(container.state()["annotations"]["dev.runu.end"], "ended by signal 9");
}

/// As when a shim crashes: what it had adopted is somebody else's now, and is managed as before.
#[test]
fn container_outlives_the_shim_and_is_managed_as_before() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let creation = container.creation();
    let console = std::fs::File::create(container.path("console")).unwrap();
    let mut shim = Command::new("/bin/sh");
    shim.args(["-c", "\"$@\"; exec cat", "shim"]).arg(creation.get_program()).args(creation.get_args());
    let mut shim = shim.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(console).spawn().unwrap();
    // It answers when it is done with `create`.
    let mut echo = [0; 1];
    std::io::Write::write_all(&mut shim.stdin.take().unwrap(), b"x").unwrap();
    std::io::Read::read_exact(&mut shim.stdout.take().unwrap(), &mut echo).unwrap();
    shim.kill().unwrap();
    shim.wait().unwrap();

    assert_eq!(container.state()["status"], "created");
    container.done(&["start"]);
    assert_eq!(container.state()["status"], "running");
    container.done(&["pause"]);
    container.done(&["resume"]);
    container.done_with_signal("TERM");
    container.wait();
    assert_eq!(container.state()["status"], "stopped");
    container.done(&["delete"]);
    container.nothing_left();
}

/// Shims run `create` with this signal set for their own death; it must not be the container's.
#[test]
fn container_is_not_bound_to_the_death_of_who_created_it() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let creation = container.creation();
    let console = std::fs::File::create(container.path("console")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(creation.get_program()).args(creation.get_args());
    command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console);
    // Run by a process that dies at once.
    let status = std::thread::scope(|scope| scope.spawn(|| command.status().unwrap()).join().unwrap());
    assert!(status.success(), "{}", container.console());
    container.done(&["start"]);
    assert_eq!(container.state()["status"], "running");
}
