//! The archive in its file, with times as arguments.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::history::Store;
use crate::ledger::later;

pub(super) struct World {
    directory: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("history.sqlite")
    }

    pub(super) fn open(&self) -> StoreArchive {
        StoreArchive::open(&self.path()).unwrap()
    }

    fn count(&self, table: &str) -> i64 {
        let db = rusqlite::Connection::open(self.path()).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

pub(super) fn at(minutes: u64) -> Timestamp {
    later("2026-11-24T10:00:00Z".parse().unwrap(), Duration::from_mins(minutes))
}

fn head(run: &str, minutes: u64) -> Line {
    let fields = json!({
        "type": "run", "schema": 1, "run": run, "at": at(minutes), "version": "0.1.0", "targets": ["a.example"],
        "sources": ["192.0.2.1"], "until": "mail", "seed": u64::MAX
    });
    Line::parse(&fields.to_string()).unwrap().unwrap()
}

/// A session of a run: even ones complete, odd ones are refused with words of their own.
fn session(run: &str, seq: u64, minutes: u64) -> Line {
    let mut fields = json!({
        "type": "session", "run": run, "seq": seq, "at": at(minutes), "domain": "a.example",
        "source": format!("192.0.2.{}", seq % 4), "address": "198.51.100.1", "kind": "completed", "stage": "mail",
        "banner": [format!("220 mx{seq}.a.example ESMTP ready")],
        "steps": [{"stage": "connect", "ms": 0.1 + 0.2}, {"stage": "banner", "ms": 12, "code": 220}]
    });
    if seq % 2 == 1 {
        fields["kind"] = json!("rejected");
        fields["code"] = json!(421);
        fields["tag"] = json!("TSS04");
        fields["reply"] = json!([format!("421 4.7.0 [TSS04] Messages from 192.0.2.{} deferred", seq % 4)]);
        fields["total-ms"] = json!(14.75);
    }
    Line::parse(&fields.to_string()).unwrap().unwrap()
}

fn diagnosis(run: &str, kind: DiagnosisKind) -> Line {
    let fields = json!({"type": "diagnosis", "run": run, "rank": 1, "kind": kind, "confidence": "high", "p": 8e-7});
    Line::parse(&fields.to_string()).unwrap().unwrap()
}

fn summary(run: &str) -> Line {
    let fields = json!({
        "type": "summary", "run": run, "sessions": 8, "completed": 4, "failed": 4, "local": 0, "skipped": 0,
        "elapsed-ms": 0.1 + 0.2, "exit": 1
    });
    Line::parse(&fields.to_string()).unwrap().unwrap()
}

/// A round of eight sessions, which began then.
pub(super) fn round(run: &str, minutes: u64) -> Vec<Line> {
    let sessions = (1..=8).map(|seq| session(run, seq, minutes));
    let end = [diagnosis(run, DiagnosisKind::SenderIpBlock), summary(run)];
    std::iter::once(head(run, minutes)).chain(sessions).chain(end).collect()
}

fn all_sessions(archive: &mut StoreArchive, filter: &Filter) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let each = &mut |session: Session| {
        found.push((session.run, session.seq));
        true
    };
    archive.sessions(filter, each).unwrap();
    found
}

/// The lines of a recording, all of which say of which run they are.
fn recorded(text: &str) -> (String, Vec<Line>) {
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let run = lines.iter().find_map(|line| line["run"].as_str()).unwrap_or("a").to_owned();
    for line in lines.iter_mut().filter(|line| !matches!(line["type"].as_str(), Some("report" | "reproduction"))) {
        line["run"] = json!(run);
    }
    (run, lines.iter().filter_map(|line| Line::parse(&line.to_string()).unwrap()).collect())
}

