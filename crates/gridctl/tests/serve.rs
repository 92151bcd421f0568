//! `gridctl serve`: a trial's model behind HTTP; processes that die, hang, chatter; requests that are none.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use lab::{Lab, signal, skipped};
use rustix::process::Signal;

/// A served model; it ends when this goes.
struct Served {
    child: Option<Child>,
    port: u16,
}

impl Served {
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let mut command = lab.command(&["serve", "--port", "0"]);
        let said = lab.path().join("said");
        command.args(args).stderr(fs::File::create(&said).unwrap());
        let child = command.spawn().unwrap();
        let port = || {
            let said = fs::read_to_string(&said).unwrap();
            let (_, rest) = said.split_once(": at http://127.0.0.1:")?;
            rest.split(';').next()?.parse().ok()
        };
        lab.until("it listens", || port().is_some());
        Self { child: Some(child), port: port().unwrap() }
    }

    /// The status and the body of an answer.
    fn ask(&self, request: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        // One that does not want all of it answers before it has come.
        let head =
            format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        (head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0), body.to_owned())
    }

    fn post(&self, body: &str) -> (u16, String) {
        self.ask("POST /", body)
    }

    /// The exit code, after Ctrl-C.
    fn end(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        signal(&child, Signal::INT);
        child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A sweep whose trials keep a file, and the model that answers with it.
fn lab(model: &str) -> Lab {
    let lab = Lab::new();
    lab.script("model.sh", &format!("#!/bin/sh\n{model}\n"));
    lab.write(
        "m.yaml",
        "command: [sh, -c, 'echo kept-$HP_X > $GRID_OUTPUT_DIR/model; echo s=$HP_X']\n\
         serve: {command: [./model.sh]}\nmetric: {name: s, goal: maximize}\nparameters: {x: {values: [1, 2]}}\n",
    );
    assert_eq!(lab.run(&["run", "m.yaml", "-q"]).code, Some(0));
    lab
}

const ECHO: &str =
    "while read -r line; do printf '{\"result\": \"%s\"}\\n' \"$(cat $GRID_MODEL_DIR/model)\"; done";

#[test]
fn the_best_trials_model_answers_and_what_it_is_can_be_asked() {
    let lab = lab(ECHO);
    let served = Served::start(&lab, &[]);
    assert_eq!(served.post(r#"{"data": "x"}"#), (200, r#"{"result":"kept-2"}"#.to_owned()));
    assert_eq!(served.post("{\"data\":\n [1,\n 2]}"), (200, r#"{"result":"kept-2"}"#.to_owned()));
    assert_eq!(served.ask("GET /health", "").0, 200);
    let (status, metadata) = served.ask("GET /metadata", "");
    assert_eq!(status, 200);
    for part in [r#""params":{"x":2}"#, r#""sweep":"m""#, r#""objective":2.0"#] {
        assert!(metadata.contains(part), "{metadata}");
    }
    let temp = std::env::temp_dir().join(format!("gridctl-serve-{}", served.child.as_ref().unwrap().id()));
    assert!(temp.exists());
    assert_eq!(served.end(), Some(0));
    assert!(!temp.exists(), "what was served does not stay");
    // By the command line, another trial.
    let served = Served::start(&lab, &["#2", "--", "./model.sh"]);
    assert_eq!(served.post(r#"{"data": 1}"#).1, r#"{"result":"kept-1"}"#);
}

#[test]
fn requests_that_are_none_are_refused_and_the_model_never_sees_them() {
    let lab = lab(&format!("echo started >> starts\n{ECHO}"));
    let served = Served::start(&lab, &[]);
    for (body, status) in [("", 400), ("[1]", 400), ("{\"data\": ", 400), ("{\"date\": 1}", 400)] {
        let (got, text) = served.post(body);
        assert!(got == status && text.starts_with("{\"error\":"), "{body}: {got} {text}");
    }
    let large = format!("{{\"data\": \"{}\"}}", "x".repeat(9 << 20));
    assert!(matches!(served.post(&large).0, 413 | 0), "or the connection is closed before all of it came");
    assert_eq!(served.ask("GET /", "").0, 405);
    assert_eq!(served.ask("GET /../../etc/passwd", "").0, 404);
    assert_eq!(served.post(r#"{"data": 1}"#).0, 200);
    assert_eq!(lab.ledger("starts").len(), 1);
}

#[test]
fn a_model_that_dies_hangs_or_answers_twice_is_started_anew_and_no_answer_is_anothers() {
    let lab = lab(r#"echo "loading a library"
while read -r line; do
  case $line in
    *die*) exit 3;;
    *hang*) sleep 1000;;
    *twice*) echo '{"result": 1}'; echo '{"result": "stale"}';;
    *chatter*) echo '{"result": 2}'; echo "by the way";;
    *) printf '{"result": %s}\n' "$line";;
  esac
done"#);
    let served = Served::start(&lab, &["--timeout", "1s"]);
    let plain = |n: u32| {
        let (status, answer) = served.post(&format!("{{\"data\": {n}}}"));
        assert_eq!((status, answer), (200, format!("{{\"result\":{{\"data\":{n}}}}}")));
    };
    plain(1);
    let (status, text) = served.post(r#"{"data": "die"}"#);
    assert!(status == 502 && text.contains("exit status: 3"), "{text}");
    assert_eq!(served.ask("GET /health", "").0, 503);
    plain(2);
    assert_eq!(served.ask("GET /health", "").0, 200);
    assert_eq!(served.post(r#"{"data": "twice"}"#), (200, r#"{"result":1}"#.to_owned()));
    plain(3);
    assert_eq!(served.post(r#"{"data": "chatter"}"#), (200, r#"{"result":2}"#.to_owned()));
    plain(4);
    let (status, text) = served.post(r#"{"data": "hang"}"#);
    assert!(status == 504 && text.contains("no answer within 1 s"), "{text}");
    plain(5);
    let child = served.child.as_ref().unwrap().id();
    served.end();
    let left = Command::new("pgrep").args(["-P", &child.to_string()]).output().unwrap();
    assert!(left.stdout.is_empty(), "no process of the model is left");
}

#[test]
fn many_at_once_and_those_who_say_nothing_hinder_nobody() {
    let lab = lab(ECHO);
    let served = Served::start(&lab, &["--processes", "2"]);
    let silent: Vec<TcpStream> =
        (0..50).map(|_| TcpStream::connect(("127.0.0.1", served.port)).unwrap()).collect();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = || (0..20).map(|n| served.post(&format!("{{\"data\": {n}}}")).0).collect::<Vec<_>>();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 400);
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    // They are cut off in time.
    for mut socket in silent {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    }
}

#[test]
fn what_cannot_be_served_is_said() {
    let lab = Lab::new();
    lab.write(
        "n.yaml",
        "command: [sh, -c, 'echo s=1']\nmetric: {name: s, goal: maximize}\nparameters: {x: {value: 1}}\n",
    );
    assert_eq!(lab.run(&["run", "n.yaml", "-q"]).code, Some(0));
    let none = lab.run(&["serve"]);
    assert!(none.code == Some(1) && none.stderr.contains("has left no files"), "{}", none.stderr);
    let keeps = "command: [sh, -c, 'echo 1 > $GRID_OUTPUT_DIR/f; echo s=1']\n\
                 metric: {name: s, goal: maximize}\nparameters: {x: {value: 1}}\n";
    lab.write("k.yaml", keeps);
    assert_eq!(lab.run(&["run", "k.yaml", "-q"]).code, Some(0));
    let unsaid = lab.run(&["serve", "best", "--sweep", "k.yaml"]);
    assert!(unsaid.code == Some(2) && unsaid.stderr.contains("serve: {command:"), "{}", unsaid.stderr);
    let missing = lab.run(&["serve", "best", "--sweep", "k.yaml", "--port", "0", "--", "./nothing"]);
    assert!(
        missing.code == Some(1) && missing.stderr.contains("cannot start ./nothing"),
        "{}",
        missing.stderr
    );
    // Said afterwards: nothing is computed anew.
    lab.write("k.yaml", format!("{keeps}serve: {{command: [cat]}}\n"));
    let again = lab.run(&["run", "k.yaml", "-q"]);
    assert!(again.code == Some(0) && again.stderr.contains("known"), "{}", again.stderr);
    let served = Served::start(&lab, &["best", "--sweep", "k.yaml"]);
    assert_eq!(served.post(r#"{"data": 7}"#), (200, r#"{"data":7}"#.to_owned()));
}

/// A sweep of `gridctl train` whose trials keep their models.
fn iris() -> Lab {
    let lab = Lab::new();
    lab.write(
        "iris.yaml",
        "command: [gridctl, train, tree]\nmetric: {name: accuracy, goal: maximize}\n\
         parameters: {data: {value: iris}, max_depth: {values: [1, 3]}}\n",
    );
    let ran = lab.run(&["run", "iris.yaml", "-q"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    lab
}

#[test]
fn a_model_of_gridctl_train_answers_by_itself() {
    let lab = iris();
    let served = Served::start(&lab, &["best", "iris"]);
    let flower = "[5.1, 3.5, 1.4, 0.2]";
    assert_eq!(served.post(&format!("{{\"data\": {flower}}}")), (200, r#"{"result":"setosa"}"#.to_owned()));
    let several = served.post(&format!("{{\"data\": [{flower}, [6.3, 3.3, 6.0, 2.5]]}}"));
    assert_eq!(several, (200, r#"{"result":["setosa","virginica"]}"#.to_owned()));
    let bad = [
        ("1", "data is a number"),
        ("\"x\"", "data is a text"),
        ("[1, 2]", "a row has 2 values, and the model has 4 columns"),
        ("[1, 2, 3, \"4\"]", "is no finite number"),
        ("[1, 2, 3, 1e999]", "number out of range"),
        ("{}", "is missing"),
        ("{\"../../etc/passwd\": 1}", "has no column"),
        ("[[1, 2, 3, 4], [1]]", "a row has 1 values"),
        ("[]", "a row has 0 values"),
    ];
    for (data, expected) in bad {
        let (status, text) = served.post(&format!("{{\"data\": {data}}}"));
        assert!(status == 400 && text.contains(expected), "{data}: {status} {text}");
    }
    assert_eq!(served.ask("GET /health", "").0, 200);
    assert!(served.ask("GET /metadata", "").1.contains(r#""max_depth":3"#));
    // Many at once.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = || (0..50).map(|_| served.post(&format!("{{\"data\": {flower}}}")).0).collect::<Vec<_>>();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.len() == 1_000 && answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn a_kept_model_predicts_on_the_command_line_and_a_damaged_one_is_refused() {
    let lab = iris();
    assert_eq!(lab.run(&["fetch", "best", "kept"]).code, Some(0));
    let model: serde_json::Value =
        serde_json::from_slice(&fs::read(lab.path().join("kept/model.json")).unwrap()).unwrap();
    let columns: Vec<&str> =
        model["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    lab.write("new.csv", format!("{}\n5.1,3.5,1.4,0.2\n", columns.join(",")));
    let said = lab.run(&["train", "predict", "new.csv", "--model", "kept"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "prediction\nsetosa\n"), "{}", said.stderr);
    lab.write("kept/model.json", "{\"format\": \"gridctl-model\", \"version\": 9}");
    let later = lab.run(&["train", "predict", "new.csv", "--model", "kept"]);
    assert!(later.code == Some(64) && later.stderr.contains("has the form 9"), "{}", later.stderr);
    // What was published and then changed is not served.
    let trials = lab.data().join("results/iris/trials");
    let mut dirs = vec![trials];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => dirs.push(entry),
                false if entry.ends_with("model.json") => fs::write(&entry, "{}").unwrap(),
                false => {}
            }
        }
    }
    let damaged = lab.run(&["serve", "best", "--port", "0"]);
    assert_eq!(damaged.code, Some(1), "{}", damaged.stderr);
    // Bad parameters and data are nothing to try again.
    let bad = lab.finish(lab.command(&["train", "tree"]).env("HP_DATA", "nothing.csv"));
    assert_eq!(bad.code, Some(64), "{}", bad.stderr);
    assert!(
        bad.stderr.contains("cannot read nothing.csv") && bad.stderr.contains("help: "),
        "{}",
        bad.stderr
    );
}

#[test]
fn topics_ends_in_an_answer() {
    let python = Command::new("python3").args(["-c", "import sklearn"]).output();
    if !python.is_ok_and(|done| done.status.success()) {
        return skipped("sweeps/topics is trained and answers: python3 has no scikit-learn");
    }
    let lab = Lab::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sweeps/topics");
    for file in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        lab.write(&file.file_name().unwrap().to_string_lossy(), fs::read(&file).unwrap());
    }
    let whole = fs::read_to_string(lab.path().join("sweep.yaml")).unwrap();
    let fewer = whole.replace("[1e-4, 1e-3, 1e-2]", "[1e-4]").replace("[1, 2]", "[1]");
    lab.write("sweep.yaml", fewer);
    let ran = lab.run(&["run", "sweep.yaml", "-q"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let served = Served::start(&lab, &[]);
    let answer = served.post(r#"{"data": "Ferrari is the best sports car"}"#);
    assert_eq!(answer, (200, r#"{"result":"rec.autos"}"#.to_owned()));
    let several = served.post(r#"{"data": ["a rocket to the moon", "the goalie saved a shot"]}"#).1;
    assert_eq!(several, r#"{"result":["sci.space","rec.sport.hockey"]}"#);
}
