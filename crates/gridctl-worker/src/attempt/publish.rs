//! What outlives an attempt: files, full log and checkpoints, published to the results volume in
//! threads of their own.
//! Invariant: a checkpoint is published only if nothing in it changed while it was copied. No link
//! is followed, be it in the place of the directory itself, and what is left out is counted.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gridctl_core::id::{Fingerprint, Time, Token, TrialId};
use gridctl_core::output::{DEFAULT_OUTPUT, Output};
use gridctl_core::protocol::{FrozenSweep, Grant};
use gridctl_core::worker::AttemptStart;
use gridctl_storage::results::{Limits, Results, copy_files};
use gridctl_storage::volume::{self, VolumeError};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::clock;
use crate::scratch::Scratch;

/// A checkpoint that has not changed for so long is taken to be whole.
const QUIET: Duration = Duration::from_secs(2);
/// A checkpoint that never comes to rest is tried again at the next turn.
const MOST_LOOKS: u32 = 30;
/// Of a trainer whose machine is being taken the checkpoint is looked at so often, in milliseconds.
const NOTICED_EVERY_MS: u64 = 3_000;
/// The file that tells a trainer of the machine's end; no part of a checkpoint.
const PREEMPT: &str = ".preempt";

/// What a checkpoint directory holds: names, sizes and times in one number; 0 for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CheckpointState(u64);

const EMPTY: CheckpointState = CheckpointState(0);

impl CheckpointState {
    fn of(dir: &Path) -> Self {
        if !Scratch::is_used(dir) {
            return EMPTY;
        }
        let mut files = Vec::new();
        collect(dir, Path::new(""), &mut files);
        if files.is_empty() {
            return EMPTY;
        }
        files.sort();
        let mut hasher = DefaultHasher::new();
        files.hash(&mut hasher);
        Self(hasher.finish().max(1))
    }
}

/// Name, size, inode, and time of change with its fraction.
type Seen = (PathBuf, u64, u64, i64, i64);

/// Everything but directories below `dir`.
fn collect(dir: &Path, below: &Path, files: &mut Vec<Seen>) {
    let Ok(entries) = fs::read_dir(dir.join(below)) else { return };
    for entry in entries.flatten() {
        let name = below.join(entry.file_name());
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            collect(dir, &name, files);
        } else if name != Path::new(PREEMPT) {
            files.push((name, meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec()));
        }
    }
}

/// What a checkpoint directory began with.
#[derive(Debug)]
pub(super) struct RestoredCheckpoint {
    state: CheckpointState,
    /// Checkpoints that were passed over, and why: to be told to people.
    pub(super) damaged: Vec<String>,
}

/// Fills the empty directory `checkpoint` with the trial's newest published checkpoint that is
/// whole, if there is one.
pub(super) async fn restore(
    frozen: &Arc<FrozenSweep>,
    grant: &Grant,
    checkpoint: &Path,
) -> Result<RestoredCheckpoint, String> {
    let place = AttemptPlace::new(frozen, grant);
    if !place.has_checkpoints() {
        return Ok(RestoredCheckpoint { state: EMPTY, damaged: Vec::new() });
    }
    let dir = checkpoint.to_owned();
    let restored = spawn_blocking(move || {
        let damaged = place.restore(&dir)?;
        Ok(RestoredCheckpoint { state: CheckpointState::of(&dir), damaged })
    });
    restored.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// What an attempt published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublishedFiles {
    /// Files, the log included.
    pub(super) files: u64,
    /// Files that were left out.
    pub(super) left_out: u64,
}

/// Why something is not published.
#[derive(Debug)]
pub(super) struct Unpublished {
    pub(super) text: String,
    /// It is the volume that does not take it, and it may later; what is to be published is there.
    pub(super) may_wait: bool,
}

impl Unpublished {
    /// What the volume said when something in `dir` was to be published.
    fn new(error: VolumeError, dir: &Path) -> Self {
        // Whoever cannot read the directory has only its trainer to blame.
        let may_wait = !error.is_final() && fs::read_dir(dir).is_ok();
        Self { text: told(error), may_wait }
    }

