//! What attempts do to the workdir that they share: which files are no code, and when a person is told.

use super::*;
use crate::code::FileChange;

fn with_files(code: &str, files: &[(&str, &str)]) -> FrozenSweep {
    let files = files.iter().map(|(path, mark)| ((*path).to_owned(), (*mark).to_owned())).collect();
    let mut frozen = coded(spec("a", 3), code);
    frozen.sources.code = Some(crate::protocol::Code::Dir("/w".to_owned()));
    FrozenSweep { files, ..frozen }
}

fn change(path: &str, shared: bool) -> FileChange {
    FileChange { path: path.to_owned(), shared }
}

#[test]
fn a_file_is_no_code_if_it_changed_while_attempts_ran_or_came_since() {
    let old: &[(&str, &str)] = &[("a.py", "1"), ("r.csv", "1"), ("w.bin", "1")];
    let written = ["r.csv", "a.py"].map(str::to_owned).into_iter().collect();
    // The files now, whether new ones count, what is left beside, and whether that is all.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool, &'a [&'a str], bool);
    let cases: [Case<'_>; 8] = [
        ("nothing but the grid", old, true, &[], true),
        ("written", &[("a.py", "1"), ("r.csv", "2"), ("w.bin", "1")], true, &["r.csv"], true),
        ("written and gone", &[("a.py", "1"), ("w.bin", "1")], true, &["r.csv"], true),
        ("not seen to be written", &[("a.py", "1"), ("r.csv", "1"), ("w.bin", "2")], true, &[], false),
        ("source text", &[("a.py", "2"), ("r.csv", "2"), ("w.bin", "1")], true, &["r.csv"], false),
        ("new", &[("a.py", "1"), ("n", "1"), ("r.csv", "2"), ("w.bin", "1")], true, &["r.csv", "n"], true),
        (
            "new after failures",
            &[("a.py", "1"), ("n", "1"), ("r.csv", "1"), ("w.bin", "1")],
            false,
            &[],
            false,
        ),
        ("new, and code is gone", &[("n", "1"), ("r.csv", "1"), ("w.bin", "1")], true, &[], false),
    ];
    for (name, now, new_too, beside, all) in cases {
        let before = with_files("old", old);
        let mut after = with_files(if now == old { "old" } else { "new" }, now);
        assert_eq!(after.leave_beside(&before, &written, new_too), beside, "{name}");
        assert_eq!(after.code == before.code, all, "{name}");
        let lines = before.differences_to(&after);
        assert!(!lines.iter().any(|line| beside.iter().any(|file| line.contains(file))), "{name}: {lines:?}");
    }
    let mut other = with_files("new", &[("a.py", "1"), ("n", "1"), ("r.csv", "2"), ("w.bin", "1")]);
    other.spec.command = vec!["other".to_owned(), "r.csv".to_owned()];
    assert_eq!(other.leave_beside(&with_files("old", old), &written, true), [""; 0], "the command names it");
    let mut prose = with_files("new", old);
    let before = with_files("old", &[&[("README.md", "1")], old].concat());
    assert_eq!(prose.leave_beside(&before, &written, true), [""; 0]);
    assert_eq!(prose.code, before.code, "prose was code once, and is none now");
}

