//! Bundles that are wrong or hostile: refused with a clear word, at once, and nothing is left.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::container::{Container, skip};

#[test]
fn configuration_that_is_none_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(r#"{{"ociVersion":"1.0.2","annotations":{deep}}}"#);
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "\"text\"",
        "{}",
        "{\"ociVersion\":1}",
        "\u{0}",
        "\u{feff}{}",
        deep.as_str(),
        nested.as_str(),
        r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":[]}"#,
        r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"args":[1]}}"#,
        r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"moon"}]}}"#,
    ];
    for text in texts {
        container.configure(text);
        container.is_refused("OCI configuration");
    }
}

#[test]
fn configuration_that_is_no_readable_file_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let path = container.path("bundle/config.json");
    fs::remove_file(&path).unwrap();
    container.is_refused("No such file or directory");
    fs::create_dir(&path).unwrap();
    container.is_refused("cannot read");
    fs::remove_dir(&path).unwrap();
    symlink(&path, &path).unwrap();
    container.is_refused("cannot read");
    fs::remove_file(&path).unwrap();
    // A pipe that nobody writes to: reading it would wait for ever.
    rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
    container.is_refused("cannot read");
    fs::remove_file(&path).unwrap();
    // Endless.
    symlink("/dev/zero", &path).unwrap();
    container.is_refused("cannot read");
}

#[test]
fn configuration_that_is_too_long_is_refused_unread() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    fs::File::create(container.path("bundle/config.json")).unwrap().set_len(1 << 40).unwrap();
    container.is_refused("file too large");
}

#[test]
fn configuration_with_a_value_that_cannot_be_is_refused() {
    /// What breaks a configuration, and a word of the error.
    type Break = (&'static str, fn(&mut Value));
    let broken: [Break; 9] = [
        ("`root`", |config| config["root"] = Value::Null),
        ("`process`", |config| config["process"] = Value::Null),
        ("control group", |config| config["linux"]["cgroupsPath"] = json!("/../../etc")),
        ("cannot read", |config| {
            config["linux"]["namespaces"] = json!([{ "type": "network", "path": "/none" }]);
        }),
        ("namespace", |config| {
            config["linux"]["namespaces"] = json!([{ "type": "network", "path": "/etc/passwd" }]);
        }),
        ("is too little", |config| {
            config["linux"]["resources"] = json!({ "memory": { "limit": 1 } });
        }),
        ("cannot set a limit of", |config| {
            config["linux"]["resources"] = json!({ "cpu": { "cpus": "9999" } });
        }),
        ("/data", |config| {
            config["mounts"] = json!([{ "destination": "/data", "type": "bind", "source": "/tmp" }]);
        }),
        ("hook #0", |config| config["hooks"] = json!({ "createRuntime": [{ "path": "/none" }] })),
    ];
    for (named, break_it) in broken {
        let Some(container) = Container::new("hello", break_it) else { return };
        container.is_refused(named);
    }
}

#[test]
fn words_that_a_guest_cannot_be_given_are_refused() {
    let Some(container) = Container::new("hello", |config| {
        config["process"]["args"] = json!(["x".repeat(1 << 20)]);
    }) else {
        return;
    };
    container.is_refused("cannot be given its arguments");
}

/// A word of the error, and what makes the file.
type Maker = (&'static str, Box<dyn Fn(&Path)>);

/// Files in the kernel's place that are none.
fn kernels(container: &Container) -> Vec<Maker> {
    let (fifo, device, outside) = (
        |path: &Path| rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).unwrap(),
        |path: &Path| {
            let zero = rustix::fs::makedev(1, 5);
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, zero).unwrap();
        },
        container.path("kernel-outside"),
    );
    fs::copy(container.kernel(), &outside).unwrap();
    let relative = format!("{}/../../../../../../..{}", "..", outside.display());
    vec![
        ("is a directory", Box::new(|path| fs::create_dir(path).unwrap())),
        ("not a regular file", Box::new(fifo)),
        ("not a regular file", Box::new(device)),
        ("not a kernel that runu can run", Box::new(|path| fs::write(path, "").unwrap())),
        ("not a kernel that runu can run", Box::new(|path| fs::write(path, "\x7fELF").unwrap())),
        ("not a kernel that runu can run", Box::new(|path| fs::write(path, vec![0; 1 << 20]).unwrap())),
        ("cannot be opened", Box::new(|path| symlink("kernel", path).unwrap())),
        ("file too large", Box::new(|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap())),
        // Links that would lead out of the root: followed inside it they lead nowhere.
        ("No such file", Box::new(move |path| symlink(&outside, path).unwrap())),
        ("No such file", Box::new(move |path| symlink(&relative, path).unwrap())),
        ("No such file", Box::new(|path| symlink("/proc/self/exe", path).unwrap())),
    ]
}

/// A marker says that the image is a unikernel, so nothing else is guessed.
#[test]
fn kernel_that_is_none_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    fs::create_dir_all(container.path("bundle/rootfs/proc")).unwrap();
    for (named, make) in kernels(&container) {
        let path = container.path("bundle/rootfs/kernel-of-urunc");
        make(&path);
        // `/kernel-of-urunc`
        let urunc = r#"{"com.urunc.unikernel.binary":"L2tlcm5lbC1vZi11cnVuYw=="}"#;
        fs::write(container.path("bundle/rootfs/urunc.json"), urunc).unwrap();
        let _ = fs::remove_dir_all(container.path("bundle/rootfs/unikraft"));
        container.is_refused(named);
        let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
    }
}

#[test]
fn kernel_in_krafts_place_that_is_none_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let makers = kernels(&container);
    // What leads nowhere is as if it was not there: an ordinary container, and somebody else's to refuse.
    for (named, make) in makers.into_iter().filter(|(named, _)| *named != "No such file") {
        let path = container.kernel();
        let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        make(&path);
        container.is_refused(named);
    }
}

#[test]
fn root_that_is_none_is_the_other_runtimes_to_refuse() {
    let Some(container) = Container::new("idle", |config| config["root"] = json!({ "path": "none" })) else {
        return;
    };
    if Command::new("runc").arg("--version").output().is_err() {
        skip("no runc");
        return;
    }
    let status = container.creation().status().unwrap();
    assert!(!status.success());
    container.nothing_left();
}

#[test]
fn bundle_that_is_not_there_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    for path in ["/none", "/etc/passwd", "/dev/null", "\u{1f984}"] {
        container.fails(&["create", "--bundle", path], "cannot read");
    }
    container.fails(&["create", "--bundle", ""], "--bundle");
}

#[test]
fn annotations_of_others_are_told_and_not_obeyed() {
    let long = "x".repeat(1 << 16);
    let annotations = json!({ "": "", "a\nb": "\u{1b}[31m", "dev.other": "/etc/passwd", "long": long });
    let Some(container) = Container::new("idle", |config| config["annotations"] = annotations.clone()) else {
        return;
    };
    container.start();
    assert_eq!(container.state()["annotations"], annotations);
}
