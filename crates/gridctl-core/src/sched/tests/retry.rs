//! Retries of more trials than one step may touch.

use super::super::retry::RETRIED_AN_EVENT;
use super::*;
use crate::sched::event::Event;

const MANY: u64 = 2 * RETRIED_AN_EVENT as u64 + 7;

/// A sweep of so many trials that have failed, without a worker.
fn all_failed() -> (World, SweepId) {
    let mut world = World::new();
    let known = (0..MANY).map(|index| JoinedOutcome {
        seq: index,
        index,
        pos: index,
        state: TrialState::Failed,
        objective: None,
        reading: Reading::Same,
        link: None,
    });
    let known = known.collect();
    assert!(world.submission(Submission { known, ..submission(frozen(spec("a", MANY))) }).is_ok());
    world.join(1, "host-1", 1);
    while world.status(SweepId(1)).state != SweepState::Finished {
        world.feed([Input::Tick]);
    }
    world.feed([Input::Gone(worker(1))]);
    (world, SweepId(1))
}

/// Asks, and steps as often as the core wants; how many trials each step tried again, and the answer.
fn step_by_step(
    world: &mut World,
    question: Input,
    mut meanwhile: impl FnMut(&mut World),
) -> (Vec<usize>, Answer) {
    let (Input::Retry(request, ..) | Input::Submit(request, _)) = &question else { panic!("{question:?}") };
    let request = *request;
    let mut steps = Vec::new();
    let mut inputs = vec![question];
    loop {
        let before = world.journal.len();
        world.feed(std::mem::take(&mut inputs));
        steps.push(
            world.journal[before..]
                .iter()
                .map(|(_, event)| match event {
                    Event::Retried { positions, .. } => positions.len(),
                    _ => 0,
                })
                .sum(),
        );
        if let Some(answer) = world.replies.remove(&request) {
            return (steps, answer.expect("it can be tried again"));
        }
        assert_eq!(world.core.next_deadline(), Some(world.now), "there is more to do");
        meanwhile(world);
    }
}

fn ask_by_submitting(world: &mut World) -> Input {
    let again = Submission { retry_failed: true, ..submission(frozen(spec("a", MANY))) };
    Input::Submit(Request(world.number()), Box::new(again))
}

fn ask_by_name(world: &mut World, sweep: SweepId) -> Input {
    let points = world.core.sweep(sweep).unwrap().points();
    let place = |index| {
        let trial = points.trial(index);
        TrialPlace { trial: points.trial_id(index), point: Some((trial.params, trial.repeat)) }
    };
    let places = (0..MANY).map(place).collect();
    Input::Retry(Request(world.number()), sweep, places)
}

#[test]
fn a_big_retry_is_many_small_steps_and_one_answer_at_its_end() {
    let pieces = vec![RETRIED_AN_EVENT, RETRIED_AN_EVENT, 7];
    let (mut world, sweep) = all_failed();
    assert_eq!(world.status(sweep).state, SweepState::Finished);
    let question = ask_by_submitting(&mut world);
    let (steps, answer) = step_by_step(&mut world, question, |_| {});
    assert_eq!(steps, pieces);
    assert_eq!(
        answer,
        Answer::Submitted { sweep, version: 1, new: false, known: 0, read_again: 0, lost: 0, unread: 0 }
    );
    assert_eq!(
        (world.states(sweep), world.status(sweep).state),
        ([MANY, 0, 0, 0, 0, 0], SweepState::Running)
    );

    let (mut world, sweep) = all_failed();
    let question = ask_by_name(&mut world, sweep);
    let (steps, answer) = step_by_step(&mut world, question, |_| {});
    assert_eq!((steps, answer), (pieces, Answer::Done(MANY)));
    assert_eq!(world.states(sweep)[0], MANY);
    world.restart();
    assert_eq!(world.states(sweep)[0], MANY);
}

#[test]
fn what_ends_a_sweep_or_replaces_it_ends_its_retry() {
    let (mut world, sweep) = all_failed();
    let question = ask_by_name(&mut world, sweep);
    let (steps, answer) = step_by_step(&mut world, question, |world| drop(world.steer(sweep, Steer::Cancel)));
    let first = RETRIED_AN_EVENT as u64;
    // The cancellation is a step of its own, and no piece comes with it.
    assert_eq!((steps[0], answer), (RETRIED_AN_EVENT, Answer::Done(first)));
    assert_eq!(world.states(sweep), [0, 0, 0, MANY - first, 0, first]);
}
