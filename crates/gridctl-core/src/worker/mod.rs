//! The worker's half of the protocol: what it holds, what it has to report, when it speaks, when it
//! gives up.
//! Invariant: no report is forgotten before the master has said that it is recorded or that the
//! lease is another's, and a silent master is no reason to stop before `orphan_after`.

mod action;
mod admit;
mod cannot_run;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::attempt::StopReason;
use crate::capacity::Used;
use crate::id::{Epoch, LeaseSeq, SweepId, Time, WorkerId};
use crate::machine::{MachineHealth, MachineWatch};
use crate::protocol::{
    CannotRun, Capacity, FrozenSweep, Grant, Hello, PROTOCOL, ToMaster, ToWorker, WorkerUpdate,
};
use crate::record::Report;

use cannot_run::UnrunnableVersions;

pub use action::{AttemptStart, Farewell, WorkerAction};

/// From SIGTERM to SIGKILL for an attempt that was cancelled or went over its time, in
/// milliseconds.
pub const GRACE_MS: u64 = 10_000;
/// A worker that drains and cannot reach its master waits so long for its reports to be recorded,
/// in milliseconds.
const FAREWELL_MS: u64 = 30_000;
/// While trials wait here to be started nobody waits for the master: reports are gathered for so
/// long, so that one commit carries many. A lone one goes at once.
const GATHER_MS: u64 = 20;
/// The latest values of what runs are said this often, whatever else is said.
const PROGRESS_MS: u64 = 2_000;
/// So many heartbeats without an answer make a dead link.
const MISSED_HEARTBEATS: u64 = 3;

/// What the shell of a worker tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerProfile {
    /// Who it is.
    pub worker: WorkerId,
    /// The machine's name.
    pub host: String,
    /// The machine of a fleet that it is on.
    pub machine: Option<String>,
    /// The version of gridctl.
    pub release: String,
    /// What it can hold.
    pub capacity: Capacity,
}

/// The state machine.
#[derive(Debug)]
pub struct WorkerProtocol {
    config: WorkerProfile,
    held: BTreeMap<LeaseSeq, HeldAttempt>,
    /// Reports that are not recorded yet.
    reports: BTreeMap<LeaseSeq, Report>,
    /// Of those, the ones that this connection has not heard.
    unsent: BTreeSet<LeaseSeq>,
    progress: BTreeMap<LeaseSeq, (i64, f64)>,
    /// When it was last said.
    progress_said: Time,
    /// Attempts that are over, and what keeps their files from being published.
    unpublished: BTreeMap<LeaseSeq, String>,
    sweeps: BTreeMap<(SweepId, u32), Arc<FrozenSweep>>,
    unrunnable: UnrunnableVersions,
    used: Used,
    /// What has its processor, its memory and its GPUs: the fronts.
    slots: BTreeMap<u32, WaitingLine>,
    gpus: BTreeSet<u32>,
    link: Option<MasterContact>,
    epoch: Epoch,
    heartbeat_ms: u64,
    orphan_after_ms: u64,
    last_contact: Time,
    ttl_ms: u64,
    /// When the master last said what is the worker's and what is not.
    confirmed: Time,
    draining: Option<Time>,
    machine: MachineWatch,
    /// How long attempts take, in microseconds: an average that forgets.
    pace_us: Option<u64>,
    prefetch: u32,
    /// Its machine is to be taken away.
    taken: bool,
    exiting: bool,
    out: Vec<WorkerAction>,
}

#[derive(Debug)]
struct MasterContact {
    welcomed: bool,
    heard: Time,
    said: Time,
    /// The prefetch that the master knows.
    prefetch: u32,
    /// The health that the master knows.
    health: MachineHealth,
    /// The versions of which the master knows that they cannot be run here.
    cannot_run: Vec<CannotRun>,
}

#[derive(Debug)]
struct HeldAttempt {
    grant: Grant,
    sweep: Arc<FrozenSweep>,
    /// Slot and GPUs, once it has been given to a slot.
    place: Option<(u32, Vec<u32>)>,
    /// When that was.
    placed: Time,
    /// It was asked to stop.
    stopping: Option<StopReason>,
    /// It was asked back from the slot where it waits.
    recalled: bool,
}

