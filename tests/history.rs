//! What is kept from run to run, seen from outside: processes of `mxprobe` that share a history and
//! a simulated provider, whose own count decides. `history/files.toml` says what may stand in the
//! history's place and what comes of it.

#[path = "support/kept.rs"]
mod kept;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use mxprobe::history::archive::{Archive as _, Filter, StoreArchive};
use mxprobe::history::ledger::StoreLedger;
use mxprobe::sim::{Ports, Provider, Scenario};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::Value;

/// How long anything that is to come may take.
const SOON: Duration = Duration::from_secs(30);

/// A simulated provider, and a directory for its visitors' history.
struct World {
    provider: Provider,
    directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let text = include_str!("history/provider.toml");
        let scenario = Scenario::parse("history/provider.toml", text).unwrap();
        let provider = Provider::start(scenario, Ports::default()).await.unwrap();
        Self { provider, directory: tempfile::tempdir().unwrap() }
    }

    fn history(&self) -> PathBuf {
        self.directory.path().join("state/mxprobe/history.sqlite")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
        command.args(words).env("XDG_STATE_HOME", self.directory.path().join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A run at the provider, from the sources, in JSON lines.
    fn run(&self, sources: &[&str], flags: &[&str]) -> Child {
        let (dns, port) = (self.provider.dns().to_string(), self.provider.port().to_string());
        let mut command = self.command(&["run", "a.example", "--dns", &dns, "--port", &port, "--format", "jsonl"]);
        command.args(["--ehlo", "probe.example"]).args(flags);
        command.args(sources.iter().flat_map(|source| ["--source", source]));
        command.spawn().unwrap()
    }

    /// Times on file, in microseconds, in order.
    fn starts(&self) -> Vec<i64> {
        let db = Connection::open(self.history()).unwrap();
        let mut rows = db.prepare("SELECT at FROM start ORDER BY at").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

/// The end of a process that the provider serves meanwhile.
async fn end(child: Child) -> Output {
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    tokio::time::timeout(SOON, ended).await.expect("it ends").unwrap()
}

/// How many sessions a run completed, and skipped. It had nothing to complain of.
fn counts(output: &Output) -> (u64, u64) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("counted by this run alone"), "{said}");
    sessions(output)
}

fn sessions(output: &Output) -> (u64, u64) {
    let text = String::from_utf8_lossy(&output.stdout);
    let summary: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
    assert_eq!(summary["type"], "summary", "{text}{}", String::from_utf8_lossy(&output.stderr));
    (summary["completed"].as_u64().unwrap(), summary["skipped"].as_u64().unwrap())
}

const SOURCES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_at_once_never_pass_a_rate() {
    let world = World::new().await;
    let flags = ["--rate", "10/min", "--per-provider", "20", "--per-address", "20", "--max-time", "4s"];
    let (one, two) = (world.run(&SOURCES, &flags), world.run(&SOURCES, &flags));
    let (one, two) = (counts(&end(one).await), counts(&end(two).await));
    assert_eq!(world.provider.seen().len(), 10, "{one:?} {two:?}");
    assert_eq!((one.0 + two.0, one.1 + two.1), (10, 6), "{one:?} {two:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_at_once_use_a_rate_without_passing_it() {
    let world = World::new().await;
    let flags = ["--rate", "5/s", "--per-provider", "20", "--per-address", "20"];
    let (one, two) = (world.run(&SOURCES, &flags), world.run(&SOURCES, &flags));
    assert_eq!((counts(&end(one).await), counts(&end(two).await)), ((8, 0), (8, 0)));
    assert_eq!(world.provider.seen().len(), 16);
    let starts = world.starts();
    assert_eq!(starts.len(), 16);
    for six in starts.windows(6) {
        assert!(six[5] - six[0] >= 1_000_000, "{starts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_at_once_never_open_more_sessions_than_one_may() {
    let world = World::new().await;
    let flags = ["--rate", "1000/s", "--per-provider", "2", "--per-address", "1"];
    let (one, two) = (world.run(&SOURCES, &flags), world.run(&SOURCES, &flags));
    assert_eq!((counts(&end(one).await), counts(&end(two).await)), ((8, 0), (8, 0)));
    let peaks = world.provider.peaks();
    assert_eq!(peaks.all, 2, "{peaks:?}");
    assert!(peaks.by_address.values().all(|peak| *peak == 1), "{peaks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_leaves_its_starts_and_no_lock() {
    let world = World::new().await;
    let flags = ["--rate", "6/min", "--per-provider", "20", "--per-address", "20", "--max-time", "3s"];
    let mut killed = world.run(&["127.0.0.9"], &flags);
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let all = async {
        while world.provider.seen().len() < 4 {
            look.tick().await;
        }
    };
    tokio::time::timeout(SOON, all).await.expect("four sessions hang");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(counts(&end(world.run(&SOURCES, &flags)).await), (2, 6));
    assert_eq!(world.provider.seen().len(), 6);
}

#[test]
fn a_process_that_is_killed_while_it_writes_leaves_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let open = || StoreLedger::open(&path, Timestamp::UNIX_EPOCH, Box::new(|_| ()));
    drop(open().unwrap());
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_the_file_for_ever", "--ignored", "--nocapture"])
        .env("MXPROBE_TEST_HISTORY", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(killed.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("held")), "the other process holds the file");
    let db = Connection::open(&path).unwrap();
    db.busy_timeout(Duration::ZERO).unwrap();
    assert!(db.execute_batch("BEGIN IMMEDIATE").is_err(), "nobody else can write meanwhile");
    killed.kill().unwrap();
    killed.wait().unwrap();
    open().unwrap();
    db.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM start", [], |row| row.get(0)), Ok(0));
}

/// Not a test: the process that is killed in the one above.
#[test]
#[ignore = "it is started by another test, and killed by it"]
fn holds_the_file_for_ever() {
    let Some(path) = std::env::var_os("MXPROBE_TEST_HISTORY") else { return };
    let db = Connection::open(path).unwrap();
    let start = r#"INSERT INTO start (run, provider, "loopback-port", at) VALUES ('a', 'a.example', 0, 1)"#;
    db.execute_batch(&format!("BEGIN IMMEDIATE; {start}")).unwrap();
    println!("held");
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn no_acknowledged_session_is_lost_or_doubled_by_ten_kills() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let acknowledged = kept::kill(10, &path, |first| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "keeps_rounds_for_ever", "--ignored", "--nocapture"]);
        command.env("MXPROBE_TEST_HISTORY", &path).env("MXPROBE_TEST_ROUND", first.to_string());
        command
    });
    assert!(acknowledged > 0);
}

/// Not a test: the process that is killed in the one above.
#[test]
#[ignore = "it is started by another test, and killed by it"]
fn keeps_rounds_for_ever() {
    let Some(path) = std::env::var_os("MXPROBE_TEST_HISTORY") else { return };
    let first = std::env::var("MXPROBE_TEST_ROUND").ok().and_then(|first| first.parse().ok()).unwrap_or_default();
    kept::keep_for_ever(Path::new(&path), first);
}

/// A disk of two megabytes, in a mount namespace of its own that ends with the process in it.
#[test]
fn a_full_disk_is_said_and_outlived() {
    let directory = tempfile::tempdir().unwrap();
    let own = r#"mount -t tmpfs -o size=2m tmpfs "$0" && exec "$1" --exact fills_the_disk --ignored --nocapture"#;
    let filled = Command::new("unshare")
        .args(["--mount", "sh", "-c", own])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .env("MXPROBE_TEST_HISTORY", directory.path().join("history.sqlite"))
        .output();
    let Ok(output) = filled.map_err(|e| println!("skipped: unshare: {e}")) else { return };
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if wrong.contains("Operation not permitted") || wrong.contains("permission denied") {
        println!("skipped, it takes root: {wrong}");
        return;
    }
    assert!(output.status.success() && said.contains("outlived"), "{said}{wrong}");
}

/// Not a test: the process that has the disk in the one above.
#[test]
#[ignore = "it is started by another test, on a disk of its own"]
fn fills_the_disk() {
    let Some(path) = std::env::var_os("MXPROBE_TEST_HISTORY").map(PathBuf::from) else { return };
    let ballast = path.with_file_name("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let begun = Timestamp::from_second(1_790_000_000).unwrap();
    let round = |n: usize| kept::round(&format!("run-{n:04}"), begun + Duration::from_secs(900 * n as u64), 5, 20);
    let mut archive = StoreArchive::open(&path).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match archive.keep(&format!("run-{acknowledged:04}"), None, &round(acknowledged)) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 1 && error.may_pass(), "{acknowledged}: {error}");
    assert!(error.to_string().contains("disk"), "{error}");
    archive.keep("run", None, &round(0)).unwrap_err();
    std::fs::remove_file(&ballast).unwrap();
    archive.keep(&format!("run-{acknowledged:04}"), None, &round(acknowledged)).unwrap();
    drop(archive);
    let mut archive = StoreArchive::open(&path).unwrap();
    for n in 0..=acknowledged {
        assert_eq!(archive.run(&format!("run-{n:04}")).unwrap(), Some(round(n)), "{n}");
    }
    assert_eq!(archive.runs(&Filter::default()).unwrap().len(), acknowledged + 1);
    println!("outlived");
}

#[test]
fn many_writers_lose_nothing_to_one_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let begun = Timestamp::from_second(1_790_000_000).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut archive = StoreArchive::open(path).unwrap();
                for n in 0..10 {
                    let run = format!("{writer}-{n}");
                    archive.keep(&run, None, &kept::round(&run, begun, 5, 5)).unwrap();
                }
            });
        }
    });
    let mut archive = StoreArchive::open(&path).unwrap();
    let runs = archive.runs(&Filter::default()).unwrap();
    assert_eq!(runs.len(), 40);
    for run in runs {
        assert_eq!(archive.run(&run.run).unwrap().unwrap(), kept::round(&run.run, begun, 5, 5));
    }
    // What is equal is one, whoever wrote it.
    let db = Connection::open(&path).unwrap();
    let doubles = "SELECT count(*) - count(DISTINCT text) FROM text";
    assert_eq!(db.query_row(doubles, [], |row| row.get(0)), Ok(0));
}

