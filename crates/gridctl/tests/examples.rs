//! The examples below `sweeps/` do what their READMEs say, and find what is to be found.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{Lab, skipped};
use serde_json::Value as Json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Whether Python has these modules; what is lacking is said.
fn has(modules: &str, example: &str) -> bool {
    let found = Command::new("python3").args(["-c", &format!("import {modules}")]).output();
    let found = found.is_ok_and(|done| done.status.success());
    if !found {
        skipped(&format!("sweeps/{example} runs: python3 cannot import {modules}"));
    }
    found
}

/// A copy of the example in which every command of its README was run, and the rows of its leaderboard.
fn run(example: &str) -> (Lab, Vec<Json>) {
    let lab = Lab::new();
    copy(&root().join("sweeps").join(example), &lab.path().join("sweeps").join(example));
    let readme = fs::read_to_string(root().join("sweeps").join(example).join("README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("$ gridctl ")).collect();
    assert!(lines.len() >= 3, "{example}: its README shows how it is run");
    for line in lines {
        // scikit-learn takes its time to begin, above all on a machine that does other things as well.
        let typed = format!("exec timeout 600 {} {line}", env!("CARGO_BIN_EXE_gridctl"));
        let done = Command::new("sh").args(["-c", &typed]).current_dir(lab.path()).output().unwrap();
        assert!(
            done.status.success(),
            "{example}: gridctl {line}\n{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let file = format!("sweeps/{example}/sweep.yaml");
    let board = lab.run(&["leaderboard", &file, "-k", "0", "-o", "json"]);
    (lab, serde_json::from_str(&board.stdout).unwrap())
}

#[test]
fn shell_packs_best_with_the_compressor_that_packs_best() {
    let (lab, rows) = run("shell");
    assert_eq!((rows.len(), &rows[0]["params"]["tool"]), (6, &Json::from("xz")), "{rows:?}");
    assert!(lab.path().join("packed/packed").exists());
}

#[test]
fn wandb_s_own_file_is_run_as_it_is() {
    if !has("argparse", "wandb") {
        return;
    }
    let (_, rows) = run("wandb");
    assert_eq!(
        (rows.len(), &rows[0]["params"]["degree"]),
        (18, &Json::from(2)),
        "a parabola was to be found: {:?}",
        rows[0]
    );
}

#[test]
fn hydra_takes_every_override_of_every_point() {
    if !has("hydra", "hydra") {
        return;
    }
    let (_, rows) = run("hydra");
    assert_eq!(rows.len(), 12);
    assert!(rows[0]["objective"].as_f64().unwrap() < 0.25, "something was learned: {}", rows[0]);
    let losses: Vec<String> = rows.iter().map(|row| row["objective"].to_string()).collect();
    assert!(
        losses.iter().all(|loss| losses.iter().filter(|other| *other == loss).count() == 1),
        "{losses:?}"
    );
}

#[test]
fn folds_have_the_means_of_scikit_learn_s_own_cross_validation() {
    if !has("sklearn", "folds") {
        return;
    }
    let (lab, rows) = run("folds");
    let search = "import json\nfrom sklearn.datasets import load_breast_cancer\nfrom sklearn.linear_model import LogisticRegression\n\
                  from sklearn.model_selection import StratifiedKFold, cross_val_score\nfrom sklearn.pipeline import make_pipeline\n\
                  from sklearn.preprocessing import StandardScaler\ncells, kinds = load_breast_cancer(return_X_y=True)\n\
                  folds = StratifiedKFold(3, shuffle=True, random_state=0)\nmodel = lambda C: make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))\n\
                  print(json.dumps([cross_val_score(model(C), cells, kinds, cv=folds).mean() for C in (0.01, 1, 100)]))\n";
    let done = Command::new("python3").args(["-c", search]).current_dir(lab.path()).output().unwrap();
    let mut expected: Vec<f64> = serde_json::from_slice(&done.stdout).unwrap();
    expected.sort_by(|one, other| other.total_cmp(one));
    let found: Vec<f64> = rows.iter().map(|row| row["objective"].as_f64().unwrap()).collect();
    assert!(rows.iter().all(|row| row["repeats"] == 3), "{rows:?}");
    assert_eq!(found.len(), expected.len());
    assert!(
        found.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 1e-6),
        "{found:?} {expected:?}"
    );
}
