//! The results volume as masters, workers and readers use it at once, and what damage to it does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gridctl_core::id::{Epoch, Fingerprint, LeaseSeq, Token, TrialId};
use gridctl_core::output::Output;

use super::*;
use crate::volume::DirVolume;

const TRIAL: TrialId = TrialId([3; 10]);
const PRINT: Fingerprint = Fingerprint([4; 10]);

fn token(lease: u64) -> Token {
    Token { epoch: Epoch(2), lease: LeaseSeq(lease), attempt: 1 }
}

fn results() -> (tempfile::TempDir, Results) {
    let dir = tempfile::tempdir().unwrap();
    let volume = DirVolume::create(&dir.path().join("results")).unwrap();
    let results = Results::new(Arc::new(volume), "wine", "uuid-1").unwrap();
    results.claim().unwrap();
    (dir, results)
}

fn frozen(source: &str) -> FrozenSweep {
    let file = b"command: [true]\nparameters: {x: {values: [1]}}\n";
    let context = gridctl_core::spec::Context { file_stem: "wine", count: None };
    FrozenSweep {
        uuid: "uuid-1".to_owned(),
        spec: gridctl_core::spec::parse(file, &context).unwrap().spec,
        source: source.to_owned(),
        file: None,
        sources: gridctl_core::protocol::Sources { base: "/base".to_owned(), code: None, data: None },
        output: Output::InDataDir,
        env: Vec::new(),
        code: gridctl_core::id::CodeHash([7; 10]),
        files: Vec::new(),
        reader: 1,
    }
}

