//! Annotations: what whoever starts a container may wish for, as far as the operator allows.
//!
//! Our own begin with `dev.runu.`; one that is unknown, not allowed or malformed is an error, because a wish that is
//! silently dropped is found out too late. Those of urunc are somebody else's: where they are not allowed they are passed
//! over, and the image's files decide.
//!
//! None of them can name anything outside the image, and none can exceed the container's limits or the operator's choice of
//! monitors.

use std::{collections::HashMap, path::PathBuf, str::FromStr};

use oci_spec::runtime::Spec;
use runu_core::{Bytes, Printable};

use crate::{Config, ContainerError};

/// What ours begin with.
const PREFIX: &str = "dev.runu.";
/// Which monitor is to run the guest.
const MONITOR: &str = "dev.runu.monitor";
/// How much memory the guest gets.
const MEMORY: &str = "dev.runu.memory";
/// How many processors the guest sees.
const VCPUS: &str = "dev.runu.vcpus";
/// The kernel's command line, as a whole.
const COMMAND_LINE: &str = "dev.runu.cmdline";
/// Where in the image the kernel is.
const KERNEL: &str = "dev.runu.kernel";
/// Where in the image the initrd is.
const INITRD: &str = "dev.runu.initrd";

/// All of ours.
pub(crate) const OWN: &[&str] = &[MONITOR, MEMORY, VCPUS, COMMAND_LINE, KERNEL, INITRD];
/// What those of urunc begin with (urunc `pkg/unikontainers/config.go`), and all of them.
pub(crate) const URUNC: &str = "com.urunc.unikernel.";
pub(crate) const URUNC_ALL: &str = "com.urunc.unikernel.*";

/// Says what kind of container a pod's is: in containerd and in CRI-O. A `sandbox` holds the pod together and has the pod's
/// annotations, which are meant for the others.
const KINDS: &[&str] = &["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];

/// What an annotation's value should have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// No such annotation is known.
    #[error("runu knows no such annotation")]
    Unknown,
    /// The operator's configuration leaves it out.
    #[error("the operator does not allow it")]
    NotAllowed,
    /// It should be something else.
    #[error("`{value}` is not {wanted}")]
    Value {
        /// What it is, safe to print.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl AnnotationError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            AnnotationError::Unknown => Some(format!("it knows {}", OWN.join(", "))),
            AnnotationError::NotAllowed => Some(format!(
                "leave it out, or have it listed in {} under [annotations] allowed",
                crate::config::DEFAULT_PATH
            )),
            AnnotationError::Value { .. } => None,
        }
    }
}

/// Where an annotation says the kernel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: Option<PathBuf>,
}

/// What was wished for of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The monitor, by name.
    pub monitor: Option<String>,
    /// Memory of the guest.
    pub memory: Option<Bytes>,
    /// The kernel's command line, as a whole.
    pub command_line: Option<String>,
}

/// The annotations of a container, but of a pod's own container none.
fn given(spec: &Spec) -> Option<&HashMap<String, String>> {
    let all = spec.annotations().as_ref()?;
    let is_sandbox = KINDS.iter().any(|kind| all.get(*kind).is_some_and(|kind| kind == "sandbox"));
    (!is_sandbox).then_some(all)
}

/// Where annotations of ours say the kernel is, if they do.
///
/// # Errors
/// They are not allowed to.
pub(crate) fn place(spec: &Spec, config: &Config) -> Result<Option<Place>, ContainerError> {
    let value = |name: &str| match given(spec).and_then(|given| given.get(name)) {
        None => Ok(None),
        Some(_) if !config.annotations.allows(name) => Err(error(name, AnnotationError::NotAllowed)),
        Some(path) if path.is_empty() => Err(wrong(name, path, "a path in the image")),
        Some(path) => Ok(Some(PathBuf::from(path))),
    };
    let kernel = value(KERNEL)?;
    let initrd = value(INITRD)?;
    Ok(kernel.map(|kernel| Place { kernel, initrd }))
}

/// What urunc's annotations say, by what stands behind their common beginning; only the allowed ones.
pub(crate) fn urunc<'a>(spec: &'a Spec, config: &Config) -> HashMap<&'a str, &'a str> {
    let allowed = given(spec).into_iter().flatten().filter(|(name, _)| config.annotations.allows(name));
    allowed.filter_map(|(name, value)| Some((name.strip_prefix(URUNC)?, value.as_str()))).collect()
}

/// Whether annotations of ours name an initrd; they do so only beside a kernel.
fn names_initrd_alone(given: &HashMap<String, String>) -> bool {
    given.contains_key(INITRD) && !given.contains_key(KERNEL)
}

