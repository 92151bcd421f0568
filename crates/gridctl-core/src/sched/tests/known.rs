//! Which outcomes of the journal count for a new version: the same code's, and of other code's what a person keeps.

use super::*;
use crate::leaderboard::Brief;
use crate::metrics::ReadBy;

/// An outcome of the grid's only trial: its row, sweep, version, code and state.
type Row = (u64, u32, u32, &'static str, TrialState);

/// The rows that count for `submission`, once the sweep has the versions of `codes`.
fn chosen(codes: &[&str], rows: &[Row], mut submission: Submission) -> Option<Vec<u64>> {
    let mut world = World::new();
    let count = |version: usize| u64::try_from(version).expect("few") + 1;
    for (version, code) in codes.iter().enumerate() {
        world.submit_version(coded(spec("a", count(version)), code));
    }
    let grid = Points::new(Arc::new(spec("a", 1))).unwrap();
    let mut candidates = PriorOutcomes::of(&world.core, &mut submission)?;
    for &(seq, sweep, version, code, state) in rows {
        let metrics = if code == "measures something else" { "loss" } else { "score" };
        let brief = Brief {
            params: grid.trial(0).params,
            state,
            metrics: vec![(metrics.to_owned(), MetricValue(1.0))],
            ..brief(grid.trial_id(0), CodeHash::of(&[code]))
        };
        candidates.note(PriorOutcome { seq, at: (SweepId(sweep), version), brief, again: None });
    }
    Some(candidates.chosen().into_iter().map(|known| known.seq).collect())
}

#[test]
fn what_is_known_counts_by_its_code_and_by_what_a_person_keeps() {
    use Changed::{All, Keep};
    use TrialState::{Cancelled, Failed, Pending, Quarantined, Succeeded};
    let old: &[&str] = &["old"];
    let cases: [(&str, &[&str], &[Row], Option<Changed>, &[u64]); 17] = [
        ("nothing is there", &[], &[], None, &[]),
        ("the same code in another sweep", &[], &[(1, 9, 1, "new", Succeeded)], None, &[1]),
        ("other code in another sweep", &[], &[(1, 9, 1, "old", Succeeded)], Some(Keep), &[]),
        ("a failure in another sweep", old, &[(1, 9, 1, "new", Failed)], Some(Keep), &[]),
        ("a failure of the same code", &["new"], &[(1, 1, 1, "new", Failed)], None, &[1]),
        ("not over yet", &["new"], &[(1, 1, 1, "new", Pending)], None, &[]),
        ("cancelled", &["new"], &[(1, 1, 1, "new", Cancelled)], None, &[]),
        ("the later one", &[], &[(2, 9, 1, "new", Succeeded), (1, 9, 2, "new", Succeeded)], None, &[2]),
        ("another metric", &[], &[(1, 9, 1, "measures something else", Succeeded)], None, &[]),
        ("other code, nothing said", old, &[(1, 1, 1, "old", Succeeded)], None, &[]),
        ("other code, keep", old, &[(1, 1, 1, "old", Failed)], Some(Keep), &[1]),
        ("other code, failed again", old, &[(1, 1, 1, "old", Quarantined)], Some(Changed::Failed), &[]),
        ("other code, success kept", old, &[(1, 1, 1, "old", Succeeded)], Some(Changed::Failed), &[1]),
        ("other code, all again", old, &[(1, 1, 1, "old", Succeeded)], Some(All), &[]),
        (
            "a success of other code before a failure of the same",
            old,
            &[(1, 1, 1, "old", Succeeded), (2, 1, 1, "new", Failed)],
            Some(Keep),
            &[1],
        ),
        ("kept before, only the grid grows", &["old", "new"], &[(1, 1, 2, "old", Succeeded)], None, &[1]),
        ("not in the version before", &["old", "new"], &[(1, 1, 1, "old", Succeeded)], None, &[]),
    ];
    for (name, codes, rows, changed, expected) in cases {
        let frozen = if name == "another metric" {
            coded(spec("a", 5), "measures something else")
        } else {
            coded(spec("a", 5), "new")
        };
        let submission = Submission { changed, ..submission(frozen) };
        assert_eq!(chosen(codes, rows, submission), Some(expected.to_vec()), "{name}");
    }
}

#[test]
fn failures_are_not_known_to_who_wants_them_tried_again() {
    for (state, expected) in [(TrialState::Failed, vec![]), (TrialState::Succeeded, vec![1])] {
        let again = Submission { retry_failed: true, ..submission(coded(spec("a", 5), "new")) };
        assert_eq!(chosen(&["new"], &[(1, 1, 1, "new", state)], again), Some(expected), "{state}");
    }
}

#[test]
fn nothing_is_looked_up_for_a_version_that_stands_or_for_a_rerun() {
    let rows = [(1, 1, 1, "new", TrialState::Succeeded)];
    let same = submission(coded(spec("a", 1), "new"));
    assert_eq!(chosen(&["new"], &rows, same.clone()), None);
    let rerun = Submission { rerun: true, ..submission(coded(spec("a", 5), "new")) };
    assert_eq!(chosen(&["new"], &rows, rerun), None);
    assert_eq!(chosen(&[], &rows, same), Some(vec![1]));
}

#[test]
fn a_row_of_the_version_before_says_as_much_as_its_record() {
    let (old, new) = (spec("a", 3), spec("a", 5));
    let grid = Points::new(Arc::new(old.clone())).unwrap();
    let (alike, other) = (ReadBy::of(&old), ReadBy { rule: 0, ..ReadBy::of(&old) });
    let renamed = |mut spec: SweepSpec| {
        spec.objective.as_mut().expect("one").metric.name = "loss".to_owned();
        spec
    };
    let row = |index, state, objective: Option<f64>, read_by: &ReadBy| {
        let metrics = objective.map(|value| ("score".to_owned(), MetricValue(value)));
        let code = CodeHash::of(&["code"]);
        Brief {
            index,
            params: grid.trial(index).params,
            state,
            metrics: metrics.into_iter().collect(),
            objective: objective.map(MetricValue),
            read_by: read_by.clone(),
            ..brief(grid.trial_id(index), code)
        }
    };
    use RowTells::{Enough, TooLittle};
    use TrialState::{Failed, Pending, Succeeded};
    let cases = [
        ("a success", new.clone(), row(1, Succeeded, Some(0.5), &alike), Enough),
        ("not over", new.clone(), row(1, Pending, None, &alike), Enough),
        ("a failure", new.clone(), row(1, Failed, None, &alike), TooLittle),
        ("not a number", new.clone(), row(1, Succeeded, Some(f64::NAN), &alike), TooLittle),
        ("read in another way", new.clone(), row(1, Succeeded, Some(0.5), &other), TooLittle),
        ("another objective", renamed(new), row(1, Succeeded, Some(0.5), &alike), TooLittle),
        ("no trial of the new version", spec("a", 1), row(2, Succeeded, Some(0.5), &alike), Enough),
    ];
    for (name, spec, brief, expected) in cases {
        let known = |by_row| known_of(&old, &spec, &brief, by_row);
        let (by_row, tells) = known(true);
        assert_eq!(tells[0], Some(expected), "{name}");
        let of_success = if brief.state == Succeeded { TooLittle } else { tells[0].expect("said") };
        assert_eq!(tells[1], Some(of_success), "{name}: another trial is there");
        let foreign = if brief.state == Succeeded { TooLittle } else { Enough };
        assert_eq!(tells[2], Some(foreign), "{name}: of another sweep");
        let expected = if expected == Enough { known(false).0 } else { Vec::new() };
        assert_eq!(by_row, expected, "{name}");
    }
}

/// What is known of `new` after `old`, of which one outcome is noted: by its row and, in vain, by that of another trial and
/// that of another sweep; or by its record.
fn known_of(
    old: &SweepSpec,
    new: &SweepSpec,
    brief: &Brief,
    by_row: bool,
) -> (Vec<JoinedOutcome>, [Option<RowTells>; 3]) {
    let mut world = World::new();
    world.submit(old.clone());
    let mut candidates =
        PriorOutcomes::of(&world.core, &mut submission(frozen(new.clone()))).expect("a new version");
    let read_by = serde_json::to_string(&brief.read_by).expect("JSON");
    let row = PriorRow {
        seq: 1,
        at: (SweepId(1), 1),
        index: brief.index,
        trial: brief.trial,
        point: brief.point,
        repeat: 0,
        code: brief.code,
        state: brief.state,
        objective: brief.objective.map(|value| value.0).filter(|value| value.is_finite()),
        read_by: &read_by,
    };
    let (at, index) = ((SweepId(2), 1), (brief.index + 1) % 3);
    let rows = [row, PriorRow { index, ..row }, PriorRow { at, ..row }];
    let tells = rows.map(|row| by_row.then(|| candidates.note_row(&row)));
    if !by_row {
        let at = (SweepId(1), 1);
        candidates.note(PriorOutcome { seq: 1, at, brief: brief.clone(), again: None });
    }
    (candidates.chosen(), tells)
}
