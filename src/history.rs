//! What is kept from run to run, in one SQLite file: the only place with SQL.
//!
//! Several processes share the file. Whoever writes holds SQLite's own lock: the ledger for less than
//! a millisecond, the archive for as long as a batch of lines takes, some ten. The kernel lets go of
//! it when a process dies, however it dies, and what was half written is rolled back by the next one
//! to look.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

pub mod archive;
pub mod keeper;
pub mod ledger;
mod page;
mod schema;
#[cfg(test)]
mod tests;
pub mod unkept;

/// The file, open for reading and writing.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
}

impl Store {
    /// How long another process's lock is waited for.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Opens the file and brings it up to date; creates it, readable by its owner alone, and the
    /// directories above it.
    ///
    /// # Errors
    ///
    /// What is there cannot be written, is no history, or was written by a later version. In the
    /// last two cases nothing in it is touched.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let failed = |fault| HistoryError { path: path.to_owned(), fault };
        create(path).map_err(failed)?;
        let db = connect(path).map_err(failed)?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Opens the file where there is one.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn existing(path: &Path) -> Result<Option<Self>, HistoryError> {
        match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A transaction that nobody else's comes between.
    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.db.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// The same error, with the file's name and what can be done.
    fn error(&self, error: rusqlite::Error) -> HistoryError {
        self.fault(error.into())
    }

    fn fault(&self, fault: Fault) -> HistoryError {
        HistoryError { path: self.path.clone(), fault }
    }
}

/// Makes sure that there is a file to open.
fn create(path: &Path) -> Result<(), Fault> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| Fault::Directory { path: parent.to_owned(), error })?;
    }
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Fault::NotAFile),
        // SQLite gives the files that it puts beside this one the same mode.
        Err(_) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e.into()),
            _ => Ok(()),
        },
    }
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Store::PATIENCE)?;
    // In one transaction: another process may be making the tables at this moment.
    let transaction = db.transaction()?;
    schema::check(&transaction)?;
    drop(transaction);
    write_ahead(&db)?;
    db.pragma_update(None, "synchronous", "normal")?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::migrate(&transaction)?;
    transaction.commit()?;
    schema::examine(&db)?;
    Ok(db)
}

/// Turns the write-ahead log on. Where others open the file at the same time SQLite does not wait
/// for them, so this waits in its place for as long as they write.
fn write_ahead(db: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match db.pragma_update(None, "journal_mode", "wal") {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < 100 => {
                db.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("history {}: {fault}; another file can be given with --history PATH, none with --history none", path.display())]
pub struct HistoryError {
    path: PathBuf,
    fault: Fault,
}

impl HistoryError {
    /// Whether the same may go well later, and what was to be written is worth holding: the disk is
    /// full or fails, or somebody else holds the file.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match &self.fault {
            Fault::Locked | Fault::Io(_) => true,
            Fault::Sql(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::ReadOnly
                        | ErrorCode::OutOfMemory
                )
            ),
            Fault::Directory { .. } | Fault::NotAFile | Fault::NotOurs | Fault::Later { .. } | Fault::Damaged(_) => {
                false
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the directory {} cannot be made ({error})", path.display())]
    Directory { path: PathBuf, error: io::Error },
    #[error("{0}: wanted a file that can be written")]
    Io(#[from] io::Error),
    #[error("not a file: wanted one that can be written")]
    NotAFile,
    #[error("not a history of mxprobe's, and left as it is")]
    NotOurs,
    #[error("written by a later mxprobe: its version is {found}, wanted {} at most", schema::VERSION)]
    Later { found: i64 },
    #[error("locked by another process for {} s", Store::PATIENCE.as_secs())]
    Locked,
    #[error("damaged ({0}): it can be moved out of the way, and a new one is begun")]
    Damaged(String),
    #[error("{0}")]
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotOurs,
            Some(ErrorCode::DatabaseBusy) => Self::Locked,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}

impl From<serde_json::Error> for Fault {
    /// What the file holds is ours, and can be read; unless it cannot.
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}
