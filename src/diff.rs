//! What changed between two runs: the cells whose ending is another one now.
//!
//! Apart from the judge because it compares and does not conclude. A cell is a domain, role, source,
//! address, variant and recipient; its ending is stage, kind, code, enhanced code, tag and reply
//! (normalised). Times, durations, queue ids and the order of sessions are no change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::catalog::normalise;
use crate::record::{Kind, Role, Session, Variant};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;

/// One cell that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub cell: Cell,
    /// How it ended in the first run; `None` where it was not tried.
    pub before: Option<Ending>,
    /// How it ended in the second.
    pub after: Option<Ending>,
}

/// Who spoke to whom, and with what.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Cell {
    pub domain: Option<String>,
    pub role: Role,
    pub source: Option<IpAddr>,
    pub address: Option<IpAddr>,
    /// The exchanger, where it did not resolve to an address.
    pub mx: Option<String>,
    pub variant: Variant,
    pub to: Option<String>,
}

/// How a cell's sessions ended.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    pub stage: Option<Stage>,
    pub kind: Kind,
    pub code: Option<Code>,
    pub enhanced: Option<Enhanced>,
    pub tag: Option<String>,
    /// The reply word for word, its lines joined by ` / `.
    pub reply: Option<String>,
    /// The same, normalised: what is compared.
    #[serde(skip)]
    normal: Option<String>,
}

impl PartialEq for Ending {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

type Key<'e> = (Option<Stage>, Kind, Option<Code>, Option<Enhanced>, Option<&'e str>, Option<&'e str>);

impl Ending {
    fn of(session: &Session) -> Self {
        let reply = session.reply.as_deref().filter(|lines| !lines.is_empty());
        Self {
            stage: session.stage,
            kind: session.kind,
            code: session.code,
            enhanced: session.enhanced,
            tag: session.tag.clone(),
            reply: reply.map(|lines| lines.join(" / ")),
            // The words of an acceptance are nobody's news.
            normal: reply.filter(|_| session.kind != Kind::Completed).map(|lines| normalise(&lines.join(" "))),
        }
    }

    fn key(&self) -> Key<'_> {
        (self.stage, self.kind, self.code, self.enhanced, self.tag.as_deref(), self.normal.as_deref())
    }
}

/// The cells that differ between two runs, in order; none where nothing changed.
///
/// A cell that was tried several times ended the way most of its attempts did; of ways that are
/// equally many, a failure counts before a pass, and the later before the earlier. Sessions that
/// were skipped say nothing: a cell all of whose sessions were is not tried.
#[must_use]
pub fn diff<'a>(
    before: impl IntoIterator<Item = &'a Session>,
    after: impl IntoIterator<Item = &'a Session>,
) -> Vec<Change> {
    let mut before = endings(before);
    let mut changes: Vec<Change> = endings(after)
        .into_iter()
        .filter_map(|(cell, now)| {
            let was = before.remove(&cell);
            (was.as_ref() != Some(&now)).then_some(Change { cell, before: was, after: Some(now) })
        })
        .collect();
    changes.extend(before.into_iter().map(|(cell, was)| Change { cell, before: Some(was), after: None }));
    changes.sort_by(|a, b| a.cell.cmp(&b.cell));
    changes
}

fn endings<'a>(sessions: impl IntoIterator<Item = &'a Session>) -> BTreeMap<Cell, Ending> {
    let mut cells: BTreeMap<Cell, Vec<&Session>> = BTreeMap::new();
    for session in sessions.into_iter().filter(|s| s.kind != Kind::Skipped) {
        cells.entry(Cell::of(session)).or_default().push(session);
    }
    cells.into_iter().filter_map(|(cell, sessions)| Some((cell, majority(&sessions)?))).collect()
}

/// The way most of these sessions ended.
fn majority(sessions: &[&Session]) -> Option<Ending> {
    let endings: Vec<Ending> = sessions.iter().map(|s| Ending::of(s)).collect();
    // How many ended so, whether that is a failure, and when the last of them began.
    let mut counts: BTreeMap<Key<'_>, (usize, bool, _)> = BTreeMap::new();
    for (ending, session) in endings.iter().zip(sessions) {
        let latest = (session.at, &session.run, session.seq);
        let count = counts.entry(ending.key()).or_insert((0, ending.kind != Kind::Completed, latest));
        count.0 += 1;
        count.2 = count.2.max(latest);
    }
    let (_, (.., latest)) = counts.into_iter().max_by(|(_, a), (_, b)| a.cmp(b))?;
    let shown = sessions.iter().find(|s| (s.at, &s.run, s.seq) == latest)?;
    Some(Ending::of(shown))
}

