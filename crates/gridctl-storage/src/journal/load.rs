//! Reading the journal back: the newest whole snapshot and the events after it. Masters and readers load through here alike.
//! Invariant: events come without a gap and each with a checksum that includes the one before, or not at all.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::error::StoreError;
use super::head::Head;
use super::row::{Chain, damaged_value, snapshot_is_whole};
use super::{EventRow, Loaded};

/// The journal's last event.
pub(crate) fn last_event(conn: &Connection, path: &Path, start: Chain) -> Result<Chain, StoreError> {
    let last = conn
        .query_row("SELECT seq, crc FROM event ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok(Chain { seq: row.get::<_, i64>(0)?.cast_unsigned(), crc: row.get(1)? })
        })
        .optional();
    Ok(last.map_err(|error| damaged_value(path, error))?.unwrap_or(start))
}

/// The number of the last outcome; 0 if there is none.
pub(crate) fn last_outcome(conn: &Connection, path: &Path) -> Result<u64, StoreError> {
    conn.query_row("SELECT coalesce(max(seq), 0) FROM outcome", [], |row| row.get(0))
        .map(i64::cast_unsigned)
        .map_err(|error| damaged_value(path, error))
}

/// What the chain is after event `seq`, as the journal has it; `None` if there is no such event.
pub(crate) fn chain_at(
    conn: &Connection,
    path: &Path,
    start: Chain,
    seq: u64,
) -> Result<Option<Chain>, StoreError> {
    if seq == 0 {
        return Ok(Some(start));
    }
    conn.query_row("SELECT crc FROM event WHERE seq = ?1", [seq.cast_signed()], |row| row.get(0))
        .optional()
        .map(|crc| crc.map(|crc| Chain { seq, crc }))
        .map_err(|error| damaged_value(path, error))
}

/// Refuses a journal that is behind its head, or that has another past.
pub(crate) fn check_head(
    conn: &Connection,
    path: &Path,
    journal: &str,
    head: &Head,
) -> Result<(), StoreError> {
    let other = |what: String| Err(StoreError::Diverged { path: path.to_owned(), what });
    if head.journal != journal {
        return other(format!("this is the journal {journal}, and that one is of {}", head.journal));
    }
    let last = last_event(conn, path, Chain::start(journal))?;
    let last_outcome = last_outcome(conn, path)?;
    if head.event.seq > last.seq || head.outcome > last_outcome {
        return Err(behind(path, Some(head), last, last_outcome));
    }
    match chain_at(conn, path, Chain::start(journal), head.event.seq)? {
        Some(chain) if chain == head.event => Ok(()),
        _ => other(format!("event {} is another one", head.event.seq)),
    }
}

/// The error for a journal that ends at `last`, before what its head knows of.
pub(crate) fn behind(path: &Path, head: Option<&Head>, last: Chain, last_outcome: u64) -> StoreError {
    let known = |number: fn(&Head) -> u64| head.map_or(0, number);
    StoreError::Behind {
        path: path.to_owned(),
        journal: head.map_or_else(String::new, |head| head.journal.clone()),
        events: (last.seq, known(|head| head.event.seq).max(last.seq)),
        outcomes: (last_outcome, known(|head| head.outcome).max(last_outcome)),
    }
}

/// Refuses a journal in which an outcome is missing: outcomes are numbered from 1 without gaps.
pub(crate) fn check_numbers(conn: &Connection, path: &Path, last: u64) -> Result<(), StoreError> {
    let count = conn
        .query_row("SELECT count(*) FROM outcome", [], |row| row.get(0))
        .map(i64::cast_unsigned)
        .map_err(|error| damaged_value(path, error))?;
    if count != last {
        return Err(damaged(path, &format!("of {last} outcomes {count} are there"), last));
    }
    Ok(())
}

/// Calls `each` with the events after `chain`, at most `limit` of them, and returns the chain after the last one.
pub(crate) fn events_after(
    conn: &Connection,
    path: &Path,
    (mut chain, limit): (Chain, u64),
    each: &mut dyn FnMut(EventRow),
) -> Result<Chain, StoreError> {
    let fail = |error| damaged_value(path, error);
    let sql = "SELECT seq, crc, payload FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = conn.prepare_cached(sql).map_err(fail)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query([chain.seq.cast_signed(), limit]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let seq = row.get::<_, i64>(0).map_err(fail)?.cast_unsigned();
        let payload = row.get_ref(2).map_err(fail)?;
        let payload = payload.as_bytes().map_err(|_| damaged(path, "an event is no text", seq))?;
        let crc = row.get(1).map_err(fail)?;
        chain = chain.follow(seq, payload, crc).map_err(|(what, at)| damaged(path, what, at))?;
        each(EventRow { seq, payload: payload.to_vec() });
    }
    Ok(chain)
}

/// The newest whole snapshot of an event before number `before`, and what follows it.
pub(crate) fn load(conn: &Connection, path: &Path, start: Chain, before: u64) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let mut chain = start;
    for seq in snapshot_numbers(conn, path)?.into_iter().filter(|seq| *seq < before) {
        if let Some((at, bytes)) = whole_snapshot(conn, path, (start, seq))? {
            chain = at;
            loaded.snapshot = Some((seq, bytes));
            break;
        }
        loaded.damaged_snapshots += 1;
    }
    let end = events_after(conn, path, (chain, u64::MAX), &mut |event| loaded.tail.push(event))?;
    loaded.next_seq = end.seq + 1;
    Ok(loaded)
}

fn snapshot_numbers(conn: &Connection, path: &Path) -> Result<Vec<u64>, StoreError> {
    let fail = |error| damaged_value(path, error);
    let mut statement = conn.prepare_cached("SELECT seq FROM snapshot ORDER BY seq DESC").map_err(fail)?;
    let rows = statement.query_map([], |row| row.get(0).map(i64::cast_unsigned)).map_err(fail)?;
    rows.collect::<Result<_, _>>().map_err(fail)
}

/// The snapshot after event `seq`, if its bytes are whole and the events that it stands for are the ones before it.
fn whole_snapshot(
    conn: &Connection,
    path: &Path,
    (start, seq): (Chain, u64),
) -> Result<Option<(Chain, Vec<u8>)>, StoreError> {
    let sql = "SELECT chain, crc, bytes FROM snapshot WHERE seq = ?1";
    let (chain, crc, bytes): (u32, u32, Vec<u8>) = conn
        .query_row(sql, [seq.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(|error| damaged_value(path, error))?;
    let chain = Chain { seq, crc: chain };
    let fits = chain_at(conn, path, start, seq)? == Some(chain) && snapshot_is_whole(chain, &bytes, crc);
    Ok(fits.then_some((chain, bytes)))
}

pub(crate) fn damaged(path: &Path, what: &str, at: u64) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), what: what.to_owned(), at }
}
