//! Plays every case of `tests/web/requests.toml` against the listener, over real connections: what
//! is sent, byte for byte, and what must come back, and how soon. Behind the listener is a watch with
//! a simulated provider.
//!
//! Beside them what takes several connections, and what the metrics of a round on record are.

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "the facts of a probe are for other players")]
mod facts;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mxprobe::catalog::Catalog;
use mxprobe::dns::Dns;
use mxprobe::ledger::{Account, Admission, Ask, Ledger, Rest, RunLedger};
use mxprobe::probe::layer::ProbeLayer;
use mxprobe::probe::{HostSpec, Probe};
use mxprobe::record::{Incident, Line};
use mxprobe::run::Setup;
use mxprobe::sim::{Ports, Provider, Scenario};
use mxprobe::sink::metrics::Notation;
use mxprobe::stage::Stage;
use mxprobe::web::{Board, Budget, Daemon, Listener, Web, Window, router};
use mxprobe::wire::Trust;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: String,
    /// The lines of a request that must be answered first.
    #[serde(default)]
    before: Vec<String>,
    /// The lines of the request.
    send: Vec<String>,
    /// Sent as it is, and nothing behind it.
    #[serde(default)]
    partial: String,
    /// None: the connection is closed without an answer.
    status: Option<u16>,
    /// Seconds.
    #[serde(default = "soon")]
    within: f64,
    /// What stands in the answer, its head in lower case.
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
    /// Others can ask at this listener.
    #[serde(default)]
    public: bool,
}

