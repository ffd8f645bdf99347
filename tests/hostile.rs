//! Servers that are slow, broken, hostile or old, over real sockets, against the whole engine.
//!
//! `hostile/*.toml` are the behaviours: what a server does at a stage, in place of its reply, and
//! what the record must say of it. Each is played at each of its stages, in the clear and under
//! TLS. Where nothing else is written the session must complete; what happens at `quit` changes
//! nothing, and so need not be written. No session may outlast the time it was given, and the ones
//! that are flooded must not grow.

#[path = "hostile/certificates.rs"]
mod certificates;
#[path = "hostile/server.rs"]
mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mxprobe::catalog::Catalog;
use mxprobe::dns::Dns;
use mxprobe::ledger::RunLedger;
use mxprobe::probe::layer::ProbeLayer;
use mxprobe::probe::{HostSpec, Probe};
use mxprobe::record::{Kind, Line, Session};
use mxprobe::run::{Event, Setup, run};
use mxprobe::smtp::reply::Code;
use mxprobe::smtp::session::TlsLevel;
use mxprobe::stage::Stage;
use mxprobe::timeouts::Timeouts;
use mxprobe::wire::Trust;
use peak_alloc::PeakAlloc;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use certificates::Certificates;
use server::{Act, Orders, bytes, reply, serve};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How much a session may take while it is flooded, with its transcript, its run and the server.
const MOST_MEMORY: usize = 4 * 1024 * 1024;
/// Time for a stage at which nothing hangs: nothing may come near it.
const AMPLE: Duration = Duration::from_secs(40);
/// How much longer than it should a session may take on a busy machine.
const SLACK: Duration = Duration::from_secs(15);
/// How many sessions run at once.
const AT_ONCE: usize = 32;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Family {
    #[expect(dead_code, reason = "for the reader of the file")]
    description: String,
    behaviour: Vec<Behaviour>,
}

/// What a server does, where, and what must come of it.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Behaviour {
    name: String,
    does: Vec<Act>,
    /// Default: every stage that has a reply.
    stages: Option<Vec<Stage>>,
    /// Default: both in the clear and under TLS.
    tls: Option<bool>,
    /// Default: opportunistic, once there is TLS.
    level: Option<TlsLevel>,
    #[serde(default = "good")]
    certificate: String,
    #[serde(default = "all_the_way")]
    until: Stage,
    /// How large a message is sent, in bytes; the server leaves it unread.
    message: Option<usize>,
    /// How long the stage may take, where only that ends it.
    #[serde(default, with = "duration")]
    hangs: Option<Duration>,
    /// Whether memory is watched, with no other session beside.
    #[serde(default)]
    flood: bool,
    #[serde(default)]
    ends: Ending,
    /// What is different at some stages.
    #[serde(default)]
    at: std::collections::BTreeMap<Stage, Ending>,
}

fn good() -> String {
    "good".to_owned()
}

const fn all_the_way() -> Stage {
    Stage::EndOfData
}

/// What the record must say.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Ending {
    kind: Option<Kind>,
    /// Default: where the server did it; of a session that completed, the last.
    stage: Option<Where>,
    code: Option<u16>,
    also: Option<Vec<String>>,
    notes: Option<Vec<String>>,
    /// A part of it.
    detail: Option<String>,
    /// A part of what is wrong with the certificate.
    problem: Option<String>,
    /// The reply's bytes are kept beside its text.
    base64: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Where {
    /// The stage behind the one where the server did it.
    Next,
    #[serde(untagged)]
    At(Stage),
}

impl Ending {
    /// What is left open is as `other` has it; kind, stage and code go together.
    fn or(self, other: Self) -> Self {
        let (stage, code) = if self.kind.is_some() { (None, None) } else { (other.stage, other.code) };
        Self {
            kind: self.kind.or(other.kind),
            stage: self.stage.or(stage),
            code: self.code.or(code),
            also: self.also.or(other.also),
            notes: self.notes.or(other.notes),
            detail: self.detail.or(other.detail),
            problem: self.problem.or(other.problem),
            base64: self.base64.or(other.base64),
        }
    }
}

/// One behaviour at one stage.
#[derive(Clone)]
struct Case {
    name: String,
    behaviour: Arc<Behaviour>,
    stage: Stage,
    tls: bool,
    /// How many bytes of its reply the server says, and of how many.
    cut: (usize, usize),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_is_told_as_it_was() {
    let only = std::env::var("HOSTILE").unwrap_or_default();
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.name.contains(&only)).collect();
    let world = Arc::new(World::new());
    let (mut wrong, mut skipped) = (String::new(), 0);

