//! What a unikernel cannot do is refused at once and in one clear line, and never done beside it instead.

use serde_json::Value;

use crate::container::Container;

/// The flags of containerd's shim and of conmon: engines show the message and make their own status of it.
#[test]
fn exec_in_a_unikernel_is_refused_in_one_line() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    let id = container.id.as_str();
    let calls: [&[&str]; 4] = [
        &["exec", "--process", "/tmp/runc-process1", "--detach", "--pid-file", "/none/1.pid", id],
        &[
            "exec",
            "--pid-file",
            "/none",
            "--process",
            "/none",
            "--detach",
            "--tty",
            "--console-socket",
            "/none",
            id,
        ],
        &["exec", "-t", "--cwd", "/", "--env", "A=b", "--user=1:1", id, "sh", "-c", "ls"],
        &["exec", id, "sh"],
    ];
    for words in calls {
        let _ = std::fs::remove_file(container.path("log"));
        let output = container.raw(words).output().unwrap();
        // As runc has it: 1 may be the program's own.
        assert_eq!(output.status.code(), Some(255), "{words:?}: {output:?}");
        assert_eq!(
            container.logged(),
            "exec is not supported for a unikernel: it is one program and runs no other"
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    }
    assert_eq!(container.state()["status"], "running");
    let pids: Vec<i32> = serde_json::from_str(&container.done(&["ps", "-f", "json"])).unwrap();
    assert_eq!(pids.len(), 2);
}

#[test]
fn checkpoint_and_restore_of_a_unikernel_are_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let bundle = container.path("bundle");
    let bundle = bundle.to_str().unwrap();
    // The bundle says what it would be.
    container.fails(
        &["restore", "--image-path", "/none", "--bundle", bundle, "--detach"],
        "restore is not supported",
    );
    container.start();
    let words = ["checkpoint", "--image-path", "/none", "--work-path", "/none", "--leave-running"];
    container.fails(&words, "checkpoint is not supported for a unikernel");
    container.fails(&["restore", "--image-path", "/none"], "restore is not supported for a unikernel");
    assert_eq!(container.state()["status"], "running");
}

#[test]
fn signal_that_is_none_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    for signal in ["NONE", "65", "-1", "SIG", "99999999999", "TERM;"] {
        let _ = std::fs::remove_file(container.path("log"));
        let output = container.raw(&["kill", &container.id, signal]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}: {output:?}");
        let text = std::fs::read_to_string(container.path("log")).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert!(object["msg"].as_str().unwrap().contains("unknown signal"), "{signal}: {text}");
    }
    assert_eq!(container.state()["status"], "running");
}
