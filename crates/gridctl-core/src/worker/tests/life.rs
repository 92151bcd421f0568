//! Attempts: what is started, what is stopped, and how a worker ends.

use super::*;

const PLAIN: Resources = Resources { cpu_milli: 1000, mem_mib: 0, gpus: 0 };

#[test]
fn a_grant_that_is_heard_twice_is_started_once() {
    // Promise 8.
    let again: [(&str, fn(&mut Shell)); 3] = [
        ("while it runs", |shell| shell.grant([1, 1, 1])),
        ("while it waits", |shell| shell.grant([2, 2])),
        ("while its report is underway", |shell| {
            shell.end(1, Class::Succeeded);
            shell.grant([1]);
        }),
    ];
    for (name, again) in again {
        let mut shell = Shell::welcome(1);
        shell.grant([1, 2]);
        again(&mut shell);
        let mut once = shell.started.clone();
        once.dedup();
        assert_eq!(shell.started, once, "{name}");
        assert!(shell.worker.holds().len() <= 2, "{name}");
    }
}

#[test]
fn what_fits_starts_in_order_and_the_rest_waits() {
    let mut shell = Shell::welcome(2);
    shell.grant([1, 2, 3, 4]);
    assert_eq!(shell.started, leases([1, 2]));
    assert!(shell.worker.is_placed(LeaseSeq(2)) && !shell.worker.is_placed(LeaseSeq(3)));
    shell.end(2, Class::Succeeded);
    assert_eq!(shell.started, leases([1, 2, 3]));
    assert_eq!(shell.running[&LeaseSeq(3)].slot, 1, "the slot that became free");
    shell.end(1, Class::Succeeded);
    assert_eq!((shell.running[&LeaseSeq(4)].slot, shell.worker.holds()), (0, leases([3, 4])));
}

#[test]
fn slots_and_gpus_serve_one_attempt_at_a_time() {
    // The shell checks every start; here: which ones are given.
    let mut shell = Shell::new(Capacity { cpu_milli: 8000, mem_mib: 1000, gpus: 4, slots: 0 });
    shell.connect();
    shell.grant_sized([1, 2], Resources { gpus: 1, ..PLAIN });
    shell.grant_sized([3, 4], Resources { gpus: 2, ..PLAIN });
    shell.grant([5]);
    assert_eq!(shell.started, leases([1, 2, 3, 5]), "what does not fit lets smaller ones pass");
    assert_eq!(shell.running[&LeaseSeq(3)].gpus, [2, 3]);
    shell.end(1, Class::Succeeded);
    assert!(!shell.worker.is_placed(LeaseSeq(4)), "one is not enough");
    shell.end(2, Class::Succeeded);
    assert_eq!(shell.running[&LeaseSeq(4)].gpus, [0, 1]);
}

#[test]
fn a_grant_that_cannot_be_held_is_answered() {
    // Promise 41: it would be held for ever otherwise.
    let unknown = MasterUpdate { grants: vec![grant(1, PLAIN)], ..MasterUpdate::default() };
    let mut shell = Shell::welcome(1);
    shell.hear(unknown);
    assert_eq!(shell.reported(), [(1, Class::WorkerFault)], "of a sweep that nobody told of");
    let large = [Resources { gpus: 1, ..PLAIN }, Resources { mem_mib: 1_001, ..PLAIN }];
    for resources in large {
        let mut shell = Shell::welcome(1);
        shell.grant_sized([1], resources);
        assert_eq!(shell.reported(), [(1, Class::WorkerFault)], "{resources:?}");
        assert_eq!((shell.started.len(), shell.worker.holds().len()), (0, 0));
    }
}