/// What a slot has.
#[derive(Debug)]
struct WaitingLine {
    /// The attempt that goes on.
    front: LeaseSeq,
    /// The one that starts when it has ended, in its place and on its GPUs.
    behind: Option<LeaseSeq>,
}

impl WorkerProtocol {
    /// A worker that holds nothing; its first action is to connect.
    #[must_use]
    pub fn new(config: WorkerProfile, now: Time) -> Self {
        Self {
            config,
            held: BTreeMap::new(),
            reports: BTreeMap::new(),
            unsent: BTreeSet::new(),
            progress: BTreeMap::new(),
            progress_said: Time(0),
            unpublished: BTreeMap::new(),
            sweeps: BTreeMap::new(),
            unrunnable: UnrunnableVersions::default(),
            used: Used::default(),
            slots: BTreeMap::new(),
            gpus: BTreeSet::new(),
            link: None,
            epoch: Epoch(0),
            heartbeat_ms: 5_000,
            orphan_after_ms: 3_600_000,
            last_contact: now,
            ttl_ms: 30_000,
            confirmed: now,
            draining: None,
            machine: MachineWatch::default(),
            pace_us: None,
            prefetch: 0,
            taken: false,
            exiting: false,
            out: vec![WorkerAction::Connect],
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.config.worker
    }

    /// What there is to do. Reports that came together go out together.
    pub fn take(&mut self, now: Time) -> Vec<WorkerAction> {
        self.flush(now);
        std::mem::take(&mut self.out)
    }

    /// A connection stands: the whole truth is said on it first.
    pub fn connected(&mut self, now: Time) {
        let (prefetch, health) = (self.prefetch, self.health());
        let cannot_run = self.unrunnable.list();
        self.link = Some(MasterContact {
            welcomed: false,
            heard: now,
            said: now,
            prefetch,
            health: health.clone(),
            cannot_run: cannot_run.clone(),
        });
        self.unsent.clear();
        self.out.push(WorkerAction::Send(ToMaster::Hello(Hello {
            protocol: PROTOCOL,
            release: self.config.release.clone(),
            worker: self.config.worker,
            host: self.config.host.clone(),
            capacity: self.config.capacity,
            held: self
                .held
                .values()
                .map(|held| (held.grant.token, held.grant.sweep, held.grant.trial))
                .collect(),
            reports: self.reports.values().cloned().collect(),
            prefetch,
            draining: self.draining.is_some(),
            health,
            cannot_run,
            machine: self.config.machine.clone(),
            taken: self.taken,
        })));
    }

    /// The connection is no more. The shell connects again by itself, with a pause that grows.
    pub fn disconnected(&mut self) {
        self.link = None;
        self.unsent.clear();
        if !self.exiting {
            self.out.push(WorkerAction::Connect);
        }
    }

    /// The master said something.
    pub fn received(&mut self, now: Time, message: ToWorker) {
        let Some(link) = &mut self.link else { return };
        link.heard = now;
        match message {
            ToWorker::Welcome(welcome) if welcome.epoch < self.epoch => self.reconnect(),
            ToWorker::Welcome(welcome) => {
                link.welcomed = true;
                self.epoch = welcome.epoch;
                self.ttl_ms = welcome.ttl_ms;
                self.heartbeat_ms = welcome.heartbeat_ms.max(1);
                self.orphan_after_ms = welcome.orphan_after_ms;
                self.last_contact = now;
                if self.draining.is_some() {
                    // The hello may have been said before.
                    let taken = self.taken;
                    self.say(now, WorkerUpdate { draining: true, taken, ..WorkerUpdate::default() });
                }
            }
            ToWorker::Update(update) => {
                self.last_contact = now;
                self.confirmed = now;
                self.on_master_update(now, update);
            }
            ToWorker::Refused(why) => self.exit(Farewell::Refused(why)),
        }
    }

    /// An attempt has ended; `report.token.lease` says which.
    pub fn ended(&mut self, now: Time, report: Report) {
        let lease = report.token.lease;
        self.unpublished.remove(&lease);
        let Some(held) = self.held.remove(&lease) else { return };
        self.progress.remove(&lease);
        self.vacate(&held);
        self.judge_machine(now, held.placed, &report);
        if !report.unbegun {
            self.learn(report.duration_ms);
        }
        if held.stopping != Some(StopReason::Fenced) {
            self.reports.insert(lease, report);
            self.unsent.insert(lease);
        }
        self.admit(now);
    }

    /// An attempt is over, and its files cannot be published for now, as `fault` says: the shell
    /// keeps them and tries again. Nothing more is started until it says of each how it ended.
    pub fn unpublished(&mut self, lease: LeaseSeq, fault: &str) {
        if self.held.contains_key(&lease) {
            self.unpublished.entry(lease).or_insert_with(|| fault.to_owned());
        }
    }

    /// How the machine is, for the master.
    fn health(&self) -> MachineHealth {
        let machine = self.machine.health();
        match self.unpublished.values().next() {
            Some(fault) if !matches!(machine, MachineHealth::GivenUp { .. }) => {
                MachineHealth::CannotPublish { fault: fault.clone() }
            }
            _ => machine,
        }
    }

    /// What an attempt's end tells about the machine.
    fn judge_machine(&mut self, now: Time, placed: Time, report: &Report) {
        if report.unbegun {
            let is_idle = self.held.values().all(|held| held.place.is_none());
            let fault = report.error.as_deref().unwrap_or("it could not start a trainer");
            self.machine.on_fault(now, placed, fault, is_idle);
            if self.machine.why_given_up().is_some() {
                self.drain(now, StopReason::Drained, GRACE_MS);
            }
        } else if report.exit.is_some() {
            self.machine.on_begun(placed);
        }
    }

    /// An attempt that waited in a slot will not be started there.
    pub fn withdrawn(&mut self, now: Time, lease: LeaseSeq) {
        let Some(mut held) = self.held.remove(&lease) else { return };
        self.vacate(&held);
        match held.stopping {
            Some(StopReason::Fenced) => {}
            Some(reason) => self.not_started(&held.grant, reason.class(), "it had not started"),
            None => {
                (held.place, held.recalled) = (None, false);
                self.held.insert(lease, held);
            }
        }
        self.admit(now);
    }

    /// An attempt that goes on has a new value of its objective.
    pub fn progressed(&mut self, lease: LeaseSeq, step: i64, value: f64) {
        if self.held.contains_key(&lease) {
            self.progress.insert(lease, (step, value));
        }
    }

    /// Takes nothing more, and ends what runs within `grace_ms`; said by the master, by SIGTERM or
    /// by the machine's end.
    pub fn drain(&mut self, now: Time, reason: StopReason, grace_ms: u64) {
        self.taken |= reason == StopReason::Preempted;
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now.after_ms(grace_ms.saturating_add(FAREWELL_MS)));
        for lease in self.held.keys().copied().collect::<Vec<_>>() {
            self.stop(lease, reason, grace_ms);
        }
        if self.is_welcome() {
            let update = WorkerUpdate { draining: true, taken: self.taken, ..WorkerUpdate::default() };
            self.say(now, update);
        }
    }

