//! A system-call filter as data: what is allowed, with which arguments and why. All else kills the process.
//!
//! The kernel checks the filter before every system call of every thread. Calls through the 32-bit gate (`int 0x80`) have
//! another architecture and calls with x32 numbers have another number, so both are "all else".

use std::{collections::BTreeMap, io};

use runu_core::{Blame, Blamed};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// A system call that is allowed when all of its checks hold. Several rules of one call are alternatives.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// The call's number, such as `libc::SYS_write`.
    pub call: i64,
    /// What must hold of its arguments; nothing means that any will do.
    pub args: &'a [ArgCheck],
    /// Why the guest process needs it.
    pub reason: &'static str,
}

/// What must hold of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgCheck {
    index: u8,
    width: Width,
    mask: u64,
    value: u64,
}

/// How much of the register the kernel looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Low32,
    All64,
}

impl ArgCheck {
    /// The argument, of a 32-bit type such as a descriptor, a signal or flags of type `int`, is `value`.
    ///
    /// The kernel ignores the register's upper half for such a type, and so does the check.
    #[must_use]
    pub const fn eq32(index: u8, value: u32) -> Self {
        ArgCheck { index, width: Width::Low32, mask: u64::MAX, value: value as u64 }
    }

    /// The argument, of a 64-bit type such as a pointer or a size, is `value`.
    #[must_use]
    pub const fn eq64(index: u8, value: u64) -> Self {
        ArgCheck { index, width: Width::All64, mask: u64::MAX, value }
    }

    /// Those bits of a 32-bit argument that are set in `mask` are as in `value`.
    #[must_use]
    pub const fn masked32(index: u8, mask: u32, value: u32) -> Self {
        ArgCheck { index, width: Width::Low32, mask: mask as u64, value: value as u64 }
    }

    /// Those bits of a 64-bit argument that are set in `mask` are as in `value`.
    #[must_use]
    pub const fn masked64(index: u8, mask: u64, value: u64) -> Self {
        ArgCheck { index, width: Width::All64, mask, value }
    }

    fn condition(self) -> Result<SeccompCondition, BackendError> {
        let width = match self.width {
            Width::Low32 => SeccompCmpArgLen::Dword,
            Width::All64 => SeccompCmpArgLen::Qword,
        };
        let test = if self.mask == u64::MAX { SeccompCmpOp::Eq } else { SeccompCmpOp::MaskedEq(self.mask) };
        SeccompCondition::new(self.index, width, test, self.value)
    }
}

/// Why a filter could not be installed. The process is then not confined and must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// A call is allowed with any arguments by one rule and with certain ones by another.
    #[error("the rules for system call {0} contradict each other")]
    Contradiction(i64),
    /// A list that allows nothing confines a process that then cannot even end.
    #[error("the list of system calls is empty")]
    Empty,
    /// The rules do not make a filter.
    #[error("the list of system calls does not make a filter")]
    Compile(#[source] BackendError),
    /// The kernel did not take the filter.
    #[error("the kernel did not take the system-call filter")]
    Install(#[source] io::Error),
}

impl Blamed for SeccompError {
    fn blame(&self) -> Blame {
        match self {
            SeccompError::Contradiction(_) | SeccompError::Empty | SeccompError::Compile(_) => Blame::Bug,
            SeccompError::Install(_) => Blame::Host,
        }
    }
}

/// A compiled filter, ready to be installed.
#[derive(Debug)]
pub struct Filter(BpfProgram);

impl Filter {
    /// Compiles a list of rules.
    ///
    /// # Errors
    /// A list that is empty, contradicts itself, checks a seventh argument or is too long for the kernel.
    pub fn compile(rules: &[Rule<'_>]) -> Result<Self, SeccompError> {
        if rules.is_empty() {
            return Err(SeccompError::Empty);
        }
        let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for rule in rules {
            let pinned = !rule.args.is_empty();
            // An empty list of alternatives is how the compiler is told "any arguments".
            if calls.get(&rule.call).is_some_and(|others| others.is_empty() == pinned) {
                return Err(SeccompError::Contradiction(rule.call));
            }
            let alternatives = calls.entry(rule.call).or_default();
            if pinned {
                let conditions = rule.args.iter().map(|check| check.condition()).collect::<Result<_, _>>();
                let alternative = conditions.and_then(SeccompRule::new).map_err(SeccompError::Compile)?;
                alternatives.push(alternative);
            }
        }
        let filter =
            SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64);
        filter.and_then(BpfProgram::try_from).map(Filter).map_err(SeccompError::Compile)
    }

    /// Confines this process, all of its threads and all that it may ever exec, for good.
    ///
    /// # Errors
    /// The kernel refuses: it has no seccomp, or a thread has a filter that this one does not.
    pub fn install(&self) -> Result<(), SeccompError> {
        seccompiler::apply_filter_all_threads(&self.0).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
                SeccompError::Install(error)
            }
            other => SeccompError::Install(io::Error::other(other)),
        })
    }
}

/// Compiles a list of rules and confines this process to it, for good: all that is not on the list kills it (SIGSYS).
///
/// # Errors
/// As of [`Filter::compile`] and [`Filter::install`].
pub fn install(rules: &[Rule<'_>]) -> Result<(), SeccompError> {
    Filter::compile(rules)?.install()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_EXIT: Rule<'static> = Rule { call: libc::SYS_exit_group, args: &[], reason: "to end" };
    const EXIT_0: Rule<'static> =
        Rule { call: libc::SYS_exit_group, args: &[ArgCheck::eq32(0, 0)], reason: "to end well" };

    #[test]
    fn rules_pinned_and_free_for_one_call_contradict() {
        for rules in [[ANY_EXIT, EXIT_0], [EXIT_0, ANY_EXIT]] {
            assert!(matches!(Filter::compile(&rules), Err(SeccompError::Contradiction(_))));
        }
    }

    #[test]
    fn rules_repeated_for_one_call_are_alternatives() {
        assert!(Filter::compile(&[EXIT_0, EXIT_0]).is_ok());
        assert!(Filter::compile(&[ANY_EXIT, ANY_EXIT]).is_ok());
    }

    #[test]
    fn rules_without_any_call_are_refused() {
        assert!(matches!(Filter::compile(&[]), Err(SeccompError::Empty)));
    }

    #[test]
    fn rules_checking_a_seventh_argument_are_refused() {
        let rule = Rule { call: libc::SYS_mmap, args: &[ArgCheck::eq64(6, 0)], reason: "no such argument" };
        assert!(matches!(Filter::compile(&[rule]), Err(SeccompError::Compile(_))));
    }
}
