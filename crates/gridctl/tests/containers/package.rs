//! `gridctl package`: an image that answers, made of a model, of code, and of what the code needs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::images::{TestImage, docker, lacking, said};
use super::lab::{Lab, skipped};

/// A container that answers; gone with its guard.
struct Answering {
    id: String,
    port: u16,
}

impl Answering {
    fn start(image: &str) -> Self {
        let id = said(&[
            "run",
            "-d",
            "--read-only",
            "--tmpfs",
            "/tmp",
            "--cap-drop",
            "ALL",
            "-p",
            "127.0.0.1::5000",
            image,
        ]);
        let port = said(&["port", &id, "5000/tcp"]);
        let port = port.rsplit(':').next().unwrap().trim().parse().unwrap();
        Self { id, port }
    }

    fn ask(&self, request: &str, body: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(text.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// The answer, once it listens.
    fn post(&self, lab: &Lab, body: &str) -> String {
        let mut answer = None;
        lab.until("the container answers", || {
            answer = self.ask("POST /", body);
            answer.is_some()
        });
        answer.unwrap()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.id]);
    }
}

/// A binary of this build that is not larger than it has to be.
fn binary(lab: &Lab) -> PathBuf {
    let path = lab.path().join(".gridctl-small");
    fs::copy(env!("CARGO_BIN_EXE_gridctl"), &path).unwrap();
    drop(Command::new("strip").arg("--strip-debug").arg(&path).output());
    path
}

fn package(lab: &Lab, image: &TestImage, more: &[&str]) -> super::Done {
    let mut command = lab.command(&["package", "best", "-t", &image.0]);
    lab.finish(command.args(more).env("GRIDCTL_BINARY", binary(lab)))
}

#[test]
fn a_model_of_gridctl_train_becomes_an_image_that_answers() {
    if let Some(why) = lacking() {
        return skipped(&format!("a model becomes an image: {why}"));
    }
    let lab = Lab::new();
    lab.write(
        "iris.yaml",
        "command: [gridctl, train, tree]\nmetric: {name: accuracy, goal: maximize}\n\
         parameters: {data: {value: iris}, max_depth: {values: [1, 3]}}\n",
    );
    super::assert_well(&lab.run(&["run", "iris.yaml", "-q"]));
    let image = TestImage::named();
    let packaged = package(&lab, &image, &[]);
    super::assert_well(&packaged);
    assert_eq!(packaged.stdout, format!("docker run --rm -p 15000:5000 {}\n", image.0));
    let api = Answering::start(&image.0);
    assert_eq!(api.post(&lab, r#"{"data": [5.1, 3.5, 1.4, 0.2]}"#), r#"{"result":"setosa"}"#);
    assert!(api.post(&lab, r#"{"data": [1]}"#).contains("4 columns"));
    let metadata = api.ask("GET /metadata", "").unwrap();
    assert!(metadata.contains(r#""max_depth":3"#) && metadata.contains(r#""sweep":"iris""#), "{metadata}");
    assert_eq!(said(&["inspect", "-f", "{{.Config.User}}", &image.0]), "10001:10001");
    assert_eq!(said(&["stop", "-t", "10", &api.id]), api.id);
    assert_eq!(said(&["inspect", "-f", "{{.State.ExitCode}}", &api.id]), "0", "it ends when it is told to");
}

#[test]
fn code_goes_into_the_image_and_secrets_and_what_is_ignored_do_not() {
    if let Some(why) = lacking() {
        return skipped(&format!("code goes into an image: {why}"));
    }
    let lab = Lab::new();
    lab.script(
        "answer.sh",
        "#!/bin/sh\nwhile read -r line; do printf '{\"result\": \"%s %s %s\"}\\n' \"$(cat $GRID_MODEL_DIR/model)\" \"$MODE\" \
         \"${API_TOKEN:-none}\"; done\n",
    );
    lab.write(".gitignore", "private\n").write("private", "a secret");
    lab.write(
        "m.yaml",
        "command: [sh, -c, 'echo kept-$HP_X > $GRID_OUTPUT_DIR/model; echo s=$HP_X']\nworkdir: .\n\
         serve: {command: [./answer.sh]}\nenv: {MODE: fast, API_TOKEN: }\n\
         metric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2]}}\n",
    );
    let mut run = lab.command(&["run", "m.yaml", "-q"]);
    super::assert_well(&lab.finish(run.env("API_TOKEN", "hush-hush")));
    let image = TestImage::named();
    super::assert_well(&package(&lab, &image, &["--dir", "context"]));
    assert!(!lab.path().join("context/code/private").exists());
    let kept = fs::read_to_string(lab.path().join("context/package.json")).unwrap();
    assert!(kept.contains("fast") && !kept.contains("hush-hush"), "{kept}");
    let api = Answering::start(&image.0);
    assert_eq!(api.post(&lab, r#"{"data": 1}"#), r#"{"result":"kept-2 fast none"}"#);
    // A directory that is not empty is left as it is, and names that are none go nowhere.
    let full = package(&lab, &image, &["--dir", "context"]);
    assert!(full.code == Some(2) && full.stderr.contains("is not empty"), "{}", full.stderr);
    for bad in ["-f", "a b", "x\nRUN evil", ""] {
        let done = lab.run(&["package", "best", &format!("--base={bad}"), "-t", "x"]);
        assert!(
            done.code == Some(2) && done.stderr.contains("an image is named"),
            "{bad:?}: {}",
            done.stderr
        );
    }
    let missing = package(&lab, &image, &["--base", "gridctl-test-there-is-no-such-image"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("`docker build` ended"), "{}", missing.stderr);
}

/// The article's question, to an image of `sweeps/topics`.
#[test]
fn topics_becomes_an_image_that_answers_the_articles_question() {
    let python = "python:3.13-slim-trixie";
    let has_python = docker(&["image", "inspect", python]).status.success();
    let sklearn = Command::new("python3").args(["-c", "import sklearn"]).output();
    if lacking().is_some() || !has_python || !sklearn.is_ok_and(|done| done.status.success()) {
        return skipped(
            "sweeps/topics becomes an image: there is no Docker, no image of Python, or no scikit-learn",
        );
    }
    let lab = Lab::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sweeps/topics");
    for file in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        lab.write(&file.file_name().unwrap().to_string_lossy(), fs::read(&file).unwrap());
    }
    let whole = fs::read_to_string(lab.path().join("sweep.yaml")).unwrap();
    lab.write("sweep.yaml", whole.replace("[1e-4, 1e-3, 1e-2]", "[1e-4]").replace("[1, 2]", "[1]"));
    // Pickles are read by the version that wrote them.
    let version =
        Command::new("python3").args(["-c", "import sklearn; print(sklearn.__version__)"]).output().unwrap();
    lab.write("requirements.txt", format!("scikit-learn=={}", String::from_utf8_lossy(&version.stdout)));
    super::assert_well(&lab.run(&["run", "sweep.yaml", "-q"]));
    let image = TestImage::named();
    let mut command = Command::new("timeout");
    let gridctl = lab.command(&["package", "best", "-t", &image.0]);
    command.arg("600").arg(gridctl.get_program()).args(gridctl.get_args());
    command.envs(gridctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = command.current_dir(lab.path()).env("GRIDCTL_BINARY", binary(&lab)).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let api = Answering::start(&image.0);
    let answer = api.post(&lab, r#"{"data": "Ferrari is the best sports car"}"#);
    assert_eq!(answer, r#"{"result":"rec.autos"}"#);
}
