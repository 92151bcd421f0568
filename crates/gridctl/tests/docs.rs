//! README, guide and ARCHITECTURE say what is so: their commands are run as they stand, in a directory of their own.
//! Invariant: a line of output that they show is really printed. Numbers may differ where it went to stderr, for times are among
//! them; in a block of `console`, `# exit N` is the expected exit code, `^C` an interrupt, `...` stands for more lines, and `&`
//! begins what `kill %N` ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod page;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use page::blocks;
use rustix::process::Signal;
use serde_json::Value as Json;

/// Longest that any command may take, on a busy machine and without optimisation.
const LONGEST: Duration = Duration::from_secs(300);

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "a deadline for what a test waits for")]
fn now() -> Instant {
    Instant::now()
}

/// A directory as a clone of the repository would be, and what was started in it.
struct Ground {
    dir: tempfile::TempDir,
    background: Vec<Child>,
    /// What was exported.
    exported: Vec<(&'static str, String)>,
}

struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gridctl-docs-").tempdir().unwrap();
        fs::create_dir(dir.path().join("sweeps")).unwrap();
        for file in sweeps() {
            fs::copy(&file, dir.path().join("sweeps").join(file.file_name().unwrap())).unwrap();
        }
        // Where `run` would make them, so that none is found further up.
        fs::create_dir(dir.path().join("gridctl-data")).unwrap();
        fs::create_dir(dir.path().join("sweeps/gridctl-data")).unwrap();
        // A binary of the name that people type, before any other of that name.
        fs::create_dir(dir.path().join(".bin")).unwrap();
        let binary = dir.path().join(".bin/gridctl");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gridctl"), binary).unwrap();
        fs::write(dir.path().join(".gridctlignore"), ".bin\n.out*\n").unwrap();
        Self { dir, background: Vec::new(), exported: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a command as a shell would; its output goes to files `out` and `err`.
    fn start(&self, line: &str, out: &str) -> Child {
        let mut paths = vec![self.path().join(".bin")];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec {line}")).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GRID") {
                command.env_remove(&name);
            }
        }
        command.envs(self.exported.iter().map(|(name, value)| (name, value)));
        command
            .env("PATH", std::env::join_paths(paths).unwrap())
            .env("TERM", "dumb")
            .env("XDG_CONFIG_HOME", "/nowhere");
        let file = |end: &str| File::create(self.path().join(format!(".out-{out}-{end}"))).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap()
    }

    fn run(&self, line: &str) -> Done {
        let mut child = self.start(line, "fore");
        let status = wait(&mut child, line);
        self.done(status, "fore")
    }

    fn done(&self, status: ExitStatus, out: &str) -> Done {
        let read = |end: &str| fs::read(self.path().join(format!(".out-{out}-{end}"))).unwrap();
        let plain = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Done { code: status.code(), stdout: plain(read("stdout")), stderr: plain(read("stderr")) }
    }

    /// Starts a command, and interrupts it once the latest sweep has a success.
    fn interrupted(&self, line: &str) -> Done {
        let mut child = self.start(line, "fore");
        until("a first success", || {
            let mut look = self.start("gridctl status -o json", "look");
            let status = wait(&mut look, "gridctl status");
            let found: Json = serde_json::from_str(&self.done(status, "look").stdout).unwrap_or_default();
            found["state"] == "running" && found["succeeded"].as_u64() > Some(0)
        });
        signal(&child, Signal::INT);
        let status = wait(&mut child, line);
        self.done(status, "fore")
    }

    /// Starts a daemon; a master is waited for.
    fn begin(&mut self, line: &str) {
        let child = self.start(line, &format!("back{}", self.background.len()));
        self.background.push(child);
        if line.starts_with("gridctl master") {
            until("the master answers", || self.run("gridctl workers ls").code == Some(0));
        }
    }

    /// `kill %N`: the daemon ends well.
    fn end(&mut self, number: usize) {
        let child = &mut self.background[number - 1];
        signal(child, Signal::TERM);
        assert_eq!(wait(child, "a daemon").code(), Some(0), "kill %{number}");
    }

    /// What one line of a document means.
    fn line(&mut self, page: &str, line: &str, shown: &[&str]) {
        let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
        let (command, exit) = (command.trim(), comment.trim().strip_prefix("exit "));
        let exit: i32 = exit.map_or(0, |code| code.parse().unwrap());
        if let Some(number) = command.strip_prefix("kill %") {
            return self.end(number.parse().unwrap());
        }
        if let Some(daemon) = command.strip_suffix(" &") {
            return self.begin(daemon);
        }
        if command.starts_with("export GRIDCTL_") {
            return self.export(command);
        }
        let Some(real) = stands_for(page, command) else { return };
        // Shown once by itself, and once with what it prints: then it is run.
        if real != command && shown.is_empty() {
            return;
        }
        let command = real;
        let done = if shown.contains(&"^C") { self.interrupted(&command) } else { self.run(&command) };
        assert_eq!(done.code, Some(exit), "{page}: {line}\n{}{}", done.stdout, done.stderr);
        let is_example = command.starts_with("gridctl check") && exit == 0;
        let warned = done.stderr.lines().find(|line| line.starts_with("warning[check::"));
        assert_eq!(warned.filter(|_| is_example), None, "{page}: {line}");
        for expected in shown.iter().filter(|line| !matches!(**line, "" | "..." | "^C")) {
            assert!(
                is_printed(expected, &done),
                "{page}: {line}\nnever printed: {expected}\n{}{}",
                done.stdout,
                done.stderr
            );
        }
    }

    /// Exports the master's address, or a token of its: documents show neither.
    fn export(&mut self, command: &str) {
        let set = if command.contains("GRIDCTL_TOKEN=") {
            let made = self.run("env -u GRIDCTL_MASTER gridctl token create --role submit");
            ("GRIDCTL_TOKEN", made.stdout.trim().to_owned())
        } else {
            let advert = fs::read(self.path().join("gridctl-data/master.json")).unwrap();
            let advert: Json = serde_json::from_slice(&advert).unwrap();
            ("GRIDCTL_MASTER", advert["url"].as_str().unwrap().to_owned())
        };
        self.exported.push(set);
    }

    fn play(&mut self, page: &str) {
        for block in blocks(&text(page)) {
            if let Some(name) = block.file() {
                fs::write(self.path().join(name), block.lines.join("\n") + "\n").unwrap();
            } else if matches!(block.kind.as_str(), "console" | "sh") {
                for (line, shown) in block.commands() {
                    self.line(page, line, &shown);
                }
            }
        }
        for child in &mut self.background {
            assert!(wait(child, "a daemon that was asked to end").success(), "{page}");
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The command to run for one that stands in a document. Cargo builds things and is not run: that it would do what is said is
/// looked up. `cargo quickstart` is what its alias starts.
fn stands_for(page: &str, command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let plain: Vec<&str> = words.iter().copied().skip_while(|word| word.contains('=')).collect();
    match plain.as_slice() {
        ["gridctl", ..] => return Some(command.to_owned()),
        ["curl", ..] => return has("curl").then(|| command.to_owned()),
        ["cargo", "quickstart"] => {
            let config = text(".cargo/config.toml");
            let alias = config.lines().find_map(|line| line.strip_prefix("quickstart = \"")).unwrap();
            let (build, args) = alias.trim_end_matches('"').split_once(" -- ").unwrap();
            assert!(build.starts_with("run --release --locked --package gridctl"), "{build}");
            return Some(format!("gridctl {args}"));
        }
        ["cargo", "test"] => {
            assert!(text(".ci/run").contains("cargo test --locked\n"), "CI tests something else")
        }
        ["cargo", "test", "-p", package, rest @ ..] => {
            let tests = root().join("crates").join(package).join("tests");
            assert!(tests.is_dir(), "{page}: {command}");
            if let ["--test", name, ..] = rest {
                let source = fs::read_to_string(tests.join(format!("{name}.rs"))).unwrap();
                for variable in words.iter().filter_map(|word| word.split_once('=')) {
                    assert!(source.contains(variable.0), "{page}: {command}: nobody reads {}", variable.0);
                }
            }
        }
        // The tests of `compose` type what that page says.
        ["docker", ..] => assert!(text("docs/containers.md").contains(command), "{page}: {command}"),
        [script] if script.starts_with(".ci/") => assert!(root().join(script).is_file(), "{page}: {command}"),
        ["export", "PATH=\"$PWD/target/release:$PATH\""] => {}
        _ => panic!("{page}: this test does not know what to make of `{command}`"),
    }
    None
}

/// Whether a line that a document shows was printed. Data has to be the same but for JSON, where worker and times vary.
fn is_printed(expected: &str, done: &Done) -> bool {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys = |line: &str| -> Option<Vec<String>> {
        let object: Json = serde_json::from_str(line).ok()?;
        Some(object.as_object()?.keys().cloned().collect())
    };
    let same = |line: &str| {
        words(line) == words(expected) || (expected.starts_with('{') && keys(line) == keys(expected))
    };
    let masked = |line: &str| {
        let hide = |word: &str| {
            if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
        };
        line.split_whitespace().map(hide).collect::<Vec<_>>()
    };
    done.stdout.lines().any(same) || done.stderr.lines().any(|line| masked(line) == masked(expected))
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

fn wait(child: &mut Child, what: &str) -> ExitStatus {
    let began = now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} takes longer than {LONGEST:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(began.elapsed() < LONGEST, "{what}: not within {LONGEST:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The example sweeps.
fn sweeps() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("sweeps")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort_unstable();
    files
}

/// What people read.
fn pages() -> Vec<String> {
    let adr = fs::read_dir(root().join("docs/adr")).unwrap();
    let adr = adr.map(|entry| format!("docs/adr/{}", entry.unwrap().file_name().display()));
    let pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/aws.md",
        "docs/guide.md",
        "docs/network.md",
        "docs/containers.md",
        "docs/s3.md",
        "docs/train.md",
        "CHANGELOG.md",
    ];
    pages.map(str::to_owned).into_iter().chain(adr).collect()
}

/// Whether a program that the documents use is there.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return true;
    }
    eprintln!("SKIPPED the documents' commands do what they say: there is no {program}");
    assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
    false
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    if has("python3") {
        Ground::new().play("README.md");
    }
}

#[test]
fn the_guides_commands_do_what_it_says() {
    Ground::new().play("docs/guide.md");
}

#[test]
fn the_page_of_models_says_what_is_so() {
    Ground::new().play("docs/train.md");
}

#[test]
fn the_networks_commands_do_what_it_says() {
    Ground::new().play("docs/network.md");
}

#[test]
fn the_architectures_commands_do_what_it_says() {
    Ground::new().play("ARCHITECTURE.md");
}

#[test]
fn every_path_that_the_documents_name_is_there() {
    let tops = ["crates/", "proto/", "docs/", "deploy/", "bench/", ".ci/", ".cargo/", ".config/", "sweeps/"];
    let is_path = |word: &str| {
        tops.iter().any(|top| word.starts_with(top)) || ["deny.toml", "rust-toolchain.toml"].contains(&word)
    };
    for page in &pages() {
        let text = text(page);
        let dir = root().join(page).parent().unwrap().to_owned();
        for linked in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if linked.starts_with("https://") {
                continue;
            }
            assert!(dir.join(linked).exists(), "{page} links {linked}");
        }
        for word in text.split('`').skip(1).step_by(2) {
            if let Some(module) = word.strip_prefix("sched::") {
                let module = module.trim_end_matches('s');
                let file = root().join(format!("crates/gridctl-core/src/sched/{module}.rs"));
                assert!(file.is_file(), "{page}: {word}");
            }
            // `sweeps/gridctl-data` comes with the first sweep.
            if is_path(word) && !word.contains("gridctl-data") {
                assert!(root().join(word).exists(), "{page}: there is no {word}");
            }
        }
    }
}

