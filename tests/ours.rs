//! What goes wrong at our own end: a resolver that dies after any number of answers, too few
//! descriptors, a stop at any moment, outputs that are full. Whatever it is, no provider is blamed
//! for it, every session is on record once, and the exit status says what is known.
//!
//! The provider is simulated, on loopback, and nothing is wrong with it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mxprobe::sim::{Ports, Provider, Scenario};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::task::JoinSet;

/// Four sources, three addresses, and a control; everybody speaks TLS, and takes a moment.
const WELL: &str = r#"
[domains."a.example"]
mx = [
    { preference = 10, host = "mx1.a.example", addresses = ["127.1.0.1", "127.1.0.2"] },
    { preference = 20, host = "mx2.a.example", addresses = ["127.1.0.3"] },
]
[domains."control.test"]
mx = [{ preference = 10, host = "mx.control.test", addresses = ["127.1.0.9"] }]
[ptr]
"127.0.0.11" = "out1.example.net"
"127.0.0.12" = "out2.example.net"
"127.0.0.13" = "out3.example.net"
"127.0.0.14" = "out4.example.net"
[tls]
certificate = "valid"
[[rule]]
behaviour = "deliberate"
[behaviour.deliberate]
dialog = """
S+10ms: 220 {host} ESMTP
C: EHLO *
S+10ms: 250-{host}
S: 250 STARTTLS
"""
"#;

/// Every session of a run that nothing gets in the way of: 4 sources at 3 addresses and the control.
const SESSIONS: usize = 16;

async fn provider() -> Provider {
    Provider::start(Scenario::parse("scenario", WELL).unwrap(), Ports::default()).await.unwrap()
}

