//! The master's process: the driver that the binary has, on a journal that can tear.
//! Invariant: a batch is shown only after its commit; a kill in between loses it, or keeps it,
//! whole.

use gridctl_core::id::Time;
use gridctl_core::sched::{
    CommitPipeline, Core, Event, Input, Outcome, PriorOutcomes, SNAPSHOT_FORMAT, Steer, Step, Timing,
};
use gridctl_storage::journal::{
    Damage, EventRow, Group, OutcomeRow, Snapshot, StandingRow, Store, StoreError,
};
use gridctl_storage::results::ShipSource;
use rand::RngExt;

use super::ship::{EVERY_MS, Writers};
use super::{Happens, World};
use crate::audit::Violation;

pub(crate) struct Master {
    pub(crate) driver: CommitPipeline,
    pub(crate) stalled_until: u64,
    pub(crate) writers: Writers,
}

impl World {
    pub(super) fn start_master(&mut self) -> Result<(), Violation> {
        if self.master.is_some() {
            return Ok(());
        }
        let Some(mut core) = self.load()? else {
            // Refused: a person puts a backup back.
            self.refused += 1;
            self.queue.after(5_000, Happens::LogMended);
            self.queue.after(10_000, Happens::MasterStarts);
            return Ok(());
        };
        core.begin(self.now());
        self.lives += 1;
        self.master =
            Some(Master { driver: CommitPipeline::new(core), stalled_until: 0, writers: Writers::new() });
        self.queue.after(1_000, Happens::MasterTicks { life: self.lives });
        self.queue.after(EVERY_MS, Happens::Ships { life: self.lives });
        self.compare_results()?;
        self.first_submissions();
        self.pump()
    }

    /// The core as the journal has it: from the newest snapshot that is understood and from the
    /// beginning it must be the same. `None` if the log is damaged, and was refused for it.
    fn load(&mut self) -> Result<Option<Core>, Violation> {
        let now = self.now();
        let mut before = u64::MAX;
        let (mut core, tail) = loop {
            let loaded = match self.store.load(before) {
                Ok(loaded) => loaded,
                Err(StoreError::Corrupt { .. } | StoreError::Behind { .. }) if self.store.is_damaged() => {
                    return Ok(None);
                }
                Err(err) => return Err(Violation(format!("the journal does not load: {err}"))),
            };
            let Some((seq, bytes)) = loaded.snapshot else {
                break (Core::new(Timing::default()), loaded.tail);
            };
            match Core::restore(Timing::default(), now, seq, &bytes) {
                Ok(core) => break (core, loaded.tail),
                Err(_) => before = seq,
            }
        };
        replay(&mut core, now, &tail)?;
        let mut whole = Core::new(Timing::default());
        replay(&mut whole, now, &self.store.events())?;
        if whole.snapshot() != core.snapshot() {
            return Err(Violation(format!(
                "snapshot and tail differ from the whole history:\n{}\n{}",
                String::from_utf8_lossy(&core.snapshot()),
                String::from_utf8_lossy(&whole.snapshot())
            )));
        }
        Ok(Some(core))
    }

    /// The power goes, and the log is found damaged.
    pub(super) fn damage_log(&mut self) -> Result<bool, Violation> {
        self.kill_master()?;
        let kind = [Damage::Changed, Damage::Missing, Damage::Cut][self.rng.random_range(0..3)];
        let place = self.rng.random_range(0..1 << 20);
        Ok(self.store.damage_log(kind, place))
    }

    /// The power goes, and with it the newest snapshot: it is damaged, or not one that is
    /// understood.
    pub(super) fn spoil_snapshot(&mut self) -> Result<bool, Violation> {
        if self.rng.random_bool(0.5) {
            let place = self.rng.random_range(0..1 << 20);
            let is_damaged = self.store.damage_snapshot(place);
            self.kill_master()?;
            return Ok(is_damaged);
        }
        let Ok(Some((seq, _))) = self.store.load(u64::MAX).map(|loaded| loaded.snapshot) else {
            return Ok(false);
        };
        let bytes = format!("{}\n{{}}", SNAPSHOT_FORMAT + 1);
        self.kill_master()?;
        self.store
            .snapshot(&Snapshot { seq, bytes: bytes.as_bytes() })
            .map_err(|err| Violation(format!("the journal refuses a snapshot: {err}")))?;
        self.store.sync();
        Ok(true)
    }

    pub(super) fn tick_master(&mut self, life: u32) -> Result<(), Violation> {
        if life != self.lives || self.master.is_none() {
            return Ok(());
        }
        self.queue.after(1_000, Happens::MasterTicks { life });
        // A pause that a person forgot, because the master died or stood still in between.
        if self.queue.now() > self.plan.calm_ms {
            self.paused().into_iter().for_each(|sweep| self.steer(sweep, Steer::Resume));
        }
        self.pump()
    }

