//! What people ask for: submitting again, new versions, steering, retrying; asking twice changes nothing the second time.

use super::*;
use crate::id::TrialId;

/// A sweep of four trials in a state, with a worker; made by its history.
fn in_state(state: SweepState) -> (World, SweepId, Conn) {
    let (mut world, sweep, conn) = World::at_work(4, 1);
    let steer = match state {
        SweepState::Running | SweepState::Interrupted => return (world, sweep, conn),
        SweepState::Paused => Steer::Pause,
        SweepState::Stopping | SweepState::Stopped => Steer::Stop,
        SweepState::Cancelled => Steer::Cancel,
        SweepState::Finished => {
            for _ in 0..4 {
                let grant = world.grant(conn);
                world.report(conn, ended(&grant, Class::Succeeded));
            }
            return (world, sweep, conn);
        }
    };
    assert_eq!(world.steer(sweep, steer), Ok(Answer::Done(1)));
    if state == SweepState::Stopped {
        let grant = world.grant(conn);
        world.report(conn, ended(&grant, Class::Succeeded));
    }
    (world, sweep, conn)
}

#[test]
fn c12_steering_is_answered_in_every_state_and_changes_what_it_says() {
    use {Steer::*, SweepState as S};
    let over = |reason| Err(Refusal::Over { name: "a".to_owned(), reason });
    let done = |touched| Ok(Answer::Done(touched));
    let cases = [
        (S::Running, Pause, done(1), S::Paused),
        (S::Running, Resume, done(0), S::Running),
        (S::Running, Stop, done(1), S::Stopping),
        (S::Running, Cancel, done(1), S::Cancelled),
        (S::Paused, Pause, done(0), S::Paused),
        (S::Paused, Resume, done(1), S::Running),
        (S::Paused, Stop, done(1), S::Stopping),
        (S::Paused, Cancel, done(1), S::Cancelled),
        (S::Stopping, Pause, done(1), S::Paused),
        (S::Stopping, Resume, done(1), S::Running),
        (S::Stopping, Stop, done(0), S::Stopping),
        (S::Stopping, Cancel, done(1), S::Cancelled),
        (S::Stopped, Pause, over(CloseReason::Stopped), S::Stopped),
        (S::Stopped, Resume, done(1), S::Running),
        (S::Stopped, Stop, over(CloseReason::Stopped), S::Stopped),
        (S::Stopped, Cancel, done(1), S::Cancelled),
        (S::Cancelled, Pause, over(CloseReason::Cancelled), S::Cancelled),
        (S::Cancelled, Resume, done(1), S::Running),
        (S::Cancelled, Stop, over(CloseReason::Cancelled), S::Cancelled),
        (S::Cancelled, Cancel, over(CloseReason::Cancelled), S::Cancelled),
        (S::Finished, Pause, over(CloseReason::Finished), S::Finished),
        (S::Finished, Resume, over(CloseReason::Finished), S::Finished),
        (S::Finished, Stop, over(CloseReason::Finished), S::Finished),
        (S::Finished, Cancel, over(CloseReason::Finished), S::Finished),
    ];
    for (state, steer, answer, after) in cases {
        let (mut world, sweep, _) = in_state(state);
        assert_eq!(world.status(sweep).state, state);
        let before = world.journal.len();
        assert_eq!(world.steer(sweep, steer), answer, "{state:?}, {steer:?}");
        assert_eq!(world.status(sweep).state, after, "{state:?}, {steer:?}");
        assert_eq!(
            world.journal.len() > before,
            answer == done(1),
            "{state:?}, {steer:?}: written if it changes"
        );
        world.save();
        world.restart();
        assert_eq!(world.status(sweep).state, after, "{state:?}, {steer:?}, after a restart");
    }
}

