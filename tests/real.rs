//! Every case under `tests/real`, against a real Postfix that refuses by source address, found
//! through a real Knot. `tests/run` starts both and says in the environment where they are.
//!
//! Each case is one run of `mxprobe`. Every session in it must end as the case says; Postfix must
//! have seen just these sessions, from just the sources asked for, and none that spoke out of turn;
//! and swaks, sent from the same source to the same address, must end at the same stage with the
//! same code.

#[path = "real/finger.rs"]
mod finger;
#[path = "real/log.rs"]
mod log;
#[path = "real/milter.rs"]
mod milter;
#[path = "real/swaks.rs"]
mod swaks;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use log::Log;
use milter::Milter;

/// How many milliseconds a stage takes at which nothing is slow, on a busy machine.
const QUICK: [f64; 2] = [0.0, 3_000.0];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: String,
    #[serde(default = "aol")]
    domain: String,
    #[serde(default)]
    to: Vec<String>,
    /// mxprobe's flags besides those that every case has.
    #[serde(default)]
    flags: Vec<String>,
    /// What the milter answers when Postfix asks it about a source of this case.
    #[serde(default)]
    milter: BTreeMap<milter::Event, milter::Answer>,
    /// What posttls-finger says of the domain, where it is at hand.
    finger: Option<String>,
    /// Left out where there is no resolver that validates.
    #[serde(default)]
    needs_resolver: bool,
    /// What makes swaks do the same; without it there is nothing to compare.
    swaks: Option<Vec<String>>,
    /// The addresses that each source has a session with; none where no address is known.
    #[serde(default = "both_exchangers")]
    addresses: Vec<String>,
    /// Whether the sessions come as far as the server.
    #[serde(default = "yes")]
    seen: bool,
    exit: i32,
    /// How every session from this source ends.
    ends: Vec<End>,
    /// DNS questions, `MX aol.com`, and the error each met with.
    #[serde(default)]
    lookups: BTreeMap<String, String>,
    /// The diagnosis in first place.
    diagnosis: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct End {
    /// None where nothing was to be spoken from.
    source: Option<String>,
    /// Default: every attempt from the source.
    attempt: Option<u64>,
    stage: String,
    kind: String,
    code: Option<u64>,
    enhanced: Option<String>,
    tag: Option<String>,
    class: Option<String>,
    text_class: Option<String>,
    /// The greeting's lines, word for word.
    banner: Option<Vec<String>>,
    /// The reply's lines, word for word.
    reply: Option<Vec<String>>,
    /// What came besides.
    also: Option<Vec<String>>,
    notes: Option<Vec<String>>,
    /// The verdict on the certificate.
    verified: Option<bool>,
    /// The least and the most milliseconds that a stage may take; default: [`QUICK`].
    #[serde(default)]
    takes: BTreeMap<String, [f64; 2]>,
    /// How the TLSA record begins that vouches for it.
    dane: Option<String>,
    /// What the detail has in it.
    detail: Option<String>,
}

fn aol() -> String {
    "aol.com".to_owned()
}

fn both_exchangers() -> Vec<String> {
    ["127.1.0.21", "127.1.0.22", "127.1.0.31", "127.1.0.32"].map(str::to_owned).to_vec()
}

fn yes() -> bool {
    true
}

