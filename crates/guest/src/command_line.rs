//! How a guest is told its name, arguments and environment: one line of text, in the grammar of its kind.
//!
//! The rule: every argument arrives exactly as given, or the line is refused. A kernel splits the line by its own
//! rules, silently drops what is too much, and starts all the same; so what it would change is an error here.

use std::fmt;

use runu_core::{Blame, Blamed, Printable};

use crate::{Guest, Kind, Shared, plain, unikraft};

/// Longest line in bytes, without a terminating NUL: `CONFIG_LIBUKBOOT_CMDLINE_MAX_LEN` is 4096, and a longer line
/// crashes Unikraft's boot (lib/ukboot/early_init.c).
pub(crate) const LINE_MAX: usize = 4095;

/// How a guest is to be invoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// What the program sees as its own name, `argv[0]`. Not empty.
    pub argv0: Vec<u8>,
    /// The program's further arguments.
    pub args: Vec<Vec<u8>>,
    /// The program's environment.
    pub env: Vec<Variable>,
    /// Parameters for the kernel itself, such as `netdev.ip`; several values of one name make a list.
    pub parameters: Vec<Variable>,
    /// Whether the guest gets an initrd. A kernel that has to be told to unpack it is told so.
    pub initrd: bool,
    /// Directories that the guest is to mount by 9P; for those that can ([`share_obstacle`](crate::share_obstacle)).
    pub shares: Vec<Shared>,
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name; holds no `=`.
    pub name: Vec<u8>,
    /// The value; may be empty.
    pub value: Vec<u8>,
}

impl Variable {
    /// A variable with that name and value.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Variable { name: name.into(), value: value.into() }
    }
}

/// A command line as a kernel is to see it: not empty, no NUL, no line end, at most 4095 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine(Vec<u8>);

impl CommandLine {
    /// A line that somebody wrote as a whole, the program's name first: taken as it is.
    ///
    /// # Errors
    ///
    /// It is empty, too long, or holds a NUL byte or a line end.
    pub fn literal(line: &[u8]) -> Result<Self, CommandLineError> {
        check(Word::Line, line)?;
        Self::join(&[line.to_vec()])
    }

    /// The line's bytes, without a terminating NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The line's bytes, without a terminating NUL.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Joins words that are encoded already, the program's name first.
    pub(crate) fn join(words: &[Vec<u8>]) -> Result<Self, CommandLineError> {
        let line = words.join(&b' ');
        if line.len() > LINE_MAX {
            return Err(CommandLineError::TooLong { len: line.len(), most: LINE_MAX });
        }
        Ok(CommandLine(line))
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.0).fmt(f)
    }
}

/// Writes the command line that makes `guest` see exactly what `invocation` says.
///
/// # Errors
///
/// The guest's grammar cannot express it, or the guest understands no such thing.
pub fn command_line(guest: &Guest, invocation: &Invocation) -> Result<CommandLine, CommandLineError> {
    check(Word::ProgramName, &invocation.argv0)?;
    for (index, argument) in invocation.args.iter().enumerate() {
        check(Word::Argument(index + 1), argument)?;
    }
    for variable in &invocation.env {
        let word = || Word::Variable(Printable(&variable.name).to_string());
        check_name(word(), &variable.name)?;
        check_value(word(), &variable.value)?;
    }
    for parameter in &invocation.parameters {
        let word = || Word::Parameter(Printable(&parameter.name).to_string());
        check_name(word(), &parameter.name)?;
        check_value(word(), &parameter.value)?;
    }
    match &guest.kind {
        Kind::Unikraft(facts) if facts.platform.is_kvm() => {
            unikraft::Grammar::of(facts).command_line(invocation)
        }
        Kind::Runu(_) => unikraft::Grammar::OWN_GUESTS.command_line(invocation),
        Kind::Unknown => plain::command_line(invocation),
        kind => Err(CommandLineError::UnknownGrammar { kind: kind.to_string() }),
    }
}

/// A word by itself: no grammar known expresses an empty one.
fn check(word: Word, text: &[u8]) -> Result<(), CommandLineError> {
    if text.is_empty() {
        return Err(CommandLineError::Word { word, fault: Fault::Empty });
    }
    check_value(word, text)
}

fn check_name(word: Word, name: &[u8]) -> Result<(), CommandLineError> {
    if name.is_empty() || name.contains(&b'=') {
        return Err(CommandLineError::Word { word, fault: Fault::Name });
    }
    check_value(word, name)
}

fn check_value(word: Word, text: &[u8]) -> Result<(), CommandLineError> {
    let fault = text.iter().find_map(|byte| match byte {
        0 => Some(Fault::Nul),
        b'\n' => Some(Fault::LineEnd),
        _ => None,
    });
    fault.map_or(Ok(()), |fault| Err(CommandLineError::Word { word, fault }))
}

