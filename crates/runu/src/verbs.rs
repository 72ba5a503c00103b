//! The verbs, one file each: from parsed flags to an exit status.

pub(crate) mod demo;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod run;
