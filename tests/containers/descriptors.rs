//! Descriptors: what the caller of `create` had open is open in none of the container's processes.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
};

use rustix::io::FdFlags;

use crate::container::{Container, Process};

/// What a process has open; what it closes meanwhile is left out.
fn open(process: Process) -> Vec<String> {
    let entries = fs::read_dir(process.path("fd")).unwrap().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// A file that children inherit, with a number that no test uses for anything else.
fn inheritable(container: &Container) -> OwnedFd {
    let file = File::create(container.path("leaked")).unwrap();
    let file = rustix::io::fcntl_dupfd_cloexec(file, 700).unwrap();
    rustix::io::fcntl_setfd(&file, FdFlags::empty()).unwrap();
    file
}

#[test]
fn descriptor_that_the_caller_leaks_is_in_no_process_of_the_container() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let leaked = inheritable(&container);
    container.create();
    let waiting = open(container.supervisor());
    container.done(&["start"]);
    drop(leaked);
    for held in [waiting, open(container.supervisor()), open(container.guest())] {
        assert!(!held.iter().any(|name| name.contains("leaked")), "{held:?}");
    }
}

#[test]
fn guest_holds_its_console_and_memory_and_nothing_of_the_host() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start_and_wait_until_ready();
    let console = container.path("console").to_string_lossy().into_owned();
    for name in open(container.guest()) {
        let known = name == console
            || name == "/dev/null"
            || ["/memfd:", "anon_inode:", "pipe:"].iter().any(|kind| name.starts_with(kind));
        assert!(known, "{name}");
    }
    // The kernel is kept to tell names of addresses; the state's directory is not open.
    let supervisor = open(container.supervisor());
    assert!(
        !supervisor.iter().any(|name| name.ends_with("/state.json") || name.contains("ns/")),
        "{supervisor:?}"
    );
}

#[test]
fn descriptors_to_be_kept_are_taken_as_asked_and_change_nothing() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let leaked = inheritable(&container);
    let mut create = container.creation_with(&["--preserve-fds", "2"]);
    assert!(create.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").status().unwrap().success());
    drop(leaked);
    container.done(&["start"]);
    assert!(!open(container.guest()).iter().any(|name| name.contains("leaked")));
    assert_eq!(container.guest().read("environ"), "");
}
