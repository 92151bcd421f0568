//! Trials one by one: pages of them, and a single one with its attempts, by whatever name people give it.
//! Invariant: each trial is in one page at most, and a page fits into one message.

use std::collections::BTreeSet;

use gridctl_core::id::{LeaseSeq, SweepId, TrialId, WorkerId};
use gridctl_core::record::TrialState;
use gridctl_core::trials::TrialLine;
use gridctl_core::view::{
    AttemptsPage, AttemptsQuery, LeaderboardQuery, MAX_PAGE, TrialDetails, TrialsPage, TrialsQuery,
};
use gridctl_storage::journal::{OutcomeRow, Reader};

use crate::error::AskError;
use crate::handle::Handle;
use crate::query::{ANSWER_BYTES, unreadable};

/// Trials in a page if nobody says how many.
const PAGE: u32 = 1_000;
/// Outcomes that are read at once.
const CHUNK: u32 = 1_000;

impl Handle {
    /// A page of the trials that have begun: those that go on first, then the settled ones as they ended.
    ///
    /// # Errors
    /// There is no such sweep, the page token is none, or the journal cannot be read.
    pub async fn trials(&self, sweep: &str, ask: TrialsQuery) -> Result<TrialsPage, AskError> {
        let id = self.id_of(sweep)?;
        let size = if ask.page_size == 0 { PAGE } else { ask.page_size.min(MAX_PAGE) } as usize;
        let token = Token::parse(&ask.page_token)?;
        let mut trials = Vec::new();
        let mut at = Token::Linked(0);
        let live = self.live(id, None).await?;
        // A trial that is tried again is not what it was any more.
        let open: BTreeSet<TrialId> = live.iter().map(|line| line.trial).collect();
        if let Token::Live(index) = token {
            trials = live;
            trials
                .retain(|line| index.is_none_or(|index| line.index > index) && wanted(line.state, ask.state));
            if trials.len() > size {
                trials.truncate(size);
                let next =
                    trials.last().map_or_else(String::new, |line| Token::Live(Some(line.index)).text());
                return Ok(TrialsPage { trials: self.with_last_ends(id, trials).await?, next });
            }
            trials = self.with_last_ends(id, trials).await?;
        } else {
            at = token;
        }
        if matches!(ask.state, Some(TrialState::Pending | TrialState::Leased)) {
            return Ok(TrialsPage { trials, next: String::new() });
        }
        let version = self.version(id).await?;
        let room = size - trials.len();
        let (settled, next) =
            self.read(move |reader| settled(reader, (id, version), (ask.state, &open), (at, room))).await?;
        trials.extend(settled);
        Ok(TrialsPage { trials, next })
    }

    /// A page of the sweep's attempts, in the order in which they ended.
    ///
    /// # Errors
    /// There is no such sweep, or the journal cannot be read.
    pub async fn attempts(&self, sweep: &str, ask: AttemptsQuery) -> Result<AttemptsPage, AskError> {
        let id = self.id_of(sweep)?;
        self.read(move |reader| {
            let rows = reader.after(ask.after, Some(id.0), u64::from(CHUNK))?;
            let (mut next, mut attempts, mut bytes) = (ask.after, Vec::new(), 0);
            let count = rows.len();
            for row in rows {
                let mut record = row.record().map_err(|error| unreadable(&row, &error))?;
                record.report.log.clear();
                record.report.curve.clear();
                bytes += 1_024 + 64 * (record.params.len() + record.report.metrics.len());
                attempts.push(record);
                next = row.seq;
                if bytes > ANSWER_BYTES {
                    break;
                }
            }
            let more = attempts.len() < count || count == CHUNK as usize;
            Ok(AttemptsPage { attempts, next, more })
        })
        .await
    }

    /// One trial with its attempts: `best`, `#3` for a rank, an id, or a prefix that is unique.
    ///
    /// # Errors
    /// There is no such sweep or trial, or more than one.
    pub async fn trial(&self, sweep: &str, name: &str) -> Result<TrialDetails, AskError> {
        let (id, trial) = self.find(sweep, name, &mut None).await?;
        let live = self.live(id, Some(trial)).await?;
        let mut live = self.with_last_ends(id, live).await?;
        let attempts = self.read(move |reader| Ok(reader.attempts_of(id.0, trial)?)).await?;
        let last = match (live.pop(), attempts.last()) {
            (Some(line), _) => line,
            (None, Some(row)) => line(row)?,
            (None, None) => return Err(AskError::UnknownTrial { prefix: name.to_owned() }),
        };
        let status = self.board.borrow().status(id).ok_or(AskError::NoSweep)?;
        let record = |row: &OutcomeRow| row.record().map_err(|error| unreadable(row, &error));
        let attempts = attempts.iter().map(record).collect::<Result<_, _>>()?;
        Ok(TrialDetails { sweep: status.sweep, trial: last, attempts })
    }

