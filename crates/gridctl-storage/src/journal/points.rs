//! Ranking in SQL: the best trials straight from an index, and after them those that nothing ranks.
//! Invariant: only the newest generation of a trial counts, an objective that is not finite never ranks, ties go to the lower index.

use gridctl_core::record::Class;
use gridctl_core::spec::Goal;
use rusqlite::{OptionalExtension, params};

use super::error::StoreError;
use super::reader::Reader;
use super::row::{COLUMNS, damaged_value};
use super::{OutcomeRow, load};

/// What an outcome must be to rank, in the words of the index.
pub(super) const RANKED: &str = "o.sweep = ?1 AND o.version = ?2 AND o.terminal = 1 AND o.class = 'succeeded' AND o.objective IS NOT NULL";
/// What a success is that nothing ranks.
pub(super) const UNRANKED: &str =
    "o.sweep = ?1 AND o.version = ?2 AND o.terminal = 1 AND o.class = 'succeeded' AND o.objective IS NULL";
/// Up to so many rows the best are sought one objective value at a time; beyond, sorting them all is cheaper.
const SEEK_AT_MOST: u64 = 1_000;

/// SQL that drops outcomes which a newer generation of the same trial has replaced. Where no trial was ever tried anew, the first
/// part is all that SQLite looks at.
pub(crate) fn newest(alias: &str) -> String {
    format!(
        "(NOT EXISTS (SELECT 1 FROM outcome INDEXED BY outcome_again WHERE generation > 1)
         OR NOT EXISTS (SELECT 1 FROM outcome n INDEXED BY outcome_again WHERE n.generation > 1 AND n.trial = {alias}.trial
         AND n.sweep = {alias}.sweep AND n.version = {alias}.version AND n.terminal = 1 AND n.generation > {alias}.generation))"
    )
}

