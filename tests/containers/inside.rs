//! What the two processes of a container see of the host, and what they may do.

use std::{fs, os::unix::fs::MetadataExt};

use serde_json::json;

use crate::container::{Container, ourselves};

#[test]
fn root_inside_is_empty_and_cannot_be_written_to() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    for process in [container.supervisor(), container.guest()] {
        // By way of the link we are where the process is.
        let root = process.path("root");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "{process:?}");
        let error = fs::write(root.join("file"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{process:?}");
        assert_eq!(fs::read_dir(process.path("cwd")).unwrap().count(), 0, "{process:?}");
    }
}

#[test]
fn mounts_inside_are_the_empty_root_alone() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    for process in [container.supervisor(), container.guest()] {
        let mounts = process.read("mountinfo");
        let [mount] = mounts.lines().collect::<Vec<_>>()[..] else { panic!("{process:?}: {mounts}") };
        let fields: Vec<&str> = mount.split_whitespace().collect();
        assert_eq!(fields[4], "/", "{mount}");
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(fields[5].split(',').any(|found| found == option), "{option}: {mount}");
        }
        // Nothing of it goes to the host or comes from there.
        assert!(!mount.contains("shared:") && !mount.contains("master:"), "{mount}");
    }
}

#[test]
fn root_of_a_writable_bundle_and_any_propagation_is_the_same() {
    for propagation in ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", ""] {
        let Some(container) = Container::new("idle", |config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["rootfsPropagation"] = json!(propagation);
        }) else {
            return;
        };
        container.start();
        assert_eq!(container.guest().read("mountinfo").lines().count(), 1, "{propagation}");
        let root = |line: &str| line.contains(" - tmpfs runu ");
        assert!(root(&container.guest().read("mountinfo")), "{propagation}");
        assert!(!ourselves().read("mountinfo").lines().any(root), "{propagation}");
    }
}

#[test]
fn processes_have_no_privilege_and_no_way_to_one() {
    let Some(container) = Container::new("idle", |config| {
        let all = json!(["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_CHOWN", "CAP_SYS_RESOURCE"]);
        config["process"]["capabilities"] = json!({
            "bounding": all, "effective": all, "permitted": all, "inheritable": all, "ambient": all
        });
        config["process"]["noNewPrivileges"] = json!(false);
    }) else {
        return;
    };
    container.start_and_wait_until_ready();
    for process in [container.supervisor(), container.guest()] {
        let status = process.status();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{process:?} {set}");
        }
        assert_eq!(status["Groups"], "", "{process:?}");
    }
    let status = container.guest().status();
    assert_eq!(status["NoNewPrivs"], "1");
    // Filtered (seccomp(2), `SECCOMP_MODE_FILTER`).
    assert_eq!(status["Seccomp"], "2");
    assert_eq!(status["Threads"], "1");
}

#[test]
fn user_of_a_container_owns_nothing_and_is_no_other_containers() {
    let Some(one) = Container::new("idle", |config| {
        config["process"]["user"] =
            json!({ "uid": 1000, "gid": 1000, "additionalGids": [0, 27], "umask": 63 });
    }) else {
        return;
    };
    let Some(other) = Container::new("idle", |_| ()) else { return };
    one.start();
    other.start();
    assert_eq!(one.supervisor().user(), one.guest().user());
    assert_ne!(one.guest().user(), other.guest().user());
    for container in [&one, &other] {
        // The range that runu takes its users from, which nobody else uses.
        assert!((0x7200_0000..0x7240_0000).contains(&container.guest().user()));
    }
}

#[test]
fn processes_cannot_be_looked_into_by_others_of_their_user() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start_and_wait_until_ready();
    for process in [container.supervisor(), container.guest()] {
        assert_ne!(process.user(), 0);
        // What cannot be dumped belongs to root in /proc, whoever it runs as (proc(5)).
        assert_eq!(fs::metadata(process.path("mem")).unwrap().uid(), 0, "{process:?}");
    }
    assert_eq!(container.guest().read("environ"), "");
}

#[test]
fn names_of_the_host_inside_are_those_of_the_configuration() {
    let Some(container) = Container::new("idle", |config| {
        config["hostname"] = json!("ada");
        config["domainname"] = json!("example.org");
    }) else {
        return;
    };
    container.start();
    let inside = |program: &str| {
        let output = std::process::Command::new("nsenter")
            .arg(format!("--uts={}", container.guest().path("ns/uts").display()))
            .args(["cat", &format!("/proc/sys/kernel/{program}")])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(inside("hostname"), "ada");
    assert_eq!(inside("domainname"), "example.org");
}

#[test]
fn name_for_the_host_itself_is_refused() {
    for (name, value) in [("hostname", "ada"), ("domainname", "example.org")] {
        let Some(container) = Container::new("idle", |config| {
            config["linux"]["namespaces"] = json!([{ "type": "pid" }]);
            config[name] = json!(value);
        }) else {
            return;
        };
        container.is_refused(&format!("unable to set {name} without a private UTS namespace"));
    }
}

#[test]
fn name_of_a_host_that_is_too_long_is_refused() {
    let Some(container) = Container::new("idle", |config| config["hostname"] = json!("x".repeat(65))) else {
        return;
    };
    container.is_refused("set the host name");
}
