//! The leaderboard, answered from the journal without disturbing whoever writes it.
//! Invariant: an answer fits into one message; what does not fit is asked for with an offset.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gridctl_core::id::SweepId;
use gridctl_core::leaderboard::{self, Board, Brief, Layout, Page, Query, Row};
use gridctl_core::sched::Best;
use gridctl_core::spec::Goal;
use gridctl_core::view::{Leaderboard, LeaderboardQuery, MAX_ANSWER_BYTES, MAX_ROWS};
use gridctl_storage::journal::{JOURNAL_FILE, OutcomeRow, Reader, StoreError};
use tokio::sync::Semaphore;

use crate::error::AskError;
use crate::handle::Handle;

/// Queries at the same time.
pub(crate) const AT_ONCE: usize = 4;
/// Bytes of documents in one answer.
pub(crate) const ANSWER_BYTES: usize = MAX_ANSWER_BYTES / 2;

/// Readers that wait for questions.
#[derive(Debug)]
pub(crate) struct Readers {
    dir: PathBuf,
    idle: Mutex<Vec<Reader>>,
    at_once: Semaphore,
}

impl Readers {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), idle: Mutex::new(Vec::new()), at_once: Semaphore::new(AT_ONCE) }
    }

    /// Asks with one of them; blocks.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Reader) -> Result<T, AskError>) -> Result<T, AskError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let reader = match waiting {
            Some(reader) => reader,
            None => Reader::open(&self.dir)?,
        };
        let answer = ask(&reader);
        idle().push(reader);
        answer
    }
}

impl Handle {
    /// Asks the journal, off the threads that serve.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, AskError> + Send + 'static,
    ) -> Result<T, AskError> {
        let _permit = self.shared.readers.at_once.acquire().await.map_err(|_| AskError::Ending)?;
        let shared = std::sync::Arc::clone(&self.shared);
        let asked = tokio::task::spawn_blocking(move || shared.readers.ask(ask)).await;
        asked.map_err(|error| AskError::Failed(error.to_string()))?
    }

    /// The best points of a sweep.
    ///
    /// # Errors
    /// There is no such sweep, the filter or the sort is not understood, or the journal cannot be read.
    pub async fn leaderboard(&self, sweep: &str, ask: LeaderboardQuery) -> Result<Leaderboard, AskError> {
        let status = self.resolve(sweep)?;
        let id = status.id.ok_or(AskError::NoSweep)?;
        let k = if ask.k == 0 { MAX_ROWS } else { ask.k.min(MAX_ROWS) };
        let offset = usize::try_from(ask.offset).unwrap_or(usize::MAX);
        let query = Query::parse(k as usize, offset, &ask.filter, &ask.sort)?;
        let (version, layout) = self
            .look(move |core, _| {
                core.sweep(id).map(|sweep| (sweep.version(), Layout::of(&sweep.frozen().spec)))
            })
            .await?
            .ok_or(AskError::NoSweep)?;
        let objective = layout.objective.clone();
        let (succeeded, best) = (status.succeeded, status.best.filter(|_| status.version == version));
        let mut page = self
            .read(move |reader| match layout.objective {
                Some((metric, goal)) if query.is_plain() && layout.repeats == 1 => {
                    let limits = (u64::from(k), query.offset as u64);
                    let page = plain(reader, (id, version), (&metric, goal), limits, succeeded)?;
                    check_best(&page, best.as_ref(), goal, query.offset)?;
                    Ok(page)
                }
                _ => full(reader, (id, version), layout, query),
            })
            .await?;
        bound(&mut page.rows);
        Ok(Leaderboard {
            sweep: status.sweep,
            version,
            goal: objective.as_ref().map_or(Goal::Maximize, |(_, goal)| *goal),
            metric: objective.map(|(metric, _)| metric),
            rows: page.rows,
            total: page.total,
            mixed_code: page.mixed_code,
        })
    }
}

/// The best by objective and then what has none, from the indexes.
fn plain(
    reader: &Reader,
    (id, version): (SweepId, u32),
    (metric, goal): (&str, Goal),
    (k, offset): (u64, u64),
    total: u64,
) -> Result<Page, AskError> {
    let at = (id.0, version);
    let mut rows = reader.top(at, goal, (k, offset))?;
    rows.extend(reader.unranked(at, (k, offset), rows.len() as u64)?);
    let mut bytes = 0;
    rows.retain(|row| {
        bytes += row.record.len();
        bytes <= ANSWER_BYTES * 8
    });
    let mixed_code = reader.is_mixed(at)?;
    let briefs = rows.iter().map(brief).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { rows: leaderboard::ranked(briefs, offset, Some(metric)), total, mixed_code })
}

/// Refuses a ranking that lacks the best trial, which the core knows from the events.
fn check_best(page: &Page, best: Option<&Best>, goal: Goal, offset: usize) -> Result<(), AskError> {
    let (Some(best), 0) = (best, offset) else { return Ok(()) };
    let first = page.rows.first().and_then(|row| row.objective);
    let is_as_good = first.is_some_and(|first| match goal {
        Goal::Maximize => first.0 >= best.objective.0,
        Goal::Minimize => first.0 <= best.objective.0,
    });
    if is_as_good {
        return Ok(());
    }
    let what = format!("the ranking lacks the best trial, {}", best.trial);
    Err(StoreError::Corrupt { path: JOURNAL_FILE.into(), what, at: 0 }.into())
}

/// Everything that was asked, from all outcomes of the version.
fn full(
    reader: &Reader,
    (id, version): (SweepId, u32),
    layout: Layout,
    query: Query,
) -> Result<Page, AskError> {
    let repeats = layout.repeats;
    let mut board = Board::new(layout, query);
    let mut problem = None;
    let mut add = |row: OutcomeRow| match brief(&row) {
        Ok(brief) => board.add(brief),
        Err(error) => problem = Some(error),
    };
    let at = (id.0, version);
    reader.successes(at, &mut add)?;
    if repeats > 1 {
        reader.failures(at, &mut |row| {
            if row.terminal {
                add(row);
            }
        })?;
    }
    match problem {
        Some(problem) => Err(problem),
        None => Ok(board.finish()?),
    }
}

fn brief(row: &OutcomeRow) -> Result<Brief, AskError> {
    row.brief().map_err(|error| unreadable(row, &error))
}

pub(crate) fn unreadable(row: &OutcomeRow, error: &serde_json::Error) -> AskError {
    StoreError::Corrupt {
        path: "journal".into(),
        what: format!("a record is not understood: {error}"),
        at: row.seq,
    }
    .into()
}

/// Drops rows that one answer has no room for.
fn bound(rows: &mut Vec<Row>) {
    let mut bytes = 0;
    rows.retain(|row| {
        bytes += serde_json::to_string(row).map_or(0, |text| text.len());
        bytes <= ANSWER_BYTES
    });
}
