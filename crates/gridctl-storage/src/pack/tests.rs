//! Packs that are made, and archives that somebody else made.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tar::{Builder, EntryType, Header};

use super::*;

/// A workdir with something of everything.
fn workdir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("lib/deep")).unwrap();
    fs::write(root.join("train.py"), "print(1)").unwrap();
    fs::write(root.join("lib/deep/empty"), "").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("../train.py", root.join("lib/again.py")).unwrap();
    fs::create_dir(root.join("x".repeat(200))).unwrap();
    fs::write(root.join("x".repeat(200)).join("y".repeat(200)), "long").unwrap();
    dir
}

/// The pack of a directory, in the order of names.
fn pack(root: &Path) -> Result<(PackHash, Vec<u8>, PackSize), PackError> {
    fn add(packer: &mut Packer, root: &Path, below: &Path) -> Result<(), PackError> {
        let mut names: Vec<_> =
            fs::read_dir(root.join(below)).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let path = below.join(name);
            let meta = fs::symlink_metadata(root.join(&path)).unwrap();
            if meta.is_dir() {
                packer.dir(&path)?;
                add(packer, root, &path)?;
            } else if meta.is_symlink() {
                packer.link(&path, &fs::read_link(root.join(&path)).unwrap())?;
            } else {
                packer.file(&path, &root.join(&path))?;
            }
        }
        Ok(())
    }
    let mut packer = Packer::new()?;
    add(&mut packer, root, Path::new(""))?;
    packer.finish()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// An archive of entries as they are said, packed.
#[derive(Default)]
struct Forged(Vec<u8>);

impl Forged {
    /// An entry whose header says exactly this.
    fn raw(mut self, kind: u8, name: &[u8], target: &[u8], content: &[u8]) -> Self {
        self.entry((kind, 0o644), (name, target), content, content.len() as u64);
        self
    }

    fn entry(&mut self, (kind, mode): (u8, u32), (name, target): (&[u8], &[u8]), content: &[u8], size: u64) {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..target.len()].copy_from_slice(target);
        old.linkflag = [kind];
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn file(self, name: &str) -> Self {
        self.raw(b'0', name.as_bytes(), b"", b"x")
    }

