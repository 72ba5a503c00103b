//! What Docker puts into a unikernel's container beside the image, and images that are not quite right.

use std::fs;

use super::support::{Docker, Image, SHARE, UNIKERNEL};

#[test]
fn docker_run_with_a_volume_that_cannot_be_served_is_refused_with_a_reason() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&["--volume", "/etc:/data", UNIKERNEL]).ended_with(125).complained("/data");
}

/// What the guest `share` wants to find in a directory.
const CONTENTS: &str = "printf 'hello from the host' > hello.txt; echo theirs > ../secret
    ln -s \"$PWD/../secret\" absolute; ln -s ../secret relative; ln -s .. above";

#[test]
fn docker_run_with_a_directory_of_the_host_lets_the_guest_read_and_write_it() {
    let Some(docker) = Docker::shared() else { return };
    docker.machine().sh(&format!("mkdir -p /run/shared/it; cd /run/shared/it; {CONTENTS}")).succeeded();
    let folder = ["--env", "FOLDER=data"];
    docker
        .container()
        .run(&[&["--volume", "/run/shared/it:/data"][..], &folder, &[SHARE]].concat())
        .ended_with(0);
    docker.machine().sh("wc -c < /run/shared/it/made-L").printed("300000");
    let read_only = ["--volume", "/run/shared/it:/data:ro", "--env", "ACCESS=ro"];
    docker.container().run(&[&read_only[..], &folder, &[SHARE]].concat()).ended_with(0);
}

#[test]
fn docker_run_with_a_named_volume_lets_the_guest_read_and_write_it() {
    let Some(docker) = Docker::shared() else { return };
    docker.run(&["volume", "create", "kept"]).succeeded();
    let place =
        docker.run(&["volume", "inspect", "--format", "{{.Mountpoint}}", "kept"]).succeeded().to_owned();
    docker.machine().sh(&format!("cd {place}; {CONTENTS}")).succeeded();
    docker.container().run(&["--volume", "kept:/data", "--env", "FOLDER=data", SHARE]).ended_with(0);
    docker.machine().sh(&format!("wc -c < {place}/made-L")).printed("300000");
    docker.run(&["volume", "rm", "kept"]).succeeded();
}

#[test]
fn docker_diff_cp_and_commit_of_a_guest_with_its_root_from_the_host_show_what_it_wrote() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&[SHARE, "--", "write=/made"]).ended_with(0);
    let diff = container.verb(&["diff"]).succeeded().to_owned();
    assert!(diff.lines().any(|line| line == "A /made"), "{diff}");
    let target = docker.machine().folder().join("made");
    docker.run(&["cp", &format!("{}:/made", container.name), &target.to_string_lossy()]).succeeded();
    assert_eq!(fs::read_to_string(target).unwrap(), "from the guest");
    docker.run(&["commit", &container.name, "committed"]).succeeded();
    docker.container().run(&["committed", "--", "read=/made"]).printed("read=/made: from the guest");
    docker.run(&["image", "rm", "--force", "committed"]).succeeded();
}

#[test]
fn docker_run_with_files_memory_and_a_read_only_root_gives_the_guest_each() {
    let Some(docker) = Docker::shared() else { return };
    docker.machine().sh("mkdir -p /run/secret; printf 'the secret' > /run/secret/key").succeeded();
    let flags = ["--read-only", "--tmpfs", "/cache:size=128k", "--hostname", "named"];
    let file = ["--volume", "/run/secret/key:/run/secrets/key:ro", SHARE, "--"];
    let words = ["read=/run/secrets/key", "read=/etc/hostname", "fill=/cache/file"];
    let ran = docker.container().run(&[&flags[..], &file, &words].concat());
    ran.ended_with(0);
    for line in
        ["read=/run/secrets/key: the secret", "read=/etc/hostname: named", "fill=/cache/file: 131072 bytes"]
    {
        assert!(ran.stdout.contains(line), "{ran:#?}");
    }
    let words = ["write=/new", "write=/run/secrets/key"];
    docker.container().run(&[&flags[..], &file, &words].concat()).ended_with(2);
}

#[test]
fn docker_run_of_an_image_whose_kernel_is_no_kernel_is_refused_with_a_reason() {
    let Some(docker) = Docker::shared() else { return };
    let image = Image::broken(docker.machine().folder());
    docker.import("broken", &image, "CMD [\"--\"]");
    let ran = docker.container().run(&["broken"]);
    assert!([125, 126].contains(&ran.status), "{ran:#?}");
    ran.complained("kernel");
}

#[test]
fn docker_cp_from_a_unikernels_container_copies_the_kernel() {
    let Some(docker) = Docker::shared() else { return };
    let container = docker.container();
    container.run(&[UNIKERNEL]);
    let target = docker.machine().folder().join("copied");
    let source = format!("{}:/unikraft/bin/kernel", container.name);
    docker.run(&["cp", &source, &target.to_string_lossy()]).succeeded();
    let original = runu_guests::HELLO_MULTIBOOT;
    assert!(fs::read(target).is_ok_and(|bytes| bytes == original));
}