#[test]
fn c12_an_unknown_sweep_or_trial_is_an_answer() {
    // Promise 10.
    let (mut world, sweep, _) = in_state(SweepState::Finished);
    let nobody = SweepId(99);
    for steer in [Steer::Pause, Steer::Resume, Steer::Stop, Steer::Cancel] {
        assert_eq!(world.steer(nobody, steer), Err(Refusal::UnknownSweep(nobody)));
    }
    let [trial, none] = [world.core.sweeps[&sweep].trial_id(0), TrialId([9; 10])];
    assert_eq!(world.retry(nobody, &[trial]), Err(Refusal::UnknownSweep(nobody)));
    let unknown = Refusal::UnknownTrial { name: "a".to_owned(), trial: none };
    assert_eq!(world.retry(sweep, &[none]), Err(unknown));
    let settled = Refusal::NotEnded { trial, state: TrialState::Succeeded };
    assert_eq!(world.retry(sweep, &[trial]), Err(settled));
    assert_eq!(world.status(sweep).state, SweepState::Finished);
}

#[test]
fn pause_grants_nothing_and_lets_run_what_runs() {
    let (mut world, sweep, conn) = in_state(SweepState::Paused);
    let grant = world.grant(conn);
    world.report(conn, ended(&grant, Class::Succeeded));
    world.pass(60_000, &[conn]);
    assert_eq!((world.grants(conn).len(), world.states(sweep)), (0, [3, 0, 1, 0, 0, 0]));
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    assert_eq!(world.grants(conn).len(), 1);
}

#[test]
fn stop_lets_run_what_runs_and_then_closes() {
    let (mut world, sweep, conn) = in_state(SweepState::Stopping);
    let heard = world.heard(conn);
    assert_eq!((heard.cancel.len(), &world.turned), (0, &vec![]));
    world.report(conn, ended(&heard.grants[0], Class::Failed));
    assert_eq!(world.status(sweep).state, SweepState::Stopped);
    assert_eq!((world.states(sweep), &world.turned), ([0, 0, 0, 0, 0, 4], &vec![sweep]));
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    assert_eq!(world.grants(conn).len(), 1, "it goes on where it stopped");
}

#[test]
fn a_sweep_that_was_cancelled_and_resumed_ends_whole() {
    // Promises 1 and 2: what was cancelled in flight comes again as a new generation.
    let (mut world, sweep, conn) = in_state(SweepState::Cancelled);
    let grant = world.grant(conn);
    world.report(conn, ended(&grant, Class::Cancelled));
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    for _ in 0..4 {
        let grant = world.grant(conn);
        world.report(conn, ended(&grant, Class::Succeeded));
    }
    assert_eq!(world.states(sweep), [0, 0, 4, 0, 0, 0]);
    let generations: Vec<_> = world
        .outcomes
        .iter()
        .map(|outcome| &outcome.record)
        .map(|record| (record.index, record.generation, record.report.token.attempt))
        .collect();
    assert_eq!(generations, [(0, 1, 1), (0, 2, 2), (1, 1, 1), (2, 1, 1), (3, 1, 1)]);
}

#[test]
fn submitting_the_same_version_again_changes_nothing() {
    // Promise 8, in every state that is not the person's own doing.
    for state in [SweepState::Running, SweepState::Finished] {
        let (mut world, sweep, _) = in_state(state);
        let before = world.journal.clone();
        for uuid in ["the first", "drawn anew"] {
            let again = FrozenSweep { uuid: uuid.to_owned(), ..frozen(spec("a", 4)) };
            let same = Answer::Submitted {
                sweep,
                version: 1,
                new: false,
                known: 0,
                read_again: 0,
                lost: 0,
                unread: 0,
            };
            assert_eq!(world.submission(submission(again)), Ok(same), "{state:?}");
        }
        assert_eq!(world.journal, before, "{state:?}");
    }
}

#[test]
fn submitting_what_was_stopped_goes_on_with_it() {
    for state in [SweepState::Paused, SweepState::Stopping, SweepState::Stopped, SweepState::Cancelled] {
        let (mut world, sweep, _) = in_state(state);
        assert_eq!(world.submit_version(frozen(spec("a", 4))), (sweep, 1), "{state:?}");
        assert_eq!(world.status(sweep).state, SweepState::Running, "{state:?}");
    }
}

