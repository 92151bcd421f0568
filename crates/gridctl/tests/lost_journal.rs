//! Journals that lost what they had, or that are older than the results: they are refused with what
//! is missing and where it lies, and left as they are. Results that lost records get them again.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gridctl_core::sched::SNAPSHOT_FORMAT;
use gridctl_storage::journal::{Options, Snapshot, SqliteStore, Store};
use lab::{Done, Lab, signal};
use rustix::process::Signal;

const LOG: &str = "journal.sqlite-wal";
const FILES: [&str; 3] = ["journal.sqlite", LOG, "journal.head"];

fn sweep(values: &str) -> String {
    format!(
        "command: [sh, -c, 'echo $HP_X >> led; sleep 0.02; echo s=$HP_X']\n\
         metric: {{name: s, goal: maximize}}\norder: file\nparameters: {{x: {values}}}\n"
    )
}

/// Makes the data directory `to` from `from`: journal and results, not what workers left.
fn copy(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir(to).unwrap();
    let kept = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("journal.") || name == "results"
    };
    let entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    let entries = entries.iter().filter(|path| kept(path));
    assert!(Command::new("cp").arg("-a").args(entries).arg(to).status().unwrap().success());
}

/// The sweep's process, killed in the middle of its trials; its data directory as that left it.
fn killed(lab: &Lab) -> PathBuf {
    lab.write("j.yaml", sweep("{min: 1, max: 300}")).write(".gridctlignore", "led\n");
    let run = lab.start(&["run", "j.yaml", "-q", "--slots", "2"]);
    lab.until("records are shipped", || shipped(lab) >= 40);
    signal(&run, Signal::KILL);
    lab.wait(run);
    let kept = lab.path().join("kept");
    copy(&lab.data(), &kept);
    kept
}

/// The number of the last record in the results.
fn shipped(lab: &Lab) -> u64 {
    let entries = fs::read_dir(lab.data().join("results/j/records")).into_iter().flatten().flatten();
    let last = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        name.trim_end_matches(".jsonl").rsplit('-').next().and_then(|last| last.parse().ok())
    };
    entries.filter_map(last).max().unwrap_or(0)
}

/// Numbers of the trials that the journal says succeeded.
fn succeeded(lab: &Lab) -> BTreeSet<String> {
    let list = lab.run(&["trials", "ls", "--state", "succeeded", "-o", "jsonl"]);
    let number = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["params"]["x"].to_string()
    };
    list.stdout.lines().map(number).collect()
}

fn refused(lab: &Lab, args: &[&str], what: &str) -> Done {
    let before = lab.state();
    let done = lab.run(args);
    assert_eq!(done.code, Some(1), "{what}: {args:?}: {}", done.stderr);
    assert!(done.stderr.contains("help: "), "{what}: {}", done.stderr);
    let empty = blake3::hash(b"").to_hex().to_string();
    let after = lab.state();
    let counts = |name: &str, hash: &String| !name.ends_with("master.lock") && *hash != empty;
    let changed: Vec<_> =
        before.iter().filter(|(name, hash)| counts(name, hash) && after.get(*name) != Some(*hash)).collect();
    assert!(changed.is_empty(), "{what}: {args:?} changed {changed:?}");
    done
}