    let (alone, together): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.behaviour.flood);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for case in together {
        let (case, world, room) = (case.clone(), Arc::clone(&world), Arc::clone(&room));
        running.spawn(async move {
            let _one = room.acquire_owned().await.unwrap();
            play(&case, &world).await
        });
    }
    while let Some(played) = running.join_next().await {
        match played.unwrap() {
            Some(differences) => wrong.push_str(&differences),
            None => skipped += 1,
        }
    }
    for case in alone {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        wrong.push_str(&play(case, &world).await.unwrap());
        let grown = MEMORY.peak_usage().saturating_sub(before);
        if grown > MOST_MEMORY {
            writeln!(wrong, "{}: grew by {grown} bytes", case.name).unwrap();
        }
    }

    assert!(wrong.is_empty(), "{} of {} went wrong\n{wrong}", wrong.lines().count(), cases.len());
    eprintln!("{} combinations of behaviour, stage and encryption, {skipped} skipped for want of openssl", cases.len());
    if only.is_empty() {
        let told = format!("{} combinations", cases.len());
        let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/README.md")).unwrap();
        assert!(readme.contains(&told), "tests/README.md does not speak of {told}");
    }
}

/// Every behaviour at each of its stages, in the clear and under TLS, and where its reply is cut,
/// at each byte.
fn cases() -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let family: Family = toml::from_str(&std::fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for behaviour in family.behaviour {
            let behaviour = Arc::new(behaviour);
            for tls in [false, true] {
                for stage in stages(&behaviour, tls) {
                    let whole = behaviour.does.iter().find_map(|act| match act {
                        Act::Cut(text) => Some(bytes(text, stage, tls).len()),
                        _ => None,
                    });
                    for cut in 0..=whole.unwrap_or(0) {
                        let name = format!(
                            "{}: {} at {stage}, {}, {cut} bytes",
                            file.file_stem().unwrap().display(),
                            behaviour.name,
                            if tls { "tls" } else { "plain" }
                        );
                        let (behaviour, cut) = (Arc::clone(&behaviour), (cut, whole.unwrap_or(0)));
                        cases.push(Case { name, behaviour, stage, tls, cut });
                    }
                }
            }
        }
    }
    cases
}

fn stages(behaviour: &Behaviour, tls: bool) -> Vec<Stage> {
    if behaviour.tls.is_some_and(|only| only != tls) {
        return Vec::new();
    }
    let with_reply = |stage: Stage| !reply(stage, tls).is_empty();
    let all = Stage::ALL.iter().copied().filter(|stage| with_reply(*stage)).collect();
    let mut stages = behaviour.stages.clone().unwrap_or(all);
    stages.retain(|stage| tls || !matches!(stage, Stage::StartTls | Stage::Tls | Stage::EhloTls));
    stages
}

/// What all cases share.
struct World {
    certificates: Certificates,
    trust: Trust,
}

impl World {
    fn new() -> Self {
        let certificates = Certificates::new();
        let directory = tempfile::tempdir().unwrap();
        let roots = directory.path().join("roots.pem");
        std::fs::write(&roots, &certificates.root).unwrap();
        Self { trust: Trust::system().with_file(&roots).unwrap(), certificates }
    }
}

/// Plays a case and says what is wrong with its record. None: it cannot be played here.
async fn play(case: &Case, world: &World) -> Option<String> {
    let (tls, _process) = if case.tls {
        world.certificates.show(&case.behaviour.certificate)?
    } else {
        return Some(served(case, world, None).await);
    };
    Some(served(case, world, Some(tls)).await)
}

async fn served(case: &Case, world: &World, tls: Option<server::Tls>) -> String {
    let listener = listen(case.behaviour.message.is_some());
    let port = listener.local_addr().unwrap().port();
    let orders = Orders {
        stage: case.stage,
        does: case.behaviour.does.clone(),
        cut: case.cut.0,
        early: case.behaviour.message.is_some(),
        tls,
    };
    let server = tokio::spawn(serve(listener, orders));
    let begun = Instant::now();
    let session = tokio::time::timeout(AMPLE, session(case, world, port)).await;
    let took = begun.elapsed();
    server.abort();
    if let Err(e) = server.await
        && e.is_panic()
    {
        std::panic::resume_unwind(e.into_panic());
    }
    match session {
        Ok(session) => differences(case, &session, took),
        Err(_) => format!("{}: does not end\n", case.name),
    }
}

/// A socket, with hardly a buffer where the window is to close soon.
fn listen(narrow: bool) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    if narrow {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(8).unwrap()
}

async fn session(case: &Case, world: &World, port: u16) -> Session {
    let (events, mut said) = mpsc::channel(64);
    let (_stop, cancel) = watch::channel(false);
    let setup = Setup {
        probes: vec![Arc::new(probe(case, port))],
        dns: Dns::new(&["127.0.0.1:1".parse().unwrap()], AMPLE),
        trust: world.trust.clone(),
        ledger: Box::new(RunLedger::default()),
        catalog: Catalog::built_in(),
        seed: 1,
        dane: false,
        dry_run: false,
        transcript: true,
        simulated: false,
    };
    let running = tokio::spawn(run(setup, events, cancel));
    let mut sessions = Vec::new();
    while let Some(event) = said.recv().await {
        if let Event::Line(Line::Session(session)) = event {
            sessions.push(*session);
        }
    }
    running.await.unwrap().unwrap();
    assert_eq!(sessions.len(), 1, "{}", case.name);
    sessions.remove(0)
}

