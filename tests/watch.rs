//! `watch` as a process: a provider that breaks, heals and flaps, a watch that is killed, told to
//! reload and told to stop. Providers are simulated, on loopback; what they do goes by the number of
//! connections, so that no test depends on how fast it runs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mxprobe::history::archive::{Archive as _, Filter, StoreArchive};
use mxprobe::record::{Incident, IncidentChange, Kind, Line, Session};
use mxprobe::sim::{Ports, Provider, Scenario};
use regex::Regex;
use serde_json::Value;

/// A provider with one address whose connections of these numbers are put off, and no others.
fn scenario(down: &[&str]) -> String {
    let rules: Vec<_> =
        down.iter().map(|attempts| format!("[[rule]]\nattempts = \"{attempts}\"\nbehaviour = \"down\"\n")).collect();
    format!(
        r#"
[domains."a.example"]
mx = [{{ preference = 10, host = "mx.a.example", addresses = ["127.1.0.1"] }}]
[domains."b.example"]
mx = [{{ preference = 10, host = "mx.b.example", addresses = ["127.1.0.2"] }}]
[ptr]
"127.0.0.11" = "out1.example.net"
[behaviour.down]
dialog = """
C: EHLO*
S: 421 4.3.2 {{host}} Service unavailable - try again later
CLOSE
"""
[behaviour.slow]
dialog = """
S+400ms: 220 {{host}} ESMTP
"""
{}"#,
        rules.concat()
    )
}

async fn provider(scenario: &str) -> Provider {
    Provider::start(Scenario::parse("scenario", scenario).unwrap(), Ports::default()).await.unwrap()
}

/// A directory with a probe file, a history and what was told.
struct Place(tempfile::TempDir);

impl Place {
    fn new(schedule: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("a.example", schedule);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, domain: &str, rest: &str) {
        let told = self.path("told").display().to_string();
        let text = format!(
            "[target]\ndomain = \"{domain}\"\n[source]\naddresses = [\"127.0.0.11\"]\n\
             [limits]\nrate = \"1000/s\"\nper-address = 20\nper-provider = 40\n\
             [alert]\ncommand = [\"sh\", \"-c\", \"cat >> {told}; echo >> {told}\"]\n{rest}"
        );
        std::fs::write(self.path("probe.toml"), text).unwrap();
    }

