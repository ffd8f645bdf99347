//! A smoke test of 16 sources and 8 addresses, with every check, against a provider that answers
//! each stage after 50 ms: how near it comes to the time that its limits allow.
//!
//! The provider is `mxprobe sim` in a process of its own. The time is the whole process's, from its
//! start to its exit, checks, diagnosis and verdicts included.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use provider::{MXPROBE, Provider};
use timed::{Took, median, timed};

#[path = "support/provider.rs"]
mod provider;
#[path = "support/timed.rs"]
mod timed;

const SOURCES: u32 = 16;
const ADDRESSES: u32 = 8;
const DELAY: Duration = Duration::from_millis(50);
const RUNS: usize = 3;
/// What a smoke test may take, in ideals.
const ALLOWED: f64 = 1.2;

fn main() -> io::Result<ExitCode> {
    // `cargo test --benches` wants to know that it runs, not how fast.
    let once = !std::env::args().any(|arg| arg == "--bench");
    println!(
        "| messages | per address | per provider | sessions | lookups | ideal s | measured s | ratio | CPU s | peak MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let provider = ready()?;
    let mut within = true;
    for send in [false, true] {
        for (per_address, per_provider) in [(1, 2), (1, 8), (4, 32)] {
            if once && per_provider < 32 {
                continue;
            }
            let limits = Limits { per_address, per_provider };
            let ideal = limits.ideal(send).as_secs_f64();
            let (mut runs, mut lookups) = (Vec::new(), 0);
            for _ in 0..if once { 1 } else { RUNS } {
                let (took, asked) = smoke(&provider, &limits, send)?;
                runs.push(took);
                lookups = asked;
            }
            let of = |figure: fn(&Took) -> f64| median(runs.iter().map(figure)).unwrap_or(f64::NAN);
            let measured = of(|took| took.wall.as_secs_f64());
            let ratio = measured / ideal;
            within &= ratio <= ALLOWED;
            #[expect(clippy::cast_precision_loss, reason = "far fewer KiB than that")]
            let peak = of(|took| took.peak as f64 / 1024.0);
            println!(
                "| {} | {per_address} | {per_provider} | {} | {lookups} | {ideal:.2} | {measured:.2} | {ratio:.3}{} | {:.2} | {peak:.0} |",
                if send { "a pair per source" } else { "none" },
                sessions(send),
                if ratio <= ALLOWED { "" } else { " (over)" },
                of(|took| took.cpu.as_secs_f64()),
            );
        }
    }
    Ok(if within || once { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The matrix, a neutral sender per source, and a pair of messages per source.
const fn sessions(send: bool) -> u32 {
    SOURCES * ADDRESSES + SOURCES + if send { 2 * SOURCES } else { 0 }
}

struct Limits {
    per_address: u32,
    per_provider: u32,
}

impl Limits {
    /// The least time in which the sessions can be fitted, if nothing but the provider takes any: what
    /// an address has, over as many at once as it takes, or all of it, over as many as the provider
    /// takes. What is beside the matrix is dealt to the addresses in turn.
    fn ideal(&self, send: bool) -> Duration {
        let messages = if send { 2 * SOURCES } else { 0 };
        let plain = SOURCES * ADDRESSES + SOURCES;
        let at_address = least(self.per_address, plain / ADDRESSES, messages / ADDRESSES);
        DELAY * at_address.max(least(self.per_provider, plain, messages))
    }
}

/// Waits of a session up to MAIL (banner, EHLO, MAIL, QUIT), and of one with a message.
const PLAIN: u32 = 4;
const MESSAGE: u32 = 7;

/// The least number of waits in which so many sessions of each kind can be held, so many at once.
fn least(at_once: u32, plain: u32, messages: u32) -> u32 {
    let all = plain * PLAIN + messages * MESSAGE;
    (all.div_ceil(at_once)..all).find(|&waits| holds(at_once, messages, waits) >= Some(plain)).unwrap_or(all)
}

/// How many plain sessions find room beside these messages within so many waits.
fn holds(at_once: u32, messages: u32, waits: u32) -> Option<u32> {
    // The most plain sessions, by how many messages have been placed.
    let mut most = vec![None; messages as usize + 1];
    most[0] = Some(0);
    for _ in 0..at_once {
        let mut next = vec![None; most.len()];
        for (placed, plain) in most.iter().enumerate() {
            let Some(plain) = plain else { continue };
            for here in 0..=(waits / MESSAGE).min(messages - u32::try_from(placed).unwrap_or(messages)) {
                let room = (waits - here * MESSAGE) / PLAIN;
                let slot = &mut next[placed + here as usize];
                *slot = (*slot).max(Some(plain + room));
            }
        }
        most = next;
    }
    most.last().copied().flatten()
}

/// A provider, in whose directory there is what a smoke test of it needs.
fn ready() -> io::Result<Provider> {
    let provider = Provider::start(&scenario()?, false)?;
    let campaign = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/campaign");
    for name in ["campaign.eml", "dkim.pem"] {
        std::fs::copy(campaign.join(name), provider.directory.join(name))?;
    }
    std::fs::write(provider.directory.join("probe.toml"), probe())?;
    Ok(provider)
}

/// One smoke test from start to exit, which must be GO; and how many lookups it took.
fn smoke(provider: &Provider, limits: &Limits, send: bool) -> io::Result<(Took, usize)> {
    let probe = provider.directory.join("probe.toml").display().to_string();
    let (per_address, per_provider) = (limits.per_address.to_string(), limits.per_provider.to_string());
    let words = [
        ["smoke", &probe, "--dns", &provider.dns, "--port", &provider.port, "--history", "none"].as_slice(),
        &["--rate", "1000000/s", "--pace", "0s", "--tls", "off", "--format", "jsonl"],
        &["--per-address", &per_address, "--per-provider", &per_provider],
        if send { &["--send"] } else { &["--until", "mail"] },
    ]
    .concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let (took, output) = timed(MXPROBE, &words, false)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let all = sessions(send);
    let completed = format!(r#""sessions":{all},"completed":{all},"#);
    if !output.status.success() || said.lines().next_back().is_none_or(|summary| !summary.contains(&completed)) {
        let problem = String::from_utf8_lossy(&output.stderr);
        let gates: Vec<&str> = said.lines().filter(|line| line.contains(r#""type":"gate""#)).collect();
        return Err(io::Error::other(format!("not GO: {problem}{}", gates.join("\n"))));
    }
    Ok((took, said.lines().filter(|line| line.contains(r#""type":"lookup""#)).count()))
}

/// The scenario of the mended campaign, with more of everything and slower.
fn scenario() -> io::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/campaign-mended.toml");
    let mended = std::fs::read_to_string(path)?;
    let key = mended.find("# The public half").ok_or_else(|| io::Error::other("no key in the scenario"))?;
    let end = mended[key..].find("[ptr]").ok_or_else(|| io::Error::other("no end of the key"))?;
    let (mut hosts, mut reverse) = (String::new(), String::new());
    for source in 1..=SOURCES {
        // A String takes everything that is written to it.
        let _ = writeln!(hosts, "\"out{source}.example.net\" = \"127.0.1.{source}\"");
        let _ = writeln!(reverse, "\"127.0.1.{source}\" = \"out{source}.example.net\"");
    }
    let addresses: Vec<String> = (1..=ADDRESSES).map(|n| format!("\"127.1.1.{n}\"")).collect();
    let txt = |name: &str, value: &str| format!("[[record]]\nname = \"{name}\"\ntype = \"TXT\"\nvalue = \"{value}\"\n");
    let records = [
        txt("example.net", "v=spf1 include:_spf.example.net -all"),
        txt("_spf.example.net", "v=spf1 include:_pool.example.net mx -all"),
        txt("_pool.example.net", "v=spf1 ip4:127.0.1.0/27 -all"),
        txt("_dmarc.example.net", "v=DMARC1; p=reject; rua=mailto:dmarc@example.net"),
    ];
    Ok(format!(
        "description = \"16 x 8\"\n\
         [domains.\"smoke.example\"]\nmx = [{{ preference = 10, host = \"mx.smoke.example\", addresses = [{}] }}]\n\
         [domains.\"example.net\"]\nmx = [{{ preference = 10, host = \"bounce.example.net\", addresses = \"127.1.0.40\" }}]\n\
         [hosts]\n{hosts}{}{}[ptr]\n{reverse}\
         [[rule]]\nbehaviour = \"slow\"\n[behaviour.slow]\ndialog = '''\n{}'''\n",
        addresses.join(", "),
        records.concat(),
        &mended[key..key + end],
        slow(),
    ))
}

/// Every stage after the delay.
fn slow() -> String {
    let ms = DELAY.as_millis();
    let wait = format!("S+{ms}ms: ");
    [
        ("", "220 mx.smoke.example ESMTP"),
        ("C: EHLO *\n", "250-mx.smoke.example\nS: 250-8BITMIME\nS: 250 SIZE 10240000"),
        ("C: MAIL FROM:*\n", "250 2.1.0 ok"),
        ("C: RCPT TO:*\n", "250 2.1.5 ok"),
        ("C: DATA\n", "354 go on"),
        ("C: .\n", "250 2.0.0 taken"),
        ("C: QUIT\n", "221 2.0.0 bye"),
    ]
    .map(|(heard, said)| format!("{heard}{wait}{said}\n"))
    .concat()
}

fn probe() -> String {
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    for source in 1..=SOURCES {
        addresses.push(format!("\"127.0.1.{source}\""));
        names.push(format!("\"127.0.1.{source}\" = \"out{source}.example.net\""));
    }
    format!(
        "[target]\ndomain = \"smoke.example\"\n[source]\naddresses = [{}]\nehlo = {{ {} }}\n\
         [envelope]\nfrom = \"news@example.net\"\nto = \"mine@smoke.example\"\nowned = [\"mine@smoke.example\"]\n\
         [message]\nbody = \"campaign.eml\"\nsend = false\n\
         dkim = {{ domain = \"example.net\", selector = \"s1\", key = \"dkim.pem\" }}\n\
         [preflight]\ndnsbl = [\"one.example\", \"two.example\"]\n",
        addresses.join(", "),
        names.join(", ")
    )
}
