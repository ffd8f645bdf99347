//! The ledger that all runs and processes of this host share.
//!
//! Each question is one transaction: read what others have entered since, decide, enter the start.
//! Nobody comes between, so that together they never pass a limit. What is read is mirrored in a
//! [`RunLedger`], which decides; where the file fails in mid-run, that one goes on by itself with
//! all that is known, and what it enters is written as soon as the file can be written again.
//!
//! Kept for every provider: session starts, for a day, and the sessions that are open now. Kept for
//! providers out in the world, the operator's own ones too: rests. A provider wholly on loopback is
//! a test's: its rests are over when the run is.
//!
//! Open sessions are leases that run out when they are not renewed, so that a process that was
//! killed holds nobody up for longer than [`LEASE`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::page::{self, Entry, Page, Read};
use super::{HistoryError, Store};
use crate::ledger::{Account, Admission, Ask, Ledger, RENEWAL, Rest, RunLedger, later};

/// How long an open session counts for others when its process does not say that it is still there.
pub const LEASE: Duration = RENEWAL.saturating_mul(3);

/// After how long a process looks again whether others have ended a session.
const AGAIN: Duration = Duration::from_millis(250);

/// How long the file is left alone when it failed.
const AWAY: Duration = Duration::from_secs(30);

/// So many pages may wait in the write-ahead log; the archive lets 1,000 wait (SQLite's own figure).
const CHECKPOINT: i64 = 4000;

/// How many characters of a reason are kept.
pub(super) const LONGEST_WHY: usize = 500;

/// Tells the operator that the file failed, and that it is back.
pub type Tell = Box<dyn Fn(&str) + Send>;

/// Starts, rests and open sessions, in one file for all.
pub struct StoreLedger {
    store: Store,
    book: RunLedger,
    /// How far the file has been read.
    read: BTreeMap<Account, Read>,
    /// Our open sessions.
    leases: Vec<Lease>,
    /// What is in the book and not yet in the file.
    owed: Vec<Entry>,
    /// The run that has started sessions on loopback, and when it last did.
    on_loopback: Option<(String, Timestamp)>,
    /// The file failed, and is left alone until then.
    away: Option<Timestamp>,
    tell: Tell,
}

struct Lease {
    run: String,
    account: Account,
    address: IpAddr,
    /// None: not yet in the file.
    id: Option<i64>,
}

