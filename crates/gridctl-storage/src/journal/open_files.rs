//! The files that a journal works on, each by its path and its number on the device: whether the
//! paths still lead to them.
//! Invariant: what was written to a file that nobody can find any more is never taken for durable.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What is known of the files of one journal.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles(Vec<(PathBuf, (u64, u64))>);

impl OpenFiles {
    /// Notes the files at `paths`, as far as they are there.
    pub(crate) fn note(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let noted = |path: PathBuf| number(&path).map(|number| (path, number));
        Self(paths.into_iter().filter_map(noted).collect())
    }

    /// The first path that leads to no file, or to another one.
    pub(crate) fn gone(&self) -> Option<&PathBuf> {
        self.0.iter().find(|(path, noted)| number(path) != Some(*noted)).map(|(path, _)| path)
    }
}

/// The device and the number on it.
fn number(path: &PathBuf) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "never"].map(|name| dir.path().join(name));
        fs::write(&paths[0], "").unwrap();
        fs::write(&paths[1], "").unwrap();
        let files = OpenFiles::note(paths.clone());
        assert_eq!(files.gone(), None);
        fs::write(&paths[1], "changed in place").unwrap();
        assert_eq!(files.gone(), None);
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), &paths[1]).unwrap();
        assert_eq!(files.gone(), Some(&paths[1]));
        fs::remove_file(&paths[0]).unwrap();
        assert_eq!(files.gone(), Some(&paths[0]));
    }
}
