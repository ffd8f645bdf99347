//! The program as a process: what it exits with, what stands on which output, and what it does when
//! an output or the operator goes away. The provider is simulated, on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mxprobe::sim::{Ports, Provider, Scenario};
use serde_json::Value;

/// Two addresses, of which the second is down or not.
const TWO: &str = r#"
[domains."a.example"]
mx = [{ preference = 10, host = "mx.a.example", addresses = ["127.1.0.1", "127.1.0.2"] }]
[ptr]
"127.0.0.11" = "out1.example.net"
"127.0.0.12" = "out2.example.net"
"#;

async fn provider(scenario: &str) -> Provider {
    Provider::start(Scenario::parse("scenario", scenario).unwrap(), Ports::default()).await.unwrap()
}

/// The program, and nothing of this environment that it reads.
fn mxprobe(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
    let set = std::env::vars_os().map(|(name, _)| name);
    set.filter(|name| name.to_string_lossy().starts_with("MXPROBE_")).for_each(|name| _ = command.env_remove(name));
    // A history of the tests' own: whoever tests may use the program, and a later one.
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.args(words.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same, told where the provider is.
fn against(provider: &Provider, words: &str) -> Command {
    let mut command = mxprobe(words);
    command.args(["--dns", &provider.dns().to_string(), "--port", &provider.port().to_string()]);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn of_type<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

/// The program's own words, never those of a panic.
fn is_in_order(output: &Output) {
    let said = text(&output.stderr);
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

#[test]
fn what_cannot_start_says_why_and_with_which_status() {
    for (words, status, out, err) in [
        ("", 2, "", "Usage: mxprobe <COMMAND>"),
        ("--help", 0, "Usage: mxprobe <COMMAND>", ""),
        ("run --help", 0, "--source <IP|CIDR|IFACE>", ""),
        ("--version", 0, "mxprobe 0.", ""),
        ("frobnicate", 2, "", "error: unknown command \"frobnicate\""),
        ("run", 2, "", "no target"),
        ("run --frobnicate", 2, "", "--frobnicate"),
        ("run nowhere.toml", 2, "", "probe file \"nowhere.toml\" cannot be read"),
        ("run a.example --until quit", 2, "", "--until"),
        ("run a.example --catalogue nowhere.jsonl --dns 127.0.0.1:1", 2, "", "nowhere.jsonl"),
        ("run a.example --record /nowhere/run.jsonl", 2, "", "--record /nowhere/run.jsonl"),
        ("run a.example --source nonesuch0 --dns 127.0.0.1:1", 2, "", "nonesuch0"),
        ("run nowhere.toml --format nagios", 3, "", "nowhere.toml"),
        ("judge nowhere.jsonl", 2, "", "nowhere.jsonl"),
        ("sim nowhere.toml", 2, "", "nowhere.toml"),
        ("completions bash", 0, "mxprobe", ""),
        ("man", 0, ".TH mxprobe", ""),
    ] {
        let output = mxprobe(words).output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{words}: {stderr}");
        assert!(stdout.contains(out) && (stdout.is_empty() == out.is_empty()), "{words}: {stdout}");
        assert!(stderr.contains(err) && (stderr.is_empty() == err.is_empty()), "{words}: {stderr}");
        is_in_order(&output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_what_was_found() {
    let well = provider(TWO).await;
    let one_down = provider(&format!("closed = [\"127.1.0.2\"]\n{TWO}")).await;
    let all_down = provider(&format!("closed = [\"127.1.0.1\", \"127.1.0.2\"]\n{TWO}")).await;
    let one = "run a.example --source 127.0.0.11";
    let stranger = "run a.example --source 192.0.2.10 --ehlo out1.example.net";
    for (provider, words, plain, nagios, word) in [
        (&well, one, 0, 0, "SMTP OK"),
        (&one_down, one, 1, 1, "SMTP WARNING"),
        (&all_down, one, 1, 2, "SMTP CRITICAL"),
        (&well, stranger, 3, 3, "SMTP UNKNOWN"),
    ] {
        let output = against(provider, words).output().unwrap();
        assert_eq!(output.status.code(), Some(plain), "{words}: {}", text(&output.stdout));
        let output = against(provider, &format!("{words} --format nagios")).output().unwrap();
        let found = text(&output.stdout);
        assert_eq!(output.status.code(), Some(nagios), "{words}: {found}");
        assert!(found.starts_with(word), "{words}: {found}");
    }
    // A resolver that is not there: port 1 of this host.
    let output =
        mxprobe("run a.example --dns 127.0.0.1:1 --source 127.0.0.11 --ehlo out1.example.net").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    let ceiling = "run --host 192.0.2.25 --source 127.0.0.11 --ehlo out1.example.net --rate 100/min";
    for (format, status) in [("text", 2), ("nagios", 3)] {
        let output = mxprobe(&format!("{ceiling} --format {format}")).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("over the ceiling"), "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_have_the_fields_that_others_rely_on() {
    let provider = provider(&format!("closed = [\"127.1.0.2\"]\n[tls]\ncertificate = \"valid\"\n{TWO}")).await;
    let output = against(&provider, "run a.example --source 127.0.0.11 --format jsonl").output().unwrap();
    let lines = lines(&output.stdout);
    assert_eq!((lines[0]["type"].as_str(), lines.last().unwrap()["type"].as_str()), (Some("run"), Some("summary")));
    for (name, count, fields) in [
        ("run", 1, "schema run at version targets sources until seed"),
        ("lookup", 4, "run at name rtype resolver answers error ms"),
        (
            "session",
            2,
            "run seq attempt at role domain mx preference address port variant source seen-as ehlo from to until stage \
             kind code enhanced tag class text-class also notes detail expected steps total-ms",
        ),
        (
            "diagnosis",
            1,
            "run rank kind confidence sources addresses backends stage code failed tried elsewhere p leaning candidates \
             windows because would-raise advice",
        ),
        ("summary", 1, "run sessions completed failed local skipped elapsed-ms exit"),
    ] {
        let of_it = of_type(&lines, name);
        assert_eq!(of_it.len(), count, "{name}: {of_it:?}");
        for line in of_it {
            for field in fields.split_whitespace() {
                assert!(line.get(field).is_some(), "{name} without {field}: {line}");
            }
            assert_eq!(line["run"], lines[0]["run"], "{line}");
            if let Some(at) = line.get("at") {
                let at = at.as_str().unwrap();
                assert!(at.len() == 24 && at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok(), "{at}");
            }
        }
    }
    let sessions = of_type(&lines, "session");
    let at = |address: &str| *sessions.iter().find(|session| session["address"] == address).unwrap();
    for field in "backend banner reply extensions tls".split_whitespace() {
        assert!(at("127.1.0.1").get(field).is_some(), "reached: no {field}");
        assert!(at("127.1.0.2").get(field).is_none(), "unreached: {field}");
    }
    for field in "version cipher verified problem names issuer not-after".split_whitespace() {
        assert!(at("127.1.0.1")["tls"].get(field).is_some(), "tls without {field}");
    }
    assert_eq!(at("127.1.0.2")["kind"], "refused");
    assert_eq!(output.status.code(), lines.last().unwrap()["exit"].as_i64().map(|exit| i32::try_from(exit).unwrap()));
}

#[test]
fn the_demo_tells_the_truth_in_time_and_is_judged_again_to_the_byte() {
    let begun = Instant::now();
    let output = mxprobe("demo").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(text(&output.stdout).contains("SENDER IP BLOCK"), "{}", text(&output.stdout));

    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("demo.jsonl");
    let output = mxprobe("demo --format jsonl --record").arg(&record).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read(&record).unwrap(), output.stdout, "what is recorded is what is printed");
    let diagnoses = |bytes: &[u8]| -> Vec<String> {
        let found =
            text(bytes).lines().filter(|line| line.contains("\"type\":\"diagnosis\"")).map(str::to_owned).collect();
        assert_ne!(found, Vec::<String>::new());
        found
    };
    for from in ["file", "stdin"] {
        let mut judge = mxprobe("judge --format jsonl");
        let judged = match from {
            "file" => judge.arg(&record).output().unwrap(),
            _ => fed(judge.arg("-"), &output.stdout),
        };
        assert_eq!(judged.status.code(), Some(1), "{from}");
        assert_eq!(diagnoses(&judged.stdout), diagnoses(&output.stdout), "{from}");
    }
}

/// Runs a command with these bytes on standard input.
fn fed(command: &mut Command, bytes: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn variables_stand_for_flags_and_flags_beat_them() {
    let mut command = mxprobe("run a.example --dry-run --until banner");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider = runtime.block_on(provider(TWO));
    command.env("MXPROBE_DNS", provider.dns().to_string()).env("MXPROBE_PORT", "2525");
    command.env("MXPROBE_SOURCE", "127.0.0.11,127.0.0.12").env("MXPROBE_UNTIL", "ehlo");
    let output = command.env("MXPROBE_FORMAT", "jsonl").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = lines(&output.stdout);
    let planned = of_type(&lines, "planned");
    let sources: BTreeMap<&str, usize> = planned.iter().fold(BTreeMap::new(), |mut sources, line| {
        *sources.entry(line["source"].as_str().unwrap()).or_default() += 1;
        sources
    });
    assert_eq!(sources, BTreeMap::from([("127.0.0.11", 2), ("127.0.0.12", 2)]));
    assert!(planned.iter().all(|line| line["until"] == "banner" && line["port"] == 2525), "{planned:?}");
    assert!(provider.seen().is_empty());

    let output = mxprobe("run a.example").env("MXPROBE_UNTIL", "never").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("MXPROBE_UNTIL"), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for words in
        ["demo", "demo --transcript", "demo --format jsonl", "demo --format markdown", "--help", "run --help", "man"]
    {
        let mut child = mxprobe(words).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{words}");
    }
    // One that has read its fill: the first line, as head does.
    let mut child = mxprobe("demo --format jsonl").spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(first.starts_with("{\"type\":\"run\""), "{first}");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    // A recording goes on to its end, and can be judged.
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("demo.jsonl");
    let mut child = mxprobe("demo --format jsonl --record").arg(&record).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let lines = lines(&std::fs::read(&record).unwrap());
    assert_eq!(of_type(&lines, "session").len(), 32);
    assert_eq!(lines.last().unwrap()["completed"], 21);
    let other = directory.path().join("other.jsonl");
    std::fs::write(&other, "").unwrap();
    for command in [mxprobe("judge").arg(&record), mxprobe("diff").args([&record, &other])] {
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{command:?}");
    }
}

#[test]
fn a_full_disk_is_named_and_is_our_own_fault() {
    let output = mxprobe("demo --record /dev/full").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("--record /dev/full: No space left on device"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("32 sessions: 21 completed"), "the other output is whole");
    for words in ["demo", "demo --format jsonl", "demo --format nagios", "--help", "man"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = mxprobe(words).stdout(full).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words}: {said}");
        assert!(said.contains("standard output: No space left on device"), "{words}: {said}");
        is_in_order(&output);
    }
}

/// A run that is stopped half-way: one address has answered, another is about to, and of each the
/// second source's turn has or has not come.
struct Halfway {
    child: Child,
    /// What was printed so far: the run and two sessions.
    printed: Vec<String>,
    stdout: BufReader<std::process::ChildStdout>,
    /// The open session, which waits for the reply to MAIL.
    open: BufReader<TcpStream>,
    directory: tempfile::TempDir,
}

impl Halfway {
    fn begin(provider: &Provider) -> Self {
        let listener = TcpListener::bind(("127.1.0.9", provider.port())).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut command =
            against(provider, "run --host 127.1.0.1 --host 127.1.0.9 --ehlo out.example.net --format jsonl");
        command.args(["--source", "127.0.0.11", "--source", "127.0.0.12", "--record"]);
        let mut child = command.arg(directory.path().join("run.jsonl")).spawn().unwrap();
        let mut open = BufReader::new(listener.accept().unwrap().0);
        for (reply, wanted) in [("220 slow.example", "EHLO"), ("250 slow.example", "MAIL")] {
            open.get_mut().write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            let said = said(&mut open);
            assert!(said.starts_with(wanted), "{said}");
        }
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = Vec::new();
        while printed.iter().filter(|line: &&String| line.contains("\"type\":\"session\"")).count() < 2 {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "{printed:?}");
            printed.push(line);
        }
        Self { child, printed, stdout, open, directory }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

fn said(open: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    open.read_line(&mut line).unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_takes_its_leave_and_says_what_it_knows() {
    let provider = provider(TWO).await;
    for signal in ["-INT", "-TERM"] {
        let mut run = Halfway::begin(&provider);
        run.signal(signal);
        assert_eq!(said(&mut run.open), "QUIT\r\n", "{signal}");
        let mut printed = run.printed.concat();
        run.stdout.read_to_string(&mut printed).unwrap();
        let output = run.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{signal}: {printed}");
        assert!(text(&output.stderr).contains("stopping: open sessions say QUIT"), "{}", text(&output.stderr));
        assert_eq!(std::fs::read_to_string(run.directory.path().join("run.jsonl")).unwrap(), printed);
        let lines = lines(printed.as_bytes());
        let sessions = of_type(&lines, "session");
        let mut numbers: Vec<_> = sessions.iter().map(|session| session["seq"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4], "{signal}");
        let kinds: Vec<_> = sessions.iter().map(|session| session["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["completed", "completed", "skipped", "skipped"], "{signal}");
        assert!(sessions[2..].iter().all(|s| s["detail"] == "cancelled" && s.get("stage").is_none()), "{printed}");
        assert!(!of_type(&lines, "diagnosis").is_empty(), "{signal}");
        assert_eq!(lines.last().unwrap()["skipped"], 2, "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_twice_is_let_go_at_once() {
    let provider = provider(TWO).await;
    let mut run = Halfway::begin(&provider);
    // The reply to QUIT is waited for, but not against the operator's will.
    run.open.get_mut().write_all(b"250 ok\r\n").unwrap();
    assert_eq!(said(&mut run.open), "QUIT\r\n");
    run.signal("-INT");
    let mut heard = String::new();
    BufReader::new(run.child.stderr.as_mut().unwrap()).read_line(&mut heard).unwrap();
    assert!(heard.contains("stopping"), "{heard}");
    run.signal("-INT");
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_provider_is_served_until_it_is_stopped_and_writes_down_what_it_saw() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("seen.jsonl");
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/aol-2012.toml");
    let mut sim = mxprobe("sim").arg(scenario).arg("--log").arg(&log).spawn().unwrap();
    let mut stdout = BufReader::new(sim.stdout.take().unwrap());
    let invitation = loop {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
        if let Some(invitation) = line.strip_prefix("try   mxprobe ") {
            break invitation.to_owned();
        }
    };
    // The invitation is taken as it is printed, but for how many at once.
    let output = mxprobe(&format!("{invitation} --per-provider 8 --format jsonl")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let sent = Command::new("kill").args(["-INT", &sim.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(sim.wait().unwrap().code(), Some(0));
    let cells = |lines: &[Value], name| {
        let mut cells: Vec<_> =
            of_type(lines, name).iter().map(|l| (l["source"].to_string(), l["address"].to_string())).collect();
        cells.sort();
        cells
    };
    let seen = lines(&std::fs::read(&log).unwrap());
    assert_eq!(cells(&seen, "seen").len(), 32);
    assert_eq!(cells(&seen, "seen"), cells(&lines(&output.stdout), "session"));
    let endings: Vec<_> = seen.iter().map(|line| line["ended"].as_str().unwrap()).collect();
    assert_eq!(endings.iter().filter(|ended| **ended == "quit").count(), 21, "{endings:?}");
}