/// A sweep of two whose first trial has failed for good, and whose second has succeeded.
fn half_failed() -> (World, SweepId, Conn, SweepSpec) {
    let mut world = World::new();
    let spec = SweepSpec { retry: Retry { max_failures: 0, ..spec("a", 1).retry }, ..spec("a", 2) };
    let sweep = world.submit(spec.clone());
    let conn = world.join(1, "host-1", 2);
    let [bad, good] = world.grants(conn).try_into().expect("two");
    world.feed([said(conn, [ended(&bad, Class::Failed), ended(&good, Class::Succeeded)])]);
    assert_eq!(world.states(sweep), [0, 0, 1, 1, 0, 0]);
    (world, sweep, conn, spec)
}

#[test]
fn what_failed_is_tried_again_as_a_second_generation() {
    // Promise 2: the first outcome stays.
    let ways: [(&str, fn(&mut World, SweepId, SweepSpec)); 2] = [
        ("by submitting with --retry-failed", |world, sweep, spec| {
            let again = Submission { retry_failed: true, ..submission(frozen(spec)) };
            let same = Answer::Submitted {
                sweep,
                version: 1,
                new: false,
                known: 0,
                read_again: 0,
                lost: 0,
                unread: 0,
            };
            assert_eq!(world.submission(again), Ok(same));
        }),
        ("by name, and twice in one breath", |world, sweep, _| {
            let trial = world.outcomes[0].record.report.trial;
            assert_eq!(world.retry(sweep, &[trial, trial]), Ok(Answer::Done(1)));
            let leased = Refusal::NotEnded { trial, state: TrialState::Leased };
            assert_eq!(world.retry(sweep, &[trial]), Err(leased), "it is underway already");
        }),
    ];
    for (name, again) in ways {
        let (mut world, sweep, conn, spec) = half_failed();
        again(&mut world, sweep, spec);
        let grant = world.grant(conn);
        world.save();
        world.restart();
        let conn = world.open(back(1, [&grant], []));
        world.report(conn, ended(&grant, Class::Succeeded));
        assert_eq!(world.states(sweep), [0, 0, 2, 0, 0, 0], "{name}");
        let of_trial: Vec<_> = world
            .outcomes
            .iter()
            .filter(|outcome| outcome.record.report.trial == grant.trial)
            .map(|outcome| &outcome.record)
            .map(|record| (record.generation, record.report.token.attempt, record.state))
            .collect();
        let expected = [(1, 1, TrialState::Failed), (2, 2, TrialState::Succeeded)];
        assert_eq!(of_trial, expected, "{name}: attempts count on (promise 5)");
    }
}

#[test]
fn a_trial_that_waited_when_it_was_cancelled_counts_its_attempts_on() {
    // Promise 5, over a restart from a snapshot.
    let (mut world, sweep, conn) = World::at_work(1, 1);
    let first = world.grant(conn);
    world.report(conn, ended(&first, Class::Failed));
    assert_eq!(world.steer(sweep, Steer::Cancel), Ok(Answer::Done(1)));
    world.save();
    world.restart();
    let conn = world.join(1, "host-1", 1);
    assert_eq!(world.steer(sweep, Steer::Resume), Ok(Answer::Done(1)));
    assert_eq!(world.grant(conn).token.attempt, 2);
}