    fn failed(error: &tokio::task::JoinError) -> Self {
        Self { text: error.to_string(), may_wait: false }
    }
}

/// Publishes what is in the directory `output`, and the full log if there is one.
pub(super) async fn files(
    start: &AttemptStart,
    output: PathBuf,
    log: Option<Arc<File>>,
) -> Result<PublishedFiles, Unpublished> {
    let place = AttemptPlace::new(&start.sweep, &start.grant);
    let published = spawn_blocking(move || {
        place.publish(&output, log.as_deref()).map_err(|error| Unpublished::new(error, &output))
    });
    published.await.unwrap_or_else(|error| Err(Unpublished::failed(&error)))
}

/// The checkpoint of an attempt that goes on.
#[derive(Debug)]
pub(super) struct Checkpoints {
    dir: PathBuf,
    place: AttemptPlace,
    initial: CheckpointState,
    published: CheckpointState,
    every_ms: u64,
    due: Time,
    /// How many were published, or tried.
    number: u64,
    /// Files that the newest one lacks.
    left_out: u64,
    going: Option<Going>,
}

/// A checkpoint that was published: its state, and how many files it lacks.
type Made = (CheckpointState, u64);

/// A publication that is under way.
#[derive(Debug)]
struct Going {
    thread: JoinHandle<Option<Made>>,
    /// The trainer has ended: there is nothing to wait for.
    hurry: Arc<AtomicBool>,
}

impl Drop for Going {
    /// Its trainer has ended, or is not followed any further: what comes into the directory now is
    /// another's.
    fn drop(&mut self) {
        self.hurry.store(true, Ordering::Relaxed);
    }
}

impl Checkpoints {
    /// The checkpoint in `dir`, to be looked at every `every_ms` from `now` on.
    pub(super) fn new(
        dir: PathBuf,
        start: &AttemptStart,
        restored: &RestoredCheckpoint,
        (now, every_ms): (Time, u64),
    ) -> Self {
        let place = AttemptPlace::new(&start.sweep, &start.grant);
        let (initial, due) = (restored.state, now.after_ms(every_ms));
        Self { dir, place, initial, published: initial, every_ms, due, number: 0, left_out: 0, going: None }
    }

    /// The trainer begins only now.
    pub(super) fn begin(&mut self, now: Time) {
        self.due = now.after_ms(self.every_ms);
    }

    /// Whether one is being published.
    pub(super) fn are_going(&self) -> bool {
        self.going.is_some()
    }

    /// Whether another attempt would begin further on than this one did.
    pub(super) fn moved(&self) -> bool {
        self.published != self.initial
    }

    /// How many files the newest published one lacks.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Time {
        self.due
    }

    /// Publishes the checkpoint, in a thread, if it has changed and comes to rest.
    pub(super) async fn check(&mut self, now: Time) {
        self.due = now.after_ms(self.every_ms);
        if self.going.as_ref().is_some_and(|going| !going.thread.is_finished()) {
            return;
        }
        self.settle().await;
        self.number += 1;
        let (dir, place, number) = (self.dir.clone(), self.place.clone(), self.number);
        let published = self.published;
        let hurry = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&hurry);
        let thread = spawn_blocking(move || publish_when_quiet(&dir, (&place, number), published, &told));
        self.going = Some(Going { thread, hurry });
    }

    /// Waits for the publication that is under way, if there is one, and takes in what it
    /// published.
    async fn settle(&mut self) {
        if let Some(mut going) = self.going.take()
            && let Ok(Some(made)) = (&mut going.thread).await
        {
            (self.published, self.left_out) = made;
        }
    }

    /// How long the last one took to publish, in milliseconds; 0 before the first.
    pub(super) fn upload_ms(&self) -> u64 {
        self.place.upload_ms.load(Ordering::Relaxed)
    }

    /// Tells a trainer that watches for it that the machine is being taken. What it saves from now
    /// on is published at once, while it goes on.
    pub(super) fn announce_preemption(&mut self, now: Time) {
        self.every_ms = self.every_ms.min(NOTICED_EVERY_MS);
        self.due = self.due.min(now.after_ms(self.every_ms));
        if let Err(error) = crate::scratch::touch(&self.dir, PREEMPT) {
            tracing::warn!("cannot write {PREEMPT} into {}: {error}", self.dir.display());
        }
    }

    /// After the trainer's end: waits for the publication that is under way.
    pub(super) async fn rest(&mut self) {
        if let Some(going) = &self.going {
            going.hurry.store(true, Ordering::Relaxed);
        }
        self.settle().await;
        self.number += 1;
    }

    /// Publishes the last checkpoint of a trainer that has ended, once [`Self::rest`] is over. May
    /// be repeated after an error.
    pub(super) async fn publish_last(&mut self) -> Result<(), Unpublished> {
        let (dir, place, number) = (self.dir.clone(), self.place.clone(), self.number);
        let published = self.published;
        let last = spawn_blocking(move || {
            let state = CheckpointState::of(&dir);
            let new = state != published && state != EMPTY;
            new.then(|| publish(&dir, (&place, number), state)).transpose()
        });
        let made = last.await.unwrap_or_else(|error| Err(Unpublished::failed(&error)))?;
        (self.published, self.left_out) = made.unwrap_or((self.published, self.left_out));
        Ok(())
    }
}

