//! `method: random`: what W&B's distributions become, and what is refused.

use super::*;
use crate::spec::{AxisValues, Drawn, Law, NO_COUNT};
use crate::value::Value;

fn random(body: &str) -> String {
    format!(
        "command: [x]\nmethod: random\ntrials: 10\nparameters: {{p: {body}, other: {{min: 0.0, max: 1.0}}}}\n"
    )
}

fn values(body: &str) -> AxisValues {
    spec(&random(body)).axes.remove(0).values
}

fn drawn(law: Law) -> AxisValues {
    AxisValues::Drawn(Drawn { law, q: None })
}

fn stepped(law: Law, q: Value) -> AxisValues {
    AxisValues::Drawn(Drawn { law, q: Some(q) })
}

fn become_these(cases: &[(&str, AxisValues)]) {
    for (body, expected) in cases {
        assert_eq!(values(body), *expected, "{body}");
        let spec = spec(&random(body));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<SweepSpec>(&text).unwrap(), spec, "{body}");
    }
}

#[test]
fn lists_and_ranges_are_drawn_from() {
    let list = |values: &[i64]| AxisValues::List(values.iter().copied().map(Value::Int).collect());
    let ints = |min, count| AxisValues::IntRange { min, step: 1, count };
    become_these(&[
        ("{value: 3}", list(&[3])),
        ("{distribution: constant, value: 3}", list(&[3])),
        ("{values: [1, 2]}", list(&[1, 2])),
        ("{distribution: categorical, values: [1, 2]}", list(&[1, 2])),
        ("{min: 1, max: 8}", ints(1, 8)),
        ("{distribution: int_uniform, min: 1, max: 8}", ints(1, 8)),
    ]);
}

#[test]
fn distributions_are_those_of_wandb() {
    become_these(&[
        ("{min: 0, max: 1.0}", drawn(Law::Uniform { min: 0.0, max: 1.0 })),
        ("{min: 1e-4, max: 1e-2}", drawn(Law::Uniform { min: 1e-4, max: 1e-2 })),
        ("{distribution: uniform, min: 0, max: 4}", drawn(Law::Uniform { min: 0.0, max: 4.0 })),
        ("{distribution: UNIFORM, min: 0, max: 4}", drawn(Law::Uniform { min: 0.0, max: 4.0 })),
        (
            "{distribution: q_uniform, min: 0, max: 4}",
            stepped(Law::Uniform { min: 0.0, max: 4.0 }, Value::Int(1)),
        ),
        (
            "{distribution: q_uniform, min: 0, max: 1, q: 0.05}",
            stepped(Law::Uniform { min: 0.0, max: 1.0 }, Value::Float(0.05)),
        ),
        ("{distribution: log_uniform, min: -9, max: -2}", drawn(Law::LogUniform { min: -9.0, max: -2.0 })),
        (
            "{distribution: log_uniform_values, min: 1e-5, max: 0.1}",
            drawn(Law::LogUniformValues { min: 1e-5, max: 0.1 }),
        ),
        (
            "{distribution: inv_log_uniform_values, min: 1e-5, max: 0.1}",
            drawn(Law::LogUniformValues { min: 1e-5, max: 0.1 }),
        ),
        ("{distribution: inv_log_uniform, min: 2, max: 9}", drawn(Law::InvLogUniform { min: 2.0, max: 9.0 })),
        (
            "{distribution: q_log_uniform, q: 1, min: 3.4, max: 5.5}",
            stepped(Law::LogUniform { min: 3.4, max: 5.5 }, Value::Int(1)),
        ),
        (
            "{distribution: q_log_uniform_values, q: 8, min: 32, max: 256}",
            stepped(Law::LogUniformValues { min: 32.0, max: 256.0 }, Value::Int(8)),
        ),
        ("{distribution: normal}", drawn(Law::Normal { mu: 0.0, sigma: 1.0 })),
        ("{distribution: normal, mu: 2, sigma: 0.5}", drawn(Law::Normal { mu: 2.0, sigma: 0.5 })),
        (
            "{distribution: q_normal, mu: 64, sigma: 9, q: 8}",
            stepped(Law::Normal { mu: 64.0, sigma: 9.0 }, Value::Int(8)),
        ),
        ("{distribution: log_normal, mu: -3}", drawn(Law::LogNormal { mu: -3.0, sigma: 1.0 })),
        ("{distribution: q_log_normal}", stepped(Law::LogNormal { mu: 0.0, sigma: 1.0 }, Value::Int(1))),
        ("{distribution: beta, a: 2, b: 5}", drawn(Law::Beta { a: 2.0, b: 5.0 })),
        ("{distribution: q_beta, q: 0.1}", stepped(Law::Beta { a: 1.0, b: 1.0 }, Value::Float(0.1))),
        (
            "{values: [1, 2], probabilities: [0.9, 0.1]}",
            drawn(Law::Categorical {
                values: vec![Value::Int(1), Value::Int(2)],
                probabilities: vec![0.9, 0.1],
            }),
        ),
        (
            "{distribution: categorical_w_probabilities, values: [1, 1], probabilities: [3, 1]}",
            drawn(Law::Categorical {
                values: vec![Value::Int(1), Value::Int(1)],
                probabilities: vec![3.0, 1.0],
            }),
        ),
        // Not W&B's: the grid's ways to say a range.
        ("{min: 1, max: 9, step: 2}", AxisValues::IntRange { min: 1, step: 2, count: 5 }),
        ("{min: 1e-4, max: 1e-2, scale: log}", drawn(Law::LogUniformValues { min: 1e-4, max: 1e-2 })),
        (
            "{min: 16, max: 1024, scale: log}",
            stepped(Law::LogUniformValues { min: 16.0, max: 1024.0 }, Value::Int(1)),
        ),
    ]);
}

