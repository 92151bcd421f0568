//! Each distribution against its own cumulative function, in W&B's meaning of its numbers.

use super::*;

/// The number that `draw` of a thousand gives.
fn at(drawn: &Drawn, thousandth: u64) -> f64 {
    drawn.value(thousandth * (DRAWS / 1_000)).as_f64().unwrap()
}

fn plain(law: Law) -> Drawn {
    Drawn { law, q: None }
}

#[test]
fn quantiles_are_those_of_the_distribution() {
    let (e, near) = (std::f64::consts::E, 1e-9);
    // Quantiles at 0, 1/4, 1/2 and 3/4, as scipy.stats has them.
    let cases = [
        (Law::Uniform { min: 0.0, max: 2.0 }, [0.0, 0.5, 1.0, 1.5]),
        (Law::Uniform { min: -3.0, max: -3.0 }, [-3.0; 4]),
        (Law::LogUniform { min: 0.0, max: 4.0 }, [1.0, e, e.powi(2), e.powi(3)]),
        (Law::LogUniformValues { min: 1e-4, max: 1.0 }, [1e-4, 1e-3, 1e-2, 1e-1]),
        (Law::InvLogUniform { min: 0.0, max: 4.0 }, [e.powi(-4), e.powi(-3), e.powi(-2), e.powi(-1)]),
        (
            Law::Normal { mu: 10.0, sigma: 2.0 },
            [f64::NAN, 8.651_020_499_607_836, 10.0, 11.348_979_500_392_164],
        ),
        (Law::LogNormal { mu: 1.0, sigma: 0.5 }, [f64::NAN, 1.940_130_278_918_6, e, 3.808_536_044_832_7]),
        (Law::Beta { a: 1.0, b: 1.0 }, [0.0, 0.25, 0.5, 0.75]),
        (
            Law::Beta { a: 2.0, b: 5.0 },
            [f64::NAN, 0.161_162_916_790_327, 0.264_449_983_295_660, 0.389_479_485_444_290],
        ),
        (Law::Beta { a: 0.5, b: 0.5 }, [f64::NAN, 0.146_446_609_406_726, 0.5, 0.853_553_390_593_274]),
    ];
    for (law, expected) in cases {
        let drawn = plain(law);
        assert_eq!(drawn.problem(), None, "{drawn}");
        for (quarter, expected) in (0..).zip(expected) {
            let got = at(&drawn, quarter * 250);
            let off = (got - expected).abs();
            assert!(
                expected.is_nan() || off <= near * expected.abs().max(1e-3),
                "{drawn}: {got}, not {expected}"
            );
        }
    }
}

#[test]
fn values_are_rounded_to_whole_multiples_of_a_whole_q() {
    let uniform = |min, max, q| Drawn { law: Law::Uniform { min, max }, q: Some(q) };
    let cases = [
        (uniform(0.0, 10.0, Value::Int(2)), 250, Value::Int(2)),
        (uniform(0.0, 10.0, Value::Int(1)), 999, Value::Int(10)),
        (uniform(0.0, 1.0, Value::Float(0.1)), 301, Value::Float(0.3)),
        (uniform(-0.2, 0.2, Value::Float(0.5)), 1, Value::Float(0.0)),
        (Drawn { law: Law::LogUniform { min: 0.0, max: 6.0 }, q: Some(Value::Int(8)) }, 500, Value::Int(24)),
        (Drawn { law: Law::Normal { mu: 64.0, sigma: 9.0 }, q: Some(Value::Int(16)) }, 500, Value::Int(64)),
    ];
    for (drawn, thousandth, expected) in cases {
        let got = drawn.value(thousandth * (DRAWS / 1_000)).into_owned();
        assert_eq!(got.to_json(), expected.to_json(), "{drawn} at {thousandth}");
    }
}

