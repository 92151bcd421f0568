//! A journal made again from results volumes, for a data directory that lost its own.
//! Invariant: what is read from a volume is checked, and left out with its reason where it does not
//! fit; a journal that is whole is never replaced, and one that is replaced is set aside.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gridctl_core::id::{Epoch, LeaseSeq, SweepId, Time, TrialId};
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::Record;
use gridctl_core::sched::{Core, Timing};
use gridctl_storage::journal::{
    Group, Options, OutcomeRow, Reader, Replacement, Snapshot, SqliteStore, StandingRow, Store as _,
    StoreError,
};
use gridctl_storage::results::{self, EpochClaim, RecordLine, Results, Shipper};
use gridctl_storage::volume::{self, VolumeError};

use crate::begin::restore;
use crate::commit::event_row;
use crate::compare::{self, Journal, ShipError};
use crate::error::MasterError;
use crate::ship::{self, ShipJob};

/// Records of one commit.
const BATCH: usize = 2_048;
/// Reasons that are kept for people.
const REASONS: usize = 20;

/// A sweep's results, from which its part of the journal is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildFrom {
    /// The volume.
    pub url: VolumeUrl,
    /// The sweep's name in it.
    pub sweep: String,
    /// What the new journal calls that volume.
    pub output: Output,
}

impl RebuildFrom {
    fn volume(&self) -> String {
        self.url.of_sweep(&self.sweep)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The epoch that was begun, above every other.
    pub epoch: Epoch,
    /// The sweeps.
    pub sweeps: Vec<RebuiltSweep>,
    /// Where the journal is that was there before.
    pub set_aside: Option<PathBuf>,
}

/// What came back of one sweep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RebuiltSweep {
    /// Its name.
    pub name: String,
    /// Versions.
    pub versions: u64,
    /// Records of attempts.
    pub records: u64,
    /// Records, versions or stretches of records that are damaged or do not fit.
    pub left_out: u64,
    /// Why, for the first ones.
    pub reasons: Vec<String>,
}

