//! What every kind of volume does alike.

use std::io::{Seek as _, Write as _};

use super::memory::MemoryVolume;
use super::*;

/// Calls `check` with each kind of volume.
fn each(check: impl Fn(&dyn Volume)) {
    let dir = tempfile::tempdir().unwrap();
    check(&DirVolume::create(&dir.path().join("results")).unwrap());
    check(&MemoryVolume::default());
}

#[test]
fn a_path_holds_what_was_published_first() {
    each(|volume| {
        assert_eq!(volume.put_new("wine/epochs/1", b"me").unwrap(), Put::Written);
        assert_eq!(volume.put_new("wine/epochs/1", b"me").unwrap(), Put::Same);
        for other in [&b"us"[..], b"longer", b""] {
            let error = volume.put_new("wine/epochs/1", other).unwrap_err();
            assert!(matches!(error, VolumeError::Conflict { .. }), "{error}");
        }
        for (range, text) in [(0..u64::MAX, &b"me"[..]), (1..2, b"e"), (7..9, b"")] {
            assert_eq!(volume.get("wine/epochs/1", range).unwrap(), text);
        }
        assert!(matches!(volume.get("wine/epochs/2", 0..9), Err(VolumeError::NotFound { .. })));
        assert!(matches!(volume.put_new("../x", b""), Err(VolumeError::BadPath { .. })));
        let below = volume.put_new("wine/epochs/1/below", b"").unwrap_err();
        assert!(matches!(below, VolumeError::Obstructed { .. }), "{below}");
    });
}

#[test]
fn a_file_is_published_from_where_it_stands_up_to_its_limit() {
    each(|volume| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        file.seek(std::io::SeekFrom::Start(2)).unwrap();
        let published = volume.put_file("a/b", &file, 5).unwrap();
        assert_eq!((published.put, published.size), (Put::Written, 5));
        assert_eq!(volume.get("a/b", 0..u64::MAX).unwrap(), b"23456");
        assert_eq!(volume.put_new("a/b", b"23456").unwrap(), Put::Same);
    });
}

#[test]
fn listings_show_files_and_directories_and_a_removal_leaves_no_empty_ones() {
    each(|volume| {
        for path in ["s/b/1", "s/a", "s/c/d/e"] {
            volume.put_new(path, b"12").unwrap();
        }
        let listed = |path| -> Vec<_> {
            volume.list(path).unwrap().into_iter().map(|it| (it.name, it.size, it.is_dir)).collect()
        };
        let entry = |name: &str, size, is_dir| (name.to_owned(), size, is_dir);
        assert_eq!(listed("s"), [entry("a", 2, false), entry("b", 0, true), entry("c", 0, true)]);
        volume.delete("s/c/d/e").unwrap();
        volume.delete("s/c/d/e").unwrap();
        assert_eq!(listed("s"), [entry("a", 2, false), entry("b", 0, true)]);
        assert_eq!(listed("nothing/here"), []);
    });
}
