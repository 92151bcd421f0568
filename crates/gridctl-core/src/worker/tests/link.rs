//! Connections: what a worker says on them, and when it gives them up.

use super::*;

#[test]
fn a_hello_is_the_whole_truth() {
    // Promises 3 and 44: what runs, what waits, what has ended and is not recorded.
    let mut shell = Shell::welcome(2);
    shell.grant([1, 2, 3, 4]);
    shell.end(1, Class::Failed);
    shell.end(2, Class::Succeeded);
    shell.record(1);
    shell.worker.disconnected();
    shell.act();
    shell.said.clear();
    shell.worker.connected(shell.now);
    shell.act();
    let hello = shell.hello();
    let held: Vec<_> =
        hello.held.iter().map(|(token, sweep, trial)| (token.lease.0, *sweep, *trial)).collect();
    let plain = Resources { cpu_milli: 1000, mem_mib: 0, gpus: 0 };
    assert_eq!(held, [3, 4].map(|lease| (lease, SweepId(1), grant(lease, plain).trial)));
    assert_eq!(hello.reports.iter().map(|report| report.token.lease.0).collect::<Vec<_>>(), [2]);
    assert_eq!((hello.protocol, hello.worker, hello.draining), (PROTOCOL, WorkerId([1; 5]), false));
    assert_eq!(hello.capacity, slots_of(2));
}

#[test]
fn nothing_but_the_hello_is_said_before_the_welcome() {
    let mut shell = Shell::new(slots_of(1));
    shell.worker.connected(shell.now);
    shell.act();
    assert!(matches!(shell.said[..], [ToMaster::Hello(_)]));
    shell.pass(14_000, false);
    assert_eq!(shell.said.len(), 1);
}

#[test]
fn a_report_is_kept_until_it_is_recorded_or_fenced_and_said_again_on_each_connection() {
    // Promises 7 and 12: no report is forgotten before the master has it.
    let answers: [(&str, fn(&mut Shell)); 2] =
        [("recorded", |shell| shell.record(1)), ("fenced", |shell| shell.fence(1))];
    for (name, answer) in answers {
        let mut shell = Shell::welcome(1);
        shell.grant([1]);
        shell.end(1, Class::Succeeded);
        assert_eq!(shell.reported(), [(1, Class::Succeeded)], "{name}: at once");
        shell.pass(20_000, true);
        assert_eq!(shell.reported(), [], "{name}: and once a connection");
        for _ in 0..3 {
            shell.worker.disconnected();
            shell.act();
            shell.said.clear();
            shell.connect();
            assert_eq!(shell.hello().reports.len(), 1, "{name}: again on a new one");
        }
        answer(&mut shell);
        assert_eq!((shell.worker.unrecorded(), &shell.stops), (0, &vec![]), "{name}");
        shell.worker.connected(shell.now);
        shell.act();
        assert_eq!(shell.hello().reports, [], "{name}: then it is forgotten");
    }
}

#[test]
fn what_ends_while_the_master_is_away_is_reported_when_it_is_back() {
    // Promises 12 and 44.
    let mut shell = Shell::welcome(2);
    shell.grant([1, 2]);
    shell.worker.disconnected();
    shell.act();
    shell.pass(300_000, false);
    assert_eq!((shell.stops.len(), shell.running.len()), (0, 2), "a silent master is no reason to stop");
    shell.end(1, Class::Succeeded);
    shell.said.clear();
    shell.connect();
    let hello = shell.hello();
    assert_eq!((hello.held.len(), hello.reports.len()), (1, 1));
}

#[test]
fn a_link_is_dead_after_three_heartbeats_without_an_answer() {
    // Promise 38.
    let mut shell = Shell::welcome(1);
    shell.pass(60_000, true);
    assert_eq!(shell.dials, 1, "as long as it answers it lives");
    shell.pass(15_000, false);
    let dials = shell.dials;
    shell.pass(500, false);
    assert_eq!((dials, shell.dials), (1, 2));
    shell.pass(60_000, false);
    assert_eq!(shell.dials, 2, "one connection is asked for at a time");
}

#[test]
fn the_latest_progress_is_said_soon_and_a_heartbeat_asks_for_an_answer() {
    let mut shell = Shell::welcome(2);
    shell.grant([1, 2]);
    shell.said.clear();
    for step in 1..=10 {
        shell.worker.progressed(LeaseSeq(1), step, 0.5);
        shell.worker.progressed(LeaseSeq(7), step, 0.5);
    }
    shell.pass(2_000, true);
    let update = shell.updates();
    assert_eq!(update.progress, [(LeaseSeq(1), 10, 0.5)], "of what it holds, and the newest alone");
    shell.pass(5_000, true);
    let update = shell.updates();
    assert!(update.ping && update.progress.is_empty());
}

#[test]
fn a_master_of_an_older_epoch_is_not_obeyed() {
    // Promise 9.
    let mut shell = Shell::welcome(1);
    shell.grant([1]);
    shell.hear_welcome(7);
    shell.worker.connected(shell.now);
    shell.hear_welcome(6);
    assert_eq!(shell.dials, 2, "it hangs up");
    shell.fence(1);
    shell.hear(MasterUpdate { cancel: leases([1]), drain_ms: Some(0), ..MasterUpdate::default() });
    assert_eq!((shell.stops.len(), shell.running.len()), (0, 1), "and does not listen");
    shell.worker.connected(shell.now);
    shell.hear_welcome(8);
    shell.fence(1);
    assert_eq!(shell.stops, [(LeaseSeq(1), StopReason::Fenced, 0)]);
}

#[test]
fn an_orphan_ends_its_trials_and_itself_after_its_patience() {
    // Promises 12 and 45.
    let mut shell = Shell::welcome(1);
    shell.grant([1]);
    shell.worker.disconnected();
    shell.act();
    shell.pass(599_000, false);
    assert_eq!(shell.stops, []);
    shell.pass(1_000, false);
    assert_eq!(shell.stops, [(LeaseSeq(1), StopReason::Drained, GRACE_MS)]);
    shell.end(1, Class::Drained);
    assert_eq!(shell.exit, None, "its report may still find a master");
    shell.pass(60_000, false);
    assert_eq!(shell.exit, Some(Farewell::Orphaned));
}

#[test]
fn an_idle_orphan_goes_at_once() {
    // Promise 12.
    let mut shell = Shell::welcome(1);
    shell.worker.disconnected();
    shell.act();
    shell.pass(600_000, false);
    assert!(matches!(shell.exit, Some(Farewell::Drained | Farewell::Orphaned)), "{:?}", shell.exit);
}

#[test]
fn a_worker_that_is_refused_ends_with_the_masters_words() {
    let mut shell = Shell::welcome(1);
    shell.worker.received(shell.now, ToWorker::Refused("another protocol".to_owned()));
    shell.act();
    assert_eq!(shell.exit, Some(Farewell::Refused("another protocol".to_owned())));
    shell.pass(60_000, false);
    shell.worker.disconnected();
    shell.act();
    assert_eq!(shell.dials, 1, "and does not come back");
}
