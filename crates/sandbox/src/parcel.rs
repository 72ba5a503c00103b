//! What the guest process is handed, packed before the clone so that nothing collides on the way.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    companion::{Companion, Prepared},
    error::SandboxError,
    init::FIRST_GIVEN,
    step::Step,
    sys,
};

/// The largest number a descriptor can have inside: far more than any guest has devices, far less than any limit on open
/// files.
const LAST_GIVEN: RawFd = 255;

/// Descriptors for the guest process and the program it runs.
pub(crate) struct Parcel<'a> {
    /// In ascending order of the numbers they get; all are open on numbers from `above` up.
    pub(crate) descriptors: Vec<(OwnedFd, RawFd)>,
    /// What is started beside it.
    pub(crate) companion: Option<Prepared<'a>>,
    /// Our own executable.
    pub(crate) program: OwnedFd,
    /// The first number that no descriptor is to get.
    pub(crate) above: RawFd,
}

impl<'a> Parcel<'a> {
    /// Checks the numbers, those that are handed over later among them, and moves every descriptor above all of them.
    pub(crate) fn pack(
        mut descriptors: Vec<(OwnedFd, RawFd)>,
        mut companion: Option<Companion<'a>>,
        later: &[RawFd],
    ) -> Result<Self, SandboxError> {
        let fail = |step| move |errno| SandboxError::new(step, errno, false);
        keep_stdio_open().map_err(fail(Step::Stdio))?;
        let mut above = check_numbers(&mut descriptors, later)?;
        let mut theirs = companion.as_mut().map(|companion| &mut companion.descriptors);
        if let Some(theirs) = &mut theirs {
            above = above.max(check_numbers(theirs, &[])?);
        }
        for (descriptor, _) in descriptors.iter_mut().chain(theirs.into_iter().flatten()) {
            lift(descriptor, above).map_err(fail(Step::Descriptors))?;
        }
        let mut program = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(fail(Step::OwnExecutable))?;
        lift(&mut program, above).map_err(fail(Step::OwnExecutable))?;
        let companion = companion
            .map(|Companion { argv, descriptors, account }| Prepared::new(argv, descriptors, account));
        Ok(Parcel { descriptors, companion, program, above })
    }
}

/// Opens /dev/null in place of each closed standard descriptor.
///
/// Else the next file to be opened would become standard output, and the guest's words would be written into it.
fn keep_stdio_open() -> Result<(), Errno> {
    for number in 0..FIRST_GIVEN {
        if sys::is_open(number) {
            continue;
        }
        // The lowest free number is this one: all below are open. It stays open for the life of the process.
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
        std::mem::forget(null);
    }
    Ok(())
}

/// Sorts descriptors by the number they are to have and returns the first number above all of these and of `later`.
fn check_numbers(descriptors: &mut [(OwnedFd, RawFd)], later: &[RawFd]) -> Result<RawFd, SandboxError> {
    descriptors.sort_unstable_by_key(|(_, number)| *number);
    let mut least = FIRST_GIVEN;
    for number in descriptors.iter().map(|(_, number)| number).chain(later) {
        if !(least..=LAST_GIVEN).contains(number) {
            return Err(SandboxError::Descriptor(*number));
        }
        least = *number + 1;
    }
    Ok(least)
}

/// Gives a descriptor another number unless it is at least `least`.
pub(crate) fn lift(descriptor: &mut OwnedFd, least: RawFd) -> Result<(), Errno> {
    if descriptor.as_raw_fd() < least {
        *descriptor = rustix::io::fcntl_dupfd_cloexec(&*descriptor, least)?;
    }
    Ok(())
}
