//! What trainers leave and print, and what they do to the places where that is kept.

mod lab;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use lab::Lab;
use serde_json::Value as Json;
use unicode_width::UnicodeWidthStr;

fn json(lab: &Lab, args: &[&str]) -> Json {
    let text = lab.run(args).stdout;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn sweep(script: &str) -> String {
    let script = script.replace('\'', "''");
    format!("command: [sh, -c, '{script}']\nmetric: {{name: s}}\nparameters: {{x: {{value: 1}}}}\n")
}

/// The files that attempts of the sweep published.
fn published(lab: &Lab, sweep: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![lab.data().join("results").join(sweep).join("trials")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn f70_files_that_are_too_many_are_said_in_the_record_and_to_the_person() {
    let lab = Lab::new();
    // In memory, where so many files are synced in a moment.
    let results = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let many = sweep("cd $GRID_OUTPUT_DIR; seq 10007 | xargs touch; echo s=1");
    lab.write("s.yaml", format!("{many}output: {}\n", results.path().display()));
    let run = lab.run(&["run", "s.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("note: not kept: 7 files of 1 attempt"), "{}", run.stderr);
    let notice = &json(&lab, &["status", "-o", "json"])["notices"][0];
    assert_eq!((&notice["kind"], &notice["files"]), (&"files_left_out".into(), &7.into()), "{notice}");
    let shown = json(&lab, &["trials", "show", "best", "--json"]);
    let attempt = &shown["attempts"][0];
    assert_eq!((&attempt["files"], &attempt["left_out"]), (&10_000.into(), &7.into()), "{attempt}");
    let shown = lab.run(&["trials", "show", "best"]).stdout;
    assert!(shown.contains("7 files not kept") && shown.contains("manifest.json"), "{shown}");
}

#[test]
fn two_numbers_are_both_in_the_record_and_said_while_stdout_goes_before_stderr() {
    let lab = Lab::new();
    lab.write("s.yaml", sweep("echo s=0.1; exec 1>&-; printf 'bar s=0.51\\r' >&2"));
    let run = lab.run(&["run", "s.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let told = "note: `s` ended with 0.1 on stdout, which was taken, and with 0.51 on stderr (1 attempt";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    let shown = json(&lab, &["trials", "show", "best", "--json"]);
    let attempt = &shown["attempts"][0];
    assert_eq!(attempt["objective"], 0.1, "{attempt}");
    assert_eq!(attempt["doubts"][0]["differs"]["other_value"], 0.51, "{attempt}");
    assert_eq!(json(&lab, &["status", "-o", "json"])["notices"][0]["kind"], "unsure");
}

#[test]
fn the_pattern_that_run_offers_reads_what_was_missed() {
    let lab = Lab::new();
    let lines = "train_s=7%; s=1,234.5; train_s=8%";
    lab.write("s.yaml", sweep(&format!("echo '{lines}'")));
    let run = lab.run(&["run", "s.yaml"]);
    assert_ne!(run.code, Some(0));
    let offered =
        run.stderr.split_once("to read it: `regex: ").and_then(|(_, rest)| rest.split_once("` under"));
    let (offered, _) = offered.unwrap_or_else(|| panic!("{}", run.stderr));
    lab.write("log", lines);
    lab.write("s.yaml", sweep("true").replace("{name: s}", &format!("{{name: s, regex: {offered}}}")));
    let read = lab.run(&["check", "s.yaml", "--log", "log"]).stdout;
    assert!(read.contains("1234.5") && read.contains("the objective"), "{offered}: {read}");
}

#[test]
fn f78_whatever_lies_where_a_log_is_made_is_left_alone_and_the_log_is_whole() {
    let lab = Lab::new();
    lab.write("thesis", "years of work");
    let script = format!(
        "slot=$(dirname $GRID_OUTPUT_DIR); cd $slot
        for name in log log.txt params.json; do ln -sf {thesis} $name; done
        seq 100000; mv log log.moved; mkdir log; seq 100000; echo s=1",
        thesis = lab.path().join("thesis").display()
    );
    lab.write("train.sh", script).write("s.yaml", sweep("sh train.sh"));
    // The directory for logs and slots is a link to where a person has other things.
    lab.write("elsewhere/slots/aaaaaaaa/thesis", "years of work").write("gridctl-data/.gitignore", "*\n");
    symlink(lab.path().join("elsewhere"), lab.data().join("work")).unwrap();
    for _ in 0..2 {
        let run = lab.run(&["run", "s.yaml", "--rerun"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let logs = lab.run(&["logs", "best"]);
        assert_eq!(logs.stdout.lines().count(), 200_001, "{}", logs.stderr);
    }
    for name in ["thesis", "elsewhere/slots/aaaaaaaa/thesis"] {
        assert_eq!(fs::read_to_string(lab.path().join(name)).unwrap(), "years of work", "{name}");
    }
    assert_eq!(fs::read_dir(lab.path().join("elsewhere/slots")).unwrap().count(), 1);
}

#[test]
fn f78_a_log_without_end_is_cut_and_that_is_said() {
    let lab = Lab::new();
    lab.write(
        "s.yaml",
        sweep("yes 0123456789012345678901234567890123456789 | head -c 80000000; echo; echo s=1"),
    );
    let run = lab.run(&["run", "s.yaml"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let files = published(&lab, "s");
    let log = files.iter().find(|path| path.ends_with("log.txt")).unwrap_or_else(|| panic!("{files:?}"));
    let length = fs::metadata(log).unwrap().len();
    assert!((63 << 20..65 << 20).contains(&length), "{length}");
    let logs = lab.run(&["logs", "best"]);
    assert!(logs.stdout.contains("output beyond 64 MiB was not kept") && logs.stdout.ends_with("s=1\n"));
    assert!(logs.stderr.contains("the others are missing"), "{}", logs.stderr);
    let record = &json(&lab, &["trials", "show", "best", "--json"])["attempts"][0];
    assert_eq!(record["log_bytes"], 80_000_005, "all of it was counted");
}

#[test]
fn f67_a_directory_that_a_trainer_replaces_is_not_followed_and_is_the_trainers_final_failure() {
    let lab = Lab::new();
    lab.write("secret/key", "years of work");
    let secret = lab.path().join("secret");
    let deeds = [
        ("a link", format!("ln -s {} $dir", secret.display()), "a symbolic link"),
        ("a file", "echo x > $dir".to_owned(), "a file"),
        ("a pipe", "mkfifo $dir".to_owned(), "a pipe"),
    ];
    for variable in ["GRID_CHECKPOINT_DIR", "GRID_OUTPUT_DIR"] {
        for (name, deed, what) in &deeds {
            lab.write(
                "s.yaml",
                sweep(&format!("dir=${variable}; echo try >> ledger; rm -r $dir; {deed}; echo s=1")),
            );
            let run = lab.run(&["run", "s.yaml", "--rerun"]);
            assert_eq!(run.code, Some(10), "{variable}, {name}: {}", run.stderr);
            let told = format!("put {what}");
            assert!(run.stderr.contains(&told) && run.stderr.contains(variable), "{name}: {}", run.stderr);
            assert_eq!(lab.ledger("ledger").len(), 1, "{variable}, {name}: it is tried once");
            fs::remove_file(lab.path().join("ledger")).unwrap();
        }
    }
    let checkpoints = lab.data().join("results/s/checkpoints");
    assert!(!checkpoints.exists() && published(&lab, "s").is_empty());
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "years of work");
}

/// Values that would clear a screen, set a title, turn text around, hide it, or reach into other
/// lines.
const NASTY: [&str; 9] = [
    "\u{1b}[2J\u{1b}[1;1Hgone",
    "\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "\u{202e}evil",
    "\u{200b}\u{200b}zero",
    "line\nbreak\tand\r",
    "שלום",
    "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
];

fn moves_the_cursor(c: char) -> bool {
    c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || ('\u{202a}'..='\u{202e}').contains(&c)
}

/// A sweep whose trials have these values and print them; three fail with them as their error.
fn nasty() -> Lab {
    let lab = Lab::new();
    let print = r#"printf 'Error: %s\n' "$HP_V" >&2; echo s=$GRID_TRIAL_INDEX; test $GRID_TRIAL_INDEX -lt 6"#;
    let print = print.replace('\'', "''");
    let escaped = |text: &str| text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect::<String>();
    let values = NASTY.map(|value| format!("\"{}\"", escaped(value))).join(", ");
    let head = "metric: {name: s, goal: maximize}\nretry: {max_failures: 0}\norder: file\n";
    lab.write(
        "s.yaml",
        format!("command: [sh, -c, '{print}']\n{head}parameters: {{v: {{values: [{values}]}}}}\n"),
    );
    let run = lab.run(&["run", "s.yaml", "--slots", "1"]);
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    assert!(!run.stderr.chars().any(|c| c != '\n' && moves_the_cursor(c)), "{:?}", run.stderr);
    lab
}

#[test]
fn h64_no_value_and_no_error_moves_the_cursor_and_columns_are_aligned() {
    let lab = nasty();
    for args in [
        &["leaderboard"][..],
        &["leaderboard", "-o", "wide"],
        &["trials", "ls"],
        &["trials", "ls", "-o", "wide"],
        &["trials", "show", "best"],
        &["trials", "show", "#5", "--command"],
        &["status"],
        &["status", "--all"],
        &["check", "s.yaml"],
    ] {
        let done = lab.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        let hostile = done.stdout.chars().find(|c| *c != '\n' && moves_the_cursor(*c));
        assert_eq!(hostile, None, "{args:?}: {}", done.stdout);
        if args == ["leaderboard"] {
            // The values stand last and to the right.
            let widths: Vec<usize> = done.stdout.lines().map(UnicodeWidthStr::width).collect();
            assert!(
                widths.len() == 7 && widths.iter().all(|it| *it == widths[0]),
                "{widths:?} {}",
                done.stdout
            );
        }
    }
}

#[test]
fn h64_on_a_terminal_of_any_width_every_table_comes_to_an_end() {
    if !Command::new("script").arg("--version").output().is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED tables on a terminal: there is no `script`, which makes one");
        assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
        return;
    }
    let lab = nasty();
    for columns in [200, 80, 61, 40, 20] {
        for words in ["leaderboard", "trials ls", "status", "logs best", "logs '#1'"] {
            let typed = format!("stty cols {columns}; exec {} {words}", env!("CARGO_BIN_EXE_gridctl"));
            let mut script = Command::new("script");
            script.args(["-qec", &typed, "/dev/null"]).current_dir(lab.path());
            let done = lab.finish(&mut script);
            assert_eq!(done.code, Some(0), "{words} {columns}: {}", done.stdout);
            // A tab is what a trainer may print; a terminal ends lines in its own way.
            let text = done.stdout.replace("\r\n", "\n").replace('\t', " ");
            assert!(!text.chars().any(|c| c != '\n' && moves_the_cursor(c)), "{words} {columns}: {text:?}");
            let is_table = |line: &&str| !words.starts_with("logs") && !line.ends_with("too narrow");
            let wide = text.lines().filter(is_table).find(|line| line.width() > columns);
            assert!(columns < 61 || wide.is_none(), "{words} {columns}: {wide:?}");
        }
    }
}