/// Waits until the checkpoint rests, and publishes it from a copy, for the trainer goes on; what
/// was published.
fn publish_when_quiet(
    dir: &Path,
    place: (&AttemptPlace, u64),
    published: CheckpointState,
    hurry: &AtomicBool,
) -> Option<Made> {
    let pause = || {
        (0..20).all(|_| {
            thread::sleep(QUIET / 20);
            !hurry.load(Ordering::Relaxed)
        })
    };
    let state = at_rest(published, || CheckpointState::of(dir), pause)?;
    let aside = dir.with_extension("copy");
    crate::scratch::remove(&aside);
    let copied = copy_files(dir, &aside, &[PREEMPT]).ok().filter(|_| CheckpointState::of(dir) == state);
    let published = copied.and_then(|lacks| match publish(&aside, place, state) {
        Ok((state, left_out)) => Some((state, left_out + lacks)),
        Err(error) => {
            tracing::warn!("the checkpoint in {} is not published: {}", dir.display(), error.text);
            None
        }
    });
    crate::scratch::remove(&aside);
    published
}

/// The state of a checkpoint that is another than the one `published` and was the same before and
/// after a pause; `None` if there is none, if it never comes to rest, or if a pause was broken off.
fn at_rest(
    published: CheckpointState,
    mut look: impl FnMut() -> CheckpointState,
    mut pause: impl FnMut() -> bool,
) -> Option<CheckpointState> {
    let mut state = look();
    for _ in 0..MOST_LOOKS {
        if state == published || state == EMPTY || !pause() {
            return None;
        }
        let before = std::mem::replace(&mut state, look());
        if state == before {
            return Some(state);
        }
    }
    None
}

/// Publishes what is in `dir`, which is the checkpoint in its state `state`.
fn publish(
    dir: &Path,
    (place, number): (&AttemptPlace, u64),
    state: CheckpointState,
) -> Result<Made, Unpublished> {
    let left_out = place.publish_checkpoint(dir, number);
    left_out.map(|left_out| (state, left_out)).map_err(|error| Unpublished::new(error, dir))
}

/// Where the files of one attempt go.
#[derive(Debug, Clone)]
struct AttemptPlace {
    frozen: Arc<FrozenSweep>,
    token: Token,
    trial: TrialId,
    fingerprint: Fingerprint,
    /// How long the last checkpoint took.
    upload_ms: Arc<AtomicU64>,
}

impl AttemptPlace {
    fn new(frozen: &Arc<FrozenSweep>, grant: &Grant) -> Self {
        Self {
            frozen: Arc::clone(frozen),
            token: grant.token,
            trial: grant.trial,
            fingerprint: grant.fingerprint,
            upload_ms: Arc::default(),
        }
    }

    /// Whether there may be something to restore: most trials have nothing.
    fn has_checkpoints(&self) -> bool {
        self.opened().and_then(|results| results.has_checkpoints(self.fingerprint)).unwrap_or(false)
    }

