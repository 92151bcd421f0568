//! `gridctl leaderboard`: the best points of a sweep.
//! Invariant: rows on stdout, what there is to know about them on stderr.

use gridctl_core::leaderboard::Row;
use gridctl_core::notice::Notice;
use gridctl_core::view::{Leaderboard, LeaderboardQuery};

use crate::cli::LeaderboardArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::rows::{self, Heading};
use crate::output::{self, Format, number, sanitise, sentence};
use crate::settings::Settings;
use crate::source::target::{self, LeaderboardTarget};
use crate::source::{DataSource, results};

/// Rows that are compared to find the parameters that vary.
const COMPARED: u32 = 200;

/// Runs the command.
pub(crate) fn run(args: &LeaderboardArgs, settings: &Settings) -> Outcome {
    let query = LeaderboardQuery {
        filter: args.filter.clone().unwrap_or_default(),
        sort: args.sort.clone().unwrap_or_default(),
        ..asked(args.k)
    };
    let mut is_whole = true;
    let (board, notices) = match target::resolve(args.sweep.as_deref(), settings)? {
        LeaderboardTarget::Results(place) => {
            let board;
            (board, is_whole) = results::leaderboard(&place, &query)?;
            (board, Vec::new())
        }
        LeaderboardTarget::Sweep { name, from } => {
            let mut source = DataSource::open(settings, &from)?;
            let board = all(&mut source, &name, &query)?;
            let notices = source.status(&board.sweep)?.notices;
            (board, notices)
        }
    };
    print(&board, args.output, args.k)?;
    if !board.rows.is_empty() {
        doubts(&notices);
    }
    // Better ones may be among what could not be read.
    Ok(if is_whole { Exit::Ok } else { Exit::Error })
}

/// Says why numbers that are shown may not be what was meant.
pub(crate) fn doubts(notices: &[Notice]) {
    for notice in notices.iter().filter(|notice| notice.is_of_numbers()) {
        output::say(format_args!("note: {}", sentence::notice(notice)));
    }
}

/// Names the declared metrics that no row has.
pub(crate) fn unseen(board: &Leaderboard, declared: &[String]) {
    let has = |row: &Row, name: &String| row.metrics.iter().any(|(known, _)| known == name);
    let is_unseen = |name: &&String| !board.rows.iter().any(|row| has(row, name));
    let names: Vec<String> = declared.iter().filter(is_unseen).cloned().collect();
    if !names.is_empty() && !board.rows.is_empty() {
        output::say(format_args!(
            "note: declared under `metrics`, but found in no row: {}; `gridctl check FILE --log LOG` says why",
            sentence::names(&names)
        ));
    }
}

/// Every row that was asked for: one answer holds only so many.
fn all(source: &mut DataSource, sweep: &str, query: &LeaderboardQuery) -> Result<Leaderboard, Failure> {
    let mut board = source.leaderboard(sweep, query)?;
    loop {
        let have = board.rows.len() as u64;
        let wanted = if query.k == 0 { board.total } else { board.total.min(query.k.into()) };
        if have >= wanted {
            return Ok(board);
        }
        let left = if query.k == 0 { 0 } else { query.k - u32::try_from(have).unwrap_or(query.k) };
        let next = LeaderboardQuery { k: left, offset: have, ..query.clone() };
        let next = source.leaderboard(sweep, &next)?;
        if next.rows.is_empty() {
            return Ok(board);
        }
        board.mixed_code |= next.mixed_code;
        board.rows.extend(next.rows);
    }
}

/// What to ask for to show `k` rows: some more, which tell the parameters that vary from those that do not.
pub(crate) fn asked(k: u32) -> LeaderboardQuery {
    let k = if k == 0 { 0 } else { k.max(COMPARED) };
    LeaderboardQuery { k, ..LeaderboardQuery::default() }
}

/// Prints the first `k` rows of a leaderboard; 0 for all.
pub(crate) fn print(board: &Leaderboard, format: Format, k: u32) -> Result<(), Failure> {
    let metric = board.metric.clone().unwrap_or_default();
    let for_people = matches!(format, Format::Table | Format::Wide);
    if for_people && board.rows.is_empty() {
        output::say(format_args!(
            "`{}` has no results to show; `gridctl trials ls` says how its trials stand",
            board.sweep
        ));
        return Ok(());
    }
    if for_people && metric.is_empty() {
        output::say("no metric is declared, so nothing is ranked");
    }
    let shown = if k == 0 { board.rows.len() } else { board.rows.len().min(k as usize) };
    rows::print(&board.rows, shown, &Heading { metric: metric.clone() }, format)?;
    if for_people {
        remarks(board, shown as u64, &metric);
    }
    Ok(())
}

fn remarks(board: &Leaderboard, shown: u64, metric: &str) {
    if board.total > shown {
        output::say(format_args!(
            "the first {} of {}; -k 0 shows all",
            number::count(shown),
            number::count(board.total)
        ));
    }
    for (name, value) in baselines(&board.rows, metric) {
        output::say(format_args!("to beat: {} {value}", sanitise::line(&name)));
    }
    if let Some(tied) = tied(&board.rows) {
        let more = if tied == board.rows.len() as u64 && tied < board.total { " or more" } else { "" };
        output::say(format_args!(
            "{}{more} share the best value; the first in the file's order is called best",
            number::of(tied, "point")
        ));
    }
    if let Some(none) = none_complete(&board.rows) {
        output::say(none);
    } else if !metric.is_empty() && board.rows.iter().all(is_diverged) {
        output::say(format_args!(
            "all of them diverged: no value of `{}` is a finite number, so that none is ranked",
            sanitise::line(metric)
        ));
    }
    if board.mixed_code {
        output::say("more than one version of the code computed these rows");
    }
}

/// How many of the rows have the value of the best, if it is not alone; at least so many.
fn tied(rows: &[Row]) -> Option<u64> {
    let best = rows.iter().find(|row| row.rank == Some(1))?;
    let ties = rows.iter().filter(|row| row.rank.is_some() && row.objective == best.objective).count();
    (ties > 1).then_some(ties as u64)
}

/// What to say where points have repeats and none has all of them.
fn none_complete(rows: &[Row]) -> Option<&'static str> {
    let first = rows.first().filter(|row| row.repeats_total > 1)?;
    let none = first.rank.is_none() && rows.iter().all(|row| row.rank.is_none());
    none.then_some("no point is complete yet, so that none is ranked: these are means of the repeats so far")
}

fn is_diverged(row: &Row) -> bool {
    row.rank.is_none() && row.objective.is_some_and(|value| !value.0.is_finite())
}

/// Metrics called `baseline...`, where all rows agree on them: what doing nothing would score.
fn baselines(rows: &[Row], metric: &str) -> Vec<(String, String)> {
    let Some(first) = rows.first() else { return Vec::new() };
    let named = first.metrics.iter().filter(|(name, _)| name.starts_with("baseline") && name != metric);
    let agreed = named.filter(|(name, value)| {
        rows.iter().all(|row| row.metrics.iter().any(|(other, theirs)| other == name && theirs == value))
    });
    agreed.map(|(name, value)| (name.clone(), number::metric(value.0))).collect()
}
