//! Volumes: directories of the host that a guest shares, and nothing beside them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::container::Container;

/// A user who owns nothing else.
const USER: u32 = 4321;

/// The configuration of a container with the folder `volume` of its folder mounted at /data, as `user`.
fn with_volume(config: &mut Value, folder: &str, access: &str, user: u32) {
    let files = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]);
    config["process"]["user"] = json!({ "uid": user, "gid": user });
    config["process"]["env"] = json!([format!("ACCESS={access}")]);
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
        assert!(console.contains("mount fs0:/data:9pfs:::mkmp"), "{console}");
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
fn volume_that_cannot_be_had_is_refused_with_what_is_wrong() {
    let share = |folder: &'static str| move |config: &mut Value| with_volume(config, folder, "rw", 0);
    let Some(container) = Container::new("share", share("nowhere")) else { return };
    container.is_refused("cannot be opened");
    let Some(container) = Container::new("share", share("file")) else { return };
    fs::write(container.path("file"), "").unwrap();
    container.is_refused("it is a file");
    let Some(container) = Container::new("hello", share("volume")) else { return };
    fill(&container, 0);
    container.is_refused("no use for shared directories");
    let Some(container) = Container::new("share", |config| {
        config["mounts"] = json!([{ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }]);
    }) else {
        return;
    };
    container.is_refused("no directory of the host");
}

/// What the container says to its end.
fn run(container: &Container) -> String {
    container.start();
    container.wait();
    container.console()
}
