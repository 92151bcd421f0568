//! Time: deadlines, restarts, stalls, and what a worker that went away has left.

use super::*;

#[test]
fn a_lease_ends_at_its_deadline_and_not_a_millisecond_before() {
    // Promise 4, on the master's clock alone.
    let (mut world, sweep, conn) = World::at_work(1, 1);
    assert_eq!(world.core.next_deadline(), Some(Time(30_000)));
    world.pass(29_999, &[]);
    assert_eq!((world.states(sweep), world.hung_up.len()), ([0, 1, 0, 0, 0, 0], 0));
    world.pass(1, &[]);
    assert_eq!((world.states(sweep), &world.hung_up), ([1, 0, 0, 0, 0, 0], &vec![conn]));
    assert_eq!(world.core.next_deadline(), None, "nothing is timed any more");
}

#[test]
fn heartbeats_keep_leases_for_ever_and_are_never_written() {
    // Promise 15.
    let (mut world, sweep, conn) = World::at_work(1, 1);
    let before = world.journal.clone();
    world.pass(3 * 3_600_000, &[conn]);
    assert_eq!((world.states(sweep), world.journal), ([0, 1, 0, 0, 0, 0], before));
}

#[test]
fn a_grant_that_never_arrived_comes_back_at_no_suspicion() {
    // Promise 19: a hello that does not name the lease says that nothing was started.
    for (name, restarted) in [("the connection broke", false), ("the master restarted", true)] {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let lost = world.grant(conn);
        if restarted {
            world.restart();
        }
        let conn = world.open(back(1, [], []));
        let again = world.grant(conn);
        assert_eq!((again.trial, again.token.attempt), (lost.trial, 2), "{name}");
        assert_eq!(world.classes(), [Class::WorkerFault], "{name}");
        let tally = world.trial(sweep, 0).tally;
        assert_eq!((tally.suspicion, tally.failures, tally.lost), (0, 0, 1), "{name}");
    }
}

#[test]
fn epochs_leases_and_attempts_grow_over_restarts() {
    // Promise 5, with and without a snapshot.
    for saved in [false, true] {
        let (mut world, _, conn) = World::at_work(1, 1);
        let mut last = world.grant(conn).token;
        for _ in 0..5 {
            if saved {
                world.save();
            }
            world.restart();
            let conn = world.open(back(1, [], []));
            let next = world.grant(conn).token;
            assert!(next.epoch > last.epoch && next.lease > last.lease && next.attempt > last.attempt);
            last = next;
        }
    }
}

#[test]
fn after_a_restart_leases_get_their_grace_and_only_so_often() {
    // Promise 13: the longer of a lease and a minute, at most three leases in all without a word, then what dialling takes.
    let cases: [(&str, u64, &[u64]); 4] = [
        ("a lease of 30 s", 30_000, &[60_000, 30_000, 10_000, 10_000]),
        ("a lease of 2 min", 120_000, &[120_000, 120_000, 120_000, 10_000]),
        ("a lease of 50 s", 50_000, &[60_000, 60_000, 30_000, 10_000]),
        ("a lease of 3 s: the minute is all there is", 3_000, &[60_000, 10_000, 10_000]),
    ];
    for (name, ttl_ms, graces) in cases {
        for saved in [false, true] {
            let mut world = World::with(Timing::new(ttl_ms, 1_000, 3_600_000, 60_000).unwrap());
            world.submit(spec("a", 1));
            world.join(1, "host-1", 1);
            for (restarts, grace) in graces.iter().enumerate() {
                if saved {
                    world.save();
                }
                world.now = world.now.after_ms(1_000);
                world.restart();
                let deadline = world.core.next_deadline();
                assert_eq!(deadline, Some(world.now.after_ms(*grace)), "{name}, restart {restarts}, {saved}");
            }
        }
    }
}

#[test]
fn workers_keep_what_they_hold_over_masters_that_end_before_they_have_dialled() {
    // Promise 44.
    let (mut world, sweep, first) = World::at_work(2, 1);
    let second = world.join(2, "host-2", 1);
    let grants = [world.grant(first), world.grant(second)];
    for _ in 0..10 {
        world.restart();
        world.feed([Input::Tick]);
    }
    world.open(back(1, [&grants[0]], []));
    let third = world.join(3, "host-3", 1);
    world.pass(5_000, &[]);
    world.open(back(2, [&grants[1]], []));
    assert_eq!((world.states(sweep), world.classes()), ([0, 2, 0, 0, 0, 0], vec![]));
    assert_eq!(world.grants(third).len(), 0);
}

