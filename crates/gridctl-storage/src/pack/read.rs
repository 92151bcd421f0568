//! Looks through a pack, and unpacks it.
//! Invariant: nothing is believed that the archive says of itself before the same rules have passed
//! it that made it; memory and disk that it can take are bounded whatever it holds.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};
use zstd::Decoder;

use super::tree::{Kind, Tree};
use super::{MAX_ENTRIES, MAX_UNPACKED, PackError, PackSize, TooLarge, Unsound};

/// Of the window that a pack may want in memory: 8 MiB, as much as our own packer ever asks for.
const WINDOW_LOG: u32 = 23;
/// Headers and padding of one entry and its long name, at most.
const ENTRY_OVERHEAD: u64 = 8 << 10;
/// Bytes of a path that stands in an entry of its own.
const LONG_NAME: u64 = 4 << 10;

type Unpacked<'a> = io::Take<Decoder<'a, BufReader<&'a mut File>>>;

/// Checks that `pack` can be unpacked, and says how much is in it.
///
/// # Errors
/// [`PackError`]: which rule it breaks, and where.
pub fn check(pack: &mut File) -> Result<PackSize, PackError> {
    check_shape(pack)?;
    walk(pack, None)
}

/// Unpacks `pack` into the empty directory `into`.
///
/// # Errors
/// As of [`check`], or a file cannot be written. What was written so far stays.
pub fn unpack(pack: &mut File, into: &Path) -> Result<PackSize, PackError> {
    check_shape(pack)?;
    walk(pack, Some(into))
}

/// The archive in the pack, from its beginning.
fn open(pack: &mut File) -> Result<Archive<Unpacked<'_>>, PackError> {
    pack.rewind().map_err(damaged)?;
    let mut decoder = Decoder::new(pack).map_err(damaged)?;
    decoder.window_log_max(WINDOW_LOG).map_err(damaged)?;
    let most = MAX_UNPACKED + MAX_ENTRIES as u64 * ENTRY_OVERHEAD;
    Ok(Archive::new(decoder.take(most)))
}

fn damaged(error: impl std::error::Error) -> PackError {
    PackError::Damaged(error.to_string())
}

/// Whether it is made of plain entries alone: none whose meaning another one changes, but for a long
/// name. The next look can then rely on what headers say.
fn check_shape(pack: &mut File) -> Result<(), PackError> {
    let mut archive = open(pack)?;
    let (mut bytes, mut entries) = (0_u64, 0_usize);
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let entry = entry.map_err(damaged)?;
        let header = entry.header();
        let size = header.entry_size().map_err(damaged)?;
        let path = || PathBuf::from(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
        let refuse = |why| Err(PackError::Refused { path: path(), why });
        entries += 1;
        bytes = bytes.saturating_add(size);
        if bytes > MAX_UNPACKED + MAX_ENTRIES as u64 * LONG_NAME {
            return Err(PackError::TooLarge(TooLarge::Unpacked));
        }
        // A long name and a long target may come before each.
        if entries > 3 * MAX_ENTRIES {
            return Err(PackError::TooLarge(TooLarge::Entries));
        }
        match header.entry_type() {
            EntryType::Regular if size <= MAX_UNPACKED => {}
            EntryType::Regular => return Err(PackError::TooLarge(TooLarge::Unpacked)),
            EntryType::Directory | EntryType::Symlink if size == 0 => {}
            EntryType::GNULongName | EntryType::GNULongLink if size <= LONG_NAME => continue,
            EntryType::GNULongName | EntryType::GNULongLink => return refuse(Unsound::Long),
            _ => return refuse(Unsound::Kind),
        }
        if header.mode().map_err(damaged)? & !0o777 != 0 {
            return refuse(Unsound::Mode);
        }
    }
    Ok(())
}

/// Passes each entry by the rules, and writes it below `into`, if that is given.
fn walk(pack: &mut File, into: Option<&Path>) -> Result<PackSize, PackError> {
    let mut archive = open(pack)?;
    let mut tree = Tree::default();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = path_of(&entry.path_bytes());
        let target = entry.link_name_bytes().map(|target| path_of(&target));
        let mode = entry.header().mode().map_err(damaged)?;
        let kind = match (entry.header().entry_type(), &target) {
            (EntryType::Directory, _) => Kind::Dir,
            (EntryType::Regular, _) => Kind::File(entry.size()),
            (EntryType::Symlink, Some(target)) => Kind::Link(target),
            _ => return Err(PackError::Refused { path, why: Unsound::Kind }),
        };
        tree.admit(&path, kind)?;
        match into {
            Some(into) => write(&into.join(&path), kind, mode, &mut entry)?,
            None => {
                let read = io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
                whole(kind, read)?;
            }
        }
    }
    Ok(tree.size())
}

/// The path of an entry. A directory may end in a stroke.
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// What the archive ends in the middle of is not whole.
fn whole(kind: Kind<'_>, read: u64) -> Result<(), PackError> {
    match kind {
        Kind::File(size) if size != read => {
            Err(PackError::Damaged("it ends in the middle of a file".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Writes one entry to `path`, at which nothing is yet and whose directory was made here.
fn write(path: &Path, kind: Kind<'_>, mode: u32, content: &mut impl Read) -> Result<(), PackError> {
    let io = PackError::io;
    match kind {
        Kind::Dir => DirBuilder::new().mode(0o755).create(path).map_err(io(path)),
        Kind::Link(target) => symlink(target, path).map_err(io(path)),
        Kind::File(_) => {
            let mode = if mode & 0o100 != 0 { 0o755 } else { 0o644 };
            let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
            let mut file = file.map_err(io(path))?;
            let mut buffer = vec![0; 64 << 10];
            let mut read = 0;
            loop {
                // What is wrong with the archive, and what with the disk, is told apart.
                let n = content.read(&mut buffer).map_err(damaged)?;
                if n == 0 {
                    return whole(kind, read);
                }
                read += n as u64;
                io::Write::write_all(&mut file, &buffer[..n]).map_err(io(path))?;
            }
        }
    }
}
