//! What the ledger says to SQLite, in one transaction at a time.
//!
//! Starts and rests are only ever added, under rising numbers: what others have entered since the
//! last look is what has a higher number than the last one seen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::Store;
use crate::ledger::{Account, KEPT, Ledger as _, Rest, RunLedger, later};

/// So much may the clocks of processes that run at the same time differ. What lies further ahead
/// was written before a clock was put back.
const SKEW: Duration = Duration::from_mins(1);

/// The numbers of the last start and the last rest that an account's page was read up to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    start: i64,
    rest: i64,
}

/// What is entered once and for all.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Start {
        run: String,
        account: Account,
        at: Timestamp,
    },
    Rest {
        run: String,
        account: Account,
        source: IpAddr,
        rest: Rest,
        at: Timestamp,
    },
    /// The lease with this number is given back.
    Ended {
        id: i64,
    },
    /// The run is over. On loopback there is nobody to spare: its starts go with it, unless other
    /// runs were there since `since`, with which it shares a limit.
    Left {
        run: String,
        since: Timestamp,
    },
}

impl Entry {
    pub(super) fn account(&self) -> Option<&Account> {
        match self {
            Self::Start { account, .. } | Self::Rest { account, .. } => Some(account),
            Self::Ended { .. } | Self::Left { .. } => None,
        }
    }
}

/// The file, held, beside the book that mirrors it.
pub(super) struct Page<'a> {
    transaction: Transaction<'a>,
    pub(super) book: &'a mut RunLedger,
    read: &'a mut BTreeMap<Account, Read>,
    /// How far our own entries go, which others' numbers may turn out to be if this one fails.
    written: Vec<(Account, Read)>,
    now: Timestamp,
}

impl<'a> Page<'a> {
    /// Waits until nobody else holds the file, and holds it.
    pub(super) fn open(
        store: &'a mut Store,
        book: &'a mut RunLedger,
        read: &'a mut BTreeMap<Account, Read>,
        now: Timestamp,
    ) -> rusqlite::Result<Self> {
        Ok(Self { transaction: store.begin()?, book, read, written: Vec::new(), now })
    }

    /// Puts what others have entered since into the book.
    pub(super) fn read(&mut self, account: &Account) -> rusqlite::Result<()> {
        let Self { transaction, book, read, now, .. } = self;
        let seen = read.entry(account.clone()).or_default();
        let (provider, port) = key(account);
        let mut starts = transaction.prepare_cached(
            r#"SELECT id, at FROM start WHERE provider = ? AND "loopback-port" = ? AND id > ? ORDER BY id"#,
        )?;
        let mut rows = starts.query(params![provider, port, seen.start])?;
        while let Some(row) = rows.next()? {
            let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            book.enter(account, time(at), *now);
            seen.start = id;
        }
        if account.loopback.is_some() {
            return Ok(());
        }
        let mut rests = transaction
            .prepare_cached("SELECT id, run, source, until, why FROM rest WHERE provider = ? AND id > ? ORDER BY id")?;
        let mut rows = rests.query(params![provider, seen.rest])?;
        while let Some(row) = rows.next()? {
            let (run, source, until): (String, String, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            if let Ok(source) = source.parse() {
                book.rest(&run, account, source, Rest { until: time(until), why: row.get(4)? }, *now);
            }
            seen.rest = row.get(0)?;
        }
        Ok(())
    }

    /// Enters it. The account has been read in this transaction.
    pub(super) fn write(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        let Self { transaction, now, .. } = self;
        let mut seen = entry.account().and_then(|account| self.read.get(account)).copied().unwrap_or_default();
        match entry {
            Entry::Start { run, account, at } => {
                let (provider, port) = key(account);
                transaction
                    .prepare_cached(r#"INSERT INTO start (run, provider, "loopback-port", at) VALUES (?, ?, ?, ?)"#)?
                    .execute(params![run, provider, port, at.as_microsecond()])?;
                seen.start = transaction.last_insert_rowid();
                prune(transaction, *now)?;
                self.written.push((account.clone(), seen));
            }
            Entry::Rest { run, account, source, rest, at } => {
                transaction
                    .prepare_cached(
                        "INSERT INTO rest (run, provider, source, at, until, why) VALUES (?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        run,
                        &*account.provider,
                        source.to_string(),
                        at.as_microsecond(),
                        rest.until.as_microsecond(),
                        rest.why
                    ])?;
                seen.rest = transaction.last_insert_rowid();
                self.written.push((account.clone(), seen));
            }
            Entry::Ended { id } => {
                transaction.prepare_cached("DELETE FROM lease WHERE id = ?")?.execute([id])?;
            }
            Entry::Left { run, since } => {
                transaction.execute(
                    r#"DELETE FROM start WHERE run = ?1 AND "loopback-port" <> 0 AND NOT EXISTS (
                        SELECT 1 FROM start AS other WHERE other.provider = start.provider
                        AND other."loopback-port" = start."loopback-port" AND other.run <> ?1 AND other.at > ?2)"#,
                    params![run, since.as_microsecond()],
                )?;
            }
        }
        Ok(())
    }

