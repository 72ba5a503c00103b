//! Rust source as the checks see it: which files there are, and their code without comments and literals.
//!
//! This is a lexer for four things only (comments, strings, characters, everything else), so that a check can look for
//! a word and not find it in prose.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Every `.rs` file below `folder`, sorted; build output and hidden folders are left out.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The code of a source file: comments and the contents of literals are blanked, line ends stay where they are.
pub(crate) fn code(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let skipped = literal_or_comment(rest, before);
        let taken = if skipped == 0 { c.len_utf8() } else { skipped };
        let (piece, after) = rest.split_at(taken);
        if skipped == 0 {
            code.push(c);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        before = piece.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    code
}

/// Length in bytes of the comment or literal at the start of `text`, or 0 if there is none; `before` precedes it.
fn literal_or_comment(text: &str, before: char) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let word_goes_on = before.is_alphanumeric() || before == '_';
    if !word_goes_on && let Some(len) = raw_string(text) {
        return len;
    }
    match text.as_bytes() {
        [b'"', ..] => quoted(text, '"'),
        // A character literal and not a lifetime: an escape, or one character and the closing quote.
        [b'\'', b'\\', ..] => quoted(text, '\''),
        [b'\'', ..] if text.chars().nth(2) == Some('\'') => quoted(text, '\''),
        _ => 0,
    }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.is_empty() {
            break;
        }
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the raw string (`r"…"`, `br#"…"#`) at the start of `text`.
fn raw_string(text: &str) -> Option<usize> {
    let after_prefix = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after_prefix.bytes().take_while(|&b| b == b'#').count();
    let body = after_prefix.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let body_len = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(text.len() - body.len() + body_len)
}

/// Length of the literal at the start of `text` that ends with `quote`, escapes skipped.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

/// The words of a line of code: runs of letters, digits and underscores.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(between_words).filter(|word| !word.is_empty())
}

/// The word that `code` ends with; empty if it ends with something else.
pub(crate) fn last_word(code: &str) -> &str {
    code.rsplit(between_words).next().unwrap_or_default()
}

fn between_words(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_with_word_in_comment_or_literal_loses_it() {
        for text in [
            "// unsafe\n",
            "/* a /* unsafe */ unsafe */",
            "\"unsafe \\\" unsafe\"",
            "r#\"unsafe \" unsafe\"#",
            "br\"unsafe\"",
        ] {
            assert!(!code(text).contains("unsafe"), "{text}");
        }
    }

    #[test]
    fn code_after_literal_or_lifetime_stays() {
        for text in [
            "'\"' unsafe",
            "'\\'' unsafe",
            "&'a str unsafe",
            "\"\\\\\" unsafe",
            "/* */ unsafe",
            "for'é' unsafe",
        ] {
            assert!(code(text).contains("unsafe"), "{text}");
        }
    }

    #[test]
    fn code_keeps_its_line_numbers() {
        assert_eq!(code("/*\n\n*/\nlet").lines().count(), 4);
    }
}
