//! The SQLite journal against what disks, people and other programs do to it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::journal::testing::{append, events, outcome};
use crate::journal::{OutcomeRow, Reader};

fn open(dir: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(dir, Options::default())
}

/// A journal of `groups` groups of three, with a snapshot in the middle; closed, so that all of it is in one file.
pub(super) fn closed_journal(groups: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    for group in 0..groups {
        append(&mut store, group * 3 + 1, group * 3 + 3);
        if group == groups / 2 {
            store.snapshot(&Snapshot { seq: group * 3 + 3, bytes: &[5; 9_000] }).unwrap();
        }
    }
    dir
}

fn copy(from: &Path, names: &[&str]) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    to
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_appended_is_there_after_a_restart_and_for_the_owner_alone() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("made/here");
    let mut store = open(&dir).unwrap();
    append(&mut store, 1, 5);
    let journal = store.journal_id().to_owned();
    drop(store);
    for (path, mode) in
        [("made/here", 0o700), ("made/here/journal.sqlite", 0o600), ("made/here/master.lock", 0o600)]
    {
        assert_eq!(
            fs::metadata(base.path().join(path)).unwrap().permissions().mode() & 0o777,
            mode,
            "{path}"
        );
    }
    assert_eq!(names_in(&dir), ["journal.head", "journal.sqlite", "master.lock"].map(str::to_owned).into());
    let mut store = open(&dir).unwrap();
    assert_eq!(store.load(u64::MAX).unwrap().tail, events(1..=5));
    assert_eq!(store.journal_id(), journal);
    append(&mut store, 6, 6);
}

#[test]
fn c09_a_second_master_is_refused_and_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let second = open(dir.path()).unwrap_err();
    assert!(matches!(&second, StoreError::Held { pid, .. } if *pid == std::process::id()), "{second}");
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    assert!(second.help().unwrap().contains("--data-dir"));
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn c10_a_directory_that_cannot_be_written_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    if rustix::process::geteuid().is_root() {
        // Root writes to directories that nobody may write, but not to file systems that are read-only.
        let Some(mounted) = Mounted::new("1m,ro") else {
            return crate::skipped("no right to mount a file system");
        };
        let error = open(mounted.0.path()).unwrap_err();
        assert!(matches!(error, StoreError::NotWritable { .. }) && error.help().is_some(), "{error}");
        return;
    }
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    let error = open(&locked).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }) && error.help().is_some(), "{error}");
}

#[test]
fn c10_a_directory_in_memory_is_taken_with_a_warning() {
    let shm = Path::new("/dev/shm");
    if kind_of(shm) != FsKind::Memory {
        return crate::skipped("no file system in memory at /dev/shm");
    }
    let dir = tempfile::tempdir_in(shm).unwrap();
    let store = open(dir.path()).unwrap();
    assert!(store.warnings()[0].contains("memory"), "{:?}", store.warnings());
}

#[test]
fn f77_files_of_others_and_of_other_formats_are_refused_untouched() {
    let set = |sql: &'static str| {
        move |path: &Path| {
            let dir = closed_journal(2);
            fs::copy(dir.path().join(JOURNAL_FILE), path).unwrap();
            Connection::open(path).unwrap().execute_batch(sql).unwrap();
        }
    };
    type Make = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Make)> = vec![
        ("format 99", Box::new(set("PRAGMA user_version = 99"))),
        ("format 1,", Box::new(set("PRAGMA user_version = 1"))),
        ("another program", Box::new(set("PRAGMA application_id = 77"))),
        ("its beginning is damaged", Box::new(|path| fs::write(path, vec![0; 8192]).unwrap())),
        ("its beginning is damaged", Box::new(|path| fs::write(path, "a letter to grandmother").unwrap())),
    ];
    for (expected, make) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(JOURNAL_FILE);
        make(&path);
        let before = fs::read(&path).unwrap();
        for error in [open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
            assert!(error.to_string().contains(expected), "{expected}: {error}");
            assert!(error.help().is_some());
        }
        assert_eq!(fs::read(&path).unwrap(), before, "{expected}");
    }
}

#[test]
fn f77_a_symbolic_link_is_no_journal() {
    let real = closed_journal(1);
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(real.path().join(JOURNAL_FILE), dir.path().join(JOURNAL_FILE)).unwrap();
    assert!(open(dir.path()).is_err());
    assert!(Reader::open(dir.path()).is_err());
}

