//! A person ends trials that run, and nothing else.

use super::*;

#[test]
fn trials_that_run_are_ended_told_to_stop_and_not_tried_again() {
    let (mut world, sweep, conn) = World::at_work(3, 2);
    let granted: Vec<_> = world.grants(conn).into_iter().map(|grant| grant.token.lease).collect();
    let it = world.core.sweep(sweep).expect("the sweep stands");
    let leased = it.trials.iter().filter(|(_, trial)| trial.is_leased());
    let trials: Vec<TrialId> = leased.map(|(pos, _)| it.trial_id(pos)).collect();
    assert_eq!(trials.len(), 2);
    let cancel = move |world: &mut World, trials: &[TrialId]| {
        let trials = trials.to_vec();
        world.ask(|request| Input::CancelTrials(request, sweep, trials))
    };
    // All or none.
    let idle = TrialId([9; 10]);
    assert_eq!(cancel(&mut world, &[trials[0], idle]), Err(Refusal::NotRunning { trial: idle }));
    assert_eq!(world.status(sweep).leased, 2);
    assert_eq!(cancel(&mut world, &[trials[0], trials[0]]), Ok(Answer::Done(1)));
    let heard = world.heard(conn);
    assert!(heard.cancel.len() == 1 && granted.contains(&heard.cancel[0]), "{:?}", heard.cancel);
    let status = world.status(sweep);
    assert_eq!((status.cancelled, status.leased), (1, 2), "its place is another trial's");
    assert_eq!(
        cancel(&mut world, &[trials[0]]),
        Err(Refusal::NotRunning { trial: trials[0] }),
        "it has ended"
    );
    assert_eq!(world.status(sweep).state, SweepState::Running);
    // It may be wanted after all.
    assert_eq!(world.retry(sweep, &[trials[0]]), Ok(Answer::Done(1)));
    assert_eq!(world.status(sweep).cancelled, 0);
}
