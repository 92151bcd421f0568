//! How far a journal was shipped, as the results have it.
//! Invariant: nothing is written; a damaged end is passed over and not taken for another record.

use super::Results;
use super::records::{RecordLine, Segment, segments, unseal};
use crate::volume::VolumeError;

/// Bytes that are read first to find the last line.
const TAIL: u64 = 64 << 10;

/// How far a journal was shipped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shipped {
    /// The number of the last record; 0 for none.
    pub last: u64,
    /// The last record, if it is whole.
    pub line: Option<RecordLine>,
    /// Numbers whose segments are missing: (first, last).
    pub gaps: Vec<(u64, u64)>,
}

impl Results {
    /// How far the journal of this name was shipped.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::list`] and [`crate::volume::Volume::get`].
    pub fn shipped(&self, journal: &str) -> Result<Shipped, VolumeError> {
        let segments = segments(self)?.remove(journal).unwrap_or_default();
        let Some(end) = segments.iter().max_by_key(|segment| segment.last) else {
            return Ok(Shipped::default());
        };
        let line = self.last_line(end)?;
        Ok(Shipped { last: end.last, line, gaps: gaps(&segments) })
    }

    fn last_line(&self, segment: &Segment) -> Result<Option<RecordLine>, VolumeError> {
        let (path, mut length) = (segment.path(self), TAIL);
        loop {
            let from = segment.size.saturating_sub(length);
            let bytes = self.volume.get(&path, from..segment.size)?;
            let end = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            match end.iter().rposition(|byte| *byte == b'\n') {
                None if from > 0 => length *= 4,
                start => {
                    let line = &end[start.map_or(0, |start| start + 1)..];
                    let text = std::str::from_utf8(line).ok().map(str::to_owned);
                    return Ok(text.and_then(|text| {
                        Some(RecordLine { journal: segment.journal.clone(), seq: unseal(&text)?, text })
                    }));
                }
            }
        }
    }
}

/// What lies between segments that are sorted by their first number.
pub(super) fn gaps(segments: &[Segment]) -> Vec<(u64, u64)> {
    let (mut gaps, mut next) = (Vec::new(), 1);
    for segment in segments {
        if segment.first > next {
            gaps.push((next, segment.first - 1));
        }
        next = next.max(segment.last + 1);
    }
    gaps
}
