//! Entering the lines of a run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::super::Fault;
use super::hours::{DAY, HOUR};
use super::text::Texts;
use super::{parts, reply};
use crate::record::{Line, Session};
use crate::smtp::reply::Code;
use crate::status::{self, Tally};

/// A run of which lines are entered.
struct Entry<'a> {
    transaction: &'a Transaction<'a>,
    texts: &'a mut Texts,
    id: i64,
    /// How many lines are on record.
    lines: i64,
    /// The day that what is named now is seen on.
    day: i64,
    /// When the run and its last session began.
    begun: i64,
    last: i64,
    /// The sessions entered now.
    tally: Tally,
    /// Those by place, hour and outcome.
    hours: BTreeMap<(i64, i64, i64), i64>,
}

pub(super) fn keep(
    transaction: &Transaction<'_>,
    texts: &mut Texts,
    run: &str,
    probe: Option<&str>,
    lines: &[Line],
) -> Result<(), Fault> {
    let mut entry = Entry::open(transaction, texts, run, probe, lines)?;
    for line in lines {
        match line {
            Line::Planned(_) | Line::Incident(_) => {}
            Line::Session(session) => entry.session(session)?,
            other => entry.line(other)?,
        }
    }
    entry.close()
}

impl<'a> Entry<'a> {
    fn open(
        transaction: &'a Transaction<'a>,
        texts: &'a mut Texts,
        run: &str,
        probe: Option<&str>,
        lines: &[Line],
    ) -> Result<Self, Fault> {
        let begun = lines.iter().filter_map(time).min().unwrap_or_default();
        transaction
            .prepare_cached(
                "INSERT INTO run (run, probe, at, last, seed, lines, completed, failed, local, skipped) \
                 VALUES (?1, ?2, ?3, ?3, 0, 0, 0, 0, 0, 0) ON CONFLICT (run) DO NOTHING",
            )?
            .execute(params![run, probe, begun])?;
        let (id, lines_before, at, last): (i64, i64, i64, i64) = transaction
            .prepare_cached("SELECT id, lines, at, last FROM run WHERE run = ?")?
            .query_row([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let latest = lines.iter().filter_map(time).max().unwrap_or(at).max(at);
        let (day, tally, hours) = (latest.div_euclid(DAY), Tally::default(), BTreeMap::new());
        Ok(Self { transaction, texts, id, lines: lines_before, day, begun: at, last, tally, hours })
    }

    fn session(&mut self, session: &Session) -> Result<(), Fault> {
        let (cell, ending, server, own) = parts::apart(session);
        let (place, outcome) = (self.place(session)?, self.outcome(session)?);
        let cell = self.number(&serde_json::to_string(&cell)?)?;
        let ending = self.number(&serde_json::to_string(&ending)?)?;
        let server = self.number(&serde_json::to_string(&server)?)?;
        let (banner, banner_words) = self.reply(own.banner.as_deref())?;
        let (reply, reply_words) = self.reply(own.reply.as_deref())?;
        let at = own.at.as_millisecond();
        let entered = self
            .transaction
            .prepare_cached(
                r#"INSERT INTO session (run, seq, position, attempt, at, place, outcome, cell, ending, server, banner,
                   "banner-words", reply, "reply-words", took) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT DO NOTHING"#,
            )?
            .execute(params![
                self.id,
                session.seq.cast_signed(),
                self.lines,
                own.attempt,
                at,
                place,
                outcome,
                cell,
                ending,
                server,
                banner,
                banner_words,
                reply,
                reply_words,
                own.took
            ])?;
        if entered > 0 {
            self.lines += 1;
            self.last = self.last.max(at);
            self.tally.add(session);
            *self.hours.entry((place, at.div_euclid(HOUR), outcome)).or_default() += 1;
        }
        Ok(())
    }

    /// Any line but a session's: a text without what differs each time, and that.
    fn line(&mut self, line: &Line) -> Result<(), Fault> {
        let serde_json::Value::Object(mut fields) = serde_json::to_value(line)? else { return Ok(()) };
        fields.shift_remove("run");
        let (mut at, mut ms) = (None, None);
        match line {
            Line::Run(run) => {
                fields.shift_remove("at");
                fields.shift_remove("seed");
                at = Some(run.at.as_millisecond());
            }
            Line::Lookup(lookup) => {
                fields.shift_remove("at");
                fields.shift_remove("ms");
                (at, ms) = (Some(lookup.at.as_millisecond()), Some(lookup.ms));
            }
            Line::Summary(summary) => {
                fields.shift_remove("elapsed-ms");
                ms = summary.elapsed_ms;
            }
            _ => {}
        }
        let text = self.number(&serde_json::Value::from(fields).to_string())?;
        let entered = self
            .transaction
            .prepare_cached(
                "INSERT INTO line (run, position, at, ms, text) SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS \
                 (SELECT 1 FROM line WHERE run = ?1 AND text = ?5 AND at IS ?3 AND ms IS ?4)",
            )?
            .execute(params![self.id, self.lines, at, ms, text])?;
        self.lines += i64::try_from(entered).unwrap_or(1);
        let (update, value): (_, Value) = match line {
            Line::Run(run) => {
                let begun = run.at.as_millisecond();
                self.last = self.last.max(begun);
                if self.begun < begun {
                    // What was said before anybody knew when that was.
                    let see =
                        "UPDATE text SET seen = ?2 WHERE seen < ?2 AND id IN (SELECT text FROM line WHERE run = ?1)";
                    self.transaction.prepare_cached(see)?.execute([self.id, self.day])?;
                }
                let update = "UPDATE run SET head = ?2, at = ?3, seed = ?4 WHERE id = ?1";
                let values = params![self.id, text, begun, run.seed.cast_signed()];
                self.transaction.prepare_cached(update)?.execute(values)?;
                return Ok(());
            }
            Line::Summary(summary) => (r#"UPDATE run SET "exit" = ?2 WHERE id = ?1"#, i64::from(summary.exit).into()),
            Line::Diagnosis(found) if found.rank == 1 => ("UPDATE run SET diagnosis = ?2 WHERE id = ?1", text.into()),
            _ => return Ok(()),
        };
        self.transaction.prepare_cached(update)?.execute(params![self.id, value])?;
        Ok(())
    }

    /// Writes what was counted.
    fn close(self) -> Result<(), Fault> {
        let Tally { completed, failed, local, skipped } = self.tally;
        let counts = [completed, failed, local, skipped].map(u64::cast_signed);
        self.transaction
            .prepare_cached(
                "UPDATE run SET lines = ?2, last = ?3, completed = completed + ?4, failed = failed + ?5, \
                 local = local + ?6, skipped = skipped + ?7 WHERE id = ?1",
            )?
            .execute(params![self.id, self.lines, self.last, counts[0], counts[1], counts[2], counts[3]])?;
        let mut hour = self.transaction.prepare_cached(
            "INSERT INTO hour (place, at, outcome, sessions) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET sessions = sessions + excluded.sessions",
        )?;
        for ((place, at, outcome), sessions) in self.hours {
            hour.execute([place, at, outcome, sessions])?;
        }
        Ok(())
    }

    fn number(&mut self, text: &str) -> Result<i64, Fault> {
        self.texts.number(self.transaction, text, self.day)
    }

    fn reply(&mut self, lines: Option<&[String]>) -> Result<(Option<i64>, Option<String>), Fault> {
        let Some(lines) = lines else { return Ok((None, None)) };
        let (id, words) = reply::number(self.transaction, self.texts, lines, self.day)?;
        Ok((Some(id), words))
    }

    fn place(&self, session: &Session) -> Result<i64, Fault> {
        let word = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
        let (source, address) = (word(session.source), word(session.address));
        let domain = session.domain.as_deref().unwrap_or_default();
        let values = params![source, address, domain, session.role.as_str()];
        let select = "SELECT id FROM place WHERE source = ? AND address = ? AND domain = ? AND role = ?";
        let insert = "INSERT INTO place (source, address, domain, role) VALUES (?, ?, ?, ?)";
        self.row(select, insert, values)
    }

    fn outcome(&self, session: &Session) -> Result<i64, Fault> {
        let stage = session.stage.map_or("", |stage| stage.as_str());
        let tag = session.tag.as_deref().unwrap_or_default();
        let code = session.code.map_or(0, Code::get);
        let values = params![stage, session.kind.as_str(), code, tag, status::failed(session)];
        let select = "SELECT id FROM outcome WHERE stage = ? AND kind = ? AND code = ? AND tag = ? AND failed = ?";
        let insert = "INSERT INTO outcome (stage, kind, code, tag, failed) VALUES (?, ?, ?, ?, ?)";
        self.row(select, insert, values)
    }

    /// The number of a row, which is made where there is none.
    fn row(&self, select: &str, insert: &str, values: &[&dyn rusqlite::ToSql]) -> Result<i64, Fault> {
        let found = self.transaction.prepare_cached(select)?.query_row(values, |row| row.get(0)).optional()?;
        found.map_or_else(|| Ok(self.transaction.prepare_cached(insert)?.insert(values)?), Ok)
    }
}

fn time(line: &Line) -> Option<i64> {
    let at: Timestamp = match line {
        Line::Run(run) => run.at,
        Line::Lookup(lookup) => lookup.at,
        Line::Session(session) => session.at,
        _ => return None,
    };
    Some(at.as_millisecond())
}