#[test]
fn a_file_that_changes_while_several_attempts_run_is_a_notice_the_second_time() {
    let mut world = World::new();
    let (sweep, _) = world.submit_version(with_files("code", &[("r.csv", "1")]));
    let conn = world.join(1, "h", 3);
    let grants = world.grants(conn);
    let changed = [
        vec![change("r.csv", true), change("other", false), change("m.bin", true), change("once", true)],
        vec![change("r.csv", false), change("other", false)],
        vec![change("r.csv", true), change("m.bin", true)],
    ];
    for (grant, changed) in grants.iter().zip(changed) {
        assert_eq!(world.status(sweep).notices, []);
        world.report(conn, Report { changed, ..ended(grant, Class::Succeeded) });
    }
    let notices =
        [Notice::MayDisturb { files: vec!["r.csv".to_owned(), "m.bin".to_owned()], isolated: false }];
    assert!(world.outcomes.iter().all(|outcome| outcome.record.report.changed.is_empty()));
    for saves in [false, true] {
        if saves {
            world.save();
        }
        world.restart();
        assert_eq!(world.status(sweep).notices, notices, "saves: {saves}");
        let written: Vec<_> = world.core.sweep(sweep).unwrap().written().iter().collect();
        assert_eq!(written, ["r.csv"], "what is no code anyway is not remembered");
    }
    let files = ["r.csv".to_owned()];
    for (told, untold) in [(vec![], vec!["r.csv"]), (files.to_vec(), vec![])] {
        let again = Submission { beside: told, ..submission(with_files("code", &[("r.csv", "1")])) };
        assert!(world.submission(again).is_ok());
        world.restart();
        assert_eq!(world.core.sweep(sweep).unwrap().untold(&files), untold);
    }
    let more = SweepSpec { axes: vec![axis("x", 4)], ..spec("a", 3) };
    world.submit_version(FrozenSweep { spec: more, ..with_files("code", &[("r.csv", "1")]) });
    assert_eq!(world.status(sweep).notices, notices, "of the next version too");
    let apart = SweepSpec { isolate: true, ..spec("a", 4) };
    world.submit_version(FrozenSweep { spec: apart, ..with_files("other", &[("r.csv", "1")]) });
    assert_eq!(world.status(sweep).notices, [], "that was before each had a copy");
    let next = |world: &mut World, (code, isolate): (&str, bool), kept: bool| {
        let spec = SweepSpec { isolate, ..spec("a", 4) };
        let known = kept.then_some(JoinedOutcome {
            index: 0,
            pos: 0,
            seq: 100,
            state: TrialState::Succeeded,
            objective: Some(0.75),
            reading: Reading::Same,
            link: None,
        });
        let known = known.into_iter().collect();
        let version = submission(with_files(code, &[("r.csv", "1")]));
        let version = Submission { frozen: FrozenSweep { spec, ..version.frozen }, known, ..version };
        assert!(world.submission(version).is_ok());
        world.save();
        world.restart();
        world.status(sweep).notices
    };
    let files = vec!["r.csv".to_owned(), "m.bin".to_owned()];
    let kept = [Notice::MayHaveDisturbed { files: files.clone() }];
    assert_eq!(next(&mut world, ("c1", false), true), kept, "those of the first may be among them");
    assert_eq!(next(&mut world, ("c2", true), true), kept, "kept by a version with copies");
    assert_eq!(world.core.sweep(sweep).unwrap().disturbed_by(), files);
    assert_eq!(next(&mut world, ("c3", true), true), kept, "and by the next");
    assert_eq!(next(&mut world, ("c4", true), false), [], "none is kept");
    assert!(world.core.sweep(sweep).unwrap().disturbed_by().is_empty());
    assert_eq!(next(&mut world, ("c5", true), true), [], "only those that had copies are kept");
}

/// A sweep of two axes, and for each trial, by its values, the metrics that it reports.
fn metrics_of(shape: (u64, u64), score: impl Fn(i64, i64) -> f64) -> (World, SweepId) {
    let mut world = World::new();
    let axes = vec![axis("x", shape.0), axis("y", shape.1)];
    let (sweep, _) = world.submit_version(coded(SweepSpec { axes, ..spec("a", 1) }, "code"));
    let slots = u32::try_from(shape.0 * shape.1).unwrap();
    let conn = world.join(1, "h", slots);
    for grant in world.grants(conn) {
        let value = |name: &str| match grant.params.get(name) {
            Some(crate::value::Value::Int(value)) => *value,
            other => panic!("{name} is {other:?}"),
        };
        let score = MetricValue(score(value("x"), value("y")));
        let metrics = vec![("score".to_owned(), score)];
        let report = ended(&grant, Class::Succeeded);
        world.report(conn, Report { objective: Some(score), metrics, ..report });
    }
    (world, sweep)
}

#[test]
fn an_axis_is_named_after_four_pairs_that_differ_in_it_alone_and_in_no_metric() {
    let exact = |x: i64| f64::from(i32::try_from(x).unwrap());
    let bit = f64::from_bits(1_f64.to_bits() + 1);
    type Score<'a> = &'a dyn Fn(i64, i64) -> f64;
    let cases: [(&str, (u64, u64), Score<'_>, &[&str]); 6] = [
        ("both are read", (3, 3), &|x, y| exact(10 * x + y), &[]),
        ("one is not", (2, 3), &|x, _| exact(x), &["y"]),
        ("three pairs are too few", (1, 4), &|_, _| 1.0, &[]),
        ("neither is", (3, 3), &|_, _| f64::NAN, &["y", "x"]),
        ("a last bit", (2, 3), &|x, y| if (x, y) == (0, 1) { bit } else { 1.0 }, &[]),
        ("the last pair of many differs", (2, 5), &|x, y| exact(x + i64::from((x, y) == (1, 4))), &[]),
    ];
    for (name, shape, score, expected) in cases {
        let (mut world, sweep) = metrics_of(shape, score);
        let expected: Vec<String> = expected.iter().map(|axis| (*axis).to_owned()).collect();
        let notices = if expected.is_empty() { vec![] } else { vec![Notice::MayBeUnread { axes: expected }] };
        let mut seen = world.status(sweep).notices;
        if let Some(Notice::MayBeUnread { axes }) = seen.first_mut() {
            axes.sort_by(|one, other| other.cmp(one));
        }
        assert_eq!(seen, notices, "{name}");
        let before = world.status(sweep).notices;
        world.restart();
        assert_eq!(world.status(sweep).notices, before, "{name}, after a restart");
    }
}
