//! Whether a worker's machine can start trainers: after a fault it rests, longer each time, and
//! after some in a row it is given up. Invariant: a fault is counted once, however many slots it
//! hits.

use serde::{Deserialize, Serialize};

use crate::id::Time;

/// The first rest, doubled for each further fault in a row, in milliseconds.
const FIRST_REST_MS: u64 = 1_000;
/// The longest rest, in milliseconds.
const LONGEST_REST_MS: u64 = 60_000;
/// A machine with so many faults in a row, on which nothing runs, is given up.
const MOST_FAULTS: u32 = 6;

/// What a worker says of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineHealth {
    /// It takes trials.
    #[default]
    Fit,
    /// It could not start a trainer, takes no trial for a while, and then tries again.
    Resting {
        /// What it lacked.
        fault: String,
    },
    /// What its trainers left cannot be written to the results volume: it is kept, and no trial is
    /// taken until it is published.
    CannotPublish {
        /// What the volume says.
        fault: String,
    },
    /// It could not start a trainer after several rests: its worker takes no more.
    GivenUp {
        /// What it lacked.
        fault: String,
    },
}

impl MachineHealth {
    /// Whether the machine takes trials.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        *self == Self::Fit
    }
}

/// Watches the starts of one machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct MachineWatch {
    /// Faults in a row.
    faults: u32,
    /// The last one of them.
    last: Option<(Time, String)>,
    rests_until: Option<Time>,
    given_up: bool,
}

impl MachineWatch {
    /// What was handed to a slot at `placed` could not be started for want of something of the
    /// machine's. `is_idle`: nothing else runs there.
    pub(crate) fn on_fault(&mut self, now: Time, placed: Time, fault: &str, is_idle: bool) {
        if self.last.as_ref().is_some_and(|(at, _)| placed <= *at) {
            self.given_up |= is_idle && self.faults >= MOST_FAULTS;
            return;
        }
        self.faults = self.faults.saturating_add(1);
        self.last = Some((now, fault.to_owned()));
        self.given_up = is_idle && self.faults >= MOST_FAULTS;
        let doublings = (self.faults - 1).min(16);
        self.rests_until = Some(now.after_ms((FIRST_REST_MS << doublings).min(LONGEST_REST_MS)));
    }

    /// A trainer that was handed to a slot at `placed` has begun.
    pub(crate) fn on_begun(&mut self, placed: Time) {
        if !self.given_up && self.last.as_ref().is_some_and(|(at, _)| placed > *at) {
            *self = Self::default();
        }
    }

    /// Ends a rest that is over.
    pub(crate) fn tick(&mut self, now: Time) {
        self.rests_until = self.rests_until.filter(|until| now < *until);
    }

    /// How the machine is, as of the last tick.
    pub(crate) fn health(&self) -> MachineHealth {
        let Some((_, fault)) = &self.last else { return MachineHealth::Fit };
        match (self.given_up, self.rests_until) {
            (true, _) => MachineHealth::GivenUp { fault: fault.clone() },
            (false, Some(_)) => MachineHealth::Resting { fault: fault.clone() },
            (false, None) => MachineHealth::Fit,
        }
    }

    /// Whether trials may be started.
    pub(crate) fn is_fit(&self) -> bool {
        !self.given_up && self.rests_until.is_none()
    }

    /// Why the machine was given up, if it was.
    pub(crate) fn why_given_up(&self) -> Option<&str> {
        self.last.as_ref().filter(|_| self.given_up).map(|(_, fault)| fault.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults and ticks until the machine is fit again; how long it rested, in milliseconds.
    fn rest(watch: &mut MachineWatch, now: &mut Time, is_idle: bool) -> u64 {
        watch.on_fault(now.after_ms(1), *now, "no processes", is_idle);
        let begin = now.after_ms(1);
        *now = begin;
        while !watch.is_fit() && watch.why_given_up().is_none() {
            *now = now.after_ms(500);
            watch.tick(*now);
        }
        now.ms_since(begin)
    }

    #[test]
    fn rests_double_until_the_machine_is_given_up() {
        let (mut watch, mut now) = (MachineWatch::default(), Time(0));
        let rests: Vec<u64> = (0..6).map(|_| rest(&mut watch, &mut now, true)).collect();
        assert_eq!(rests, [1_000, 2_000, 4_000, 8_000, 16_000, 0]);
        assert_eq!(watch.why_given_up(), Some("no processes"));
        watch.on_begun(now.after_ms(1));
        assert_eq!(watch.health(), MachineHealth::GivenUp { fault: "no processes".to_owned() });
    }

    #[test]
    fn a_machine_on_which_something_runs_is_not_given_up() {
        let (mut watch, mut now) = (MachineWatch::default(), Time(0));
        let rests: Vec<u64> = (0..9).map(|_| rest(&mut watch, &mut now, false)).collect();
        assert_eq!(rests[4..], [16_000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn of_several_faults_of_one_moment_the_last_one_leaves_nothing_running() {
        let mut watch = MachineWatch::default();
        for at in (10..70).step_by(10) {
            watch.on_fault(Time(at), Time(at - 1), "no processes", false);
            assert_eq!(watch.why_given_up(), None);
        }
        watch.on_fault(Time(60), Time(59), "no processes", true);
        assert_eq!(watch.why_given_up(), Some("no processes"));
    }

    #[test]
    fn faults_of_one_moment_are_one_and_only_a_later_start_proves_the_machine_fit() {
        let mut watch = MachineWatch::default();
        for _ in 0..20 {
            watch.on_fault(Time(10), Time(5), "no processes", true);
        }
        assert_eq!(watch.faults, 1);
        watch.on_begun(Time(9));
        assert!(matches!(watch.health(), MachineHealth::Resting { .. }), "begun before the fault");
        watch.tick(Time(1_010));
        assert_eq!(watch.health(), MachineHealth::Fit);
        watch.on_begun(Time(1_011));
        watch.on_fault(Time(1_020), Time(1_015), "no processes", true);
        watch.tick(Time(2_019));
        assert!(!watch.is_fit());
        watch.tick(Time(2_020));
        assert!(watch.is_fit(), "the first fault again");
    }
}