fn lines(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    range.map(|seq| (seq, format!(r#"{{"trial":"t{seq}","log":"a\nb ,\"seq\":7"}}"#))).collect()
}

fn numbers(results: &Results) -> Vec<u64> {
    let mut found = Vec::new();
    results.records(&mut |line| found.push(line.unwrap().seq)).unwrap();
    found
}

fn segment_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.join("results/wine/records"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn tree(root: &Path) -> PathBuf {
    let dir = root.join("output");
    fs::create_dir_all(dir.join("sub/.cache")).unwrap();
    fs::write(dir.join("model.bin"), "weights").unwrap();
    fs::write(dir.join("sub/my plot.png"), vec![9; 300_000]).unwrap();
    fs::write(dir.join("sub/.cache/x"), "").unwrap();
    dir
}

#[test]
fn a_directory_belongs_to_one_sweep() {
    let (dir, mine) = results();
    mine.claim().unwrap();
    let volume = || Arc::new(DirVolume::create(&dir.path().join("results")).unwrap());
    let other = Results::new(volume(), "wine", "uuid-2").unwrap();
    let error = other.claim().unwrap_err();
    assert!(
        matches!(&error, VolumeError::Claimed { by, .. } if by == "uuid-1") && error.help().is_some(),
        "{error}"
    );
    assert_eq!(Results::of_name(volume(), "wine").unwrap().uuid(), "uuid-1");
    assert!(matches!(Results::of_name(volume(), "beer"), Err(VolumeError::NotFound { .. })));
    for name in ["../x", "a/b", "", ".", "..", ".x"] {
        assert!(Results::new(volume(), name, "u").is_err(), "{name}");
    }
}

#[test]
fn versions_and_epochs_are_written_once() {
    let (dir, results) = results();
    assert_eq!(results.highest_epoch().unwrap(), None);
    for version in [1, 2, 10] {
        results.put_version(version, &frozen(&format!("name: v{version}"))).unwrap();
    }
    assert_eq!(results.versions().unwrap(), [1, 2, 10]);
    assert_eq!(results.whole_versions().unwrap(), [1, 2, 10]);
    assert_eq!(results.version(10).unwrap(), "name: v10");
    assert_eq!(results.whole_version(10).unwrap(), frozen("name: v10"));
    assert!(matches!(results.whole_version(3), Err(VolumeError::NotFound { .. })));
    assert_eq!(results.put_version(2, &frozen("name: v2")).unwrap(), Put::Same);
    let other = FrozenSweep { env: vec![("A".to_owned(), "b".to_owned())], ..frozen("name: v2") };
    for other in [frozen("name: other"), other] {
        assert!(matches!(results.put_version(2, &other), Err(VolumeError::Conflict { .. })));
    }
    fs::write(dir.path().join("results/wine/versions/v10.json"), "{\"uuid\":").unwrap();
    assert!(matches!(results.whole_version(10), Err(VolumeError::Damaged { .. })));
    let claim = |start: &str| EpochClaim {
        start: start.to_owned(),
        journal: "j1".to_owned(),
        data_dir: "/data".to_owned(),
        host: "here".to_owned(),
        event: 7,
        chain: 8,
    };
    results.claim_epoch(Epoch(9), &claim("one")).unwrap();
    results.claim_epoch(Epoch(10), &claim("one")).unwrap();
    results.claim_epoch(Epoch(10), &claim("one")).unwrap();
    let taken = results.claim_epoch(Epoch(10), &claim("two"));
    assert!(matches!(taken, Err(VolumeError::Conflict { .. })));
    assert_eq!(results.highest_epoch().unwrap(), Some(Epoch(10)));
    assert_eq!(results.epoch_claim(Epoch(10)).unwrap(), Some(claim("one")));
    assert_eq!(results.epoch_claim(Epoch(11)).unwrap(), None);
}

#[test]
fn records_come_back_whole_and_their_segments_stay_few() {
    let (dir, results) = results();
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    let mut most = 0;
    for n in 0..600 {
        shipper.ship(&lines(n * 3 + 1..=n * 3 + 3)).unwrap();
        most = most.max(segment_names(dir.path()).len());
    }
    assert!(most <= 40, "{most} segments");
    assert_eq!(numbers(&results), (1..=1_800).collect::<Vec<_>>());
    shipper.ship(&lines(1_700..=1_801)).unwrap();
    shipper.ship(&[]).unwrap();
    assert_eq!(shipper.shipped(), 1_801);
    let mut again = Shipper::open(&results, "j1", dir.path()).unwrap();
    assert_eq!(again.shipped(), 1_801, "a restart knows what was shipped");
    again.ship(&lines(1_802..=1_802)).unwrap();
    assert_eq!(numbers(&results), (1..=1_802).collect::<Vec<_>>());
    let mut rebuilt = Shipper::open(&results, "j2", dir.path()).unwrap();
    assert_eq!(rebuilt.shipped(), 0, "another journal counts for itself");
    rebuilt.ship(&lines(1..=5)).unwrap();
    assert_eq!(numbers(&results).len(), 1_807);
    for odd in ["{}", "[1]", "", "{\"a\":1}\n{\"b\":2}"] {
        assert!(again.ship(&[(9_999, odd.to_owned())]).is_err(), "{odd}");
    }
}

#[test]
fn lines_keep_their_record_and_carry_its_number_and_checksum() {
    let (dir, results) = results();
    Shipper::open(&results, "j1", dir.path()).unwrap().ship(&lines(7..=7)).unwrap();
    let mut text = String::new();
    results.records(&mut |line| text = line.unwrap().text).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["trial"], &value["seq"]), (&"t7".into(), &7.into()));
    assert!(value["checksum"].as_str().unwrap().starts_with("crc32:"));
}

#[test]
fn parts_that_an_interrupted_merge_left_are_neither_read_twice_nor_kept() {
    let (dir, results) = results();
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    for n in 1..=7 {
        shipper.ship(&lines(n..=n)).unwrap();
    }
    let records = dir.path().join("results/wine/records");
    let saved: Vec<_> = segment_names(dir.path())
        .into_iter()
        .map(|name| (fs::read(records.join(&name)).unwrap(), name))
        .collect();
    shipper.ship(&lines(8..=8)).unwrap();
    assert_eq!(segment_names(dir.path()), ["j1-1-8.jsonl"]);
    for (bytes, name) in &saved {
        fs::write(records.join(name), bytes).unwrap();
    }
    assert_eq!(numbers(&results), (1..=8).collect::<Vec<_>>());
    let merged = fs::read(records.join("j1-1-8.jsonl")).unwrap();
    let mut flipped = merged.clone();
    flipped[20] ^= 1;
    for damaged in [&merged[..merged.len() / 2], &flipped, b""] {
        fs::write(records.join("j1-1-8.jsonl"), damaged).unwrap();
        Shipper::open(&results, "j1", dir.path()).unwrap();
        assert_eq!(segment_names(dir.path()).len(), 8, "what a damaged one does not hold stays");
    }
    fs::write(records.join("j1-1-8.jsonl"), &merged).unwrap();
    Shipper::open(&results, "j1", dir.path()).unwrap();
    assert_eq!(segment_names(dir.path()), ["j1-1-8.jsonl"]);
}

#[test]
fn a_reader_finds_each_record_once_while_a_master_ships_and_merges() {
    let (dir, results) = results();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds == 0 {
                let found = numbers(&results);
                assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
                rounds += 1;
            }
        });
        let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
        for n in 1..=300 {
            shipper.ship(&lines(n..=n)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(numbers(&results).len(), 300);
}

#[test]
fn damaged_lines_are_named_and_the_others_are_read() {
    let (dir, results) = results();
    Shipper::open(&results, "j1", dir.path()).unwrap().ship(&lines(1..=5)).unwrap();
    let path = dir.path().join("results/wine/records/j1-1-5.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"t3\"", "\"t9\"", 1)).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    results
        .records(&mut |line| match line {
            Ok(line) => good.push(line.seq),
            Err(error) => bad.push(error.to_string()),
        })
        .unwrap();
    assert_eq!(good, [1, 2, 4, 5]);
    assert!(bad.len() == 1 && bad[0].contains("line 3"), "{bad:?}");
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    for n in 6..=30 {
        shipper.ship(&lines(n..=n)).unwrap();
    }
    assert!(path.exists(), "a damaged segment is not merged away");
}

#[test]
fn a_segment_that_is_missing_is_noticed() {
    let (dir, results) = results();
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    for (from, to) in [(2, 5), (9, 10), (20, 30)] {
        shipper.ship(&lines(from..=to)).unwrap();
    }
    assert_eq!(segment_names(dir.path()), ["j1-1-5.jsonl", "j1-11-30.jsonl", "j1-6-10.jsonl"]);
    assert_eq!(numbers(&results).len(), 17, "numbers that other sweeps have are no gap");
    fs::remove_file(dir.path().join("results/wine/records/j1-6-10.jsonl")).unwrap();
    let (mut good, mut bad) = (0, Vec::new());
    results
        .records(&mut |line| match line {
            Ok(_) => good += 1,
            Err(error) => bad.push(error.to_string()),
        })
        .unwrap();
    assert_eq!(good, 15);
    assert!(bad.len() == 1 && bad[0].contains("records 6 to 10 are missing"), "{bad:?}");
}

#[test]
fn how_far_a_journal_was_shipped_is_read_and_what_is_missing_is_filled_in() {
    let (dir, results) = results();
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    assert_eq!(results.shipped("j1").unwrap(), Shipped::default());
    for (from, to) in [(1, 4), (5, 10), (11, 12)] {
        shipper.ship(&lines(from..=to)).unwrap();
    }
    let long = format!(r#"{{"log":"{}"}}"#, "x".repeat(200_000));
    shipper.ship(&[(13, long.clone())]).unwrap();
    let shipped = results.shipped("j1").unwrap();
    let line = shipped.line.unwrap();
    assert!(shipped.last == 13 && line.seq == 13 && line.holds(&long) && !line.holds("{\"log\":\"y\"}"));
    assert_eq!(results.shipped("j2").unwrap().last, 0, "another journal counts for itself");

    let records = dir.path().join("results/wine/records");
    fs::write(records.join("j1-13-13.jsonl"), "{}\n").unwrap();
    assert_eq!((results.shipped("j1").unwrap().last, results.shipped("j1").unwrap().line), (13, None));
    fs::remove_file(records.join("j1-5-10.jsonl")).unwrap();
    assert_eq!(results.shipped("j1").unwrap().gaps, [(5, 10)]);
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    assert_eq!(shipper.gaps(), [(5, 10)]);
    shipper.fill((5, 8), &lines(5..=8)).unwrap();
    shipper.fill((9, 10), &lines(9..=10)).unwrap();
    assert_eq!((shipper.gaps(), shipper.shipped()), (vec![], 13));
    fs::remove_file(records.join("j1-13-13.jsonl")).unwrap();
    assert_eq!(numbers(&results), (1..=12).collect::<Vec<_>>());
}

#[test]
fn f80_a_volume_that_was_unmounted_takes_no_records() {
    let (dir, results) = results();
    let mut shipper = Shipper::open(&results, "j1", dir.path()).unwrap();
    fs::remove_file(dir.path().join("results/wine/sweep.json")).unwrap();
    assert!(matches!(shipper.ship(&lines(1..=1)), Err(VolumeError::NotFound { .. })));
}

#[test]
fn an_attempt_is_there_whole_with_its_manifest_or_not_at_all() {
    let (dir, results) = results();
    let output = tree(dir.path());
    fs::write(dir.path().join("log"), "line\n").unwrap();
    let log = fs::File::open(dir.path().join("log")).unwrap();
    assert_eq!(results.attempt_manifest(TRIAL, token(7)).unwrap(), None);
    let publish = || results.publish_attempt((TRIAL, token(7)), &output, Some(&log), &Limits::default());
    let manifest = publish().unwrap();
    let paths: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["files/model.bin", "files/sub/%2ecache/x", "files/sub/my%20plot.png"]);
    assert_eq!((manifest.bytes(), manifest.skipped.len()), (300_012, 0));
    assert_eq!(publish().unwrap(), manifest, "once more is the same");
    assert_eq!(results.attempt_manifest(TRIAL, token(7)).unwrap().as_ref(), Some(&manifest));
    assert_eq!(results.attempt_log(TRIAL, token(7), 0..100).unwrap(), b"line\n");
    assert_eq!(results.check_log(TRIAL, token(7)).unwrap(), Some(5));
    assert_eq!(results.check_log(TRIAL, token(8)).unwrap(), None);

    let into = dir.path().join("fetched");
    results.fetch_attempt(&manifest, &into).unwrap();
    assert_eq!(fs::read(into.join("sub/my plot.png")).unwrap(), vec![9; 300_000]);
    assert_eq!(fs::read(into.join("sub/.cache/x")).unwrap(), b"");
    assert_eq!(fs::read(into.join("log.txt")).unwrap(), b"line\n");

    fs::write(output.join("model.bin"), "changed").unwrap();
    assert!(matches!(publish(), Err(VolumeError::Conflict { .. })));
    let nothing = dir.path().join("nothing");
    let empty = results.publish_attempt((TRIAL, token(8)), &nothing, None, &Limits::default()).unwrap();
    assert!(empty.is_empty() && results.attempt_manifest(TRIAL, token(8)).unwrap().is_none());
    assert_eq!(results.volume.list("wine/trials").unwrap().len(), 1);
}

/// Where several machines share a volume, one may see a manifest while it does not see the files
/// yet.
#[test]
fn f76_a_manifest_that_is_seen_before_its_files_is_believed_once_they_are_there() {
    let (dir, results) = results();
    let output = tree(dir.path());
    let log = dir.path().join("log");
    fs::write(&log, "line\n").unwrap();
    let limits = Limits::default();
    let log = fs::File::open(&log).unwrap();
    let manifest = results.publish_attempt((TRIAL, token(7)), &output, Some(&log), &limits).unwrap();
    results.publish_checkpoint(PRINT, (token(7), 1), &output, &limits).unwrap();
    let into = tempfile::tempdir().unwrap();
    // Hides what lies at the path, and shows it again after a while: first a part of it, then all.
    let late = |path: &str, read: &dyn Fn()| {
        let path = dir.path().join("results/wine").join(path);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                fs::write(&path, &whole[..whole.len() / 2]).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
                fs::write(&path, &whole).unwrap();
            });
            read();
        });
    };
    late(&format!("trials/{TRIAL}/2-7/files/sub/my%20plot.png"), &|| {
        results.fetch_attempt(&manifest, &into.path().join("attempt")).unwrap();
        assert_eq!(fs::read(into.path().join("attempt/sub/my plot.png")).unwrap(), vec![9; 300_000]);
    });
    late(&format!("trials/{TRIAL}/2-7/log.txt"), &|| {
        assert_eq!(results.check_log(TRIAL, token(7)).unwrap(), Some(5));
    });
    late(&format!("checkpoints/{PRINT}/2-7-1/files/model.bin"), &|| {
        let restored = results.restore_checkpoint(PRINT, &into.path().join("checkpoint")).unwrap();
        assert!(restored.checkpoint.is_some() && restored.damaged.is_empty(), "{restored:?}");
    });
}

