//! Traces of spot machines that somebody had, and what of them is played: machines that are to be had from one moment to another.
//! Invariant: what is played is the trace as it was recorded, again and again where a replay lasts longer.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What lives at a trace's end and is none of the first ones of its start ends so long after, in milliseconds.
const SEAM_MS: u64 = 600_000;

/// A machine that may be had, in milliseconds of the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A machine of a trace begins or ends.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Up,
    /// The one of this name, or any.
    Down(Option<u32>),
}

/// What was recorded.
#[derive(Debug, Clone)]
enum Record {
    /// Machines that came and went: when, what, and which one.
    Turns(Vec<(u64, Turn, u32)>),
    /// How long machines lived that came whenever somebody wanted one, and whether they were taken.
    Lives(Vec<(u64, bool)>),
}

/// A trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its name, for people.
    pub name: &'static str,
    record: Record,
    /// How long it is, in milliseconds.
    pub span_ms: u64,
}

/// The traces that lie beside the simulator.
#[must_use]
pub fn traces() -> Vec<Trace> {
    vec![
        Trace::turns("p3 of AWS", include_str!("../../traces/bamboo/p3.csv")),
        Trace::turns("g4dn of AWS", include_str!("../../traces/bamboo/g4dn.csv")),
        Trace::counts("g4dn, one zone", include_str!("../../traces/bamboo/g4dn-counts.csv"), 1_000.0),
        Trace::counts("p2 of AWS", include_str!("../../traces/bamboo/p2-counts.csv"), 3_600_000.0),
        Trace::dated("V100 of Google", include_str!("../../traces/bamboo/v100-counts.txt")),
        Trace::dated("A100 of Google", include_str!("../../traces/bamboo/a100-counts.txt")),
        Trace::lives("CPUs of Google", include_str!("../../traces/goog-preemption/lifetimes.csv")),
    ]
}