#[test]
fn a_generation_is_never_used_twice_in_a_version() {
    // Promise 2: a trial that was tried again, then carried over into a new version, then tried again.
    let (mut world, sweep, conn, spec) = half_failed();
    let trial = world.outcomes[0].record.report.trial;
    for version in 2..5 {
        assert_eq!(world.retry(sweep, &[trial]), Ok(Answer::Done(1)));
        let held = world.grant(conn);
        let wider = SweepSpec { run_cap: Some(1), axes: vec![axis("x", 1 + version)], ..spec.clone() };
        assert_eq!(world.submit_version(frozen(wider)), (sweep, u32::try_from(version).unwrap()));
        world.report(conn, ended(&held, Class::Failed));
        assert_eq!(world.retry(sweep, &[trial]), Ok(Answer::Done(1)));
        let again = world.grant(conn);
        world.report(conn, ended(&again, Class::Failed));
    }
    let generations: Vec<u32> = world
        .outcomes
        .iter()
        .filter(|outcome| outcome.record.report.trial == trial)
        .map(|outcome| outcome.record.generation)
        .collect();
    assert_eq!(generations, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_target_that_was_reached_stays_reached_when_failures_are_asked_again() {
    // Promise 1: a trial of a sweep that is over does not wait for anything.
    let mut world = World::new();
    let mut spec = SweepSpec { retry: Retry { max_failures: 0, ..spec("a", 1).retry }, ..spec("a", 2) };
    spec.objective = spec.objective.map(|objective| Objective { target: Some(0.5), ..objective });
    let sweep = world.submit(spec.clone());
    let conn = world.join(1, "host-1", 2);
    let [bad, good] = world.grants(conn).try_into().expect("two");
    world.feed([said(conn, [ended(&bad, Class::Failed), ended(&good, Class::Succeeded)])]);
    let before = world.states(sweep);
    assert!(world.submission(Submission { retry_failed: true, ..submission(frozen(spec)) }).is_ok());
    assert_eq!((world.states(sweep), world.status(sweep).state), (before, SweepState::Finished));
}

#[test]
fn a_new_version_of_the_same_code_takes_over_what_runs() {
    // Promises 1 and 37: no work is lost where a point is in both.
    let (mut world, sweep, conn) = World::at_work(4, 2);
    let [first, second] = world.grants(conn).try_into().expect("two");
    let (same, version) = world.submit_version(frozen(spec("a", 1)));
    assert_eq!((same, version), (sweep, 2));
    let heard = world.heard(conn);
    assert_eq!(heard.cancel, [second.token.lease], "it is no point of the new version");
    world.feed([said(conn, [ended(&first, Class::Succeeded), ended(&second, Class::Succeeded)])]);
    let heard = world.heard(conn);
    assert_eq!((heard.recorded, heard.fenced), (vec![first.token.lease], vec![second.token.lease]));
    let ends: Vec<_> =
        world.outcomes.iter().map(|outcome| (outcome.record.version, outcome.record.state)).collect();
    assert_eq!(ends, [(1, TrialState::Cancelled), (2, TrialState::Succeeded)]);
    assert_eq!((world.states(sweep), world.status(sweep).state), ([0, 0, 1, 0, 0, 0], SweepState::Finished));
}

#[test]
fn a_new_version_of_other_code_ends_what_runs_and_starts_over() {
    let (mut world, sweep, conn) = World::at_work(2, 2);
    let old = world.grants(conn);
    world.submit_version(coded(spec("a", 2), "other code"));
    let heard = world.heard(conn);
    assert_eq!(heard.cancel, old.iter().map(|grant| grant.token.lease).collect::<Vec<_>>());
    assert_eq!(world.classes(), [Class::Cancelled; 2]);
    let fresh: Vec<_> = heard.grants.iter().map(|grant| (grant.version, grant.index)).collect();
    assert_eq!((fresh, world.states(sweep)), (vec![(2, 0), (2, 1)], [0, 2, 0, 0, 0, 0]));
    world.feed([said(conn, old.iter().map(|grant| ended(grant, Class::Succeeded)))]);
    assert_eq!(world.heard(conn).fenced.len(), 2, "what the old code computed does not count (promise 3)");
}

#[test]
fn a_new_version_keeps_leases_that_expired_and_backoffs() {
    // Promises 1 and 41.
    let (mut world, sweep, conn) = World::at_work(3, 3);
    let [first, second, third] = world.grants(conn).try_into().expect("three");
    world.report(conn, ended(&first, Class::Failed));
    world.feed([Input::Gone(worker(1))]);
    world.submit_version(frozen(spec("a", 5)));
    world.save();
    assert_eq!(world.states(sweep), [5, 0, 0, 0, 0, 0]);
    let conn = world.open(back(1, [&third], [ended(&second, Class::Succeeded)]));
    assert_eq!(world.heard(conn).fenced, []);
    assert_eq!(world.states(sweep)[2], 1);
    world.restart();
    assert_eq!(world.trial(sweep, 0).tally.failures, 1, "what it has cost is remembered");
}

#[test]
fn known_outcomes_settle_their_trials_without_an_attempt() {
    // Promises 1 and 2.
    let known = |index: u64, state, objective| JoinedOutcome {
        index,
        pos: index,
        seq: 100 + index,
        state,
        objective,
        reading: Reading::Same,
        link: None,
    };
    let mut world = World::new();
    let conn = world.join(1, "host-1", 10);
    let known = vec![
        known(2, TrialState::Succeeded, Some(0.75)),
        known(2, TrialState::Succeeded, Some(0.9)),
        known(3, TrialState::Failed, None),
        known(4, TrialState::Succeeded, Some(f64::NAN)),
        known(9, TrialState::Succeeded, Some(1.0)),
    ];
    let answer = world.submission(Submission { known, ..submission(frozen(spec("a", 5))) });
    let sweep = SweepId(1);
    assert_eq!(
        answer,
        Ok(Answer::Submitted { sweep, version: 1, new: true, known: 3, read_again: 0, lost: 0, unread: 0 })
    );
    assert_eq!(
        world.copies.iter().map(|copy| (copy.from, copy.index)).collect::<Vec<_>>(),
        [(102, 2), (103, 3), (104, 4)]
    );
    assert_eq!(world.states(sweep), [0, 2, 2, 1, 0, 0]);
    assert_eq!(world.status(sweep).best.map(|best| best.objective), Some(MetricValue(0.75)));
    assert_eq!(world.grants(conn).iter().map(|grant| grant.index).collect::<Vec<_>>(), [0, 1]);
    world.save();
    world.restart();
    assert_eq!(world.states(sweep), [0, 2, 2, 1, 0, 0]);
}

#[test]
fn rerun_makes_a_new_version_of_the_same_file() {
    let (mut world, sweep, conn) = in_state(SweepState::Finished);
    let answer = world.submission(Submission { rerun: true, ..submission(frozen(spec("a", 4))) });
    assert_eq!(
        answer,
        Ok(Answer::Submitted { sweep, version: 2, new: true, known: 0, read_again: 0, lost: 0, unread: 0 })
    );
    assert_eq!(world.grant(conn).version, 2);
    assert_eq!(world.states(sweep), [3, 1, 0, 0, 0, 0]);
}

#[test]
fn a_version_that_moved_is_the_same_one_and_its_workers_hear_where_it_is() {
    let (mut world, sweep, conn) = World::at_work(4, 1);
    world.heard(conn);
    let mut moved = frozen(world.core.sweeps[&sweep].frozen.spec.clone());
    moved.sources.base = "/elsewhere".to_owned();
    moved.spec.workdir = Some("../x".to_owned());
    moved.output = "/other/results".to_owned().try_into().unwrap();
    assert_eq!(world.submit_version(moved.clone()), (sweep, 1), "no new version");
    let [(_, version, heard)] = world.heard(conn).sweeps.try_into().unwrap();
    let standing = &world.core.sweeps[&sweep].frozen;
    assert_eq!((version, &heard), (1, standing));
    assert_eq!((&standing.sources, &standing.output), (&moved.sources, &moved.output));
    assert_eq!(standing.uuid, "the first");
    let length = world.journal.len();
    assert_eq!(world.submit_version(moved), (sweep, 1));
    assert_eq!(world.journal.len(), length, "and nothing more");
}

#[test]
fn a_sweep_keeps_the_uuid_of_its_first_version() {
    let (mut world, sweep, _) = World::at_work(2, 1);
    world.submit_version(FrozenSweep { uuid: "another".to_owned(), ..frozen(spec("a", 3)) });
    assert_eq!(world.core.sweeps[&sweep].frozen.uuid, "the first");
}

#[test]
fn a_grid_that_cannot_be_counted_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let axes = (0..5).map(|place| axis(&format!("x{place}"), 1 << 20)).collect();
    let before = world.journal.len();
    let answer = world.submission(submission(frozen(SweepSpec { axes, ..spec("a", 1) })));
    assert!(matches!(answer, Err(Refusal::Grid(_))), "{answer:?}");
    assert_eq!((world.journal.len(), world.core.sweeps().count()), (before, 0));
}
