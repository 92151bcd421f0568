//! A core that is made again from versions and records alone.

use std::collections::BTreeSet;

use super::commit_pipeline::history;
use super::*;
use crate::record::Record;

/// What the versions and records of `world` make, and the events of it.
fn rebuilt(world: &World) -> (Core, Vec<(u64, Event)>) {
    let mut core = Core::new(world.timing);
    let mut sweeps = BTreeSet::new();
    for (_, event) in &world.journal {
        let Event::Submitted { sweep, version, frozen } = event else { continue };
        sweeps.insert(*sweep);
        core.rebuild_version(Time(0), *sweep, *version, FrozenSweep::clone(frozen)).expect("points");
        for outcome in &world.outcomes {
            let record = &outcome.record;
            if (outcome.sweep, record.version) != (*sweep, *version) {
                continue;
            }
            assert_eq!(core.rebuild_record(Time(0), *sweep, record), Ok(()), "{record:?}");
            if record.state != TrialState::Pending {
                let again = core.rebuild_record(Time(0), *sweep, record);
                assert_eq!(again, Err(RecordMisfit::Ended(record.generation)), "promise 2");
            }
        }
    }
    sweeps.iter().for_each(|sweep| core.rebuild_end(Time(0), *sweep));
    core.rebuild_epoch(Time(0), world.core.epoch());
    let events = core.take().events;
    (core, events)
}

#[test]
fn records_of_any_moment_bring_back_what_had_succeeded_and_every_number_grows() {
    // Promises 1, 5 and 29.
    let mut world = World::new();
    let mut seen = 0;
    history(&mut world, &mut |world| {
        let (core, events) = rebuilt(world);
        let mut replayed = Core::new(world.timing);
        events.iter().for_each(|(_, event)| replayed.apply(Time(0), event));
        assert_eq!(text(&replayed), text(&core), "the events say it all");
        assert_eq!(core.epoch(), Epoch(world.core.epoch().0 + 1));
        for outcome in &world.outcomes {
            assert!(outcome.record.report.token.lease < core.next_lease());
        }
        for sweep in world.core.sweeps() {
            let again = core.sweep(sweep.id()).expect("the sweep");
            assert_eq!(again.version(), sweep.version());
            assert_eq!(again.trials.settled().succeeded, sweep.trials.settled().succeeded);
            assert_eq!(again.best, sweep.best);
            let mut states = BTreeMap::new();
            for index in 0..sweep.points.len() {
                *states.entry(again.state_of(index)).or_insert(0) += 1;
            }
            assert_eq!(states.values().sum::<u64>(), sweep.points.len());
            assert!(!states.contains_key(&TrialState::Leased), "nobody holds anything");
            assert!(again.trials.iter().all(|(pos, _)| again.trials.settled().state(pos).is_none()));
            let is_ready = |pos| again.trials.ready().any(|other| other == pos);
            assert!(again.trials.iter().all(|(pos, _)| again.phase.is_closed() || is_ready(pos)));
        }
        seen += 1;
    });
    assert!(seen > 50 && world.outcomes.len() > 60, "{seen}, {}", world.outcomes.len());
}

#[test]
fn a_record_that_does_not_fit_makes_no_event() {
    let (mut world, sweep, conn) = World::at_work(4, 1);
    let grant = world.grants(conn)[0].clone();
    world.report(conn, ended(&grant, Class::Succeeded));
    let good = Record::clone(&world.outcomes[0].record);
    let change = |change: &dyn Fn(&mut Record)| {
        let mut record = good.clone();
        change(&mut record);
        record
    };
    let cases = [
        change(&|record| record.version = 2),
        change(&|record| record.index = 4),
        change(&|record| record.index = u64::MAX),
        change(&|record| record.report.trial.0[0] ^= 1),
        change(&|record| record.report.token.lease.0 = u64::MAX),
        change(&|record| record.report.token.attempt = u32::MAX),
        change(&|record| record.report.token.epoch.0 = u32::MAX),
        change(&|record| record.generation = 0),
        change(&|record| record.generation = u32::MAX),
        change(&|record| record.state = TrialState::Leased),
        change(&|record| record.state = TrialState::Excluded),
    ];
    let mut core = Core::new(world.timing);
    core.rebuild_version(Time(0), sweep, 1, frozen(spec("a", 4))).expect("points");
    let before = core.take().events.len();
    assert_eq!(before, 1);
    for record in cases {
        let misfit = core.rebuild_record(Time(0), sweep, &record);
        assert!(misfit.is_err(), "{record:?}");
        assert_eq!(core.take(), Step::default(), "{misfit:?}");
    }
    assert!(core.rebuild_record(Time(0), SweepId(7), &good).is_err(), "no such sweep");
    assert_eq!(core.rebuild_record(Time(0), sweep, &good), Ok(()));
}

#[test]
fn a_sweep_that_reached_its_target_or_was_cancelled_is_over_and_one_with_trials_left_waits() {
    let phase = |count: u64, target: Option<f64>, class: Class| {
        let mut spec = spec("a", count);
        if let Some(objective) = &mut spec.objective {
            objective.target = target;
        }
        let mut world = World::new();
        let sweep = world.submit(spec);
        let conn = world.join(1, "host-1", 1);
        let grant = world.grants(conn)[0].clone();
        if class == Class::Cancelled {
            let _ = world.steer(sweep, Steer::Cancel);
        }
        world.report(conn, ended(&grant, class));
        rebuilt(&world).0.sweep(sweep).expect("the sweep").phase()
    };
    let waits = SweepPhase::Paused(PauseReason::Rebuilt);
    assert_eq!(phase(3, None, Class::Succeeded), waits);
    assert_eq!(phase(3, Some(-1e300), Class::Succeeded), SweepPhase::Closed(CloseReason::TargetReached));
    assert_eq!(phase(1, None, Class::Succeeded), SweepPhase::Closed(CloseReason::Finished));
    assert_eq!(phase(3, None, Class::Cancelled), SweepPhase::Closed(CloseReason::Cancelled));
}
