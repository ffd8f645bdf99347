//! The tables, and how an older file comes by them.
//!
//! A file says in its header that it is ours (`application_id`) and how many of the steps below it
//! has been through (`user_version`). A step that is out in the world is never changed: what is
//! needed next becomes the next step.

use rusqlite::{Connection, Transaction};

use super::Fault;

/// What this version writes.
pub(super) const VERSION: usize = STEPS.len();

/// `mxpr`, as a number.
const APPLICATION: i64 = 0x6d78_7072;

/// Times are microseconds since 1970. `loopback-port` is 0 for a provider out in the world. Numbers
/// are never used twice, so that whoever has read up to one of them can go on from there.
const STEPS: [&str; 1] = [r#"
    CREATE TABLE start (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        provider TEXT NOT NULL,
        "loopback-port" INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX "start-by-account" ON start (provider, "loopback-port");
    CREATE INDEX "start-by-time" ON start (at);

    CREATE TABLE rest (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        provider TEXT NOT NULL,
        source TEXT NOT NULL,
        at INTEGER NOT NULL,
        until INTEGER NOT NULL,
        why TEXT NOT NULL
    ) STRICT;
    CREATE INDEX "rest-by-provider" ON rest (provider);

    CREATE TABLE lease (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        provider TEXT NOT NULL,
        "loopback-port" INTEGER NOT NULL,
        address TEXT NOT NULL,
        until INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX "lease-by-account" ON lease (provider, "loopback-port");
"#];

/// Refuses what is not ours, before anything is changed.
pub(super) fn check(db: &Transaction<'_>) -> Result<(), Fault> {
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match application {
        APPLICATION if usize::try_from(found).is_ok_and(|found| found <= VERSION) => Ok(()),
        APPLICATION => Err(Fault::Later { found }),
        0 if found == 0 && tables == 0 => Ok(()),
        _ => Err(Fault::NotOurs),
    }
}

/// Takes the steps that the file has not been through. It may have been through them since it was
/// last looked at: another process may have been quicker.
pub(super) fn migrate(transaction: &Transaction<'_>) -> Result<(), Fault> {
    check(transaction)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (step, done) in STEPS.iter().zip(1_i64..).skip_while(|(_, done)| *done <= found) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", done)?;
    }
    Ok(())
}

/// Looks through the tables that say who may be probed, which are small: better now than in mid-run.
pub(super) fn examine(db: &Connection) -> Result<(), Fault> {
    for table in ["start", "rest", "lease"] {
        let found: String = db.query_row(&format!("PRAGMA quick_check('{table}')"), [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Fault::Damaged(found));
        }
    }
    Ok(())
}