    /// Time went on: heartbeats, dead links, the end of an orphan's patience.
    pub fn tick(&mut self, now: Time) {
        if self.exiting {
            return;
        }
        self.unrunnable.tick(now);
        if !self.machine.is_fit() {
            self.machine.tick(now);
            self.admit(now);
        }
        if now.ms_since(self.last_contact) >= self.orphan_after_ms && self.draining.is_none() {
            self.drain(now, StopReason::Drained, GRACE_MS);
        }
        if let Some(link) = &self.link {
            if now.ms_since(link.heard) > MISSED_HEARTBEATS * self.heartbeat_ms {
                self.reconnect();
            } else if link.welcomed
                && (now.ms_since(link.said) >= self.heartbeat_ms
                    || (!self.progress.is_empty() && now.ms_since(self.progress_said) >= PROGRESS_MS))
            {
                self.progress_said = now;
                let progress = std::mem::take(&mut self.progress);
                let progress =
                    progress.into_iter().map(|(lease, (step, value))| (lease, step, value)).collect();
                self.say(now, WorkerUpdate { ping: true, progress, ..WorkerUpdate::default() });
            }
        }
        if let Some(until) = self.draining
            && self.held.is_empty()
            && !self.reports.is_empty()
            && now >= until
        {
            let orphaned = now.ms_since(self.last_contact) >= self.orphan_after_ms;
            self.exit(if orphaned { Farewell::Orphaned } else { Farewell::Unreported });
        }
    }

