//! `run` of a bundle: in the foreground, detached, kept.

use std::fs;

use serde_json::json;

use crate::container::Container;

fn hello(words: &[&str]) -> Option<Container> {
    Container::new("hello", |config| config["process"]["args"] = json!(words))
}

#[test]
fn run_in_the_foreground_gives_the_guests_status_and_deletes() {
    let Some(container) = hello(&["exit=42"]) else { return };
    let bundle = container.path("bundle");
    let output = container.call(&["run", "--bundle", bundle.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(42), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Hello from a unikernel"), "{output:?}");
    container.nothing_left();
}

#[test]
fn run_kept_leaves_a_stopped_container() {
    let Some(container) = hello(&["exit=3"]) else { return };
    let bundle = container.path("bundle");
    let pid_file = container.path("pid");
    let words =
        ["run", "--keep", "--pid-file", pid_file.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
    assert_eq!(container.call(&words).status.code(), Some(3));
    let state = container.state();
    assert_eq!(
        (&state["status"], &state["annotations"]["dev.runu.end"]),
        (&json!("stopped"), &json!("exit code 3"))
    );
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn run_detached_ends_at_once_and_the_guest_goes_on() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let (bundle, pid_file) = (container.path("bundle"), container.path("pid"));
    let (bundle, pid_file) = (bundle.to_str().unwrap(), pid_file.to_str().unwrap());
    let id = container.id.as_str();
    // Every way to write it; the last without a flag of bundles, in the bundle's folder.
    let orders: [&[&str]; 4] = [
        &["run", "--detach", "--bundle", bundle, "--pid-file", pid_file, id],
        &["run", "-d", "-b", bundle, "--pid-file", pid_file, "--no-subreaper", "--no-pivot", id],
        &["run", id, "-d", "-b", bundle, "--pid-file", pid_file],
        &["run", "--detach", "--pid-file", pid_file, id],
    ];
    for words in orders {
        let mut command = container.raw(words);
        let console = fs::File::create(container.path("console")).unwrap();
        command.stdout(console.try_clone().unwrap()).stderr(console);
        let status = command.current_dir(container.path("bundle")).status().unwrap();
        assert!(status.success(), "{words:?}: {}", container.console());
        assert_eq!(container.state()["status"], "running");
        container.done_with_signal("TERM");
        assert_eq!(container.wait(), 143);
        container.done(&["delete"]);
        container.nothing_left();
    }
}

#[test]
fn run_that_is_refused_leaves_nothing() {
    let Some(container) = hello(&["x"]) else { return };
    let bundle = container.path("bundle");
    fs::write(container.kernel(), "not a kernel").unwrap();
    container.fails(&["run", "--bundle", bundle.to_str().unwrap()], "is not a kernel that runu can run");
    container.nothing_left();
}

#[test]
fn run_whose_poststart_hook_fails_ends_the_container() {
    let Some(container) = Container::new("idle", |config| {
        config["hooks"] = json!({ "poststart": [{ "path": "/bin/false" }] });
    }) else {
        return;
    };
    let bundle = container.path("bundle");
    container.fails(&["run", "--bundle", bundle.to_str().unwrap()], "poststart hook #0");
    container.nothing_left();
}
