//! The rules that every entry of a pack keeps, whether it is written or read.
//! Invariant: an admitted entry lies in a directory that was admitted before it, and a link leads
//! to where only entries of the pack can be.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{MAX_ENTRIES, MAX_UNPACKED, PackError, TooLarge, Unsound};

/// Bytes of a path at most: there is to be room for the directory that it is unpacked into.
const PATH_BYTES: usize = 2_048;
/// Bytes of one part of a path at most.
const NAME_BYTES: usize = 255;

/// How much a pack holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackSize {
    /// Files, directories not counted.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Dir,
    /// A file of so many bytes.
    File(u64),
    /// A symbolic link and what it says.
    Link(&'a Path),
}

/// The entries that were admitted so far.
#[derive(Debug, Default)]
pub(super) struct Tree {
    dirs: HashSet<PathBuf>,
    /// Every path as a file system reads it that does not tell upper from lower case.
    folded: HashMap<String, ()>,
    size: PackSize,
}

impl Tree {
    /// How much there is so far.
    pub(super) fn size(&self) -> PackSize {
        self.size
    }

    /// Admits an entry, or says which rule it breaks.
    pub(super) fn admit(&mut self, path: &Path, kind: Kind<'_>) -> Result<(), PackError> {
        let refuse = |why| Err(PackError::Refused { path: path.to_owned(), why });
        if let Err(why) = sound(path) {
            return refuse(why);
        }
        let above = path.parent().unwrap_or(Path::new(""));
        if above != Path::new("") && !self.dirs.contains(above) {
            return refuse(Unsound::Above);
        }
        if self.folded.len() >= MAX_ENTRIES {
            return Err(PackError::TooLarge(TooLarge::Entries));
        }
        if self.folded.insert(path.to_string_lossy().to_lowercase(), ()).is_some() {
            return refuse(Unsound::Twice);
        }
        match kind {
            Kind::Dir => {
                self.dirs.insert(path.to_owned());
            }
            Kind::File(bytes) => {
                self.size.files += 1;
                self.size.bytes = self.size.bytes.saturating_add(bytes);
                if self.size.bytes > MAX_UNPACKED {
                    return Err(PackError::TooLarge(TooLarge::Unpacked));
                }
            }
            Kind::Link(target) if !stays(above, target) => return refuse(Unsound::Link),
            Kind::Link(_) => {}
        }
        Ok(())
    }
}

/// Whether the path is relative, plain, and no longer than file systems take.
fn sound(path: &Path) -> Result<(), Unsound> {
    let bytes = path.as_os_str().as_bytes();
    let is_text = path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
    // What `components` passes over without a word is refused as well.
    let plain =
        bytes.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..");
    if !plain || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Unsound::Path);
    }
    if bytes.len() > PATH_BYTES || bytes.split(|byte| *byte == b'/').any(|part| part.len() > NAME_BYTES) {
        return Err(Unsound::Long);
    }
    if is_text { Ok(()) } else { Err(Unsound::Text) }
}

/// Whether a link in the directory `above` that says `target` stays in the pack. Only as many `..`
/// as there are directories above it, and those first: behind the name of another link, `..` would
/// lead anywhere.
fn stays(above: &Path, target: &Path) -> bool {
    let bytes = target.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() > PATH_BYTES || bytes.contains(&0) {
        return false;
    }
    let up = target.components().take_while(|part| *part == Component::ParentDir).count();
    let named =
        target.components().skip(up).all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    named && up <= above.components().count()
}
