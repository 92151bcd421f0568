//! Staging against a real store, with a proxy before it.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::volume::s3::S3Volume;
use crate::volume::s3::tests::Lab;
use crate::volume::s3::tests::proxy::Fault;

/// What a store holds beneath `data`, as a volume puts it there.
fn put(lab: &Lab, files: &[(&str, &[u8])]) {
    for (path, bytes) in files {
        lab.put_raw(&format!("data/{path}"), bytes);
    }
}

struct Here {
    cache: DatasetCache,
    fetched: Cell<u32>,
    _dir: tempfile::TempDir,
}

impl Here {
    fn new(limit: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = DatasetCache::new(&dir.path().join("datasets"), limit);
        Self { cache, fetched: Cell::new(0), _dir: dir }
    }

    fn stage(&self, volume: &S3Volume, version: &str) -> Result<StagedDataset, DatasetError> {
        let list = || fetch::list(volume);
        let fetch = |listing: &DatasetListing, dir: &std::path::Path| {
            self.fetched.set(self.fetched.get() + 1);
            fetch::fetch(volume, listing, dir, &mut |_| {})
        };
        self.cache.stage_with((volume.url(), version), &list, &fetch)
    }
}

#[test]
fn data_comes_as_it_is_once_and_read_only() {
    let Some(lab) = Lab::new() else { return };
    let long: Vec<u8> = (0..20_u32 << 20).map(|n| (n >> 2).to_le_bytes()[0]).collect();
    put(&lab, &[("a.csv", b"1,2\n"), ("deep/er/b c.bin", &long), ("empty", b""), ("marker/", b"")]);
    let (volume, here) = (lab.at("data"), Here::new(None));
    let listing = fetch::list(&volume).unwrap();
    assert_eq!((listing.files.len(), listing.bytes()), (3, 4 + long.len() as u64));
    let version = listing.version();
    let staged = here.stage(&volume, &version).unwrap();
    assert_eq!(fs::read(staged.path().join("a.csv")).unwrap(), b"1,2\n");
    assert_eq!(fs::read(staged.path().join("deep/er/b c.bin")).unwrap(), long);
    assert_eq!(fs::read(staged.path().join("empty")).unwrap(), b"");
    let mode = |path: &str| fs::metadata(staged.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a.csv"), mode("deep/er"), mode("")), (0o444, 0o555, 0o555));
    // Another slot, at the same time.
    let again = here.stage(&volume, &version).unwrap();
    assert_eq!((again.path(), here.fetched.get()), (staged.path(), 1));
    // What somebody removed comes back.
    let gone = staged.path().join("a.csv");
    drop((staged, again));
    fs::set_permissions(gone.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(&gone).unwrap();
    here.stage(&volume, &version).unwrap();
    assert!(gone.is_file() && here.fetched.get() == 2);
}

#[test]
fn an_address_of_one_object_is_a_file() {
    let Some(lab) = Lab::new() else { return };
    put(&lab, &[("a.csv", b"1,2\n")]);
    let (volume, here) = (lab.at("data/a.csv"), Here::new(None));
    let version = fetch::list(&volume).unwrap().version();
    let staged = here.stage(&volume, &version).unwrap();
    assert_eq!(fs::read(staged.path()).unwrap(), b"1,2\n");
}

#[test]
fn slots_that_want_it_at_once_fetch_it_once() {
    let Some(lab) = Lab::new() else { return };
    put(&lab, &[("a", &[7; 100_000])]);
    let volume = lab.at("data");
    let version = fetch::list(&volume).unwrap().version();
    let dir = tempfile::tempdir().unwrap();
    let fetched = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = DatasetCache::new(dir.path(), None);
                let fetch = |listing: &DatasetListing, dir: &std::path::Path| {
                    fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    fetch::fetch(&volume, listing, dir, &mut |_| {})
                };
                cache.stage_with((volume.url(), &version), &|| fetch::list(&volume), &fetch).unwrap();
            });
        }
    });
    assert_eq!(fetched.into_inner(), 1);
}

