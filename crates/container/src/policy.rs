//! From what is known about a container to the plan of its guest: a pure function, whatever anybody wrote.
//!
//! Arguments arrive exactly as given or there is no plan; memory follows the container's limit; what nobody says is the
//! operator's default.

use oci_spec::runtime::Spec;
use runu_core::{Bytes, Plan};
use runu_guest::{CommandLine, Guest, Invocation, PlanError};

use crate::{
    Config, ContainerError,
    annotations::Wishes,
    guest_memory::guest_memory,
    limits,
    words::{environment, words},
    workload::Convention,
};

/// What is known about a unikernel before anything is made of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// What its kernel is.
    pub guest: Guest,
    /// How the words of its container are meant.
    pub convention: Convention,
    /// Size of its initrd, if there is one.
    pub initrd: Option<Bytes>,
    /// What its container's annotations wish for.
    pub wishes: Wishes,
}

/// The plan for an image in a container of that configuration.
///
/// # Errors
/// The guest cannot be given its arguments, variables or memory exactly.
pub fn plan(image: &Image, spec: &Spec, config: &Config) -> Result<Plan, ContainerError> {
    let line = line(image, spec)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limit = limits::resources(resources).memory_max.and_then(|limit| u64::try_from(limit).ok());
    let limit = limit.map(Bytes);
    let memory = guest_memory(limit, image.wishes.memory, config.guest.memory)?;
    runu_guest::plan(&image.guest, line, memory, image.initrd).map_err(|source| match limit {
        Some(limit) if image.wishes.memory.is_none() && is_lack(&source) => {
            ContainerError::Limit { limit, memory, source }
        }
        _ => ContainerError::Plan(source),
    })
}

/// The kernel's command line: as an annotation has it, or made of the container's words and variables.
fn line(image: &Image, spec: &Spec) -> Result<CommandLine, ContainerError> {
    let line = match &image.wishes.command_line {
        Some(line) => CommandLine::literal(line.as_bytes()),
        None => {
            let invocation = image.convention.invocation(words(spec));
            let invocation = Invocation { initrd: image.initrd.is_some(), ..invocation };
            let env = environment(spec, &image.guest, &invocation)?;
            runu_guest::command_line(&image.guest, &Invocation { env, ..invocation })
        }
    };
    line.map_err(ContainerError::CommandLine)
}

/// Whether more memory would mend it.
fn is_lack(error: &PlanError) -> bool {
    matches!(
        error,
        PlanError::TooLittleMemory { .. }
            | PlanError::KernelTooLarge { .. }
            | PlanError::InitrdTooLarge { .. }
    )
}
