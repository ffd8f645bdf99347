//! What the status page costs over a history of 2,000,000 sessions: from the request to the last
//! byte, over a connection of its own, as a browser asks.
//!
//! ```text
//! cargo bench --bench page [-- SESSIONS]
//! ```
//!
//! The file lies in the temporary directory (`TMPDIR`) and is gone afterwards.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mxprobe::history::archive::{Archive as _, StoreArchive};
use mxprobe::probe::Probe;
use mxprobe::probe::layer::ProbeLayer;
use mxprobe::record::Incident;
use mxprobe::run::Setup;
use mxprobe::web::{Board, Daemon, Listener, Web, router};
use tokio::sync::watch;

#[path = "../tests/support/kept.rs"]
#[expect(dead_code, reason = "what kills and looks again is for others")]
mod kept;

/// Sources and addresses of a round.
const ROUND: (u64, u64) = (10, 23);
const TIMES: usize = 11;
const PROBE: &str = "probes/aol.toml";

fn main() {
    // A test run wants nothing but that it starts.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let sessions = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(2_000_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let mut archive = StoreArchive::open(&path).unwrap();
    let board = Arc::new(Board::default());
    let layer = ProbeLayer { domain: "aol.com".parse().ok(), ..ProbeLayer::default() };
    let probe = layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    board.watch([(PROBE.to_owned(), Arc::new(probe))]);
    let (now, rounds) = (Timestamp::now(), u64::div_ceil(sessions, ROUND.0 * ROUND.1));
    let (begun, mut run) = (Instant::now(), String::new());
    for n in 0..rounds {
        run = format!("0199{n:08x}-0000-7000-8000-000000000000");
        let before = SignedDuration::from_mins(15 * i64::try_from(rounds - n).unwrap());
        let lines = kept::round(&run, now - before, ROUND.0, ROUND.1);
        archive.keep(&run, Some(PROBE), &lines).unwrap();
        if n + 1 == rounds {
            board.round(PROBE, &lines, now, Duration::from_mins(1));
        }
    }
    let sessions = rounds * ROUND.0 * ROUND.1;
    println!("{sessions} sessions in {rounds} rounds, written in {:.0} s", begun.elapsed().as_secs_f64());
    let mut incident = incident(now);
    archive.put_incident(Some(PROBE), &mut incident, &[]).unwrap();
    board.incidents(PROBE, vec![incident]);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let address = runtime.block_on(async {
        let listener = Listener::open("0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let (running, cancel) = watch::channel(false);
        let web = Web::new(board, Arc::new(Nobody), ProbeLayer::default(), true).with_history(Some(Box::new(archive)));
        tokio::spawn(async move {
            let _running = running;
            listener.serve(router(web), cancel).await;
        });
        address
    });
    for (what, path) in [
        ("the page, 24 h", "/".to_owned()),
        ("the page, 7 days", "/?range=7d".to_owned()),
        ("the page, 30 days", "/?range=30d".to_owned()),
        ("the page of one source, 30 days", "/?source=192.0.2.13&range=30d".to_owned()),
        ("a session and those around it", format!("/session/{run}/100")),
        ("an incident and its failures", "/incident/1".to_owned()),
        ("a run", format!("/run/{run}")),
    ] {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..TIMES {
            let begun = Instant::now();
            bytes = get(address, &path);
            times.push(begun.elapsed());
        }
        let first = times[0].as_secs_f64() * 1000.0;
        times.sort();
        let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
        let (median, least, most) = (ms(TIMES / 2), ms(0), ms(TIMES - 1));
        println!("{what}: {median:.1} ms, {least:.1} to {most:.1}, the first {first:.1} ({} KB)", bytes / 1000);
    }
}

fn get(address: SocketAddr, path: &str) -> usize {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    answer.len()
}

fn incident(now: Timestamp) -> Incident {
    let hours = |hours| now - SignedDuration::from_hours(hours);
    serde_json::from_value(serde_json::json!({
        "id": 0, "domain": "aol.com", "kind": "sender-ip-block", "confidence": "high",
        "opened": {"after": hours(50), "by": hours(49)}, "sources": ["192.0.2.13"], "stage": "mail", "code": 421,
        "sessions": 4508, "failed": 4508, "because": ["one source is refused, all others pass"]
    }))
    .unwrap()
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