#[test]
fn every_line_comes_back_as_it_was() {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut kinds = std::collections::BTreeSet::new();
    let folders = ["history", "outputs"].map(|folder| std::fs::read_dir(tests.join(folder)).unwrap());
    for file in folders.into_iter().flatten().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let (run, lines) = recorded(&text);
        let world = World::new();
        let mut archive = world.open();
        // In two parts, the second one twice.
        let (first, second) = lines.split_at(lines.len() / 2);
        for part in [first, second, second] {
            archive.keep(&run, None, part).unwrap();
        }
        let kept: Vec<Line> = lines.iter().filter(|line| !matches!(line, Line::Planned(_))).cloned().collect();
        let found = world.open().run(&run).unwrap().unwrap();
        assert_eq!(found.len(), kept.len(), "{}", file.display());
        for (found, kept) in found.iter().zip(&kept) {
            assert_eq!(json!(found).to_string(), json!(kept).to_string(), "{}", file.display());
            assert_eq!(found, kept, "{}", file.display());
            kinds.insert(json!(kept)["type"].as_str().unwrap().to_owned());
        }
    }
    let wanted = ["check", "diagnosis", "lookup", "passed", "report", "reproduction", "run", "session", "summary"];
    assert!(wanted.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
}

#[test]
fn what_is_kept_is_found_by_all_that_it_is() {
    let world = World::new();
    let mut archive = world.open();
    archive.keep("a", Some("p.toml"), &round("a", 0)).unwrap();
    archive.keep("b", None, &round("b", 30)).unwrap();
    archive.keep("b", None, &round("b", 30)).unwrap();
    let runs = archive.runs(&Filter::default()).unwrap();
    let names: Vec<_> = runs.iter().map(|run| (&*run.run, run.probe.as_deref(), run.exit)).collect();
    assert_eq!(names, [("b", None, Some(1)), ("a", Some("p.toml"), Some(1))]);
    assert_eq!(runs[0].tally, Tally { completed: 4, failed: 4, local: 0, skipped: 0 });
    assert_eq!(runs[0].diagnosis, Some((DiagnosisKind::SenderIpBlock, Confidence::High)));
    assert_eq!(
        (&runs[0].targets[..], &runs[0].sources[..]),
        (&["a.example".to_owned()][..], &["192.0.2.1".parse().unwrap()][..])
    );

    let all = Filter::default();
    for (filter, runs, sessions) in [
        (all.clone(), 2, 16),
        (Filter { limit: Some(1), ..all.clone() }, 1, 1),
        (Filter { since: Some(at(30)), ..all.clone() }, 1, 8),
        (Filter { until: Some(at(30)), ..all.clone() }, 1, 8),
        (Filter { domain: Some("A.Example".to_owned()), ..all.clone() }, 2, 16),
        (Filter { domain: Some("b.example".to_owned()), ..all.clone() }, 0, 0),
        (Filter { probe: Some("p.toml".to_owned()), ..all.clone() }, 1, 8),
        (Filter { source: Some("192.0.2.1".parse().unwrap()), ..all.clone() }, 2, 4),
        (Filter { source: Some("192.0.2.1".parse().unwrap()), since: Some(at(1)), ..all.clone() }, 1, 2),
        (Filter { source: Some("192.0.2.9".parse().unwrap()), ..all.clone() }, 0, 0),
        (Filter { address: Some("198.51.100.1".parse().unwrap()), run: Some("a".to_owned()), ..all.clone() }, 1, 8),
        (Filter { stage: Some(Stage::Mail), ..all.clone() }, 2, 16),
        (Filter { stage: Some(Stage::Rcpt), ..all.clone() }, 0, 0),
        (Filter { code: Code::new(421), since: Some(at(30)), ..all.clone() }, 1, 4),
        (Filter { tag: Some("TSS04".to_owned()), probe: Some("p.toml".to_owned()), ..all.clone() }, 1, 4),
    ] {
        let found = archive.runs(&filter).unwrap();
        assert_eq!((found.len(), all_sessions(&mut archive, &filter).len()), (runs, sessions), "{filter:?}");
        let mut of_lines = 0;
        let each = &mut |line| {
            of_lines += usize::from(matches!(line, Line::Session(_)));
            true
        };
        archive.lines(&filter, each).unwrap();
        assert_eq!(of_lines, if filter.limit.is_some() { 8 } else { sessions }, "{filter:?}");
        assert_eq!(archive.diagnoses(&filter).unwrap().len(), runs, "{filter:?}");
    }
    assert_eq!(archive.session("a", 3).unwrap().map(|session| session.seq), Some(3));
    assert_eq!(archive.session("a", 9).unwrap(), None);
    assert_eq!(archive.run("c").unwrap(), None);
    assert_eq!(archive.runs_named("").unwrap(), ["a", "b"]);
    assert_eq!(archive.runs_named("b").unwrap(), ["b"]);
    // 16 sessions of two wordings, and each server's own name is in its greeting.
    assert_eq!((world.count("session"), world.count("reply"), world.count("place")), (16, 2, 4));
}

