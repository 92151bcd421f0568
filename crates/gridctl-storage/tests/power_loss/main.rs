//! Power is cut at random moments, on a disk that loses what was not synced (promises 26, 31): the journal holds a prefix of whole
//! groups with all that were acknowledged, and the results volume nothing but whole attempts, with all that were published.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use gridctl_core::id::{CodeHash, Epoch, LeaseSeq, Token, TrialId};
use gridctl_core::record::{Class, TrialState};
use gridctl_storage::journal::{EventRow, Group, Options, OutcomeRow, Reader, Snapshot, SqliteStore, Store};
use gridctl_storage::results::{Limits, Results, Shipper};
use gridctl_storage::volume::DirVolume;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

/// Power is cut so often, each time with another history before it.
const HISTORIES: u64 = 12;
const CUTS: usize = 5;
const LONGEST: Duration = Duration::from_secs(60);

/// Says that nothing was tested; where nothing may be skipped it fails.
fn skipped() {
    eprintln!("SKIPPED power is cut at random moments: no file system in user space may be mounted here");
    assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
}

#[expect(clippy::disallowed_methods, reason = "a deadline for what a test waits for")]
fn until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONGEST, "not within {LONGEST:?}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// A disk that a process of its own serves, and what became of it.
struct Disk {
    server: Child,
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Disk {
    /// `None` where nothing may be mounted.
    fn new() -> Option<Self> {
        let test = std::env::current_exe().unwrap();
        let program = test.parent().unwrap().parent().unwrap().join("examples/lossy_disk");
        assert!(program.exists(), "{} is built by `cargo test` without `--test`", program.display());
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        let mut server =
            command.arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(server.stdout.take().unwrap());
        let asked = server.stdin.take();
        let mut disk = Self { server, asked, answers, dir };
        disk.is_mounted().then_some(disk)
    }

    fn is_mounted(&mut self) -> bool {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line == "mounted\n"
    }

    /// Where it is mounted.
    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What would be left if its power were cut now, mounted.
    fn cut(&mut self, seed: u64) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        writeln!(self.asked.as_mut().unwrap(), "cut {seed} {}", dir.path().display()).unwrap();
        assert!(self.is_mounted());
        dir
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.asked.take());
        drop(self.server.wait());
    }
}

/// Cuts the power at several moments while `work` goes on, which counts what was acknowledged. `check` looks at each disk that
/// is left, and is told how much had been acknowledged before.
fn cut_during(
    disk: &mut Disk,
    seed: u64,
    work: impl Fn(&Path, &AtomicU64, &AtomicBool) + Sync,
    check: impl Fn(&Path, u64),
) {
    let (acked, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let path = disk.path().to_owned();
    let left: Vec<(u64, TempDir)> = thread::scope(|scope| {
        scope.spawn(|| work(&path, &acked, &stop));
        let cuts = (0..CUTS).map(|_| {
            let at = acked.load(SeqCst) + rng.random_range(0..12);
            until(|| acked.load(SeqCst) >= at);
            thread::sleep(Duration::from_micros(rng.random_range(0..900)));
            let before = acked.load(SeqCst);
            (before, disk.cut(rng.random()))
        });
        let cuts = cuts.collect();
        stop.store(true, SeqCst);
        cuts
    });
    left.iter().for_each(|(acked, dir)| check(dir.path(), *acked));
}

/// Group number `n`, from 1: three events, and an outcome for each.
fn rows(n: u64) -> (Vec<EventRow>, Vec<OutcomeRow>) {
    let event = |seq| EventRow { seq, payload: format!("{{\"n\":{seq},\"{}\":1}}", "x".repeat(300)).into() };
    let outcome = |seq: u64| OutcomeRow {
        seq,
        sweep: 1,
        version: 1,
        index: seq,
        trial: TrialId([1; 10]),
        point: TrialId([1; 10]),
        code: CodeHash([7; 10]),
        repeat: 0,
        generation: 1,
        terminal: true,
        state: TrialState::Succeeded,
        class: Class::Succeeded,
        objective: Some(1.0),
        read_by: "{}".to_owned(),
        record: format!("{{\"seq\":{seq}}}"),
    };
    let range = n * 3 - 2..=n * 3;
    (range.clone().map(event).collect(), range.map(outcome).collect())
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, Options { allow_network_fs: true }).unwrap()
}

fn append(store: &mut SqliteStore, n: u64) {
    let (events, outcomes) = rows(n);
    store.append(&Group { events: &events, outcomes: &outcomes, standings: &[] }).unwrap();
}

