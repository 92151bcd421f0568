//! Results that wait for room in the results volume, each in a marked and locked directory of its
//! own below the work directory: should this worker end, the next one there that is granted the
//! trial publishes it instead of training again.
//! Invariant: it is whole if it has its [`NOTE`], which comes last. It is removed only when its
//! files are published, when its trial needs them no more, or when nobody has asked for it for
//! [`LONGEST`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gridctl_core::id::Fingerprint;
use gridctl_core::metrics::ReadBy;
use gridctl_core::record::{Class, Report};
use gridctl_core::worker::AttemptStart;
use gridctl_storage::owned::{Found, OwnedDir, found_in, remove_abandoned};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_blocking;

use super::publish::{self, PublishedFiles, Unpublished};
use super::report::AttemptFault;
use super::waiting::{NextStep, PublishWait, tell_unpublished};
use super::{AttemptOrder, SlotNews};

/// Below the work directory.
const DIR: &str = "kept";
/// In a kept directory: what the attempt wrote, its whole log, and what is to be known of it.
const OUTPUT: &str = "output";
const LOG: &str = "log.txt";
const NOTE: &str = "kept.json";
/// What nobody has asked for in so long is not wanted any more: its trial ended elsewhere, or never
/// will.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The directory of all kept results of one work directory.
#[derive(Debug, Clone)]
pub(crate) struct KeptPlace(PathBuf);

/// What is to be known of a kept result.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The sweep's.
    uuid: String,
    /// Of the trial and its code.
    fingerprint: Fingerprint,
    /// What it measured, and how that was read.
    measured: Measured,
    /// As of its end, with no file published.
    report: Report,
}

/// What an attempt measures: for a version that asks for something else its report says nothing.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Measured {
    objective: Option<String>,
    read_by: ReadBy,
}

impl Measured {
    fn by(start: &AttemptStart) -> Self {
        let spec = &start.sweep.spec;
        let objective = spec.objective.as_ref().map(|objective| objective.metric.name.clone());
        Self { objective, read_by: ReadBy::of(spec) }
    }
}

/// A result that is kept.
#[derive(Debug)]
pub(super) struct KeptResult {
    dir: OwnedDir,
    note: Note,
}

impl KeptPlace {
    /// The place below the work directory `work`, which need not be there.
    pub(crate) fn new(work: &Path) -> Self {
        Self(work.join(DIR))
    }

    /// Removes what is not whole, and what is not wanted any more. What another worker uses stays.
    pub(crate) fn clear(&self) {
        let is_wanted = |note: io::Result<fs::Metadata>| {
            let age = note.and_then(|note| note.modified()).map(|time| time.elapsed().unwrap_or_default());
            age.is_ok_and(|age| age < LONGEST)
        };
        remove_abandoned(&self.0, |name| !is_wanted(fs::symlink_metadata(self.0.join(name).join(NOTE))));
        // It stays unless it is empty.
        let _ = fs::remove_dir(&self.0);
    }

