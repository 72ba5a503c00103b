//! Programs that run inside a sandbox and tell what they see there.

use std::{
    ffi::{CStr, c_int},
    fs::{self, File},
    io::Write,
    os::fd::FromRawFd,
    ptr,
};

use runu_sandbox::guest_lockdown;
use rustix::thread::CapabilitySet;

use crate::{caller::TOLD, filtered};

/// Runs the program named by the first argument; returns the exit status.
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> i32 {
    // SAFETY: the caller of every sandbox here gives the descriptor under this number, and nothing else owns it.
    let mut told = unsafe { File::from_raw_fd(TOLD) };
    let program = arguments.next().unwrap_or_default();
    let argument = arguments.next().unwrap_or_default();
    let number: i32 = argument.parse().unwrap_or_default();
    match program.as_str() {
        "exit" => return number,
        // SAFETY: raise has no preconditions.
        "raise" => return unsafe { libc::raise(number) },
        "facts" => facts(&mut told),
        "locked-facts" => {
            if let Err(error) = guest_lockdown(&[2, TOLD]) {
                return tell(&mut told, &format!("{error:?}"), 1);
            }
            facts(&mut told);
            locked_facts(&mut told);
        }
        "wait" => {
            tell(&mut told, "waiting", 0);
            // SAFETY: pause has no preconditions.
            while unsafe { libc::pause() } != 0 {}
        }
        "copy" => {
            // SAFETY: the caller gives a descriptor under this number, and nothing else owns it.
            let mut input = unsafe { File::from_raw_fd(number) };
            return i32::from(std::io::copy(&mut input, &mut told).is_err());
        }
        "eat" => {
            let mut eaten = Vec::new();
            for _ in 0..1024 {
                // Not zero, or the pages would stay untouched.
                eaten.push(vec![1_u8; 1 << 20]);
            }
            return i32::from(eaten.len() == 1024);
        }
        "fork" => {
            // SAFETY: the child does nothing but end.
            let child = unsafe { libc::fork() };
            if child == 0 {
                return 0;
            }
            let error = std::io::Error::last_os_error();
            return tell(&mut told, &format!("{child} {:?}", error.raw_os_error()), 0);
        }
        "orphan" => return orphan(&mut told),
        "standard" => {
            for number in 0..3 {
                tell(&mut told, &device(number), 0);
            }
        }
        "filtered" => return filtered::main(&mut told, &argument),
        _ => return 99,
    }
    0
}

fn tell(told: &mut File, line: &str, status: i32) -> i32 {
    // A test that hears nothing fails.
    let _ = writeln!(told, "{line}");
    status
}

/// Tells everything this process can find out about itself, as lines of `name=value`.
fn facts(told: &mut File) {
    let mut fact = |name: &str, value: String| tell(told, &format!("{name}={value}"), 0);
    fact("pid", rustix::process::getpid().to_string());
    fact("parent", rustix::process::getppid().map_or("none".into(), |pid| pid.to_string()));
    fact("uid", rustix::process::getuid().as_raw().to_string());
    fact("euid", rustix::process::geteuid().as_raw().to_string());
    fact("gid", rustix::process::getgid().as_raw().to_string());
    fact("groups", rustix::process::getgroups().map_or("?".into(), |groups| groups.len().to_string()));
    fact("environment", std::env::vars_os().count().to_string());
    fact("descriptors", descriptors());
    fact("root", fs::read_dir("/").map_or_else(|e| e.to_string(), |entries| entries.count().to_string()));
    fact(
        "above-root",
        fs::read_dir("/..").map_or_else(|e| e.to_string(), |entries| entries.count().to_string()),
    );
    fact(
        "create",
        File::create("/new").map_or_else(|e| e.raw_os_error().unwrap_or(0).to_string(), |_| "done".into()),
    );
    fact("directory", std::env::current_dir().map_or_else(|e| e.to_string(), |d| d.display().to_string()));
    fact("hostname", host_name());
    fact("interfaces", interfaces());
    let capabilities = rustix::thread::capabilities(None);
    fact(
        "capabilities",
        capabilities
            .map_or("?".into(), |c| format!("{}", (c.effective | c.permitted | c.inheritable).bits())),
    );
    let bounding = CapabilitySet::all()
        .iter()
        .filter(|c| rustix::thread::capability_is_in_bounding_set(*c).unwrap_or(false));
    fact("bounding", bounding.count().to_string());
    fact("no-new-privileges", rustix::thread::no_new_privs().is_ok_and(|set| set).to_string());
    fact("signals", signals());
}

