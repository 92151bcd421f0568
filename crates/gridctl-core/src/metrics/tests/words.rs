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

/// The value of `accuracy`, and the texts of the doubts.
fn taken(stdout: &str, file: &str) -> (Option<f64>, String) {
    let outcome = outcome_of(&patterns(Some(metric("accuracy")), vec![]), stdout, file);
    let texts = outcome.doubts.iter().map(|doubt| match doubt {
        Doubt::Qualified { taken, other, .. } => format!("{taken}|{}", other.as_deref().unwrap_or("")),
        Doubt::OneOfSeveral { count, .. } => format!("of {count}"),
        other => format!("{other:?}"),
    });
    (outcome.objective, texts.collect::<Vec<_>>().join(";"))
}

#[test]
fn a_heading_alone_in_its_line_speaks_of_the_lines_below() {
    let train_and_val = [
        ("=== Train ===\naccuracy: 0.99\n=== Validation ===\naccuracy: 0.8\n", 0.8),
        ("=== Validation ===\naccuracy: 0.8\n=== Train ===\naccuracy: 0.99\n", 0.8),
        ("----------\nValidation\n----------\naccuracy: 0.8\nTraining\naccuracy: 0.99\n", 0.8),
        ("[val]\naccuracy: 0.8\n[train]\naccuracy: 0.99\n", 0.8),
        ("## Test results\naccuracy: 0.8\n## Training results\naccuracy: 0.99\n", 0.8),
        ("Validation:\naccuracy: 0.8\nTrain:\naccuracy: 0.99\n", 0.8),
        ("Results on the test set:\naccuracy: 0.8\nResults on the training set:\naccuracy: 0.99\n", 0.8),
        ("Epoch 1/2 Validating...\naccuracy: 0.8\nEpoch 2/2 Training...\naccuracy: 0.99\n", 0.8),
        ("val:\n  accuracy: 0.8\ntrain:\n  accuracy: 0.99\n", 0.8),
        ("Evaluating... accuracy: 0.8\nTraining... accuracy: 0.99\n", 0.8),
        ("INFO evaluator: accuracy=0.8\nINFO trainer: accuracy=0.99\n", 0.8),
        ("On the dev set, accuracy: 0.8\nOn the train set, accuracy: 0.99\n", 0.8),
        ("accuracy: 0.8 (validation)\naccuracy: 0.99 (train)\n", 0.8),
        ("┃ Validate metric ┃\n│ accuracy │ 0.8 │\n┃ Train metric ┃\n│ accuracy │ 0.99 │\n", 0.8),
        ("── Test ──\naccuracy: 0.8\n── Baseline ──\naccuracy: 0.5\n", 0.8),
    ];
    for (output, value) in train_and_val {
        let (objective, doubts) = taken(output, "");
        assert_eq!(objective, Some(value), "{output}");
        assert!(doubts.contains('|'), "{output}: {doubts}");
    }
    for (output, value) in [
        ("=== Training ===\naccuracy: 0.99\n=== Result ===\naccuracy: 0.8\n", 0.8),
        ("Training:\n  n: 3\naccuracy: 0.8\n", 0.8),
        ("train: 3\naccuracy: 0.8\n", 0.8),
        ("training done\naccuracy: 0.8\n", 0.8),
        ("val accuracy: 0.7\n--- Training complete ---\naccuracy: 0.8\n", 0.8),
        ("Training:\nval accuracy: 0.7\nAfter training:\naccuracy: 0.8\n", 0.8),
        ("{\"mode\": \"random\", \"accuracy\": 0.8}\n", 0.8),
        ("[train accuracy: 0.9]\naccuracy: 0.8\n", 0.8),
    ] {
        assert_eq!(taken(output, ""), (Some(value), String::new()), "{output}");
    }
    assert_eq!(taken("== Val ==\naccuracy: 0.8\n== Test ==\naccuracy: 0.7\n", "").0, None);
}

