//! `records/`: the journal's outcomes as JSON lines, in segments `<journal>-<first>-<last>.jsonl` that are merged as they grow in
//! number, so that a million of them are a few files.
//! Invariant: a segment holds every record of this sweep from its first to its last number, and the next one begins right after it,
//! so that a missing one is noticed; a merged one is published before its parts are removed, and a reader gives out each record once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridctl_core::record::Record;

use super::Results;
use super::shipped::gaps;
use crate::volume::{Volume, VolumeError};

/// So many segments at the end are merged, if the largest of them is at most a quarter of all.
const MERGE_AT: usize = 8;
/// A segment of this size is left as it is.
const LARGEST: u64 = 256 << 20;
/// Bytes that are read at once.
const CHUNK: u64 = 1 << 20;
/// A longer line is damage: records are bounded.
const LONGEST_LINE: usize = 64 << 20;
/// So often a reader looks for what continues before it takes it for lost.
const LOOKS: u32 = 20;

/// One line of a segment, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLine {
    /// The journal that it came from.
    pub journal: String,
    /// Its number there.
    pub seq: u64,
    /// The JSON object: the record, with `seq` and `checksum` after it.
    pub text: String,
}

impl RecordLine {
    /// The record.
    ///
    /// # Errors
    /// What does not fit.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        serde_json::from_str(&self.text)
    }

    /// Whether it is this record, given as the journal has it.
    #[must_use]
    pub fn holds(&self, record: &str) -> bool {
        line(self.seq, record).is_some_and(|line| line.trim_end() == self.text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) journal: String,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) size: u64,
}

impl Segment {
    fn parse(name: &str, size: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(".jsonl")?.split('-');
        let journal = parts.next()?.to_owned();
        let (first, last) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (parts.next().is_none() && first <= last && !journal.is_empty()).then_some(Self {
            journal,
            first,
            last,
            size,
        })
    }

    pub(super) fn path(&self, results: &Results) -> String {
        results.path(&format!("records/{}-{}-{}.jsonl", self.journal, self.first, self.last))
    }

    /// Whether a record of this number belongs in it.
    fn may_hold(&self, line: &RecordLine) -> bool {
        (self.first..=self.last).contains(&line.seq)
    }

    fn holds(&self, other: &Self) -> bool {
        self != other && self.first <= other.first && other.last <= self.last
    }
}

/// Writes a master's records; there is one for each sweep.
#[derive(Debug)]
pub struct Shipper {
    results: Results,
    journal: String,
    /// A directory for a file that is being merged.
    scratch: PathBuf,
    /// This journal's, ascending, none within another.
    segments: Vec<Segment>,
}

