//! Which kernel is run, and when there is none.

use std::{fs, path::Path};

use data_encoding::BASE64;
use serde_json::json;

use crate::rig::{KRAFT_INITRD, KRAFT_KERNEL, Rig, guest};

/// `/urunc.json` with these values.
fn urunc_file(values: &[(&str, &str)]) -> Vec<u8> {
    let mut object = json!({});
    for (key, value) in values {
        object[format!("com.urunc.unikernel.{key}")] = json!(BASE64.encode(value.as_bytes()));
    }
    object.to_string().into_bytes()
}

#[test]
fn kernel_in_krafts_place_is_run_with_its_initrd() {
    let Some(rig) = Rig::kraft("hello") else { return };
    let rig = rig.file(KRAFT_INITRD, b"an initrd").args(&["a"]);
    let console = rig.console();
    assert!(console.contains("argv[0] = kernel\nargv[1] = a\n"), "{console}");
    assert!(console.contains("initrd 9 bytes"), "{console}");
}

#[test]
fn kernel_that_an_annotation_names_comes_before_that_in_krafts_place() {
    let Some(rig) = Rig::kraft("idle") else { return };
    let rig = rig.file("boot/hello", guest("hello")).file("boot/files", b"12345");
    let rig = rig.annotation("dev.runu.kernel", "/boot/hello").annotation("dev.runu.initrd", "boot/files");
    let console = rig.console();
    assert!(console.contains("argv[0] = hello\n"), "{console}");
    assert!(console.contains("initrd 5 bytes"), "{console}");
}

#[test]
fn file_that_somebody_calls_a_kernel_and_that_is_none_is_refused() {
    let urunc = urunc_file(&[("binary", "/k")]);
    for (name, contents, annotation) in [
        (KRAFT_KERNEL, &b"#!/bin/sh"[..], None),
        (KRAFT_KERNEL, b"", None),
        ("k", b"\x7fELF", Some("/k")),
        ("k", b"no kernel", None),
    ] {
        let Some(rig) = Rig::empty() else { return };
        let mut rig = rig.file(name, contents).file("urunc.json", &urunc);
        if let Some(path) = annotation {
            rig = rig.annotation("dev.runu.kernel", path);
        }
        rig.operator(&format!("ordinary.runtime = {:?}", rig.other_runtime()));
        let told = rig.refusal();
        assert!(told.contains("of the image is not a kernel that runu can run"), "{told}");
        assert_eq!(rig.handed_on(), None, "{name}");
    }
}

#[test]
fn path_out_of_the_image_stays_in_it() {
    let host = tempfile::tempdir().unwrap();
    let kernel = host.path().join("kernel");
    fs::write(&kernel, guest("hello")).unwrap();
    let climbing = format!("../../../../../../../..{}", kernel.display());
    let refused = |rig: Rig| {
        let told = rig.refusal();
        assert!(told.contains("of the image cannot be opened"), "{told}");
    };
    for path in [kernel.to_str().unwrap(), &climbing] {
        let Some(rig) = Rig::empty() else { return };
        refused(rig.annotation("dev.runu.kernel", path));
        let Some(rig) = Rig::empty() else { return };
        refused(rig.file("urunc.json", &urunc_file(&[("binary", path)])));
        let Some(rig) = Rig::empty() else { return };
        refused(rig.link("link", Path::new(path)).annotation("dev.runu.kernel", "/link"));
    }
    // A place that is a link to nowhere is no marker.
    let Some(rig) = Rig::empty() else { return };
    let rig = rig.link(KRAFT_KERNEL, &kernel).args(&["/bin/true"]);
    rig.operator(&format!("ordinary.runtime = {:?}", rig.other_runtime()));
    assert!(rig.run().status.success());
    assert!(rig.handed_on().is_some());
}

#[test]
fn kernel_that_is_a_pipe_or_a_folder_is_refused_at_once() {
    let Some(rig) = Rig::empty() else { return };
    let folder = rig.path("bundle/rootfs/unikraft/bin/kernel");
    fs::create_dir_all(&folder).unwrap();
    assert!(rig.refusal().contains("cannot be opened"));
    fs::remove_dir(&folder).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &folder,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o644),
        0,
    )
    .unwrap();
    assert!(rig.refusal().contains("not a regular file"));
}

