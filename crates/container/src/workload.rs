//! What a bundle is to run: a unikernel, or an ordinary program that is somebody else's to run.
//!
//! Engines drop image labels and annotations on the way, so the root file system tells: a kernel in kraft's place, a
//! `/urunc.json`, or a kernel as the program itself. A place whose file is no kernel is an error and never a guess.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Mount, Spec};
use runu_core::Bytes;
use runu_guest::{Guest, Invocation, Variable};

use crate::{
    Bundle, ContainerError,
    rootfs::{self, RootFs},
};

/// What a bundle is to run.
#[derive(Debug)]
pub enum Workload {
    /// A unikernel.
    Unikernel(Box<Unikernel>),
    /// Anything else.
    Ordinary,
}

/// A unikernel in a bundle.
#[derive(Debug)]
pub struct Unikernel {
    /// What its kernel is.
    pub guest: Guest,
    /// The kernel file.
    pub kernel: File,
    /// The initrd and its size.
    pub initrd: Option<(File, Bytes)>,
    /// Its words.
    pub invocation: Invocation,
}

/// Where kraft puts the kernel and the initrd (kraftkit `oci/`, "well-known paths").
const KRAFT_KERNEL: &str = "/unikraft/bin/kernel";
const KRAFT_INITRD: &str = "/unikraft/bin/initrd";
/// Where urunc's tools say what is where (urunc `pkg/unikontainers/config.go`).
const URUNC: &str = "/urunc.json";

/// Variables that engines add to every container's environment; they are about a Linux user and terminal.
const INJECTED: &[&str] = &["PATH", "HOSTNAME", "HOME", "TERM", "container"];

/// Finds out what a bundle is to run.
///
/// # Errors
/// The image says that it is a unikernel and its kernel is none, or cannot be opened.
pub fn detect(bundle: &Bundle) -> Result<Workload, ContainerError> {
    let Ok(root) = RootFs::open(&bundle.rootfs) else {
        // Whoever runs it will say what is wrong with it.
        return Ok(Workload::Ordinary);
    };
    let words = words(&bundle.spec);
    if let Some(kernel) = existing(&root, Path::new(KRAFT_KERNEL))? {
        let (kernel, guest) = recognise(kernel, Path::new(KRAFT_KERNEL))?;
        let initrd = existing(&root, Path::new(KRAFT_INITRD))?;
        return unikernel(guest, kernel, initrd, kraft_invocation(words), &bundle.spec);
    }
    if let Some(mut file) = existing(&root, Path::new(URUNC))? {
        let urunc = Urunc::read(&mut file)?;
        let path = PathBuf::from(&urunc.binary);
        let open = |path: &Path| {
            root.file(path).map_err(|source| ContainerError::NoKernel { path: path.to_path_buf(), source })
        };
        let (kernel, guest) = recognise(open(&path)?, &path)?;
        let initrd = urunc.initrd.as_deref().map(|path| open(Path::new(path))).transpose()?;
        let invocation =
            Invocation { argv0: file_name(&path), args: urunc.words(words), ..Invocation::default() };
        return unikernel(guest, kernel, initrd, invocation, &bundle.spec);
    }
    let Some(program) = words.first().filter(|word| word.contains('/')).cloned() else {
        return Ok(Workload::Ordinary);
    };
    let cwd = bundle.spec.process().as_ref().map_or(Path::new("/"), |process| process.cwd().as_path());
    let path = cwd.join(&program);
    let Ok(mut file) = root.file(&path) else { return Ok(Workload::Ordinary) };
    if !may_be_kernel(&mut file) {
        return Ok(Workload::Ordinary);
    }
    match recognise(file, &path) {
        Ok((kernel, guest)) => {
            let args = words.into_iter().skip(1).map(String::into_bytes).collect();
            let invocation = Invocation { argv0: program.into_bytes(), args, ..Invocation::default() };
            unikernel(guest, kernel, None, invocation, &bundle.spec)
        }
        Err(_) => Ok(Workload::Ordinary),
    }
}

fn unikernel(
    guest: Guest,
    kernel: File,
    initrd: Option<File>,
    invocation: Invocation,
    spec: &Spec,
) -> Result<Workload, ContainerError> {
    let initrd = initrd.map(|file| file.metadata().map(|metadata| (file, Bytes(metadata.len()))));
    let initrd = initrd
        .transpose()
        .map_err(|source| ContainerError::Channel { what: "initrd's descriptor", source })?;
    let invocation = Invocation { env: environment(spec, &guest), initrd: initrd.is_some(), ..invocation };
    Ok(Workload::Unikernel(Box::new(Unikernel { guest, kernel, initrd, invocation })))
}