    /// Moves the directory `output` here, and adds a copy of the log. On an error `output` is where
    /// it was.
    pub(super) async fn keep(
        &self,
        (start, report): (&AttemptStart, Report),
        output: PathBuf,
        log: Option<Arc<File>>,
    ) -> io::Result<KeptResult> {
        let (place, path) = (self.0.clone(), self.of(start));
        let (uuid, fingerprint) = (start.sweep.uuid.clone(), start.grant.fingerprint);
        let note = Note { uuid, fingerprint, measured: Measured::by(start), report };
        let kept = spawn_blocking(move || {
            DirBuilder::new().recursive(true).mode(0o700).create(place)?;
            let dir = OwnedDir::make(&path, "")?;
            let moved = fs::rename(&output, dir.path().join(OUTPUT));
            match moved.and_then(|()| complete(dir.path(), &note, log.as_deref())) {
                Ok(()) => Ok(KeptResult { dir, note }),
                Err(error) => {
                    fs::rename(dir.path().join(OUTPUT), &output)?;
                    dir.remove()?;
                    Err(error)
                }
            }
        });
        kept.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The result of an earlier attempt at the trial of `start`, if there is one that nobody uses.
    /// What is not of this trial and this code, measured something else, or is not whole, is
    /// removed.
    pub(super) async fn find(&self, start: &AttemptStart) -> Option<KeptResult> {
        let path = self.of(start);
        // One system call where nothing is kept, as it is nearly always.
        fs::symlink_metadata(&path).ok()?;
        let name = path.file_name()?.to_owned();
        let Some(Found::Abandoned(dir)) = found_in(&self.0, |other| name == other).pop() else { return None };
        let note = fs::read(dir.path().join(NOTE)).ok();
        let note: Option<Note> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (uuid, grant) = (&start.sweep.uuid, &start.grant);
        let is_of_it = |note: &Note| {
            (&note.uuid, note.fingerprint, note.report.trial) == (uuid, grant.fingerprint, grant.trial)
                && note.measured == Measured::by(start)
        };
        match note.filter(is_of_it) {
            Some(note) => Some(KeptResult { dir, note }),
            None => {
                remove(dir).await;
                None
            }
        }
    }

    fn of(&self, start: &AttemptStart) -> PathBuf {
        let uuid: String = start.sweep.uuid.chars().filter(char::is_ascii_alphanumeric).collect();
        self.0.join(format!("{uuid}-{}", start.grant.fingerprint))
    }
}

/// Adds all but the output, the note last.
fn complete(dir: &Path, note: &Note, log: Option<&File>) -> io::Result<()> {
    let private =
        |name: &str| OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name));
    if let Some(mut log) = log {
        log.rewind()?;
        io::copy(&mut log, &mut private(LOG)?)?;
    }
    let unfinished = format!("{NOTE}.new");
    let mut file = private(&unfinished)?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    fs::rename(dir.join(unfinished), dir.join(NOTE))
}

impl KeptResult {
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Publishes its files as those of the attempt `start`.
    pub(super) async fn publish(&self, start: &AttemptStart) -> Result<PublishedFiles, Unpublished> {
        let log = File::open(self.path().join(LOG)).ok().map(Arc::new);
        publish::files(start, self.path().join(OUTPUT), log).await
    }

    /// Publishes it as soon as the results volume takes it, instead of a new attempt for `start`;
    /// what is to be reported of that.
    pub(super) async fn end_attempt(
        self,
        start: Box<AttemptStart>,
        mut orders: UnboundedReceiver<AttemptOrder>,
        said: UnboundedSender<SlotNews>,
    ) -> Box<Report> {
        let mut report = Box::new(Report { token: start.grant.token, ..self.note.report.clone() });
        let mut waiting = PublishWait::new(report.class, None);
        loop {
            let error = match self.publish(&start).await {
                Ok(published) => {
                    report.files = published.files;
                    report.left_out += published.left_out;
                    break;
                }
                Err(error) => error,
            };
            if error.may_wait {
                tell_unpublished(&said, &start.grant, &error.text);
            }
            match waiting.pause(&mut orders, error.may_wait).await {
                NextStep::TryAgain(_) => {}
                NextStep::Drop(reason) => {
                    report.class = reason.class();
                    break;
                }
                NextStep::GiveUp if error.may_wait => {
                    self.leave(&mut report);
                    return report;
                }
                NextStep::GiveUp => {
                    AttemptFault::publish(&error.text).spoil(&mut report);
                    break;
                }
            }
        }
        self.remove().await;
        report
    }

    /// Leaves it to the next worker: for this one the trial has no result yet, and goes back.
    pub(super) fn leave(self, report: &mut Report) {
        tracing::warn!("{} holds the result of trial {}", self.path().display(), report.trial);
        report.class = Class::Drained;
        report.fatal = false;
        report.error = Some("its result is kept on its machine until it can be published".to_owned());
    }

    /// It is published, or not wanted any more.
    pub(super) async fn remove(self) {
        remove(self.dir).await;
    }
}

async fn remove(dir: OwnedDir) {
    let path = dir.path().to_owned();
    let removed = spawn_blocking(move || dir.remove()).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
    // The place of them all stays unless it is empty.
    let _ = path.parent().map(fs::remove_dir);
}
