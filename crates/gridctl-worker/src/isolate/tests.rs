//! A copy that a trainer did anything to is as good as new for the next one.

use super::*;

struct Room {
    temp: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        let room = Self { temp: tempfile::tempdir().unwrap() };
        fs::create_dir(room.dir()).unwrap();
        room.put("train.py", "print(1)").put("lib/model.py", "x").put("conf/a.json", "{}");
        room.put(".gitignore", "out/\n*.tmp\n").put("out/model", "old").put("x.tmp", "t");
        room.put("data/big.bin", "b").put(".git/HEAD", "ref").put("gridctl-data/journal", "j");
        fs::write(room.temp.path().join("outside"), "o").unwrap();
        symlink("../outside", room.dir().join("away")).unwrap();
        symlink("../conf/a.json", room.dir().join("lib/a")).unwrap();
        symlink(room.dir().join("train.py"), room.dir().join("whole")).unwrap();
        room.mode("train.py", 0o750);
        room
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join("w")
    }

    fn root(&self) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join("copy")
    }

    fn put(&self, path: &str, text: &str) -> &Self {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
        self
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.dir().join(path), Permissions::from_mode(mode)).unwrap();
    }

    fn contents(&self) -> Contents {
        Contents::of(&self.dir(), &[], Some(&self.dir().join("data"))).unwrap()
    }

    /// What is below `dir`, links not followed: text, target or nothing, and the mode.
    fn tree(dir: &Path) -> BTreeMap<PathBuf, (String, u32)> {
        let mut tree = BTreeMap::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let text = if meta.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else if meta.is_dir() {
                    dirs.push(path.clone());
                    String::new()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
                tree.insert(path.strip_prefix(dir).unwrap().to_owned(), (text, mode));
            }
        }
        tree
    }
}

#[test]
fn a_copy_holds_what_belongs_to_the_workdir_and_leads_where_that_leads() {
    let room = Room::new();
    let mut copy = IsolatedCopy::new(room.root(), None);
    copy.refresh(&room.dir(), &room.contents()).unwrap();
    let tree = Room::tree(&room.root());
    let names: Vec<&str> = tree.keys().map(|path| path.to_str().unwrap()).collect();
    let all =
        [".git", "away", "conf", "conf/a.json", "data", "lib", "lib/a", "lib/model.py", "train.py", "whole"];
    assert_eq!(names, all);
    let is = |path: &str| tree[Path::new(path)].0.clone();
    assert_eq!(is("away"), room.temp.path().canonicalize().unwrap().join("outside").display().to_string());
    assert_eq!((is("lib/a"), is("whole")), ("../conf/a.json".to_owned(), "train.py".to_owned()));
    assert_eq!(is("data"), room.dir().join("data").display().to_string());
    assert_eq!(fs::read_to_string(room.root().join("data/big.bin")).unwrap(), "b");
    assert_eq!(tree[Path::new("train.py")].1, 0o750);
    let modified = |dir: PathBuf| fs::metadata(dir.join("train.py")).unwrap().modified().unwrap();
    assert_eq!(modified(room.dir()), modified(room.root()));
    assert_eq!(room.contents().size(), (3, 11));
    assert_eq!(room.contents().left_out(&room.dir(), &[]), ["out", "x.tmp"]);
}

#[test]
fn whatever_a_trainer_did_the_next_one_finds_the_workdir_as_it_is() {
    let room = Room::new();
    let mut copy = IsolatedCopy::new(room.root(), None);
    copy.refresh(&room.dir(), &room.contents()).unwrap();
    let (before, original) = (Room::tree(&room.root()), Room::tree(&room.dir()));
    let at = |path: &str| room.root().join(path);
    let deeds: [(&str, &dyn Fn()); 11] = [
        ("nothing", &|| {}),
        ("wrote as many bytes", &|| fs::write(at("train.py"), "print(2)").unwrap()),
        ("made a file", &|| fs::write(at("lib/new"), "x").unwrap()),
        ("removed one", &|| fs::remove_file(at("lib/model.py")).unwrap()),
        ("removed a directory", &|| fs::remove_dir_all(at("lib")).unwrap()),
        ("made a directory of a file", &|| {
            fs::remove_file(at("train.py")).unwrap();
            fs::create_dir_all(at("train.py/x")).unwrap();
        }),
        ("made a file of a directory", &|| {
            fs::remove_dir_all(at("conf")).unwrap();
            fs::write(at("conf"), "x").unwrap();
        }),
        ("led a link elsewhere", &|| {
            fs::remove_file(at("whole")).unwrap();
            symlink("/etc", at("whole")).unwrap();
        }),
        ("put a link in the place of a directory", &|| {
            fs::remove_dir_all(at("lib")).unwrap();
            symlink(room.dir().join("lib"), at("lib")).unwrap();
        }),
        ("closed what it made", &|| {
            fs::create_dir_all(at("made/in")).unwrap();
            fs::write(at("made/in/x"), "x").unwrap();
            fs::set_permissions(at("made/in"), Permissions::from_mode(0o000)).unwrap();
            fs::set_permissions(at("lib"), Permissions::from_mode(0o500)).unwrap();
        }),
        ("put a file in the place of it all", &|| {
            fs::remove_dir_all(room.root()).unwrap();
            fs::write(room.root(), "x").unwrap();
        }),
    ];
    for (name, deed) in deeds {
        deed();
        copy.refresh(&room.dir(), &room.contents()).unwrap();
        assert_eq!(Room::tree(&room.root()), before, "{name}");
        assert_eq!(Room::tree(&room.dir()), original, "{name}: the workdir itself");
    }
}

#[test]
fn what_nobody_touched_is_copied_once_and_what_a_person_edits_again() {
    let room = Room::new();
    let mut copy = IsolatedCopy::new(room.root(), None);
    copy.refresh(&room.dir(), &room.contents()).unwrap();
    let inode = |path: &str| fs::metadata(room.root().join(path)).unwrap().ino();
    let model = inode("lib/model.py");
    for text in ["print(3)", "print(4)"] {
        fs::write(room.dir().join("train.py"), text).unwrap();
        copy.refresh(&room.dir(), &room.contents()).unwrap();
        assert_eq!(fs::read_to_string(room.root().join("train.py")).unwrap(), text);
    }
    assert_eq!(inode("lib/model.py"), model);
    room.mode("lib/model.py", 0o400);
    copy.refresh(&room.dir(), &room.contents()).unwrap();
    assert_eq!(Room::tree(&room.root())[Path::new("lib/model.py")], ("x".to_owned(), 0o400));
}
