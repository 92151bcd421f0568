//! The leaderboard, row by row.

use std::sync::Arc;

use super::*;
use crate::id::{Epoch, LeaseSeq};
use crate::id::{Token, WorkerId};
use crate::record::{MetricValue, Record};
use crate::value::Params;

fn layout(repeats: u64) -> Layout {
    Layout {
        objective: Some(("acc".to_owned(), Goal::Maximize)),
        repeats,
        repeat_axis: (repeats > 1).then(|| "fold".to_owned()),
        axes: vec!["lr".to_owned(), "kind".to_owned(), "fold".to_owned()],
        metrics: vec!["acc".to_owned()],
    }
}

fn brief(index: u64, lr: f64, repeat: u32, acc: f64) -> Brief {
    let params = |fold: Option<u32>| {
        let mut entries: Vec<(Arc<str>, Value)> =
            vec![("lr".into(), Value::Float(lr)), ("kind".into(), Value::Str(format!("k{index}")))];
        entries.extend(fold.map(|fold| ("fold".into(), Value::Int(fold.into()))));
        Params::new(entries)
    };
    Brief {
        index,
        trial: TrialId::of(&params(Some(repeat)), 0),
        point: TrialId::of(&Params::new(vec![("lr".into(), Value::Float(lr))]), 0),
        repeat,
        code: CodeHash([1; 10]),
        generation: 1,
        state: TrialState::Succeeded,
        params: params(Some(repeat)),
        worker: WorkerId([2; 5]),
        token: Token { epoch: Epoch(1), lease: LeaseSeq(index + 1), attempt: 2 },
        objective: Some(MetricValue(acc)),
        metrics: vec![("acc".to_owned(), MetricValue(acc)), ("loss".to_owned(), MetricValue(1.0 - acc))],
        spreads: Vec::new(),
        class: crate::record::Class::Succeeded,
        read_by: crate::metrics::ReadBy::default(),
        duration_ms: 1_500,
    }
}

fn page(
    repeats: u64,
    query: (&str, &str, usize, usize),
    briefs: Vec<Brief>,
) -> Result<Page, LeaderboardError> {
    let (filter, sort, k, offset) = query;
    let mut board = Board::new(layout(repeats), Query::parse(k, offset, filter, sort)?);
    briefs.into_iter().for_each(|brief| board.add(brief));
    board.finish()
}

fn four() -> Vec<Brief> {
    vec![brief(0, 0.1, 0, 0.5), brief(1, 0.2, 0, f64::NAN), brief(2, 0.3, 0, 0.9), brief(3, 0.4, 0, 0.9)]
}

#[test]
fn ranks_by_filter_sort_and_page() {
    type Asked = (&'static str, &'static str, usize, usize);
    let rows: &[(Asked, &[u64], u64)] = &[
        (("", "", 0, 0), &[2, 3, 0, 1], 4),
        (("", "", 2, 0), &[2, 3], 4),
        (("", "", 2, 1), &[3, 0], 4),
        (("lr < 0.35", "", 0, 0), &[2, 0, 1], 3),
        (("acc > 0.6", "", 0, 0), &[2, 3], 2),
        (("kind == 'k3' or index == 0", "", 0, 0), &[3, 0], 2),
        (("", "lr", 0, 0), &[0, 1, 2, 3], 4),
        (("", "-lr", 0, 0), &[3, 2, 1, 0], 4),
        (("", "loss", 0, 0), &[2, 3, 0, 1], 4),
        (("", "-loss", 0, 0), &[0, 2, 3, 1], 4),
        (("", "acc", 0, 0), &[2, 3, 0, 1], 4),
        (("", "-acc", 0, 0), &[0, 2, 3, 1], 4),
        (("", "-kind", 1, 0), &[3], 4),
        (("false", "", 0, 0), &[], 0),
    ];
    for (query, expected, total) in rows {
        let page = page(1, *query, four()).unwrap();
        let found: Vec<u64> = page.rows.iter().map(|row| row.index).collect();
        assert_eq!((found.as_slice(), page.total), (*expected, *total), "{query:?}");
    }
}

