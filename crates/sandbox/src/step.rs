//! The steps between the clone and the guest's first instruction, any of which can fail in a process without a voice.

use std::fmt;

/// What was being done when a sandbox could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Keeping standard input, output and error occupied.
    Stdio,
    /// Opening our own executable.
    OwnExecutable,
    /// Taking over the signals that are forwarded.
    Signals,
    /// Making the pipe on which the supervisor reports.
    Pipe,
    /// Cloning the supervisor into new namespaces.
    Clone,
    /// Waiting for the supervisor.
    Wait,
    /// Mapping the user into its user namespace.
    UserMap,
    /// Entering the control group.
    JoinCgroup,
    /// Making all mounts private to the sandbox.
    PrivateMounts,
    /// Mounting the empty root.
    MountRoot,
    /// Changing to the empty root.
    PivotRoot,
    /// Detaching the host's root.
    DetachRoot,
    /// Setting the host name.
    HostName,
    /// Setting the domain name.
    DomainName,
    /// Making a view of the clocks.
    Clocks,
    /// Giving up privileges.
    Privileges,
    /// Starting the process beside the guest's.
    Companion,
    /// Binding the supervisor's life to the caller's.
    DeathSignal,
    /// Cloning the guest process.
    CloneGuest,
    /// Placing the guest's descriptors.
    Descriptors,
    /// Entering namespaces that exist already.
    JoinNamespaces,
    /// Making a session, and its terminal.
    Session,
    /// Setting resource limits.
    Limits,
    /// Talking with the process that makes or starts the sandbox.
    Channel,
    /// Running our executable as the guest process.
    Exec,
}

impl Step {
    const ALL: [Step; 25] = [
        Step::Stdio,
        Step::OwnExecutable,
        Step::Signals,
        Step::Pipe,
        Step::Clone,
        Step::Wait,
        Step::UserMap,
        Step::JoinCgroup,
        Step::PrivateMounts,
        Step::MountRoot,
        Step::PivotRoot,
        Step::DetachRoot,
        Step::HostName,
        Step::DomainName,
        Step::Clocks,
        Step::Privileges,
        Step::Companion,
        Step::DeathSignal,
        Step::CloneGuest,
        Step::Descriptors,
        Step::JoinNamespaces,
        Step::Session,
        Step::Limits,
        Step::Channel,
        Step::Exec,
    ];

    /// The step with this number, as sent by the supervisor.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|step| u64::from(step.number()) == number)
    }

    /// The number by which the supervisor names the step.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Stdio => "open /dev/null in place of closed standard descriptors",
            Step::OwnExecutable => "open our own executable through /proc/self/exe",
            Step::Signals => "take over signals",
            Step::Pipe => "make a pipe",
            Step::Clone => "clone a process into new namespaces",
            Step::Wait => "wait for the supervisor",
            Step::UserMap => "map the user into a new user namespace",
            Step::JoinCgroup => "enter the control group",
            Step::PrivateMounts => "make mounts private",
            Step::MountRoot => "mount an empty root",
            Step::PivotRoot => "change to the empty root",
            Step::DetachRoot => "detach the host's root",
            Step::HostName => "set the host name",
            Step::DomainName => "set the domain name",
            Step::Clocks => "make a time namespace",
            Step::Privileges => "give up privileges",
            Step::Companion => "start the process beside the guest's",
            Step::DeathSignal => "bind the supervisor's life to the caller's",
            Step::CloneGuest => "clone the guest process",
            Step::Descriptors => "place the guest's descriptors",
            Step::JoinNamespaces => "enter a namespace that exists already",
            Step::Session => "make a session with its terminal",
            Step::Limits => "set a resource limit",
            Step::Channel => "talk with the caller",
            Step::Exec => "run our own executable in the sandbox",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_sent_as_a_number_is_read_back() {
        for step in Step::ALL {
            assert_eq!(Step::from_number(u64::from(step.number())), Some(step));
        }
        assert_eq!(Step::from_number(Step::ALL.len() as u64), None);
    }
}