/// The words of the container, without the init program that an engine puts before them: a unikernel has no children to
/// reap.
fn words(spec: &Spec) -> Vec<String> {
    let words = spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default();
    let inits = ["/sbin/docker-init", "/run/podman-init", "/dev/init"];
    match words.as_slice() {
        [init, separator, rest @ ..] if inits.contains(&init.as_str()) && separator == "--" => rest.to_vec(),
        _ => words,
    }
}

/// The file at `path`, or none where there is none.
fn existing(root: &RootFs, path: &Path) -> Result<Option<File>, ContainerError> {
    match root.file(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(ContainerError::NoKernel { path: path.to_path_buf(), source }),
    }
}

/// What the kernel in a file is.
fn recognise(mut file: File, path: &Path) -> Result<(File, Guest), ContainerError> {
    let path = || path.to_path_buf();
    let bytes =
        rootfs::contents(&mut file).map_err(|source| ContainerError::NoKernel { path: path(), source })?;
    let guest =
        runu_guest::detect(&bytes).map_err(|source| ContainerError::Kernel { path: path(), source })?;
    Ok((file, guest))
}

/// Whether a program is worth reading as a whole: an ELF file that needs no dynamic loader. The file is left at its start.
fn may_be_kernel(file: &mut File) -> bool {
    /// Room for the file header and the first program headers, among which that of the loader is (gABI, "Program Header":
    /// `PT_INTERP` precedes any loadable segment).
    const HEAD: u64 = 512;
    let mut head = Vec::new();
    let read = file.take(HEAD).read_to_end(&mut head).and_then(|_| file.rewind());
    if read.is_err() || !head.starts_with(b"\x7fELF") {
        return false;
    }
    !has_interpreter(&head)
}

/// Whether an ELF64 file names a dynamic loader in its first program headers.
fn has_interpreter(head: &[u8]) -> bool {
    /// Offset and size of program headers of an ELF64 file whose headers follow each other, as all linkers write them.
    const FIRST: usize = 0x40;
    const SIZE: usize = 0x38;
    const PT_INTERP: [u8; 4] = 3_u32.to_le_bytes();
    head.get(FIRST..)
        .unwrap_or_default()
        .chunks(SIZE)
        .take(3)
        .any(|header| header.get(..4) == Some(PT_INTERP.as_slice()))
}

/// The invocation of a kernel in kraft's place, whose `Cmd` holds the arguments without the program's name, sometimes
/// kernel parameters and `--` before them, sometimes nothing but `--`.
fn kraft_invocation(words: Vec<String>) -> Invocation {
    let argv0 = b"kernel".to_vec();
    let parameter = |word: &String| {
        let (name, value) = word.split_once('=')?;
        name.contains('.').then(|| Variable::new(name, value))
    };
    let split = words.iter().position(|word| word == "--");
    let before = split.map_or(&[][..], |at| words.get(..at).unwrap_or_default());
    let parameters: Option<Vec<Variable>> = before.iter().map(parameter).collect();
    let (parameters, args) = match (parameters, split) {
        (Some(parameters), Some(at)) => (parameters, words.get(at + 1..).unwrap_or_default().to_vec()),
        _ => (Vec::new(), words),
    };
    let args = args.into_iter().map(String::into_bytes).collect();
    Invocation { argv0, args, parameters, ..Invocation::default() }
}

/// The variables for the guest. Those that an engine added and not the image are dropped where the kernel takes none.
fn environment(spec: &Spec, guest: &Guest) -> Vec<Variable> {
    let texts = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
    let all: Vec<Variable> = texts
        .iter()
        .filter_map(|text| {
            let (name, value) = text.split_once('=')?;
            Some(Variable::new(name, value))
        })
        .collect();
    let alone = Invocation { argv0: b"kernel".to_vec(), env: all.clone(), ..Invocation::default() };
    if runu_guest::command_line(guest, &alone).is_ok() {
        return all;
    }
    all.into_iter().filter(|variable| !INJECTED.iter().any(|name| name.as_bytes() == variable.name)).collect()
}

fn file_name(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.file_name().unwrap_or(path.as_os_str()).as_bytes().to_vec()
}

