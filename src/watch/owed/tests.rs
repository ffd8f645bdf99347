//! The queue before a history that is out of order.

use std::path::Path;
use std::sync::Mutex;

use jiff::Timestamp;

use super::*;
use crate::history::HistoryError;
use crate::history::archive::{Filter, Forgotten, Hour, Notice, Retention, RunOnRecord, StoreArchive, Stretch};
use crate::record::{Diagnosis, Session, Summary};

/// What a history that can be out of order was given.
#[derive(Default)]
struct Book {
    is_away: bool,
    /// The runs of the lines, in order.
    runs: Vec<String>,
    /// The numbers of the incidents, in order.
    incidents: Vec<u64>,
}

#[derive(Clone, Default)]
struct Fickle(Arc<Mutex<Book>>);

impl Fickle {
    fn set_away(&self, is_away: bool) {
        self.0.lock().unwrap().is_away = is_away;
    }

    fn enter(&self, what: impl FnOnce(&mut Book)) -> Result<(), HistoryError> {
        let mut book = self.0.lock().unwrap();
        if book.is_away {
            return Err(StoreArchive::open(Path::new("/")).unwrap_err());
        }
        what(&mut book);
        Ok(())
    }
}

impl Archive for Fickle {
    fn keep(&mut self, run: &str, _: Option<&str>, lines: &[Line]) -> Result<(), HistoryError> {
        self.enter(|book| book.runs.extend(lines.iter().map(|_| run.to_owned())))
    }

    fn put_incident(&mut self, _: Option<&str>, incident: &mut Incident, _: &[NewNotice]) -> Result<(), HistoryError> {
        let mut id = incident.id;
        self.enter(|book| {
            id = if id == 0 { book.incidents.iter().max().map_or(1, |last| last + 1) } else { id };
            book.incidents.push(id);
        })?;
        incident.id = id;
        Ok(())
    }

    fn runs(&mut self, _: &Filter) -> Result<Vec<RunOnRecord>, HistoryError> {
        unimplemented!()
    }
    fn runs_named(&mut self, _: &str) -> Result<Vec<String>, HistoryError> {
        unimplemented!()
    }
    fn run(&mut self, _: &str) -> Result<Option<Vec<Line>>, HistoryError> {
        unimplemented!()
    }
    fn lines(&mut self, _: &Filter, _: &mut dyn FnMut(Line) -> bool) -> Result<(), HistoryError> {
        unimplemented!()
    }
    fn sessions(&mut self, _: &Filter, _: &mut dyn FnMut(Session) -> bool) -> Result<(), HistoryError> {
        unimplemented!()
    }
    fn session(&mut self, _: &str, _: u64) -> Result<Option<Session>, HistoryError> {
        unimplemented!()
    }
    fn diagnoses(&mut self, _: &Filter) -> Result<Vec<Diagnosis>, HistoryError> {
        unimplemented!()
    }
    fn incidents(&mut self, _: &Filter, _: bool) -> Result<Vec<Incident>, HistoryError> {
        unimplemented!()
    }
    fn incident(&mut self, _: u64) -> Result<Option<Incident>, HistoryError> {
        unimplemented!()
    }
    fn due_notices(&mut self, _: Timestamp, _: usize) -> Result<Vec<Notice>, HistoryError> {
        unimplemented!()
    }
    fn notice_delivered(&mut self, _: u64, _: Timestamp) -> Result<(), HistoryError> {
        unimplemented!()
    }
    fn notice_refused(&mut self, _: u64, _: &str) -> Result<(), HistoryError> {
        unimplemented!()
    }
    fn notice_failed(&mut self, _: u64, _: Timestamp, _: &str) -> Result<(), HistoryError> {
        unimplemented!()
    }
    fn hours(&mut self, _: &Filter) -> Result<Vec<Hour>, HistoryError> {
        unimplemented!()
    }
    fn stretches(&mut self, _: &Filter, _: u32) -> Result<Vec<Stretch>, HistoryError> {
        unimplemented!()
    }
    fn retain(&mut self, _: Timestamp, _: &Retention) -> Result<Forgotten, HistoryError> {
        unimplemented!()
    }
}

/// What the operator is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Told {
    fn take(&self) -> Vec<String> {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap().lines().map(str::to_owned).collect()
    }
}

fn owed() -> (Owed, Fickle, Told) {
    let (book, told) = (Fickle::default(), Told::default());
    let log = Log::new(Box::new(std::io::sink()), Box::new(told.clone()), false, None);
    (Owed::new(Some(Box::new(book.clone())), log), book, told)
}

fn lines(run: &str, count: usize) -> Entry {
    let lines = vec![Line::Summary(Summary::default()); count];
    Entry::Lines { run: run.to_owned(), probe: "probe".into(), lines }
}

fn incident(key: u64) -> Entry {
    let incident = serde_json::from_value(serde_json::json!({
        "id": 0, "domain": "a.example", "kind": "receiver-outage", "confidence": "high",
        "opened": { "after": null, "by": "2026-11-24T10:00:00Z" }, "sessions": 1, "failed": 1,
    }));
    Entry::Incident { probe: "probe".into(), key, incident: Box::new(incident.unwrap()), notices: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_history_that_fails_is_said_once_and_catches_up_in_order() {
    let (mut owed, book, told) = owed();
    owed.push(lines("a", 2));
    owed.push(incident(1));
    owed.settle();
    assert_eq!(told.take(), Vec::<String>::new());
    book.set_away(true);
    for round in ["b", "c", "d"] {
        owed.push(lines(round, 1));
        owed.push(incident(1));
        owed.push(incident(2));
        owed.settle();
        tokio::time::advance(AWAY).await;
    }
    let said = told.take();
    assert!(said.len() == 1 && said[0].ends_with("what they find is written when it can be"), "{said:?}");
    assert!(!owed.is_written());
    book.set_away(false);
    owed.settle();
    assert_eq!(told.take(), ["mxprobe: the history is written again, with all that it missed"]);
    let book = book.0.lock().unwrap();
    assert_eq!(book.runs, ["a", "a", "b", "c", "d"]);
    // The incident that was on record kept its number, the new one was given one, once.
    assert_eq!(book.incidents, [1, 1, 2, 1, 2, 1, 2]);
    assert_eq!((owed.number(&"probe".into(), 1), owed.number(&"probe".into(), 2)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_counted_and_said() {
    let (mut owed, book, told) = owed();
    book.set_away(true);
    for round in 0..12 {
        owed.push(lines(&round.to_string(), MOST / 10));
        owed.settle();
    }
    owed.push(incident(1));
    told.take();
    tokio::time::advance(AWAY).await;
    book.set_away(false);
    owed.settle();
    let wanted = format!(
        "mxprobe: the history is written again, without {} lines, the oldest ones, for which there was no room",
        MOST / 5
    );
    assert_eq!(told.take(), [wanted]);
    let book = book.0.lock().unwrap();
    assert_eq!((book.runs.len(), book.runs[0].as_str(), book.incidents.as_slice()), (MOST, "2", &[1][..]));
}

#[tokio::test(start_paused = true)]
async fn what_stays_unwritten_at_the_end_is_said() {
    let (mut owed, book, told) = owed();
    book.set_away(true);
    owed.push(lines("a", 3));
    owed.settle();
    told.take();
    owed.close();
    assert_eq!(told.take(), ["mxprobe: 3 lines are not on record: the history could not be written"]);
    book.set_away(false);
    owed.close();
    assert_eq!(told.take(), ["mxprobe: the history is written again, with all that it missed"]);
}