/// The tables as version 1 made them.
const VERSION_1: &str = r#"
    CREATE TABLE start (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, provider TEXT NOT NULL,
        "loopback-port" INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
    CREATE INDEX "start-by-account" ON start (provider, "loopback-port");
    CREATE INDEX "start-by-time" ON start (at);
    CREATE TABLE rest (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, provider TEXT NOT NULL,
        source TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL, why TEXT NOT NULL) STRICT;
    CREATE INDEX "rest-by-provider" ON rest (provider);
    CREATE TABLE lease (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, provider TEXT NOT NULL,
        "loopback-port" INTEGER NOT NULL, address TEXT NOT NULL, until INTEGER NOT NULL) STRICT;
    CREATE INDEX "lease-by-account" ON lease (provider, "loopback-port");
    PRAGMA application_id = 1836609650;
    PRAGMA user_version = 1;
"#;

/// Rates, budgets and rests of an older file hold on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_the_first_version_goes_on_with_its_budgets() {
    let world = World::new().await;
    let history = world.history();
    std::fs::create_dir_all(history.parent().unwrap()).unwrap();
    let db = Connection::open(&history).unwrap();
    db.execute_batch(VERSION_1).unwrap();
    let start = r#"INSERT INTO start (run, provider, "loopback-port", at) VALUES ('a', 'a.example', ?, ?)"#;
    for _ in 0..3 {
        let (port, now) = (world.provider.port(), Timestamp::now().as_microsecond());
        db.execute(start, rusqlite::params![port, now]).unwrap();
    }
    drop(db);
    let flags = ["--rate", "5/min", "--per-provider", "20", "--per-address", "20", "--max-time", "2s"];
    assert_eq!(counts(&end(world.run(&["127.0.0.1"], &flags)).await), (2, 2));
    let runs = StoreArchive::open(&history).unwrap().runs(&Filter::default()).unwrap();
    assert_eq!(runs.iter().map(|run| run.tally.sessions()).collect::<Vec<_>>(), [4]);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Where it is, if not in a directory of its own.
    path: Option<PathBuf>,
    text: Option<String>,
    /// What is done to a good history.
    sql: Option<String>,
    /// The table whose first page is overwritten.
    overwrite: Option<String>,
    #[serde(default)]
    directory: bool,
    /// What is wrong shows only after the file has been opened for writing.
    #[serde(default)]
    touched: bool,
    /// Empty: all is well.
    #[serde(default)]
    says: String,
}

