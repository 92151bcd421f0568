//! Files of settings: which goes before which, what paths in them mean, and what is wrong with them said in place.

mod lab;

use lab::{Done, Lab, told};

const SWEEP: &str = "command: [sh, -c, 'echo s=$HP_X']\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2]}}\n";

/// The command with a home of its own.
fn at(lab: &Lab, dir: &str, args: &[&str], vars: &[(&str, &str)]) -> Done {
    let mut command = lab.command(args);
    command.current_dir(lab.path().join(dir)).env("XDG_CONFIG_HOME", lab.path().join("home"));
    command.envs(vars.iter().copied());
    lab.finish(&mut command)
}

/// What `doctor` says of the settings.
fn set(done: &Done) -> Vec<String> {
    let lines = done.stdout.lines().filter_map(|line| line.strip_prefix("ok       set            "));
    lines.map(str::to_owned).collect()
}

#[test]
fn flags_go_before_variables_those_before_the_nearest_file_and_that_before_the_one_of_the_person() {
    let lab = Lab::new();
    lab.write("home/gridctl/config.toml", "data_dir = \"mine\"\nlog = \"debug\"\n")
        .write("project/gridctl.toml", "data_dir = 'ours' # beside this file\n")
        .write("project/deep/er/none.txt", "");
    let dir = |dir: &str, args: &[&str], vars: &[(&str, &str)]| {
        let all: Vec<&str> = ["doctor"].iter().chain(args).copied().collect();
        set(&at(&lab, dir, &all, vars))
    };
    let log = "log = debug, by [DIR]/home/gridctl/config.toml".to_owned();
    let person = "data_dir = [DIR]/home/gridctl/mine, by [DIR]/home/gridctl/config.toml".to_owned();
    let project = "data_dir = [DIR]/project/ours, by [DIR]/project/gridctl.toml".to_owned();
    assert_eq!(dir(".", &[], &[]), [person, log.clone()]);
    assert_eq!(dir("project/deep/er", &[], &[]), [project.clone(), log.clone()]);
    let variable = [("GRIDCTL_DATA_DIR", "/v"), ("GRIDCTL_LOG", "")];
    assert_eq!(
        dir("project", &[], &variable),
        ["data_dir = /v, by GRIDCTL_DATA_DIR".to_owned(), log.clone()]
    );
    let flag = "data_dir = /f, by --data-dir".to_owned();
    assert_eq!(dir("project", &["--data-dir", "/f"], &variable), [flag, log]);
    assert_eq!(
        dir("project", &[], &[("GRIDCTL_LOG", "warn")]),
        [project, "log = warn, by GRIDCTL_LOG".to_owned()]
    );
}

#[test]
fn a_sweep_runs_in_the_data_directory_that_a_file_names_and_is_found_from_anywhere_below() {
    let lab = Lab::new();
    lab.write("gridctl.toml", "data_dir = 'state/all'\n").write("a/s.yaml", SWEEP).write("b/none.txt", "");
    assert_eq!(at(&lab, "a", &["status"], &[]).code, Some(1));
    let missing = at(&lab, "a", &["status"], &[]).stderr;
    assert!(missing.contains("state/all, which [DIR]/gridctl.toml names"), "{missing}");
    let doctor = at(&lab, "a", &["doctor"], &[]).stdout;
    assert!(doctor.contains("data directory [DIR]/state/all (not there yet)"), "{doctor}");
    assert_eq!(at(&lab, "a", &["run", "s.yaml", "-q"], &[]).code, Some(0));
    assert!(
        lab.path().join("state/all/journal.sqlite").is_file() && !lab.path().join("a/gridctl-data").exists()
    );
    let board = at(&lab, "b", &["leaderboard", "-o", "jsonl"], &[]);
    assert_eq!(board.stdout.lines().count(), 2, "{}", board.stderr);
}

#[test]
fn a_master_that_a_file_names_is_asked() {
    let lab = Lab::new();
    lab.write("gridctl.toml", "master = 'http://127.0.0.1:9'\n");
    let done = at(&lab, ".", &["status"], &[]);
    assert_eq!(done.code, Some(5), "{}", done.stderr);
    assert!(done.stderr.contains("http://127.0.0.1:9"), "{}", done.stderr);
}

#[test]
fn mistakes_in_a_file_are_shown_in_place_and_nothing_is_done() {
    let lab = Lab::new();
    lab.write("s.yaml", SWEEP);
    let large = format!("# {}\n", "x".repeat(70_000));
    let deep = format!("log = {}", "[".repeat(50_000));
    let files: [(&str, &[u8]); 14] = [
        ("a typo, two of them", b"data-dir = 'x'\nmastr = 'y'\n"),
        ("a key of nobody", b"colour = 'red'\n"),
        ("a table", b"[gridctl]\ndata_dir = 'x'\n"),
        ("a wrong type", b"data_dir = 5\nlog = ['debug']\n"),
        ("nothing", b"data_dir = ''\n"),
        ("a home", b"data_dir = '~/x'\n"),
        ("no level", b"log = 'a=b=c'\n"),
        ("another machine", b"master = 'http://10.0.0.1:80'\n"),
        ("the same key twice", b"log = 'debug'\nlog = 'info'\n"),
        ("no TOML", b"data_dir: x\n"),
        ("no end", b"data_dir = 'x\n"),
        ("no UTF-8", b"# \xff\n"),
        ("too much", large.as_bytes()),
        ("too deep", deep.as_bytes()),
    ];
    let mut all = String::new();
    for (what, text) in files {
        lab.write("gridctl.toml", text);
        let done = at(&lab, ".", &["run", "s.yaml"], &[]);
        assert_eq!(done.code, Some(2), "{what}: {}", done.stderr);
        assert!(done.stderr.contains("gridctl.toml"), "{what}: {}", done.stderr);
        all.push_str(&format!("# {what}\n{}", told(&done)));
        assert!(!lab.data().exists(), "{what}");
        assert_eq!(at(&lab, ".", &["completions", "bash"], &[]).code, Some(0), "{what}");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_file_that_is_none_is_refused_at_once() {
    for kind in ["directory", "pipe", "device"] {
        let lab = Lab::new();
        let path = lab.path().join("gridctl.toml");
        match kind {
            "directory" => std::fs::create_dir(&path).unwrap(),
            "pipe" => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap(),
            _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
        }
        let done = at(&lab, ".", &["status"], &[]);
        assert_eq!(done.code, Some(2), "{kind}: {}", done.stderr);
        assert!(done.stderr.contains("[DIR]/gridctl.toml"), "{kind}: {}", done.stderr);
    }
}

#[test]
fn c07_no_secret_of_a_file_is_printed() {
    let lab = Lab::new();
    for text in [
        "token = 's3cret'\n",
        "tokn = 's3cret'\n",
        "token = 's3cret\n",
        "token = '''\ns3cret\n",
        "token = s3cret\n",
        "master = 'http://me:s3cret@127.0.0.1:80'\n",
        "master = 'http://me:s3cret@127.0.0.1:80'\nx = 1\n",
        "[a]\ntoken = 's3cret'\n",
    ] {
        lab.write("gridctl.toml", text);
        for args in [&["status"][..], &["doctor"]] {
            let done = at(&lab, ".", args, &[]);
            assert_eq!(done.code, Some(2), "{text}: {}", done.stderr);
            assert!(
                !done.stderr.contains("s3cret") && !done.stdout.contains("s3cret"),
                "{text}: {}",
                done.stderr
            );
        }
    }
}