    /// The watch of the probe file, at this provider.
    fn watch(&self, provider: &Provider, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
        let set = std::env::vars_os().map(|(name, _)| name);
        set.filter(|name| name.to_string_lossy().starts_with("MXPROBE_")).for_each(|name| _ = command.env_remove(name));
        command.env_remove("NOTIFY_SOCKET").arg("watch").arg(self.path("probe.toml"));
        command.args(["--dns", &provider.dns().to_string(), "--port", &provider.port().to_string()]);
        command.arg("--history").arg(self.path("history.sqlite")).args(words.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn archive(&self) -> StoreArchive {
        StoreArchive::existing(&self.path("history.sqlite")).unwrap().unwrap()
    }

    fn incidents(&self) -> Vec<Incident> {
        self.archive().incidents(&Filter::default(), false).unwrap()
    }

    fn sessions(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        let take = &mut |session| {
            sessions.push(session);
            true
        };
        self.archive().sessions(&Filter::default(), take).unwrap();
        sessions
    }

    /// The notices that the command was given.
    fn told(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("told")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn changes(&self) -> Vec<String> {
        self.told().iter().map(|notice| notice["change"].as_str().unwrap().to_owned()).collect()
    }
}

/// A watch that is going on, and the lines it has printed.
struct Going {
    child: Child,
    printed: Arc<Mutex<Vec<Line>>>,
    said: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Going {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (printed, said) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(String::new())));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (to, err) = (Arc::clone(&printed), Arc::clone(&said));
        let lines = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // What a killed process left behind of a line was not said.
                if let Ok(Some(line)) = Line::parse(&line.unwrap()) {
                    to.lock().unwrap().push(line);
                }
            }
        });
        let words = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                *err.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        Self { child, printed, said, readers: vec![lines, words] }
    }

    /// Waits until something is so, but not for ever.
    fn until(&self, what: &str, mut is_so: impl FnMut(&[Line], &str) -> bool) {
        let begun = Instant::now();
        loop {
            {
                let (printed, said) = (self.printed.lock().unwrap(), self.said.lock().unwrap());
                if is_so(&printed, &said) {
                    return;
                }
                let kinds: Vec<_> = sessions(&printed).iter().map(|s| s.kind.as_str()).take(30).collect();
                assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {kinds:?}\n{said}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// What it exits with, prints and says, to its end.
    fn end(mut self) -> (Option<i32>, Vec<Line>, String) {
        let status = self.child.wait().unwrap().code();
        self.readers.into_iter().for_each(|reader| reader.join().unwrap());
        let printed = std::mem::take(&mut *self.printed.lock().unwrap());
        let said = self.said.lock().unwrap().clone();
        assert!(!said.contains("panicked"), "{said}");
        (status, printed, said)
    }
}

fn sessions(lines: &[Line]) -> Vec<&Session> {
    lines.iter().filter_map(|line| if let Line::Session(session) = line { Some(&**session) } else { None }).collect()
}

fn incidents(lines: &[Line]) -> Vec<&Incident> {
    lines.iter().filter_map(|line| if let Line::Incident(incident) = line { Some(&**incident) } else { None }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_heals_and_flaps_is_one_incident_told_once_each_way() {
    let provider = provider(&scenario(&["4-7", "10", "12-13"])).await;
    let place = Place::new("[schedule]\nevery = \"100ms\"\nround = \"full\"\n");
    let watch = Going::start(place.watch(&provider, "--format jsonl"));
    watch.until("the end of the incident", |lines, _| incidents(lines).iter().any(|i| i.closed.is_some()));
    watch.until("the notice of it", |_, _| place.changes().iter().any(|change| change == "closed"));
    watch.signal("-TERM");
    let (status, lines, said) = watch.end();
    assert_eq!(status, Some(0), "{said}");

    let all = place.incidents();
    let [incident] = &all[..] else { panic!("{all:?}") };
    let sessions = sessions(&lines);
    let failed: Vec<usize> = (0..sessions.len()).filter(|at| sessions[*at].kind == Kind::Rejected).collect();
    assert_eq!(failed, [3, 4, 5, 6, 9, 11, 12]);
    // Began and ended between two rounds that follow one another.
    assert_eq!((incident.opened.after, incident.opened.by), (Some(sessions[2].at), sessions[3].at));
    let closed = incident.closed.unwrap();
    assert_eq!((closed.after, closed.by), (Some(sessions[12].at), sessions[13].at));
    assert_eq!((incident.episodes, incident.failed, incident.sessions), (3, 7, 13));
    let reply = incident.reply.as_deref().unwrap();
    assert!(reply.starts_with("421 4.3.2") && reply.ends_with("Service unavailable - try again later"), "{reply}");
    assert!(incidents(&lines).iter().all(|line| line.id == incident.id && line.id != 0), "{lines:?}");
    let changes = place.changes();
    for (change, times) in [("opened", 1), ("closed", 1)] {
        assert_eq!(changes.iter().filter(|told| *told == change).count(), times, "{changes:?}");
    }
    assert_eq!(changes.first().map(String::as_str), Some("opened"));
    assert!(place.told().iter().all(|notice| notice["incident"]["id"] == incident.id), "{:?}", place.told());

    // What was printed is on record.
    let on_record: BTreeSet<_> = place.sessions().iter().map(|s| (s.run.clone(), s.seq)).collect();
    assert!(sessions.iter().all(|s| on_record.contains(&(s.run.clone(), s.seq))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_killed_loses_nothing_it_said_and_goes_on_with_its_incident() {
    let sick = provider(&scenario(&["3-"])).await;
    let place = Place::new("[schedule]\nevery = \"50ms\"\nround = \"full\"\n");
    let mut printed = BTreeSet::new();
    for kill in 0..10_u64 {
        let mut watch = Going::start(place.watch(&sick, "--format jsonl"));
        // Some are killed before they have said anything, others in mid-round.
        let moment = Duration::from_millis(60 + kill * 397 % 700);
        std::thread::sleep(moment);
        watch.child.kill().unwrap();
        let (_, lines, said) = watch.end();
        assert!(said.lines().all(|line| line.contains("missed: ")), "{said}");
        printed.extend(sessions(&lines).iter().map(|s| (s.run.clone(), s.seq)));
        let open = place.archive().incidents(&Filter::default(), true).unwrap();
        assert!(open.len() <= 1, "killed after {moment:?}: {open:?}");
    }
    assert!(printed.len() > 10, "only {} sessions", printed.len());
    let watch = Going::start(place.watch(&sick, "--format jsonl"));
    watch.until("an incident that goes on", |lines, _| {
        sessions(lines).len() > 3 && place.archive().incidents(&Filter::default(), true).unwrap().len() == 1
    });
    watch.signal("-TERM");
    let (status, lines, said) = watch.end();
    assert_eq!(status, Some(0), "{said}");
    printed.extend(sessions(&lines).iter().map(|s| (s.run.clone(), s.seq)));
    // The provider has healed meanwhile: a process that never saw the incident ends it.
    let healthy = provider(&scenario(&[])).await;
    let watch = Going::start(place.watch(&healthy, "--format jsonl"));
    watch.until("its end", |lines, _| incidents(lines).iter().any(|i| i.closed.is_some()));
    watch.until("the notice of it", |_, _| place.changes().iter().any(|change| change == "closed"));
    watch.signal("-TERM");
    let (status, lines, said) = watch.end();
    assert_eq!(status, Some(0), "{said}");
    printed.extend(sessions(&lines).iter().map(|s| (s.run.clone(), s.seq)));

    let on_record: BTreeSet<_> = place.sessions().iter().map(|s| (s.run.clone(), s.seq)).collect();
    let lost: Vec<_> = printed.difference(&on_record).collect();
    assert!(lost.is_empty(), "{lost:?} of {}", printed.len());
    let all = place.incidents();
    let [incident] = &all[..] else { panic!("{all:?}") };
    for event in [IncidentChange::Opened, IncidentChange::Closed] {
        assert_eq!(incident.events.iter().filter(|e| e.event == event).count(), 1, "{incident:?}");
    }
    // A notice that was told and not yet marked so is told again, under the same id.
    for change in ["opened", "closed"] {
        let told = place.told();
        let of: BTreeSet<_> = told.iter().filter(|n| n["change"] == change).map(|n| n["notice"].to_string()).collect();
        assert_eq!(of.len(), 1, "{change}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_a_good_file_and_leaves_things_as_they_are_for_a_bad_one() {
    let provider = provider(&scenario(&[])).await;
    let schedule = "[schedule]\nevery = \"50ms\"\n";
    let place = Place::new(schedule);
    let watch = Going::start(place.watch(&provider, "--format jsonl"));
    let of = |domain: &'static str| {
        move |lines: &[Line]| sessions(lines).iter().filter(|s| s.domain.as_deref() == Some(domain)).count()
    };
    let (a, b) = (of("a.example"), of("b.example"));
    watch.until("rounds", |lines, _| a(lines) > 1);
    for (rest, wanted) in [
        ("[schedule]\nevery = \"soon\"\n", "soon"),
        ("[schedule]\nevery = \"1ms\"\n[limits2]\n", "unknown key `limits2`"),
        ("[schedule]\nevery = \"10us\"\n", "the schedule is over the budget at a.example, 3600000 sessions an hour"),
    ] {
        place.write("a.example", rest);
        let (before, heard) = (a(&watch.printed.lock().unwrap()), watch.said.lock().unwrap().len());
        watch.signal("-HUP");
        watch.until(wanted, |_, said| {
            said[heard..].contains("the probe files stay as they were") && said[heard..].contains(wanted)
        });
        watch.until("rounds as before", |lines, _| a(lines) > before + 2);
    }
    place.write("b.example", schedule);
    watch.signal("-HUP");
    watch.until("rounds of the new file", |lines, said| b(lines) > 2 && said.contains("1 probe watched"));
    watch.signal("-INT");
    let (status, _, said) = watch.end();
    assert_eq!(status, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_to_is_refused_before_anything_is_sent() {
    let provider = provider(&scenario(&[])).await;
    let place = Place::new("");
    for (words, wanted) in [
        (
            "--every 1s --rate 20/min",
            "the schedule is over the budget at a.example, 1200 sessions an hour (the rate is 20/min): ",
        ),
        (
            "--every 1s --rate 20/min",
            "1 session a round x 3600 rounds an hour (every 1s) = 3600; what would fit: every = \"3s\"",
        ),
        ("--every 1s --jitter 1s", "--jitter as long as the schedule"),
        ("--format nagios", "--format: \"nagios\" is no format: wanted one of text, jsonl"),
        ("--listen here", "no place to listen"),
        ("nowhere.toml", "nowhere.toml"),
    ] {
        let Output { status, stdout, stderr } = place.watch(&provider, words).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        let wanted_status = if words.contains("nagios") { 3 } else { 2 };
        assert_eq!(status.code(), Some(wanted_status), "{words}: {said}");
        assert!(said.contains(wanted) && stdout.is_empty(), "{words}: {said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_mxprobe"))
        .args(["watch", "--history", "none"])
        .arg(place.path("probe.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--history none with [alert]"));
    assert!(provider.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_never_overlap_and_those_missed_are_counted() {
    let scenario = scenario(&[]) + "[[rule]]\nbehaviour = \"slow\"\n";
    let provider = provider(&scenario).await;
    let place = Place::new("[schedule]\nevery = \"100ms\"\nround = \"full\"\n");
    let output = place.watch(&provider, "--rounds 3").output().unwrap();
    let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(printed.lines().count(), 3, "{printed}");
    assert!(said.contains("missed: the round before was still running"), "{said}");
    assert_eq!(provider.seen().len(), 3);
    assert_eq!(provider.peaks().all, 1, "one at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_of_everything() {
    let provider = provider(&scenario(&[])).await;
    let place = Place::new("[schedule]\nevery = \"1h\"\n");
    let socket = UnixDatagram::bind(place.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let heard = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("{wanted}: {e}"));
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if text.contains(wanted) {
                return text;
            }
        }
    };
    let mut command = place.watch(&provider, "");
    command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "200000");
    let watch = Going::start(command);
    assert!(heard("READY=1").contains("STATUS=1 probe watched"));
    heard("WATCHDOG=1");
    watch.signal("-HUP");
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    watch.signal("-TERM");
    heard("STOPPING=1");
    let (status, _, said) = watch.end();
    assert_eq!(status, Some(0), "{said}");
}

/// What the README shows of a watch is what it prints, times aside. `BLESS=1` writes it anew, at the
/// pace that the README names.
#[tokio::test(flavor = "multi_thread")]
async fn the_story_in_the_readme_is_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (readme, bless) =
        (std::fs::read_to_string(root.join("README.md")).unwrap(), std::env::var_os("BLESS").is_some());
    let block = Regex::new(r"(?s)(mxprobe watch mail\.example [^\n]*)\n```\n\n```text\n(.*?)```").unwrap();
    let found = block.captures(&readme).expect("the README shows a watch");
    let provider = provider(&std::fs::read_to_string(root.join("scenarios/flapping.toml")).unwrap()).await;
    let (dns, port) = (provider.dns().to_string(), provider.port().to_string());
    let words = found[1].replace("127.0.0.1:5353", &dns).replace("2525", &port);
    let words = if bless { words } else { words.replace("--every 1s", "--every 100ms") };
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
    let output = command.args(words.split_whitespace().skip(1)).env("XDG_STATE_HOME", place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let masked = |text: &str| {
        let times = Regex::new(r"\d{4}-\d\d-\d\dT[\d:]+Z|[\d.]+ s$").unwrap();
        text.lines().map(|line| times.replace_all(line, "…").into_owned()).collect::<Vec<_>>()
    };
    if bless && masked(&found[2]) != masked(&printed) {
        let range = found.get(2).unwrap().range();
        std::fs::write(root.join("README.md"), [&readme[..range.start], &printed, &readme[range.end..]].concat())
            .unwrap();
        return;
    }
    assert_eq!(masked(&found[2]), masked(&printed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_watch() {
    let provider = provider(&scenario(&[])).await;
    let place = Place::new("[schedule]\nevery = \"50ms\"\n");
    let mut child = place.watch(&provider, "--format jsonl").spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"type\":\"run\""), "{first}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
    assert!(Path::new(&place.path("history.sqlite")).exists());
}
