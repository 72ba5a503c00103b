//! Builds every guest with the toolchain that builds this package: `rustc` for the host's own target, `cc` as
//! linker.
//!
//! The runtime (`rt/`) is compiled once, then each guest is compiled and linked against it into one
//! freestanding static ELF64, which is the guest of the Linux 64-bit boot protocol. The multiboot guest is
//! the same file wrapped in an ELF32 (`build/wrap.rs`), as Unikraft makes its own. Cargo's flags for the
//! workspace are for Linux programs and are not passed.
//!
//! Guests that talk to a network are linked with a TCP/IP stack (`stack/`) from the registry. Cargo builds it,
//! from the workspace's own lock file, into a target directory within `OUT_DIR`.

#[path = "build/wrap.rs"]
mod wrap;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// The guests that are built in both kinds; each is a folder with a `main.rs`.
const GUESTS: &[&str] = &[
    "hello",
    "cpu",
    "paging",
    "timer",
    "apic",
    "idle",
    "triple-fault",
    "bad-instruction",
    "wild-jump",
    "hang",
    "spin",
    "stack-overflow",
    "hostile",
    "bench",
    "random",
    "http",
    "disk",
    "share",
    "fill",
    "loader",
];

/// Those of them that get the TCP/IP stack.
const NETWORKED: &[&str] = &["http"];

/// The multiboot kernel that boots the other kind; it lies where its guest does not.
const SHIM: (&str, u32) = ("lxshim", 0x100_0000);

/// The target whose precompiled `core` is used, whatever the host.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Code generation of everything that is linked into a guest.
const CODE: &[&str] = &[
    "-Copt-level=2",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Cforce-unwind-tables=no",
    "-Crelocation-model=static",
    "-Ctarget-feature=+crt-static",
    "-Cdebuginfo=0",
    "-Cstrip=debuginfo",
];

/// Where Unikraft's kernels are linked too.
const BASE: u32 = 0x10_0000;

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let common = ["build.rs", "build/wrap.rs", "rt", SHIM.0, "stack", "../Cargo.toml", "../Cargo.lock"];
    for path in common.iter().chain(GUESTS) {
        println!("cargo:rerun-if-changed={path}");
    }
    compile_runtime(&out);
    compile_stack(&out);
    compile_program(&out);
    build_guest(SHIM.0, SHIM.1, &out);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = GUESTS.get(next.fetch_add(1, Relaxed)) {
                    build_guest(name, BASE, &out);
                }
            });
        }
    });
    fs::write(out.join("table.rs"), table()).expect("OUT_DIR must be writable");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("Cargo sets {name} for build scripts: {error}"))
}

/// `rustc` with what the runtime and the guests have in common.
fn rustc(crate_name: &str) -> Command {
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition=2024", "--target", TARGET, "--crate-name", crate_name])
        .args(CODE)
        .args(["-Dmissing_docs", "-Dunsafe_op_in_unsafe_fn"]);
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{words}");
    for line in words.lines() {
        println!("cargo:warning={line}");
    }
}

fn runtime(out: &Path) -> PathBuf {
    out.join("librt.rlib")
}

fn compile_runtime(out: &Path) {
    let mut command = rustc("rt");
    command.args(["--crate-type=rlib", "rt/lib.rs", "-o"]).arg(runtime(out));
    run(command);
}

/// The program that the loader runs: an ordinary one, static and with the C library in it.
fn compile_program(out: &Path) {
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition=2024", "--target", TARGET, "--crate-name", "program", "--crate-type=bin"])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Ctarget-feature=+crt-static", "-Cstrip=symbols"])
        .args(["loader/program.rs", "-o"])
        .arg(out.join("program"));
    run(command);
}

/// The target directory of the stack.
fn stack(out: &Path) -> PathBuf {
    out.join("stack")
}

/// Cargo has the stack in the workspace's lock file, and has fetched it with everything else.
fn compile_stack(out: &Path) {
    let mut command = Command::new(variable("CARGO"));
    command
        .args(["build", "--quiet", "--locked", "--release", "--target", TARGET])
        .args(["--manifest-path", "stack/Cargo.toml", "--target-dir"])
        .arg(stack(out))
        .env("CARGO_ENCODED_RUSTFLAGS", CODE.join("\x1f"))
        // With `cargo clippy` it is the linter, which has nothing to do with guests.
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    run(command);
}

/// Lets a guest name the stack, as `smoltcp`.
fn link_stack(command: &mut Command, out: &Path) {
    let built = stack(out).join(TARGET).join("release");
    let named = format!("smoltcp={}", built.join("librunu_guest_stack.rlib").display());
    let needed = format!("dependency={}", built.join("deps").display());
    command.args(["--extern", &named, "-L", &needed]);
}

fn build_guest(name: &str, base: u32, out: &Path) {
    let linux64 = out.join(format!("{name}-linux64"));
    link_guest(name, base, out, &linux64);
    let elf64 = fs::read(&linux64).unwrap_or_else(|error| panic!("cannot read guest {name}: {error}"));
    fs::write(out.join(format!("{name}-multiboot")), wrap::multiboot(&elf64, base))
        .expect("OUT_DIR must be writable");
}

fn link_guest(name: &str, base: u32, out: &Path, file: &Path) {
    let mut command = rustc(&name.replace('-', "_"));
    command
        .arg("--crate-type=bin")
        .arg(format!("{name}/main.rs"))
        .arg("-o")
        .arg(file)
        .arg("--extern")
        .arg(format!("rt={}", runtime(out).display()))
        .args(
            ["-nostdlib", "-nostartfiles", "-static", "-no-pie"]
                .map(|argument| format!("-Clink-arg={argument}")),
        )
        .args(
            ["--build-id=none", "-z,max-page-size=0x1000", "-z,norelro"]
                .map(|it| format!("-Clink-arg=-Wl,{it}")),
        )
        .arg(format!("-Clink-arg=-Wl,--defsym=guest_base={base:#x}"))
        .arg("-Clink-arg=-Trt/link.ld");
    if NETWORKED.contains(&name) {
        link_stack(&mut command, out);
    }
    run(command);
}

/// The Rust table that the library includes.
fn table() -> String {
    let mut text = String::from("&[\n");
    for name in GUESTS {
        let include = |kind| format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}-{kind}\"))");
        let (multiboot, linux64) = (include("multiboot"), include("linux64"));
        let _ = writeln!(text, "Guest {{ name: \"{name}\", multiboot: {multiboot}, linux64: {linux64} }},");
    }
    text.push(']');
    text
}