impl RebuiltSweep {
    fn leave_out(&mut self, reason: String) {
        self.left_out += 1;
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}

/// Makes the journal of `data_dir` again from results volumes; blocks.
///
/// # Errors
/// [`MasterError::Whole`] if nothing was lost, [`MasterError::NotNamed`] if something would be;
/// a volume or the data directory cannot be used.
pub fn rebuild(data_dir: &Path, from: &[RebuildFrom], options: Options) -> Result<Rebuilt, MasterError> {
    let file = |source| MasterError::File { doing: "use", path: data_dir.to_owned(), source };
    let data_dir = data_dir.canonicalize().map_err(file)?;
    let (replacement, store) = Replacement::begin(&data_dir, options)?;
    let old = lost(&data_dir, from)?;
    let mut opened = Vec::new();
    for from in from {
        let open = || {
            let results = Results::of_name(volume::open(&from.url)?, &from.sweep)?;
            let highest = results.highest_epoch()?.unwrap_or(Epoch(0));
            let last = match results.epoch_claim(highest)? {
                Some(claim) => results.shipped(&claim.journal)?.last,
                None => 0,
            };
            Ok((highest, last, from, results))
        };
        opened.push(open().map_err(|source| unread(from, source))?);
    }
    // The sweep that was worked on last is the latest one again.
    opened.sort_by_key(|(highest, last, ..)| (*highest, *last));
    let highest = opened.iter().map(|(highest, ..)| *highest).max().unwrap_or(Epoch(0));
    let opened: Vec<_> = opened.into_iter().map(|(_, _, from, results)| (from, results)).collect();
    let mut builder = Builder::new(store, highest.max(old));
    let mut sweeps = Vec::new();
    let mut replaced = Vec::new();
    for ((from, results), number) in opened.iter().zip(1..) {
        let files = results.record_files().and_then(|records| {
            let standings = results.standing_files()?;
            Ok([records, standings].concat())
        });
        replaced.push(files.map_err(|source| unread(from, source))?);
        sweeps.push(builder.sweep(SweepId(number), from, results)?);
    }
    let (store, epoch) = builder.finish(&replacement, &data_dir, &opened)?;
    let (journal, reader) = (store.journal_id().to_owned(), Reader::open(replacement.building())?);
    for (((from, results), number), (sweep, files)) in opened.iter().zip(1..).zip(sweeps.iter().zip(replaced))
    {
        let volume = |source| unread(from, source);
        let mut shipper = Shipper::open(results, &journal, replacement.building()).map_err(volume)?;
        while let records = results::records_after(&reader, (shipper.shipped(), u64::MAX), SweepId(number))?
            && !records.is_empty()
        {
            shipper.ship(&records).map_err(volume)?;
        }
        for version in results.whole_versions().map_err(volume)? {
            results::put_standing(results, &reader, (SweepId(number), version)).map_err(|trouble| {
                match trouble {
                    ShipError::Volume(source) => unread(from, source),
                    ShipError::Store(source) => source.into(),
                    ShipError::Refused(error) => *error,
                }
            })?;
        }
        // Where something is damaged the old files stay: there is more to see in them.
        if sweep.left_out == 0 {
            results.remove_files(&files).map_err(volume)?;
        }
    }
    drop(reader);
    let set_aside = replacement.install(store)?;
    Ok(Rebuilt { epoch, sweeps, set_aside })
}

/// Makes a journal in `scratch`, an empty directory, of results that are only looked at: nothing is written to them. Returns
/// what could not be read of them. Blocks.
///
/// # Errors
/// The results or the directory cannot be used.
pub fn read_results(
    scratch: &Path,
    from: &RebuildFrom,
    options: Options,
) -> Result<Vec<String>, MasterError> {
    let (replacement, store) = Replacement::begin(scratch, options)?;
    let open = || Results::of_name(volume::open(&from.url)?, &from.sweep);
    let results = open().map_err(|source| unread(from, source))?;
    let mut builder = Builder { takes_renamed: true, ..Builder::new(store, Epoch(0)) };
    let mut read = builder.sweep(SweepId(1), from, &results)?;
    let (store, _) = builder.finish(&replacement, scratch, &[])?;
    replacement.install(store)?;
    let more = read.left_out.saturating_sub(read.reasons.len() as u64);
    read.reasons.extend((more > 0).then(|| format!("{more} more")));
    Ok(read.reasons)
}

fn unread(from: &RebuildFrom, source: VolumeError) -> MasterError {
    MasterError::Results { volume: from.volume(), source }
}

/// Makes sure that the journal in `data_dir` is lost, and that nothing else is lost with it: the
/// epoch that it ends with.
fn lost(data_dir: &Path, from: &[RebuildFrom]) -> Result<Epoch, MasterError> {
    let is_lost = |error: &StoreError| {
        matches!(
            error,
            StoreError::Behind { .. }
                | StoreError::Diverged { .. }
                | StoreError::Corrupt { .. }
                | StoreError::OlderFormat { .. }
        )
    };
    match whole(data_dir, from) {
        Ok(core) => {
            let sweeps = core.sweeps().map(|sweep| sweep.name().to_owned()).collect();
            return Err(MasterError::Whole { dir: data_dir.to_owned(), sweeps });
        }
        Err(MasterError::Store(StoreError::NoJournal { .. })) => return Ok(Epoch(0)),
        Err(MasterError::Store(error)) if is_lost(&error) => {}
        Err(MasterError::Behind { .. } | MasterError::Event { .. }) => {}
        Err(error) => return Err(error),
    }
    // What can still be read of it tells which sweeps it had.
    let Ok(core) = crate::reading::fold_as_it_is(data_dir) else { return Ok(Epoch(0)) };
    for cargo in ship::cargo(&core, data_dir) {
        let name = &cargo.frozen.spec.name;
        if from.iter().all(|from| from.sweep != *name) && compare::open(&cargo).is_ok() {
            let volume = cargo.volume.of_sweep(name);
            return Err(MasterError::NotNamed { dir: data_dir.to_owned(), sweep: name.clone(), volume });
        }
    }
    Ok(core.epoch())
}

/// Whether `output` is the volume at `url`, by whatever name.
fn leads_to(output: &Output, url: &VolumeUrl) -> bool {
    let Output::At(named) = output else { return false };
    let there = named.local_dir().and_then(|dir| dir.canonicalize().ok());
    named == url || (there.is_some() && there.as_deref() == url.local_dir())
}

/// The state of a journal that lacks nothing, neither of itself nor of what the results have.
fn whole(data_dir: &Path, from: &[RebuildFrom]) -> Result<Core, MasterError> {
    let reader = Reader::open(data_dir)?;
    let core = restore(Timing::default(), |before| reader.load(before))?;
    let (name, epoch) = (reader.journal_id().to_owned(), core.epoch());
    let journal = Journal { name: &name, data_dir, epoch, reader: &reader };
    let mut cargo = ship::cargo(&core, data_dir);
    let is_of = |cargo: &ShipJob, from: &&RebuildFrom| from.sweep == cargo.frozen.spec.name;
    let moved: Vec<ShipJob> = cargo
        .iter()
        .filter_map(|cargo| {
            let from = from.iter().find(|from| is_of(cargo, from))?;
            let volume = from.url.clone();
            Some(ShipJob { volume, frozen: Arc::clone(&cargo.frozen), ..*cargo })
        })
        .collect();
    cargo.extend(moved);
    compare::all(&journal, &cargo)?;
    Ok(core)
}

/// A journal in the making.
struct Builder {
    store: SqliteStore,
    core: Core,
    highest: Epoch,
    outcomes: Vec<OutcomeRow>,
    next_outcome: u64,
    /// The directory may be called otherwise than the sweep: what is made is looked at, and no more.
    takes_renamed: bool,
    /// The sweep's name, and what it is called now.
    renamed: Option<(String, String)>,
}

/// What names an attempt among the records of a sweep.
type Attempt = (u32, TrialId, Epoch, LeaseSeq, u32);
/// By the number of a record in a journal that was, the number of its outcome.
type Numbers = BTreeMap<String, BTreeMap<u64, u64>>;

impl Builder {
    fn new(store: SqliteStore, highest: Epoch) -> Self {
        let core = Core::new(Timing::default());
        let (outcomes, next_outcome) = (Vec::new(), 1);
        Self { store, core, highest, outcomes, next_outcome, takes_renamed: false, renamed: None }
    }

