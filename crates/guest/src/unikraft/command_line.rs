//! Unikraft's command line: `NAME TOKEN [PREFIX.PARAMETER=VALUE]… -- ARGUMENT…`.
//!
//! Words are split by lib/ukargparse/argparse.c: at white space outside quotes; inside `"…"` a backslash takes the
//! meaning from `"` and `\`; words that end up empty vanish. Double quotes with these two escapes express every word
//! that is not empty.
//!
//! The kernel's own parameters end with `--` (lib/ukboot, `uk_libparam_parse`). That is honoured only if a word comes
//! between the program's name and the `--`; otherwise every word, the `--` too, is the program's. So a word that means
//! nothing is always put there, and then arguments may hold `--` themselves. A kernel without libuklibparam hands
//! everything to its program and gets arguments only.
//!
//! Releases before 0.13 do not know the two escapes. A kernel that tells neither its release nor its parameters may be
//! one, so it gets no word that needs them.

use runu_core::Printable;

use super::{Facts, Parameter, Version};
use crate::{CommandLine, CommandLineError, Fault, Invocation, Variable, Word};

/// The word before the parameters: it has no dot, so it is no parameter, and it is not `help`, which ends the boot.
const FILLER: &[u8] = b"runu";
/// What ends the parameters.
const STOP: &[u8] = b"--";
/// Default of `CONFIG_LIBUKBOOT_MAXNBARGS`: further words are dropped without a word. Kernels do not tell theirs.
const WORDS_MAX: usize = 60;
/// Default of `CONFIG_LIBPOSIX_ENVIRON_LIBPARAM_MAXCOUNT`, for kernels that do not tell theirs.
const VARIABLES_DEFAULT: u64 = 8;

/// The parameter that holds environment variables, and the one that holds mounts.
const ENVIRONMENT: &str = "env.vars";
const MOUNTS: &str = "vfs.fstab";

/// What a kernel understands on its command line.
pub(crate) struct Grammar<'a> {
    /// Whether it understands parameters at all.
    takes_parameters: bool,
    /// Whether it is known to understand `\"` and `\\` inside double quotes.
    escapes: bool,
    /// How many environment variables it takes, or what it lacks to take any.
    variables: Result<u64, &'static str>,
    /// The parameters it understands, if it lists them.
    known: Option<&'a [Parameter]>,
    /// Values of `vfs.fstab` that make it unpack an initrd; none where it needs no telling.
    initrd_mounts: &'static [&'static str],
    /// What follows the place in a value of `vfs.fstab` that makes it mount a directory by 9P.
    share_mount: &'static str,
}

