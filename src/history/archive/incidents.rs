//! Incidents, and the outbox of what is to be told of them.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params, params_from_iter};

use super::super::Fault;
use super::filter::Where;
use super::{CLAIM, Filter, NewNotice, Notice};
use crate::ledger::later;
use crate::record::Incident;

/// Returns the incident's number.
pub(super) fn put(
    transaction: &Transaction<'_>,
    probe: Option<&str>,
    incident: &Incident,
    notices: &[NewNotice],
) -> Result<u64, Fault> {
    let number = Some(incident.id.cast_signed()).filter(|id| *id != 0);
    let closed = incident.closed.map(|closed| closed.by.as_millisecond());
    let id: i64 = transaction
        .prepare_cached(
            "INSERT INTO incident (id, probe, domain, opened, closed, incident) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO UPDATE SET probe = excluded.probe, domain = excluded.domain, \
             opened = excluded.opened, closed = excluded.closed, incident = excluded.incident RETURNING id",
        )?
        .query_row(
            params![
                number,
                probe,
                incident.domain,
                incident.opened.by.as_millisecond(),
                closed,
                serde_json::to_string(incident)?
            ],
            |row| row.get(0),
        )?;
    let change = i64::try_from(incident.events.len()).unwrap_or(i64::MAX);
    let mut enter = transaction.prepare_cached(
        "INSERT INTO notice (incident, change, receiver, payload, tries, due) VALUES (?, ?, ?, ?, 0, 0) \
         ON CONFLICT DO NOTHING",
    )?;
    for NewNotice { receiver, payload } in notices {
        enter.execute(params![id, change, receiver, payload.to_string()])?;
    }
    Ok(id.cast_unsigned())
}

pub(super) fn incidents(db: &Connection, filter: &Filter, open_only: bool) -> Result<Vec<Incident>, Fault> {
    let mut wanted = Where::default();
    if open_only {
        wanted.and("closed IS NULL", []);
    }
    if let Some(since) = filter.since {
        wanted.and("(closed IS NULL OR closed >= ?)", [since.as_millisecond().into()]);
    }
    if let Some(until) = filter.until {
        wanted.and("opened < ?", [until.as_millisecond().into()]);
    }
    if let Some(domain) = &filter.domain {
        wanted.and("domain = ? COLLATE NOCASE", [domain.clone().into()]);
    }
    if let Some(probe) = &filter.probe {
        wanted.and("probe = ?", [probe.clone().into()]);
    }
    let clause = wanted.clause();
    let mut found =
        db.prepare_cached(&format!("SELECT id, incident FROM incident {clause} ORDER BY opened DESC, id DESC"))?;
    let mut rows = found.query(params_from_iter(wanted.values))?;
    let mut incidents = Vec::new();
    while let Some(row) = rows.next()? {
        let incident = read(row.get(0)?, &row.get::<_, String>(1)?)?;
        if filter.limit.is_some_and(|limit| incidents.len() >= limit) {
            break;
        }
        if is_wanted(filter, &incident) {
            incidents.push(incident);
        }
    }
    Ok(incidents)
}

/// What is about no source in particular is about every one, and so with addresses.
fn is_wanted(filter: &Filter, incident: &Incident) -> bool {
    let Incident { sources, addresses, .. } = incident;
    filter.source.is_none_or(|source| sources.is_empty() || sources.contains(&source))
        && filter.address.is_none_or(|address| addresses.is_empty() || addresses.contains(&address))
        && (filter.stage.is_none() || filter.stage == incident.stage)
        && (filter.code.is_none() || filter.code == incident.code)
}

pub(super) fn incident(db: &Connection, id: u64) -> Result<Option<Incident>, Fault> {
    let mut found = db.prepare_cached("SELECT incident FROM incident WHERE id = ?")?;
    let text: Option<String> = found.query_row([id.cast_signed()], |row| row.get(0)).optional()?;
    text.map(|text| read(id.cast_signed(), &text)).transpose()
}

fn read(id: i64, text: &str) -> Result<Incident, Fault> {
    let mut incident: Incident = serde_json::from_str(text)?;
    incident.id = id.cast_unsigned();
    Ok(incident)
}

/// A receiver hears of an incident in order: what comes behind a notice that has not arrived waits
/// for it.
pub(super) fn due(transaction: &Transaction<'_>, now: Timestamp, limit: usize) -> Result<Vec<Notice>, Fault> {
    let mut due = transaction.prepare_cached(
        "SELECT id, incident, change, receiver, payload, tries, why FROM notice AS n WHERE due <= ?1 AND NOT EXISTS \
         (SELECT 1 FROM notice WHERE incident = n.incident AND receiver = n.receiver AND change < n.change \
         AND due IS NOT NULL) ORDER BY id LIMIT ?2",
    )?;
    let mut claim = transaction.prepare_cached("UPDATE notice SET due = ? WHERE id = ?")?;
    let until = later(now, CLAIM).as_millisecond();
    let mut rows = due.query(params![now.as_millisecond(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut notices = Vec::new();
    while let Some(row) = rows.next()? {
        let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        notices.push(Notice {
            id: number(0)?,
            incident: number(1)?,
            change: number(2)?,
            receiver: row.get(3)?,
            payload: serde_json::from_str(&row.get::<_, String>(4)?)?,
            tries: row.get(5)?,
            why: row.get(6)?,
        });
    }
    for notice in &notices {
        claim.execute([until, notice.id.cast_signed()])?;
    }
    Ok(notices)
}

pub(super) fn delivered(transaction: &Transaction<'_>, id: u64, at: Timestamp) -> Result<(), Fault> {
    transaction
        .prepare_cached("UPDATE notice SET due = NULL, delivered = ? WHERE id = ? AND due IS NOT NULL")?
        .execute([at.as_millisecond(), id.cast_signed()])?;
    Ok(())
}

pub(super) fn failed(transaction: &Transaction<'_>, id: u64, next: Timestamp, why: &str) -> Result<(), Fault> {
    let why: String = why.chars().take(super::super::ledger::LONGEST_WHY).collect();
    transaction
        .prepare_cached("UPDATE notice SET due = ?, tries = tries + 1, why = ? WHERE id = ? AND due IS NOT NULL")?
        .execute(params![next.as_millisecond(), why, id.cast_signed()])?;
    Ok(())
}

pub(super) fn refused(transaction: &Transaction<'_>, id: u64, why: &str) -> Result<(), Fault> {
    let why: String = why.chars().take(super::super::ledger::LONGEST_WHY).collect();
    transaction
        .prepare_cached("UPDATE notice SET due = NULL, tries = tries + 1, why = ? WHERE id = ? AND due IS NOT NULL")?
        .execute(params![why, id.cast_signed()])?;
    Ok(())
}
