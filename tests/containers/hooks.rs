//! Hooks: when they run, where, with what, and what a failed one leaves.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::container::{Container, Process, ourselves};

/// Every moment of a container's life that has hooks, in the order of that life.
const MOMENTS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Those that run on the host's files; a startContainer hook is a program of the image.
const HOSTS: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// A hook that runs a shell script.
fn script(text: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", text] })
}

/// Puts statically linked `busybox` into the root file system as `/bin/sh`; whether this host has one.
fn with_shell(container: &Container) -> bool {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let Some(busybox) = busybox else {
        crate::container::skip("no busybox for a program in the image");
        return false;
    };
    let shell = container.path("bundle/rootfs/bin/sh");
    fs::create_dir_all(shell.parent().unwrap()).unwrap();
    fs::copy(busybox, &shell).unwrap();
    symlink("sh", shell.with_file_name("cat")).unwrap();
    true
}

fn hooked(guest: &str, hooks: impl FnOnce(&Container) -> Value) -> Option<Container> {
    let container = Container::new(guest, |_| ())?;
    let mut config = container.config();
    config["annotations"] = json!({ "org.example.key": "value \"quoted\"" });
    config["hooks"] = hooks(&container);
    container.configure(&config);
    Some(container)
}

#[test]
fn hooks_run_in_the_order_of_life_and_of_their_lists() {
    let Some(container) = hooked("hello", |container| {
        let told = container.path("told");
        let list = |moment: &str| {
            let hook = |number: u32| script(&format!("echo {moment}-{number} >> {}", told.display()));
            json!([hook(1), hook(2)])
        };
        HOSTS
            .iter()
            .map(|moment| ((*moment).to_owned(), list(moment)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }) else {
        return;
    };
    let told = || fs::read_to_string(container.path("told")).unwrap_or_default();
    let expected = |moments: &[&str]| -> String {
        moments.iter().flat_map(|moment| [1, 2].map(|number| format!("{moment}-{number}\n"))).collect()
    };
    container.create();
    assert_eq!(told(), expected(&HOSTS[..3]));
    container.done(&["start"]);
    assert_eq!(told(), expected(&HOSTS[..4]));
    container.wait();
    container.done(&["delete"]);
    assert_eq!(told(), expected(&HOSTS));
    container.nothing_left();
}

#[test]
fn hooks_are_told_the_state_as_it_is() {
    let Some(container) = hooked("idle", |container| {
        let hook =
            |moment: &str| json!([script(&format!("cat > {}.{moment}", container.path("told").display()))]);
        HOSTS
            .iter()
            .map(|moment| ((*moment).to_owned(), hook(moment)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }) else {
        return;
    };
    container.start();
    let pid = container.supervisor().0;
    container.done(&["delete", "--force"]);
    for (moment, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let text = fs::read(container.path(&format!("told.{moment}"))).unwrap();
        let state: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(state["id"], container.id(), "{moment}");
        assert_eq!(state["status"], status, "{moment}");
        assert_eq!(state["pid"], if moment == "poststop" { 0 } else { pid }, "{moment}");
        assert_eq!(state["ociVersion"], "1.0.2", "{moment}");
        assert_eq!(state["annotations"]["org.example.key"], "value \"quoted\"", "{moment}");
        let bundle = fs::canonicalize(container.path("bundle")).unwrap();
        assert_eq!(state["bundle"].as_str(), bundle.to_str(), "{moment}");
    }
}

#[test]
fn hook_has_the_name_the_arguments_and_the_environment_that_are_given() {
    let Some(container) = hooked("hello", |container| {
        let told = container.path("told");
        let script = format!(
            "tr '\\0' ' ' < /proc/$$/cmdline > {0}; /usr/bin/env | grep -v '^_=\\|^PWD=\\|^SHLVL=' >> {0}",
            told.display()
        );
        json!({ "createRuntime": [{
            "path": "/bin/sh", "args": ["libnetwork-setkey", "-c", script, "zero", "one"], "env": ["A=b c", "D="]
        }] })
    }) else {
        return;
    };
    container.create();
    let told = fs::read_to_string(container.path("told")).unwrap();
    assert!(told.starts_with("libnetwork-setkey -c "), "{told}");
    assert!(told.contains(" zero one A=b c\nD=\n"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn hook_of_the_container_runs_in_its_namespaces_with_the_hosts_files_and_others_in_ours() {
    let Some(container) = hooked("idle", |container| {
        let told = container.path("told");
        let hook = |moment: &str| {
            let kinds = "for kind in mnt net ipc uts pid; do readlink /proc/self/ns/$kind; done";
            json!([script(&format!("{{ {kinds}; }} > {}.{moment}", told.display()))])
        };
        HOSTS
            .iter()
            .map(|moment| ((*moment).to_owned(), hook(moment)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }) else {
        return;
    };
    container.start();
    let namespaces = |process: Process| -> String {
        ["mnt", "net", "ipc", "uts", "pid"]
            .iter()
            .map(|kind| format!("{kind}:[{}]\n", process.namespace(kind)))
            .collect()
    };
    let inside = namespaces(container.supervisor());
    container.done(&["delete", "--force"]);
    for moment in HOSTS {
        let told = fs::read_to_string(container.path(&format!("told.{moment}"))).unwrap();
        let expected = if moment == "createContainer" { inside.clone() } else { namespaces(ourselves()) };
        assert_eq!(told, expected, "{moment}");
    }
}

#[test]
fn hook_of_a_container_with_a_user_namespace_runs_in_it() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let told = container.path("told");
    fs::write(&told, "").unwrap();
    let mut config = container.config();
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    config["hooks"] =
        json!({ "createContainer": [script(&format!("readlink /proc/self/ns/user > {}", told.display()))] });
    container.configure(&config);
    container.create();
    let expected = format!("user:[{}]\n", container.supervisor().namespace("user"));
    assert_eq!(fs::read_to_string(told).unwrap(), expected);
}

#[test]
fn hook_that_fails_before_the_start_leaves_nothing() {
    for moment in &MOMENTS[..3] {
        let Some(container) = hooked("hello", |container| {
            let told = container.path("told");
            json!({
                *moment: [script("echo no luck >&2; exit 3"), script("echo never >> never")],
                "poststop": [script(&format!("echo stopped >> {}", told.display()))],
            })
        }) else {
            return;
        };
        container.is_refused("no luck");
        assert!(container.logged().contains(&format!("{moment} hook #0")), "{}", container.logged());
        // Hooks of the end run for what was begun (runtime-spec, runtime.md, "Lifecycle").
        assert_eq!(fs::read_to_string(container.path("told")).unwrap(), "stopped\n", "{moment}");
    }
}

#[test]
fn hook_that_fails_after_the_start_ends_the_container() {
    let Some(container) = hooked("idle", |_| json!({ "poststart": [script("echo no luck >&2; exit 3")] }))
    else {
        return;
    };
    container.create();
    assert_eq!(container.call(&["start"]).status.code(), Some(1));
    assert!(container.logged().contains("no luck"), "{}", container.logged());
    container.wait();
    assert_eq!(container.state()["status"], "stopped");
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn hook_that_fails_at_the_end_is_passed_over_and_the_next_runs() {
    let Some(container) = hooked("hello", |container| {
        let told = container.path("told");
        json!({ "poststop": [script("exit 3"), { "path": "/nonexistent" }, script(&format!("echo ran > {}", told.display()))] })
    }) else {
        return;
    };
    container.start();
    container.wait();
    container.done(&["delete"]);
    assert_eq!(fs::read_to_string(container.path("told")).unwrap(), "ran\n");
    container.nothing_left();
}

#[test]
fn hook_that_is_no_program_is_refused() {
    for moment in &MOMENTS[..3] {
        let Some(container) = hooked("hello", |_| json!({ *moment: [{ "path": "/nonexistent/hook" }] }))
        else {
            return;
        };
        container.is_refused("/nonexistent/hook");
    }
}

#[test]
fn hook_that_takes_longer_than_its_timeout_is_ended() {
    for moment in ["prestart", "createContainer"] {
        // In the container's process namespace the hook is a child of the child that is killed.
        let Some(container) = hooked("hello", |container| {
            let text = format!("echo begun > {}; read line < {0}.pipe", container.path("told").display());
            json!({ moment: [{ "path": "/bin/sh", "args": ["sh", "-c", text], "timeout": 1 }] })
        }) else {
            return;
        };
        let pipe = container.path("told.pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        container.is_refused("longer than 1 second");
        assert_eq!(fs::read_to_string(container.path("told")).unwrap(), "begun\n");
        // Nobody reads it any more: opening it for writing without waiting fails (fifo(7)).
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        let opened = rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty());
        assert_eq!(opened.err(), Some(rustix::io::Errno::NXIO), "{moment}");
    }
}

#[test]
fn hook_that_reads_nothing_gets_more_state_than_a_pipe_holds() {
    let Some(container) = Container::new("hello", |config| {
        config["annotations"] = json!({ "org.example.long": "x".repeat(1 << 20) });
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true" }] });
    }) else {
        return;
    };
    container.create();
    assert_eq!(container.state()["status"], "created");
}

#[test]
fn hook_of_the_start_runs_the_images_program_before_the_guest() {
    let Some(container) = hooked("idle", |_| {
        let text = "cat > /told; cd /; echo * >> /told; echo \"$A|$HOME\" >> /told";
        json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", text], "env": ["A=b"] }] })
    }) else {
        return;
    };
    if !with_shell(&container) {
        return;
    }
    container.create();
    let told = container.path("bundle/rootfs/told");
    assert!(!told.exists());
    container.done(&["start"]);
    let text = fs::read_to_string(told).unwrap();
    assert!(text.ends_with("\nbin told unikraft\nb|\n"), "{text}");
    let state: Value = serde_json::from_str(text.split("\nbin ").next().unwrap()).unwrap();
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!(container.id())));
    assert_eq!(container.state()["status"], "running");
}

#[test]
fn hook_of_the_start_is_confined_to_the_container() {
    let Some(container) = hooked("idle", |_| {
        let text = "echo here > /asked; cat /answer";
        json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", text] }] })
    }) else {
        return;
    };
    if !with_shell(&container) {
        return;
    }
    let pipes = ["asked", "answer"].map(|name| container.path("bundle/rootfs").join(name));
    assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
    container.create();
    let mut start = container.command(&["start"]).stdout(Stdio::null()).spawn().unwrap();
    // Opening it takes until the hook does, which then waits for an answer.
    assert_eq!(fs::read_to_string(&pipes[0]).unwrap(), "here\n");
    let group = container.group("pids").map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap());
    let processes: Vec<Process> =
        group.unwrap_or_default().lines().map(|line| Process(line.parse().unwrap())).collect();
    let hook = processes.iter().find(|process| process.read("comm").trim() == "sh").copied();
    let seen = hook.map(|hook| {
        let kinds = ["pid", "net", "ipc", "uts"];
        let namespaces = kinds.map(|kind| hook.namespace(kind) == container.supervisor().namespace(kind));
        (hook.status(), namespaces, hook.read("mountinfo"), fs::read_dir(hook.path("fd")).unwrap().count())
    });
    fs::write(&pipes[1], "go on\n").unwrap();
    assert!(start.wait().unwrap().success());

    let Some((status, namespaces, mounts, descriptors)) = seen else {
        return crate::container::skip("no version-1 control group to find the hook in");
    };
    assert_eq!(namespaces, [true; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Groups"].as_str()), ("1", ""));
    assert!(mounts.lines().count() == 1 && mounts.contains("nosuid,nodev"), "{mounts}");
    assert!(descriptors <= 4, "{descriptors} descriptors");
}

#[test]
fn hook_of_the_start_that_is_not_in_the_image_or_fails_ends_the_container() {
    for (hook, named) in [
        (json!({ "path": "/no/such/program" }), "/no/such/program"),
        (json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 3"] }), "no luck"),
        // A link out of the image leads nowhere.
        (json!({ "path": "/escape" }), "/escape"),
    ] {
        let Some(container) = hooked("idle", |_| json!({ "startContainer": [hook] })) else { return };
        if !with_shell(&container) {
            return;
        }
        symlink("/usr/bin/env", container.path("bundle/rootfs/escape")).unwrap();
        container.create();
        assert_eq!(container.call(&["start"]).status.code(), Some(1), "{named}");
        assert!(container.logged().contains(named), "{named}: {}", container.logged());
        container.wait();
        assert_eq!(container.state()["status"], "stopped");
        assert!(!container.console().contains("ready"), "the guest ran");
        container.done(&["delete"]);
        container.nothing_left();
    }
}
