//! Whose word counts: reports under current, old and forged tokens.

use super::*;
use crate::id::LeaseSeq;
use crate::record::{Channel, Doubt, MetricValue};

#[test]
fn a_report_counts_only_under_the_trials_current_token_and_from_its_holder() {
    // Promise 3: every part of the token, the trial and the connection must be right.
    let forge: [(&str, fn(&mut Report)); 13] = [
        ("no epoch", |report| report.token.epoch = Epoch(0)),
        ("a later epoch", |report| report.token.epoch.0 += 1),
        ("the last epoch of all", |report| report.token.epoch = Epoch(u32::MAX)),
        ("no lease", |report| report.token.lease = LeaseSeq(0)),
        ("another worker's lease", |report| report.token.lease.0 += 1),
        ("a lease that was never granted", |report| report.token.lease.0 += 2),
        ("the last lease of all", |report| report.token.lease = LeaseSeq(u64::MAX)),
        ("no attempt", |report| report.token.attempt = 0),
        ("a later attempt", |report| report.token.attempt += 1),
        ("the last attempt of all", |report| report.token.attempt = u32::MAX),
        ("a trial that is none", |report| report.trial = TrialId([7; 10])),
        ("a token of zeros", |report| {
            report.token = Token { epoch: Epoch(0), lease: LeaseSeq(0), attempt: 0 }
        }),
        ("a failure, forged", |report| {
            report.class = Class::Failed;
            report.token.attempt += 1;
        }),
    ];
    for (name, forge) in forge {
        let (mut world, sweep, conn) = World::at_work(2, 1);
        let other = world.join(2, "host-2", 1);
        let (grant, others) = (world.grant(conn), world.grant(other));
        let mut forged = ended(&grant, Class::Succeeded);
        forge(&mut forged);
        world.report(conn, forged.clone());
        assert_eq!(world.heard(conn).fenced, [forged.token.lease], "{name}");
        assert_eq!((world.classes(), world.states(sweep)), (vec![], [0, 2, 0, 0, 0, 0]), "{name}");
        world.report(other, ended(&grant, Class::Succeeded));
        assert_eq!(world.heard(other).fenced, [grant.token.lease], "{name}: not its holder");
        world.feed([
            said(conn, [ended(&grant, Class::Succeeded)]),
            said(other, [ended(&others, Class::Succeeded)]),
        ]);
        assert_eq!(world.states(sweep), [0, 0, 2, 0, 0, 0], "{name}: the right ones count still");
    }
}

#[test]
fn a_report_that_comes_many_times_has_one_outcome() {
    // Promises 2 and 8.
    let again: [(&str, fn(&mut World, Conn, &Grant)); 5] = [
        ("in one message", |world, conn, grant| {
            world.feed([said(conn, vec![ended(grant, Class::Succeeded); 10_000])]);
        }),
        ("in many messages of one batch", |world, conn, grant| {
            world.feed((0..100).map(|_| said(conn, [ended(grant, Class::Succeeded)])).collect::<Vec<_>>());
        }),
        ("in many batches", |world, conn, grant| {
            (0..100).for_each(|_| world.report(conn, ended(grant, Class::Succeeded)));
        }),
        ("with another end each time", |world, conn, grant| {
            world.feed([said(conn, [ended(grant, Class::Succeeded)])]);
            Class::ALL.into_iter().for_each(|class| world.report(conn, ended(grant, class)));
        }),
        ("on each new connection, over a restart", |world, conn, grant| {
            world.report(conn, ended(grant, Class::Succeeded));
            for _ in 0..3 {
                let conn = world.open(back(1, [], [ended(grant, Class::Succeeded)]));
                assert_eq!(world.heard(conn).fenced, [grant.token.lease]);
                world.save();
                world.restart();
            }
        }),
    ];
    for (name, again) in again {
        let (mut world, sweep, conn) = World::at_work(2, 1);
        let grant = world.grant(conn);
        again(&mut world, conn, &grant);
        let of_trial = world.outcomes.iter().filter(|outcome| outcome.record.report.trial == grant.trial);
        assert_eq!(
            of_trial.map(|outcome| outcome.record.state).collect::<Vec<_>>(),
            [TrialState::Succeeded],
            "{name}"
        );
        assert_eq!(world.status(sweep).succeeded, 1, "{name}");
    }
}