/// What `/urunc.json` says.
struct Urunc {
    binary: String,
    initrd: Option<String>,
    command_line: Option<String>,
}

impl Urunc {
    fn read(file: &mut File) -> Result<Self, ContainerError> {
        let bytes = rootfs::contents(file)
            .map_err(|source| ContainerError::NoKernel { path: PathBuf::from(URUNC), source })?;
        Self::parse(&bytes)
    }

    /// Every value is base64, whatever it looks like (urunc `pkg/unikontainers/config.go`).
    fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        let encoded: BTreeMap<String, String> =
            serde_json::from_slice(bytes).map_err(|_| ContainerError::Urunc("it is no object of texts"))?;
        let value = |key: &str| match encoded.get(&format!("com.urunc.unikernel.{key}")) {
            None => Ok(None),
            Some(text) => base64(text)
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(|text| Some(text).filter(|text| !text.is_empty()))
                .ok_or(ContainerError::Urunc("a value is not text in base64")),
        };
        let binary = value("binary")?.ok_or(ContainerError::Urunc("it names no binary"))?;
        Ok(Urunc { binary, initrd: value("initrd")?, command_line: value("cmdline")? })
    }

    /// The container's words, or those of the image where the container has none.
    fn words(&self, words: Vec<String>) -> Vec<Vec<u8>> {
        match &self.command_line {
            Some(line) if words.is_empty() => {
                line.split_ascii_whitespace().map(|word| word.as_bytes().to_vec()).collect()
            }
            _ => words.into_iter().map(String::into_bytes).collect(),
        }
    }
}

/// Decodes base64 (RFC 4648 §4, padded).
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// Whether a mount means nothing to a unikernel: those that engines add to every container.
pub(crate) fn is_ignored(mount: &Mount) -> bool {
    const KINDS: &[&str] = &["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];
    const PLACES: &[&str] = &[
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/hostname",
        "/run/.containerenv",
        "/.dockerenv",
        "/run/secrets",
        "/sbin/docker-init",
        "/run/podman-init",
    ];
    let destination = mount.destination();
    mount.typ().as_deref().is_some_and(|kind| KINDS.contains(&kind))
        || PLACES.iter().any(|place| destination == Path::new(place))
        || ["/dev", "/proc", "/sys"].iter().any(|tree| destination.starts_with(tree))
        || is_engine_tmpfs(mount)
}

/// podman mounts these as tmpfs in read-only containers.
fn is_engine_tmpfs(mount: &Mount) -> bool {
    let places = ["/run", "/tmp", "/var/tmp"];
    mount.typ().as_deref() == Some("tmpfs")
        && places.iter().any(|place| mount.destination() == Path::new(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn kraft_command_of_only_a_separator_has_no_arguments() {
        assert_eq!(kraft_invocation(words(&["--"])).args, Vec::<Vec<u8>>::new());
    }

    #[test]
    fn kraft_command_with_parameters_before_the_separator_is_split() {
        let invocation = kraft_invocation(words(&["netdev.ip=10.0.0.2/24", "--", "-c", "--"]));
        assert_eq!(invocation.parameters, [Variable::new("netdev.ip", "10.0.0.2/24")]);
        assert_eq!(invocation.args, [b"-c".to_vec(), b"--".to_vec()]);
    }

    #[test]
    fn kraft_command_with_a_separator_of_its_own_is_kept() {
        let invocation = kraft_invocation(words(&["run", "--", "x"]));
        assert_eq!(invocation.args.len(), 3);
        assert_eq!(invocation.parameters, []);
    }

    #[test]
    fn base64_is_decoded_and_other_text_is_not() {
        assert_eq!(base64("L3VuaWtyYWZ0"), Some(b"/unikraft".to_vec()));
        assert_eq!(base64("cWVtdQ=="), Some(b"qemu".to_vec()));
        for text in ["a", "a===", "****", "=A=="] {
            assert_eq!(base64(text), None, "{text}");
        }
    }

    #[test]
    fn urunc_file_without_binary_or_with_plain_values_is_malformed() {
        assert!(Urunc::parse(b"{}").is_err());
        assert!(Urunc::parse(br#"{"com.urunc.unikernel.binary":"/plain path"}"#).is_err());
        let urunc = Urunc::parse(br#"{"com.urunc.unikernel.binary":"L3VuaWtyYWZ0"}"#).unwrap();
        assert_eq!(urunc.binary, "/unikraft");
    }
}
