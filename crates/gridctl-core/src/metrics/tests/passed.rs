//! Lines that name a metric with a number behind the value that was taken, in a form that is not read.

use super::*;
use crate::record::Doubt;

/// The value of `name`, the line that is said to be passed over, and what the pattern reads that is offered for it.
fn read(name: &str, output: &str) -> (Option<f64>, Option<String>, Option<f64>) {
    let outcome = outcome_of(&patterns(Some(metric(name)), vec![]), output, "");
    let unread = outcome.doubts.into_iter().find_map(|doubt| match doubt {
        Doubt::Unread { line, pattern, .. } => Some((line, pattern)),
        _ => None,
    });
    let (line, pattern) = unread.map_or((None, None), |(line, pattern)| (Some(line), pattern));
    let by_pattern = pattern.and_then(|regex| {
        outcome_of(&patterns(Some(with_regex(name, &regex)), vec![]), output, "").objective
    });
    (outcome.objective, line, by_pattern)
}

#[test]
fn a_later_line_in_another_form_is_named_with_a_pattern_that_reads_it() {
    for (name, output, value, line, by_pattern) in [
        ("accuracy", "epoch 1 accuracy: 0.5\nAccuracy: 0.8\n", 0.5, "Accuracy: 0.8", 0.8),
        ("accuracy", "accuracy: 0.5\nACCURACY = 80%\n", 0.5, "ACCURACY = 80%", 80.0),
        (
            "accuracy",
            "epoch 1 accuracy: 0.5\naccuracy on validation set: 0.8\n",
            0.5,
            "accuracy on validation set: 0.8",
            0.8,
        ),
        ("AUC", "epoch 3 AUC: 0.5\nAUC (final) = 0.8\n", 0.5, "AUC (final) = 0.8", 0.8),
        (
            "accuracy",
            "accuracy: 0.5\nFinal accuracy of the model is 0.8\n",
            0.5,
            "Final accuracy of the model is 0.8",
            0.8,
        ),
        ("rmse", "rmse: 12\nrmse after calibration: 10.1\n", 12.0, "rmse after calibration: 10.1", 10.1),
        ("loss", "loss: 0.5\nloss improved from 0.4 to 0.3\n", 0.5, "loss improved from 0.4 to 0.3", 0.3),
        (
            "AUC",
            "fold 3: AUC=0.98\nfold 4: AUC=0.99\nAUC (mean +/- std) = 0.91 +/- 0.02\n",
            0.99,
            "AUC (mean +/- std) = 0.91 +/- 0.02",
            0.91,
        ),
        (
            "accuracy",
            "accuracy: 0.5\nachieved accuracy 0.8 at last\n",
            0.5,
            "achieved accuracy 0.8 at last",
            0.8,
        ),
        ("accuracy", "accuracy=0.5\nepoch 9 accuracy,0.8\n", 0.5, "epoch 9 accuracy,0.8", 0.8),
        ("accuracy", "train accuracy: 0.99\nAccuracy: 0.8\n", 0.99, "Accuracy: 0.8", 0.8),
        ("accuracy", "accuracy: 0.5\nvalidation Accuracy: 0.8\n", 0.5, "validation Accuracy: 0.8", 0.8),
        ("accuracy", "accuracy: 0.5\nval accuracy: 0.8\n", 0.5, "val accuracy: 0.8", 0.8),
        (
            "accuracy",
            "accuracy: 0.5\nAccuracy: 9123/10000 (91%)\n",
            0.5,
            "Accuracy: 9123/10000 (91%)",
            0.9123,
        ),
        ("val_acc", "val_acc=0.5\nVal Acc: 0.8\n", 0.5, "Val Acc: 0.8", 0.8),
        ("accuracy", "accuracy: 0.5\n{'Accuracy': 0.8}\n", 0.5, "{'Accuracy': 0.8}", 0.8),
        ("accuracy", "accuracy: 0.5\nAccuracy: 0.7\nAccuracy: 0.8\n", 0.5, "Accuracy: 0.8", 0.8),
    ] {
        assert_eq!(read(name, output), (Some(value), Some(line.to_owned()), Some(by_pattern)), "{output}");
    }
    // Of this it is not said which number is meant.
    assert_eq!(read("accuracy", "accuracy: 0.5\naccuracy: 0.93 | 0.85\n").0, None);
    assert_eq!(read("accuracy", "accuracy: 0.93 | loss: 0.85\n").0, Some(0.93));
    assert_eq!(read("accuracy", "accuracy: 0.93 | 12\n").0, Some(0.93));
}

