//! Images as urunc's tools make them: annotations, or `/urunc.json` with the same keys for engines that drop annotations.
//!
//! In the file every value is base64. Annotations are plain today and were base64 up to urunc 0.7, so what they are is
//! told by the type, which is one of few words. What kind of guest it is, its version and the monitor urunc would take are
//! passed over: the kernel itself says what it is.
//!
//! Source of keys and rules: urunc `pkg/unikontainers/config.go` and `annotations.go`, 0.1 to 0.8.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use runu_guest::{Guest, unikraft};

use crate::{
    ContainerError,
    annotations::URUNC,
    rootfs::{self, RootFs},
};

/// The file with what annotations would say.
const FILE: &str = "/urunc.json";

/// What an error calls the annotations.
const ANNOTATIONS: &str = "its annotations";

/// Without these three urunc takes an image for an ordinary one.
const MANDATORY: &[&str] = &["unikernelType", "hypervisor", "binary"];

/// Guests that urunc knows.
const TYPES: &[&str] = &["unikraft", "rumprun", "mirage", "mewz", "linux", "hermit", "freebsd"];

/// Keys whose value asks for something that cannot be had, and what that is.
const UNSERVED: &[(&str, &str)] = &[
    ("block", "a disk for the guest (`block`)"),
    ("vAccel", "an accelerator (`vAccel`)"),
    ("bootKernel", "a kernel of the host (`bootKernel`)"),
    ("bootInitrd", "an initrd of the host (`bootInitrd`)"),
];

/// Keys that ask for the container's root file system in the guest when they are true, and what that is: by whatever way the
/// guest has, or, in older images, as a disk.
const MOUNT_ROOT: (&str, &str) =
    ("mountRootfs", "the container's root file system in the guest (`mountRootfs`)");
const ROOT_AS_DISK: (&str, &str) =
    ("useDMBlock", "the container's root file system as a disk (`useDMBlock`)");

/// Why a description of urunc's cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UruncError {
    /// The file holds something else.
    #[error("it is no JSON object of texts")]
    NoObject,
    /// A value is not encoded, or no text.
    #[error("the value of `{0}` is not text in base64")]
    Encoding(&'static str),
    /// It does not say where the kernel is.
    #[error("it names no `binary`")]
    NoBinary,
    /// The command line cannot be split.
    #[error("a quote of `cmdline` is not closed")]
    OpenQuote,
}

/// What a description says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Urunc {
    /// Where the kernel is.
    pub(super) binary: PathBuf,
    /// Where the initrd is.
    pub(super) initrd: Option<PathBuf>,
    /// The arguments of a container that has none.
    pub(super) args: Vec<Vec<u8>>,
    /// Whether the guest is to have the container's root file system.
    mounts_root: bool,
}

impl Urunc {
    /// Makes sure that `guest` has the container's root file system if it is to have it.
    ///
    /// # Errors
    /// It is to, and its kernel has no way to it.
    pub(super) fn check(&self, guest: &Guest) -> Result<(), ContainerError> {
        let unpacks = runu_guest::unpacks_initrd(guest);
        let obstacle = match runu_guest::share_obstacle(guest) {
            _ if unpacks && self.initrd.is_some() => Some("its root is its initrd"),
            obstacle => obstacle.filter(|_| !unpacks),
        };
        match obstacle {
            Some(why) if self.mounts_root => {
                Err(ContainerError::Unsupported { what: MOUNT_ROOT.1.to_owned(), why })
            }
            _ => Ok(()),
        }
    }
}

/// The description of an image: by annotations, whose keys come without their common beginning, or by the file.
pub(super) fn find(
    root: &RootFs,
    annotations: &HashMap<&str, &str>,
) -> Result<Option<Urunc>, ContainerError> {
    let error = |path| move |source| ContainerError::Urunc { path, source };
    let by_annotations =
        MANDATORY.iter().all(|key| annotations.get(key).is_some_and(|text| !text.is_empty()));
    if by_annotations {
        let values = from_annotations(annotations).map_err(error(ANNOTATIONS))?;
        return describe(&values, error(ANNOTATIONS)).map(Some);
    }
    let Some(mut file) = super::optional(root, Path::new(FILE))? else { return Ok(None) };
    let bytes = rootfs::contents(&mut file)
        .map_err(|source| ContainerError::NoFile { path: PathBuf::from(FILE), source })?;
    let values = from_file(&bytes).map_err(error(FILE))?;
    describe(&values, error(FILE)).map(Some)
}

