//! The guests' reading of a command line, by the rules of Unikraft's lib/ukargparse and lib/ukboot.

#[path = "../rt/cmdline.rs"]
#[expect(unreachable_pub, dead_code, reason = "it is a module of the guests' runtime")]
mod cmdline;

use cmdline::{CommandLine, MAX_LINE, MAX_WORDS};

/// Arguments and environment of a line.
fn read(line: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut read = CommandLine::EMPTY;
    read.read(line.as_bytes(), Box::leak(Box::new([0; MAX_LINE])), &mut [&[]; MAX_WORDS]);
    let text = |words: &[&'static [u8]]| words.iter().map(|it| str::from_utf8(it).expect("ASCII")).collect();
    (text(read.argv()), text(read.env()))
}

fn arguments(line: &str) -> Vec<&'static str> {
    read(line).0
}

fn environment(line: &str) -> Vec<&'static str> {
    read(line).1
}

#[test]
fn words_between_spaces_are_arguments() {
    assert_eq!(arguments(" a  b\tc\nd "), ["a", "b", "c", "d"]);
    assert_eq!(arguments(""), [""; 0]);
}

#[test]
fn quotes_anywhere_in_a_word_group_and_vanish() {
    assert_eq!(arguments(r#"a b="c d" 'e f'g """#), ["a", "b=c d", "e fg"]);
}

#[test]
fn backslash_escapes_what_its_quotes_allow() {
    assert_eq!(arguments(r#"a \ \\ "\"\\\n" '\n'"#), ["a", " \\", "\"\\\\n", "\\n"]);
}

#[test]
fn unfinished_quote_or_escape_ends_with_the_line() {
    assert_eq!(arguments(r#"a "b c"#), ["a", "b c"]);
    assert_eq!(arguments("a b\\"), ["a", "b\\"]);
    let longest = format!("\"{}", "x".repeat(MAX_LINE - 1));
    assert_eq!(arguments(&longest), [&longest[1..]]);
}

#[test]
fn words_beyond_the_capacity_are_dropped() {
    assert_eq!(arguments(&"a ".repeat(MAX_WORDS + 5)).len(), MAX_WORDS);
}

#[test]
fn parameters_before_the_first_dashes_are_no_arguments() {
    assert_eq!(arguments("k x y -- a -- b"), ["k", "a", "--", "b"]);
}

#[test]
fn dashes_right_behind_the_name_are_an_argument() {
    assert_eq!(arguments("k -- a -- b"), ["k", "--", "a", "--", "b"]);
    assert_eq!(environment("k -- env.vars=A=b -- b"), [""; 0]);
}

#[test]
fn environment_comes_as_a_list_or_one_by_one() {
    assert_eq!(environment(r#"k env.vars=[ "A=b" "C=d e" ] --"#), ["A=b", "C=d e"]);
    assert_eq!(environment(r#"k env.vars=[ A=b C=d] env.vars="E=f g" x.y=1 --"#), ["A=b", "C=d", "E=f g"]);
}

#[test]
fn value_that_ends_in_a_bracket_ends_the_list_as_it_does_in_unikraft() {
    assert_eq!(environment("k env.vars=[ A=[b] C=d ] --"), ["A=[b"]);
}

#[test]
fn environment_without_dashes_is_arguments() {
    assert_eq!(read("k env.vars=A=b"), (vec!["k", "env.vars=A=b"], vec![]));
}

#[test]
fn parameters_are_found_by_name_before_the_dashes_only() {
    let mut read = CommandLine::EMPTY;
    let line = b"k a.b=1 a.b=\"2 3\" a.bc=4 -- a.b=5";
    read.read(line, Box::leak(Box::new([0; MAX_LINE])), &mut [&[]; MAX_WORDS]);
    assert_eq!(read.parameters(b"a.b").collect::<Vec<_>>(), [&b"1"[..], b"2 3"]);
    assert_eq!(read.parameters(b"k").count(), 0);
}
