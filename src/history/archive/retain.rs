//! Forgetting what is old.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::super::Fault;
use super::hours::DAY;
use super::{Forgotten, Retention};

/// So many rows go in one transaction, which is over in some ten milliseconds.
const BATCH: usize = 2000;

/// Forgets one batch.
pub(super) fn retain(transaction: &Transaction<'_>, now: Timestamp, retention: &Retention) -> Result<Forgotten, Fault> {
    let kept = i64::try_from(retention.sessions.as_millis()).unwrap_or(i64::MAX).max(DAY);
    let oldest = now.as_millisecond().saturating_sub(kept);
    let (mut forgotten, mut left) = (Forgotten::default(), BATCH);
    while left > 0 {
        let run: Option<i64> = transaction
            .prepare_cached("SELECT id FROM run WHERE last < ? ORDER BY last LIMIT 1")?
            .query_row([oldest], |row| row.get(0))
            .optional()?;
        let Some(run) = run else { break };
        let limit = i64::try_from(left).unwrap_or(i64::MAX);
        let sessions = transaction
            .prepare_cached(
                "DELETE FROM session WHERE run = ?1 AND seq IN (SELECT seq FROM session WHERE run = ?1 LIMIT ?2)",
            )?
            .execute([run, limit])?;
        forgotten.sessions += sessions as u64;
        left -= sessions.min(left);
        if left > 0 {
            left -= transaction.prepare_cached("DELETE FROM line WHERE run = ?")?.execute([run])?.min(left - 1);
            transaction.prepare_cached("DELETE FROM run WHERE id = ?")?.execute([run])?;
            forgotten.runs += 1;
            left -= 1;
        }
    }
    forgotten.more = left == 0;
    if left > 0 && left < BATCH {
        forgotten.more = texts(transaction, oldest, left)?;
    }
    Ok(forgotten)
}

/// Forgets texts that no run names any more: those last seen before the day on which the oldest run
/// began. Whether there may be more of them.
fn texts(transaction: &Transaction<'_>, oldest: i64, left: usize) -> Result<bool, Fault> {
    let first: Option<i64> = transaction.query_row("SELECT min(at) FROM run", [], |row| row.get(0))?;
    let day = first.unwrap_or(oldest).min(oldest).div_euclid(DAY);
    let limit = i64::try_from(left).unwrap_or(i64::MAX);
    let mut more = false;
    for table in ["text", "reply"] {
        let delete = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE seen < ? LIMIT ?)");
        more |= transaction.prepare_cached(&delete)?.execute(params![day, limit])? >= left;
    }
    Ok(more)
}
