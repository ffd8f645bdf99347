//! Keeps a run's lines in the history while the run goes on, on a thread of its own: no session waits
//! for a disk.
//!
//! Lines are gathered for [`GATHER`] and written together. Where the file fails, the operator is told
//! once, what could not be written is held, and written with what follows as soon as that goes; what
//! is left at the end is counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::HistoryError;
use super::archive::{Archive, StoreArchive};
use super::ledger::Tell;
use crate::record::Line;

/// So much of a run may be lost with its process.
pub const GATHER: Duration = Duration::from_millis(500);

/// So many lines are written at once; nobody else can write meanwhile.
const BATCH: usize = 500;

/// So many lines are held for a file that fails, some hundred megabytes at most.
const HELD: usize = 100_000;

/// Keeps one run.
pub struct Keeper {
    lines: Sender<Line>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Begins. The file is opened beside the run too.
    #[must_use]
    pub fn start(path: PathBuf, probe: Option<String>, tell: Tell) -> Self {
        Self::over(move || Ok(Box::new(StoreArchive::open(&path)?) as Box<dyn Archive>), probe, tell)
    }

    fn over(
        open: impl FnOnce() -> Result<Box<dyn Archive>, HistoryError> + Send + 'static,
        probe: Option<String>,
        tell: Tell,
    ) -> Self {
        let (lines, received) = mpsc::channel();
        let ending = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ending);
        let thread = thread::spawn(move || match open() {
            Ok(archive) => {
                let (run, held) = Default::default();
                Work { archive, probe, tell, run, held, dropped: 0, failing: false }.all(&received, &is_over);
            }
            Err(error) => tell(&format!("{error}; this run is not put on record")),
        });
        Self { lines, ending, thread }
    }

    /// Keeps a line, soon.
    pub fn line(&self, line: &Line) {
        // Whoever is gone has said why.
        let _ = self.lines.send(line.clone());
    }

    /// Writes what is still to be written, and waits until that is done or given up.
    pub fn close(self) {
        let Self { lines, ending, thread } = self;
        ending.store(true, Ordering::Release);
        drop(lines);
        thread.thread().unpark();
        // A thread that broke off has said so.
        let _ = thread.join();
    }
}

struct Work {
    archive: Box<dyn Archive>,
    probe: Option<String>,
    tell: Tell,
    /// The run, as soon as a line has said which it is.
    run: Option<String>,
    held: Vec<Line>,
    /// How many lines there was no room for.
    dropped: usize,
    failing: bool,
}

impl Work {
    fn all(mut self, received: &Receiver<Line>, is_over: &AtomicBool) {
        while let Ok(line) = received.recv() {
            if !is_over.load(Ordering::Acquire) {
                thread::park_timeout(GATHER);
            }
            for line in std::iter::once(line).chain(received.try_iter()) {
                self.take(line);
            }
            if !self.write() {
                return;
            }
        }
        let lost = self.held.len() + self.dropped;
        if lost > 0 && self.run.is_some() {
            (self.tell)(&format!("{lost} lines of this run are not on record"));
        }
    }

    fn take(&mut self, line: Line) {
        if let Line::Run(run) = &line {
            self.run.get_or_insert_with(|| run.run.clone());
        }
        if self.held.len() < HELD { self.held.push(line) } else { self.dropped += 1 }
    }

    /// Writes what is held, as far as that goes; false where it never will.
    fn write(&mut self) -> bool {
        let Some(run) = &self.run else { return true };
        let mut written = 0;
        let mut failure = None;
        for batch in self.held.chunks(BATCH) {
            match self.archive.keep(run, self.probe.as_deref(), batch) {
                Ok(()) => written += batch.len(),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        self.held.drain(..written);
        let Some(error) = failure else {
            if std::mem::take(&mut self.failing) {
                (self.tell)("the history is written again, with what it missed of this run");
            }
            return true;
        };
        if !error.may_pass() {
            (self.tell)(&format!("{error}; the rest of this run is not put on record"));
        } else if !std::mem::replace(&mut self.failing, true) {
            (self.tell)(&format!("{error}; this run is held, and put on record when that goes again"));
        }
        error.may_pass()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::history::Store;
    use crate::history::archive::Filter;

    fn line(fields: &serde_json::Value) -> Line {
        Line::parse(&fields.to_string()).unwrap().unwrap()
    }

    fn lines(count: u64) -> Vec<Line> {
        let at = "2026-11-24T10:00:00Z";
        let head = json!({
            "type": "run", "schema": 1, "run": "a", "at": at, "version": "0.1.0", "targets": [], "sources": [],
            "until": "mail", "seed": 7
        });
        let session = |seq: u64| {
            let detail = format!("{}{seq}", "x".repeat(2000));
            json!({"type": "session", "run": "a", "seq": seq, "at": at, "kind": "completed", "detail": detail})
        };
        std::iter::once(line(&head)).chain((1..=count).map(|seq| line(&session(seq)))).collect()
    }

    /// What a keeper tells while it keeps a run in a file that takes so many pages more.
    fn told(room: i64, mended: bool) -> (usize, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.sqlite");
        let store = Store::open(&path).unwrap();
        let pages: i64 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.db.pragma_update(None, "max_page_count", pages + room).unwrap();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let (heard, file) = (Arc::clone(&told), path.clone());
        // The disk has room again as soon as the operator was told.
        let tell: Tell = Box::new(move |what| {
            heard.lock().unwrap().push(what.replace(&file.display().to_string(), "FILE"));
        });
        let mut archive = StoreArchive::over(store).unwrap();
        let open = move || {
            if mended {
                archive.keep("a", None, &lines(20)).unwrap_err();
                archive.unlimited();
            }
            Ok(Box::new(archive) as Box<dyn Archive>)
        };
        let keeper = Keeper::over(open, None, tell);
        // A report comes before anybody knows which run it is of.
        keeper.line(&line(&json!({"type": "report", "seq": 1, "file": "-", "format": "text"})));
        for line in lines(20) {
            keeper.line(&line);
        }
        keeper.close();
        let kept = StoreArchive::open(&path).unwrap().run("a").unwrap().unwrap_or_default().len();
        assert_eq!(StoreArchive::open(&path).unwrap().runs(&Filter::default()).unwrap().len(), kept.min(1));
        let told = told.lock().unwrap().clone();
        (kept, told)
    }

    #[test]
    fn a_run_is_kept_to_its_last_line() {
        assert_eq!(told(1 << 20, false), (22, vec![]));
        assert_eq!(told(2, true), (22, vec![]));
    }

    #[test]
    fn a_full_disk_is_told_once_and_what_is_lost_is_counted() {
        let (kept, told) = told(2, false);
        assert_eq!((kept, told.len()), (0, 2), "{told:?}");
        assert!(told[0].starts_with("history FILE: database or disk is full"), "{told:?}");
        assert!(told[0].ends_with("; this run is held, and put on record when that goes again"), "{told:?}");
        assert_eq!(told[1], "22 lines of this run are not on record");
    }
}
