//! The stand-in for AWS, for tests: started in a directory of its own, and gone with the guard.
#![expect(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use crate::lab::{Lab, skipped};

/// A stand-in that runs.
pub(crate) struct StandIn {
    dir: PathBuf,
    python: String,
    up: Child,
}

impl StandIn {
    /// Starts it; none where the machine lacks what it needs, which is said.
    pub(crate) fn start(lab: &Lab) -> Option<Self> {
        let python = std::env::var("GRIDCTL_TEST_MOTO").unwrap_or_else(|_| "python3".to_owned());
        let works = |command: &mut Command| {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        if !works(Command::new(&python).args(["-c", "import moto.server, boto3"])) {
            skipped("stand-in for AWS: no moto for python3, nor for what GRIDCTL_TEST_MOTO names");
            return None;
        }
        if !works(Command::new("unshare").args(["--net", "--mount", "ip", "link"])) {
            skipped("stand-in for AWS: it needs root, `unshare` and `ip`");
            return None;
        }
        let dir = lab.path().join("aws");
        let mut up = script();
        up.arg("up").env("GRIDCTL_AWS_LOCAL", &dir).env("GRIDCTL_TEST_MOTO", &python);
        let up = up.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let cloud = Self { dir, python, up };
        lab.until("the stand-in is up", || cloud.dir.join("pid").exists());
        Some(cloud)
    }

    /// The Python that has moto.
    pub(crate) fn python(&self) -> &str {
        &self.python
    }

    /// `aws-local` with these words; its output.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let done = script().args(words).env("GRIDCTL_AWS_LOCAL", &self.dir).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// A command where a person's laptop would be.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = script();
        command.arg("run").arg(program).env("GRIDCTL_AWS_LOCAL", &self.dir).stdin(Stdio::null());
        command
    }

    /// What a Python script prints.
    pub(crate) fn script(&self, text: &str) -> String {
        self.script_with(text, &[])
    }

    /// What a Python script prints that has these arguments.
    pub(crate) fn script_with(&self, text: &str, args: &[&str]) -> String {
        let done = self.command(&self.python).arg("-c").arg(text).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Every machine that there was.
    pub(crate) fn machines(&self) -> Vec<Json> {
        serde_json::from_str(&self.ask(&["machines"])).unwrap()
    }

    /// Every call that was made.
    pub(crate) fn calls(&self) -> Vec<Json> {
        self.ask(&["calls"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What a machine has printed.
    pub(crate) fn console(&self, id: &str) -> String {
        let text = std::fs::read(self.dir.join("machines").join(id).join("console.log")).unwrap_or_default();
        format!("\n{}", String::from_utf8_lossy(&text))
    }

    /// Waits until no process is left of any machine: none has its root there.
    pub(crate) fn nothing_runs(&self, lab: &Lab) {
        let machines = self.dir.join("machines");
        let inside = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("root")).is_ok_and(|root| root.starts_with(&machines))
        };
        lab.until("no process of a machine that is gone is left", || {
            !std::fs::read_dir("/proc").unwrap().flatten().any(inside)
        });
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = script().arg("down").env("GRIDCTL_AWS_LOCAL", &self.dir).output();
        let _ = self.up.kill();
        let _ = self.up.wait();
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/aws-local/aws-local"))
}