fn probe(case: &Case, port: u16) -> Probe {
    let to = "nobody@mx.example".parse().unwrap();
    let layer = ProbeLayer {
        hosts: vec![HostSpec::Address("127.0.0.1".parse().unwrap())],
        port: Some(port),
        ehlo: Some("probe.example".parse().unwrap()),
        to: vec![to],
        owned: vec!["nobody@mx.example".parse().unwrap()],
        until: Some(case.behaviour.until),
        send: Some(case.behaviour.until == Stage::EndOfData),
        tls: Some(if case.tls { case.behaviour.level.unwrap_or_default() } else { TlsLevel::Off }),
        ..ProbeLayer::default()
    };
    let mut probe = layer.settle(|_| unreachable!()).unwrap();
    let mut timeouts = Timeouts::all(AMPLE);
    if let Some(time) = case.behaviour.hangs {
        timeouts.set(case.stage, time);
    }
    probe.timeouts = Arc::new(timeouts);
    probe.message.body = case.behaviour.message.map(|size| vec![b'x'; size].into());
    probe
}

/// What the record should say.
fn expected(case: &Case) -> Ending {
    let Behaviour { ends, at, hangs, .. } = &*case.behaviour;
    let next = || match case.stage {
        Stage::StartTls => Some(Where::At(Stage::Tls)),
        _ => Some(Where::Next),
    };
    let at = at.get(&case.stage).cloned().unwrap_or_default();
    let cut = case.cut.1 > 0;
    let ending = match case.stage {
        // A reply that came in full was no worse for what followed it.
        Stage::EndOfData if cut && case.cut.0 == case.cut.1 => Ending::default(),
        Stage::StartTls if cut && case.cut.0 == case.cut.1 => {
            Ending { kind: Some(Kind::TlsFailed), stage: next(), ..Ending::default() }
        }
        _ if cut && case.cut.0 == case.cut.1 => Ending { stage: next(), ..ends.clone() },
        _ => ends.clone(),
    };
    let ending = at.clone().or(ending);
    let hung = Ending { kind: hangs.map(|_| Kind::TimedOut), ..Ending::default() };
    if case.stage == Stage::Quit { at } else { ending.or(hung) }
}

/// What the record says otherwise than it should.
fn differences(case: &Case, session: &Session, took: Duration) -> String {
    let expected = expected(case);
    let mut wrong = String::new();
    let mut check = |what: &str, ok: bool| {
        if !ok {
            _ = write!(wrong, "{what}, ");
        }
    };
    let kind = expected.kind.unwrap_or(Kind::Completed);
    let stage = match expected.stage {
        Some(Where::At(stage)) => stage,
        Some(Where::Next) => following(case),
        None if kind == Kind::Completed => case.behaviour.until,
        None => case.stage,
    };
    check("kind", session.kind == kind);
    check("stage", session.stage == Some(stage));
    check("code", kind == Kind::Completed || session.code.map(Code::get) == expected.code);
    // How much of a flood is read is nobody's to say.
    let also = expected.also.or_else(|| (!case.behaviour.flood).then(Vec::new));
    check("also", also.is_none_or(|also| session.also == also));
    let notes = expected.notes.unwrap_or_default();
    check("notes", notes.iter().all(|note| session.notes.contains(note)));
    let detail = session.detail.clone().unwrap_or_default();
    check("detail", detail.contains(&expected.detail.unwrap_or_default()));
    check("no detail", matches!(kind, Kind::Completed | Kind::Rejected) || !detail.is_empty());
    check("base64", session.reply_base64.is_some() == expected.base64.unwrap_or(false));
    let problem = session.tls.as_ref().and_then(|tls| tls.problem.clone()).unwrap_or_default();
    check("problem", problem.contains(&expected.problem.unwrap_or_default()));

    let least = if kind == Kind::TimedOut { case.behaviour.hangs.unwrap_or_default() } else { Duration::ZERO };
    let most = case.behaviour.hangs.unwrap_or_default() + SLACK;
    check("time", (least..most).contains(&took));
    check("total", session.total_ms.is_some_and(|ms| ms <= took.as_secs_f64() * 1000.0));
    check("steps", kind == Kind::Completed || session.steps.iter().any(|step| step.stage == stage));
    if wrong.is_empty() {
        return wrong;
    }
    let Session { stage, kind, code, also, notes, detail, steps, tls, .. } = session;
    let stage = stage.map(Stage::as_str).unwrap_or_default();
    let steps: Vec<_> = steps.iter().map(|step| (step.stage.as_str(), step.ms.round())).collect();
    format!(
        "{}: {wrong}found {kind} {stage} {code:?} {also:?} {notes:?} {detail:?} {:?} in {took:?} {steps:?}\n",
        case.name,
        tls.as_ref().and_then(|tls| tls.problem.as_ref())
    )
}

/// The stage that comes after the case's.
fn following(case: &Case) -> Stage {
    match case.stage {
        Stage::Ehlo if case.tls => Stage::StartTls,
        Stage::Ehlo | Stage::EhloTls => Stage::Mail,
        stage => Stage::ALL.iter().copied().find(|next| *next > stage).unwrap(),
    }
}

mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        mxprobe::duration::parse(&text).map(Some).map_err(serde::de::Error::custom)
    }
}
