//! Tests of extraction as a whole: every way in, near misses, and bounds.

use super::board::{MAX_ALL_POINTS, MAX_NAME};
use super::curve::MAX_POINTS;
use super::*;
use crate::record::{Doubt, MetricValue};
use crate::spec::{Goal, Objective};

mod beside;
mod passed;
mod words;

fn patterns(objective: Option<MetricSpec>, metrics: Vec<MetricSpec>) -> Arc<Patterns> {
    let objective = objective.map(|metric| Objective { metric, goal: Goal::Maximize, target: None });
    let plain = crate::spec::tests::spec("name: s\ncommand: [t]\nparameters: {x: {value: 1}}\n");
    let spec = SweepSpec { objective, metrics, ..plain };
    Arc::new(Patterns::new(&spec).unwrap())
}

fn metric(name: &str) -> MetricSpec {
    MetricSpec { name: name.into(), regex: None, report: Report::Last }
}

fn with_regex(name: &str, regex: &str) -> MetricSpec {
    MetricSpec { regex: Some(regex.into()), ..metric(name) }
}

fn outcome_of(patterns: &Arc<Patterns>, output: &str, file: &str) -> Outcome {
    let mut extractor = Extractor::new(Arc::clone(patterns));
    extractor.feed(Stream::Stdout, output.as_bytes(), &|| 0);
    let mut reader = FileReader::new(Arc::clone(patterns));
    reader.feed(file.as_bytes());
    extractor.finish(reader)
}

fn values(outcome: &Outcome) -> Vec<(&str, f64)> {
    outcome.metrics.iter().map(|(name, value)| (name.as_str(), value.0)).collect()
}

fn steps(outcome: &Outcome, name: &str) -> Vec<(i64, f64)> {
    let points = outcome.curve.iter().filter(|point| point.name == name);
    points.map(|point| (point.step, point.value.0)).collect()
}

