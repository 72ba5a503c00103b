//! Fifteen rules that containerd's shim, conmon, Docker and Podman rely on and that no specification holds. Each test
//! names the one who would notice.

use std::{
    fs::{self, File},
    io::{IoSliceMut, Read},
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::{
            fs::symlink,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

use crate::container::{Container, skip};

/// containerd reads it with `strconv.Atoi`, which takes no line end, as soon as `create` has ended.
#[test]
fn rule_1_pid_file_holds_digits_and_nothing_else() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.create();
    let text = fs::read_to_string(container.path("pid")).unwrap();
    assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    assert_eq!(text, container.state()["pid"].to_string());
}

/// Shims wait for any child: with a process that is not theirs, a container would run for ever.
#[test]
fn rule_2_first_process_is_adopted_and_its_status_is_the_containers() {
    let Some(container) = Container::new("hello", |config| config["process"]["args"] = json!(["exit=42"]))
    else {
        return;
    };
    container.create();
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid())).unwrap();
    let parent = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(parent, std::process::id().to_string());
    container.done(&["start"]);
    assert_eq!(container.wait(), 42);
}

/// A signal's status is 128 and the signal.
#[test]
fn rule_2_status_of_a_killed_container_tells_the_signal() {
    for (signal, status) in [("KILL", 137), ("15", 143)] {
        let Some(container) = Container::new("idle", |_| ()) else { return };
        container.start();
        container.done_with_signal(signal);
        assert_eq!(container.wait(), status, "{signal}");
    }
}

/// The shim waits for the end of the pipe before it reports the exit, for ten seconds.
#[test]
fn rule_3_console_is_the_callers_and_ends_with_the_guest() {
    let Some(container) = Container::new("hello", |_| ()) else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut creation = container.creation();
    creation.stdout(writer.try_clone().unwrap()).stderr(writer);
    assert!(creation.status().unwrap().success());
    // The command holds the writer, too.
    drop(creation);
    container.done(&["start"]);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("Hello from a unikernel"), "{text}");
}

/// With a terminal the pipes only carry errors of `create`: a container that held them would keep the engine waiting.
#[test]
fn rule_3_pipes_are_not_the_containers_where_it_has_a_terminal() {
    let Some(container) = Container::new("idle", |config| config["process"]["terminal"] = json!(true)) else {
        return;
    };
    let socket = container.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut creation = container.creation();
    creation.arg("--console-socket").arg(&socket).stdout(writer.try_clone().unwrap()).stderr(writer);
    assert!(creation.status().unwrap().success());
    drop(creation);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
    assert_eq!(container.state()["status"], "created");
    drop(listener);
}

/// containerd's shim leaks its listening socket into `create`.
#[test]
fn rule_4_descriptors_of_the_caller_reach_no_process_of_the_container() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&writer, 100).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    container.start();
    drop((writer, leaked));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(container.state()["status"], "running");
}

/// go-runc refuses any other message.
#[test]
fn rule_5_console_socket_gets_one_message_with_one_descriptor_and_then_its_end() {
    let Some(container) = Container::new("hello", |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({ "height": 33, "width": 101 });
    }) else {
        return;
    };
    let socket = container.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut creation = container.creation();
    assert!(creation.arg("--console-socket").arg(&socket).status().unwrap().success());
    let (peer, _) = listener.accept().unwrap();

    let (len, mut descriptors) = receive(&peer);
    assert!((1..4096).contains(&len), "{len}");
    assert_eq!(descriptors.len(), 1);
    let (len, none) = receive(&peer);
    assert_eq!((len, none.len()), (0, 0));

    let mut master = File::from(descriptors.remove(0));
    let size = rustix::termios::tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 101));
    container.done(&["start"]);
    let mut text = Vec::new();
    // Ends with EIO when nobody has the other end any more (pty(7) on Linux).
    let _ = master.read_to_end(&mut text);
    assert!(String::from_utf8_lossy(&text).contains("Hello from a unikernel"), "{text:?}");
}

/// Bytes and descriptors of the next message.
fn receive(peer: &UnixStream) -> (usize, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8192];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let len = rustix::net::recvmsg(peer, &mut iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    let messages = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    (len, messages.flatten().collect())
}

