//! Directories that containers see: others' users write there.
//! Invariant: the directory above lets nobody in but this worker and what it starts; a link is given
//! away itself, and not what it leads to.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

use super::{Scratch, WorkDir, make_dir, named};

/// Whose processes use a container's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Gives `path` to the owner, be it a link itself.
    pub(crate) fn give(self, path: &Path) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        named(
            path,
            chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from),
        )
    }

    /// The same with all that is below `path`.
    pub(crate) fn give_all(self, path: &Path) -> io::Result<()> {
        self.give(path)?;
        if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
            for entry in named(path, fs::read_dir(path))? {
                self.give_all(&entry?.path())?;
            }
        }
        Ok(())
    }
}

/// The directories of a slot that its container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerDirs {
    /// Trainers write below it.
    pub(crate) slot: PathBuf,
    /// The worker alone writes there.
    pub(crate) run: PathBuf,
}

impl WorkDir {
    /// Directories for the container of the slot number `slot`, in which `owner` runs.
    pub(crate) fn container(&self, slot: u32, owner: Owner) -> io::Result<ContainerDirs> {
        self.renew()?;
        let name = format!("c{slot}");
        let dirs = ContainerDirs {
            slot: self.dir.join(&name),
            run: self.memory.as_ref().unwrap_or(&self.dir).join(format!("{name}-run")),
        };
        for dir in [&dirs.slot, &dirs.run] {
            make_dir(dir)?;
            named(dir, fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))?;
        }
        for dir in ["home", "tmp"].map(|name| dirs.slot.join(name)) {
            make_dir(&dir)?;
            owner.give(&dir)?;
        }
        Ok(dirs)
    }

    /// Of the container's several sets of directories the one with the number `set`.
    pub(crate) fn container_set(
        &self,
        dirs: &ContainerDirs,
        set: usize,
        owner: Owner,
    ) -> io::Result<Scratch> {
        Scratch::make(&dirs.slot, Some(&dirs.run), (&set.to_string(), Some(owner)))
    }
}
