//! Images that tests make, and Docker as they ask it; what they made goes with its guard.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// What all of them are made of.
pub(crate) const BASE: &str = "debian:13-slim";

/// Why no container can be had here.
pub(crate) fn lacking() -> Option<String> {
    let works = |args: &[&str]| docker(args).status.success();
    if !works(&["info"]) {
        return Some("no Docker daemon answers".to_owned());
    }
    let has_base = works(&["image", "inspect", BASE]) || works(&["pull", "--quiet", BASE]);
    (!has_base).then(|| format!("the image {BASE} is neither here nor to be had"))
}

/// What `docker` does with these arguments.
pub(crate) fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap()
}

/// What `docker` says, which must succeed.
pub(crate) fn said(args: &[&str]) -> String {
    let done = docker(args);
    assert!(done.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Containers of the data directory of the lab at `path`, whatever became of them.
pub(crate) fn containers_of(data: &Path) -> Vec<String> {
    let label = format!("label=gridctl.mark={}", mark(data));
    said(&["ps", "-aq", "--filter", &label]).lines().map(str::to_owned).collect()
}

/// What marks the trainers of a data directory, as the binary makes it.
fn mark(data: &Path) -> String {
    let path = data.canonicalize().unwrap();
    blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex().as_str()[..16].to_owned()
}

/// An image of a test's own.
pub(crate) struct TestImage(pub(crate) String);

impl TestImage {
    /// Made by a Dockerfile of these lines, in a directory of these files.
    pub(crate) fn build(lines: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("Dockerfile"), lines).unwrap();
        let image = Self::named();
        said(&["build", "-q", "-t", &image.0, dir.path().to_str().unwrap()]);
        image
    }

    /// A name that no other has.
    pub(crate) fn named() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("gridctl-test-{}-{next}", std::process::id()))
    }
}

impl Drop for TestImage {
    fn drop(&mut self) {
        docker(&["image", "rm", "-f", &self.0]);
    }
}
