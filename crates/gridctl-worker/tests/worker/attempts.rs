//! Whole attempts in a worker process: how they end, what they publish, how they are stopped.

use std::fs;
use std::time::Duration;

use crate::support::{World, until};
use gridctl_core::id::LeaseSeq;
use gridctl_core::protocol::{MasterUpdate, ToMaster};
use gridctl_core::record::{Class, Exit, MetricValue};
use gridctl_core::spec::SweepSpec;
use gridctl_worker::cgroup::CgroupSupport;
use gridctl_worker::marks::is_alive;

#[tokio::test]
async fn attempts_end_as_the_table_says() {
    type Change = fn(&mut SweepSpec);
    let as_it_is: Change = |_| {};
    let cases: [(&str, Change, Class, Option<Exit>, &str); 13] = [
        ("echo acc=$HP_LR", as_it_is, Class::Succeeded, Some(Exit::Code(0)), ""),
        ("printf acc=0.1", as_it_is, Class::Succeeded, Some(Exit::Code(0)), ""),
        (
            "echo '{\"acc\": 0.1}' >> \"$GRID_METRICS_FILE\"",
            as_it_is,
            Class::Succeeded,
            Some(Exit::Code(0)),
            "",
        ),
        ("exec 1>&2; echo acc: 0.1", as_it_is, Class::Succeeded, Some(Exit::Code(0)), ""),
        ("echo hello", as_it_is, Class::NoMetric, Some(Exit::Code(0)), ""),
        ("true", |spec| spec.objective = None, Class::Succeeded, Some(Exit::Code(0)), ""),
        ("echo 'Boom: no such thing' >&2; exit 3", as_it_is, Class::Failed, Some(Exit::Code(3)), "Boom"),
        ("kill -SEGV $$", as_it_is, Class::Failed, Some(Exit::Signal(11)), ""),
        ("exit 75", as_it_is, Class::Released, Some(Exit::Code(75)), ""),
        ("exit 64", |spec| spec.retry.fatal_exit_codes = vec![64], Class::Failed, Some(Exit::Code(64)), ""),
        (
            "echo acc=1; sleep 60",
            |spec| spec.timeout_ms = Some(300),
            Class::Timeout,
            Some(Exit::Signal(15)),
            "",
        ),
        (
            "",
            |spec| spec.command = vec!["pythn3".into()],
            Class::Failed,
            Some(Exit::NotStarted),
            "command not found: `pythn3`",
        ),
        ("echo acc=nan", as_it_is, Class::Succeeded, Some(Exit::Code(0)), ""),
    ];
    let mut world = World::new(1);
    let (mut master, hello) = world.accept().await;
    assert_eq!((hello.capacity.slots, hello.held.len(), hello.reports.len()), (1, 0, 0));
    for (script, change, class, exit, error) in cases {
        let sweep = world.sweep(script, change);
        master.update(world.grant(&sweep, 0.1)).await;
        let report = master.report().await;
        assert_eq!((report.class, report.exit), (class, exit), "{script}: {report:?}");
        assert!(report.error.as_deref().unwrap_or_default().contains(error), "{script}: {report:?}");
        assert_eq!(report.fatal, script == "exit 64", "{script}");
        assert_eq!(report.files, 0, "{script}");
        if class == Class::Succeeded && sweep.spec.objective.is_some() && !script.contains("nan") {
            assert_eq!(report.objective, Some(MetricValue(0.1)), "{script}");
        }
        assert!(report.started_unix_ms > 1_600_000_000_000);
    }
}

