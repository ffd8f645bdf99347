//! Counts by the hour, and by longer stretches.

use std::net::IpAddr;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::Fault;
use super::filter::{of_failures, of_hours};
use super::{Filter, Hour, Stretch};
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

pub(super) fn stretches(db: &Connection, filter: &Filter, hours: u32) -> Result<Vec<Stretch>, Fault> {
    let (stretch, failures) = (hours.max(1), of_failures(filter));
    let mut wanted = of_hours(&Filter { stage: None, code: None, tag: None, ..filter.clone() });
    wanted.and("o.kind NOT IN ('local', 'skipped')", []);
    let (condition, clause, limit) = (failures.condition(), wanted.clause(), wanted.limit(filter.limit));
    // The counts are added up before the places are named: there are far more of those.
    let mut stretches = db.prepare_cached(&format!(
        "SELECT q.slot, p.role, p.domain, p.source, p.address, q.tried, q.failed FROM \
         (SELECT h.place AS place, h.at / ? AS slot, sum(h.sessions) AS tried, \
         sum(CASE WHEN {condition} THEN h.sessions ELSE 0 END) AS failed \
         FROM hour h JOIN outcome o ON o.id = h.outcome {clause} GROUP BY h.place, slot) q \
         JOIN place p ON p.id = q.place ORDER BY q.place, q.slot {limit}"
    ))?;
    let values = [i64::from(stretch).into()].into_iter().chain(failures.values).chain(wanted.values);
    let mut rows = stretches.query(params_from_iter(values))?;
    let mut stretches = Vec::new();
    while let Some(row) = rows.next()? {
        let word = |at| row.get::<_, String>(at).map(|word| Some(word).filter(|word| !word.is_empty()));
        let ip = |at| word(at).map(|word| word.and_then(|word| word.parse::<IpAddr>().ok()));
        let slot: i64 = row.get(0)?;
        let begun = slot.saturating_mul(i64::from(stretch)).saturating_mul(HOUR);
        stretches.push(Stretch {
            at: Timestamp::from_millisecond(begun).unwrap_or(Timestamp::MIN),
            role: word(1)?.and_then(|role| role.parse().ok()).unwrap_or(Role::Target),
            domain: word(2)?,
            source: ip(3)?,
            address: ip(4)?,
            tried: row.get::<_, i64>(5)?.cast_unsigned(),
            failed: row.get::<_, i64>(6)?.cast_unsigned(),
        });
    }
    Ok(stretches)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{World, at, round};
    use super::super::{Archive as _, StoreArchive};
    use super::*;

    #[test]
    fn stretches_count_every_trial_and_the_failures_asked_for() {
        let world = World::new();
        let mut archive = world.open();
        for (run, minutes) in [("a", 0), ("b", 59), ("c", 125)] {
            archive.keep(run, None, &round(run, minutes)).unwrap();
        }
        let counts = |archive: &mut StoreArchive, filter: &Filter, hours| {
            let all = archive.stretches(filter, hours).unwrap();
            all.iter().map(|s| (s.source.unwrap().to_string(), s.at, s.tried, s.failed)).collect::<Vec<_>>()
        };
        let refused =
            Filter { source: "192.0.2.1".parse().ok(), domain: Some("A.example".to_owned()), ..Filter::default() };
        let source = || "192.0.2.1".to_owned();
        assert_eq!(counts(&mut archive, &refused, 1), [(source(), at(0), 4, 4), (source(), at(120), 2, 2)]);
        // Of two hours, from an even hour on.
        assert_eq!(counts(&mut archive, &refused, 2), [(source(), at(0), 4, 4), (source(), at(120), 2, 2)]);
        assert_eq!(counts(&mut archive, &refused, 24), [(source(), "2026-11-24T00:00:00Z".parse().unwrap(), 6, 6)]);
        // What ended otherwise was tried, and did not fail so.
        let elsewhere = Filter { stage: Some(Stage::Banner), ..refused.clone() };
        assert_eq!(counts(&mut archive, &elsewhere, 24), [(source(), "2026-11-24T00:00:00Z".parse().unwrap(), 6, 0)]);
        let later = Filter { since: Some(at(120)), ..refused };
        assert_eq!(counts(&mut archive, &later, 1), [(source(), at(120), 2, 2)]);
        assert_eq!(archive.stretches(&Filter::default(), 24).unwrap().len(), 4);
    }
}
