//! The models beside scikit-learn's on the same folds: the same numbers where the algorithm is the same, near ones where
//! it is not.
//!
//! `SCORES` are what scikit-learn 1.9.1 gave (sklearn_scores.py, numpy 2.4.6); where it is installed, it is asked anew.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::*;
use crate::models::params_of;

/// A model on data, how near it is to scikit-learn's, and scikit-learn's scores.
struct Case {
    kind: ModelKind,
    data: &'static str,
    params: &'static str,
    near: f64,
    scores: &'static [(&'static str, f64)],
}

/// The algorithm is the same, and so is the answer.
const SAME: f64 = 1e-6;
/// Trees differ: linfa's weigh splits in f32, and ask about an order of classes; scikit-learn's choose between equal splits
/// by chance, and draw measurements anew for each split of a forest.
const TREES: f64 = 0.04;

const CASES: &[Case] = &[
    Case {
        kind: ModelKind::Linear,
        data: "diabetes",
        params: r#"{}"#,
        near: SAME,
        scores: &[("rmse", 54.825267752), ("mae", 44.381048504), ("r2", 0.480825526)],
    },
    Case {
        kind: ModelKind::Linear,
        data: "wine",
        params: r#"{}"#,
        near: SAME,
        scores: &[("rmse", 0.653666567), ("mae", 0.506789760), ("r2", 0.343003055)],
    },
    Case {
        kind: ModelKind::ElasticNet,
        data: "diabetes",
        params: r#"{"alpha": 0.1, "l1_ratio": 0.5}"#,
        near: SAME,
        scores: &[("rmse", 54.840147931), ("mae", 44.473033192), ("r2", 0.480973450)],
    },
    Case {
        kind: ModelKind::ElasticNet,
        data: "diabetes",
        params: r#"{"alpha": 2.0, "l1_ratio": 1.0}"#,
        near: SAME,
        scores: &[("rmse", 55.019689778), ("mae", 44.824570766), ("r2", 0.477763970)],
    },
    Case {
        kind: ModelKind::ElasticNet,
        data: "wine",
        params: r#"{"alpha": 0.01, "l1_ratio": 0.2}"#,
        near: SAME,
        scores: &[("rmse", 0.653558206), ("mae", 0.507481409), ("r2", 0.343249652)],
    },
    Case {
        kind: ModelKind::Logistic,
        data: "wine",
        params: r#"{}"#,
        near: SAME,
        scores: &[("accuracy", 0.740267089), ("log_loss", 0.532131876)],
    },
    Case {
        kind: ModelKind::Logistic,
        data: "wine",
        params: r#"{"alpha": 30.0}"#,
        near: SAME,
        scores: &[("accuracy", 0.740363804), ("log_loss", 0.531320888)],
    },
    Case {
        kind: ModelKind::Logistic,
        data: "iris",
        params: r#"{}"#,
        near: SAME,
        scores: &[("accuracy", 0.959740452), ("log_loss", 0.150399855)],
    },
    Case {
        kind: ModelKind::Bayes,
        data: "wine",
        params: r#"{}"#,
        near: SAME,
        scores: &[("accuracy", 0.725155171), ("log_loss", 0.770123269)],
    },
    Case {
        kind: ModelKind::Bayes,
        data: "iris",
        params: r#"{"var_smoothing": 1e-3}"#,
        near: SAME,
        scores: &[("accuracy", 0.953288839), ("log_loss", 0.124952336)],
    },
    Case {
        kind: ModelKind::Svm,
        data: "wine",
        params: r#"{}"#,
        near: SAME,
        scores: &[("accuracy", 0.755928603)],
    },
    Case {
        kind: ModelKind::Svm,
        data: "iris",
        params: r#"{"c": 10.0, "gamma": 0.1}"#,
        near: SAME,
        scores: &[("accuracy", 0.980200222)],
    },
    Case {
        kind: ModelKind::Svm,
        data: "iris",
        params: r#"{"kernel": "linear"}"#,
        near: SAME,
        scores: &[("accuracy", 0.973748610)],
    },
    Case {
        kind: ModelKind::Svr,
        data: "diabetes",
        params: r#"{"c": 100.0, "epsilon": 5.0, "gamma": 0.05}"#,
        near: SAME,
        scores: &[("rmse", 55.911577137), ("mae", 44.677265170), ("r2", 0.459914897)],
    },
    Case {
        kind: ModelKind::Svr,
        data: "diabetes",
        params: r#"{"kernel": "linear", "c": 0.5}"#,
        near: SAME,
        scores: &[("rmse", 55.416474025), ("mae", 45.327203724), ("r2", 0.470382794)],
    },
    Case {
        kind: ModelKind::Tree,
        data: "wine",
        params: r#"{"max_depth": 4}"#,
        near: TREES,
        scores: &[("accuracy", 0.720189285)],
    },
    Case {
        kind: ModelKind::Tree,
        data: "iris",
        params: r#"{"max_depth": 3}"#,
        near: TREES,
        scores: &[("accuracy", 0.952614016)],
    },
    Case {
        kind: ModelKind::Forest,
        data: "wine",
        params: r#"{"n_trees": 50, "max_depth": 8}"#,
        near: TREES,
        scores: &[("accuracy", 0.759813444)],
    },
    Case {
        kind: ModelKind::AdaBoost,
        data: "wine",
        params: r#"{"n_trees": 50}"#,
        near: TREES,
        scores: &[("accuracy", 0.743902282)],
    },
    Case {
        kind: ModelKind::AdaBoost,
        data: "iris",
        params: r#"{"n_trees": 20}"#,
        near: TREES,
        scores: &[("accuracy", 0.945947349)],
    },
];

