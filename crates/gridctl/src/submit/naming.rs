//! The name of a sweep whose file gives none: the file's, unless another file's sweep has it already.
//! Invariant: as long as the journal is there, a file that has not moved means the same sweep, and two files mean two.

use std::path::{Component, Path, PathBuf};

use gridctl_core::sched::Core;
use gridctl_core::spec::derived_name;

use crate::datadir::DataDir;
use crate::source::fold;
use crate::sweepfile::SweepFile;

/// A name that was found, and whose another one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SweepName {
    pub(crate) name: String,
    /// What to say: a better name is taken by another file.
    pub(crate) note: Option<String>,
}

/// The sweep file as the journal knows it: relative to the data directory.
pub(crate) fn relative_file(file: &SweepFile, dir: &DataDir) -> String {
    let dir = dir.results.parent().unwrap_or(&dir.journal);
    relative(&file.path, &real(dir)).to_string_lossy().into_owned()
}

/// The name of the sweep of `file`, which gives none.
pub(crate) fn of(file: &SweepFile, dir: &DataDir) -> SweepName {
    let stem = file.stem();
    // A journal that cannot be read is reported by who needs more of it.
    let core = if dir.journal.is_dir() { fold::core(&dir.journal).ok().flatten() } else { None };
    let Some(core) = core else { return SweepName { name: derived_name(&stem), note: None } };
    let own = relative_file(file, dir);
    let parent = file.base.file_name().unwrap_or_default().to_string_lossy();
    let hash = blake3::hash(own.as_bytes()).to_hex();
    let mut taken_by = None;
    for text in [stem.clone(), format!("{parent}-{stem}"), format!("{stem}-{}", &hash[..6])] {
        let name = derived_name(&text);
        match owner(&core, &name, file, &own) {
            Owner::Nobody => {
                let note = taken_by.map(|(taken, by)| {
                    format!("the name `{taken}` is that of {by} here: this sweep is `{name}`")
                });
                return SweepName { name, note };
            }
            Owner::Itself => return SweepName { name, note: None },
            Owner::Other(by) => {
                taken_by.get_or_insert((name, by));
            }
        }
    }
    SweepName { name: derived_name(&format!("{stem}-{hash}")), note: None }
}

enum Owner {
    Nobody,
    Itself,
    Other(String),
}

/// Whose sweep has the name.
fn owner(core: &Core, name: &str, file: &SweepFile, own: &str) -> Owner {
    let Some(sweep) = core.sweep_named(name) else { return Owner::Nobody };
    let frozen = sweep.frozen();
    match &frozen.file {
        Some(known) if known == own => Owner::Itself,
        Some(known) => Owner::Other(known.clone()),
        // A journal of before knows directories only.
        None if Path::new(&frozen.sources.base) == file.base => Owner::Itself,
        None => Owner::Other(format!("a file in {}", frozen.sources.base)),
    }
}

/// The path with its links resolved, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found {
        Some((above, real)) => real.join(path.strip_prefix(above).unwrap_or(Path::new(""))),
        None => path.to_owned(),
    }
}

/// The way from `dir` to `path`, both absolute.
fn relative(path: &Path, dir: &Path) -> PathBuf {
    let shared = path.components().zip(dir.components()).take_while(|(a, b)| a == b).count();
    let up = dir.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_the_data_directory() {
        for (path, dir, expected) in [
            ("/a/exp1/s.yaml", "/a/gridctl-data", "../exp1/s.yaml"),
            ("/a/s.yaml", "/a", "s.yaml"),
            ("/b/s.yaml", "/a/c", "../../b/s.yaml"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(dir)), Path::new(expected));
        }
    }
}