impl Case {
    /// Puts the case in its place and says where that is.
    fn set(&self, directory: &Path) -> PathBuf {
        let path = self.path.clone().unwrap_or_else(|| directory.join("history.sqlite"));
        if let Some(text) = &self.text {
            std::fs::write(&path, text).unwrap();
        }
        if self.directory {
            std::fs::create_dir(&path).unwrap();
        }
        if let Some(sql) = &self.sql {
            drop(StoreLedger::open(&path, Timestamp::UNIX_EPOCH, Box::new(|_| ())).unwrap());
            let db = Connection::open(&path).unwrap();
            db.execute_batch(sql).unwrap();
            db.pragma_update(None, "journal_mode", "delete").unwrap();
        }
        if let Some(table) = &self.overwrite {
            let db = Connection::open(&path).unwrap();
            let page = |row: &rusqlite::Row<'_>| row.get::<_, u32>(0);
            let page = db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table], page).unwrap();
            let page = page as usize;
            drop(db);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[(page - 1) * 4096..page * 4096].fill(b'x');
            std::fs::write(&path, bytes).unwrap();
        }
        path
    }
}

/// A provider of others is not probed without a history, our own one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_history_nothing_is_sent_to_others() {
    let world = World::new().await;
    let files: Files = toml::from_str(include_str!("history/files.toml")).unwrap();
    assert!(files.case.len() >= 10);
    for case in files.case {
        let about = &case.name;
        let directory = tempfile::tempdir().unwrap();
        let path = case.set(directory.path());
        let before = std::fs::read(&path).ok();
        let says = case.says.replace("{path}", &path.display().to_string());
        let history = path.to_str().unwrap();

        if !says.is_empty() {
            // An address for documentation, from loopback: not even a mistake would send anything.
            let foreign = ["--host", "192.0.2.1", "--source", "127.0.0.1", "--ehlo", "probe.example"];
            let mut command = world.command(&["run", "--history", history]);
            let output = end(command.args(foreign).spawn().unwrap()).await;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{about}: {said}");
            assert!(said.starts_with(&format!("error: {says}")), "{about}: {said}");
            assert!(said.ends_with("192.0.2.1 is not yours, and its budgets are kept\n"), "{about}: {said}");
            assert_eq!((said.lines().count(), output.stdout), (1, vec![]), "{about}");
        }

        let seen = world.provider.seen().len();
        let output = end(world.run(&["127.0.0.1"], &["--history", history])).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((sessions(&output), output.status.code()), ((4, 0), Some(0)), "{about}: {said}");
        assert_eq!(world.provider.seen().len(), seen + 4, "{about}");
        if says.is_empty() {
            assert_eq!(said, "", "{about}");
            let db = Connection::open(&path).unwrap();
            // The run is over, and its starts on loopback with it; they were there.
            let entered = "SELECT seq FROM sqlite_sequence WHERE name = 'start'";
            assert_eq!(db.query_row(entered, [], |row| row.get(0)), Ok(4), "{about}");
        } else {
            assert!(said.starts_with(&format!("mxprobe: {says}")), "{about}: {said}");
            assert!(said.ends_with("; rates and rests are counted by this run alone\n"), "{about}: {said}");
            assert_eq!(said.lines().count(), 1, "{about}");
            assert!(case.touched || std::fs::read(&path).ok() == before, "{about}: it is left as it is");
        }
    }
}

