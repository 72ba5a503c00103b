//! Text in the grammar of Unikraft's command line, read as the kernel reads it.
//!
//! Images carry such text: kraft's `Cmd` may hold kernel parameters before a `--`, urunc's `cmdline` is a line of words.
//! The rules are those of `command_line`, from the reader's side.

use super::command_line::is_parameter_name;
use crate::Variable;

/// The words of a line (lib/ukargparse/argparse.c). `None` where a quote is not closed.
#[must_use]
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\n' | b'\r' | 0x0b) => words.extend(word.take()),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') => {
                let next = bytes.next();
                let word = word.get_or_insert_default();
                if quote.is_some() && !matches!(next, Some(b'"' | b'\\')) {
                    word.push(b'\\');
                }
                word.extend(next);
            }
            // A word begins with its first byte: quotes around nothing are no word.
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The kernel parameters that a line consists of: `LIBRARY.NAME=VALUE`, and lists `LIBRARY.NAME=[ VALUE … ]`, of which each
/// element becomes a parameter of its own (lib/uklibparam/parser.c). `None` where the line holds anything else.
#[must_use]
pub fn parameters(line: &[u8]) -> Option<Vec<Variable>> {
    let mut parameters = Vec::new();
    let mut list: Option<Vec<u8>> = None;
    for word in words(line)? {
        let (name, text) = match list.take() {
            Some(name) => (name, word),
            None => {
                let at = word.iter().position(|byte| *byte == b'=')?;
                let (name, value) = word.split_at_checked(at)?;
                let value = value.get(1..)?;
                if !is_parameter_name(name) {
                    return None;
                }
                let Some(first) = value.strip_prefix(b"[") else {
                    parameters.push(Variable::new(name, value));
                    continue;
                };
                (name.to_vec(), first.to_vec())
            }
        };
        let element = text.strip_suffix(b"]");
        if element.is_none() {
            list = Some(name.clone());
        }
        let element = element.unwrap_or(&text);
        if !element.is_empty() {
            parameters.push(Variable::new(name, element));
        }
    }
    list.is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Option<Vec<String>> {
        let words = words(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8(word).expect("it was text")).collect())
    }

    fn pairs(line: &str) -> Option<Vec<(String, String)>> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it was text");
        let read = parameters(line.as_bytes())?;
        Some(read.into_iter().map(|parameter| (text(parameter.name), text(parameter.value))).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn words_in_quotes_and_with_escapes_are_read_as_the_kernel_does() {
        let line = r#" a  "b c" 'd "e"' f\ g "h\"i\\j\k" l"m n" "" "#;
        let expected = ["a", "b c", "d \"e\"", "f g", "h\"i\\j\\k", "lm n"].map(str::to_owned);
        assert_eq!(texts(line), Some(expected.to_vec()));
    }

    #[test]
    fn words_with_an_open_quote_are_no_words() {
        assert_eq!(texts("a \"b c"), None);
        assert_eq!(texts("'"), None);
    }

    #[test]
    fn parameters_and_lists_in_all_spellings_are_taken_apart() {
        let line = r#"netdev.ip=10.0.0.2/24 vfs.fstab=[ "a:/:x" "b:/y:z" ] env.vars=[A=1 B=2]"#;
        let expected = [
            pair("netdev.ip", "10.0.0.2/24"),
            pair("vfs.fstab", "a:/:x"),
            pair("vfs.fstab", "b:/y:z"),
            pair("env.vars", "A=1"),
            pair("env.vars", "B=2"),
        ];
        assert_eq!(pairs(line), Some(expected.to_vec()));
        assert_eq!(pairs("a.b=[ ]"), Some(Vec::new()));
        assert_eq!(pairs(""), Some(Vec::new()));
    }

    #[test]
    fn parameters_among_other_words_or_in_an_open_list_are_none() {
        for line in ["run", "a.b=1 run", "a.b", "a=1", "a.b.c=1", "a.b=[ 1", "a.b=\"1", "./x=1", "--x.y=1"] {
            assert_eq!(pairs(line), None, "{line}");
        }
    }
}
