//! The data directory: found as git finds its own, or made beside the sweep file.
//! Invariant: only `run` and `master` make one; a directory made here keeps itself out of version control.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::sweepfile::reason;

/// Its name.
pub(crate) const NAME: &str = "gridctl-data";

/// Where to look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// `--data-dir`, or `GRIDCTL_DATA_DIR`.
    pub(crate) stated: Option<PathBuf>,
}

impl Wanted {
    /// The directory to read, seen from `from`.
    pub(crate) fn find(&self, from: &Path) -> Result<PathBuf, Failure> {
        match &self.stated {
            Some(dir) if dir.is_dir() => absolute(dir),
            Some(dir) => {
                Err(Failure::error("data_dir", format!("there is no data directory {}", dir.display()))
                    .help("`gridctl run FILE` makes one; --data-dir and GRIDCTL_DATA_DIR name another"))
            }
            None => sought_upwards(from).ok_or_else(|| nowhere(from)),
        }
    }

    /// The directory for a sweep file in `base`, which may have to be made.
    pub(crate) fn for_sweep(&self, base: &Path) -> Result<PathBuf, Failure> {
        match &self.stated {
            Some(dir) => absolute(dir),
            None => Ok(sought_upwards(base).unwrap_or_else(|| base.join(NAME))),
        }
    }
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(dir)
        .map_err(|error| Failure::error("data_dir", format!("{}: {error}", dir.display())))
}

/// The nearest `gridctl-data` in `from` or above it that is ours: a stranger's would say where our master is.
fn sought_upwards(from: &Path) -> Option<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let ours = |dir: &PathBuf| {
        fs::metadata(dir).is_ok_and(|found| found.is_dir() && (me == 0 || [0, me].contains(&found.uid())))
    };
    from.ancestors().map(|dir| dir.join(NAME)).find(ours)
}

fn nowhere(from: &Path) -> Failure {
    let failure = Failure::error(
        "data_dir",
        format!("there is no {NAME} in {} or above it, so no sweep is known here", from.display()),
    );
    let below = |entry: fs::DirEntry| {
        let dir = entry.path().join(NAME);
        dir.is_dir().then(|| entry.file_name().to_string_lossy().into_owned())
    };
    let near: Vec<String> = fs::read_dir(from)
        .map(|entries| entries.take(1000).flatten().filter_map(below).take(2).collect())
        .unwrap_or_default();
    match near.as_slice() {
        [one] => {
            failure.help(format!("there is one below: add --data-dir {one}/{NAME}, or name the sweep file"))
        }
        _ => failure
            .help("name the sweep file, or the directory with --data-dir; `gridctl run FILE` makes one"),
    }
}

/// Makes the directory if it is not there.
pub(crate) fn make(dir: &Path) -> Result<(), Failure> {
    if dir.is_dir() {
        return Ok(());
    }
    let fail = |error: std::io::Error| {
        Failure::error("data_dir", format!("cannot make {}: {}", dir.display(), reason(&error)))
            .help("make the place writable for you, or name another directory with --data-dir")
    };
    fs::create_dir_all(dir).map_err(fail)?;
    fs::write(dir.join(".gitignore"), "*\n").map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_upwards_is_found_and_a_stated_one_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        make(&root.path().join(NAME)).unwrap();
        let wanted = Wanted::default();
        assert_eq!(wanted.find(&deep).unwrap(), root.path().join(NAME));
        make(&root.path().join("a").join(NAME)).unwrap();
        assert_eq!(wanted.for_sweep(&deep).unwrap(), root.path().join("a").join(NAME));
        let stated = Wanted { stated: Some(root.path().join("a")) };
        assert_eq!(stated.find(&deep).unwrap(), root.path().join("a"));
        assert_eq!(fs::read_to_string(root.path().join(NAME).join(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn a_directory_one_level_below_is_pointed_out() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("sweeps")).unwrap();
        make(&root.path().join("sweeps").join(NAME)).unwrap();
        let failure = Wanted::default().find(root.path()).unwrap_err();
        assert!(failure.problems[0].help.as_ref().unwrap().contains("--data-dir sweeps/gridctl-data"));
    }
}