#[test]
fn a_word_from_the_worker_makes_its_grace_whole_again() {
    // Promise 13.
    let (mut world, sweep, conn) = World::at_work(1, 1);
    let grant = world.grant(conn);
    for _ in 0..10 {
        world.restart();
        assert_eq!(world.core.next_deadline(), Some(world.now.after_ms(60_000)));
        world.pass(59_999, &[]);
        assert_eq!(world.states(sweep), [0, 1, 0, 0, 0, 0]);
        world.open(back(1, [&grant], []));
        world.save();
    }
    world.restart();
    world.pass(60_000, &[]);
    assert_eq!(world.states(sweep), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn the_masters_own_lateness_is_not_held_against_workers() {
    // Promise 14: late by more than a quarter of a lease.
    let cases = [
        ("a quarter is no stall", 7_500, 30_000),
        ("a little more is one", 7_501, 37_501),
        ("nearly a lease", 29_000, 59_000),
        ("longer than a lease", 100_000, 130_000),
        ("suspended for a day", 86_400_000, 86_430_000),
    ];
    for (name, late, deadline) in cases {
        let (mut world, sweep, _) = World::at_work(1, 1);
        world.jump(late);
        assert_eq!(world.states(sweep), [0, 1, 0, 0, 0, 0], "{name}");
        assert_eq!(world.core.next_deadline(), Some(Time(deadline)), "{name}");
    }
}

#[test]
fn a_stall_between_step_and_settle_extends_leases_too() {
    // Promise 14: a slow commit is the same as a late tick.
    let (mut world, sweep, _) = World::at_work(1, 1);
    world.pass(25_000, &[]);
    world.core.step(world.now, Input::Tick);
    world.now = world.now.after_ms(20_000);
    world.core.settle(world.now);
    world.absorb();
    assert_eq!(world.states(sweep), [0, 1, 0, 0, 0, 0]);
    assert_eq!(world.core.next_deadline(), Some(Time(50_000)));
}

#[test]
fn how_a_worker_goes_decides_when_and_at_whose_cost_its_trial_is_free() {
    // Promises 18 and 19: (state right after, class once another attempt was granted, suspicion).
    let goes: [(&str, fn(&mut World, Conn), bool, Class, u8); 6] = [
        (
            "its connection breaks: the lease stands",
            |world, conn| {
                world.feed([Input::Closed(conn)]);
                assert_eq!(world.core.workers().iter().filter(|worker| !worker.connected).count(), 1);
                world.feed([Input::Gone(worker(1))]);
            },
            true,
            Class::Lost,
            1,
        ),
        (
            "the fleet saw its process end",
            |world, _| world.feed([Input::Gone(worker(1))]),
            true,
            Class::Lost,
            1,
        ),
        (
            "it says bye",
            |world, conn| {
                let bye = WorkerUpdate { bye: true, ..WorkerUpdate::default() };
                world.feed([Input::Said(conn, Box::new(bye))]);
                assert_eq!(world.hung_up, [conn]);
            },
            true,
            Class::WorkerFault,
            0,
        ),
        (
            "the master ended it with itself",
            |world, _| {
                world.restart();
                world.feed([Input::OrphansEnded]);
            },
            true,
            Class::WorkerFault,
            0,
        ),
        (
            "the master ended it with itself, and then itself alone until no grace was left",
            |world, _| {
                for _ in 0..3 {
                    world.restart();
                }
                world.pass(10_000, &[]);
                assert_eq!(world.core.workers().len(), 0, "its lease has expired");
                world.feed([Input::OrphansEnded]);
            },
            true,
            Class::WorkerFault,
            0,
        ),
        ("it falls silent", |world, _| world.pass(30_000, &[]), true, Class::Lost, 1),
    ];
    for (name, go, free, class, suspicion) in goes {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let grant = world.grant(conn);
        go(&mut world, conn);
        assert_eq!(world.states(sweep)[0] == 1, free, "{name}");
        assert_eq!(world.classes(), [], "{name}: no attempt has ended yet");
        let other = world.join(2, "host-2", 1);
        assert_eq!(world.grant(other).trial, grant.trial, "{name}");
        assert_eq!(world.classes(), [class], "{name}");
        assert_eq!(world.trial(sweep, 0).tally.suspicion, suspicion, "{name}");
    }
}

#[test]
fn a_partition_shorter_than_a_lease_costs_nothing() {
    // Promise 37.
    let (mut world, sweep, conn) = World::at_work(3, 3);
    let grants = world.grants(conn);
    world.feed([Input::Closed(conn)]);
    world.pass(29_000, &[]);
    let before = world.journal.len();
    let conn = world.open(back(1, &grants[1..], [ended(&grants[0], Class::Succeeded)]));
    assert_eq!(world.journal.len(), before + 1, "the one report");
    world.pass(60_000, &[conn]);
    world.feed([said(conn, grants[1..].iter().map(|grant| ended(grant, Class::Succeeded)))]);
    assert_eq!(world.states(sweep), [0, 0, 3, 0, 0, 0]);
    assert_eq!(world.classes(), [Class::Succeeded; 3]);
}

#[test]
fn a_timing_that_would_lose_leases_is_refused() {
    let cases = [
        ("the default", 30_000, 5_000, Ok(())),
        ("three heartbeats", 3, 1, Ok(())),
        ("two", 2_999, 1_000, Err(TimingError::LeaseTooShort { ttl_ms: 2_999, heartbeat_ms: 1_000 })),
        ("none", 30_000, 0, Err(TimingError::LeaseTooShort { ttl_ms: 30_000, heartbeat_ms: 0 })),
        ("over a day", 86_400_001, 1_000, Err(TimingError::LeaseTooLong { ttl_ms: 86_400_001 })),
    ];
    for (name, ttl_ms, heartbeat_ms, expected) in cases {
        assert_eq!(Timing::new(ttl_ms, heartbeat_ms, 0, 0).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn a_broken_invariant_is_asserted_and_in_a_release_told_to_the_shell() {
    let effects = std::panic::catch_unwind(|| {
        let mut core = Core::new(Timing::default());
        let token = Token { epoch: Epoch(1), lease: LeaseSeq(1), attempt: 1 };
        core.apply(Time(0), &Event::Leased { sweep: SweepId(7), pos: 0, token, worker: WorkerId([0; 5]) });
        core.take().effects
    });
    let is_told = |effects: Vec<Effect>| matches!(effects[..], [Effect::Broken(_), ..]);
    assert!(effects.map_or(cfg!(debug_assertions), is_told));
}