/// Keys that are read, and their plain values; no empty ones.
type Values = BTreeMap<&'static str, String>;

/// All keys that are read.
fn keys() -> impl Iterator<Item = &'static str> {
    let plain = ["binary", "initrd", "cmdline"].into_iter();
    plain.chain(UNSERVED.iter().chain(&[MOUNT_ROOT, ROOT_AS_DISK]).map(|(key, _)| *key))
}

fn from_file(bytes: &[u8]) -> Result<Values, UruncError> {
    let texts: BTreeMap<String, String> = serde_json::from_slice(bytes).map_err(|_| UruncError::NoObject)?;
    decoded(|key| texts.get(&format!("{URUNC}{key}")).map(String::as_str))
}

fn from_annotations(texts: &HashMap<&str, &str>) -> Result<Values, UruncError> {
    let kind = texts.get("unikernelType").copied().unwrap_or_default();
    let is_encoded = !TYPES.contains(&kind)
        && decode(kind).is_some_and(|kind| kind.bytes().all(|byte| byte.is_ascii_graphic()));
    if is_encoded {
        return decoded(|key| texts.get(key).copied());
    }
    let plain = keys().filter_map(|key| Some((key, (*texts.get(key)?).to_owned())));
    Ok(plain.filter(|(_, text)| !text.is_empty()).collect())
}

fn decoded<'a>(encoded: impl Fn(&str) -> Option<&'a str>) -> Result<Values, UruncError> {
    let mut values = Values::new();
    for key in keys() {
        let Some(text) = encoded(key) else { continue };
        let text = decode(text).ok_or(UruncError::Encoding(key))?;
        if !text.is_empty() {
            values.insert(key, text);
        }
    }
    Ok(values)
}

/// Text in base64 (RFC 4648 §4, padded).
fn decode(text: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(text.trim().as_bytes()).ok()?).ok()
}

