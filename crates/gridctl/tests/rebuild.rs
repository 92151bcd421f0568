//! A journal that is made again from the results: every outcome comes back as it was, nothing is
//! computed twice, and what is damaged is named.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};

use lab::{Done, Lab, signal};
use rustix::process::Signal;

const FILES: [&str; 4] = ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "journal.head"];

/// 13 points of 3 repeats: one point fails, one diverges, one trial fails once and then succeeds.
fn sweep(more: &str) -> String {
    format!(
        "command: [sh, -c, 'echo $HP_X $GRID_REPEAT >> led; [ $HP_X = 4 ] && exit 3; \
         [ $HP_X$GRID_REPEAT = 51 ] && mkdir once-51 2>/dev/null && exit 1; \
         [ $HP_X = 7 ] && echo s=nan || echo s=0.$HP_X$GRID_REPEAT']\n\
         metric: {{name: s, goal: maximize}}\nretry: {{max_failures: 1}}\nrepeats: 3\n\
         parameters: {{x: {{min: 1, max: 13}}}}\n{more}"
    )
}

/// The sweep was run to its end.
fn finished(more: &str) -> Lab {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\nonce*\nout\nmoved\nold\n").write("j.yaml", sweep(more));
    let run = lab.run(&["run", "j.yaml", "-q", "--slots", "3"]);
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    assert!(lab.ledger("led").len() >= 40, "{:?}", lab.ledger("led"));
    lab
}

/// What people see of the outcomes.
fn seen(lab: &Lab) -> [String; 2] {
    let board = lab.run(&["leaderboard", "-k", "0", "-o", "json"]);
    let trials = lab.run(&["trials", "ls", "-o", "jsonl"]);
    assert_eq!((board.code, trials.code), (Some(0), Some(0)), "{}{}", board.stderr, trials.stderr);
    [board.stdout, trials.stdout]
}

fn rebuild(lab: &Lab, from: &str) -> Done {
    lab.run(&["rebuild", "--from", from])
}

fn came_back(lab: &Lab, from: &str) -> Done {
    let done = rebuild(lab, from);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done
}

/// The same command finds everything known.
fn runs_nothing(lab: &Lab) {
    let before = lab.ledger("led").len();
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    assert_eq!(lab.ledger("led").len(), before, "{}", run.stderr);
}

fn remove_journal(lab: &Lab) {
    FILES.iter().for_each(|name| drop(fs::remove_file(lab.data().join(name))));
}

