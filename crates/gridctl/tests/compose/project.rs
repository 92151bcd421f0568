//! A project of docker compose of its own, in a directory as a clone would be; gone with its guard.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::lab::{Done, Lab};

/// A trial that fails costs its outcome: what happens to containers must not count as a failure.
const SWEEP: &str = "command: [sh, -c, 'sleep 0.25; echo s=$((HP_X * 37 % 101))']
metric: {name: s, goal: maximize}
retry: {max_failures: 0}
parameters: {x: {min: 1, max: 100}}
";

/// What a clone has that images and services are made of.
const FILES: [&str; 9] = [
    "Dockerfile.master",
    "Dockerfile.worker",
    ".dockerignore",
    "deploy/compose.yaml",
    "deploy/Dockerfile.s3",
    "deploy/Dockerfile.notebook",
    "deploy/notebook/requirements.txt",
    "deploy/notebook/results.py",
    "deploy/notebook/first-look.ipynb",
];

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Why no image of `base` can be built and no project started here.
pub(crate) fn lacking(base: &str) -> Option<String> {
    let works =
        |args: &[&str]| Command::new("docker").args(args).output().is_ok_and(|it| it.status.success());
    if !works(&["info"]) {
        return Some("no Docker daemon answers".to_owned());
    }
    if !works(&["compose", "version"]) || !works(&["buildx", "version"]) {
        return Some("Docker has no compose or buildx plugin".to_owned());
    }
    let has_base = works(&["image", "inspect", base]) || works(&["pull", "--quiet", base]);
    (!has_base).then(|| format!("the image {base} is neither here nor to be had"))
}

/// A directory as a clone of the repository would be, with a binary to be taken, and a project of its own.
pub(crate) struct Project {
    pub(crate) lab: Lab,
    pub(crate) name: String,
    pub(crate) port: u16,
    /// What the service `sweep` submits.
    sweep: &'static str,
    /// What workers' image is made of.
    base: String,
}

impl Project {
    pub(crate) fn new(what: &str, sweep: &'static str) -> Self {
        let lab = Lab::new();
        for file in FILES {
            lab.write(file, fs::read(root().join(file)).unwrap());
        }
        lab.write("sweeps/crowd.yaml", SWEEP);
        for name in ["wine-forest", "wine-logistic"] {
            let whole = fs::read_to_string(root().join(format!("sweeps/{name}.yaml"))).unwrap();
            lab.write(&format!("sweeps/{name}.yaml"), format!("{whole}\nrun_cap: 4\n"));
        }
        fs::create_dir(lab.path().join("dist")).unwrap();
        let binary = lab.path().join("dist/gridctl");
        fs::copy(env!("CARGO_BIN_EXE_gridctl"), &binary).unwrap();
        // A test's binary is large for what it says to a debugger; without `strip` it is sent as it is.
        drop(Command::new("strip").arg("--strip-debug").arg(&binary).output());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (name, base) =
            (format!("gridctl-test-{}-{what}", std::process::id()), "debian:13-slim".to_owned());
        Self { lab, name, port, sweep, base }
    }

    /// The same, with workers made of another image.
    pub(crate) fn of(mut self, base: &str) -> Self {
        self.base = base.to_owned();
        self
    }

    /// A command that sees this project, its images and its port.
    pub(crate) fn with_project(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.lab.path()).env("COMPOSE_PROJECT_NAME", &self.name);
        command.env("GRIDCTL_BINARY", "dist/gridctl").env("GRIDCTL_PORT", self.port.to_string());
        command.env("GRIDCTL_MASTER_IMAGE", format!("{}-master", self.name));
        command.env("GRIDCTL_WORKER_IMAGE", format!("{}-worker", self.name));
        command.env("GRIDCTL_WORKER_BASE", &self.base);
        command
            .env("GRIDCTL_NOTEBOOK_IMAGE", format!("{}-notebook", self.name))
            .env("GRIDCTL_NOTEBOOK_PORT", "0");
        command
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Done {
        let mut command = self.with_project("docker");
        command.args(args).env("SWEEP", self.sweep).env("GRIDCTL_LEASE_TTL", "6s");
        self.lab.finish(&mut command)
    }

    pub(crate) fn compose(&self, args: &[&str]) -> Done {
        self.docker(&[&["compose", "-f", "deploy/compose.yaml"], args].concat())
    }

    /// What a command says that must succeed.
    pub(crate) fn said(&self, args: &[&str]) -> String {
        let done = self.docker(args);
        assert_eq!(done.code, Some(0), "docker {args:?}: {}", done.stderr);
        done.stdout.trim().to_owned()
    }

    /// `gridctl` beside the master.
    pub(crate) fn inside(&self, args: &[&str]) -> Done {
        self.compose(&[&["exec", "-T", "master", "gridctl"], args].concat())
    }

    pub(crate) fn json(&self, args: &[&str]) -> Json {
        serde_json::from_str(&self.inside(args).stdout).unwrap_or_default()
    }

    pub(crate) fn containers(&self, service: &str) -> Vec<String> {
        let done = self.compose(&["--profile", "*", "ps", "-a", "-q", service]);
        done.stdout.lines().map(str::to_owned).collect()
    }

    /// The trials of the worker in this container; its host is called as the container's id begins.
    pub(crate) fn held_in(&self, container: &str) -> u64 {
        let workers = self.json(&["workers", "ls", "-o", "json"]);
        let is_there = |worker: &&Json| worker["host"] == container[..12];
        let worker = workers.as_array().unwrap().iter().find(is_there).unwrap();
        worker["leased"].as_u64().unwrap()
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.json(&["status", "-o", "json"])["succeeded"].as_u64().unwrap_or(0)
    }

    /// What Docker has of this project, and of `volumes`.
    pub(crate) fn left(&self, volumes: &[String]) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let listed = [&["ps", "-a", "-q"][..], &["volume", "ls", "-q"], &["network", "ls", "-q"]]
            .map(|list| self.said(&[list, &["--filter", &label]].concat()));
        let mut left: Vec<String> = listed.iter().flat_map(|list| list.lines()).map(str::to_owned).collect();
        let all = self.said(&["volume", "ls", "-q"]);
        left.extend(volumes.iter().filter(|volume| all.lines().any(|there| there == *volume)).cloned());
        left
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.compose(&["logs", "--no-color", "--tail", "40"]).stdout);
        }
        self.compose(&["--profile", "*", "down", "-v", "--timeout", "1", "--rmi", "all"]);
    }
}
