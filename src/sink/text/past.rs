//! What is on record, as lists: runs, incidents, one incident with its events.

use std::io;

use jiff::Timestamp;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, Piece, WARN, piece};
use crate::history::archive::RunOnRecord;
use crate::record::{Between, DiagnosisKind, Incident};
use crate::sink::Look;
use crate::sink::faults::called;
use crate::sink::recording::ranges;

/// The part of a run's id that says when it began, to the millisecond.
const SHORT_ID: usize = 13;

/// A target's or domain's name is given so much, and more where there is room.
const SHORTEST_NAME: usize = 12;

/// Runs, the newest first, and the incidents of their time; or incidents alone.
///
/// # Errors
///
/// The writer's.
pub fn list(
    out: &mut impl io::Write,
    look: Look,
    runs: &[RunOnRecord],
    incidents: &[Incident],
    only_incidents: bool,
) -> io::Result<()> {
    let paper = &mut Paper::new(out, look);
    if !only_incidents {
        if runs.is_empty() {
            paper.line([piece(PLAIN, "no run on record is of this kind")])?;
        } else {
            named(paper, ["run", "began", "target", "failed", "diagnosis"], runs.iter().map(run))?;
        }
    }
    if !incidents.is_empty() {
        paper.blank()?;
        named(paper, ["id", "opened", "domain", "closed", "incident"], incidents.iter().map(short))?;
    } else if only_incidents {
        paper.line([piece(PLAIN, "no incident on record is of this kind")])?;
    }
    Ok(())
}

/// Rows of five columns, of which the third is a name that gives way.
fn named<W: io::Write>(
    paper: &mut Paper<W>,
    heads: [&str; 5],
    rows: impl Iterator<Item = [Piece; 5]>,
) -> io::Result<()> {
    let mut rows: Vec<Vec<Piece>> =
        std::iter::once(heads.map(|head| piece(DIM, head))).chain(rows).map(Vec::from).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or_default();
    let others: usize = [0, 1, 3, 4].into_iter().map(|column| widest(column) + 2).sum();
    let room = paper.width().saturating_sub(others).max(SHORTEST_NAME);
    for row in &mut rows {
        row[2] = row[2].shortened(room);
    }
    paper.table(&rows, 0)
}

fn run(run: &RunOnRecord) -> [Piece; 5] {
    let id: String = run.run.chars().take(SHORT_ID).collect();
    let (what, style) = match run.diagnosis {
        _ if run.exit.is_none() => ("no end on record", WARN),
        Some((kind, _)) => (kind.as_str(), colour(kind)),
        None => ("", PLAIN),
    };
    [
        piece(BOLD, id),
        piece(PLAIN, minute(run.at)),
        piece(PLAIN, run.targets.join(" ")),
        piece(if run.tally.failed > 0 { BAD } else { PLAIN }, format!("{}/{}", run.tally.failed, run.tally.sessions())),
        piece(style, what),
    ]
}

fn short(incident: &Incident) -> [Piece; 5] {
    let closed = incident.closed.map_or_else(|| "open".to_owned(), |closed| minute(closed.by));
    [
        piece(BOLD, incident.id.to_string()),
        piece(PLAIN, minute(incident.opened.by)),
        piece(PLAIN, &incident.domain),
        piece(if incident.closed.is_none() { BAD } else { PLAIN }, closed),
        piece(PLAIN, incident.kind.as_str()),
    ]
}

/// One incident: what, with whom, from when to when, what proves it and what happened.
///
/// # Errors
///
/// The writer's.
pub fn incident(out: &mut impl io::Write, look: Look, incident: &Incident) -> io::Result<()> {
    let paper = &mut Paper::new(out, look);
    let code = incident.code.map_or_else(String::new, |code| format!(" ({code})"));
    let at = incident.stage.map(|stage| format!("at {stage}{code}"));
    let head = format!("incident {}  {}  {}  ", incident.id, incident.domain, called(incident.kind));
    let facts: Vec<String> = at.into_iter().chain([format!("confidence {}", incident.confidence)]).collect();
    paper.flow(piece(colour(incident.kind).bold(), head), BOLD, &facts.join(", "))?;
    let (sources, addresses) = (incident.sources.iter().copied(), incident.addresses.iter().copied());
    let mut who = vec![ranges(sources), ranges(addresses), incident.backends.join(", ")];
    who.retain(|names| !names.is_empty());
    let times = if incident.episodes > 1 { format!("{} episodes", incident.episodes) } else { String::new() };
    let closed = incident.closed.map_or_else(|| "not yet".to_owned(), |closed| between(&closed));
    let counts = format!("{} of {} sessions", incident.failed, incident.sessions);
    let mut field = |name: &str, texts: &[String]| {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        let told = texts.iter().filter(|text| !text.is_empty()).zip(names);
        told.into_iter().try_for_each(|(text, name)| paper.flow(piece(DIM, format!("   {name:11}")), PLAIN, text))
    };
    field("who", &[who.join("; ")])?;
    field("opened", &[between(&incident.opened)])?;
    field("closed", &[closed])?;
    field("came", &[times])?;
    field("failed", &[counts])?;
    field("reply", incident.reply.as_slice())?;
    field("because", &incident.because)?;
    field("not", &incident.ruled_out)?;
    field("do", std::slice::from_ref(&incident.advice))?;
    let happened = incident.events.iter().map(|event| {
        let detail = event.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
        format!("{:.0} {}{detail}", event.at, event.event)
    });
    field("happened", &happened.collect::<Vec<_>>())
}

