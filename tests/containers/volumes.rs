//! Files of a guest that has its root from the host: the root of its container, volumes in it, and nothing beside them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::PathBuf,
};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::container::Container;

/// A user who owns nothing else.
const USER: u32 = 4321;

/// The configuration of a container with the folder `volume` of its folder mounted at /data, as `user`.
fn with_volume(config: &mut Value, folder: &str, access: &str, user: u32) {
    let files = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]);
    config["process"]["user"] = json!({ "uid": user, "gid": user });
    config["process"]["env"] = json!([format!("ACCESS={access}"), "FOLDER=data"]);
    config["process"]["capabilities"] = json!({ "effective": files, "permitted": files, "bounding": files });
    // Relative to the bundle.
    let source = format!("../{folder}");
    config["mounts"] =
        json!([{ "destination": "/data", "type": "bind", "source": source, "options": ["rbind", access] }]);
}

/// Makes what the guest `share` expects; the volume.
fn fill(container: &Container, owner: u32) -> PathBuf {
    let (volume, secret) = (container.path("volume"), container.path("secret"));
    fs::create_dir(&volume).unwrap();
    fs::write(&secret, "not the guest's").unwrap();
    fs::write(volume.join("hello.txt"), "hello from the host").unwrap();
    symlink(&secret, volume.join("absolute")).unwrap();
    symlink("../secret", volume.join("relative")).unwrap();
    symlink("..", volume.join("above")).unwrap();
    chown(&volume, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&volume, Permissions::from_mode(0o755)).unwrap();
    volume
}

/// What the guest `share` writes.
fn contents() -> Vec<u8> {
    (0..300_000_u32).map(|place| (place * 7).to_le_bytes()[0]).collect()
}

#[test]
fn volume_is_read_and_written_by_the_guest_and_files_belong_to_the_containers_user() {
    for user in [0, USER] {
        let change = |config: &mut Value| with_volume(config, "volume", "rw", user);
        let Some(container) = Container::new("share", change) else { return };
        let volume = fill(&container, user);

        let console = run(&container);

        assert!(console.contains(" checks, 0 failed"), "{console}");
        assert!(console.contains("mount fs0:/:9pfs"), "{console}");
        for name in ["made-L", "made-u"] {
            let metadata = fs::metadata(volume.join(name)).unwrap();
            assert_eq!(
                (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
                (user, user, 0o640),
                "{name}"
            );
            assert_eq!(fs::read(volume.join(name)).unwrap(), contents(), "{name}");
        }
        for name in ["folder-L", "folder-u"] {
            assert_eq!(fs::metadata(volume.join(name)).unwrap().mode() & 0o7777, 0o750, "{name}");
        }
        assert!(!volume.join("gone").exists());
        assert_eq!(fs::read(container.path("secret")).unwrap(), b"not the guest's");
    }
}

#[test]
fn volume_that_is_read_only_refuses_every_change() {
    let change = |config: &mut Value| with_volume(config, "volume", "ro", 0);
    let Some(container) = Container::new("share", change) else { return };
    let volume = fill(&container, 0);

    let console = run(&container);

    assert!(console.contains(" checks, 0 failed"), "{console}");
    assert_eq!(fs::read_dir(volume).unwrap().count(), 4);
}

#[test]
fn process_that_serves_volumes_sees_nothing_else_and_may_do_nothing_else() {
    let change = |config: &mut Value| with_volume(config, "volume", "rw", 0);
    let Some(container) = Container::new("share", change) else { return };
    fill(&container, 0);
    container.create();
    let server = container.companion();
    assert_eq!(fs::read_dir(server.path("root")).unwrap().count(), 0);
    assert_eq!(server.read("mountinfo").lines().count(), 1);
    let status = server.status();
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    // CHOWN, DAC_OVERRIDE, FOWNER.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(status[set], "000000000000000b", "{set}");
    }
    // The standard ones, a socket and a directory.
    assert_eq!(fs::read_dir(server.path("fd")).unwrap().count(), 5);
    container.done(&["start"]);
    container.wait();
}

#[test]
fn guest_whose_volumes_are_no_longer_served_ends_instead_of_waiting_for_them() {
    let change = |config: &mut Value| with_volume(config, "volume", "rw", 0);
    let Some(container) = Container::new("share", change) else { return };
    fill(&container, 0);
    container.create();
    let companion = Pid::from_raw(container.companion().0).unwrap();
    rustix::process::kill_process(companion, Signal::KILL).unwrap();
    container.done(&["start"]);
    container.wait();
    assert!(!container.console().contains(" 0 failed"), "{}", container.console());
}

#[test]
fn volume_that_cannot_be_had_is_refused_with_what_is_wrong() {
    let share = |folder: &'static str| move |config: &mut Value| with_volume(config, folder, "rw", 0);
    let Some(container) = Container::new("share", share("nowhere")) else { return };
    container.is_refused("cannot open it on the host");
    let Some(container) = Container::new("share", share("file")) else { return };
    fs::write(container.path("file"), "").unwrap();
    fs::create_dir(container.path("bundle/rootfs/data")).unwrap();
    container.is_refused("cannot mount it at its place");
    let Some(container) = Container::new("hello", share("volume")) else { return };
    fill(&container, 0);
    container.is_refused("no use for shared directories");
    for (kind, options, why) in [
        ("overlay", json!([]), "neither of the host nor in memory"),
        ("tmpfs", json!(["size=much"]), "make a file system in memory with these options"),
        ("tmpfs", json!(["nonsense"]), "make a file system in memory with these options"),
    ] {
        let Some(container) = Container::new("share", |config| {
            config["mounts"] =
                json!([{ "destination": "/data", "type": kind, "source": "none", "options": options }]);
        }) else {
            return;
        };
        container.is_refused(why);
    }
}

