//! What was set, wherever: flags go before `GRIDCTL_*`, those before the nearest `gridctl.toml`, and that before the one of the person.
//! Invariant: each setting knows where it came from; an empty variable counts as none, and a file that cannot be used is an error.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::Global;
use crate::datadir::{self, DataDirChoice};
use crate::exit::Failure;
use file::InFile;

/// The name of the file that is sought upwards.
const NAME: &str = "gridctl.toml";

/// What holds for every command.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the data directory is.
    pub(crate) data_dir: DataDirChoice,
    /// The master that was named.
    pub(crate) master: Option<Setting<String>>,
    /// What the daemons log.
    pub(crate) log: Option<Setting<String>>,
    /// Where the command was started.
    pub(crate) cwd: PathBuf,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    /// What it was set to.
    pub(crate) value: T,
    /// By what.
    pub(crate) by: Origin,
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This flag.
    Flag(&'static str),
    /// This variable.
    Variable(&'static str),
    /// This file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl<T> Setting<T> {
    /// It was named by a flag: it must not be passed over, and whoever goes on must name it too.
    pub(crate) fn is_by_flag(&self) -> bool {
        matches!(self.by, Origin::Flag(_))
    }
}

impl Settings {
    /// The settings by flags, environment and files.
    ///
    /// # Errors
    /// A file that is there cannot be read, or says what cannot be meant.
    pub(crate) fn new(global: Global) -> Result<Self, Failure> {
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let mut near = InFile::default();
        for path in sought_upwards(&cwd).into_iter().chain(of_the_person()) {
            near = near.or(file::read(&path)?);
        }
        let variable = |name: &'static str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some(Setting { value, by: Origin::Variable(name) })
        };
        let path = |name| variable(name).map(|set| Setting { value: PathBuf::from(set.value), by: set.by });
        let text = |name| {
            variable(name).map(|set| Setting { value: set.value.to_string_lossy().into_owned(), by: set.by })
        };
        let data_dir = global.data_dir.map(|value| Setting { value, by: Origin::Flag("--data-dir") });
        let master = global.master.map(|value| Setting { value, by: Origin::Flag("--master") });
        Ok(Self {
            data_dir: DataDirChoice {
                stated: data_dir.or_else(|| path("GRIDCTL_DATA_DIR")).or(near.data_dir),
            },
            master: master.or_else(|| text("GRIDCTL_MASTER")).or(near.master),
            log: text("GRIDCTL_LOG").or(near.log),
            cwd,
        })
    }

    /// What is set: its key, its value as it may be shown, and by what.
    pub(crate) fn shown(&self) -> Vec<(&'static str, String, &Origin)> {
        let dir =
            self.data_dir.stated.iter().map(|set| ("data_dir", set.value.display().to_string(), &set.by));
        let master =
            self.master.iter().map(|set| ("master", crate::address::without_secret(&set.value), &set.by));
        let log = self.log.iter().map(|set| ("log", set.value.clone(), &set.by));
        dir.chain(master).chain(log).collect()
    }
}

/// What a log is set to.
pub(crate) const LEVELS: &str =
    "write error, warn, info, debug or trace; or one for a part, as in gridctl_master=debug";

/// What is logged, as `text` says it.
pub(crate) fn level(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(text)
}

/// The nearest file in `from` or above it that is ours: a stranger's would say where our master is.
fn sought_upwards(from: &Path) -> Option<PathBuf> {
    let ours = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| datadir::is_ours(&found));
    from.ancestors().map(|dir| dir.join(NAME)).find(ours)
}

/// The file of the person, if there is one.
fn of_the_person() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".config"));
    let path = set("XDG_CONFIG_HOME").or_else(home)?.join("gridctl/config.toml");
    path.symlink_metadata().is_ok().then_some(path)
}
