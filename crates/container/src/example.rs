//! The configuration that `spec` writes.

use oci_spec::runtime::Spec;

/// An example of a config.json, for root or for an ordinary user.
///
/// # Errors
/// None that an example could have.
pub fn example(rootless: bool) -> Result<String, serde_json::Error> {
    let spec = if rootless {
        Spec::rootless(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    } else {
        Spec::default()
    };
    serde_json::to_string_pretty(&spec)
}