#[test]
fn a81_ranges_that_are_cut_or_wrong_are_fetched_again() {
    let Some(lab) = Lab::new() else { return };
    put(&lab, &[("a", &[7; 9 << 20]), ("b", b"1")]);
    let (volume, here) = (lab.at("data"), Here::new(None));
    let version = fetch::list(&volume).unwrap().version();
    for fault in
        [Fault::CutBefore, Fault::CutAfter, Fault::CutAnswer, Fault::Status(503, "SlowDown"), Fault::Flip]
    {
        lab.proxy.order(("GET", "/data/a"), fault.clone(), 1);
        let staged = here.stage(&volume, &version).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(lab.proxy.left(), 0, "{fault:?}");
        assert!(fs::read(staged.path().join("a")).unwrap() == [7; 9 << 20], "{fault:?}");
        let dir = staged.path().parent().unwrap().to_owned();
        drop(staged);
        fs::remove_file(dir.join("ready")).unwrap();
    }
    lab.proxy.order(("GET", "/data/a"), Fault::Flip, 4);
    let error = here.stage(&volume, &version).unwrap_err();
    assert!(matches!(&error, DatasetError::Damaged { path, .. } if path == "a"), "{error}");
}

#[test]
fn data_that_was_changed_is_noticed_before_and_while_it_is_fetched() {
    let Some(lab) = Lab::new() else { return };
    put(&lab, &[("a", b"old"), ("b", b"1")]);
    let (volume, here) = (lab.at("data"), Here::new(None));
    let listing = fetch::list(&volume).unwrap();
    put(&lab, &[("a", b"new")]);
    assert_ne!(fetch::list(&volume).unwrap().version(), listing.version());
    let error = here.stage(&volume, &listing.version()).unwrap_err();
    assert!(matches!(error, DatasetError::Changed { .. }), "{error}");
    // It was listed before the change.
    let to = here._dir.path().join("to");
    let error = fetch::fetch(&volume, &listing, &to, &mut |_| {}).unwrap_err();
    assert!(matches!(error, DatasetError::Changed { .. }), "{error}");
}

#[test]
fn a83_keys_that_are_no_paths_are_refused_by_name() {
    let Some(lab) = Lab::new() else { return };
    let long = "x".repeat(256);
    for (n, keys) in
        [vec!["../up"], vec!["a//b"], vec!["./a"], vec![&*long], vec!["a", "a/b"]].into_iter().enumerate()
    {
        for key in &keys {
            lab.put_raw(&format!("odd{n}/{key}"), b"1");
        }
        let error = fetch::list(&lab.at(&format!("odd{n}"))).unwrap_err();
        assert!(matches!(error, DatasetError::Unusable { .. }), "{keys:?}: {error}");
    }
    lab.put_raw("fine/?#& +ü%2e", b"1");
    let (volume, here) = (lab.at("fine"), Here::new(None));
    let staged = here.stage(&volume, &fetch::list(&volume).unwrap().version()).unwrap();
    assert!(staged.path().join("?#& +ü%2e").is_file());
    let error = fetch::list(&lab.at("nothing")).unwrap_err();
    assert!(matches!(error, DatasetError::Empty { .. }), "{error}");
}

#[test]
fn what_nobody_uses_makes_room_the_longest_unused_first() {
    let Some(lab) = Lab::new() else { return };
    let here = Here::new(Some(250));
    let stage = |name: &str| {
        lab.put_raw(&format!("{name}/x"), &[name.as_bytes()[0]; 100]);
        let volume = lab.at(name);
        here.stage(&volume, &fetch::list(&volume).unwrap().version())
    };
    let first = stage("first").unwrap();
    let second = stage("second").unwrap();
    let error = stage("third").unwrap_err();
    assert!(matches!(error, DatasetError::NoRoom { need: 100, free: 50, .. }), "{error}");
    let (first_path, second_path) = (first.path().to_owned(), second.path().to_owned());
    drop((second, first));
    // Used again, it is no longer the one that was unused for longest.
    drop(stage("first").unwrap());
    let third = stage("third").unwrap();
    assert_eq!((first_path.exists(), second_path.exists(), third.path().exists()), (true, false, true));
}
