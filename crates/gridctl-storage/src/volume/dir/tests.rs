//! The directory volume against races, odd paths, and what others put in the way.

use std::os::unix::fs::symlink;
use std::sync::Barrier;

use super::*;

fn volume() -> (tempfile::TempDir, DirVolume) {
    let dir = tempfile::tempdir().unwrap();
    let volume = DirVolume::create(&dir.path().join("results")).unwrap();
    (dir, volume)
}

fn names(volume: &DirVolume, path: &str) -> Vec<String> {
    volume.list(path).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_file_is_published_once() {
    let (dir, volume) = volume();
    assert_eq!(volume.put_new("wine/epochs/1", b"me").unwrap(), Put::Written);
    assert_eq!(volume.put_new("wine/epochs/1", b"me").unwrap(), Put::Same);
    for other in [&b"us"[..], b"longer", b""] {
        let error = volume.put_new("wine/epochs/1", other).unwrap_err();
        assert!(matches!(error, VolumeError::Conflict { .. }), "{error}");
    }
    assert_eq!(volume.get("wine/epochs/1", 0..u64::MAX).unwrap(), b"me");
    assert_eq!(volume.get("wine/epochs/1", 1..2).unwrap(), b"e");
    assert_eq!(volume.get("wine/epochs/1", 7..9).unwrap(), b"");
    assert!(matches!(volume.get("wine/epochs/2", 0..9), Err(VolumeError::NotFound { .. })));
    let left: Vec<_> = std::fs::read_dir(dir.path().join("results/wine/epochs")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary name is left");
}

#[test]
fn a_stream_is_hashed_while_it_is_published_and_cut_at_its_limit() {
    let (dir, volume) = volume();
    let local = dir.path().join("local");
    std::fs::write(&local, vec![b'x'; 1_000_000]).unwrap();
    let put = |limit| volume.put_file("a/b", &File::open(&local).unwrap(), limit);
    let expected =
        Published { put: Put::Written, size: 1_000_000, sha256: hex(&Sha256::digest(vec![b'x'; 1_000_000])) };
    assert_eq!(put(u64::MAX).unwrap(), expected);
    assert_eq!(put(u64::MAX).unwrap().put, Put::Same);
    assert!(matches!(put(10), Err(VolumeError::Conflict { .. })));
    assert_eq!(volume.put_file("a/c", &File::open(&local).unwrap(), 10).unwrap().size, 10);
}

#[test]
fn listings_show_files_and_directories_and_deletion_leaves_no_empty_ones() {
    let (_dir, volume) = volume();
    for path in ["s/b/1", "s/a", "s/c/d/e"] {
        volume.put_new(path, b"12").unwrap();
    }
    let listed: Vec<_> =
        volume.list("s").unwrap().into_iter().map(|it| (it.name, it.size, it.is_dir)).collect();
    let entry = |name: &str, size, is_dir| (name.to_owned(), size, is_dir);
    assert_eq!(listed, [entry("a", 2, false), entry("b", 0, true), entry("c", 0, true)]);
    assert_eq!(names(&volume, "nothing/here"), [""; 0]);
    volume.delete("s/c/d/e").unwrap();
    volume.delete("s/c/d/e").unwrap();
    assert_eq!(names(&volume, "s"), ["a", "b"]);
}

#[test]
fn odd_paths_are_refused() {
    let (_dir, volume) = volume();
    let long = "x".repeat(201);
    let deep = ["abcdefghi"; 110].join("/");
    for path in [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "..",
        "a/../b",
        "./a",
        "a/.hidden",
        "a\0b",
        "a\nb",
        "a b",
        "ä",
        &long,
        &deep,
    ] {
        let error = volume.put_new(path, b"").unwrap_err();
        assert!(matches!(error, VolumeError::BadPath { .. }), "{path:?}: {error}");
        assert!(volume.get(path, 0..1).is_err() && volume.delete(path).is_err());
    }
}

#[test]
fn f67_what_is_no_plain_directory_or_file_is_named_and_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let (dir, volume) = volume();
    let root = dir.path().join("results");
    symlink(outside.path(), root.join("link")).unwrap();
    symlink(outside.path().join("secret"), root.join("linked")).unwrap();
    std::fs::write(root.join("file"), "x").unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(root.join("fifo")).status();
    let mut cases = vec![
        ("link/x", "a symbolic link"),
        ("link/secret", "a symbolic link"),
        ("linked", "a symbolic link"),
        ("file/x", "a file"),
    ];
    if fifo.is_ok_and(|status| status.success()) {
        cases.extend([("fifo/x", "a named pipe"), ("fifo", "a named pipe")]);
    } else {
        crate::skipped("no mkfifo here");
    }
    for (path, expected) in cases {
        for error in [volume.put_new(path, b"y").unwrap_err(), volume.get(path, 0..9).unwrap_err()] {
            assert!(
                matches!(&error, VolumeError::Obstructed { what, .. } if *what == expected),
                "{path}: {error}"
            );
        }
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "nothing was written outside");
    assert!(matches!(volume.list("link"), Err(VolumeError::Obstructed { .. })));
    let file = root.join("file");
    assert!(matches!(DirVolume::create(&file), Err(VolumeError::Obstructed { .. })));
    assert!(matches!(DirVolume::open(&root.join("none")), Err(VolumeError::NotFound { .. })));
}

#[test]
fn f68_a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let (dir, volume) = volume();
    let root = dir.path().join("results");
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            for _ in 0..300 {
                drop(std::fs::rename(root.join("s"), root.join("away")));
                drop(symlink(outside.path(), root.join("s")));
                drop(std::fs::remove_file(root.join("s")));
                drop(std::fs::remove_dir_all(root.join("away")));
            }
        });
        let mut number = 0;
        while !swapper.is_finished() {
            number += 1;
            drop(volume.put_new(&format!("s/{number}"), b"x"));
        }
    });
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn of_two_writers_one_wins_and_both_know_it() {
    let (dir, _) = volume();
    let root = dir.path().join("results");
    for round in 0..30 {
        let barrier = Barrier::new(4);
        let path = format!("round/{round}");
        let results: Vec<_> = std::thread::scope(|scope| {
            let write = |content: u8| {
                let (barrier, path, root) = (&barrier, &path, &root);
                scope.spawn(move || {
                    let volume = DirVolume::create(root).unwrap();
                    barrier.wait();
                    (content, volume.put_new(path, &[content; 5_000]))
                })
            };
            let writers: Vec<_> = [1, 1, 2, 2].into_iter().map(write).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let content = DirVolume::open(&root).unwrap().get(&path, 0..9_999).unwrap();
        let written = results.iter().filter(|(_, it)| matches!(it, Ok(Put::Written))).count();
        assert_eq!(written, 1, "{results:?}");
        for (mine, result) in &results {
            assert_eq!(result.is_ok(), content == vec![*mine; 5_000], "{result:?}");
        }
    }
}

#[test]
fn deletion_and_publication_in_one_directory_do_not_harm_each_other() {
    let (_dir, volume) = volume();
    std::thread::scope(|scope| {
        let deleter = scope.spawn(|| {
            for n in 0..300 {
                volume.put_new(&format!("c/d/x{n}"), b"1").unwrap();
                volume.delete(&format!("c/d/x{n}")).unwrap();
            }
        });
        for n in 0..300 {
            volume.put_new(&format!("c/d/y{n}"), b"1").unwrap();
            volume.delete(&format!("c/d/y{n}")).unwrap();
        }
        deleter.join().unwrap();
    });
}

#[test]
fn f74_a_full_volume_is_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(dir.path());
    if !mount.output().is_ok_and(|output| output.status.success()) {
        return crate::skipped("no right to mount a small file system");
    }
    let volume = DirVolume::create(dir.path()).unwrap();
    let error = volume.put_new("s/big", &vec![1; 1 << 20]);
    let left = names(&volume, "s");
    let small = volume.put_new("s/small", &[1; 1_000]);
    drop(volume);
    assert!(std::process::Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert!(matches!(&error, Err(error @ VolumeError::NoSpace { .. }) if error.is_retryable()), "{error:?}");
    assert_eq!(left, [""; 0], "nothing of it is to be seen");
    assert_eq!(small.unwrap(), Put::Written);
}

#[test]
fn f75_a_link_that_was_made_although_it_failed_is_found_by_what_lies_there() {
    let dir = tempfile::tempdir().unwrap();
    let fd = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    let outcome_of = |there: Option<&str>, error: Errno| {
        drop(std::fs::remove_file(dir.path().join("a")));
        there.map_or(Ok(()), |there| std::fs::write(dir.path().join("a"), there)).unwrap();
        let mut ours = tempfile::tempfile().unwrap();
        ours.write_all(b"ours").unwrap();
        outcome(Err(error), &mut ours, (&fd, "a"), "s/a")
    };
    for lost in [Errno::IO, Errno::TIMEDOUT, Errno::STALE, Errno::NOENT] {
        assert!(matches!(outcome_of(Some("ours"), lost), Ok(Put::Written)), "{lost}: it was made");
        let other = outcome_of(Some("theirs"), lost);
        assert!(matches!(other, Err(VolumeError::Conflict { .. })), "{lost}: {other:?}");
        assert!(outcome_of(None, lost).is_err(), "{lost}: it was not made");
    }
    assert!(matches!(outcome_of(Some("ours"), Errno::EXIST), Ok(Put::Same)));
    assert!(matches!(outcome_of(None, Errno::IO), Err(error) if error.is_retryable()));
}

#[test]
fn f74_where_files_need_a_temporary_name_it_is_gone_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let fd = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    let named = |temporary: &str| {
        let path = dir.path().join(temporary);
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        Unlinked { dir: &fd, file, temporary: Some(temporary.to_owned()) }
    };
    assert_eq!(named(".tmp-1").link("a"), Ok(()));
    assert_eq!(named(".tmp-2").link("a"), Err(Errno::EXIST));
    named(".tmp-3").file.write_all(b"never linked").unwrap();
    assert_eq!(rename_to_free(&fd, "a", "b"), Ok(()));
    File::create(dir.path().join("a")).unwrap();
    assert_eq!(rename_to_free(&fd, "a", "b"), Err(Errno::EXIST));
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a", "b"]);
}