fn ours(case: &Case) -> (BTreeMap<&'static str, f64>, Value) {
    let plan = FoldPlan { model: case.kind.name(), folds: 5, seed: 3 };
    let choice = data::tests::choice(case.data, None);
    let folds = |table: &Table| {
        let folds = folds::split(table, plan.folds, plan.seed).expect("there are enough rows");
        json!(folds.iter().map(|fold| json!({"train": fold.train, "test": fold.test})).collect::<Vec<_>>())
    };
    let rows =
        |table: &Table| json!(table.features.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>());
    let params: Value = serde_json::from_str(case.params).expect("JSON");
    let (scores, table, y): (BTreeMap<_, _>, _, _) =
        match case.kind.model(&params_of(case.kind, case.params)).expect("they are in range") {
            Model::Classes(model) => {
                let data = choice.classes().expect("it is built in");
                let scores = cv::classes(&model, &data, plan).expect("it can be scored");
                let loss = scores.log_loss.map(|loss| ("log_loss", loss));
                let all = [("accuracy", scores.accuracy)].into_iter().chain(loss).collect();
                (all, data.table, json!(data.classes))
            }
            Model::Numbers(model) => {
                let data = choice.numbers().expect("it is built in");
                let scores = cv::numbers(&model, &data, plan).expect("it can be scored");
                let all =
                    [("rmse", scores.rmse), ("mae", scores.mae), ("r2", scores.r2)].into_iter().collect();
                (all, data.table, json!(data.numbers))
            }
        };
    let classes = scores.contains_key("accuracy");
    let (x, folds, kind) = (rows(&table), folds(&table), case.kind.name());
    (scores, json!({"kind": kind, "params": params, "classes": classes, "x": x, "y": y, "folds": folds}))
}

fn compare(case: &Case, ours: &BTreeMap<&str, f64>, theirs: &BTreeMap<String, f64>, by: &str) {
    assert_eq!(ours.len(), theirs.len(), "{:?}: {ours:?} {theirs:?}", case.kind);
    for (name, value) in theirs {
        let difference = (ours[name.as_str()] - value).abs() / value.abs().max(1.0);
        assert!(
            difference <= case.near,
            "{:?} on {} {}: {name} is {}, and {value} by {by}",
            case.kind,
            case.data,
            case.params,
            ours[name.as_str()]
        );
    }
}

#[test]
fn scores_are_scikit_learns_on_the_same_folds() {
    let all: Vec<_> = CASES.iter().map(ours).collect();
    let sklearn = Command::new("python3").args(["-c", "import sklearn"]).stderr(Stdio::null()).status();
    if sklearn.is_ok_and(|status| status.success()) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/sklearn_scores.py");
        let mut python = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 was there just now");
        let cases = json!(all.iter().map(|(_, case)| case).collect::<Vec<_>>()).to_string();
        python.stdin.take().expect("it is piped").write_all(cases.as_bytes()).expect("it reads");
        let output = python.wait_with_output().expect("it ends");
        assert!(output.status.success(), "scikit-learn fails");
        let theirs: Vec<BTreeMap<String, f64>> = serde_json::from_slice(&output.stdout).expect("scores");
        for ((case, (ours, _)), theirs) in CASES.iter().zip(&all).zip(&theirs) {
            compare(case, ours, theirs, "scikit-learn");
        }
    } else {
        eprintln!(
            "SKIPPED a comparison with scikit-learn itself: python3 has none; its kept scores are compared"
        );
        assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
    }
    for (case, (ours, _)) in CASES.iter().zip(&all) {
        let kept = case.scores.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        compare(case, ours, &kept, "scikit-learn 1.9.1");
    }
}
