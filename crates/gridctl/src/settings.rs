//! What was set, wherever: flags go before `GRIDCTL_*`.
//! Invariant: an empty variable counts as none.

use std::path::PathBuf;

use crate::cli::Global;
use crate::datadir::Wanted;

/// What holds for every command.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the data directory is.
    pub(crate) data_dir: Wanted,
    /// It was named by a flag, so that whoever goes on must name it too.
    pub(crate) data_dir_by_flag: bool,
    /// The master that was named.
    pub(crate) master: Option<String>,
    /// It was named by a flag, so that it must not be passed over.
    pub(crate) master_by_flag: bool,
    /// Where the command was started.
    pub(crate) cwd: PathBuf,
}

impl Settings {
    /// The settings by flags and environment.
    pub(crate) fn new(global: Global) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let data_dir_by_flag = global.data_dir.is_some();
        let stated = global.data_dir.or_else(|| set("GRIDCTL_DATA_DIR").map(PathBuf::from));
        let master_by_flag = global.master.is_some();
        let master =
            global.master.or_else(|| set("GRIDCTL_MASTER").map(|value| value.to_string_lossy().into_owned()));
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Self { data_dir: Wanted { stated }, data_dir_by_flag, master, master_by_flag, cwd }
    }
}
