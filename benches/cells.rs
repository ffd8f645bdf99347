//! 1,000 cells against a provider that answers each stage after 200 ms: how near a run comes to
//! the time that its limits allow.
//!
//! The provider is `mxprobe sim` in a process of its own. The time is the whole process's, from its
//! start to its exit, lookups and diagnosis included.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use limits::Limits;
use provider::{MXPROBE, Provider};
use timed::{Took, median, timed};

#[path = "support/limits.rs"]
mod limits;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/timed.rs"]
mod timed;

const CELLS: usize = 1000;
const DELAY: Duration = Duration::from_millis(200);
const RUNS: usize = 3;
/// What a run may take, in ideals.
const ALLOWED: f64 = 1.1;

fn main() -> io::Result<ExitCode> {
    // `cargo test --benches` wants to know that it runs, not how fast.
    let once = !std::env::args().any(|arg| arg == "--bench");
    println!(
        "| TLS | sources x addresses | per address | per provider | ideal s | measured s | ratio | CPU s | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut within = true;
    for (tls, sources, addresses) in [(false, 10, 100), (false, 25, 40), (true, 10, 100)] {
        let provider = Provider::start(&scenario(sources, addresses, tls), false)?;
        for (per_address, per_provider) in [(1, 50), (4, 200), (10, 1000)] {
            if once && per_provider < 1000 {
                continue;
            }
            let limits = Limits { per_address, per_provider };
            let ideal = ideal(&limits, sources, addresses, tls);
            let mut runs = Vec::new();
            for _ in 0..if once { 1 } else { RUNS } {
                runs.push(probe(&provider, sources, &limits, tls)?);
            }
            let of = |figure: fn(&Took) -> f64| median(runs.iter().map(figure)).unwrap_or(f64::NAN);
            let measured = of(|took| took.wall.as_secs_f64());
            let ratio = measured / ideal.as_secs_f64();
            within &= ratio <= ALLOWED;
            #[expect(clippy::cast_precision_loss, reason = "far fewer KiB than that")]
            let peak = of(|took| took.peak as f64 / 1024.0);
            println!(
                "| {} | {sources} x {addresses} | {per_address} | {per_provider} | {:.1} | {measured:.2} | {ratio:.3}{} | {:.2} | {peak:.0} |",
                if tls { "STARTTLS" } else { "off" },
                ideal.as_secs_f64(),
                if ratio <= ALLOWED { "" } else { " (over)" },
                of(|took| took.cpu.as_secs_f64()),
            );
        }
    }
    Ok(if within || once { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The least time in which the sessions can be fitted, if nothing but the provider takes any.
fn ideal(limits: &Limits, sources: usize, addresses: usize, tls: bool) -> Duration {
    // banner, EHLO, MAIL, QUIT; with TLS also STARTTLS and the second EHLO
    let answers = if tls { 6 } else { 4 };
    DELAY * u32::try_from(limits.rounds(sources, addresses) * answers).unwrap_or(u32::MAX)
}

/// One run from start to exit, which must complete every session.
fn probe(provider: &Provider, sources: usize, limits: &Limits, tls: bool) -> io::Result<Took> {
    let per_address = limits.per_address.to_string();
    let per_provider = limits.per_provider.to_string();
    let mut words: Vec<_> = [
        ["run", "cells.example", "--dns", &provider.dns, "--port", &provider.port, "--until", "mail"].as_slice(),
        &["--tls", if tls { "require" } else { "off" }, "--rate", "1000000/s", "--history", "none"],
        &["--per-address", &per_address, "--per-provider", &per_provider, "--format", "jsonl"],
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
    let completed = format!(r#""sessions":{CELLS},"completed":{CELLS},"#);
    if said.lines().next_back().is_none_or(|summary| !summary.contains(&completed)) {
        let problem = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("not every session completed: {problem}")));
    }
    Ok(took)
}

/// A provider with so many addresses, which takes its time.
fn scenario(sources: usize, addresses: usize, tls: bool) -> String {
    let listed: Vec<_> = (1..=addresses).map(|n| format!(r#""127.1.1.{n}""#)).collect();
    let certificate = if tls { "self-signed" } else { "none" };
    let after = format!("S+{}ms", DELAY.as_millis());
    let upgrade = format!(
        "{after}: 250-mx.cells.example\nS&: 250 STARTTLS\nC: STARTTLS\n{after}: 220 go ahead\nTLS\nC: EHLO *\n"
    );
    let upgrade = if tls { upgrade } else { String::new() };
    let mut text = format!(
        r#"
description = "Answers each stage late"
[domains."cells.example"]
mx = [{{ preference = 10, host = "mx.cells.example", addresses = [{}] }}]
[tls]
certificate = "{certificate}"
[behaviour.late]
dialog = '''
{after}: 220 mx.cells.example ESMTP
C: EHLO *
{upgrade}{after}: 250 mx.cells.example
C: MAIL FROM:*
{after}: 250 2.1.0 ok
C: QUIT
{after}: 221 2.0.0 bye
CLOSE
'''
[[rule]]
behaviour = "late"
[ptr]
"#,
        listed.join(", ")
    );
    for source in 1..=sources {
        let _ = writeln!(text, r#""127.0.1.{source}" = "out{source}.example.net""#);
    }
    text
}
