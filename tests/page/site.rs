//! A listener with a watch's past behind it, and what comes back from it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mxprobe::catalog::Catalog;
use mxprobe::dns::Dns;
use mxprobe::history::archive::{Archive, StoreArchive};
use mxprobe::incident::{Round, Rule, Tracker};
use mxprobe::ledger::RunLedger;
use mxprobe::probe::Probe;
use mxprobe::probe::layer::ProbeLayer;
use mxprobe::record::Line;
use mxprobe::run::{self, Event, Setup};
use mxprobe::sim::{Ports, Provider, Scenario};
use mxprobe::web::{Board, Daemon, Listener, Web, router};
use mxprobe::wire::Trust;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::now;
use super::past::{DOMAIN, PROBE, Past};

pub(crate) struct Site {
    address: SocketAddr,
    /// The last round's id.
    pub(crate) run: String,
    directory: tempfile::TempDir,
    _running: watch::Sender<bool>,
}

/// What came back.
pub(crate) struct Page {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Site {
    pub(crate) async fn start(past: &Past) -> Self {
        Self::over(true, async |archive, board| past.draw(now(), archive, board)).await
    }

    /// Four probes, of which one has a past.
    pub(crate) async fn several(past: &Past) -> Self {
        Self::over(true, async |archive, board| {
            let run = past.draw(now(), archive, board);
            let targets =
                [(PROBE, DOMAIN), ("gmail.com", "gmail.com"), ("gmx.de", "gmx.de"), ("icloud.com", "icloud.com")];
            board.watch(targets.map(|(name, domain)| {
                let layer = ProbeLayer { domain: domain.parse().ok(), ..ProbeLayer::default() };
                (name.to_owned(), Arc::new(layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap()))
            }));
            run
        })
        .await
    }

    /// A past that nobody wrote down.
    pub(crate) async fn unkept(past: &Past) -> Self {
        Self::over(false, async |archive, board| past.draw(now(), archive, board)).await
    }

    /// A provider that writes pages, probed for real in three rounds.
    pub(crate) async fn hostile() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/hostile.toml");
        let scenario = Scenario::parse("hostile", &std::fs::read_to_string(file).unwrap()).unwrap();
        let provider = Provider::start(scenario, Ports::default()).await.unwrap();
        let mailbox: mxprobe::address::Mailbox = "john.doe@hostile.example".parse().unwrap();
        let layer = ProbeLayer {
            domain: "hostile.example".parse().ok(),
            to: vec![mailbox.clone()],
            owned: vec![mailbox],
            sources: vec!["127.0.0.11".parse().unwrap()],
            ehlo: "probe.example".parse().ok(),
            port: Some(provider.port()),
            ..ProbeLayer::default()
        };
        let probe = Arc::new(layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap());
        let name = "probes/<b>hostile</b>.toml";
        Self::over(true, async |archive, board| {
            board.watch([(name.to_owned(), Arc::clone(&probe))]);
            let mut tracker = Tracker::new("hostile.example".to_owned(), Rule::default());
            let mut last = String::new();
            for _ in 0..3 {
                let lines = probed(&provider, &probe).await;
                last = lines
                    .iter()
                    .find_map(|line| if let Line::Run(run) = line { Some(run.run.clone()) } else { None })
                    .unwrap();
                archive.keep(&last, Some(name), &lines).unwrap();
                board.round(name, &lines, now(), Duration::from_secs(1));
                for mut update in tracker.hear(Round { at: now(), lines: &lines }, Catalog::built_in()) {
                    archive.put_incident(Some(name), &mut update.incident, &[]).unwrap();
                    tracker.number(update.key, update.incident.id);
                }
            }
            board.incidents(name, tracker.incidents().map(|(_, incident)| incident.clone()).collect());
            assert_eq!(tracker.incidents().count(), 1, "there is an incident to be shown");
            last
        })
        .await
    }

    async fn over(kept: bool, draw: impl AsyncFnOnce(&mut dyn Archive, &Board) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = StoreArchive::open(&directory.path().join("history.sqlite")).unwrap();
        let board = Arc::new(Board::default());
        let run = draw(&mut archive, &board).await;
        let listener = Listener::open("0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let (running, cancel) = watch::channel(false);
        let history = kept.then(|| Box::new(archive) as Box<dyn Archive>);
        let web = Web::new(board, Arc::new(Nobody), ProbeLayer::default(), true).with_history(history);
        tokio::spawn(listener.serve(router(web), cancel));
        Self { address, run, directory, _running: running }
    }

    /// Makes the history one that cannot be read.
    pub(crate) fn damage(&self) {
        let db = rusqlite::Connection::open(self.directory.path().join("history.sqlite")).unwrap();
        db.execute_batch("DROP TABLE place; DROP TABLE incident").unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(30), tcp.read_to_end(&mut answer)).await.expect("it stays open");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Page { status, head: head.to_lowercase(), body: body.to_owned() }
    }
}

impl Page {
    /// What is to be read on it, with the blanks of one space.
    pub(crate) fn text(&self) -> String {
        let (mut text, mut inside) = (String::new(), true);
        for c in self.body.chars() {
            match c {
                '<' => inside = false,
                '>' => inside = true,
                c if inside => text.push(c),
                _ => {}
            }
            if !inside && !text.ends_with(' ') {
                text.push(' ');
            }
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        words
            .join(" ")
            .replace("&#60;", "<")
            .replace("&#62;", ">")
            .replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&#38;", "&")
    }

    /// The paths that it links to.
    pub(crate) fn links(&self) -> Vec<String> {
        let starts = self.body.match_indices(" href=\"").map(|(at, found)| &self.body[at + found.len()..]);
        let links = starts.filter_map(|rest| rest.split_once('"')).map(|(link, _)| link.replace("&#38;", "&"));
        links
            .map(|link| link.split('#').next().unwrap_or_default().to_owned())
            .filter(|link| !link.is_empty())
            .collect()
    }
}

/// The lines of one round at the provider.
async fn probed(provider: &Provider, probe: &Arc<Probe>) -> Vec<Line> {
    let setup = Setup {
        dns: Dns::new(&[provider.dns()], Duration::from_secs(5)),
        dane: false,
        trust: Trust::system(),
        ledger: Box::new(RunLedger::default()),
        catalog: Catalog::built_in(),
        seed: 7,
        dry_run: false,
        transcript: false,
        simulated: true,
        probes: vec![Arc::clone(probe)],
    };
    let (tell, mut events) = mpsc::channel(64);
    let (_stop, cancel) = watch::channel(false);
    let running = tokio::spawn(run::run(setup, tell, cancel));
    let mut lines = Vec::new();
    while let Some(event) = events.recv().await {
        if let Event::Line(line) = event {
            lines.push(line);
        }
    }
    running.await.unwrap().unwrap();
    lines
}

/// No watch is behind the listener.
struct Nobody;

#[async_trait::async_trait]
impl Daemon for Nobody {
    fn setup(&self, _: Arc<Probe>) -> Result<Setup, String> {
        Err("nothing is probed here".to_owned())
    }

    async fn reload(&self) -> Result<String, String> {
        Err("nothing is read here".to_owned())
    }
}
