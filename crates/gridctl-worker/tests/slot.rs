//! The slot process with real trainers: what they print, how they end, and that nothing is left of
//! them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::Path;
use std::time::Duration;

use gridctl_worker::cgroup::{CgroupSupport, SlotCgroup};
use gridctl_worker::client::SlotClient;
use gridctl_worker::marks::{MARK_VARIABLE, end_marked, is_alive};
use gridctl_worker::slot::{
    OutputStream, SlotEvent, SlotProgram, SlotRequest, StartFault, TrainerExit, TrainerStart,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The slot process, which Cargo builds as an example beside the tests.
fn program() -> SlotProgram {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/slot");
    assert!(
        path.exists(),
        "{} is built by `cargo test` without `--test`, or by `--examples`",
        path.display()
    );
    SlotProgram { path, args: Vec::new() }
}

/// What a trainer did.
#[derive(Debug, Default)]
struct Seen {
    pid: u32,
    out: Vec<u8>,
    err: Vec<u8>,
    exit: Option<TrainerExit>,
    cpu_ms: u64,
    peak_rss_kib: u64,
    left_behind: u32,
}

struct Slot {
    client: SlotClient,
    next: u64,
}

impl Slot {
    async fn new(base: &[(&str, &str)], cgroup: Option<&SlotCgroup>) -> Self {
        let mut client = SlotClient::start(&program(), cgroup).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut env = vec![("PATH".to_owned(), path)];
        env.extend(base.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        client.send(&SlotRequest::Base { env }).unwrap();
        Self { client, next: 0 }
    }

    async fn begin(&mut self, argv: &[&str], cwd: &Path) -> u64 {
        self.next += 1;
        let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        let cwd = cwd.to_str().unwrap().to_owned();
        let start = TrainerStart { id: self.next, argv, env: Vec::new(), cwd, by_ms: u64::MAX };
        self.client.send(&SlotRequest::Start(start)).unwrap();
        self.next
    }

    async fn event(&mut self) -> SlotEvent {
        tokio::time::timeout(PATIENCE, self.client.event()).await.expect("the slot answers").unwrap()
    }

    /// Everything until the trainer's end.
    async fn follow(&mut self) -> Seen {
        let mut seen = Seen::default();
        loop {
            match self.event().await {
                SlotEvent::Started { pid, .. } => seen.pid = pid,
                SlotEvent::Output { stream: OutputStream::Out, bytes, .. } => seen.out.extend(bytes),
                SlotEvent::Output { stream: OutputStream::Err, bytes, .. } => seen.err.extend(bytes),
                SlotEvent::NotStarted { text, .. } => panic!("{text}"),
                SlotEvent::Pong { number } => panic!("nobody asked {number}"),
                SlotEvent::Withdrawn { id } => panic!("{id} was withdrawn"),
                SlotEvent::Exited { exit, cpu_ms, peak_rss_kib, left_behind, .. } => {
                    return Seen { exit: Some(exit), cpu_ms, peak_rss_kib, left_behind, ..seen };
                }
            }
        }
    }

    async fn sh(&mut self, script: &str) -> Seen {
        self.begin(&["sh", "-c", script], Path::new("/")).await;
        self.follow().await
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

fn pids(text: &[u8]) -> Vec<u32> {
    String::from_utf8_lossy(text).split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[tokio::test]
async fn trainers_say_end_and_use_what_they_say_end_and_use() {
    let mut slot = Slot::new(&[], None).await;
    let cases: [(&str, &[u8], &[u8], TrainerExit); 8] = [
        ("echo loss=0.5", b"loss=0.5\n", b"", TrainerExit::Code(0)),
        ("echo a; echo b >&2; exit 3", b"a\n", b"b\n", TrainerExit::Code(3)),
        ("printf 'no newline'", b"no newline", b"", TrainerExit::Code(0)),
        ("printf '\\000\\377\\033[2J'", b"\0\xff\x1b[2J", b"", TrainerExit::Code(0)),
        ("exec >&- 2>&-; exit 4", b"", b"", TrainerExit::Code(4)),
        ("kill -SEGV $$", b"", b"", TrainerExit::Signal(11)),
        ("cat", b"", b"", TrainerExit::Code(0)),
        ("exit 137", b"", b"", TrainerExit::Code(137)),
    ];
    for (script, out, err, exit) in cases {
        let seen = slot.sh(script).await;
        assert_eq!((seen.out.as_slice(), seen.err.as_slice()), (out, err), "{script}");
        assert_eq!((seen.exit, seen.left_behind), (Some(exit), 0), "{script}");
        assert!(seen.peak_rss_kib > 100, "{script}: {seen:?}");
    }
    let busy = slot.sh("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done").await;
    assert!(busy.cpu_ms > 0, "{busy:?}");
    slot.client.close().await;
}

#[tokio::test]
async fn a_flood_of_output_arrives_whole_and_waits_for_the_reader_in_bounded_memory() {
    let mut slot = Slot::new(&[], None).await;
    slot.begin(&["sh", "-c", "head -c 50000000 /dev/zero"], Path::new("/")).await;
    let rss = |pid: u32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
    };
    // Not reading for a while: the trainer has to wait.
    let pid = slot.client.pid().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(rss(pid) < 16 << 10, "{} KiB", rss(pid));
    let seen = slot.follow().await;
    assert_eq!((seen.out.len(), seen.exit), (50_000_000, Some(TrainerExit::Code(0))));
    assert!(rss(pid) < 16 << 10, "{} KiB", rss(pid));
    slot.client.close().await;
}

#[tokio::test]
async fn daemons_and_children_that_hold_the_pipe_are_gone_with_the_attempt() {
    let mut slot = Slot::new(&[], None).await;
    let cases = [
        ("a child in the background", "sleep 300 & echo $!", 1),
        (
            "a daemon",
            "setsid sh -c 'sh -c \"echo \\$\\$; exec sleep 300\" & echo $$; exec sleep 300' & sleep 0.3; true",
            2,
        ),
        (
            "one that ignores SIGTERM",
            "(trap '' TERM HUP; echo $(exec sh -c 'echo $PPID'); while :; do sleep 1; done) & sleep 0.3",
            1,
        ),
    ];
    for (name, script, count) in cases {
        let seen = slot.sh(script).await;
        let pids = pids(&seen.out);
        assert_eq!(pids.len(), count, "{name}: {seen:?}");
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{name}");
        assert!(seen.left_behind as usize >= count, "{name}: {seen:?}");
        assert_eq!(seen.exit, Some(TrainerExit::Code(0)), "{name}");
    }
    assert_eq!(slot.sh("true").await.left_behind, 0, "the next one is not blamed");
    slot.client.close().await;
}

#[tokio::test]
async fn when_the_worker_goes_everything_goes() {
    let mut slot = Slot::new(&[], None).await;
    slot.begin(
        &["sh", "-c", "trap '' TERM HUP; setsid sleep 300 & echo $$ $!; while :; do sleep 1; done"],
        Path::new("/"),
    )
    .await;
    let mut said = Vec::new();
    while !said.contains(&b'\n') {
        if let SlotEvent::Output { bytes, .. } = slot.event().await {
            said.extend(bytes);
        }
    }
    let mut all = pids(&said);
    all.push(slot.client.pid().unwrap());
    drop(slot);
    until("all are gone", || !all.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn what_a_killed_slot_leaves_is_found_by_its_mark() {
    let mark = format!("slot-test-{}", std::process::id());
    let mut slot = Slot::new(&[(MARK_VARIABLE, &format!("{mark}/w/0"))], None).await;
    slot.begin(&["sh", "-c", "setsid sleep 300 & echo $$ $!; wait; sleep 300"], Path::new("/")).await;
    let mut said = Vec::new();
    while !said.contains(&b'\n') {
        if let SlotEvent::Output { bytes, .. } = slot.event().await {
            said.extend(bytes);
        }
    }
    slot.client.kill_process();
    assert!(slot.client.event().await.is_err());
    let all = pids(&said);
    assert!(all.iter().all(|pid| is_alive(*pid)), "{all:?}");
    let ended = end_marked(&mark);
    assert!(all.iter().all(|pid| ended.contains(pid) && !is_alive(*pid)), "{all:?} {ended:?}");
}

#[tokio::test]
async fn signals_reach_the_whole_group_and_a_stopped_one_too() {
    let mut slot = Slot::new(&[], None).await;
    let script = "trap 'echo bye; exit 5' TERM; sleep 300 & echo up; wait";
    for (signals, exit) in [
        (vec![15], TrainerExit::Code(5)),
        (vec![9], TrainerExit::Signal(9)),
        (vec![19, 9], TrainerExit::Signal(9)),
    ] {
        let id = slot.begin(&["sh", "-c", script], Path::new("/")).await;
        loop {
            if let SlotEvent::Output { .. } = slot.event().await {
                break;
            }
        }
        slot.client.send(&SlotRequest::Signal { id: id + 7, signal: 9 }).unwrap();
        for signal in &signals {
            slot.client.send(&SlotRequest::Signal { id, signal: *signal }).unwrap();
        }
        assert_eq!(slot.follow().await.exit, Some(exit), "{signals:?}");
    }
    slot.client.close().await;
}

#[tokio::test]
async fn one_trainer_may_wait_for_the_end_of_another_and_starts_when_nothing_of_that_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut slot = Slot::new(&[], None).await;
    // What the first leaves would write for ever.
    let first = "(while :; do echo left > left; done) & echo first; while ! test -e go; do sleep 0.01; done";
    slot.begin(&["sh", "-c", first], dir.path()).await;
    let second =
        slot.begin(&["sh", "-c", "rm -f left; sleep 0.2; test ! -e left && echo second"], dir.path()).await;
    let third = slot.begin(&["true"], dir.path()).await;
    loop {
        match slot.event().await {
            SlotEvent::NotStarted { id, .. } => break assert_eq!(id, third, "one may wait, no more"),
            SlotEvent::Started { id, .. } | SlotEvent::Output { id, .. } => assert_eq!(id, 1),
            other => panic!("{other:?}"),
        }
    }
    std::fs::write(dir.path().join("go"), "").unwrap();
    let ended = slot.follow().await;
    assert_eq!((ended.exit, ended.left_behind), (Some(TrainerExit::Code(0)), 1));
    let ended = slot.follow().await;
    assert_eq!((ended.exit, ended.out), (Some(TrainerExit::Code(0)), b"second\n".to_vec()), "{second}");
    slot.client.close().await;
}

#[tokio::test]
async fn a_trainer_whose_time_has_passed_is_not_started() {
    let mut slot = Slot::new(&[], None).await;
    let now = gridctl_worker::clock::now().0;
    let start = |id, by_ms| TrainerStart {
        id,
        argv: vec!["sleep".to_owned(), "0.1".to_owned()],
        env: Vec::new(),
        cwd: "/".to_owned(),
        by_ms,
    };
    for (id, by_ms) in [(1, now - 1), (2, now + 60_000), (3, now - 1), (4, now + 60_000)] {
        slot.client.send(&SlotRequest::Start(start(id, by_ms))).unwrap();
        if id == 1 || id == 3 {
            while slot.event().await != (SlotEvent::Withdrawn { id }) {}
        }
    }
    assert_eq!(slot.follow().await.exit, Some(TrainerExit::Code(0)));
    slot.client.close().await;
}

#[tokio::test]
async fn a_trainer_that_waits_can_be_withdrawn_and_one_that_has_begun_cannot() {
    let mut slot = Slot::new(&[], None).await;
    let first = slot.begin(&["sleep", "300"], Path::new("/")).await;
    let second = slot.begin(&["echo", "second"], Path::new("/")).await;
    for id in [first, second, second] {
        slot.client.send(&SlotRequest::Withdraw { id }).unwrap();
    }
    loop {
        match slot.event().await {
            SlotEvent::Withdrawn { id } => break assert_eq!(id, second),
            SlotEvent::Started { id, .. } => assert_eq!(id, first),
            other => panic!("{other:?}"),
        }
    }
    slot.client.send(&SlotRequest::Signal { id: first, signal: 9 }).unwrap();
    assert_eq!(slot.follow().await.exit, Some(TrainerExit::Signal(9)));
    assert_eq!(slot.sh("echo third").await.out, b"third\n", "and not the second");
    slot.client.close().await;
}

#[tokio::test]
async fn a_command_that_cannot_start_is_an_answer_and_the_slot_goes_on() {
    let mut slot = Slot::new(&[], None).await;
    slot.begin(&["gridctl-nonesuch-trainer"], Path::new("/")).await;
    let SlotEvent::NotStarted { fault, text, id } = slot.event().await else { panic!("it started") };
    assert_eq!((fault, id), (StartFault::Command, 1));
    assert!(text.starts_with("command not found: `gridctl-nonesuch-trainer`"), "{text}");
    assert_eq!(slot.sh("echo ok").await.out, b"ok\n");
    slot.client.close().await;
}

#[tokio::test]
async fn a_trainer_over_its_memory_is_told_from_any_other_kill() {
    let CgroupSupport::Memory(groups) = CgroupSupport::detect() else {
        eprintln!("SKIPPED: no memory cgroup can be made here: {:?}", CgroupSupport::detect());
        assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
        return;
    };
    let mut cgroup = groups.create(&format!("test-{}", std::process::id())).unwrap();
    let mut slot = Slot::new(&[], Some(&cgroup)).await;
    cgroup.set_limit(64).unwrap();
    let hog = slot.sh("exec tail /dev/zero").await;
    assert_eq!(hog.exit, Some(TrainerExit::Signal(9)));
    assert_eq!(cgroup.new_kills(), 1);
    let own = slot.sh("kill -9 $$").await;
    assert_eq!((own.exit, cgroup.new_kills()), (Some(TrainerExit::Signal(9)), 0));
    cgroup.set_limit(0).unwrap();
    let large = slot.sh("head -c 100000000 /dev/zero | tail -c 99000000 | wc -c").await;
    assert_eq!((large.out.as_slice(), cgroup.new_kills()), (b"99000000\n".as_slice(), 0));
    slot.client.close().await;
}

#[tokio::test]
async fn a_slot_answers_whatever_its_trainer_does() {
    let mut slot = Slot::new(&[], None).await;
    for (number, script) in (1..).zip(["sleep 300", "while :; do echo x; done", "while :; do :; done"]) {
        let id = slot.begin(&["sh", "-c", script], Path::new("/")).await;
        while !matches!(slot.event().await, SlotEvent::Started { .. }) {}
        slot.client.send(&SlotRequest::Ping { number }).unwrap();
        while slot.event().await != (SlotEvent::Pong { number }) {}
        slot.client.send(&SlotRequest::Signal { id, signal: 9 }).unwrap();
        assert_eq!(slot.follow().await.exit, Some(TrainerExit::Signal(9)), "{script}");
    }
    slot.client.close().await;
}

#[tokio::test]
async fn nobody_waits_for_a_slot_that_does_not_read() {
    let mut slot = Slot::new(&[], None).await;
    slot.begin(&["sleep", "300"], Path::new("/")).await;
    while !matches!(slot.event().await, SlotEvent::Started { .. }) {}
    let pid = rustix::process::Pid::from_raw(i32::try_from(slot.client.pid().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let large = vec![("LARGE".to_owned(), "x".repeat(1 << 20))];
    slot.client.send(&SlotRequest::Base { env: large }).unwrap();
    slot.client.send(&SlotRequest::Ping { number: 7 }).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(slot.event().await, SlotEvent::Pong { number: 7 }, "what did not fit is sent later");
    slot.client.close().await;
}
