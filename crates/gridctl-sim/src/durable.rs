//! Outcomes that are durable, and what links them to versions, as the journal's reader gives them.
//! Invariant: an outcome is linked after it was recorded, and to a version of its own sweep.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridctl_core::id::SweepId;
use gridctl_core::leaderboard::Brief;
use gridctl_core::record::{Record, TrialState};
use gridctl_core::sched::{Core, PriorOutcome, PriorOutcomes, Step};

/// The last outcome that there was, and (number, place) of those that were linked.
type Links = (u64, Vec<(u64, u64)>);

/// What the journal has beside events.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    outcomes: Vec<(SweepId, Arc<Record>)>,
    /// By version.
    links: BTreeMap<(SweepId, u32), Links>,
}

impl Durable {
    /// A step was committed. Says what is wrong with its links, if something is.
    pub(crate) fn take(&mut self, step: &Step, core: &Core) -> Result<(), String> {
        let since = self.outcomes.len() as u64;
        for link in &step.links {
            let at = usize::try_from(link.from).ok().and_then(|from| from.checked_sub(1));
            let outcome = at.and_then(|at| self.outcomes.get(at));
            let record = outcome.filter(|(sweep, _)| *sweep == link.sweep).map(|(_, record)| record);
            let record = record.ok_or_else(|| format!("outcome {} is linked and not there", link.from))?;
            if (record.state, record.version, record.code)
                != (link.state, link.source.version, link.source.code)
                || record.state == TrialState::Pending
            {
                return Err(format!("outcome {} is another than is linked: {link:?}", link.from));
            }
            // A later version may have come with the same step.
            let sweep = core.sweep(link.sweep).filter(|sweep| sweep.version() == link.version);
            let trial = sweep.map(|sweep| sweep.points().trial_id(link.index));
            if trial.is_some_and(|trial| trial != record.report.trial) {
                return Err(format!("outcome {} counts for another trial: {link:?}", link.from));
            }
            let (_, links) = self.links.entry((link.sweep, link.version)).or_insert((since, Vec::new()));
            links.push((link.from, link.index));
        }
        for link in &step.links {
            if let Some((_, links)) = self.links.get_mut(&(link.sweep, link.version)) {
                links.sort_unstable();
                if links.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(format!("an outcome is linked twice for version {}", link.version));
                }
            }
        }
        self.outcomes
            .extend(step.outcomes.iter().map(|outcome| (outcome.sweep, Arc::clone(&outcome.record))));
        Ok(())
    }

    /// Shows what was not looked at before.
    pub(crate) fn show(&self, candidates: &mut PriorOutcomes) {
        let of = candidates.sweep();
        for version in candidates.versions_to_note() {
            if let Some((since, links)) = of.and_then(|of| self.links.get(&(of, version))) {
                candidates.note_links(version, *since, links.clone());
            }
        }
        let upto = candidates.upto();
        for ((sweep, record), seq) in self.outcomes.iter().zip(1..).filter(|(_, seq)| *seq > upto) {
            let (at, brief) = ((*sweep, record.version), Brief::from(&**record));
            candidates.note(PriorOutcome { seq, at, brief, again: None });
        }
        candidates.looked_upto(self.outcomes.len() as u64);
    }
}
