//! Facts as lines of a name and a value, for people.

use runu_core::Printable;

/// Column at which values start.
const VALUES: usize = 15;

/// Widest value before a list goes on in the next line.
const WIDTH: usize = 90;

/// Lines of a name and a value, made safe to print. A name that repeats is written once, so its values read as a list.
pub(crate) fn table(rows: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut before = "";
    for (name, value) in rows {
        let label = if *name == before { "" } else { name };
        text.push_str(&format!("{label:<VALUES$}{}\n", Printable(value.as_bytes())));
        before = name;
    }
    text
}

/// Words joined into as few values as the width allows.
pub(crate) fn wrapped<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_repeats_is_written_once() {
        let rows = [("a", "1".to_owned()), ("a", "2".to_owned()), ("b", "\x1b[2J".to_owned())];
        assert_eq!(table(&rows), "a              1\n               2\nb              \\u{1b}[2J\n");
    }

    #[test]
    fn words_beyond_the_width_go_on_in_the_next_line() {
        let words = ["x"; 60];
        assert_eq!(wrapped(words).iter().map(String::len).collect::<Vec<_>>(), [89, 29]);
    }
}