/// A part of an invocation, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// `argv[0]`.
    ProgramName,
    /// An argument, counted from 1.
    Argument(usize),
    /// An environment variable, by its name made printable.
    Variable(String),
    /// A kernel parameter, by its name made printable.
    Parameter(String),
    /// The line as a whole.
    Line,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::ProgramName => f.write_str("the program name"),
            Word::Argument(index) => write!(f, "argument {index}"),
            Word::Variable(name) => write!(f, "the environment variable `{name}`"),
            Word::Parameter(name) => write!(f, "the kernel parameter `{name}`"),
            Word::Line => f.write_str("the command line"),
        }
    }
}

/// Why a word cannot be written on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is empty; kernels drop empty words.
    Empty,
    /// It holds a NUL byte, which ends the line.
    Nul,
    /// It holds a line end.
    LineEnd,
    /// Its name is empty, holds a `=` or what the grammar forbids.
    Name,
    /// Its value starts with `[`, which begins a list.
    List,
    /// It holds a space, a quote or a backslash, and the kernel's way of quoting is not known.
    Quoting,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Empty => "is empty, and a guest never sees an empty one",
            Fault::Nul => "holds a NUL byte",
            Fault::LineEnd => "holds a line end",
            Fault::Name => "has a name that the kernel cannot read",
            Fault::List => "has a value that starts with `[`, which the kernel reads as a list",
            Fault::Quoting => {
                "holds a space, quote or backslash, and how this kernel reads them is not known"
            }
        })
    }
}

/// Why there is no command line for an invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandLineError {
    /// A word cannot be expressed.
    #[error("{word} {fault}")]
    Word {
        /// Which word.
        word: Word,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The kernel takes no environment variables.
    #[error("the environment variable `{name}` cannot be handed over: {why}")]
    NoEnvironment {
        /// The first variable given.
        name: String,
        /// What the kernel lacks.
        why: &'static str,
    },
    /// The kernel takes fewer environment variables.
    #[error("{count} environment variables are too many: the kernel takes {most}")]
    TooManyVariables {
        /// How many are given.
        count: usize,
        /// How many it takes.
        most: u64,
    },
    /// The kernel does not have the parameter.
    #[error("the kernel parameter `{name}` is not known to this kernel")]
    NoParameter {
        /// Its name.
        name: String,
        /// Those it has, if it lists them.
        known: Vec<String>,
    },
    /// The kernel takes fewer values for the parameter.
    #[error("{count} values for the kernel parameter `{name}` are too many: the kernel takes {most}")]
    TooManyValues {
        /// Its name.
        name: String,
        /// How many are given.
        count: usize,
        /// How many it takes.
        most: u64,
    },
    /// The line has more words than the kernel reads.
    #[error("the command line has {count} words: the kernel reads {most} and drops the rest")]
    TooManyWords {
        /// How many words it has, with program name, parameters and what separates them.
        count: usize,
        /// How many are read.
        most: usize,
    },
    /// The line has more bytes than the kernel reads.
    #[error("the command line has {len} bytes: {most} is the most")]
    TooLong {
        /// Its length.
        len: usize,
        /// The greatest length.
        most: usize,
    },
    /// No grammar is known for such a guest.
    #[error("no command line is known for this kernel: it is {kind}")]
    UnknownGrammar {
        /// What the kernel is.
        kind: String,
    },
}

impl Blamed for CommandLineError {
    fn blame(&self) -> Blame {
        match self {
            CommandLineError::UnknownGrammar { .. } => Blame::Image,
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            CommandLineError::Word { fault: Fault::Quoting, .. } => {
                "use a Unikraft kernel, whose quoting is known, or words without these characters".to_owned()
            }
            CommandLineError::Word { fault: Fault::Name, word: Word::Parameter(_) } => {
                "write LIBRARY.NAME, in letters, digits and underscores, such as netdev.ip".to_owned()
            }
            CommandLineError::Word { fault: Fault::List, .. } => "give each value by itself".to_owned(),
            CommandLineError::Word { .. } => {
                "leave it out, or hand it over in a file of the initrd".to_owned()
            }
            CommandLineError::NoEnvironment { .. } => {
                "build the kernel with posix-environ and its parameter, or give no -e".to_owned()
            }
            CommandLineError::TooManyVariables { .. } => {
                "give fewer, or build the kernel with a higher LIBPOSIX_ENVIRON_LIBPARAM_MAXCOUNT".to_owned()
            }
            CommandLineError::NoParameter { known, .. } if known.is_empty() => {
                "build the kernel with uklibparam and the library that has the parameter".to_owned()
            }
            CommandLineError::NoParameter { known, .. } => format!("it knows {}", known.join(", ")),
            CommandLineError::TooManyValues { .. } | CommandLineError::TooManyWords { .. } => {
                "give fewer, or hand them over in a file of the initrd".to_owned()
            }
            CommandLineError::TooLong { .. } => "give fewer or shorter arguments and variables".to_owned(),
            CommandLineError::UnknownGrammar { .. } => {
                "give a kernel that Unikraft built for qemu or fc".to_owned()
            }
        })
    }
}