impl Cell {
    fn of(session: &Session) -> Self {
        let host = |name: &Option<String>| name.as_deref().map(|n| n.trim_end_matches('.').to_ascii_lowercase());
        Self {
            domain: host(&session.domain),
            role: session.role,
            source: session.source,
            address: session.address,
            mx: if session.address.is_none() { host(&session.mx) } else { None },
            variant: session.variant,
            to: session.to.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Line;

    /// Sessions from a few words each: `source address attempt kind stage reply`.
    fn run(text: &str) -> Vec<Session> {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        lines.zip(1..).map(|(line, seq)| session(line, seq)).collect()
    }

    fn session(line: &str, seq: u64) -> Session {
        let words: Vec<&str> = line.splitn(6, ' ').collect();
        let reply = words.get(5).copied();
        let json = serde_json::json!({
            "type": "session", "run": "r", "seq": seq, "attempt": words[2].parse::<u32>().unwrap(),
            "at": format!("2026-11-24T10:{seq:02}:00Z"), "domain": "aol.com",
            "source": format!("192.0.2.{}", words[0]), "address": format!("198.51.100.{}", words[1]),
            "kind": words[3], "stage": words[4], "reply": reply.map(|r| [r]),
            "code": reply.and_then(|r| r[..3].parse::<u16>().ok()),
        });
        match Line::parse(&json.to_string()).unwrap() {
            Some(Line::Session(session)) => *session,
            other => panic!("{other:?}"),
        }
    }

    fn said(changes: &[Change]) -> Vec<String> {
        let ending =
            |e: &Option<Ending>| e.as_ref().map_or("-".to_owned(), |e| format!("{} {}", e.kind, e.stage.unwrap()));
        let cell = |c: &Change| format!("{} {}", c.cell.source.unwrap(), c.cell.address.unwrap());
        changes.iter().map(|c| format!("{}: {} > {}", cell(c), ending(&c.before), ending(&c.after))).collect()
    }

    #[test]
    fn times_order_and_queue_ids_are_no_change() {
        let before = run("1 1 1 completed mail
            1 2 1 rejected mail 451 4.3.0 queue file 4XkQ1ABCDz: try again");
        let mut after = run("1 2 1 rejected mail 451 4.3.0 queue file 4XkQ9ZYXWv: try again
            1 1 1 completed mail");
        after[0].total_ms = Some(12.0);
        after[0].notes.push("slow-banner".to_owned());
        assert_eq!(diff(&before, &after), []);
    }

    #[test]
    fn endings_that_differ_are_a_change() {
        let before = run("1 1 1 completed mail
            1 2 1 rejected mail 421 4.7.0 [TSS04] later
            1 3 1 completed mail
            1 5 1 rejected banner 554 no");
        let after = run("1 1 1 completed mail
            1 2 1 rejected mail 553 5.7.2 [TSS09] never
            1 4 1 timed-out connect
            1 5 1 rejected mail 554 no");
        let found = diff(&before, &after);
        let wanted = [
            "192.0.2.1 198.51.100.2: rejected mail > rejected mail",
            "192.0.2.1 198.51.100.3: completed mail > -",
            "192.0.2.1 198.51.100.4: - > timed-out connect",
            "192.0.2.1 198.51.100.5: rejected banner > rejected mail",
        ];
        assert_eq!(said(&found), wanted);
    }

    #[test]
    fn a_cell_ends_as_most_of_its_attempts() {
        let passes = run("1 1 1 completed mail
            1 1 2 completed mail
            1 1 3 dropped banner");
        assert_eq!(diff(&passes, &run("1 1 1 completed mail")), []);
        // One each: the failure counts.
        let even = run("1 1 1 dropped banner
            1 1 2 completed mail");
        assert_eq!(said(&diff(&passes, &even)), ["192.0.2.1 198.51.100.1: completed mail > dropped banner"]);
        // Two failures, one each: the later.
        let two = run("1 1 1 dropped banner
            1 1 2 timed-out mail");
        assert_eq!(said(&diff(&two, &[])), ["192.0.2.1 198.51.100.1: timed-out mail > -"]);
    }

    #[test]
    fn skipped_sessions_are_not_tried() {
        let skipped = run("1 1 1 skipped mail");
        assert_eq!(diff(&skipped, &[]), []);
        assert_eq!(said(&diff(&run("1 1 1 completed mail"), &skipped)), ["192.0.2.1 198.51.100.1: completed mail > -"]);
    }
}
