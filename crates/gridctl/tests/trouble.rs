//! Trouble under a sweep and beside it: the data directory goes, disks fail or are full, results
//! cannot be written, an index is damaged, a directory is copied, a socket is gone. What is said is
//! the cause, and nothing that was recorded is lost.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{Done, Lab, Mounted, now, signal, skipped};
use rustix::process::Signal;

fn sweep(trainer: &str, values: &str) -> String {
    format!(
        "command: [sh, -c, '{trainer}']\nmetric: {{name: s, goal: maximize}}\norder: file\n\
         parameters: {{x: {values}}}\n"
    )
}

const QUICK: &str = "echo $HP_X >> led; sleep 0.05; echo s=$HP_X";

/// A daemon; ended with the guard.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Numbers of the records in a file.
fn rescued(path: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(path).unwrap();
    let number = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record["checksum"].as_str().unwrap().starts_with("crc32:"), "{line}");
        record["seq"].as_u64().unwrap()
    };
    text.lines().map(number).collect()
}

fn succeeded(lab: &Lab) -> u64 {
    let status = lab.run(&["status", "-o", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    status["succeeded"].as_u64().unwrap_or(0)
}

/// A sweep of 200 trials, in which some have been recorded, and how many at least.
fn underway(lab: &Lab, output: &str) -> (Child, u64) {
    lab.write("g.yaml", sweep(QUICK, "{min: 1, max: 200}") + output);
    let run = lab.start(&["run", "g.yaml", "-q", "--slots", "2"]);
    let mut recorded = 0;
    lab.until("trials are recorded", || {
        recorded = succeeded(lab);
        recorded >= 10
    });
    (run, recorded)
}

fn ends_soon(lab: &Lab, run: Child) -> Done {
    let began = now();
    let done = lab.wait(run);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(began.elapsed() < Duration::from_secs(10), "noticed after {:?}", began.elapsed());
    assert!(done.stderr.contains("the data directory is gone"), "{}", done.stderr);
    let trials = lab.ledger("led").len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.ledger("led").len(), trials, "a trial goes on");
    done
}

#[test]
fn a_data_directory_that_is_removed_under_a_run_ends_it_and_its_records_are_saved() {
    let lab = Lab::new();
    let theirs = lab.path().join("gridctl-rescued-g.jsonl");
    fs::write(&theirs, "mine\n").unwrap();
    let (run, recorded) = underway(&lab, "");
    while fs::remove_dir_all(lab.data()).is_err() {}
    let done = ends_soon(&lab, run);
    let ours = lab.path().join("gridctl-rescued-g-2.jsonl");
    let numbers = rescued(&ours);
    assert!(numbers.len() as u64 >= recorded, "{} of {recorded} and more", numbers.len());
    let line = format!("{} records of `g` were saved to [DIR]/gridctl-rescued-g-2.jsonl", numbers.len());
    assert!(done.stderr.replace('\n', " ").contains(&line), "{}", done.stderr);
    assert_eq!(fs::read_to_string(theirs).unwrap(), "mine\n");
}

#[test]
fn a_data_directory_that_is_moved_away_under_a_run_is_missed_and_results_elsewhere_are_known_to_be_safe() {
    let lab = Lab::new();
    let (run, recorded) = underway(&lab, "output: kept\n");
    lab.until("records are shipped", || lab.path().join("kept/g/records").exists());
    fs::rename(lab.data(), lab.path().join("moved")).unwrap();
    let done = ends_soon(&lab, run);
    let mut numbers = BTreeSet::new();
    let rest = lab.path().join("gridctl-rescued-g.jsonl");
    if rest.exists() {
        numbers.extend(rescued(&rest));
    }
    assert!(!numbers.contains(&1), "what was shipped before is not saved again");
    for entry in fs::read_dir(lab.path().join("kept/g/records")).unwrap() {
        numbers.extend(rescued(&entry.unwrap().path()));
    }
    assert!(numbers.len() as u64 >= recorded, "{}", done.stderr);
    let moved = lab.run(&["run", "g.yaml", "-q", "--data-dir", "moved"]);
    assert_eq!(moved.code, Some(0), "{}", moved.stderr);
}

/// The journal's disk fails: a file may not become longer than so many KiB.
#[test]
fn promise_27_a_run_whose_journal_fails_says_so_acknowledges_nothing_more_and_goes_on_later() {
    let lab = Lab::new();
    lab.write("f.yaml", sweep(&QUICK.replace("0.05", "0.005"), "{min: 1, max: 400}"));
    let run = "ulimit -f 600; exec \"$0\" run f.yaml -q --slots 2";
    let mut shell = Command::new("bash");
    shell.args(["-c", run, env!("CARGO_BIN_EXE_gridctl")]).current_dir(lab.path());
    shell.stdin(Stdio::null()).env_remove("GRIDCTL_DATA_DIR").env("TERM", "dumb");
    let failed = lab.finish(&mut shell);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let why = "[DIR]/gridctl-data/journal.sqlite and its log may not become longer than 600 KiB here \
               (`ulimit -f`)";
    assert!(failed.stderr.contains(why), "{}", failed.stderr);
    assert!(!failed.stderr.contains("is ending"), "{}", failed.stderr);
    let recorded = succeeded(&lab);
    assert!(recorded > 10 && recorded < 400, "{recorded}");
    let before = lab.ledger("led").len() as u64;
    let whole = lab.run(&["run", "f.yaml", "-q"]);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    assert_eq!(lab.ledger("led").len() as u64 - before, 400 - recorded, "what was recorded stands");
    assert_eq!(succeeded(&lab), 400);
}

#[test]
fn ctrl_c_on_a_full_disk_says_that_the_disk_is_full() {
    let lab = Lab::new();
    let Some(mounted) = Mounted::at(lab.path().join("small"), "4m") else {
        return skipped("a full disk: no right to mount a small file system");
    };
    lab.write("d.yaml", sweep(QUICK, "{min: 1, max: 2000}"));
    let args = ["run", "d.yaml", "-q", "--slots", "2", "--data-dir", "small/data"];
    let run = lab.start(&args);
    lab.until("trials run", || lab.ledger("led").len() > 5);
    drop(fs::write(mounted.0.join("ballast"), vec![1; 8 << 20]));
    lab.until("the disk is full", || {
        let status = lab.run(&["status", "-o", "json", "--data-dir", "small/data"]).stdout;
        status.contains("journal_full")
    });
    signal(&run, Signal::INT);
    let done = lab.wait(run);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("nothing could be recorded: no space left"), "{}", done.stderr);
    fs::remove_file(mounted.0.join("ballast")).unwrap();
    lab.write("d.yaml", sweep(QUICK, "{min: 1, max: 20}"));
    let done = lab.run(&[&args[..], &["--changed", "keep"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[test]
fn results_that_cannot_be_written_at_the_end_are_exit_1_with_where_the_records_lie_and_shipped_later() {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\naway\n")
        .write("r.yaml", sweep("echo $HP_X >> led; sleep 0.5; echo s=$HP_X", "{values: [1, 2, 3]}"));
    let run = lab.start(&["run", "r.yaml", "--slots", "1"]);
    let (claim, away) = (lab.data().join("results/r/sweep.json"), lab.path().join("away"));
    lab.until("the first trial runs", || lab.ledger("led").len() == 1);
    fs::rename(&claim, &away).unwrap();
    let done = lab.wait(run);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("r: finished in "), "{}", done.stderr);
    let problem =
        "error[run::unshipped]: 3 records of `r` could not be shipped to [DIR]/gridctl-data/results";
    assert!(done.stderr.contains(problem), "{}", done.stderr);
    assert!(done.stderr.contains("the journal in [DIR]/gridctl-data has them"), "{}", done.stderr);
    assert!(done.stdout.contains("rank"), "the leaderboard is shown all the same: {}", done.stdout);
    fs::rename(&away, &claim).unwrap();
    let again = lab.run(&["run", "r.yaml", "-q"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stderr.contains("shipped 3 records of `r` that the results did not have yet"),
        "{}",
        again.stderr
    );
    let board = lab.run(&["leaderboard", "gridctl-data/results/r", "-o", "jsonl"]);
    assert_eq!(board.stdout.lines().count(), 3, "{}", board.stderr);
    let known = lab.run(&["run", "r.yaml", "-q"]);
    assert!(known.stderr.starts_with("r: everything is known"), "{}", known.stderr);
}

/// Flips the lowest bit of a number's exponent in the journal's leaf pages of this kind.
fn flip(journal: &Path, kind: u8, number: f64) -> usize {
    let mut bytes = fs::read(journal).unwrap();
    let needle = number.to_be_bytes();
    let mut flipped = 0;
    for page in bytes.chunks_mut(4096).skip(1).filter(|page| page[0] == kind) {
        let places: Vec<_> = (0..4089).filter(|at| page[*at..at + 8] == needle).collect();
        places.iter().for_each(|at| page[at + 1] ^= 0x10);
        flipped += places.len();
    }
    fs::write(journal, bytes).unwrap();
    flipped
}

const INDEX: u8 = 10;

/// Hides an entry of the ranking: its sweep becomes the number 0. In the entry's header a type
/// stands for each column, and two of them are the constants 0 and 1.
fn hide(journal: &Path, number: f64) {
    let mut bytes = fs::read(journal).unwrap();
    let needle = number.to_be_bytes();
    for page in bytes.chunks_mut(4096).skip(1).filter(|page| page[0] == INDEX) {
        for at in (8..4089).filter(|at| page[*at..at + 8] == needle).collect::<Vec<_>>() {
            assert_eq!(page[at - 6..at - 2], [6, 9, 9, 7], "the entry of sweep 1, version 1, a number");
            page[at - 5] = 8;
        }
    }
    fs::write(journal, bytes).unwrap();
}

#[test]
fn f77_a_flipped_bit_in_an_index_shows_no_other_best_and_doctor_finds_it() {
    let values = "{values: [0.625, 0.1171875, 0.4375]}";
    for number in [0.625, 0.1171875, 0.4375] {
        let lab = Lab::new();
        lab.write("b.yaml", sweep("echo s=$HP_X", values));
        assert_eq!(lab.run(&["run", "b.yaml", "-q"]).code, Some(0));
        assert!(lab.run(&["doctor"]).stdout.contains("ok       journal        3 outcomes"));
        assert_eq!(flip(&lab.data().join("journal.sqlite"), INDEX, number), 1, "{number}");
        let board = lab.run(&["leaderboard"]);
        assert_eq!(board.code, Some(1), "{number}: {} {}", board.stdout, board.stderr);
        assert!(board.stderr.contains("the ranking does not fit the outcomes"), "{}", board.stderr);
        let doctor = lab.run(&["doctor"]).stdout;
        assert!(doctor.contains("problem  journal"), "{doctor}");
    }
}

#[test]
fn f77_an_index_that_lost_the_best_shows_no_other_one() {
    for goal in ["maximize", "minimize"] {
        let lab = Lab::new();
        let text = sweep("echo s=$HP_X", "{values: [0.625, 0.1171875, 0.4375]}");
        lab.write("b.yaml", text.replace("maximize", goal));
        assert_eq!(lab.run(&["run", "b.yaml", "-q"]).code, Some(0));
        hide(&lab.data().join("journal.sqlite"), if goal == "maximize" { 0.625 } else { 0.1171875 });
        let board = lab.run(&["leaderboard"]);
        assert_eq!(board.code, Some(1), "{goal}: {}", board.stdout);
        assert!(board.stderr.contains("the ranking lacks the best trial"), "{}", board.stderr);
        assert!(lab.run(&["doctor"]).stdout.contains("problem  journal"));
    }
}

#[test]
fn after_an_unclean_end_the_next_run_finds_an_index_that_does_not_fit() {
    let lab = Lab::new();
    lab.write(
        "b.yaml",
        sweep("echo s=$HP_X.0625; [ $HP_X != 3 ] || { touch third; sleep 60; }", "{values: [1, 2, 3]}"),
    );
    let run = lab.start(&["run", "b.yaml", "-q", "--slots", "1"]);
    lab.until("the third trial runs", || lab.path().join("third").exists());
    let log = lab.data().join("journal.sqlite-wal");
    lab.until("its log is in the file", || fs::metadata(&log).is_ok_and(|log| log.len() == 0));
    signal(&run, Signal::KILL);
    lab.wait(run);
    lab.write("b.yaml", sweep("echo s=$HP_X.0625", "{values: [1, 2, 3]}"));
    assert_eq!(flip(&lab.data().join("journal.sqlite"), INDEX, 1.0625), 1);
    let damaged = lab.run(&["run", "b.yaml", "-q", "--changed", "keep"]);
    assert_eq!(damaged.code, Some(1), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("is damaged: "), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("outcome_rank"), "{}", damaged.stderr);
}

#[test]
fn a_living_master_whose_socket_is_gone_is_said_to_live() {
    let lab = Lab::new();
    lab.write("s.yaml", sweep("echo s=1", "{values: [1, 2]}"));
    let mut master = lab.command(&["master", "--data-dir", "gridctl-data"]);
    let mut master = Daemon(master.stderr(Stdio::null()).spawn().unwrap());
    lab.until("the master serves", || lab.data().join("master.json").exists());
    assert_eq!(lab.run(&["submit", "s.yaml"]).code, Some(0));
    fs::remove_file(lab.data().join("master.sock")).unwrap();
    let lives =
        format!("a master, process {}, holds [DIR]/gridctl-data, but cannot be reached", master.0.id());
    let status = lab.run(&["status", "-o", "json"]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert!(status.stdout.contains("\"state\": \"running\""), "{}", status.stdout);
    assert!(status.stderr.contains(&lives), "{}", status.stderr);
    let pause = lab.run(&["pause", "s"]);
    assert_eq!(pause.code, Some(5), "{}", pause.stderr);
    assert!(pause.stderr.contains(&lives) && pause.stderr.contains("kill "), "{}", pause.stderr);
    signal(&master.0, Signal::TERM);
    assert!(master.0.wait().unwrap().success());
}

fn copy(lab: &Lab, to: &str) {
    let to = lab.path().join(to);
    let done = Command::new("cp").arg("-a").arg(lab.data()).arg(to).status();
    assert!(done.unwrap().success());
}

fn contents(dir: &Path) -> BTreeSet<(PathBuf, String)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.insert((entry.path(), blake3::hash(&fs::read(entry.path()).unwrap()).to_hex().to_string()));
        }
    }
    found
}

#[test]
fn a_copy_of_a_data_directory_does_not_write_into_the_results_of_the_original() {
    let lab = Lab::new();
    lab.write("c.yaml", sweep("echo s=$HP_X", "{values: [1, 2, 3]}") + "output: shared\n");
    assert_eq!(lab.run(&["run", "c.yaml", "-q"]).code, Some(0));
    copy(&lab, "copy");
    let shared = lab.path().join("shared");
    let before = contents(&shared);
    lab.write(".gridctlignore", "copy\noriginal\n");
    for args in
        [&["run", "c.yaml", "-q", "--rerun", "--data-dir", "copy"][..], &["master", "--data-dir", "copy"]]
    {
        let refused = lab.run(args);
        assert_eq!(refused.code, Some(1), "{args:?}: {}", refused.stderr);
        let what =
            "[DIR]/copy is a copy of [DIR]/gridctl-data, and the results of `c` in [DIR]/shared belong";
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
        assert!(refused.stderr.contains("help: go on in the original"), "{}", refused.stderr);
    }
    assert_eq!(contents(&shared), before);
    assert_eq!(lab.run(&["run", "c.yaml", "-q", "--rerun"]).code, Some(0), "the original goes on");
    fs::remove_dir_all(lab.path().join("copy")).unwrap();
    copy(&lab, "copy");
    fs::rename(lab.data(), lab.path().join("original")).unwrap();
    let taken = lab.run(&["run", "c.yaml", "-q", "--rerun", "--data-dir", "copy"]);
    assert_eq!(taken.code, Some(0), "the copy takes the original's place: {}", taken.stderr);
    let late = lab.run(&["run", "c.yaml", "-q", "--rerun", "--data-dir", "original"]);
    assert_eq!(late.code, Some(1), "{}", late.stderr);
    assert!(late.stderr.contains("[DIR]/copy on "), "{}", late.stderr);
}

#[test]
fn a_data_directory_takes_its_own_results_along_when_it_is_copied_or_moved() {
    let lab = Lab::new();
    let trainer = "echo m > $GRID_OUTPUT_DIR/f; echo s=$HP_X";
    lab.write("c.yaml", sweep(trainer, "{values: [1, 2]}")).write(".gridctlignore", "copy\nmoved\n");
    assert_eq!(lab.run(&["run", "c.yaml", "-q"]).code, Some(0));
    copy(&lab, "copy");
    let before = contents(&lab.data().join("results"));
    lab.write("c.yaml", sweep(trainer, "{values: [1, 2, 3]}"));
    let copied = lab.run(&["run", "c.yaml", "-q", "--data-dir", "copy"]);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    assert_eq!(contents(&lab.data().join("results")), before, "the original's results are left alone");
    let records = ["leaderboard", "copy/results/c", "-o", "jsonl"];
    assert_eq!(lab.run(&records).stdout.lines().count(), 3);
    let own = lab.run(&["run", "c.yaml", "-q"]);
    assert_eq!(own.code, Some(0), "{}", own.stderr);

    fs::rename(lab.data(), lab.path().join("moved")).unwrap();
    let moved = lab.run(&["run", "c.yaml", "-q", "--data-dir", "moved"]);
    assert!(moved.stderr.starts_with("c: everything is known, 3 trials"), "{}", moved.stderr);
    let show = lab.run(&["trials", "show", "best", "--data-dir", "moved"]).stdout;
    assert!(show.contains("1 file in [DIR]/moved/results/c/trials/"), "{show}");
}
