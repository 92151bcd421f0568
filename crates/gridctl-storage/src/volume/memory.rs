//! A results volume in memory that fails as it is told to: what the simulator publishes to and
//! ships to.
//! Invariant: it holds what was stored, whatever it answered; a path that ever held a file is never
//! given other content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::dir::hex;
use super::{Entry, Published, Put, Volume, VolumeError, check_listed, check_path};

/// How a volume fails for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeFault {
    /// No space is left.
    Full,
    /// Nothing may be written or removed.
    ReadOnly,
    /// Half of what is written is answered with an error, and half of that is stored all the same.
    Unsure,
    /// Each call takes so many milliseconds.
    Slow(u64),
}

/// Files in memory, and what befalls their volume. Clones are the same volume.
#[derive(Debug, Clone, Default)]
pub struct MemoryVolume(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, Vec<u8>>,
    /// Whatever was stored once, removed or not, by its hash.
    stored: BTreeMap<String, String>,
    /// Paths that were given other content than before.
    rewritten: Vec<String>,
    fault: Option<VolumeFault>,
    /// Calls that the fault hit.
    hits: u64,
    random: u64,
    took_ms: u64,
}

impl MemoryVolume {
    /// An empty volume; what of it is left to chance depends on `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { random: seed, ..Inner::default() })))
    }

    /// The volume fails in this way from now on, or no more. Returns how it failed before.
    pub fn befall(&self, fault: Option<VolumeFault>) -> Option<VolumeFault> {
        std::mem::replace(&mut self.lock().fault, fault)
    }

    /// Calls that a fault hit since the last look.
    #[must_use]
    pub fn take_hits(&self) -> u64 {
        std::mem::take(&mut self.lock().hits)
    }

    /// Milliseconds that calls took since the last look.
    #[must_use]
    pub fn take_ms(&self) -> u64 {
        std::mem::take(&mut self.lock().took_ms)
    }

    /// Paths that were given other content than they had once.
    #[must_use]
    pub fn rewritten(&self) -> Vec<String> {
        self.lock().rewritten.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn called(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        if let Some(VolumeFault::Slow(ms)) = inner.fault {
            inner.took_ms += ms;
            inner.hits += 1;
        }
        inner
    }
}

impl Inner {
    /// What becomes of a write to `path`: whether it is done, and what is answered.
    fn write(&mut self, path: &str) -> (bool, Result<(), VolumeError>) {
        let path = path.to_owned();
        let error = match self.fault {
            None | Some(VolumeFault::Slow(_)) => return (true, Ok(())),
            Some(VolumeFault::Full) => VolumeError::NoSpace { path },
            Some(VolumeFault::ReadOnly) => VolumeError::NotAllowed { path, why: "it is read-only".into() },
            Some(VolumeFault::Unsure) => {
                let random = self.random();
                if random & 1 == 0 {
                    return (true, Ok(()));
                }
                self.hits += 1;
                let source = io::ErrorKind::TimedOut.into();
                return (random & 2 == 0, Err(VolumeError::Io { path, source }));
            }
        };
        self.hits += 1;
        (false, Err(error))
    }

    /// The next number of a sequence (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn store(&mut self, path: &str, bytes: Vec<u8>) {
        let hash = hex(&Sha256::digest(&bytes));
        let before = self.stored.insert(path.to_owned(), hash.clone());
        if before.is_some_and(|before| before != hash) {
            self.rewritten.push(path.to_owned());
        }
        self.files.insert(path.to_owned(), bytes);
    }

    /// What stands at `path` or above it and is no file of that name.
    fn obstacle(&self, path: &str) -> Option<&'static str> {
        let above = path.match_indices('/').any(|(end, _)| self.files.contains_key(&path[..end]));
        let below = self.below(path).next().is_some();
        if above { Some("a file") } else { below.then_some("a directory") }
    }

    /// Files beneath `path`: what follows its slash, and their size.
    fn below<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, u64)> {
        let above = if path.is_empty() { String::new() } else { format!("{path}/") };
        let files = self
            .files
            .range(above.clone()..)
            .map_while(move |(path, bytes)| path.strip_prefix(&above).map(|rest| (rest, bytes.len() as u64)));
        files.collect::<Vec<_>>().into_iter()
    }
}

