//! Questions about a version that outcomes of earlier ones stand for as well: what is linked,
//! merged with the version's own.
//! Invariant: only what a piece links counts, at the place that it says, and each row is what was
//! asked for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use gridctl_core::id::TrialId;
use gridctl_core::record::Class;
use gridctl_core::spec::Goal;
use rusqlite::{Row, params};

use super::error::StoreError;
use super::points::{RANKED, UNRANKED, clamp, newest};
use super::reader::Reader;
use super::row::damaged_value;
use super::{OutcomeRow, load};

/// Entries of an index that are read at once.
const ENTRIES: u64 = 1_024;
/// Outcomes that are read at once.
const CHUNK: usize = 512;

/// What stands for a version, of which the pieces are read when they are needed.
pub(super) struct Standing<'a> {
    reader: &'a Reader,
    version: (u32, u32),
    /// Source, first and last outcome of each piece, ascending.
    outline: Vec<(u32, u64, u64)>,
    /// The links of pieces that were read, by their last outcome.
    read: RefCell<HashMap<u64, Vec<(u64, u64)>>>,
}

impl Standing<'_> {
    /// The versions that something is linked from.
    fn sources(&self) -> Vec<u32> {
        let mut sources: Vec<u32> = self.outline.iter().map(|(source, ..)| *source).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// The place in the version of an outcome, if it is linked.
    fn place_of(&self, seq: u64) -> Result<Option<u64>, StoreError> {
        let after = self.outline.partition_point(|(.., last)| *last < seq);
        let Some(&(.., last)) = self.outline.get(after).filter(|(_, first, _)| *first <= seq) else {
            return Ok(None);
        };
        let mut read = self.read.borrow_mut();
        let links = match read.entry(last) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let piece = self.reader.piece_from(self.version, last)?;
                let what = "what stands for a version is not there";
                let piece = piece.ok_or_else(|| load::damaged(self.reader.path(), what, seq))?;
                unknown.insert(self.reader.links_of(&piece)?)
            }
        };
        let found = links.binary_search_by_key(&seq, |(seq, _)| *seq).ok();
        Ok(found.and_then(|place| links.get(place)).map(|(_, index)| *index))
    }
}

/// An entry of the ranking.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    seq: u64,
    objective: f64,
    index: u64,
    is_linked: bool,
}

/// The ranking of one version's own rows, read as it is needed: by objective, and by place among
/// equal ones.
struct Walk {
    version: u32,
    /// Read, the next one last.
    next: Vec<Ranked>,
    after: Option<(f64, u64)>,
    is_linked: bool,
}

impl Walk {
    fn peek(&mut self, standing: &Standing<'_>, goal: Goal) -> Result<Option<Ranked>, StoreError> {
        if self.next.is_empty() {
            self.next = standing.reader.entries(standing.version.0, self, goal)?;
            if let Some(last) = self.next.last() {
                self.after = Some((last.objective, last.index));
            }
            self.next.reverse();
        }
        Ok(self.next.last().copied())
    }
}

