//! Words before a metric's name, and maps around it, that say of what a number is.

use super::*;
use crate::record::Doubt;

/// What is read of `accuracy`, and which doubt is left: the texts of the value taken and of the other.
fn read(output: &str) -> (Option<f64>, Vec<Doubt>, Vec<String>) {
    let outcome = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
    (outcome.objective, outcome.doubts, outcome.near_misses)
}

#[test]
fn a_number_of_training_is_never_taken_for_another_and_not_without_being_said() {
    let cases: [(&str, f64, &str); 18] = [
        ("accuracy: 0.8\ntrain accuracy: 0.99\n", 0.8, ""),
        ("train accuracy: 0.99\naccuracy: 0.8\n", 0.8, ""),
        ("val accuracy: 0.8\n", 0.8, ""),
        ("best accuracy: 0.8\n", 0.8, ""),
        ("test accuracy: 0.7\ntest accuracy: 0.8\n", 0.8, ""),
        ("val accuracy: 0.8\ntest accuracy: 0.8\n", 0.8, ""),
        ("val accuracy: 0.8\ntrain accuracy: 0.99\n", 0.8, "val accuracy: 0.8|train accuracy: 0.99"),
        ("train accuracy: 0.99 | val accuracy: 0.8\n", 0.8, "val accuracy: 0.8|train accuracy: 0.99"),
        ("Train: loss=1 accuracy=0.99\nVal: loss=2 accuracy=0.8\n", 0.8, "Val: loss=2 accuracy=0.8|*"),
        ("[val] accuracy=0.8\n[train] accuracy=0.99\n", 0.8, "val] accuracy=0.8|train] accuracy=0.99"),
        ("train accuracy: 1\n", 1.0, "train accuracy: 1|"),
        ("baseline accuracy: 0.5\n", 0.5, "baseline accuracy: 0.5|"),
        ("val accuracy: 0.7\nbaseline accuracy: 0.5\n", 0.7, "val accuracy: 0.7|baseline accuracy: 0.5"),
        ("val accuracy: 0.7\nbest val accuracy: 0.8\n", 0.7, "val accuracy: 0.7|best val accuracy: 0.8"),
        ("accuracy: 0.7\nbest accuracy: 0.8\n", 0.7, "unread best accuracy: 0.8"),
        ("best accuracy: 0.8\naccuracy: 0.7\n", 0.7, ""),
        (
            r#"{"val":{"accuracy":0.8},"train":{"accuracy":0.99}}"#,
            0.8,
            "val.accuracy: 0.8|train.accuracy: 0.99",
        ),
        (r#"{"val":{"accuracy":0.8},"accuracy":0.7}"#, 0.7, ""),
    ];
    for (output, value, told) in cases {
        let (objective, doubts, near) = read(output);
        assert_eq!(objective, Some(value), "{output}: {near:?}");
        let texts = doubts.iter().map(|doubt| match doubt {
            Doubt::Qualified { taken, other, .. } => format!("{taken}|{}", other.as_deref().unwrap_or("")),
            Doubt::Unread { line, .. } => format!("unread {line}"),
            other => format!("{other:?}"),
        });
        let texts = texts.collect::<Vec<_>>().join(";");
        match told.strip_suffix('*') {
            Some(begin) => assert!(texts.starts_with(begin), "{output}: {texts}"),
            None => assert_eq!(texts, told, "{output}"),
        }
    }
}

#[test]
fn between_validation_and_test_nothing_is_chosen_and_a_pattern_is_offered() {
    for (output, told, offers) in [
        (
            "val accuracy: 0.8\ntest accuracy: 0.7\n",
            "saw `val accuracy: 0.8` and `test accuracy: 0.7`",
            Some(0.8),
        ),
        ("test accuracy: 0.7\nVal accuracy = 80.5%\n", "saw `Val accuracy = 80.5%`", Some(80.5)),
        ("Val: loss=1, accuracy=0.8\nTest: loss=2, accuracy=0.7\n", "`Val: loss=1, accuracy=0.8`", Some(0.8)),
        (
            "test accuracy: 0.7\ndev accuracy: 0.8\n",
            "`dev accuracy: 0.8` and `test accuracy: 0.7`",
            Some(0.8),
        ),
        ("train accuracy=99%\nval accuracy=80%\ntrain accuracy=98%\n", "saw `accuracy=80%`", Some(80.0)),
        ("val accuracy=80%\ntest accuracy=70%\n", "saw `val accuracy=80%` and `test", Some(80.0)),
        ("验证 accuracy：0.8\n测试 accuracy：0.7\n", "`验证 accuracy：0.8`", Some(0.8)),
        (r#"{"val":{"accuracy":0.8},"test":{"accuracy":0.7}}"#, "`name: val.accuracy` under", None),
    ] {
        let (objective, _, near) = read(output);
        assert_eq!(objective, None, "{output}");
        let all = near.join("\n");
        assert!(all.contains(told), "{output}: {all}");
        let missed = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
        let read = offered(&missed).map(|regex| {
            let patterns = patterns(Some(with_regex("accuracy", &regex)), vec![]);
            outcome_of(&patterns, output, "").objective.unwrap()
        });
        assert_eq!(read, offers, "{output}: {all}");
    }
}

#[test]
fn a_pattern_that_is_offered_keeps_to_one_word_before_the_name_and_to_the_number_as_it_stands() {
    for (output, offers) in [
        ("Epoch 1 - valid accuracy 0.5\nEpoch 1 - training accuracy 0.2\n", Some(0.5)),
        ("Epoch 1 - training accuracy 0.2\nEpoch 1 - valid accuracy 0.5\n", Some(0.5)),
        ("in all, accuracy 0.5\nin all, train accuracy 0.2\n", None),
        ("accuracy: - 0.5\n", None),
        ("accuracy: <0.5\n", None),
    ] {
        let missed = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
        assert_eq!(missed.objective, None, "{output}");
        let read = offered(&missed).map(|regex| {
            let patterns = patterns(Some(with_regex("accuracy", &regex)), vec![]);
            outcome_of(&patterns, output, "").objective.unwrap()
        });
        assert_eq!(read, offers, "{output}: {:?}", missed.near_misses);
    }
}

#[test]
fn what_errs_on_one_stream_is_judged_by_its_words_too() {
    let plain = patterns(Some(metric("accuracy")), vec![]);
    for (parts, value, doubts) in [
        (vec![(Channel::Stdout, "train accuracy: 1\n"), (Channel::Stderr, "accuracy: 0.8\n")], 0.8, 0),
        (vec![(Channel::Stdout, "val accuracy: 0.8\n"), (Channel::Stderr, "accuracy: 0.7\n")], 0.8, 1),
        (vec![(Channel::Stdout, "train accuracy: 1\n::metric accuracy=0.8\n")], 0.8, 0),
    ] {
        let outcome = said(&plain, &parts);
        assert_eq!((outcome.objective, outcome.doubts.len()), (Some(value), doubts), "{parts:?}");
    }
    let smallest = patterns(Some(MetricSpec { report: Report::Min, ..metric("loss") }), vec![]);
    let outcome =
        outcome_of(&smallest, "train loss: 0.1\nval loss: 0.5\ntrain loss: 0.2\nval loss: 0.7\n", "");
    assert_eq!(outcome.objective, Some(0.5));
    let steps = "step=1 train loss: 3\nstep=1 val loss: 2\nstep=2 train loss: 1\nstep=2 val loss: 1.5\n";
    let outcome = outcome_of(&patterns(Some(metric("loss")), vec![]), steps, "");
    assert_eq!(super::steps(&outcome, "loss"), [(1, 2.0), (2, 1.5)]);
}

#[test]
fn nested_keys_are_read_by_their_path_and_never_one_of_several() {
    let path = |name: &str| patterns(Some(metric(name)), vec![]);
    let line = r#"{"step": 3, "a": {"loss": 0.5}, "b": {"loss": 0.1}}"#;
    let python = "metrics: {'a': {'loss': 0.5}, 'b': {'loss': nan}}";
    for (name, output, file, expected) in [
        ("loss", line, "", None),
        ("loss", r#"{"a": {"loss": 0.5}, "b": {"loss": 0.5}}"#, "", Some(0.5)),
        ("loss", r#"{"a": {"loss": 0.5}, "loss": 0.25, "b": {"loss": 0.1}}"#, "", Some(0.25)),
        ("loss", r#"{"a": {"loss": 0.5}}"#, "", Some(0.5)),
        ("loss", r#"{"history": [{"loss": 0.5}, {"loss": 0.25}]}"#, "", Some(0.25)),
        ("a.loss", line, "", Some(0.5)),
        ("a/loss", line, "", Some(0.5)),
        ("a.loss", python, "", Some(0.5)),
        ("c.loss", line, "", None),
        ("a.loss", "", line, Some(0.5)),
        ("b/loss", "", line, Some(0.1)),
        ("a.loss", "", r#"{"a": {"loss": 0.5}, "a.loss": 0.25}"#, Some(0.25)),
        ("a.loss", "", r#"{"a": {"loss": "95%"}}"#, None),
        ("a.b.loss", "", r#"{"a": {"c": 1, "b": {"x": NaN, "loss": 7}}}"#, Some(7.0)),
        ("loss", "", line, None),
    ] {
        let outcome = outcome_of(&path(name), output, file);
        assert_eq!(outcome.objective, expected, "{name} {output} {file}: {:?}", outcome.near_misses);
    }
    let told = outcome_of(&path("loss"), line, "").near_misses.join("\n");
    let expected = "saw `a.loss, b.loss` in one line, with different numbers: write `name: a.loss` under";
    assert!(told.contains(expected), "{told}");
    let older = outcome_of(&path("loss"), &format!("loss=3\n{line}"), "");
    assert_eq!(older.objective, None, "an older value does not stand for one of several");
}