    /// Begins the next commit, if none is underway.
    pub(super) fn pump(&mut self) -> Result<(), Violation> {
        let now = self.now();
        let durable = &self.durable;
        let Some(master) = self.master.as_mut().filter(|master| master.stalled_until <= now.0) else {
            return Ok(());
        };
        let mut look_up = |candidates: &mut PriorOutcomes| durable.show(candidates);
        let Some(step) = master.driver.batch(now, &mut look_up) else {
            if self.full {
                master.driver.hold_out(now);
            }
            return Ok(());
        };
        if step.is_volatile() {
            let effects = master.driver.committed();
            return self.release(effects);
        }
        if !step.copies.is_empty() {
            return Err(Violation("an outcome is copied, and nothing makes that necessary".to_owned()));
        }
        let rows = rows(step);
        let since = self.store.last_outcome().unwrap_or_default();
        let outcomes: Vec<OutcomeRow> = step.outcomes.iter().zip(since + 1..).map(outcome_row).collect();
        let standings = StandingRow::of(&step.links, since);
        self.store
            .append(&Group { events: &rows, outcomes: &outcomes, standings: &standings })
            .map_err(|err| Violation(format!("the journal refuses a batch: {err}")))?;
        let slow = if std::mem::take(&mut self.slow) { 10_000 } else { 0 };
        let commit = slow + self.rng.random_range(0..=self.plan.commit_ms);
        self.queue.after(commit, Happens::Commit { life: self.lives });
        Ok(())
    }

    /// The commit that is underway comes to its end.
    pub(super) fn commit(&mut self, life: u32) -> Result<(), Violation> {
        let now = self.now();
        let Some(master) = self.master.as_mut().filter(|_| life == self.lives) else { return Ok(()) };
        if self.full {
            master.driver.hold_out(now);
            self.queue.after(1_000, Happens::Commit { life });
            return Ok(());
        }
        self.store.sync();
        if let Some(step) = master.driver.underway() {
            self.auditor.committed(step, master.driver.core())?;
            self.durable.take(step, master.driver.core()).map_err(Violation)?;
        }
        self.are_published()?;
        let Some(master) = self.master.as_mut() else { return Ok(()) };
        let effects = master.driver.committed();
        let snapshots = self.rng.random_bool(0.05);
        if snapshots {
            let core = master.driver.core();
            let (seq, bytes) = (core.seq() - 1, core.snapshot());
            self.store
                .snapshot(&Snapshot { seq, bytes: &bytes })
                .map_err(|err| Violation(format!("the journal refuses a snapshot: {err}")))?;
            self.store.sync();
        }
        self.release(effects)?;
        self.pump()
    }

    /// Holds what has just become durable against the results volume.
    fn are_published(&self) -> Result<(), Violation> {
        let step = self.master.as_ref().and_then(|master| master.driver.underway());
        let mut outcomes = step.into_iter().flat_map(|step| &step.outcomes);
        outcomes.try_for_each(|outcome| self.is_published(&outcome.record))
    }

    /// SIGKILL, or the power goes: what was being committed is lost, or was durable and nobody
    /// knows.
    pub(super) fn kill_master(&mut self) -> Result<(), Violation> {
        let Some(master) = self.master.take() else { return Ok(()) };
        let torn = self.rng.random_range(0..6);
        let before = self.store.events().len();
        self.store.crash(torn);
        // It was durable after all, and nobody was told.
        if self.store.events().len() > before
            && let Some(step) = master.driver.underway()
        {
            self.auditor.committed(step, master.driver.core())?;
            self.durable.take(step, master.driver.core()).map_err(Violation)?;
        }
        let conns: Vec<_> = self
            .conns
            .all
            .iter()
            .filter(|(_, link)| link.life == self.lives)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in conns {
            self.break_conn(conn);
        }
        let pause = self.rng.random_range(200..40_000);
        self.queue.after(pause, Happens::MasterStarts);
        Ok(())
    }

    pub(super) fn push(&mut self, input: Input) -> Result<(), Violation> {
        if let Some(master) = self.master.as_mut() {
            master.driver.push(input);
        }
        self.pump()
    }
}

fn outcome_row((outcome, seq): (&Outcome, u64)) -> OutcomeRow {
    OutcomeRow::of(&outcome.record, outcome.sweep, seq)
}

fn rows(step: &Step) -> Vec<EventRow> {
    let row = |(seq, event): &(u64, Event)| EventRow {
        seq: *seq,
        payload: serde_json::to_vec(event).expect("an event is JSON"),
    };
    step.events.iter().map(row).collect()
}

fn replay(core: &mut Core, now: Time, events: &[EventRow]) -> Result<(), Violation> {
    for row in events {
        let event: Event = serde_json::from_slice(&row.payload)
            .map_err(|err| Violation(format!("event {} does not read back: {err}", row.seq)))?;
        core.apply(now, &event);
    }
    Ok(())
}