impl Reader {
    /// What is linked for a version; `None` if nothing is.
    pub(super) fn standing(&self, version: (u32, u32)) -> Result<Option<Standing<'_>>, StoreError> {
        let outline = self.outline(version)?;
        let standing = Standing { reader: self, version, outline, read: RefCell::default() };
        Ok((!standing.outline.is_empty()).then_some(standing))
    }

    /// [`Reader::top`] of a version with links.
    pub(super) fn top_of(
        &self,
        standing: &Standing<'_>,
        goal: Goal,
        (k, offset): (u64, u64),
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        let walk = |version, is_linked| Walk { version, next: Vec::new(), after: None, is_linked };
        let mut walks: Vec<Walk> = standing.sources().into_iter().map(|source| walk(source, true)).collect();
        walks.push(walk(standing.version.1, false));
        let (mut wanted, mut skip) = (Vec::new(), offset);
        while (wanted.len() as u64) < k {
            let mut best: Option<f64> = None;
            for walk in &mut walks {
                let Some(entry) = walk.peek(standing, goal)? else { continue };
                if best.is_none_or(|best| goal.better(entry.objective, best)) {
                    best = Some(entry.objective);
                }
            }
            let Some(best) = best else { break };
            let mut equal = equal_to(&mut walks, standing, (best, goal))?;
            equal.sort_unstable_by_key(|entry| entry.index);
            let skipped = skip.min(equal.len() as u64);
            skip -= skipped;
            let left = usize::try_from(k - wanted.len() as u64).unwrap_or(usize::MAX);
            wanted.extend(equal.into_iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)).take(left));
        }
        self.rows_of(standing, &wanted)
    }

    /// [`Reader::unranked`] of a version with links.
    pub(super) fn unranked_of(
        &self,
        standing: &Standing<'_>,
        (k, offset): (u64, u64),
        above: u64,
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        if k <= above {
            return Ok(Vec::new());
        }
        let newest = newest("o");
        let mut entries = Vec::new();
        let versions = standing.sources().into_iter().map(|source| (source, true));
        for (version, is_linked) in versions.chain([(standing.version.1, false)]) {
            let rest = if is_linked { "" } else { &format!("AND {newest}") };
            let sql = format!(
                "SELECT o.seq, o.idx FROM outcome o INDEXED BY outcome_unranked WHERE {UNRANKED} {rest}"
            );
            for (seq, index) in self.pairs(&sql, params![standing.version.0, version])? {
                let place = if is_linked { standing.place_of(seq)? } else { Some(index) };
                entries.extend(place.map(|index| Ranked { seq, objective: f64::NAN, index, is_linked }));
            }
        }
        entries.sort_unstable_by_key(|entry| entry.index);
        // Only behind the last one that ranks it matters how many those are.
        let skip = match (above, offset) {
            (0, 1..) => {
                offset.saturating_sub(self.successes_of(standing)?.saturating_sub(entries.len() as u64))
            }
            _ => 0,
        };
        let (skip, left) = (usize::try_from(skip), usize::try_from(k - above));
        let wanted = entries.into_iter().skip(skip.unwrap_or(usize::MAX));
        self.rows_of(standing, &wanted.take(left.unwrap_or(usize::MAX)).collect::<Vec<_>>())
    }

    /// How many successes a version with links has.
    fn successes_of(&self, standing: &Standing<'_>) -> Result<u64, StoreError> {
        let newest = newest("o");
        let sql = format!(
            "SELECT (SELECT count(*) FROM outcome o WHERE o.sweep = ?1 AND o.version = ?2 AND o.terminal = 1
             AND o.class = 'succeeded' AND {newest}),
             (SELECT coalesce(sum(succeeded), 0) FROM standing WHERE sweep = ?1 AND version = ?2)"
        );
        let counts = self.pairs(&sql, params![standing.version.0, standing.version.1])?;
        Ok(counts.into_iter().map(|(own, linked)| own + linked).sum())
    }

    /// The next entries of a walk.
    fn entries(&self, sweep: u32, walk: &Walk, goal: Goal) -> Result<Vec<Ranked>, StoreError> {
        let (is, way) = if goal == Goal::Minimize { (">", "ASC") } else { ("<", "DESC") };
        let newest = if walk.is_linked { String::new() } else { format!("AND {}", newest("o")) };
        let rest = match walk.after {
            None => String::new(),
            Some(_) => format!("AND (o.objective, o.idx) {is} (?3, ?4)"),
        };
        let sql = format!(
            "SELECT o.seq, o.objective, o.idx FROM outcome o INDEXED BY outcome_rank
             WHERE {RANKED} {newest} {rest} ORDER BY o.objective {way}, o.idx {way} LIMIT {ENTRIES}"
        );
        let is_linked = walk.is_linked;
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<Vec<Ranked>> {
                let mut statement = conn.prepare_cached(&sql)?;
                let entry = |row: &Row<'_>| {
                    let number = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
                    Ok(Ranked { seq: number(0)?, objective: row.get(1)?, index: number(2)?, is_linked })
                };
                match walk.after {
                    None => statement.query_map(params![sweep, walk.version], entry)?.collect(),
                    Some((objective, index)) => statement
                        .query_map(params![sweep, walk.version, objective, clamp(index)], entry)?
                        .collect(),
                }
            };
            query().map_err(|error| damaged_value(path, error))
        })
    }

    /// The rows of entries, in their order, each compared with its entry.
    fn rows_of(&self, standing: &Standing<'_>, entries: &[Ranked]) -> Result<Vec<OutcomeRow>, StoreError> {
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let found = if entry.is_linked {
                self.linked(standing.version, &[(entry.seq, entry.index)])?
            } else {
                self.by_seq(&[entry.seq])?
            };
            let fits = |row: &OutcomeRow| {
                (row.sweep, row.version, row.index) == (standing.version.0, standing.version.1, entry.index)
                    && row.terminal
                    && row.class == Class::Succeeded
                    && row.objective.unwrap_or(f64::NAN).total_cmp(&entry.objective).is_eq()
            };
            match found.into_iter().next().filter(fits) {
                Some(row) => rows.push(row),
                None => {
                    let what = "the ranking does not fit the outcomes";
                    return Err(load::damaged(self.path(), what, entry.seq));
                }
            }
        }
        Ok(rows)
    }

    fn pairs(&self, sql: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<(u64, u64)>, StoreError> {
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                let pair = |row: &Row<'_>| {
                    Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
                };
                conn.prepare_cached(sql)?.query_map(params, pair)?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })
    }

    /// Calls `each` with every outcome after number `after` that is linked for a version, ascending
    /// by number, as it counts there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn linked_of(
        &self,
        version: (u32, u32),
        after: u64,
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let mut after = after;
        while let rows = self.linked_after(version, after, CHUNK)?
            && let Some(last) = rows.last()
        {
            after = last.seq;
            rows.into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    /// The next outcomes after number `after` that are linked for a version, ascending by number,
    /// as they count there: `most` or fewer.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn linked_after(
        &self,
        version: (u32, u32),
        after: u64,
        most: usize,
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        let Some(piece) = self.piece_from(version, after.saturating_add(1))? else { return Ok(Vec::new()) };
        let links = self.links_of(&piece)?;
        let from = links.partition_point(|(seq, _)| *seq <= after);
        let until = links.len().min(from.saturating_add(most));
        self.linked(version, &links[from..until])
    }

    /// Calls `each` with what is linked for a version and is no success.
    pub(super) fn linked_failures(
        &self,
        version: (u32, u32),
        each: &mut dyn FnMut(OutcomeRow),
    ) -> Result<(), StoreError> {
        let Some(standing) = self.standing(version)? else { return Ok(()) };
        let sql = "SELECT seq, 0 FROM outcome INDEXED BY outcome_failure
            WHERE sweep = ?1 AND version = ?2 AND class <> 'succeeded' ORDER BY seq";
        let mut found = Vec::new();
        for source in standing.sources() {
            for (seq, _) in self.pairs(sql, params![version.0, source])? {
                found.extend(standing.place_of(seq)?.map(|index| (seq, index)));
            }
        }
        found.sort_unstable();
        for links in found.chunks(CHUNK) {
            self.linked(version, links)?.into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    /// The attempts of a trial, and again for each version that they are linked for.
    pub(super) fn with_links(
        &self,
        sweep: u32,
        rows: Vec<OutcomeRow>,
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        let mut all: Vec<((u64, u32), OutcomeRow)> = Vec::with_capacity(rows.len());
        for version in self.versions_with_standings()?.into_iter().filter(|version| version.0 == sweep) {
            for row in &rows {
                let Some(piece) = self.piece_from(version, row.seq)? else { continue };
                let links = self.links_of(&piece)?;
                let Ok(place) = links.binary_search_by_key(&row.seq, |(seq, _)| *seq) else { continue };
                let linked = self.linked(version, &links[place..=place])?;
                all.extend(linked.into_iter().map(|row| ((piece.since, piece.version), row)));
            }
        }
        all.extend(rows.into_iter().map(|row| ((row.seq, 0), row)));
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, row)| row).collect())
    }

    /// Whether a trial was tried again in a version, as a later generation than this one.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn is_tried_again(
        &self,
        (sweep, version): (u32, u32),
        trial: TrialId,
        generation: u32,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM outcome INDEXED BY outcome_again WHERE generation > 1
            AND trial = ?1 AND sweep = ?2 AND version = ?3 AND generation > ?4)";
        self.timed(|conn, path| {
            conn.prepare_cached(sql)
                .and_then(|mut it| {
                    it.query_row(params![trial.to_string(), sweep, version, generation], |row| row.get(0))
                })
                .map_err(|error| damaged_value(path, error))
        })
    }
}

/// Takes all entries of this objective out of the walks; of linked ones those that the standing
/// has, at their places.
fn equal_to(
    walks: &mut [Walk],
    standing: &Standing<'_>,
    (objective, goal): (f64, Goal),
) -> Result<Vec<Ranked>, StoreError> {
    let mut equal = Vec::new();
    for walk in walks {
        while let Some(entry) = walk.peek(standing, goal)?.filter(|entry| entry.objective == objective) {
            walk.next.pop();
            let place = if entry.is_linked { standing.place_of(entry.seq)? } else { Some(entry.index) };
            equal.extend(place.map(|index| Ranked { index, ..entry }));
        }
    }
    Ok(equal)
}

#[cfg(test)]
mod tests;