#[test]
fn f77_after_a_kill_a_log_that_is_deleted_cut_damaged_or_foreign_is_refused_with_where_its_records_are() {
    let lab = Lab::new();
    let kept = killed(&lab);
    let recorded = succeeded(&lab);
    let foreign = Lab::new();
    let foreign = killed(&foreign);
    let log = fs::read(kept.join(LOG)).unwrap();
    assert!(recorded.len() > 20 && log.len() > 100_000, "{} recorded", recorded.len());
    let flipped = |place: usize| {
        let mut bytes = log.clone();
        bytes[place] ^= 0x10;
        bytes
    };
    let cases: [(&str, Option<Vec<u8>>); 6] = [
        ("deleted", None),
        ("emptied", Some(Vec::new())),
        ("cut in the middle", Some(log[..log.len() / 2].to_vec())),
        ("damaged in the middle", Some(flipped(log.len() / 2))),
        ("damaged at its beginning", Some(flipped(40))),
        ("another journal's", Some(fs::read(foreign.join(LOG)).unwrap())),
    ];
    for (what, damaged) in cases {
        copy(&kept, &lab.data());
        drop(fs::remove_file(lab.data().join("journal.sqlite-shm")));
        match damaged {
            None => fs::remove_file(lab.data().join(LOG)).unwrap(),
            Some(bytes) => fs::write(lab.data().join(LOG), bytes).unwrap(),
        }
        let run = refused(&lab, &["run", "j.yaml", "-q"], what);
        let says = [
            "journal.sqlite is behind: it ends with event",
            "is not the journal that journal.head",
            // Pages of another journal may fit so badly that SQLite itself says so.
            "journal.sqlite is damaged: ",
        ];
        assert!(says.iter().any(|says| run.stderr.contains(says)), "{what}: {}", run.stderr);
        if ["deleted", "emptied", "cut in the middle"].contains(&what) {
            let place = "are in [DIR]/gridctl-data/results/j/records";
            assert!(run.stderr.contains(place), "{what}: {}", run.stderr);
        }
        refused(&lab, &["leaderboard", "-q"][..1], what);
        refused(&lab, &["status"], what);
    }
    copy(&kept, &lab.data());
    let before = lab.ledger("led").len();
    let whole = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    let again: BTreeSet<String> = lab.ledger("led").split_off(before).into_iter().collect();
    assert!(again.is_disjoint(&recorded), "what was recorded is not computed again");
    assert_eq!(succeeded(&lab).len(), 300);
}

/// The results know of records, versions and epochs that an older copy of the journal does not.
#[test]
fn a_journal_that_went_back_is_refused_and_the_results_stay_as_they_are() {
    let lab = Lab::new();
    let old = lab.path().join("old");
    let keep = |to: &Path| {
        fs::create_dir_all(to).unwrap();
        for name in FILES {
            drop(fs::copy(lab.data().join(name), to.join(name)));
        }
    };
    let put_back = |from: &Path| {
        for name in FILES {
            drop(fs::remove_file(lab.data().join(name)));
            drop(fs::copy(from.join(name), lab.data().join(name)));
        }
    };
    lab.write(".gridctlignore", "led\nold*\nnew*\n").write("j.yaml", sweep("{values: [1, 2, 3]}"));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    keep(&old);
    // Another version, whose records the old copy does not have.
    lab.write("j.yaml", sweep("{values: [1, 2, 3, 4, 5, 6]}"));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let new = lab.path().join("new");
    keep(&new);
    let results =
        || -> Vec<_> { lab.state().into_iter().filter(|(name, _)| name.contains("/results/")).collect() };
    let before = results();

    fs::copy(old.join("journal.sqlite"), lab.data().join("journal.sqlite")).unwrap();
    let run = refused(&lab, &["run", "j.yaml", "-q"], "the file alone");
    assert!(run.stderr.contains("journal.sqlite is behind"), "{}", run.stderr);
    assert!(run.stderr.contains("to 6 are in [DIR]/gridctl-data/results/j/records"), "{}", run.stderr);

    put_back(&old);
    for args in [&["run", "j.yaml", "-q"][..], &["run", "j.yaml", "-q", "--rerun"], &["master"]] {
        let run = refused(&lab, args, "with its head");
        let behind = "is behind the results of `j` in [DIR]/gridctl-data/results/j";
        assert!(run.stderr.contains(behind), "{}", run.stderr);
    }
    assert_eq!(results(), before);

    // Somebody accepts that the journal is behind: the results still know better.
    fs::remove_file(lab.data().join("journal.head")).unwrap();
    let run = refused(&lab, &["run", "j.yaml", "-q"], "without its head");
    assert!(run.stderr.contains("is behind the results of `j`"), "{}", run.stderr);

    put_back(&new);
    let known = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(known.code, Some(0), "{}", known.stderr);
    assert!(known.stderr.contains("everything is known, 6 trials"), "{}", known.stderr);
    assert_eq!(lab.ledger("led").len(), 6, "nothing was computed twice");
    assert_eq!(results(), before);
}

