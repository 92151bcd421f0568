//! Policies side by side, over many beginnings of a trace.
//! Invariant: a number is a median over replays, or the worst of them where that is said.

use std::fmt::Write as _;

use gridctl_core::fleet::machines::Markets;

use super::{HOUR_MS, OURS, Outcome, Planner, Policy, Replay, Told, Trace, WORK_MS};

/// A planner that knows the trace is played with each of these as the least that a machine is worth, and the cheapest counts.
const LEAST_MS: [u64; 3] = [60_000, 1_200_000, 3_600_000];
/// A deadline in parts of what the sweep takes on demand, in hundredths.
const DEADLINE: u64 = 150;

/// What one policy comes to on one trace.
#[derive(Debug, Clone)]
pub struct Row {
    /// The policy's name.
    pub policy: &'static str,
    /// Its cost in parts of all on demand; the median.
    pub cost: f64,
    /// Its time in parts of that on demand; the median, and the longest.
    pub time: (f64, f64),
    /// Trials' time that counts for nothing, in parts of the useful; the median.
    pub waste: f64,
    /// Replays that were not over after twelve times as long.
    pub endless: usize,
    /// What each replay came to, and its cost and time in parts of those on demand.
    outcomes: Vec<Outcome>,
    costs: Vec<f64>,
    times: Vec<f64>,
}

/// What is promised, and what comes out.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// The cost in parts of that of who knows the trace; the median.
    pub of_knowing: f64,
    /// The cost in parts of all on demand; the median.
    pub of_on_demand: f64,
    /// How much more of the time on demand it takes than who knows the trace; the difference of the medians.
    pub slower: f64,
    /// What is done for nothing, in parts of the useful; the median.
    pub waste: f64,
    /// Replays that missed the deadline.
    pub missed: usize,
    /// The cost with a deadline in parts of that without; the median, and the highest.
    pub with_deadline: (f64, f64),
    /// The same, of replays that would have been in time without it, and how many these are.
    pub needless: (f64, usize),
}

/// Machines, and hours of a trial, of the cases that are played on each trace.
pub const CASES: [(u32, u64); 4] = [(12, 1), (18, 1), (12, 4), (18, 4)];

/// Policies that are compared, beside all on demand.
fn policies() -> Vec<Policy> {
    let spot = |name, checkpoints, told| Policy { name, checkpoints, told, ..OURS };
    vec![
        spot("spot, no checkpoints", false, Told::AtOnce),
        spot("spot, checkpoints, notices ignored", true, Told::Nothing),
        spot("spot, a checkpoint at the notice, then idle", true, Told::AtOnce),
        spot("spot, a checkpoint at SIGTERM", true, Told::AtTheEnd),
        OURS,
        Policy {
            name: "the same, on demand where there is no spot",
            markets: Markets::SpotThenOnDemand,
            ..OURS
        },
        Policy {
            name: "the same, on demand for a deadline",
            markets: Markets::SpotThenOnDemand,
            deadline_ms: Some(WORK_MS / 100 * DEADLINE),
            ..OURS
        },
    ]
}

/// Plays all policies on a trace from so many beginnings, with so many machines and trials of so many hours.
#[must_use]
pub fn compared(trace: &Trace, (machines, trial_hours): (u32, u64), begins: u64) -> (Vec<Row>, Figures) {
    let trial_ms = trial_hours * HOUR_MS;
    let trials = usize::try_from(WORK_MS / trial_ms).unwrap_or(1) * machines as usize;
    let play = |policy: Policy| -> Vec<Outcome> {
        let begin = |number: u64| trace.span_ms / begins * number;
        let replay =
            |number| Replay { trace, begin: begin(number), seed: number, machines, trial_ms, trials, policy };
        (0..begins).map(|number| replay(number).play()).collect()
    };
    let on_demand = play(Policy { name: "all on demand", markets: Markets::OnDemand, ..OURS });
    let mut rows = vec![Row::new("all on demand", on_demand.clone(), &on_demand)];
    rows.extend(policies().into_iter().map(|policy| Row::new(policy.name, play(policy), &on_demand)));
    let knowing = LEAST_MS.map(|least_ms| play(Policy { planner: Planner::Knowing { least_ms }, ..OURS }));
    let best = (0..knowing[0].len()).filter_map(|place| {
        knowing.iter().map(|all| all[place]).min_by_key(|outcome| (!outcome.has_ended, outcome.micros))
    });
    rows.push(Row::new("who knows the trace", best.collect(), &on_demand));
    let figures = figures(&rows);
    (rows, figures)
}

