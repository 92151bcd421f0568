//! What chance makes of a sweep's time on machines that are taken away now and then: a small simulation.
//! Invariant: the same question has the same answer, and a large sweep takes no longer to answer than a small one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::START_HOURS;
use crate::attempt::mix;

/// So often the sweep is played,
const PLAYS: usize = 40;
/// with so many trials at most, and about so many attempts: of a longer sweep only its first rounds.
const MOST_TRIALS: u64 = 4_000;
const MOST_ATTEMPTS: u64 = 40_000;
/// Rounds that are played before more places are: in few of them the unluckiest place weighs too much.
const ROUNDS: u64 = 10;
/// Milliseconds of an hour: the simulation counts whole ones.
const HOUR_MS: f64 = 3_600_000.0;

/// A fleet at work.
#[derive(Debug, Clone, Copy)]
pub(super) struct FleetAtWork {
    pub(super) machines: u64,
    /// Trials at once on each.
    pub(super) slots: u64,
    pub(super) trials: u64,
    pub(super) trial_hours: f64,
    /// How often a machine is taken away, an hour; its trials begin anew on the one that takes its place.
    pub(super) interruptions: f64,
}

/// Hours that half of all sweeps take at most, and nine of ten; the start of the machines not counted.
pub(super) fn hours(fleet: FleetAtWork) -> (f64, f64) {
    let (part, times) = sample(fleet);
    let mut plays: Vec<f64> = (0..PLAYS).map(|number| play(part, number as u64)).collect();
    plays.sort_by(f64::total_cmp);
    let mean = plays.iter().sum::<f64>() / ratio(PLAYS as u64, 1);
    // Luck evens out: the whole is the sum of so many such parts, and deviates by the root of that.
    let whole = |play: f64| mean * times + (play - mean) * times.sqrt();
    (whole(plays[PLAYS / 2]), whole(plays[PLAYS * 9 / 10]))
}

/// What is played of a fleet, and how many times as long the whole takes: of a large fleet some places, and of a long sweep some
/// rounds; fewer where a trial is begun many times before it ends.
fn sample(fleet: FleetAtWork) -> (FleetAtWork, f64) {
    let rounds = fleet.trials.div_ceil(fleet.machines.saturating_mul(fleet.slots).max(1));
    let most = (MOST_ATTEMPTS / tries(fleet)).clamp(1, MOST_TRIALS);
    let places = most / rounds.clamp(1, ROUNDS.min(most));
    let slots = fleet.slots.clamp(1, places);
    let machines = fleet.machines.clamp(1, places / slots);
    let few = rounds.min(most / (machines * slots));
    if (machines, slots, few) == (fleet.machines, fleet.slots, rounds) {
        return (fleet, 1.0);
    }
    (FleetAtWork { machines, slots, trials: machines * slots * few, ..fleet }, ratio(rounds, few))
}

/// How often a trial is begun on average until it ends.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of 1 or more, rounded")]
fn tries(fleet: FleetAtWork) -> u64 {
    (libm::exp(fleet.interruptions * fleet.trial_hours) as u64).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "counts of rounds")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

