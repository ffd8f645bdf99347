//! The tables, and how an older file comes by them.
//!
//! A file says in its header that it is ours (`application_id`) and how many of the steps below it
//! has been through (`user_version`). A step that is out in the world is never changed: what is
//! needed next becomes the next step.

use rusqlite::{Connection, Transaction};

use super::Fault;
use crate::probe::alert::sealed;

/// What this version writes.
pub(super) const VERSION: usize = STEPS.len();

/// `mxpr`, as a number.
const APPLICATION: i64 = 0x6d78_7072;

type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

const STEPS: [Step; 3] = [|db| db.execute_batch(LEDGER), |db| db.execute_batch(ARCHIVE), seal];

/// Times are microseconds since 1970. `loopback-port` is 0 for a provider out in the world. Numbers
/// are never used twice, so that whoever has read up to one of them can go on from there.
const LEDGER: &str = r#"
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
"#;

/// Times are milliseconds since 1970, as the lines have them. What sessions and rounds repeat is in
/// `text`, once, and a column that holds its number is named for what it says: `head`, `cell`,
/// `ending`, `server`. `seen` is the last day, since 1970, of a run that names the row. Of `place`
/// and `outcome` an empty word, and the code 0, stand for none.
///
/// Sessions lie in the order of their runs, and so of time, which is how they are forgotten; the
/// places are few, so that one index serves a source, an address, a domain and their days.
const ARCHIVE: &str = r#"
    CREATE TABLE text (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        digest INTEGER NOT NULL,
        seen INTEGER NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX "text-by-digest" ON text (digest);

    CREATE TABLE reply (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        digest INTEGER NOT NULL,
        seen INTEGER NOT NULL,
        normalised TEXT NOT NULL,
        sample TEXT NOT NULL
    ) STRICT;
    CREATE INDEX "reply-by-digest" ON reply (digest);

    CREATE TABLE place (
        id INTEGER PRIMARY KEY,
        role TEXT NOT NULL,
        domain TEXT NOT NULL,
        source TEXT NOT NULL,
        address TEXT NOT NULL,
        UNIQUE (source, address, domain, role)
    ) STRICT;

    CREATE TABLE outcome (
        id INTEGER PRIMARY KEY,
        stage TEXT NOT NULL,
        kind TEXT NOT NULL,
        code INTEGER NOT NULL,
        tag TEXT NOT NULL,
        failed INTEGER NOT NULL,
        UNIQUE (stage, kind, code, tag, failed)
    ) STRICT;

    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL UNIQUE,
        probe TEXT,
        at INTEGER NOT NULL,
        last INTEGER NOT NULL,
        seed INTEGER NOT NULL,
        head INTEGER,
        lines INTEGER NOT NULL,
        completed INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        local INTEGER NOT NULL,
        skipped INTEGER NOT NULL,
        "exit" INTEGER,
        diagnosis INTEGER
    ) STRICT;
    CREATE INDEX "run-by-time" ON run (at);
    CREATE INDEX "run-by-last" ON run (last);
    CREATE INDEX "run-by-probe" ON run (probe, at);

    CREATE TABLE session (
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        position INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        at INTEGER NOT NULL,
        place INTEGER NOT NULL,
        outcome INTEGER NOT NULL,
        cell INTEGER NOT NULL,
        ending INTEGER NOT NULL,
        server INTEGER NOT NULL,
        banner INTEGER,
        "banner-words" TEXT,
        reply INTEGER,
        "reply-words" TEXT,
        took TEXT NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX "session-by-place" ON session (place, at);

    CREATE TABLE line (
        run INTEGER NOT NULL,
        position INTEGER NOT NULL,
        at INTEGER,
        ms REAL,
        text INTEGER NOT NULL,
        PRIMARY KEY (run, position)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE hour (
        place INTEGER NOT NULL,
        at INTEGER NOT NULL,
        outcome INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        PRIMARY KEY (place, at, outcome)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE incident (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        probe TEXT,
        domain TEXT NOT NULL,
        opened INTEGER NOT NULL,
        closed INTEGER,
        incident TEXT NOT NULL
    ) STRICT;
    CREATE INDEX "incident-by-closed" ON incident (closed);

    CREATE TABLE notice (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        incident INTEGER NOT NULL,
        change INTEGER NOT NULL,
        receiver TEXT NOT NULL,
        payload TEXT NOT NULL,
        tries INTEGER NOT NULL,
        due INTEGER,
        delivered INTEGER,
        why TEXT,
        UNIQUE (incident, change, receiver)
    ) STRICT;
    CREATE INDEX "notice-by-due" ON notice (due) WHERE due IS NOT NULL;
"#;

/// Whom a notice is for stood there in full, and with it what is secret of a webhook's address. The
/// new keys are the receivers' own: what waits to be told is told.
fn seal(db: &Transaction<'_>) -> rusqlite::Result<()> {
    // What is overwritten here would stay readable in the file.
    db.pragma_update(None, "secure_delete", true)?;
    let mut receivers = db.prepare("SELECT DISTINCT receiver FROM notice")?;
    let receivers: Vec<String> = receivers.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for receiver in receivers {
        db.execute("UPDATE notice SET receiver = ? WHERE receiver = ?", [&sealed(&receiver), &receiver])?;
    }
    Ok(())
}

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
        step(transaction)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Store;
    use crate::history::archive::{Archive as _, StoreArchive};
    use crate::ledger::later;
    use crate::probe::alert::Receiver;

    #[test]
    fn an_older_file_loses_the_secrets_of_receivers_and_no_notice() {
        const URL: &str = "https://hooks.example/services/s3cret-t0ken";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.sqlite");
        drop(Store::open(&path).unwrap());
        let db = Connection::open(&path).unwrap();
        let enter = "INSERT INTO notice (incident, change, receiver, payload, tries, due, delivered) VALUES \
                     (1, 1, ?1, '{}', 1, NULL, 9), (1, 2, ?1, '{}', 0, 0, NULL), (2, 1, ?2, '{}', 0, 0, NULL)";
        db.execute(enter, [&format!("webhook {URL}"), "mail me@a.example by 127.0.0.1:25"]).unwrap();
        db.pragma_update(None, "user_version", 2).unwrap();
        drop(db);
        let holds = |bytes: &[u8]| memchr::memmem::find(bytes, b"s3cret-t0ken").is_some();
        assert!(holds(&std::fs::read(&path).unwrap()));

        let mut archive = StoreArchive::open(&path).unwrap();
        let due =
            archive.due_notices(later(jiff::Timestamp::UNIX_EPOCH, std::time::Duration::from_secs(1)), 9).unwrap();
        let due: Vec<_> = due.iter().map(|notice| (notice.incident, notice.change, &*notice.receiver)).collect();
        let webhook = Receiver::Webhook(URL.parse().unwrap()).key();
        assert_eq!(due, [(1, 2, &*webhook), (2, 1, &*sealed("mail me@a.example by 127.0.0.1:25"))]);
        drop(archive);
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let path = file.unwrap().path();
            assert!(!holds(&std::fs::read(&path).unwrap()), "{}", path.display());
        }
    }
}
