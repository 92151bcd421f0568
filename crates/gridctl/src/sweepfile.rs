//! Reads a sweep file: a regular file of bounded size.
//! Invariant: an endless pipe or device costs one look, not memory or time.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::spec::limits;
use rustix::fs::OFlags;

use crate::exit::{Exit, Failure, Source};
use gridctl_core::spec::Diagnostic;

/// A sweep file that was read.
#[derive(Debug, Clone)]
pub(crate) struct SweepFile {
    /// Where it is, absolute.
    pub(crate) path: PathBuf,
    /// The directory it stands in, absolute: paths in the file are relative to it.
    pub(crate) base: PathBuf,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its text, under the name that the person typed.
    pub(crate) source: Arc<Source>,
}

impl SweepFile {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let bytes = read_bounded(path, &name)?;
        // What is not UTF-8 is refused by the parser, which points at it.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let path = path.canonicalize().map_err(|error| cannot_read(&name, &error))?;
        let base = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { path, base, bytes, source: Arc::new(Source { name, text }) })
    }

    /// The file's name without its extension: the sweep's name by default.
    pub(crate) fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn read_bounded(path: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    let limit = limits::FILE_BYTES as u64;
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path);
    let file = file.map_err(|error| cannot_read(name, &error))?;
    let metadata = file.metadata().map_err(|error| cannot_read(name, &error))?;
    if metadata.is_dir() {
        return Err(usage(
            "sweep::directory",
            format!("{name} is a directory"),
            "name the sweep file itself",
        ));
    }
    if !metadata.is_file() {
        let message = format!("{name} is a pipe or a device, not a file");
        return Err(usage("sweep::not_a_file", message, "write the sweep to a file first"));
    }
    if metadata.len() > limit {
        let message = format!("{name} has {} bytes, and a sweep file has at most {limit}", metadata.len());
        return Err(usage("sweep::too_large", message, TOO_LARGE));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(name, &error))?;
    if bytes.len() as u64 > limit {
        let message = format!("{name} has more than the {limit} bytes that a sweep file may have");
        return Err(usage("sweep::too_large", message, TOO_LARGE));
    }
    Ok(bytes)
}

const TOO_LARGE: &str = "say long axes by a rule: {min: 0, max: 1, steps: 1000}";

fn usage(code: &'static str, message: String, help: &str) -> Failure {
    Failure::usage(code, message).help(help)
}

fn cannot_read(name: &str, error: &std::io::Error) -> Failure {
    let problem = Diagnostic::error("sweep::unreadable", format!("cannot read {name}: {}", reason(error)));
    Failure::new(Exit::Usage, problem)
}

/// What the system says, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}