#[test]
fn nan_is_last_and_has_no_rank() {
    let page = page(1, ("", "", 0, 0), four()).unwrap();
    let ranks: Vec<_> = page.rows.iter().map(|row| row.rank).collect();
    assert_eq!(ranks, [Some(1), Some(2), Some(3), None]);
    assert!(page.rows[3].objective.unwrap().0.is_nan());
    let json = serde_json::to_string(&page.rows[3]).unwrap();
    assert!(json.contains(r#""objective":"NaN""#), "{json}");
}

#[test]
fn the_rank_is_the_objectives_in_whatever_order_and_company() {
    for (query, expected) in [
        (("", "lr", 0, 0), [(0, Some(3)), (1, None), (2, Some(1)), (3, Some(2))].as_slice()),
        (("", "-lr", 2, 1), &[(2, Some(1)), (1, None)]),
        (("lr > 0.35 or lr < 0.15", "", 0, 0), &[(3, Some(2)), (0, Some(3))]),
        (("lr > 0.15", "-index", 2, 0), &[(3, Some(2)), (2, Some(1))]),
    ] {
        let page = page(1, query, four()).unwrap();
        let found: Vec<_> = page.rows.iter().map(|row| (row.index, row.rank)).collect();
        assert_eq!(found, expected, "{query:?}");
    }
    let mut unranked = layout(1);
    unranked.objective = None;
    let mut board = Board::new(unranked, Query::parse(0, 0, "", "lr").unwrap());
    four().into_iter().for_each(|brief| board.add(brief));
    assert!(
        board.finish().unwrap().rows.iter().all(|row| row.rank.is_none()),
        "nothing ranks without a goal"
    );
}

#[test]
fn unknown_names_are_errors_with_a_suggestion() {
    let name = |query| match page(1, query, four()) {
        Err(LeaderboardError::UnknownName { name, near }) => (name, near),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(("los < 1", "", 0, 0)), ("los".to_owned(), Some("loss".to_owned())));
    assert_eq!(name(("", "nothing", 0, 0)), ("nothing".to_owned(), None));
    assert!(matches!(page(1, ("lr <", "", 0, 0), four()), Err(LeaderboardError::Filter(_))));
    assert!(matches!(page(1, ("kind * 2 > 1", "", 0, 0), four()), Err(LeaderboardError::Eval { .. })));
}

#[test]
fn repeats_are_averaged_and_counted() {
    let mut failed = brief(4, 0.2, 1, 0.0);
    failed.state = TrialState::Failed;
    let mut other_code = brief(3, 0.2, 0, 0.9);
    other_code.code = CodeHash([9; 10]);
    let briefs =
        vec![brief(1, 0.1, 1, 0.4), brief(0, 0.1, 0, 0.8), other_code, failed, brief(6, 0.3, 0, 0.1)];
    let page = page(2, ("", "", 0, 0), briefs).unwrap();
    assert!(page.mixed_code);
    let found: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.index, row.state, row.objective.unwrap().0, row.repeats, row.repeats_total))
        .collect();
    assert_eq!((found[0].0, found[0].1, found[0].3), (0, TrialState::Succeeded, 2));
    assert!((found[0].2 - 0.6).abs() < 1e-12);
    assert_eq!(found[1], (3, TrialState::Failed, 0.9, 1, 2));
    assert_eq!(found[2], (6, TrialState::Pending, 0.1, 1, 2));
    assert_eq!(page.rows.iter().map(|row| row.rank).collect::<Vec<_>>(), [Some(1), None, None]);
    assert_eq!(page.rows[0].attempts, 4);
    assert_eq!(page.rows[0].trial, brief(0, 0.1, 0, 0.8).trial, "the best repeat stands for the point");
    assert!((page.rows[0].objective_std.unwrap().0 - 0.08_f64.sqrt()).abs() < 1e-12);
    assert_eq!(page.rows[0].params.get("fold"), None);
}

#[test]
fn a_diverged_repeat_ranks_below_every_complete_point() {
    let briefs =
        vec![brief(0, 0.1, 0, 0.9), brief(1, 0.1, 1, f64::NAN), brief(2, 0.2, 0, 0.1), brief(3, 0.2, 1, 0.2)];
    let page = page(2, ("", "", 0, 0), briefs).unwrap();
    let found: Vec<_> = page.rows.iter().map(|row| (row.index, row.rank)).collect();
    assert_eq!(found, [(2, Some(1)), (0, None)]);
}

#[test]
fn a_parameter_and_a_metric_of_one_name_are_told_apart() {
    let named = |index: u64, loss: f64| {
        let mut brief = brief(index, 0.1, 0, 0.5);
        brief.params = Params::new(vec![("loss".into(), Value::Str(format!("l{index}")))]);
        brief.metrics = vec![("loss".to_owned(), MetricValue(loss))];
        brief
    };
    let page = |filter: &str, sort: &str| {
        let objective = Some(("loss".to_owned(), Goal::Minimize));
        let layout = Layout { axes: vec!["loss".to_owned()], objective, ..layout(1) };
        let mut board = Board::new(layout, Query::parse(0, 0, filter, sort).unwrap());
        [named(0, 0.3), named(1, 0.1), named(2, 0.2)].into_iter().for_each(|brief| board.add(brief));
        board.finish().map(|page| page.rows.iter().map(|row| row.index).collect::<Vec<_>>())
    };
    assert_eq!(page("metrics.loss < 0.25", "metrics.loss").unwrap(), [1, 2]);
    assert_eq!(page("params.loss != 'l1'", "-metrics.loss").unwrap(), [0, 2]);
    assert_eq!(page("loss != 'l1'", "-params.loss").unwrap(), [2, 0]);
    assert!(matches!(page("metrics.none > 1", ""), Err(LeaderboardError::UnknownName { .. })));
    assert!(matches!(page("params.lr > 1", ""), Err(LeaderboardError::UnknownName { .. })));
}

#[test]
fn only_what_can_be_shown_is_kept() {
    let mut board = Board::new(layout(1), Query::parse(3, 2, "", "").unwrap());
    for index in 0..50_000_u64 {
        let acc = f64::from(u32::try_from(index * 7919 % 50_021).unwrap());
        board.add(brief(index, 0.1, 0, acc));
        assert!(board.rows.len() < 1_100);
    }
    let page = board.finish().unwrap();
    assert_eq!(page.total, 50_000);
    assert_eq!(page.rows.iter().map(|row| row.rank.unwrap()).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn a_brief_is_read_from_a_records_json() {
    let json = r#"{"sweep":"s","version":1,"index":7,"params":{"lr":0.1},"repeat":0,"point":"aaaaaaaaaaaaaaaa",
        "code":"aaaaaaaaaaaaaaaa","generation":1,"state":"succeeded","worker":"aaaaaaaa","host":"h",
        "token":{"epoch":1,"lease":2,"attempt":1},"trial":"aaaaaaaaaaaaaaaa","class":"succeeded","exit":{"code":0},
        "objective":0.5,"metrics":[["acc",0.5]],"log":"x","log_bytes":1,"started_unix_ms":1,"duration_ms":2,"cpu_ms":3,
        "peak_rss_kib":4}"#;
    let record: Record = serde_json::from_str(json).unwrap();
    let brief: Brief = serde_json::from_str(json).unwrap();
    assert_eq!(Brief::from(&record), brief);
}