#[test]
fn image_of_urunc_is_run_by_its_file() {
    let Some(rig) = Rig::empty() else { return };
    let file = urunc_file(&[
        ("unikernelType", "unikraft"),
        ("hypervisor", "qemu"),
        ("binary", "/unikernel/app"),
        ("initrd", "/unikernel/initrd"),
        ("cmdline", "from the 'image itself'"),
    ]);
    let mut rig = rig.file("urunc.json", &file).file("unikernel/app", guest("hello"));
    rig = rig.file("unikernel/initrd", b"1234").args(&["app", "--", "b"]);
    let console = rig.console();
    assert!(console.contains("argv[0] = app\nargv[1] = app\nargv[2] = --\nargv[3] = b\n"), "{console}");
    assert!(console.contains("initrd 4 bytes"), "{console}");

    let console = rig.args(&[]).console();
    assert!(console.contains("argv[1] = from\nargv[2] = the\nargv[3] = image itself\n"), "{console}");
}

#[test]
fn image_of_urunc_is_run_by_its_annotations_plain_or_encoded() {
    let plain = |text: &str| text.to_owned();
    let encoded = |text: &str| BASE64.encode(text.as_bytes());
    for write in [&plain as &dyn Fn(&str) -> String, &encoded] {
        let Some(rig) = Rig::empty() else { return };
        let mut rig = rig.file("app", guest("hello")).args(&["a"]);
        for (key, value) in [("unikernelType", "mirage"), ("hypervisor", "spt"), ("binary", "/app")] {
            rig = rig.annotation(&format!("com.urunc.unikernel.{key}"), &write(value));
        }
        assert!(rig.console().contains("argv[0] = app\nargv[1] = a\n"));
    }
}

#[test]
fn what_urunc_would_serve_and_we_cannot_is_refused() {
    for (key, value) in [("block", "/disk.img"), ("mountRootfs", "true"), ("bootKernel", "/boot/vmlinuz")] {
        let Some(rig) = Rig::empty() else { return };
        let rig = rig.file("app", guest("hello"));
        let told = rig.file("urunc.json", &urunc_file(&[("binary", "/app"), (key, value)])).refusal();
        assert!(told.contains(&format!("(`{key}`) is not supported for a unikernel")), "{told}");
    }
}

#[test]
fn file_of_urunc_that_is_malformed_is_refused() {
    for file in [&b"not json"[..], b"[]", b"{}", br#"{"com.urunc.unikernel.binary":"/plain.path"}"#] {
        let Some(rig) = Rig::empty() else { return };
        let told = rig.file("urunc.json", file).refusal();
        assert!(told.contains("the image is badly described by /urunc.json"), "{told}");
    }
}

#[test]
fn kernel_as_the_program_is_found_as_a_program_is() {
    for (program, cwd) in [("/opt/app", "/"), ("./app", "/opt"), ("../opt/app", "/opt"), ("app", "/")] {
        let Some(rig) = Rig::empty() else { return };
        let rig = rig.file("opt/app", guest("hello")).cwd(cwd).args(&[program, "--", "a b"]);
        let console = rig.env(&["PATH=/nowhere:/opt"]).console();
        let expected = format!("argv[0] = {program}\nargv[1] = --\nargv[2] = a b\n");
        assert!(console.contains(&expected), "{console}");
    }
}

#[test]
fn program_that_is_no_kernel_is_handed_on_without_our_own_flags() {
    for contents in [&b"#!/bin/sh\n"[..], b"\x7fELF", b"", &fs::read("/proc/self/exe").unwrap()] {
        let Some(rig) = Rig::empty() else { return };
        // Annotations of ours are for unikernels only.
        let rig = rig.file("bin/app", contents).args(&["/bin/app"]).annotation("dev.runu.speed", "9");
        rig.operator(&format!("ordinary.runtime = {:?}", rig.other_runtime()));
        let output = rig.run();
        assert!(output.status.success(), "{output:?}");
        let words = rig.handed_on().unwrap();
        let root = rig.path("root/containers");
        assert_eq!(words.get(..3).unwrap(), ["--root", root.to_str().unwrap(), "run"]);
    }
}
