//! Reads a sweep file.
//! Invariant: what is not UTF-8 comes out as it is shown, beside the bytes that the parser refuses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::spec::limits;

use crate::exit::{Failure, SourceText};
use crate::input::{self, ReadError};

/// Endings of programs' files, and what starts these.
const PROGRAMS: [(&str, &str); 5] =
    [("py", "python3"), ("sh", "sh"), ("R", "Rscript"), ("jl", "julia"), ("js", "node")];

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
    pub(crate) source: Arc<SourceText>,
}

impl SweepFile {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if let Some((_, starter)) = PROGRAMS.iter().find(|(known, _)| *known == ending)
            && path.is_file()
        {
            let shown = crate::output::sanitise::short(&name, 80);
            return Err(Failure::usage(
                "sweep::program",
                format!("{shown} is a program, and not a sweep file"),
            )
            .help(format!("`gridctl init -- {starter} {shown}` drafts a sweep file for it")));
        }
        let refused = |error: ReadError| unreadable(&name, &error);
        let bytes = input::read(path, limits::FILE_BYTES as u64).map_err(refused)?;
        // What is not UTF-8 is refused by the parser, which points at it.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let path = path.canonicalize().map_err(|error| unreadable(&name, &ReadError::Io(error)))?;
        let base = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { path, base, bytes, source: Arc::new(SourceText { name, text }) })
    }

    /// The file's name without its extension: the sweep's name by default.
    pub(crate) fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn unreadable(name: &str, error: &ReadError) -> Failure {
    let (code, help) = match error {
        ReadError::Io(_) => ("sweep::unreadable", None),
        ReadError::Directory => ("sweep::directory", Some("name the sweep file itself")),
        ReadError::Special => ("sweep::not_a_file", Some("write the sweep to a file first")),
        ReadError::TooLarge { .. } => {
            ("sweep::too_large", Some("say long axes by a rule: {min: 0, max: 1, steps: 1000}"))
        }
    };
    Failure::usage(code, error.about(name, "a sweep file")).maybe_help(help.map(str::to_owned))
}