#[test]
#[ignore = "needs the Postfix and the Knot that tests/run starts"]
fn cases() {
    let parts = Parts::of_the_environment();
    parts.catches_who_does_not_wait();
    let (mut played, mut wrong) = (0, Vec::new());
    for path in tables() {
        let table: File = toml::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in table.case {
            if case.needs_resolver && parts.resolver.is_none() {
                println!("left out {}: no resolver that validates", case.name);
                continue;
            }
            let mut faults = parts.play(&case);
            faults.extend(parts.second_opinion(&case));
            println!("{} {}", if faults.is_empty() { "as said " } else { "NOT SO  " }, case.name);
            wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", case.name)));
            played += 1;
        }
    }
    assert!(played >= 20, "only {played} cases were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn tables() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

/// Where the real parts are.
struct Parts {
    dir: PathBuf,
    log: Log,
    dns: String,
    port: String,
    /// A port that nothing listens on.
    closed: String,
    milter: Milter,
    /// A resolver that validates, on port 53.
    resolver: Option<String>,
}

impl Parts {
    fn of_the_environment() -> Self {
        let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"));
        let dir = PathBuf::from(var("MXPROBE_REAL_DIR"));
        Self {
            log: Log(dir.join("maillog")),
            dir,
            dns: var("MXPROBE_REAL_DNS"),
            port: var("MXPROBE_REAL_PORT"),
            closed: var("MXPROBE_REAL_CLOSED"),
            milter: Milter::start(&var("MXPROBE_REAL_MILTER")),
            resolver: std::env::var("MXPROBE_REAL_RESOLVER").ok(),
        }
    }

    /// What of the case is not so.
    fn play(&self, case: &Case) -> Vec<String> {
        let mut faults = Vec::new();
        for source in case.ends.iter().filter_map(|end| end.source.as_ref()).filter(|_| !case.milter.is_empty()) {
            self.milter.answer(source.parse().unwrap(), case.milter.clone());
        }
        let before = self.log.size();
        let output = self.mxprobe(case);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(case.exit) {
            faults.push(format!("{}, wanted {}; stderr: {said}", output.status, case.exit));
        }
        let records = match records(&output.stdout) {
            Ok(records) => records,
            Err(fault) => return vec![fault],
        };
        faults.extend(shape(&records));

        let of_type = |name: &'static str| records.iter().filter(move |record| record["type"] == name);
        let sessions: Vec<&Value> = of_type("session").collect();
        for end in &case.ends {
            let mine: Vec<_> = sessions
                .iter()
                .filter(|s| s["source"].as_str() == end.source.as_deref())
                .filter(|s| end.attempt.is_none_or(|attempt| s["attempt"] == attempt))
                .collect();
            let mut met: Vec<_> = mine.iter().filter_map(|s| s["address"].as_str()).collect();
            met.sort_unstable();
            if met != case.addresses || mine.is_empty() {
                faults.push(format!("{:?} has sessions with {met:?}, wanted {:?}", end.source, case.addresses));
            }
            for session in mine {
                faults.extend(differs(session, end));
                if let (Some(flags), Some(_)) = (&case.swaks, &end.source) {
                    faults.extend(swaks::compare(flags, session));
                }
            }
        }
        if let Some(stray) =
            sessions.iter().find(|s| case.ends.iter().all(|end| s["source"].as_str() != end.source.as_deref()))
        {
            faults.push(format!("a session from {}", stray["source"]));
        }

        let mut wanted = BTreeMap::new();
        for end in case.ends.iter().filter(|_| case.seen) {
            let source = end.source.clone().unwrap_or_default();
            let each = case.addresses.len() * case.to.len().max(1);
            *wanted.entry(source).or_default() += each * if case.swaks.is_some() { 2 } else { 1 };
        }
        let (seen, out_of_turn) = self.log.since(before, wanted.values().sum());
        if seen != wanted {
            faults.push(format!("Postfix saw {seen:?}, wanted {wanted:?}"));
        }
        faults.extend(out_of_turn.into_iter().map(|line| format!("Postfix wrote: {line}")));

        for (question, error) in &case.lookups {
            let asked = |r: &&Value| {
                format!("{} {}", r["rtype"].as_str().unwrap_or("?"), r["name"].as_str().unwrap_or("?")) == *question
            };
            match of_type("lookup").find(asked) {
                Some(record) if record["error"].as_str().unwrap_or("") == error => {}
                other => faults.push(format!("{question}: {other:?}, wanted {error:?}")),
            }
        }
        if let Some(kind) = &case.diagnosis {
            let first = of_type("diagnosis").next().map(|record| &record["kind"]);
            if first.and_then(Value::as_str) != Some(kind) {
                faults.push(format!("the first diagnosis is {first:?}, wanted {kind}"));
            }
        }
        faults
    }

    fn mxprobe(&self, case: &Case) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
        command.arg("run").arg(&case.domain).args(["--format", "jsonl", "--history", "none", "--timeout", "5s"]);
        // On loopback nobody is bothered, and no refusal is a reason to come back later.
        command.args(["--rate", "6000/min", "--per-provider", "8", "--ignore-rest"]);
        for (flag, value) in [("--dns", &*self.dns), ("--port", &self.port), ("--from", "me@probe.example")] {
            if !case.flags.iter().any(|given| given == flag) {
                command.args([flag, value]);
            }
        }
        for source in case.ends.iter().filter_map(|end| end.source.as_ref()) {
            command.args(["--source", source]);
        }
        if !case.to.is_empty() {
            let owned = self.dir.join("owned");
            std::fs::write(&owned, case.to.join("\n")).unwrap();
            command.arg("--owned").arg(owned);
        }
        for to in &case.to {
            command.args(["--to", to]);
        }
        let (anchor, resolver) = (self.dir.join("root.key"), self.resolver.as_deref().unwrap_or_default());
        let places = [("CLOSED", self.closed.as_str()), ("ANCHOR", anchor.to_str().unwrap()), ("RESOLVER", resolver)];
        let fill = |flag: &String| places.iter().fold(flag.clone(), |flag, (name, value)| flag.replace(name, value));
        command.args(case.flags.iter().map(fill));
        command.env("XDG_STATE_HOME", self.dir.join("state"));
        command.output().unwrap()
    }

    /// What the tarpit is for: it would write a client down that speaks before the greeting is over.
    fn catches_who_does_not_wait(&self) {
        let before = self.log.size();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 99], 0)).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 1, 0, 55], self.port.parse().unwrap())).into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        stream.write_all(b"EHLO early.probe.example\r\nQUIT\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let (seen, out_of_turn) = self.log.since(before, 1);
        assert!(!out_of_turn.is_empty(), "{seen:?}, and nothing amiss");
    }

    /// What of Postfix's own verdict is not as the case says.
    fn second_opinion(&self, case: &Case) -> Option<String> {
        let (wanted, _) = case.finger.as_ref().zip(self.resolver.as_ref())?;
        let before = self.log.size();
        let said = finger::verdict(&self.dir, &format!("{}:{}", case.domain, self.port));
        // What it did is on record before the next case looks.
        self.log.since(before, 1);
        (!said.contains(wanted)).then(|| format!("posttls-finger does not say {wanted:?}:\n{said}"))
    }
}

