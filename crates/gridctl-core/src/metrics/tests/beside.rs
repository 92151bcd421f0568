//! Numbers that stand beside the one that is read: which are refused, which are named in a doubt, and which are neither.

use super::*;

/// The value of `name`, what there is to doubt of it, and what came close.
fn read(name: &str, goal: Goal, output: &str) -> (Option<f64>, String, Vec<String>) {
    let objective = Objective { metric: metric(name), goal, target: None };
    let plain = crate::spec::tests::spec("name: s\ncommand: [t]\nparameters: {x: {value: 1}}\n");
    let spec = SweepSpec { objective: Some(objective), ..plain };
    let outcome = outcome_of(&Arc::new(Patterns::new(&spec).unwrap()), output, "");
    let texts = outcome.doubts.iter().map(|doubt| match doubt {
        Doubt::Qualified { taken, other, .. } => format!("{taken}|{}", other.as_deref().unwrap_or("")),
        Doubt::Unread { line, .. } => format!("unread {line}"),
        Doubt::OneOfSeveral { count, .. } => format!("of {count}"),
        other => format!("{other:?}"),
    });
    (outcome.objective, texts.collect::<Vec<_>>().join(";"), outcome.near_misses)
}

#[test]
fn the_first_of_two_fractions_side_by_side_is_not_taken_for_the_number() {
    for output in [
        "accuracy: 0.93 | 0.85",
        "accuracy: 0.93 | 0.85 lr 0.1",
        "accuracy: 0.93 | 0.85 (train | val)",
        "accuracy: 0.93, 0.85 done",
        "accuracy: 0.93 0.85 done",
        "accuracy: 0.93 ; 0.85 done",
        "accuracy: 1.04E-02 | 9.73E-03  lr 0.1",
        "accuracy: 0.93 | nan lr 0.1",
        "accuracy: 86.0 +/- 5.0 %",
        "accuracy: 86.0 ± 5.0%",
        "accuracy: 86.0+/-5.0%",
    ] {
        let (value, _, near) = read("accuracy", Goal::Maximize, output);
        assert_eq!(value, None, "{output}");
        assert!(near.join("\n").contains("not a plain number"), "{output}: {near:?}");
    }
    for (output, expected) in [
        ("loss: 0.41, 12.3s/it", 0.41),
        ("loss: 0.41 | 12.3 ms/batch", 0.41),
        ("loss: 0.41 12.5 seconds elapsed", 0.41),
        ("loss: 0.41, 12.5 sec", 0.41),
        ("loss: 0.41 | 3.2 GB | 12.5 fps", 0.41),
        ("loss: 0.41 | 12.3 it/s", 0.41),
        ("loss: 0.41, 0.25 epochs", 0.41),
        ("loss: 0.41 | 3 | x", 0.41),
        ("loss: 0.41 (0.38)", 0.41),
        ("loss: 0.41 [0.38, 0.44]", 0.41),
        ("loss: 0.41 - 12s 3ms/step", 0.41),
        ("loss: 0.41 +/- 0.02", 0.41),
        ("loss: 0.41 (+/- 0.02)", 0.41),
        ("loss: 0.41, 2.1.0", 0.41),
        ("loss: 0.41, information", 0.41),
        ("loss: 0.41 | acc: 0.9 | lr 0.1", 0.41),
    ] {
        assert_eq!(read("loss", Goal::Minimize, output).0, Some(expected), "{output}");
    }
    let (_, _, near) = read("accuracy", Goal::Maximize, "accuracy: 86.0 +/- 5.0 %");
    assert!(near.join("\n").contains("to read it: `regex:"), "{near:?}");
    let behind = read("accuracy", Goal::Maximize, "accuracy: 0.5\nAccuracy: 86.0 +/- 5.0 %");
    assert_eq!((behind.0, behind.1.as_str()), (Some(0.5), "unread Accuracy: 86.0 +/- 5.0 %"));
}

#[test]
fn what_was_measured_on_held_out_data_beside_a_bare_name_is_said() {
    let keras = "1/1 - 0s - accuracy: 0.95 - loss: 0.1 - val_accuracy: 0.75 - val_loss: 0.4\n";
    let trainer = "{'loss': 0.25, 'epoch': 1.0}\n{'eval_loss': 0.5, 'epoch': 1.0}\n{'train_loss': 0.3}\n";
    for (name, output, value, told) in [
        ("accuracy", keras, 0.95, "accuracy: 0.95|val_accuracy: 0.75"),
        ("loss", trainer, 0.25, "loss: 0.25|eval_loss': 0.5"),
        ("Loss", "Epoch 4, Loss: 0.5, Val Loss: 27.4\n", 0.5, "unread Val Loss: 27.4"),
        ("loss", "loss: 0.5, test_loss: 0.75\n", 0.5, "loss: 0.5|test_loss: 0.75"),
        ("loss", "loss=0.5 val/loss=0.75\n", 0.5, "loss: 0.5|val/loss=0.75"),
        ("val_accuracy", keras, 0.75, ""),
        ("accuracy", "accuracy: 0.95 - val_accuracy: 0.95\n", 0.95, ""),
        ("accuracy", "accuracy: 0.9512 - val_accuracy: 95.1%\n", 0.9512, ""),
        ("accuracy", "val_accuracy: 0.75\naccuracy: 0.8\n", 0.8, ""),
        ("accuracy", "accuracy: 0.8\ntest_accuracy: 0.75\n", 0.8, ""),
        (
            "accuracy",
            "accuracy: 0.8\ntrain_accuracy: 0.75 my_val_accuracy: 0.5 --val-accuracy=0.5\n",
            0.8,
            "",
        ),
        ("accuracy", "accuracy: 0.8 val_accuracy_std: 0.1 val_accuracy: saved\n", 0.8, ""),
        ("accuracy", "::metric accuracy=0.8\naccuracy: 0.8 val_accuracy: 0.7\n", 0.8, ""),
    ] {
        let (objective, doubts, near) = read(name, Goal::Maximize, output);
        assert_eq!((objective, doubts.as_str()), (Some(value), told), "{output}: {near:?}");
    }
    let both = patterns(Some(metric("accuracy")), vec![metric("val_accuracy")]);
    assert_eq!(outcome_of(&both, keras, "").doubts, [], "who lists it knows of it");
}

