//! What `runu` says, and which status it gives, when what it is given is wrong. No guest runs in any of these.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// Statuses of `runu` by whose mistake it is: the user's or the host's, the image's.
const USER: i32 = 125;
const IMAGE: i32 = 126;

fn runu(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runu"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A kernel that is as it should be, as a file.
fn hello() -> String {
    let guest = runu_guests::Guest::named("hello").unwrap();
    guest.multiboot_path().into_os_string().into_string().unwrap()
}

/// A folder with one file of these bytes in it, and the file's path.
fn file(bytes: &[u8]) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, bytes).unwrap();
    (folder, path.into_os_string().into_string().unwrap())
}

/// The kernel with the bytes at `offset` replaced.
fn patched(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut kernel = runu_guests::HELLO_LINUX64.to_vec();
    kernel[offset..offset + bytes.len()].copy_from_slice(bytes);
    kernel
}

/// Offsets in the ELF64 file header and in its first program headers, which follow it (gABI, "ELF Header").
mod elf64 {
    pub(crate) const MACHINE: usize = 0x12;
    pub(crate) const ENTRY: usize = 0x18;
    pub(crate) const FIRST_OFFSET: usize = 0x40 + 0x08;
    pub(crate) const FIRST_PADDR: usize = 0x40 + 0x18;
    pub(crate) const FIRST_MEMSZ: usize = 0x40 + 0x28;
    pub(crate) const SECOND_PADDR: usize = 0x78 + 0x18;
}

/// Asserts one error that names `named`, with a hint, on stderr; nothing on stdout; and the status.
#[track_caller]
fn assert_refused(output: &Output, status: i32, named: &str) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("error: ")).count(), 1, "{stderr}");
    assert!(lines[0].starts_with("error: "), "{stderr}");
    assert!(
        lines[1..].iter().all(|line| line.starts_with("  cause: ") || line.starts_with("hint: ")),
        "{stderr}"
    );
    assert_eq!(lines.iter().filter(|line| line.starts_with("hint: ")).count(), 1, "{stderr}");
    assert!(stderr.contains(named), "`{named}` is not in: {stderr}");
}

/// Asserts that both `run` and `inspect` refuse the file.
#[track_caller]
fn assert_file_refused(path: &str, status: i32, named: &str) {
    for verb in ["run", "inspect"] {
        assert_refused(&runu(&[verb, path]).output().unwrap(), status, named);
    }
}

#[test]
fn kernel_that_does_not_exist_is_refused() {
    assert_file_refused("/nonexistent/kernel", USER, "/nonexistent/kernel");
}

#[test]
fn kernel_that_is_a_folder_is_refused() {
    assert_file_refused("/", USER, "a directory");
}

#[test]
fn kernel_that_is_a_device_is_refused() {
    assert_file_refused("/dev/zero", USER, "a device");
}

#[test]
fn kernel_that_is_a_pipe_without_writer_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_file_refused(path.to_str().unwrap(), USER, "pipe");
}

#[test]
fn kernel_in_a_folder_closed_to_us_is_refused() {
    let (folder, path) = file(runu_guests::HELLO_LINUX64);
    // Root reads everything, and the built binary may lie where another user does not reach it, so a copy is run as one.
    let copy = folder.path().join("runu");
    fs::copy(env!("CARGO_BIN_EXE_runu"), &copy).unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::rename(&path, closed.join("kernel")).unwrap();
    let set_mode = |path: &PathBuf, mode: &str| Command::new("chmod").arg(mode).arg(path).status().unwrap();
    assert!(set_mode(&folder.path().to_path_buf(), "755").success());
    assert!(set_mode(&closed, "000").success());
    let mut command = Command::new(&copy);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let output = command.arg("inspect").arg(closed.join("kernel")).output().unwrap();
    assert!(set_mode(&closed, "755").success());
    assert_refused(&output, USER, "Permission denied");
}

#[test]
fn kernel_without_bytes_is_refused() {
    let (_folder, path) = file(b"");
    assert_file_refused(&path, IMAGE, "empty");
}

#[test]
fn kernel_cut_anywhere_in_its_headers_is_refused() {
    for len in [1, 4, 20, 63, 64, 100] {
        let (_folder, path) = file(&runu_guests::HELLO_LINUX64[..len]);
        assert_file_refused(&path, IMAGE, "truncated");
    }
}

#[test]
fn kernel_cut_in_half_is_refused() {
    let whole = runu_guests::HELLO_MULTIBOOT;
    let (_folder, path) = file(&whole[..whole.len() / 2]);
    assert_file_refused(&path, IMAGE, "truncated");
}

#[test]
fn kernel_for_another_architecture_is_refused_by_its_name() {
    const EM_AARCH64: u16 = 183;
    let (_folder, path) = file(&patched(elf64::MACHINE, &EM_AARCH64.to_le_bytes()));
    assert_file_refused(&path, IMAGE, "arm64");
}

#[test]
fn kernel_that_is_an_ordinary_program_is_refused() {
    assert_file_refused(env!("CARGO_BIN_EXE_runu"), IMAGE, "not a unikernel");
}

#[test]
fn kernel_that_is_a_script_is_refused() {
    let (_folder, path) = file(b"#!/bin/sh\necho hello\n");
    assert_file_refused(&path, IMAGE, "not a unikernel");
}