#[test]
fn probabilities_need_not_sum_to_one_and_none_is_never_drawn() {
    let values = ["a", "b", "c"].map(|word| Value::Str(word.to_owned())).to_vec();
    let drawn = plain(Law::Categorical { values, probabilities: vec![1.0, 0.0, 3.0] });
    let share =
        |word: &str| (0..1_000).filter(|at| drawn.value(at * (DRAWS / 1_000)).to_string() == word).count();
    assert_eq!(["a", "b", "c"].map(share), [251, 0, 749]);
}

#[test]
fn no_shape_that_is_taken_leaves_the_range_or_stalls() {
    let shapes = [1e-3, 0.1, 0.5, 1.0, 3.0, 1e2, 1e4];
    for (a, b) in shapes.iter().flat_map(|a| shapes.iter().map(move |b| (*a, *b))) {
        let drawn = plain(Law::Beta { a, b });
        assert_eq!(drawn.problem(), None, "{drawn}");
        let all: Vec<f64> = [0, 1, 100, 500, 900, 999].iter().map(|place| at(&drawn, *place)).collect();
        assert!(all.iter().all(|x| (0.0..=1.0).contains(x)), "{drawn}: {all:?}");
        assert!(all.is_sorted(), "{drawn}: {all:?}");
    }
    let extremes = [
        plain(Law::Normal { mu: 1e300, sigma: 1e300 }),
        plain(Law::Uniform { min: -8e307, max: 8e307 }),
        plain(Law::LogUniformValues { min: 5e-324, max: 1.7e308 }),
        plain(Law::Normal { mu: 0.0, sigma: 0.0 }),
    ];
    for drawn in extremes {
        assert_eq!(drawn.problem(), None, "{drawn}");
        assert!(
            [0, DRAWS / 2, DRAWS - 1].iter().all(|draw| drawn.value(*draw).as_f64().unwrap().is_finite())
        );
    }
}

#[test]
fn what_cannot_be_drawn_is_told() {
    let (min, max) = (0.0, 800.0);
    let broken = [
        plain(Law::LogUniform { min, max }),
        plain(Law::Uniform { min: 1.0, max: 0.0 }),
        plain(Law::Uniform { min: f64::NAN, max: 0.0 }),
        plain(Law::Uniform { min: -1.7e308, max: 1.7e308 }),
        plain(Law::LogUniformValues { min, max }),
        plain(Law::Normal { mu: 0.0, sigma: -1.0 }),
        plain(Law::LogNormal { mu: 700.0, sigma: 9.0 }),
        plain(Law::Beta { a: 0.0, b: 1.0 }),
        plain(Law::Categorical { values: vec![Value::Null], probabilities: vec![0.0] }),
        plain(Law::Categorical { values: vec![Value::Null], probabilities: vec![0.5, 0.5] }),
        Drawn { law: Law::Uniform { min, max }, q: Some(Value::Float(0.0)) },
        Drawn { law: Law::Uniform { min, max }, q: Some(Value::Str("1".to_owned())) },
    ];
    for drawn in broken {
        assert!(drawn.problem().is_some(), "{drawn}");
    }
}

#[test]
fn a_repeat_is_unlikely_only_where_draws_give_different_numbers() {
    let cases = [
        (plain(Law::Uniform { min: 0.0, max: 1.0 }), true),
        (plain(Law::Uniform { min: -1.0, max: 1.0 }), true),
        (plain(Law::LogUniformValues { min: 1e-5, max: 0.1 }), true),
        (plain(Law::Uniform { min: 1.0, max: 1.0 }), false),
        (plain(Law::Uniform { min: 1e15, max: 1e15 + 4.0 }), false),
        (plain(Law::Normal { mu: 0.0, sigma: 1.0 }), false),
        (Drawn { law: Law::Uniform { min: 0.0, max: 1.0 }, q: Some(Value::Float(1e-9)) }, false),
    ];
    for (drawn, unlikely) in cases {
        assert_eq!(drawn.bits() >= 50, unlikely, "{drawn}: {}", drawn.bits());
    }
}
