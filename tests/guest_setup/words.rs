//! Arguments and variables arrive exactly, or there is no container.

use crate::rig::Rig;

/// What `hello` heard: its arguments without its name, and its variables.
fn heard(console: &str) -> (Vec<&str>, Vec<&str>) {
    let arguments = console.lines().filter(|line| line.starts_with("argv[") && !line.starts_with("argv[0]"));
    let arguments = arguments.filter_map(|line| Some(line.split_once(" = ")?.1)).collect();
    (arguments, console.lines().filter_map(|line| line.strip_prefix("env ")).collect())
}

#[track_caller]
fn assert_heard(args: &[&str], env: &[&str], expected_args: &[&str], expected_env: &[&str]) {
    let Some(rig) = Rig::kraft("hello") else { return };
    let console = rig.args(args).env(env).console();
    assert_eq!(heard(&console), (expected_args.to_vec(), expected_env.to_vec()), "{args:?}");
}

#[test]
fn command_of_krafts_habits_becomes_the_arguments() {
    for (command, expected) in [
        (&["--"][..], &[][..]),
        (&[], &[]),
        (&["-c", "/nginx.conf"], &["-c", "/nginx.conf"]),
        (&["--", "a", "--", "b"], &["a", "--", "b"]),
        (&["/unikraft/bin/kernel"], &[]),
        (&["/unikraft/bin/kernel", "--", "x"], &["x"]),
        (&["run", "--", "x"], &["run", "--", "x"]),
        (&["/sbin/docker-init", "--", "x"], &["x"]),
    ] {
        assert_heard(command, &[], expected, &[]);
    }
}

#[test]
fn command_with_parameters_gives_them_to_the_kernel() {
    let command = ["env.vars=[", "A=b c", "]", "env.vars=D=e", "--", "x"];
    assert_heard(&command, &["F=g"], &["x"], &["A=b", "c", "D=e", "F=g"]);
    assert_heard(&["env.vars=[ \"A=b c\" ]", "--"], &[], &[], &["A=b c"]);
}

#[test]
fn words_that_need_quotes_arrive_as_they_are() {
    let words = ["a b", "\"", "\\", "it's", "\\\"", "[", "]", "x=[ 1 ]", "$HOME", "*", "ü", "\t"];
    let command: Vec<&str> = ["--"].into_iter().chain(words).collect();
    assert_heard(&command, &["A=\" \\ '", "B="], &words, &["A=\" \\ '", "B="]);
}

#[test]
fn word_that_cannot_arrive_is_refused() {
    for (word, named) in [("", "is empty"), ("a\nb", "a line end"), ("a\0b", "a NUL byte")] {
        let Some(rig) = Rig::kraft("hello") else { return };
        let told = rig.args(&["x", word]).refusal();
        assert!(told.contains("argument 2") && told.contains(named), "{told}");
        assert!(told.contains("hint: "), "{told}");
    }
}

#[test]
fn words_beyond_what_a_kernel_reads_are_refused() {
    let Some(rig) = Rig::kraft("hello") else { return };
    let many = vec!["a"; 100];
    assert!(rig.args(&many).refusal().contains("words"));
    let Some(rig) = Rig::kraft("hello") else { return };
    assert!(rig.args(&[&"a".repeat(5000)]).refusal().contains("bytes"));
}

#[test]
fn variables_that_engines_add_give_way_to_those_of_the_image() {
    let engines = ["PATH=/bin", "HOSTNAME=abc", "HOME=/", "TERM=xterm", "container=podman"];
    // The kernel takes eight.
    assert_heard(&["--"], &engines, &[], &engines);
    let own = ["A=1", "B=2", "C=3", "D=4", "E=5", "F=6", "G=7", "H=8"];
    let all: Vec<&str> = engines.into_iter().chain(["KUBERNETES_SERVICE_HOST=10.0.0.1"]).chain(own).collect();
    assert_heard(&["--"], &all, &[], &own);
}

#[test]
fn variables_that_a_kernel_cannot_take_are_refused_with_a_hint() {
    let Some(rig) = Rig::kraft("hello") else { return };
    let nine: Vec<String> = (0..9).map(|number| format!("V{number}=x")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    let told = rig.env(&nine).refusal();
    assert!(told.contains("9 environment variables are too many") && told.contains("hint: "), "{told}");
}

#[test]
fn text_that_is_no_variable_is_refused() {
    for text in ["A", "=x", ""] {
        let Some(rig) = Rig::kraft("hello") else { return };
        let told = rig.env(&["B=1", text]).refusal();
        assert!(told.contains("the environment"), "{told}");
    }
}

#[test]
fn command_line_of_an_annotation_is_taken_as_it_is() {
    let Some(rig) = Rig::kraft("hello") else { return };
    let line = "name env.vars=[ \"A=b c\" ] -- one 'two words'";
    let rig = rig.annotation("dev.runu.cmdline", line).args(&["not", "me"]).env(&["NOR=me"]);
    let console = rig.console();
    assert!(console.contains("argv[0] = name\n"), "{console}");
    assert_eq!(heard(&console), (vec!["one", "two words"], vec!["A=b c"]));
}
