//! `checkpoints/<fingerprint>/<epoch>-<lease>-<n>/`: what a trainer can go on from, after its machine is gone.
//! Invariant: the two newest whole ones are kept; a damaged one is passed over and named, never restored.

use std::fs;
use std::io;
use std::path::Path;

use gridctl_core::id::{Epoch, Fingerprint, LeaseSeq, Token};

use super::Results;
use super::attempt::Limits;
use super::manifest::{MANIFEST, Manifest};
use crate::volume::VolumeError;

/// So many whole checkpoints are kept.
const KEPT: usize = 2;
/// A file for each time that everything was to begin anew, named by the first lease from then on.
const ANEW: &str = "anew";
/// The worker's own sign to the trainer, which is no part of a checkpoint.
const PREEMPT: &str = ".preempt";

/// A published checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Who published it, and its number within that attempt: the highest is the newest.
    pub place: (Epoch, LeaseSeq, u64),
    /// What is in it.
    pub manifest: Manifest,
}

/// What was found to go on from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// The newest checkpoint that is whole; `None`: from scratch.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that were damaged, and how: to be told to people.
    pub damaged: Vec<String>,
}

impl Results {
    /// Publishes the files beneath `dir` as the checkpoint number `n` of this attempt, and removes all but the two newest.
    ///
    /// # Errors
    /// As [`Results::publish_attempt`].
    pub fn publish_checkpoint(
        &self,
        fingerprint: Fingerprint,
        (token, n): (Token, u64),
        dir: &Path,
        limits: &Limits,
    ) -> Result<Manifest, VolumeError> {
        let place = (token.epoch, token.lease, n);
        let to = self.checkpoint_dir(fingerprint, place);
        let manifest =
            self.publish(&to, (&fingerprint.to_string(), token), (dir, None, &[PREEMPT]), limits)?;
        self.remove_old(fingerprint, place)?;
        Ok(manifest)
    }

    /// Whether anything was ever published that a trial may go on from.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::list`].
    pub fn has_checkpoints(&self, fingerprint: Fingerprint) -> Result<bool, VolumeError> {
        Ok(!self.checkpoints(fingerprint)?.is_empty())
    }

    /// Copies the newest whole checkpoint into the directory `into`, which must be empty or not there.
    ///
    /// # Errors
    /// [`VolumeError::Obstructed`] if `into` holds something; as [`crate::volume::Volume::get`].
    pub fn restore_checkpoint(&self, fingerprint: Fingerprint, into: &Path) -> Result<Restored, VolumeError> {
        let shown = into.display().to_string();
        let io = |error| VolumeError::from_io(&shown, error);
        fs::create_dir_all(into).map_err(io)?;
        if fs::read_dir(into).map_err(io)?.next().is_some() {
            return Err(VolumeError::Obstructed { path: shown.clone(), what: "not empty" });
        }
        self.newest(fingerprint, &mut |dir, manifest| {
            self.copy_out(dir, manifest, into).inspect_err(|_| drop(empty(into)))
        })
    }

    /// From now on attempts begin without the checkpoints that leases before `since` published: every trial begins anew.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::put_new`].
    pub fn begin_anew(&self, since: LeaseSeq) -> Result<(), VolumeError> {
        self.volume.put_new(&self.path(&format!("{ANEW}/{since}")), b"").map(drop)
    }

    /// The first lease whose checkpoints count.
    fn since(&self) -> Result<LeaseSeq, VolumeError> {
        let entries = self.volume.list(&self.path(ANEW))?;
        let leases = entries.iter().filter_map(|entry| entry.name.parse().ok());
        Ok(LeaseSeq(leases.max().unwrap_or(0)))
    }

    /// Tries checkpoints from the newest on until `take` accepts one.
    fn newest(
        &self,
        fingerprint: Fingerprint,
        take: &mut dyn FnMut(&str, &Manifest) -> Result<(), VolumeError>,
    ) -> Result<Restored, VolumeError> {
        let mut damaged = Vec::new();
        let since = self.since()?;
        for place in self.checkpoints(fingerprint)?.into_iter().filter(|place| place.1 >= since) {
            let dir = self.checkpoint_dir(fingerprint, place);
            let taken = self.manifest(&dir, &fingerprint.to_string()).and_then(|manifest| {
                let Some(manifest) = manifest else { return Ok(None) };
                take(&dir, &manifest).map(|()| Some(manifest))
            });
            match taken {
                Ok(None) => {}
                Ok(Some(manifest)) => {
                    return Ok(Restored { checkpoint: Some(Checkpoint { place, manifest }), damaged });
                }
                Err(
                    error @ (VolumeError::Damaged { .. }
                    | VolumeError::NotFound { .. }
                    | VolumeError::Obstructed { .. }),
                ) => damaged.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(Restored { checkpoint: None, damaged })
    }

    /// The places of all checkpoints, whole or not, newest first.
    fn checkpoints(&self, fingerprint: Fingerprint) -> Result<Vec<(Epoch, LeaseSeq, u64)>, VolumeError> {
        let parse = |name: &str| {
            let mut parts = name.split('-').map(str::parse::<u64>);
            let (Some(Ok(epoch)), Some(Ok(lease)), Some(Ok(n)), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return None;
            };
            Some((Epoch(u32::try_from(epoch).ok()?), LeaseSeq(lease), n))
        };
        let entries = self.volume.list(&self.path(&format!("checkpoints/{fingerprint}")))?;
        let mut places: Vec<_> = entries.iter().filter_map(|entry| parse(&entry.name)).collect();
        places.sort_unstable_by(|a, b| b.cmp(a));
        Ok(places)
    }

    /// Removes what is older than the newest whole ones up to `upto`, the manifest of each first.
    fn remove_old(&self, fingerprint: Fingerprint, upto: (Epoch, LeaseSeq, u64)) -> Result<(), VolumeError> {
        let mut whole = 0;
        for place in self.checkpoints(fingerprint)?.into_iter().filter(|place| *place <= upto) {
            let dir = self.checkpoint_dir(fingerprint, place);
            if whole >= KEPT {
                self.volume.delete(&format!("{dir}/{MANIFEST}"))?;
                self.delete_below(&dir)?;
            } else if matches!(self.manifest(&dir, &fingerprint.to_string()), Ok(Some(_))) {
                whole += 1;
            }
        }
        Ok(())
    }

    fn delete_below(&self, dir: &str) -> Result<(), VolumeError> {
        for entry in self.volume.list(dir)? {
            let path = format!("{dir}/{}", entry.name);
            if entry.is_dir { self.delete_below(&path)? } else { self.volume.delete(&path)? }
        }
        Ok(())
    }

    fn checkpoint_dir(&self, fingerprint: Fingerprint, (epoch, lease, n): (Epoch, LeaseSeq, u64)) -> String {
        self.path(&format!("checkpoints/{fingerprint}/{epoch}-{lease}-{n}"))
    }
}

/// Removes everything in `dir`.
fn empty(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir)?;
    fs::create_dir(dir)
}
