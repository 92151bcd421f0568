//! Real traces over the plan in core: what checkpoints at the notice are worth, held to figures. Few beginnings of each trace; the
//! example `replay` plays more, and prints them.

use gridctl_sim::replay::{CASES, Figures, Trace, compared, traces};

/// Beginnings of each trace.
const BEGINS: u64 = 2;
/// On these there are no spot machines for hours, and the master's machine is paid for all the same: who knows the trace pays more
/// than 0.42 of all on demand there, too.
const SCARCE: [&str; 2] = ["g4dn of AWS", "g4dn, one zone"];

/// What does not hold, of one case.
fn broken(trace: &Trace, case: (u32, u64)) -> Vec<String> {
    let (_, figures) = compared(trace, case, BEGINS);
    let Figures { of_knowing, of_on_demand, slower, waste, missed, with_deadline, needless } = figures;
    let most = if SCARCE.contains(&trace.name) { 0.48 } else { 0.43 };
    // With a deadline that the spot market alone would miss, machines on demand cost what they cost: all of them at most.
    let full = 1.0 / of_on_demand;
    let held = [
        ("of the cost of who knows the trace", of_knowing, 1.06),
        ("of the cost of all on demand", of_on_demand, most),
        ("slower than who knows the trace", slower, 0.06),
        ("done for nothing", waste, 0.1),
        ("deadlines missed", if missed > 0 { 1.0 } else { 0.0 }, 0.0),
        ("of the cost without a deadline, where that would have been in time", needless.0, 1.15),
        ("of the cost without a deadline", with_deadline.1, full),
    ];
    let held = held.into_iter().filter(|(_, value, most)| value > most);
    held.map(|(what, value, most)| format!("{}, {case:?}: {value:.3} {what}, {most:.3} at most", trace.name))
        .collect()
}

#[test]
fn checkpoints_at_the_notice_keep_their_figures_on_every_trace() {
    let traces = traces();
    let broken: Vec<String> = std::thread::scope(|scope| {
        let playing: Vec<_> = traces
            .iter()
            .map(|trace| scope.spawn(move || CASES.iter().flat_map(|case| broken(trace, *case)).collect()))
            .collect();
        playing
            .into_iter()
            .flat_map(|one| one.join().unwrap_or_else(|_| vec!["a panic".to_owned()]))
            .collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn without_checkpoints_spot_machines_are_no_gain_for_long_trials() {
    let trace = traces().into_iter().find(|trace| trace.name == "p3 of AWS").expect("it ships");
    let (rows, _) = compared(&trace, (12, 4), 1);
    let cost = |policy: &str| rows.iter().find(|row| row.policy == policy).expect("it is played").cost;
    assert!(cost("spot, no checkpoints") > 1.0, "{rows:?}");
    assert!(cost("spot, checkpoints, notices ignored") < 0.45, "{rows:?}");
}
