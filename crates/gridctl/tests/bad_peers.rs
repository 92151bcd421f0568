//! Whoever may connect may say anything, and as fast as it likes: the master stays small, and goes on for everybody else.
//!
//! A test's name begins with the lines of `.ci/bad-inputs` that it covers.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

mod lab;
mod wire;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gridctl_proto::v1;
use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use lab::{Lab, now};
use serde_json::Value as Json;
use wire::{CONTINUATION, DATA, END_HEADERS, HEADERS, PING, Peer, RST_STREAM, SETTINGS, call, frame, header};

/// HTTP/2's name for "you ask too much".
const ENHANCE_YOUR_CALM: u32 = 11;
/// More than a master needs on top of what it had before somebody was rude, in KiB.
const ROOM_KIB: u64 = 16 << 10;

const CONNECT: &str = "/gridctl.v1.WorkerService/Connect";

const SWEEP: &str = "command: [sh, -c, 'echo $GRID_TRIAL $GRID_ATTEMPT >> ledger; sleep 0.1; echo s=$HP_X']
metric: {name: s, goal: maximize}
parameters: {x: {min: 1, max: 80}}
";

/// A master as a daemon, and what a test starts beside it.
struct Master {
    lab: Lab,
    master: Child,
    worker: Option<Child>,
}

impl Master {
    fn start(args: &[&str]) -> Self {
        Self::start_by(|command| command, args)
    }

    /// A master whose command line something was done to.
    fn start_by(change: impl FnOnce(Command) -> Command, args: &[&str]) -> Self {
        let lab = Lab::new();
        let errors = File::create(lab.path().join("master.err")).unwrap();
        let mut command = change(lab.command(&[&["master"], args].concat()));
        let master = command.stderr(errors).stdout(Stdio::null()).spawn().unwrap();
        let started = Self { lab, master, worker: None };
        started.lab.until("the master serves", || started.lab.run(&["workers", "ls"]).code == Some(0));
        started
    }

