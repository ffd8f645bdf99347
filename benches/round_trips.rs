//! The time to an answer over a long way: how near a run comes to the round trips that it needs, and
//! how many it makes.
//!
//! The provider is `mxprobe sim` in a process of its own, whose every answer arrives 100 ms late, DNS
//! and handshake included. The time is the whole process's, from its start to its exit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use limits::Limits;
use provider::{MXPROBE, Provider};
use relay::Relay;
use timed::{Took, median, timed};

#[path = "support/limits.rs"]
mod limits;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/timed.rs"]
mod timed;

const ROUND_TRIP: Duration = Duration::from_millis(100);
const MAILBOX: &str = "mine@far.example";
/// MX, then the exchangers' addresses; the sources' names are asked for meanwhile.
const DNS: usize = 2;
const RUNS: usize = 3;
/// What a run may take, in ideals.
const ALLOWED: f64 = 1.1;

/// What a session does, and the answers that it waits for.
struct Dialog {
    name: &'static str,
    words: &'static [&'static str],
    waits: &'static [&'static str],
}

const DIALOGS: [Dialog; 3] = [
    Dialog { name: "to MAIL", words: &["--until", "mail", "--tls", "off"], waits: &["banner", "ehlo", "mail", "quit"] },
    Dialog {
        name: "STARTTLS, to MAIL",
        words: &["--until", "mail", "--tls", "require"],
        waits: &["banner", "ehlo", "starttls", "tls", "ehlo-tls", "mail", "quit"],
    },
    Dialog {
        name: "with a message",
        words: &["--until", "end-of-data", "--send", "--to", MAILBOX, "--tls", "off"],
        waits: &["banner", "ehlo", "mail", "rcpt", "data", "end-of-data", "quit"],
    },
];

