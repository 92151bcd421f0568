//! A secret's value is nowhere that people or files keep: not in a preview, a record, a log, nor
//! what is printed of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::{Done, Lab};

const SECRET: &str = "s3cr3t-0123456789";
const PASSED_ON: &str = "hf_passed_on_by_env";

/// The command with both secrets in its environment.
fn run(lab: &Lab, args: &[&str]) -> Done {
    let mut command = lab.command(args);
    command.env("MY_API_KEY", SECRET).env("HF_TOKEN", PASSED_ON);
    lab.finish(&mut command)
}

#[test]
fn c07_a_secret_that_stands_in_the_command_is_shown_by_no_preview() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        "command: [sh, -c, 'test $0-$1 = $MY_API_KEY-x$HF_TOKEN && echo s=1', '${envvar:MY_API_KEY}', 'x${envvar:HF_TOKEN}']
metric: {name: s}
parameters: {x: {value: 1}}
secrets: [MY_API_KEY]
env: {HF_TOKEN: }
",
    );
    for args in [&["check", "s.yaml"][..], &["check", "s.yaml", "-o", "json"]] {
        let done = run(&lab, args);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        for secret in [SECRET, PASSED_ON] {
            assert!(!format!("{done:?}").contains(secret), "{args:?}: {done:?}");
        }
        assert!(done.stdout.contains("***"), "{}", done.stdout);
    }
    let missing = lab.path().join("t.yaml");
    fs::write(
        &missing,
        "command: ['${envvar:MY_API_KEY}/train']\nsecrets: [MY_API_KEY]\nparameters: {x: {value: 1}}\n",
    )
    .unwrap();
    let done = run(&lab, &["run", "t.yaml"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(!done.stderr.contains(SECRET) && done.stderr.contains("***/train"), "{}", done.stderr);

    let done = run(&lab, &["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for flag in ["--command", "--env", "--json"] {
        for done in [run(&lab, &["trials", "show", "best", flag]), lab.run(&["trials", "show", "best", flag])]
        {
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            for secret in [SECRET, PASSED_ON] {
                assert!(!format!("{done:?}").contains(secret), "{flag}: {done:?}");
            }
        }
    }
    // What is shown to be pasted works where the secrets are set.
    let again = lab
        .run(&["trials", "show", "best", "--command"])
        .stdout
        .replace("[DIR]", lab.path().to_str().unwrap());
    let pasted =
        Command::new("sh").args(["-c", &again]).env("MY_API_KEY", SECRET).env("HF_TOKEN", PASSED_ON).output();
    assert_eq!(String::from_utf8(pasted.unwrap().stdout).unwrap(), "s=1\n", "{again}");
}

/// Every file below `dir` that holds `text`.
fn holding(dir: &Path, text: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            holding(&entry.path(), text, found);
        } else if fs::read(entry.path()).unwrap().windows(text.len()).any(|it| it == text.as_bytes()) {
            found.push(entry.path().display().to_string());
        }
    }
}

#[test]
fn c07_a_secret_that_a_trainer_prints_is_kept_nowhere_and_its_metric_is_read_all_the_same() {
    let lab = Lab::new();
    // The value is a metric's too; it is cut anywhere, mixed over both streams, in the last line of
    // an error, and in a name.
    lab.write(
        "train.sh",
        r#"set -eu
exec 3>&1
printf 'key is %.5s' "$MY_API_KEY"; sleep 0.1; printf 'noise' >&2; sleep 0.1; echo "${MY_API_KEY#?????}"
case $HP_X in
  1) echo "score=$MY_API_KEY" ;;
  2) echo "Error: $MY_API_KEY is not welcome" >&2; exit 3 ;;
  3) echo "scoer=0.5 with $MY_API_KEY" ;;
  4) i=0; while [ $i -lt 3000 ]; do echo "$i $MY_API_KEY $MY_API_KEY"; i=$((i+1)); done; echo score=1 ;;
esac
"#,
    );
    lab.write(
        "s.yaml",
        "command: [sh, train.sh]\nmetric: {name: score, goal: maximize}\nsecrets: [MY_API_KEY]\n\
         retry: {max_failures: 0}\norder: file\nparameters: {x: {values: [4, 1, 2, 3]}}\n",
    );
    // As a number it is printed without the last digit.
    let secret = "31415926535.50";
    let run = |args: &[&str]| lab.finish(lab.command(args).env("MY_API_KEY", secret));
    let done = run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(done.code, Some(10), "{}", done.stderr);
    assert!(done.stdout.contains("31415900000"), "{}", done.stdout);
    assert!(done.stderr.contains("Error: *** is not welcome"), "{}", done.stderr);
    let mut all = done.stderr;
    for x in 1..=4 {
        let trials: serde_json::Value =
            serde_json::from_str(&run(&["trials", "ls", "-o", "json"]).stdout).unwrap();
        let trial = trials.as_array().unwrap().iter().find(|it| it["params"]["x"] == x).unwrap();
        let logs = run(&["logs", trial["trial"].as_str().unwrap()]);
        assert!(
            logs.stdout.contains("key is ***") || logs.stdout.contains("key is noise***"),
            "{}",
            logs.stdout
        );
        all.push_str(&logs.stdout);
    }
    assert!(all.matches("***").count() > 6_000);
    assert!(!all.contains(secret));
    let mut found = Vec::new();
    holding(&lab.data(), secret, &mut found);
    assert!(found.is_empty(), "{found:?}");
}
