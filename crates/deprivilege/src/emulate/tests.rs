//! Instructions as stories, one file for each subject, and the promise that no bytes make anything panic.

mod control;
mod flags;
mod hostile;
mod msr;
mod ports;
mod segments;
mod transfer;