#[tokio::test]
async fn a_metrics_file_of_gigabytes_is_read_to_its_end_while_heartbeats_go_on() {
    let mut world = World::new(1);
    let (mut master, _) = world.accept().await;
    let script = r#"f="$GRID_METRICS_FILE"; echo '{"acc": 0.5}' > "$f"
        truncate -s 1200M "$f"; printf '\n{"acc": 0.1}\n' >> "$f"; echo acc=0.7"#;
    let sweep = world.sweep(script, |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    let report = loop {
        let heard = tokio::time::timeout(Duration::from_secs(3), master.hear()).await;
        let heard = heard.expect("heartbeats go on");
        if let ToMaster::Update(mut update) = heard
            && let Some(report) = update.reports.pop()
        {
            break report;
        }
    };
    assert_eq!(report.objective, Some(MetricValue(0.1)), "{:?}", report.near_misses);
}

#[tokio::test]
async fn a_metrics_file_that_cannot_be_read_makes_the_objective_unknown() {
    let mut world = World::new(1);
    let (mut master, _) = world.accept().await;
    for what in [r#"mkdir "$GRID_METRICS_FILE""#, r#"ln -s /etc/passwd "$GRID_METRICS_FILE""#] {
        let sweep = world.sweep(&format!("echo acc=0.5; {what}"), |_| {});
        master.update(world.grant(&sweep, 0.1)).await;
        let report = master.report().await;
        assert_eq!((report.class, report.objective), (Class::NoMetric, None), "{what}");
        assert!(report.near_misses.join("").contains("$GRID_METRICS_FILE cannot be read"), "{report:?}");
    }
    let sweep = world.sweep(r#"test ! -e "$GRID_METRICS_FILE"; echo acc=0.1"#, |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    assert_eq!(master.report().await.class, Class::Succeeded);
}

#[tokio::test]
async fn a_trainer_finds_what_the_contract_promises() {
    let script = r#"
        set -e
        test "$GRID_SWEEP" = test; test "$GRID_ATTEMPT" = 1; test "$GRID_TRIAL_INDEX" = 0; test "$GRID_CPUS" = 1
        test -d "$GRID_OUTPUT_DIR"; test -d "$GRID_CHECKPOINT_DIR"; test -d "$GRID_CACHE_DIR"; test ! -e "$GRID_METRICS_FILE"
        test -z "$(ls -A "$GRID_OUTPUT_DIR")"; test -z "$(ls -A "$GRID_CHECKPOINT_DIR")"
        grep -q '"lr":0.2' "$GRID_PARAMS_FILE"; grep -q 'value' "$WANDB_SWEEP_PARAM_PATH"
        test "$CUDA_VISIBLE_DEVICES" = ""; test "$OMP_NUM_THREADS" = 1; test -n "$GRID_MARK"; test "$CALLER" = yes
        test -z "${MY_TOKEN-}"; test -z "${GRIDCTL_DATA_DIR-}"; test -z "$(cat)"
        test "$(pwd -P)" = "$(cd "$(dirname "$GRID_CACHE_DIR")"; pwd -P)"
        echo x > "$GRID_OUTPUT_DIR/model"; echo y > "$GRID_CHECKPOINT_DIR/state"
        echo acc=$HP_LR"#;
    let env = [("CALLER", "yes"), ("MY_TOKEN", "secret"), ("GRIDCTL_DATA_DIR", "/x")];
    let mut world = World::with(1, &[], &env);
    let (mut master, _) = world.accept().await;
    let sweep = world.sweep(script, |_| {});
    for round in 0..2 {
        // Another code each time, so that no checkpoint of the first is restored.
        let mut update = world.grant(&sweep, 0.2);
        update.grants[0].fingerprint.0[0] = round;
        let (trial, token) = (update.grants[0].trial, update.grants[0].token);
        master.update(update).await;
        let report = master.report().await;
        assert_eq!((report.class, report.files), (Class::Succeeded, 1), "round {round}: {}", report.log);
        let manifest = world.results().attempt_manifest(trial, token).unwrap().expect("it is published");
        assert_eq!(manifest.files.len(), 1);
        let copy = world.dir().join(format!("copy{round}"));
        world.results().fetch_attempt(&manifest, &copy).unwrap();
        assert!(fs::read_dir(copy).unwrap().count() > 0);
    }
}

#[tokio::test]
async fn a_long_log_is_published_whole_and_its_end_recorded() {
    let mut world = World::new(1);
    let (mut master, _) = world.accept().await;
    let sweep = world.sweep("seq 1 50000; echo acc=1", |_| {});
    let update = world.grant(&sweep, 0.1);
    let (trial, token) = (update.grants[0].trial, update.grants[0].token);
    master.update(update).await;
    let report = master.report().await;
    assert_eq!((report.class, report.files, report.log_bytes), (Class::Succeeded, 1, 288_900));
    assert!(report.log.len() <= 64 << 10 && report.log.ends_with("50000\nacc=1\n"));
    let log = world.results().attempt_log(trial, token, 0..1 << 20).unwrap();
    assert!(log.starts_with(b"1\n2\n") && log.len() == 288_900);
}

#[tokio::test]
async fn a_checkpoint_is_there_for_the_next_attempt_and_for_no_other_trial() {
    let mut world = World::new(1);
    let (mut master, _) = world.accept().await;
    let script = r#"cd "$GRID_CHECKPOINT_DIR"; if [ -e deep/state ]; then echo acc=$(cat deep/state); else mkdir deep; echo 7 > deep/state; exit 75; fi"#;
    let sweep = world.sweep(script, |_| {});
    for (lr, class, moved) in
        [(0.1, Class::Released, true), (0.1, Class::Succeeded, false), (0.2, Class::Released, true)]
    {
        master.update(world.grant(&sweep, lr)).await;
        let report = master.report().await;
        assert_eq!((report.class, report.checkpoint_moved), (class, moved), "{report:?}");
    }
    // What SIGKILL ended is not published.
    let sweep = world.sweep(r#"echo half > "$GRID_CHECKPOINT_DIR/state"; kill -9 $$"#, |_| {});
    master.update(world.grant(&sweep, 0.1)).await;
    let report = master.report().await;
    assert_eq!((report.exit, report.checkpoint_moved), (Some(Exit::Signal(9)), false));
}

#[tokio::test]
async fn a_drain_ends_even_what_ignores_it_and_says_goodbye() {
    let mut world = World::new(2);
    let (mut master, _) = world.accept().await;
    let stubborn = world.sweep("trap '' TERM; touch up1; while :; do sleep 0.1; done", |_| {});
    let polite =
        world.sweep("trap 'exit 0' TERM; echo acc=1; touch up2; while :; do sleep 0.1; done", |_| {});
    master.update(world.grant(&stubborn, 0.1)).await;
    master.update(world.grant(&polite, 0.2)).await;
    let dir = world.dir().to_owned();
    until("both go on", || dir.join("up1").exists() && dir.join("up2").exists()).await;
    master.update(MasterUpdate { drain_ms: Some(400), ..MasterUpdate::default() }).await;
    let mut reports = Vec::new();
    while reports.len() < 2 {
        reports.extend(master.reports().await);
    }
    reports.sort_by_key(|report| report.token.lease);
    let ends: Vec<_> = reports.iter().map(|report| (report.class, report.exit)).collect();
    assert_eq!(ends, [(Class::Drained, Some(Exit::Signal(9))), (Class::Drained, Some(Exit::Code(0)))]);
    loop {
        if let ToMaster::Update(update) = master.hear().await
            && update.bye
        {
            break;
        }
    }
    drop(master);
    assert!(world.gone().await.success());
    assert_eq!(fs::read_dir(world.dir().join("work")).unwrap().count(), 0, "its directories are gone");
}

#[tokio::test]
async fn what_is_fenced_ends_and_is_not_reported_and_what_is_cancelled_is() {
    let mut world = World::new(2);
    let (mut master, _) = world.accept().await;
    let sweep = world.sweep("echo $$ > pid$HP_LR.tmp; mv pid$HP_LR.tmp pid$HP_LR; exec sleep 300", |_| {});
    for lr in [0.1, 0.2] {
        master.update(world.grant(&sweep, lr)).await;
    }
    let dir = world.dir().to_owned();
    until("both go on", || dir.join("pid0.1").exists() && dir.join("pid0.2").exists()).await;
    let pid: u32 = fs::read_to_string(dir.join("pid0.1")).unwrap().trim().parse().unwrap();
    master.update(MasterUpdate { fenced: vec![LeaseSeq(1)], ..MasterUpdate::default() }).await;
    until("the fenced one is gone", || !is_alive(pid)).await;
    master.update(MasterUpdate { cancel: vec![LeaseSeq(2)], ..MasterUpdate::default() }).await;
    let report = master.report().await;
    assert_eq!((report.token.lease, report.class), (LeaseSeq(2), Class::Cancelled));
}

#[tokio::test]
async fn a_master_that_comes_back_hears_the_whole_truth() {
    let mut world = World::new(2);
    let (master, _) = world.accept().await;
    let quick = world.sweep("while [ ! -e go ]; do sleep 0.05; done; echo acc=1; touch gone", |_| {});
    let slow = world.sweep("touch up; while [ ! -e end ]; do sleep 0.05; done; echo acc=2", |_| {});
    master.update(world.grant(&quick, 0.1)).await;
    master.update(world.grant(&slow, 0.2)).await;
    let dir = world.dir().to_owned();
    until("it goes on", || dir.join("up").exists()).await;
    drop(master);
    world.stop_master().await;
    fs::write(dir.join("go"), "").unwrap();
    until("one has ended", || dir.join("gone").exists()).await;
    world.restart_master();
    let (mut master, hello) = world.accept().await;
    let held: Vec<_> = hello.held.iter().map(|(token, ..)| token.lease).collect();
    let mut reported: Vec<_> = hello.reports.iter().map(|report| report.token.lease).collect();
    if reported.is_empty() {
        reported = master.reports().await.iter().map(|report| report.token.lease).collect();
    }
    assert!(held.contains(&LeaseSeq(2)), "{held:?}");
    assert_eq!(reported, [LeaseSeq(1)]);
    master.update(MasterUpdate { recorded: reported, ..MasterUpdate::default() }).await;
    fs::write(dir.join("end"), "").unwrap();
    let report = master.report().await;
    assert_eq!((report.token.lease, report.objective), (LeaseSeq(2), Some(MetricValue(2.0))));
}

#[tokio::test]
async fn out_of_memory_is_the_kernels_word_and_never_a_guess() {
    if let CgroupSupport::None { why } = CgroupSupport::detect() {
        eprintln!("SKIPPED: {why}");
        assert!(std::env::var_os("GRIDCTL_TEST_NO_SKIP").is_none(), "nothing may be skipped here");
        return;
    }
    let mut world = World::new(1);
    let (mut master, _) = world.accept().await;
    let cases = [
        ("exec tail /dev/zero", 64, Class::Oom),
        ("tail /dev/zero; exit 1", 64, Class::Oom),
        ("kill -9 $$", 64, Class::Failed),
        ("exit 137", 64, Class::Failed),
        ("head -c 100000000 /dev/zero | tail -c 99000000 > /dev/null; echo acc=1", 0, Class::Succeeded),
    ];
    for (script, mem_mib, class) in cases {
        let sweep = world.sweep(script, |spec| spec.resources.mem_mib = mem_mib);
        master.update(world.grant(&sweep, 0.1)).await;
        let report = master.report().await;
        assert_eq!(report.class, class, "{script}: {report:?}");
    }
}