fn main() -> io::Result<ExitCode> {
    // `cargo test --benches` wants to know that it runs, not how fast.
    let full = std::env::args().any(|arg| arg == "--bench");
    println!(
        "| session | sources x addresses | per address | per provider | round trips needed | ideal s | measured s | ratio | before the first session | CPU s | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let (mut within, mut counts) = (true, Vec::new());
    for dialog in &DIALOGS {
        for (sources, addresses, limits) in shapes(full) {
            let way = Way::new(sources, addresses)?;
            let needed = DNS + limits.rounds(sources, addresses) * dialog.waits.len();
            let ideal = ROUND_TRIP.as_secs_f64() * f64::from(u32::try_from(needed).unwrap_or(u32::MAX));
            let mut runs = Vec::new();
            for _ in 0..if full { RUNS } else { 1 } {
                runs.push(way.probe(sources, addresses, &limits, dialog)?);
            }
            let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure)).unwrap_or(f64::NAN);
            let measured = of(|run| run.took.wall.as_secs_f64());
            #[expect(clippy::cast_precision_loss, reason = "far fewer KiB than that")]
            let peak = of(|run| run.took.peak as f64 / 1024.0);
            let ratio = measured / ideal;
            within &= ratio <= ALLOWED;
            println!(
                "| {} | {sources} x {addresses} | {} | {} | {needed} | {ideal:.1} | {measured:.2} | {ratio:.3}{} | {:.2} | {:.2} | {peak:.0} |",
                dialog.name,
                limits.per_address,
                limits.per_provider,
                if ratio <= ALLOWED { "" } else { " (over)" },
                of(|run| run.route),
                of(|run| run.took.cpu.as_secs_f64()),
            );
            // Those of the last shape, which is the largest, are shown.
            if let Some(last) = runs.pop() {
                counts.retain(|(of, _, _): &(&Dialog, _, _)| of.name != dialog.name);
                counts.push((dialog, sources * addresses, last));
            }
        }
    }
    println!(
        "\n| session | sessions | round trips of one, by the records | of those needed | commands that the provider heard of one |"
    );
    println!("|---|---|---|---|---|");
    for (dialog, sessions, run) in counts {
        let (made, needed) = (run.made.values().sum::<usize>(), sessions * dialog.waits.len());
        println!(
            "| {} | {sessions} | {} | {made} of {needed} | {} |",
            dialog.name,
            each(&run.made, sessions),
            each(&run.heard, sessions)
        );
    }
    Ok(if within || !full { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shapes(full: bool) -> Vec<(usize, usize, Limits)> {
    let limits = |per_address, per_provider| Limits { per_address, per_provider };
    let small = [(1, 1, limits(1, 1)), (4, 8, limits(4, 32))];
    let large = [(4, 8, limits(2, 8)), (16, 24, limits(4, 96)), (16, 24, limits(2, 8))];
    small.into_iter().chain(large.into_iter().filter(|_| full)).collect()
}

/// How often each, in sessions; every one once is what is wanted.
fn each(counts: &BTreeMap<String, usize>, sessions: usize) -> String {
    let each = counts.iter().map(|(name, &count)| match count {
        count if count == sessions => name.clone(),
        count => format!("{count} of {sessions} {name}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// A provider far away.
struct Way {
    relay: Relay,
    provider: Provider,
}

/// What a run took and did.
struct Run {
    took: Took,
    /// From its start to its first session's, in round trips.
    route: f64,
    /// Round trips that were waited for, by stage.
    made: BTreeMap<String, usize>,
    /// What the provider heard, by verb.
    heard: BTreeMap<String, usize>,
}

impl Way {
    fn new(sources: usize, addresses: usize) -> io::Result<Self> {
        let provider = Provider::start(&scenario(sources, addresses), true)?;
        std::fs::write(provider.directory.join("owned.txt"), format!("{MAILBOX}\n"))?;
        let (dns, port) = (provider.dns.parse().map_err(io::Error::other)?, provider.port.parse());
        let relay = Relay::start(listed(addresses), port.map_err(io::Error::other)?, dns, ROUND_TRIP)?;
        Ok(Self { relay, provider })
    }

    /// One run from start to exit, which must complete every session.
    fn probe(&self, sources: usize, addresses: usize, limits: &Limits, dialog: &Dialog) -> io::Result<Run> {
        let seen = self.provider.directory.join("seen.jsonl");
        let before = std::fs::read_to_string(&seen)?.lines().count();
        let (dns, port) = (self.relay.dns.to_string(), self.relay.port.to_string());
        let (per_address, per_provider) = (limits.per_address.to_string(), limits.per_provider.to_string());
        let owned = self.provider.directory.join("owned.txt").display().to_string();
        let mut words: Vec<_> = [
            ["run", "far.example", "--dns", &dns, "--port", &port, "--owned", &owned].as_slice(),
            &["--rate", "1000000/s", "--history", "none", "--format", "jsonl"],
            &["--per-address", &per_address, "--per-provider", &per_provider],
            dialog.words,
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        for source in 1..=sources {
            words.extend(["--source".to_owned(), format!("127.0.1.{source}")]);
        }
        let (took, output) = timed(MXPROBE, &words, false)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<Value> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
        let completed = of("session").filter(|session| session["kind"] == "completed").count();
        if completed != sources * addresses {
            let problem = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("not every session completed: {problem}")));
        }
        let start = of("run").filter_map(began).fold(f64::NAN, f64::min);
        let first = of("session").filter_map(began).fold(f64::NAN, f64::min);
        let mut made = BTreeMap::new();
        for step in of("session").filter_map(|session| session["steps"].as_array()).flatten() {
            // Nothing else takes half of one.
            let trips = step["ms"].as_f64().map_or(0.0, |ms| (ms / 1e3 / ROUND_TRIP.as_secs_f64()).round());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
            let trips = trips as usize;
            if trips > 0 {
                *made.entry(step["stage"].as_str().unwrap_or_default().to_owned()).or_default() += trips;
            }
        }
        let heard = self.heard(before, completed)?;
        Ok(Run { took, route: (first - start) / ROUND_TRIP.as_secs_f64(), made, heard })
    }

    /// What the provider heard in so many sessions, behind those that it had before.
    fn heard(&self, before: usize, sessions: usize) -> io::Result<BTreeMap<String, usize>> {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.provider.directory.join("seen.jsonl"))?;
            let lines: Vec<_> = text.lines().skip(before).collect();
            if lines.len() < sessions && begun.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let mut heard = BTreeMap::new();
            for line in lines {
                let line: Value = serde_json::from_str(line)?;
                for command in line["commands"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let verb = command.split(' ').next().unwrap_or_default();
                    *heard.entry(verb.to_owned()).or_default() += 1;
                }
            }
            return Ok(heard);
        }
    }
}

/// When a line's subject began, in seconds.
fn began(line: &Value) -> Option<f64> {
    let at: jiff::Timestamp = line["at"].as_str()?.parse().ok()?;
    Some(at.as_duration().as_secs_f64())
}

fn listed(addresses: usize) -> impl Iterator<Item = Ipv4Addr> {
    (1..=u8::try_from(addresses).unwrap_or(u8::MAX)).map(|n| Ipv4Addr::new(127, 1, 1, n))
}

/// A provider with so many addresses, which takes everything.
fn scenario(sources: usize, addresses: usize) -> String {
    let listed: Vec<_> = listed(addresses).map(|address| format!(r#""{address}""#)).collect();
    let mut text = format!(
        r#"
description = "Far away"
[domains."far.example"]
mx = [{{ preference = 10, host = "mx.far.example", addresses = [{}] }}]
[tls]
certificate = "self-signed"
[ptr]
"#,
        listed.join(", ")
    );
    for source in 1..=sources {
        let _ = writeln!(text, r#""127.0.1.{source}" = "out{source}.example.net""#);
    }
    text
}
