//! What is known of a sweep's own versions is linked; what is another for the new version is
//! copied; and other code counts as a person said, through any number of versions.

use super::*;
use crate::leaderboard::Brief;
use crate::metrics::Outcome;

/// A success of the trial `index` of `spec` in version `at.1` of sweep `at.0`, under this code.
fn prior(spec: &SweepSpec, index: u64, (seq, at, code): (u64, (u32, u32), &str)) -> PriorOutcome {
    let points = Points::new(Arc::new(spec.clone())).expect("points");
    let trial = points.trial(index);
    let brief = Brief {
        index,
        params: trial.params,
        repeat: trial.repeat,
        point: points.point_id(index),
        objective: Some(MetricValue(1.0)),
        ..brief(points.trial_id(index), CodeHash::of(&[code]))
    };
    PriorOutcome { seq, at: (SweepId(at.0), at.1), brief, again: None }
}

/// Submits what follows `versions`, once these outcomes were noted; what was linked, (row, version
/// of the row, place), and the rows that were copied.
fn joined(
    versions: &[FrozenSweep],
    mut new: Submission,
    note: impl FnOnce(&mut PriorOutcomes),
) -> (Vec<(u64, u32, u64)>, Vec<u64>) {
    let mut world = World::new();
    for frozen in versions {
        world.submit_version(frozen.clone());
    }
    let mut candidates = PriorOutcomes::of(&world.core, &mut new).expect("a new version");
    note(&mut candidates);
    new.known = candidates.chosen();
    world.submission(new).expect("it stands");
    let sums = world.journal.iter().filter_map(|(_, event)| match event {
        Event::Known { links, .. } => Some(*links),
        _ => None,
    });
    let mut expected = LinkSum::default();
    world.links.iter().for_each(|link| expected.add(link.from, link.index));
    assert_eq!(sums.fold(LinkSum::default(), LinkSum::and), expected);
    world.restart();
    let links = world.links.iter().map(|link| (link.from, link.source.version, link.index)).collect();
    (links, world.copies.iter().map(|copy| copy.from).collect())
}

#[test]
fn only_what_is_the_same_in_the_new_version_is_linked() {
    let two = spec("a", 2);
    let seeds = |count| SweepSpec { repeats: Repeats::Seeds(count), ..spec("a", 2) };
    let other_reading = |mut prior: PriorOutcome, again: bool| {
        prior.brief.read_by.rule = 0;
        let metrics = vec![("score".to_owned(), MetricValue(2.0))];
        prior.again = again.then(|| Outcome { objective: Some(2.0), metrics, ..Outcome::default() });
        prior
    };
    let at = |seq| (seq, (1, 1), "code");
    let other_objective = |mut prior: PriorOutcome| {
        prior.brief.objective = Some(MetricValue(3.0));
        prior
    };
    let grown = || frozen(spec("a", 3));
    let cases = [
        ("as it is", two.clone(), grown(), prior(&two, 1, at(7)), Some(1), false),
        ("of another sweep", two.clone(), grown(), prior(&two, 1, (7, (2, 1), "code")), None, true),
        ("read again", two.clone(), grown(), other_reading(prior(&two, 1, at(7)), true), None, true),
        ("lost", two.clone(), grown(), other_reading(prior(&two, 1, at(7)), false), None, false),
        ("another objective", two.clone(), grown(), other_objective(prior(&two, 1, at(7))), None, true),
        ("more seeds", seeds(2), frozen(seeds(3)), prior(&seeds(2), 3, at(7)), Some(3), false),
    ];
    for (name, old, new, noted, place, is_copied) in cases {
        let (links, copies) = joined(&[frozen(old)], submission(new), |candidates| candidates.note(noted));
        let expected: Vec<_> = place.map(|place| (7, 1, place)).into_iter().collect();
        assert_eq!((links, copies), (expected, if is_copied { vec![7] } else { vec![] }), "{name}");
    }
}

#[test]
fn other_code_is_linked_only_as_a_person_said_and_counts_on_from_where_it_stands() {
    let spec_of = |count| spec("a", count);
    let one = spec_of(1);
    // Code x, then y instead of it, then x again: what stands last is x's first attempt, by a link.
    let history = ["x", "y", "x"].map(|code| coded(spec_of(1), code));
    let both = |candidates: &mut PriorOutcomes| {
        candidates.note(prior(&one, 0, (1, (1, 1), "x")));
        candidates.note(prior(&one, 0, (2, (1, 2), "y")));
    };
    let linked = |candidates: &mut PriorOutcomes| {
        candidates.note_links(3, 2, vec![(1, 0)]);
        both(candidates);
    };
    let new = |code: &str, changed| Submission { changed, ..submission(coded(spec_of(2), code)) };
    let keep = Some(Changed::Keep);
    let cases: [(&str, &[FrozenSweep], _, &dyn Fn(&mut PriorOutcomes), Option<u64>); 6] = [
        ("nobody said anything", &history, new("z", None), &linked, None),
        ("keep what stands", &history, new("z", keep), &linked, Some(1)),
        ("keep the latest where nothing is linked", &history[..2], new("z", keep), &both, Some(2)),
        ("all again", &history, new("z", Some(Changed::All)), &linked, None),
        ("the same code", &history, new("x", None), &linked, Some(1)),
        ("the code of before", &history, new("y", None), &linked, Some(2)),
    ];
    for (name, history, new, note, expected) in cases {
        let (links, copies) = joined(history, new, note);
        let rows: Vec<u64> = links.iter().map(|(seq, ..)| *seq).collect();
        assert_eq!((rows, copies), (expected.into_iter().collect(), vec![]), "{name}");
    }
}

#[test]
fn a_row_counts_where_it_is_linked_without_its_record() {
    let one = spec("a", 3);
    let noted = prior(&one, 2, (5, (1, 1), "code"));
    let row = |index| PriorRow {
        seq: 5,
        at: noted.at,
        index,
        trial: noted.brief.trial,
        point: noted.brief.point,
        repeat: 0,
        code: noted.brief.code,
        state: TrialState::Succeeded,
        objective: Some(1.0),
        read_by: r#"{"rule":0}"#,
    };
    let alike = serde_json::to_string(&noted.brief.read_by).expect("JSON");
    let history = [frozen(one), frozen(spec("a", 4))];
    let (links, _) = joined(&history, submission(frozen(spec("a", 5))), |candidates| {
        let row = PriorRow { read_by: &alike, ..row(0) };
        assert_eq!(candidates.note_row(&row), RowTells::TooLittle, "it is of a version before");
        candidates.note_links(2, 9, vec![(4, 1), (5, 2)]);
        assert_eq!(candidates.note_row(&row), RowTells::Enough, "it is linked");
        assert_eq!(candidates.note_row(&PriorRow { seq: 4, ..row }), RowTells::TooLittle, "another's place");
    });
    assert_eq!(links, [(5, 1, 2)]);
}