fn soon() -> f64 {
    10.0
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_as_it_should_be() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/requests.toml")).unwrap();
    let cases = toml::from_str::<File>(&text).unwrap().case;
    assert!(cases.len() >= 25, "only {} cases were found", cases.len());
    let mut playing = JoinSet::new();
    // Each with a watch of its own: one's probes are not another's.
    for case in cases {
        playing.spawn(async move {
            let watch = Watch::start(case.public).await;
            let faults = play(&case, &watch).await;
            faults.into_iter().map(|fault| format!("{}: {fault}", case.name)).collect::<Vec<_>>()
        });
    }
    let wrong = playing.join_all().await.concat();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

async fn play(case: &Case, watch: &Watch) -> Vec<String> {
    if !case.before.is_empty() {
        watch.ask(&watch.request(&case.before)).await;
    }
    let request = if case.partial.is_empty() { watch.request(&case.send) } else { case.partial.clone() };
    let begun = Instant::now();
    let answer = watch.ask(&request).await;
    let took = begun.elapsed().as_secs_f64();
    let mut faults = Vec::new();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    if status != case.status {
        faults.push(format!("answered {status:?}, wanted {:?}: {}", case.status, answer.escape_debug()));
    }
    if took > case.within {
        faults.push(format!("took {took} s, wanted {} s", case.within));
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let answer = format!("{}\n\n{body}", head.to_lowercase());
    if answer.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n')) {
        faults.push(format!("something in it acts: {answer:?}"));
    }
    for text in case.has.iter().filter(|text| !answer.contains(*text)) {
        faults.push(format!("{text:?} is not in {answer}"));
    }
    for text in case.lacks.iter().filter(|text| answer.contains(*text)) {
        faults.push(format!("{text:?} is in {answer}"));
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_same_waits_for_the_same() {
    let watch = Watch::start(false).await;
    let ask = |module: &str| {
        let lines = [
            format!("GET /probe?target=silent.example&module={module} HTTP/1.1"),
            "Host: 127.0.0.1".to_owned(),
            "X-Prometheus-Scrape-Timeout-Seconds: 2".to_owned(),
        ];
        watch.request(&lines)
    };
    let (good, slow) = (ask("good"), ask("slow"));
    let (first, second, third, other) = tokio::join!(watch.ask(&good), watch.ask(&good), watch.ask(&good), async {
        // Behind the first, which must be under way.
        while watch.provider.peaks().all == 0 {
            tokio::task::yield_now().await;
        }
        watch.ask(&slow).await
    });
    for answer in [&first, &second, &third] {
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("probe_success 0"), "{answer}");
    }
    assert!(other.starts_with("HTTP/1.1 429") && other.contains("is being probed by module good"), "{other}");
    assert_eq!(watch.provider.seen().len(), 1, "one session for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_say_nothing_hold_nobody_up_for_long() {
    let watch = Watch::start(false).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(watch.address).await.unwrap());
    }
    let request = watch.request(&["GET /-/healthy HTTP/1.1".to_owned(), "Host: 127.0.0.1".to_owned()]);
    // Behind all of them, each of which has its five seconds, 64 at a time.
    let answer = timeout(Duration::from_secs(25), watch.ask(&request)).await.expect("no answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_metrics_of_a_round_are_the_ones_on_record() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = std::fs::read_to_string(folder.join("outputs/dns-failed.jsonl")).unwrap();
    let text = text + &std::fs::read_to_string(folder.join("outputs/single.jsonl")).unwrap();
    let lines: Vec<Line> = text.lines().filter_map(|line| Line::parse(line).unwrap()).collect();
    let board = Board::default();
    let probe = Arc::new(settled(|layer| layer.domain = "aol.com".parse().ok()));
    board.watch([("aol".to_owned(), Arc::clone(&probe)), ("gmx \"\\\n".to_owned(), probe)]);
    let at: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    board.round("aol", &lines, at, Duration::from_millis(1500));
    board.missed("aol", 2);
    board.next_round("aol", Some("2026-11-24T10:15:00Z".parse().unwrap()));
    let incident: Incident = serde_json::from_value(serde_json::json!({
        "id": 1, "domain": "aol.com", "kind": "receiver-outage", "confidence": "high",
        "opened": {"after": null, "by": "2026-11-24T09:00:00Z"}, "sessions": 4, "failed": 4,
    }))
    .unwrap();
    board.incidents("aol", vec![incident]);
    board.receivers_failing(1);
    board.budgets(vec![Budget { provider: "aol.com".to_owned(), window: Window::Hour, left: 17 }]);
    for (notation, ending) in [(Notation::Text, "text"), (Notation::OpenMetrics, "openmetrics")] {
        let mut found = Vec::new();
        board.expose("2026-11-24T10:01:30Z".parse().unwrap()).write(&mut found, notation).unwrap();
        let found = String::from_utf8(found).unwrap().replace(env!("CARGO_PKG_VERSION"), "VERSION");
        facts::compare(&folder.join(format!("web/metrics-{ending}.expected")), &found);
    }
}

/// A watch with a listener, as far as the listener knows.
struct Watch {
    address: SocketAddr,
    provider: Arc<Provider>,
    _running: watch::Sender<bool>,
}

impl Watch {
    async fn start(public: bool) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/provider.toml");
        let scenario = Scenario::parse("provider", &std::fs::read_to_string(folder).unwrap()).unwrap();
        let provider = Arc::new(Provider::start(scenario, Ports::default()).await.unwrap());
        let flags = ProbeLayer {
            sources: vec!["127.0.0.5".parse().unwrap()],
            ehlo: "probe.example".parse().ok(),
            port: Some(provider.port()),
            ..ProbeLayer::default()
        };
        let over = |change: &dyn Fn(&mut ProbeLayer)| {
            let base = flags.clone();
            Arc::new(settled(|layer| {
                *layer = base.clone();
                layer.domain = "good.example".parse().ok();
                change(layer);
            }))
        };
        let board = Arc::new(Board::default());
        let mailbox: mxprobe::address::Mailbox = "me@good.example".parse().unwrap();
        board.watch([
            ("good".to_owned(), over(&|_| {})),
            ("slow".to_owned(), over(&|layer| layer.limits.rate = "1/h".parse().ok())),
            (
                "sends".to_owned(),
                over(&|layer| {
                    (layer.to, layer.owned) = (vec![mailbox.clone()], vec![mailbox.clone()]);
                    (layer.send, layer.until) = (Some(true), Some(Stage::EndOfData));
                }),
            ),
        ]);
        board.history_open(true);
        let daemon = Arc::new(Behind { dns: provider.dns(), ledger: OneForAll::default() });
        let listener = Listener::open("0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let (running, cancel) = watch::channel(false);
        let web = Web::new(board, daemon, flags, !public).called(vec!["probes.example".parse().unwrap()]);
        tokio::spawn(listener.serve(router(web), cancel));
        Self { address, provider, _running: running }
    }

    /// The lines as a request; `{port}` is the provider's, `{20000}` so many letters.
    fn request(&self, lines: &[String]) -> String {
        let mut text = lines.join("\r\n").replace("{port}", &self.provider.port().to_string()) + "\r\n\r\n";
        for many in [20_000, 70_000] {
            text = text.replace(&format!("{{{many}}}"), &"x".repeat(many));
        }
        text
    }

    /// Everything that comes back until the connection is closed.
    async fn ask(&self, request: &str) -> String {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        // Who is turned away early may not read it all.
        let _ = tcp.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(30), tcp.read_to_end(&mut answer)).await.expect("it stays open");
        String::from_utf8(answer).unwrap()
    }
}

/// What is behind the listener.
struct Behind {
    dns: SocketAddr,
    ledger: OneForAll,
}

#[async_trait::async_trait]
impl Daemon for Behind {
    fn setup(&self, probe: Arc<Probe>) -> Result<Setup, String> {
        Ok(Setup {
            dns: Dns::new(&[self.dns], Duration::from_secs(5)),
            trust: Trust::system(),
            ledger: Box::new(self.ledger.clone()),
            catalog: Catalog::built_in(),
            seed: 7,
            dane: false,
            dry_run: false,
            transcript: false,
            simulated: true,
            probes: vec![probe],
        })
    }

    async fn reload(&self) -> Result<String, String> {
        Err("good.toml:3: no such key \u{1b}[2J".to_owned())
    }
}

/// What was started by one probe counts for the next.
#[derive(Clone, Default)]
struct OneForAll(Arc<Mutex<RunLedger>>);

impl Ledger for OneForAll {
    fn admit(&mut self, ask: &Ask<'_>) -> Admission {
        self.0.lock().unwrap().admit(ask)
    }

    fn rest(&mut self, run: &str, account: &Account, source: IpAddr, rest: Rest, now: Timestamp) {
        self.0.lock().unwrap().rest(run, account, source, rest, now);
    }
}

fn settled(change: impl Fn(&mut ProbeLayer)) -> Probe {
    let mut layer = ProbeLayer { hosts: Vec::<HostSpec>::new(), ..ProbeLayer::default() };
    change(&mut layer);
    layer.settle(|_| Ok(b"Subject: x\r\n\r\nx\r\n".to_vec())).unwrap()
}
