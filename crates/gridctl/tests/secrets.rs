//! A secret's value is nowhere that people or files keep: not in a preview, a record, a log, nor what is printed of them.
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