#[test]
fn a_report_before_any_grant_changes_nothing() {
    // Promises 3 and 10.
    let (mut world, _, conn) = World::at_work(1, 1);
    let grant = world.grant(conn);
    let mut fresh = World::new();
    let conn = fresh.join(1, "host-1", 1);
    fresh.report(conn, ended(&grant, Class::Succeeded));
    assert_eq!((fresh.heard(conn).fenced, fresh.outcomes.len()), (vec![grant.token.lease], 0));
    fresh.feed([
        said(Conn(99), [ended(&grant, Class::Succeeded)]),
        Input::Closed(Conn(99)),
        Input::Gone(worker(9)),
    ]);
    assert_eq!(fresh.outcomes.len(), 0, "what was never connected is not heard");
}

#[test]
fn a_lease_that_expired_and_nobody_else_was_granted_stands_again() {
    // Promises 3 and 16: no `lost` is written, for the attempt did not end.
    for (name, running) in [("it still runs", true), ("it has ended meanwhile", false)] {
        for restarted in [false, true] {
            let (mut world, sweep, conn) = World::at_work(1, 1);
            let grant = world.grant(conn);
            world.pass(31_000, &[]);
            assert_eq!(world.states(sweep), [1, 0, 0, 0, 0, 0], "{name}: expired");
            if restarted {
                world.restart();
            }
            let report = ended(&grant, Class::Succeeded);
            let conn = if running {
                let conn = world.open(back(1, [&grant], []));
                assert_eq!(world.states(sweep), [0, 1, 0, 0, 0, 0], "{name}: leased again");
                world.report(conn, report);
                conn
            } else {
                world.open(back(1, [], [report]))
            };
            let heard = world.heard(conn);
            assert_eq!((heard.recorded, heard.fenced), (vec![grant.token.lease], vec![]), "{name}");
            assert_eq!(world.classes(), [Class::Succeeded], "{name}");
            assert_eq!(world.states(sweep), [0, 0, 1, 0, 0, 0], "{name}");
        }
    }
}

#[test]
fn a_lease_that_expired_is_fenced_once_another_was_granted() {
    // Promises 3, 4 and 16.
    for (name, running) in [("it still runs", true), ("it has ended meanwhile", false)] {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let old = world.grant(conn);
        let other = world.join(2, "host-2", 1);
        world.pass(31_000, &[other]);
        let new = world.grant(other);
        assert_eq!((new.trial, new.token.attempt), (old.trial, 2), "{name}");
        assert!(new.token.lease > old.token.lease, "{name}: promise 5");
        assert_eq!(world.classes(), [Class::Lost], "{name}");
        let hello = if running { back(1, [&old], []) } else { back(1, [], [ended(&old, Class::Succeeded)]) };
        let conn = world.open(hello);
        assert_eq!(world.heard(conn).fenced, [old.token.lease], "{name}");
        world.report(conn, ended(&old, Class::Succeeded));
        world.report(other, ended(&new, Class::Succeeded));
        assert_eq!(world.heard(conn).fenced, [old.token.lease], "{name}");
        assert_eq!(world.classes(), [Class::Lost, Class::Succeeded], "{name}");
        assert_eq!(world.states(sweep), [0, 0, 1, 0, 0, 0], "{name}");
    }
}

