//! Command lines: what is written is what the kernel hears, or it is refused.

use proptest::prelude::*;
use runu_core::{Blame, Blamed};
use runu_guest::{
    CommandLine, CommandLineError, Fault, Guest, Invocation, Variable, Word, command_line, detect, unikraft,
};

use crate::{
    elf_file::ElfFile,
    kernel_model::{Heard, hear, hear_without_escapes},
    unikraft_file::{self, TEXT, unikraft as unikraft_kernel},
};

/// A kernel of that release with these libraries, of the fc kind.
fn kernel(version: &str, libraries: &[&str]) -> Guest {
    detect(&unikraft_kernel(version, libraries).elf64()).expect("a guest")
}

/// A kernel that lists these parameters.
fn listing(parameters: &[unikraft_file::Parameter], libraries: &[&str]) -> Guest {
    let mut file = unikraft_kernel("0.18.0", &[libraries, &["libuklibparam"]].concat());
    unikraft_file::list_parameters(&mut file, parameters);
    detect(&file.multiboot()).expect("a guest")
}

/// A kernel with an environment for that many variables.
fn with_variables(most: u64) -> Guest {
    listing(&[("env", "vars", TEXT, most)], &["libposix_environ"])
}

fn own_guest() -> Guest {
    let mut file = ElfFile::kernel();
    file.section(".runu_guest", b"name=hello\0");
    detect(&file.elf64()).expect("a guest")
}

fn invocation(args: &[&str]) -> Invocation {
    let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    Invocation { argv0: b"app".to_vec(), args, ..Invocation::default() }
}

fn with_env(env: &[(&str, &str)]) -> Invocation {
    let env = env.iter().map(|(name, value)| Variable::new(*name, *value)).collect();
    Invocation { env, ..invocation(&[]) }
}

fn with_parameters(parameters: &[(&str, &str)]) -> Invocation {
    let parameters = parameters.iter().map(|(name, value)| Variable::new(*name, *value)).collect();
    Invocation { parameters, ..invocation(&[]) }
}

fn with_initrd() -> Invocation {
    Invocation { initrd: true, ..invocation(&[]) }
}

fn line(guest: &Guest, invocation: &Invocation) -> String {
    command_line(guest, invocation).expect("the line can be written").to_string()
}

fn refusal(guest: &Guest, invocation: &Invocation) -> CommandLineError {
    command_line(guest, invocation).expect_err("the line cannot be written")
}

#[test]
fn arguments_for_a_kernel_with_parameters_come_after_a_filler_and_two_dashes() {
    let line = line(&kernel("0.16.3", &["libuklibparam"]), &invocation(&["-c", "/etc/nginx.conf"]));
    assert_eq!(line, "app runu -- -c /etc/nginx.conf");
}

#[test]
fn arguments_for_a_kernel_without_parameters_come_alone() {
    let line = line(&kernel("0.16.3", &[]), &invocation(&["--", "a b"]));
    assert_eq!(line, "app -- \"a b\"");
    assert_eq!(hear(line.as_bytes(), false).argv, [&b"app"[..], b"--", b"a b"]);
}

#[test]
fn arguments_that_are_two_dashes_reach_the_program() {
    let line = line(&own_guest(), &invocation(&["--", "a", "--"]));
    assert_eq!(hear(line.as_bytes(), true).argv, [&b"app"[..], b"--", b"a", b"--"]);
}

#[test]
fn arguments_with_spaces_quotes_and_backslashes_are_quoted() {
    let line = line(&own_guest(), &invocation(&["a b", "\"", "\\", "it's", "\t"]));
    assert_eq!(line, "app runu -- \"a b\" \"\\\"\" \"\\\\\" \"it's\" \"\\t\"");
}

#[test]
fn word_that_is_empty_or_holds_nul_or_line_end_is_refused() {
    let error = |word, fault| CommandLineError::Word { word, fault };
    for guest in [own_guest(), kernel("0.16.3", &[])] {
        assert_eq!(refusal(&guest, &invocation(&["a", ""])), error(Word::Argument(2), Fault::Empty));
        assert_eq!(refusal(&guest, &invocation(&["a\0b"])), error(Word::Argument(1), Fault::Nul));
        assert_eq!(refusal(&guest, &invocation(&["a\nb"])), error(Word::Argument(1), Fault::LineEnd));
        assert_eq!(refusal(&guest, &Invocation::default()), error(Word::ProgramName, Fault::Empty));
    }
}