/// Plays the sweep once: each trial begins where a place is free first.
fn play(fleet: FleetAtWork, seed: u64) -> f64 {
    let mut chance = Chance(mix(seed));
    let machines = usize::try_from(fleet.machines).unwrap_or(1);
    let mut taken: Vec<u64> = (0..machines).map(|_| chance.wait_ms(fleet.interruptions)).collect();
    let slots = 0..fleet.slots;
    let mut free: BinaryHeap<Reverse<(u64, usize)>> =
        slots.flat_map(|_| (0..machines).map(|machine| Reverse((0, machine)))).collect();
    let (trial_ms, start_ms) = (to_ms(fleet.trial_hours), to_ms(START_HOURS));
    let (mut left, mut end) = (fleet.trials, 0);
    // What never ends was refused before; this bounds it all the same.
    for _ in 0..50 * MOST_ATTEMPTS {
        let Some(Reverse((now, machine))) = free.pop().filter(|_| left > 0) else { break };
        while taken[machine] <= now {
            taken[machine] = taken[machine].saturating_add(chance.wait_ms(fleet.interruptions).max(1));
        }
        let done = now.saturating_add(trial_ms);
        if done <= taken[machine] {
            left -= 1;
            end = end.max(done);
            free.push(Reverse((done, machine)));
        } else {
            free.push(Reverse((taken[machine].saturating_add(start_ms), machine)));
        }
    }
    from_ms(end)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a forecast, above 0")]
fn to_ms(hours: f64) -> u64 {
    (hours * HOUR_MS).ceil() as u64
}

#[expect(clippy::cast_precision_loss, reason = "times of a forecast")]
fn from_ms(ms: u64) -> f64 {
    ms as f64 / HOUR_MS
}

/// Draws, one after the other.
struct Chance(u64);

impl Chance {
    /// Until something happens that happens so often an hour.
    #[expect(clippy::cast_precision_loss, reason = "a draw between 0 and 1")]
    fn wait_ms(&mut self, an_hour: f64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        if an_hour <= 0.0 {
            return u64::MAX;
        }
        let even = ((mix(self.0) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        to_ms(-libm::log(even) / an_hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> FleetAtWork {
        FleetAtWork { machines: 17, slots: 4, trials: 680, trial_hours: 1.0, interruptions: 0.06 }
    }

    #[test]
    fn without_interruptions_there_is_no_chance() {
        let (half, most) = hours(FleetAtWork { interruptions: 0.0, ..fleet() });
        assert!((half - 10.0).abs() < 1e-9 && (most - 10.0).abs() < 1e-9, "{half} {most}");
    }

    #[test]
    fn interruptions_cost_about_what_the_formula_says_and_at_times_more() {
        // (e^0.06 - 1) / 0.06 is 1.03, and the last round waits for its unlucky ones.
        let (half, most) = hours(fleet());
        assert!((10.3..12.6).contains(&half) && half <= most && most < 14.0, "{half} {most}");
        let long = FleetAtWork { trials: 8, slots: 1, machines: 4, trial_hours: 10.0, interruptions: 0.2 };
        let (half, most) = hours(long);
        let mean = 20.0 * (libm::expm1(2.0) / 2.0);
        assert!(half > mean && most > 1.2 * half, "{half} {most} {mean}");
        assert_eq!(hours(long), hours(long));
    }

    #[test]
    fn what_is_played_has_a_bound_however_often_trials_begin_anew() {
        for (machines, slots, trials, trial_hours, interruptions) in [
            (16, 4, 100_000, 3.0, 2.0),
            (1, 128, 100_000, 6.5, 1.0),
            (1 << 40, 1 << 40, u64::MAX, 1e9, 1e9),
            (0, 0, 1, 0.0, 0.0),
            (3, 2, 7, 0.5, 0.1),
        ] {
            let whole = FleetAtWork { machines, slots, trials, trial_hours, interruptions };
            let (part, scale) = sample(whole);
            assert!(part.trials == 1 || part.trials * tries(part) <= MOST_ATTEMPTS, "{part:?}");
            assert!(scale >= 1.0 && part.trials <= trials.max(1), "{part:?} {scale}");
        }
    }

    #[test]
    fn luck_evens_out_in_a_long_sweep() {
        let long = FleetAtWork { trials: 100_000, trial_hours: 3.0, interruptions: 2.0, ..fleet() };
        let (half, most) = hours(long);
        // Each trial takes (e^6 - 1) / 6 times its time.
        let mean = 3.0 * 100_000.0 / 68.0 * (libm::expm1(6.0) / 6.0);
        assert!(
            (0.8..1.3).contains(&(half / mean)) && half <= most && most < 1.2 * half,
            "{half} {most} {mean}"
        );
    }

    #[test]
    fn a_huge_sweep_takes_no_longer_to_answer() {
        let (half, most) = hours(FleetAtWork { trials: 10_000_000, ..fleet() });
        let rounds = 10_000_000.0 / 68.0;
        assert!(half > rounds && most < 1.3 * rounds, "{half} {most}");
        let wide = FleetAtWork { machines: 1 << 40, trials: u64::MAX, ..fleet() };
        assert!(hours(wide).0.is_finite());
    }
}
