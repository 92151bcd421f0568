//! How many workers there should be, and what is to be done about it: when a worker is replaced,
//! how long that waits, and when a fleet gives up. Invariant: a worker that was let go has no
//! successor, and workers that cannot live are not started for ever.

pub mod deadline;
pub mod launch;
pub mod machines;

use std::collections::{BTreeMap, VecDeque};

use crate::id::{Time, WorkerId};

/// A worker that lives shorter than this was not able to live, in milliseconds.
const SHORT_LIFE_MS: u64 = 10_000;
/// What the process of a worker returns that ends because its machine cannot start trainers.
pub const UNFIT_EXIT: u8 = 13;
/// After so many short lives in a row, without work done between them, the fleet gives up.
pub const SHORT_LIVES: u32 = 5;
/// The first replacement waits so long, each further one twice as long, up to the second; in
/// milliseconds.
const WAIT_MS: (u64, u64) = (100, 5_000);

/// What a fleet's shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetAction {
    /// Start one more worker, and call [`FleetPlan::on_started`].
    Start,
    /// No worker is left, and none is started: each one said that its machine cannot start
    /// trainers.
    NoneLeft,
    /// Start no more: so many workers in a row ended as soon as they had started.
    GiveUp {
        /// How many.
        deaths: u32,
    },
}

/// The plan of a fleet.
#[derive(Debug, Clone, Default)]
pub struct FleetPlan {
    workers: BTreeMap<WorkerId, PlacedWorker>,
    /// When workers are to be started, the first first.
    owed: VecDeque<Time>,
    short_lives: u32,
    /// A worker ended because its machine cannot start trainers.
    unfit: bool,
    gave_up: bool,
}

#[derive(Debug, Clone, Copy)]
struct PlacedWorker {
    started: Time,
    /// It was let go: nobody takes its place.
    dismissed: bool,
}

impl FleetPlan {
    /// So many workers more are wanted, at once.
    pub fn want(&mut self, now: Time, count: usize) {
        self.owed.extend(std::iter::repeat_n(now, count));
    }

    /// A worker was started.
    pub fn on_started(&mut self, now: Time, worker: WorkerId) {
        self.workers.insert(worker, PlacedWorker { started: now, dismissed: false });
    }