impl<'a> Grammar<'a> {
    /// What our own guests understand.
    pub(crate) const OWN_GUESTS: Grammar<'static> = Grammar {
        takes_parameters: true,
        escapes: true,
        variables: Ok(VARIABLES_DEFAULT),
        known: None,
        initrd_mounts: &[],
        share_mount: NEW_SHARE_MOUNT,
    };

    /// What a kernel with these facts understands.
    pub(crate) fn of(facts: &'a Facts) -> Self {
        Grammar {
            takes_parameters: facts.takes_parameters,
            escapes: facts.version.is_some() || facts.parameters.is_some(),
            variables: variables(facts),
            known: facts.parameters.as_deref(),
            initrd_mounts: initrd_mounts(facts),
            share_mount: share_mount(facts),
        }
    }

    /// Writes the line. The words of the invocation are not empty and hold neither NUL nor line end.
    pub(crate) fn command_line(&self, invocation: &Invocation) -> Result<CommandLine, CommandLineError> {
        self.check_escapes(invocation)?;
        let parameters = self.parameters(invocation)?;
        let frame = if self.takes_parameters { 3 } else { 1 };
        let count = frame + parameters.len() + invocation.args.len();
        if count > WORDS_MAX {
            return Err(CommandLineError::TooManyWords { count, most: WORDS_MAX });
        }
        let mut words = vec![quoted(&invocation.argv0)];
        if self.takes_parameters {
            words.push(FILLER.to_vec());
            words.extend(parameters.iter().map(assignment));
            words.push(STOP.to_vec());
        }
        words.extend(invocation.args.iter().map(|argument| quoted(argument)));
        CommandLine::join(&words)
    }

    /// Whether the kernel can undo what `quoted` does. Variables need no check: only kernels with escapes take them.
    fn check_escapes(&self, invocation: &Invocation) -> Result<(), CommandLineError> {
        let arguments =
            invocation.args.iter().enumerate().map(|(index, text)| (Word::Argument(index + 1), text));
        let parameters = invocation
            .parameters
            .iter()
            .map(|parameter| (Word::Parameter(Printable(&parameter.name).to_string()), &parameter.value));
        let mut words =
            std::iter::once((Word::ProgramName, &invocation.argv0)).chain(arguments).chain(parameters);
        let escaped = |text: &[u8]| text.iter().any(|byte| matches!(byte, b'"' | b'\\'));
        match words.find(|(_, text)| !self.escapes && escaped(text)) {
            Some((word, _)) => Err(CommandLineError::Word { word, fault: Fault::Quoting }),
            None => Ok(()),
        }
    }

    /// Everything that goes before the `--`: the user's parameters, mounts for the initrd, the environment.
    fn parameters(&self, invocation: &Invocation) -> Result<Vec<Variable>, CommandLineError> {
        if invocation.parameters.len() > WORDS_MAX {
            return Err(CommandLineError::TooManyWords {
                count: invocation.parameters.len(),
                most: WORDS_MAX,
            });
        }
        self.check_parameters(&invocation.parameters)?;
        let mut parameters = invocation.parameters.clone();
        let own_mounts = parameters.iter().any(|parameter| parameter.name == MOUNTS.as_bytes());
        if invocation.initrd && !own_mounts {
            parameters.extend(self.initrd_mounts.iter().map(|mount| Variable::new(MOUNTS, *mount)));
        }
        // Behind the root file system, in which they are mounted; a user who mounts anything mounts a root first.
        let told = invocation.shares.iter().filter(|shared| !(own_mounts && shared.is_root()));
        parameters.extend(told.map(|shared| {
            let how = if shared.is_root() { ROOT_SHARE_MOUNT } else { self.share_mount };
            Variable::new(MOUNTS, [shared.tag.as_bytes(), b":", &shared.path, how.as_bytes()].concat())
        }));
        if !invocation.shares.is_empty() {
            self.check_capacity(MOUNTS.to_owned(), &parameters)?;
        }
        self.check_variables(invocation)?;
        parameters.extend(invocation.env.iter().map(|variable| {
            let text = [variable.name.as_slice(), b"=", variable.value.as_slice()].concat();
            Variable::new(ENVIRONMENT, text)
        }));
        Ok(parameters)
    }

    fn check_parameters(&self, parameters: &[Variable]) -> Result<(), CommandLineError> {
        for parameter in parameters {
            let name = Printable(&parameter.name).to_string();
            let fault = |fault| Err(CommandLineError::Word { word: Word::Parameter(name.clone()), fault });
            if !is_parameter_name(&parameter.name) {
                return fault(Fault::Name);
            }
            if parameter.value.starts_with(b"[") {
                return fault(Fault::List);
            }
            self.check_capacity(name, parameters)?;
        }
        Ok(())
    }

    /// Whether the kernel has a parameter of that name and room for all values given.
    fn check_capacity(&self, name: String, parameters: &[Variable]) -> Result<(), CommandLineError> {
        if !self.takes_parameters {
            return Err(CommandLineError::NoParameter { name, known: Vec::new() });
        }
        let Some(known) = self.known else { return Ok(()) };
        let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
            let known = known.iter().map(|parameter| parameter.name.clone()).collect();
            return Err(CommandLineError::NoParameter { name, known });
        };
        let count = parameters.iter().filter(|given| given.name == name.as_bytes()).count();
        if count as u64 > parameter.capacity {
            return Err(CommandLineError::TooManyValues { name, count, most: parameter.capacity });
        }
        Ok(())
    }

    fn check_variables(&self, invocation: &Invocation) -> Result<(), CommandLineError> {
        let variables = &invocation.env;
        let Some(first) = variables.first() else { return Ok(()) };
        let most = self.variables.map_err(|why| {
            let name = Printable(&first.name).to_string();
            CommandLineError::NoEnvironment { name, why }
        })?;
        // Both kinds of variable go into one table of the kernel's.
        let own = invocation.parameters.iter().filter(|given| given.name == ENVIRONMENT.as_bytes()).count();
        let count = variables.len() + own;
        if count as u64 > most {
            return Err(CommandLineError::TooManyVariables { count, most });
        }
        // The value of `env.vars` starts with the variable's name.
        if let Some(variable) = variables.iter().find(|variable| variable.name.starts_with(b"[")) {
            let word = Word::Variable(Printable(&variable.name).to_string());
            return Err(CommandLineError::Word { word, fault: Fault::Name });
        }
        Ok(())
    }
}