/// Tells what only a process that has locked itself down can say.
fn locked_facts(told: &mut File) {
    let dumpable = rustix::process::dumpable_behavior();
    tell(told, &format!("dumpable={dumpable:?}"), 0);
    for (name, resource) in [
        ("core", libc::RLIMIT_CORE),
        ("processes", libc::RLIMIT_NPROC),
        ("locked", libc::RLIMIT_MEMLOCK),
        ("messages", libc::RLIMIT_MSGQUEUE),
        ("files", libc::RLIMIT_NOFILE),
    ] {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit is written to live memory of its size.
        unsafe { libc::getrlimit(resource, &raw mut limit) };
        tell(told, &format!("limit-{name}={}/{}", limit.rlim_cur, limit.rlim_max), 0);
    }
    // SAFETY: the child does nothing but end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(0) };
    }
    tell(told, &format!("fork={}", if child < 0 { "refused" } else { "done" }), 0);
    let opened = File::open("/").map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0);
    tell(told, &format!("open={opened}"), 0);
}

/// Leaves a grandchild behind that would live for ever; the supervisor must not wait for it.
fn orphan(told: &mut File) -> i32 {
    // SAFETY: the child only makes system calls.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: the grandchild only pauses.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: pause has no preconditions.
            while unsafe { libc::pause() } != 0 {}
        }
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(0) };
    }
    tell(told, "left", 7)
}

/// What kind of file a descriptor is open on: `MAJOR:MINOR` of a device, else its mode.
fn device(number: c_int) -> String {
    // SAFETY: all-zero is a valid `stat`; it is filled by the kernel.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the result is written to live memory of its size.
    if unsafe { libc::fstat(number, &raw mut stat) } != 0 {
        return "closed".into();
    }
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFCHR => format!("{}:{}", libc::major(stat.st_rdev), libc::minor(stat.st_rdev)),
        kind => format!("{kind:o}"),
    }
}

fn host_name() -> String {
    let mut name = [0_u8; 65];
    // SAFETY: pointer and length are those of a live array, whose last byte stays NUL.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), 64) };
    CStr::from_bytes_until_nul(&name).map_or("?".into(), |name| name.to_string_lossy().into_owned())
}

/// Numbers of the open descriptors.
fn descriptors() -> String {
    // SAFETY: F_GETFD on a number touches no memory.
    let open = (0..4096).filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } >= 0);
    open.map(|number: c_int| number.to_string()).collect::<Vec<_>>().join(",")
}

/// Signals that are ignored or blocked.
fn signals() -> String {
    let mut found = Vec::new();
    for signal in 1..32 {
        // SAFETY: all-zero is a valid `sigaction`; it is filled by the kernel.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the old action is written to live memory of its size.
        unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        // The Rust runtime itself ignores SIGPIPE before `main`.
        if action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE {
            found.push(format!("ignored {signal}"));
        }
    }
    // SAFETY: all-zero is a valid, empty `sigset_t`; it is filled by the kernel.
    let mut blocked: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the old set is written to live memory of its size.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, ptr::null(), &raw mut blocked) };
    // SAFETY: the set is initialised.
    found.extend(
        (1..32)
            .filter(|s| unsafe { libc::sigismember(&raw const blocked, *s) } == 1)
            .map(|s| format!("blocked {s}")),
    );
    found.join(",")
}

/// Network interfaces and whether each is up.
fn interfaces() -> String {
    let mut list = ptr::null_mut();
    // SAFETY: the pointer to the list is live; it is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return "?".into();
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: entries of the list are valid until it is freed.
        let entry = unsafe { &*next };
        // SAFETY: the name of an entry is a C string that lives as long as the entry.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        let up = entry.ifa_flags & libc::IFF_UP.cast_unsigned() != 0;
        found.push(format!("{name} {}", if up { "up" } else { "down" }));
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs and is not used any more.
    unsafe { libc::freeifaddrs(list) };
    found.join(",")
}