#[test]
fn a_success_that_races_with_a_cancel_ends_as_exactly_one_of_the_two() {
    // Promise 45.
    let races: [(&str, fn(&mut World, SweepId, Conn, &Grant), Class); 6] = [
        (
            "success, then cancel",
            |world, sweep, conn, grant| {
                world.report(conn, ended(grant, Class::Succeeded));
                assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
            },
            Class::Succeeded,
        ),
        (
            "cancel, then success",
            |world, sweep, conn, grant| {
                assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
                assert_eq!(world.heard(conn).cancel, [grant.token.lease]);
                world.report(conn, ended(grant, Class::Succeeded));
            },
            Class::Succeeded,
        ),
        (
            "cancel and success in one batch",
            |world, sweep, conn, grant| {
                let cancel = Input::Steer(Request(1_000), sweep, Steer::Cancel);
                world.feed([cancel, said(conn, [ended(grant, Class::Succeeded)])]);
            },
            Class::Succeeded,
        ),
        (
            "cancel, then the end that it caused, then a late success",
            |world, sweep, conn, grant| {
                assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
                world.report(conn, ended(grant, Class::Cancelled));
                world.report(conn, ended(grant, Class::Succeeded));
            },
            Class::Cancelled,
        ),
        (
            "cancel, then silence, then a late success",
            |world, sweep, _, grant| {
                assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
                world.pass(31_000, &[]);
                let conn = world.open(back(1, [], [ended(grant, Class::Succeeded)]));
                assert_eq!(world.heard(conn).fenced, [grant.token.lease]);
            },
            Class::Cancelled,
        ),
        (
            "silence, then cancel, then a late success",
            |world, sweep, _, grant| {
                world.pass(31_000, &[]);
                assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
                let conn = world.open(back(1, [], [ended(grant, Class::Succeeded)]));
                assert_eq!(world.heard(conn).fenced, [grant.token.lease]);
            },
            Class::Cancelled,
        ),
    ];
    for (name, race, class) in races {
        let (mut world, sweep, conn) = World::at_work(2, 1);
        let grant = world.grant(conn);
        race(&mut world, sweep, conn, &grant);
        assert_eq!(world.classes(), [class], "{name}");
        assert_eq!(world.status(sweep).state, SweepState::Cancelled, "{name}");
        let state = if class == Class::Succeeded { TrialState::Succeeded } else { TrialState::Cancelled };
        assert_eq!(world.core.sweeps[&sweep].state_of(grant.index), state, "{name}");
    }
}

#[test]
fn a_worker_that_was_away_when_its_sweep_was_cancelled_hears_of_it_when_it_is_back() {
    // Promise 45: the order to stop is said on the next connection, in this epoch or a later one.
    for (name, restarted) in [("the master stayed", false), ("the master restarted", true)] {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let grant = world.grant(conn);
        world.feed([Input::Closed(conn)]);
        assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
        if restarted {
            world.restart();
        }
        let conn = world.open(back(1, [&grant], []));
        let heard = world.heard(conn);
        assert_eq!((heard.cancel, heard.fenced), (vec![grant.token.lease], vec![]), "{name}");
    }
}

#[test]
fn what_only_the_master_can_know_is_not_taken_from_a_worker() {
    // Promise 16: one class for each end, and the right one.
    let cases = [
        ("it cannot know that it is lost", Class::Lost, Class::WorkerFault),
        ("it cannot fence itself", Class::Fenced, Class::WorkerFault),
        ("nobody has cancelled it", Class::Cancelled, Class::WorkerFault),
        ("its own fault is believed", Class::WorkerFault, Class::WorkerFault),
        ("a drain is believed", Class::Drained, Class::Drained),
        ("a failure is believed", Class::Failed, Class::Failed),
    ];
    for (name, class, recorded) in cases {
        let (mut world, sweep, conn) = World::at_work(1, 1);
        let grant = world.grant(conn);
        world.report(conn, ended(&grant, class));
        assert_eq!(world.classes(), [recorded], "{name}");
        assert_eq!(world.trial(sweep, 0).tally.suspicion, 0, "{name}");
    }
    let (mut world, _, conn) = World::at_work(1, 1);
    let grant = world.grant(conn);
    world.report(conn, Report { objective: None, ..ended(&grant, Class::Succeeded) });
    assert_eq!(world.classes(), [Class::NoMetric], "a success without its objective is none");
}

#[test]
fn what_comes_on_an_earlier_connection_is_not_heard() {
    // Promise 8: messages that were underway when the worker connected again.
    let (mut world, sweep, old) = World::at_work(1, 1);
    let grant = world.grant(old);
    let new = world.open(back(1, [&grant], []));
    assert_eq!(world.hung_up, [old]);
    world.report(old, ended(&grant, Class::Failed));
    world.feed([Input::Closed(old)]);
    assert_eq!((world.states(sweep), world.classes()), ([0, 1, 0, 0, 0, 0], vec![]));
    world.report(new, ended(&grant, Class::Succeeded));
    assert_eq!(world.classes(), [Class::Succeeded]);
}