#[test]
fn sessions_come_in_the_order_of_time() {
    let world = World::new();
    let mut archive = world.open();
    archive.keep("a", None, &[session("a", 1, 3), session("a", 2, 1)]).unwrap();
    archive.keep("b", None, &[session("b", 1, 2)]).unwrap();
    let found = all_sessions(&mut archive, &Filter::default());
    assert_eq!(found, [("a".to_owned(), 2), ("b".to_owned(), 1), ("a".to_owned(), 1)]);
}

#[test]
fn hours_outlast_their_sessions() {
    let world = World::new();
    let mut archive = world.open();
    for (run, minutes) in [("a", 0), ("b", 30), ("c", 60), ("d", 100 * 24 * 60)] {
        archive.keep(run, None, &round(run, minutes)).unwrap();
    }
    let filter = Filter { source: Some("192.0.2.1".parse().unwrap()), ..Filter::default() };
    let hours = archive.hours(&filter).unwrap();
    let counts: Vec<_> = hours.iter().map(|hour| (hour.at, hour.failed, hour.sessions)).collect();
    assert_eq!(counts, [(at(0), true, 4), (at(60), true, 2), (at(100 * 24 * 60), true, 2)]);
    assert_eq!(
        (hours[0].code, hours[0].tag.as_deref(), hours[0].kind),
        (Code::new(421), Some("TSS04"), Kind::Rejected)
    );

    let now = at(100 * 24 * 60);
    let forgotten = archive.retain(now, &Retention::default()).unwrap();
    assert_eq!(forgotten, Forgotten { runs: 3, sessions: 24, more: false });
    assert_eq!(archive.retain(now, &Retention::default()).unwrap(), Forgotten::default());
    assert_eq!(archive.hours(&filter).unwrap(), hours);
    assert_eq!((world.count("run"), world.count("session"), world.count("line")), (1, 8, 3));
    assert_eq!(archive.run("d").unwrap(), Some(round("d", 100 * 24 * 60)), "what is left is whole");
    let until = Filter { until: Some(at(60)), code: Code::new(421), ..filter };
    assert_eq!(archive.hours(&until).unwrap().len(), 1);
    // What only forgotten runs said is forgotten too; a later run says it anew.
    let texts = world.count("text");
    archive.keep("e", None, &round("e", 100 * 24 * 60)).unwrap();
    assert_eq!(world.count("text"), texts, "nothing new was said");
    archive.retain(at(300 * 24 * 60), &Retention::default()).unwrap();
    assert_eq!((world.count("text"), world.count("reply"), world.count("run")), (0, 0, 0));
    let mut other = world.open();
    other.keep("f", None, &round("f", 300 * 24 * 60)).unwrap();
    assert_eq!(other.run("f").unwrap(), Some(round("f", 300 * 24 * 60)));
}

