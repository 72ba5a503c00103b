//! Any config.json of a bundle, for a kernel of each convention: refused, or a plan within the container's limits whose words
//! are heard as they were written.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::Spec;
use runu_container::{Config, Convention, Image, plan};
use runu_guest::{Guest, detect};
use serde_json::json;

#[path = "../../crates/guest/tests/guest/elf_file.rs"]
#[expect(dead_code, reason = "the tests of runu-guest build more kinds of files than are fuzzed")]
mod elf_file;
#[path = "../../crates/guest/tests/guest/kernel_model.rs"]
#[expect(dead_code, reason = "only kernels of today are fuzzed")]
mod kernel_model;

/// What to plan.
#[derive(Arbitrary, Debug)]
enum Input {
    /// A file as it is.
    Raw { config: Vec<u8>, who: Who },
    /// A file that an engine would write.
    Written {
        args: Vec<String>,
        env: Vec<String>,
        limit: Option<i64>,
        annotations: Vec<(Name, String)>,
        who: Who,
    },
}

/// Who made the image.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Who {
    Kraft,
    Urunc,
    Nobody,
}

/// Annotations that mean something, and one that does not.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    Memory,
    Monitor,
    Vcpus,
    CommandLine,
    Unknown,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Memory => "dev.runu.memory",
            Name::Monitor => "dev.runu.monitor",
            Name::Vcpus => "dev.runu.vcpus",
            Name::CommandLine => "dev.runu.cmdline",
            Name::Unknown => "dev.runu.unknown",
        }
    }
}

/// One of our own guests.
static GUEST: LazyLock<Guest> = LazyLock::new(|| {
    let mut file = elf_file::ElfFile::kernel();
    file.section(".runu_guest", b"name=fuzzed\0");
    detect(&file.elf64()).expect("a valid kernel")
});

fuzz_target!(|input: Input| {
    let (spec, who): (Spec, Who) = match input {
        Input::Raw { config, who } => match serde_json::from_slice(&config) {
            Ok(spec) => (spec, who),
            Err(_) => return,
        },
        Input::Written { args, env, limit, annotations, who } => {
            let annotations: serde_json::Map<_, _> =
                annotations.into_iter().map(|(name, text)| (name.text().to_owned(), text.into())).collect();
            let config = json!({
                "ociVersion": "1.0.2",
                "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": args, "env": env },
                "linux": { "resources": { "memory": { "limit": limit } } },
                "annotations": annotations,
            });
            (serde_json::from_value(config).expect("an engine's file"), who)
        }
    };
    let convention = match who {
        Who::Kraft => Convention::Kraft { kernel: "/unikraft/bin/kernel".into() },
        Who::Urunc => Convention::Urunc { kernel: "/app".into(), default: Vec::new() },
        Who::Nobody => Convention::Program,
    };
    let config = Config::default();
    let Ok(image) = Image::new(GUEST.clone(), convention, None, &spec, &config) else { return };
    let Ok(plan) = plan(&image, &spec, &config, None) else { return };
    assert!(plan.memory.0.is_multiple_of(4096));
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limit = resources.and_then(|resources| resources.memory().as_ref()?.limit());
    if let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0) {
        assert!(plan.memory.0 < limit);
    }
    assert!(plan.command_line.len() <= 4095 && !plan.command_line.contains(&0));
    if image.wishes.command_line.is_none() {
        let words = spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default();
        let heard = kernel_model::hear(&plan.command_line, true);
        let last = words.last().filter(|_| words.len() > 1).map(String::as_bytes);
        // Whatever the convention takes from the front, what stands last arrives; a `--` may be what ends the parameters.
        assert!(
            last.is_none_or(|last| last == b"--" || heard.argv.last().is_some_and(|heard| heard == last))
        );
    }
});