impl Reader {
    /// The best `k` successes with a finite objective after the first `offset`, best first; for sweeps without repeats.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn top(
        &self,
        (sweep, version): (u32, u32),
        goal: Goal,
        (k, offset): (u64, u64),
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        if let Some(standing) = self.standing((sweep, version))? {
            return self.top_of(&standing, goal, (k, offset));
        }
        if k.saturating_add(offset) <= SEEK_AT_MOST && goal == Goal::Maximize {
            return self.largest((sweep, version), k, offset);
        }
        let way = if goal == Goal::Minimize { "ASC" } else { "DESC" };
        let order = format!("ORDER BY o.objective {way}, o.idx ASC LIMIT ?3 OFFSET ?4");
        self.ranked((sweep, version), &order, params![sweep, version, clamp(k), clamp(offset)])
    }

    /// The `k` successes without a finite objective after the first `offset` of everything that succeeded, by their places: they come
    /// after all that rank. The other part of [`Reader::top`], of which the same question has found `above` rows.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn unranked(
        &self,
        (sweep, version): (u32, u32),
        (k, offset): (u64, u64),
        above: u64,
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        if let Some(standing) = self.standing((sweep, version))? {
            return self.unranked_of(&standing, (k, offset), above);
        }
        let newest = newest("o");
        // Only behind the last one that ranks it matters how many those are.
        let skip = match (above, offset) {
            (0, 1..) => offset.saturating_sub(self.count_ranked((sweep, version))?),
            _ => 0,
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM outcome o WHERE {UNRANKED} AND {newest} ORDER BY o.idx LIMIT ?3 OFFSET ?4"
        );
        let rows =
            self.outcomes_of(&sql, params![sweep, version, clamp(k.saturating_sub(above)), clamp(skip)])?;
        self.fitting(rows, |row| is_success_of((sweep, version), row) && row.objective.is_none())
    }

    fn count_ranked(&self, (sweep, version): (u32, u32)) -> Result<u64, StoreError> {
        let newest = newest("o");
        let sql =
            format!("SELECT count(*) FROM outcome o INDEXED BY outcome_rank WHERE {RANKED} AND {newest}");
        self.timed(|conn, path| {
            conn.prepare_cached(&sql)
                .and_then(|mut it| it.query_row(params![sweep, version], |row| row.get::<_, i64>(0)))
                .map(i64::cast_unsigned)
                .map_err(|error| damaged_value(path, error))
        })
    }

    /// Whether more than one code computed the successes of a version.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn is_mixed(&self, (sweep, version): (u32, u32)) -> Result<bool, StoreError> {
        let of = "FROM outcome WHERE sweep = ?1 AND version = ?2 AND terminal = 1 AND class = 'succeeded'";
        let linked = "FROM standing WHERE sweep = ?1 AND version = ?2 AND succeeded > 0";
        let sql = format!(
            "SELECT count(DISTINCT code) > 1 FROM (SELECT min(code) AS code {of} UNION ALL SELECT max(code) {of}
             UNION ALL SELECT low {linked} UNION ALL SELECT high {linked})"
        );
        self.timed(|conn, path| {
            conn.prepare_cached(&sql)
                .and_then(|mut it| it.query_row(params![sweep, version], |row| row.get(0)))
                .map_err(|error| damaged_value(path, error))
        })
    }

    /// The index holds ties in ascending order of their places, so descending objectives are sought value by value.
    fn largest(
        &self,
        (sweep, version): (u32, u32),
        k: u64,
        offset: u64,
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        let mut rows = Vec::new();
        let (mut skip, mut below) = (offset, f64::INFINITY);
        while (rows.len() as u64) < k {
            let Some(value) = self.next_objective((sweep, version), below)? else { break };
            let wanted = k - rows.len() as u64 + skip;
            let found = self.ranked(
                (sweep, version),
                "AND o.objective = ?3 ORDER BY o.idx ASC LIMIT ?4",
                params![sweep, version, value, clamp(wanted)],
            )?;
            let skipped = skip.min(found.len() as u64);
            skip -= skipped;
            rows.extend(found.into_iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)));
            below = value;
        }
        Ok(rows)
    }

    fn next_objective(&self, (sweep, version): (u32, u32), below: f64) -> Result<Option<f64>, StoreError> {
        let sql = format!(
            "SELECT o.objective FROM outcome o INDEXED BY outcome_rank WHERE {RANKED} AND o.objective < ?3
             ORDER BY o.objective DESC LIMIT 1"
        );
        self.timed(|conn, path| {
            conn.prepare_cached(&sql)
                .and_then(|mut it| it.query_row(params![sweep, version, below], |row| row.get(0)).optional())
                .map_err(|error| damaged_value(path, error))
        })
    }

    /// What the ranking says: numbers first, from the index alone, and then only those rows, each
    /// compared with its entry.
    fn ranked(
        &self,
        (sweep, version): (u32, u32),
        rest: &str,
        params: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        let newest = newest("o");
        let sql = format!(
            "SELECT o.seq, o.objective, o.idx FROM outcome o INDEXED BY outcome_rank
             WHERE {RANKED} AND {newest} {rest}"
        );
        let entries: Vec<(u64, f64, u64)> = self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                let mut statement = conn.prepare_cached(&sql)?;
                let entry = |row: &rusqlite::Row<'_>| {
                    Ok((
                        row.get::<_, i64>(0)?.cast_unsigned(),
                        row.get(1)?,
                        row.get::<_, i64>(2)?.cast_unsigned(),
                    ))
                };
                statement.query_map(params, entry)?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })?;
        let seqs: Vec<u64> = entries.iter().map(|(seq, ..)| *seq).collect();
        let rows = self.by_seq(&seqs)?;
        let fits = |(row, (_, objective, index)): (&OutcomeRow, &(u64, f64, u64))| {
            is_success_of((sweep, version), row) && row.objective == Some(*objective) && row.index == *index
        };
        if rows.len() != entries.len() || !rows.iter().zip(&entries).all(fits) {
            return Err(load::damaged(self.path(), "the ranking does not fit the outcomes", 0));
        }
        Ok(rows)
    }
}

/// Whether a row is what the indexes of successes are for.
pub(crate) fn is_success_of((sweep, version): (u32, u32), row: &OutcomeRow) -> bool {
    (row.sweep, row.version) == (sweep, version) && row.terminal && row.class == Class::Succeeded
}

pub(crate) fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