    /// One sweep, version by version. Its results may hold records of several journals, of which a
    /// later one repeats what the one before had.
    fn sweep(
        &mut self,
        id: SweepId,
        from: &RebuildFrom,
        results: &Results,
    ) -> Result<RebuiltSweep, MasterError> {
        let mut rebuilt = RebuiltSweep { name: from.sweep.clone(), ..RebuiltSweep::default() };
        let unread = |source| unread(from, source);
        let versions = results.whole_versions().map_err(unread)?;
        let mut taken = HashMap::new();
        let mut numbers = Numbers::default();
        let mut is_first = true;
        for version in &versions {
            if let Err(reason) = self.version(id, *version, (from, results)) {
                rebuilt.leave_out(format!("version {version}: {reason}"));
                continue;
            }
            rebuilt.versions += 1;
            self.link((id, *version), (from, results), (&numbers, &mut rebuilt))?;
            let mut failure = None;
            let each = &mut |line: Result<RecordLine, VolumeError>| {
                let read = line.map_err(|error| error.to_string()).and_then(|line| {
                    let wrong = |error| format!("record {}: {error}", line.seq);
                    line.record().map(|record| (line.journal, line.seq, record)).map_err(wrong)
                });
                match read {
                    Ok((journal, seq, mut record)) if record.version == *version => {
                        self.rename(&mut record);
                        match self.record(id, &record, (&mut taken, &mut rebuilt)) {
                            Ok(Some(number)) => _ = numbers.entry(journal).or_default().insert(seq, number),
                            Ok(None) => {}
                            Err(error) => failure = failure.take().or(Some(error)),
                        }
                    }
                    Ok((_, seq, record)) if is_first && !versions.contains(&record.version) => {
                        let version = record.version;
                        rebuilt.leave_out(format!("record {seq}: version {version} is not there"));
                    }
                    Err(reason) if is_first => rebuilt.leave_out(reason),
                    _ => {}
                }
            };
            results.records(each).map_err(unread)?;
            if let Some(error) = failure {
                return Err(error);
            }
            is_first = false;
        }
        if rebuilt.versions == 0 {
            let path = format!("{}/versions", from.volume());
            let what = rebuilt.reasons.pop().unwrap_or_else(|| "no version is described".to_owned());
            return Err(unread(VolumeError::Damaged { path, what }));
        }
        self.core.rebuild_end(Time(0), id);
        self.commit()?;
        Ok(rebuilt)
    }

    fn version(
        &mut self,
        id: SweepId,
        version: u32,
        (from, results): (&RebuildFrom, &Results),
    ) -> Result<(), String> {
        let mut frozen: FrozenSweep = results.whole_version(version).map_err(|error| error.to_string())?;
        let has_its_name = frozen.spec.name == from.sweep;
        if frozen.uuid != results.uuid() || !(has_its_name || self.takes_renamed) {
            return Err("it is another sweep's".to_owned());
        }
        if !has_its_name {
            let name = std::mem::replace(&mut frozen.spec.name, from.sweep.clone());
            self.renamed = Some((name, from.sweep.clone()));
        }
        if !leads_to(&frozen.output, &from.url) {
            frozen.output.clone_from(&from.output);
        }
        self.core.rebuild_version(Time(0), id, version, frozen).map_err(|error| error.to_string())
    }