#[test]
fn a_field_of_the_record_says_what_its_numbers_were_measured_on() {
    let (val, train) = (r#"{"accuracy":0.8,"split":"val"}"#, r#"{"split":"train","accuracy":0.99}"#);
    for text in [format!("{val}\n{train}\n"), format!("{train}\n{val}\n")] {
        for (stdout, file) in [(text.as_str(), ""), ("", text.as_str())] {
            let (objective, doubts) = taken(stdout, file);
            assert_eq!(objective, Some(0.8), "{text}");
            assert!(
                doubts.contains("valid") && doubts.contains("train") || doubts.contains("split"),
                "{text}: {doubts}"
            );
        }
    }
    for output in [
        "::metric split=val accuracy=0.8\n::metric split=train accuracy=0.99\n",
        "phase=val accuracy=0.8\nphase=train accuracy=0.99\n",
        "{'mode': 'eval', 'accuracy': 0.8}\n{'mode': 'train', 'accuracy': 0.99}\n",
        "accuracy (val): 0.8\naccuracy (train): 0.99\n",
        "[{\"split\":\"val\",\"accuracy\":0.8},{\"split\":\"train\",\"accuracy\":0.99}]\n",
    ] {
        assert_eq!(taken(output, "").0, Some(0.8), "{output}");
    }
    let (test, val) = (r#"{"split":"test","accuracy":0.7}"#, r#"{"split":"val","accuracy":0.8}"#);
    let both = format!("{test}\n{val}\n");
    let outcome = outcome_of(&patterns(Some(metric("accuracy")), vec![]), "", &both);
    assert_eq!(outcome.objective, None);
    assert!(outcome.near_misses.join("\n").contains("val_accuracy"), "{:?}", outcome.near_misses);
}

#[test]
fn the_last_of_several_values_side_by_side_is_not_taken_without_being_said() {
    let [svm, rf] = [("svm", 0.8), ("rf", 0.7)]
        .map(|(model, value)| format!("{{\"model\": \"{model}\", \"accuracy\": {value}}}\n"));
    let models = svm + &rf;
    for (stdout, file, doubts) in [
        ("fold 1 accuracy: 0.8\nfold 2 accuracy: 0.7\n", "", "of 2"),
        ("Fold 1/3\naccuracy: 0.8\nFold 2/3\naccuracy: 0.7\nFold 3/3\naccuracy: 0.7\n", "", "of 3"),
        ("[{\"fold\":0,\"accuracy\":0.8},{\"fold\":1,\"accuracy\":0.7}]\n", "", "of 2"),
        ("{\"folds\":[{\"accuracy\":0.8},{\"accuracy\":0.7}]}\n", "", "of 2"),
        ("", "{\"fold\":0,\"accuracy\":0.8}\n{\"fold\":1,\"accuracy\":0.7}\n", "of 2"),
        ("::metric fold=0 accuracy=0.8\n::metric fold=1 accuracy=0.7\n", "", "of 2"),
        ("val accuracy: 0.8\nEMA accuracy: 0.7\n", "", "EMA accuracy: 0.7|val accuracy: 0.8"),
        ("seed=1 accuracy=0.8\nseed=2 accuracy=0.7\n", "", "of 2"),
        ("fold 1 val accuracy: 0.8\nfold 2 val accuracy: 0.7\n", "", "of 2"),
        (
            "SVM accuracy: 0.8\nRandom forest accuracy: 0.7\n",
            "",
            "Random forest accuracy: 0.7|SVM accuracy: 0.8",
        ),
        ("accuracy: 0.8\nknn accuracy: 0.7\n", "", "knn accuracy: 0.7|accuracy: 0.8"),
        ("class 0 accuracy: 0.9\nclass 1 accuracy: 0.7\n", "", "class 1 accuracy: 0.7|class 0 accuracy: 0.9"),
        ("accuracy: 0.8\nClass #1: accuracy: 0.7\n", "", "Class #1 accuracy: 0.7|accuracy: 0.8"),
        ("accuracy: 0.8\nbest fold: 2, accuracy: 0.7\n", "", "best fold: 2 accuracy: 0.7|accuracy: 0.8"),
        (
            "Model: SVM\naccuracy: 0.8\nModel: A forest\naccuracy: 0.7\n",
            "",
            "A forest accuracy: 0.7|SVM accuracy: 0.8",
        ),
        ("model=svm accuracy=0.8\nmodel=rf accuracy=0.7\n", "", "rf accuracy=0.7|svm accuracy=0.8"),
        (&models, "", "rf accuracy: 0.7|svm accuracy: 0.8"),
        ("", &models, "rf accuracy: 0.7|svm accuracy: 0.8"),
        (
            "::metric clf=svm accuracy=0.8\n::metric clf=rf accuracy=0.7\n",
            "",
            "rf accuracy: 0.7|svm accuracy: 0.8",
        ),
        (
            "Fold 1/2\ntrain accuracy: 0.9\nval accuracy: 0.8\nFold 2/2\ntrain accuracy: 1\nval accuracy: 0.7\n",
            "",
            "val accuracy: 0.7|train accuracy: 1;of 2",
        ),
    ] {
        assert_eq!(taken(stdout, file), (Some(0.7), doubts.to_owned()), "{stdout}{file}");
    }
    for stdout in [
        "fold 1 accuracy: 0.8\nfold 2 accuracy: 0.6\nmean accuracy: 0.7\n",
        "Fold 1\naccuracy: 0.8\nFold 2\naccuracy: 0.6\nAverage accuracy: 0.7\n",
        "fold 1 epoch 1 accuracy: 0.5\nfold 1 epoch 2 accuracy: 0.7\n",
        "fold 1 accuracy: 0.7\nfold 2 accuracy: 0.7\n",
        "SVM accuracy: 0.8\naccuracy: 0.7\n",
        "class 0 accuracy: 0.9\nclass 1 accuracy: 0.5\naccuracy: 0.7\n",
        "after 10 rounds accuracy: 0.6\nafter 20 rounds accuracy: 0.7\n",
        "got accuracy: 0.6\nfinal accuracy: 0.7\n",
        "epoch 1 accuracy: 0.6\nepoch 2 accuracy: 0.7\n",
        "Model: resnet\naccuracy: 0.6\naccuracy: 0.7\n",
        "model=a accuracy=0.8\nmodel=b accuracy=0.6\naccuracy: 0.7\n",
        "{\"model\": \"a\", \"accuracy\": 0.6}\n{\"model\": \"a\", \"accuracy\": 0.7}\n",
        "Model: 3\naccuracy: 0.6\nModel: 4\naccuracy: 0.7\n",
    ] {
        assert_eq!(taken(stdout, ""), (Some(0.7), String::new()), "{stdout}");
    }
}

#[test]
fn prose_shares_and_names_in_other_words_get_advice_that_reads_them() {
    for (output, value) in [
        ("accuracy -> 0.67\n", 0.67),
        ("The accuracy is 0.52\n", 0.52),
        ("accuracy tensor(0.5)\n", 0.5),
        ("Test set: loss: 0.3, accuracy: 6759/10000 (68%)\n", 0.6759),
        ("Accuracy of the network on the 10000 test images: 54 %\n", 54.0),
        ("Accuracy on val images: 0.8\nAccuracy on train images: 0.99\n", 0.8),
        ("PR-AUC = 0.7\nthe Accuracy score = 0.8\n", 0.8),
    ] {
        let missed = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
        let regex = offered(&missed).unwrap_or_else(|| panic!("{output}: {:?}", missed.near_misses));
        let read = patterns(Some(with_regex("accuracy", &regex)), vec![]);
        assert_eq!(outcome_of(&read, output, "").objective, Some(value), "{output}: {regex}");
    }
    let missed = outcome_of(&patterns(Some(metric("val_acc")), vec![]), "val acc: 0.8\ntest acc: 0.7\n", "");
    assert!(missed.near_misses.join("\n").contains("write `name: val acc`"), "{:?}", missed.near_misses);
}

#[test]
fn a_number_in_another_unit_than_before_is_none() {
    for (output, value) in [
        ("accuracy: 12.5 ms\naccuracy: 9 ms\n", Some(9.0)),
        ("accuracy: 850 ms\naccuracy: 1.2 s\n", None),
        ("accuracy: 850 ms\naccuracy: 1.2 s\naccuracy: 1.1 s\n", None),
        ("accuracy: 900 K\naccuracy: 1.2 M\n", None),
        ("accuracy: 1 s\naccuracy: 2 stars\n", Some(2.0)),
        ("val accuracy: 850 ms\nval accuracy: 1.2 s\n", None),
    ] {
        let outcome = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
        assert_eq!(outcome.objective, value, "{output}: {:?}", outcome.near_misses);
    }
}