#[test]
fn what_no_distribution_has_is_refused_with_what_to_write() {
    for (body, code, says) in [
        ("{distribution: uniform, min: 0}", "sweep::missing_key", "has no `max`"),
        ("{distribution: uniform, min: 3, max: 1}", "sweep::empty_range", "above `max`"),
        ("{distribution: uniform, min: 0, max: 1, q: 2}", "sweep::conflict", "has no `q`"),
        ("{distribution: uniform, values: [1]}", "sweep::conflict", "has no `values`"),
        ("{distribution: normal, min: 0, max: 1}", "sweep::conflict", "has no `min`"),
        ("{distribution: normal, sigma: -1}", "sweep::range", "out of range"),
        ("{distribution: log_uniform_values, min: 0, max: 1}", "sweep::range", "out of range"),
        ("{distribution: log_uniform, min: 1, max: 900}", "sweep::range", "leave the range"),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0}", "sweep::step", "above 0"),
        ("{distribution: beta, a: 0}", "sweep::range", "out of range"),
        ("{distribution: unifrom, min: 0, max: 1}", "sweep::unknown_word", "unifrom"),
        ("{values: [1, 2], probabilities: [1]}", "sweep::range", "2 values, 1 prob"),
        ("{probabilities: [1]}", "sweep::conflict", "`values`"),
        ("{mu: 1}", "sweep::no_values", "no values"),
        ("{min: 0, max: 1, q: 1}", "sweep::conflict", "`q`"),
    ] {
        let errors = errors(&random(body));
        assert_eq!(errors[0].code, code, "{body}: {}", errors[0].message);
        assert!(errors[0].message.contains(says), "{body}: {}", errors[0].message);
    }
}

#[test]
fn drawn_parameters_are_tied_to_no_others() {
    let body = "{distribution: normal}, f: {values: [1, 2]}";
    let zipped = format!("{}zip: [[p, f]]\n", random(body));
    assert_eq!(errors(&zipped)[0].code, "sweep::drawn");
    let averaged = format!("{}repeats: p\n", random(body));
    assert_eq!(errors(&averaged)[0].code, "sweep::drawn");
    let sound = serde_json::to_string(&spec(&random(body))).unwrap();
    for (from, to) in [
        (r#""sequence":{"seed":0,"points":10},"#, ""),
        (r#""points":10"#, r#""points":0"#),
        (r#""sigma":1.0"#, r#""sigma":-1.0"#),
        (r#""repeats":{"seeds":1}"#, r#""repeats":{"axis":0}"#),
    ] {
        let broken = sound.replace(from, to);
        assert_ne!(broken, sound, "{from}");
        assert!(serde_json::from_str::<SweepSpec>(&broken).is_err(), "{from}");
    }
}

#[test]
fn the_number_of_points_is_said_once() {
    let file = |rest: &str| {
        format!("command: [x]\nmethod: random\n{rest}parameters: {{x: {{min: 0.0, max: 1.0}}}}\n")
    };
    let read = |rest: &str, count| parse(file(rest).as_bytes(), &Context { file_stem: "sweep", count });
    let amount = |rest: &str, count| {
        let parsed = read(rest, count).unwrap();
        let sequence = parsed.spec.sequence.unwrap();
        (sequence.points, sequence.seed, parsed.spec.run_cap, parsed.unstartable.map(|problem| problem.code))
    };
    assert_eq!(amount("trials: 7\nseed: 3\n", None), (7, 3, None, None));
    assert_eq!(amount("run_cap: 7\n", None), (7, 0, None, None));
    assert_eq!(amount("trials: 7\nrun_cap: 5\n", None), (7, 0, Some(5), None));
    assert_eq!(amount("", Some(9)), (9, 0, None, None));
    assert_eq!(amount("", None).3, Some(NO_COUNT));
    assert_eq!(read("trials: 7\n", Some(9)).unwrap_err().0[0].code, "sweep::count");
    let grid = parse(axis("{values: [1]}").as_bytes(), &Context { file_stem: "sweep", count: Some(1) });
    assert_eq!(grid.unwrap_err().0[0].code, "sweep::count");
}

#[test]
fn fewer_points_than_asked_for_and_exponents_for_bounds_are_said() {
    let warned = |file: &str| {
        read(file).unwrap().warnings.into_iter().map(|it| (it.code, it.message)).collect::<Vec<_>>()
    };
    let few = warned(
        "command: [x]\nmethod: random\ntrials: 20\nparameters: {a: {values: [1, 2, 3]}, b: {min: 1, max: 2}}\n",
    );
    assert_eq!(few[0].0, "sweep::fewer_points");
    assert!(few[0].1.contains("20 points") && few[0].1.contains("only 6"), "{few:?}");
    let exponents = warned(&random("{distribution: log_uniform, min: 0.0001, max: 0.1}"));
    assert_eq!(exponents[0].0, "sweep::exponents");
    assert!(
        exponents[0].1.contains("between 1.0001") && exponents[0].1.contains("and 1.105"),
        "{exponents:?}"
    );
    assert_eq!(warned(&random("{distribution: log_uniform, min: -9, max: -2}")), []);
}