impl Trace {
    /// Lines of milliseconds, `add` or `remove`, and a name.
    fn turns(name: &'static str, text: &str) -> Self {
        let mut names = BTreeMap::new();
        let mut turns = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let [at, what, of] = fields[..] else { panic!("{name}: {line}") };
            let number = u32::try_from(names.len()).expect("a few hundred");
            let number = *names.entry(of).or_insert(number);
            let turn = if what == "add" { Turn::Up } else { Turn::Down(Some(number)) };
            turns.push((number_of(at, 1.0), turn, number));
        }
        let span_ms = turns.last().map_or(0, |(at, ..)| *at);
        Self { name, record: Record::Turns(turns), span_ms }
    }

    /// Lines of a time and how many machines there were.
    fn counts(name: &'static str, text: &str, unit_ms: f64) -> Self {
        let rows = text.lines().map(|line| {
            let (at, count) = line.split_once(',').expect("a time and a count");
            (number_of(at, unit_ms), count.trim().parse().expect("a count"))
        });
        Self::of_counts(name, rows.collect())
    }

    /// Lines of a day, a time of day, and how many machines there were, in one month, and not quite in order.
    fn dated(name: &'static str, text: &str) -> Self {
        let rows = text.lines().map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [day, time, count] = fields[..] else { panic!("{name}: {line}") };
            let day: u64 = day.rsplit('-').next().and_then(|day| day.parse().ok()).expect("a day");
            let seconds =
                time.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().expect("a time"));
            ((day * 86_400 + seconds) * 1_000, count.parse().expect("a count"))
        });
        let mut rows: Vec<(u64, u32)> = rows.collect();
        rows.sort_by_key(|(at, _)| *at);
        let first = rows[0].0;
        Self::of_counts(name, rows.into_iter().map(|(at, count)| (at - first, count)).collect())
    }

    /// The last count of an instant is the one that holds.
    fn of_counts(name: &'static str, rows: Vec<(u64, u32)>) -> Self {
        let mut counts: Vec<(u64, u32)> = Vec::new();
        for (at, count) in rows {
            counts.pop_if(|(before, _)| *before == at);
            counts.push((at, count));
        }
        let span_ms = counts.last().map_or(0, |(at, _)| *at);
        let (mut turns, mut there) = (Vec::new(), 0);
        for (at, count) in counts {
            turns.extend((there..count).map(|_| (at, Turn::Up, 0)));
            turns.extend((count..there).map(|_| (at, Turn::Down(None), 0)));
            there = count;
        }
        Self { name, record: Record::Turns(turns), span_ms }
    }

    fn lives(name: &'static str, text: &str) -> Self {
        let lives = text.lines().map(|line| {
            let (seconds, end) = line.split_once(',').expect("a life and its end");
            (number_of(seconds, 1_000.0), end == "preempted")
        });
        Self { name, record: Record::Lives(lives.collect()), span_ms: 86_400_000 }
    }

    /// What is to be had in a replay that begins so late in the trace, as one seed has it.
    pub(super) fn supply(&self, begin: u64, seed: u64) -> Supply {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        match &self.record {
            Record::Lives(lives) => {
                let mut lives = lives.clone();
                lives.sort_unstable();
                Supply::Drawn { lives, rng: Box::new(rng) }
            }
            Record::Turns(turns) => Supply::Known(self.laid_out(turns, begin, &mut rng)),
        }
    }

    /// The trace again and again from `begin` on. What lives at its end is what comes first at its start.
    fn laid_out(&self, turns: &[(u64, Turn, u32)], begin: u64, rng: &mut ChaCha8Rng) -> Vec<Life> {
        let mut lives: Vec<Life> = Vec::new();
        // Living machines: the place of their life, and their name in this round.
        let (mut living, mut left): (Vec<(usize, u32)>, Vec<usize>) = (Vec::new(), Vec::new());
        for round in 0..=(begin + super::LONGEST_MS) / self.span_ms.max(1) {
            left.extend(living.drain(..).map(|(life, _)| life));
            for (at, turn, name) in turns {
                if *at > SEAM_MS {
                    left.drain(..).for_each(|life| lives[life].to = round * self.span_ms + SEAM_MS);
                }
                let at = round * self.span_ms + at;
                match turn {
                    Turn::Up => {
                        let life = left.pop().unwrap_or(lives.len());
                        if life == lives.len() {
                            lives.push(Life { from: at, to: u64::MAX });
                        }
                        living.push((life, *name));
                    }
                    Turn::Down(wanted) => {
                        let found = match wanted {
                            Some(wanted) => living.iter().position(|(_, name)| name == wanted),
                            None => (!living.is_empty()).then(|| rng.random_range(0..living.len())),
                        };
                        let ended = found.map(|place| living.swap_remove(place).0);
                        if let Some(life) = ended.or_else(|| left.pop()) {
                            lives[life].to = at;
                        }
                    }
                }
            }
        }
        let moved = lives.into_iter().filter(|life| life.to > begin);
        moved
            .map(|life| Life { from: life.from.saturating_sub(begin), to: life.to.saturating_sub(begin) })
            .collect()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a trace")]
fn number_of(text: &str, unit_ms: f64) -> u64 {
    (text.trim().parse::<f64>().expect("a number") * unit_ms) as u64
}

/// Machines that are to be had.
pub(super) enum Supply {
    /// From when until when.
    Known(Vec<Life>),
    /// One whenever one is wanted, which lives as long as one of these, sorted, did.
    Drawn { lives: Vec<(u64, bool)>, rng: Box<ChaCha8Rng> },
}

impl Supply {
    /// A machine that is to be had now and that nobody has, and until when; the one that lives longest, if the trace is known.
    pub(super) fn take(
        &mut self,
        now: u64,
        (held, rng): (&[usize], &mut ChaCha8Rng),
        knows: bool,
    ) -> Option<(usize, u64)> {
        match self {
            Self::Drawn { lives, rng } => Some((usize::MAX, now + drawn(lives, rng))),
            Self::Known(lives) => {
                let there = |(_, life): &(usize, &Life)| life.from <= now && now < life.to;
                let free = lives.iter().enumerate().filter(there).filter(|(place, _)| !held.contains(place));
                let free: Vec<(usize, u64)> = free.map(|(place, life)| (place, life.to)).collect();
                match knows {
                    true => free.into_iter().max_by_key(|(_, to)| *to),
                    false => (!free.is_empty()).then(|| free[rng.random_range(0..free.len())]),
                }
            }
        }
    }
}

/// A life; of a machine that its user ended it is known only that it would have lived longer, so that another one which did is drawn.
fn drawn(lives: &[(u64, bool)], rng: &mut ChaCha8Rng) -> u64 {
    let mut from = 0;
    loop {
        let (life, is_taken) = lives[rng.random_range(from..lives.len())];
        from = lives.partition_point(|(other, _)| *other <= life);
        if is_taken || from == lives.len() {
            return life;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 1_000_000;

    #[test]
    fn a_trace_is_laid_out_as_it_was_recorded_and_then_again() {
        let turns =
            [(0, "add,a"), (10, "add,b"), (20, "remove,a"), (30, "add,c"), (40, "remove,b"), (100, "add,d")];
        let text: Vec<String> = turns.iter().map(|(at, turn)| format!("{},{turn}", at * UNIT)).collect();
        let Supply::Known(lives) = Trace::turns("x", &text.join("\n")).supply(5 * UNIT, 0) else {
            panic!("it has turns")
        };
        let ends: Vec<(u64, u64)> =
            lives.iter().take(4).map(|life| (life.from / UNIT, life.to / UNIT)).collect();
        // What is left at the end, `c` and `d`: one of them is the first of the next round.
        assert_eq!(ends, [(0, 15), (5, 35), (25, 95), (95, 115)]);
        let counts = [(0, 3), (0, 2), (50, 1), (90, 4)].map(|(at, count)| (at * UNIT, count));
        let Supply::Known(lives) = Trace::of_counts("y", counts.to_vec()).supply(0, 1) else {
            panic!("it has turns")
        };
        let at =
            |now: u64| lives.iter().filter(|life| life.from <= now * UNIT && now * UNIT < life.to).count();
        assert_eq!([at(0), at(49), at(50), at(89), at(90), at(100), at(141)], [2, 2, 1, 1, 4, 2, 1]);
    }

    #[test]
    fn the_traces_are_whole() {
        for trace in traces() {
            match &trace.record {
                Record::Lives(lives) => assert_eq!((lives.len(), trace.name), (1_442, "CPUs of Google")),
                Record::Turns(turns) => assert!(turns.len() > 40, "{}", trace.name),
            }
            assert!((10..100).contains(&(trace.span_ms / 3_600_000)), "{}", trace.name);
        }
    }
}