/// Between the look that was still otherwise and the one that showed it.
fn between(moment: &Between) -> String {
    match moment.after {
        Some(after) => format!("between {after:.0} and {:.0}", moment.by),
        None => format!("by {:.0}, with nothing on record before", moment.by),
    }
}

fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

const fn colour(kind: DiagnosisKind) -> anstyle::Style {
    match kind {
        DiagnosisKind::Healthy => GOOD,
        DiagnosisKind::Undecided => WARN,
        _ => BAD,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::Tally;

    fn on_record(run: &str, targets: &[&str], exit: Option<u8>) -> RunOnRecord {
        let at = "2026-11-24T10:02:11Z".parse().unwrap();
        RunOnRecord {
            run: run.to_owned(),
            at,
            last: at,
            probe: None,
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            sources: vec![],
            tally: Tally { completed: 24, failed: 8, local: 0, skipped: 0 },
            exit,
            diagnosis: Some((DiagnosisKind::ReceiverPartialOutage, crate::record::Confidence::High)),
        }
    }

    fn trouble() -> Incident {
        let fields = json!({
            "id": 12, "domain": "aol.com", "kind": "receiver-outage", "confidence": "high",
            "opened": {"after": "2026-11-24T09:55:00Z", "by": "2026-11-24T10:00:00Z"}, "episodes": 2, "stage": "banner",
            "code": 554, "reply": "554 \u{1b}[2Jgone", "sessions": 120, "failed": 118, "because": ["all fail"],
            "events": [{"at": "2026-11-24T10:00:00Z", "event": "opened"}, {"at": "2026-11-24T11:00:00Z", "event": "reply", "detail": "554 to 421"}]
        });
        serde_json::from_value(fields).unwrap()
    }

    fn text(draw: impl FnOnce(&mut Vec<u8>, Look) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        draw(&mut out, Look::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    }

    #[test]
    fn runs_and_incidents_fit_into_80_columns() {
        let runs = [
            on_record("019abc00-0000-7000-8000-000000000003", &["aol.com", "a-rather-long-name.example"], Some(1)),
            on_record("\u{1b}[2J", &["evil\r\n.example"], None),
        ];
        assert_eq!(
            text(|out, look| list(out, look, &runs, &[trouble()], false)),
            "\
run            began             target          failed  diagnosis
019abc00-0000  2026-11-24 10:02  aol.com a-rat…  8/32    receiver-partial-outage
\\x1b[2J        2026-11-24 10:02  evil\\r\\n.exam…  8/32    no end on record

id  opened            domain   closed  incident
12  2026-11-24 10:00  aol.com  open    receiver-outage
"
        );
    }

    #[test]
    fn an_incident_tells_its_story() {
        let story = "\
incident 12  aol.com  RECEIVER OUTAGE  at banner (554), confidence high
   opened     between 2026-11-24T09:55:00Z and 2026-11-24T10:00:00Z
   closed     not yet
   came       2 episodes
   failed     118 of 120 sessions
   reply      554 \\x1b[2Jgone
   because    all fail
   happened   2026-11-24T10:00:00Z opened
              2026-11-24T11:00:00Z reply: 554 to 421
";
        assert_eq!(text(|out, look| incident(out, look, &trouble())), story);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(text(|out, look| list(out, look, &[], &[], false)), "no run on record is of this kind\n");
        assert_eq!(text(|out, look| list(out, look, &[], &[], true)), "no incident on record is of this kind\n");
    }
}
