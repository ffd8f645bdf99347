//! Many slow servers: 15,000 sessions in flight against a tarpit, in the clear and under TLS.
//!
//! What a session holds, how late its timer is, and what becomes of more sessions than there are
//! descriptors. The tarpit is a process of its own; the memory is that of the process which probes.
//! `-- N` takes N sessions instead, a multiple of 100.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use descriptors::{limited, most_descriptors};
use tarpit::Tarpit;

#[path = "support/descriptors.rs"]
mod descriptors;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/tarpit.rs"]
mod tarpit;

const MXPROBE: &str = env!("CARGO_BIN_EXE_mxprobe");
/// A run is of so many addresses and as many sources as it takes.
const ADDRESSES: u8 = 100;
/// Beside the sessions: standard streams, the runtime's, the tarpit's listeners.
const SPARE: usize = 200;
/// How late a timer may be, ms.
const LATE: f64 = 50.0;
/// The limit under which there are too few descriptors, and how many sessions are wanted then.
const FEW: u64 = 1024;

fn main() -> io::Result<ExitCode> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let [word, count, tls] = words.as_slice()
        && word == tarpit::WORD
    {
        tarpit::serve(count.parse().map_err(io::Error::other)?, tls == "tls")?;
        return Ok(ExitCode::SUCCESS);
    }
    // `cargo test --benches` wants to know that it runs, not how much it holds.
    let full = words.iter().any(|word| word == "--bench");
    let asked = words.iter().find_map(|word| word.parse().ok());
    let sessions = asked.unwrap_or(if full { 15_000 } else { 100 });
    let needed = u64::try_from(sessions + SPARE).unwrap_or(u64::MAX);
    let most = most_descriptors()?;
    if most < needed {
        let problem =
            format!("only {most} files may be open, wanted {needed}: raise it (ulimit -Hn {needed}, as root)");
        return Err(io::Error::other(problem));
    }
    println!(
        "| sessions in flight | TLS | s until all wait | VmRSS of 1, MiB | of all | KiB a session | wanted | late by, ms, p50 | p99 | most | as the tarpit saw it, p50 | p99 | most |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut within = true;
    for (tls, wanted, patience) in [(false, 12.0, 20), (true, 60.0, 60)] {
        let patience = Duration::from_secs(if full { patience } else { 1 });
        within &= row(sessions, tls, wanted, patience)?;
    }
    within &= too_few(if full { 3000 } else { 1200 })?;
    Ok(if within || !full { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line of the table. Whether all is as wanted.
fn row(sessions: usize, tls: bool, wanted: f64, patience: Duration) -> io::Result<bool> {
    let one = in_flight(1, tls, Duration::from_secs(1))?;
    let all = in_flight(sessions, tls, patience)?;
    let each = (all.held - one.held) / (count(sessions) - 1.0);
    let [ours, theirs] = [&all.late, &all.late_seen].map(|late| [0.5, 0.99, 1.0].map(|part| quantile(late, part)));
    let within = each <= wanted && ours[2] <= LATE;
    println!(
        "| {sessions} | {} | {:.1} | {:.1} | {:.1} | {each:.1}{} | {wanted:.0} | {:.1} | {:.1} | {:.1}{} | {:.1} | {:.1} | {:.1} |",
        if tls { "STARTTLS" } else { "off" },
        all.until.as_secs_f64(),
        one.held / 1024.0,
        all.held / 1024.0,
        if each <= wanted { "" } else { " (over)" },
        ours[0],
        ours[1],
        ours[2],
        if ours[2] <= LATE { "" } else { " (over)" },
        theirs[0],
        theirs[1],
        theirs[2],
    );
    Ok(within)
}

/// What was seen of a run whose sessions all waited at the same time.
struct InFlight {
    /// From the start of the process until all waited.
    until: Duration,
    /// What it held then, KiB.
    held: f64,
    /// By how many ms each session's MAIL took longer than it was given, in order.
    late: Vec<f64>,
    /// The same, by the tarpit's clock.
    late_seen: Vec<f64>,
}

fn in_flight(sessions: usize, tls: bool, patience: Duration) -> io::Result<InFlight> {
    let mut tarpit = Tarpit::start(ADDRESSES, tls)?;
    let begun = Instant::now();
    let mut run = Run::start(&tarpit, sessions, tls, patience, most_descriptors()?)?;
    let mut most = 0;
    while tarpit.waiting < sessions {
        tarpit.hear()?;
        most = most.max(tarpit.waiting);
        if tarpit.waiting < most || run.process.try_wait()?.is_some() {
            let problem = format!("no more than {most} of {sessions} sessions waited at the same time");
            return Err(io::Error::other(format!("{problem}{}", run.problem()?)));
        }
    }
    let until = begun.elapsed();
    let held = count(usize::try_from(memory::kib(run.process.id(), "VmRSS")?).unwrap_or(usize::MAX));
    run.over(&mut tarpit, patience)?;
    let given = patience.as_secs_f64() * 1e3;
    let late = |waits: Vec<f64>| {
        let mut late: Vec<_> = waits.iter().map(|wait| wait - given).collect();
        late.sort_by(f64::total_cmp);
        late
    };
    let late_seen = late(tarpit.waits()?);
    let ends = run.ends()?;
    let timed_out: Vec<_> = ends.iter().filter(|end| end.kind == "timed-out").filter_map(|end| end.mail).collect();
    if timed_out.len() != sessions || late_seen.len() != sessions {
        let (found, seen) = (timed_out.len(), late_seen.len());
        return Err(io::Error::other(format!("{found} of {sessions} sessions timed out at MAIL, {seen} as was seen")));
    }
    Ok(InFlight { until, held, late: late(timed_out), late_seen })
}

/// More sessions at once than there are descriptors: they wait their turn or say that it is us. Whether they do.
fn too_few(sessions: usize) -> io::Result<bool> {
    let mut tarpit = Tarpit::start(ADDRESSES, false)?;
    let begun = Instant::now();
    let mut run = Run::start(&tarpit, sessions, false, Duration::from_secs(1), FEW)?;
    let most = run.over(&mut tarpit, Duration::ZERO)?;
    let took = begun.elapsed().as_secs_f64();
    let mut kinds = BTreeMap::<_, usize>::new();
    for end in run.ends()? {
        *kinds.entry(end.kind).or_default() += 1;
    }
    let fair = kinds.keys().all(|kind| ["timed-out", "completed", "local"].contains(&kind.as_str()));
    let all: usize = kinds.values().sum();
    let said: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!(
        "\n{sessions} sessions at once under a limit of {FEW} descriptors, 1 s each: {} in {took:.1} s, at most {most} at once{}",
        said.join(", "),
        if fair && all == sessions { "" } else { " (wanted no failure of the provider's, and none lost)" }
    );
    Ok(fair && all == sessions)
}

/// mxprobe at work; dropping it ends its process.
struct Run {
    process: Child,
    /// Its lines, and what it says on standard error.
    said: PathBuf,
    complaints: PathBuf,
}

/// How a session ended, and how many ms its MAIL took.
struct End {
    kind: String,
    mail: Option<f64>,
}

impl Run {
    fn start(tarpit: &Tarpit, sessions: usize, tls: bool, patience: Duration, descriptors: u64) -> io::Result<Self> {
        let addresses = usize::from(ADDRESSES).min(sessions);
        let stem = std::env::temp_dir().join(format!("mxprobe-in-flight-{}", std::process::id()));
        let (said, complaints) = (stem.with_extension("jsonl"), stem.with_extension("err"));
        let mut command = limited(descriptors, MXPROBE);
        command.args(["run", "--port", &tarpit.port.to_string(), "--own-mx", "--ehlo", "probe.example"]);
        command.args(["--until", "mail", "--tls", if tls { "require" } else { "off" }]);
        command.args(["--timeout", &format!("mail={}s", patience.as_secs()), "--history", "none", "--format", "jsonl"]);
        command.args(["--rate", "1000000/s", "--progress", "never"]);
        // An address that is given is a provider of its own.
        let sources = sessions / addresses;
        command.args(["--per-address", &sources.to_string(), "--per-provider", &sources.to_string()]);
        for address in tarpit::addresses(ADDRESSES).take(addresses) {
            command.args(["--host", &address.to_string()]);
        }
        for n in 0..sources {
            command.args(["--source", &format!("127.0.2.{}", n + 1)]);
        }
        command.stdout(std::fs::File::create(&said)?).stderr(std::fs::File::create(&complaints)?);
        Ok(Self { process: command.stdin(Stdio::null()).spawn()?, said, complaints })
    }

    /// Waits for its end, and says how many of its sessions waited at once at most. What the tarpit says
    /// meanwhile is heard, so that nothing holds it up.
    fn over(&mut self, tarpit: &mut Tarpit, patience: Duration) -> io::Result<usize> {
        let begun = Instant::now();
        let mut most = 0;
        while self.process.try_wait()?.is_none() {
            tarpit.hear()?;
            most = most.max(tarpit.waiting);
            if begun.elapsed() > patience + Duration::from_mins(2) {
                return Err(io::Error::other("the run did not end in 2 minutes more than it was given"));
            }
        }
        Ok(most)
    }

    fn ends(&self) -> io::Result<Vec<End>> {
        let text = std::fs::read_to_string(&self.said)?;
        let mut ends = Vec::new();
        for line in text.lines().filter(|line| line.starts_with(r#"{"type":"session""#)) {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let steps = line["steps"].as_array();
            let mail = steps.and_then(|steps| steps.iter().find(|step| step["stage"] == "mail")?["ms"].as_f64());
            ends.push(End { kind: line["kind"].as_str().unwrap_or_default().to_owned(), mail });
        }
        Ok(ends)
    }

    /// What can be said of a run that did not do as wanted.
    fn problem(&self) -> io::Result<String> {
        let kinds = self.ends()?.into_iter().filter(|end| end.kind != "timed-out").map(|end| end.kind);
        let kinds: Vec<_> = kinds.take(10).collect();
        Ok(format!("; among the endings: {kinds:?}; {}", std::fs::read_to_string(&self.complaints)?))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.said);
        let _ = std::fs::remove_file(&self.complaints);
        let _ = io::stdout().flush();
    }
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let at = ((count(sorted.len()) - 1.0) * part).ceil() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than that")]
fn count(number: usize) -> f64 {
    number as f64
}
