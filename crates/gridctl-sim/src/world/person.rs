//! The person: submits, changes the file, has trials tried again, pauses, resumes, cancels; and
//! sometimes says it twice.
//! Invariant: a question that gets no answer because the master died is asked again.

use gridctl_core::id::{CodeHash, SweepId};
use gridctl_core::output::Output;
use gridctl_core::points::Trial;
use gridctl_core::protocol::{FrozenSweep, Sources};
use gridctl_core::record::TrialState;
use gridctl_core::sched::{
    Answer, Changed, Input, PriorOutcomes, Refusal, Request, Steer, Submission, Sweep, TrialPlace,
};
use gridctl_core::spec::{self, AxisValues, SweepSpec};
use rand::RngExt;

use super::{Happens, World};
use crate::audit::Violation;
use crate::trainer;

impl World {
    /// Submits the sweeps that no master has yet.
    pub(super) fn first_submissions(&mut self) {
        for sweep in 0..self.plan.sweeps {
            let submission = self.submission(sweep);
            let Some(master) = self.master.as_mut() else { return };
            if master.driver.core().sweep_named(&name(sweep)).is_none() {
                master.driver.push(Input::Submit(Request(1), Box::new(submission)));
            }
        }
    }

    /// The file as it stands now: each change of it makes the axis longer or shorter.
    fn submission(&self, sweep: usize) -> Submission {
        let submitted = self.submitted.get(sweep).copied().unwrap_or_default();
        let count = self.plan.trials.unsigned_abs() + 7 * u64::from(submitted % 3);
        let frozen = FrozenSweep {
            uuid: name(sweep),
            spec: spec(sweep, count, self.plan.seed.is_multiple_of(2)),
            source: String::new(),
            file: None,
            sources: Sources { base: "/".to_owned(), code: None, data: None },
            output: Output::InDataDir,
            env: Vec::new(),
            code: CodeHash::of(&[if submitted > 1 { "other code" } else { "code" }]),
            reader: gridctl_core::metrics::READER_RULE,
            files: Vec::new(),
        };
        Submission {
            frozen,
            known: Vec::new(),
            looked_up: None,
            changed: Some(Changed::Keep),
            retry_failed: false,
            rerun: false,
            beside: Vec::new(),
        }
    }

    pub(super) fn submit_changed(&mut self, id: SweepId) {
        let mut names = (0..self.plan.sweeps).map(name);
        let core = self.master.as_ref().map(|master| master.driver.core());
        let Some(of_id) = core.and_then(|core| core.sweep(id)).map(Sweep::name) else { return };
        let Some(sweep) = names.position(|name| name == of_id) else { return };
        self.submitted[sweep] += 1;
        let mut submission = self.submission(sweep);
        let times = self.times();
        let looks_before = self.rng.random_bool(0.5);
        if let Some(master) = self.master.as_mut() {
            let candidates =
                if looks_before { PriorOutcomes::of(master.driver.core(), &mut submission) } else { None };
            submission.looked_up = candidates.map(|mut candidates| {
                self.durable.show(&mut candidates);
                candidates.looked_up()
            });
            for _ in 0..times {
                master.driver.push(Input::Submit(Request(2), Box::new(submission.clone())));
            }
        }
    }

    /// Asks for another try of what has failed; false if nothing has.
    pub(super) fn retry_failed(&mut self) -> bool {
        let (times, number) = (self.times(), self.rng.random_range(0..self.plan.sweeps));
        let Some(master) = self.master.as_mut() else { return false };
        let Some(sweep) = master.driver.core().sweeps().nth(number) else { return false };
        let id = sweep.id();
        let failed = (0..sweep.points().len()).filter(|index| sweep.state_of(*index) == TrialState::Failed);
        let place = |index| {
            let Trial { params, repeat, .. } = sweep.points().trial(index);
            TrialPlace { trial: sweep.points().trial_id(index), point: Some((params, repeat)) }
        };
        let trials: Vec<_> = failed.map(place).collect();
        if trials.is_empty() {
            return false;
        }
        for _ in 0..times {
            master.driver.push(Input::Retry(Request(5), id, trials.clone()));
        }
        true
    }

    /// A request may come twice.
    fn times(&mut self) -> u32 {
        self.rng.random_range(1..3)
    }

    pub(super) fn steer(&mut self, sweep: SweepId, steer: Steer) {
        if let Some(master) = self.master.as_mut() {
            master.driver.push(Input::Steer(Request(3), sweep, steer));
        }
    }

    /// The sweep is over or paused: a pause is looked into, and resumed.
    pub(super) fn turned(&mut self) {
        self.queue.after(5_000, Happens::Resumes);
    }

    /// A person who finds a sweep paused resumes it, and looks again: the master may have died over
    /// it.
    pub(super) fn resume(&mut self) -> Result<(), Violation> {
        let paused = self.paused();
        if self.statuses().is_empty() || !paused.is_empty() {
            self.queue.after(5_000, Happens::Resumes);
        }
        let resume = |sweep| Input::Steer(Request(4), sweep, Steer::Resume);
        paused.into_iter().try_for_each(|sweep| self.push(resume(sweep)))
    }

    #[expect(clippy::unused_self, reason = "answers belong to the person")]
    pub(super) fn answered(&mut self, answer: &Result<Answer, Refusal>) -> Result<(), Violation> {
        match answer {
            // A trial that is to be tried again may be underway already, or no trial of a newer
            // version.
            Ok(_)
            | Err(Refusal::Over { .. } | Refusal::UnknownSweep(_))
            | Err(Refusal::NotEnded { .. } | Refusal::UnknownTrial { .. }) => Ok(()),
            Err(refusal) => Err(Violation(format!("a person is refused: {refusal}"))),
        }
    }
}

/// The name of a sweep, which is also its uuid.
pub(super) fn name(sweep: usize) -> String {
    format!("simulated-{sweep}")
}

/// No trial is in two sweeps.
fn spec(sweep: usize, count: u64, spread: bool) -> SweepSpec {
    let file = format!(
        "name: {}\ncommand: ['true']\nmetric: {{name: {}, goal: maximize}}\n\
        order: {}\nretry: {{max_failures: {}}}\nparameters: {{n: {{value: 0}}}}\n",
        name(sweep),
        trainer::OBJECTIVE,
        if spread { "spread" } else { "file" },
        trainer::MAX_FAILURES,
    );
    let parsed = spec::parse(file.as_bytes(), &spec::Context { file_stem: "simulated", count: None });
    let first = 1_000 * i64::try_from(sweep).unwrap_or_default();
    let mut spec = parsed.expect("a file without mistakes").spec;
    spec.axes[0].values = AxisValues::IntRange { min: first, step: 1, count };
    spec
}
