//! A thousand seeds of a made-up cloud: no machine is left alive, no cap is passed, and the work ends.

use gridctl_sim::{CloudReport, simulate_cloud};

const SEEDS: u64 = 1_000;

/// How often something happened in a seed.
type Count = fn(&CloudReport) -> u64;

/// The seeds to play: all, or the one that `GRIDCTL_SIM_SEED` names.
fn seeds() -> Vec<u64> {
    let one = std::env::var("GRIDCTL_SIM_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
    one.map_or_else(|| (0..SEEDS).collect(), |seed| vec![seed])
}

#[test]
fn no_machine_is_leaked_and_no_cap_is_passed() {
    let seeds = seeds();
    let mut broken = Vec::new();
    let mut reports: Vec<CloudReport> = Vec::new();
    for seed in &seeds {
        match simulate_cloud(*seed) {
            Ok(report) => reports.push(report),
            Err(violation) => broken.push(format!(
                "seed {seed}: {violation}\n  replay: GRIDCTL_SIM_SEED={seed} cargo test -p gridctl-sim --test cloud"
            )),
        }
    }
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), seeds.len(), broken.join("\n"));
    let faults: [(&str, Count); 8] = [
        ("machines taken away", |report| report.taken),
        ("answers lost", |report| report.lost),
        ("no or less capacity", |report| report.scarce),
        ("masters killed", |report| report.killed),
        ("false notices", |report| report.false_notices),
        ("machines that never worked", |report| report.never_joined),
        ("machines on demand", |report| report.on_demand),
        ("budgets reached", |report| u64::from(report.budget_reached)),
    ];
    let started: u64 = reports.iter().map(|report| report.started).sum();
    println!("{} seeds, {started} machines", reports.len());
    for (fault, count) in faults {
        let in_seeds = reports.iter().filter(|report| count(report) > 0).count();
        let in_all: u64 = reports.iter().map(count).sum();
        println!("  {fault}: {in_all} in {in_seeds} seeds");
        assert!(seeds.len() == 1 || in_seeds * 20 >= reports.len(), "{fault} in {in_seeds} seeds only");
    }
}