fn figures(rows: &[Row]) -> Figures {
    let of = |name: &str| rows.iter().find(|row| row.policy == name).expect("it is played");
    let (ours, knowing) = (of(OURS.name), of("who knows the trace"));
    let deadline = of("the same, on demand for a deadline");
    let late = |outcome: &Outcome| !outcome.has_ended || outcome.ms > WORK_MS / 100 * DEADLINE;
    let with_deadline = ratios(&deadline.outcomes, &ours.outcomes);
    let highest = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, f64::max);
    let in_time = || with_deadline.iter().zip(&ours.outcomes).filter(|(_, alone)| !late(alone));
    Figures {
        of_knowing: median(ratios(&ours.outcomes, &knowing.outcomes)),
        of_on_demand: ours.cost,
        slower: ours.time.0 - knowing.time.0,
        waste: ours.waste,
        missed: deadline.outcomes.iter().filter(|outcome| late(outcome)).count(),
        needless: (highest(&mut in_time().map(|(ratio, _)| *ratio)), in_time().count()),
        with_deadline: (median(with_deadline.clone()), highest(&mut with_deadline.iter().copied())),
    }
}

impl Row {
    fn new(policy: &'static str, outcomes: Vec<Outcome>, on_demand: &[Outcome]) -> Self {
        let times: Vec<f64> =
            outcomes.iter().zip(on_demand).map(|(one, other)| part(one.ms, other.ms)).collect();
        let costs = ratios(&outcomes, on_demand);
        Self {
            policy,
            cost: median(costs.clone()),
            time: (median(times.clone()), times.iter().copied().fold(0.0, f64::max)),
            waste: median(outcomes.iter().map(|one| part(one.wasted_ms, one.useful_ms)).collect()),
            endless: outcomes.iter().filter(|outcome| !outcome.has_ended).count(),
            outcomes,
            costs,
            times,
        }
    }
}

/// The costs in parts of others.
fn ratios(ours: &[Outcome], theirs: &[Outcome]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(one, other)| part(one.micros, other.micros)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "ratios for people")]
fn part(one: u64, other: u64) -> f64 {
    if other == 0 { 0.0 } else { one as f64 / other as f64 }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let middle = of.len() / 2;
    match of.len() {
        0 => 0.0,
        even if even % 2 == 0 => f64::midpoint(of[middle - 1], of[middle]),
        _ => of[middle],
    }
}

/// The table of one case, as people read it.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut out = String::from("| policy | cost | time | longest | waste |\n|---|--:|--:|--:|--:|\n");
    for row in rows {
        let endless = if row.endless > 0 { format!(", {} endless", row.endless) } else { String::new() };
        let Row { policy, cost, time: (median, longest), waste, .. } = row;
        let _ = writeln!(out, "| {policy}{endless} | {cost:.3} | {median:.2} | {longest:.2} | {waste:.3} |");
    }
    out
}

/// All policies on all traces, each over all its cases: the median cost, and in brackets the median time.
#[must_use]
pub fn summary(traces: &[(&str, Vec<Vec<Row>>)]) -> String {
    let mut out = String::from("| policy |");
    traces.iter().for_each(|(name, _)| out.push_str(&format!(" {name} |")));
    out.push_str("\n|---|");
    traces.iter().for_each(|_| out.push_str("--:|"));
    let policies = traces.first().and_then(|(_, cases)| cases.first()).map_or(0, Vec::len);
    for policy in 0..policies {
        for (place, (_, cases)) in traces.iter().enumerate() {
            let rows = || cases.iter().map(|rows| &rows[policy]);
            if place == 0 {
                let _ = write!(out, "\n| {} |", cases[0][policy].policy);
            }
            let (cost, time) = (rows().flat_map(|row| &row.costs), rows().flat_map(|row| &row.times));
            let (cost, time) = (median(cost.copied().collect()), median(time.copied().collect()));
            let mark = if rows().any(|row| row.endless > 0) { "*" } else { "" };
            let _ = write!(out, " {cost:.2} ({time:.2}){mark} |");
        }
    }
    out.push('\n');
    out
}
