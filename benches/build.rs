//! Builds the container's program with the C compiler that links everything else.

use std::{env, path::PathBuf, process::Command};

fn main() {
    const SOURCE: &str = "container/hello.s";
    println!("cargo:rerun-if-changed={SOURCE}");
    let out = env::var_os("OUT_DIR").map(PathBuf::from).expect("Cargo sets OUT_DIR for build scripts");
    let status = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-static", "-nostdlib", "-s", "-Wl,--build-id=none", SOURCE, "-o"])
        .arg(out.join("container-hello"))
        .status()
        .expect("a C compiler is there: it links every Rust program");
    assert!(status.success(), "cannot build {SOURCE}: {status}");
}