/// What differs is found although the older copy has gone on since, with its results elsewhere.
#[test]
fn a_journal_that_went_another_way_than_its_results_is_refused() {
    let lab = Lab::new();
    let old = lab.path().join("old");
    lab.write(".gridctlignore", "led\nold\naway\n").write("j.yaml", sweep("{values: [1, 2, 3]}"));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    copy(&lab.data(), &old);
    lab.write("j.yaml", sweep("{values: [1, 2, 3, 4, 5, 6]}"));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let away = lab.path().join("away");
    fs::rename(lab.data().join("results"), &away).unwrap();
    copy(&old, &lab.data());
    lab.write("j.yaml", sweep("{values: [1, 2, 3, 7, 8, 9, 10, 11]}"));
    for _ in 0..3 {
        assert_eq!(lab.run(&["run", "j.yaml", "-q", "--rerun"]).code, Some(0));
    }
    fs::remove_dir_all(lab.data().join("results")).unwrap();
    fs::rename(&away, lab.data().join("results")).unwrap();
    let run = refused(&lab, &["run", "j.yaml", "-q"], "another way");
    let other = ["had another event", "is another one than the journal's outcome"];
    assert!(other.iter().any(|other| run.stderr.contains(other)), "{}", run.stderr);
}

#[test]
fn what_the_results_lack_is_shipped_by_the_same_command_and_said() {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\n").write("j.yaml", sweep("{min: 1, max: 40}"));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let records = lab.data().join("results/j/records");
    let segments = || -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(&records).unwrap().map(|it| it.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let board = || lab.run(&["leaderboard", "gridctl-data/results/j", "-o", "jsonl", "-k", "100"]).stdout;
    let whole = board();
    assert_eq!(whole.lines().count(), 40);
    // As a kill leaves it between the last commit and its shipment.
    fs::remove_file(segments().last().unwrap()).unwrap();
    let lacking = 40 - board().lines().count();
    assert!(lacking > 0, "{:?}", segments());
    let status = lab.run(&["status", "-o", "json"]).stdout;
    assert!(status.contains("\"kind\": \"records_not_shipped\""), "{status}");
    let doctor = lab.run(&["doctor"]).stdout;
    assert!(
        doctor.contains(&format!("note     records        {lacking} records of j are not in")),
        "{doctor}"
    );
    let again = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let line = format!("shipped {lacking} records of `j` that the results did not have yet\n");
    assert!(again.stderr.contains(&line), "{}", again.stderr);
    assert_eq!(board(), whole);
    let known = lab.run(&["run", "j.yaml", "-q"]);
    assert!(known.stderr.starts_with("j: everything is known"), "{}", known.stderr);
    assert_eq!(lab.ledger("led").len(), 40);
}

/// Puts `bytes` in the place of the journal's newest snapshot, with the checksum that they ask for;
/// the number of the last event that it stood for.
fn replace_snapshot(lab: &Lab, bytes: &[u8]) -> u64 {
    let mut store = SqliteStore::open(&lab.data(), Options::default()).unwrap();
    let (seq, _) = store.load(u64::MAX).unwrap().snapshot.unwrap();
    store.snapshot(&Snapshot { seq, bytes }).unwrap();
    seq
}

#[test]
fn a_snapshot_that_is_not_understood_is_passed_over_and_the_events_make_up_for_it() {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\n").write("j.yaml", sweep("{min: 1, max: 30}"));
    let run = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let board = || lab.run(&["leaderboard", "-k", "100", "-o", "json"]).stdout;
    let mut whole = board();
    let (torn, not_so) = (
        format!("{SNAPSHOT_FORMAT}\n{{\"epoch\":"),
        format!("it is not what format {SNAPSHOT_FORMAT} says: "),
    );
    let cases = [
        (&b"4000000000\n{\"of\":\"a newer gridctl\"}"[..], "it is of another format than"),
        (b"{\"epoch\":1,\"of\":\"an older gridctl\"}", "it is of another format than"),
        (torn.as_bytes(), &not_so),
        (b"", "it is of another format than"),
    ];
    for ((bytes, why), trials) in cases.into_iter().zip(31..) {
        let seq = replace_snapshot(&lab, bytes);
        let says = format!("the snapshot after event {seq} was passed over: {why}");
        assert_eq!(board(), whole);
        // One more trial, so that a master starts.
        lab.write("j.yaml", sweep(&format!("{{min: 1, max: {trials}}}")));
        let run = lab.finish(lab.command(&["run", "j.yaml", "-q"]).env("GRIDCTL_LOG", "warn"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains(&says), "{says}: {}", run.stderr);
        assert_eq!(lab.ledger("led").len(), trials, "nothing is computed twice");
        whole = board();
    }
}
