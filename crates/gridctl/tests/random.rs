//! `method: random`, with real processes: the same points again, more of them, and what is said of them.

mod lab;

use lab::{Lab, told};

/// Prints the parameter, and notes that it ran.
fn sweep(amount: &str) -> String {
    format!(
        "program: train.sh\ncommand: [sh, -c, 'echo $HP_LR >> ledger; echo loss=$HP_LR']\nmethod: random\n{amount}\
         metric: {{name: loss, goal: minimize}}\nparameters:\n  lr: {{distribution: log_uniform_values, min: 1e-5, max: 0.1}}\n\
         \x20 depth: {{values: [2, 4, 8]}}\n"
    )
}

fn lab(text: &str) -> Lab {
    let lab = Lab::new();
    lab.write("s.yaml", text).write("train.sh", "");
    lab
}

fn points(lab: &Lab) -> Vec<serde_json::Value> {
    let done = lab.run(&["leaderboard", "s.yaml", "-k", "0", "-o", "jsonl"]);
    let mut rows: Vec<serde_json::Value> =
        done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    rows.sort_by_key(|row| row["index"].as_u64());
    rows.into_iter().map(|row| row["params"].clone()).collect()
}

#[test]
fn a_longer_search_goes_on_from_the_shorter_one() {
    let lab = lab(&sweep("trials: 6\n"));
    assert_eq!(lab.run(&["run", "s.yaml"]).code, Some(0));
    let first = points(&lab);
    assert_eq!((first.len(), lab.ledger("ledger").len()), (6, 6));
    // Again: nothing is left. More: only the new ones run. Less: all of them are known.
    for (amount, known, ran) in [("trials: 6\n", 6, 6), ("trials: 10\n", 6, 10), ("run_cap: 4\n", 4, 10)] {
        lab.write("s.yaml", sweep(amount));
        let done = lab.run(&["run", "s.yaml"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(lab.ledger("ledger").len(), ran, "{amount}: {}", done.stderr);
        let now = points(&lab);
        let both = now.len().min(first.len());
        assert_eq!((now[..both].to_vec(), both >= known), (first[..both].to_vec(), true), "{amount}");
    }
    lab.write("s.yaml", sweep("trials: 6\nseed: 1\n"));
    assert_eq!(lab.run(&["run", "s.yaml"]).code, Some(0));
    assert_eq!(lab.ledger("ledger").len(), 16);
}

#[test]
fn the_command_line_says_how_many_where_the_file_does_not() {
    let lab = lab(&sweep(""));
    let without = lab.run(&["run", "s.yaml"]);
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("--count 100"), "{}", without.stderr);
    assert!(!lab.data().exists());
    let check = lab.run(&["check", "s.yaml"]);
    assert_eq!(check.code, Some(0));
    assert!(check.stdout.contains("as many points as `--count` says"), "{}", check.stdout);
    for (count, ran) in [("3", 3), ("5", 5), ("2", 5)] {
        let done = lab.run(&["run", "s.yaml", "--count", count]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(lab.ledger("ledger").len(), ran, "{count}");
    }
    lab.write("grid.yaml", "command: [\"true\"]\nparameters: {x: {values: [1]}}\n");
    assert_eq!(lab.run(&["run", "grid.yaml", "--count", "3"]).code, Some(2));
}

#[test]
fn check_shows_the_distributions_and_the_first_of_a_billion_points() {
    let lab = lab(&sweep("trials: 1000000000\n")
        .replace("depth", "q: {distribution: q_normal, mu: 64, sigma: 9, q: 8}\n  depth"));
    let done = lab.run(&["check", "s.yaml"]);
    assert_eq!(told(&done).lines().next(), Some("exit 0"));
    insta::assert_snapshot!(done.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&lab.run(&["check", "s.yaml", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["points"], &json["exact"]), (&1_000_000_000.into(), &true.into()));
    assert_eq!(json["axes"][0]["distribution"], "log_uniform_values from 1e-5 to 0.1");
}

#[test]
fn a_search_with_few_different_points_ends_with_them() {
    let text = "command: [sh, -c, 'echo $HP_A$HP_B >> ledger']\nmethod: random\ntrials: 500\nparameters:\n\
                \x20 a: {values: [1, 2], probabilities: [0.9, 0.1]}\n  b: {values: [x, y]}\n";
    let lab = lab(text);
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut ran = lab.ledger("ledger");
    ran.sort();
    assert_eq!(ran, ["1x", "1y", "2x", "2y"]);
    lab.write("s.yaml", text.replace(", probabilities: [0.9, 0.1]", ""));
    let lists = lab.run(&["run", "s.yaml"]);
    assert!(lists.stderr.contains("only 4 are different"), "{}", lists.stderr);
    assert_eq!(lab.ledger("ledger").len(), 4, "{}", lists.stderr);
}
