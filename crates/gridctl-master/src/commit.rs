//! A step as rows of the journal. Invariant: outcomes are numbered by themselves, without gaps, in the order in which they came to be.

use gridctl_core::metrics::{self, ReadBy};
use gridctl_core::protocol::FrozenSweep;
use gridctl_core::record::{Class, MetricValue, Record, TrialState};
use gridctl_core::sched::{Copied, Core, Event, Step};
use gridctl_storage::journal::{EventRow, Group, OutcomeRow, Reader, StandingRow, StoreError};

/// What is committed at once.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    events: Vec<EventRow>,
    outcomes: Vec<OutcomeRow>,
    standings: Vec<StandingRow>,
}

impl Rows {
    pub(crate) fn group(&self) -> Group<'_> {
        Group { events: &self.events, outcomes: &self.outcomes, standings: &self.standings }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn has_outcomes(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// The rows of `step`; the first outcome gets the number `next`.
    ///
    /// # Errors
    /// An outcome that is to be copied cannot be read.
    pub(crate) fn of(step: &Step, core: &Core, reader: &Reader, next: &mut u64) -> Result<Self, StoreError> {
        let mut rows = Self {
            events: step.events.iter().map(event_row).collect(),
            outcomes: Vec::new(),
            standings: StandingRow::of(&step.links, *next - 1),
        };
        for outcome in &step.outcomes {
            rows.outcomes.push(OutcomeRow::of(&outcome.record, outcome.sweep, take(next)));
        }
        for copied in &step.copies {
            match (original(reader, copied.from)?, core.sweep(copied.sweep)) {
                (Some((row, mut record)), Some(sweep)) => {
                    if record.report.trial != copied.trial {
                        record.computed_as = Some(record.files_of());
                        record.params = sweep.points().trial(copied.index).params;
                        record.report.trial = copied.trial;
                    }
                    rows.outcomes.push(copy((&row, record), copied, sweep.frozen(), take(next)));
                }
                _ => tracing::error!(outcome = copied.from, "an outcome that was known is gone"),
            }
        }
        Ok(rows)
    }
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

/// The journal's row of an event.
pub(crate) fn event_row((seq, event): &(u64, Event)) -> EventRow {
    let payload = serde_json::to_vec(event).expect("an event has text keys, and its numbers are finite");
    EventRow { seq: *seq, payload }
}

/// The outcome of this number with its record.
fn original(reader: &Reader, seq: u64) -> Result<Option<(OutcomeRow, Record)>, StoreError> {
    let row = reader.after(seq.saturating_sub(1), None, 1)?.pop().filter(|row| row.seq == seq);
    Ok(row.and_then(|row| {
        let record = serde_json::from_str(&row.record).ok()?;
        Some((row, record))
    }))
}

/// An outcome as it counts for another version.
fn copy(
    (row_before, mut record): (&OutcomeRow, Record),
    copied: &Copied,
    frozen: &FrozenSweep,
    seq: u64,
) -> OutcomeRow {
    let from = (record.sweep.clone(), row_before.version);
    record.known_from.get_or_insert(from);
    record.sweep.clone_from(&frozen.spec.name);
    record.version = copied.version;
    record.index = copied.index;
    record.point = copied.point;
    record.repeat = copied.repeat;
    record.generation = 1;
    if let Some(again) = copied.again.as_deref() {
        read_again(&mut record, again.clone(), frozen);
    }
    record.report.objective = objective(frozen, &record);
    OutcomeRow::of(&record, copied.sweep, seq)
}

/// Takes in what the attempt's log says, read as the sweep has it read now.
fn read_again(record: &mut Record, again: metrics::Outcome, frozen: &FrozenSweep) {
    record.read_by = ReadBy::of(&frozen.spec);
    (record.state, record.report.class) = (TrialState::Succeeded, Class::Succeeded);
    let metrics::Outcome { metrics, spreads, curve, doubts, .. } = again;
    (record.report.metrics, record.report.spreads) = (metrics, spreads);
    (record.report.curve, record.report.doubts) = (curve, doubts);
    record.report.near_misses.clear();
}

/// The objective of a record by what a sweep ranks: its own, or the metric of that name.
fn objective(frozen: &FrozenSweep, record: &Record) -> Option<MetricValue> {
    let wanted = &frozen.spec.objective.as_ref()?.metric.name;
    record.report.metrics.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
}