impl Wishes {
    /// Reads the annotations of a unikernel's container.
    ///
    /// # Errors
    /// One of ours is unknown, not allowed or malformed, or wishes for what cannot be had.
    pub(crate) fn read(spec: &Spec, config: &Config) -> Result<Self, ContainerError> {
        let Some(given) = given(spec) else { return Ok(Wishes::default()) };
        let mut own: Vec<&String> = given.keys().filter(|name| name.starts_with(PREFIX)).collect();
        // The first mistake told is the same each time.
        own.sort();
        for name in own {
            if !OWN.contains(&name.as_str()) {
                return Err(error(name, AnnotationError::Unknown));
            }
            if !config.annotations.allows(name) {
                return Err(error(name, AnnotationError::NotAllowed));
            }
        }
        if names_initrd_alone(given) {
            return Err(ContainerError::Unsupported {
                what: format!("the annotation `{INITRD}` without `{KERNEL}`"),
                why: "an image that says where its kernel is says where its initrd is",
            });
        }
        let memory = given
            .get(MEMORY)
            .map(|text| Bytes::from_str(text).map_err(|_| wrong(MEMORY, text, "a size such as 64M")));
        match given.get(VCPUS).map(|text| (text, text.parse::<u32>())) {
            None | Some((_, Ok(1))) => {}
            Some((text, Ok(0) | Err(_))) => return Err(wrong(VCPUS, text, "a number of processors")),
            Some((_, Ok(count))) => {
                return Err(ContainerError::Unsupported {
                    what: format!("a guest with {count} processors"),
                    why: "no monitor gives one more than one yet",
                });
            }
        }
        Ok(Wishes {
            monitor: given.get(MONITOR).cloned(),
            memory: memory.transpose()?,
            command_line: given.get(COMMAND_LINE).cloned(),
        })
    }
}

fn wrong(name: &str, value: &str, wanted: &'static str) -> ContainerError {
    error(name, AnnotationError::Value { value: Printable(value.as_bytes()).to_string(), wanted })
}

fn error(name: &str, source: AnnotationError) -> ContainerError {
    ContainerError::Annotation { name: Printable(name.as_bytes()).to_string(), source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(annotations: serde_json::Value) -> Spec {
        serde_json::from_value(json!({ "ociVersion": "1.0.2", "annotations": annotations })).unwrap()
    }

    fn only(allowed: &str) -> Config {
        Config::parse(&format!("annotations.allowed = [{allowed}]")).unwrap()
    }

    #[track_caller]
    fn fault(annotations: serde_json::Value, config: &Config) -> AnnotationError {
        match Wishes::read(&spec(annotations), config) {
            Err(ContainerError::Annotation { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wishes_that_are_allowed_are_read() {
        let spec = spec(json!({
            "dev.runu.memory": "32M", "dev.runu.monitor": "process", "dev.runu.vcpus": "1",
            "dev.runu.cmdline": "k -- a", "org.example": "whatever",
        }));
        let wishes = Wishes::read(&spec, &Config::default()).unwrap();
        let expected = Wishes {
            monitor: Some("process".to_owned()),
            memory: Some(Bytes::mib(32)),
            command_line: Some("k -- a".to_owned()),
        };
        assert_eq!(wishes, expected);
    }

    #[test]
    fn wish_that_is_unknown_or_not_allowed_is_refused() {
        let unknown = json!({ "dev.runu.speed": "9" });
        assert_eq!(fault(unknown, &Config::default()), AnnotationError::Unknown);
        let memory = json!({ "dev.runu.memory": "32M" });
        assert_eq!(fault(memory, &only("'dev.runu.monitor'")), AnnotationError::NotAllowed);
        assert_eq!(fault(json!({ "dev.runu.kernel": "/k" }), &only("")), AnnotationError::NotAllowed);
    }

    #[test]
    fn wish_that_is_malformed_is_refused() {
        for (name, value) in [("dev.runu.memory", "lots"), ("dev.runu.vcpus", "0"), ("dev.runu.vcpus", "one")]
        {
            let found = fault(json!({ name: value }), &Config::default());
            assert!(matches!(found, AnnotationError::Value { .. }), "{name}: {found}");
        }
    }

    #[test]
    fn processors_beyond_the_first_cannot_be_had() {
        let error = Wishes::read(&spec(json!({ "dev.runu.vcpus": "2" })), &Config::default());
        assert!(matches!(error, Err(ContainerError::Unsupported { .. })), "{error:?}");
    }

    #[test]
    fn annotations_of_a_pod_are_not_for_its_own_container() {
        for kind in KINDS {
            let spec = spec(json!({ *kind: "sandbox", "dev.runu.kernel": "/k", "dev.runu.speed": "9" }));
            assert_eq!(place(&spec, &Config::default()).unwrap(), None);
            assert_eq!(Wishes::read(&spec, &Config::default()).unwrap(), Wishes::default());
        }
    }

    #[test]
    fn annotations_of_urunc_that_are_not_allowed_are_passed_over() {
        let spec = spec(json!({ "com.urunc.unikernel.binary": "/k" }));
        assert_eq!(urunc(&spec, &Config::default()).get("binary"), Some(&"/k"));
        assert!(urunc(&spec, &only("'dev.runu.memory'")).is_empty());
    }
}