#[test]
fn kernel_with_overlapping_segments_is_refused() {
    let first = &runu_guests::HELLO_LINUX64[elf64::FIRST_PADDR..elf64::FIRST_PADDR + 8];
    let (_folder, path) = file(&patched(elf64::SECOND_PADDR, first));
    assert_file_refused(&path, IMAGE, "overlap");
}

#[test]
fn kernel_with_a_huge_segment_is_refused() {
    for len in [1_u64 << 40, u64::MAX] {
        let (_folder, path) = file(&patched(elf64::FIRST_MEMSZ, &len.to_le_bytes()));
        assert_file_refused(&path, IMAGE, "segment");
    }
}

#[test]
fn kernel_with_a_segment_outside_the_file_is_refused() {
    let (_folder, path) = file(&patched(elf64::FIRST_OFFSET, &u64::MAX.to_le_bytes()));
    assert_file_refused(&path, IMAGE, "truncated");
}

#[test]
fn kernel_with_its_entry_outside_is_refused() {
    let (_folder, path) = file(&patched(elf64::ENTRY, &0x10_u64.to_le_bytes()));
    assert_file_refused(&path, IMAGE, "entry");
}

#[test]
fn file_name_with_control_characters_is_told_escaped() {
    let output = runu(&["inspect", "a\x1b[31m\nb"]).output().unwrap();
    assert_refused(&output, USER, "a\\u{1b}[31m\\nb");
}

#[test]
fn initrd_larger_than_memory_is_refused() {
    let (_folder, path) = file(&vec![0; 3 << 20]);
    let output = runu(&["run", "-m", "2M", "--initrd", &path, &hello()]).output().unwrap();
    assert_refused(&output, USER, "initrd");
}

#[test]
fn initrd_that_does_not_exist_is_refused() {
    let output = runu(&["run", "--initrd", "/nonexistent", &hello()]).output().unwrap();
    assert_refused(&output, USER, "initrd");
}

#[test]
fn memory_of_nothing_or_absurd_size_is_refused() {
    for size in ["0", "1", "1M", "4095", "2049k", "100T", "16777215T"] {
        let output = runu(&["run", "-m", size, &hello()]).output().unwrap();
        assert_refused(&output, USER, "memory");
    }
}

#[test]
fn memory_that_is_no_size_is_refused() {
    for size in ["", "-1", "1.5G", "64X", "18446744073709551616"] {
        let output = runu(&["run", &format!("-m{size}"), &hello()]).output().unwrap();
        assert_refused(&output, USER, "--memory");
    }
}

#[test]
fn argument_with_a_line_end_is_refused() {
    let output = runu(&["run", &hello(), "a", "b\nc"]).output().unwrap();
    assert_refused(&output, USER, "argument 2");
}

#[test]
fn argument_that_is_empty_is_refused() {
    let output = runu(&["run", &hello(), ""]).output().unwrap();
    assert_refused(&output, USER, "argument 1");
}

#[test]
fn variable_with_a_line_end_or_without_name_is_refused() {
    for variable in ["A=b\nc", "=b"] {
        let output = runu(&["run", "-e", variable, &hello()]).output().unwrap();
        assert_refused(&output, USER, "environment variable");
    }
}

#[test]
fn arguments_beyond_the_command_line_are_refused() {
    let long = "a".repeat(5000);
    let output = runu(&["run", &hello(), &long]).output().unwrap();
    assert_refused(&output, USER, "command line");
}

#[test]
fn argument_that_is_not_text_is_no_panic() {
    let output = runu(&["run"]).arg(OsStr::from_bytes(b"\xff\xfe")).output().unwrap();
    assert_refused(&output, USER, "\\xff\\xfe");
}

#[test]
fn flag_verb_or_monitor_that_does_not_exist_is_refused() {
    for arguments in
        [&["fly"][..], &["run", "--fly", "k"], &["run", "--monitor", "xen", "k"], &["run"], &["inspect"]]
    {
        assert_refused(&runu(arguments).output().unwrap(), USER, "");
    }
}

#[test]
fn output_to_a_full_disk_is_an_error() {
    for arguments in
        [&["inspect", &hello()][..], &["inspect", "--json", &hello()], &["--help"], &["--version"]]
    {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output =
            runu(arguments).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(USER));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.starts_with("error: cannot write to standard output\n  cause: No space left"),
            "{stderr}"
        );
    }
}

#[test]
fn output_to_a_reader_that_has_gone_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = runu(&["inspect", &hello()]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn closed_standard_output_is_an_error() {
    for arguments in ["inspect \"$2\"", "run \"$2\"", "demo"] {
        let script = format!("exec \"$1\" {arguments} >&-");
        let output = Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_runu"), &hello()])
            .output()
            .unwrap();
        assert_refused(&output, USER, "standard output is closed");
    }
}

#[test]
fn closed_standard_input_and_error_do_not_disturb_inspect() {
    let script = "exec \"$1\" inspect \"$2\" <&- 2>&-";
    let output =
        Command::new("sh").args(["-c", script, "sh", env!("CARGO_BIN_EXE_runu"), &hello()]).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("multiboot"), "{output:?}");
}
