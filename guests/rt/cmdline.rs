//! The command line as Unikraft reads it: lib/ukargparse/argparse.c (tokens) and lib/ukboot/early_init.c
//! (parameters, `--`, arguments), of 0.16.3.
//!
//! `argv0 [parameters --] arguments`: without a `--`, or with one right behind argv0, all words are
//! arguments. `env.vars` comes as a list (`env.vars=[ "A=b" "C=d e" ]`) or one by one (`env.vars=A=b`); of other
//! parameters the values are kept as they are.

/// The longest line, in bytes; a longer one ends Unikraft.
pub const MAX_LINE: usize = 4095;
/// The most words that are kept; Unikraft keeps 60.
pub const MAX_WORDS: usize = 256;
/// The most environment variables that are kept; Unikraft keeps 8.
const MAX_ENV: usize = 64;

/// Arguments, parameters and environment.
pub struct CommandLine {
    /// Arguments, then parameters.
    words: [&'static [u8]; MAX_WORDS],
    argc: usize,
    len: usize,
    env: [&'static [u8]; MAX_ENV],
    env_len: usize,
}

impl CommandLine {
    /// Neither arguments nor environment.
    pub const EMPTY: Self =
        Self { words: [&[]; MAX_WORDS], argc: 0, len: 0, env: [&[]; MAX_ENV], env_len: 0 };

    /// Reads a line of at most [`MAX_LINE`] bytes. The words go to `text`, without their quotes and
    /// backslashes, and are listed in `words`.
    pub fn read(&mut self, line: &[u8], text: &'static mut [u8], words: &mut [&'static [u8]; MAX_WORDS]) {
        let Some((name, rest)) = split(line, text, words).split_first() else { return };
        let (parameters, arguments) = match rest.iter().position(|word| *word == b"--") {
            Some(at) if at > 0 => (&rest[..at], &rest[at + 1..]),
            _ => (&[][..], rest),
        };
        self.argc = 1 + arguments.len();
        self.len = self.argc + parameters.len();
        self.words[0] = name;
        self.words[1..self.argc].copy_from_slice(arguments);
        self.words[self.argc..self.len].copy_from_slice(parameters);
        self.read_environment(parameters);
    }

    /// The arguments; the first is the program's name.
    pub fn argv(&self) -> &[&'static [u8]] {
        &self.words[..self.argc]
    }

    /// The values of all parameters `name=value`.
    pub fn parameters(&self, name: &[u8]) -> impl Iterator<Item = &'static [u8]> {
        self.words[self.argc..self.len]
            .iter()
            .filter_map(move |word| word.strip_prefix(name)?.strip_prefix(b"="))
    }

    /// The environment, each `NAME=value`.
    pub fn env(&self) -> &[&'static [u8]] {
        &self.env[..self.env_len]
    }

    /// Whether an argument is this word.
    pub fn has(&self, word: &[u8]) -> bool {
        self.argv().iter().skip(1).any(|argument| *argument == word)
    }

    /// The value of the first argument `name=value`.
    pub fn value(&self, name: &[u8]) -> Option<&'static [u8]> {
        self.argv().iter().skip(1).find_map(|argument| argument.strip_prefix(name)?.strip_prefix(b"="))
    }

    /// The value of `name=number`, in decimal.
    pub fn number(&self, name: &[u8]) -> Option<u64> {
        self.value(name).map(decimal)
    }

    fn read_environment(&mut self, parameters: &[&'static [u8]]) {
        let mut in_list = false;
        for word in parameters {
            let mut value = match word.strip_prefix(b"env.vars=") {
                _ if in_list => *word,
                Some(value) => value,
                None => continue,
            };
            if let Some(first) = value.strip_prefix(b"[").filter(|_| !in_list) {
                in_list = true;
                value = first;
            }
            if in_list && let Some(last) = value.strip_suffix(b"]") {
                in_list = false;
                value = last;
            }
            if !value.is_empty() {
                self.push_env(value);
            }
        }
    }

    fn push_env(&mut self, variable: &'static [u8]) {
        if self.env_len < MAX_ENV {
            self.env[self.env_len] = variable;
            self.env_len += 1;
        }
    }
}

/// Reads decimal digits up to the first other byte.
pub fn decimal(digits: &[u8]) -> u64 {
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Reads hexadecimal digits, after an optional `0x`, up to the first other byte.
pub fn hexadecimal(digits: &[u8]) -> u64 {
    let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
    let digits = digits.iter().map_while(|byte| char::from(*byte).to_digit(16));
    digits.fold(0, |number, digit| number << 4 | u64::from(digit))
}

/// Cuts the line at spaces outside quotes; empty words vanish, words beyond the capacity are dropped.
fn split<'a>(
    line: &[u8],
    mut text: &'static mut [u8],
    words: &'a mut [&'static [u8]],
) -> &'a [&'static [u8]] {
    let (mut count, mut size) = (0, 0);
    let mut quote = None;
    let mut bytes = line.iter().copied().peekable();
    while count < words.len() {
        let byte = bytes.next();
        let kept = match (quote, byte) {
            (_, None) | (None, Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b)) => {
                if size > 0 {
                    let (word, rest) = text.split_at_mut(size);
                    (words[count], text) = (word, rest);
                    (count, size) = (count + 1, 0);
                }
                if byte.is_none() {
                    break;
                }
                continue;
            }
            (None, Some(b'\'' | b'"')) => {
                quote = byte;
                continue;
            }
            (Some(_), _) if quote == byte => {
                quote = None;
                continue;
            }
            (None, Some(b'\\')) => bytes.next().unwrap_or(b'\\'),
            (Some(b'"'), Some(b'\\')) => bytes.next_if(|next| matches!(next, b'"' | b'\\')).unwrap_or(b'\\'),
            (_, Some(byte)) => byte,
        };
        text[size] = kept;
        size += 1;
    }
    &words[..count]
}