    fn dir(self, name: &str) -> Self {
        self.raw(b'5', name.as_bytes(), b"", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    fn packed(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        zstd::encode_all(&*self.0, 1).unwrap()
    }
}

/// What is wrong with the archive, by both ways of looking; and nothing is written beside the
/// directory that it is unpacked into.
fn refusal(name: &str, packed: &[u8]) -> PackError {
    let temp = tempfile::tempdir().unwrap();
    let into = temp.path().join("into");
    fs::create_dir(&into).unwrap();
    let checked = check(&mut file_of(packed)).expect_err(name);
    let unpacked = unpack(&mut file_of(packed), &into).expect_err(name);
    assert_eq!(checked.to_string(), unpacked.to_string(), "{name}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "{name}");
    checked
}

fn why(name: &str, packed: &[u8]) -> Unsound {
    match refusal(name, packed) {
        PackError::Refused { why, .. } => why,
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn what_is_packed_comes_out_as_it_was_and_equal_files_make_equal_packs() {
    let dir = workdir();
    let (hash, bytes, size) = pack(dir.path()).unwrap();
    assert_eq!(size, PackSize { files: 4, bytes: 22 });
    let into = tempfile::tempdir().unwrap();
    assert_eq!(unpack(&mut file_of(&bytes), into.path()).unwrap(), size);
    assert_eq!(pack(into.path()).unwrap().0, hash);
    assert_eq!(fs::read_to_string(into.path().join("lib/again.py")).unwrap(), "print(1)");
    let mode = |path: &str| fs::metadata(into.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run.sh") & 0o500, mode("train.py") & 0o700), (0o500, 0o600));
    assert_eq!(pack(workdir().path()).unwrap().0, hash, "whenever it is packed");
    fs::write(dir.path().join("train.py"), "print(2)").unwrap();
    assert_ne!(pack(dir.path()).unwrap().0, hash);
}

#[test]
fn f72_paths_that_lead_elsewhere_are_refused() {
    for name in ["../x", "/etc/x", "a/../../x", "./x", "a/./x", "a//x", "..", ".", "/", "a/.."] {
        let forged = Forged::default().dir("a").file(name).packed();
        assert_eq!(why(name, &forged), Unsound::Path, "{name}");
    }
    assert_eq!(why("empty", &Forged::default().file("").packed()), Unsound::Path);
    let long = Forged::default().raw(b'L', b"././@LongLink", b"", b"../../../../etc/passwd\0").file("x");
    assert_eq!(why("long name", &long.packed()), Unsound::Path);
}

#[test]
fn f72_links_that_lead_out_are_refused_and_nothing_is_written_through_one() {
    let bad = [
        ("l", "/etc"),
        ("l", ".."),
        ("l", "../x"),
        ("a/l", "../../x"),
        ("a/l", "b/../../.."),
        ("l", "a/.."),
        ("l", "here/../x"),
        ("l", "./../x"),
    ];
    for (name, target) in bad {
        let forged = Forged::default().dir("a").link("here", ".").link(name, target).packed();
        assert_eq!(why(target, &forged), Unsound::Link, "{name} -> {target}");
    }
    for (name, target) in [("l", "a/x"), ("a/l", ".."), ("a/l", "../x"), ("l", "."), ("l", "gone")] {
        let forged = Forged::default().dir("a").link(name, target).packed();
        assert!(check(&mut file_of(&forged)).is_ok(), "{name} -> {target}");
    }
    let through = Forged::default().dir("a").link("l", "a").file("l/x").packed();
    assert_eq!(why("through a link", &through), Unsound::Above);
    let replaced = Forged::default().dir("a").link("a", ".").packed();
    assert_eq!(why("a directory that becomes a link", &replaced), Unsound::Twice);
    let below = Forged::default().file("f").file("f/x").packed();
    assert_eq!(why("below a file", &below), Unsound::Above);
    assert_eq!(why("below nothing", &Forged::default().file("a/x").packed()), Unsound::Above);
}

#[test]
fn f71_f72_what_is_no_file_directory_or_link_is_refused() {
    let kinds = [
        (b'1', "a hard link"),
        (b'3', "a character device"),
        (b'4', "a block device"),
        (b'6', "a queue"),
        (b'7', "a contiguous file"),
        (b'S', "a sparse file"),
        (b'x', "a PAX header"),
        (b'g', "a PAX header for all"),
        (b'V', "a volume's name"),
        (b'D', "a dumped directory"),
        (b'M', "the rest of a file"),
        (b'Z', "nothing known"),
    ];
    for (kind, name) in kinds {
        let forged = Forged::default().file("f").raw(kind, b"x", b"f", b"").packed();
        assert_eq!(why(name, &forged), Unsound::Kind, "{name}");
    }
    for mode in [0o4755, 0o2755, 0o1777] {
        let mut forged = Forged::default();
        forged.entry((b'0', mode), (b"x", b""), b"x", 1);
        assert_eq!(why("a mode", &forged.packed()), Unsound::Mode, "{mode:o}");
    }
}

#[test]
fn f72_sizes_and_paths_that_pax_headers_change_are_refused() {
    let records: [&[u8]; 4] =
        [b"10 size=1\n", b"21 path=../../escape\n", b"19 linkpath=/etc/x\n", b"22 GNU.sparse.major=1\n"];
    for record in records {
        let forged = Forged::default().raw(b'x', b"PaxHeaders/x", b"", record).file("x").packed();
        assert_eq!(why("a PAX header", &forged), Unsound::Kind);
    }
    // An archive within a file is that file's content, whatever its size is said to be elsewhere.
    let inner = Forged::default().file("inner").0;
    let outer = Forged::default().raw(b'0', b"outer", b"", &inner).packed();
    assert_eq!(check(&mut file_of(&outer)).unwrap(), PackSize { files: 1, bytes: inner.len() as u64 });
}

#[test]
fn f70_names_that_come_twice_differ_in_case_alone_or_are_no_text_are_refused() {
    let twice = |a: &str, b: &str| Forged::default().file(a).file(b).packed();
    assert_eq!(why("twice", &twice("a", "a")), Unsound::Twice);
    assert_eq!(why("case", &twice("Model.py", "model.py")), Unsound::Twice);
    assert_eq!(why("case of a letter with a dot", &twice("É.py", "é.py")), Unsound::Twice);
    for name in [&b"\xff\xfe"[..], b"a\nb", b"a\x1b[2J", b"a\x7f"] {
        assert_eq!(why("no text", &Forged::default().raw(b'0', name, b"", b"").packed()), Unsound::Text);
    }
    let named = |name: &str| {
        let content = format!("{name}\0");
        Forged::default().raw(b'L', b"././@LongLink", b"", content.as_bytes()).file("x").packed()
    };
    assert_eq!(why("256", &named(&"x".repeat(256))), Unsound::Long);
    assert!(check(&mut file_of(&named(&"x".repeat(255)))).is_ok());
    assert_eq!(why("5000", &named(&"x".repeat(5_000))), Unsound::Long);
    let nul = Forged::default().raw(b'L', b"././@LongLink", b"", b"a\0b\0").file("x").packed();
    assert_eq!(why("NUL", &nul), Unsound::Text);
}

#[test]
fn f70_bombs_are_refused_before_they_are_written() {
    let mut forged = Forged::default();
    forged.entry((b'0', 0o644), (b"huge", b""), b"", 1 << 40);
    assert!(matches!(refusal("a size", &forged.packed()), PackError::TooLarge(TooLarge::Unpacked)));
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let part = vec![0; 100 << 20];
    for n in 0..10 {
        let mut forged = Forged::default();
        forged.entry((b'0', 0o644), (format!("f{n}").as_bytes(), b""), b"", part.len() as u64);
        encoder.write_all(&forged.0).unwrap();
        encoder.write_all(&part).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    assert!(matches!(refusal("zeros", &packed), PackError::TooLarge(TooLarge::Unpacked)));
    let mut forged = Forged::default();
    for n in 0..=MAX_ENTRIES {
        forged.entry((b'0', 0o644), (format!("f{n}").as_bytes(), b""), b"", 0);
    }
    let packed = forged.packed();
    assert!(matches!(check(&mut file_of(&packed)), Err(PackError::TooLarge(TooLarge::Entries))));
    // A window of more memory than a pack may want.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&vec![0; 200 << 20]).unwrap();
    assert!(matches!(refusal("a window", &encoder.finish().unwrap()), PackError::Damaged(_)));
}

#[test]
fn the_same_is_refused_where_it_is_packed() {
    let dir = workdir();
    let (root, mut packer) = (dir.path(), Packer::new().unwrap());
    let refused = |result: Result<(), PackError>, expected| {
        assert!(matches!(result, Err(PackError::Refused { why, .. }) if why == expected), "{expected:?}");
    };
    refused(packer.dir(Path::new("../x")), Unsound::Path);
    refused(packer.dir(Path::new("/x")), Unsound::Path);
    refused(packer.link(Path::new("l"), Path::new("/etc")), Unsound::Link);
    refused(packer.file(Path::new("none/x"), &root.join("train.py")), Unsound::Above);
    refused(packer.file(Path::new("dev"), Path::new("/dev/zero")), Unsound::Kind);
    packer.file(Path::new("A"), &root.join("train.py")).unwrap();
    refused(packer.file(Path::new("a"), &root.join("train.py")), Unsound::Twice);
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let refused = packer.file(Path::new("sparse"), &root.join("sparse"));
    assert!(matches!(refused, Err(PackError::TooLarge(TooLarge::Unpacked))));
    let mut noise = vec![0; 101_000_000];
    ChaCha8Rng::seed_from_u64(1).fill(&mut noise[..]);
    fs::write(root.join("noise"), noise).unwrap();
    let mut packer = Packer::new().unwrap();
    let packed =
        packer.file(Path::new("noise"), &root.join("noise")).and_then(|()| packer.finish().map(drop));
    assert!(matches!(packed, Err(PackError::TooLarge(TooLarge::Packed))));
}

#[test]
fn f72_a_pack_that_is_cut_or_changed_anywhere_writes_nothing_elsewhere() {
    let dir = workdir();
    let (_, bytes, size) = pack(dir.path()).unwrap();
    for end in 0..bytes.len() {
        // Of what is behind the last entry nothing is missed.
        if let Ok(read) = check(&mut file_of(&bytes[..end])) {
            assert_eq!(read, size, "{end}");
        }
    }
    let plain = zstd::decode_all(&*bytes).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..400 {
        let mut changed = plain.clone();
        for _ in 0..rng.random_range(1..4) {
            let block = rng.random_range(0..changed.len() / 512) * 512;
            let place = block + rng.random_range(0..512);
            changed[place] =
                *[b'.', b'/', 0, b'x', b'1', b'2', b'5', b'L', 0xff].get(rng.random_range(0..9)).unwrap();
            let header: &mut [u8; 512] = (&mut changed[block..block + 512]).try_into().unwrap();
            // Its checksum is made right, as whoever means it would.
            let mut copy = Header::from_byte_slice(header).clone();
            copy.set_cksum();
            if round % 2 == 0 {
                header.copy_from_slice(copy.as_bytes());
            }
        }
        let temp = tempfile::tempdir().unwrap();
        let into = temp.path().join("into");
        fs::create_dir(&into).unwrap();
        let packed = zstd::encode_all(&*changed, 1).unwrap();
        let (checked, unpacked) = (check(&mut file_of(&packed)), unpack(&mut file_of(&packed), &into));
        assert_eq!(checked.is_ok(), unpacked.is_ok(), "{round}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "{round}");
    }
}

#[test]
fn what_is_no_archive_is_no_pack() {
    for bytes in [&b""[..], b"x", &[0; 4096], b"\x28\xb5\x2f\xfd", &[0xff; 100]] {
        assert!(matches!(refusal("none", bytes), PackError::Damaged(_)), "{bytes:?}");
    }
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut Header::new_gnu(), "x", std::io::empty()).unwrap();
    assert!(matches!(refusal("not packed", &builder.into_inner().unwrap()), PackError::Damaged(_)));
    let empty = Packer::new().unwrap().finish().unwrap();
    assert_eq!(check(&mut file_of(&empty.1)).unwrap(), PackSize::default());
    assert_eq!(EntryType::Regular.as_byte(), b'0');
}

#[test]
fn a_draft_becomes_a_pack_only_under_its_own_hash_and_unused_packs_go_after_a_while() {
    let temp = tempfile::tempdir().unwrap();
    let store = PackStore::new(temp.path());
    let (hash, bytes, _) = pack(workdir().path()).unwrap();
    let names = || fs::read_dir(temp.path().join("packs")).unwrap().count();
    let bring = |bytes: &[u8], hash| {
        let mut draft = store.draft().unwrap();
        draft.write(bytes).unwrap();
        store.keep(draft, hash)
    };
    assert_eq!(store.find(hash), None);
    assert!(matches!(bring(&bytes[1..], hash), Err(PackError::OtherBytes { wanted, .. }) if wanted == hash));
    let garbage = PackHash(*blake3::hash(b"x").as_bytes());
    assert!(matches!(bring(b"x", garbage), Err(PackError::Damaged(_))));
    assert_eq!(names(), 0);
    bring(&bytes, hash).unwrap();
    bring(&bytes, hash).unwrap();
    assert_eq!((store.find(hash), names()), (Some(bytes.len() as u64), 1));
    assert_eq!(store.open(hash).unwrap().bytes, bytes.len() as u64);
    assert_eq!(store.clear(&[].into()), 0, "it was asked for just now");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let age = |name: &str| {
        let file = File::options().write(true).open(temp.path().join("packs").join(name)).unwrap();
        file.set_modified(old).unwrap();
    };
    fs::write(temp.path().join("packs/1-1.part"), "").unwrap();
    fs::write(temp.path().join("packs/notes"), "").unwrap();
    for name in [format!("{hash}.tar.zst"), "1-1.part".to_owned(), "notes".to_owned()] {
        age(&name);
    }
    assert_eq!((store.clear(&[hash].into()), names()), (1, 2), "the draft");
    assert_eq!((store.clear(&[].into()), names()), (1, 1), "the pack, and nothing that is not ours");
}
