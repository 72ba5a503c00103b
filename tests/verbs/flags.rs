//! Flags: all that runc knows, in every place and spelling that callers use; what nobody knows is an error.

use std::{fs, process::Stdio};

use crate::container::Container;

/// Every flag of `create` that shims and conmon pass, before the id, behind it, with `=` and without.
#[test]
fn create_takes_every_flag_of_runc_before_and_behind_the_id() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let (bundle, pid_file) = (container.path("bundle"), container.path("pid"));
    let (bundle, pid_file) = (bundle.to_str().unwrap(), pid_file.to_str().unwrap());
    let equals = [format!("--bundle={bundle}"), format!("--pid-file={pid_file}")];
    let id = container.id.as_str();
    let orders: [&[&str]; 5] = [
        &["create", "--bundle", bundle, "--pid-file", pid_file, "--no-pivot", "--no-new-keyring", id],
        &["create", id, "--pid-file", pid_file, "-b", bundle, "--preserve-fds", "0"],
        &["create", "--no-pivot", id, &equals[0], "--preserve-fds=0", &equals[1]],
        &["create", "--pidfd-socket", "/none", "-b", bundle, id, "--pid-file", pid_file],
        &["create", "-b", bundle, "--pid-file", pid_file, "--", id],
    ];
    for words in orders {
        // A pipe would be the container's.
        let status = container.raw(words).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{words:?}: {}", container.logged());
        assert_eq!(container.pid().to_string(), container.state()["pid"].to_string());
        container.done(&["delete", "--force"]);
        fs::remove_file(pid_file).unwrap();
    }
}

#[test]
fn flags_before_the_verb_are_those_of_runc() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let orders: [&[&str]; 4] = [
        &["--debug", "list"],
        &["--rootless", "auto", "--criu", "/none", "list"],
        &["--rootless=false", "--criu=/none", "--systemd-cgroup", "list"],
        &["--log-format=text", "list"],
    ];
    // One that is named must be there, as with runc.
    fs::create_dir(container.root()).unwrap();
    for words in orders {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_runu"))
            .arg(format!("--root={}", container.root().display()))
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}

#[test]
fn short_and_long_flags_of_every_verb_are_taken() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    let id = container.id.as_str();
    let calls: [&[&str]; 12] = [
        &["list", "-q"],
        &["list", "--quiet", "--format", "table"],
        &["list", "-f", "json"],
        &["ps", "-f", "json", id],
        &["ps", id, "--format=table"],
        &["ps", id, "-o", "pid,args"],
        &["events", "--stats", "--interval", "1s", id],
        &["events", id, "--stats"],
        &["kill", "-a", id, "0"],
        &["kill", "--all", id, "SIGURG"],
        &["kill", id, "WINCH", "-a"],
        &["delete", id, "-f"],
    ];
    for words in calls {
        let output = container.raw(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}

#[test]
fn flag_that_nobody_knows_is_an_error_of_status_1_in_the_log() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let verbs = [
        "create", "start", "state", "kill", "delete", "list", "pause", "resume", "update", "events",
        "features", "spec",
    ];
    for verb in verbs {
        container.fails(&[verb, "--no-such-flag"], "unexpected argument '--no-such-flag'");
    }
    container.fails(&["create", "--bundle"], "ID");
    container.fails(&["ps", "--format", "yaml"], "invalid value 'yaml'");
    container.fails(&["events", "--interval", "0s"], "`0s` is not a duration");
    container.fails(&["kill", "TERM", "KILL"], "unexpected argument");
    assert!(!container.root().exists());
}

#[test]
fn verb_without_a_container_is_an_error() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    for verb in ["create", "start", "state", "kill", "delete", "ps", "exec", "checkpoint", "restore"] {
        let output = container.raw(&[verb]).output().unwrap();
        // A failed exec is told from a program that failed, as with runc.
        let status = if verb == "exec" { 255 } else { 1 };
        assert_eq!(output.status.code(), Some(status), "{verb}: {output:?}");
        assert!(container.logged().contains("ID"), "{verb}: {}", container.logged());
        fs::remove_file(container.path("log")).unwrap();
    }
}

#[test]
fn log_in_the_format_of_text_is_a_line_of_logrus() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let log = container.path("text");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_runu"))
        .arg("--root")
        .arg(container.root())
        .arg("--log")
        .arg(&log)
        .args(["state", &container.id])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = fs::read_to_string(log).unwrap();
    assert!(text.starts_with("time=\"20") && text.contains(" level=error msg=\"container "), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn console_socket_and_terminal_go_together() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let bundle = container.path("bundle");
    let words = ["create", "--console-socket", "/none", "--bundle", bundle.to_str().unwrap()];
    container.fails(&words, "cannot use console socket");
    let Some(container) = Container::new("idle", |config| config["process"]["terminal"] = true.into()) else {
        return;
    };
    container.is_refused("without setting console socket");
    let words =
        ["create", "--console-socket", "/none", "--bundle", &container.path("bundle").display().to_string()]
            .map(str::to_owned);
    container.fails(&words.each_ref().map(String::as_str), "cannot hand the terminal to the console socket");
    container.nothing_left();
}
