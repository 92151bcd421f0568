//! Which file system a directory is on, as far as a journal must know: network file systems break SQLite's locks and syncs.
//! Invariant: what is not known to be unfit counts as local.

use std::path::Path;

/// How far a file system can be trusted with a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsKind {
    /// A local disk, as far as can be told.
    Local,
    /// Memory: gone after a restart of the machine.
    Memory,
    /// A network or user-space file system, by name: no place for a journal.
    Network(&'static str),
}

/// The kind of file system that `path`, or its nearest directory above that exists, is on.
#[must_use]
pub fn kind_of(path: &Path) -> FsKind {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find(|ancestor| ancestor.exists());
    existing.map_or(FsKind::Local, kind_of_existing)
}

#[cfg(target_os = "linux")]
fn kind_of_existing(path: &Path) -> FsKind {
    // The low 32 bits: the kernel's magic numbers are no wider, but the field's type differs between machines.
    rustix::fs::statfs(path).map_or(FsKind::Local, |stat| by_magic(stat.f_type.cast_unsigned() & 0xffff_ffff))
}

#[cfg(not(target_os = "linux"))]
fn kind_of_existing(_path: &Path) -> FsKind {
    FsKind::Local
}

/// Magic numbers of `statfs(2)`.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "other systems have no such numbers"))]
fn by_magic(magic: u64) -> FsKind {
    match magic {
        0x0102_1994 | 0x8584_58f6 => FsKind::Memory,
        0x6969 => FsKind::Network("NFS"),
        0x517b => FsKind::Network("SMB"),
        0xff53_4d42 => FsKind::Network("CIFS"),
        0xfe53_4d42 => FsKind::Network("SMB2"),
        0x6573_5546 => FsKind::Network("FUSE"),
        0x0bd0_0bd0 => FsKind::Network("Lustre"),
        0x00c3_6400 => FsKind::Network("Ceph"),
        0x5346_414f => FsKind::Network("AFS"),
        0x7375_7245 => FsKind::Network("Coda"),
        0x0102_1997 => FsKind::Network("9p"),
        0x4750_4653 => FsKind::Network("GPFS"),
        0x1983_0326 => FsKind::Network("BeeGFS"),
        0x786f_4256 => FsKind::Network("a VirtualBox share"),
        _ => FsKind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_file_systems_are_told_apart_by_their_magic_numbers() {
        for (magic, kind) in [
            (0xef53, FsKind::Local),
            (0x6969, FsKind::Network("NFS")),
            (0xff53_4d42, FsKind::Network("CIFS")),
            (0x6573_5546, FsKind::Network("FUSE")),
            (0x0102_1994, FsKind::Memory),
        ] {
            assert_eq!(by_magic(magic), kind, "{magic:#x}");
        }
    }

    #[test]
    fn a_path_that_does_not_exist_is_judged_by_the_directory_above_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kind_of(&dir.path().join("not/yet")), kind_of(dir.path()));
        if Path::new("/dev/shm").exists() && kind_of(Path::new("/dev/shm")) != FsKind::Memory {
            crate::skipped("/dev/shm is not in memory here");
        }
    }
}
