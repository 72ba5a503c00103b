//! What a bundle is to run: a unikernel, or an ordinary program that is somebody else's to run.
//!
//! Engines drop image labels and annotations on the way, so mostly the root file system tells. Asked in this order, the
//! first that says something decides: annotations of ours, a kernel in kraft's place, urunc's annotations or its file, a
//! kernel as the program itself. Where somebody *says* that there is a kernel and the file is none, that is an error and
//! never a guess; only the program itself may be something else.

mod kraft;
mod program;
mod urunc;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use runu_core::Bytes;
use runu_guest::{Guest, Invocation};

pub use self::urunc::UruncError;
use crate::{
    Bundle, Config, ContainerError, Image,
    annotations::{self, Place},
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
    /// What is known about it.
    pub image: Image,
    /// The kernel file.
    pub kernel: File,
    /// The initrd.
    pub initrd: Option<File>,
}

/// How the words of a container are meant, which depends on who made its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Convention {
    /// kraft's: the program's arguments, without its name; kernel parameters and a `--` may stand before them.
    Kraft {
        /// Where the kernel is: a first word that names it is the program's name.
        kernel: PathBuf,
    },
    /// urunc's: the program's arguments, without its name.
    Urunc {
        /// Where the kernel is.
        kernel: PathBuf,
        /// The arguments of a container that has none.
        default: Vec<Vec<u8>>,
    },
    /// A program's: its name and its arguments.
    Program,
}

impl Convention {
    /// The program's name, its arguments and the kernel's parameters, from the words of a container.
    #[must_use]
    pub fn invocation(&self, words: Vec<String>) -> Invocation {
        match self {
            Convention::Kraft { kernel } => kraft::invocation(kernel, words),
            Convention::Urunc { kernel, default } => {
                let args = match words.is_empty() {
                    true => default.clone(),
                    false => words.into_iter().map(String::into_bytes).collect(),
                };
                Invocation { argv0: file_name(kernel), args, ..Invocation::default() }
            }
            Convention::Program => {
                let mut words = words.into_iter().map(String::into_bytes);
                let argv0 = words.next().unwrap_or_default();
                Invocation { argv0, args: words.collect(), ..Invocation::default() }
            }
        }
    }
}

/// Finds out what a bundle is to run.
///
/// # Errors
/// The image says that it is a unikernel and its kernel is none, or cannot be opened; or an annotation asks for what is not
/// allowed.
pub fn detect(bundle: &Bundle, config: &Config) -> Result<Workload, ContainerError> {
    let Ok(root) = RootFs::open(&bundle.rootfs) else {
        // Whoever runs it will say what is wrong with it.
        return Ok(Workload::Ordinary);
    };
    let found = match marked(&root, &bundle.spec, config)? {
        Some(found) => found,
        None => match program::find(&root, &bundle.spec) {
            Some((kernel, guest)) => Found { guest, kernel, initrd: None, convention: Convention::Program },
            None => return Ok(Workload::Ordinary),
        },
    };
    let size = found.initrd.as_ref().map(|file| file.metadata().map(|metadata| Bytes(metadata.len())));
    let initrd =
        size.transpose().map_err(|source| ContainerError::Channel { what: "initrd's descriptor", source })?;
    let image = Image::new(found.guest, found.convention, initrd, &bundle.spec, config)?;
    Ok(Workload::Unikernel(Box::new(Unikernel { image, kernel: found.kernel, initrd: found.initrd })))
}

/// A unikernel that somebody says is there.
struct Found {
    guest: Guest,
    kernel: File,
    initrd: Option<File>,
    convention: Convention,
}

/// The unikernel that an annotation or a file in the image tells of.
fn marked(root: &RootFs, spec: &Spec, config: &Config) -> Result<Option<Found>, ContainerError> {
    if let Some(Place { kernel: path, initrd }) = annotations::place(spec, config)? {
        let (kernel, guest) = recognise(required(root, &path)?, &path)?;
        let initrd = initrd.map(|path| required(root, &path)).transpose()?;
        return Ok(Some(Found { guest, kernel, initrd, convention: Convention::Kraft { kernel: path } }));
    }
    if let Some(kernel) = optional(root, Path::new(kraft::KERNEL))? {
        let path = Path::new(kraft::KERNEL).to_path_buf();
        let (kernel, guest) = recognise(kernel, &path)?;
        let initrd = optional(root, Path::new(kraft::INITRD))?;
        return Ok(Some(Found { guest, kernel, initrd, convention: Convention::Kraft { kernel: path } }));
    }
    if let Some(urunc) = urunc::find(root, &annotations::urunc(spec, config))? {
        let (kernel, guest) = recognise(required(root, &urunc.binary)?, &urunc.binary)?;
        urunc.check(&guest)?;
        let initrd = urunc.initrd.as_deref().map(|path| required(root, path)).transpose()?;
        let convention = Convention::Urunc { kernel: urunc.binary, default: urunc.args };
        return Ok(Some(Found { guest, kernel, initrd, convention }));
    }
    Ok(None)
}

/// The file at `path`, or none where there is none.
fn optional(root: &RootFs, path: &Path) -> Result<Option<File>, ContainerError> {
    match root.file(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(ContainerError::NoFile { path: path.to_path_buf(), source }),
    }
}

/// The file at `path`, which somebody says is there.
fn required(root: &RootFs, path: &Path) -> Result<File, ContainerError> {
    root.file(path).map_err(|source| ContainerError::NoFile { path: path.to_path_buf(), source })
}

/// What the kernel in a file is.
fn recognise(mut file: File, path: &Path) -> Result<(File, Guest), ContainerError> {
    let path = || path.to_path_buf();
    let bytes =
        rootfs::contents(&mut file).map_err(|source| ContainerError::NoFile { path: path(), source })?;
    let guest =
        runu_guest::detect(&bytes).map_err(|source| ContainerError::Kernel { path: path(), source })?;
    Ok((file, guest))
}

/// The last part of a path; a name for a program.
fn file_name(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.file_name().unwrap_or(path.as_os_str()).as_bytes().to_vec()
}