fn describe(values: &Values, error: impl Fn(UruncError) -> ContainerError) -> Result<Urunc, ContainerError> {
    // What Go's strconv.ParseBool takes for true.
    let is_true = |key: &str| {
        values.get(key).is_some_and(|text| ["1", "t", "T", "true", "TRUE", "True"].contains(&text.as_str()))
    };
    let asked = UNSERVED.iter().find(|(key, _)| values.contains_key(key));
    let asked = asked.or_else(|| is_true(ROOT_AS_DISK.0).then_some(&ROOT_AS_DISK));
    if let Some((_, what)) = asked {
        return Err(ContainerError::Unsupported {
            what: (*what).to_owned(),
            why: "the guest can be given a kernel, an initrd and files, and nothing else yet",
        });
    }
    let path = |key: &str| values.get(key).map(PathBuf::from);
    let args = match values.get("cmdline") {
        Some(line) => unikraft::words(line.as_bytes()).ok_or_else(|| error(UruncError::OpenQuote))?,
        None => Vec::new(),
    };
    let binary = path("binary").ok_or_else(|| error(UruncError::NoBinary))?;
    Ok(Urunc { binary, initrd: path("initrd"), args, mounts_root: is_true(MOUNT_ROOT.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The annotations of an image with this kernel and more.
    fn annotations<'a>(more: &[(&'a str, &'a str)]) -> HashMap<&'a str, &'a str> {
        let mandatory = [("unikernelType", "unikraft"), ("hypervisor", "qemu"), ("binary", "/kernel")];
        mandatory.into_iter().chain(more.iter().copied()).collect()
    }

    fn file(texts: &[(&str, &str)]) -> Vec<u8> {
        let texts = texts.iter().map(|(key, text)| (format!("{URUNC}{key}"), BASE64.encode(text.as_bytes())));
        serde_json::to_vec(&texts.collect::<BTreeMap<_, _>>()).unwrap()
    }

    fn described(values: Result<Values, UruncError>) -> Result<Urunc, ContainerError> {
        let error = |source| ContainerError::Urunc { path: FILE, source };
        describe(&values.map_err(error)?, error)
    }

    #[test]
    fn file_and_plain_and_encoded_annotations_say_the_same() {
        let texts = annotations(&[("initrd", "/rootfs.cpio"), ("cmdline", "-c \"a b\"")]);
        let pairs: Vec<_> = texts.iter().map(|(key, text)| (*key, *text)).collect();
        let encoded: HashMap<String, String> =
            pairs.iter().map(|(key, text)| ((*key).to_owned(), BASE64.encode(text.as_bytes()))).collect();
        let encoded = encoded.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        let expected = Urunc {
            binary: PathBuf::from("/kernel"),
            initrd: Some(PathBuf::from("/rootfs.cpio")),
            args: vec![b"-c".to_vec(), b"a b".to_vec()],
            mounts_root: false,
        };
        for values in [from_file(&file(&pairs)), from_annotations(&texts), from_annotations(&encoded)] {
            assert_eq!(described(values).unwrap(), expected);
        }
    }

    #[test]
    fn annotations_that_happen_to_be_base64_are_taken_as_they_are() {
        // `mewz` and `/kernel1` decode to bytes as well.
        let texts =
            HashMap::from([("unikernelType", "mewz"), ("hypervisor", "qemu"), ("binary", "/kernel1")]);
        assert_eq!(described(from_annotations(&texts)).unwrap().binary, PathBuf::from("/kernel1"));
    }

    #[test]
    fn file_that_is_malformed_is_an_error() {
        for (bytes, expected) in [
            (&b"[]"[..], UruncError::NoObject),
            (b"{\"a\":1}", UruncError::NoObject),
            (b"", UruncError::NoObject),
            (br#"{"com.urunc.unikernel.binary":"/plain path"}"#, UruncError::Encoding("binary")),
            (br#"{"com.urunc.unikernel.binary":"/w=="}"#, UruncError::Encoding("binary")),
        ] {
            assert_eq!(from_file(bytes), Err(expected));
        }
        for bytes in [&b"{}"[..], br#"{"com.urunc.unikernel.binary":""}"#] {
            let error = described(from_file(bytes)).unwrap_err();
            assert!(matches!(error, ContainerError::Urunc { source: UruncError::NoBinary, .. }), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (key, value) in [("block", "/disk"), ("useDMBlock", "1"), ("bootKernel", "/boot/vmlinuz")] {
            let error = described(from_annotations(&annotations(&[(key, value)]))).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        for (key, value) in [("block", ""), ("mountRootfs", "false"), ("blkMntPoint", "/data")] {
            assert!(described(from_annotations(&annotations(&[(key, value)]))).is_ok(), "{key}");
        }
    }

    #[test]
    fn root_in_the_guest_is_refused_where_its_kernel_has_no_way_to_it() {
        let guest = |name: &str| {
            let path = runu_guests::Guest::named(name).unwrap().linux64_path();
            runu_guest::detect(&std::fs::read(path).unwrap()).unwrap()
        };
        let with = |value| described(from_annotations(&annotations(&[("mountRootfs", value)]))).unwrap();
        assert!(with("true").check(&guest("share")).is_ok());
        assert!(with("false").check(&guest("hello")).is_ok());
        let error = with("true").check(&guest("hello")).unwrap_err();
        assert!(error.to_string().contains("mountRootfs"), "{error}");
    }

    #[test]
    fn command_line_with_an_open_quote_is_refused() {
        let error = described(from_annotations(&annotations(&[("cmdline", "a \"b")]))).unwrap_err();
        assert!(matches!(error, ContainerError::Urunc { source: UruncError::OpenQuote, .. }), "{error}");
    }
}