    /// Who holds the trial now, under which lease, and the number of that attempt.
    ///
    /// # Errors
    /// As [`Handle::trial`].
    pub(crate) async fn running(
        &self,
        sweep: &str,
        name: &str,
    ) -> Result<Option<(WorkerId, LeaseSeq, u32)>, AskError> {
        let (id, trial) = self.find(sweep, name, &mut None).await?;
        let live = self.look(move |core, now| core.live(id, now)).await?;
        let found = live.into_iter().find(|live| live.trial == trial);
        Ok(found.and_then(|live| Some((live.worker?, live.lease?, live.attempt))))
    }

    /// The trials that a person means: ids, prefixes, `best`, ranks.
    ///
    /// # Errors
    /// As [`Handle::trial`].
    pub async fn find_all(&self, sweep: &str, names: &[String]) -> Result<Vec<TrialId>, AskError> {
        let mut trials = Vec::with_capacity(names.len());
        let mut live = None;
        for name in names {
            trials.push(self.find(sweep, name, &mut live).await?.1);
        }
        Ok(trials)
    }

    /// The trial that a person means; `live` keeps the trials that are not settled from one call to the next.
    async fn find(
        &self,
        sweep: &str,
        name: &str,
        live: &mut Option<Vec<(SweepId, TrialId)>>,
    ) -> Result<(SweepId, TrialId), AskError> {
        let no_best = || AskError::NoBest(name.chars().take(40).collect());
        let unknown = || AskError::UnknownTrial { prefix: name.chars().take(40).collect() };
        let rank = match name {
            "best" => Some(1),
            _ => name.strip_prefix('#').and_then(|rank| rank.parse::<u64>().ok()).filter(|it| *it > 0),
        };
        if let Some(rank) = rank {
            let ask = LeaderboardQuery { k: 1, offset: rank - 1, ..LeaderboardQuery::default() };
            let row = self.leaderboard(sweep, ask).await?.rows.into_iter().next().ok_or_else(no_best)?;
            if row.repeats_total > 1 && row.rank.is_none() {
                return Err(match rank {
                    1 => AskError::NoneComplete(name.chars().take(40).collect()),
                    _ => no_best(),
                });
            }
            return Ok((self.id_of(sweep)?, row.trial));
        }
        let only = if sweep.is_empty() { None } else { Some(self.id_of(sweep)?) };
        let found = self.by_prefix(name, only, live).await?;
        let trials: BTreeSet<TrialId> = found.iter().map(|(_, trial)| *trial).collect();
        match (found.into_iter().max(), trials.len()) {
            (Some(latest), 1) => Ok(latest),
            (None, _) => Err(unknown()),
            (Some(_), _) => Err(AskError::Ambiguous {
                prefix: name.to_owned(),
                candidates: trials.iter().take(5).map(TrialId::short).collect(),
            }),
        }
    }

    /// The trials that have begun and whose ids begin with `prefix`, with their sweep.
    async fn by_prefix(
        &self,
        prefix: &str,
        only: Option<SweepId>,
        live: &mut Option<Vec<(SweepId, TrialId)>>,
    ) -> Result<Vec<(SweepId, TrialId)>, AskError> {
        if prefix.is_empty()
            || prefix.len() > 16
            || !prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        {
            return Ok(Vec::new());
        }
        let live = match live {
            Some(live) => live,
            None => live.insert(self.live_ids(only).await?),
        };
        let begins = |(_, trial): &&(SweepId, TrialId)| trial.to_string().starts_with(prefix);
        let mut found: Vec<(SweepId, TrialId)> = live.iter().filter(begins).take(64).copied().collect();
        let prefix = prefix.to_owned();
        let known = self.read(move |reader| Ok(reader.find_trials(&prefix, 256)?)).await?;
        found.extend(known.into_iter().map(|(sweep, trial)| (SweepId(sweep), trial)));
        found.retain(|(id, _)| only.is_none_or(|only| only == *id));
        Ok(found)
    }

    /// The trials that have begun and are not settled, of every sweep or of this one.
    async fn live_ids(&self, only: Option<SweepId>) -> Result<Vec<(SweepId, TrialId)>, AskError> {
        self.look(move |core, now| {
            let ids = core.sweeps().map(|sweep| sweep.id()).filter(|id| only.is_none_or(|only| only == *id));
            ids.flat_map(|id| core.live(id, now).into_iter().map(move |live| (id, live.trial))).collect()
        })
        .await
    }

    async fn version(&self, id: SweepId) -> Result<u32, AskError> {
        self.look(move |core, _| core.sweep(id).map(|sweep| sweep.version())).await?.ok_or(AskError::NoSweep)
    }