#[test]
fn words_up_to_what_the_kernel_reads_are_written_and_one_more_is_refused() {
    let most = vec!["a"; 57];
    let heard = hear(line(&own_guest(), &invocation(&most)).as_bytes(), true);
    assert_eq!(heard.argv.len(), 58);

    let too_many = CommandLineError::TooManyWords { count: 61, most: 60 };
    assert_eq!(refusal(&own_guest(), &invocation(&[most, vec!["a"]].concat())), too_many);
}

#[test]
fn line_up_to_what_the_kernel_reads_is_written_and_one_byte_more_is_refused() {
    let frame = "app runu -- ".len();
    let most = "a".repeat(4095 - frame);
    let written = command_line(&own_guest(), &invocation(&[&most])).expect("a line");
    assert_eq!(written.as_bytes().len(), 4095);

    let too_long = CommandLineError::TooLong { len: 4096, most: 4095 };
    assert_eq!(refusal(&own_guest(), &invocation(&[&(most + "a")])), too_long);
}

#[test]
fn variables_are_repeated_parameters_before_the_dashes() {
    let line = line(&with_variables(2), &with_env(&[("A", "b c"), ("D", "")]));
    assert_eq!(line, "app runu env.vars=\"A=b c\" env.vars=D= --");
    let vars = |value: &[u8]| (b"env.vars".to_vec(), value.to_vec());
    assert_eq!(hear(line.as_bytes(), true).parameters, [vars(b"A=b c"), vars(b"D=")]);
}

#[test]
fn variables_beyond_the_kernels_capacity_are_refused() {
    let nine: Vec<_> = ["A", "B", "C", "D", "E", "F", "G", "H", "I"].map(|name| (name, "1")).to_vec();

    assert_eq!(
        refusal(&with_variables(2), &with_env(&nine[..3])),
        CommandLineError::TooManyVariables { count: 3, most: 2 }
    );
    assert_eq!(
        refusal(&own_guest(), &with_env(&nine)),
        CommandLineError::TooManyVariables { count: 9, most: 8 }
    );
    assert!(command_line(&own_guest(), &with_env(&nine[..8])).is_ok());
    assert!(command_line(&with_variables(9), &with_env(&nine)).is_ok());
}

#[test]
fn variables_for_a_kernel_that_takes_none_are_refused_with_the_reason() {
    let without_parameters = kernel("0.16.3", &["libposix_environ"]);
    let without_env_vars = listing(&[("vfs", "fstab", TEXT, 16)], &["libposix_environ"]);
    let silent = {
        let mut file = ElfFile::kernel();
        file.section(".uk_inittab", []);
        detect(&file.elf64()).expect("a guest")
    };

    for guest in [without_parameters, without_env_vars, silent] {
        let error = refusal(&guest, &with_env(&[("A", "1")]));
        assert!(matches!(&error, CommandLineError::NoEnvironment { name, .. } if name == "A"), "{error}");
        assert_eq!(error.blame(), Blame::User);
        assert!(error.hint().is_some());
    }
}

#[test]
fn variables_with_a_name_the_kernel_cannot_read_are_refused() {
    for name in ["", "a=b", "[a"] {
        let error = refusal(&own_guest(), &with_env(&[(name, "1")]));
        assert!(matches!(error, CommandLineError::Word { fault: Fault::Name, .. }), "`{name}`: {error}");
    }
}

#[test]
fn variables_given_as_parameters_count_as_well() {
    let guest = with_variables(2);
    let both = |env: &[(&str, &str)]| Invocation {
        parameters: vec![Variable::new("env.vars", "X=1")],
        ..with_env(env)
    };
    assert!(command_line(&guest, &both(&[("A", "1")])).is_ok());
    assert_eq!(
        refusal(&guest, &both(&[("A", "1"), ("B", "2")])),
        CommandLineError::TooManyVariables { count: 3, most: 2 }
    );
}

