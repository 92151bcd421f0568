//! A keeper with a real slot process and real trainers: what no message of a master can bring about
//! today, and what takes minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gridctl_core::id::{CodeHash, Epoch, Fingerprint, SweepId, Time, Token, TrialId};
use gridctl_core::output::{Output, VolumeUrl};
use gridctl_core::protocol::{FrozenSweep, Grant, Sources};
use gridctl_core::record::{Class, Exit};
use gridctl_core::spec::{self, Context};
use gridctl_core::value::{Params, Value};
use gridctl_storage::results::Results;
use gridctl_storage::volume::DirVolume;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

use super::publish::Checkpoints;
use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker's part in `dir`, whose name is the worker's.
pub(crate) fn machine(dir: &Path, checkpoint_every_ms: u64) -> WorkerMachine {
    let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
    WorkerMachine {
        program: SlotProgram { path: slot_program(), args: Vec::new() },
        containers: ContainerSite::new(slot_program(), ("mark", &name), &dir.join("work"), 1_024),
        gridctl: "gridctl".to_owned(),
        cache: dir.join("cache"),
        code: dir.join("code"),
        datasets: Arc::new(Datasets::new(&dir.join("datasets"))),
        is_elsewhere: false,
        gpus: Vec::new(),
        mark: dir.display().to_string(),
        cgroups: CgroupSupport::None { why: "a test".to_owned() },
        work: WorkDir::create(&dir.join("work"), &name, "").unwrap(),
        name,
        kept: KeptPlace::new(&dir.join("work")),
        versions: PreparedVersions::new(std::env::vars_os()),
        workdirs: Arc::new(crate::workdir::Workdirs::new(Vec::new(), Vec::new())),
        adopts: false,
        checkpoint_every_ms,
        slot_silence_ms: gridctl_core::slot::SILENCE_MS,
        live: crate::live::LiveOutputs::default(),
        slots: Mutex::new(Vec::new()),
    }
}

/// A keeper, a place for its trainers, and a results volume.
struct Room {
    temp: tempfile::TempDir,
    _keeper: JoinSet<()>,
    work: UnboundedSender<Assignment>,
    said: UnboundedReceiver<SlotNews>,
    orders: Option<UnboundedSender<AttemptOrder>>,
    lease: u64,
}

impl Room {
    /// Checkpoints are looked at every so many milliseconds.
    fn new(checkpoint_every_ms: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let machine = machine(temp.path(), checkpoint_every_ms);
        let (say, said) = mpsc::unbounded_channel();
        let (work, assignments) = mpsc::unbounded_channel();
        let mut keeper = JoinSet::new();
        keeper.spawn(SlotKeeper::new(Arc::new(machine), 0, say).serve(assignments));
        Self { temp, _keeper: keeper, work, said, orders: None, lease: 0 }
    }

    fn path(&self) -> &Path {
        self.temp.path()
    }

    /// The next attempt of the one trial begins, with this script.
    fn begin(&mut self, script: &str) {
        let (orders, ordered) = mpsc::unbounded_channel();
        self.orders = Some(orders);
        let start = self.start(script);
        self.work.send(Assignment { start, orders: ordered, data: None, image: None }).unwrap();
    }

    fn start(&mut self, script: &str) -> Box<AttemptStart> {
        let text = "metric: {name: acc, goal: maximize}\npreempt_signal: USR1\nparameters: {lr: {value: 1}}\ncommand: [sh]\n";
        let mut spec =
            spec::parse(text.as_bytes(), &Context { file_stem: "test", count: None }).unwrap().spec;
        spec.command.extend(["-c".to_owned(), script.to_owned()]);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let output = self.path().join("results");
        Results::new(Arc::new(DirVolume::create(&output).unwrap()), "test", "0198").unwrap().claim().unwrap();
        let sweep = Arc::new(FrozenSweep {
            uuid: "0198".to_owned(),
            source: String::new(),
            file: None,
            sources: Sources { base: text(self.path()), code: None, data: None },
            output: Output::At(VolumeUrl::Dir(output.clone())),
            env: Vec::new(),
            code: CodeHash::of(&["code"]),
            reader: gridctl_core::metrics::READER_RULE,
            files: Vec::new(),
            spec,
        });
        self.lease += 1;
        let params = Params::new(vec![("lr".into(), Value::Int(1))]);
        let trial = TrialId::of(&params, 0);
        let grant = Grant {
            token: Token { epoch: Epoch(1), lease: LeaseSeq(self.lease), attempt: 1 },
            sweep: SweepId(1),
            version: 1,
            trial,
            index: 0,
            params,
            repeat: 0,
            fingerprint: Fingerprint::of(trial, sweep.code),
            resources: sweep.spec.resources,
        };
        Box::new(AttemptStart { grant, sweep, slot: 0, gpus: Vec::new(), by: Time(u64::MAX) })
    }