/// Podman reads the whole file as one object; containerd takes its last line.
#[test]
fn rule_6_error_is_one_object_in_the_log_and_words_on_standard_error() {
    let Some(container) = Container::new("hello", |config| config["root"] = Value::Null) else { return };
    let output = container.call(&["create", "--bundle", container.path("bundle").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = fs::read_to_string(container.path("log")).unwrap();
    let object: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["level", "msg", "time"]);
    let message = object["msg"].as_str().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{output:?}");
    // RFC 3339, in UTC.
    let time = object["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z'), "{time}");
    assert!(output.stdout.is_empty());
}

/// What `create` and `start` write is taken for words of the container.
#[test]
fn rule_6_success_says_and_logs_nothing() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.create();
    assert_eq!(container.console(), "");
    for words in [&["start"][..], &["pause"], &["resume"], &["update", "--pids-limit", "99"], &["kill"]] {
        let output = container.call(words);
        assert!(output.status.success(), "{output:?}");
        assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0), "{output:?}");
    }
    container.wait();
    assert_eq!(container.done(&["delete"]), "");
    assert!(!container.path("log").exists());
}

/// Engines look for these words to tell what happened (moby `daemon/errors.go`, podman `libpod/oci_util.go`, containerd
/// `process/utils.go`).
#[test]
fn rule_7_messages_hold_the_words_that_engines_look_for() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps", "update", "events"] {
        container.fails(&[verb], "does not exist");
    }
    let output = container.call(&["exec"]);
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not exist"), "{output:?}");
    fs::remove_file(container.path("log")).unwrap();
    container.create();
    container.fails(&["create", "--bundle", container.path("bundle").to_str().unwrap()], "already exists");
    container.done(&["start"]);
    container.fails(&["start"], "cannot start an already running container");
    container.fails(&["delete"], "is not stopped: running");
    container.fails(&["resume"], "container not paused");
    container.done_with_signal("9");
    container.wait();
    for verb in ["kill", "pause", "update"] {
        container.fails(&[verb], "container not running");
    }
    container.fails(&["events"], "is not running");
    container.fails(&["start"], "cannot start a container that has stopped");
}

/// Docker makes 126 of a file that is a directory and 127 of one that is not there.
#[test]
fn rule_7_missing_kernel_is_told_in_the_words_of_the_system() {
    let urunc = r#"{"com.urunc.unikernel.binary":"L25vbmU="}"#;
    let Some(container) = Container::new("idle", |_| ()) else { return };
    fs::remove_file(container.kernel()).unwrap();
    fs::create_dir(container.kernel()).unwrap();
    container.is_refused("is a directory");
    fs::remove_dir_all(container.path("bundle/rootfs/unikraft")).unwrap();
    fs::write(container.path("bundle/rootfs/urunc.json"), urunc).unwrap();
    container.is_refused("No such file or directory");
}

/// The shim deletes once more after it has deleted, and Podman after a create that failed.
#[test]
fn rule_8_forced_deletion_of_what_is_not_there_succeeds() {
    let Some(mut container) = Container::new("idle", |_| ()) else { return };
    container.fails(&["delete"], "does not exist");
    container.done(&["delete", "--force"]);
    container.done(&["delete", "-f"]);
    let id = std::mem::replace(&mut container.id, "not/a name".to_owned());
    container.done(&["delete", "--force"]);
    container.id = id;
}

/// Docker kills and deletes a container whose network could not be had, before its start.
#[test]
fn rule_9_container_that_waits_for_its_start_can_be_killed_and_deleted() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.create();
    container.done_with_signal("9");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.state()["status"], "stopped");
    container.done(&["delete"]);
    container.nothing_left();

    container.create();
    container.done(&["delete"]);
    container.nothing_left();
}

/// Docker's network hook is dockerd, called by another name.
#[test]
fn rule_10_hook_gets_its_own_name_and_the_state() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let told = container.path("told");
    let script = format!("{{ tr '\\0' ' ' < /proc/$$/cmdline; echo; cat; }} > {}", told.display());
    let mut config: Value =
        serde_json::from_slice(&fs::read(container.path("bundle/config.json")).unwrap()).unwrap();
    config["hooks"] = json!({ "prestart": [{ "path": "/bin/sh", "args": ["setkey", "-c", script] }] });
    container.configure(&config.to_string());
    container.create();
    let text = fs::read_to_string(&told).unwrap();
    let (words, state) = text.split_once('\n').unwrap();
    assert!(words.starts_with("setkey -c "), "{words}");
    let state: Value = serde_json::from_str(state).unwrap();
    assert_eq!((&state["id"], &state["pid"]), (&json!(container.id), &json!(container.pid())));
}