#[test]
fn a_better_value_than_the_last_is_said_where_the_log_speaks_of_it() {
    let stopped = "Restoring model weights from the end of the best epoch: 2.\n";
    let epochs = "acc: 0.7\nacc: 0.9\nacc: 0.8\n";
    for (output, value, told) in [
        ("acc: 0.90\nbest_acc: 0.93\n".to_owned(), 0.9, "unread best_acc: 0.93"),
        ("acc: 0.70 (best: 0.85)\n".to_owned(), 0.7, "unread best: 0.85"),
        ("acc: 0.70 [best 0.85]\n".to_owned(), 0.7, ""),
        (format!("{epochs}{stopped}"), 0.8, "unread Restoring model weights"),
        (format!("acc: 0.7\nacc: 0.9\n{stopped}"), 0.9, ""),
        (format!("{epochs}{stopped}acc: 0.89\n"), 0.89, ""),
        ("acc: 0.85 (best: 0.85)\n".to_owned(), 0.85, ""),
        ("acc: 0.8512 (best: 0.85)\n".to_owned(), 0.8512, ""),
        ("best_acc: 0.93\nacc: 0.90\n".to_owned(), 0.9, ""),
        ("acc: 0.90\nbest_acc_epoch: 3\nbest_loss: 0.1\n(best\n[best: x]\n(beté\n".to_owned(), 0.9, ""),
    ] {
        let (objective, doubts, _) = read("acc", Goal::Maximize, &output);
        assert_eq!(objective, Some(value), "{output}");
        let fits = if told.is_empty() { doubts.is_empty() } else { doubts.starts_with(told) };
        assert!(fits, "{output}: {doubts}");
    }
    let falling = format!("loss: 0.5\nloss: 0.3\n{stopped}");
    assert_eq!(read("loss", Goal::Minimize, &falling).1, "");
    assert!(
        read("loss", Goal::Minimize, &format!("loss: 0.3\n{falling}loss: 0.9\n{stopped}"))
            .1
            .contains("best epoch")
    );
    let most = patterns(Some(MetricSpec { report: Report::Max, ..metric("acc") }), vec![]);
    let outcome = outcome_of(&most, &format!("{epochs}best_acc: 0.95\n{stopped}"), "");
    assert_eq!((outcome.objective, outcome.doubts), (Some(0.9), vec![]));
}

#[test]
fn a_heading_that_says_what_the_name_says_itself_changes_nothing() {
    let trainer = "{'eval_loss': 0.5125}\n***** eval metrics *****\n  eval_loss   = 0.4125\n";
    assert_eq!(read("eval_loss", Goal::Minimize, trainer).0, Some(0.4125));
    let percent = "test_acc=0.82\n--- final ---\ntest_acc: 81.5%\n";
    assert_eq!(read("test_acc", Goal::Maximize, percent).0, None, "an older value does not stand for it");
    let percent = "test_acc=0.82\n--- final test ---\ntest_acc: 81.5%\n";
    assert_eq!(read("test_acc", Goal::Maximize, percent).0, None, "an older value does not stand for it");
    let other = "=== Train ===\nloss: 0.1\n=== Val ===\nloss: 0.5\n=== Train ===\nloss: 0.2\n";
    assert_eq!(read("loss", Goal::Minimize, other).0, Some(0.5));
}

#[test]
fn folds_of_scikit_learn_are_folds_and_their_mean_is_none() {
    let line = |fold: u32, score: f64| {
        format!("[CV {fold}/3] END {}C=1;, score={score} total time=   0.0s\n", ".".repeat(40))
    };
    let folds = line(1, 0.933) + &line(2, 0.9) + &line(3, 0.8);
    assert_eq!(read("score", Goal::Maximize, &folds).1, "of 3");
    for mean in [
        "mean score: 0.8\n",
        "score: 0.877 (mean of 3 folds)\n",
        "CV score: 0.8\n",
        "mean over 3 folds: score=0.8\n",
    ] {
        assert_eq!(read("score", Goal::Maximize, &format!("{folds}{mean}")).1, "", "{mean}");
    }
}
