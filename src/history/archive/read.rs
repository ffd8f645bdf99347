//! Reading runs, their lines and sessions.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params, params_from_iter};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::Fault;
use super::filter::{of_runs, of_sessions};
use super::parts::{Cell, Ending, Own, Server, together};
use super::{Filter, RunOnRecord, reply};
use crate::record::{Diagnosis, Line, Session};
use crate::status::Tally;

/// So many runs are told apart by the beginning of their names.
const NAMESAKES: i64 = 9;

/// So many texts are held while reading.
const HELD: usize = 20_000;

pub(super) fn runs(db: &Connection, filter: &Filter) -> Result<Vec<RunOnRecord>, Fault> {
    let mut wanted = of_runs(filter);
    let (clause, limit) = (wanted.clause(), wanted.limit(filter.limit));
    let mut runs = db.prepare_cached(&format!(
        r#"SELECT r.run, r.at, r.last, r.probe, r.completed, r.failed, r.local, r.skipped, r."exit",
           (SELECT text FROM text WHERE id = r.head), (SELECT text FROM text WHERE id = r.diagnosis)
           FROM run r {clause} ORDER BY r.at DESC, r.id DESC {limit}"#
    ))?;
    let mut rows = runs.query(params_from_iter(wanted.values))?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        let count = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let head = row.get::<_, Option<String>>(9)?.and_then(|head| serde_json::from_str::<Value>(&head).ok());
        let list = |name: &str| head.as_ref().and_then(|head| head.get(name)).cloned().unwrap_or_default();
        let diagnosis: Option<String> = row.get(10)?;
        let diagnosis = diagnosis.and_then(|found| serde_json::from_str::<Diagnosis>(&found).ok());
        runs.push(RunOnRecord {
            run: row.get(0)?,
            at: time(row.get(1)?),
            last: time(row.get(2)?),
            probe: row.get(3)?,
            targets: serde_json::from_value(list("targets")).unwrap_or_default(),
            sources: serde_json::from_value(list("sources")).unwrap_or_default(),
            tally: Tally { completed: count(4)?, failed: count(5)?, local: count(6)?, skipped: count(7)? },
            exit: row.get(8)?,
            diagnosis: diagnosis.map(|found| (found.kind, found.confidence)),
        });
    }
    Ok(runs)
}

