//! The ends that both sides can tell apart.

/// How a guest's life ended, whoever tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It powered off or reset the machine.
    PowerOff,
    /// It ended with this code, of which QEMU keeps seven bits.
    Exit(u8),
    /// It reported a crash.
    Crash,
    /// An exception could not be delivered, nor could the double fault.
    TripleFault,
    /// It has stopped for good without an end, or goes on for ever.
    None,
    /// `runu` gave up on it.
    Stopped,
}

/// A guest's life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// All that it printed.
    pub(crate) console: Vec<u8>,
    /// Its end.
    pub(crate) end: End,
}
