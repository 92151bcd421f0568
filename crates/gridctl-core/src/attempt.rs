//! How an attempt ends, and what follows: evidence -> class -> budgets -> done, head of the queue,
//! or backoff.
//! Invariant: this is the one table of ends. Every end has exactly one class, counts against one
//! budget at most, and every budget is finite.

pub mod stop;
pub mod verdict;

use serde::{Deserialize, Serialize};

use crate::record::{Class, Exit, Report, TrialState};
use crate::spec::Retry;

/// The exit code by which a trainer asks for another try (`EX_TEMPFAIL`), whatever the sweep file
/// says.
pub const EXIT_RELEASED: i32 = 75;
/// Attempts that preemption, drains, losses and faults of machines may cost a trial; one more
/// quarantines it.
pub const MAX_LOST: u8 = 50;
/// Attempts that may end before a trainer was started; one more quarantines the trial.
pub const MAX_UNBEGUN: u16 = 1_000;
/// Attempts that a trainer may give back with [`EXIT_RELEASED`]; one more is final.
pub const MAX_RELEASED: u8 = 20;
/// After so many lost attempts a trial gets a worker of its own, so that it takes no other trial
/// with it.
pub const SUSPICIOUS: u8 = 3;
/// The longest backoff before the first retry, in milliseconds; doubled for each further one.
pub const BACKOFF_BASE_MS: u64 = 1_000;
/// The longest backoff at all, in milliseconds.
pub const BACKOFF_CAP_MS: u64 = 60_000;

/// Why the worker asked a trainer to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It went over the sweep's `timeout`.
    Timeout,
    /// The user ended it.
    Cancelled,
    /// The worker is to stop.
    Drained,
    /// The machine is being taken.
    Preempted,
    /// A newer attempt holds the trial.
    Fenced,
}

impl StopReason {
    /// The class of an attempt that was asked to stop for this reason and had not said `::done`.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Timeout => Class::Timeout,
            Self::Cancelled => Class::Cancelled,
            Self::Drained => Class::Drained,
            Self::Preempted => Class::Preempted,
            Self::Fenced => Class::Fenced,
        }
    }
}

/// What the worker knows of an attempt whose process has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// How the process ended.
    pub exit: Exit,
    /// Whether it was asked to stop *before* it ended, and why.
    pub asked_to_stop: Option<StopReason>,
    /// The kernel's counters say that something of the attempt was killed for memory.
    pub oom_kills: bool,
    /// CUDA's own out-of-memory error stands in the output.
    pub cuda_oom: bool,
    /// The sweep names an objective.
    pub has_objective_spec: bool,
    /// Its value, if it was seen; NaN was seen.
    pub objective: Option<f64>,
    /// The trainer printed `::done`.
    pub done: bool,
    /// The trainer put something else in the place of a directory that it was given.
    pub dir_replaced: bool,
}

/// The class of an attempt that ended by this evidence, and whether no retry can help.
///
/// `::done` stands for the exit code and outlives a request to stop, but it does not stand for an
/// objective that was never seen. An exit code that the file lists goes before what the counters
/// say, for the trainer chose it. A trainer that replaced a directory has failed, whatever it says:
/// what it left cannot be kept, and another try would do the same. `lost` and `worker_fault` are
/// not for here: the first has no evidence, the second is known before there is any.
#[must_use]
pub fn classify(evidence: &Evidence, retry: &Retry) -> (Class, bool) {
    match by_its_own_end(evidence, retry) {
        (Class::Succeeded | Class::NoMetric | Class::Failed | Class::Released, _)
            if evidence.dir_replaced =>
        {
            (Class::Failed, true)
        }
        end => end,
    }
}

fn by_its_own_end(evidence: &Evidence, retry: &Retry) -> (Class, bool) {
    let complete = !evidence.has_objective_spec || evidence.objective.is_some();
    match evidence.asked_to_stop {
        Some(StopReason::Fenced) => return (Class::Fenced, false),
        _ if evidence.done && complete => return (Class::Succeeded, false),
        Some(reason) => return (reason.class(), false),
        None => {}
    }
    match evidence.exit {
        Exit::Code(0) if complete => (Class::Succeeded, false),
        Exit::Code(0) => (Class::NoMetric, false),
        Exit::Code(code) if retry.fatal_exit_codes.contains(&code) => (Class::Failed, true),
        Exit::Code(code) if code == EXIT_RELEASED || retry.on_exit_codes.contains(&code) => {
            (Class::Released, false)
        }
        Exit::Code(_) | Exit::Signal(_) if evidence.oom_kills => (Class::Oom, false),
        Exit::Code(_) | Exit::Signal(_) if evidence.cuda_oom => (Class::Oom, true),
        Exit::Code(_) | Exit::Signal(_) | Exit::NotStarted => (Class::Failed, false),
    }
}