#[test]
fn every_command_that_the_documents_name_is_one() {
    let help = Ground::new().run("gridctl --help").stdout;
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let commands: BTreeSet<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains("leaderboard"), "{help}");
    let mut named = 0;
    for page in &pages() {
        for code in text(page).split('`').skip(1).step_by(2) {
            let Some(rest) = code.strip_prefix("gridctl ") else { continue };
            let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            assert!(
                word.is_empty() || word.starts_with('-') || commands.contains(&*word),
                "{page}: `{code}`"
            );
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn every_crate_has_its_line_in_the_map() {
    let map = text("ARCHITECTURE.md");
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(map.contains(&format!("| `{name}` |")), "{name}");
    }
    assert!(map.lines().count() <= 200, "ARCHITECTURE.md is to be read in one go");
}

#[test]
fn the_readmes_exit_codes_are_those_of_the_help() {
    let help = Ground::new().run("gridctl --help").stdout;
    let codes = help.split_once("Exit codes:").unwrap().1.replace('\n', " ");
    let first = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<u8>().ok());
    let in_help: BTreeSet<u8> = codes.split(", ").filter_map(first).collect();
    let readme = text("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(first);
    assert_eq!(rows.collect::<BTreeSet<u8>>(), in_help);
}

/// All of them are checked and started. Long ones are cut short here; the README's test runs its own to the end.
#[test]
fn every_example_sweep_is_sound_and_beats_its_baseline() {
    let ground = Ground::new();
    for file in sweeps() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let check = ground.run(&format!("gridctl check sweeps/{name} -o json"));
        assert_eq!((check.code, check.stderr.as_str()), (Some(0), ""), "{name}");
        let check: Json = serde_json::from_str(&check.stdout).unwrap();
        let trials = check["trials"].as_u64().unwrap();
        if trials > 30 {
            let whole = fs::read_to_string(&file).unwrap();
            fs::write(ground.path().join("sweeps").join(name), format!("{whole}\nrun_cap: 8\n")).unwrap();
        }
        let done = ground.run(&format!("gridctl run sweeps/{name} --quiet"));
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
        let board = ground.run(&format!("gridctl leaderboard sweeps/{name} -k 0 -o json"));
        let rows: Vec<Json> = serde_json::from_str(&board.stdout).unwrap();
        assert_eq!(rows.len() as u64, if trials > 30 { 8 } else { trials }, "{name}");
        let best = &rows[0];
        if let Some(baseline) = best["metrics"]["baseline_accuracy"].as_f64() {
            assert!(best["objective"].as_f64() > Some(baseline), "{name}: {best}");
        }
    }
}