#[test]
fn f77_a_changed_event_is_found_and_named() {
    for sql in [
        "UPDATE event SET payload = replace(payload, 'epoch', 'epocH') WHERE seq = 29",
        "UPDATE event SET crc = crc + 1 WHERE seq = 29",
        "DELETE FROM event WHERE seq = 29",
        "UPDATE event SET payload = (SELECT payload FROM event WHERE seq = 28) WHERE seq = 29",
    ] {
        let dir = closed_journal(10);
        Connection::open(dir.path().join(JOURNAL_FILE)).unwrap().execute_batch(sql).unwrap();
        let error = open(dir.path()).unwrap().load(u64::MAX).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { at: 29, .. }), "{sql}: {error}");
        assert!(error.help().unwrap().contains("--data-dir"));
        let reader = Reader::open(dir.path()).unwrap();
        assert!(reader.load(u64::MAX).is_err(), "{sql}");
    }
}

#[test]
fn a_damaged_snapshot_is_made_up_for_by_the_events() {
    let dir = closed_journal(10);
    let whole = open(dir.path()).unwrap().load(u64::MAX).unwrap();
    assert_eq!(whole.snapshot.map(|(seq, _)| seq), Some(18));
    Connection::open(dir.path().join(JOURNAL_FILE))
        .unwrap()
        .execute_batch("UPDATE snapshot SET bytes = zeroblob(9000)")
        .unwrap();
    let loaded = open(dir.path()).unwrap().load(u64::MAX).unwrap();
    assert_eq!((loaded.snapshot, loaded.damaged_snapshots), (None, 1));
    assert_eq!((loaded.tail, loaded.next_seq), (events(1..=30), 31));
}

/// Loads and queries a damaged journal: each answer is an error, or what was written.
fn never_wrong(dir: &Path, what: &str) -> (bool, bool) {
    let expected: Vec<OutcomeRow> = (1..=300).map(outcome).collect();
    let mut store = match open(dir) {
        Ok(store) => store,
        Err(_) => return (true, true),
    };
    let loaded = store.load(u64::MAX);
    if let Ok(loaded) = &loaded {
        let (from, bytes) = loaded.snapshot.clone().map_or((0, None), |(seq, bytes)| (seq, Some(bytes)));
        assert!(bytes.is_none_or(|bytes| bytes == [5; 9_000]), "{what}: the snapshot is wrong");
        assert_eq!(loaded.tail, events(from + 1..=300), "{what}: the events are wrong");
    }
    drop(store);
    let rows = Reader::open(dir).and_then(|reader| reader.after(0, None, 1_000));
    if let Ok(rows) = &rows {
        assert!(rows.iter().all(|row| expected.contains(row)), "{what}: an outcome is wrong");
    }
    (loaded.is_err(), rows.is_err())
}

#[test]
fn f77_a_zeroed_page_is_an_error_or_does_no_harm() {
    let dir = closed_journal(100);
    let bytes = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    let (mut loads, mut reads) = (0, 0);
    for page in 0..bytes.len() / 4096 {
        let broken = tempfile::tempdir().unwrap();
        let mut bytes = bytes.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        fs::write(broken.path().join(JOURNAL_FILE), bytes).unwrap();
        let (load, read) = never_wrong(broken.path(), &format!("page {page} zeroed"));
        loads += u32::from(load);
        reads += u32::from(read);
    }
    assert!(loads > 5 && reads > 5, "{loads} and {reads} of {} pages mattered", bytes.len() / 4096);
}

#[test]
fn f77_a_flipped_byte_in_any_page_is_an_error_or_does_no_harm() {
    let dir = closed_journal(100);
    let bytes = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    for page in 0..bytes.len() / 4096 {
        for offset in [3, 100, 1_500, 2_777, 4_000] {
            let broken = tempfile::tempdir().unwrap();
            let mut bytes = bytes.clone();
            bytes[page * 4096 + offset] ^= 0x41;
            fs::write(broken.path().join(JOURNAL_FILE), bytes).unwrap();
            never_wrong(broken.path(), &format!("byte {offset} of page {page} flipped"));
        }
    }
}

