//! A spec that comes back from the journal or the wire: what parse makes passes, what breaks a rule does not.

use serde_json::{Value as Json, json};

use super::*;

fn sample() -> SweepSpec {
    spec(
        "name: s\nprogram: t.py\nmetric: {name: acc, goal: maximize}\nmetrics: [{name: f, regex: '(x)'}]\nrepeats: fold\nzip: [[a, b]]\nexclude: [lr > 0.1]\nenv: {M: x, N: }\nsecrets: [K]\nretry: {on_exit_codes: [7]}\ntimeout: 1h\nbudget: 3 USD\nparameters:\n  a: {values: [1, 2]}\n  b: {values: [x, null]}\n  lr: {min: 0.1, max: 1, steps: 3}\n  n: {min: 1, max: 9, step: 2}\n  f: {min: 0, max: 1, step: 0.5}\n  m: {value: 1, when: n > 2}\n  g: {parameters: {h: {value: 1}}}\n  fold: {values: [0, 1]}\n",
    )
}

fn read(text: &str) -> Result<SweepSpec, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn what_was_checked_comes_back_as_it_was() {
    let spec = sample();
    assert_eq!(read(&serde_json::to_string(&spec).unwrap()), Ok(spec));
}

#[test]
fn every_broken_rule_is_found() {
    let whole: Json = serde_json::to_value(sample()).unwrap();
    let cases = [
        ("/name", json!("../x")),
        ("/axes", json!([])),
        ("/axes/0/name", json!("lr")),
        ("/axes/0/variable", json!("PATH")),
        ("/axes/0/path", json!(["z"])),
        ("/axes/0/values", json!({"list": []})),
        ("/axes/5/values", json!({"list": [1, 1.0]})),
        ("/axes/0/values", json!({"list": [1, 2, 3]})),
        ("/axes/2/values", json!({"spaced": {"min": 0.0, "max": 1.0, "count": 3, "log": true}})),
        ("/axes/2/values", json!({"spaced": {"min": 2.0, "max": 1.0, "count": 3, "log": false}})),
        ("/axes/2/values/spaced/count", json!(0)),
        ("/axes/3/values", json!({"int_range": {"min": 1, "step": 0, "count": 2}})),
        ("/axes/3/values", json!({"int_range": {"min": i64::MAX, "step": 1, "count": 2}})),
        ("/axes/3/values", json!({"int_range": {"min": 0, "step": 1, "count": u64::MAX}})),
        ("/axes/4/values", json!({"float_range": {"min": 0.0, "step": -1.0, "count": 2}})),
        ("/axes/4/values", json!({"float_range": {"min": 0.0, "step": 1e308, "count": 9}})),
        ("/axes/5/when", json!("nope > 1")),
        ("/axes/5/when", json!("m > 1")),
        ("/axes/5/when", json!("((")),
        ("/axes/5/when", json!("fold > 1")),
        ("/zip", json!([[0, 99]])),
        ("/zip", json!([[0]])),
        ("/zip", json!([[]])),
        ("/zip", json!([[0, 1], [1, 0]])),
        ("/zip", json!([[0, 3]])),
        ("/exclude", json!(["nope > 1"])),
        ("/repeats", json!({"axis": 99})),
        ("/repeats", json!({"axis": 0})),
        ("/repeats", json!({"seeds": 0})),
        ("/objective/metric/name", json!("")),
        ("/metrics/0/regex", json!("(")),
        ("/command", json!([])),
        ("/command", json!(["x", "${nope}"])),
        ("/command", json!(["x", "${params.nope}"])),
        ("/command", json!(["a\u{0}"])),
        ("/env/0/0", json!("A=B")),
        ("/env/0/0", json!("K")),
        ("/env_prefix", json!("1")),
        ("/resources/cpu_milli", json!(0)),
        ("/timeout_ms", json!(0)),
        ("/retry/on_exit_codes", json!([0])),
        ("/unserved/0/0", json!("x")),
    ];
    for (place, value) in cases {
        let mut changed = whole.clone();
        *changed.pointer_mut(place).unwrap_or_else(|| panic!("no {place}")) = value.clone();
        let got = read(&changed.to_string());
        assert!(got.is_err(), "{place} = {value} was taken");
    }
}

#[test]
fn what_is_no_json_is_an_error() {
    for text in ["", "null", "{}", "[", "{\"name\": 1}", &"[".repeat(100_000)] {
        assert!(read(text).is_err(), "{text:.20}");
    }
}
