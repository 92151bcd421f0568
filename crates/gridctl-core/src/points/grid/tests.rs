//! Tests of the grid: what it promises is checked against brute force on small grids, and for size
//! and speed on huge ones.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::expr::Expr;
use crate::id::TrialId;
use crate::points::{Count, Points};
use crate::spec::{Axis, AxisValues, Order, Repeats};
use crate::value::Value;

fn sweep(axes: Vec<Axis>) -> SweepSpec {
    let file = "name: test\ncommand: ['true']\nparameters: {x: {value: 1}}\n";
    SweepSpec { axes, ..crate::spec::tests::spec(file) }
}

fn axis(name: &str, values: AxisValues) -> Axis {
    Axis {
        name: name.to_owned(),
        path: vec![name.to_owned()],
        variable: Some(format!("HP_{}", name.to_uppercase())),
        values,
        when: None,
        was: None,
    }
}

fn ints(name: &str, count: u64) -> Axis {
    axis(name, AxisValues::IntRange { min: 0, step: 1, count })
}

fn words(name: &str, words: &[&str]) -> Axis {
    axis(name, AxisValues::List(words.iter().map(|word| Value::Str((*word).to_owned())).collect()))
}

fn only_when(mut axis: Axis, when: &str) -> Axis {
    axis.when = Some(Expr::parse(when).unwrap());
    axis
}

fn grid(spec: SweepSpec) -> Points {
    Points::new(Arc::new(spec)).unwrap()
}

fn values(axis_values: AxisValues) -> Vec<String> {
    let grid = grid(sweep(vec![axis("x", axis_values)]));
    (0..grid.len()).map(|i| grid.axis_value(0, i).to_json()).collect()
}

fn shown(grid: &Points) -> Vec<String> {
    let trials = (0..grid.len()).map(|index| grid.trial(index));
    trials
        .filter(|trial| !trial.excluded)
        .map(|trial| serde_json::to_string(&trial.params).unwrap())
        .collect()
}