#[test]
fn f71_what_is_no_ordinary_file_is_left_out_and_named() {
    let (dir, results) = results();
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "secret").unwrap();
    fs::write(output.join("good"), "g").unwrap();
    fs::hard_link(output.join("good"), output.join("twin")).unwrap();
    fs::hard_link(&outside, output.join("hard")).unwrap();
    symlink(&outside, output.join("soft")).unwrap();
    symlink(dir.path(), output.join("softdir")).unwrap();
    fs::write(output.join("setuid"), "s").unwrap();
    fs::set_permissions(output.join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(output.join(format!("{}.txt", "ä".repeat(100))), "l").unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(output.join("pipe")).status();
    let manifest = results.publish_attempt((TRIAL, token(1)), &output, None, &Limits::default()).unwrap();
    let files: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["files/good", "files/twin"]);
    let skipped: Vec<_> = manifest.skipped.iter().map(|it| (it.name.as_str(), it.why.as_str())).collect();
    let mut expected = vec![
        ("hard", "a hard link to a file elsewhere"),
        ("pipe", "a named pipe"),
        ("setuid", "runs with its owner's rights"),
        ("soft", "a symbolic link"),
        ("softdir", "a symbolic link"),
    ];
    if !fifo.is_ok_and(|status| status.success()) {
        crate::skipped("no mkfifo here");
        expected.remove(1);
    }
    assert_eq!(skipped[..expected.len()], expected);
    assert_eq!(skipped.last().unwrap().1, "its name is too long");
}

