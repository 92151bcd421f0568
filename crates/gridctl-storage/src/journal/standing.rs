//! Which attempts of a sweep count for a version beside the version's own: (number of the outcome,
//! place in the version), ascending by number, in pieces.
//! Invariant: no piece leaves here whose checksum does not fit; a linked outcome is compared with
//! what its piece says of it.

use std::collections::BTreeMap;

use gridctl_core::id::CodeHash;
use gridctl_core::record::TrialState;
use gridctl_core::sched::Linked;
use rusqlite::{Row, Statement, params};

use super::error::StoreError;
use super::points::clamp;
use super::reader::Reader;
use super::row::damaged_value;
use super::{OutcomeRow, load};

/// Links of one piece.
const LINKS: usize = 2_048;
const COLUMNS: &str = "sweep, version, since, source, first, last, count, succeeded, low, high, crc, bytes";
pub(crate) const INSERT_STANDING: &str =
    "INSERT INTO standing VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// One attempt that counts for another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The number of the outcome.
    pub seq: u64,
    /// The trial's place in the version.
    pub index: u64,
    /// The version that it was made in.
    pub source: u32,
    /// The code, if it is a success.
    pub code: Option<CodeHash>,
}

/// A piece of what stands for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRow {
    /// The sweep's number.
    pub sweep: u32,
    /// The version that the outcomes count for.
    pub version: u32,
    /// The last outcome that there was when they were linked.
    pub since: u64,
    /// The version that the outcomes are of.
    pub source: u32,
    /// The first outcome.
    pub first: u64,
    /// The last outcome.
    pub last: u64,
    /// How many there are.
    pub count: u64,
    /// How many of them are successes.
    pub succeeded: u64,
    /// The lowest and the highest code of the successes, if there are any.
    pub codes: Option<(CodeHash, CodeHash)>,
    /// The steps from link to link: of the number, and of the place.
    pub bytes: Vec<u8>,
}

impl StandingRow {
    /// The pieces of what is linked, when the last outcome was number `since`.
    #[must_use]
    pub fn of(links: &[Linked], since: u64) -> Vec<Self> {
        let mut versions: BTreeMap<(u32, u32), Vec<Link>> = BTreeMap::new();
        for link in links {
            let code = (link.state == TrialState::Succeeded).then_some(link.source.code);
            let Linked { from: seq, index, .. } = *link;
            let of_version = versions.entry((link.sweep.0, link.version)).or_default();
            of_version.push(Link { seq, index, source: link.source.version, code });
        }
        versions.into_iter().flat_map(|(version, links)| Self::pack(version, since, links)).collect()
    }

    /// The pieces that hold all that is linked for a version, `since` when the last outcome was
    /// that one.
    #[must_use]
    pub fn pack((sweep, version): (u32, u32), since: u64, mut links: Vec<Link>) -> Vec<Self> {
        links.sort_unstable_by_key(|link| link.seq);
        let of_one_source = links.chunk_by(|one, next| one.source == next.source);
        let pieces = of_one_source.flat_map(|links| links.chunks(LINKS));
        let piece = |links: &[Link]| {
            let codes = links.iter().filter_map(|link| link.code);
            let (mut bytes, mut seq, mut index) = (Vec::with_capacity(links.len() * 4), 0, 0);
            for link in links {
                put(&mut bytes, link.seq - seq);
                put(&mut bytes, zigzag(link.index.wrapping_sub(index).cast_signed()));
                (seq, index) = (link.seq, link.index);
            }
            Self {
                sweep,
                version,
                since,
                source: links.first().map_or(0, |link| link.source),
                first: links.first().map_or(0, |link| link.seq),
                last: seq,
                count: links.len() as u64,
                succeeded: codes.clone().count() as u64,
                codes: codes.clone().min().zip(codes.max()),
                bytes,
            }
        };
        pieces.map(piece).collect()
    }

    /// The links: number of the outcome, place in the version. `None` if they are not what the
    /// piece says that they are.
    #[must_use]
    pub fn links(&self) -> Option<Vec<(u64, u64)>> {
        let mut links: Vec<(u64, u64)> = Vec::with_capacity(usize::try_from(self.count).ok()?.min(LINKS));
        let (mut bytes, mut seq, mut index) = (&self.bytes[..], 0_u64, 0_u64);
        while !bytes.is_empty() {
            let step = take(&mut bytes)?;
            seq = seq.checked_add(step).filter(|_| step > 0)?;
            index = index.wrapping_add(unzigzag(take(&mut bytes)?).cast_unsigned());
            links.push((seq, index));
        }
        let ends = (links.first().map(|link| link.0), links.last().map(|link| link.0));
        let fits = ends == (Some(self.first), Some(self.last)) && links.len() as u64 == self.count;
        fits.then_some(links)
    }

    fn crc(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for number in [self.sweep, self.version, self.source] {
            hasher.update(&number.to_le_bytes());
        }
        for number in [self.since, self.first, self.last, self.count, self.succeeded] {
            hasher.update(&number.to_le_bytes());
        }
        if let Some((low, high)) = self.codes {
            hasher.update(&low.0);
            hasher.update(&high.0);
        }
        hasher.update(&self.bytes);
        hasher.finalize()
    }
}

/// Seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift > 63 || (shift == 63 && *byte > 1) {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

pub(crate) fn insert_standing(statement: &mut Statement<'_>, row: &StandingRow) -> rusqlite::Result<()> {
    let codes = row.codes.map(|(low, high)| (low.to_string(), high.to_string()));
    let (low, high) = codes.unzip();
    statement
        .execute(params![
            row.sweep,
            row.version,
            row.since.cast_signed(),
            row.source,
            row.first.cast_signed(),
            row.last.cast_signed(),
            row.count.cast_signed(),
            row.succeeded.cast_signed(),
            low,
            high,
            row.crc(),
            row.bytes,
        ])
        .map(drop)
}

/// Reads the columns of [`COLUMNS`]; the checksum beside them.
fn read_standing(row: &Row<'_>) -> rusqlite::Result<(StandingRow, u32, bool)> {
    let number = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let texts: (Option<String>, Option<String>) = (row.get(8)?, row.get(9)?);
    let code = |text: Option<String>| text.and_then(|text| text.parse::<CodeHash>().ok());
    let are_texts = texts.0.is_some();
    let codes = code(texts.0).zip(code(texts.1));
    let standing = StandingRow {
        sweep: row.get(0)?,
        version: row.get(1)?,
        since: number(2)?,
        source: row.get(3)?,
        first: number(4)?,
        last: number(5)?,
        count: number(6)?,
        succeeded: number(7)?,
        codes,
        bytes: row.get(11)?,
    };
    Ok((standing, row.get(10)?, are_texts == codes.is_some()))
}

impl Reader {
    /// The pieces of what stands for a version, in the order of their outcomes.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::TooSlow`].
    pub fn standings(&self, (sweep, version): (u32, u32)) -> Result<Vec<StandingRow>, StoreError> {
        self.pieces("sweep = ?1 AND version = ?2 ORDER BY last", params![sweep, version])
    }

    /// The first piece of a version with outcomes from this number on.
    pub(crate) fn piece_from(
        &self,
        (sweep, version): (u32, u32),
        seq: u64,
    ) -> Result<Option<StandingRow>, StoreError> {
        let rest = "sweep = ?1 AND version = ?2 AND last >= ?3 ORDER BY last LIMIT 1";
        Ok(self.pieces(rest, params![sweep, version, clamp(seq)])?.pop())
    }

    /// The versions that something stands for, with their sweeps.
    pub(crate) fn versions_with_standings(&self) -> Result<Vec<(u32, u32)>, StoreError> {
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                let mut statement = conn.prepare_cached("SELECT DISTINCT sweep, version FROM standing")?;
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })
    }

    /// The version's pieces: source, first and last outcome.
    pub(crate) fn outline(&self, (sweep, version): (u32, u32)) -> Result<Vec<(u32, u64, u64)>, StoreError> {
        let sql = "SELECT source, first, last FROM standing WHERE sweep = ?1 AND version = ?2 ORDER BY last";
        self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                let mut statement = conn.prepare_cached(sql)?;
                let outline = |row: &Row<'_>| {
                    let number = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
                    Ok((row.get(0)?, number(1)?, number(2)?))
                };
                statement.query_map(params![sweep, version], outline)?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })
    }

    fn pieces(&self, rest: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<StandingRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM standing WHERE {rest}");
        let rows: Vec<(StandingRow, u32, bool)> = self.timed(|conn, path| {
            let query = || -> rusqlite::Result<_> {
                conn.prepare_cached(&sql)?.query_map(params, read_standing)?.collect()
            };
            query().map_err(|error| damaged_value(path, error))
        })?;
        let checked = |(row, crc, is_read): (StandingRow, u32, bool)| {
            let what = "what stands for a version does not fit its checksum";
            if is_read && row.crc() == crc {
                Ok(row)
            } else {
                Err(load::damaged(self.path(), what, row.first))
            }
        };
        rows.into_iter().map(checked).collect()
    }

    /// The piece's links: number of the outcome, place in the version.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn links_of(&self, piece: &StandingRow) -> Result<Vec<(u64, u64)>, StoreError> {
        let damaged = || load::damaged(self.path(), "what stands for a version is damaged", piece.first);
        piece.links().ok_or_else(damaged)
    }

    /// Outcomes as they count for a version, given by number and place.
    pub(crate) fn linked(
        &self,
        (sweep, version): (u32, u32),
        links: &[(u64, u64)],
    ) -> Result<Vec<OutcomeRow>, StoreError> {
        let seqs: Vec<u64> = links.iter().map(|(seq, _)| *seq).collect();
        let rows = self.by_seq(&seqs)?;
        let are_there = rows.len() == links.len()
            && rows.iter().all(|row| row.sweep == sweep && row.version < version && row.terminal);
        if !are_there {
            let at = seqs.first().copied().unwrap_or(0);
            return Err(load::damaged(
                self.path(),
                "what stands for a version does not fit the outcomes",
                at,
            ));
        }
        let counts = |(row, (_, index)): (OutcomeRow, &(u64, u64))| row.counting_for(version, *index);
        Ok(rows.into_iter().zip(links).map(counts).collect())
    }
}