/// How many environment variables a kernel takes, or what it lacks.
fn variables(facts: &Facts) -> Result<u64, &'static str> {
    if !facts.takes_parameters {
        return Err("the kernel takes no parameters (it lacks libuklibparam)");
    }
    match facts.parameter(ENVIRONMENT) {
        Some(Some(parameter)) => Ok(parameter.capacity),
        Some(None) => Err("the kernel has no parameter `env.vars`"),
        None if facts.version.is_none() => Err("the kernel does not tell which parameters it has"),
        None if facts.has_library("libposix_environ") == Some(false) => {
            Err("the kernel has no environment (it lacks libposix_environ)")
        }
        None => Ok(VARIABLES_DEFAULT),
    }
}

/// The driver, no flags, no options, and the wish that the place be made if it is not there (lib/vfscore/automount.c).
const NEW_SHARE_MOUNT: &str = ":9pfs:::mkmp";

/// The driver for a directory that becomes the root: nothing is there in which a place could be made, and kernels before 0.17
/// fail when they are to make one (lib/vfscore/automount.c, `vfscore_ukopt_mkmp`).
const ROOT_SHARE_MOUNT: &str = ":9pfs";

/// What makes a kernel of this release mount a directory by 9P. Those before 0.16 make no places.
fn share_mount(facts: &Facts) -> &'static str {
    match facts.version {
        Some(version) if version < Version::new(0, 16, 0) => ":9pfs",
        _ => NEW_SHARE_MOUNT,
    }
}

/// What a kernel lacks to mount directories by 9P where it is told.
pub(crate) fn share_obstacle(facts: &Facts) -> Option<&'static str> {
    if !facts.takes_parameters || facts.parameter(MOUNTS) == Some(None) {
        return Some("its kernel mounts nothing that it is told to (it has no parameter `vfs.fstab`)");
    }
    let lacks = |name| facts.has_library(name) == Some(false);
    match facts.libraries {
        None => Some("its kernel does not tell whether it has a 9p file system"),
        Some(_) if lacks("lib9pfs") => Some("its kernel has no 9p file system (it lacks lib9pfs)"),
        Some(_) if lacks("libvirtio_9p") => Some("its kernel has no driver for 9p (it lacks libvirtio_9p)"),
        Some(_) => None,
    }
}

/// Whether an initrd becomes the root file system, if the kernel is told so.
pub(crate) fn unpacks_initrd(facts: &Facts) -> bool {
    !initrd_mounts(facts).is_empty()
}

/// What to mount so that an initrd becomes the root file system. The form changed with releases:
/// lib/vfscore/automount.c at each, lib/posix-vfs-fstab/fstab.c since 0.20.
fn initrd_mounts(facts: &Facts) -> &'static [&'static str] {
    let has = |name| facts.has_library(name) == Some(true);
    if !facts.takes_parameters || facts.parameter(MOUNTS) == Some(None) || !has("libukcpio") {
        return &[];
    }
    if has("libposix_vfs_fstab") {
        // Here `extract` needs something mounted at `/`, and has no option to mount it.
        return if has("libukfs_ramfs") {
            &["ramfs:/:ramfs", "initrd0:/:extract"]
        } else {
            &["initrd0:/:extract"]
        };
    }
    if !has("libvfscore") {
        return &[];
    }
    match facts.version {
        Some(version) if version < Version::new(0, 16, 0) => &["initrd0:/:initrd"],
        Some(version) if version < Version::new(0, 16, 1) => &["initrd:/:initrd::extract:"],
        Some(version) if version < Version::new(0, 16, 2) => &["initrd0:/:extract:::"],
        // `ramfs=2` mounts a ramfs only if nothing is mounted yet, so it suits kernels with and without a root of
        // their own; `ramfs=1` fails with the former, none with the latter.
        _ => &["initrd0:/:extract::ramfs=2:"],
    }
}

/// `PREFIX.PARAMETER`, as C identifiers make it.
pub(super) fn is_parameter_name(name: &[u8]) -> bool {
    let mut parts = name.split(|byte| *byte == b'.');
    let mut identifier = || {
        parts.next().is_some_and(|part| {
            !part.is_empty() && part.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        })
    };
    identifier() && identifier() && parts.next().is_none()
}

/// `name=value`, with the value quoted where it must be.
fn assignment(parameter: &Variable) -> Vec<u8> {
    [parameter.name.as_slice(), b"=", &quoted(&parameter.value)].concat()
}

/// The word in double quotes, or as it is where no rule would change it.
fn quoted(word: &[u8]) -> Vec<u8> {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,=+@%".contains(byte);
    if word.iter().all(bare) {
        return word.to_vec();
    }
    let mut quoted = vec![b'"'];
    for byte in word {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}