#[test]
fn a_truncated_file_is_an_error() {
    let dir = closed_journal(100);
    let bytes = fs::read(dir.path().join(JOURNAL_FILE)).unwrap();
    for length in (512..bytes.len()).step_by(4096 * 3 + 123) {
        let broken = tempfile::tempdir().unwrap();
        fs::write(broken.path().join(JOURNAL_FILE), &bytes[..length]).unwrap();
        never_wrong(broken.path(), &format!("cut to {length} bytes"));
    }
}

#[test]
fn a_log_torn_at_any_byte_gives_a_prefix_of_whole_groups() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, 1, 3);
    store.idle();
    for group in 1..12 {
        append(&mut store, group * 3 + 1, group * 3 + 3);
    }
    let wal = fs::read(&store.wal).unwrap();
    let mut seen = BTreeSet::new();
    for length in (0..=wal.len()).step_by(509).chain([wal.len()]) {
        let crashed = copy(dir.path(), &[JOURNAL_FILE]);
        fs::write(crashed.path().join("journal.sqlite-wal"), &wal[..length]).unwrap();
        let read = Reader::open(crashed.path()).unwrap().load(u64::MAX).unwrap();
        let mut store = open(crashed.path()).unwrap();
        let loaded = store.load(u64::MAX).unwrap();
        assert_eq!(read, loaded, "a reader and a master see the same");
        let count = loaded.next_seq - 1;
        assert_eq!(loaded.tail, events(1..=count), "torn at {length}");
        assert_eq!(count % 3, 0, "torn at {length}: a group is whole or gone");
        let outcomes = Reader::open(crashed.path()).unwrap().after(0, None, 100).unwrap();
        assert_eq!(outcomes.len() as u64, count, "torn at {length}: outcomes come with their events");
        append(&mut store, count + 1, count + 2);
        seen.insert(count);
    }
    assert_eq!(seen.len(), 12, "every group was the last one once");
    assert_eq!(seen.last(), Some(&36), "nothing acknowledged is lost when nothing is torn");
}

#[test]
fn a_full_disk_loses_nothing_and_needs_no_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, 1, 3);
    let pages: i64 = store.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.conn.query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(())).unwrap();
    let many: Vec<_> = (4..400).map(outcome).collect();
    let group = Group { events: &events(4..=399), outcomes: &many, standings: &[] };
    for _ in 0..3 {
        let error = store.append(&group).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }) && error.is_retryable(), "{error}");
    }
    let error = store.snapshot(&Snapshot { seq: 3, bytes: &[1; 100_000] }).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(store.load(u64::MAX).unwrap().next_seq, 4);
    store.conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
    store.append(&group).unwrap();
    assert_eq!(store.load(u64::MAX).unwrap().next_seq, 400);
}

/// A small file system of its own; gone with the guard.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

#[test]
fn a_device_that_is_really_full_is_no_space_until_it_is_freed() {
    let Some(mounted) = Mounted::new("2m") else {
        return crate::skipped("no right to mount a small file system");
    };
    let dir = mounted.0.path().join("data");
    let mut store = open(&dir).unwrap();
    append(&mut store, 1, 3);
    let ballast = mounted.0.path().join("ballast");
    drop(fs::write(&ballast, vec![1; 4 << 20]));
    let mut next = 4;
    let error = loop {
        let rows: Vec<_> = (next..next + 50).map(outcome).collect();
        match store.append(&Group { events: &events(next..=next + 49), outcomes: &rows, standings: &[] }) {
            Ok(()) => next += 50,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    store.idle();
    fs::remove_file(&ballast).unwrap();
    append(&mut store, next, next + 49);
    store.idle();
    append(&mut store, next + 50, next + 99);
    drop(store);
    assert_eq!(open(&dir).unwrap().load(u64::MAX).unwrap().next_seq, next + 100);
}

#[test]
fn the_log_is_copied_into_the_file_when_it_is_long_and_when_idle() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    store.checkpoint_at = 200_000;
    let mut longest = 0;
    for group in 0..60 {
        append(&mut store, group * 20 + 1, group * 20 + 20);
        longest = longest.max(store.wal_length());
        store.checkpoint_at = 200_000;
    }
    assert!((200_000..400_000).contains(&longest) || longest < 200_000, "{longest}");
    store.idle();
    assert_eq!(store.wal_length(), 0);
    assert!(fs::metadata(&store.path).unwrap().len() > 100_000);
}