#[test]
fn what_was_said_before_the_run_began_lasts_as_long_as_the_run() {
    let world = World::new();
    let mut archive = world.open();
    let report = Line::parse(r#"{"type": "report", "seq": 1, "file": "-", "format": "text"}"#).unwrap().unwrap();
    let lines = [report, head("a", 0), session("a", 1, 0)];
    archive.keep("old", None, &round("old", 0)).unwrap();
    for line in &lines {
        archive.keep("a", None, std::slice::from_ref(line)).unwrap();
    }
    let mut late = round("a", 60 * 24 * 60);
    late.retain(|line| matches!(line, Line::Session(_)));
    archive.keep("a", None, &late).unwrap();
    let forgotten = archive.retain(at(100 * 24 * 60), &Retention::default()).unwrap();
    assert_eq!(forgotten.runs, 1);
    let found = archive.run("a").unwrap().unwrap();
    assert_eq!((&found[..3], found.len()), (&lines[..], 10));
}

#[test]
fn much_is_forgotten_in_small_parts() {
    let world = World::new();
    let mut archive = world.open();
    let lines: Vec<Line> = (1..=4500).map(|seq| session("a", seq, 0)).collect();
    archive.keep("a", None, &lines).unwrap();
    let mut parts = Vec::new();
    loop {
        let part = archive.retain(at(100 * 24 * 60), &Retention::default()).unwrap();
        parts.push(part.sessions);
        if !part.more {
            break;
        }
    }
    assert_eq!((parts.iter().sum::<u64>(), parts.iter().max()), (4500, Some(&2000)), "{parts:?}");
}

fn incident(events: usize) -> Incident {
    let event = json!({"at": at(0), "event": "opened"});
    let fields = json!({
        "id": 0, "domain": "a.example", "kind": "receiver-outage", "confidence": "high", "opened": {"by": at(10)},
        "sources": ["192.0.2.1"], "stage": "banner", "code": 554, "sessions": 8, "failed": 8,
        "events": vec![event; events]
    });
    serde_json::from_value(fields).unwrap()
}

fn notices(receivers: &[&str]) -> Vec<NewNotice> {
    let notice = |receiver: &&str| NewNotice { receiver: (*receiver).to_owned(), payload: json!({"to": receiver}) };
    receivers.iter().map(notice).collect()
}

#[test]
fn incidents_are_entered_and_changed() {
    let world = World::new();
    let mut archive = world.open();
    let (mut one, mut two) = (incident(1), incident(1));
    archive.put_incident(Some("p.toml"), &mut one, &[]).unwrap();
    archive.put_incident(None, &mut two, &[]).unwrap();
    assert_eq!((one.id, two.id), (1, 2));
    one.closed = Some(crate::record::Between { after: Some(at(20)), by: at(30) });
    archive.put_incident(Some("p.toml"), &mut one, &[]).unwrap();
    assert_eq!(archive.incident(1).unwrap().as_ref(), Some(&one));
    assert_eq!(archive.incident(3).unwrap(), None);
    let ids = |archive: &mut StoreArchive, filter: &Filter, open_only| {
        archive.incidents(filter, open_only).unwrap().iter().map(|incident| incident.id).collect::<Vec<_>>()
    };
    let all = Filter::default();
    for (filter, open_only, wanted) in [
        (all.clone(), false, &[2, 1][..]),
        (all.clone(), true, &[2]),
        (Filter { probe: Some("p.toml".to_owned()), ..all.clone() }, false, &[1]),
        (Filter { since: Some(at(31)), ..all.clone() }, false, &[2]),
        (Filter { until: Some(at(10)), ..all.clone() }, false, &[]),
        (Filter { source: Some("192.0.2.2".parse().unwrap()), ..all.clone() }, false, &[]),
        (Filter { address: Some("192.0.2.2".parse().unwrap()), ..all.clone() }, false, &[2, 1]),
        (Filter { code: Code::new(421), ..all.clone() }, false, &[]),
        (Filter { limit: Some(1), ..all.clone() }, false, &[2]),
    ] {
        assert_eq!(ids(&mut archive, &filter, open_only), wanted, "{filter:?}");
    }
}

#[test]
fn a_notice_is_told_once_and_in_order() {
    let world = World::new();
    let (mut one, mut two) = (world.open(), world.open());
    let mut trouble = incident(1);
    one.put_incident(None, &mut trouble, &notices(&["hook", "mail"])).unwrap();
    one.put_incident(None, &mut trouble, &notices(&["hook", "mail", "page"])).unwrap();
    let taken = one.due_notices(at(0), 2).unwrap();
    let told = |notices: &[Notice]| notices.iter().map(|n| (n.change, n.receiver.clone())).collect::<Vec<_>>();
    assert_eq!(told(&taken), [(1, "hook".to_owned()), (1, "mail".to_owned())]);
    assert_eq!((taken[0].incident, &taken[0].payload), (1, &json!({"to": "hook"})));
    assert_eq!(told(&two.due_notices(at(0), 9).unwrap()), [(1, "page".to_owned())], "the others are taken");

    trouble.events.push(trouble.events[0].clone());
    one.put_incident(None, &mut trouble, &notices(&["hook", "mail"])).unwrap();
    one.notice_delivered(taken[0].id, at(0)).unwrap();
    one.notice_failed(taken[1].id, at(10), "no route").unwrap();
    assert_eq!(told(&two.due_notices(at(1), 9).unwrap()), [(2, "hook".to_owned())], "mail waits for its first");
    let late = two.due_notices(at(10), 9).unwrap();
    assert_eq!(told(&late), [(1, "mail".to_owned()), (1, "page".to_owned()), (2, "hook".to_owned())]);
    assert_eq!((late[0].tries, late[0].why.as_deref()), (1, Some("no route")));
    for notice in &late {
        two.notice_delivered(notice.id, at(10)).unwrap();
        two.notice_failed(notice.id, at(10), "too late").unwrap();
    }
    let last = one.due_notices(at(60), 9).unwrap();
    assert_eq!(told(&last), [(2, "mail".to_owned())]);
    one.notice_delivered(last[0].id, at(60)).unwrap();
    one.put_incident(None, &mut trouble, &notices(&["hook", "mail"])).unwrap();
    assert_eq!(one.due_notices(at(600), 9).unwrap(), []);
}

#[test]
fn a_full_disk_takes_nothing_that_was_acknowledged_and_no_half_of_what_was_not() {
    let world = World::new();
    drop(world.open());
    let store = Store::open(&world.path()).unwrap();
    let pages: i64 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.db.pragma_update(None, "max_page_count", pages + 4).unwrap();
    let mut archive = StoreArchive::over(store).unwrap();
    let mut acknowledged = Vec::new();
    let error = loop {
        let run = format!("run-{:04}", acknowledged.len());
        match archive.keep(&run, None, &round(&run, acknowledged.len() as u64)) {
            Ok(()) => acknowledged.push(run),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 1000);
    };
    assert!(error.may_pass() && error.to_string().contains("full"), "{error}");
    assert!(!acknowledged.is_empty());
    let mut trouble = incident(1);
    let much: Vec<NewNotice> =
        (0..500).map(|n| NewNotice { receiver: n.to_string(), payload: json!("x".repeat(999)) }).collect();
    archive.put_incident(None, &mut trouble, &much).unwrap_err();
    assert_eq!(trouble.id, 0);
    let runs = |archive: &mut StoreArchive| archive.runs(&Filter::default()).unwrap().len();
    assert_eq!(runs(&mut world.open()), acknowledged.len());

    // There is room again, and the same archive goes on.
    archive.unlimited();
    let owed = format!("run-{:04}", acknowledged.len());
    archive.keep(&owed, None, &round(&owed, 0)).unwrap();
    assert_eq!(archive.run(&owed).unwrap(), Some(round(&owed, 0)));
    for (at, run) in acknowledged.iter().enumerate() {
        assert_eq!(world.open().run(run).unwrap(), Some(round(run, at as u64)));
    }
    archive.put_incident(None, &mut trouble, &much).unwrap();
    assert_eq!((trouble.id, world.count("notice")), (1, 500));
}
