//! Listing and fetching a dataset: many ranges at once, written in order by one thread.
//! Invariant: each range is of the very content that was listed, and each file is compared with
//! what S3 says of it, as far as S3 says it.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gridctl_core::s3_url::check_key;
use md5::{Digest as _, Md5};

use super::{DataFile, DatasetError, DatasetListing, StageProgress};
use crate::volume::VolumeError;
use crate::volume::dir::hex;
use crate::volume::s3::{Begun, ObjectRange, S3Volume};

/// Bytes that are asked for at once.
const RANGE: u64 = 8 << 20;
/// Ranges that are under way at once.
const AT_ONCE: usize = 16;
/// The longest name that file systems take.
const LONGEST_NAME: usize = 255;
/// A file that comes damaged is fetched so often.
const TRIES: u32 = 2;

/// Lists what lies at the volume's address.
pub(super) fn list(volume: &S3Volume) -> Result<DatasetListing, DatasetError> {
    let url = volume.url().clone();
    let mut files = Vec::new();
    for (path, size, etag) in volume.objects()? {
        // Consoles make such objects to show a directory.
        if path.ends_with('/') && size == 0 {
            continue;
        }
        files.push(DataFile { path, size, etag });
    }
    files.sort_unstable();
    let unusable = |key: &str, why| {
        let key = key.chars().take(100).collect();
        Err(DatasetError::Unusable { url: url.clone(), key, why })
    };
    for (n, file) in files.iter().enumerate() {
        if let Err(why) = check_key(&file.path) {
            return unusable(&file.path, why);
        }
        if file.path.split('/').any(|name| name.len() > LONGEST_NAME) {
            return unusable(&file.path, "a name in it is longer than 255 bytes");
        }
        let beneath = format!("{}/", file.path);
        if files[n + 1..]
            .iter()
            .take_while(|next| next.path.starts_with(&file.path))
            .any(|it| it.path.starts_with(&beneath))
        {
            return unusable(&file.path, "other objects lie beneath it");
        }
    }
    if files.is_empty() { Err(DatasetError::Empty { url }) } else { Ok(DatasetListing { url, files }) }
}

/// Fetches all files into the new directory `to`; a single object becomes the file `to`.
pub(super) fn fetch(
    volume: &S3Volume,
    listing: &DatasetListing,
    to: &Path,
    progress: &mut dyn FnMut(StageProgress),
) -> Result<(), DatasetError> {
    let mut fetching = Fetching { volume, listing, to, bytes: 0, progress };
    let all: Vec<&DataFile> = listing.files.iter().collect();
    let mut damaged = fetching.files(&all)?;
    for _ in 1..TRIES {
        damaged = if damaged.is_empty() { damaged } else { fetching.files(&damaged)? };
    }
    if let Some(file) = damaged.first() {
        return Err(DatasetError::Damaged { url: listing.url.clone(), path: file.path.clone() });
    }
    read_only(to).map_err(|error| at(to, error))
}

fn at(path: &Path, source: io::Error) -> DatasetError {
    DatasetError::Io { path: path.to_owned(), source }
}

/// A range that is under way, and whether it is the last one of its file.
struct UnderWay<'a> {
    file: &'a DataFile,
    is_first: bool,
    is_last: bool,
    size: u64,
    /// `None` for an empty file, of which nothing is asked, and where nothing could be begun.
    range: Option<Begun<Result<ObjectRange, VolumeError>>>,
}

struct Fetching<'a> {
    volume: &'a S3Volume,
    listing: &'a DatasetListing,
    to: &'a Path,
    bytes: u64,
    progress: &'a mut dyn FnMut(StageProgress),
}

impl<'a> Fetching<'a> {
    /// Fetches these files; says which of them came damaged.
    fn files(&mut self, files: &[&'a DataFile]) -> Result<Vec<&'a DataFile>, DatasetError> {
        let mut ranges = files.iter().flat_map(ranges_of);
        let mut under_way: VecDeque<UnderWay<'a>> = VecDeque::new();
        let mut damaged = Vec::new();
        let mut open: Option<(PathBuf, File, Md5)> = None;
        loop {
            while under_way.len() < AT_ONCE
                && let Some((file, from, size)) = ranges.next()
            {
                under_way.push_back(self.begin(file, from, size));
            }
            let Some(next) = under_way.pop_front() else { return Ok(damaged) };
            let (file, is_last) = (next.file, next.is_last);
            if next.is_first {
                let path = self.path_of(file);
                let made = create(&path).map_err(|error| at(&path, error))?;
                open = Some((path, made, Md5::new()));
            }
            let Some((path, out, hasher)) = &mut open else { continue };
            let mut sealed = false;
            if next.size > 0 {
                let range = next.range.and_then(Begun::wait).unwrap_or_else(|| Err(self.volume.broken_off()));
                let range = range.map_err(|error| self.explained(error))?;
                if range.bytes.len() as u64 != next.size {
                    return Err(DatasetError::Changed { url: self.listing.url.clone() });
                }
                hasher.update(&range.bytes);
                out.write_all(&range.bytes).map_err(|error| at(path, error))?;
                sealed = range.is_sealed;
                self.bytes += next.size;
                (self.progress)(StageProgress { bytes: self.bytes, of: self.listing.bytes() });
            }
            if is_last {
                let Some((_, _, hasher)) = open.take() else { continue };
                if md5_of(&file.etag).is_some_and(|md5| md5 != hex(&hasher.finalize())) && !sealed {
                    self.bytes -= file.size;
                    damaged.push(file);
                }
            }
        }
    }

    fn begin(&self, file: &'a DataFile, from: u64, size: u64) -> UnderWay<'a> {
        let ask = |size: u64| self.volume.begin_range(&file.path, from..from + size, &file.etag);
        UnderWay {
            file,
            is_first: from == 0,
            is_last: from + size == file.size,
            size,
            range: if size == 0 { None } else { ask(size) },
        }
    }

    fn path_of(&self, file: &DataFile) -> PathBuf {
        if file.path.is_empty() { self.to.to_owned() } else { self.to.join(&file.path) }
    }

    /// What is gone or other than it was has changed since it was listed.
    fn explained(&self, error: VolumeError) -> DatasetError {
        match error {
            VolumeError::NotFound { .. } | VolumeError::Conflict { .. } => {
                DatasetError::Changed { url: self.listing.url.clone() }
            }
            error => error.into(),
        }
    }
}

/// The ranges of a file: where each begins, and how long it is; one of nothing for an empty file.
fn ranges_of<'a>(file: &&'a DataFile) -> impl Iterator<Item = (&'a DataFile, u64, u64)> + use<'a> {
    let file: &'a DataFile = file;
    (0..file.size.div_ceil(RANGE).max(1)).map(move |n| (file, n * RANGE, RANGE.min(file.size - n * RANGE)))
}

/// Makes the file anew, and the directories above it.
fn create(path: &Path) -> io::Result<File> {
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The MD5 that an ETag is, if it is one: that of an object in parts has a hyphen.
fn md5_of(etag: &str) -> Option<&str> {
    let is_md5 = etag.len() == 32 && etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_md5.then_some(etag)
}

/// Takes away the right to write.
fn read_only(path: &Path) -> io::Result<()> {
    let is_dir = fs::symlink_metadata(path)?.is_dir();
    if is_dir {
        for entry in fs::read_dir(path)? {
            read_only(&entry?.path())?;
        }
    }
    fs::set_permissions(path, Permissions::from_mode(if is_dir { 0o555 } else { 0o444 }))
}
