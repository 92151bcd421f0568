//! What people ask for: submit, steer. And how a sweep comes to its end.
//! Invariant: asking twice changes nothing the second time.

use std::sync::Arc;

use roaring::RoaringTreemap;

use super::Core;
use super::event::Event;
use super::grant::looked_at;
use super::known::{JoinedOutcome, LinkSource, Reading};
use super::known_trials::{KNOWN_AN_EVENT, KnownTrials, LinkSum};
use super::phase::{CloseReason, PauseReason, SweepPhase};
use super::retry::Retrying;
use super::step::{Answer, Conn, Copied, Effect, Linked, Refusal, Request, Steer, Submission};
use super::sweep::Sweep;
use super::worker::Worker;
use crate::id::{SweepId, Time};
use crate::metrics;
use crate::points::Points;
use crate::protocol::FrozenSweep;
use crate::record::Class;

/// What came of outcomes that are known.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) known: u64,
    /// Of these.
    read_again: u64,
    /// Of these, those of which metrics that are declared since could not be read.
    unread: u64,
    lost: u64,
}

impl Core {
    /// A person submits a sweep: a new one, a new version of one, or one that goes on.
    pub(super) fn submit(&mut self, now: Time, request: Request, submission: Submission) {
        let answer = self.try_submit(now, submission);
        self.answer_once_retried(request, answer);
    }

    fn try_submit(
        &mut self,
        now: Time,
        submission: Submission,
    ) -> Result<(Answer, Option<Retrying>), Refusal> {
        let Submission { mut frozen, known, retry_failed, rerun, beside, .. } = submission;
        let points =
            Points::new(Arc::new(frozen.spec.clone())).map_err(|err| Refusal::Grid(err.to_string()))?;
        let before = self.sweep_named(&frozen.spec.name).map(|sweep| sweep.id);
        if let Some(sweep) = before.and_then(|id| self.sweeps.get(&id)) {
            frozen.uuid.clone_from(&sweep.frozen.uuid);
            if !rerun && sweep.frozen.is_same(&frozen) {
                let (id, version) = (sweep.id, sweep.version);
                let has_moved = !sweep.frozen.is_in_the_places_of(&frozen);
                if has_moved {
                    self.locate(now, (id, version), Arc::new(frozen));
                }
                let retrying = self.go_on(now, id, retry_failed);
                self.tell_of(now, id, &beside);
                let answer = Answer::Submitted {
                    sweep: id,
                    version,
                    new: false,
                    known: 0,
                    read_again: 0,
                    lost: 0,
                    unread: 0,
                };
                return Ok((answer, retrying));
            }
        }
        let version = before.and_then(|id| self.sweeps.get(&id)).map_or(1, |sweep| sweep.version + 1);
        let last = self.sweeps.keys().next_back().map_or(0, |id| id.0);
        let id = before.unwrap_or(SweepId(last + 1));
        self.end_what_is_not_carried(now, id, &points, &frozen);
        let frozen = Arc::new(frozen);
        self.emit(now, Event::Submitted { sweep: id, version, frozen });
        self.tell_of(now, id, &beside);
        let Joined { known, read_again, lost, unread } = self.join(now, id, &known);
        Ok((Answer::Submitted { sweep: id, version, new: true, known, read_again, lost, unread }, None))
    }

    /// The version's places are other ones from now on, and workers that know the old ones hear it.
    fn locate(&mut self, now: Time, (id, version): (SweepId, u32), frozen: Arc<FrozenSweep>) {
        // Who could not run it where it was may do so now.
        let knows = |worker: &&Worker| {
            let told = worker.link.as_ref().is_some_and(|link| link.told.contains(&(id, version)));
            told || worker.why_not(id, version).is_some()
        };
        let links = self.workers.values().filter(knows).filter_map(|worker| worker.link.as_ref());
        let conns: Vec<Conn> = links.map(|link| link.conn).collect();
        for conn in conns {
            self.outbox(conn).sweeps.push((id, version, Arc::clone(&frozen)));
        }
        self.emit(now, Event::Located { sweep: id, frozen });
    }

