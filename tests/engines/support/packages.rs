//! Programs of the system that a suite needs.

use std::path::Path;

/// Where Debian puts programs; nothing else is in the machines' search path.
const FOLDERS: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether all of these programs are installed; or which one is not.
pub(crate) fn need(programs: &[&str]) -> Result<(), String> {
    let installed = |program: &&&str| FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file());
    match programs.iter().find(|program| !installed(program)) {
        Some(missing) => Err(format!("no `{missing}` of Debian's")),
        None => Ok(()),
    }
}
