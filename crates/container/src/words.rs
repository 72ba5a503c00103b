//! The words and variables of a container, as engines write them down.

use oci_spec::runtime::Spec;
use runu_guest::{Guest, Invocation, Variable};

use crate::ContainerError;

/// Variables that engines add to every container's environment; they are about a Linux user and terminal. Docker, Podman,
/// containerd: `PATH`, `HOSTNAME`, `HOME`, `TERM`, `container`.
const INJECTED: &[&str] = &["PATH", "HOSTNAME", "HOME", "TERM", "container"];
/// Beginnings of those that a kubelet adds for the cluster's own service, whatever the pod says.
const INJECTED_STARTS: &[&str] = &["KUBERNETES_SERVICE_", "KUBERNETES_PORT"];

/// Programs that engines put before a container's own, so that somebody reaps its children: a unikernel has none.
const INITS: &[&str] = &["/sbin/docker-init", "/run/podman-init", "/dev/init"];

/// The words of the container, without an engine's init program.
pub(crate) fn words(spec: &Spec) -> Vec<String> {
    let words = spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default();
    match words.as_slice() {
        [init, separator, rest @ ..] if INITS.contains(&init.as_str()) && separator == "--" => rest.to_vec(),
        _ => words,
    }
}

/// The value of a variable of the container.
pub(crate) fn variable(spec: &Spec, name: &str) -> Option<String> {
    let variables = spec.process().as_ref()?.env().as_ref()?;
    let values = variables.iter().filter_map(|text| text.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).next_back()
}

/// The variables for the guest besides what else it is told. Where its kernel cannot take all, those that an engine added
/// and not the image are dropped.
///
/// # Errors
/// One is none.
pub(crate) fn environment(
    spec: &Spec,
    guest: &Guest,
    invocation: &Invocation,
) -> Result<Vec<Variable>, ContainerError> {
    let texts = spec.process().as_ref().and_then(|process| process.env().as_deref()).unwrap_or_default();
    let split = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok(Variable::new(name, value)),
        None => Err(ContainerError::Variable(text.clone())),
    };
    let all: Vec<Variable> = texts.iter().map(split).collect::<Result<_, _>>()?;
    let with_all = Invocation { env: all.clone(), ..invocation.clone() };
    if runu_guest::command_line(guest, &with_all).is_ok() {
        return Ok(all);
    }
    Ok(all.into_iter().filter(|variable| !is_injected(&variable.name)).collect())
}

fn is_injected(name: &[u8]) -> bool {
    INJECTED.iter().any(|injected| injected.as_bytes() == name)
        || INJECTED_STARTS.iter().any(|start| name.starts_with(start.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(args: &[&str], env: &[&str]) -> Spec {
        let process = json!({
            "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": args, "env": env,
        });
        serde_json::from_value(json!({ "ociVersion": "1.0.2", "process": process })).unwrap()
    }

    #[test]
    fn init_program_of_an_engine_is_left_out() {
        assert_eq!(words(&spec(&["/sbin/docker-init", "--", "/app", "--"], &[])), ["/app", "--"]);
        assert_eq!(words(&spec(&["/sbin/docker-init", "x"], &[])), ["/sbin/docker-init", "x"]);
        assert_eq!(words(&spec(&[], &[])), [""; 0]);
    }

    #[test]
    fn last_value_of_a_variable_holds() {
        assert_eq!(variable(&spec(&[], &["PATHS=x", "PATH=a", "PATH=b"]), "PATH").as_deref(), Some("b"));
        assert_eq!(variable(&spec(&[], &["PATH"]), "PATH"), None);
    }

    #[test]
    fn variables_that_engines_add_are_known() {
        for name in ["PATH", "container", "KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP_ADDR"] {
            assert!(is_injected(name.as_bytes()), "{name}");
        }
        for name in ["PATHS", "KUBERNETES", "MY_SERVICE_HOST", ""] {
            assert!(!is_injected(name.as_bytes()), "{name}");
        }
    }
}
