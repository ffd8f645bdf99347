//! A simulated provider and a run against it, command line and all: what the players of
//! `tests/engine` and of the shipped probes share.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mxprobe::catalog::Catalog;
use mxprobe::cli::{self, Command};
use mxprobe::dns::Dns;
use mxprobe::judge::{Evidence, judge};
use mxprobe::ledger::RunLedger;
use mxprobe::record::{Check, Diagnosis, Gate, Kind, Line, Lookup, Session, Summary};
use mxprobe::run::{Event, Setup, run, smoke};
use mxprobe::sim::{Ports, Provider, Scenario, Seen};
use mxprobe::stage::Stage;
use mxprobe::wire::Trust;
use regex::Regex;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How long anything that is to come may take.
const SOON: Duration = Duration::from_mins(1);

/// A provider that is up, and files for a run to read.
pub(crate) struct World {
    pub(crate) provider: Provider,
    dir: TempDir,
    trust: Trust,
    /// Holds a port on which nobody answers: it takes datagrams from one address alone.
    dead: UdpSocket,
}

/// All that a run had to say, and what the provider saw of it.
pub(crate) struct Ran {
    pub(crate) lines: Vec<Line>,
    pub(crate) left_out: Vec<String>,
    pub(crate) summary: Summary,
    pub(crate) seen: Vec<Seen>,
    /// The mailboxes that the run may write to, and how deep it may go.
    pub(crate) owned: Vec<String>,
    pub(crate) until: Stage,
}

impl World {
    pub(crate) async fn start(scenario: &str, files: &BTreeMap<String, String>, trust: bool) -> Self {
        static ROOTS: OnceLock<Trust> = OnceLock::new();
        let scenario = Scenario::parse("scenario", scenario).unwrap_or_else(|e| panic!("{e}"));
        let provider = Provider::start(scenario, Ports::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut roots = ROOTS.get_or_init(Trust::system).clone();
        if trust {
            let path = dir.path().join("authority.pem");
            std::fs::write(&path, provider.authority().unwrap()).unwrap();
            roots = roots.with_file(&path).unwrap();
        }
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap();
        dead.connect("127.0.0.1:1").unwrap();
        Self { provider, dir, trust: roots, dead }
    }

    /// Runs `mxprobe run` with these arguments against the provider.
    ///
    /// # Errors
    ///
    /// What keeps the run from starting, as the program would say it.
    pub(crate) async fn run(&self, words: &[String]) -> Result<Ran, String> {
        self.command("run", words).await
    }

    /// The same of `run` or `smoke`.
    ///
    /// # Errors
    ///
    /// As [`World::run`].
    pub(crate) async fn command(&self, verb: &str, words: &[String]) -> Result<Ran, String> {
        let mut all: Vec<String> = words.iter().map(|word| self.fill_in(word)).collect();
        let given = |flag: &str| words.iter().any(|word| word == flag);
        for (flag, value) in [("--dns", "{dns}"), ("--port", "{port}"), ("--seed", "7")] {
            if !given(flag) {
                all.extend([flag.to_owned(), self.fill_in(value)]);
            }
        }
        let argv = ["mxprobe", verb].map(str::to_owned).into_iter().chain(all).map(OsString::from);
        let (probes, options) = match cli::parse_with(argv, &|_| None) {
            Ok(Command::Run(run)) => (run.probes, run.options),
            Ok(Command::Smoke(smoke)) => (smoke.probes, smoke.options),
            Ok(other) => panic!("{other:?}"),
            Err(usage) => return Err(usage.message),
        };
        let owned = probes.iter().flat_map(|probe| probe.envelope.to.iter().map(ToString::to_string)).collect();
        let until = probes.iter().map(|probe| probe.until).max().unwrap();
        let patience = probes.iter().map(|probe| probe.timeouts.get(Stage::Resolve)).max().unwrap();
        let setup = Setup {
            dns: Dns::new(&options.dns, patience),
            trust: self.trust.clone(),
            ledger: Box::new(RunLedger::default()),
            catalog: Catalog::built_in(),
            seed: options.seed.unwrap(),
            dane: verb == "smoke",
            dry_run: options.dry_run,
            transcript: options.transcript,
            simulated: true,
            probes: probes.into_iter().map(Arc::new).collect(),
        };
        let (lines, left_out, summary) = timeout(SOON, listen(setup, verb == "smoke")).await.unwrap()?;
        let mut ran = Ran { lines, left_out, summary, seen: Vec::new(), owned, until };
        ran.seen = self.seen(ran.sessions().filter(|session| has_connected(session)).count()).await;
        Ok(ran)
    }

    /// What the provider saw, once so many connections have come and all have ended.
    async fn seen(&self, connections: usize) -> Vec<Seen> {
        let mut ended = self.provider.ended();
        let all = async {
            loop {
                let seen = self.provider.seen();
                if seen.len() >= connections && seen.iter().all(|seen| seen.ended.is_some()) {
                    return seen;
                }
                let _ = ended.recv().await;
            }
        };
        let all = timeout(SOON, all).await;
        all.unwrap_or_else(|_| panic!("wanted {connections} connections, saw {:?}", self.provider.seen()))
    }

    fn fill_in(&self, word: &str) -> String {
        let dead = self.dead.local_addr().unwrap();
        word.replace("{dir}", &self.dir.path().display().to_string())
            .replace("{dns}", &self.provider.dns().to_string())
            .replace("{port}", &self.provider.port().to_string())
            .replace("{dead}", &dead.to_string())
    }

    /// The text without what is another in every run.
    pub(crate) fn plain(&self, text: &str) -> String {
        let mut text = text.replace(&self.dir.path().display().to_string(), "{dir}");
        for (found, name) in [
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "{time}"),
            (r"Date: [^\r\n]+", "Date: {date}"),
            (r"an interface with an address, one of .+", "an interface with an address, one of {interfaces}"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "{run}"),
        ] {
            text = Regex::new(found).unwrap().replace_all(&text, name).into_owned();
        }
        text.replace(&format!(":{}", self.provider.port()), ":{port}")
    }
}