fn records(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))).collect()
}

/// What every run's records have in common: their order, their numbers, and what each must hold.
fn shape(records: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let types: Vec<_> = records.iter().map(|record| record["type"].as_str().unwrap_or("?")).collect();
    let first = |name| types.iter().position(|&kind| kind == name);
    if first("run") != Some(0) || types.last() != Some(&"summary") || first("session") > first("diagnosis") {
        faults.push(format!("records in the order {types:?}"));
    }
    let sessions: Vec<_> = records.iter().filter(|record| record["type"] == "session").collect();
    let mut numbers: Vec<_> = sessions.iter().filter_map(|session| session["seq"].as_u64()).collect();
    numbers.sort_unstable();
    if !numbers.iter().copied().eq(1..=sessions.len() as u64) {
        faults.push(format!("sessions numbered {numbers:?}"));
    }
    let needed = [
        ("run", "schema run at version targets sources until seed"),
        ("lookup", "run at name rtype resolver answers error ms"),
        (
            "session",
            "run seq attempt at role domain mx preference port variant to until kind code enhanced tag class \
                     text-class also notes detail expected steps",
        ),
        (
            "diagnosis",
            "run rank kind confidence sources addresses backends stage code failed tried elsewhere p leaning \
                       candidates windows because would-raise advice",
        ),
        ("summary", "run sessions completed failed local skipped elapsed-ms exit"),
    ];
    for (kind, fields) in needed {
        let mut any = false;
        for record in records.iter().filter(|record| record["type"] == kind) {
            any = true;
            for field in fields.split_whitespace().filter(|field| record.get(field).is_none()) {
                faults.push(format!("a {kind} line without {field}: {record}"));
            }
            if record["run"] != records[0]["run"] {
                faults.push(format!("a {kind} line of another run"));
            }
        }
        if !any {
            faults.push(format!("no {kind} line"));
        }
    }
    if let Some(summary) = records.last() {
        let sum: u64 = ["completed", "failed", "local", "skipped"].iter().filter_map(|f| summary[f].as_u64()).sum();
        if sum != sessions.len() as u64 || summary["sessions"].as_u64() != Some(sum) {
            faults.push(format!("{} sessions, and {summary}", sessions.len()));
        }
    }
    faults
}

