//! `standings/v<version>-<journal>.json`: which records of earlier versions count for a version
//! beside its own, by their numbers in the journal that they came from.
//! Invariant: a version that is kept whole has had what stands for it kept before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LARGEST_VERSION, Results};
use crate::volume::VolumeError;

/// Numbers of records: ranges, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordRanges {
    /// First and last number of each range.
    records: Vec<(u64, u64)>,
}

impl RecordRanges {
    /// Whether the record of this number is among them.
    #[must_use]
    pub fn has(&self, seq: u64) -> bool {
        let after = self.records.partition_point(|(_, last)| *last < seq);
        self.records.get(after).is_some_and(|(first, _)| *first <= seq)
    }

    /// One more number, above all before.
    pub fn push(&mut self, seq: u64) {
        match self.records.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.records.push((seq, seq)),
        }
    }

    /// Every number.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.records.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn is_ascending(&self) -> bool {
        let each = self.records.iter().all(|(first, last)| first <= last);
        each && self.records.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }
}

/// By journal, the records that stand for a version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionRecords(BTreeMap<String, RecordRanges>);

impl VersionRecords {
    /// Whether the record of this number in this journal is among them.
    #[must_use]
    pub fn has(&self, journal: &str, seq: u64) -> bool {
        self.0.get(journal).is_some_and(|records| records.has(seq))
    }

    /// Every one: the journal and the number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().flat_map(|(journal, records)| records.iter().map(move |seq| (journal.as_str(), seq)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Results {
    /// Keeps which records of a journal stand for a version; before the version itself.
    ///
    /// # Errors
    /// [`VolumeError::Conflict`] if others did.
    pub fn put_standing(
        &self,
        version: u32,
        journal: &str,
        records: &RecordRanges,
    ) -> Result<(), VolumeError> {
        let path = self.standing_path(version, journal);
        let text = serde_json::to_string(records).expect("numbers");
        self.volume.put_new(&path, text.as_bytes()).map(drop)
    }

    /// Which records stand for a version beside its own.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`] if one of the files cannot be understood, or none is there.
    pub fn standing(&self, version: u32) -> Result<VersionRecords, VolumeError> {
        let mut all = BTreeMap::new();
        for name in self.standing_names()? {
            let of = |name: &str| {
                let (of, journal) = name.strip_prefix('v')?.strip_suffix(".json")?.split_once('-')?;
                (of.parse() == Ok(version)).then(|| journal.to_owned())
            };
            let Some(journal) = of(&name) else { continue };
            let records = self.standing_of(version, &journal)?;
            all.insert(journal, records);
        }
        if all.is_empty() {
            let what = format!("it does not say which records stand for version {version}");
            return Err(VolumeError::Damaged { path: self.path("standings"), what });
        }
        Ok(VersionRecords(all))
    }

    /// Which records of one journal stand for a version.
    pub(super) fn standing_of(&self, version: u32, journal: &str) -> Result<RecordRanges, VolumeError> {
        let path = self.standing_path(version, journal);
        let bytes = self.volume.get(&path, 0..LARGEST_VERSION)?;
        let damaged = |what: String| VolumeError::Damaged { path: path.clone(), what };
        let records: RecordRanges =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let fault = (!records.is_ascending()).then(|| damaged("its numbers do not ascend".to_owned()));
        fault.map_or(Ok(records), Err)
    }

    pub(super) fn standing_path(&self, version: u32, journal: &str) -> String {
        self.path(&format!("standings/v{version}-{journal}.json"))
    }

    /// The files that say which records stand for versions, whoever wrote them.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::list`].
    pub fn standing_files(&self) -> Result<Vec<String>, VolumeError> {
        Ok(self.standing_names()?.iter().map(|name| self.path(&format!("standings/{name}"))).collect())
    }

    fn standing_names(&self) -> Result<Vec<String>, VolumeError> {
        let entries = self.volume.list(&self.path("standings"))?;
        Ok(entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_one_range() {
        let mut ranges = RecordRanges::default();
        [3, 4, 5, 9, 11, 12].into_iter().for_each(|seq| ranges.push(seq));
        assert_eq!(ranges.records, [(3, 5), (9, 9), (11, 12)]);
        let has: Vec<u64> = (0..20).filter(|seq| ranges.has(*seq)).collect();
        assert_eq!((has, ranges.iter().collect()), (vec![3, 4, 5, 9, 11, 12], vec![3, 4, 5, 9, 11, 12]));
        assert!(!RecordRanges { records: vec![(3, 5), (5, 6)] }.is_ascending());
        assert!(!RecordRanges { records: vec![(3, 2)] }.is_ascending());
    }
}