#[test]
fn line_written_by_hand_is_taken_as_it_is_or_refused() {
    let line = CommandLine::literal(b"k a.b=\"c -- d").expect("a line");
    assert_eq!(line.as_bytes(), b"k a.b=\"c -- d");
    for (text, fault) in [(&b""[..], Fault::Empty), (&b"a\0b"[..], Fault::Nul), (&b"a\n"[..], Fault::LineEnd)]
    {
        assert_eq!(CommandLine::literal(text), Err(CommandLineError::Word { word: Word::Line, fault }));
    }
    assert!(matches!(CommandLine::literal(&[b'a'; 4096]), Err(CommandLineError::TooLong { .. })));
}

#[test]
fn parameters_are_checked_against_what_the_kernel_lists() {
    let guest = listing(&[("netdev", "ip", TEXT, 1), ("virtio_mmio", "device", TEXT, 4)], &[]);
    let ip = ("netdev.ip", "10.0.0.2/24:10.0.0.1:::");

    assert_eq!(line(&guest, &with_parameters(&[ip])), "app runu netdev.ip=10.0.0.2/24:10.0.0.1::: --");
    let too_many = CommandLineError::TooManyValues { name: "netdev.ip".to_owned(), count: 2, most: 1 };
    assert_eq!(refusal(&guest, &with_parameters(&[ip, ip])), too_many);
    let unknown = refusal(&guest, &with_parameters(&[("vfs.fstab", "x")]));
    assert_eq!(unknown.hint().as_deref(), Some("it knows netdev.ip, virtio_mmio.device"));
}

#[test]
fn parameters_that_would_be_read_as_something_else_are_refused() {
    let guest = kernel("0.16.3", &["libuklibparam"]);
    for name in ["help", "--", "a b.c", "a.b.c", ".a", "a.", "netdev.ip "] {
        let error = refusal(&own_guest(), &with_parameters(&[(name, "1")]));
        assert!(matches!(error, CommandLineError::Word { fault: Fault::Name, .. }), "`{name}`: {error}");
    }
    let list = refusal(&own_guest(), &with_parameters(&[("a.b", "[ 1 ]")]));
    assert!(matches!(list, CommandLineError::Word { fault: Fault::List, .. }), "{list}");
    let not_listed = refusal(&guest, &with_parameters(&[("a.b", "1")]));
    assert!(matches!(not_listed, CommandLineError::NoParameter { .. }), "{not_listed}");
}

#[test]
fn initrd_is_unpacked_in_the_words_of_the_kernels_release() {
    let libraries = ["libuklibparam", "libvfscore", "libukcpio"];
    let fstab = |version: &str| {
        let mut file = unikraft_kernel(version, &libraries);
        unikraft_file::list_old_parameter(&mut file, "libvfscore", "fstab", TEXT, 16);
        line(&detect(&file.elf64()).expect("a guest"), &with_initrd())
    };

    assert_eq!(fstab("0.15.0"), "app runu vfs.fstab=initrd0:/:initrd --");
    assert_eq!(fstab("0.16.0~abc"), "app runu vfs.fstab=initrd:/:initrd::extract: --");
    assert_eq!(fstab("0.16.1"), "app runu vfs.fstab=initrd0:/:extract::: --");
    assert_eq!(fstab("0.16.2"), "app runu vfs.fstab=initrd0:/:extract::ramfs=2: --");
    assert_eq!(fstab("0.19.0"), "app runu vfs.fstab=initrd0:/:extract::ramfs=2: --");
}

#[test]
fn initrd_for_a_kernel_with_the_new_vfs_is_unpacked_onto_a_ramfs() {
    let fstab = [("vfs", "fstab", TEXT, 16)];
    let with = listing(&fstab, &["libposix_vfs_fstab", "libukcpio", "libukfs_ramfs"]);
    let without = listing(&fstab, &["libposix_vfs_fstab", "libukcpio"]);

    let both = "app runu vfs.fstab=ramfs:/:ramfs vfs.fstab=initrd0:/:extract --";
    assert_eq!(line(&with, &with_initrd()), both);
    assert_eq!(line(&without, &with_initrd()), "app runu vfs.fstab=initrd0:/:extract --");
}