pub(super) fn runs_named(db: &Connection, beginning: &str) -> Result<Vec<String>, Fault> {
    let mut named =
        db.prepare_cached("SELECT run FROM run WHERE run >= ?1 AND run < ?1 || char(1114111) ORDER BY run LIMIT ?2")?;
    let rows = named.query_map(params![beginning, NAMESAKES], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn run(db: &Connection, run: &str) -> Result<Option<Vec<Line>>, Fault> {
    let id = db.prepare_cached("SELECT id FROM run WHERE run = ?")?.query_row([run], |row| row.get(0)).optional()?;
    id.map(|id| lines_of(db, id, &Filter::default())).transpose()
}

/// The lines of one run in their order, of the sessions those that the filter wants.
pub(super) fn lines_of(db: &Connection, id: i64, filter: &Filter) -> Result<Vec<Line>, Fault> {
    let mut reader = Reader::new(db);
    let mut others = reader.others_of(id)?.into_iter().peekable();
    let mut wanted = of_sessions(&Filter { run: None, probe: None, ..filter.clone() }, true);
    wanted.and("s.run = ?", [id.into()]);
    let mut sessions = db.prepare_cached(&format!("{SESSIONS} {} ORDER BY s.position", wanted.clause()))?;
    let mut rows = sessions.query(params_from_iter(wanted.values))?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(12)?;
        lines.extend(std::iter::from_fn(|| others.next_if(|(at, _)| *at < position)).map(|(_, line)| line));
        lines.push(Line::Session(Box::new(reader.session(row)?)));
    }
    lines.extend(others.map(|(_, line)| line));
    Ok(lines)
}

pub(super) fn diagnoses(db: &Connection, filter: &Filter) -> Result<Vec<Diagnosis>, Fault> {
    let mut reader = Reader::new(db);
    let mut all = Vec::new();
    for id in ids(db, filter)? {
        let mut found = Vec::new();
        for (_, line) in reader.others_of(id)? {
            if let Line::Diagnosis(diagnosis) = line {
                found.push(*diagnosis);
            }
        }
        found.sort_by_key(|diagnosis| diagnosis.rank);
        all.extend(found);
    }
    Ok(all)
}

/// The numbers of the runs that the filter wants, the newest first.
pub(super) fn ids(db: &Connection, filter: &Filter) -> Result<Vec<i64>, Fault> {
    let mut wanted = of_runs(filter);
    let (clause, limit) = (wanted.clause(), wanted.limit(filter.limit));
    let mut ids =
        db.prepare_cached(&format!("SELECT r.id FROM run r {clause} ORDER BY r.at DESC, r.id DESC {limit}"))?;
    let rows = ids.query_map(params_from_iter(wanted.values), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn sessions(db: &Connection, filter: &Filter, each: &mut dyn FnMut(Session) -> bool) -> Result<(), Fault> {
    let mut wanted = of_sessions(filter, false);
    let (clause, limit) = (wanted.clause(), wanted.limit(filter.limit));
    let mut sessions = db.prepare_cached(&format!("{SESSIONS} {clause} ORDER BY s.at, s.run, s.seq {limit}"))?;
    let mut rows = sessions.query(params_from_iter(wanted.values))?;
    let mut reader = Reader::new(db);
    while let Some(row) = rows.next()? {
        if !each(reader.session(row)?) {
            break;
        }
    }
    Ok(())
}

pub(super) fn session(db: &Connection, run: &str, seq: u64) -> Result<Option<Session>, Fault> {
    let mut session = db.prepare_cached(&format!("{SESSIONS} WHERE r.run = ? AND s.seq = ?"))?;
    let mut rows = session.query(params![run, seq.cast_signed()])?;
    rows.next()?.map(|row| Reader::new(db).session(row)).transpose()
}

const SESSIONS: &str = r#"SELECT r.run, s.seq, s.attempt, s.at, s.cell, s.ending, s.server, s.banner, s."banner-words",
    s.reply, s."reply-words", s.took, s.position FROM session s JOIN run r ON r.id = s.run"#;

/// Puts lines together, and holds the texts that they share.
struct Reader<'a> {
    db: &'a Connection,
    cells: HashMap<i64, Cell>,
    endings: HashMap<i64, Ending>,
    servers: HashMap<i64, Server>,
    replies: HashMap<i64, String>,
}

impl<'a> Reader<'a> {
    fn new(db: &'a Connection) -> Self {
        let (cells, endings, servers, replies) = Default::default();
        Self { db, cells, endings, servers, replies }
    }

    /// The lines of one run that are no sessions, each with its place.
    fn others_of(&mut self, id: i64) -> Result<Vec<(i64, Line)>, Fault> {
        let mut others = self.db.prepare_cached(
            "SELECT l.position, l.at, l.ms, t.text, r.run, r.seed FROM line l JOIN run r ON r.id = l.run \
             LEFT JOIN text t ON t.id = l.text WHERE l.run = ? ORDER BY l.position",
        )?;
        let mut rows = others.query([id])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            let text: Option<String> = row.get(3)?;
            let text = text.ok_or_else(|| Fault::Damaged(format!("a line of run {id} has no text")))?;
            // Lines of a later version of the program are not this one's to show.
            if let Some(line) = line(row, &text)? {
                lines.push((row.get(0)?, line));
            }
        }
        Ok(lines)
    }

    fn session(&mut self, row: &Row<'_>) -> Result<Session, Fault> {
        let own = Own {
            run: row.get(0)?,
            seq: row.get::<_, i64>(1)?.cast_unsigned(),
            attempt: row.get(2)?,
            at: time(row.get(3)?),
            banner: self.reply(row.get(7)?, row.get::<_, Option<String>>(8)?.as_deref())?,
            reply: self.reply(row.get(9)?, row.get::<_, Option<String>>(10)?.as_deref())?,
            took: row.get(11)?,
        };
        let cell = held(self.db, &mut self.cells, row.get(4)?)?.clone();
        let ending = held(self.db, &mut self.endings, row.get(5)?)?.clone();
        let server = held(self.db, &mut self.servers, row.get(6)?)?.clone();
        let (run, seq) = (own.run.clone(), own.seq);
        together(cell, ending, server, own).ok_or_else(|| Fault::Damaged(format!("session {seq} of run {run}")))
    }

    fn reply(&mut self, id: Option<i64>, words: Option<&str>) -> Result<Option<Vec<String>>, Fault> {
        let Some(id) = id else { return Ok(None) };
        let damaged = || Fault::Damaged(format!("reply {id}"));
        if !self.replies.contains_key(&id) {
            let mut sample: Statement<'_> = self.db.prepare("SELECT sample FROM reply WHERE id = ?")?;
            let sample = sample.query_row([id], |row| row.get(0)).optional()?.ok_or_else(damaged)?;
            room(&mut self.replies);
            self.replies.insert(id, sample);
        }
        let sample = self.replies.get(&id).map(String::as_str).unwrap_or_default();
        reply::restored(sample, words).map(Some).ok_or_else(damaged)
    }
}

/// What the text with this number says.
fn held<'a, T: DeserializeOwned>(db: &Connection, held: &'a mut HashMap<i64, T>, id: i64) -> Result<&'a T, Fault> {
    if !held.contains_key(&id) {
        let text: Option<String> =
            db.prepare_cached("SELECT text FROM text WHERE id = ?")?.query_row([id], |row| row.get(0)).optional()?;
        let damaged = || Fault::Damaged(format!("text {id}"));
        let value = serde_json::from_str(&text.ok_or_else(damaged)?)?;
        room(held);
        held.insert(id, value);
    }
    held.get(&id).ok_or_else(|| Fault::Damaged(format!("text {id}")))
}

fn room<T>(held: &mut HashMap<i64, T>) {
    if held.len() >= HELD {
        held.clear();
    }
}

/// A line that is no session, with what was taken out of its text.
fn line(row: &Row<'_>, text: &str) -> Result<Option<Line>, Fault> {
    let mut fields: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (at, ms): (Option<i64>, Option<f64>) = (row.get(1)?, row.get(2)?);
    if !matches!(&*kind, "report" | "reproduction") {
        fields.insert("run".to_owned(), row.get::<_, String>(4)?.into());
    }
    if let Some(at) = at {
        fields.insert("at".to_owned(), time(at).to_string().into());
    }
    if let Some(ms) = ms {
        fields.insert(if kind == "summary" { "elapsed-ms" } else { "ms" }.to_owned(), ms.into());
    }
    if kind == "run" {
        fields.insert("seed".to_owned(), row.get::<_, i64>(5)?.cast_unsigned().into());
    }
    let mut line = Line::parse(&Value::from(fields).to_string())?;
    // Through text a number may come back as its neighbour.
    match (&mut line, ms) {
        (Some(Line::Lookup(lookup)), Some(ms)) => lookup.ms = ms,
        (Some(Line::Summary(summary)), ms) => summary.elapsed_ms = ms,
        _ => {}
    }
    Ok(line)
}

/// A time on file. The file may hold anything: what is no time counts as long ago.
fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MIN)
}
