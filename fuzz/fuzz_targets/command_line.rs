//! Any invocation of one of the guests with a known grammar: refused, or heard exactly as it is meant.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use runu_guest::{Guest, Invocation, Variable, command_line, detect};

#[path = "../../crates/guest/tests/guest/elf_file.rs"]
#[expect(dead_code, reason = "the tests of runu-guest build more kinds of files than are fuzzed")]
mod elf_file;
#[path = "../../crates/guest/tests/guest/kernel_model.rs"]
mod kernel_model;
#[path = "../../crates/guest/tests/guest/unikraft_file.rs"]
#[expect(dead_code, reason = "the tests of runu-guest build more kinds of files than are fuzzed")]
mod unikraft_file;

use kernel_model::{Heard, hear, hear_without_escapes};

/// What to write a line for.
#[derive(Arbitrary, Debug)]
struct Input {
    kind: Known,
    argv0: Vec<u8>,
    args: Vec<Vec<u8>>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    parameters: Vec<Vec<u8>>,
}

/// The kinds of guests, by grammar.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Known {
    WithParameters,
    WithoutParameters,
    OfUnknownAge,
}

/// A kernel that lists its parameters, one without any, and one that tells nothing about itself.
static GUESTS: LazyLock<[Guest; 3]> = LazyLock::new(|| {
    let mut with = unikraft_file::unikraft("0.18.0", &["libuklibparam"]);
    unikraft_file::list_parameters(
        &mut with,
        &[("env", "vars", unikraft_file::TEXT, 16), ("a", "b", unikraft_file::TEXT, 4)],
    );
    let mut silent = elf_file::ElfFile::kernel();
    silent.section(".uk_inittab", []).section("uk_lib_arg__lib_param", []);
    [with, unikraft_file::unikraft("0.16.3", &[]), silent]
        .map(|file| detect(&file.elf64()).expect("a valid kernel"))
});

fuzz_target!(|input: Input| {
    let [with, without, silent] = &*GUESTS;
    let guest = match input.kind {
        Known::WithParameters => with,
        Known::WithoutParameters => without,
        Known::OfUnknownAge => silent,
    };
    let invocation = Invocation {
        argv0: input.argv0,
        args: input.args,
        env: input.env.into_iter().map(|(name, value)| Variable { name, value }).collect(),
        parameters: input.parameters.into_iter().map(|value| Variable::new("a.b", value)).collect(),
        initrd: false,
        shares: Vec::new(),
    };
    let Ok(line) = command_line(guest, &invocation) else { return };
    assert!(line.as_bytes().len() <= 4095);
    let takes_parameters = !matches!(input.kind, Known::WithoutParameters);
    assert_eq!(hear(line.as_bytes(), takes_parameters), meant(&invocation));
    if matches!(input.kind, Known::OfUnknownAge) {
        assert_eq!(hear_without_escapes(line.as_bytes(), true), meant(&invocation));
    }
});

/// What a kernel should hear.
fn meant(invocation: &Invocation) -> Heard {
    let argv = [std::slice::from_ref(&invocation.argv0), &invocation.args].concat();
    let own = invocation.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.value.clone()));
    let env = invocation.env.iter().map(|variable| {
        let text = [variable.name.as_slice(), b"=", &variable.value].concat();
        (b"env.vars".to_vec(), text)
    });
    Heard { argv, parameters: own.chain(env).collect(), help: false }
}
