//! Directories that are still there after a loss of power.
//! Invariant: when a directory was made here, the one above it has been synced.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes `dir` with `mode`, and whatever is missing above it.
///
/// # Errors
/// As the system says.
pub(crate) fn create_dirs(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = match dir.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    create_dirs(above, mode)?;
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => Err(error),
        _ => File::open(above)?.sync_all(),
    }
}
