//! The data directory: found as git finds its own, or made beside the sweep file.
//! Invariant: only `run` and `master` make one; a directory made here keeps itself out of version control.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use gridctl_core::output::{DEFAULT_OUTPUT, Output, VolumeUrl};
use gridctl_storage::journal::fs_check::{self, FsKind};

use crate::exit::Failure;
use crate::input::reason;
use crate::settings::{Origin, Setting};

/// Its name.
pub(crate) const NAME: &str = "gridctl-data";

/// Where workers of the data directory `dir` have their slots' directories, unless they are told
/// another place.
pub(crate) fn slots(dir: &Path) -> PathBuf {
    dir.join("work").join("slots")
}

/// Where a worker of the data directory `dir` has its slots' directories, if it was told `named`. A directory that a person
/// names may hold what is the person's: ours is one of its own below it.
pub(crate) fn work_dir(named: Option<&Path>, dir: &Path) -> PathBuf {
    named.map_or_else(|| slots(dir), |named| named.join("gridctl-slots"))
}

/// Where data is that was fetched from S3.
pub(crate) fn datasets(dir: &Path) -> PathBuf {
    dir.join("datasets")
}

/// Where to look.
#[derive(Debug, Clone, Default)]
pub(crate) struct DataDirChoice {
    /// As it was set.
    pub(crate) stated: Option<Setting<PathBuf>>,
}

impl DataDirChoice {
    /// The directory to read, seen from `from`.
    pub(crate) fn find(&self, from: &Path) -> Result<PathBuf, Failure> {
        self.found(from).map(|dir| DataDir::of(dir).journal)
    }

    fn found(&self, from: &Path) -> Result<PathBuf, Failure> {
        match &self.stated {
            Some(Setting { value: dir, .. }) if dir.is_dir() => absolute(dir),
            Some(Setting { value: dir, by }) => {
                let by = match by {
                    Origin::File(path) => format!(", which {} names", path.display()),
                    Origin::Flag(_) | Origin::Variable(_) => String::new(),
                };
                Err(Failure::error("data_dir", format!("there is no data directory {}{by}", dir.display()))
                    .help("`gridctl run FILE` makes one; --data-dir and GRIDCTL_DATA_DIR name another"))
            }
            None => sought_upwards(from).ok_or_else(|| nowhere(from)),
        }
    }

    /// The directory for a sweep file in `base`, which may have to be made.
    pub(crate) fn for_sweep(&self, base: &Path) -> Result<DataDir, Failure> {
        let dir = match &self.stated {
            Some(dir) => absolute(&dir.value)?,
            None => sought_upwards(base).unwrap_or_else(|| base.join(NAME)),
        };
        Ok(DataDir::of(dir))
    }
}

/// A data directory. On a network file system the journal is elsewhere, for there it would come to harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDir {
    /// Where the journal is, with all that belongs to a master.
    pub(crate) journal: PathBuf,
    /// Where results go unless the sweep file says otherwise.
    pub(crate) results: PathBuf,
    /// What to tell the person.
    moved: Option<String>,
}

impl DataDir {
    fn of(dir: PathBuf) -> Self {
        let kind = fs_check::kind_of(&dir);
        Self::on(dir, kind, state_home())
    }

    /// The directory `dir`, which is on a file system of this kind.
    fn on(dir: PathBuf, kind: FsKind, state_home: Option<PathBuf>) -> Self {
        let results = dir.join(DEFAULT_OUTPUT);
        match (kind, state_home) {
            (FsKind::Network(kind), Some(home)) => {
                let hash = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
                let journal = home.join("gridctl").join(&hash.as_str()[..16]);
                let moved = format!(
                    "the journal is in {}, for {} is on {kind}; results stay there",
                    journal.display(),
                    dir.display()
                );
                Self { journal, results, moved: Some(moved) }
            }
            _ => Self { journal: dir, results, moved: None },
        }
    }

    /// The results volume of a sweep that names none, as a frozen sweep has it.
    pub(crate) fn output(&self) -> Output {
        match &self.moved {
            Some(_) => Output::At(VolumeUrl::Dir(self.results.clone())),
            None => Output::InDataDir,
        }
    }

    /// Makes what is not there, and says where the journal is if that is elsewhere.
    pub(crate) fn make(&self) -> Result<(), Failure> {
        if let Some(moved) = &self.moved {
            crate::output::say(moved);
            // It is found by its name, beside the results.
            self.results.parent().map_or(Ok(()), make)?;
        }
        make(&self.journal)
    }
}

/// Where programs keep state of this machine, unless that is on a network file system as well.
fn state_home() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local/state"));
    let places = [set("XDG_STATE_HOME").or_else(home), set("TMPDIR"), Some(PathBuf::from("/var/tmp"))];
    places.into_iter().flatten().find(|place| !matches!(fs_check::kind_of(place), FsKind::Network(_)))
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(dir)
        .map_err(|error| Failure::error("data_dir", format!("{}: {error}", dir.display())))
}

/// The nearest `gridctl-data` in `from` or above it that is ours: a stranger's would say where our master is.
fn sought_upwards(from: &Path) -> Option<PathBuf> {
    let ours = |dir: &PathBuf| fs::metadata(dir).is_ok_and(|found| found.is_dir() && is_ours(&found));
    from.ancestors().map(|dir| dir.join(NAME)).find(ours)
}

/// Whether what was found belongs to us or to root.
pub(crate) fn is_ours(found: &fs::Metadata) -> bool {
    let me = rustix::process::geteuid().as_raw();
    me == 0 || [0, me].contains(&found.uid())
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
fn make(dir: &Path) -> Result<(), Failure> {
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
        let wanted = DataDirChoice::default();
        assert_eq!(wanted.find(&deep).unwrap(), root.path().join(NAME));
        make(&root.path().join("a").join(NAME)).unwrap();
        assert_eq!(wanted.for_sweep(&deep).unwrap().journal, root.path().join("a").join(NAME));
        let stated = DataDirChoice {
            stated: Some(Setting { value: root.path().join("a"), by: Origin::Flag("--data-dir") }),
        };
        assert_eq!(stated.find(&deep).unwrap(), root.path().join("a"));
        assert_eq!(fs::read_to_string(root.path().join(NAME).join(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn c10_on_a_network_file_system_only_the_journal_moves() {
        let dir = PathBuf::from("/home/me/gridctl-data");
        let home = Some(PathBuf::from("/var/state"));
        let moved = DataDir::on(dir.clone(), FsKind::Network("NFS"), home.clone());
        assert!(moved.journal.starts_with("/var/state/gridctl"));
        assert_eq!(
            (&moved.results, moved.output()),
            (&dir.join("results"), Output::At(VolumeUrl::Dir(dir.join("results"))))
        );
        assert!(moved.moved.unwrap().contains("is on NFS"));
        let other =
            DataDir::on(PathBuf::from("/home/you/gridctl-data"), FsKind::Network("NFS"), home.clone());
        assert_ne!(other.journal, moved.journal);
        let local = DataDir::on(dir.clone(), FsKind::Local, home);
        assert_eq!((&local.journal, local.output()), (&dir, Output::InDataDir));
    }

    #[test]
    fn a_directory_one_level_below_is_pointed_out() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("sweeps")).unwrap();
        make(&root.path().join("sweeps").join(NAME)).unwrap();
        let failure = DataDirChoice::default().find(root.path()).unwrap_err();
        assert!(failure.problems[0].help.as_ref().unwrap().contains("--data-dir sweeps/gridctl-data"));
    }
}