#[test]
fn f70_too_many_files_and_too_many_bytes_are_left_out_sparse_ones_counted_in_full() {
    let (dir, results) = results();
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    for n in 0..150 {
        fs::write(output.join(format!("{n:03}")), "x").unwrap();
    }
    let publish = |lease, limits| {
        let manifest = results.publish_attempt((TRIAL, token(lease)), &output, None, &limits).unwrap();
        (manifest.files.len(), manifest.left_out())
    };
    assert_eq!(publish(1, Limits { files: 10, bytes: 1_000 }), (10, 140));
    assert_eq!(publish(2, Limits { files: 1_000, bytes: 100 }), (100, 50));
    fs::File::create(output.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(publish(3, Limits { files: 1_000, bytes: 1 << 30 }), (150, 1));
}

#[test]
fn f70_a_sparse_file_stays_sparse_wherever_it_goes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    const LENGTH: u64 = 64 << 20;
    let (dir, results) = results();
    let output = dir.path().join("output");
    fs::create_dir(&output).unwrap();
    let file = fs::File::create(output.join("sparse")).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(b"data", 3 << 20).unwrap();
    drop(file);
    std::os::unix::fs::symlink("sparse", output.join("latest")).unwrap();
    let manifest = results.publish_attempt((TRIAL, token(7)), &output, None, &Limits::default()).unwrap();
    assert_eq!((manifest.files[0].size, manifest.left_out()), (LENGTH, 1));
    let (fetched, copied) = (dir.path().join("fetched"), dir.path().join("copied"));
    results.fetch_attempt(&manifest, &fetched).unwrap();
    assert_eq!(copy_files(&output, &copied, &[]).unwrap(), 1);
    let published = dir.path().join(format!("results/wine/trials/{TRIAL}/2-7/files"));
    for place in [published, fetched, copied.clone()] {
        let place = place.join("sparse");
        let room = fs::metadata(&place).unwrap().blocks() * 512;
        assert!(room < 1 << 20, "{}: {room}", place.display());
        assert!(fs::read(&place).unwrap() == fs::read(output.join("sparse")).unwrap(), "{}", place.display());
    }
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&output, &link).unwrap();
    fs::remove_dir_all(&copied).unwrap();
    assert!(copy_files(&link, &copied, &[]).is_err(), "a link to a directory is none");
}

