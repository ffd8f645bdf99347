//! The whole story with real parts: a provider breaks, heals and flaps; `mxprobe watch` makes one
//! incident of it; a real Alertmanager is told, and tells on, once each way; a real Prometheus scrapes
//! the same story and its rules fire once. `tests/run` installs both from Debian.
//!
//! The provider is simulated, goes by the number of connections, and everything is on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mxprobe::alert::{Courier, Notice, Pace};
use mxprobe::probe::alert::{Mail, Receiver};
use mxprobe::sim::{Ports, Provider, Scenario};
use mxprobe::wire::Trust;
use serde_json::Value;

/// What all of it may take: a minute is eight times what it takes on a machine at rest.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus and Alertmanager, which tests/run installs"]
async fn one_incident_is_one_alert_each_way_and_the_same_story_in_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = std::fs::read_to_string(parts("provider.toml")).unwrap();
    let provider = Provider::start(Scenario::parse("provider", &scenario).unwrap(), Ports::default()).await.unwrap();
    tokio::task::spawn_blocking(move || story(dir.path(), &provider)).await.unwrap();
}

fn story(dir: &Path, provider: &Provider) {
    let told = Sink::open();
    let alertmanager = start_alertmanager(dir, told.port);
    let mut probe = std::fs::read_to_string(parts("probe.toml")).unwrap();
    probe = probe.replace("@ALERTMANAGER@", &alertmanager.port.to_string());
    std::fs::write(dir.join("a.toml"), probe).unwrap();
    // The scraper is there before anything happens: it must have seen it healthy.
    let port = free_port();
    let prometheus = start_prometheus(dir, port);
    let mut watch = start_watch(dir, provider, port);
    until("Prometheus scrapes", || prometheus.query("sum(mxprobe_incidents_open)") == Some(0.0));

    until("Alertmanager knows of one alert", || alertmanager.alerts().len() == 1);
    let [alert] = &alertmanager.alerts()[..] else { panic!("{:?}", alertmanager.alerts()) };
    assert_eq!(alert["labels"]["alertname"], "MxprobeIncident", "{alert}");
    assert_eq!((&alert["labels"]["domain"], &alert["labels"]["incident"]), (&"a.example".into(), &"1".into()));
    assert!(alert["annotations"]["reply"].as_str().is_some_and(|reply| reply.contains("421")), "{alert}");
    assert!(alert["endsAt"].as_str() > alert["startsAt"].as_str(), "{alert}");
    until("the rule fires", || prometheus.query(FIRING) == Some(1.0));

    until("Alertmanager has told both ways", || told.statuses().len() >= 2);
    until("it is over in Prometheus", || prometheus.query("sum(mxprobe_incidents_open)") == Some(0.0));
    until("the rule is quiet", || prometheus.query(FIRING).is_none());
    until("the probe by HTTP is scraped", || prometheus.query("probe_success{job=\"probe\"}") == Some(1.0));
    // Some rounds more, all of them good: what comes now would come twice.
    let rounds = prometheus.query("mxprobe_rounds_total").unwrap_or_default();
    until("more rounds", || prometheus.query("mxprobe_rounds_total").is_some_and(|now| now >= rounds + 5.0));

    assert_eq!(told.statuses(), ["firing", "resolved"]);
    assert!(alertmanager.alerts().is_empty(), "{:?}", alertmanager.alerts());
    assert_eq!(prometheus.steps("sum(mxprobe_incidents_open)"), [0.0, 1.0, 0.0]);
    assert_eq!(prometheus.steps(&format!("{FIRING} or vector(0)")), [0.0, 1.0, 0.0]);
    let success = prometheus.steps("min(probe_success{job=\"mxprobe\",role=\"target\"})");
    assert!(success.len() >= 5 && success.first() == Some(&1.0) && success.last() == Some(&1.0), "{success:?}");
    assert_eq!(prometheus.steps("min(up)").last(), Some(&1.0));

    let metrics = get(watch.port, "/metrics").1;
    let mut check = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    assert!(check.wait().unwrap().success(), "{metrics}");
    assert!(Command::new("kill").args(["-TERM", &watch.child.id().to_string()]).status().unwrap().success());
    assert!(watch.child.wait().unwrap().success());
}

const FIRING: &str = "count(ALERTS{alertname=\"MxprobeIncident\",alertstate=\"firing\"})";

