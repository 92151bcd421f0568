//! Sequences against what is promised of them, by brute force where they are short.

use std::collections::HashSet;

use super::*;
use crate::points::Points;
use crate::spec::tests::spec;

const HEAD: &str = "command: [x]\nmethod: random\n";

fn points(rest: &str) -> Points {
    Points::new(Arc::new(spec(&format!("{HEAD}{rest}\n")))).unwrap()
}

/// The parameters of all trials that are not excluded, as JSON, by position.
fn shown(points: &Points) -> Vec<(u64, String)> {
    let trials = (0..points.len()).map(|pos| points.trial(points.index_at(pos)));
    let there = trials.filter(|trial| !trial.excluded);
    there.map(|trial| (trial.index, serde_json::to_string(&trial.params).unwrap())).collect()
}

const CONTINUOUS: &str =
    "lr: {distribution: log_uniform_values, min: 1e-5, max: 0.1}, n: {values: [1, 2, 4]}";
const LISTS: &str = "a: {values: [1, 2, 3]}, b: {min: 1, max: 4}, c: {value: x}";
const WEIGHTED: &str = "a: {values: [1, 2, 3], probabilities: [0.7, 0.2, 0.1]}, b: {values: [x, y]}";
const WHEN: &str = "opt: {values: [adam, sgd]}, m: {values: [0.5, 0.9], when: \"opt == 'sgd'\"}";
const QUANTIZED: &str =
    "a: {distribution: q_uniform, min: 0, max: 4, q: 2}, b: {distribution: q_beta, q: 0.5}";

#[test]
fn indices_and_positions_are_inverse_and_parameters_find_their_index() {
    let cases = [
        ("continuous", format!("trials: 50\nparameters: {{{CONTINUOUS}}}")),
        ("lists", format!("trials: 8\nparameters: {{{LISTS}}}")),
        ("weighted", format!("trials: 50\nparameters: {{{WEIGHTED}}}")),
        ("conditional", format!("trials: 50\nparameters: {{{WHEN}}}")),
        ("quantized", format!("trials: 50\nparameters: {{{QUANTIZED}}}")),
        ("seeds", format!("trials: 20\nrepeats: 3\nparameters: {{{CONTINUOUS}}}")),
        ("folds", format!("trials: 20\nrepeats: f\nparameters: {{{CONTINUOUS}, f: {{values: [0, 1, 2]}}}}")),
        ("folds of lists", format!("trials: 5\nrepeats: a\nparameters: {{{LISTS}}}")),
        ("conditions", format!("trials: 50\nexclude: ['n == 2']\nparameters: {{{CONTINUOUS}}}")),
    ];
    for (name, rest) in cases {
        let points = points(&rest);
        let mut ids = HashSet::new();
        for index in 0..points.len() {
            let trial = points.trial(index);
            assert_eq!(points.index_at(points.pos_of(index)), index, "{name}");
            assert_eq!(trial.excluded, points.is_excluded(index), "{name}");
            let (point, repeat) = points.point_of(index);
            assert_eq!((points.index_of_repeat(point, repeat), repeat), (index, trial.repeat), "{name}");
            assert_eq!(points.point_id(index), points.point_id(point), "{name}");
            let seed =
                if points.spec().repeats == crate::spec::Repeats::Axis(0) || rest.contains("repeats: f") {
                    0
                } else {
                    trial.repeat
                };
            assert_eq!(points.trial_id(index), TrialId::of(&trial.params, seed), "{name}");
            let fresh = points.clone();
            let found = fresh.index_of(&trial.params, seed);
            if trial.excluded {
                assert!(found.is_none_or(|found| found < index), "{name}: {index}");
            } else {
                assert!(ids.insert(points.trial_id(index)), "{name}: {index} comes twice");
                assert_eq!(found, Some(index), "{name}");
            }
        }
        assert_eq!(points.count(10_000_000), Count::Exact(ids.len() as u64), "{name}");
        assert_eq!(points.index_of(&Params::new(vec![]), 0), None, "{name}");
    }
}

