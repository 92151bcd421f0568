//! A thousand seeds: whatever goes wrong, every promise holds and every sweep comes to its end.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use gridctl_sim::plan::FAULTS;
use gridctl_sim::{Fault, Report, Violation, simulate};

const SEEDS: u64 = 1_000;

/// The seeds to play: all, the one that `GRIDCTL_SIM_SEED` names, or as many as
/// `GRIDCTL_SIM_SEEDS`.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|it| it.parse().expect("a number of seeds, or of one"));
    match (number("GRIDCTL_SIM_SEED"), number("GRIDCTL_SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, most) => (0..most.unwrap_or(SEEDS)).collect(),
    }
}

/// Plays a seed. A panic, as of an invariant that the core itself finds broken, is told like a
/// broken promise.
fn played(seed: u64) -> Result<Report, Violation> {
    catch_unwind(|| simulate(seed)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        Err(Violation(format!("it panicked: {text}")))
    })
}

#[test]
fn every_seed_keeps_every_promise() {
    let seeds = seeds();
    let halves: Vec<&[u64]> = seeds.chunks(seeds.len().div_ceil(2)).collect();
    let reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = halves
            .iter()
            .map(|half| {
                scope.spawn(move || half.iter().map(|seed| (*seed, played(*seed))).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no simulation panics")).collect()
    });
    let mut injected: BTreeMap<Fault, (u32, u32)> = BTreeMap::new();
    let mut broken = Vec::new();
    let (mut events, mut virtual_ms) = (0, 0);
    let (mut excused, mut given_up, mut unfit, mut refused) = (0, 0, 0, 0);
    for (seed, report) in reports {
        match report {
            Ok(report) => {
                events += report.events;
                virtual_ms += report.took_ms;
                excused += u64::from(report.excused > 0);
                given_up += u64::from(report.given_up > 0);
                unfit += u64::from(report.unfit > 0);
                refused += u64::from(report.refused > 0);
                for (fault, times) in report.injected {
                    let (in_seeds, in_all) = injected.entry(fault).or_default();
                    *in_seeds += 1;
                    *in_all += times;
                }
            }
            Err(violation) => broken.push(format!(
                "seed {seed}: {violation}\n  replay: GRIDCTL_SIM_SEED={seed} cargo test -p gridctl-sim --test seeds -- --nocapture"
            )),
        }
    }
    println!("{} seeds, {events} events, {} virtual hours", seeds.len(), virtual_ms / 3_600_000);
    for (fault, (in_seeds, in_all)) in &injected {
        println!("  {fault:?}: {in_all} times in {in_seeds} seeds");
    }
    println!("  failures of bad machines were given back in {excused} seeds, slots given up in {given_up}");
    println!("  machines were given up in {unfit} seeds, damaged logs refused in {refused}");
    assert!(
        broken.is_empty(),
        "{} of {} seeds break a promise:\n{}",
        broken.len(),
        seeds.len(),
        broken.join("\n")
    );
    if seeds.len() as u64 == SEEDS {
        for fault in FAULTS {
            let in_seeds = injected.get(&fault).map_or(0, |(in_seeds, _)| *in_seeds);
            assert!(
                u64::from(in_seeds) >= SEEDS / 20,
                "{fault:?} came in {in_seeds} seeds only, under one in twenty"
            );
        }
        assert!(excused >= SEEDS / 20, "failures were given back in {excused} seeds only");
        assert!(unfit >= SEEDS / 40, "machines were given up in {unfit} seeds only");
        assert!(refused >= SEEDS / 20, "damaged logs were refused in {refused} seeds only");
        assert!(given_up >= SEEDS / 20, "slots were given up in {given_up} seeds only");
    }
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in 0..20 {
        let [first, second] = [simulate(seed), simulate(seed)].map(|report| {
            report.map(|report| {
                (
                    report.events,
                    report.took_ms,
                    report.injected,
                    report.statuses.iter().map(|it| it.succeeded).sum::<u64>(),
                )
            })
        });
        assert_eq!(first, second, "seed {seed}");
    }
}
