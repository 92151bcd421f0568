//! Packs a sweep's workdir for a master elsewhere.
//! Invariant: what is packed is what the code's mark was made of, and nothing but what lies in the
//! workdir decides what that is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use gridctl_core::code::NamedFiles;
use gridctl_core::id::PackHash;
use gridctl_core::protocol::{Code, FrozenSweep};
use gridctl_storage::pack::{PackError, PackSize, Packer};
use gridctl_worker::isolate::{led, walk_packed};

use super::freeze::{self, RunPlace};
use crate::datadir::DataDir;
use crate::exit::Failure;
use crate::output::number;
use crate::own_output;
use crate::sweepfile::SweepFile;

/// So many of the largest entries of a workdir are named where it is too large.
const NAMED: usize = 3;

/// A workdir as it travels.
#[derive(Debug)]
pub(crate) struct PackedCode {
    /// Its name.
    pub(crate) pack: PackHash,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// How much is in it.
    pub(crate) size: PackSize,
}

/// Packs the workdir of a sweep that is sealed, and has the sweep find its code there. Without a
/// workdir trials start in an empty directory.
pub(crate) fn pack(
    frozen: &mut FrozenSweep,
    file: &SweepFile,
    data_dir: &DataDir,
) -> Result<PackedCode, Failure> {
    let mut packer = Packer::new().map_err(|error| unpackable(Path::new("."), &error, &[]))?;
    if let Some(dir) = frozen.sources.workdir().map(PathBuf::from) {
        let data = frozen.sources.data.iter().map(PathBuf::from);
        let apart: Vec<PathBuf> = freeze::apart(frozen, data_dir).into_iter().chain(data).collect();
        let skipped = own_file(frozen, file, &dir);
        add(&mut packer, (&dir, skipped.as_deref()), &apart)
            .map_err(|error| unpackable(&dir, &error, &apart))?;
        let mut again = frozen.clone();
        let pin = frozen.image_pin().map(str::to_owned);
        freeze::seal(&mut again, data_dir, RunPlace::Elsewhere, pin)?;
        if again.code != frozen.code {
            let message = format!("the workdir {} changed while it was packed", dir.display());
            return Err(Failure::error("workdir", message).help("submit it again"));
        }
    }
    let (pack, bytes, size) = packer.finish().map_err(|error| {
        let dir = PathBuf::from(frozen.sources.start_dir());
        unpackable(&dir, &error, &freeze::apart(frozen, data_dir))
    })?;
    // Trials of an image without code of ours begin where the image does.
    if frozen.spec.image.is_none() || frozen.sources.code.is_some() {
        frozen.sources.code = Some(Code::Pack { pack });
    }
    Ok(PackedCode { pack, bytes, size })
}

/// Copies what belongs to the workdir `dir` into a directory that is there: what would travel to another machine.
pub(crate) fn copy(dir: &Path, apart: &[PathBuf], into: &Path) -> Result<(), Failure> {
    let copied = || -> Result<(), PackError> {
        let mut packer = Packer::new()?;
        add(&mut packer, (dir, None), apart)?;
        let (_, bytes, _) = packer.finish()?;
        let io = |source| PackError::Io { path: into.to_owned(), source };
        let mut file = tempfile::tempfile().map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.rewind()).map_err(io)?;
        gridctl_storage::pack::unpack(&mut file, into).map(drop)
    };
    copied().map_err(|error| unpackable(dir, &error, apart))
}

/// The sweep file, relative to the workdir `dir`, unless the command names it: each edit of it would
/// make another pack.
fn own_file(frozen: &FrozenSweep, file: &SweepFile, dir: &Path) -> Option<PathBuf> {
    let relative = file.path.strip_prefix(dir).ok()?.to_owned();
    let is_named = relative.to_str().is_some_and(|path| NamedFiles::of(&frozen.spec).has(path));
    (!is_named).then_some(relative)
}

/// Adds what belongs to the workdir `dir`. A link to a file elsewhere is packed as that file.
fn add(
    packer: &mut Packer,
    (dir, skipped): (&Path, Option<&Path>),
    apart: &[PathBuf],
) -> Result<(), PackError> {
    let io = |path: &Path, source| PackError::Io { path: path.to_owned(), source };
    let written = own_output::files_of(rustix::process::getpid());
    for entry in walk_packed(dir, apart) {
        let entry = entry.map_err(|error| {
            let error = error.into_io_error().unwrap_or_else(|| std::io::Error::other("unreadable"));
            io(dir, error)
        })?;
        let path = entry.path();
        let Ok(relative) = path.strip_prefix(dir).map(Path::to_owned) else { continue };
        if relative.as_os_str().is_empty() || Some(relative.as_path()) == skipped {
            continue;
        }
        let meta = fs::symlink_metadata(path).map_err(|error| io(path, error))?;
        if meta.is_dir() {
            packer.dir(&relative)?;
        } else if meta.is_file() && !written.contains(&(meta.dev(), meta.ino())) {
            packer.file(&relative, path)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(path).map_err(|error| io(path, error))?;
            let target = led(dir, &relative, &target);
            match target.is_absolute() && path.is_file() {
                true => packer.file(&relative, path)?,
                false => packer.link(&relative, &target)?,
            }
        }
    }
    Ok(())
}

fn unpackable(dir: &Path, error: &PackError, apart: &[PathBuf]) -> Failure {
    let message = format!("the workdir {} cannot be packed for the master: {error}", dir.display());
    let help = match error {
        PackError::TooLarge(_) => format!(
            "name in .gridctlignore what is no part of the code{}; data belongs under `data:`",
            largest(dir, apart)
        ),
        PackError::Refused { .. } => {
            "rename or remove it, or name it in .gridctlignore if no trial needs it; a link may lead to \
             a file anywhere, and to a directory of the workdir"
                .to_owned()
        }
        _ => "make it readable, or name it in .gridctlignore if no trial needs it".to_owned(),
    };
    Failure::error("workdir", message).help(help)
}

/// What of the workdir takes most room, in words.
fn largest(dir: &Path, apart: &[PathBuf]) -> String {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for entry in walk_packed(dir, apart).flatten() {
        let relative = entry.path().strip_prefix(dir).unwrap_or(entry.path());
        let Some(first) = relative.components().next() else { continue };
        let bytes = entry.metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
        *sizes.entry(first.as_os_str().to_string_lossy().into_owned()).or_default() += bytes;
    }
    let mut sizes: Vec<(u64, String)> = sizes.into_iter().map(|(name, bytes)| (bytes, name)).collect();
    sizes.sort_by(|one, other| other.cmp(one));
    let named = sizes.into_iter().take(NAMED).map(|(bytes, name)| {
        format!("{} ({})", crate::output::sanitise::short(&name, 80), number::bytes(bytes))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { String::new() } else { format!(": the largest are {}", named.join(", ")) }
}