/// What a process said on standard output, and its status.
async fn said(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = end(command.spawn().unwrap()).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_on_record_as_it_was_recorded() {
    let world = World::new().await;
    let record = world.directory.path().join("run.jsonl");
    let flags = ["--rate", "1000/s", "--until", "ehlo", "--record", record.to_str().unwrap()];
    assert_eq!(counts(&end(world.run(&SOURCES, &flags)).await), (8, 0));
    let file = std::fs::read_to_string(&record).unwrap();

    let (status, shown, wrong) = said(world.command(&["history", "last", "--format", "jsonl"])).await;
    assert_eq!((status, &*shown, &*wrong), (Some(0), &*file, ""));
    let (_, of_file, _) = said(world.command(&["judge", record.to_str().unwrap(), "--format", "jsonl"])).await;
    let id =
        Value::as_str(&serde_json::from_str::<Value>(file.lines().next().unwrap()).unwrap()["run"]).unwrap().to_owned();
    for name in ["last", &id, &id[..13]] {
        let (status, judged, wrong) = said(world.command(&["judge", name, "--format", "jsonl"])).await;
        assert_eq!((status, &*judged, &*wrong), (Some(0), &*of_file, ""), "{name}");
        let (status, ..) = said(world.command(&["diff", name, record.to_str().unwrap()])).await;
        assert_eq!(status, Some(0), "{name}");
    }
    let (status, list, _) = said(world.command(&["history", "--source", "127.0.0.1", "--since", "1h"])).await;
    assert_eq!((status, list.lines().count()), (Some(0), 2), "{list}");
    assert!(list.lines().nth(1).unwrap().starts_with(&id[..13]), "{list}");
    let (status, list, _) = said(world.command(&["history", "--source", "127.0.0.3"])).await;
    assert_eq!((status, &*list), (Some(0), "no run on record is of this kind\n"));
    let (_, lines, _) = said(world.command(&["history", "--source", "127.0.0.1", "--format", "jsonl"])).await;
    let types: Vec<_> = lines.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(types, ["run", "session", "session", "session", "session", "diagnosis"], "{lines}");

    for (words, wanted) in [
        (["judge", "last-1"], "error: last-1: runs on record in {file}: 1\n"),
        (["judge", "0000"], "error: 0000: there is no such file, and no such run in {file}\n"),
        (["history", "0000"], "error: 0000: there is no such run in {file}\n"),
        (["history", "7"], "error: 7: there is no such incident in {file}\n"),
    ] {
        let (status, _, wrong) = said(world.command(&words)).await;
        let wanted = wanted.replace("{file}", world.history().to_str().unwrap());
        assert_eq!((status, &*wrong), (Some(2), &*wanted), "{words:?}");
    }
    let (status, _, wrong) = said(world.command(&["judge", "last", "--history", "/nowhere"])).await;
    assert_eq!((status, &*wrong), (Some(2), "error: last: there is no such file, and nothing is on record\n"));
    let (status, list, _) = said(world.command(&["history", "--history", "/nowhere"])).await;
    assert_eq!((status, &*list), (Some(0), "nothing is on record\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_probes_nobody_keeps_nothing() {
    let world = World::new().await;
    end(world.run(&SOURCES, &["--history", "none", "--rate", "1000/s"])).await;
    end(world.run(&SOURCES, &["--dry-run"])).await;
    let demo = end(world.command(&["demo"]).spawn().unwrap()).await;
    assert_eq!(demo.status.code(), Some(0));
    assert!(!world.directory.path().join("state").exists());
    end(world.run(&["127.0.0.1"], &[])).await;
    assert!(world.directory.path().join("state").exists());
}
