//! Sessions a second: whole transactions with one small message into Postfix's `smtp-sink`, beside
//! Postfix's own `smtp-source`, turn by turn (Debian: packages `postfix` and `time`).
//!
//! The times are whole processes', from start to exit.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use timed::{Took, median, timed};

#[path = "support/timed.rs"]
mod timed;

const MXPROBE: &str = env!("CARGO_BIN_EXE_mxprobe");
const MAILBOX: &str = "me@own.example";
/// Several, because a source has only so many ports.
const SOURCES: usize = 10;

fn main() -> io::Result<()> {
    // `cargo test --benches` wants to know that it runs, not how fast.
    let (rounds, part) = if std::env::args().any(|arg| arg == "--bench") { (5, 1) } else { (1, 100) };
    let mut addresses = (1..=254).map(|n| Ipv4Addr::new(127, 0, 4, n)).cycle();
    // A sink for each measurement: the ports that the last one used up stay used up for a minute.
    let mut sink = || Sink::start(addresses.next().unwrap_or(Ipv4Addr::LOCALHOST));
    println!(
        "| at once | smtp-source /s | mxprobe /s | ratio | CPU us, smtp-source | mxprobe | ratio | peak MiB, smtp-source | mxprobe |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (at_once, sessions) in [(1, 5000), (50, 10_000), (500, 10_000)] {
        let sessions = sessions / part;
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            pairs.push((sink()?.smtp_source(at_once, sessions)?, sink()?.mxprobe(at_once, sessions)?));
        }
        row(at_once, f64::from(sessions), &pairs);
    }
    Ok(())
}

fn row(at_once: u32, sessions: f64, pairs: &[(Took, Took)]) {
    let of = |figure: &dyn Fn(&Took, &Took) -> f64| median(pairs.iter().map(|(a, b)| figure(a, b))).unwrap_or(f64::NAN);
    let rate = |took: &Took| sessions / took.wall.as_secs_f64();
    let cpu = |took: &Took| took.cpu.as_secs_f64() * 1e6 / sessions;
    #[expect(clippy::cast_precision_loss, reason = "far fewer KiB than that")]
    let peak = |took: &Took| took.peak as f64 / 1024.0;
    println!(
        "| {at_once} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} |",
        of(&|a, _| rate(a)),
        of(&|_, b| rate(b)),
        of(&|a, b| rate(b) / rate(a)),
        of(&|a, _| cpu(a)),
        of(&|_, b| cpu(b)),
        of(&|a, b| cpu(b) / cpu(a)),
        of(&|a, _| peak(a)),
        of(&|_, b| peak(b)),
    );
}

/// An `smtp-sink` that is up; dropping it ends its process.
struct Sink {
    process: Child,
    at: SocketAddr,
    owned: PathBuf,
}

impl Sink {
    fn start(address: Ipv4Addr) -> io::Result<Self> {
        let owned = std::env::temp_dir().join(format!("mxprobe-sessions-{}.txt", std::process::id()));
        std::fs::write(&owned, format!("{MAILBOX}\n"))?;
        let at = TcpListener::bind((address, 0))?.local_addr()?;
        let mut command = Command::new("smtp-sink");
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        command.args(["-m", "5000", &at.to_string(), "4000"]).stdout(Stdio::null());
        let process = command.spawn().map_err(|e| io::Error::new(e.kind(), format!("smtp-sink (postfix): {e}")))?;
        let sink = Self { process, at, owned };
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("smtp-sink does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(sink)
    }

    fn smtp_source(&self, at_once: u32, sessions: u32) -> io::Result<Took> {
        let (at_once, sessions, to) = (at_once.to_string(), sessions.to_string(), self.at.to_string());
        let words = ["-s", &at_once, "-m", &sessions, "-l", "400", "-f", MAILBOX, "-t", MAILBOX, &to];
        let (took, output) = timed("smtp-source", &words.map(str::to_owned), true)?;
        if !output.status.success() {
            return Err(io::Error::other(format!("smtp-source: {}", String::from_utf8_lossy(&output.stderr))));
        }
        Ok(took)
    }

    fn mxprobe(&self, at_once: u32, sessions: u32) -> io::Result<Took> {
        let (at_once, owned) = (at_once.to_string(), self.owned.display().to_string());
        let (host, port) = (self.at.ip().to_string(), self.at.port().to_string());
        let attempts = (sessions as usize / SOURCES).to_string();
        let mut words: Vec<_> = [
            ["run", "--host", &host, "--port", &port, "--own-mx"].as_slice(),
            &["--ehlo", "probe.example", "--from", MAILBOX, "--to", MAILBOX, "--owned", &owned],
            &["--until", "end-of-data", "--send", "--tls", "off", "--attempts", &attempts, "--pace", "0s"],
            &["--per-address", &at_once, "--per-provider", &at_once, "--rate", "1000000/s"],
            &["--history", "none", "--format", "jsonl"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        for source in 1..=SOURCES {
            words.extend(["--source".to_owned(), format!("127.0.2.{source}")]);
        }
        let (took, output) = timed(MXPROBE, &words, true)?;
        // Status 0: every session completed.
        if !output.status.success() {
            return Err(io::Error::other(format!("mxprobe: {}", String::from_utf8_lossy(&output.stderr))));
        }
        Ok(took)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.owned);
    }
}