#[test]
fn a_fenced_attempt_is_stopped_at_once_and_not_reported() {
    // Promise 3.
    let mut shell = Shell::welcome(1);
    shell.grant([1, 2]);
    shell.fence(2);
    assert_eq!((shell.stops.len(), shell.worker.holds()), (0, leases([1])), "one that waits is dropped");
    shell.fence(1);
    shell.fence(1);
    assert_eq!(shell.stops[0], (LeaseSeq(1), StopReason::Fenced, 0));
    shell.end(1, Class::Succeeded);
    assert_eq!((shell.reported(), shell.worker.unrecorded()), (vec![], 0));
    shell.fence(1);
    shell.fence(99);
    assert_eq!(shell.worker.holds(), [], "fencing what is not there changes nothing");
}

#[test]
fn a_cancelled_attempt_gets_its_grace_and_is_reported() {
    // Promise 45.
    let mut shell = Shell::welcome(1);
    shell.grant([1, 2]);
    let cancel = MasterUpdate { cancel: leases([1, 2, 99]), ..MasterUpdate::default() };
    shell.hear(cancel.clone());
    shell.hear(cancel);
    assert_eq!(shell.stops, [(LeaseSeq(1), StopReason::Cancelled, GRACE_MS)], "asked once");
    assert_eq!(shell.reported(), [(2, Class::Cancelled)], "one that waits has ended");
    shell.fence(1);
    assert_eq!(shell.stops.last(), Some(&(LeaseSeq(1), StopReason::Fenced, 0)), "fenced goes before");
}

#[test]
fn a_draining_worker_gives_back_what_waits_ends_what_runs_and_says_bye_last() {
    // Promise 43.
    let drains: [(&str, fn(&mut Shell)); 2] = [
        ("asked by the master", |shell| {
            shell.hear(MasterUpdate { drain_ms: Some(7_000), ..MasterUpdate::default() });
        }),
        ("asked by its machine", |shell| {
            shell.worker.drain(shell.now, StopReason::Drained, 7_000);
            shell.act();
        }),
    ];
    for (name, drain) in drains {
        let mut shell = Shell::welcome(1);
        shell.grant([1, 2, 3]);
        shell.said.clear();
        drain(&mut shell);
        drain(&mut shell);
        let update = shell.updates();
        assert!(update.draining && !update.bye, "{name}");
        assert_eq!(
            update.reports.iter().map(|report| report.class).collect::<Vec<_>>(),
            [Class::Drained; 2],
            "{name}"
        );
        assert_eq!(shell.stops, [(LeaseSeq(1), StopReason::Drained, 7_000)], "{name}: asked once");
        shell.grant([4]);
        assert_eq!((shell.reported(), shell.started.len()), (vec![(4, Class::Drained)], 1), "{name}");
        shell.end(1, Class::Drained);
        assert_eq!(shell.reported(), [(1, Class::Drained)], "{name}");
        [1, 2, 3].into_iter().for_each(|lease| shell.record(lease));
        assert_eq!((shell.said.len(), &shell.exit), (0, &None), "{name}: not before all is recorded");
        shell.record(4);
        assert!(shell.updates().bye, "{name}");
        assert_eq!(shell.exit, Some(Farewell::Drained), "{name}");
    }
}

#[test]
fn a_worker_that_drains_between_hello_and_welcome_says_so_after_it() {
    // Promise 43: the master would grant it trial after trial otherwise, each at the cost of an
    // attempt.
    let mut shell = Shell::welcome(1);
    shell.grant([1]);
    shell.worker.disconnected();
    shell.act();
    shell.said.clear();
    shell.worker.connected(shell.now);
    shell.act();
    assert!(!shell.hello().draining);
    shell.worker.drain(shell.now, StopReason::Preempted, 1_000);
    shell.act();
    assert_eq!(shell.said, []);
    shell.hear_welcome(1);
    assert!(shell.updates().draining);
}

#[test]
fn a_draining_worker_without_a_master_waits_for_a_while_and_goes() {
    // Promise 43.
    let mut shell = Shell::welcome(1);
    shell.grant([1]);
    shell.worker.disconnected();
    shell.worker.drain(shell.now, StopReason::Drained, 1_000);
    shell.act();
    shell.end(1, Class::Drained);
    shell.pass(30_000, false);
    assert_eq!(shell.exit, None);
    shell.pass(1_000, false);
    assert_eq!(shell.exit, Some(Farewell::Unreported));
    let mut idle = Shell::new(slots_of(1));
    idle.worker.drain(idle.now, StopReason::Drained, 1_000);
    idle.act();
    assert_eq!(idle.exit, Some(Farewell::Drained), "one that holds nothing has nothing to wait for");
}