    /// The same version again: what stopped goes on; what is to be tried again.
    fn go_on(&mut self, now: Time, id: SweepId, retry_failed: bool) -> Option<Retrying> {
        let sweep = self.sweeps.get(&id)?;
        let again = retry_failed && sweep.phase != SweepPhase::Closed(CloseReason::TargetReached);
        let failed = again.then(|| &sweep.trials.settled().failed | &sweep.trials.settled().quarantined);
        let failed = failed.filter(|failed| !failed.is_empty());
        let retrying = failed.map(|positions| Retrying::new(sweep, positions));
        let resumes = match sweep.phase {
            SweepPhase::Running => false,
            SweepPhase::Stopping
            | SweepPhase::Paused(_)
            | SweepPhase::Closed(CloseReason::Stopped | CloseReason::Cancelled) => true,
            SweepPhase::Closed(CloseReason::Finished | CloseReason::CapReached) => retrying.is_some(),
            SweepPhase::Closed(CloseReason::TargetReached) => false,
        };
        if resumes {
            self.emit(now, Event::Steered { sweep: id, phase: SweepPhase::Running });
        }
        retrying
    }

    /// Attempts of the version before that the new one has no place for end as cancelled.
    fn end_what_is_not_carried(&mut self, now: Time, id: SweepId, points: &Points, frozen: &FrozenSweep) {
        let Some(old) = self.sweeps.get(&id) else { return };
        let measures = old.frozen.measures_for(frozen);
        let dropped: Vec<u64> = old
            .trials
            .iter()
            .filter(|(_, trial)| trial.lease().is_some())
            .filter(|(pos, _)| {
                let trial = old.points.trial(old.points.index_at(*pos));
                let (seed, near) = (seed(old, trial.repeat), Some(trial.index));
                !measures || points.index_of_near(&trial.params, seed, near).is_none()
            })
            .map(|(pos, _)| pos)
            .collect();
        for pos in dropped {
            self.tell_to_stop(id, pos);
            self.end_as(now, id, pos, Class::Cancelled);
        }
    }

    /// Outcomes that are known settle their trials, and are linked or copied for the new version.
    pub(super) fn join(&mut self, now: Time, id: SweepId, known: &[JoinedOutcome]) -> Joined {
        let mut joined = Joined::default();
        for chunk in known.chunks(KNOWN_AN_EVENT) {
            let Some(sweep) = self.sweeps.get(&id) else {
                self.broken("outcomes are joined to a sweep that is not there");
                return joined;
            };
            let mut settled = Vec::with_capacity(chunk.len());
            let (mut taken, mut links) = (RoaringTreemap::new(), LinkSum::default());
            for known in chunk.iter().filter(|known| known.pos < sweep.points.len()) {
                let pos = known.pos;
                if !sweep.trials.is_fresh(pos) || !taken.insert(pos) {
                    continue;
                }
                let again = match &known.reading {
                    Reading::Same => None,
                    Reading::Partly => {
                        joined.unread += 1;
                        None
                    }
                    Reading::Again(again) => Some(Arc::clone(again)),
                    Reading::Lost => {
                        joined.lost += 1;
                        continue;
                    }
                };
                joined.read_again += u64::from(again.is_some());
                settled.push((pos, known.state, known.objective));
                match known.link {
                    Some(source) => {
                        links.add(known.seq, known.index);
                        self.out.links.push(linked(sweep, known, source));
                    }
                    None => self.out.copies.push(copied(sweep, known, again)),
                }
            }
            joined.known += settled.len() as u64;
            if !settled.is_empty() {
                let (version, known) = (sweep.version, KnownTrials::of(sweep, &settled));
                self.emit(now, Event::Known { sweep: id, version, known, links });
            }
        }
        joined
    }

    /// Pauses every sweep that is granted from, but the one of this name.
    pub(super) fn set_aside(&mut self, now: Time, except: &str) {
        for sweep in self.active_sweeps() {
            if self.sweeps.get(&sweep).is_some_and(|it| it.phase.is_running() && it.name() != except) {
                let phase = SweepPhase::Paused(PauseReason::SetAside);
                self.emit(now, Event::Steered { sweep, phase });
            }
        }
    }

    pub(super) fn pause_all(&mut self, now: Time, reason: PauseReason) {
        for sweep in self.active_sweeps() {
            if self.sweeps.get(&sweep).is_some_and(|it| it.phase.is_running()) {
                self.pause(now, sweep, reason);
            }
        }
    }

    /// A person steers a sweep.
    pub(super) fn steer(&mut self, now: Time, request: Request, id: SweepId, steer: Steer) {
        let answer = self.try_steer(now, id, steer);
        self.out.effects.push(Effect::Reply(request, answer));
    }