#[test]
fn the_journal_holds_a_prefix_with_all_that_was_acknowledged() {
    for seed in 0..HISTORIES {
        let Some(mut disk) = Disk::new() else { return skipped() };
        let work = |dir: &Path, acked: &AtomicU64, stop: &AtomicBool| {
            let mut store = open(&dir.join("data"));
            for n in 1.. {
                append(&mut store, n);
                acked.store(n, SeqCst);
                if n % 7 == 0 {
                    store.snapshot(&Snapshot { seq: n * 3, bytes: &[9; 5_000] }).unwrap();
                }
                if n % 11 == 0 {
                    store.idle();
                }
                if stop.load(SeqCst) {
                    return;
                }
            }
        };
        cut_during(&mut disk, seed, work, |dir, acked| {
            check_journal(dir, acked, &format!("seed {seed}, {acked} groups acknowledged"));
        });
    }
}

fn check_journal(dir: &Path, acked: u64, what: &str) {
    let data = dir.join("data");
    let mut store = open(&data);
    let loaded = store.load(u64::MAX).unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = loaded.next_seq - 1;
    assert!(last.is_multiple_of(3) && last / 3 >= acked, "{what}: {last} events are there");
    let first = loaded.snapshot.map_or(0, |(seq, _)| seq);
    let expected: Vec<_> = (1..=last / 3).flat_map(|n| rows(n).0).filter(|row| row.seq > first).collect();
    assert_eq!(loaded.tail, expected, "{what}");
    append(&mut store, last / 3 + 1);
    drop(store);
    let outcomes = Reader::open(&data).unwrap().after(0, None, u64::MAX >> 1).unwrap();
    let expected: Vec<_> = (1..=last / 3 + 1).flat_map(|n| rows(n).1).collect();
    assert_eq!(outcomes, expected, "{what}");
}

const UUID: &str = "uuid-1";

fn results(root: &Path) -> Results {
    let volume = DirVolume::create(&root.join("results")).unwrap();
    let results = Results::new(Arc::new(volume), "wine", UUID).unwrap();
    results.claim().unwrap();
    results
}

fn token(lease: u64) -> Token {
    Token { epoch: Epoch(2), lease: LeaseSeq(lease), attempt: 1 }
}

/// The files of attempt `n`.
fn output(dir: &Path, n: u64) {
    let byte = u8::try_from(n % 251).unwrap();
    fs::create_dir_all(dir.join("deep")).unwrap();
    fs::write(dir.join("model"), vec![byte; 3_000]).unwrap();
    fs::write(dir.join("deep/plot"), n.to_string()).unwrap();
}

fn records(n: u64) -> Vec<(u64, String)> {
    vec![(n, format!("{{\"n\":{n}}}"))]
}

#[test]
fn the_results_volume_holds_whole_attempts_with_all_that_were_published() {
    for seed in 0..HISTORIES {
        let Some(mut disk) = Disk::new() else { return skipped() };
        let work = |dir: &Path, acked: &AtomicU64, stop: &AtomicBool| {
            let (results, scratch) = (results(dir), tempfile::tempdir().unwrap());
            let mut shipper = Shipper::open(&results, "journal", scratch.path()).unwrap();
            for n in 1.. {
                output(scratch.path(), n);
                let attempt = (TrialId([2; 10]), token(n));
                results.publish_attempt(attempt, scratch.path(), None, &Limits::default()).unwrap();
                shipper.ship(&records(n)).unwrap();
                acked.store(n, SeqCst);
                if stop.load(SeqCst) {
                    return;
                }
            }
        };
        cut_during(&mut disk, 1_000 + seed, work, |dir, acked| {
            check_results(dir, acked, &format!("seed {seed}, {acked} attempts published"));
        });
    }
}

fn check_results(dir: &Path, acked: u64, what: &str) {
    let results = results(dir);
    let mut n = 1;
    loop {
        let manifest = results.attempt_manifest(TrialId([2; 10]), token(n)).unwrap();
        let Some(manifest) = manifest else { break };
        let (into, expected) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (into, expected) = (into.path().join("x"), expected.path().join("x"));
        results.fetch_attempt(&manifest, &into).unwrap_or_else(|error| panic!("{what}: {error}"));
        output(&expected, n);
        for file in ["model", "deep/plot"] {
            assert_eq!(fs::read(into.join(file)).ok(), fs::read(expected.join(file)).ok(), "{what}");
        }
        n += 1;
    }
    assert!(n > acked, "{what}: {} are there", n - 1);
    let mut shipped = Vec::new();
    results.records(&mut |line| shipped.push(line.unwrap().seq)).unwrap();
    let last = shipped.len() as u64;
    assert!(shipped == (1..=last).collect::<Vec<_>>() && last >= acked, "{what}: records {shipped:?}");
    let scratch = tempfile::tempdir().unwrap();
    let mut shipper = Shipper::open(&results, "journal", scratch.path()).unwrap();
    assert_eq!(shipper.shipped(), last, "{what}");
    shipper.ship(&records(last + 1)).unwrap();
}