/// What of the session's ending is not as the case says.
fn differs(session: &Value, end: &End) -> Option<String> {
    let mut text = String::new();
    let mut check = |field: &str, found: &Value, wanted: Value| {
        if *found != wanted {
            let _ = write!(text, "{field} {found}, wanted {wanted}; ");
        }
    };
    check("stage", &session["stage"], end.stage.clone().into());
    check("kind", &session["kind"], end.kind.clone().into());
    check("code", &session["code"], end.code.into());
    check("tag", &session["tag"], end.tag.clone().into());
    for (field, wanted) in [("enhanced", &end.enhanced), ("class", &end.class), ("text-class", &end.text_class)] {
        if wanted.is_some() {
            check(field, &session[field], wanted.clone().into());
        }
    }
    for (field, wanted) in [("banner", &end.banner), ("reply", &end.reply), ("also", &end.also), ("notes", &end.notes)]
    {
        if wanted.is_some() {
            check(field, &session[field], wanted.clone().into());
        }
    }
    if end.verified.is_some() {
        check("tls.verified", &session["tls"]["verified"], end.verified.into());
    }
    // The greeting name of a source is its PTR name, which the zone holds.
    if let Some(last) = end.source.as_ref().and_then(|source| source.strip_prefix("127.0.0.")) {
        check("ehlo", &session["ehlo"], format!("out{last}.probe.example").into());
    }
    let steps: BTreeMap<_, _> = (session["steps"].as_array().into_iter().flatten())
        .filter_map(|step| Some((step["stage"].as_str()?, step["ms"].as_f64()?)))
        .collect();
    for stage in steps.keys().copied().chain(end.takes.keys().map(String::as_str)) {
        let [least, most] = end.takes.get(stage).copied().unwrap_or(QUICK);
        if !steps.get(stage).is_some_and(|ms| (least..=most).contains(ms)) {
            let _ = write!(text, "{stage} took {:?} ms, wanted {least} to {most}; ", steps.get(stage));
        }
    }
    let has = |field: &Value, wanted: &str| field.as_str().is_some_and(|text| text.contains(wanted));
    if let Some(wanted) = end.dane.as_ref().filter(|wanted| !has(&session["tls"]["dane"], wanted)) {
        let _ = write!(text, "tls.dane {}, wanted {wanted:?}; ", session["tls"]["dane"]);
    }
    if let Some(wanted) = end.detail.as_ref().filter(|wanted| !has(&session["detail"], wanted)) {
        let _ = write!(text, "detail {}, wanted {wanted:?}; ", session["detail"]);
    }
    (!text.is_empty()).then(|| format!("{} to {}: {text}{session}", session["source"], session["address"]))
}
