//! Every case under `tests/sinks`, against smtp-sink: Postfix's test server, which refuses, hangs up
//! or takes its time at the command it is told to.
//!
//! Each case starts a sink of its own, on an address of its own, and has a message sent to it. The
//! record must end as the case says, no stage may take longer than it should, and the sink must
//! have heard these commands and no others.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

/// How long a sink waits that takes its time, and how long a stage may take at the most, in ms.
const SLOW: [f64; 2] = [1_950.0, 10_000.0];
/// How long any other stage may take, in ms.
const QUICK: f64 = 1_900.0;
/// How long all stages together may take, in ms.
const LONGEST: f64 = 15_000.0;
/// How many sinks run at once.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    /// The sink's flags. It waits two seconds where it is slow.
    sink: Vec<String>,
    /// mxprobe's flags besides those that every case has.
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default = "end_of_data")]
    stage: String,
    kind: String,
    code: Option<u64>,
    enhanced: Option<String>,
    reply: Option<String>,
    /// The stage that takes as long as the sink waits or as it is given.
    slow: Option<String>,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    /// The commands, without what follows their first word.
    heard: String,
}

fn end_of_data() -> String {
    "end-of-data".to_owned()
}

#[test]
#[ignore = "needs the smtp-sink that tests/run installs"]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sinks");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let table: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        all.extend(table.case);
    }
    assert!(all.len() >= 50, "only {} cases were found", all.len());
    let (left, wrong) = (Mutex::new(all.iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((number, case)) = left.lock().unwrap().next() else { return };
                    if let Some(fault) = play(number, case) {
                        wrong.lock().unwrap().push(format!("{:?}: {fault}", case.sink));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    println!("{} cases, all as said", all.len());
}

/// What of the case is not so.
fn play(number: usize, case: &Case) -> Option<String> {
    let sink = Sink::start(number, &case.sink);
    let output = Command::new(env!("CARGO_BIN_EXE_mxprobe"))
        .args(["run", "aol.com", "--format", "jsonl", "--history", "none", "--ignore-rest", "--timeout", "20s"])
        .args(["--timeout", "quit=5s"])
        .args(["--host", &sink.address.ip().to_string(), "--port", &sink.address.port().to_string()])
        .args(["--source", "127.0.0.5", "--ehlo", "out5.probe.example", "--from", "me@probe.example"])
        .args(["--to", "here@aol.com", "--owned"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/owned.txt"))
        .args(["--until", "end-of-data", "--send"])
        .args(&case.flags)
        .output()
        .unwrap();
    let heard = sink.stop();

    let mut text = String::new();
    let wanted = i32::from(case.kind != "completed");
    if output.status.code() != Some(wanted) {
        let _ = write!(text, "{}, wanted {wanted}: {}; ", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let records = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let sessions: Vec<Value> = records.filter(|record: &Value| record["type"] == "session").collect();
    let [session] = &sessions[..] else { return Some(format!("{text}{} sessions", sessions.len())) };

    let mut check = |field: &str, found: &Value, wanted: Value| {
        if *found != wanted {
            let _ = write!(text, "{field} {found}, wanted {wanted}; ");
        }
    };
    check("stage", &session["stage"], case.stage.clone().into());
    check("kind", &session["kind"], case.kind.clone().into());
    check("code", &session["code"], case.code.into());
    check("enhanced", &session["enhanced"], case.enhanced.clone().into());
    check("also", &session["also"], case.also.clone().into());
    check("notes", &session["notes"], case.notes.clone().into());
    check("heard", &heard.into(), case.heard.clone().into());
    if case.reply.is_some() {
        check("reply", &session["reply"][0], case.reply.clone().into());
    }
    let mut slow = None;
    for step in session["steps"].as_array().into_iter().flatten() {
        let (stage, ms) = (step["stage"].as_str().unwrap_or("?"), step["ms"].as_f64().unwrap_or(f64::MAX));
        if Some(stage) == case.slow.as_deref() {
            slow = Some(ms);
        } else if ms > QUICK {
            let _ = write!(text, "{stage} took {ms} ms; ");
        }
    }
    let [least, most] = SLOW;
    if slow.is_some() != case.slow.is_some() || slow.is_some_and(|ms| ms < least || ms > most) {
        let _ = write!(text, "{:?} took {slow:?} ms; ", case.slow);
    }
    if session["total-ms"].as_f64().is_none_or(|ms| ms > LONGEST) {
        let _ = write!(text, "{} ms in all; ", session["total-ms"]);
    }
    (!text.is_empty()).then(|| format!("{text}{session}"))
}

struct Sink {
    address: SocketAddr,
    child: Child,
}

impl Sink {
    /// On an address that no other case uses, at a port that is free there.
    fn start(number: usize, flags: &[String]) -> Self {
        let ip = Ipv4Addr::new(127, 2, 0, u8::try_from(number + 1).expect("there are fewer cases"));
        let address = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
        let mut command = Command::new("smtp-sink");
        // It refuses to stay root.
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        command.arg("-v").args(flags).arg(address.to_string()).arg("16");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        // A connection that says nothing, of which it writes nothing down but that it was there.
        while let Err(error) = TcpStream::connect(address) {
            let gone = child.try_wait().unwrap().is_some() || error.kind() != io::ErrorKind::ConnectionRefused;
            assert!(!gone && Instant::now() < end, "smtp-sink {flags:?} at {address}: {error}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Self { address, child }
    }

    /// The commands it heard. It writes each one down before it does anything about it.
    fn stop(mut self) -> String {
        self.child.kill().unwrap();
        let output = self.child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let said = text.lines().filter_map(|line| line.strip_prefix("smtp-sink: ")?.split_whitespace().next());
        let commands = said.filter(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '.'));
        commands.collect::<Vec<_>>().join(" ")
    }
}