fn segments(results: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(results.join("records")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_outcome_comes_back_wherever_the_results_are() {
    // Promise 29.
    let cases = [("output: out\n", "out"), ("", "gridctl-data/results"), ("", "moved")];
    for (more, from) in cases {
        let lab = finished(more);
        let before = seen(&lab);
        if from == "moved" {
            fs::rename(lab.data().join("results"), lab.path().join(from)).unwrap();
        }
        if from == "gridctl-data/results" {
            remove_journal(&lab);
        } else {
            fs::remove_dir_all(lab.data()).unwrap();
        }
        let done = came_back(&lab, from);
        assert!(done.stderr.starts_with("j: "), "{}", done.stderr);
        assert_eq!(seen(&lab), before, "{from}");
        let status = lab.run(&["status", "-o", "json"]).stdout;
        assert!(status.contains("finished"), "{status}");
        runs_nothing(&lab);
        // And once more, from what the new journal has shipped beside the old one's records.
        remove_journal(&lab);
        came_back(&lab, from);
        assert_eq!(seen(&lab)[0], before[0], "{from}");
        runs_nothing(&lab);
    }
}

/// The sweep with so many values of `x` is run: the trials that are new, and no others.
fn runs(lab: &Lab, values: u32, new: usize) {
    let before = lab.ledger("led").len();
    lab.write("j.yaml", sweep("").replace("max: 13", &format!("max: {values}")));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    assert_eq!(lab.ledger("led").len(), before + new, "{}", run.stderr);
}

#[test]
fn an_old_journal_that_was_put_back_is_refused_with_the_command_that_makes_it_again() {
    let lab = finished("");
    let old = lab.path().join("old");
    fs::create_dir(&old).unwrap();
    let copy = |from: &Path, to: &Path| {
        for name in FILES {
            drop(fs::remove_file(to.join(name)));
            drop(fs::copy(from.join(name), to.join(name)));
        }
    };
    copy(&lab.data(), &old);
    // A second generation of what failed, and another version: the old journal knows of neither.
    let retried = lab.run(&["run", "j.yaml", "-q", "--retry-failed"]);
    assert_eq!(retried.code, Some(10), "{}", retried.stderr);
    runs(&lab, 14, 3);
    let before = seen(&lab);
    copy(&old, &lab.data());
    let refused = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let command = "`gridctl rebuild --from [DIR]/gridctl-data/results/j --data-dir [DIR]/gridctl-data`";
    assert!(refused.stderr.contains(command), "{}", refused.stderr);
    let done = came_back(&lab, "gridctl-data/results/j");
    let aside = "the journal that was there is in [DIR]/gridctl-data/journal-before-";
    assert!(done.stderr.contains(aside), "{}", done.stderr);
    assert_eq!(seen(&lab), before);
    let again = rebuild(&lab, "gridctl-data/results/j");
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("gridctl-data is whole; it has j"), "{}", again.stderr);
    runs_nothing(&lab);
    runs(&lab, 15, 3);
}

#[test]
fn a_journal_whose_other_sweep_is_not_named_is_left_as_it_is() {
    let lab = finished("");
    let other = "command: [sh, -c, 'echo s=$HP_X']\nmetric: {name: s, goal: maximize}\n\
                 parameters: {x: {values: [1]}}\noutput: out\n";
    assert_eq!(lab.write("other.yaml", other).run(&["run", "other.yaml", "-q"]).code, Some(0));
    let (journal, old) = (lab.data().join("journal.sqlite"), lab.path().join("old"));
    fs::copy(&journal, &old).unwrap();
    runs(&lab, 14, 3);
    let before = seen(&lab);
    FILES[..3].iter().for_each(|name| drop(fs::remove_file(lab.data().join(name))));
    fs::copy(&old, &journal).unwrap();
    let done = rebuild(&lab, "gridctl-data/results");
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("also has `other`, with results in [DIR]/out/other"), "{}", done.stderr);
    assert!(done.stderr.contains("help: add --from [DIR]/out/other"), "{}", done.stderr);
    let both = lab.run(&["rebuild", "--from", "gridctl-data/results", "--from", "out"]);
    assert_eq!(both.code, Some(0), "{}", both.stderr);
    assert_eq!(seen(&lab), before, "the sweep that was run last is the latest one again");
    runs_nothing(&lab);
}

