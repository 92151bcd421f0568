//! `gridctl leaderboard`: the best points of a sweep.
//! Invariant: rows on stdout, what there is to know about them on stderr.

use gridctl_core::leaderboard::Row;
use gridctl_master::Leaderboard;
use gridctl_proto::ask::LeaderboardQuery;

use crate::cli::LeaderboardArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::rows::{self, Heading};
use crate::output::{self, Format, number, sanitise};
use crate::settings::Settings;
use crate::source::target::{self, Target};
use crate::source::{Source, results};

/// Runs the command.
pub(crate) fn run(args: &LeaderboardArgs, settings: &Settings) -> Outcome {
    let query = LeaderboardQuery {
        sweep: String::new(),
        k: args.k,
        filter: args.filter.clone().unwrap_or_default(),
        sort: args.sort.clone().unwrap_or_default(),
        offset: 0,
    };
    let board = match target::resolve(args.sweep.as_deref(), settings)? {
        Target::Results(dir) => results::leaderboard(&dir, &query)?,
        Target::Sweep { name, from } => {
            Source::open(settings, &from)?.leaderboard(LeaderboardQuery { sweep: name, ..query })?
        }
    };
    print(&board, args.output)?;
    Ok(Exit::Ok)
}

/// Prints a leaderboard.
pub(crate) fn print(board: &Leaderboard, format: Format) -> Result<(), Failure> {
    let metric = board.objective.as_ref().map_or_else(String::new, |(name, _)| name.clone());
    let for_people = matches!(format, Format::Table | Format::Wide);
    if for_people && board.rows.is_empty() {
        output::say(format_args!("`{}` has no results yet", board.sweep));
        return Ok(());
    }
    if for_people && metric.is_empty() {
        output::say("no metric is declared, so nothing is ranked");
    }
    rows::print(&board.rows, &Heading { metric: metric.clone() }, format)?;
    if for_people {
        remarks(board, &metric);
    }
    Ok(())
}

fn remarks(board: &Leaderboard, metric: &str) {
    let shown = board.rows.len() as u64;
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
    if board.mixed_code {
        output::say("more than one version of the code computed these rows");
    }
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