/// A container whose guest does what these words say, with these mounts.
fn ordered(words: &[&str], mounts: &Value, change: impl FnOnce(&mut Value)) -> Option<Container> {
    Container::new("share", |config| {
        config["process"]["args"] = json!([&["--"], words].concat());
        config["mounts"] = mounts.clone();
        change(config);
    })
}

#[test]
fn root_of_the_container_is_the_guests_and_keeps_what_it_writes() {
    let words = ["read=/www/page", "write=/www/made", "read=/www/made"];
    let Some(container) = ordered(&words, &json!([]), |_| {}) else { return };
    let folder = container.path("bundle/rootfs/www");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("page"), "of the image").unwrap();

    let console = run(&container);

    for line in ["read=/www/page: of the image", "write=/www/made: done", "read=/www/made: from the guest"] {
        assert!(console.contains(line), "{console}");
    }
    assert_eq!(fs::read_to_string(folder.join("made")).unwrap(), "from the guest");
}

#[test]
fn root_that_is_read_only_has_its_volumes_and_refuses_every_change() {
    let mounts = json!([{ "destination": "/made/here", "type": "tmpfs", "source": "tmpfs" }]);
    let words = ["write=/new", "write=/made/here/new", "write=/unikraft/bin/kernel"];
    let Some(container) = ordered(&words, &mounts, |config| config["root"]["readonly"] = json!(true)) else {
        return;
    };

    let console = run(&container);

    // EROFS.
    for line in ["write=/new: error 30", "write=/made/here/new: done", "write=/unikraft/bin/kernel: error 30"]
    {
        assert!(console.contains(line), "{console}");
    }
    assert_eq!(fs::read_dir(container.path("bundle/rootfs/made/here")).unwrap().count(), 0);
}

#[test]
fn files_of_the_host_are_at_their_places_and_only_those_that_may_be_are_changed() {
    let file = |source: &str, place: &str, access: &str| json!({ "destination": place, "type": "bind", "source": source, "options": ["rbind", access] });
    let mounts = json!([
        file("../fixed", "/etc/app/fixed", "ro"),
        file("../open", "/etc/app/open", "rw"),
        file("../names", "/etc/resolv.conf", "rw")
    ]);
    let words =
        ["read=/etc/app/fixed", "write=/etc/app/fixed", "write=/etc/app/open", "read=/etc/resolv.conf"];
    let Some(container) = ordered(&words, &mounts, |_| {}) else { return };
    for name in ["fixed", "open", "names"] {
        fs::write(container.path(name), format!("this is {name}")).unwrap();
    }

    let console = run(&container);

    for line in [
        "read=/etc/app/fixed: this is fixed",
        "write=/etc/app/fixed: error 30",
        "write=/etc/app/open: done",
        "read=/etc/resolv.conf: this is names",
    ] {
        assert!(console.contains(line), "{console}");
    }
    assert_eq!(fs::read_to_string(container.path("open")).unwrap(), "from the guest");
    assert_eq!(fs::read_to_string(container.path("fixed")).unwrap(), "this is fixed");
}

#[test]
fn file_system_in_memory_holds_no_more_than_its_size() {
    let options = json!(["nosuid", "noexec", "size=128k", "mode=700"]);
    let mounts = json!([{ "destination": "/cache", "type": "tmpfs", "source": "tmpfs", "options": options }]);
    let Some(container) = ordered(&["fill=/cache/file"], &mounts, |_| {}) else { return };
    let console = run(&container);
    assert!(console.contains("fill=/cache/file: 131072 bytes"), "{console}");
}

#[test]
fn file_system_in_memory_counts_as_memory_of_the_container() {
    let mounts = json!([{ "destination": "/cache", "type": "tmpfs", "source": "tmpfs" }]);
    let limit = json!({ "memory": { "limit": 32 << 20, "swap": 32 << 20 } });
    let words = ["fill=/cache/file", "read=/nowhere"];
    let Some(container) = ordered(&words, &mounts, |config| config["linux"]["resources"] = limit) else {
        return;
    };
    // 64 MiB would be filled.
    let console = run(&container);
    assert!(!console.contains("67108864 bytes"), "{console}");
    assert!(!console.contains("read=/nowhere"), "{console}");
}

#[test]
fn links_of_a_hostile_image_lead_no_volume_out_of_it() {
    let mounts = |place: &str| json!([{ "destination": place, "type": "bind", "source": "../secret", "options": ["rbind", "ro"] }]);
    for place in ["/absolute/name", "/relative/name", "/absolute", "/link"] {
        let Some(container) = ordered(&[], &mounts(place), |_| {}) else { return };
        let (root, outside) = (container.path("bundle/rootfs"), container.path("outside"));
        fs::write(container.path("secret"), "the container's").unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../../outside", root.join("relative")).unwrap();
        symlink(outside.join("new"), root.join("link")).unwrap();
        container.is_refused("cannot make its place among the guest's files");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{place}");
    }
}

#[test]
fn link_of_an_image_leads_a_volume_to_where_it_leads_inside() {
    let mounts =
        json!([{ "destination": "/run/name", "type": "bind", "source": "../secret", "options": ["bind"] }]);
    let Some(container) = ordered(&["read=/var/run/name"], &mounts, |_| {}) else { return };
    fs::write(container.path("secret"), "the container's").unwrap();
    fs::create_dir_all(container.path("bundle/rootfs/var/run")).unwrap();
    symlink("/var/run", container.path("bundle/rootfs/run")).unwrap();
    let console = run(&container);
    assert!(console.contains("read=/var/run/name: the container's"), "{console}");
}

/// What the container says to its end.
fn run(container: &Container) -> String {
    container.start();
    container.wait();
    container.console()
}