    fn try_steer(&mut self, now: Time, id: SweepId, steer: Steer) -> Result<Answer, Refusal> {
        let sweep = self.sweeps.get(&id).ok_or(Refusal::UnknownSweep(id))?;
        match (sweep.phase, steer) {
            (SweepPhase::Closed(CloseReason::Stopped), Steer::Resume | Steer::Cancel)
            | (SweepPhase::Closed(CloseReason::Cancelled), Steer::Resume) => {}
            (SweepPhase::Closed(reason), _) => {
                return Err(Refusal::Over { name: sweep.name().to_owned(), reason });
            }
            (SweepPhase::Running, Steer::Resume)
            | (SweepPhase::Paused(_), Steer::Pause)
            | (SweepPhase::Stopping, Steer::Stop) => return Ok(Answer::Done(0)),
            _ => {}
        }
        match steer {
            Steer::Pause => {
                let phase = SweepPhase::Paused(PauseReason::Person);
                self.emit(now, Event::Steered { sweep: id, phase });
            }
            Steer::Resume => self.emit(now, Event::Steered { sweep: id, phase: SweepPhase::Running }),
            Steer::Stop => self.emit(now, Event::Steered { sweep: id, phase: SweepPhase::Stopping }),
            Steer::Cancel => self.close(now, id, CloseReason::Cancelled),
        }
        Ok(Answer::Done(1))
    }

    /// Closes sweeps that have nothing left to do.
    pub(super) fn close_finished(&mut self, now: Time) {
        for id in self.active_sweeps() {
            let Some(sweep) = self.sweeps.get(&id) else {
                self.broken("a sweep is granted from that is not there");
                continue;
            };
            match sweep.phase {
                SweepPhase::Running
                    if sweep.trials.len() == 0 && !sweep.has_fresh() && !self.is_retrying(id) =>
                {
                    let is_whole = sweep.cursor >= sweep.points.len();
                    if is_whole {
                        self.close(now, id, CloseReason::Finished);
                        continue;
                    }
                    let (upto, excluded) = (sweep.cursor, sweep.excluded_beyond(looked_at(&sweep.points)));
                    if !excluded.is_empty() {
                        self.emit(now, Event::Passed { sweep: id, upto, excluded });
                    }
                    self.close(now, id, CloseReason::CapReached);
                }
                SweepPhase::Stopping if sweep.trials.leased() == 0 => {
                    self.close(now, id, CloseReason::Stopped)
                }
                _ => {}
            }
        }
    }

    /// The sweep is over: what is not settled is cancelled, what runs is told to stop.
    pub(super) fn close(&mut self, now: Time, id: SweepId, reason: CloseReason) {
        let Some(sweep) = self.must_have(id) else { return };
        let leased: Vec<u64> =
            sweep.trials.iter().filter(|(_, trial)| trial.is_leased()).map(|(pos, _)| pos).collect();
        let expired: Vec<u64> = sweep
            .trials
            .iter()
            .filter(|(_, trial)| !trial.is_leased() && trial.lease().is_some())
            .map(|(pos, _)| pos)
            .collect();
        for pos in expired {
            self.end_as(now, id, pos, Class::Cancelled);
        }
        self.emit(now, Event::Steered { sweep: id, phase: SweepPhase::Closed(reason) });
        for pos in leased {
            self.tell_to_stop(id, pos);
        }
        self.out.effects.push(Effect::Turned(id));
    }

    /// Tells the holder of this trial's lease to end it.
    pub(super) fn tell_to_stop(&mut self, id: SweepId, pos: u64) {
        let lease = self.sweeps.get(&id).and_then(|sweep| sweep.trials.get(pos)?.lease().cloned());
        if let Some(lease) = lease
            && let Some(conn) = self.conn_of(lease.worker)
        {
            self.outbox(conn).cancel.push(lease.token.lease);
        }
    }
}

/// The outcome as it counts for the sweep's newest version, as it is.
fn linked(sweep: &Sweep, known: &JoinedOutcome, source: LinkSource) -> Linked {
    let (sweep, version) = (sweep.id, sweep.version);
    Linked { from: known.seq, source, state: known.state, sweep, version, index: known.index }
}

/// The outcome as it counts for the sweep's newest version.
fn copied(sweep: &Sweep, known: &JoinedOutcome, again: Option<Arc<metrics::Outcome>>) -> Copied {
    Copied {
        from: known.seq,
        sweep: sweep.id,
        version: sweep.version,
        index: known.index,
        trial: sweep.points.trial_id(known.index),
        point: sweep.points.point_id(known.index),
        repeat: sweep.points.trial(known.index).repeat,
        again,
    }
}

/// The seed of a trial: what its id is hashed with.
pub(super) fn seed(sweep: &Sweep, repeat: u32) -> u32 {
    match sweep.frozen.spec.repeats {
        crate::spec::Repeats::Seeds(_) => repeat,
        crate::spec::Repeats::Axis(_) => 0,
    }
}