impl StoreLedger {
    /// Opens the file, and forgets what no longer counts.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open(path: &Path, now: Timestamp, tell: Tell) -> Result<Self, HistoryError> {
        Self::over(Store::open(path)?, now, tell)
    }

    pub(super) fn over(mut store: Store, now: Timestamp, tell: Tell) -> Result<Self, HistoryError> {
        // What the archive writes beside the ledger, the archive tidies up: no session waits for that.
        let set = store.db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT);
        set.map_err(|e| store.error(e))?;
        page::tidy(&mut store, now, LEASE).map_err(|e| store.error(e))?;
        let (book, read) = (RunLedger::default(), BTreeMap::new());
        Ok(Self { store, book, read, leases: Vec::new(), owed: Vec::new(), on_loopback: None, away: None, tell })
    }

    /// Does `work` in one transaction, behind what is owed to the file; `None` where that fails.
    fn transact<T>(&mut self, now: Timestamp, work: impl FnOnce(&mut Page<'_>) -> rusqlite::Result<T>) -> Option<T> {
        if self.away.is_some_and(|until| now < until) {
            return None;
        }
        match self.in_transaction(now, work) {
            Ok(done) => {
                self.owed.clear();
                if self.away.take().is_some() {
                    let path = self.store.path().display();
                    (self.tell)(&format!("history {path}: written again, with what it missed"));
                }
                Some(done)
            }
            Err(error) => {
                if self.away.is_none() {
                    let error = self.store.error(error);
                    (self.tell)(&format!("{error}; budgets and rests are counted by this run alone for now"));
                }
                self.away = Some(later(now, AWAY));
                None
            }
        }
    }

    fn in_transaction<T>(
        &mut self,
        now: Timestamp,
        work: impl FnOnce(&mut Page<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut page = Page::open(&mut self.store, &mut self.book, &mut self.read, now)?;
        // All is read before anything is written: behind that, every higher number is ours.
        for account in self.owed.iter().filter_map(Entry::account) {
            page.read(account)?;
        }
        for entry in &self.owed {
            page.write(entry)?;
        }
        let done = work(&mut page)?;
        page.commit()?;
        Ok(done)
    }

    /// Enters it now, or as soon as the file can be written again.
    fn write(&mut self, entry: Entry, now: Timestamp) {
        let written = self.transact(now, |page| {
            entry.account().map_or(Ok(()), |account| page.read(account))?;
            page.write(&entry)
        });
        if written.is_none() {
            self.owed.push(entry);
        }
    }

    /// How many of our open sessions are there, and at that address.
    fn open_here(&self, ask: &Ask<'_>) -> (usize, usize) {
        let here = self.leases.iter().filter(|lease| lease.account == *ask.account);
        (here.clone().count(), here.filter(|lease| lease.address == ask.address).count())
    }
}

#[cfg(test)]
impl StoreLedger {
    /// Acts as if the file had failed.
    pub(super) fn leave_alone_until(&mut self, until: Timestamp) {
        self.away = Some(until);
    }

    /// Takes away the limit that made the file full.
    pub(super) fn unlimited(&self) {
        self.store.db.pragma_update(None, "max_page_count", 1 << 20).unwrap();
    }
}

impl Ledger for StoreLedger {
    fn admit(&mut self, ask: &Ask<'_>) -> Admission {
        let (run, account, address, now) = (ask.run.to_owned(), ask.account, ask.address, ask.now);
        let start = Entry::Start { run: run.clone(), account: account.clone(), at: now };
        let (here, at_address) = self.open_here(ask);
        let ours: Vec<_> = self.leases.iter().filter_map(|lease| lease.id).collect();
        let admitted = self.transact(now, |page| {
            page.read(account)?;
            let admission = page.book.look(ask);
            if admission != Admission::Go {
                return Ok((admission, None));
            }
            let others = page.others(account, &ours, LEASE)?;
            let others_at_address = others.iter().filter(|other| **other == Some(address)).count();
            let is_full = here + others.len() >= ask.limits.per_provider
                || at_address + others_at_address >= ask.limits.per_address;
            if is_full && !others.is_empty() {
                return Ok((Admission::Wait(later(now, AGAIN)), None));
            }
            page.write(&start)?;
            Ok((admission, Some(page.lease(&run, account, address, LEASE)?)))
        });
        let (admission, id) = admitted.unwrap_or_else(|| {
            let admission = self.book.look(ask);
            if admission == Admission::Go {
                self.owed.push(start);
            }
            (admission, None)
        });
        if admission == Admission::Go {
            self.book.enter(account, now, now);
            if account.loopback.is_some() {
                self.on_loopback = Some((run.clone(), now));
            }
            self.leases.push(Lease { run, account: account.clone(), address, id });
        }
        admission
    }

    fn starts(&self, account: &Account, since: Timestamp) -> u64 {
        self.book.starts(account, since)
    }

    fn ended(&mut self, account: &Account, address: IpAddr, now: Timestamp) {
        let is_it = |lease: &Lease| lease.account == *account && lease.address == address;
        let lease = self.leases.iter().position(is_it).map(|at| self.leases.swap_remove(at));
        if let Some(id) = lease.and_then(|lease| lease.id) {
            self.write(Entry::Ended { id }, now);
        }
    }

    fn renew(&mut self, now: Timestamp) {
        let mut leases = std::mem::take(&mut self.leases);
        let renewed = self.transact(now, |page| {
            let renewed = leases.iter().map(|lease| match lease.id {
                Some(id) => page.renew(id, LEASE).map(|()| id),
                None => page.lease(&lease.run, &lease.account, lease.address, LEASE),
            });
            renewed.collect::<rusqlite::Result<Vec<_>>>()
        });
        for (lease, id) in leases.iter_mut().zip(renewed.into_iter().flatten()) {
            lease.id = Some(id);
        }
        self.leases = leases;
    }

    fn rest(&mut self, run: &str, account: &Account, source: IpAddr, rest: Rest, now: Timestamp) {
        let rest = Rest { why: rest.why.chars().take(LONGEST_WHY).collect(), ..rest };
        self.book.rest(run, account, source, rest.clone(), now);
        if account.loopback.is_none() {
            let (run, account) = (run.to_owned(), account.clone());
            self.write(Entry::Rest { run, account, source, rest, at: now }, now);
        }
    }
}

impl Drop for StoreLedger {
    /// Tries once more to write what is owed, and gives back what is still open.
    fn drop(&mut self) {
        self.owed.extend(self.leases.drain(..).filter_map(|lease| Some(Entry::Ended { id: lease.id? })));
        self.owed.extend(self.on_loopback.take().map(|(run, last)| {
            let minute = jiff::SignedDuration::from_mins(1);
            Entry::Left { run, since: last.saturating_sub(minute).unwrap_or(Timestamp::MIN) }
        }));
        if !self.owed.is_empty() {
            self.transact(self.away.unwrap_or(Timestamp::MIN), |_| Ok(()));
        }
    }
}