    /// The addresses of the sessions that others have open there.
    pub(super) fn others(
        &self,
        account: &Account,
        ours: &[i64],
        lease: Duration,
    ) -> rusqlite::Result<Vec<Option<IpAddr>>> {
        let (provider, port) = key(account);
        let latest = later(self.now, lease.saturating_add(SKEW));
        let mut leases = self.transaction.prepare_cached(
            r#"SELECT id, address FROM lease WHERE provider = ? AND "loopback-port" = ? AND until > ? AND until < ?"#,
        )?;
        let times = (self.now.as_microsecond(), latest.as_microsecond());
        let rows = leases.query_map(params![provider, port, times.0, times.1], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut others = Vec::new();
        for row in rows {
            let (id, address): (i64, String) = row?;
            if !ours.contains(&id) {
                others.push(address.parse().ok());
            }
        }
        Ok(others)
    }

    /// Takes a lease for one open session.
    pub(super) fn lease(
        &mut self,
        run: &str,
        account: &Account,
        address: IpAddr,
        lease: Duration,
    ) -> rusqlite::Result<i64> {
        let (provider, port) = key(account);
        let until = later(self.now, lease).as_microsecond();
        self.transaction
            .prepare_cached(
                r#"INSERT INTO lease (run, provider, "loopback-port", address, until) VALUES (?, ?, ?, ?, ?)"#,
            )?
            .execute(params![run, provider, port, address.to_string(), until])?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// Makes a lease last as long as a new one, though another process has taken it for lapsed.
    pub(super) fn renew(&mut self, id: i64, lease: Duration) -> rusqlite::Result<()> {
        let until = later(self.now, lease).as_microsecond();
        self.transaction.prepare_cached("UPDATE lease SET until = ? WHERE id = ?")?.execute([until, id]).map(drop)
    }

    /// Writes it all, or nothing.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.transaction.commit()?;
        for (account, written) in self.written {
            let read = self.read.entry(account).or_default();
            *read = Read { start: read.start.max(written.start), rest: read.rest.max(written.rest) };
        }
        Ok(())
    }
}

/// Forgets what no longer counts, and brings back what a clock that was put back has left in the
/// future: it counts from now on.
pub(super) fn tidy(store: &mut Store, now: Timestamp, lease: Duration) -> rusqlite::Result<()> {
    let (at, ahead) = (now.as_microsecond(), later(now, SKEW).as_microsecond());
    let latest = later(now, lease.saturating_add(SKEW)).as_microsecond();
    let transaction = store.begin()?;
    transaction.execute("UPDATE start SET at = ?1 WHERE at > ?2", [at, ahead])?;
    transaction.execute("UPDATE rest SET until = until - at + ?1, at = ?1 WHERE at > ?2", [at, ahead])?;
    transaction.execute("DELETE FROM rest WHERE until <= ?", [at])?;
    transaction.execute("DELETE FROM lease WHERE until <= ?1 OR until > ?2", [at, latest])?;
    prune(&transaction, now)?;
    transaction.commit()
}

fn prune(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let kept = now.as_microsecond().saturating_sub(i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX));
    transaction.prepare_cached("DELETE FROM start WHERE at <= ?")?.execute([kept]).map(drop)
}

/// Provider and port, as the file has them.
fn key(account: &Account) -> (&str, u16) {
    (&account.provider, account.loopback.unwrap_or(0))
}

/// A time on file. The file may hold anything: what is no time counts as long ago.
fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MIN)
}