    /// Who renamed or copied the directory means the sweep by its new name.
    fn rename(&self, record: &mut Record) {
        let Some((old, new)) = &self.renamed else { return };
        let from = record.known_from.as_mut().map(|(sweep, _)| sweep);
        for sweep in [Some(&mut record.sweep), from].into_iter().flatten().filter(|sweep| *sweep == old) {
            sweep.clone_from(new);
        }
    }

    /// What stands for a version beside its own records, of which the outcomes have `numbers`.
    fn link(
        &mut self,
        (id, version): (SweepId, u32),
        (from, results): (&RebuildFrom, &Results),
        (numbers, rebuilt): (&Numbers, &mut RebuiltSweep),
    ) -> Result<(), MasterError> {
        let standing = match results.standing(version) {
            Ok(standing) => standing,
            Err(error) => {
                rebuilt.leave_out(format!("what stands for version {version}: {error}"));
                return Ok(());
            }
        };
        if standing.is_empty() {
            return Ok(());
        }
        let mut links = Vec::new();
        let each = &mut |line: Result<RecordLine, VolumeError>| {
            let Some(line) = line.ok().filter(|line| standing.has(&line.journal, line.seq)) else { return };
            let number = numbers.get(&line.journal).and_then(|numbers| numbers.get(&line.seq));
            if let (Some(number), Ok(record)) = (number, line.record()) {
                links.extend(self.core.link_of(id, &record, *number));
            }
        };
        results.records(each).map_err(|source| unread(from, source))?;
        let mut missing = (standing.iter().count() as u64).saturating_sub(links.len() as u64);
        // A later journal repeats what the one before had.
        links.sort_by_key(|link| link.seq);
        links.dedup_by_key(|link| link.seq);
        missing += self.core.rebuild_links(Time(0), id, &links);
        if missing > 0 {
            rebuilt.leave_out(format!("{missing} records that stand for version {version} are not there"));
        }
        self.commit()
    }

    /// Returns the outcome's number.
    fn record(
        &mut self,
        id: SweepId,
        record: &Record,
        (taken, rebuilt): (&mut HashMap<Attempt, u64>, &mut RebuiltSweep),
    ) -> Result<Option<u64>, MasterError> {
        let (token, trial) = (record.report.token, record.report.trial);
        let attempt = (record.version, trial, token.epoch, token.lease, token.attempt);
        if let Some(number) = taken.get(&attempt) {
            return Ok(Some(*number));
        }
        if let Err(misfit) = self.core.rebuild_record(Time(0), id, record) {
            rebuilt.leave_out(format!("the record of trial {trial}, attempt {}: {misfit}", token.attempt));
            return Ok(None);
        }
        let number = self.next_outcome;
        taken.insert(attempt, number);
        self.highest = self.highest.max(token.epoch);
        self.outcomes.push(OutcomeRow::of(record, id, number));
        self.next_outcome += 1;
        rebuilt.records += 1;
        if self.outcomes.len() >= BATCH {
            self.commit()?;
        }
        Ok(Some(number))
    }

    fn commit(&mut self) -> Result<(), MasterError> {
        let step = self.core.take();
        let events: Vec<_> = step.events.iter().map(event_row).collect();
        let standings = StandingRow::of(&step.links, self.next_outcome - 1);
        self.store.append(&Group { events: &events, outcomes: &self.outcomes, standings: &standings })?;
        self.outcomes.clear();
        Ok(())
    }

    /// Begins the epoch, here and in the results, and keeps a snapshot.
    fn finish(
        mut self,
        replacement: &Replacement,
        data_dir: &Path,
        opened: &[(&RebuildFrom, Results)],
    ) -> Result<(SqliteStore, Epoch), MasterError> {
        self.core.rebuild_epoch(Time(0), self.highest);
        self.commit()?;
        let (epoch, event) = (self.core.epoch(), self.core.seq() - 1);
        self.store.snapshot(&Snapshot { seq: event, bytes: &self.core.snapshot() })?;
        let chain = Reader::open(replacement.building())?.chain_at(event)?.unwrap_or_default();
        let claim = EpochClaim {
            start: uuid::Uuid::now_v7().to_string(),
            journal: self.store.journal_id().to_owned(),
            data_dir: data_dir.display().to_string(),
            host: compare::hostname(),
            event,
            chain,
        };
        for (from, results) in opened {
            results.claim_epoch(epoch, &claim).map_err(|source| unread(from, source))?;
        }
        Ok((self.store, epoch))
    }
}
