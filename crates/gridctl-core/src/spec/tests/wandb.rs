//! Sweep files as people write them for W&B, kept in `wandb/`: each loads, with the number of trials that W&B would run.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::points::{Count, Points};
use crate::spec::AxisValues;
use crate::value::{Params, Value};

/// The kept files with their texts, by name.
fn files() -> Vec<(String, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/spec/tests/wandb");
    let mut files: Vec<(String, String)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn files_of_wandb_load_with_its_number_of_trials() {
    let files = files();
    assert!(files.len() >= 18, "{}", files.len());
    for (name, text) in files {
        let first = text.lines().next().and_then(|line| line.strip_prefix("# trials: "));
        // JSON has no comments.
        let wanted: u64 = first.map_or(12, |count| count.parse().unwrap());
        let parsed = read(&text).unwrap_or_else(|errors| panic!("{name}: {}", render(&text, &errors.0)));
        let grid = Points::new(Arc::new(parsed.spec)).unwrap();
        assert_eq!(grid.count(1 << 20), Count::Exact(wanted), "{name}");
        for index in 0..grid.len() {
            let trial = grid.trial(index);
            assert_eq!(grid.index_of(&trial.params, trial.repeat), Some(index), "{name}");
        }
    }
}

#[test]
fn all_that_is_wrong_with_a_file_of_wandb_is_said_at_once() {
    let codes = |text: &str| {
        let errors = read(text).err().map(|errors| errors.0).unwrap_or_default();
        errors.iter().map(|error| error.code).collect::<Vec<_>>()
    };
    let many = "program: t.py\nmethod: bayes\nmetric: {goal: minim}\nearly_terminate: {type: hyperband}\n\
        parameters:\n  lr: {distribution: log_uniform_values, mn: 1e-5, max: 0.1}\n  wd: {min: 0.0, max: 1.0}\n  \
        sd: {distribution: normal, min: 0}\n  bs: {vaues: [1]}\ncommand: ['${arg}']\n";
    let expected = [
        "sweep::method",
        "sweep::missing_key",
        "sweep::unknown_word",
        "sweep::early_terminate",
        "sweep::unknown_key",
        "sweep::conflict",
        "sweep::unknown_key",
        "sweep::unknown_macro",
    ];
    assert_eq!(codes(many), expected);
    let random = "method: random\nparameters: {a: {min: 0.0, max: 1.0}}\nearly_terminate: {type: x}\n";
    let expected = ["sweep::no_count", "sweep::early_terminate", "sweep::no_command"];
    let mut found = codes(random);
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let grid = "program: t.py\nmethod: grid\nparameters: {a: {distribution: normal, mn: 1, sigma: 2}}\n";
    assert_eq!(codes(grid), ["sweep::random", "sweep::unknown_key"]);
}

#[test]
fn what_has_no_effect_is_noted_and_what_is_missing_is_said() {
    let of = |name: &str| {
        let (_, text) = files().into_iter().find(|(known, _)| known == name).unwrap();
        read(&text).unwrap()
    };
    let codes = |parsed: &Parsed| parsed.warnings.iter().map(|it| it.code).collect::<Vec<_>>();
    let launch = of("launch-queue.yaml");
    assert_eq!(codes(&launch).iter().filter(|code| **code == "sweep::no_effect").count(), 12);
    assert_eq!(launch.unstartable.as_ref().unwrap().code, "sweep::no_command");
    assert_eq!(of("only-parameters.yaml").unstartable.unwrap().code, "sweep::no_command");
    assert_eq!(codes(&of("merged-anchors.yaml")), [""; 0]);
    assert_eq!(codes(&of("hydra-resolvers.yaml")), ["sweep::early_terminate", "sweep::no_effect"]);
    let named = of("cnn-display-name.yaml");
    assert_eq!(
        (named.spec.name.as_str(), codes(&named)),
        ("cifar10-resnet18-lr-x-wd-run-2", vec!["sweep::name"])
    );
    assert!(named.spec.labels.contains(&("name".to_owned(), "CIFAR10_ResNet18: lr x wd (Run 2)".to_owned())));
    let symbols = of("symbols.yaml");
    let without: Vec<_> = symbols.spec.axes.iter().filter(|axis| axis.variable.is_none()).collect();
    assert_eq!(without.len(), 4);
    let twice = of("twice-the-same-value.yaml");
    assert_eq!(codes(&twice), ["sweep::duplicate_value"]);
    assert!(twice.warnings[0].message.contains("1 more"), "{}", twice.warnings[0].message);
    // A file without `method` is one of ours: there it is an error at once.
    assert_eq!(errors("parameters: {a: {value: 1}}\n")[0].code, "sweep::no_command");
}

#[test]
fn s22_values_that_are_equal_are_kept_once_with_both_places() {
    for (body, at, before, says) in [
        ("{values: [1, 2, 1.0]}", "1.0", "1", "`1` and `1.0` are equal"),
        ("{values: [0, -0.0]}", "-0.0", "0", "are equal"),
        ("{values: [a, b, a]}", "a", "a", "twice"),
    ] {
        let source = axis(body);
        let parsed = read(&source).unwrap();
        let warning = &parsed.warnings[0];
        assert_eq!(&source[warning.span.clone().unwrap()], at);
        assert_eq!((&source[warning.related[0].0.clone()], warning.related.len()), (before, 1));
        assert!(warning.message.contains(says), "{}", warning.message);
    }
    assert_eq!(spec(&axis("{values: [1, 2, 1.0]}")).axes[0].values.count(), 2);
}

#[test]
fn axes_that_walk_together_may_repeat_a_value_but_no_pair() {
    let source = "command: [x]\nparameters:\n  a: {values: [1, 1, 2]}\n  b: {values: [x, y, x]}\n  c: {values: [5, 6]}\nzip: [[a, b]]\n";
    let parsed = read(source).unwrap();
    assert_eq!(parsed.warnings, []);
    let grid = Points::new(Arc::new(parsed.spec.clone())).unwrap();
    assert_eq!(grid.len(), 6);
    for index in 0..6 {
        let trial = grid.trial(index);
        assert_eq!(grid.index_of(&trial.params, 0), Some(index));
    }
    let params = |a: i64, b: &str| {
        Params::new(vec![
            ("a".into(), Value::Int(a)),
            ("b".into(), Value::Str(b.to_owned())),
            ("c".into(), Value::Int(5)),
        ])
    };
    assert_eq!(grid.index_of(&params(2, "y"), 0), None);
    assert_eq!(grid.index_of(&params(2, "x"), 0), Some(4));
    let text = serde_json::to_string(&parsed.spec).unwrap();
    assert_eq!(serde_json::from_str::<SweepSpec>(&text).unwrap(), parsed.spec);
    let errors = errors(&source.replace("[x, y, x]", "[x, x, y]"));
    assert_eq!(errors[0].code, "sweep::duplicate_value");
    assert!(errors[0].message.contains("1 and 2"), "{}", errors[0].message);
    let broken = text.replace(r#""x","y","x""#, r#""x","x","y""#);
    assert_ne!(broken, text);
    assert!(serde_json::from_str::<SweepSpec>(&broken).is_err());
}

#[test]
fn a_quantized_axis_stops_where_wandb_stops() {
    let values = |body: &str| spec(&axis(body)).axes.remove(0).values;
    for (body, expected) in [
        (
            "{distribution: q_uniform, min: 0, max: 10, q: 2}",
            AxisValues::IntRange { min: 0, step: 2, count: 5 },
        ),
        (
            "{distribution: q_uniform, min: 0, max: 9, q: 2}",
            AxisValues::IntRange { min: 0, step: 2, count: 5 },
        ),
        ("{distribution: q_uniform, min: 1, max: 4}", AxisValues::IntRange { min: 1, step: 1, count: 3 }),
        (
            "{distribution: q_uniform, min: 0, max: 1, q: 0.1}",
            AxisValues::FloatRange { min: 0.0, step: 0.1, count: 10 },
        ),
    ] {
        assert_eq!(values(body), expected, "{body}");
    }
    let warned = read(&axis("{distribution: q_uniform, min: 0, max: 10, q: 2}")).unwrap();
    assert_eq!(warned.warnings[0].code, "sweep::open_end");
    assert_eq!(errors(&axis("{distribution: q_uniform, min: 0, max: 10, q: 0}"))[0].code, "sweep::step");
}

#[test]
fn merged_keys_give_way_to_those_that_are_written() {
    let spec = spec(
        "_a: &a {min: 1, max: 9}\nbase: &b {max: 5, step: 2}\ncommand: [x]\nparameters:\n  p: {<<: *a}\n  q: {<<: [*b, *a], max: 3}\n",
    );
    assert_eq!(spec.axes[0].values.count(), 9);
    assert_eq!(spec.axes[1].values, AxisValues::IntRange { min: 1, step: 2, count: 2 });
}

/// Pieces that files are made of, some of which mean something together.
const PIECES: &[&str] = &[
    "method: grid\n",
    "program: t.py\n",
    "parameters:\n",
    "  a: ",
    "  b: ",
    "{values: [",
    "1, 2",
    "1.0",
    "]}",
    "\n",
    "&x ",
    "*x",
    "<<: *x",
    "<<: [*x, *x]",
    "zip: [[a, b]]\n",
    "name: \"É: x\"\n",
    "command: [\"${args}\"]\n",
    "null",
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "|",
    ">",
    "'",
    "\"",
    "#",
    "? ",
    "!!str ",
    "%",
    "@",
    "---\n",
    "\t",
    "é",
    "1e999",
    "-.inf",
    "when: 'a == 1'",
    "min: 0, max: 9",
    "distribution: q_uniform",
    ", q: 0.1",
    "repeats: 3\n",
    "exclude: [\"a > 1\"]\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the file is, the reader neither panics nor makes more than it read.
    #[test]
    fn no_file_makes_the_reader_panic(places in prop::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = places.iter().map(|place| PIECES[*place]).collect();
        match read(&text) {
            Ok(parsed) => prop_assert!(parsed.unstartable.is_some() || parsed.spec.validate().is_ok(), "{text}"),
            Err(SpecErrors(errors)) => {
                let within = |span| text.get(span).is_some();
                let all = errors.iter().all(|error| error.span.clone().is_none_or(within));
                prop_assert!(all, "{}", text);
            }
        }
    }

    /// A kept file with a stretch cut out, repeated or overwritten.
    #[test]
    fn no_change_of_a_good_file_makes_the_reader_panic(
        file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), len in 0_usize..40, piece in 0..PIECES.len(),
    ) {
        let files = files();
        let text = &files[file.index(files.len())].1;
        let from = text.floor_char_boundary(at.index(text.len()));
        let to = text.floor_char_boundary((from + len).min(text.len()));
        for middle in ["".to_owned(), text[from..to].repeat(2), PIECES[piece].to_owned()] {
            let changed = format!("{}{middle}{}", &text[..from], &text[to..]);
            if let Ok(parsed) = read(&changed) {
                prop_assert!(parsed.unstartable.is_some() || parsed.spec.validate().is_ok(), "{changed}");
            }
        }
    }
}
