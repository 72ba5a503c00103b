//! Kernels of unknown make: words separated by spaces, as the multiboot specification leaves it (§3.3, `cmdline`).
//!
//! Nothing is known about quoting, so only words that every splitting rule leaves alone are written.

use crate::{CommandLine, CommandLineError, Fault, Invocation, Word};

/// Writes program name and arguments.
pub(crate) fn command_line(invocation: &Invocation) -> Result<CommandLine, CommandLineError> {
    let lossy = |name: &[u8]| runu_core::Printable(name).to_string();
    if let Some(variable) = invocation.env.first() {
        let why = "how this kernel reads variables is not known";
        return Err(CommandLineError::NoEnvironment { name: lossy(&variable.name), why });
    }
    if let Some(parameter) = invocation.parameters.first() {
        return Err(CommandLineError::NoParameter { name: lossy(&parameter.name), known: Vec::new() });
    }
    let arguments = invocation.args.iter().enumerate().map(|(index, text)| (Word::Argument(index + 1), text));
    let words = std::iter::once((Word::ProgramName, &invocation.argv0)).chain(arguments);
    let words: Result<Vec<Vec<u8>>, _> = words.map(|(word, text)| bare(word, text)).collect();
    CommandLine::join(&words?)
}

/// The word itself, if no splitting rule changes it.
fn bare(word: Word, text: &[u8]) -> Result<Vec<u8>, CommandLineError> {
    if text
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || br#""'\"#.contains(byte))
    {
        return Err(CommandLineError::Word { word, fault: Fault::Quoting });
    }
    Ok(text.to_vec())
}
