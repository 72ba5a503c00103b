//! Podman's containers.conf.d: a file that is wholly ours.

use super::{Wish, toml_string};

/// See [`super::Engine::configured`]. What the file said before does not matter: nobody else writes it.
pub(super) fn configured(wish: Wish<'_>) -> Option<String> {
    let Wish::Known(program) = wish else { return None };
    let program = toml_string(program);
    // A list replaces Podman's own, so its default is repeated. In it, Podman asks for errors as JSON, by which it
    // tells a missing program from other failures.
    Some(format!(
        "\
# Written by `runu install podman`; `runu uninstall podman` removes it.
[engine]
runtime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"youki\", \"krun\", \"ocijail\", \"runu\"]

[engine.runtimes]
runu = [{program}]
"
    ))
}
