//! `sweeps/digits`: a program that has never heard of gridctl, here and in an image of its own. What comes out is what
//! scikit-learn's own grid search finds.

use std::fs;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::lab::{Lab, skipped};
use crate::project::{Project, lacking, root};

/// The same search by scikit-learn, on the same folds.
const GRID_SEARCH: &str = "
import json, sys
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC
images, digits = load_digits(return_X_y=True)
folds = StratifiedKFold(5, shuffle=True, random_state=0)
search = GridSearchCV(SVC(), json.loads(sys.argv[1]), cv=folds).fit(images, digits)
print(json.dumps({'params': search.best_params_, 'accuracy': round(search.best_score_, 6)}))
";

/// What a command prints that may take long: packages are fetched, models fitted.
pub(crate) fn patiently(command: &mut Command) -> String {
    let mut line = vec!["600".into(), command.get_program().to_owned()];
    line.extend(command.get_args().map(ToOwned::to_owned));
    let mut limited = Command::new("timeout");
    limited.args(line).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(command.get_current_dir().unwrap());
    let done = limited.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The sweep's directory in `lab`, with fewer points where `parameters` are others.
fn prepare(lab: &Lab, parameters: Option<&str>) {
    let dir = root().join("sweeps/digits");
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let name = format!("sweeps/digits/{}", entry.file_name().display());
            lab.write(&name, fs::read(entry.path()).unwrap());
        }
    }
    if let Some(parameters) = parameters {
        let file = "sweeps/digits/sweep.yaml";
        let whole = fs::read_to_string(lab.path().join(file)).unwrap();
        let (head, _) = whole.split_once("parameters:").unwrap();
        lab.write(file, format!("{head}parameters: {parameters}\n"));
    }
}

/// The grid that a leaderboard's rows are of, and its best point as the search says it.
fn found(board: &str) -> (Json, Json) {
    let rows: Vec<Json> = serde_json::from_str(board).unwrap();
    let values = |name: &str| {
        let mut values: Vec<f64> = rows.iter().filter_map(|row| row["params"][name].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    };
    let best = &rows[0];
    let number = |name: &str| best["params"][name].as_f64();
    let params = json!({"C": number("C"), "gamma": number("gamma")});
    let grid = json!({"C": values("C"), "gamma": values("gamma")});
    assert_eq!(rows.len(), values("C").len() * values("gamma").len());
    (grid, json!({"params": params, "accuracy": best["objective"]}))
}

#[test]
fn digits_has_the_best_point_of_scikit_learns_own_grid_search() {
    let python = Command::new("python3").args(["-c", "import sklearn"]).output();
    if !python.is_ok_and(|done| done.status.success()) {
        return skipped(
            "sweeps/digits finds what scikit-learn's grid search finds: python3 has no scikit-learn",
        );
    }
    let lab = Lab::new();
    prepare(&lab, None);
    patiently(&mut lab.command(&["run", "sweeps/digits/sweep.yaml", "--quiet"]));
    let board = lab.run(&["leaderboard", "sweeps/digits/sweep.yaml", "-k", "0", "-o", "json"]);
    let (grid, best) = found(&board.stdout);
    let mut search = Command::new("python3");
    let expected = patiently(search.args(["-c", GRID_SEARCH, &grid.to_string()]).current_dir(lab.path()));
    assert_eq!(best, serde_json::from_str::<Json>(&expected).unwrap());
}

#[test]
fn digits_runs_in_an_image_of_its_own_that_has_never_heard_of_gridctl() {
    if let Some(why) = lacking("python:3.13-slim-trixie").or_else(|| lacking("debian:13-slim")) {
        return skipped(&format!("sweeps/digits runs in an image of its own: {why}"));
    }
    let project = Project::new("digits", "/sweeps/digits/sweep.yaml");
    prepare(&project.lab, Some("{C: {values: [0.1, 1]}, gamma: {values: [0.001]}}"));
    let image = format!("{}-train", project.name);
    let project = project.of(&image);
    let mut build = project.with_project("docker");
    patiently(build.args(["buildx", "build", "--quiet", "-t", &image, "sweeps/digits"]));
    contained(&project.lab, &image);
    let up = project.compose(&["up", "-d", "--build", "--scale", "worker=2"]);
    assert_eq!(up.code, Some(0), "{}", up.stderr);
    let [sweep] = project.containers("sweep").try_into().unwrap();
    let mut wait = project.with_project("docker");
    assert_eq!(patiently(wait.args(["wait", &sweep])).trim(), "0");
    let (grid, best) = found(&project.inside(&["leaderboard", "-k", "0", "-o", "json"]).stdout);
    let mut search = project.with_project("docker");
    search.args(["run", "--rm", &image, "python3", "-c", GRID_SEARCH, &grid.to_string()]);
    assert_eq!(best, serde_json::from_str::<Json>(&patiently(&mut search)).unwrap());
    let own = project.lab.run(&["leaderboard", "sweeps/digits/contained.yaml", "-k", "0", "-o", "json"]);
    assert_eq!(found(&own.stdout), (grid, best), "the same in slots that are containers");
    let down = project.compose(&["down", "-v"]);
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    drop(project.docker(&["image", "rm", "-f", &image]));
}

/// The same sweep by `gridctl run`, with the image in its file.
fn contained(lab: &Lab, image: &str) {
    let whole = fs::read_to_string(lab.path().join("sweeps/digits/sweep.yaml")).unwrap();
    let whole = whole.replace("name: digits\n", &format!("name: contained\nimage: {image}\n"));
    lab.write("sweeps/digits/contained.yaml", whole);
    patiently(&mut lab.command(&["run", "sweeps/digits/contained.yaml", "--quiet"]));
}