#[test]
fn f69_a_manifest_that_is_cut_foreign_or_no_manifest_is_not_accepted() {
    let (dir, results) = results();
    let output = tree(dir.path());
    let manifest = results.publish_attempt((TRIAL, token(7)), &output, None, &Limits::default()).unwrap();
    let path = dir.path().join(format!("results/wine/trials/{TRIAL}/2-7/manifest.json"));
    let text = fs::read_to_string(&path).unwrap();
    for length in 0..text.len() {
        fs::write(&path, &text[..length]).unwrap();
        let read = results.attempt_manifest(TRIAL, token(7));
        assert!(matches!(read, Err(VolumeError::Damaged { .. })), "cut to {length}: {read:?}");
    }
    let other = TrialId([9; 10]).to_string();
    for changed in [
        text.replace(&TRIAL.to_string(), &other),
        text.replace("\"lease\":7", "\"lease\":8"),
        text.replace("\"attempt\":1", "\"attempt\":2"),
        text.replace("files/model.bin", "../../../x"),
        text.replace("files/model.bin", "files/%2e%2e"),
        text.replace("\"format\":1", "\"format\":2"),
        "[]".to_owned(),
        " ".repeat(17 << 20),
    ] {
        fs::write(&path, &changed).unwrap();
        let read = results.attempt_manifest(TRIAL, token(7));
        assert!(
            matches!(read, Err(VolumeError::Damaged { .. })),
            "{}: {read:?}",
            &changed[..changed.len().min(200)]
        );
    }
    fs::write(&path, &text).unwrap();
    let file = path.with_file_name("files").join("model.bin");
    for content in ["weightz", "weights!", "weight", ""] {
        fs::write(&file, content).unwrap();
        let error =
            results.fetch_attempt(&manifest, &tempfile::tempdir().unwrap().path().join("f")).unwrap_err();
        assert!(matches!(error, VolumeError::Damaged { .. }), "{content}: {error}");
    }
}

