//! What is said of images that are no good, before the sweep starts; and pulls from a registry.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use crate::images::{BASE, TestImage, docker, lacking, said};
use crate::lab::{Done, Lab, skipped};
use crate::registry::Registry;
use crate::{assert_well, sweep};

const REST: &str = "command: [sh, -c, 'echo s=$HP_X']\nparameters: {x: {values: [1]}}";

/// What `run` says of this image; nothing has been started.
fn refused(image: &str, rest: &str) -> String {
    let lab = Lab::new();
    lab.write("sweep.yaml", sweep(image, rest));
    refused_in(&lab, &mut lab.command(&["run", "sweep.yaml"]))
}

fn refused_in(lab: &Lab, command: &mut Command) -> String {
    let Done { code, stderr, .. } = lab.finish(command);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(!lab.data().exists(), "nothing was started");
    stderr
}

fn assert_says(text: &str, expected: &[&str]) {
    expected.iter().for_each(|expected| assert!(text.contains(expected), "{expected}: {text}"));
}

#[test]
fn k93_images_that_are_no_good_are_refused_before_the_sweep_starts() {
    if let Some(why) = lacking() {
        return skipped(&format!("images that are no good are refused: {why}"));
    }
    // No name of a registry that exists.
    assert_says(&refused("127.0.0.1:9/nonesuch:1", REST), &["127.0.0.1:9/nonesuch:1", "connection refused"]);
    let image = TestImage::build("FROM debian:13-slim\n", &[]);
    let argv = |words: &str| REST.replace("[sh,", &format!("[{words},"));
    assert_says(&refused(&image.0, &argv("pythn3")), &["command not found: `pythn3`", "sweep.yaml:"]);
    assert_says(&refused(&image.0, &argv("/opt/none")), &["there is no /opt/none"]);
    let entered = TestImage::build("FROM debian:13-slim\nENTRYPOINT [\"/opt/gone\"]\n", &[]);
    assert_says(&refused(&entered.0, REST), &["there is no /opt/gone", "entrypoint: []"]);
    let silent = TestImage::build("FROM debian:13-slim\nCMD []\n", &[]);
    let bare = "parameters: {x: {values: [1]}}";
    assert_says(&refused(&silent.0, bare), &["neither an entrypoint nor a command"]);
    let empty = import("linux/amd64");
    assert_says(&refused(&empty.0, REST), &["no loader for programs of glibc", "not Alpine"]);
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    let foreign = import(&format!("linux/{other}"));
    assert_says(&refused(&foreign.0, REST), &[&format!("is for linux/{other}"), "docker build --platform"]);
}

/// An image with nothing of a system's in it.
fn import(platform: &str) -> TestImage {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY file /file\n").unwrap();
    let image = TestImage::named();
    let built = Command::new("docker")
        .args(["buildx", "build", "-q", "--platform", platform, "-t", &image.0])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    image
}

#[test]
fn k93_without_docker_it_is_said_where_it_was_looked_for() {
    let lab = Lab::new();
    lab.write("sweep.yaml", sweep("debian:13-slim", REST));
    let mut run = lab.command(&["run", "sweep.yaml"]);
    let text = refused_in(&lab, run.env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
    assert_says(&text, &["no Docker answers at unix:///nowhere/docker.sock", "take `image` out"]);
    let mut run = lab.command(&["run", "sweep.yaml"]);
    assert_says(
        &refused_in(&lab, run.env("DOCKER_HOST", "tcp://10.0.0.1:2375")),
        &["slots are containers of this machine"],
    );
}

/// What a registry has of the base image; its digest.
fn exported() -> (Registry, String) {
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("image.tar");
    said(&["save", "-o", tar.to_str().unwrap(), BASE]);
    let unpacked = Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(dir.path()).status().unwrap();
    assert!(unpacked.success());
    let index = fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let mut content = HashMap::new();
    let mut add = |path: &str, kind: &'static str, media: &str| {
        let bytes = fs::read(dir.path().join(path)).unwrap();
        let (digest, size) = (digest(&bytes), bytes.len());
        content.insert(format!("blobs/{digest}"), (kind, bytes));
        serde_json::json!({"mediaType": media, "size": size, "digest": digest})
    };
    let kind = "application/vnd.docker.container.image.v1+json";
    let config = add(index[0]["Config"].as_str().unwrap(), "config", kind);
    let layers = index[0]["Layers"].as_array().unwrap();
    let kind = "application/vnd.docker.image.rootfs.diff.tar";
    let layers: Vec<_> =
        layers.iter().map(|path| add(path.as_str().unwrap(), "application/octet-stream", kind)).collect();
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest =
        serde_json::json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let digest = digest(&manifest);
    content.insert("manifests/1".to_owned(), (kind, manifest.clone()));
    content.insert(format!("manifests/{digest}"), (kind, manifest));
    (Registry { content, ..Registry::default() }, digest)
}

fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn an_image_is_pulled_with_the_callers_login_and_pinned_to_its_digest() {
    if let Some(why) = lacking() {
        return skipped(&format!("an image is pulled with the caller's login: {why}"));
    }
    let (registry, digest) = exported();
    // me:secret
    let login = "bWU6c2VjcmV0";
    let served = Registry { login: Some(format!("Basic {login}")), ..registry }.serve();
    let image = format!("{}/env:1", served.address);
    let lab = Lab::new();
    lab.write("sweep.yaml", sweep(&image, REST));
    let text = refused_in(&lab, lab.command(&["run", "sweep.yaml"]).env("DOCKER_CONFIG", "/nowhere"));
    assert_says(&text, &[&image, "docker login"]);
    lab.write(
        "login/config.json",
        format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{login}\"}}}}}}", served.address),
    );
    let done = lab.finish(lab.command(&["run", "sweep.yaml"]).env("DOCKER_CONFIG", lab.path().join("login")));
    let there = docker(&["image", "inspect", "--format", "{{.RepoDigests}}", &image]).stdout;
    docker(&["image", "rm", "-f", &image]);
    assert_well(&done);
    assert!(String::from_utf8_lossy(&there).contains(&digest));
    let version = fs::read_to_string(lab.data().join("results/contained/versions/v1.json")).unwrap();
    assert!(version.contains(&format!("{}/env@{digest}", served.address)), "{version}");
}

#[test]
fn k93_an_image_that_does_not_fit_and_a_registry_that_is_busy_are_told() {
    if let Some(why) = lacking() {
        return skipped(&format!("an image that does not fit on the disk is refused: {why}"));
    }
    let (mut registry, _) = exported();
    // Other content than what is here already, or Docker would not ask for it.
    let (key, (kind, bytes)) = registry.content.iter().find(|(key, _)| *key == "manifests/1").unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let (key, kind) = (key.clone(), *kind);
    let huge = 100_u64 << 40;
    manifest["layers"][0]["size"] = huge.into();
    manifest["layers"][0]["digest"] = format!("sha256:{}", "a".repeat(64)).into();
    registry
        .content
        .insert(format!("blobs/sha256:{}", "a".repeat(64)), ("application/octet-stream", vec![0; 1 << 20]));
    let known = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let mut config: serde_json::Value =
        serde_json::from_slice(&registry.content[&format!("blobs/{known}")].1).unwrap();
    config["author"] = "nobody".into();
    let config = config.to_string().into_bytes();
    manifest["config"]["size"] = config.len().into();
    manifest["config"]["digest"] = digest(&config).into();
    registry.content.insert(format!("blobs/{}", digest(&config)), ("config", config));
    let manifest = manifest.to_string().into_bytes();
    registry.content.insert(format!("manifests/{}", digest(&manifest)), (kind, manifest.clone()));
    registry.content.insert(key, (kind, manifest));
    let busy = Registry { is_busy: true, ..registry.clone() }.serve();
    assert_says(
        &refused(&format!("{}/env:1", busy.address), REST),
        &["does not give it now", "docker login"],
    );
    let served = Registry { claims: Some(huge), ..registry }.serve();
    let text = refused(&format!("{}/env:1", served.address), REST);
    assert_says(&text, &["MiB, packed", "are free where Docker keeps images", "docker system prune"]);
}
