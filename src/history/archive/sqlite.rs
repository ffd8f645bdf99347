//! The archive in the file.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction};

use super::super::{Fault, HistoryError, Store};
use super::text::Texts;
use super::{
    Archive, Filter, Forgotten, Hour, NewNotice, Notice, Retention, RunOnRecord, Stretch, hours, incidents, keep, read,
    retain,
};
use crate::record::{Diagnosis, Incident, Line, Session};

/// What is on record, in one file for all.
#[derive(Debug)]
pub struct StoreArchive {
    store: Store,
    texts: Texts,
}

/// So many statements are kept ready.
const STATEMENTS: usize = 64;

/// The pages that are held in memory where little is to be, in KiB.
const FRUGAL: i32 = 256;

impl StoreArchive {
    /// Opens the file; makes it where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Self::over(Store::open(path)?)
    }

    /// Opens the file where there is one.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn existing(path: &Path) -> Result<Option<Self>, HistoryError> {
        Store::existing(path)?.map(Self::over).transpose()
    }

    pub(in crate::history) fn over(store: Store) -> Result<Self, HistoryError> {
        store.db.set_prepared_statement_cache_capacity(STATEMENTS);
        // What is acknowledged is on disk.
        let set = store.db.pragma_update(None, "synchronous", "full");
        set.map_err(|e| store.error(e))?;
        Ok(Self { store, texts: Texts::default() })
    }

    /// The same with little in memory, for whoever has it open for good and asks it seldom.
    ///
    /// # Errors
    ///
    /// The file's.
    pub fn frugal(self) -> Result<Self, HistoryError> {
        let set = self.store.db.pragma_update(None, "cache_size", -FRUGAL);
        set.map_err(|e| self.store.error(e))?;
        Ok(self)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// Does all of `work`, or nothing.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Texts) -> Result<T, Fault>,
    ) -> Result<T, HistoryError> {
        let Self { store, texts } = self;
        let transaction = store.begin().map_err(Fault::from);
        let done = transaction.and_then(|transaction| {
            let done = work(&transaction, texts)?;
            transaction.commit()?;
            Ok(done)
        });
        done.map_err(|fault| {
            texts.forget();
            store.fault(fault)
        })
    }

    /// Reads in one transaction, so that all of it is of one moment.
    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, HistoryError> {
        let transaction = self.store.db.transaction().map_err(Fault::from);
        let done = transaction.and_then(|transaction| work(&transaction));
        done.map_err(|fault| self.store.fault(fault))
    }
}

#[cfg(test)]
impl StoreArchive {
    /// Takes away the limit that made the file full.
    pub(in crate::history) fn unlimited(&self) {
        self.store.db.pragma_update(None, "max_page_count", 1 << 20).unwrap();
    }
}

impl Archive for StoreArchive {
    fn keep(&mut self, run: &str, probe: Option<&str>, lines: &[Line]) -> Result<(), HistoryError> {
        self.write(|transaction, texts| keep::keep(transaction, texts, run, probe, lines))
    }

    fn runs(&mut self, filter: &Filter) -> Result<Vec<RunOnRecord>, HistoryError> {
        self.read(|db| read::runs(db, filter))
    }

    fn runs_named(&mut self, beginning: &str) -> Result<Vec<String>, HistoryError> {
        self.read(|db| read::runs_named(db, beginning))
    }

    fn run(&mut self, run: &str) -> Result<Option<Vec<Line>>, HistoryError> {
        self.read(|db| read::run(db, run))
    }

    fn lines(&mut self, filter: &Filter, each: &mut dyn FnMut(Line) -> bool) -> Result<(), HistoryError> {
        // Each run for itself: whoever takes the lines may be slow, and what is being read cannot be
        // tidied up behind the writers.
        for id in self.read(|db| read::ids(db, filter))?.into_iter().rev() {
            if !self.read(|db| read::lines_of(db, id, filter))?.into_iter().all(&mut *each) {
                break;
            }
        }
        Ok(())
    }

    fn sessions(&mut self, filter: &Filter, each: &mut dyn FnMut(Session) -> bool) -> Result<(), HistoryError> {
        self.read(|db| read::sessions(db, filter, each))
    }

    fn session(&mut self, run: &str, seq: u64) -> Result<Option<Session>, HistoryError> {
        self.read(|db| read::session(db, run, seq))
    }

    fn diagnoses(&mut self, filter: &Filter) -> Result<Vec<Diagnosis>, HistoryError> {
        self.read(|db| read::diagnoses(db, filter))
    }

    fn put_incident(
        &mut self,
        probe: Option<&str>,
        incident: &mut Incident,
        notices: &[NewNotice],
    ) -> Result<(), HistoryError> {
        incident.id = self.write(|transaction, _| incidents::put(transaction, probe, incident, notices))?;
        Ok(())
    }

    fn incidents(&mut self, filter: &Filter, open_only: bool) -> Result<Vec<Incident>, HistoryError> {
        self.read(|db| incidents::incidents(db, filter, open_only))
    }

    fn incident(&mut self, id: u64) -> Result<Option<Incident>, HistoryError> {
        self.read(|db| incidents::incident(db, id))
    }

    fn due_notices(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Notice>, HistoryError> {
        self.write(|transaction, _| incidents::due(transaction, now, limit))
    }

    fn notice_delivered(&mut self, id: u64, at: Timestamp) -> Result<(), HistoryError> {
        self.write(|transaction, _| incidents::delivered(transaction, id, at))
    }

    fn notice_failed(&mut self, id: u64, next: Timestamp, why: &str) -> Result<(), HistoryError> {
        self.write(|transaction, _| incidents::failed(transaction, id, next, why))
    }

    fn notice_refused(&mut self, id: u64, why: &str) -> Result<(), HistoryError> {
        self.write(|transaction, _| incidents::refused(transaction, id, why))
    }

    fn hours(&mut self, filter: &Filter) -> Result<Vec<Hour>, HistoryError> {
        self.read(|db| hours::hours(db, filter))
    }

    fn stretches(&mut self, filter: &Filter, hours: u32) -> Result<Vec<Stretch>, HistoryError> {
        self.read(|db| hours::stretches(db, filter, hours))
    }

    fn retain(&mut self, now: Timestamp, retention: &Retention) -> Result<Forgotten, HistoryError> {
        self.write(|transaction, _| retain::retain(transaction, now, retention))
    }
}