#[test]
fn records_that_are_damaged_are_named_and_left_out_and_their_trials_run_again() {
    let lab = finished("");
    let [before, _] = seen(&lab);
    let results = lab.data().join("results/j");
    let read = |path: &PathBuf| -> Vec<String> {
        fs::read_to_string(path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
    };
    let all = segments(&results);
    let count: usize = all.iter().map(|path| read(path).len()).sum();
    // A bit of a success is flipped.
    let segment = all.iter().max_by_key(|path| read(path).len()).unwrap();
    let lines = read(segment);
    let flipped = lines.iter().position(|line| line.contains("\"class\":\"succeeded\"")).unwrap();
    assert!(flipped + 1 < lines.len(), "it is not the last line as well");
    let mut bytes = lines.concat().into_bytes();
    let start: usize = lines[..flipped].iter().map(String::len).sum();
    bytes[start + lines[flipped].len() / 2] ^= 1;
    fs::write(segment, bytes).unwrap();
    // And the last line is torn.
    let number = |path: &PathBuf| -> u64 {
        let name = path.file_stem().unwrap().to_str().unwrap();
        name.rsplit('-').next().unwrap().parse().unwrap()
    };
    let last = all.iter().max_by_key(|path| number(path)).unwrap();
    let torn = fs::read(last).unwrap();
    let torn_line = torn.iter().filter(|byte| **byte == b'\n').count();
    fs::write(last, &torn[..torn.len() - 20]).unwrap();
    remove_journal(&lab);
    let done = rebuild(&lab, "gridctl-data/results");
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for says in [
        format!("the checksum of line {} does not fit", flipped + 1),
        format!("the checksum of line {torn_line} does not fit"),
        format!("j: {} records of 1 version came back", count - 2),
        "again but for 2 that could not be read or did not fit".to_owned(),
    ] {
        assert!(done.stderr.contains(&says), "{says}: {}", done.stderr);
    }
    assert!(segment.exists(), "what is damaged stays for a look at it");
    let ran = lab.ledger("led").len();
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(10), "{}", run.stderr);
    let again = lab.ledger("led").len() - ran;
    assert!((1..=3).contains(&again), "{again} ran again");
    let without_times = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("duration_s") && !line.contains("worker"));
        lines.map(str::to_owned).collect()
    };
    let after = seen(&lab);
    assert_eq!(without_times(&after[0]), without_times(&before), "trials come to the same each time");
}

#[test]
fn a_rebuild_that_is_killed_is_done_again() {
    let lab = finished("");
    let [before, _] = seen(&lab);
    remove_journal(&lab);
    for _ in 0..5 {
        let child = lab.start(&["rebuild", "--from", "gridctl-data/results"]);
        lab.until("it has begun", || {
            lab.data().join("rebuilding/journal.sqlite").exists() || lab.data().join(FILES[0]).exists()
        });
        signal(&child, Signal::KILL);
        lab.wait(child);
        // Where it came to its end before, the journal is there.
        if lab.data().join(FILES[0]).exists() {
            assert_eq!(seen(&lab)[0], before);
            remove_journal(&lab);
        }
    }
    came_back(&lab, "gridctl-data/results");
    assert_eq!(seen(&lab)[0], before);
    assert!(!lab.data().join("rebuilding").exists());
    runs_nothing(&lab);
}

#[test]
fn what_holds_no_results_is_refused_and_a_cancelled_sweep_comes_back_cancelled() {
    let lab = Lab::new();
    let bad = lab.run(&["rebuild", "--from", "."]);
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    assert!(bad.stderr.contains(". holds no results of a sweep"), "{}", bad.stderr);
    let bad = lab.run(&["rebuild", "--from", "nowhere"]);
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    assert!(!lab.data().exists(), "a mistake makes no data directory");
    lab.write(".gridctlignore", "led\n").write(
        "c.yaml",
        "command: [sh, -c, 'echo $HP_X >> led; [ $HP_X = 3 ] && exec sleep 600; echo s=$HP_X']\n\
         metric: {name: s, goal: maximize}\norder: file\nparameters: {x: {min: 1, max: 9}}\n",
    );
    let run = lab.start(&["run", "c.yaml", "-q", "--slots", "1"]);
    lab.until("the third trial runs", || lab.ledger("led").len() == 3);
    let held = lab.run(&["rebuild", "--from", "gridctl-data/results"]);
    assert_eq!(held.code, Some(1), "{}", held.stderr);
    assert!(held.stderr.contains("another master"), "{}", held.stderr);
    assert_eq!(lab.run(&["cancel", "c"]).code, Some(0));
    lab.wait(run);
    let [before, _] = seen(&lab);
    remove_journal(&lab);
    came_back(&lab, "gridctl-data/results");
    assert_eq!(seen(&lab)[0], before);
    let status = lab.run(&["status"]).stdout;
    assert!(status.contains("cancelled"), "{status}");
}
