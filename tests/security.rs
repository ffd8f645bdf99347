//! What SECURITY.md promises and no other player holds: hostile words through the whole program,
//! through a shell and into the history, whose files are whose, what never leaves a probe file. And
//! that every promise names a test that is there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use mxprobe::history::archive::{Archive as _, Filter, StoreArchive};
use mxprobe::record::{Line, Session};
use mxprobe::reproduce::swaks;
use mxprobe::sim::{Ports, Provider, Scenario};
use mxprobe::smtp::session::TlsLevel;
use mxprobe::visible::visible;
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands {
    command: Vec<Case>,
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    argv: Vec<String>,
    /// What it reads on its standard input.
    #[serde(default)]
    input: String,
    /// It writes JSON, which holds everything, escaped.
    #[serde(default)]
    jsonl: bool,
}

/// A provider on loopback, and a directory where everything is written.
struct World {
    provider: Provider,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let scenario = Scenario::parse("provider.toml", include_str!("security/provider.toml")).unwrap();
        let provider = Provider::start(scenario, Ports::default()).await.unwrap();
        Self { provider, dir: tempfile::tempdir().unwrap() }
    }

    fn mxprobe(&self, argv: &[String], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
        command.args(argv).current_dir(self.dir.path()).env("XDG_STATE_HOME", self.dir.path().join("state"));
        if matches!(&*argv[0], "run" | "reproduce" | "smoke" | "watch") {
            let (dns, port) = (self.provider.dns().to_string(), self.provider.port().to_string());
            command.args(["--dns", &dns, "--port", &port, "--source", "127.0.0.11"]);
            command.args(["--rate", "6000/min", "--pace", "0s", "--ehlo", "out1.example.net"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The provider goes on serving meanwhile.
        tokio::task::block_in_place(|| {
            let mut child = command.spawn().unwrap();
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_words_act_on_no_output() {
    let world = World::new().await;
    let Commands { command, files } = toml::from_str(include_str!("security/commands.toml")).unwrap();
    let dir = world.dir.path();
    for (name, text) in files.iter().filter(|(name, _)| *name != "hostile") {
        fs::write(dir.join(name), text).unwrap();
    }
    let mut said = String::new();
    for Case { argv, input, jsonl } in &command {
        let argv: Vec<String> = argv.iter().map(|word| word.replace("{dir}", dir.to_str().unwrap())).collect();
        let output = world.mxprobe(&argv, &input.replace("{hostile}", &files["hostile"]));
        assert!(output.status.code().is_some_and(|status| status < 4), "{argv:?}: {output:?}");
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(!err.contains("panicked"), "{argv:?}: {err}");
        for line in out.lines().filter(|_| !jsonl).chain(err.lines()) {
            assert_eq!(visible(line), line, "{argv:?}");
        }
        if *jsonl {
            assert!(out.lines().all(|line| Line::parse(line).unwrap().is_some()), "{out}");
            assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
        }
        said += &out;
    }
    // They were said, all of them, or nothing is shown by this.
    for word in ["owned", "<script>", "DROP TABLE", "touch PWNED", "jndi", "TSS04]", "```"] {
        assert!(said.contains(word) || said.contains(&word.replace('<', "&lt;")), "{word} was never shown");
    }
    for entry in fs::read_dir(dir.join("emitted")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        text.lines().for_each(|line| assert_eq!(visible(line), line));
    }
    assert!(!dir.join("PWNED").exists());
    world.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_and_the_history_are_their_owners_alone() {
    let world = World::new().await;
    let dir = world.dir.path();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let argv = |file: &str| ["run", "evil.example", "--record", file].map(str::to_owned);
    world.mxprobe(&argv("new.jsonl"), "");
    world.mxprobe(&["watch", "evil.example", "--rounds", "1", "--record", "watch.jsonl"].map(str::to_owned), "");
    for file in ["new.jsonl", "watch.jsonl"] {
        let length = fs::metadata(dir.join(file)).unwrap().len();
        assert!(mode(&dir.join(file)) == 0o600 && length > 500, "{file}: {:o}, {length} bytes", mode(&dir.join(file)));
    }
    for file in fs::read_dir(dir.join("state/mxprobe")).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&dir.join("state/mxprobe")), 0o700);
    // What the owner has opened to others stays so.
    fs::write(dir.join("old.jsonl"), "").unwrap();
    fs::set_permissions(dir.join("old.jsonl"), fs::Permissions::from_mode(0o640)).unwrap();
    world.mxprobe(&argv("old.jsonl"), "");
    assert_eq!(mode(&dir.join("old.jsonl")), 0o640);
    world.provider.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_secret_stays_in_its_file() {
    const SECRETS: [&str; 2] = ["t0ken-of-the-webhook", "cGhyYXNlLW9mLXRoZS1rZXk"];
    let world = World::new().await;
    let dir = world.dir.path();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", SECRETS[1]);
    fs::write(dir.join("dkim.pem"), key).unwrap();
    let probe = format!(
        "[target]\ndomain = \"evil.example\"\n[message]\nsend = false\ndkim = {{ domain = \"example.net\", selector = \"s1\", key = \"dkim.pem\" }}\n[schedule]\nevery = \"15m\"\n[alert]\nwebhook = \"http://127.0.0.1:9/{}\"\n",
        SECRETS[0]
    );
    fs::write(dir.join("probe.toml"), probe).unwrap();
    for words in [
        "run probe.toml -v --transcript --record a.jsonl",
        "run probe.toml --dry-run",
        "run probe.toml --format jsonl",
        "run probe.toml --format markdown",
        "history last -v",
        "run probe.toml --until nowhere",
        // Long enough for an incident, of which the webhook, where nobody listens, is to be told.
        "watch probe.toml --every 1s --rounds 3 --record b.jsonl",
        "history --incidents -v",
        "watch probe.toml --dry-run",
    ] {
        let output = world.mxprobe(&words.split(' ').map(str::to_owned).collect::<Vec<_>>(), "");
        let said = [output.stdout, output.stderr].concat();
        assert!(said.len() > 20, "{words} says nothing");
        told_nothing(words, &said, &SECRETS);
    }
    for recording in ["a.jsonl", "b.jsonl"] {
        told_nothing(recording, &fs::read(dir.join(recording)).unwrap(), &SECRETS);
    }
    let archive = StoreArchive::open(&dir.join("state/mxprobe/history.sqlite"));
    let waits = archive.unwrap().due_notices(Timestamp::MAX, 9).unwrap();
    assert!(waits.iter().any(|notice| notice.receiver.starts_with("webhook ")), "no notice waits: {waits:?}");
    for file in fs::read_dir(dir.join("state/mxprobe")).unwrap() {
        told_nothing("the history", &fs::read(file.unwrap().path()).unwrap(), &SECRETS);
    }
    world.provider.stop().await;
}

/// A file of history is copied and handed on as a recording is; whoever writes into it writes on no
/// terminal and no page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_somebody_else_wrote_acts_nowhere() {
    const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}<script>alert(1)</script>\u{202e}\r\n";
    let world = World::new().await;
    let dir = world.dir.path();
    for words in ["run evil.example", "run evil.example", "watch evil.example --every 1s --rounds 3"] {
        world.mxprobe(&words.split(' ').map(str::to_owned).collect::<Vec<_>>(), "");
    }
    let (good, bad) = (dir.join("state/mxprobe/history.sqlite"), dir.join("bad.sqlite"));
    let db = Connection::open(&good).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let columns = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c \
                   WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND c.type = 'TEXT'";
    let mut columns = db.prepare(columns).unwrap();
    let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>().unwrap();
    assert!(columns.len() > 15, "{columns:?}");
    let mut shown = 0;
    for (table, column) in columns {
        // The words in place of what is there, and inside of it, where that is JSON.
        let inside = format!("replace(\"{column}\", 'evil', trim(json_quote(?1), '\"'))");
        for change in ["?1", &*inside] {
            fs::copy(&good, &bad).unwrap();
            let db = Connection::open(&bad).unwrap();
            let change = format!("UPDATE OR IGNORE \"{table}\" SET \"{column}\" = {change}");
            db.execute(&change, [HOSTILE]).unwrap();
            drop(db);
            for words in ["history last -v", "history 1", "report 1 --format html"] {
                let argv = words.split(' ').chain(["--history", bad.to_str().unwrap()]).map(str::to_owned);
                let output = world.mxprobe(&argv.collect::<Vec<_>>(), "");
                let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
                assert!(!err.contains("panicked"), "{table}.{column}, {words}: {err}");
                for line in out.lines().chain(err.lines()) {
                    assert_eq!(visible(line), line, "{table}.{column}, {words}");
                }
                assert!(!words.ends_with("html") || !out.contains("<script"), "{table}.{column}: {out}");
                shown += usize::from((out + &err).contains("owned"));
            }
        }
    }
    assert!(shown > 20, "it was shown {shown} times, and nothing is shown by this");
    world.provider.stop().await;
}

fn told_nothing(whom: &str, bytes: &[u8], secrets: &[&str]) {
    for secret in secrets {
        assert!(memchr::memmem::find(bytes, secret.as_bytes()).is_none(), "{whom}: {secret}");
    }
}

#[test]
fn a_shell_gives_the_words_of_a_command_back() {
    for word in [
        "o'b$x@aol.com",
        "$(touch PWNED)@a.example",
        "`touch PWNED`",
        "'; touch PWNED; '",
        "\"quoted local\"@a.example",
        "a\nb\\n",
        "-x",
        "~root",
        "*",
        "a b\tc",
        "!!",
        "ü@ü.example",
        "",
    ] {
        let session = json!({
            "seq": 1, "at": "2026-11-24T10:02:11Z", "kind": "skipped", "until": "rcpt", "to": word, "from": word,
            "address": "198.51.100.21", "source": "192.0.2.10", "ehlo": word,
        });
        let session: Session = serde_json::from_value(session).unwrap();
        let line = swaks::command(&session, TlsLevel::Off).unwrap();
        let script = format!("swaks() {{ printf '%s\\0' \"$@\"; }}\n{line}");
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("/bin/sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
        let words: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().split_terminator('\0').collect();
        for flag in ["--helo", "--from", "--to"] {
            let at = words.iter().position(|found| *found == flag).unwrap();
            assert_eq!(words[at + 1], word, "{line}");
        }
        assert_eq!(words.len(), 14, "{words:?}");
        assert!(output.stderr.is_empty() && fs::read_dir(dir.path()).unwrap().next().is_none(), "{line}");
    }
}

#[test]
fn no_word_is_a_query() {
    const WORDS: [&str; 5] = ["' OR ''='", "'; DROP TABLE session; --", "%", "\" OR 1=1 --", "x') UNION SELECT 1 --"];
    let dir = tempfile::tempdir().unwrap();
    let mut archive = StoreArchive::open(&dir.path().join("history.sqlite")).unwrap();
    let lines = |run: &str| -> Vec<Line> {
        let hostile = include_str!("outputs/hostile.jsonl").lines().map(|line| Line::parse(line).unwrap().unwrap());
        let mut lines: Vec<Line> = hostile.collect();
        for line in &mut lines {
            match line {
                Line::Run(of) => run.clone_into(&mut of.run),
                Line::Session(of) => {
                    run.clone_into(&mut of.run);
                    of.domain = Some(run.to_owned());
                    of.tag = Some(run.to_owned());
                    of.reply = Some(vec![format!("554 {run}")]);
                }
                Line::Lookup(of) => run.clone_into(&mut of.run),
                Line::Check(of) => run.clone_into(&mut of.run),
                Line::Diagnosis(of) => run.clone_into(&mut of.run),
                Line::Summary(of) => run.clone_into(&mut of.run),
                _ => {}
            }
        }
        lines
    };
    for word in WORDS {
        archive.keep(word, Some(word), &lines(word)).unwrap();
    }
    for word in WORDS {
        assert_eq!(archive.run(word).unwrap().unwrap(), lines(word), "{word}");
        for filter in [
            Filter { domain: Some(word.to_owned()), ..Filter::default() },
            Filter { tag: Some(word.to_owned()), ..Filter::default() },
            Filter { probe: Some(word.to_owned()), ..Filter::default() },
            Filter { run: Some(word.to_owned()), ..Filter::default() },
        ] {
            let found: Vec<String> = archive.runs(&filter).unwrap().into_iter().map(|run| run.run).collect();
            assert_eq!(found, [word], "{filter:?}");
            assert!(archive.runs(&Filter { limit: Some(1), ..filter }).unwrap().len() == 1);
        }
        assert_eq!(archive.runs_named(word).unwrap(), [word]);
    }
    let other = "' OR run LIKE '%";
    assert!(archive.runs(&Filter { domain: Some(other.to_owned()), ..Filter::default() }).unwrap().is_empty());
    assert!(archive.runs_named(other).unwrap().is_empty() && archive.run(other).unwrap().is_none());
    assert_eq!(archive.runs(&Filter::default()).unwrap().len(), WORDS.len());
}

/// `path::name` in SECURITY.md is a test, or a case of that name in a file of cases.
#[test]
fn every_promise_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut named = 0;
    for (path, name) in text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::")) {
        let source = fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let found = [format!("fn {name}("), format!("name = \"{name}\"")];
        assert!(found.iter().any(|found| source.contains(found)), "{path} has no {name}");
        named += 1;
    }
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")) {
        assert!(row.contains("::") || row.contains("deny.toml") || row.contains("Cargo.toml"), "no test: {row}");
    }
    assert!(named >= 20, "only {named} tests are named");
}