#[test]
fn a_longer_sequence_begins_with_the_shorter_one() {
    for rest in [CONTINUOUS, LISTS, WEIGHTED, WHEN, QUANTIZED] {
        let of = |trials: u64| shown(&points(&format!("trials: {trials}\nparameters: {{{rest}}}")));
        let (short, long) = (of(9), of(40));
        assert!(long.starts_with(&short), "{rest}: {short:?}, {long:?}");
    }
}

#[test]
fn a_new_axis_changes_no_other_and_a_seed_changes_all() {
    let more = format!("{CONTINUOUS}, epochs: {{value: 3}}");
    let of = |rest: &str| {
        let points = points(rest);
        (0..20).map(|index| points.trial(index).params.get("lr").unwrap().to_json()).collect::<Vec<_>>()
    };
    let first = of(&format!("trials: 20\nparameters: {{{CONTINUOUS}}}"));
    assert_eq!(first, of(&format!("trials: 20\nparameters: {{{more}}}")));
    assert_eq!(first, of(&format!("run_cap: 20\nseed: 0\nparameters: {{{CONTINUOUS}}}")));
    let other = of(&format!("trials: 20\nseed: 1\nparameters: {{{CONTINUOUS}}}"));
    assert!(first.iter().zip(&other).all(|(one, other)| one != other), "{first:?} {other:?}");
}

#[test]
fn lists_alone_are_shuffled_and_end_when_all_are_tried() {
    let points = points(&format!("trials: 1000000000\nparameters: {{{LISTS}}}"));
    assert_eq!((points.len(), points.count(0)), (12, Count::Exact(12)));
    let all: HashSet<String> = shown(&points).into_iter().map(|(_, params)| params).collect();
    assert_eq!(all.len(), 12);
}

#[test]
fn few_values_that_are_drawn_end_after_a_million_positions() {
    let points = points(&format!("trials: 1000000000\nparameters: {{{WEIGHTED}}}"));
    assert_eq!(points.len(), 1_000_000);
    let there = (0..2_000).filter(|index| !points.is_excluded(*index)).count();
    assert_eq!(there, 6);
}

#[test]
fn a_billion_points_are_counted_and_found_at_once() {
    for rest in [CONTINUOUS, "a: {min: 1, max: 1000000}, b: {min: 1, max: 1000000}"] {
        let points = points(&format!("trials: 1000000000\nparameters: {{{rest}}}"));
        assert_eq!(points.count(10_000_000), Count::Exact(1_000_000_000));
        let last = points.trial(999_999_999);
        assert_eq!(points.index_of_near(&last.params, 0, Some(999_999_999)), Some(999_999_999));
    }
}

#[test]
fn what_is_drawn_is_the_same_for_good() {
    let points = points(&format!("trials: 4\nparameters: {{{CONTINUOUS}, z: {{distribution: normal}}}}"));
    let all: Vec<String> = shown(&points).into_iter().map(|(_, params)| params).collect();
    let expected = [
        r#"{"lr":0.06835379955102233,"n":2,"z":-0.63347082933}"#,
        r#"{"lr":0.0021332958169749065,"n":2,"z":0.944999498492}"#,
        r#"{"lr":0.015158399062827099,"n":2,"z":-2.55028393707}"#,
        r#"{"lr":0.001674731163644013,"n":1,"z":-0.131360385509}"#,
    ];
    assert_eq!(all, expected);
}

#[test]
fn draws_fill_the_space_evenly() {
    let points = points(
        "trials: 4000\nparameters: {x: {min: 0.0, max: 1.0}, y: {min: 0.0, max: 1.0}, k: {values: [0, 1]}}",
    );
    let mut cells = [0; 32];
    for index in 0..4_000 {
        let params = points.trial(index).params;
        let part = |name: &str| (params.get(name).unwrap().as_f64().unwrap() * 4.0).floor();
        let k = params.get("k").unwrap().as_f64().unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let cell = (part("x") * 8.0 + part("y") * 2.0 + k) as usize;
        cells[cell] += 1;
    }
    // 125 are expected in each; five standard deviations are 56.
    assert!(cells.iter().all(|count| (69..=181).contains(count)), "{cells:?}");
}