#[test]
fn initrd_for_a_kernel_that_mounts_by_itself_or_not_at_all_changes_nothing() {
    let no_cpio = listing(&[("vfs", "fstab", TEXT, 16)], &["libvfscore"]);
    let no_fstab = listing(&[("env", "vars", TEXT, 8)], &["libvfscore", "libukcpio"]);
    let no_vfs = listing(&[("vfs", "fstab", TEXT, 16)], &["libukcpio"]);

    for guest in [no_cpio, no_fstab, no_vfs, own_guest()] {
        assert_eq!(line(&guest, &with_initrd()), "app runu --");
    }
    assert_eq!(line(&kernel("0.16.3", &["libvfscore", "libukcpio"]), &with_initrd()), "app");
}

#[test]
fn initrd_with_mounts_of_the_users_own_leaves_them_alone() {
    let guest = listing(&[("vfs", "fstab", TEXT, 16)], &["libvfscore", "libukcpio"]);
    let own =
        Invocation { initrd: true, ..with_parameters(&[("vfs.fstab", "initrd0:/data:extract:::mkmp")]) };

    assert_eq!(line(&guest, &own), "app runu vfs.fstab=initrd0:/data:extract:::mkmp --");
}

#[test]
fn kernel_that_may_be_too_old_for_escapes_gets_no_word_that_needs_them() {
    let mut file = ElfFile::kernel();
    file.section(".uk_inittab", []).section("uk_lib_arg__lib_param", []);
    let guest = detect(&file.multiboot()).expect("a guest");

    assert_eq!(line(&guest, &invocation(&["a b", "it's"])), "app runu -- \"a b\" \"it's\"");
    for word in ["a\"b", "a\\b"] {
        let error = refusal(&guest, &invocation(&[word]));
        assert!(matches!(error, CommandLineError::Word { fault: Fault::Quoting, .. }), "{error}");
    }
}

#[test]
fn kernel_of_unknown_make_gets_only_words_that_every_rule_reads_alike() {
    let guest = detect(&ElfFile::kernel().multiboot()).expect("a guest");

    assert_eq!(line(&guest, &invocation(&["--verbose", "a=b"])), "app --verbose a=b");
    for word in ["a b", "a\"b", "a'b", "a\\b", "a\tb"] {
        let error = refusal(&guest, &invocation(&[word]));
        assert!(matches!(error, CommandLineError::Word { fault: Fault::Quoting, .. }), "{error}");
    }
    assert!(matches!(refusal(&guest, &with_env(&[("A", "1")])), CommandLineError::NoEnvironment { .. }));
    assert!(matches!(
        refusal(&guest, &with_parameters(&[("a.b", "1")])),
        CommandLineError::NoParameter { .. }
    ));
}

#[test]
fn guest_without_a_known_grammar_is_refused() {
    let error = refusal(&kernel("0.16.3", &["liblinuxuplat"]), &invocation(&[]));
    assert!(matches!(error, CommandLineError::UnknownGrammar { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Image);
}

#[test]
fn refusal_with_a_hostile_name_is_printable() {
    let error = refusal(&own_guest(), &with_env(&[("\x1b[2J\nA", "1")]));
    assert_eq!(error.to_string(), "the environment variable `\\u{1b}[2J\\nA` holds a line end");
}

/// Bytes of words, rich in what grammars treat specially; no NUL and no line end.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => proptest::sample::select(br#" "'\-[]=.:,$	"#.to_vec()),
        2 => proptest::sample::select(b"abhelp0".to_vec()),
        1 => any::<u8>().prop_filter("words hold neither", |byte| !matches!(byte, 0 | b'\n')),
    ]
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(byte(), 1..12),
        1 => Just(b"--".to_vec()),
        1 => Just(b"help".to_vec()),
    ]
}

/// A variable whose name is one the grammar can express.
fn variable() -> impl Strategy<Value = Variable> {
    let name = word().prop_filter("a name", |name| !name.contains(&b'=') && !name.starts_with(b"["));
    (name, proptest::collection::vec(byte(), 0..12)).prop_map(|(name, value)| Variable { name, value })
}