#[test]
fn nothing_is_started_on_a_lease_that_was_not_confirmed_for_half_its_time() {
    // Promise 4: it may be another worker's by now.
    for (name, silence, starts) in [("half its time", 15_000, true), ("a little longer", 15_500, false)] {
        let mut shell = Shell::welcome(1);
        shell.grant([1, 2]);
        shell.worker.disconnected();
        shell.act();
        shell.pass(silence, false);
        shell.end(1, Class::Succeeded);
        assert_eq!(shell.worker.is_placed(LeaseSeq(2)), starts, "{name}");
        shell.worker.connected(shell.now);
        shell.hear_welcome(1);
        assert_eq!(shell.worker.is_placed(LeaseSeq(2)), starts, "{name}: a welcome says nothing of leases");
        shell.hear(MasterUpdate::default());
        assert!(shell.worker.is_placed(LeaseSeq(2)), "{name}: confirmed");
    }
}

#[test]
fn short_trials_are_held_in_advance_and_long_ones_are_not() {
    let cases = [
        ("a millisecond", 1, 2, 64 * 2),
        ("no time at all", 0, 2, 64 * 2),
        ("ten milliseconds", 10, 1, 8),
        ("half a second", 500, 4, 4),
        ("a second", 1_000, 4, 0),
        ("an hour", 3_600_000, 4, 0),
        ("short, on a large worker", 1, 128, 256),
    ];
    for (name, duration_ms, slots, prefetch) in cases {
        let mut shell = Shell::welcome(slots);
        shell.grant([1]);
        shell.end_after(1, Class::Succeeded, duration_ms);
        assert_eq!(shell.updates().prefetch.unwrap_or(0), prefetch, "{name}");
        shell.worker.disconnected();
        shell.act();
        shell.said.clear();
        shell.worker.connected(shell.now);
        shell.act();
        assert_eq!(shell.hello().prefetch, prefetch, "{name}: and says so on each connection");
    }
}

#[test]
fn when_trials_become_long_less_is_held_in_advance() {
    let mut shell = Shell::welcome(1);
    for lease in 1..=20 {
        shell.grant([lease]);
        shell.end_after(lease, Class::Succeeded, 5);
    }
    assert!(shell.updates().prefetch.is_some_and(|prefetch| prefetch >= 8));
    for lease in 21..=60 {
        shell.grant([lease]);
        shell.end_after(lease, Class::Succeeded, 5_000);
    }
    assert_eq!(shell.updates().prefetch, Some(0));
}

#[test]
fn an_end_or_progress_of_what_is_not_held_changes_nothing() {
    // Promise 10.
    let mut shell = Shell::welcome(1);
    let stray = grant(5, PLAIN);
    shell.worker.ended(shell.now, Report::without_process(stray.token, stray.trial, Class::Failed, ""));
    shell.worker.progressed(LeaseSeq(5), 1, 1.0);
    shell.act();
    assert_eq!((shell.said.len(), shell.worker.unrecorded()), (0, 0));
}

#[test]
fn what_waits_starts_where_its_version_is_by_then() {
    let mut shell = Shell::welcome(1);
    shell.grant([1, 2]);
    let mut moved = (*sweep()).clone();
    moved.sources.base = "/elsewhere".to_owned();
    let sweeps = vec![(SweepId(1), 1, Arc::new(moved))];
    shell.hear(MasterUpdate { sweeps, ..MasterUpdate::default() });
    shell.end(1, Class::Succeeded);
    assert_eq!(shell.running[&LeaseSeq(2)].sweep.sources.base, "/elsewhere");
}