impl Ran {
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.lines.iter().filter_map(|line| if let Line::Session(session) = line { Some(&**session) } else { None })
    }

    pub(crate) fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.lines.iter().filter_map(|line| if let Line::Lookup(lookup) = line { Some(lookup) } else { None })
    }

    pub(crate) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.lines.iter().filter_map(|line| if let Line::Check(check) = line { Some(check) } else { None })
    }

    pub(crate) fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.lines.iter().filter_map(|line| if let Line::Gate(gate) = line { Some(&**gate) } else { None })
    }

    pub(crate) fn diagnoses(&self) -> impl Iterator<Item = &Diagnosis> {
        self.lines
            .iter()
            .filter_map(|line| if let Line::Diagnosis(diagnosis) = line { Some(&**diagnosis) } else { None })
    }

    /// The planned sessions of a dry run, as JSON without what is another in every run.
    pub(crate) fn planned(&self) -> impl Iterator<Item = String> {
        self.lines.iter().filter_map(|line| {
            let Line::Planned(fields) = line else { return None };
            let mut fields = fields.clone();
            fields.retain(|name, _| !matches!(name.as_str(), "run" | "at" | "port"));
            Some(format!("planned {}", serde_json::Value::Object(fields)))
        })
    }
}

/// Listens to a run until it has no more to say.
async fn listen(setup: Setup, is_smoke: bool) -> Result<(Vec<Line>, Vec<String>, Summary), String> {
    let (tell, mut events) = mpsc::channel(16);
    let (_stop, cancel) = watch::channel(false);
    let running =
        if is_smoke { tokio::spawn(smoke(setup, tell, cancel)) } else { tokio::spawn(run(setup, tell, cancel)) };
    let (mut lines, mut left_out) = (Vec::new(), Vec::new());
    while let Some(event) = events.recv().await {
        match event {
            Event::Line(line) => lines.push(line),
            Event::Planned { left_out: names, .. } => left_out = names,
            Event::Transcript(..) => {}
        }
    }
    let summary = running.await.unwrap().map_err(|e| e.to_string())?;
    Ok((lines, left_out, summary))
}

/// Whether the session came to a connection.
pub(crate) fn has_connected(session: &Session) -> bool {
    session.steps.first().is_some_and(|step| step.stage == Stage::Connect)
        && (session.stage > Some(Stage::Connect) || session.kind == Kind::Completed)
}

/// Judges what is on record again: it must come to the same.
pub(crate) fn judged_again(name: &str, ran: &Ran) {
    let mut evidence = Evidence::new();
    let known = |line: &&Line| !matches!(line, Line::Diagnosis(_) | Line::Summary(_) | Line::Planned(_));
    ran.lines.iter().filter(known).for_each(|line| evidence.add(line));
    let again = judge(&evidence, Catalog::built_in());
    let first: Vec<&Diagnosis> = ran.diagnoses().collect();
    if !first.is_empty() {
        assert_eq!(first, again.iter().collect::<Vec<_>>(), "{name}: judged otherwise a second time");
    }
}

/// A diagnosis in one line.
pub(crate) fn short(diagnosis: &Diagnosis) -> String {
    let Diagnosis { kind, confidence, sources, addresses, candidates, .. } = diagnosis;
    let list = |items: Vec<String>| items.into_iter().flat_map(|item| [" ".to_owned(), item]).collect::<String>();
    let units = sources.iter().chain(addresses).map(ToString::to_string).collect();
    let candidates = candidates.iter().map(ToString::to_string).collect::<Vec<_>>();
    let of = if candidates.is_empty() { "" } else { ": one of" };
    format!("{kind} {confidence}{}{of}{}", list(units), list(candidates))
}

/// The Message-ID of a message.
pub(crate) fn message_id(message: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(message);
    text.lines().find_map(|line| line.strip_prefix("Message-ID:").map(|id| id.trim().to_owned()))
}

/// The scenario that a name stands for: a file of the folder scenarios/, or the text itself.
pub(crate) fn scenario(name: &str) -> String {
    if name.contains('\n') {
        return name.to_owned();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.toml"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
