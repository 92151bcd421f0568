//! `journal.head`: how far the journal is, in a small file beside it. A log that was deleted, cut
//! or damaged, and an older copy of the journal in its place, are noticed by it.
//! Invariant: the head is written after the commit that it names, so it is never ahead of the
//! journal; what it misses after a loss of power makes it weaker, not wrong.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::row::Chain;
use crate::clock;

/// The file's name in the data directory.
pub const HEAD_FILE: &str = "journal.head";
/// The file has two slots of this size, written in turn: a write that is torn leaves the other one.
const SLOT: usize = 512;
/// While commits go on the head is synced this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The first word of a slot.
const WORD: &str = "head";

/// How far a journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// The journal's own name.
    pub(crate) journal: String,
    /// The last event.
    pub(crate) event: Chain,
    /// The number of the last outcome.
    pub(crate) outcome: u64,
    /// The journal was closed as it should be, and nothing was written since.
    pub(crate) is_closed: bool,
}

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
    /// Writes so far: the newer one of the two slots has the higher number.
    writes: u64,
    synced: Instant,
}

impl HeadFile {
    /// Opens the file in `dir`, or makes it.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let file = options.open(path(dir))?;
        let writes = slots(&file)?.into_iter().flatten().map(|(writes, _)| writes).max().unwrap_or(0);
        Ok(Self { file, writes, synced: clock::now() })
    }

    /// Writes `head`. It survives the end of this process; a loss of power only if `now` or now and
    /// then.
    pub(crate) fn write(&mut self, head: &Head, now: bool) -> io::Result<()> {
        self.writes += 1;
        let slot = self.writes % 2;
        self.file.write_all_at(&encode(self.writes, head), slot * SLOT as u64)?;
        if now || self.synced.elapsed() >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = clock::now();
        }
        Ok(())
    }
}

/// The head in `dir`; `None` if there is none, or none that can be understood.
pub(crate) fn read(dir: &Path) -> Option<Head> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path(dir)).ok()?;
    let found = slots(&file).ok()?.into_iter().flatten().max_by_key(|(writes, _)| *writes);
    found.map(|(_, head)| head)
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(HEAD_FILE)
}

/// What the two slots hold, each with the number of its write.
fn slots(file: &File) -> io::Result<[Option<(u64, Head)>; 2]> {
    let mut bytes = [0; 2 * SLOT];
    let mut length = 0;
    loop {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (first, second) = bytes.split_at(SLOT);
    Ok([decode(first), decode(second)])
}

fn encode(writes: u64, head: &Head) -> [u8; SLOT] {
    let Head { journal, event: Chain { seq, crc }, outcome, is_closed } = head;
    let state = if *is_closed { "closed" } else { "open" };
    let body = format!("{WORD} {writes} {journal} {seq} {crc:08x} {outcome} {state}");
    let text = format!("{body} {:08x}", crc32fast::hash(body.as_bytes()));
    let mut bytes = [b' '; SLOT];
    bytes[SLOT - 1] = b'\n';
    let length = text.len().min(SLOT - 1);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}

fn decode(slot: &[u8]) -> Option<(u64, Head)> {
    let (body, crc) = std::str::from_utf8(slot).ok()?.trim_end().rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(body.as_bytes()) {
        return None;
    }
    let mut words = body.split(' ');
    if words.next()? != WORD {
        return None;
    }
    let writes = words.next()?.parse().ok()?;
    let journal = words.next()?.to_owned();
    let event = Chain { seq: words.next()?.parse().ok()?, crc: u32::from_str_radix(words.next()?, 16).ok()? };
    let outcome = words.next()?.parse().ok()?;
    let is_closed = words.next()? == "closed";
    Some((writes, Head { journal, event, outcome, is_closed }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn head(seq: u64) -> Head {
        let event = Chain { seq, crc: 7 };
        Head { journal: "0123456789ab".to_owned(), event, outcome: seq / 2, is_closed: seq.is_multiple_of(3) }
    }

    #[test]
    fn the_last_head_that_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let mut file = HeadFile::open(dir.path()).unwrap();
        for seq in 1..5 {
            file.write(&head(seq), seq == 1).unwrap();
            assert_eq!(read(dir.path()), Some(head(seq)));
        }
        drop(file);
        let mut file = HeadFile::open(dir.path()).unwrap();
        assert_eq!(read(dir.path()), Some(head(4)));
        file.write(&head(u64::MAX), false).unwrap();
        assert_eq!(read(dir.path()), Some(head(u64::MAX)));
    }

    #[test]
    fn a_slot_that_is_torn_or_flipped_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeadFile::open(dir.path()).unwrap();
        file.write(&head(1), true).unwrap();
        file.write(&head(2), true).unwrap();
        let whole = fs::read(path(dir.path())).unwrap();
        let used = whole[..SLOT].iter().rposition(|byte| !byte.is_ascii_whitespace()).unwrap() + 1;
        for place in 0..used {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(path(dir.path()), &bytes).unwrap();
            assert_eq!(read(dir.path()), Some(head(1)), "byte {place}");
            fs::write(path(dir.path()), &whole[..place]).unwrap();
            assert!(read(dir.path()).is_none(), "cut to {place}");
        }
    }
}