impl Volume for MemoryVolume {
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<Put, VolumeError> {
        check_path(path)?;
        let mut inner = self.called();
        if let Some(what) = inner.obstacle(path) {
            return Err(VolumeError::Obstructed { path: path.to_owned(), what });
        }
        match inner.files.get(path).map(|there| there == bytes) {
            Some(true) => return Ok(Put::Same),
            Some(false) => return Err(VolumeError::Conflict { path: path.to_owned() }),
            None => {}
        }
        let (is_done, answer) = inner.write(path);
        if is_done {
            inner.store(path, bytes.to_vec());
        }
        answer.map(|()| Put::Written)
    }

    fn put_file(&self, path: &str, file: &File, limit: u64) -> Result<Published, VolumeError> {
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|error| VolumeError::from_io(path, error))?;
        let put = self.put_new(path, &bytes)?;
        Ok(Published { put, size: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)) })
    }

    fn get(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, VolumeError> {
        check_path(path)?;
        let inner = self.called();
        let not_found = || VolumeError::NotFound { path: path.to_owned() };
        let bytes = inner.files.get(path).ok_or_else(not_found)?;
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[at(range.start)..at(range.end).max(at(range.start))].to_vec())
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, VolumeError> {
        check_listed(path)?;
        let inner = self.called();
        let mut entries: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for (rest, size) in inner.below(path) {
            match rest.split_once('/') {
                Some((name, _)) => entries.insert(name, (0, true)),
                None => entries.insert(rest, (size, false)),
            };
        }
        let entry = |(name, (size, is_dir)): (&str, _)| Entry { name: name.to_owned(), size, is_dir };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn delete(&self, path: &str) -> Result<(), VolumeError> {
        check_path(path)?;
        let mut inner = self.called();
        if !inner.files.contains_key(path) {
            return Ok(());
        }
        let (is_done, answer) = inner.write(path);
        if is_done {
            inner.files.remove(path);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_answered_as_what_it_is_and_changes_what_it_says() {
        let volume = MemoryVolume::seeded(1);
        volume.put_new("a/there", b"1").unwrap();
        for (fault, is_retryable) in [(VolumeFault::Full, true), (VolumeFault::ReadOnly, false)] {
            volume.befall(Some(fault));
            let error = volume.put_new("a/new", b"1").unwrap_err();
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
            assert_eq!(volume.put_new("a/there", b"1").unwrap(), Put::Same, "{fault:?}");
            assert!(volume.delete("a/there").is_err(), "{fault:?}");
            assert_eq!(volume.take_hits(), 2, "{fault:?}");
        }
        volume.befall(Some(VolumeFault::Slow(300)));
        volume.get("a/there", 0..9).unwrap();
        volume.list("a").unwrap();
        assert_eq!((volume.take_ms(), volume.take_ms(), volume.take_hits()), (600, 0, 2));
    }

    #[test]
    fn an_unsure_write_is_found_or_written_when_it_is_tried_again() {
        let volume = MemoryVolume::seeded(1);
        volume.befall(Some(VolumeFault::Unsure));
        let mut ways = [0; 3];
        for n in 0..100 {
            let (path, text) = (format!("a/{n}"), format!("{n}"));
            let mut failed = false;
            let put = loop {
                match volume.put_new(&path, text.as_bytes()) {
                    Ok(put) => break put,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                failed = true;
            };
            ways[usize::from(failed) + usize::from(put == Put::Same)] += 1;
            assert_eq!(volume.get(&path, 0..9).unwrap(), text.as_bytes());
        }
        assert!(ways.iter().all(|times| *times > 10), "at once, tried again, stored before: {ways:?}");
    }

    #[test]
    fn content_that_changes_is_noticed_even_after_a_removal() {
        let volume = MemoryVolume::default();
        for text in ["1", "1", "2"] {
            volume.put_new("a/b", text.as_bytes()).unwrap();
            volume.delete("a/b").unwrap();
        }
        assert_eq!(volume.rewritten(), ["a/b"]);
    }
}