impl Shipper {
    /// Looks at what was shipped from the journal of this name, and removes what an interrupted
    /// merge left, if the merged segment is whole: a damaged one is no reason to lose its parts as
    /// well.
    ///
    /// # Errors
    /// As [`Volume::list`].
    pub fn open(results: &Results, journal: &str, scratch: &Path) -> Result<Self, VolumeError> {
        let all = segments(results)?.remove(journal).unwrap_or_default();
        let (left, segments): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|it| all.iter().any(|other| other.holds(it)));
        for part in left {
            let merged = segments.iter().find(|segment| segment.holds(&part));
            if merged.is_some_and(|merged| is_whole(results, merged)) {
                results.volume.delete(&part.path(results))?;
            }
        }
        Ok(Self {
            results: results.clone(),
            journal: journal.to_owned(),
            scratch: scratch.to_owned(),
            segments,
        })
    }

    /// The number of the last record that was shipped; 0 for none.
    #[must_use]
    pub fn shipped(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.last)
    }

    /// Publishes records, given as (number, JSON object) with ascending numbers; those that were shipped before are left out.
    ///
    /// # Errors
    /// As [`Volume::put_new`]; [`VolumeError::Claimed`] and [`VolumeError::NotFound`] if the directory is no longer this sweep's.
    pub fn ship(&mut self, records: &[(u64, String)]) -> Result<(), VolumeError> {
        let shipped = self.shipped();
        let new: Vec<_> = records.iter().filter(|(seq, _)| *seq > shipped).collect();
        let Some((last, _)) = new.last() else { return Ok(()) };
        self.results.check_claim()?;
        let records = new.into_iter().map(|(seq, line)| (*seq, line.as_str()));
        let segment = self.publish((shipped + 1, *last), records)?;
        self.segments.push(segment);
        while let Some(from) = mergeable(&self.segments) {
            // What cannot be merged stays in pieces: readers do not care.
            if self.merge(from).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// What lies between segments and was shipped once: (first number, last number).
    #[must_use]
    pub fn gaps(&self) -> Vec<(u64, u64)> {
        gaps(&self.segments)
    }

    /// Publishes again what is missing from number `first` to number `last`: all records between
    /// them.
    ///
    /// # Errors
    /// As [`Shipper::ship`].
    pub fn fill(&mut self, (first, last): (u64, u64), records: &[(u64, String)]) -> Result<(), VolumeError> {
        self.results.check_claim()?;
        let records = records.iter().map(|(seq, line)| (*seq, line.as_str()));
        let segment = self.publish((first, last), records)?;
        let place = self.segments.partition_point(|other| other.first < first);
        self.segments.insert(place, segment);
        Ok(())
    }

    fn publish<'a>(
        &self,
        (first, last): (u64, u64),
        records: impl Iterator<Item = (u64, &'a str)>,
    ) -> Result<Segment, VolumeError> {
        let mut segment = Segment { journal: self.journal.clone(), first, last, size: 0 };
        let path = segment.path(&self.results);
        let mut text = String::new();
        for (seq, line) in records {
            seal(seq, line, &mut text).ok_or_else(|| VolumeError::Damaged {
                path: path.clone(),
                what: "a record is no JSON object".into(),
            })?;
        }
        segment.size = text.len() as u64;
        self.results.volume.put_new(&path, text.as_bytes())?;
        Ok(segment)
    }

    /// Puts the segments from `from` on into one, which is published before they are removed.
    fn merge(&mut self, from: usize) -> Result<(), VolumeError> {
        let parts = &self.segments[from..];
        let (Some(head), Some(tail)) = (parts.first(), parts.last()) else { return Ok(()) };
        let mut merged = Segment { first: head.first, last: tail.last, size: 0, ..head.clone() };
        let path = merged.path(&self.results);
        let io = |error| VolumeError::from_io(&path, error);
        let mut file = unnamed(&self.scratch).map_err(io)?;
        let mut out = io::BufWriter::new(&mut file);
        for part in parts {
            let mut lines = Lines::new(&self.results, part);
            while let Some(line) = lines.next_line()? {
                out.write_all(line?.text.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(io)?;
            }
        }
        out.flush().map_err(io)?;
        drop(out);
        file.rewind().map_err(io)?;
        merged.size = self.results.volume.put_file(&path, &file, u64::MAX)?.size;
        let parts: Vec<_> = self.segments.drain(from..).collect();
        self.segments.push(merged);
        parts.iter().try_for_each(|part| self.results.volume.delete(&part.path(&self.results)))
    }
}

impl Results {
    /// The files that hold records at this moment, whoever shipped them.
    ///
    /// # Errors
    /// As [`Volume::list`].
    pub fn record_files(&self) -> Result<Vec<String>, VolumeError> {
        let all = segments(self)?.into_values().flatten();
        Ok(all.map(|segment| segment.path(self)).collect())
    }

    /// Removes files of records and standings, of which others say the same.
    ///
    /// # Errors
    /// As [`Volume::delete`].
    pub fn remove_files(&self, files: &[String]) -> Result<(), VolumeError> {
        self.check_claim()?;
        files.iter().try_for_each(|file| self.volume.delete(file))
    }

    /// Calls `each` with every record once, journal by journal in the order of their names, oldest first; with an error for
    /// each line that is damaged and each gap. Works while a master ships and merges.
    ///
    /// # Errors
    /// As [`Volume::list`] and [`Volume::get`].
    pub fn records(&self, each: &mut dyn FnMut(Result<RecordLine, VolumeError>)) -> Result<(), VolumeError> {
        let mut done: BTreeMap<String, u64> = BTreeMap::new();
        let mut looks = 0;
        loop {
            let listed = segments(self)?;
            let Some(segment) = listed.values().find_map(|segments| next_segment(segments, &done)) else {
                return Ok(());
            };
            let after = done.entry(segment.journal.clone()).or_default();
            let gap = segment.first > *after + 1;
            looks += 1;
            if gap && looks < LOOKS {
                // Parts were merged while the directory was listed: the merged one is there now.
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            if gap {
                let what = format!("records {} to {} are missing", *after + 1, segment.first - 1);
                each(Err(VolumeError::Damaged { path: self.path("records"), what }));
            }
            match read_segment(self, segment, (after, each)) {
                Ok(()) => (*after, looks) = (segment.last, 0),
                // It was merged meanwhile: the next listing has the merged one.
                Err(VolumeError::NotFound { .. }) if looks < LOOKS => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The segment that continues after what is done; of several the longest.
fn next_segment<'a>(segments: &'a [Segment], done: &BTreeMap<String, u64>) -> Option<&'a Segment> {
    let after = |segment: &Segment| done.get(&segment.journal).copied().unwrap_or(0);
    let left = segments.iter().filter(|segment| segment.last > after(segment));
    left.min_by_key(|segment| (segment.first.max(after(segment) + 1), u64::MAX - segment.last))
}

fn read_segment(
    results: &Results,
    segment: &Segment,
    (after, each): (&mut u64, &mut dyn FnMut(Result<RecordLine, VolumeError>)),
) -> Result<(), VolumeError> {
    let mut lines = Lines::new(results, segment);
    let mut last = 0;
    while let Some(line) = lines.next_line()? {
        match line {
            Ok(line) if !segment.may_hold(&line) => {
                last = segment.last;
                let what = format!(
                    "its name says records {} to {}, and it holds record {}",
                    segment.first, segment.last, line.seq
                );
                each(Err(VolumeError::Damaged { path: segment.path(results), what }));
            }
            Ok(line) => {
                last = line.seq;
                if line.seq > *after {
                    *after = line.seq;
                    each(Ok(line));
                }
            }
            Err(error) => {
                last = segment.last;
                each(Err(error));
            }
        }
    }
    if last < segment.last {
        let what = format!("it is cut: it ends with record {last} and should end with {}", segment.last);
        each(Err(VolumeError::Damaged { path: segment.path(results), what }));
    }
    Ok(())
}

/// Whether every line of a segment can be read, up to its last record.
fn is_whole(results: &Results, segment: &Segment) -> bool {
    let (mut lines, mut last) = (Lines::new(results, segment), 0);
    loop {
        match lines.next_line() {
            Ok(Some(Ok(line))) if segment.may_hold(&line) => last = line.seq,
            Ok(None) => return last == segment.last,
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

/// The segments of every journal, ascending by their first number.
pub(super) fn segments(results: &Results) -> Result<BTreeMap<String, Vec<Segment>>, VolumeError> {
    let mut found: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
    for entry in results.volume.list(&results.path("records"))? {
        if let Some(segment) = Segment::parse(&entry.name, entry.size).filter(|_| !entry.is_dir) {
            found.entry(segment.journal.clone()).or_default().push(segment);
        }
    }
    for segments in found.values_mut() {
        segments.sort_by_key(|segment| (segment.first, segment.last));
    }
    Ok(found)
}

/// Where the shortest end of the list begins that is worth merging.
fn mergeable(segments: &[Segment]) -> Option<usize> {
    let (mut sum, mut largest) = (0, 0);
    for (count, (from, segment)) in (1..).zip(segments.iter().enumerate().rev()) {
        sum += segment.size;
        largest = largest.max(segment.size);
        if largest >= LARGEST {
            return None;
        }
        if count >= MERGE_AT && largest <= sum / 4 {
            return Some(from);
        }
    }
    None
}

/// The line of a record with its number and checksum; `None` if it is no JSON object in one line.
#[must_use]
pub fn line(seq: u64, record: &str) -> Option<String> {
    let mut line = String::new();
    seal(seq, record, &mut line).map(|()| line)
}

/// Appends the line with its number and checksum; `None` if it is no JSON object in one line.
fn seal(seq: u64, line: &str, out: &mut String) -> Option<()> {
    use std::fmt::Write as _;
    let body = line.trim().strip_suffix('}').filter(|body| body.starts_with('{') && body.len() > 1)?;
    if body.contains('\n') {
        return None;
    }
    let start = out.len();
    write!(out, "{body},\"seq\":{seq}").ok()?;
    let crc = crc32fast::hash(&out.as_bytes()[start..]);
    writeln!(out, "{CHECKSUM}{crc:08x}\"}}").ok()
}

const CHECKSUM: &str = ",\"checksum\":\"crc32:";

/// The number in a line, if its checksum fits.
pub(super) fn unseal(line: &str) -> Option<u64> {
    let (body, checksum) = line.rsplit_once(CHECKSUM)?;
    let crc = u32::from_str_radix(checksum.strip_suffix("\"}")?, 16).ok()?;
    let (_, seq) = body.rsplit_once(",\"seq\":")?;
    (crc32fast::hash(body.as_bytes()) == crc).then(|| seq.parse().ok())?
}

/// The lines of a segment, of which a part is in memory.
struct Lines<'a> {
    volume: &'a dyn Volume,
    journal: &'a str,
    path: String,
    buffer: Vec<u8>,
    /// What of `buffer` was given out.
    used: usize,
    offset: u64,
    number: u64,
    ended: bool,
}

impl<'a> Lines<'a> {
    fn new(results: &'a Results, segment: &'a Segment) -> Self {
        Self {
            volume: &*results.volume,
            journal: &segment.journal,
            path: segment.path(results),
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            number: 0,
            ended: false,
        }
    }

    /// The next line; the inner error is a line that is damaged, after which the walk goes on.
    fn next_line(&mut self) -> Result<Option<Result<RecordLine, VolumeError>>, VolumeError> {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..length].to_vec();
                self.used += length + 1;
                return Ok(Some(self.check(line)));
            }
            if self.ended {
                let line = rest.to_vec();
                self.used = self.buffer.len();
                return Ok((!line.is_empty()).then(|| self.check(line)));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), VolumeError> {
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.buffer.len() > LONGEST_LINE {
            return Err(VolumeError::Damaged {
                path: self.path.clone(),
                what: "a line in it has no end".into(),
            });
        }
        let chunk = self.volume.get(&self.path, self.offset..self.offset + CHUNK)?;
        self.offset += chunk.len() as u64;
        self.ended = chunk.is_empty();
        self.buffer.extend(chunk);
        Ok(())
    }

    fn check(&mut self, line: Vec<u8>) -> Result<RecordLine, VolumeError> {
        self.number += 1;
        let text = String::from_utf8(line).ok();
        let sealed = text.and_then(|text| {
            Some(RecordLine { journal: self.journal.to_owned(), seq: unseal(&text)?, text })
        });
        sealed.ok_or_else(|| VolumeError::Damaged {
            path: self.path.clone(),
            what: format!("the checksum of line {} does not fit", self.number),
        })
    }
}

/// A file without a name in `dir`: gone when it is closed, whatever happens.
fn unnamed(dir: &Path) -> io::Result<File> {
    let path = dir.join(crate::volume::dir::temporary_name());
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