    fn preempt(&self, grace_ms: u64) {
        let order = AttemptOrder::Stop { reason: StopReason::Preempted, grace_ms };
        self.orders.as_ref().unwrap().send(order).unwrap();
    }

    /// The report of the attempt that was begun last.
    async fn report(&mut self) -> Report {
        let report = self.any_report().await;
        assert_eq!(report.token.lease, LeaseSeq(self.lease));
        report
    }

    async fn any_report(&mut self) -> Report {
        let ended = async {
            loop {
                if let SlotNews::Ended(report) = self.said.recv().await.expect("the keeper is there") {
                    return *report;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the attempt ends")
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
    }

    /// The directories of the trial's whole checkpoints, oldest first.
    fn checkpoint_dirs(&self) -> Vec<PathBuf> {
        let trials =
            fs::read_dir(self.path().join("results/test/checkpoints")).into_iter().flatten().flatten();
        let all = trials.flat_map(|trial| fs::read_dir(trial.path()).unwrap().flatten());
        let mut whole: Vec<_> =
            all.map(|entry| entry.path()).filter(|dir| dir.join("manifest.json").exists()).collect();
        let place = |dir: &PathBuf| -> Vec<u64> {
            let name = dir.file_name().unwrap().to_str().unwrap();
            name.split('-').map(|part| part.parse().unwrap()).collect()
        };
        whole.sort_by_key(place);
        whole
    }

    /// What stands in each, oldest first.
    fn checkpoints(&self) -> Vec<String> {
        self.checkpoint_dirs()
            .iter()
            .map(|dir| fs::read_to_string(dir.join("files/state")).unwrap())
            .collect()
    }

    /// Waits until a trainer has made the file `name`, and removes it.
    async fn sign(&self, name: &str) {
        let path = self.path().join(name);
        self.until(name, || fs::remove_file(&path).is_ok()).await;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        marks::end_marked(&self.path().display().to_string());
    }
}

/// The slot that Cargo builds beside the tests.
fn slot_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/slot");
    assert!(path.exists(), "{} is built by `cargo test` without `--lib`, or by `--examples`", path.display());
    path
}

/// Prints what it goes on from, or goes on until it is asked to stop. Shells tell of children that
/// a signal ended: not here.
const GOES_ON: &str = r#"
    exec 2> /dev/null; top=$PWD; cd "$GRID_CHECKPOINT_DIR"
    if [ -e state ]; then echo acc=$(cat state); exit; fi
    trap 'echo USR1; [ -e .preempt ] && echo .preempt; echo 7 > state; STOP' USR1
    TERM
    touch $top/up; while :; do sleep 0.02; done"#;

#[tokio::test]
async fn a_preempted_trainer_is_told_saves_and_its_next_attempt_goes_on_from_there() {
    // SIGTERM comes 15 s before SIGKILL, and the notice before both.
    let cases = [
        ("it ends once it is told", "", "exit 0", 100_000, "USR1\n.preempt\nacc=1\n"),
        ("it ends at SIGTERM", "trap 'echo TERM; exit 0' TERM", ":", 15_500, "USR1\n.preempt\nacc=1\nTERM\n"),
    ];
    for (name, term, stop, grace_ms, log) in cases {
        let mut room = Room::new(300_000);
        let script =
            GOES_ON.replace("TERM\n", &format!("{term}\n")).replace("STOP", &format!("echo acc=1; {stop}"));
        room.begin(&script);
        room.sign("up").await;
        room.preempt(grace_ms);
        let report = room.report().await;
        let end = (report.class, report.exit, report.log.as_str());
        assert_eq!(end, (Class::Preempted, Some(Exit::Code(0)), log), "{name}");
        assert!(report.checkpoint_moved, "{name}");
        room.begin(&script);
        let report = room.report().await;
        assert_eq!((report.class, report.log.as_str()), (Class::Succeeded, "acc=7\n"), "{name}");
        assert!(!report.checkpoint_moved, "{name}");
    }
}

#[tokio::test]
async fn what_is_saved_at_the_notice_is_published_while_the_trainer_works_on() {
    let mut room = Room::new(300_000);
    let script = r#"trap '' TERM; top=$PWD; cd "$GRID_CHECKPOINT_DIR"
        if [ -e state ]; then echo acc=$(cat state); exit; fi
        trap 'echo 7 > new; mv new state' USR1; touch $top/up; while :; do sleep 0.02; done"#;
    room.begin(script);
    room.sign("up").await;
    room.preempt(100_000);
    room.until("it is published", || room.checkpoints() == ["7\n"]).await;
    // The machine is gone earlier than it was said to be.
    room.preempt(0);
    let report = room.report().await;
    assert_eq!((report.class, report.exit), (Class::Preempted, Some(Exit::Signal(9))), "{}", report.log);
    room.begin(script);
    assert_eq!(room.report().await.log, "acc=7\n");
}

#[tokio::test]
async fn a_trainer_that_only_watches_for_the_file_is_preempted_too() {
    let mut room = Room::new(300_000);
    let script = r#"trap '' USR1; touch up; while [ ! -e "$GRID_CHECKPOINT_DIR/.preempt" ]; do sleep 0.02; done; echo acc=1"#;
    room.begin(script);
    room.sign("up").await;
    room.preempt(100_000);
    let report = room.report().await;
    assert_eq!((report.class, report.exit), (Class::Preempted, Some(Exit::Code(0))), "{}", report.log);
}

#[tokio::test]
async fn a_trainer_that_ignores_its_preemption_is_killed_and_what_it_left_is_not_published() {
    let mut room = Room::new(300_000);
    room.begin(r#"trap '' USR1 TERM; echo half > "$GRID_CHECKPOINT_DIR/state"; touch up; while :; do sleep 0.02; done"#);
    room.sign("up").await;
    room.preempt(300);
    let report = room.report().await;
    let end = (report.class, report.exit, report.checkpoint_moved);
    assert_eq!(end, (Class::Preempted, Some(Exit::Signal(9)), false));
    room.begin(r#"ls -A "$GRID_CHECKPOINT_DIR"; echo acc=1"#);
    assert_eq!(room.report().await.log, "acc=1\n");
}

#[tokio::test]
async fn a_checkpoint_is_looked_at_in_time_and_published_once_for_each_change() {
    let mut room = Room::new(300_000);
    let (start, dir) = (room.start(""), room.path().join("checkpoint"));
    let restored = super::publish::restore(&start.sweep, &start.grant, &dir).await.unwrap();
    let mut checkpoints = Checkpoints::new(dir.clone(), &start, &restored, (Time(1_000), 300_000));
    assert_eq!(checkpoints.due(), Time(301_000));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("state"), "1").unwrap();
    for late in [301_007, 601_009] {
        // The second look comes while the first one's publication goes on.
        checkpoints.check(Time(late)).await;
        assert_eq!(checkpoints.due(), Time(late + 300_000));
    }
    room.until("it is published", || room.checkpoints() == ["1"]).await;
    checkpoints.check(Time(901_010)).await;
    checkpoints.rest().await;
    checkpoints.publish_last().await.unwrap();
    assert!(checkpoints.moved(), "the next attempt goes on from another one");
    assert_eq!(room.checkpoints(), ["1"]);
}

#[tokio::test]
async fn a_checkpoint_of_an_attempt_that_is_given_up_is_left_alone() {
    let mut room = Room::new(300_000);
    for lease in ["given up", "goes on"] {
        let (start, dir) = (room.start(""), room.path().join(lease));
        let restored = super::publish::restore(&start.sweep, &start.grant, &dir).await.unwrap();
        let mut checkpoints = Checkpoints::new(dir.clone(), &start, &restored, (Time(0), 300_000));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("state"), lease).unwrap();
        checkpoints.check(Time(300_000)).await;
        if lease == "goes on" {
            room.until("it is published", || room.checkpoints().iter().any(|state| state == lease)).await;
        }
    }
    assert_eq!(room.checkpoints(), ["goes on"], "the directory of the other is another's by now");
}

#[tokio::test]
async fn a_checkpoint_is_published_while_its_trainer_goes_on_and_never_after_sigkill() {
    let mut room = Room::new(100);
    room.begin(
        r#"top=$PWD; cd "$GRID_CHECKPOINT_DIR"; now() { echo $1 > new; mv new state; touch $top/$1; while [ ! -e $top/then ]; do sleep 0.02; done; rm $top/then; }
        now 1; now 2; echo half > state; kill -9 $$"#,
    );
    for saved in ["1", "2"] {
        room.sign(saved).await;
        room.until("it is published", || room.checkpoints().iter().any(|state| state.trim() == saved)).await;
        assert!(room.said.is_empty(), "its trainer goes on");
        fs::write(room.path().join("then"), "").unwrap();
    }
    let report = room.report().await;
    assert_eq!((report.exit, report.checkpoint_moved), (Some(Exit::Signal(9)), true));
    assert_eq!(room.checkpoints(), ["1\n", "2\n"]);

    // Two are kept, by number and not by name; the trainer's own end publishes at once.
    room.begin(r#"cat "$GRID_CHECKPOINT_DIR/state"; echo 3 > "$GRID_CHECKPOINT_DIR/state"; exit 75"#);
    let report = room.report().await;
    assert_eq!((report.log.as_str(), report.class, report.checkpoint_moved), ("2\n", Class::Released, true));
    assert_eq!(room.checkpoints(), ["2\n", "3\n"]);

    // A damaged one is passed over, which the attempt's log says.
    fs::write(room.checkpoint_dirs().last().unwrap().join("files/state"), "9\n").unwrap();
    room.begin(r#"cat "$GRID_CHECKPOINT_DIR/state"; echo acc=1"#);
    let report = room.report().await;
    let (note, rest) = report.log.split_once('\n').unwrap();
    assert_eq!((report.class, rest), (Class::Succeeded, "2\nacc=1\n"), "{note}");
    assert!(note.starts_with("[gridctl: a published checkpoint was passed over: "), "{note}");
    assert!(note.contains("not what its manifest says"), "{note}");

    // And so are all.
    for dir in room.checkpoint_dirs() {
        fs::write(dir.join("manifest.json"), "{").unwrap();
    }
    room.begin(r#"ls -A "$GRID_CHECKPOINT_DIR"; echo acc=1"#);
    let report = room.report().await;
    assert_eq!(report.log.matches("passed over").count(), 2, "{}", report.log);
    assert!(report.class == Class::Succeeded && report.log.ends_with("]\nacc=1\n"), "{}", report.log);
}

#[tokio::test]
async fn an_attempt_waits_in_the_slot_for_the_end_of_another_and_has_directories_of_its_own() {
    let mut room = Room::new(300_000);
    let first = r#"echo first > "$GRID_OUTPUT_DIR/model"; touch up; while [ ! -e then ]; do sleep 0.02; done; echo acc=1"#;
    room.begin(first);
    room.sign("up").await;
    room.begin(r#"ls "$GRID_OUTPUT_DIR"; test -e then; echo acc=2"#);
    let second = room.lease;
    fs::write(room.path().join("then"), "").unwrap();
    let mut reports = [room.any_report().await, room.any_report().await];
    reports.sort_by_key(|report| report.token.lease);
    assert_eq!((reports[0].class, reports[0].files), (Class::Succeeded, 1));
    assert_eq!((reports[1].token.lease, reports[1].log.as_str()), (LeaseSeq(second), "acc=2\n"));
}

#[tokio::test]
async fn an_attempt_that_waits_in_the_slot_is_given_back_when_it_is_to_stop_or_asked_for() {
    for order in [AttemptOrder::Recall, AttemptOrder::Stop { reason: StopReason::Cancelled, grace_ms: 0 }] {
        let mut room = Room::new(300_000);
        room.begin("touch up; while [ ! -e then ]; do sleep 0.02; done; echo acc=1");
        room.sign("up").await;
        room.begin("touch second; echo acc=2");
        room.orders.as_ref().unwrap().send(order).unwrap();
        let said = tokio::time::timeout(PATIENCE, room.said.recv()).await.unwrap();
        assert!(
            matches!(said, Some(SlotNews::Withdrawn { lease }) if lease.0 == room.lease),
            "{order:?}: {said:?}"
        );
        fs::write(room.path().join("then"), "").unwrap();
        assert_eq!(room.any_report().await.class, Class::Succeeded, "{order:?}: the other one goes on");
        room.begin("test ! -e second && echo acc=3");
        assert_eq!(room.report().await.class, Class::Succeeded, "{order:?}: and the slot is free");
    }
}

#[tokio::test]
async fn an_attempt_that_comes_to_the_front_because_another_is_too_late_can_be_stopped() {
    let mut room = Room::new(300_000);
    let (_late, ordered) = mpsc::unbounded_channel();
    let start = Box::new(AttemptStart { by: Time(0), ..*room.start("echo acc=1") });
    room.work.send(Assignment { start, orders: ordered, data: None, image: None }).unwrap();
    room.begin("sleep 300");
    let order = AttemptOrder::Stop { reason: StopReason::Cancelled, grace_ms: 0 };
    room.orders.as_ref().unwrap().send(order).unwrap();
    assert_eq!(room.report().await.class, Class::Cancelled);
}

#[tokio::test]
async fn a_slot_that_is_lost_is_the_machines_fault_for_all_who_were_in_line() {
    let mut room = Room::new(300_000);
    room.begin("touch up; kill -9 $PPID; sleep 300");
    room.begin("echo acc=2");
    for _ in 0..2 {
        assert_eq!(room.any_report().await.class, Class::WorkerFault);
    }
    room.begin("echo acc=3");
    assert_eq!(room.report().await.class, Class::Succeeded, "there is a new slot");
}