#[test]
fn a_worker_of_another_protocol_is_refused_and_changes_nothing() {
    // Promise 10.
    let mut world = World::new();
    let sweep = world.submit(spec("a", 1));
    let before = world.journal.len();
    let conn = world.open(Hello { protocol: PROTOCOL + 1, ..hello(1, "host-1", 1) });
    assert_eq!((&world.refused, &world.hung_up), (&vec![conn], &vec![conn]));
    assert_eq!((world.journal.len(), world.states(sweep)), (before, [1, 0, 0, 0, 0, 0]));
}

#[test]
fn a_nan_is_recorded_and_never_best() {
    let (mut world, sweep, conn) = World::at_work(3, 3);
    let grants = world.grants(conn);
    let scores = [f64::NAN, 0.25, f64::INFINITY];
    let reports: Vec<_> = grants.iter().zip(scores).map(|(grant, score)| scored(grant, score)).collect();
    world.feed([said(conn, reports)]);
    let best = world.status(sweep).best.map(|best| (best.trial, best.objective));
    assert_eq!(best, Some((grants[1].trial, MetricValue(0.25))));
    assert_eq!(world.status(sweep).succeeded, 3);
}

#[test]
fn what_can_be_read_in_two_ways_is_a_notice_that_survives_a_restart() {
    let (mut world, sweep, conn) = World::at_work(3, 3);
    let grants = world.grants(conn);
    let doubt = |other: f64| Doubt::Differs {
        metric: "loss".to_owned(),
        taken: Channel::Stdout,
        value: MetricValue(0.1),
        other: Channel::Stderr,
        other_value: MetricValue(other),
    };
    for (grant, class, other) in [
        (&grants[0], Class::Failed, 0.3),
        (&grants[1], Class::Succeeded, f64::NAN),
        (&grants[2], Class::Succeeded, 0.5),
    ] {
        world.report(conn, Report { doubts: vec![doubt(other)], ..ended(grant, class) });
    }
    let notices = [Notice::Unsure { attempts: 2, first: grants[1].trial, doubt: doubt(f64::NAN) }];
    for saves in [false, true] {
        if saves {
            world.save();
        }
        world.restart();
        assert_eq!(world.status(sweep).notices, notices, "saves: {saves}");
    }
}

#[test]
fn attempts_that_a_machine_ended_are_a_notice_with_the_last_fault_that_survives_a_restart() {
    let (mut world, sweep, conn) = World::at_work(3, 3);
    let grants = world.grants(conn);
    for (grant, fault) in grants.iter().zip(["its slot was silent", "its disk was full"]) {
        let error = Some(fault.to_owned());
        world.report(conn, Report { error, ..ended(grant, Class::WorkerFault) });
    }
    world.report(conn, Report { error: Some("its own".to_owned()), ..ended(&grants[2], Class::Failed) });
    let fault = "its disk was full".to_owned();
    let notices = [Notice::MachineFaults { attempts: 2, last: grants[1].trial, fault }];
    for saves in [false, true] {
        if saves {
            world.save();
        }
        world.restart();
        assert_eq!(world.status(sweep).notices, notices, "saves: {saves}");
    }
}

#[test]
fn files_that_were_left_out_are_a_notice_that_survives_a_restart() {
    let (mut world, sweep, conn) = World::at_work(3, 3);
    let grants = world.grants(conn);
    world.report(conn, ended(&grants[0], Class::Succeeded));
    assert_eq!(world.status(sweep).notices, []);
    for (grant, left_out) in [(&grants[1], 7), (&grants[2], u64::MAX)] {
        world.report(conn, Report { left_out, ..ended(grant, Class::Succeeded) });
    }
    let notices = [Notice::FilesLeftOut { files: u64::MAX, attempts: 2, first: grants[1].trial }];
    for saves in [false, true] {
        if saves {
            world.save();
        }
        world.restart();
        assert_eq!(world.status(sweep).notices, notices, "saves: {saves}");
    }
}
