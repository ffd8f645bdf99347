//! Counts by the hour.

use std::net::IpAddr;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::Fault;
use super::filter::of_hours;
use super::{Filter, Hour};
use crate::record::{Kind, Role};
use crate::smtp::reply::Code;
use crate::stage::Stage;

/// In milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;

pub(super) fn hours(db: &Connection, filter: &Filter) -> Result<Vec<Hour>, Fault> {
    let mut wanted = of_hours(filter);
    let (clause, limit) = (wanted.clause(), wanted.limit(filter.limit));
    let mut hours = db.prepare_cached(&format!(
        "SELECT h.at, p.role, p.domain, p.source, p.address, o.stage, o.kind, o.code, o.tag, o.failed, h.sessions \
         FROM hour h JOIN place p ON p.id = h.place JOIN outcome o ON o.id = h.outcome {clause} \
         ORDER BY h.at, p.domain, p.source, p.address, p.role, h.outcome {limit}"
    ))?;
    let mut rows = hours.query(params_from_iter(wanted.values))?;
    let mut hours = Vec::new();
    while let Some(row) = rows.next()? {
        hours.push(hour(row)?);
    }
    Ok(hours)
}

fn hour(row: &Row<'_>) -> Result<Hour, Fault> {
    let word = |at| row.get::<_, String>(at).map(|word| Some(word).filter(|word| !word.is_empty()));
    let ip = |at| word(at).map(|word| word.and_then(|word| word.parse::<IpAddr>().ok()));
    let hours: i64 = row.get(0)?;
    Ok(Hour {
        at: Timestamp::from_millisecond(hours.saturating_mul(HOUR)).unwrap_or(Timestamp::MIN),
        role: word(1)?.and_then(|role| role.parse().ok()).unwrap_or(Role::Target),
        domain: word(2)?,
        source: ip(3)?,
        address: ip(4)?,
        stage: word(5)?.and_then(|stage| stage.parse::<Stage>().ok()),
        kind: word(6)?.and_then(|kind| kind.parse().ok()).unwrap_or(Kind::Local),
        code: Code::new(row.get(7)?),
        tag: word(8)?,
        failed: row.get(9)?,
        sessions: row.get::<_, i64>(10)?.cast_unsigned(),
    })
}
