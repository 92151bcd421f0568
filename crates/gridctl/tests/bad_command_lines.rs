//! Command lines that cannot be meant: each is refused with one message, and the data directory stays as it is.

mod lab;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use lab::{Lab, signal, told};
use rustix::process::Signal;

const SWEEP: &str = "command: [sh, -c, 'echo s=$HP_X']\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2]}}\n";

/// A directory in which a sweep has been run.
fn used() -> Lab {
    let lab = Lab::new();
    lab.write("s.yaml", SWEEP);
    let done = lab.run(&["run", "s.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    lab
}

/// Runs each command line, and returns what all of them were told. None may change anything, or print data.
fn refused(lab: &Lab, lines: &[&[&str]]) -> String {
    let before = lab.state();
    let mut all = String::new();
    for line in lines {
        let done = lab.run(line);
        assert!(!matches!(done.code, Some(0) | None), "{line:?} was taken: {done:?}");
        assert_eq!(done.stdout, "", "{line:?}");
        assert!(!done.stderr.contains("panicked"), "{line:?}: {}", done.stderr);
        assert_eq!(lab.state(), before, "{line:?} changed the data directory");
        let shown: Vec<String> = line.iter().map(|word| word.chars().take(40).collect()).collect();
        let _ = writeln!(all, "$ gridctl {}\n{}", shown.join(" ").escape_debug(), told(&done));
    }
    all
}

#[test]
fn c01_counts_that_are_none_are_usage_errors() {
    let lab = used();
    insta::assert_snapshot!(refused(
        &lab,
        &[
            &["run", "s.yaml", "--slots", "-1"],
            &["run", "s.yaml", "--slots", "0"],
            &["run", "s.yaml", "--slots", "18446744073709551616"],
            &["run", "s.yaml", "--slots", "1e3"],
            &["worker", "--slots", "0"],
            &["leaderboard", "-k", "-1"],
            &["leaderboard", "-k", "1e3"],
            &["run", "s.yaml", "--gpus", "0,0"],
        ]
    ));
}

#[test]
fn c02_durations_that_are_none_are_usage_errors() {
    let lab = used();
    insta::assert_snapshot!(refused(
        &lab,
        &[
            &["master", "--lease-ttl", "0s"],
            &["master", "--lease-ttl", "999y"],
            &["master", "--lease-ttl", "NaN"],
            &["master", "--lease-ttl=-5s"],
            &["run", "s.yaml", "--lease-ttl", "30"],
            &["workers", "drain", "--grace", "1e9h"],
        ]
    ));
}

#[test]
fn c03_names_that_are_none_are_refused() {
    let lab = used();
    let long = "x".repeat(4096);
    insta::assert_snapshot!(refused(
        &lab,
        &[
            &["status", "../../x"],
            &["status", "/abs"],
            &["status", "."],
            &["status", ".."],
            &["status", ""],
            &["status", &long],
            &["leaderboard", "../../x"],
            &["status", "no-such-sweep"],
        ]
    ));
}

#[test]
fn c04_names_with_characters_that_deceive_are_refused_and_shown_harmless() {
    let lab = used();
    let done = lab.run(&["run", "s.yaml", "--slots", "\u{1b}[2J\u{202e}"]);
    assert!(done.code == Some(2) && !done.stderr.contains(['\u{1b}', '\u{202e}']), "{}", done.stderr);
    let names = ["a\nb", "a\rb", "a\u{1b}[2Jb", "a\u{202e}b", "a\u{200b}b", "\u{430}bc"];
    let lines: Vec<[&str; 2]> = names.iter().map(|name| ["status", *name]).collect();
    let lines: Vec<&[&str]> = lines.iter().map(|line| line.as_slice()).collect();
    let all = refused(&lab, &lines);
    assert!(!all.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\r']));
    insta::assert_snapshot!(all);
    let mut sweeps = String::new();
    for name in ["a\\0b", "a\\nb", "a\\u001b[2Jb", "a\\u202eb", "a\\u200bb", "\\u0430bc", "../../x", ""] {
        lab.write("t.yaml", format!("name: \"{name}\"\n{SWEEP}"));
        sweeps.push_str(&refused(&lab, &[&["run", "t.yaml"]]));
    }
    assert!(!sweeps.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\0']));
    insta::assert_snapshot!("c04_in_sweep_files", sweeps);
}

#[test]
fn c05_what_begins_with_a_dash_can_still_be_data() {
    let lab = Lab::new();
    lab.write("-rf", SWEEP.replace("parameters", "name: dash\nparameters"));
    let done = lab.run(&["check", "--", "-rf"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.starts_with("dash: 2 trials"), "{}", done.stdout);
    let done = lab.run(&["run", "--", "-rf"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(lab.run(&["leaderboard", "--sort", "-x", "-o", "csv"]).code, Some(0));
}

#[test]
fn c06_arguments_that_are_not_utf8_are_refused_cleanly() {
    let lab = used();
    let before = lab.state();
    let bad = OsStr::from_bytes(b"a\xff\xfe");
    for first in
        [&["trials", "show"][..], &["leaderboard", "--filter"], &["--master"], &["status"], &["check"]]
    {
        let done = lab.finish(lab.command(first).arg(bad));
        assert!(matches!(done.code, Some(1 | 2)), "{first:?}: {done:?}");
        assert!(!done.stderr.is_empty() && !done.stderr.contains("panicked"), "{first:?}: {}", done.stderr);
    }
    assert_eq!(lab.state(), before);
}

#[test]
fn c07_a_token_in_the_environment_is_never_printed() {
    let lab = used();
    let secret = "s3cret-t0ken";
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["worker", "--help"],
        &["status", "--master", "http://127.0.0.1:9"],
        &["status", "--master", "http://me:s3cret-t0ken@127.0.0.1:9"],
        &["doctor"],
        &["check", "s.yaml"],
    ] {
        let done = lab.finish(lab.command(args).env("GRIDCTL_TOKEN", secret));
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{args:?}: {done:?}");
    }
}

#[test]
fn c08_an_advertisement_that_others_can_read_is_refused() {
    let lab = used();
    let path = lab.data().join("master.json");
    std::fs::write(&path, "{}").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut all = refused(&lab, &[&["status"]]);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    all.push_str(&told(&lab.run(&["status"])));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    all.push_str(&told(&lab.run(&["status"])));
    insta::assert_snapshot!(all);
}

#[test]
fn c09_a_second_master_is_refused_and_told_who_is_the_first() {
    let lab = used();
    let mut master = lab.command(&["master"]).stderr(Stdio::null()).spawn().unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let pid = master.id().to_string();
    let mut all = String::new();
    for args in [&["master"][..], &["run", "s.yaml", "--rerun"]] {
        let done = lab.run(args);
        assert_eq!(done.code, Some(1), "{args:?}");
        all.push_str(&told(&done).replace(&pid, "[PID]"));
    }
    signal(&master, Signal::TERM);
    assert!(master.wait().unwrap().success());
    insta::assert_snapshot!(all);
}

#[test]
fn c10_a_data_directory_that_cannot_hold_a_journal_is_refused() {
    let lab = Lab::new();
    lab.write("s.yaml", SWEEP)
        .write("file", "")
        .write("other/journal.sqlite", "not a database, but a text of some length");
    let mut all = String::new();
    for dir in ["file", "file/below", "other", "/proc/gridctl"] {
        let done = lab.run(&["run", "s.yaml", "--data-dir", dir]);
        assert_eq!(done.code, Some(1), "{dir}: {}", done.stderr);
        let _ = writeln!(all, "{dir}: {}", told(&done));
    }
    insta::assert_snapshot!(all);
    assert_eq!(
        std::fs::read_to_string(lab.path().join("other/journal.sqlite")).unwrap(),
        "not a database, but a text of some length"
    );
}

#[test]
fn c11_a_reader_that_goes_away_ends_the_command_quietly() {
    let lab = used();
    for line in [
        "leaderboard -o json -k 0 | head -c 1",
        "trials ls -o jsonl | head -c 1",
        "check s.yaml | head -c 1",
        "--help | head -c 1",
        "completions bash | head -c 1",
        "run s.yaml --rerun | head -c 1",
    ] {
        let script = format!("set -o pipefail; {} {line}", env!("CARGO_BIN_EXE_gridctl"));
        let done = lab.finish(
            std::process::Command::new("bash")
                .args(["-c", &script])
                .current_dir(lab.path())
                .env("TERM", "dumb"),
        );
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
        assert!(
            !done.stderr.contains("error") && !done.stderr.contains("panicked"),
            "{line}: {}",
            done.stderr
        );
    }
    for closed in [">&-", "2>&-", ">&- 2>&-"] {
        let script = format!("{} leaderboard {closed}", env!("CARGO_BIN_EXE_gridctl"));
        let done =
            lab.finish(std::process::Command::new("bash").args(["-c", &script]).current_dir(lab.path()));
        assert_eq!(done.code, Some(0), "{closed}: {done:?}");
    }
}

#[test]
fn c12_steering_what_is_unknown_or_over_is_refused() {
    let lab = used();
    let mut master = lab.command(&["master"]).stderr(Stdio::null()).spawn().unwrap();
    lab.until("the master serves", || lab.data().join("master.json").exists());
    let mut all = String::new();
    for args in
        [&["cancel", "nobody"][..], &["cancel", "s"], &["pause", "s.yaml"], &["resume", "s"], &["stop", "s"]]
    {
        let done = lab.run(args);
        assert_eq!(done.code, Some(1), "{args:?}: {done:?}");
        let _ = writeln!(all, "{args:?}: {}", told(&done));
    }
    signal(&master, Signal::TERM);
    assert!(master.wait().unwrap().success());
    insta::assert_snapshot!(all);
}

#[test]
fn c13_addresses_that_are_none_or_not_encrypted_are_refused() {
    let lab = used();
    insta::assert_snapshot!(refused(
        &lab,
        &[
            &["status", "--master", "http://169.254.169.254/"],
            &["status", "--master", "http://169.254.169.254:80"],
            &["status", "--master", "file:///etc/passwd"],
            &["status", "--master", "http://user:password@127.0.0.1:80"],
            &["status", "--master", "http://[fe80::1%25eth0]:80"],
            &["status", "--master", "http://127.0.0.1:0"],
            &["status", "--master", "http://127.0.0.1:65536"],
            &["worker", "--master", "http://10.0.0.1:80"],
            &[
                "status",
                "--master",
                "gridctl://169.254.169.254:80?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            ],
            &["status", "--master", "gridctl://127.0.0.1:9"],
            &[
                "status",
                "--master",
                "gridctl://127.0.0.1:9?token=s3cret&pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            ],
            &[
                "worker",
                "--master",
                "gridctl://127.0.0.1:9?pin=sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            ],
            &["master", "--plain", "--listen", "0.0.0.0:0"],
        ]
    ));
    let nobody = lab.run(&["status", "--master", "http://127.0.0.1:9"]);
    assert_eq!(nobody.code, Some(5), "{}", nobody.stderr);
}