/// What an end counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// `max_failures` of the sweep file.
    Failures,
    /// [`MAX_LOST`].
    Lost,
    /// [`MAX_RELEASED`].
    Released,
}

impl Budget {
    /// The budget that an end of this class counts against.
    #[must_use]
    pub fn of(class: Class) -> Option<Self> {
        match class {
            Class::NoMetric | Class::Failed | Class::Oom | Class::Timeout => Some(Self::Failures),
            Class::Released => Some(Self::Released),
            Class::Preempted | Class::Drained | Class::Lost | Class::WorkerFault => Some(Self::Lost),
            Class::Succeeded | Class::Cancelled | Class::Fenced => None,
        }
    }
}

/// The part of an attempt's end that decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End<'a> {
    /// Its class.
    pub class: Class,
    /// No retry can help.
    pub fatal: bool,
    /// No trainer was started, through no fault of the trial's.
    pub unbegun: bool,
    /// The line that looks like the error.
    pub error: Option<&'a str>,
    /// The checkpoint changed during the attempt.
    pub checkpoint_moved: bool,
}

impl End<'_> {
    /// An end of which nothing is known but its class: a lost attempt's.
    #[must_use]
    pub fn bare(class: Class) -> Self {
        Self { class, fatal: false, unbegun: false, error: None, checkpoint_moved: false }
    }
}

impl<'a> From<&'a Report> for End<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            class: report.class,
            fatal: report.fatal,
            unbegun: report.unbegun,
            error: report.error.as_deref(),
            checkpoint_moved: report.checkpoint_moved,
        }
    }
}

/// What follows an attempt's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The trial has ended, in this state.
    Done(TrialState),
    /// Back to the head of the queue: it was not the trial's fault.
    Front,
    /// Another try after a wait drawn from 0 to `base_ms`: see [`full_jitter`].
    Backoff {
        /// The longest wait, in milliseconds.
        base_ms: u64,
    },
}

/// What one generation of a trial has used up of its budgets. The default is a trial that was never
/// tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Ends that counted against `max_failures`.
    pub failures: u32,
    /// Ends that counted against [`MAX_LOST`].
    pub lost: u8,
    /// Ends that counted against [`MAX_RELEASED`].
    pub released: u8,
    /// Ends before a trainer was started.
    #[serde(default)]
    pub unbegun: u16,
    /// How often the worker vanished while it held the trial.
    pub suspicion: u8,
    /// A hash of the last failed attempt's error line; 0 for none.
    pub last_error: u32,
}

impl Tally {
    /// Whether the next attempt must have a worker for itself.
    #[must_use]
    pub fn must_be_alone(&self) -> bool {
        self.suspicion >= SUSPICIOUS
    }

    /// One of the failures was a machine's fault: it counts as lost, as far as there is room, and
    /// its error proves nothing.
    pub fn excuse(&mut self) {
        if self.failures > 0 && self.lost < MAX_LOST {
            self.failures -= 1;
            self.lost += 1;
            self.last_error = 0;
        }
    }

    /// Counts one end and says what follows. Every end but `lost` was reported under the trial's
    /// current token.
    pub fn count(&mut self, end: &End<'_>, retry: &Retry) -> Next {
        match (end.class, Budget::of(end.class)) {
            (Class::Succeeded, _) => Next::Done(TrialState::Succeeded),
            (Class::Cancelled, _) => Next::Done(TrialState::Cancelled),
            (_, Some(Budget::Failures)) => self.count_failure(end, retry),
            (_, Some(Budget::Released)) => self.count_released(),
            // A fenced attempt's token is not the current one, so it does not get here; if it did,
            // it must not recur for ever.
            (_, Some(Budget::Lost)) if end.unbegun => self.count_unbegun(),
            (class, Some(Budget::Lost) | None) => self.count_lost(class),
        }
    }

    fn count_failure(&mut self, end: &End<'_>, retry: &Retry) -> Next {
        self.failures = self.failures.saturating_add(1);
        let is_final = match end.class {
            Class::Failed => self.repeats_error(end.error) || end.fatal,
            // What it prints is a matter of the program: a third try would print the same.
            Class::NoMetric => self.repeats_error(Some(Class::NoMetric.as_str())) || end.fatal,
            Class::Timeout => !end.checkpoint_moved,
            _ => end.fatal,
        };
        if is_final || self.failures > retry.max_failures {
            return Next::Done(TrialState::Failed);
        }
        Next::Backoff { base_ms: backoff_ceiling_ms(self.failures) }
    }

