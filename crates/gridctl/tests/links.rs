//! What is known of a sweep's own versions counts for the next one without being recorded again: in
//! the journal, in the results, and in a journal that is made again from them.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};

use gridctl_core::points::Points;
use gridctl_core::spec::{Context, parse};
use gridctl_storage::journal::{Group, Options, Reader, SqliteStore, Store as _};
use lab::Lab;

/// Bytes of the files below `dir` whose names begin with `prefix`.
fn bytes(dir: &Path, prefix: &str) -> u64 {
    let below = |entry: fs::DirEntry| {
        let is_of = entry.file_name().to_string_lossy().starts_with(prefix);
        match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => bytes(&entry.path(), prefix),
            metadata => {
                if is_of {
                    metadata.len()
                } else {
                    0
                }
            }
        }
    };
    fs::read_dir(dir).unwrap().map(|entry| below(entry.unwrap())).sum()
}

/// Records in the results, and how many of them are different.
fn records(lab: &Lab) -> (usize, usize) {
    let mut lines = Vec::new();
    for entry in fs::read_dir(lab.data().join("results/j/records")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    (all, lines.len())
}

fn sweep(values: &str, more: &str) -> String {
    format!(
        "command: [sh, -c, 'echo $HP_X >> led; [ $HP_X = 4 ] && [ ! -f ok ] && exit 3; \
         [ $HP_X = 7 ] && echo s=nan || echo s=0.$((HP_X % 5))']\n\
         metric: {{name: s, goal: maximize}}\nretry: {{max_failures: 0}}\norder: file\n\
         parameters: {{x: {{values: {values}}}}}\n{more}"
    )
}

/// What people see, by the journal and by the results alone.
fn seen(lab: &Lab) -> [String; 3] {
    let board = |args: &[&str]| {
        let done = lab.run(&[&["leaderboard", "-k", "0", "-o", "json"], args].concat());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout
    };
    let by_journal = board(&[]);
    assert_eq!(by_journal, board(&["gridctl-data/results/j"]));
    let sorted = board(&["--sort", "x"]);
    assert_eq!(sorted, board(&["gridctl-data/results/j", "--sort", "x"]));
    let trials = lab.run(&["trials", "ls", "-o", "jsonl"]);
    assert_eq!(trials.code, Some(0), "{}", trials.stderr);
    [by_journal, sorted, trials.stdout]
}

#[test]
fn known_trials_count_through_versions_and_are_recorded_once() {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\nok\n");
    let run = |values: &str, more: &str, (code, ran): (i32, usize)| {
        let before = lab.ledger("led").len();
        lab.write("j.yaml", sweep(values, more));
        let done = lab.run(&["run", "j.yaml", "-q", "--slots", "1"]);
        assert_eq!(done.code, Some(code), "{values}: {}", done.stderr);
        assert_eq!(lab.ledger("led").len(), before + ran, "{values}: what is known is not tried again");
        seen(&lab)
    };
    run("[1, 2, 3, 4, 7]", "", (10, 5));
    // Elsewhere in the file's order, and more of them.
    let [board, _, trials] = run("[0, 7, 4, 3, 2, 1, 9]", "", (10, 2));
    let rows: Vec<(i64, i64)> = xs_and_places(&board);
    assert_eq!(rows, [(9, 6), (3, 3), (2, 4), (1, 5), (0, 0), (7, 1)]);
    assert_eq!(trials.matches("\"known_from\":[\"j\",1]").count(), 5, "{trials}");
    // Through a version in which some have no place, and then with repeats.
    run("[9, 3, 4]", "", (10, 0));
    lab.write("ok", "");
    let before = lab.ledger("led").len();
    let retried = lab.run(&["run", "j.yaml", "--retry-failed", "-q"]);
    assert_eq!((retried.code, lab.ledger("led").len()), (Some(0), before + 1), "{}", retried.stderr);
    let [board, ..] = run("[9, 3, 4, 1]", "", (0, 0));
    let rows: Vec<(i64, i64)> = xs_and_places(&board);
    assert_eq!(rows, [(9, 0), (4, 2), (3, 1), (1, 3)], "the failure is not known any more");
    run("[9, 3, 4, 1]", "repeats: 2", (0, 4));
    let grown = run("[9, 3, 4, 1, 2]", "repeats: 3", (0, 6));
    assert_eq!(records(&lab), (18, 18), "an attempt is recorded once");
    let doctor = lab.run(&["doctor"]).stdout;
    assert!(doctor.contains("18 outcomes, every one whole"), "{doctor}");

    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "journal.head"] {
        drop(fs::remove_file(lab.data().join(name)));
    }
    let rebuilt = lab.run(&["rebuild", "--from", "gridctl-data/results/j"]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    assert!(!rebuilt.stderr.contains("left out"), "{}", rebuilt.stderr);
    assert_eq!(seen(&lab), grown, "as it was");
    assert_eq!(records(&lab), (18, 18));
    let known = run("[9, 3, 4, 1, 2]", "repeats: 3", (0, 0));
    assert_eq!(known, grown);
    let doctor = lab.run(&["doctor"]).stdout;
    assert!(doctor.contains("18 outcomes, every one whole"), "{doctor}");
}

/// Each row's parameter, and its place in the version.
fn xs_and_places(board: &str) -> Vec<(i64, i64)> {
    let board: serde_json::Value = serde_json::from_str(board).unwrap();
    let rows = board.as_array().unwrap().iter();
    rows.map(|row| (row["params"]["x"].as_i64().unwrap(), row["index"].as_i64().unwrap())).collect()
}

#[test]
fn results_that_say_what_stands_for_a_version_in_words_that_are_none_are_refused() {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\nok\n").write("j.yaml", sweep("[1, 2]", ""));
    assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
    lab.write("j.yaml", sweep("[1, 2, 3]", ""));
    assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
    let file = file_of(&lab, "standings", ("v2-", ".json"));
    for text in ["", "{\"records\":[[3,1]]}", "{\"records\":[[1,2],[2,3]]}"] {
        fs::write(&file, text).unwrap();
        let board = lab.run(&["leaderboard", "gridctl-data/results/j", "-o", "json"]);
        assert_ne!(board.code, Some(0), "{text}: {}", board.stdout);
    }
}

/// A sweep of `count` trials of which one was run, and all others are in the journal as if they had
/// been.
fn very_much_known(lab: &Lab, count: u64) {
    let text = big(count, "run_cap: 1\n");
    lab.write(".gridctlignore", "led\n").write("j.yaml", &text);
    let first = lab.run(&["run", "j.yaml", "-q"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let spec = parse(text.as_bytes(), &Context { file_stem: "j", count: None }).unwrap().spec;
    let points = Points::new(std::sync::Arc::new(spec)).unwrap();
    let template = Reader::open(&lab.data()).unwrap().after(0, None, 1).unwrap().remove(0);
    let mut store = SqliteStore::open(&lab.data(), Options::default()).unwrap();
    let indexes: Vec<u64> = (0..count).filter(|index| *index != template.index).collect();
    for (chunk, first) in indexes.chunks(5_000).zip((2..).step_by(5_000)) {
        let rows = chunk.iter().zip(first..).map(|(&index, seq)| {
            let (trial, params) = (points.trial_id(index), points.trial(index).params);
            let mut record = template.record().unwrap();
            let value = gridctl_core::record::MetricValue(params.get("x").unwrap().as_f64().unwrap());
            (record.index, record.params, record.point, record.report.trial) = (index, params, trial, trial);
            record.report.objective = Some(value);
            record.report.metrics = vec![("s".to_owned(), value)];
            let (mut row, text) = (template.clone(), serde_json::to_string(&record).unwrap());
            (row.seq, row.index, row.trial, row.point) = (seq, index, trial, trial);
            (row.objective, row.record) = (Some(value.0), text);
            row
        });
        let rows: Vec<_> = rows.collect();
        store.append(&Group { events: &[], outcomes: &rows, standings: &[] }).unwrap();
    }
    store.close();
}

fn big(count: u64, more: &str) -> String {
    format!(
        "command: [sh, -c, 'echo $HP_X >> led; echo s=$HP_X']\nmetric: {{name: s, goal: maximize}}\n\
         parameters: {{x: {{min: 1, max: {count}}}}}\n{more}"
    )
}

#[test]
fn one_more_value_after_twenty_thousand_costs_next_to_nothing() {
    const COUNT: u64 = 20_000;
    let lab = Lab::new();
    very_much_known(&lab, COUNT);
    // The results get what the journal has.
    assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
    let known = usize::try_from(COUNT).unwrap();
    assert_eq!(records(&lab), (known, known));
    let size = || [bytes(&lab.data(), "journal."), bytes(&lab.data().join("results"), "")];
    let before = size();
    lab.write("j.yaml", big(COUNT + 1, ""));
    let more = lab.run(&["run", "j.yaml"]);
    assert_eq!(more.code, Some(0), "{}", more.stderr);
    assert!(more.stderr.contains("20,000 known"), "{}", more.stderr);
    assert_eq!(lab.ledger("led").len(), 2, "the first one, and the new one");
    for (before, after) in before.into_iter().zip(size()) {
        assert!(after < before + (1 << 20), "{before} bytes became {after}");
    }
    assert_eq!(records(&lab), (known + 1, known + 1), "nothing is shipped twice");
    let best = |from: &[&str]| {
        let board = lab.run(&[&["leaderboard", "-k", "3", "-o", "json"], from].concat());
        assert_eq!(board.code, Some(0), "{}", board.stderr);
        xs_and_places(&board.stdout)
    };
    let expected = [(20_001, 20_000), (20_000, 19_999), (19_999, 19_998)];
    assert_eq!((best(&[]), best(&["gridctl-data/results/j"])), (expected.to_vec(), expected.to_vec()));
    let again = lab.run(&["run", "j.yaml"]);
    assert!(again.stderr.contains("everything is known, 20,001 trials"), "{}", again.stderr);
}

/// The only file in `dir` of the results whose name begins so and ends so.
fn file_of(lab: &Lab, dir: &str, (begin, end): (&str, &str)) -> PathBuf {
    let dir = lab.data().join("results/j").join(dir);
    let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(begin) && name.ends_with(end)
    };
    let mut files: Vec<PathBuf> = files.filter(named).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn damage_in_the_results_is_found_by_doctor_and_made_good_as_it_says() {
    let lab = Lab::new();
    lab.write(".gridctlignore", "led\nok\n");
    for values in ["[1, 2, 3]", "[5, 3, 2, 1]"] {
        lab.write("j.yaml", sweep(values, ""));
        assert_eq!(lab.run(&["run", "j.yaml", "-q", "--slots", "1"]).code, Some(0));
    }
    let whole = lab.run(&["doctor"]);
    assert!(whole.stdout.contains("ok       results"), "{}", whole.stdout);
    assert_eq!(whole.code, Some(0), "{}", whole.stdout);
    let flip = |bytes: &mut Vec<u8>| bytes[40] ^= 1;
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1);
    let lose =
        |bytes: &mut Vec<u8>| drop(bytes.drain(..bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1));
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let all = ("", "");
    let cases: [(&str, (&str, &str), Damage, &str); 8] = [
        ("records", all, &flip, "the checksum of line 1 does not fit"),
        ("records", all, &cut, "it is cut: it ends with record 1 and should end with 4"),
        ("records", all, &lose, "of the records before 2, 1 are not there"),
        ("records", all, &empty, "it is cut"),
        ("versions", ("v2", ".json"), &flip, "v2.json: "),
        ("versions", ("v1", ".yaml"), &flip, "v1.yaml: it does not say what the journal says"),
        ("versions", ("v1", ".json"), &empty, "v1.json: "),
        ("standings", ("v2", ".json"), &empty, "standings/v2-"),
    ];
    // One segment, whatever was shipped in pieces.
    let merged = || {
        let dir = lab.data().join("results/j/records");
        let mut files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        if files.len() > 1 {
            files.iter().for_each(|file| fs::remove_file(file).unwrap());
            assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
        }
    };
    for (dir, name, damage, said) in cases {
        merged();
        let file = file_of(&lab, dir, name);
        let before = fs::read(&file).unwrap();
        let mut bytes = before.clone();
        damage(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let found = lab.run(&["doctor"]);
        let line = found.stdout.lines().find(|line| line.starts_with("problem  results")).unwrap_or_default();
        assert!(line.contains(said) && found.code == Some(1), "{dir} {said}: {}", found.stdout);
        let (_, remove) = line.split_once("remove ").unwrap();
        let (files, _) = remove.split_once(", and the next").unwrap();
        for file in files.split(" and ") {
            fs::remove_file(lab.path().join(file.strip_prefix("[DIR]/").unwrap())).unwrap();
        }
        assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
        let mended = lab.run(&["doctor"]);
        assert_eq!(mended.code, Some(0), "{dir} {said}: {}", mended.stdout);
        let now = fs::read(&file).unwrap_or_else(|_| panic!("{dir} {said}: {}", file.display()));
        assert_eq!(now, before, "{dir} {said}");
    }
    fs::write(lab.data().join("journal.head"), "").unwrap();
    let found = lab.run(&["doctor"]);
    assert!(found.stdout.contains("problem  journal.head"), "{}", found.stdout);
    assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
    assert_eq!(lab.run(&["doctor"]).code, Some(0));
}

/// A sweep of two versions, and what was shipped of it.
fn shipped_twice(lab: &Lab) {
    lab.write(".gridctlignore", "led\nok\n");
    for values in ["[1, 2, 3]", "[5, 3, 2, 1]"] {
        lab.write("j.yaml", sweep(values, ""));
        assert_eq!(lab.run(&["run", "j.yaml", "-q", "--slots", "1"]).code, Some(0));
    }
}

#[test]
fn a_leaderboard_of_results_that_lack_a_part_says_so_and_fails() {
    for (dir, name, said) in [
        ("standings", ("v2-", ".json"), "does not say which records stand for version 2"),
        ("versions", ("v2", ".yaml"), "v2.yaml"),
        ("records", ("", "-1-3.jsonl"), "records 1 to 3 are missing"),
        ("records", ("", "-4-4.jsonl"), ""),
    ] {
        let lab = Lab::new();
        shipped_twice(&lab);
        if fs::read_dir(lab.data().join("results/j/records")).unwrap().count() != 2 {
            continue;
        }
        fs::remove_file(file_of(&lab, dir, name)).unwrap();
        let board = lab.run(&["leaderboard", "gridctl-data/results/j", "-k", "0"]);
        // Nothing tells the last file, if it is lost, from one that was never shipped.
        let code = if said.is_empty() { 0 } else { 1 };
        assert_eq!(board.code, Some(code), "{dir} {name:?}: {}{}", board.stdout, board.stderr);
        assert!(board.stderr.contains(said), "{dir} {name:?}: {}", board.stderr);
        assert_eq!(lab.run(&["leaderboard"]).code, Some(0), "the journal has everything");
    }
    let lab = Lab::new();
    shipped_twice(&lab);
    assert_eq!(lab.run(&["leaderboard", "gridctl-data/results/j"]).code, Some(0));
}

#[test]
fn doctor_finds_no_fault_in_a_project_that_was_moved_and_names_files_that_were_mixed_up() {
    let lab = Lab::new();
    fs::create_dir(lab.path().join("old")).unwrap();
    lab.write("old/j.yaml", sweep("[1, 2, 3]", "")).write("old/.gridctlignore", "led\nok\n");
    let at = |dir: &str, args: &[&str]| lab.finish(lab.command(args).current_dir(lab.path().join(dir)));
    assert_eq!(at("old", &["run", "j.yaml", "-q"]).code, Some(0));
    fs::rename(lab.path().join("old"), lab.path().join("new")).unwrap();
    for _ in 0..2 {
        assert_eq!(at("new", &["run", "j.yaml", "-q"]).code, Some(0));
        let doctor = at("new", &["doctor"]);
        assert_eq!(doctor.code, Some(0), "{}", doctor.stdout);
    }

    let lab = Lab::new();
    shipped_twice(&lab);
    let records = lab.data().join("results/j/records");
    let mut files: Vec<PathBuf> = fs::read_dir(&records).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    if let [first, second] = &files[..] {
        fs::copy(second, first).unwrap();
        let doctor = lab.run(&["doctor"]);
        let name = first.file_name().unwrap().to_str().unwrap();
        assert!(
            doctor.code == Some(1)
                && doctor.stdout.contains(&format!("remove [DIR]/gridctl-data/results/j/records/{name}")),
            "{}",
            doctor.stdout
        );
        fs::remove_file(first).unwrap();
        assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
        assert_eq!(lab.run(&["doctor"]).code, Some(0));
    }
    fs::write(lab.data().join("results/j/sweep.json"), "").unwrap();
    let doctor = lab.run(&["doctor"]);
    assert!(
        doctor.code == Some(1) && doctor.stdout.contains("remove [DIR]/gridctl-data/results/j/sweep.json"),
        "{}",
        doctor.stdout
    );
    fs::remove_file(lab.data().join("results/j/sweep.json")).unwrap();
    assert_eq!(lab.run(&["run", "j.yaml", "-q"]).code, Some(0));
    assert_eq!(lab.run(&["doctor"]).code, Some(0));
    fs::write(lab.data().join("results/j/epochs/900"), "{}").unwrap();
    assert_eq!(lab.run(&["doctor"]).code, Some(1), "a master would be refused");
}
