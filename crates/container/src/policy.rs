//! From what is known about a container to the plan of its guest: a pure function, whatever anybody wrote.
//!
//! Arguments arrive exactly as given or there is no plan; memory follows the container's limit; what nobody says is the
//! operator's default.

use oci_spec::runtime::Spec;
use runu_core::{Bytes, Plan};
use runu_guest::{CommandLine, Guest, Invocation, PlanError, Shared};

use crate::{
    Config, ContainerError, Wired,
    annotations::Wishes,
    guest_memory::{guest_memory, learned_memory},
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
    /// Directories of the host that it is to share.
    pub shares: Vec<Shared>,
}

impl Image {
    /// An image whose container has that configuration.
    ///
    /// # Errors
    /// An annotation of ours cannot be obeyed.
    pub fn new(
        guest: Guest,
        convention: Convention,
        initrd: Option<Bytes>,
        spec: &Spec,
        config: &Config,
    ) -> Result<Self, ContainerError> {
        let wishes = Wishes::read(spec, config)?;
        Ok(Image { guest, convention, initrd, wishes, shares: Vec::new() })
    }
}

/// The plan for an image in a container of that configuration, on the network if it has one.
///
/// # Errors
/// The guest cannot be given its arguments, variables or memory exactly.
pub fn plan(
    image: &Image,
    spec: &Spec,
    config: &Config,
    wired: Option<&Wired>,
) -> Result<Plan, ContainerError> {
    let line = line(image, spec, wired)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limit = limits::resources(resources).memory_max.and_then(|limit| u64::try_from(limit).ok());
    let limit = limit.map(Bytes);
    let shares = runu_volumes::devices(&image.shares);
    let memory = guest_memory(limit, image.wishes.memory, config.guest.memory, !shares.is_empty())?;
    let plan = runu_guest::plan(&image.guest, line, memory, image.initrd).map_err(|source| match limit {
        Some(limit) if image.wishes.memory.is_none() && is_lack(&source) => {
            ContainerError::Limit { limit, memory, source }
        }
        _ => ContainerError::Plan(source),
    })?;
    let network = wired.map(|wired| wired.card);
    let learned_memory = limit.map(|limit| learned_memory(limit, memory, !shares.is_empty()));
    Ok(Plan { network, shares, learned_memory, ..plan })
}

/// The kernel's command line: as an annotation has it, or made of the container's words and variables.
fn line(image: &Image, spec: &Spec, wired: Option<&Wired>) -> Result<CommandLine, ContainerError> {
    let line = match &image.wishes.command_line {
        Some(line) => CommandLine::literal(line.as_bytes()),
        None => {
            let invocation = image.convention.invocation(words(spec));
            let mut invocation =
                Invocation { initrd: image.initrd.is_some(), shares: image.shares.clone(), ..invocation };
            if let Some(wired) = wired {
                runu_guest::add_network_parameters(&image.guest, &wired.network, &mut invocation.parameters);
            }
            let cards = usize::from(wired.is_some()) + image.shares.len();
            invocation.parameters.extend(runu_guest::card_parameters(&image.guest, cards));
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

#[cfg(test)]
#[path = "../../guest/tests/guest/kernel_model.rs"]
mod kernel_model;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{
        kernel_model::{hear, hear_without_escapes},
        *,
    };

    const LIMIT: u64 = 64 << 20;

    fn spec(args: &[String], env: &[String]) -> Spec {
        let process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": args, "env": env });
        let linux = json!({ "resources": { "memory": { "limit": LIMIT } } });
        serde_json::from_value(json!({ "ociVersion": "1.0.2", "process": process, "linux": linux })).unwrap()
    }

    fn planned(convention: Convention, args: &[String], env: &[String]) -> Result<Plan, ContainerError> {
        let guest = runu_guest::detect(runu_guests::HELLO_LINUX64).unwrap();
        let (spec, config) = (spec(args, env), Config::default());
        plan(&Image::new(guest, convention, None, &spec, &config)?, &spec, &config, None)
    }

    fn bytes(words: &[String]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.clone().into_bytes()).collect()
    }

    fn word() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[a-z \"'\\\\=.\\[\\]-]{1,8}", 2 => "--|-|a.b=1|[|]", 1 => ".*"]
    }

    #[test]
    fn guest_of_a_limited_container_gets_what_the_limit_leaves() {
        let plan = planned(Convention::Program, &["app".to_owned()], &[]).unwrap();
        assert!(plan.memory < Bytes(LIMIT) && plan.memory > Bytes(LIMIT / 4 * 3), "{}", plan.memory);
    }

    proptest! {
        #[test]
        fn words_of_a_program_are_heard_exactly_or_refused(
            args in proptest::collection::vec(word(), 1..8),
            values in proptest::collection::vec(word(), 0..4),
        ) {
            let env: Vec<String> = values.iter().enumerate().map(|(n, value)| format!("V{n}={value}")).collect();
            if let Ok(plan) = planned(Convention::Program, &args, &env) {
                let heard = hear(&plan.command_line, true);
                prop_assert_eq!(heard.argv, bytes(&args));
                let heard: Vec<Vec<u8>> = heard.parameters.into_iter().map(|(_, value)| value).collect();
                prop_assert_eq!(heard, bytes(&env));
            }
        }

        #[test]
        fn arguments_of_uruncs_images_are_heard_exactly_or_refused(
            args in proptest::collection::vec(word(), 1..8),
        ) {
            let convention = Convention::Urunc { kernel: "/k/app".into(), default: Vec::new() };
            if let Ok(plan) = planned(convention, &args, &[]) {
                let heard = hear(&plan.command_line, true);
                prop_assert_eq!(&heard.argv, &[vec![b"app".to_vec()], bytes(&args)].concat());
                prop_assert_eq!(heard.parameters, vec![]);
            }
        }

        #[test]
        fn arguments_of_krafts_images_are_heard_exactly_or_refused(
            args in proptest::collection::vec(word(), 0..8),
        ) {
            let convention = Convention::Kraft { kernel: "/unikraft/bin/kernel".into() };
            let command = [vec!["--".to_owned()], args.clone()].concat();
            if let Ok(plan) = planned(convention, &command, &[]) {
                let heard = hear(&plan.command_line, true);
                prop_assert_eq!(&heard.argv, &[vec![b"kernel".to_vec()], bytes(&args)].concat());
                prop_assert_eq!(heard.parameters, vec![]);
            }
        }

        #[test]
        fn any_words_give_a_line_that_a_kernel_reads_whole_or_none(
            args in proptest::collection::vec(word(), 0..70),
        ) {
            let convention = Convention::Kraft { kernel: "/unikraft/bin/kernel".into() };
            if let Ok(plan) = planned(convention, &args, &[]) {
                prop_assert!(plan.command_line.len() <= 4095);
                // Only the first sixty words of a line are read, and an old kernel splits simple words alike.
                let simple = args.iter().all(|arg| arg.bytes().all(|byte| byte.is_ascii_alphanumeric()));
                prop_assert!(!simple || hear_without_escapes(&plan.command_line, true).argv.len() == args.len() + 1);
            }
        }
    }
}
