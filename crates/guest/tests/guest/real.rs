//! Real kernels, when a folder of them is given in `RUNU_GUESTS`: NAME-qemu and NAME-fc, as Unikraft builds them.

use std::{env, fs, path::PathBuf};

use runu_core::BootProtocol;
use runu_guest::{Kind, detect, unikraft::Platform};

/// The files of the folder whose names end so.
fn kernels(test: &str, suffix: &str) -> Vec<PathBuf> {
    let Some(folder) = env::var_os("RUNU_GUESTS") else {
        eprintln!("SKIP {test}: RUNU_GUESTS names no folder of real kernels");
        return Vec::new();
    };
    let files = fs::read_dir(&folder).expect("RUNU_GUESTS names a readable folder");
    let paths = files.map(|entry| entry.expect("a readable entry").path());
    paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

fn assert_kind(test: &str, suffix: &str, platform: Platform, boot: BootProtocol) {
    for path in kernels(test, suffix) {
        let file = fs::read(&path).expect("a readable kernel");
        let guest = detect(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Kind::Unikraft(facts) = &guest.kind else { panic!("{}: {}", path.display(), guest.kind) };
        assert_eq!((facts.platform, guest.boot), (platform, Some(boot)), "{}", path.display());
        assert!(facts.version.is_some(), "{}", path.display());
        assert!(!facts.takes_parameters || facts.parameters.is_some(), "{}", path.display());
    }
}

#[test]
fn real_qemu_kernels_are_detected() {
    assert_kind("real_qemu_kernels_are_detected", "-qemu", Platform::Qemu, BootProtocol::Multiboot);
}

#[test]
fn real_fc_kernels_are_detected() {
    assert_kind("real_fc_kernels_are_detected", "-fc", Platform::Fc, BootProtocol::Linux64);
}