    /// Whether the last failed attempt had this error line too; remembers it for the next one.
    fn repeats_error(&mut self, error: Option<&str>) -> bool {
        let hash = error.map_or(0, error_hash);
        let before = std::mem::replace(&mut self.last_error, hash);
        hash != 0 && hash == before
    }

    fn count_released(&mut self) -> Next {
        self.released = self.released.saturating_add(1);
        if self.released > MAX_RELEASED {
            return Next::Done(TrialState::Failed);
        }
        Next::Backoff { base_ms: backoff_ceiling_ms(u32::from(self.released)) }
    }

    fn count_unbegun(&mut self) -> Next {
        self.unbegun = self.unbegun.saturating_add(1);
        match self.unbegun {
            0..=MAX_UNBEGUN => Next::Front,
            _ => Next::Done(TrialState::Quarantined),
        }
    }

    fn count_lost(&mut self, class: Class) -> Next {
        let was_alone = self.must_be_alone();
        self.lost = self.lost.saturating_add(1);
        if class == Class::Lost {
            self.suspicion = self.suspicion.saturating_add(1);
        }
        if self.lost > MAX_LOST || (was_alone && class == Class::Lost) {
            return Next::Done(TrialState::Quarantined);
        }
        Next::Front
    }
}

/// A hash that is the same in every build, and never 0.
fn error_hash(line: &str) -> u32 {
    let hash = blake3::hash(line.as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

/// The longest wait before retry `number` (from 1): doubles from [`BACKOFF_BASE_MS`] up to
/// [`BACKOFF_CAP_MS`].
#[must_use]
pub fn backoff_ceiling_ms(number: u32) -> u64 {
    let doublings = number.saturating_sub(1).min(16);
    (BACKOFF_BASE_MS << doublings).min(BACKOFF_CAP_MS)
}

/// A wait from 0 to `base_ms`, both included, that depends on `seed` alone ("full jitter").
#[must_use]
pub fn full_jitter(base_ms: u64, seed: u64) -> u64 {
    mix(seed) % base_ms.saturating_add(1)
}

/// A fixed, well-mixed function of `seed` (the finaliser of splitmix64).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry { max_failures: 2, on_exit_codes: vec![42], fatal_exit_codes: vec![64] }
    }

    /// Exit 0 with an objective that was seen.
    fn good() -> Evidence {
        Evidence {
            exit: Exit::Code(0),
            asked_to_stop: None,
            oom_kills: false,
            cuda_oom: false,
            has_objective_spec: true,
            objective: Some(0.9),
            done: false,
            dir_replaced: false,
        }
    }

    fn assert_classes(cases: &[(&str, Evidence, Class, bool)]) {
        for (name, evidence, class, fatal) in cases {
            assert_eq!(classify(evidence, &retry()), (*class, *fatal), "{name}");
        }
    }

    #[test]
    fn an_attempt_that_ends_by_itself_has_the_class_that_its_evidence_shows() {
        let failed = Evidence { exit: Exit::Code(1), ..good() };
        let silent = Evidence { objective: None, ..good() };
        let exit = |exit| Evidence { exit, ..good() };
        assert_classes(&[
            ("exit 0 and the objective", good(), Class::Succeeded, false),
            ("diverged was seen", Evidence { objective: Some(f64::NAN), ..good() }, Class::Succeeded, false),
            ("none asked for", Evidence { has_objective_spec: false, ..silent }, Class::Succeeded, false),
            ("done, then a crash at exit", Evidence { done: true, ..failed }, Class::Succeeded, false),
            ("done without the objective", Evidence { done: true, ..silent }, Class::NoMetric, false),
            ("exit 0 without the objective", silent, Class::NoMetric, false),
            ("exit 0, a helper was killed", Evidence { oom_kills: true, ..good() }, Class::Succeeded, false),
            ("another exit code", failed, Class::Failed, false),
            ("a signal of its own", exit(Exit::Signal(11)), Class::Failed, false),
            ("137 alone is not out of memory", exit(Exit::Code(137)), Class::Failed, false),
            ("SIGKILL alone is not either", exit(Exit::Signal(9)), Class::Failed, false),
            ("never started", Evidence { exit: Exit::NotStarted, ..silent }, Class::Failed, false),
            ("a fatal exit code", exit(Exit::Code(64)), Class::Failed, true),
            (
                "the kernel's counter",
                Evidence { oom_kills: true, ..exit(Exit::Signal(9)) },
                Class::Oom,
                false,
            ),
            ("CUDA's own", Evidence { cuda_oom: true, ..failed }, Class::Oom, true),
            ("75", exit(Exit::Code(75)), Class::Released, false),
            ("a listed code", exit(Exit::Code(42)), Class::Released, false),
            (
                "75 after CUDA's own",
                Evidence { cuda_oom: true, ..exit(Exit::Code(75)) },
                Class::Released,
                false,
            ),
        ]);
    }

    #[test]
    fn a_trainer_that_replaced_a_directory_has_failed_for_good_unless_others_ended_it() {
        let replaced = |evidence| Evidence { dir_replaced: true, ..evidence };
        let exit = |code| Evidence { exit: Exit::Code(code), ..good() };
        let asked = Evidence { asked_to_stop: Some(StopReason::Preempted), ..good() };
        assert_classes(&[
            ("exit 0 and the objective", replaced(good()), Class::Failed, true),
            ("it said done", replaced(Evidence { done: true, ..asked }), Class::Failed, true),
            ("without the objective", replaced(Evidence { objective: None, ..good() }), Class::Failed, true),
            ("another exit code", replaced(exit(1)), Class::Failed, true),
            ("75", replaced(exit(75)), Class::Failed, true),
            ("the machine is taken", replaced(asked), Class::Preempted, false),
            ("out of memory", replaced(Evidence { oom_kills: true, ..exit(1) }), Class::Oom, false),
        ]);
    }

    #[test]
    fn a_trainer_that_was_asked_to_stop_succeeds_only_by_saying_done() {
        let asked = |reason| Evidence { asked_to_stop: Some(reason), ..good() };
        let said = |reason| Evidence { done: true, exit: Exit::Signal(9), ..asked(reason) };
        let released = Evidence { exit: Exit::Code(75), ..asked(StopReason::Preempted) };
        let no_objective = Evidence { objective: None, ..said(StopReason::Drained) };
        assert_classes(&[
            ("over the timeout, exit 0", asked(StopReason::Timeout), Class::Timeout, false),
            ("cancelled, exit 0", asked(StopReason::Cancelled), Class::Cancelled, false),
            ("drained, exit 0", asked(StopReason::Drained), Class::Drained, false),
            ("preempted, exit 0", asked(StopReason::Preempted), Class::Preempted, false),
            ("preempted, 75", released, Class::Preempted, false),
            ("fenced, exit 0", asked(StopReason::Fenced), Class::Fenced, false),
            ("timeout after done", said(StopReason::Timeout), Class::Succeeded, false),
            ("cancelled after done", said(StopReason::Cancelled), Class::Succeeded, false),
            ("preempted after done", said(StopReason::Preempted), Class::Succeeded, false),
            ("fenced after done", said(StopReason::Fenced), Class::Fenced, false),
            ("drained after done without objective", no_objective, Class::Drained, false),
        ]);
    }

    #[test]
    fn what_follows_an_end_is_decided_by_its_class_and_the_budgets() {
        let end = End::bare;
        let error = |line| End { error: Some(line), ..end(Class::Failed) };
        let fatal = |class| End { fatal: true, ..end(class) };
        let unbegun = End { unbegun: true, ..end(Class::WorkerFault) };
        let moved = End { checkpoint_moved: true, ..end(Class::Timeout) };
        let done = Next::Done;
        let wait = |base_ms| Next::Backoff { base_ms };
        let cases: Vec<(&str, Vec<End<'_>>, Next)> = vec![
            ("success", vec![end(Class::Succeeded)], done(TrialState::Succeeded)),
            ("cancelled", vec![end(Class::Cancelled)], done(TrialState::Cancelled)),
            ("first failure", vec![end(Class::Failed)], wait(1_000)),
            ("second failure", vec![end(Class::Failed); 2], wait(2_000)),
            ("third failure", vec![end(Class::Failed); 3], done(TrialState::Failed)),
            ("no metric", vec![end(Class::NoMetric)], wait(1_000)),
            ("no metric twice", vec![end(Class::NoMetric); 2], done(TrialState::Failed)),
            ("out of memory thrice", vec![end(Class::Oom); 3], done(TrialState::Failed)),
            (
                "one budget for four classes",
                vec![end(Class::NoMetric), end(Class::Oom), end(Class::Failed)],
                done(TrialState::Failed),
            ),
            ("a fatal code", vec![fatal(Class::Failed)], done(TrialState::Failed)),
            ("CUDA's own", vec![fatal(Class::Oom)], done(TrialState::Failed)),
            ("the same error twice", vec![error("boom"); 2], done(TrialState::Failed)),
            ("another error", vec![error("boom"), error("bang")], wait(2_000)),
            (
                "the same error around a preemption",
                vec![error("boom"), end(Class::Preempted), error("boom")],
                done(TrialState::Failed),
            ),
            (
                "the same error around another",
                vec![error("boom"), end(Class::Failed), error("boom")],
                done(TrialState::Failed),
            ),
            ("timeout without progress", vec![end(Class::Timeout)], done(TrialState::Failed)),
            ("timeout with progress", vec![moved], wait(1_000)),
            ("timeout with progress thrice", vec![moved; 3], done(TrialState::Failed)),
            ("released once", vec![end(Class::Released)], wait(1_000)),
            ("released twenty times", vec![end(Class::Released); 20], wait(60_000)),
            ("released too often", vec![end(Class::Released); 21], done(TrialState::Failed)),
            ("preempted fifty times", vec![end(Class::Preempted); 50], Next::Front),
            ("preempted too often", vec![end(Class::Preempted); 51], done(TrialState::Quarantined)),
            ("drained too often", vec![end(Class::Drained); 51], done(TrialState::Quarantined)),
            ("faults of machines", vec![end(Class::WorkerFault); 51], done(TrialState::Quarantined)),
            ("never begun a thousand times", vec![unbegun; 1_000], Next::Front),
            ("never begun too often", vec![unbegun; 1_001], done(TrialState::Quarantined)),
            ("lost thrice", vec![end(Class::Lost); 3], Next::Front),
            ("lost while alone", vec![end(Class::Lost); 4], done(TrialState::Quarantined)),
            ("fenced is not for ever", vec![end(Class::Fenced); 51], done(TrialState::Quarantined)),
        ];
        for (name, ends, expected) in cases {
            let mut tally = Tally::default();
            let last = ends.iter().map(|end| tally.count(end, &retry())).last();
            assert_eq!(last, Some(expected), "{name}");
        }
    }

    #[test]
    fn losses_never_touch_the_failure_budget_and_only_silence_raises_suspicion() {
        let mut tally = Tally::default();
        for class in [Class::Preempted, Class::Drained, Class::WorkerFault, Class::Lost, Class::Lost] {
            assert_eq!(tally.count(&End::bare(class), &retry()), Next::Front, "{class}");
        }
        assert_eq!((tally.failures, tally.lost, tally.suspicion), (0, 5, 2));
        assert!(!tally.must_be_alone());
        tally.count(&End::bare(Class::Lost), &retry());
        assert!(tally.must_be_alone());
        assert_eq!(tally.count(&End::bare(Class::Preempted), &retry()), Next::Front, "preempted while alone");
    }

    #[test]
    fn attempts_are_finite_whatever_the_order_of_their_ends() {
        let classes =
            Class::ALL.into_iter().filter(|class| !matches!(class, Class::Succeeded | Class::Cancelled));
        let classes: Vec<Class> = classes.collect();
        for seed in 0..200_u64 {
            let mut tally = Tally::default();
            let attempts = (0_u64..).take_while(|step| {
                let pick = mix(seed * 1_000 + step) % classes.len() as u64;
                let end =
                    End { checkpoint_moved: true, ..End::bare(classes[usize::try_from(pick).unwrap()]) };
                !matches!(tally.count(&end, &retry()), Next::Done(_))
            });
            let limit = usize::from(MAX_LOST) + usize::from(MAX_RELEASED) + 2;
            assert!(attempts.count() <= limit, "seed {seed}");
        }
    }

    #[test]
    fn backoff_doubles_to_its_cap_and_is_spread_over_the_whole_range() {
        let ceilings: Vec<u64> = (1..=8).map(backoff_ceiling_ms).collect();
        assert_eq!(ceilings, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff_ceiling_ms(u32::MAX), BACKOFF_CAP_MS);
        let waits: Vec<u64> = (0..1_000).map(|seed| full_jitter(backoff_ceiling_ms(3), seed)).collect();
        assert!(waits.iter().all(|wait| *wait <= 4_000));
        let mean = waits.iter().sum::<u64>() / 1_000;
        assert!((1_800..=2_200).contains(&mean), "{mean}");
        assert_eq!(full_jitter(u64::MAX, 1), mix(1) % u64::MAX);
    }
}
