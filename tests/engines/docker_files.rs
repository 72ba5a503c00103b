//! What Docker puts into a unikernel's container beside the image, and images that are not quite right.

use super::support::{Docker, Image, UNIKERNEL};

#[test]
fn docker_run_with_a_volume_that_cannot_be_served_is_refused_with_a_reason() {
    let Some(docker) = Docker::shared() else { return };
    docker.container().run(&["--volume", "/etc:/data", UNIKERNEL]).ended_with(125).complained("/data");
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