    /// A worker is to end, or is about to: nobody takes its place.
    pub fn dismiss(&mut self, worker: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.dismissed = true;
        }
    }

    /// Every worker is to end, and none is started any more.
    pub fn dismiss_all(&mut self) {
        self.owed.clear();
        self.workers.values_mut().for_each(|worker| worker.dismissed = true);
    }

    /// A worker has ended; whether it did so by itself.
    pub fn on_ended(&mut self, now: Time, worker: WorkerId) -> bool {
        let Some(ended) = self.workers.remove(&worker).filter(|worker| !worker.dismissed) else {
            return false;
        };
        let is_short = now.ms_since(ended.started) < SHORT_LIFE_MS;
        self.short_lives = if is_short { self.short_lives + 1 } else { 0 };
        if self.short_lives >= SHORT_LIVES {
            self.owed.clear();
        } else {
            let wait = WAIT_MS.0.saturating_mul(1 << self.short_lives.min(10)).min(WAIT_MS.1);
            self.owed.push_back(now.after_ms(wait));
        }
        true
    }

    /// A worker has ended because its machine cannot start trainers: another one could not either.
    pub fn on_unfit(&mut self, worker: WorkerId) {
        self.unfit |= self.workers.remove(&worker).is_some_and(|worker| !worker.dismissed);
    }

    /// A trial has succeeded: workers can live, and whatever ended some of them is not counted any
    /// more.
    pub fn on_success(&mut self) {
        self.short_lives = 0;
    }

    /// What is to be done now.
    #[must_use]
    pub fn next(&mut self, now: Time) -> Option<FleetAction> {
        if self.gave_up {
            return None;
        }
        if self.short_lives >= SHORT_LIVES {
            self.gave_up = true;
            return Some(FleetAction::GiveUp { deaths: self.short_lives });
        }
        if self.unfit && self.workers.is_empty() && self.owed.is_empty() {
            self.gave_up = true;
            return Some(FleetAction::NoneLeft);
        }
        self.owed.pop_front_if(|at| *at <= now).map(|_| FleetAction::Start)
    }

    /// When there is something to be done by itself.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.owed.front().copied().filter(|_| !self.gave_up)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: u8) -> WorkerId {
        WorkerId([number; 5])
    }

    /// A fleet of one that was started at time 0.
    fn fleet() -> FleetPlan {
        let mut plan = FleetPlan::default();
        plan.want(Time(0), 1);
        assert_eq!(plan.next(Time(0)), Some(FleetAction::Start));
        plan.on_started(Time(0), worker(0));
        assert_eq!((plan.next(Time(0)), plan.next_at(), plan.workers()), (None, None, 1));
        plan
    }

    #[test]
    fn what_ends_by_itself_is_replaced_later_and_later_until_it_has_lived() {
        let (mut plan, mut now) = (fleet(), Time(0));
        let lives = [(9_999, 200), (1, 400), (1, 800), (1, 1_600), (10_000, 100), (1, 200)];
        for (number, (life, wait)) in (1..).zip(lives) {
            now = now.after_ms(life);
            assert!(plan.on_ended(now, worker(number - 1)));
            assert_eq!(plan.next_at(), Some(now.after_ms(wait)), "after the life number {number}");
            assert_eq!(plan.next(now.after_ms(wait - 1)), None);
            now = now.after_ms(wait);
            assert_eq!(plan.next(now), Some(FleetAction::Start));
            plan.on_started(now, worker(number));
        }
    }

    #[test]
    fn a_fleet_gives_up_once_unless_its_workers_have_worked() {
        for works in [false, true] {
            let (mut plan, mut now) = (fleet(), Time(0));
            for number in 1..=6 {
                if works {
                    plan.on_success();
                }
                now = now.after_ms(1);
                plan.on_ended(now, worker(number - 1));
                let Some(at) = plan.next_at() else { break };
                now = at;
                assert_eq!(plan.next(now), Some(FleetAction::Start));
                plan.on_started(now, worker(number));
            }
            let gives_up = (!works).then_some(FleetAction::GiveUp { deaths: SHORT_LIVES });
            assert_eq!(plan.next(now), gives_up);
            assert_eq!(plan.next(now.after_ms(1_000_000)), None, "once");
        }
    }

    #[test]
    fn a_worker_on_a_machine_that_cannot_start_trainers_is_not_replaced() {
        let mut plan = fleet();
        plan.want(Time(1), 1);
        assert_eq!(plan.next(Time(1)), Some(FleetAction::Start));
        plan.on_started(Time(1), worker(1));
        plan.on_unfit(worker(0));
        assert_eq!((plan.next(Time(99_999)), plan.next_at(), plan.workers()), (None, None, 1));
        plan.on_unfit(worker(1));
        assert_eq!(plan.next(Time(99_999)), Some(FleetAction::NoneLeft));
        assert_eq!(plan.next(Time(99_999)), None, "once");
    }

    #[test]
    fn who_was_let_go_has_no_successor() {
        let mut plan = fleet();
        plan.dismiss(worker(0));
        assert!(!plan.on_ended(Time(1), worker(0)), "it was asked to");
        assert_eq!((plan.next(Time(1)), plan.next_at(), plan.workers()), (None, None, 0));
        let mut plan = fleet();
        plan.on_ended(Time(1), worker(0));
        plan.want(Time(1), 3);
        plan.dismiss_all();
        assert_eq!((plan.next(Time(99_999)), plan.next_at()), (None, None));
        assert!(!plan.on_ended(Time(2), worker(9)), "nobody knows it");
    }
}
