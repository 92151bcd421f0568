//! Repeats: points are tried one after another, and only a complete mean ranks, is best, and reaches a target.

mod lab;

use lab::{Done, Lab};
use serde_json::Value as Json;

/// `score` from the point and the repeat; the pairs that are told fail instead.
fn sweep(script: &str, rest: &str) -> String {
    format!(
        "command: [sh, -c, '{script}']\nmetric: {{name: score, goal: maximize{rest}}}\n\
         parameters: {{x: {{values: [1, 2, 3, 4, 5, 6]}}}}\nrepeats: 3\nretry: {{max_failures: 0}}\n"
    )
}

fn rows(lab: &Lab) -> Vec<Json> {
    let done = lab.run(&["leaderboard", "s.yaml", "-k", "0", "-o", "jsonl"]);
    done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn run(lab: &Lab, text: &str) -> Done {
    lab.write("s.yaml", text);
    lab.run(&["run", "s.yaml", "--slots", "1"])
}

#[test]
fn no_single_lucky_repeat_ends_a_sweep() {
    let lucky = "case $GRID_REPEAT in 0) echo score=0.9;; *) echo score=0.1$HP_X;; esac";
    let lab = Lab::new();
    let done = run(&lab, &sweep(lucky, ", target: 0.8"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!done.stderr.contains("target was reached"), "{}", done.stderr);
    assert_eq!(rows(&lab).len(), 6);
}

#[test]
fn a_complete_mean_ends_the_sweep_after_one_point() {
    let lab = Lab::new();
    let done = run(&lab, &sweep("echo $HP_X $GRID_REPEAT >> ledger; echo score=0.9", ", target: 0.8"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("the target was reached"), "{}", done.stderr);
    let rows = rows(&lab);
    assert_eq!(rows.iter().filter(|row| row["rank"] == 1).count(), 1, "{rows:?}");
}

#[test]
fn a_point_that_lacks_a_repeat_ranks_below_every_complete_one() {
    let lab = Lab::new();
    // The first point loses a repeat, the second diverges once; both have the best values otherwise.
    let script = "case $HP_X$GRID_REPEAT in 11) exit 3;; 21) echo score=nan;; 1*|2*) echo score=9;; \
                  3*) echo score=0.$GRID_REPEAT;; *) echo score=0.2;; esac";
    let done = run(&lab, &sweep(script, ""));
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    let rows = rows(&lab);
    let ranks: Vec<&Json> = rows.iter().map(|row| &row["rank"]).collect();
    let points: Vec<&Json> = rows.iter().map(|row| &row["params"]["x"]).collect();
    assert_eq!(ranks, [&Json::from(1), &2.into(), &3.into(), &4.into(), &Json::Null, &Json::Null]);
    assert_eq!(points, [4, 5, 6, 3, 1, 2]);
    let board = lab.run(&["leaderboard", "s.yaml"]);
    assert!(board.stderr.contains("3 points share the best value"), "{}", board.stderr);
    // `best`, `#1`, status and leaderboard mean the same point.
    let best = lab.run(&["trials", "show", "best", "--json"]);
    let best: Json = serde_json::from_str(&best.stdout).unwrap_or_default();
    assert_eq!(best["trial"]["trial"], rows[0]["trial"]);
    let status: Json =
        serde_json::from_str(&lab.run(&["status", "s.yaml", "-o", "json"]).stdout).unwrap_or_default();
    let status = if status.is_array() { &status[0] } else { &status };
    assert_eq!(status["best"]["trial"], rows[0]["trial"], "{status}");
    assert_eq!(status["best"]["objective"], rows[0]["objective"]);
    let third = lab.run(&["logs", "#4"]);
    assert!(third.stderr.contains("this is the best of them, repeat 2"), "{}", third.stderr);
    assert!(third.stdout.contains("score=0.2"), "{}", third.stdout);
    assert_ne!(lab.run(&["logs", "#5"]).code, Some(0));
}

#[test]
fn until_a_point_is_complete_none_is_best() {
    let lab = Lab::new();
    let script = "case $GRID_REPEAT in 2) exit 3;; *) echo score=1;; esac";
    let done = run(&lab, &sweep(script, "").replace("2, 3, 4, 5, 6", "2"));
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    let board = lab.run(&["leaderboard", "s.yaml"]);
    assert!(board.stderr.contains("no point is complete yet"), "{}", board.stderr);
    assert!(lab.run(&["status", "s.yaml"]).stdout.contains("none complete yet"));
    let best = lab.run(&["logs", "best"]);
    assert_ne!(best.code, Some(0));
    assert!(best.stderr.contains("none complete yet"), "{}", best.stderr);
}

#[test]
fn the_mean_of_folds_that_one_trial_prints_ranks_and_has_its_spread_beside_it() {
    let lab = Lab::new();
    let script = "for f in 1 3; do echo score=0.$HP_X$f; done; [ $HP_X != 3 ] || echo score=99%";
    let parameters = "parameters: {x: {values: [1, 2, 3]}}\nretry: {max_failures: 0}\n";
    let metric = "metric: {name: score, goal: maximize, report: mean}\n";
    let done = run(&lab, &format!("command: [bash, -c, '{script}']\n{metric}{parameters}"));
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    assert!(done.stderr.contains("saw `score=99%`"), "{}", done.stderr);
    let rows = rows(&lab);
    let spread = (0.01_f64 * 0.01 * 2.0).sqrt();
    for (row, (x, mean)) in rows.iter().zip([(2, (0.21 + 0.23) / 2.0), (1, (0.11 + 0.13) / 2.0)]) {
        assert_eq!((&row["params"]["x"], &row["objective"]), (&Json::from(x), &Json::from(mean)));
        for std in [&row["objective_std"], &row["metrics_std"]["score"]] {
            assert!((std.as_f64().unwrap() - spread).abs() < 1e-12, "{std}");
        }
    }
    assert_eq!(rows.len(), 2);
    let table = lab.run(&["leaderboard", "s.yaml"]).stdout;
    assert!(table.lines().next().is_some_and(|line| line.contains("std")), "{table}");
    let csv = lab.run(&["leaderboard", "s.yaml", "-o", "csv"]).stdout;
    assert!(csv.lines().next().is_some_and(|line| line.contains("metric_score,std_score")), "{csv}");
}

#[test]
fn a_repeat_that_succeeds_at_a_later_try_completes_its_point() {
    let script = "case $HP_X$GRID_REPEAT in 62) grep -q yes fixed || exit 3;; esac; echo score=$HP_X";
    // The second time as one more version, for which the first one's outcomes are linked.
    // A version counts its own attempts of a trial.
    for (more, attempts) in [("", 4), (", 0", 3)] {
        let lab = Lab::new();
        lab.write("fixed", "no");
        let name = format!("s{}", more.len());
        let text = |more: &str| sweep(script, "").replace("5, 6", &format!("5, 6{more}"));
        lab.write(&format!("{name}.yaml"), text(""));
        let ran = |rest: &[&str]| {
            let file = format!("{name}.yaml");
            lab.run(&[&["run", &file, "--slots", "1", "--changed", "keep"], rest].concat())
        };
        assert_eq!(ran(&[]).code, Some(10));
        lab.write("fixed", "yes").write(&format!("{name}.yaml"), text(more));
        let done = ran(&["--retry-failed"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let results = lab.data().join("results").join(&name);
        for of in [format!("{name}.yaml"), results.display().to_string()] {
            let board = lab.run(&["leaderboard", &of, "-k", "1", "-o", "json"]).stdout;
            let board: Json = serde_json::from_str(&board).unwrap();
            let best = &board[0];
            assert_eq!((&best["rank"], &best["objective"]), (&1.into(), &6.0.into()), "{of}: {board}");
            assert_eq!(
                (&best["state"], &best["attempts"]),
                (&"succeeded".into(), &attempts.into()),
                "{of}: {board}"
            );
        }
        let status = lab.run(&["status", &name]).stdout;
        assert!(status.contains("best objective 6 "), "{status}");
    }
}