    /// Trials that have begun and are not settled, in the order of the grid: all of them, or this one.
    async fn live(&self, id: SweepId, only: Option<TrialId>) -> Result<Vec<TrialLine>, AskError> {
        self.look(move |core, now| {
            let Some(sweep) = core.sweep(id) else { return Vec::new() };
            let mut live = core.live(id, now);
            live.retain(|live| only.is_none_or(|only| live.trial == only));
            live.sort_by_key(|live| live.index);
            let line = |live: gridctl_core::sched::LiveTrial| {
                let trial = sweep.points().trial(live.index);
                TrialLine::live(live, (trial.params, trial.repeat))
            };
            live.into_iter().map(line).collect()
        })
        .await
    }

    /// The same, with how the last attempt of those ended that wait for another.
    async fn with_last_ends(
        &self,
        id: SweepId,
        mut trials: Vec<TrialLine>,
    ) -> Result<Vec<TrialLine>, AskError> {
        if !trials.iter().any(TrialLine::is_to_be_tried_again) {
            return Ok(trials);
        }
        self.read(move |reader| {
            for trial in trials.iter_mut().filter(|trial| trial.is_to_be_tried_again()) {
                let attempts = reader.attempts_of(id.0, trial.trial)?;
                if let Some(last) = attempts.last().map(line).transpose()?
                    && last.attempts == trial.attempts
                {
                    trial.ended_last(last);
                }
            }
            Ok(trials)
        })
        .await
    }
}

fn line(row: &OutcomeRow) -> Result<TrialLine, AskError> {
    let record = row.record().map_err(|error| unreadable(row, &error))?;
    Ok(TrialLine::after(record))
}

fn wanted(state: TrialState, asked: Option<TrialState>) -> bool {
    asked.is_none_or(|asked| asked == state)
}

/// At most `room` settled trials of a version, those that are linked before its own, and where the
/// next page begins. Those in `open` are not settled.
fn settled(
    reader: &Reader,
    (id, version): (SweepId, u32),
    (asked, open): (Option<TrialState>, &BTreeSet<TrialId>),
    (mut at, room): (Token, usize),
) -> Result<(Vec<TrialLine>, String), AskError> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    loop {
        let rows = match at {
            Token::Settled(after) => reader.after(after, Some(id.0), u64::from(CHUNK))?,
            Token::Linked(after) => reader.linked_after((id.0, version), after, CHUNK as usize)?,
            Token::Live(_) => Vec::new(),
        };
        if rows.is_empty() {
            if let Token::Settled(_) = at {
                return Ok((lines, String::new()));
            }
            at = Token::Settled(0);
        }
        for row in rows {
            if lines.len() >= room || bytes > ANSWER_BYTES {
                return Ok((lines, at.text()));
            }
            at = at.after(row.seq);
            if row.version == version
                && row.terminal
                && wanted(row.state, asked)
                && !open.contains(&row.trial)
                && stands(reader, id, &row)?
            {
                let line = line(&row)?;
                bytes += 512 + 64 * (line.params.len() + line.metrics.len());
                lines.push(line);
            }
        }
    }
}

/// Whether the trial was not tried again since. A success never is.
fn stands(reader: &Reader, id: SweepId, row: &OutcomeRow) -> Result<bool, AskError> {
    let is_success = row.state == TrialState::Succeeded;
    Ok(is_success || !reader.is_tried_again((id.0, row.version), row.trial, row.generation)?)
}

/// Where a page of trials begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Among those that go on, after this index.
    Live(Option<u64>),
    /// Among the settled ones that are linked, after this outcome.
    Linked(u64),
    /// Among the version's own settled ones, after this outcome.
    Settled(u64),
}

impl Token {
    fn parse(text: &str) -> Result<Self, AskError> {
        let number = |digits: &str| digits.parse().ok();
        let token = match text.split_at_checked(1) {
            _ if text.is_empty() => Some(Self::Live(None)),
            Some(("l", digits)) => number(digits).map(|index| Self::Live(Some(index))),
            Some(("k", digits)) => number(digits).map(Self::Linked),
            Some(("s", digits)) => number(digits).map(Self::Settled),
            Some(_) | None => None,
        };
        token.ok_or_else(|| AskError::PageToken(text.chars().take(40).collect()))
    }

    fn text(self) -> String {
        match self {
            Self::Live(None) => String::new(),
            Self::Live(Some(index)) => format!("l{index}"),
            Self::Linked(seq) => format!("k{seq}"),
            Self::Settled(seq) => format!("s{seq}"),
        }
    }

    /// The same, after this outcome.
    fn after(self, seq: u64) -> Self {
        if let Self::Settled(_) = self { Self::Settled(seq) } else { Self::Linked(seq) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g53_page_tokens_read_back_and_forged_ones_are_refused() {
        for token in [
            Token::Live(None),
            Token::Live(Some(7)),
            Token::Linked(3),
            Token::Settled(0),
            Token::Settled(u64::MAX),
        ] {
            assert_eq!(Token::parse(&token.text()).unwrap(), token);
        }
        for forged in ["x", "s", "s-1", "l1.5", "é", "s99999999999999999999"] {
            assert!(Token::parse(forged).is_err(), "{forged}");
        }
    }
}