/// Engines find a container's numbers through the control groups of its first process, and limit it there.
#[test]
fn rule_11_every_process_is_in_the_control_group_of_the_configuration() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let path = format!("/runu/{}", container.id);
    let mut config: Value =
        serde_json::from_slice(&fs::read(container.path("bundle/config.json")).unwrap()).unwrap();
    config["linux"]["cgroupsPath"] = json!(path);
    container.configure(&config.to_string());
    container.start();
    let pids: Vec<i32> = serde_json::from_str(&container.done(&["ps", "--format", "json"])).unwrap();
    assert_eq!(pids.len(), 2);
    assert!(pids.contains(&container.pid()));
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        // Of a hybrid host the unified hierarchy has no controller, and nobody asks it.
        let hierarchies: Vec<&str> = text.lines().filter(|line| !line.starts_with("0::")).collect();
        assert!(!hierarchies.is_empty() || text.trim().ends_with(&path), "{text}");
        assert!(hierarchies.iter().all(|line| line.ends_with(&path)), "{text}");
    }
}

/// A restart uses the id again, at once.
#[test]
fn rule_12_id_of_a_deleted_container_is_free() {
    let Some(container) = Container::new("hello", |_| ()) else { return };
    for _ in 0..3 {
        container.start();
        assert_eq!(container.wait(), 0);
        container.done(&["delete"]);
        container.nothing_left();
    }
}

/// conmon ignores SIGPIPE, Docker's shim SIGQUIT: what a container does about signals must not depend on that.
#[test]
fn rule_13_signals_that_the_caller_blocks_or_ignores_are_not_inherited() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let creation = container.creation();
    let mut command = Command::new("env");
    command.args(["--ignore-signal=PIPE,QUIT,USR1", "--block-signal=TERM,USR2"]);
    command.arg(creation.get_program()).args(creation.get_args()).stdin(Stdio::null());
    let console = File::create(container.path("console")).unwrap();
    command.stdout(console.try_clone().unwrap()).stderr(console);
    if !command.status().unwrap().success() && container.console().contains("option") {
        skip("this env(1) cannot block signals");
        return;
    }
    container.done(&["start"]);
    // By then the monitor has its signals as it wants them.
    container.wait_for_console("ready");
    let children = format!("/proc/{0}/task/{0}/children", container.pid());
    let guest = fs::read_to_string(children).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", guest.trim())).unwrap();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    let bit = |signal: i32| 1_u64 << (signal - 1);
    assert_eq!(mask("SigBlk"), 0, "{status}");
    // SIGPIPE the monitor ignores by itself.
    assert_eq!(mask("SigIgn") & bit(libc::SIGUSR1), 0, "{status}");
    container.done_with_signal("15");
    assert_eq!(container.wait(), 143);
}

/// The shim lowers its own score; a container's is the shim's or what the configuration says.
#[test]
fn rule_13_score_for_lack_of_memory_is_inherited_or_set() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.create();
    let score = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score(container.pid().cast_unsigned()), score(std::process::id()));
    let Some(container) = Container::new("idle", |config| config["process"]["oomScoreAdj"] = json!(321))
    else {
        return;
    };
    container.create();
    assert_eq!(score(container.pid().cast_unsigned()).trim(), "321");
}

/// Docker looks for lines with `version` and `commit:`; go-runc for the line of `spec:`.
#[test]
fn rule_14_version_is_told_in_lines_that_engines_read() {
    for flag in ["--version", "-v"] {
        let output = Command::new(env!("CARGO_BIN_EXE_runu")).arg(flag).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("runu version "), "{text}");
        assert!(lines[1].starts_with("commit: "), "{text}");
        assert!(lines[2].starts_with("spec: 1."), "{text}");
    }
}

/// Podman takes a runtime of another name for one that writes no JSON, so some call us by runc's; then runc must still be
/// found.
#[test]
fn rule_15_called_by_another_name_it_is_the_same_and_does_not_call_itself() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let link = container.path("bin/runc");
    fs::create_dir(container.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_runu"), &link).unwrap();
    let call = |words: &[&str]| {
        let mut command = Command::new(&link);
        command.arg("--root").arg(container.root()).args(words).env("PATH", container.path("bin"));
        command.stdin(Stdio::null()).output().unwrap()
    };
    let text = String::from_utf8(call(&["--version"]).stdout).unwrap();
    assert!(text.starts_with("runu version"), "{text}");

    // Nothing in it is a unikernel, so it is somebody else's, and that is not us.
    fs::remove_dir_all(container.path("bundle/rootfs/unikraft")).unwrap();
    let bundle = container.path("bundle");
    let words = ["create", "--bundle", bundle.to_str().unwrap(), container.id.as_str()];
    let output = call(&words);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    let other = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| ["runc", "crun"].iter().any(|name| Path::new(folder).join(name).exists()));
    assert_eq!(told.contains("no runtime for those is installed"), !other, "{told}");
    call(&["delete", "--force", container.id.as_str()]);
}