    fn opened(&self) -> Result<Results, VolumeError> {
        let Output::At(url) = &self.frozen.output else {
            // The master says where its data directory is.
            return Err(VolumeError::NotFound { path: DEFAULT_OUTPUT.to_owned() });
        };
        Results::new(volume::open(url)?, &self.frozen.spec.name, &self.frozen.uuid)
    }

    /// The sweep's results, after a look that they are still there: a volume may have been
    /// unmounted.
    fn results(&self) -> Result<Results, VolumeError> {
        let results = self.opened()?;
        results.check_claim()?;
        Ok(results)
    }

    /// Says what was passed over because it was damaged.
    fn restore(&self, dir: &Path) -> Result<Vec<String>, String> {
        let restore = |results: Results| results.restore_checkpoint(self.fingerprint, dir);
        self.results().and_then(restore).map(|restored| restored.damaged).map_err(told)
    }

    fn publish(&self, output: &Path, log: Option<&File>) -> Result<PublishedFiles, VolumeError> {
        let limits = Limits::default();
        let manifest = self.results()?.publish_attempt((self.trial, self.token), output, log, &limits)?;
        let files = manifest.files.len() as u64 + u64::from(manifest.log.is_some());
        Ok(PublishedFiles { files, left_out: manifest.left_out() })
    }

    /// Says how many files are left out.
    fn publish_checkpoint(&self, dir: &Path, number: u64) -> Result<u64, VolumeError> {
        let began = clock::now();
        let results = self.results()?;
        let published =
            results.publish_checkpoint(self.fingerprint, (self.token, number), dir, &Limits::default());
        self.upload_ms.store(clock::now().ms_since(began), Ordering::Relaxed);
        published.map(|manifest| manifest.left_out())
    }
}

/// The error with what the system says.
fn told(error: VolumeError) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_has_changed_if_anything_in_it_has() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("checkpoint");
        fs::create_dir_all(dir.join("deep")).unwrap();
        assert_eq!(CheckpointState::of(&dir), EMPTY);
        fs::write(dir.join(PREEMPT), "").unwrap();
        assert_eq!(CheckpointState::of(&dir), EMPTY, "the sign to the trainer is no part of it");
        let mut known = vec![EMPTY];
        let deeds: [&dyn Fn(); 4] = [
            &|| fs::write(dir.join("deep/a"), "1").unwrap(),
            &|| fs::write(dir.join("deep/a"), "12").unwrap(),
            &|| fs::rename(dir.join("deep/a"), dir.join("deep/b")).unwrap(),
            &|| fs::write(dir.join("c"), "").unwrap(),
        ];
        for deed in deeds {
            deed();
            let state = CheckpointState::of(&dir);
            assert!(!known.contains(&state));
            assert_eq!(CheckpointState::of(&dir), state);
            known.push(state);
        }
    }

    #[test]
    fn a_checkpoint_is_published_if_it_is_new_and_has_come_to_rest() {
        const PUBLISHED: u64 = 9;
        let cases: [(&str, &[u64], u32, Option<u64>); 7] = [
            ("nothing is there", &[0], 99, None),
            ("nothing is new", &[PUBLISHED], 99, None),
            ("it is new, and rests", &[1, 1], 99, Some(1)),
            ("it changes first", &[1, 2, 3, 3], 99, Some(3)),
            ("it is taken away", &[1, 0], 99, None),
            ("the trainer ends meanwhile", &[1, 1], 0, None),
            ("the trainer ends before it rests", &[1, 2, 2], 1, None),
        ];
        for (name, looks, pauses, expected) in cases {
            let (mut looks, mut pauses) = (looks.iter(), 0..pauses);
            let rests = at_rest(
                CheckpointState(PUBLISHED),
                || CheckpointState(*looks.next().unwrap()),
                || pauses.next().is_some(),
            );
            assert_eq!(rests, expected.map(CheckpointState), "{name}");
        }
        let mut looks = 100..;
        assert_eq!(
            at_rest(EMPTY, || CheckpointState(looks.next().unwrap()), || true),
            None,
            "it never rests"
        );
        assert_eq!(looks.start, 100 + u64::from(MOST_LOOKS) + 1);
    }
}