#[test]
fn computed_floats_have_no_binary_noise_and_ends_are_exact() {
    let range = |min, step, count| AxisValues::FloatRange { min, step, count };
    let spaced = |min, max, count, log| AxisValues::Spaced { min, max, count, log };
    let cases = [
        (range(0.1, 0.1, 4), vec!["0.1", "0.2", "0.3", "0.4"]),
        (range(-0.3, 0.1, 5), vec!["-0.3", "-0.2", "-0.1", "0.0", "0.1"]),
        (range(1e-5, 1e-5, 3), vec!["0.00001", "0.00002", "0.00003"]),
        (spaced(0.0, 1.0, 6, false), vec!["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (spaced(-0.3, 0.6, 4, false), vec!["-0.3", "0.0", "0.3", "0.6"]),
        (spaced(1.0, 0.0, 3, false), vec!["1.0", "0.5", "0.0"]),
        (spaced(1e-4, 1.0, 5, true), vec!["0.0001", "0.001", "0.01", "0.1", "1.0"]),
        (spaced(0.1, 10.0, 5, true), vec!["0.1", "0.316227766017", "1.0", "3.16227766017", "10.0"]),
        (spaced(0.12345678901234567, 1.0, 2, false), vec!["0.12345678901234567", "1.0"]),
        (spaced(2.5, 2.5, 1, true), vec!["2.5"]),
        (spaced(-1e308, 1e308, 3, false), vec!["-1e+308", "0.0", "1e+308"]),
    ];
    for (axis_values, expected) in cases {
        let numbers =
            |texts: Vec<String>| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<f64>>();
        let expected = numbers(expected.into_iter().map(str::to_owned).collect());
        assert_eq!(numbers(values(axis_values.clone())), expected, "{axis_values:?}");
    }
    let cancelled = grid(sweep(vec![axis("x", range(-0.3, 0.00001, 40_000))]));
    assert_eq!(cancelled.axis_value(0, 30_001), Value::Float(0.00001));
}

#[test]
fn s21_a_range_that_cannot_be_computed_is_refused_and_an_extreme_one_is_not() {
    let refused =
        |axis_values| Points::new(Arc::new(sweep(vec![axis("x", axis_values)]))).unwrap_err().to_string();
    let range = "the range of axis `x` cannot be computed: its step is 0 or an end is out of range";
    assert_eq!(refused(AxisValues::IntRange { min: 1, step: 0, count: 5 }), range);
    assert_eq!(refused(AxisValues::IntRange { min: i64::MAX, step: 1, count: 2 }), range);
    assert_eq!(refused(AxisValues::FloatRange { min: 0.0, step: 0.0, count: 5 }), range);
    assert_eq!(refused(AxisValues::FloatRange { min: 1e308, step: 1e308, count: 3 }), range);
    assert_eq!(refused(AxisValues::Spaced { min: 0.0, max: 1.0, count: 3, log: true }), range);
    assert_eq!(refused(AxisValues::List(Vec::new())), "axis `x` has no values");
    assert_eq!(values(AxisValues::IntRange { min: i64::MAX - 1, step: 1, count: 2 }).len(), 2);
    assert_eq!(values(AxisValues::IntRange { min: i64::MIN, step: i64::MAX, count: 3 }).len(), 3);
    assert_eq!(values(AxisValues::FloatRange { min: 5e-324, step: 1e-300, count: 2 }).len(), 2);
}

#[test]
fn s19_a_product_beyond_two_to_the_63_is_refused_with_its_factors() {
    let axes = (0..10).map(|i| ints(&format!("a{i}"), 100)).collect();
    let error = Points::new(Arc::new(sweep(axes))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the grid has about 10^20 trials (a0 100 x a1 100 x a2 100 x a3 100 x a4 100 x a5 100 x 4 more), more than 2^63 - 1"
    );
    assert_eq!(error.help(), "give some axes fewer values, or zip those that belong together");
    let mut seeds = sweep(vec![ints("a", 1 << 40)]);
    seeds.repeats = Repeats::Seeds(1 << 23);
    assert!(matches!(Points::new(Arc::new(seeds.clone())), Err(GridError::TooManyTrials { .. })));
    seeds.repeats = Repeats::Seeds((1 << 23) - 1);
    assert!(Points::new(Arc::new(seeds)).is_ok());
}

#[test]
fn s20_a_million_values_and_ten_to_the_ninth_steps_are_walked_and_found() {
    let list = AxisValues::List((0..1_000_000).map(Value::Int).collect());
    let spaced = |min, max, count, log| AxisValues::Spaced { min, max, count, log };
    let steps = AxisValues::FloatRange { min: -3.0, step: 1e-9, count: 6_000_000_000 };
    for values in
        [list, spaced(0.0, 1.0, 1_000_000_000, false), spaced(1e-9, 1e9, 1_000_000_000, true), steps]
    {
        let grid = grid(sweep(vec![axis("x", values)]));
        for pos in [0, 1, 2, 777_777, 999_998, grid.len() / 3, grid.len() - 1] {
            let index = grid.index_at(pos);
            assert_eq!(grid.pos_of(index), pos);
            assert_eq!(grid.index_of(&grid.trial(index).params, 0), Some(index));
        }
    }
}

#[test]
fn s22_steps_that_rounding_would_make_the_same_are_refused() {
    for values in [
        AxisValues::Spaced { min: 0.0, max: 1.0, count: 1_000_000_000_001, log: false },
        AxisValues::Spaced { min: 1.0, max: 1.0 + 1e-12, count: 5, log: false },
        AxisValues::Spaced { min: 1.0, max: 1.0 + 1e-12, count: 5, log: true },
        AxisValues::Spaced { min: 2.0, max: 2.0, count: 2, log: false },
        AxisValues::FloatRange { min: 1e6, step: 1e-7, count: 10 },
    ] {
        let error = Points::new(Arc::new(sweep(vec![axis("x", values.clone())]))).unwrap_err();
        assert!(matches!(error, GridError::TooFine { .. }), "{values:?}: {error}");
    }
}

#[test]
fn a_conditional_axis_is_absent_elsewhere_and_each_point_comes_once() {
    let mut spec = sweep(vec![
        only_when(
            axis("momentum", AxisValues::List(vec![Value::Float(0.0), Value::Float(0.9)])),
            "optimizer == 'sgd'",
        ),
        words("optimizer", &["adam", "sgd"]),
        only_when(words("nesterov", &["no", "yes"]), "momentum > 0"),
    ]);
    spec.order = Order::File;
    let grid = grid(spec);
    let expected = [
        r#"{"optimizer":"adam"}"#,
        r#"{"momentum":0.0,"optimizer":"sgd"}"#,
        r#"{"momentum":0.9,"optimizer":"sgd","nesterov":"no"}"#,
        r#"{"momentum":0.9,"optimizer":"sgd","nesterov":"yes"}"#,
    ];
    assert_eq!(shown(&grid), expected);
    assert_eq!(grid.count(100), Count::Exact(4));
    assert_eq!(grid.len(), 8);
    let params: Params = serde_json::from_str(r#"{"optimizer":"adam","momentum":0.0}"#).unwrap();
    assert_eq!(grid.index_of(&params, 0), None, "an absent axis may not be given");
}

#[test]
fn zipped_axes_walk_together_and_stand_where_the_first_of_them_does() {
    let mut spec =
        sweep(vec![ints("width", 3), words("kind", &["a", "b"]), words("depth", &["x", "y", "z"])]);
    spec.zip = vec![vec![2, 0]];
    spec.exclude = vec![Expr::parse("width == 1 and kind == 'b'").unwrap()];
    let grid = grid(spec.clone());
    let expected = [
        r#"{"width":0,"kind":"a","depth":"x"}"#,
        r#"{"width":0,"kind":"b","depth":"x"}"#,
        r#"{"width":1,"kind":"a","depth":"y"}"#,
        r#"{"width":2,"kind":"a","depth":"z"}"#,
        r#"{"width":2,"kind":"b","depth":"z"}"#,
    ];
    assert_eq!(shown(&grid), expected);
    let torn: Params = serde_json::from_str(r#"{"width":0,"kind":"a","depth":"y"}"#).unwrap();
    assert_eq!(grid.index_of(&torn, 0), None);
    spec.zip = vec![vec![0, 1]];
    let error = Points::new(Arc::new(spec.clone())).unwrap_err();
    assert_eq!(error.to_string(), "`width` has 3 values and `kind`, zipped with it, has 2");
    spec.zip = vec![vec![0, 2], vec![2]];
    assert_eq!(Points::new(Arc::new(spec)).unwrap_err().to_string(), "axis `depth` is zipped twice");
}

#[test]
fn equal_numbers_and_any_order_of_names_find_the_same_trial() {
    let mut spec = sweep(vec![ints("a", 3), words("b", &["x", "y"])]);
    spec.repeats = Repeats::Seeds(2);
    let grid = grid(spec);
    let find = |json: &str, seed| grid.index_of(&serde_json::from_str(json).unwrap(), seed);
    assert_eq!(find(r#"{"a":2,"b":"y"}"#, 0), Some(5));
    assert_eq!(find(r#"{"b":"y","a":2.0}"#, 1), Some(11));
    for (json, seed) in [
        (r#"{"a":2,"b":"y"}"#, 2),
        (r#"{"a":3,"b":"y"}"#, 0),
        (r#"{"a":-1,"b":"y"}"#, 0),
        (r#"{"a":"2","b":"y"}"#, 0),
        (r#"{"a":1.5,"b":"y"}"#, 0),
        (r#"{"a":2}"#, 0),
        (r#"{"a":2,"b":"y","c":1}"#, 0),
    ] {
        assert_eq!(find(json, seed), None, "{json} {seed}");
    }
}

#[test]
fn raising_the_number_of_seeds_only_adds_at_the_end() {
    let mut spec = sweep(vec![ints("a", 5), ints("b", 4)]);
    spec.repeats = Repeats::Seeds(2);
    let two = grid(spec.clone());
    spec.repeats = Repeats::Seeds(3);
    let three = grid(spec);
    for pos in 0..two.len() {
        assert_eq!(two.index_at(pos), three.index_at(pos));
        assert_eq!(two.trial_id(pos), three.trial_id(pos));
    }
    assert_eq!((three.len(), three.point_count(), three.repeats()), (60, 20, 3));
    assert_eq!(three.point_id(7), three.point_id(47));
    assert_eq!(three.trial_id(7), three.point_id(47), "the first seed's id is the point's");
    assert_eq!(three.trial(47).repeat, 2);
}

#[test]
fn an_axis_of_repeats_is_walked_last_and_left_out_of_the_point() {
    let mut spec = sweep(vec![ints("fold", 3), ints("a", 4), ints("b", 2)]);
    spec.repeats = Repeats::Axis(0);
    let grid = grid(spec);
    assert_eq!((grid.len(), grid.point_count(), grid.repeats()), (24, 8, 3));
    for pos in 0..grid.len() {
        let trial = grid.trial(grid.index_at(pos));
        assert_eq!(u64::from(trial.repeat), pos / 8);
        let first = grid.trial(grid.index_at(pos % 8));
        assert_eq!(trial.params.get("a"), first.params.get("a"));
        assert_eq!(grid.point_id(trial.index), grid.point_id(first.index));
        assert_eq!(grid.trial_id(trial.index), TrialId::of(&trial.params, 0));
    }
    assert_eq!(serde_json::to_string(&grid.trial(23).params).unwrap(), r#"{"fold":2,"a":3,"b":1}"#);
}

#[test]
fn the_repeats_of_a_point_follow_each_other_and_its_index_stays() {
    for repeats in [Repeats::Seeds(3), Repeats::Axis(0), Repeats::Axis(1)] {
        let mut spec = sweep(vec![ints("fold", 3), ints("a", 4), ints("b", 2)]);
        spec.repeats = repeats;
        let before = grid(spec.clone());
        spec.point_by_point = true;
        let grid = grid(spec);
        let (len, n) = (grid.len(), u64::from(grid.repeats()));
        let mut seen = std::collections::BTreeSet::new();
        for pos in 0..len {
            let index = grid.index_at(pos);
            assert_eq!(grid.pos_of(index), pos);
            assert!(seen.insert(index));
            assert_eq!(grid.trial(index), before.trial(index));
            let (point, repeat) = grid.point_of(index);
            assert_eq!((u64::from(repeat), repeat), (pos % n, grid.trial(index).repeat));
            assert_eq!(point, grid.index_at(pos - pos % n));
            assert_eq!(grid.index_of_repeat(point, repeat), index);
            assert_eq!(grid.point_id(point), grid.point_id(index));
            // The points come in the order of before.
            assert_eq!(grid.index_at(pos - pos % n), before.index_at(pos / n));
        }
    }
}

#[test]
fn conditions_that_wait_for_each_other_or_name_nothing_are_refused() {
    let error = |axes| Points::new(Arc::new(sweep(axes))).unwrap_err().to_string();
    assert_eq!(
        error(vec![only_when(ints("a", 2), "b > 0"), only_when(ints("b", 2), "a > 0"), ints("c", 2)]),
        "`when` goes round in a circle through a, b"
    );
    assert_eq!(error(vec![only_when(ints("a", 2), "a > 0")]), "`when` goes round in a circle through a");
    assert_eq!(error(vec![only_when(ints("a", 2), "z > 0")]), "`z` in `z > 0` is not a parameter");
}

#[test]
fn a_condition_without_a_value_somewhere_is_found_beforehand_and_false_there() {
    let mut spec = sweep(vec![ints("a", 3), ints("b", 3)]);
    spec.exclude = vec![Expr::parse("a / b > 1").unwrap()];
    let grid = grid(spec);
    assert_eq!(
        grid.check_conditions(100).unwrap_err().to_string(),
        "`a / b > 1` has no value where a = 0, b = 0: division by zero in `0 / 0`"
    );
    assert_eq!(grid.count(9), Count::Exact(8));
}

#[test]
fn conditions_about_different_axes_are_counted_apart() {
    let mut spec = sweep((0..6).map(|i| ints(&format!("a{i}"), 300)).collect());
    spec.exclude = ["a0 < 1000", "a1 > 1", "false", "a2 == 7 and a3 == a2"]
        .map(|text| Expr::parse(text).unwrap())
        .into();
    spec.axes[5] = only_when(ints("a5", 300), "a4 == 3");
    spec.axes[0].values = AxisValues::IntRange { min: 999, step: 1, count: 2 };
    spec.axes[1].values = AxisValues::IntRange { min: 0, step: 1, count: 5 };
    let expected = 2 * (300 * 300 - 1) * (299 + 300);
    assert_eq!(grid(spec.clone()).count(1 << 40), Count::Exact(expected));
    spec.exclude.push(Expr::parse("true").unwrap());
    assert_eq!(grid(spec).count(1 << 40), Count::Exact(0));
}

#[test]
fn s19_ten_to_the_eighteenth_points_answer_at_once() {
    let mut spec = sweep((0..18).map(|i| ints(&format!("a{i}"), 10)).collect());
    let free = grid(spec.clone());
    assert_eq!(free.len(), 1_000_000_000_000_000_000);
    assert_eq!(free.count(10_000_000), Count::Exact(free.len()));
    for pos in [0, 1, 12_345_678_901_234_567, free.len() - 1] {
        let index = free.index_at(pos);
        assert_eq!(free.pos_of(index), pos);
        assert_eq!(free.index_of(&free.trial(index).params, 0), Some(index));
    }
    spec.exclude = vec![Expr::parse("a0 == 1 and a1 > 4 or a2 + a3 == 3").unwrap()];
    let ruled = grid(spec.clone());
    let kept = (10 * 10 - 5) * (10 * 10 - 4) * 100_000_000_000_000;
    assert_eq!(ruled.count(10_000_000), Count::Exact(kept));
    assert_eq!(ruled.count(9_999), Count::AtMost(ruled.len()));
    assert_eq!(ruled.count(9_999).to_string(), "<=1000000000000000000");
    spec.exclude =
        vec![Expr::parse("a0+a1+a2+a3+a4+a5+a6+a7+a8+a9+a10+a11+a12+a13+a14+a15+a16+a17 < 2").unwrap()];
    assert_eq!(grid(spec).count(10_000_000), Count::AtMost(1_000_000_000_000_000_000));
}

#[test]
fn the_largest_grids_do_not_overflow() {
    for radices in [vec![MAX_TRIALS - 1], vec![1 << 31, (1 << 32) - 1], vec![2; 62], vec![3; 39]] {
        let axes: Vec<_> =
            radices.iter().enumerate().map(|(i, radix)| ints(&format!("a{i}"), *radix)).collect();
        for order in [Order::Spread, Order::File] {
            let mut spec = sweep(axes.clone());
            spec.order = order;
            let grid = grid(spec);
            for pos in [0, 1, grid.len() / 2, grid.len() - 2, grid.len() - 1] {
                assert_eq!(grid.pos_of(grid.index_at(pos)), pos, "{radices:?}");
                assert!(grid.index_at(pos) < grid.len());
            }
        }
    }
}

/// The largest deviation of a value's share among the first `prefix` trials from its fair share, in
/// trials, over all pairs of axes.
fn worst_pair(grid: &Points, axes: usize, prefix: u64) -> f64 {
    let mut seen: HashMap<(usize, usize, String), f64> = HashMap::new();
    for pos in 0..prefix {
        let params = grid.trial(grid.index_at(pos)).params;
        let values: Vec<_> = params.iter().map(|(_, value)| value.to_json()).collect();
        for a in 0..axes {
            for b in a..axes {
                *seen.entry((a, b, format!("{} {}", values[a], values[b]))).or_default() += 1.0;
            }
        }
    }
    let mut worst: f64 = 0.0;
    for a in 0..axes {
        for b in a..axes {
            for (i, j) in (0..grid.axis_len(a)).flat_map(|i| (0..grid.axis_len(b)).map(move |j| (i, j))) {
                let cells = if a == b { grid.axis_len(a) } else { grid.axis_len(a) * grid.axis_len(b) };
                if a == b && i != j {
                    continue;
                }
                let key = format!("{} {}", grid.axis_value(a, i).to_json(), grid.axis_value(b, j).to_json());
                let count = seen.get(&(a, b, key)).copied().unwrap_or(0.0);
                worst = worst.max((count - prefix as f64 / cells as f64).abs());
            }
        }
    }
    worst
}

#[test]
fn a_prefix_of_the_walk_holds_every_value_and_pair_of_values_about_equally_often() {
    let cases: [&[u64]; 7] = [
        &[10, 10, 10],
        &[2; 10],
        &[4; 6],
        &[8, 8, 8, 8],
        &[3, 5, 7, 2],
        &[100, 2, 2, 3],
        &[9, 4, 2, 5, 3, 2],
    ];
    for radices in cases {
        let axes: Vec<_> =
            radices.iter().enumerate().map(|(i, radix)| ints(&format!("a{i}"), *radix)).collect();
        let mut spec = sweep(axes);
        let spread = grid(spec.clone());
        spec.order = Order::File;
        let file = grid(spec);
        for prefix in [20, 50, 100, 150] {
            let (ours, plain) =
                (worst_pair(&spread, radices.len(), prefix), worst_pair(&file, radices.len(), prefix));
            println!("{radices:?} {prefix}: spread {ours:.1}, file {plain:.1}");
            assert!(ours <= plain * 0.6, "{radices:?}, first {prefix}: spread {ours:.1}, file {plain:.1}");
        }
    }
}

#[test]
fn every_value_of_every_axis_is_met_early() {
    for radices in
        [vec![10, 10, 10], vec![2; 20], vec![4; 10], vec![16, 16, 16], vec![3, 5, 7, 11], vec![50, 2, 30]]
    {
        let axes = radices.iter().enumerate().map(|(i, radix)| ints(&format!("a{i}"), *radix)).collect();
        let grid = grid(sweep(axes));
        let longest = radices.iter().copied().max().unwrap_or(1);
        let mut seen = vec![HashSet::new(); radices.len()];
        for pos in 0..longest * 5 / 2 {
            for (seen, (_, value)) in seen.iter_mut().zip(grid.trial(grid.index_at(pos)).params.iter()) {
                seen.insert(value.to_json());
            }
        }
        let met: Vec<u64> = seen.iter().map(|seen| seen.len() as u64).collect();
        assert_eq!(met, radices, "in the first {} trials", longest * 5 / 2);
    }
}

#[test]
fn the_walk_is_the_same_in_every_release() {
    let spread =
        grid(sweep(vec![ints("a", 3), ints("b", 5), ints("c", 4), ints("one", 1), ints("d", 1 << 40)]));
    let walk: Vec<u64> = (0..6).map(|pos| spread.index_at(pos)).collect();
    assert_eq!(
        walk,
        [
            0,
            35_863_907_645_823,
            10_155_164_136_190,
            47_118_583_409_789,
            43_400_072_455_676,
            13_293_282_434_939
        ]
    );
}

/// A small sweep: axes with and without conditions, a zip, exclusions, either kind of repeats,
/// either order.
fn small_sweep() -> impl Strategy<Value = SweepSpec> {
    let conditions =
        ["", "", "a0 > 0", "a1 == 0 or a0 == 2", "a2 > 0 and not a3", "a0 % 2 == 0", "a4 in [1, 2]"];
    let axis = (1u64..5, 0..conditions.len());
    let excludes = ["a0 == 1 and a1 == 0", "a2 + a0 > 3", "a1 == null", "a3 / a0 > 1"];
    let parts = (
        proptest::collection::vec(axis, 1..6),
        proptest::option::of((0usize..6, 0usize..6)),
        proptest::sample::subsequence(excludes.to_vec(), 0..3),
        (0u32..4, 0usize..6, any::<bool>()),
    );
    parts.prop_map(move |(axes, zip, excludes, (seeds, repeat, file))| {
        let count = axes.len();
        let known = |text: &str| (count..6).all(|missing| !text.contains(&format!("a{missing}")));
        let make = |(i, (len, condition)): (usize, (u64, usize))| {
            let mut made = ints(&format!("a{i}"), len);
            let when = conditions[condition];
            if !when.is_empty() && known(when) && !(i..6).any(|later| when.contains(&format!("a{later}"))) {
                made.when = Some(Expr::parse(when).unwrap());
            }
            made
        };
        let mut spec = sweep(axes.into_iter().enumerate().map(make).collect());
        if let Some((a, b)) = zip
            && a.max(b) < count
            && a != b
        {
            spec.axes[b].values = spec.axes[a].values.clone();
            spec.zip = vec![vec![a, b]];
        }
        spec.exclude =
            excludes.into_iter().filter(|text| known(text)).map(|text| Expr::parse(text).unwrap()).collect();
        spec.repeats = if seeds == 0 { Repeats::Axis(repeat % count) } else { Repeats::Seeds(seeds) };
        spec.order = if file { Order::File } else { Order::Spread };
        spec
    })
}

proptest! {
    #[test]
    fn on_small_grids_every_promise_holds_by_brute_force(spec in small_sweep()) {
        let grid = grid(spec);
        let axis_of_repeats = matches!(grid.spec().repeats, Repeats::Axis(_));
        let (mut indices, mut ids, mut kept) = (HashSet::new(), HashSet::new(), 0);
        for pos in 0..grid.len() {
            let index = grid.index_at(pos);
            prop_assert!(index < grid.len() && indices.insert(index));
            prop_assert_eq!(grid.pos_of(index), pos);
            let trial = grid.trial(index);
            prop_assert_eq!(trial.excluded, grid.is_excluded(index));
            prop_assert_eq!(u64::from(trial.repeat), pos / grid.point_count());
            let seed = if axis_of_repeats { 0 } else { trial.repeat };
            prop_assert_eq!(grid.trial_id(index), TrialId::of(&trial.params, seed));
            if trial.excluded {
                prop_assert!(grid.index_of(&trial.params, seed) != Some(index));
            } else {
                prop_assert_eq!(grid.index_of(&trial.params, seed), Some(index));
                prop_assert!(ids.insert(grid.trial_id(index)), "{:?} comes twice", trial.params);
                kept += 1;
            }
        }
        prop_assert_eq!(grid.count(u64::MAX), Count::Exact(kept));
        prop_assert!(grid.count(0).upper() >= kept);
    }

    #[test]
    fn the_walk_has_an_inverse_for_any_radices(radices in proptest::collection::vec(1u64..5_000, 1..6), at in any::<u64>()) {
        let axes = radices.iter().enumerate().map(|(i, radix)| ints(&format!("a{i}"), *radix)).collect();
        if let Ok(grid) = Points::new(Arc::new(sweep(axes))) {
            let pos = at % grid.len();
            prop_assert_eq!(grid.pos_of(grid.index_at(pos)), pos);
            prop_assert_eq!(grid.index_at(grid.pos_of(pos)), pos);
        }
    }

    #[test]
    fn every_value_of_a_range_is_found_at_its_place(
        min in -1e3f64..1e3, step in 1e-4f64..10.0, count in 1u64..100_000, log in any::<bool>(), at in any::<u64>()
    ) {
        let low = if log { min.abs() + 1e-6 } else { min };
        let spaced = AxisValues::Spaced { min: low, max: low + step * 100.0, count, log };
        for values in [AxisValues::FloatRange { min, step, count }, spaced] {
            let grid = grid(sweep(vec![axis("x", values)]));
            let index = at % count;
            prop_assert_eq!(grid.index_of(&grid.trial(index).params, 0), Some(index));
        }
    }
}
