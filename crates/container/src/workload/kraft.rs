//! Images as kraft makes them: two files in known places, and words with habits of their own.
//!
//! `Cmd` holds the program's arguments without its name. kraft hands the words to the kernel as one line, so an image may
//! have kernel parameters and a `--` before the arguments, and an image whose program takes none has the one word `--`,
//! because engines refuse an empty `Cmd`.

use std::path::{Component, Path};

use runu_guest::{Invocation, unikraft};

use super::file_name;

/// Where kraft puts the kernel and the initrd (kraftkit `oci/wellknown.go`).
pub(super) const KERNEL: &str = "/unikraft/bin/kernel";
pub(super) const INITRD: &str = "/unikraft/bin/initrd";

/// What ends the kernel's parameters.
const STOP: &str = "--";

/// The invocation of the kernel at `path`.
pub(super) fn invocation(path: &Path, words: Vec<String>) -> Invocation {
    let (argv0, words) = match words.split_first() {
        // An entry point: the image is started as a program would be.
        Some((first, rest)) if names(Path::new(first), path) => (first.clone().into_bytes(), rest.to_vec()),
        _ => (file_name(path), words),
    };
    let before = words.iter().position(|word| word == STOP).and_then(|at| words.split_at_checked(at));
    let parameters = before.and_then(|(before, _)| unikraft::parameters(before.join(" ").as_bytes()));
    let (parameters, args) = match (parameters, before) {
        (Some(parameters), Some((_, [_, args @ ..]))) => (parameters, args.to_vec()),
        // A separator of the program's own.
        _ => (Vec::new(), words),
    };
    let args = args.into_iter().map(String::into_bytes).collect();
    Invocation { argv0, args, parameters, ..Invocation::default() }
}

/// Whether both name the same file of an image, whose root every path starts from.
fn names(word: &Path, path: &Path) -> bool {
    let parts = |path: &'_ Path| -> Vec<std::ffi::OsString> {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        });
        parts.collect()
    };
    word.as_os_str().as_encoded_bytes().contains(&b'/') && parts(word) == parts(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runu_guest::Variable;

    use super::*;

    fn invoked(words: &[&str]) -> Invocation {
        invocation(Path::new(KERNEL), words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn args(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn command_that_is_empty_or_only_a_separator_has_no_arguments() {
        for words in [&[][..], &["--"]] {
            let invocation = invoked(words);
            assert_eq!((invocation.argv0, invocation.args), (b"kernel".to_vec(), args(&[])));
        }
    }

    #[test]
    fn command_without_separator_is_arguments() {
        assert_eq!(invoked(&["-c", "/nginx.conf"]).args, args(&["-c", "/nginx.conf"]));
    }

    #[test]
    fn command_with_parameters_before_the_separator_is_split() {
        let invocation = invoked(&["netdev.ip=10.0.0.2/24", "--", "-c", "--"]);
        assert_eq!(invocation.parameters, [Variable::new("netdev.ip", "10.0.0.2/24")]);
        assert_eq!(invocation.args, args(&["-c", "--"]));
    }

    #[test]
    fn command_with_a_list_of_parameters_is_taken_apart_however_it_was_cut() {
        let cut: [&[&str]; 3] = [
            &["vfs.fstab=[", "initrd0:/:extract:::", "]", "--", "a"],
            &["vfs.fstab=[ \"initrd0:/:extract:::\" ]", "--", "a"],
            &["vfs.fstab=[", "\"initrd0:/:extract:::\"", "]", "--", "a"],
        ];
        for words in cut {
            let invocation = invoked(words);
            assert_eq!(invocation.parameters, [Variable::new("vfs.fstab", "initrd0:/:extract:::")]);
            assert_eq!(invocation.args, args(&["a"]));
        }
    }

    #[test]
    fn command_with_a_separator_of_its_own_is_kept() {
        for words in [&["run", "--", "x"][..], &["./a.b=c", "--", "x"], &["a.b=1", "run", "--"]] {
            let invocation = invoked(words);
            assert_eq!(invocation.args, args(words));
            assert_eq!(invocation.parameters, []);
        }
    }

    #[test]
    fn entry_point_that_is_the_kernel_is_the_programs_name() {
        for name in ["/unikraft/bin/kernel", "unikraft/bin/kernel", "/unikraft/./bin//kernel"] {
            let invocation = invoked(&[name, "a.b=1", "--", "x"]);
            assert_eq!(invocation.argv0, name.as_bytes());
            assert_eq!(invocation.parameters, [Variable::new("a.b", "1")]);
            assert_eq!(invocation.args, args(&["x"]));
        }
        assert_eq!(invoked(&["kernel", "x"]).args, args(&["kernel", "x"]));
    }

    proptest! {
        #[test]
        fn arguments_behind_a_separator_arrive_as_they_are(words in proptest::collection::vec(".*", 0..6)) {
            let mut given = vec!["--".to_owned()];
            given.extend(words.clone());
            let expected: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(invocation(Path::new(KERNEL), given).args, expected);
        }

        #[test]
        fn no_word_is_lost(words in proptest::collection::vec("[a-z.=\\[\\] -]{0,6}|--", 0..6)) {
            let invocation = invocation(Path::new(KERNEL), words.clone());
            let kept = invocation.args.len();
            let expected: Vec<Vec<u8>> = words.iter().cloned().map(String::into_bytes).collect();
            // Whatever is no argument stands before the first separator.
            let first = words.iter().position(|word| word == STOP).map_or(0, |at| at + 1);
            prop_assert!(kept == expected.len() || kept == expected.len() - first);
            prop_assert!(expected.ends_with(&invocation.args));
        }
    }
}
