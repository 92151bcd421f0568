//! What the tests of the command share: a directory of their own, the binary in it, and its output with what varies taken out.
#![expect(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

pub(crate) mod moto;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that any command of these tests may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// A directory with sweeps and trainers in it.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("gridctl-test-").tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("gridctl-data")
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> &Self {
        self.write(name, text);
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// The command, started in the directory with nothing of gridctl's in its environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridctl"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GRID") || text.starts_with("AWS_") || text == "NO_COLOR" {
                command.env_remove(&name);
            }
        }
        command.env("TERM", "dumb").env("XDG_CONFIG_HOME", "/nowhere");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.finish(&mut self.command(args))
    }

    pub(crate) fn finish(&self, command: &mut Command) -> Done {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.wait(child)
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for a command; one that takes too long is ended, and fails the test.
    pub(crate) fn wait(&self, mut child: Child) -> Done {
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes).unwrap()
        });
        let err = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).map(|_| bytes).unwrap()
        });
        let began = now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > LONGEST {
                child.kill().unwrap();
                let _ = child.wait();
                panic!("the command takes longer than {LONGEST:?}: {}", self.plain(&err.join().unwrap()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
        Done { code: status.code(), stdout: self.plain(&stdout), stderr: self.plain(&stderr) }
    }

    /// Output with this directory, the host and the times taken out.
    fn plain(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let real = self.path().canonicalize().unwrap();
        let text =
            text.replace(real.to_str().unwrap(), "[DIR]").replace(self.path().to_str().unwrap(), "[DIR]");
        let text = text.replace(env!("CARGO_BIN_EXE_gridctl"), "[GRIDCTL]");
        let host = rustix::system::uname();
        text.replace(&format!(" on {}", host.nodename().to_string_lossy()), " on [HOST]")
    }

    /// Every file of the data directory with a hash of its content: what must not change. Readers mark their places in SQLite's
    /// shared memory, which is none of it.
    pub(crate) fn state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        let mut dirs = vec![self.data()];
        while let Some(dir) = dirs.pop() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    dirs.push(path);
                } else if !path.to_string_lossy().ends_with("-shm") {
                    let name = path.strip_prefix(self.path()).unwrap().display().to_string();
                    state.insert(
                        name,
                        blake3::hash(&fs::read(&path).unwrap_or_default()).to_hex().to_string(),
                    );
                }
            }
        }
        state
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = now();
        while !holds() {
            assert!(began.elapsed() < LONGEST, "{what}: not within {LONGEST:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lines of a file that trainers append to.
    pub(crate) fn ledger(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Durations and dates vary.
pub(crate) fn without_times(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']);
    words
        .map(|word| {
            let bare = word.trim_end_matches([' ', '\n', ',', ']']);
            let inner = bare.trim_start_matches('[');
            let is_time = inner.starts_with(|c: char| c.is_ascii_digit())
                && inner.ends_with(['s', 'm', 'h'])
                && inner.chars().all(|c| c.is_ascii_digit() || ".msh".contains(c));
            if is_time { word.replace(inner, "[T]") } else { word.to_owned() }
        })
        .collect()
}

/// What became of it, as one text to compare.
pub(crate) fn told(done: &Done) -> String {
    format!(
        "exit {}\n{}",
        done.code.map_or("by signal".to_owned(), |code| code.to_string()),
        without_times(&done.stderr)
    )
}

#[expect(clippy::disallowed_methods, reason = "a deadline for what a test waits for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Says that this machine lacks what a test needs.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED {why}");
    assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
}

/// A small file system of its own; gone with the guard.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn at(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    /// Mounts it anew with other `options`, such as `size=16m`; what is there stays.
    pub(crate) fn change(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(&self.0);
        assert!(mount.output().unwrap().status.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