/// A run at the provider, by way of that resolver, under `limit` descriptors, recorded to `record`.
fn run(provider: &Provider, dns: SocketAddr, limit: Option<usize>, record: &Path) -> Command {
    let mut command = Command::new("sh");
    let limit = limit.map(|limit| format!("ulimit -n {limit}; ")).unwrap_or_default();
    command.args(["-c", &format!("{limit}exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_mxprobe")]);
    command.args(["run", "a.example", "--control", "control.test", "--history", "none"]);
    command.args(["--dns", &dns.to_string(), "--port", &provider.port().to_string(), "--per-provider", "16"]);
    command.args(["--per-address", "8", "--timeout", "20s", "--timeout", "resolve=1s", "--rate", "6000/min"]);
    command.args(["11", "12", "13", "14"].map(|last| ["--source".to_owned(), format!("127.0.0.{last}")]).concat());
    command.arg("--record").arg(record);
    command.env("MXPROBE_FORMAT", "jsonl");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What every run must keep to, however it ended; its sessions by kind, and its diagnoses.
struct Kept {
    kinds: BTreeMap<String, usize>,
    /// Whether a session at the target, and not only at the control, was completed.
    tried: bool,
    diagnoses: Vec<String>,
    status: i32,
}

fn kept(what: &str, output: &Output, record: &Path) -> Kept {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{what}: {said}");
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(std::fs::read_to_string(record).unwrap_or_default(), printed, "{what}: recorded and printed");
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_type = |name: &'static str| lines.iter().filter(move |line| line["type"] == name);
    let mut numbers: Vec<u64> = of_type("session").map(|session| session["seq"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{what}: numbered {numbers:?}");
    let mut kinds = BTreeMap::new();
    for session in of_type("session") {
        *kinds.entry(session["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let status = output.status.code().unwrap_or_else(|| panic!("{what}: {}: {said}", output.status));
    let summary = lines.last().unwrap_or_else(|| panic!("{what}: {status}: {said}"));
    assert_eq!((summary["type"].as_str(), summary["exit"].as_i64()), (Some("summary"), Some(status.into())), "{what}");
    assert_eq!(summary["sessions"].as_u64(), Some(numbers.len() as u64), "{what}");
    let diagnoses = of_type("diagnosis").map(|diagnosis| diagnosis["kind"].as_str().unwrap().to_owned()).collect();
    let tried = of_type("session").any(|s| s["role"] == "target" && s["kind"] == "completed");
    Kept { kinds, tried, diagnoses, status }
}

/// A resolver that hands on so many questions, and then is not there any more or says nothing.
struct Mortal {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// How many of the answers said where the mail goes, and not what an address is called.
    routes: Arc<AtomicUsize>,
}

/// Whether a query asks for PTR records (RFC 1035, sections 3.2.2 and 4.1.2).
fn asks_for_a_name(query: &[u8]) -> bool {
    let name = query[12..].iter().position(|&byte| byte == 0).unwrap();
    query[12 + name + 1..].starts_with(&[0, 12])
}

impl Mortal {
    fn new(behind: SocketAddr, answers: usize, goes_away: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let routes = Arc::new(AtomicUsize::new(0));
        let (count, about_routes) = (Arc::clone(&asked), Arc::clone(&routes));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !(goes_away && count.load(Ordering::SeqCst) == answers) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else { return };
                let asks_for_a_name = asks_for_a_name(&buffer[..length]);
                if count.fetch_add(1, Ordering::SeqCst) < answers {
                    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
                    upstream.send_to(&buffer[..length], behind).unwrap();
                    let length = upstream.recv(&mut buffer).unwrap();
                    socket.send_to(&buffer[..length], client).unwrap();
                    about_routes.fetch_add(usize::from(!asks_for_a_name), Ordering::SeqCst);
                }
            }
        });
        Self { at, asked, routes }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_dies_after_any_number_of_answers_is_ours() {
    let (provider, directory) = (provider().await, tempfile::tempdir().unwrap());
    let whole = Mortal::new(provider.dns(), usize::MAX, false);
    let record = directory.path().join("whole.jsonl");
    let found = kept("whole", &run(&provider, whole.at, None, &record).output().unwrap(), &record);
    assert_eq!((found.status, found.kinds["completed"]), (0, SESSIONS));
    let questions = whole.asked.load(Ordering::SeqCst);
    // The exchangers and their addresses of both families, and the names of four sources.
    assert_eq!(questions, 2 + 3 * 2 + 4);
    let mut dying = JoinSet::new();
    let (provider, directory) = (Arc::new(provider), Arc::new(directory));
    for (goes_away, answers) in [false, true].into_iter().flat_map(|away| (0..questions).map(move |n| (away, n))) {
        let (provider, directory) = (Arc::clone(&provider), Arc::clone(&directory));
        dying.spawn_blocking(move || dies(&provider, directory.path(), answers, goes_away, questions));
        if dying.len() == 4 {
            dying.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(died) = dying.join_next().await {
        died.unwrap();
    }
}

/// A run whose resolver dies behind so many of the questions.
fn dies(provider: &Provider, directory: &Path, answers: usize, goes_away: bool, questions: usize) {
    let resolver = Mortal::new(provider.dns(), answers, goes_away);
    let what = format!("{} after {answers} answers", if goes_away { "gone" } else { "silent" });
    let record = directory.join(format!("{what}.jsonl"));
    let found = kept(&what, &run(provider, resolver.at, None, &record).output().unwrap(), &record);
    let theirs = found.kinds.keys().find(|kind| !matches!(kind.as_str(), "completed" | "local" | "dns-failed"));
    assert_eq!(theirs, None, "{what}");
    // A silent resolver is one whose questions time out, each on record as what it met with.
    assert!(!goes_away || !found.kinds.contains_key("dns-failed"), "{what}: {:?}", found.kinds);
    let blamed = found.diagnoses.iter().find(|kind| !matches!(kind.as_str(), "local-dns" | "healthy"));
    assert_eq!(blamed, None, "{what}: {:?}", found.diagnoses);
    // Without its own reverse name a source says this host's, and that is all.
    let all = resolver.routes.load(Ordering::SeqCst) == questions - 4;
    assert!(!all || found.kinds == BTreeMap::from([("completed".to_owned(), SESSIONS)]), "{what}: {:?}", found.kinds);
    assert_eq!(found.status, if all { 0 } else { 3 }, "{what}: {:?} {:?}", found.kinds, found.diagnoses);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_descriptors_make_fewer_sessions_at_once_and_no_other_findings() {
    let (provider, directory) = (provider().await, tempfile::tempdir().unwrap());
    let (mut best, mut worst) = (0, SESSIONS);
    for limit in (8..=26).chain([32, 64]) {
        let what = format!("{limit} descriptors");
        let record = directory.path().join("run.jsonl");
        let _ = std::fs::remove_file(&record);
        let output = run(&provider, provider.dns(), Some(limit), &record).output().unwrap();
        if output.stdout.is_empty() {
            // Too few to begin at all.
            assert_eq!(output.status.code(), Some(3), "{what}: {}", String::from_utf8_lossy(&output.stderr));
            worst = 0;
            continue;
        }
        let found = kept(&what, &output, &record);
        let theirs = found.kinds.keys().find(|kind| !matches!(kind.as_str(), "completed" | "local"));
        assert_eq!(theirs, None, "{what}: {:?}", found.kinds);
        let completed = found.kinds.get("completed").copied().unwrap_or(0);
        (best, worst) = (best.max(completed), worst.min(completed));
        assert_eq!(found.status, if completed == SESSIONS { 0 } else { 3 }, "{what}: {:?}", found.kinds);
        // From there on it is only a matter of time.
        assert!(limit < 24 || completed == SESSIONS, "{what}: {:?} {:?}", found.kinds, found.diagnoses);
    }
    assert!(best == SESSIONS && worst < SESSIONS, "best {best}, worst {worst}");
}

/// A run is stopped so many times, at moments that chance picks.
const STOPS: u64 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_any_moment_loses_nothing_and_leaves_in_order() {
    let (provider, directory) = (provider().await, tempfile::tempdir().unwrap());
    // A resolver that takes its time, so that some stops come while names are looked up.
    let slow = slow(provider.dns(), Duration::from_millis(30));
    let record = directory.path().join("whole.jsonl");
    let begun = Instant::now();
    let whole = kept("whole", &run(&provider, slow, None, &record).output().unwrap(), &record);
    assert_eq!((whole.status, whole.kinds["completed"]), (0, SESSIONS));
    let lasts = begun.elapsed();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut met = BTreeMap::new();
    for stop in 0..STOPS {
        let (signal, after) = (["-TERM", "-INT"][usize::from(rng.random_bool(0.5))], rng.random_range(0.0..1.1));
        let what = format!("stop {stop}: {signal} after {after:.2} of {lasts:?}");
        let record = directory.path().join("run.jsonl");
        let _ = std::fs::remove_file(&record);
        let child = run(&provider, slow, None, &record).arg("--transcript").spawn().unwrap();
        tokio::time::sleep(lasts.mul_f64(after)).await;
        let stopped = Instant::now();
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status();
        let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(5), "{what}: took {:?}", stopped.elapsed());
        if output.status.code().is_none() {
            // Before it had begun to listen for it: nothing was said, and nothing recorded.
            assert!(output.stdout.is_empty(), "{what}: {}", output.status);
            *met.entry("nothing").or_insert(0) += 1;
            continue;
        }
        let found = kept(&what, &output, &record);
        takes_leave(&what, &String::from_utf8_lossy(&output.stderr));
        let theirs = found.kinds.keys().find(|kind| !matches!(kind.as_str(), "completed" | "skipped"));
        assert_eq!(theirs, None, "{what}: {:?}", found.kinds);
        let completed = found.kinds.get("completed").copied().unwrap_or(0);
        let sessions: usize = found.kinds.values().sum();
        // One each for the target and the control where their names were not known yet.
        assert!(sessions == SESSIONS || (sessions == 2 && completed == 0), "{what}: {:?}", found.kinds);
        assert_eq!(found.status, if found.tried { 0 } else { 3 }, "{what}: {:?} {:?}", found.kinds, found.diagnoses);
        *met.entry(match (sessions, completed) {
            (2, _) => "names",
            (_, 0) => "the first sessions",
            (_, SESSIONS) => "the end",
            _ => "sessions",
        })
        .or_insert(0) += 1;
    }
    // Chance is seeded; that it has met all of this is part of the test.
    assert!(met.contains_key("names") && met.contains_key("sessions"), "{met:?}");
    // Nobody is left hanging.
    ended(&provider).await;
}

/// Each dialog in which something was said ends with a QUIT, but where a handshake was under way:
/// then there is nobody who would take it for a command.
fn takes_leave(what: &str, transcripts: &str) {
    for dialog in transcripts.split("# session ").skip(1) {
        let last = dialog.lines().rfind(|line| line.starts_with('C'));
        let verb = last.and_then(|line| line.split_once(": ")).map(|(_, command)| command);
        assert!(matches!(verb, None | Some("QUIT" | "STARTTLS")), "{what}: no QUIT: {dialog}");
    }
}

/// Waits until every connection that the provider saw is over.
async fn ended(provider: &Provider) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = provider.seen();
        if seen.iter().all(|seen| seen.ended.is_some()) {
            return;
        }
        assert!(
            Instant::now() < end,
            "still open: {:?}",
            seen.iter().filter(|s| s.ended.is_none()).collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A resolver that answers each question only after a while.
fn slow(behind: SocketAddr, delay: Duration) -> SocketAddr {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let (question, socket) = (buffer[..length].to_vec(), Arc::clone(&socket));
            std::thread::spawn(move || {
                std::thread::park_timeout(delay);
                let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
                upstream.send_to(&question, behind).unwrap();
                let mut answer = [0; 4096];
                let length = upstream.recv(&mut answer).unwrap();
                socket.send_to(&answer[..length], client).unwrap();
            });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_output_is_full_the_other_is_whole() {
    let (provider, directory) = (provider().await, tempfile::tempdir().unwrap());
    for format in ["text", "jsonl", "nagios", "junit", "markdown", "html", "prometheus"] {
        let record = directory.path().join("run.jsonl");
        let mut command = run(&provider, provider.dns(), None, &record);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.args(["--format", format]).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{format}: {said}");
        assert!(said.contains("standard output: No space left on device"), "{format}: {said}");
        let recorded = std::fs::read_to_string(&record).unwrap();
        let types = |name: &str| recorded.matches(&format!("{{\"type\":\"{name}\"")).count();
        assert_eq!((types("session"), types("summary")), (SESSIONS, 1), "{format}");

        let output = run(&provider, provider.dns(), None, Path::new("/dev/full")).args(["--format", format]).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{format}: {said}");
        assert!(said.contains("--record /dev/full: No space left on device"), "{format}: {said}");
        assert_eq!(said.matches("No space left").count(), 1, "{format}: named once: {said}");
        assert!(output.stdout.ends_with(b"\n") && output.stdout.len() > 40, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_closes_our_outputs_closes_nothing_else() {
    let (provider, directory) = (provider().await, tempfile::tempdir().unwrap());
    for closed in [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let record = directory.path().join("run.jsonl");
        let whole = run(&provider, provider.dns(), None, &record);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {closed}"), env!("CARGO_BIN_EXE_mxprobe")]);
        let status = command.args(whole.get_args().skip(3)).env("MXPROBE_FORMAT", "jsonl").output().unwrap().status;
        assert_eq!(status.code(), Some(0), "{closed}");
        let recorded = std::fs::read_to_string(&record).unwrap();
        // No session took the place of an output, to be written into.
        assert_eq!(recorded.matches("\"kind\":\"completed\"").count(), SESSIONS, "{closed}: {recorded}");
    }
}
