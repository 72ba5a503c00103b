//! What Docker puts into a unikernel's container beside the image, and images that are not quite right.

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
    docker.container().run(&["--volume", "/run/shared/it:/data", SHARE]).ended_with(0);
    docker.machine().sh("wc -c < /run/shared/it/made-L").printed("300000");
    let read_only = ["--volume", "/run/shared/it:/data:ro", "--env", "ACCESS=ro", SHARE];
    docker.container().run(&read_only).ended_with(0);
}

#[test]
fn docker_run_with_a_named_volume_lets_the_guest_read_and_write_it() {
    let Some(docker) = Docker::shared() else { return };
    docker.run(&["volume", "create", "kept"]).succeeded();
    let place =
        docker.run(&["volume", "inspect", "--format", "{{.Mountpoint}}", "kept"]).succeeded().to_owned();
    docker.machine().sh(&format!("cd {place}; {CONTENTS}")).succeeded();
    docker.container().run(&["--volume", "kept:/data", SHARE]).ended_with(0);
    docker.machine().sh(&format!("wc -c < {place}/made-L")).printed("300000");
    docker.run(&["volume", "rm", "kept"]).succeeded();
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
    assert!(std::fs::read(target).is_ok_and(|bytes| bytes == original));
}