    /// A worker with two slots, and [`SWEEP`].
    fn give_work(&mut self) {
        let mut command = self.lab.command(&["worker", "--slots", "2"]);
        let errors = File::create(self.lab.path().join("worker.err")).unwrap();
        self.worker = Some(command.stderr(errors).stdout(Stdio::null()).spawn().unwrap());
        self.lab.write("sweep.yaml", SWEEP);
        let done = self.lab.run(&["submit", "sweep.yaml"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        self.lab.until("the first trial", || !self.lab.ledger("ledger").is_empty());
    }

    fn socket(&self) -> PathBuf {
        let advert: Json =
            serde_json::from_slice(&fs::read(self.lab.data().join("master.json")).unwrap()).unwrap();
        advert["socket"].as_str().unwrap().into()
    }

    /// A line of `/proc/PID/status`, in KiB.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.master.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// It has never been much larger than `before`.
    fn check_memory(&self, before: u64) {
        let grown = self.memory("VmHWM").saturating_sub(before);
        eprintln!("{before} KiB, and {grown} KiB at most on top of them");
        assert!(grown < ROOM_KIB, "it has grown by {grown} KiB");
    }

    /// Processor time that it has taken.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.master.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        // Linux counts in hundredths here, whatever its own clock does.
        Duration::from_millis(ticks * 10)
    }

    fn said(&self) -> String {
        let text = fs::read_to_string(self.lab.path().join("master.err")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The master answers a new caller soon.
    fn check_answers(&self) {
        let began = now();
        let done = self.lab.run(&["workers", "ls"]);
        assert_eq!(done.code, Some(0), "{}\n{}", done.stderr, self.said());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    /// The sweep that goes on ends as it would have without what happened meanwhile: no trial was begun twice.
    fn check_sweep(&mut self) {
        self.lab.until("the sweep's end", || {
            let status = self.lab.run(&["status", "-o", "json"]).stdout;
            serde_json::from_str::<Json>(&status).is_ok_and(|status| status["state"] == "finished")
        });
        let ledger = self.lab.ledger("ledger");
        assert!(
            ledger.len() == 80 && ledger.iter().all(|line| line.ends_with(" 1")),
            "{ledger:?}\n{}",
            self.said()
        );
        assert!(self.master.try_wait().unwrap().is_none());
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        for child in [Some(&mut self.master), self.worker.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn g44_a_master_without_file_descriptors_waits_for_some_and_does_not_spin() {
    let limited = |command: Command| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -n 64; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        shell.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    };
    let mut master = Master::start_by(limited, &[]);
    master.give_work();
    let socket = master.socket();
    let peers: Vec<Peer> = (0..150).map(|_| Peer::deaf(&socket)).collect();
    let pid = master.master.id();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    master.lab.until("all are taken", || open() >= 64);
    let (began, cpu) = (now(), master.cpu());
    let before = master.lab.ledger("ledger").len();
    std::thread::sleep(Duration::from_secs(3));
    let share = (master.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(open() >= 63, "they are still taken: {}", open());
    assert!(share < 0.1, "it takes {share:.2} of a processor\n{}", master.said());
    assert!(master.lab.ledger("ledger").len() > before, "its worker goes on\n{}", master.said());
    drop(peers);
    master.check_answers();
    master.check_sweep();
}

#[test]
fn g45_floods_end_the_connection_or_are_not_read_and_cost_no_memory() {
    const TIMES: usize = 1_000_000;
    let mut master = Master::start(&[]);
    master.give_work();
    let socket = master.socket();
    let before = master.memory("VmRSS");
    let stream = |time: usize| u32::try_from(time).unwrap() * 2 + 1;
    let request = call(CONNECT);

    let mut peer = Peer::connect(&socket);
    let reset = |time| {
        [
            frame(HEADERS, END_HEADERS, stream(time), &request),
            frame(RST_STREAM, 0, stream(time), &[0, 0, 0, 8]),
        ]
        .concat()
    };
    assert_ends(&master, &mut peer, ("rapid reset", TIMES), reset);

    let mut peer = Peer::connect(&socket);
    let block = header("x", &"y".repeat(8_000));
    let endless =
        |time| if time == 0 { frame(HEADERS, 0, 1, &request) } else { frame(CONTINUATION, 0, 1, &block) };
    assert_ends(&master, &mut peer, ("CONTINUATION without end", TIMES), endless);

    let mut peer = Peer::connect(&socket);
    let tiny = |time| if time == 0 { frame(HEADERS, 0, 1, &request) } else { frame(CONTINUATION, 0, 1, &[]) };
    assert_ends(&master, &mut peer, ("empty CONTINUATION", TIMES), tiny);

    let mut peer = Peer::connect(&socket);
    let empty =
        |time| if time == 0 { frame(HEADERS, END_HEADERS, 1, &request) } else { frame(DATA, 0, 1, &[]) };
    assert_ends(&master, &mut peer, ("empty DATA", TIMES), empty);

    // These are answered one by one, and no further ones are read while an answer cannot be sent.
    let floods =
        [("PING", frame(PING, 0, 0, &[7; 8])), ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))];
    for (name, flood) in floods {
        let mut peer = Peer::deaf(&socket);
        let taken = peer.flood(TIMES, |_| flood.clone());
        assert!(taken < TIMES, "{name}: all {TIMES} were read");
        master.check_answers();
    }
    master.check_memory(before);
    master.check_sweep();
}

/// The other end hangs up long before the flood is over, and says why if there was time for that.
fn assert_ends(
    master: &Master,
    peer: &mut Peer,
    (name, times): (&str, usize),
    flood: impl Fn(usize) -> Vec<u8>,
) {
    let taken = peer.flood(times, flood);
    assert!(taken < times, "{name}: all {times} were read");
    master.lab.until(name, || peer.heard().closed);
    let heard = peer.heard().clone();
    eprintln!("{name}: {heard:?} after {taken}");
    assert_eq!(heard.goaway, Some(ENHANCE_YOUR_CALM), "{name} after {taken}: {heard:?}");
    master.check_answers();
}

#[test]
fn g45_a_list_of_headers_of_10_mb_is_refused() {
    let master = Master::start(&[]);
    let before = master.memory("VmRSS");
    let mut peer = Peer::connect(&master.socket());
    let block = header("x", &"y".repeat(16_000));
    let list = |time| match time {
        0 => frame(HEADERS, 0, 1, &call(CONNECT)),
        626 => frame(CONTINUATION, END_HEADERS, 1, &block),
        _ => frame(CONTINUATION, 0, 1, &block),
    };
    let taken = peer.flood(627, list);
    master.lab.until("the end", || peer.heard().closed);
    let heard = peer.heard().clone();
    assert!(heard.goaway.is_some_and(|error| error != 0), "{taken} {heard:?}");
    master.check_memory(before);
    master.check_answers();
}

#[test]
fn g46_of_100_000_streams_on_one_connection_256_are_open_at_once() {
    const TIMES: usize = 100_000;
    let mut master = Master::start(&[]);
    master.give_work();
    let before = master.memory("VmRSS");
    let mut peer = Peer::connect(&master.socket());
    master.lab.until("its settings", || peer.heard().most_streams.is_some());
    let most = peer.heard().most_streams;
    assert_eq!(most, Some(256));
    let request = call(CONNECT);
    let taken =
        peer.flood(TIMES, |time| frame(HEADERS, END_HEADERS, u32::try_from(time).unwrap() * 2 + 1, &request));
    master.lab.until("the end", || peer.heard().closed);
    let heard = peer.heard().clone();
    eprintln!("{heard:?} after {taken}");
    assert_eq!(heard.goaway, Some(ENHANCE_YOUR_CALM), "{taken}: {heard:?}");
    master.check_memory(before);
    master.check_answers();
    master.check_sweep();
}

#[test]
fn g49_a_worker_that_heartbeats_without_pause_is_slowed_down_and_nobody_else() {
    let mut master = Master::start(&["--lease-ttl", "3s"]);
    let socket = master.socket();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let answers = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&answers);
    let flood = runtime.spawn(async move {
        let channel =
            tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let mut client = WorkerServiceClient::new(channel.connect().await.unwrap());
        let capacity = v1::Capacity { cpu_milli: 1, mem_mib: 1, gpus: 0, slots: 1 };
        let hello = v1::Hello {
            protocol: gridctl_core::protocol::PROTOCOL,
            release: "flood".to_owned(),
            worker: vec![7; 5],
            host: "flood".to_owned(),
            capacity: Some(capacity),
            // It takes no trials.
            draining: true,
            ..v1::Hello::default()
        };
        let ping = v1::WorkerUpdate { ping: true, ..v1::WorkerUpdate::default() };
        let say = |say| v1::WorkerMessage { say: Some(say) };
        let pings = std::iter::repeat(say(v1::worker_message::Say::Update(ping)));
        let all = std::iter::once(say(v1::worker_message::Say::Hello(hello))).chain(pings);
        let mut stream = client.connect(tokio_stream::iter(all)).await.unwrap().into_inner();
        while let Ok(Some(_)) = stream.message().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let count = || answers.load(std::sync::atomic::Ordering::Relaxed);
    master.lab.until("the flood", || count() > 2_000);
    let (began, before, cpu) = (now(), count(), master.cpu());
    master.give_work();
    master.check_answers();
    master.check_sweep();
    let (took, heard) = (began.elapsed().as_secs_f64(), count() - before);
    let share = (master.cpu() - cpu).as_secs_f64() / took;
    eprintln!("{heard} heartbeats in {took:.1} s, {share:.2} of a processor");
    assert!(!flood.is_finished(), "{}", master.said());
    // One in half a millisecond, and what a burst may hold.
    assert!((heard as f64) < 2_000.0 * took + 2_000.0, "{heard} in {took} s");
    assert!(heard > 0);
    drop(runtime);
}

/// Says `messages` as a worker, one after another, each after the answer to the one before; what the master granted.
fn as_worker(socket: &std::path::Path, hello: v1::Hello, report: impl FnOnce(&v1::Grant) -> v1::Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let spoken = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display()));
        let mut client = WorkerServiceClient::new(endpoint.unwrap().connect().await.unwrap());
        let (say, said) = tokio::sync::mpsc::channel(4);
        let message = |say| v1::WorkerMessage { say: Some(say) };
        say.send(message(v1::worker_message::Say::Hello(hello))).await.unwrap();
        let said = tokio_stream::wrappers::ReceiverStream::new(said);
        let mut stream = client.connect(said).await.unwrap().into_inner();
        let mut report = Some(report);
        loop {
            let heard = stream.message().await.unwrap().expect("the master goes on").say;
            let Some(v1::master_message::Say::Update(update)) = heard else { continue };
            if let (Some(grant), Some(report)) = (update.grants.first(), report.take()) {
                let reports = vec![report(grant)];
                let update = v1::WorkerUpdate { reports, draining: true, ..v1::WorkerUpdate::default() };
                say.send(message(v1::worker_message::Say::Update(update))).await.unwrap();
            }
            if !update.recorded.is_empty() {
                return;
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(lab::LONGEST, spoken).await }).unwrap();
}

#[test]
fn g50_a_worker_that_lies_about_the_time_and_its_name_is_shown_harmless() {
    let master = Master::start(&[]);
    master.lab.write("sweep.yaml", SWEEP);
    assert_eq!(master.lab.run(&["submit", "sweep.yaml"]).code, Some(0));
    let host = "evil\u{1b}[2J\u{1b}]0;x\u{7}<img src=x onerror=alert(1)>\u{202e}";
    let capacity = v1::Capacity { cpu_milli: 1000, mem_mib: 1, gpus: 0, slots: 1 };
    let hello = v1::Hello {
        protocol: gridctl_core::protocol::PROTOCOL,
        release: host.to_owned(),
        worker: vec![7; 5],
        host: host.to_owned(),
        capacity: Some(capacity),
        ..v1::Hello::default()
    };
    let metric = v1::Metric { name: "s".to_owned(), value: 1.0 };
    as_worker(&master.socket(), hello, |grant| v1::Report {
        token: grant.token,
        trial: grant.trial.clone(),
        class: v1::AttemptClass::Succeeded.into(),
        exit: Some(v1::Exit { how: Some(v1::exit::How::Code(0)) }),
        objective: Some(1.0),
        metrics: vec![metric],
        log: format!("{host}\n"),
        error: Some(host.to_owned()),
        near_misses: vec![host.to_owned()],
        doubts: Vec::new(),
        started_unix_ms: u64::MAX,
        duration_ms: u64::MAX,
        cpu_ms: u64::MAX,
        peak_rss_kib: u64::MAX,
        log_bytes: u64::MAX,
        ..v1::Report::default()
    });
    let commands: [&[&str]; 6] = [
        &["workers", "ls"],
        &["leaderboard", "-o", "wide"],
        &["trials", "ls", "-o", "wide"],
        &["trials", "show", "best"],
        &["status"],
        &["leaderboard", "-o", "json"],
    ];
    for command in commands {
        let done = master.lab.run(command);
        assert_eq!(done.code, Some(0), "{command:?}: {}", done.stderr);
        let harmful = |c: char| matches!(c, '\u{1b}' | '\u{7}' | '\u{9b}');
        assert!(!done.stdout.contains(harmful) && !done.stderr.contains(harmful), "{command:?}: {done:?}");
        let as_text = command[command.len() - 1] != "json";
        assert!(!(as_text && done.stdout.contains('\u{202e}')), "{command:?}: {}", done.stdout);
    }
    assert_eq!(master.lab.run(&["trials", "show", "best", "--json"]).code, Some(0));
}

#[test]
fn g55_a_log_is_kept_as_it_was_written_and_shown_so_that_it_does_nothing() {
    let lab = Lab::new();
    let trainer = r#"#!/bin/sh
        head -c 30000000 /dev/zero | tr '\0' x
        printf '\n\033]52;c;ZXZpbA==\007\033]8;;file:///etc/passwd\007link\033]8;;\007\2332J\377\376 bad bytes\n'
        echo s=1
"#;
    lab.script("train.sh", trainer);
    lab.write(
        "l.yaml",
        "command: [./train.sh]\nmetric: {name: s, goal: maximize}\nparameters: {x: {value: 1}}\n",
    );
    let done = lab.run(&["run", "l.yaml", "-q"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut raw = lab.command(&["logs", "best"]);
    let raw = raw.output().unwrap().stdout;
    assert!(raw.len() > 30_000_000, "the whole log: {}", raw.len());
    let osc = b"\x1b]52;c;ZXZpbA==\x07";
    assert!(raw.windows(osc.len()).any(|bytes| bytes == osc), "a pipe gets what was written");
    let mut terminal = Command::new("script");
    let logs = format!("{} logs best", env!("CARGO_BIN_EXE_gridctl"));
    let terminal = terminal.args(["-qec", &logs, "/dev/null"]).current_dir(lab.path()).output();
    let Ok(terminal) = terminal else {
        eprintln!("SKIPPED a terminal gets text that does nothing: there is no `script`");
        assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
        return;
    };
    let shown = terminal.stdout;
    assert!(shown.len() > 30_000_000, "{}", String::from_utf8_lossy(&shown[..shown.len().min(2_000)]));
    assert!(!shown.contains(&0x1b) && !shown.contains(&7), "a terminal is moved by nothing");
    assert!(String::from_utf8_lossy(&shown).contains("\\u{1b}]52;c;"), "and it is plain to see");
}