#[test]
fn metrics_come_in_by_every_way_of_the_contract() {
    let patterns = patterns(
        Some(metric("loss")),
        vec![metric("val/loss"), with_regex("f1", r"F1=(\S+)"), metric("iter_loss (log scale)")],
    );
    type Values = Vec<(&'static str, f64)>;
    let cases: Vec<(&str, &str, Values)> = vec![
        ("loss=0.41\n", "", vec![("loss", 0.41)]),
        ("loss: 0.41", "", vec![("loss", 0.41)]),
        ("loss=0.5\nloss=0.4\n", "", vec![("loss", 0.4)]),
        ("\x1b[32mloss\x1b[0m: \x1b[1m0.41\x1b[0m\n", "", vec![("loss", 0.41)]),
        ("  5%| loss=0.9\r 10%| loss=0.8\r\n", "", vec![("loss", 0.8)]),
        ("{'loss': 0.3, 'epoch': 0.5}\n", "", vec![("loss", 0.3)]),
        ("F1=0.7 f1=0.1\n", "", vec![("f1", 0.7)]),
        ("train acc=1 F1=0.7, val/loss=2\n", "", vec![("val/loss", 2.0)]),
        ("iter_loss (log scale)=-1.5\n", "", vec![("iter_loss (log scale)", -1.5)]),
        ("::metric step=3 loss=0.41 f1=0.5 extra=7\n", "", vec![("extra", 7.0), ("f1", 0.5), ("loss", 0.41)]),
        (
            "  ::metric \"iter_loss (log scale)\"=1 'a b'=2\n",
            "",
            vec![("a b", 2.0), ("iter_loss (log scale)", 1.0)],
        ),
        ("undeclared=1 ::metric x=1\n", "", vec![]),
        ("loss=inf\n", "", vec![("loss", f64::INFINITY)]),
        ("", "{\"step\":3,\"loss\":0.41,\"tag\":\"x\"}\n{\"acc\":1}\n", vec![("acc", 1.0), ("loss", 0.41)]),
        ("", "{\"loss\":Infinity}", vec![("loss", f64::INFINITY)]),
        ("", "nonsense\n{\"loss\":1}\n", vec![("loss", 1.0)]),
        ("{\"undeclared\":1,\"loss\":2}\n", "", vec![("loss", 2.0)]),
    ];
    for (output, file, expected) in cases {
        assert_eq!(values(&outcome_of(&patterns, output, file)), expected, "{output:?} {file:?}");
    }
    let diverged = outcome_of(&patterns, "loss=nan\n", "");
    assert!(diverged.objective.is_some_and(f64::is_nan));
    assert!(diverged.near_misses.is_empty());
}

#[test]
fn blanks_around_the_sign_of_a_metric_line_are_read_and_what_is_no_pair_is_said() {
    let plain = patterns(Some(metric("loss")), vec![metric("acc")]);
    for (output, expected, told) in [
        ("::metric loss = 0.5\n", Some(0.5), ""),
        ("::metric step = 3 loss =0.5 acc= 1\n", Some(0.5), ""),
        ("::metric \"loss\" = 0.5\n", Some(0.5), ""),
        ("::metric best loss=0.5\n", Some(0.5), ""),
        ("::metric loss= acc=1\n", None, "saw `::metric loss= acc=1`: write `::metric loss=0.5`"),
        ("::metric loss 0.5\n", None, "saw `::metric loss 0.5`: write `::metric loss=0.5`"),
        ("::metric loss=0.4\n::metric loss: 0.5\n", None, "saw `::metric loss: 0.5`: write"),
        ("loss=0.4\n::metric loss\n", None, "saw `::metric loss`: write"),
        ("::metric\n", None, "saw `::metric`: write `::metric loss=0.5`"),
        ("::metric = 0.5\n", None, "saw `::metric = 0.5`: write"),
        ("::metric \"loss=0.5\n", None, "write `::metric loss=0.5`"),
    ] {
        let outcome = outcome_of(&plain, output, "");
        assert_eq!(outcome.objective, expected, "{output}");
        let all = outcome.near_misses.join("\n");
        assert!(all.contains(told), "{output}: {all}");
        assert!(!all.contains("not a plain number"), "{output}: {all}");
    }
    let both = outcome_of(&plain, "::metric loss= acc=1\n", "");
    assert_eq!(values(&both), [("acc", 1.0)]);
}

#[test]
fn steps_make_curves_and_progress() {
    let patterns = patterns(Some(metric("loss")), vec![metric("step")]);
    let mut extractor = Extractor::new(Arc::clone(&patterns));
    assert_eq!(extractor.latest(), None);
    extractor.feed(Stream::Stdout, b"loss=3\nlo", &|| 0);
    assert_eq!(extractor.latest(), Some((1, 3.0)));
    extractor.feed(Stream::Stderr, b"::metric epoch=9 step=1 loss=2\n", &|| 0);
    assert_eq!(extractor.latest(), Some((1, 2.0)));
    extractor.feed(Stream::Stdout, b"ss=1.5 epoch=2/10\n", &|| 0);
    let mut file = FileReader::new(patterns);
    file.feed(b"{\"step\":3,\"loss\":1.25}\n{\"loss\":NaN,\"step\":2}\n::done\n");
    extractor.feed(Stream::Stdout, b"::done", &|| 0);
    let (step, value) = file.latest().unwrap();
    assert!(step == 2 && value.is_nan());
    let outcome = extractor.finish(file);
    assert!(outcome.done);
    let curve = steps(&outcome, "loss");
    assert_eq!(curve[..2], [(1, 2.0), (3, 1.25)], "what was given explicitly, and no text");
    assert!(curve[2].0 == 2 && curve[2].1.is_nan(), "a step going backwards stays where it came");
    assert_eq!(values(&outcome)[1], ("step", 2.0), "a declared step is a metric too");
}

/// What comes by one way after the other.
type Said = (Channel, &'static str);

fn said(patterns: &Arc<Patterns>, parts: &[Said]) -> Outcome {
    let (mut extractor, mut file) =
        (Extractor::new(Arc::clone(patterns)), FileReader::new(Arc::clone(patterns)));
    let mut size = 0;
    for (channel, text) in parts {
        match channel {
            Channel::File => {
                file.feed(text.as_bytes());
                size += text.len() as u64;
            }
            Channel::Stderr => extractor.feed(Stream::Stderr, text.as_bytes(), &|| size),
            _ => extractor.feed(Stream::Stdout, text.as_bytes(), &|| size),
        }
    }
    extractor.finish(file)
}

#[test]
fn which_way_a_value_came_decides_and_the_other_number_is_kept_as_a_doubt() {
    use Channel::{File, Protocol, Stderr, Stdout};
    let patterns = patterns(Some(metric("loss")), vec![]);
    type Case = (Vec<Said>, f64, Vec<(Channel, Channel, f64)>);
    let cases: Vec<Case> = vec![
        (vec![(Stdout, "loss=0.1\n"), (Stderr, "\rloss=0.51")], 0.1, vec![(Stdout, Stderr, 0.51)]),
        (vec![(Stderr, "loss=0.51\r"), (Stdout, "loss=0.1\n")], 0.1, vec![(Stdout, Stderr, 0.51)]),
        (vec![(Stderr, "loss=0.51\n")], 0.51, vec![]),
        (vec![(Stdout, "::metric loss=0.2\nloss=0.9\n")], 0.2, vec![(Protocol, Stdout, 0.9)]),
        (vec![(Stderr, "::metric loss=0.2\n"), (Stdout, "loss=0.9\n")], 0.2, vec![(Protocol, Stdout, 0.9)]),
        (vec![(File, "{\"loss\":0.3}\n"), (Stdout, "loss=0.9\n")], 0.3, vec![(File, Stdout, 0.9)]),
        (vec![(File, "{\"loss\":0.3}\n"), (Stdout, "::metric loss=0.4\n")], 0.4, vec![(Protocol, File, 0.3)]),
        (vec![(Stdout, "::metric loss=0.4\n"), (File, "{\"loss\":0.3}\n")], 0.3, vec![(File, Protocol, 0.4)]),
        (vec![(Stdout, "::metric loss=0.4"), (File, "{\"loss\":0.3}\n")], 0.4, vec![(Protocol, File, 0.3)]),
        (vec![(Stdout, "::metric loss=0.4\nloss=0.4\n"), (Stderr, "loss: 0.4")], 0.4, vec![]),
        (vec![(Stdout, "loss=nan\n"), (Stderr, "loss=None")], f64::NAN, vec![]),
    ];
    for (parts, value, doubts) in cases {
        let outcome = said(&patterns, &parts);
        assert_eq!(outcome.objective.map(MetricValue), Some(MetricValue(value)), "{parts:?}");
        let expected: Vec<Doubt> = doubts
            .into_iter()
            .map(|(taken, other, other_value)| Doubt::Differs {
                metric: "loss".to_owned(),
                taken,
                value: MetricValue(value),
                other,
                other_value: MetricValue(other_value),
            })
            .collect();
        assert_eq!(outcome.doubts, expected, "{parts:?}");
    }
    let seen = said(&patterns, &[(Stdout, "x\nloss=1\nloss=2 loss=3\n"), (Stderr, "loss=9")]).seen;
    assert_eq!(
        seen.iter().map(|seen| (seen.count, seen.line, seen.taken)).collect::<Vec<_>>(),
        [(3, 3, true), (1, 1, false)]
    );
}

#[test]
fn a_last_value_that_cannot_be_read_is_not_passed_over_for_an_older_one() {
    use Channel::{File, Stderr, Stdout};
    let plain = patterns(Some(metric("acc")), vec![metric("f1")]);
    let regex = patterns(Some(with_regex("acc", r"ACC is (\S+)")), vec![]);
    let smallest = patterns(Some(MetricSpec { report: Report::Min, ..metric("acc") }), vec![]);
    let mean = patterns(Some(MetricSpec { report: Report::Mean, ..metric("acc") }), vec![]);
    let unknown: Vec<(&Arc<Patterns>, Vec<Said>, &str)> = vec![
        (&plain, vec![(Stdout, "acc=0.9\nacc=1,234.5\n")], "saw `acc=1,234.5`"),
        (&plain, vec![(Stdout, "acc=0.9\nacc: [0.5, 0.6]\n")], "saw `acc: [0.5, 0.6]`"),
        (&plain, vec![(Stdout, "acc=0.9\nacc: 'best'\n")], "saw `acc: 'best'`"),
        (&plain, vec![(Stdout, "acc=95%\n"), (Stderr, "acc=0.9\n")], "saw `acc=95%`"),
        (&plain, vec![(Stdout, "::metric acc=95%\nacc=0.9\n")], "saw `acc=95%`"),
        (&plain, vec![(File, "{\"acc\":0.9}\n{\"acc\":[1,2]}\n")], "saw `{\"acc\":[1,2]}`"),
        (&plain, vec![(File, "{\"acc\":0.9}\n{\"acc\":0.\n"), (Stdout, "acc=0.8\n")], "saw `{\"acc\":0.`"),
        (&regex, vec![(Stdout, "ACC is 0.9\nACC is 95%\n")], "caught `95%`, which is not a number"),
        (&smallest, vec![(Stdout, "acc=1,2,3\nacc=5\n")], "saw `acc=1,2,3`"),
        (&mean, vec![(Stdout, "acc=0.8\nacc=95%\nacc=0.9\n")], "saw `acc=95%`"),
        (
            &mean,
            vec![(File, "{\"acc\":\"95%\"}\n"), (Stdout, "::metric acc=0.9\n")],
            "saw `{\"acc\":\"95%\"}`",
        ),
        (&plain, vec![(File, "{\"acc\":0.9}\n{\"acc\":true}\n")], "is not a plain number"),
        (&plain, vec![(File, "{\"acc\":0.9}\n{\"acc\":\"bad\"}\n")], "is not a plain number"),
        (&plain, vec![(File, "{\"acc\":0.9,\"acc\":\"\"}\n")], "is not a plain number"),
    ];
    for (patterns, parts, told) in unknown {
        let outcome = said(patterns, &parts);
        assert_eq!(outcome.objective, None, "{parts:?}");
        assert!(outcome.near_misses.join("\n").contains(told), "{parts:?}: {:?}", outcome.near_misses);
        assert!(!outcome.metrics.iter().any(|(name, _)| name == "acc"), "{parts:?}");
    }
    let known: Vec<(Vec<Said>, f64)> = vec![
        (vec![(Stdout, "acc=0.91\nacc: saved to out.json\n")], 0.91),
        (vec![(Stdout, "acc=95%\nacc=0.95\n")], 0.95),
        (vec![(Stdout, "acc=0.9\n"), (Stderr, "acc=95%\n")], 0.9),
        (vec![(File, "{\"acc\":0.9}\n{\"acc\":null}\n")], 0.9),
        (vec![(File, "{\"acc\":0.9}\n{\"acc\":\"nan\"}\n")], f64::NAN),
        (vec![(File, "{\"acc\":\"0.9\"}\n")], 0.9),
        (vec![(File, "\u{feff}{\"acc\":0.9}\n")], 0.9),
        (vec![(Stdout, "acc=0.9\nacc=None\n")], f64::NAN),
        (vec![(Stdout, "acc=0.9\nacc='nan'\n")], f64::NAN),
        (vec![(Stdout, "acc=0.9\nacc:7=0.5\nacc:8: 0.25\n")], 0.9),
    ];
    for (parts, value) in known {
        let outcome = said(&plain, &parts);
        assert_eq!(outcome.objective.map(MetricValue), Some(MetricValue(value)), "{parts:?}");
    }
    let f1 = said(&plain, &[(Stdout, "acc=1 f1=0.5\nf1=50%\n")]);
    assert_eq!(values(&f1), [("acc", 1.0)], "an older value of f1 is none");
}

#[test]
fn long_lines_are_read_to_a_mebibyte_and_said_to_be_cut_beyond() {
    let patterns = patterns(Some(metric("loss")), vec![]);
    let line = |length: usize| format!("{{\"history\": [{}], \"loss\": 0.125}}\n", "1, ".repeat(length / 3));
    let whole = outcome_of(&patterns, &line(1_000_000), "");
    assert_eq!((whole.objective, whole.doubts.len()), (Some(0.125), 0));
    let (long, length) = (line(1_100_000), line(1_100_000).len() as u64 - 1);
    let cut = outcome_of(&patterns, &long, "");
    assert_eq!(cut.objective, None);
    assert!(cut.near_misses[0].contains(&format!("cut there, the longest of {length} bytes")), "{cut:?}");
    let older = outcome_of(&patterns, &format!("loss=0.5\n{long}"), "");
    assert_eq!((older.objective, older.doubts), (Some(0.5), vec![Doubt::Cut { lines: 1, longest: length }]));
}

#[test]
fn advice_never_reads_another_metric_or_the_next_field() {
    let plain = patterns(Some(metric("loss")), vec![]);
    let cases = [
        ("{'loss': '16%'}\n{'train_loss': '3%'}\n{'loss': '15%', 'x': 1}\n{'eval-loss': 4}\n", Some(15.0)),
        ("a loss 0.5\ntrain loss 0.75\nmy_loss 0.9\n", None),
        ("Loss: 50% (3/6)\nTrain-Loss: 60%\n", Some(50.0)),
        ("train_loss=5%\n", None),
        ("loss=, acc=5%\nloss= acc=7%\n", None),
        ("loss=12%\nloss=12:30\n", None),
        ("loss=12%\nloss=1,234.5\n", Some(1234.5)),
        ("loss=1,234.5\nloss=12%\n", Some(12.0)),
    ];
    for (log, expected) in cases {
        let missed = outcome_of(&plain, log, "");
        assert_eq!(missed.objective, None, "{log}");
        let offered = offered(&missed);
        let read = offered.as_ref().map(|regex| {
            let patterns = patterns(Some(with_regex("loss", regex)), vec![]);
            outcome_of(&patterns, log, "").objective.unwrap()
        });
        assert_eq!(read, expected, "{log}: {:?}", missed.near_misses);
    }
}

/// The pattern that is offered, as a person would copy it.
fn offered(missed: &Outcome) -> Option<String> {
    let told = missed.near_misses.iter();
    let mut patterns =
        told.filter_map(|told| told.strip_prefix("to read it: `regex: '")?.strip_suffix("'` under `metric`"));
    patterns.next().map(|pattern| pattern.replace("\'\'", "\'"))
}

#[test]
fn hostile_output_is_read_in_linear_time() {
    let patterns = patterns(Some(metric("loss")), vec![with_regex("f1", r"f1=(\S+)")]);
    let size = 1 << 18;
    let pieces = [
        "loss=",
        "loss:",
        "loss ",
        "loss=[",
        "loss='",
        "loss=tensor(",
        "loss=1,",
        "loss 1 ",
        "a=",
        "=:",
        "\u{3000}",
        "loss=1%",
        "step=",
        "\u{1b}[",
        "\u{1b}]",
        "f1=",
        "f1=1 ",
        "loss\u{2502}",
        "::metric a=",
        "\"",
        "[",
        "1",
        "loss=none x",
        "x=1 ",
        "-",
        "_",
        "loss=~(",
        "[loss=",
        "loss=1 - 1 - 1",
        "- 1 ",
        "1, ",
        "loss=1 of ",
        "loss=*** ",
        "loss  1\n",
        "loss=1\u{8}",
        "loss=tensor(1,a=(",
        "train loss=1 ",
        "val: loss=1 ",
        "a:{loss:1,",
        "{'a':{'loss':1}},",
        "{",
        "{a:",
        "test ",
    ];
    for piece in pieces {
        let text = piece.repeat(size / piece.len());
        let outcome = outcome_of(&patterns, &text, &text);
        assert!(outcome.near_misses.len() <= 8, "{piece}");
    }
}

#[test]
fn chunks_of_any_size_give_the_same_outcome() {
    let patterns = patterns(Some(metric("größe")), vec![with_regex("f1", r"F1=(\S+)")]);
    let text = "größe=1\r\n\x1b[1mF1=0.5\x1b[0m\n::metric step=1 a=2\nacc: 3\n::done\ngröße: 0.25";
    let whole = outcome_of(&patterns, text, "");
    assert_eq!(whole.objective, Some(0.25));
    for size in 1..text.len() {
        let mut extractor = Extractor::new(Arc::clone(&patterns));
        text.as_bytes().chunks(size).for_each(|chunk| extractor.feed(Stream::Stdout, chunk, &|| 0));
        assert_eq!(extractor.finish(FileReader::new(Arc::clone(&patterns))), whole, "chunks of {size}");
    }
}

#[test]
fn a_missing_objective_is_explained_by_what_came_close() {
    let plain = patterns(Some(metric("accuracy")), vec![]);
    let regex = patterns(Some(with_regex("accuracy", r"Acc (\S+)")), vec![]);
    let cases = [
        (&plain, "", "", "nothing was printed at all"),
        (&plain, "lr=0.1\nacc=0.93\n", "", "saw `acc`, declared `accuracy`"),
        (&plain, "Accuracy: 0.93\n", "", "saw `Accuracy`, declared `accuracy`"),
        (&plain, "val_accuracy=0.93\n", "", "saw `val_accuracy`, declared `accuracy`"),
        (&plain, "::metric acc=0.9\n", "", "saw `acc`, declared `accuracy`"),
        (&plain, "zzz=0.93\n", "", "saw numbers for `zzz`, none for `accuracy`"),
        (&plain, "accuracy=95%\n", "", "saw `accuracy=95%`: its value is not a plain number"),
        (&plain, "::metric accuracy=95%\n", "", "saw `accuracy=95%`: its value is not a plain number"),
        (&plain, "an accuracy 0.93\n", "", "saw `accuracy 0.93`: write `=` or `:` between"),
        (&plain, "hello\n", "", "no line of output has the form `accuracy=0.5`"),
        (&plain, "", "{\"acc\":1}\n", "saw `acc`, declared `accuracy`"),
        (&plain, "", "{\"loss\":1}\n", "none of the 1 lines of $GRID_METRICS_FILE has `accuracy`"),
        (
            &plain,
            "",
            "{\"accuracy\":\"90%\"}\n",
            "saw `{\"accuracy\":\"90%\"}`: its value is not a plain number",
        ),
        (&plain, "", "{'accuracy': 1}\n{}\n", "1 of 2 lines of $GRID_METRICS_FILE are not JSON objects"),
        (
            &plain,
            "",
            "{\n  \"accuracy\": 1\n}\n",
            "`{` for one: write each object on one line, without indent",
        ),
        (&regex, "Acc 95%\n", "", "the regex of `accuracy` caught `95%`, which is not a number"),
        (&regex, "acc=1\n", "", "the regex of `accuracy` matched no line"),
    ];
    for (patterns, output, file, expected) in cases {
        let outcome = outcome_of(patterns, output, file);
        assert_eq!(outcome.objective, None, "{output:?}");
        let told = outcome.near_misses.join("\n");
        assert!(told.contains(expected), "{output:?} {file:?}: {told}");
    }
    let none = patterns_without_objective();
    assert!(outcome_of(&none, "acc=1\n", "").near_misses.is_empty());
}

#[test]
fn a_pattern_that_is_offered_reads_the_line_that_was_missed() {
    let cases = [
        ("accuracy = 90.9%", Some(90.9)),
        ("epoch 3/10: val_accuracy=12% accuracy: 95 % of 20", Some(95.0)),
        ("accuracy: Loss(-0.25, grad_fn=<X>)", None),
        ("accuracy: ~(-0.25)", Some(-0.25)),
        ("accuracy 1e-3 after 5 epochs", Some(1e-3)),
        ("it's accuracy='0.5%'", Some(0.5)),
        ("Accuracy: 90.9%", Some(90.9)),
        ("accuracy=1,234.5", Some(1234.5)),
        ("accuracy=1,234", None),
        ("accuracy=1'234.25 accuracy_b=3%", Some(1234.25)),
        ("train_accuracy=3% accuracy=1e-2% test-accuracy=5%", Some(1e-2)),
        ("accuracy=3/10", Some(0.3)),
        ("accuracy=[0.5, 0.4]", None),
        ("accuracy=1.2×10^-3", None),
        ("accuracy: , lr: 0.5%", None),
        ("\u{2502}   accuracy   \u{2502}   0.9132   \u{2502} 2 \u{2502}", Some(0.9132)),
        ("| train_accuracy | 0.5 | 1 |\n| accuracy | 0.25 | 1 |\n| accuracy_b | 0.75 | 1 |", Some(0.25)),
        (
            "wandb: accuracy \u{2588}\u{2586}\nwandb: Run summary:\nwandb:  train_accuracy 0.5\nwandb:       accuracy 0.75",
            Some(0.75),
        ),
        ("an accuracy nan", None),
        ("accuracy=12:30", None),
        ("accuracy=.5%", Some(0.5)),
        ("accuracy: none of these", None),
    ];
    for (line, expected) in cases {
        let missed = outcome_of(&patterns(Some(metric("accuracy")), vec![]), line, "");
        assert_eq!(missed.objective, None, "{line}");
        let read = offered(&missed).map(|regex| {
            let patterns = patterns(Some(with_regex("accuracy", &regex)), vec![]);
            outcome_of(&patterns, line, "").objective.unwrap()
        });
        assert_eq!(read, expected, "{line}: {:?}", missed.near_misses);
    }
}

#[test]
fn a_row_that_is_not_read_and_says_another_number_is_a_doubt() {
    let report = "train accuracy: 1.0000\n      precision  recall  support\n    accuracy      0.9510   143\n";
    let same = "accuracy: 0.951\n    accuracy      0.9510   143\n";
    let explicit = "::metric accuracy=1\n    accuracy      0.9510   143\n";
    for (output, told) in [(report, true), (same, false), (explicit, false), ("accuracy=1\n", false)] {
        let outcome = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
        let expected = Doubt::Unread {
            metric: "accuracy".to_owned(),
            value: MetricValue(1.0),
            line: "accuracy      0.9510   143".to_owned(),
            pattern: outcome.doubts.first().and_then(|doubt| match doubt {
                Doubt::Unread { pattern, .. } => pattern.clone(),
                _ => None,
            }),
        };
        assert_eq!(outcome.doubts, if told { vec![expected] } else { vec![] }, "{output}");
    }
}

#[test]
fn a_line_that_is_nothing_but_a_name_and_a_number_counts() {
    let lightning = "Epoch 1: 100%|###| 5/5 [00:00<00:00, loss=0.050, val_loss=0.092]\n\
        ----------\n     Validate metric           DataLoader 0\n----------\n\
        \u{20}       val_acc             0.9005666\n       val_loss             0.1104119  \n----------\n";
    let rich = "\u{2503}  Test metric  \u{2503} DataLoader 0 \u{2503}\n\u{2502}   val_loss    \u{2502}    0.25     \u{2502}\n";
    for (output, expected) in [
        (lightning, Some(0.1104119)),
        (rich, Some(0.25)),
        ("val_loss 0.5\n", Some(0.5)),
        ("val_loss\t1e-3\n", Some(0.001)),
        ("val_loss 0.5 0.6\n", None),
        ("the val_loss 0.5\n", None),
        ("val_loss 0.5s\n", None),
        ("my_val_loss 0.5\n", None),
        ("val_loss0.5\n", None),
        ("val_loss 2026-11-26\n", None),
    ] {
        let outcome = outcome_of(&patterns(Some(metric("val_loss")), vec![]), output, "");
        assert_eq!(outcome.objective, expected, "{output}");
    }
}

fn patterns_without_objective() -> Arc<Patterns> {
    patterns(None, vec![metric("loss")])
}

#[test]
fn without_an_objective_metrics_are_recorded_and_nothing_is_missed() {
    let outcome = outcome_of(&patterns_without_objective(), "loss=1\n::metric other=2\n", "");
    assert_eq!(outcome.objective, None);
    assert_eq!(values(&outcome), [("loss", 1.0), ("other", 2.0)]);
}

#[test]
fn a_name_like_the_objective_is_remembered_among_a_flood_of_others() {
    let patterns = patterns(Some(metric("accuracy")), vec![]);
    let mut output: String = (0..5_000).map(|i| format!("z{i}: {i}\n")).collect();
    output.push_str("\x1b]0;evil\x07acc: 0.9\n");
    let outcome = outcome_of(&patterns, &output, "");
    let told = "saw `acc`, declared `accuracy`: write `name: acc` under `metric`, or print `accuracy=0.5`";
    assert_eq!(outcome.near_misses, [told]);
}

#[test]
fn g40_ten_thousand_metrics_and_steps_without_end_stay_bounded() {
    let patterns = patterns(Some(metric("loss")), vec![]);
    let mut extractor = Extractor::new(Arc::clone(&patterns));
    let mut file = FileReader::new(patterns);
    for i in 0..10_000 {
        extractor.feed(Stream::Stdout, format!("::metric step={i} m{i}=1 loss={i}\n").as_bytes(), &|| 0);
    }
    for step in 0..30_000 {
        file.feed(format!("{{\"step\":{step},\"m1\":{step},\"m2\":1,\"m3\":1,\"m4\":1,\"m5\":1,\"m6\":1,\"m7\":1,\"m8\":1,\"m9\":1,\"loss\":0.5}}\n").as_bytes());
    }
    let outcome = extractor.finish(file);
    assert_eq!(outcome.metrics.len(), MAX_UNDECLARED + 1);
    assert!(outcome.curve.len() <= MAX_ALL_POINTS, "{}", outcome.curve.len());
    let loss = steps(&outcome, "loss");
    assert!((50..=MAX_POINTS).contains(&loss.len()), "{}", loss.len());
    assert_eq!((loss[0], loss[loss.len() - 1]), ((0, 0.0), (29_999, 0.5)));
    let long = "x".repeat(MAX_NAME + 1);
    let outcome = outcome_of(&patterns_without_objective(), &format!("::metric {long}=1 =2 a\u{1}b=3\n"), "");
    assert!(outcome.metrics.is_empty());
}

#[test]
fn a_regex_that_cannot_be_used_is_an_error_that_says_why() {
    let error = |regex: &str| compile(&with_regex("f1", regex)).unwrap_err().to_string();
    assert!(error("(").contains("unclosed group"));
    assert!(error("F1=.*").contains("has no group"));
    assert!(error(r"(\w{1000}){1000}").contains("size limit"));
}

proptest::proptest! {
    #[test]
    fn no_output_is_too_odd(pieces in proptest::collection::vec("[-a-z=:. 0-9e%\"'{}\\[\\],/\u{1b}\r\né]{0,12}|::metric |accuracy|NaN|\\PC", 0..40)) {
        let text = pieces.concat();
        let patterns = patterns(Some(metric("accuracy")), vec![with_regex("e", "(.)=(.)"), metric("é")]);
        let outcome = outcome_of(&patterns, &text, &text);
        proptest::prop_assert!(outcome.near_misses.len() <= 8);
        proptest::prop_assert!(error_line(&text).is_none_or(|line| line.chars().count() <= 300));
    }

    #[test]
    fn where_chunks_begin_changes_nothing(
        pieces in proptest::collection::vec("(::metric )?(acc|loss|größe|train_acc)( ?[=:：] ?| )('|\\[|tensor\\(|~)?[-0-9.,%e]{0,8}('|\\]|\\))?(\r|\n| |\u{1b}\\[1m)|\\PC{0,5}", 0..30),
        sizes in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let text = pieces.concat();
        let patterns = patterns(Some(metric("acc")), vec![metric("größe"), with_regex("loss", r"loss=(\S+)")]);
        let whole = outcome_of(&patterns, &text, &text);
        let (mut extractor, mut file) = (Extractor::new(Arc::clone(&patterns)), FileReader::new(Arc::clone(&patterns)));
        let (mut rest, mut sizes) = (text.as_bytes(), sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            extractor.feed(Stream::Stdout, chunk, &|| 0);
            file.feed(chunk);
            rest = behind;
        }
        proptest::prop_assert_eq!(extractor.finish(file), whole);
    }
}