    /// When a tick is due at the latest, in milliseconds from `now`.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        if !self.unsent.is_empty() && self.is_welcome() {
            return GATHER_MS;
        }
        (self.heartbeat_ms / 2).clamp(1, 1_000)
    }

    /// Leases that are held, started or not.
    #[must_use]
    pub fn holds(&self) -> Vec<LeaseSeq> {
        self.held.keys().copied().collect()
    }

    /// Reports that the master has not recorded.
    #[must_use]
    pub fn unrecorded(&self) -> usize {
        self.reports.len()
    }

    /// Whether this attempt has been given to a slot and has not ended.
    #[must_use]
    pub fn is_placed(&self, lease: LeaseSeq) -> bool {
        self.held.get(&lease).is_some_and(|held| held.place.is_some())
    }

    fn is_welcome(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.welcomed)
    }

    fn reconnect(&mut self) {
        self.link = None;
        self.out.push(WorkerAction::Reconnect);
    }

    fn exit(&mut self, farewell: Farewell) {
        if !self.exiting {
            self.exiting = true;
            self.out.push(WorkerAction::Exit(farewell));
        }
    }

    fn say(&mut self, now: Time, update: WorkerUpdate) {
        if let Some(link) = &mut self.link {
            link.said = now;
            self.out.push(WorkerAction::Send(ToMaster::Update(update)));
        }
    }

    /// Says what has changed since the last time, and goodbye when there is nothing left.
    fn flush(&mut self, now: Time) {
        if self.exiting {
            return;
        }
        let done = self.draining.is_some() && self.held.is_empty() && self.reports.is_empty();
        let farewell = match self.machine.why_given_up() {
            Some(fault) => Farewell::Unfit(fault.to_owned()),
            None => Farewell::Drained,
        };
        let health = self.health();
        let Some(link) = self.link.as_mut().filter(|link| link.welcomed) else {
            if done {
                self.exit(farewell);
            }
            return;
        };
        let has_work = self.held.values().any(|held| held.place.is_none());
        let gathers = has_work && now.ms_since(link.said) < GATHER_MS;
        let prefetch = (link.prefetch != self.prefetch).then_some(self.prefetch);
        let health = Some(health).filter(|health| *health != link.health);
        let cannot_run = self.unrunnable.list();
        let cannot_run = Some(cannot_run).filter(|list| *list != link.cannot_run);
        let is_news = health.is_some()
            || cannot_run.is_some()
            || (!gathers && (prefetch.is_some() || !self.unsent.is_empty()));
        if done || is_news {
            link.prefetch = self.prefetch;
            if let Some(health) = &health {
                link.health = health.clone();
            }
            if let Some(cannot_run) = &cannot_run {
                link.cannot_run.clone_from(cannot_run);
            }
            let unsent = std::mem::take(&mut self.unsent);
            let reports = unsent.iter().filter_map(|lease| self.reports.get(lease).cloned()).collect();
            let update =
                WorkerUpdate { reports, prefetch, health, cannot_run, bye: done, ..Default::default() };
            self.say(now, update);
        }
        if done {
            self.exit(farewell);
        }
    }
}

#[cfg(test)]
mod tests;