/// A parameter's value; one that starts with `[` is refused, which another test tells.
fn parameter() -> impl Strategy<Value = Variable> {
    let value =
        proptest::collection::vec(byte(), 0..12).prop_filter("no list", |value| !value.starts_with(b"["));
    value.prop_map(|value| Variable::new("a.b", value))
}

fn any_invocation() -> impl Strategy<Value = Invocation> {
    let words = proptest::collection::vec(word(), 0..20);
    let env = proptest::collection::vec(variable(), 0..8);
    let parameters = proptest::collection::vec(parameter(), 0..4);
    (word(), words, env, parameters).prop_map(|(argv0, args, env, parameters)| Invocation {
        argv0,
        args,
        env,
        parameters,
        initrd: false,
        shares: Vec::new(),
    })
}

/// What a kernel should hear of an invocation.
fn meant(invocation: &Invocation) -> Heard {
    let argv = [std::slice::from_ref(&invocation.argv0), &invocation.args].concat();
    let own = invocation.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.value.clone()));
    let env = invocation.env.iter().map(|variable| {
        let text = [variable.name.as_slice(), b"=", &variable.value].concat();
        (b"env.vars".to_vec(), text)
    });
    Heard { argv, parameters: own.chain(env).collect(), help: false }
}

proptest! {
    #[test]
    fn invocation_within_limits_is_heard_exactly_as_meant(invocation in any_invocation()) {
        let line = command_line(&own_guest(), &invocation).expect("within limits");
        prop_assert_eq!(hear(line.as_bytes(), true), meant(&invocation));
    }

    #[test]
    fn arguments_without_parameters_are_heard_exactly_as_meant(args in proptest::collection::vec(word(), 0..30)) {
        let invocation = Invocation { argv0: b"app".to_vec(), args, ..Invocation::default() };
        let line = command_line(&kernel("0.16.3", &[]), &invocation).expect("within limits");
        prop_assert_eq!(hear(line.as_bytes(), false), meant(&invocation));
        prop_assert_eq!(unikraft::words(line.as_bytes()), Some(meant(&invocation).argv));
    }

    #[test]
    fn parameters_written_for_a_kernel_are_read_back(given in proptest::collection::vec(parameter(), 0..4)) {
        let invocation = Invocation { parameters: given.clone(), ..invocation(&[]) };
        let line = command_line(&own_guest(), &invocation).expect("within limits");
        let text = line.as_bytes().strip_prefix(b"app runu").and_then(|line| line.strip_suffix(b" --"));
        prop_assert_eq!(unikraft::parameters(text.expect("the frame")), Some(given));
    }

    #[test]
    fn arguments_for_a_kernel_of_any_age_are_heard_alike_or_refused(args in proptest::collection::vec(word(), 0..4)) {
        let mut file = ElfFile::kernel();
        file.section(".uk_inittab", []).section("uk_lib_arg__lib_param", []);
        let guest = detect(&file.multiboot()).expect("a guest");
        let invocation = Invocation { argv0: b"app".to_vec(), args, ..Invocation::default() };
        if let Ok(line) = command_line(&guest, &invocation) {
            prop_assert_eq!(hear(line.as_bytes(), true), meant(&invocation));
            prop_assert_eq!(hear_without_escapes(line.as_bytes(), true), meant(&invocation));
        }
    }

    #[test]
    fn words_for_a_kernel_of_unknown_make_are_heard_as_they_are_or_refused(args in proptest::collection::vec(word(), 0..3)) {
        let guest = detect(&ElfFile::kernel().multiboot()).expect("a guest");
        let invocation = Invocation { argv0: b"app".to_vec(), args, ..Invocation::default() };
        if let Ok(line) = command_line(&guest, &invocation) {
            prop_assert_eq!(hear(line.as_bytes(), false), meant(&invocation));
            let split: Vec<Vec<u8>> = line.as_bytes().split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
            prop_assert_eq!(split, meant(&invocation).argv);
        }
    }
}