#[test]
fn a_pattern_is_not_offered_where_it_reads_a_line_behind() {
    let (value, line, by_pattern) = read("acc", "acc: 0.5\nAcc: 0.8\ntrain Acc: 0.99\n");
    assert_eq!((value, line.as_deref(), by_pattern), (Some(0.5), Some("Acc: 0.8"), None));
}

#[test]
fn ordinary_lines_behind_a_value_are_passed_over_in_silence() {
    for output in [
        "accuracy: 0.5\nAccuracy: 0.50\n",
        "accuracy: 0.5123\nFinal accuracy of the model is 51.2%\n",
        "Accuracy: 0.8\naccuracy: 0.5\n",
        "accuracy: 0.5\nbest accuracy so far: 0.9\n",
        "accuracy: 0.5\nBest Accuracy: 0.9\n",
        "accuracy: 0.5\nTrain Accuracy: 0.9\n",
        "accuracy: 0.5\nAccuracy on the training set: 0.9\n",
        "accuracy: 0.5\ntrain_accuracy: 0.9\naccuracy_std: 0.1\n",
        "accuracy: 0.5\naccuracy did not improve from 0.9\n",
        "accuracy: 0.5\nAccuracy did not improve for 5 epochs\n",
        "accuracy: 0.5\naccuracy plot saved to plots/acc-0.5.png in 0.3 s\n",
        "accuracy: 0.5\nComputed accuracy in 3.2s (10 batches)\n",
        "accuracy: 0.5\nbest parameters by accuracy: lr=0.1, depth=3\n",
        "accuracy: 0.5\nAccuracy computed for 1000 samples\n",
        "accuracy: 0.5\nAccuracy evaluations: 120\n",
        "accuracy: 0.5\n100%|####| 10/10 [00:01<00:00, 9.1it/s]\n",
        "accuracy: 0.5\n              precision  recall\n    accuracy                0.50     143\n",
        "accuracy: 0.5\nEpoch 5: early stopping, no gain of accuracy above 0.01\n",
    ] {
        let (value, unread, _) = read("accuracy", output);
        assert!(value.is_some_and(|value| (0.5..0.52).contains(&value)), "{output}: {value:?}");
        assert_eq!(unread, None, "{output}");
    }
    let plain = patterns(Some(metric("accuracy")), vec![]);
    let outcome = outcome_of(&plain, "::metric accuracy=0.5\nAccuracy: 0.8\n", "");
    assert_eq!((outcome.objective, outcome.doubts), (Some(0.5), vec![]), "what is explicit counts");
    let smallest = patterns(Some(MetricSpec { report: Report::Max, ..metric("accuracy") }), vec![]);
    assert_eq!(outcome_of(&smallest, "accuracy: 0.9\naccuracy: 0.5\nbest Accuracy: 0.9\n", "").doubts, []);
}

#[test]
fn without_a_value_a_line_in_another_form_is_named_too() {
    for (output, by_pattern) in [
        ("Final accuracy of the model is 0.8\n", 0.8),
        ("accuracy after calibration: 0.8\n", 0.8),
        ("accuracy improved from 0.4 to 0.8\n", 0.8),
        ("Accuracy on test: 9123/10000 (91%)\n", 0.9123),
        ("accuracy: 9123/10000 (91%)\n", 0.9123),
        ("accuracy: 9100/10000 (91%)\n", 91.0),
        ("accuracy: 9123/10000\n", 0.9123),
        ("epoch 3/3 | train_loss 0.3 | accuracy 80.5%\n", 80.5),
        ("epoch 3/3 | train_loss 0.3 | accuracy is 0.8\n", 0.8),
    ] {
        let missed = outcome_of(&patterns(Some(metric("accuracy")), vec![]), output, "");
        assert_eq!(missed.objective, None, "{output}");
        let read = offered(&missed).map(|regex| {
            let patterns = patterns(Some(with_regex("accuracy", &regex)), vec![]);
            outcome_of(&patterns, output, "").objective.unwrap()
        });
        assert_eq!(read, Some(by_pattern), "{output}: {:?}", missed.near_misses);
    }
}
