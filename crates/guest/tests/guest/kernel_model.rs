//! How a Unikraft kernel reads its command line: lib/ukargparse and lib/uklibparam, told again for the tests.
//!
//! This is the other side of what `runu-guest` writes. It is written from the kernel's rules, not from the writer's.

/// What a program and its kernel hear.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The program's arguments, its name first.
    pub(crate) argv: Vec<Vec<u8>>,
    /// The kernel's parameters in order, lists taken apart: name and value.
    pub(crate) parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the kernel printed its help and stopped.
    pub(crate) help: bool,
}

/// Default of `CONFIG_LIBUKBOOT_MAXNBARGS`.
const WORDS_MAX: usize = 60;

/// What is heard of a line by a kernel with or without libuklibparam.
pub(crate) fn hear(line: &[u8], takes_parameters: bool) -> Heard {
    hear_words(split(line, true), takes_parameters)
}

/// The same for a kernel before 0.13, which knows no escapes.
pub(crate) fn hear_without_escapes(line: &[u8], takes_parameters: bool) -> Heard {
    hear_words(split(line, false), takes_parameters)
}

/// Splits a line into at most 60 words.
fn split(line: &[u8], escapes: bool) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b);
        match (quote, byte) {
            (None, _) if space => words.extend(word.take()),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') if escapes => {
                let next = bytes.next();
                let word = word.get_or_insert_default();
                let known = matches!(next, Some(b'"' | b'\\'));
                if quote.is_some() && !known {
                    word.push(b'\\');
                }
                word.extend(next);
            }
            // A word begins with its first byte, so a pair of quotes around nothing is no word.
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words.truncate(WORDS_MAX);
    words
}

fn hear_words(words: Vec<Vec<u8>>, takes_parameters: bool) -> Heard {
    // The search for `--` skips the program's name, and lists.
    let stop = stop_at(&words);
    match stop {
        Some(stop) if takes_parameters && stop > 1 => {
            let mut heard = Heard::default();
            read_parameters(&words[1..stop], &mut heard);
            heard.argv.push(words[0].clone());
            heard.argv.extend_from_slice(&words[stop + 1..]);
            heard
        }
        _ => Heard { argv: words, ..Heard::default() },
    }
}

/// Where the first `--` outside a list is.
fn stop_at(words: &[Vec<u8>]) -> Option<usize> {
    let mut in_list = false;
    for (index, word) in words.iter().enumerate().skip(1) {
        if in_list {
            in_list = !word.ends_with(b"]");
        } else if word == b"--" {
            return Some(index);
        } else if let Some((_, value)) = assignment(word) {
            in_list = value.starts_with(b"[") && !value[1..].ends_with(b"]");
        }
    }
    None
}

fn read_parameters(words: &[Vec<u8>], heard: &mut Heard) {
    let mut list: Option<Vec<u8>> = None;
    for word in words {
        if let Some(name) = &list {
            let name = name.clone();
            read_element(name, word, &mut list, heard);
        } else if word == b"help" {
            heard.help = true;
        } else if let Some((name, value)) = assignment(word) {
            match value.strip_prefix(b"[") {
                Some(rest) => {
                    list = Some(name.clone());
                    read_element(name, rest, &mut list, heard);
                }
                None => heard.parameters.push((name, value)),
            }
        }
    }
}

/// An element of a list; `]` at its end closes the list.
fn read_element(name: Vec<u8>, word: &[u8], list: &mut Option<Vec<u8>>, heard: &mut Heard) {
    let value = match word.strip_suffix(b"]") {
        Some(value) => {
            *list = None;
            value
        }
        None => word,
    };
    if !value.is_empty() {
        heard.parameters.push((name, value.to_vec()));
    }
}

/// `PREFIX.NAME=VALUE`, taken apart; a word without a dot before the `=` is no parameter.
fn assignment(word: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let dot = word.iter().position(|byte| *byte == b'.')?;
    let equals = dot + word[dot..].iter().position(|byte| *byte == b'=')?;
    Some((word[..equals].to_vec(), word[equals + 1..].to_vec()))
}
