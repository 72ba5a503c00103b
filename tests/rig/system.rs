//! Debian's systemd as the first process of a machine, with nothing besides it but a message bus and the checks.

use std::io;

use crate::{Suite, debian, initramfs::Initramfs, inside};

/// What is fetched, with all that it needs.
const PACKAGES: &[&str] = &["systemd", "dbus", "dbus-user-session"];

/// What of it no program here reads.
const LEFT_OUT: &[&str] = &[
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/zsh",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/lib/x86_64-linux-gnu/libperl.so.5.36.0",
    "usr/bin/perl",
    "usr/bin/perl5.36.0",
    "lib/udev",
];

/// The ordinary user of the machine.
pub(crate) const USER: u32 = 1000;

/// Users and groups; those of the bus are named in its configuration.
const PASSWD: &str = "root:x:0:0::/:/bin/false\nmessagebus:x:101:101::/:/bin/false\nuser:x:1000:1000::/:/bin/false\n\
     nobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\nmessagebus:x:101:\nuser:x:1000:\nnogroup:x:65534:\n";

/// Units, all without the default dependencies that would bring up a whole system.
const TARGET: &str = "[Unit]\nDefaultDependencies=no\nRequires=rig.service\nAllowIsolate=yes\n";
const BUS_SOCKET: &str =
    "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n";
const BUS: &str = "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n\
     ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation\n";
const SLICE: &str = "[Unit]\nDefaultDependencies=no\n";
/// As Debian's, without PAM.
const MANAGER_OF_USER: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nUser=%i\nSlice=user-%i.slice\n\
     Environment=XDG_RUNTIME_DIR=/run/user/%i\nDelegate=pids memory cpu cpuset\n\
     ExecStart=/lib/systemd/systemd --user --unit=dbus.socket\n";

/// Adds it.
pub(crate) fn add(
    archive: &mut Initramfs,
    suite: &Suite,
    wanted: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    archive.tree(&debian::system(PACKAGES)?, LEFT_OUT).map_err(io::Error::other)?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes());
    archive.file("etc/group", 0o644, GROUP.as_bytes());
    // One that is set: without it systemd takes this for the first boot of an installation.
    archive.file("etc/machine-id", 0o444, b"0123456789abcdef0123456789abcdef\n");
    let checks = format!(
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.service\nAfter=dbus.service\n\
         SuccessAction=reboot-immediate\nFailureAction=reboot-immediate\n\
         [Service]\nType=oneshot\nStandardOutput=null\nStandardError=tty\n\
         ExecStart=/rig {} {} \"{wanted}\"\n",
        inside::ROLE,
        suite.name
    );
    let units = [
        ("rig.target", TARGET),
        ("rig.service", &checks),
        ("dbus.socket", BUS_SOCKET),
        ("dbus.service", BUS),
        ("system.slice", SLICE),
        ("user@.service", MANAGER_OF_USER),
    ];
    for (unit, text) in units {
        archive.file(&format!("etc/systemd/system/{unit}"), 0o644, text.as_bytes());
    }
    Ok(())
}