#[test]
#[ignore = "needs Prometheus, which tests/run installs"]
fn the_rules_and_the_configuration_are_what_prometheus_takes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    for words in ["check rules mxprobe.rules.yml", "test rules mxprobe.rules.test.yml", "check config prometheus.yml"] {
        let status = Command::new("promtool").args(words.split(' ')).current_dir(&folder).status().unwrap();
        assert!(status.success(), "promtool {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Postfix that tests/run starts"]
async fn a_real_relay_takes_a_notice() {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"));
    let log = Path::new(&var("MXPROBE_REAL_DIR")).join("maillog");
    let relay = format!("127.1.0.21:{}", var("MXPROBE_REAL_PORT")).parse().unwrap();
    let from = "mxprobe@probe.example".parse().ok();
    let receiver = Receiver::Mail(Mail { to: "ops@aol.com".parse().unwrap(), relay, from });
    let incident = serde_json::from_value(serde_json::json!({
        "id": 12, "domain": "aol.com", "kind": "receiver-outage", "confidence": "high",
        "opened": {"after": null, "by": "2026-11-24T10:00:00Z"}, "sessions": 4, "failed": 4,
        "reply": "554 no\r\n.\r\nMAIL FROM:<a@example.net>\r\n", "because": ["ü".repeat(2000)],
    }));
    let event = serde_json::from_value(serde_json::json!({"at": "2026-11-24T10:00:00Z", "event": "opened"}));
    let notice = Notice::of(&incident.unwrap(), &[event.unwrap()], jiff::Timestamp::now()).unwrap();
    let name = "probe.example".parse().unwrap();
    let courier = Courier { trust: Trust::system(), name, page: None, pace: Pace::default() };
    courier.hand_over(&receiver, &notice, jiff::Timestamp::now()).await.unwrap();
    let id = format!("message-id=<{}@probe.example>", notice.id);
    until("Postfix has it on record", || std::fs::read_to_string(&log).unwrap().contains(&id));
}

fn parts(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/parts/watch").join(name)
}

/// A process that is over when this is, and the port that it answers at.
struct Part {
    child: Child,
    port: u16,
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_alertmanager(dir: &Path, sink: u16) -> Part {
    let config = std::fs::read_to_string(parts("alertmanager.yml")).unwrap().replace("@SINK@", &sink.to_string());
    std::fs::write(dir.join("alertmanager.yml"), config).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus-alertmanager");
    command
        .arg(format!("--config.file={}", dir.join("alertmanager.yml").display()))
        .arg(format!("--storage.path={}", dir.join("alertmanager").display()))
        .args([&format!("--web.listen-address=127.0.0.1:{port}"), "--cluster.listen-address="]);
    let started = Part { child: quiet(&mut command, dir, "alertmanager.log"), port };
    until("Alertmanager is ready", || get(port, "/-/ready").0 == 200);
    started
}

fn start_prometheus(dir: &Path, watch: u16) -> Part {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/mxprobe.rules.yml");
    let config = std::fs::read_to_string(parts("prometheus.yml")).unwrap();
    let config = config.replace("@WATCH@", &watch.to_string()).replace("@RULES@", &rules.display().to_string());
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let started = Part { child: quiet(&mut command, dir, "prometheus.log"), port };
    until("Prometheus is ready", || get(port, "/-/ready").0 == 200);
    started
}

fn start_watch(dir: &Path, provider: &Provider, port: u16) -> Part {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
    command.arg("watch").arg(dir.join("a.toml")).args(["--listen", &port.to_string(), "--format", "jsonl"]);
    command.args(["--dns", &provider.dns().to_string(), "--port", &provider.port().to_string()]);
    command.arg("--history").arg(dir.join("history.sqlite"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().ends_with(&format!("listening on http://127.0.0.1:{port}"))));
    // Whoever is not read stands still.
    std::thread::spawn(move || said.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
    Part { child, port }
}

fn quiet(command: &mut Command, dir: &Path, log: &str) -> Child {
    let log = std::fs::File::create(dir.join(log)).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Part {
    /// The alerts that an Alertmanager knows to burn.
    fn alerts(&self) -> Vec<Value> {
        let (_, body) = get(self.port, "/api/v2/alerts?active=true");
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// What a Prometheus says to a question with one number for an answer.
    fn query(&self, question: &str) -> Option<f64> {
        let (_, body) = get(self.port, &format!("/api/v1/query?query={}", encoded(question)));
        let answer: Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// How the answer went since the beginning, each value once as long as it lasted.
    fn steps(&self, question: &str) -> Vec<f64> {
        let now = jiff::Timestamp::now().as_second();
        let range = format!("query={}&start={}&end={now}&step=1s", encoded(question), now - 120);
        let (_, body) = get(self.port, &format!("/api/v1/query_range?{range}"));
        let answer: Value = serde_json::from_str(&body).unwrap();
        let values = answer["data"]["result"][0]["values"].as_array().unwrap();
        let mut steps: Vec<f64> = values.iter().map(|pair| pair[1].as_str().unwrap().parse().unwrap()).collect();
        steps.dedup();
        steps
    }
}

/// Where Alertmanager tells what it was told.
struct Sink {
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let mut tcp = BufReader::new(tcp.unwrap());
                let (mut line, mut length) = (String::new(), 0);
                while tcp.read_line(&mut line).unwrap_or(0) > 0 && !line.trim_end().is_empty() {
                    let field = line.to_lowercase();
                    length = field.strip_prefix("content-length: ").map_or(length, |text| text.trim().parse().unwrap());
                    line.clear();
                }
                let mut body = vec![0; length];
                tcp.read_exact(&mut body).unwrap();
                let notice: Value = serde_json::from_slice(&body).unwrap();
                heard.lock().unwrap().push(notice["status"].as_str().unwrap().to_owned());
                let _ = tcp.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { port, told }
    }

    fn statuses(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

/// Status and body; 0 where nobody answers.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut answer = String::new();
    if let Ok(mut tcp) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = tcp.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes());
        let _ = tcp.read_to_string(&mut answer);
    }
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something is so, but not for ever.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