#[test]
fn checkpoints_from_before_everything_began_anew_are_passed_over() {
    let (dir, results) = results();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let publish = |lease: u64| {
        fs::write(state.join("epoch"), lease.to_string()).unwrap();
        results.publish_checkpoint(PRINT, (token(lease), 1), &state, &Limits::default()).unwrap();
    };
    let newest = || {
        results
            .restore_checkpoint(PRINT, tempfile::tempdir().unwrap().path())
            .unwrap()
            .checkpoint
            .map(|it| it.place.1)
    };
    publish(3);
    results.begin_anew(LeaseSeq(3)).unwrap();
    assert_eq!(newest(), Some(LeaseSeq(3)));
    results.begin_anew(LeaseSeq(4)).unwrap();
    results.begin_anew(LeaseSeq(4)).unwrap();
    assert_eq!(newest(), None);
    publish(4);
    assert_eq!(newest(), Some(LeaseSeq(4)));
}

#[test]
fn f73_the_newest_whole_checkpoint_is_restored_and_two_are_kept() {
    let (dir, results) = results();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join(".preempt"), "").unwrap();
    assert_eq!(results.restore_checkpoint(PRINT, &dir.path().join("none")).unwrap(), Restored::default());
    for (lease, n) in [(3, 1), (3, 2), (12, 1), (12, 2)] {
        fs::write(state.join("epoch"), format!("{lease}/{n}")).unwrap();
        results.publish_checkpoint(PRINT, (token(lease), n), &state, &Limits::default()).unwrap();
    }
    let base = dir.path().join(format!("results/wine/checkpoints/{PRINT}"));
    let mut kept: Vec<_> = fs::read_dir(&base).unwrap().map(|it| it.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["2-12-1", "2-12-2"]);
    let restore = |into: &str| {
        let into = dir.path().join(into);
        let restored = results.restore_checkpoint(PRINT, &into).unwrap();
        let names: Vec<_> = fs::read_dir(&into).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(names.len() <= 1, "{names:?}");
        let place = restored.checkpoint.map(|it| it.place.2);
        (place, fs::read_to_string(into.join("epoch")).ok(), restored.damaged.len())
    };
    assert_eq!(restore("a"), (Some(2), Some("12/2".to_owned()), 0));
    fs::create_dir_all(base.join("2-13-1/files")).unwrap();
    assert_eq!(
        restore("b"),
        (Some(2), Some("12/2".to_owned()), 0),
        "one without a manifest is not there yet"
    );
    for content in ["", "12/3", "\0\0\0\0"] {
        fs::write(base.join("2-12-2/files/epoch"), content).unwrap();
        let into = format!("c{}{content:?}", content.len()).replace(['"', '\\', '/'], "");
        assert_eq!(restore(&into), (Some(1), Some("12/1".to_owned()), 1), "{content:?}");
    }
    fs::write(base.join("2-12-2/manifest.json"), "{\"format\":9}").unwrap();
    fs::remove_file(base.join("2-12-1/files/epoch")).unwrap();
    assert_eq!(restore("d"), (None, None, 2), "from scratch, and it is said why");
    let full = results.restore_checkpoint(PRINT, &state).unwrap_err();
    assert!(matches!(full, VolumeError::Obstructed { .. }), "{full}");
}
