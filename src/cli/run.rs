//! `run`: probe now.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{self, History, OutputFlags, RunOptions, Words};
use super::target::{self, Target};
use super::usage::Usage;
use crate::address::{EhloName, Host, Mailbox, Sender};
use crate::duration;
use crate::limits::Rate;
use crate::probe::conflict::Conflict;
use crate::probe::layer::{LimitsLayer, ProbeLayer};
use crate::probe::{Family, HostSpec, Probe, spelling};
use crate::sink::Format;
use crate::smtp::session::TlsLevel;
use crate::source::SourceSpec;
use crate::stage::Stage;

/// What is probed and how; at least one probe.
#[derive(Clone, Debug)]
pub struct RunArgs {
    pub probes: Vec<Probe>,
    pub options: RunOptions,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe run aol.com --source 192.0.2.10 --source 192.0.2.16/30 --control example.org
  mxprobe run probes/aol.toml --format jsonl --record run.jsonl
  mxprobe run aol.com --source eth0 --dry-run
  mxprobe run aol.com -f probe@example.net -t mine@aol.com --owned owned.txt
  mxprobe run --host mx1.example.org --host 198.51.100.7 --until ehlo-tls --tls verify

Flags go before the probe file, the probe file before the defaults. Times are written 500ms, 30s,
5m, 1h 30m or 2d. swaks's -li, -tls, -tlso and its stop-points (-q HELO) are taken too.";

/// The largest message that is read, in bytes.
pub(super) const LARGEST_MESSAGE: u64 = 64 << 20;

/// The flags of `run`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunFlags {
    /// Domains (aol.com) or probe files (probes/aol.toml)
    #[arg(value_name = "TARGET")]
    targets: Vec<OsString>,
    #[command(flatten)]
    probing: ProbingFlags,
}

/// What is said of a probe and a run, whatever the target: the flags that other commands share.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ProbingFlags {
    /// Probe these instead of the domain's mail exchangers (repeatable)
    #[arg(short = 's', long = "host", visible_alias = "server", value_name = "NAME|IP", help_heading = "Target")]
    hosts: Vec<HostSpec>,
    /// The port [default: 25]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = args::port, help_heading = "Target")]
    port: Option<u16>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6", help_heading = "Target")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', help_heading = "Target")]
    ipv6: bool,
    /// Another provider: one session per source, to its first reachable address, as far as EHLO (repeatable)
    #[arg(long, value_name = "DOMAIN", help_heading = "Target")]
    control: Vec<Host>,
    /// A resolver to ask instead of the system's (repeatable)
    #[arg(long, value_name = "IP[:PORT]", value_parser = args::resolver, help_heading = "Target")]
    dns: Vec<SocketAddr>,
    /// DNSKEY records that DANE's proofs start from, instead of the root zone's keys
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    trust_anchor: Option<PathBuf>,
    /// The target is yours: no ceilings, no hour and day budgets
    #[arg(long, help_heading = "Target")]
    own_mx: bool,

    /// A source address, block or interface [default: what the kernel picks] (repeatable)
    #[arg(long = "source", visible_alias = "local-interface", value_name = "IP|CIDR|IFACE", help_heading = "Source")]
    sources: Vec<SourceSpec>,
    /// Behind NAT: this source is seen from outside as that address (repeatable)
    #[arg(long, value_name = "IP=IP", value_parser = public, help_heading = "Source")]
    public: Vec<(IpAddr, IpAddr)>,
    /// A further source, whose reputation is known to be apart from the others' (repeatable)
    #[arg(long, value_name = "IP", value_parser = spelling::ip, help_heading = "Source")]
    neutral: Vec<IpAddr>,
    /// The EHLO name [default: the source's PTR name, else the host name if it has a dot, else the address]
    #[arg(long, visible_alias = "helo", value_name = "NAME", help_heading = "Source")]
    ehlo: Option<EhloName>,

    /// The envelope sender, <> too [default: mxprobe@ and the EHLO name]
    #[arg(short, long, value_name = "ADDR", help_heading = "Session")]
    from: Option<Sender>,
    /// A recipient that is yours: one session for each (repeatable)
    #[arg(short, long, value_name = "ADDR", help_heading = "Session")]
    to: Vec<Mailbox>,
    /// The mailboxes that are yours, one a line (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Session")]
    owned: Vec<PathBuf>,
    /// The last stage to enter [default: mail; rcpt where there is a recipient]
    #[arg(short = 'q', long, visible_alias = "quit-after", value_name = "STAGE",
          value_parser = Words::<Stage>::new("stage to stop after", Stage::STOPS.map(|stage| stage.as_str())), help_heading = "Session")]
    until: Option<Stage>,
    /// Allow end-of-data: one real message per session
    #[arg(long, help_heading = "Session")]
    send: bool,
    /// The message to send [default: a small text that says what it is]
    #[arg(long, value_name = "FILE", help_heading = "Session")]
    body: Option<PathBuf>,
    /// When to use STARTTLS and what to ask of the certificate [default: opportunistic]
    #[arg(long, value_name = "LEVEL", value_parser = Words::<TlsLevel>::new("TLS level", TlsLevel::ALL.iter().map(|level| level.as_str())),
          help_heading = "Session")]
    tls: Option<TlsLevel>,
    /// After a failed handshake, a second session without STARTTLS
    #[arg(long, help_heading = "Session")]
    pair_plaintext: bool,
    /// How long a stage may take in total; a bare time is for all stages (repeatable)
    #[arg(long, value_name = "[STAGE=]TIME", value_parser = timeout, help_heading = "Session")]
    timeout: Vec<(Option<Stage>, Duration)>,

    /// Attempts per cell [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<1_000_000>, help_heading = "Limits")]
    attempts: Option<u32>,
    /// From start to start of a cell's attempts [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Limits")]
    pace: Option<Duration>,
    /// Sessions at once per address [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<10_000>, help_heading = "Limits")]
    per_address: Option<u32>,
    /// Sessions at once per provider [default: 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<10_000>, help_heading = "Limits")]
    per_provider: Option<u32>,
    /// Session starts per provider [default: 20/min]
    #[arg(long, value_name = "N/min", help_heading = "Limits")]
    rate: Option<Rate>,
    /// Session starts per provider and hour, earlier runs' too [default: 200]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<1_000_000>, help_heading = "Limits")]
    per_hour: Option<u32>,
    /// Session starts per provider and day, earlier runs' too [default: 1000]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<10_000_000>, help_heading = "Limits")]
    per_day: Option<u32>,
    /// Start no session later than this; the rest is skipped
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Limits")]
    max_time: Option<Duration>,
    /// Probe although a source rests (own and loopback targets only)
    #[arg(long, help_heading = "Limits")]
    ignore_rest: bool,

    /// What order and jitter come from [default: chance, and printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::seed, help_heading = "Run")]
    seed: Option<u64>,
    /// More reply rules (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    catalogue: Vec<PathBuf>,
    /// Print every session that would be opened, open none
    #[arg(long, help_heading = "Run")]
    dry_run: bool,
    #[arg(long, help = "SQLite file that keeps every run, and session starts and rests for later runs and other processes, so that rates, budgets and caps hold across them; none: nothing is kept [default: $XDG_STATE_HOME/mxprobe/history.sqlite]", value_name = "PATH|none", value_parser = args::history, help_heading = "Run")]
    history: Option<History>,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = args::format(Format::ALL),
          help_heading = "Output")]
    format: Format,
    /// Print each dialog
    #[arg(long, help_heading = "Output")]
    transcript: bool,
    /// Also write JSON lines to FILE
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    record: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlags,
}

impl RunFlags {
    /// Lays the flags over each target and settles what comes of it.
    ///
    /// # Errors
    ///
    /// No target, one that is unreadable or unknown, or settings that cannot go together.
    pub(super) fn read(self) -> Result<RunArgs, Usage> {
        let layer = self.probing.layer()?;
        let targets = if self.targets.is_empty() {
            vec![settle(&layer, None)]
        } else {
            self.targets.iter().map(|text| settle(&layer, Some(Target::read(text)?))).collect()
        };
        let probes = targets.into_iter().collect::<Result<Vec<Probe>, Usage>>()?;
        Ok(RunArgs { probes, options: self.probing.options() })
    }
}

impl ProbingFlags {
    /// What they say of the run.
    pub(super) fn options(self) -> RunOptions {
        RunOptions {
            dns: self.dns,
            trust_anchor: self.trust_anchor,
            seed: self.seed,
            catalogue: self.catalogue,
            dry_run: self.dry_run,
            transcript: self.transcript,
            record: self.record,
            history: self.history.unwrap_or_default(),
            output: self.output.with(self.format),
        }
    }

    /// What they say of the probe.
    ///
    /// # Errors
    ///
    /// A list of owned mailboxes that cannot be read.
    pub(super) fn layer(&self) -> Result<ProbeLayer, Usage> {
        let mut owned = Vec::new();
        for path in &self.owned {
            owned.extend(mailboxes(path)?);
        }
        let given = |flag: bool| flag.then_some(true);
        Ok(ProbeLayer {
            hosts: self.hosts.clone(),
            control: self.control.clone(),
            port: self.port,
            family: match (self.ipv4, self.ipv6) {
                (true, _) => Some(Family::V4),
                (_, true) => Some(Family::V6),
                _ => None,
            },
            own_mx: given(self.own_mx),
            sources: self.sources.clone(),
            neutral: self.neutral.clone(),
            ehlo: self.ehlo.clone(),
            public: self.public.iter().copied().collect(),
            from: self.from.clone(),
            to: self.to.clone(),
            owned,
            until: self.until,
            tls: self.tls,
            timeout: self.timeout.iter().rev().find(|(stage, _)| stage.is_none()).map(|&(_, time)| time),
            timeouts: self.timeout.iter().filter_map(|&(stage, time)| Some((stage?, time))).collect(),
            send: given(self.send),
            body: self.body.clone(),
            limits: LimitsLayer {
                attempts: self.attempts,
                pace: self.pace,
                per_address: self.per_address.map(|n| n as usize),
                per_provider: self.per_provider.map(|n| n as usize),
                rate: self.rate,
                per_hour: self.per_hour,
                per_day: self.per_day,
                max_time: self.max_time,
            },
            pair_plaintext: given(self.pair_plaintext),
            ignore_rest: given(self.ignore_rest),
            ..ProbeLayer::default()
        })
    }
}

/// Lays the flags over a target. A conflict is shown where it was said: in the file, if the flags
/// do not speak of it.
pub(super) fn settle(flags: &ProbeLayer, target: Option<Target>) -> Result<Probe, Usage> {
    settle_by(flags, target, |layer| layer.settle(|path| target::read_bytes(path, LARGEST_MESSAGE)))
}

/// The same for a smoke test.
pub(super) fn settle_smoke(flags: &ProbeLayer, target: Option<Target>) -> Result<Probe, Usage> {
    settle_by(flags, target, |layer| layer.settle_smoke(|path| target::read_bytes(path, LARGEST_MESSAGE)))
}

fn settle_by(
    flags: &ProbeLayer,
    target: Option<Target>,
    settle: impl FnOnce(ProbeLayer) -> Result<Probe, Conflict>,
) -> Result<Probe, Usage> {
    let (below, file) = match target {
        None => (ProbeLayer::default(), None),
        Some(Target::Domain(domain)) => (ProbeLayer { domain: Some(domain), ..ProbeLayer::default() }, None),
        Some(Target::File(file)) => (file.layer.clone(), Some(file)),
    };
    settle(flags.clone().over(below)).map_err(|conflict| match file {
        Some(file) if !conflict.setting.is_said_in(flags) => Usage::in_file(&file.locate(&conflict)),
        _ => Usage::error(conflict),
    })
}

/// A list of mailboxes: one a line, `#` begins a comment.
fn mailboxes(path: &Path) -> Result<Vec<Mailbox>, Usage> {
    let text = target::read_text(path, "list of owned mailboxes")?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.split('#').next().unwrap_or("").trim()));
    let mailbox = |(number, line): (usize, &str)| {
        line.parse().map_err(|e| Usage::error(format!("{}:{number}: {e}", path.display())))
    };
    lines.filter(|(_, line)| !line.is_empty()).map(mailbox).collect()
}

fn public(text: &str) -> Result<(IpAddr, IpAddr), String> {
    args::pair(text, "IP=IP, the source and the address it is seen as", spelling::ip, spelling::ip)
}

fn timeout(text: &str) -> Result<(Option<Stage>, Duration), String> {
    if !text.contains('=') {
        return duration::parse_positive(text).map(|time| (None, time)).map_err(|e| e.to_string());
    }
    let (stage, time) = args::pair(text, "STAGE=TIME", str::parse::<Stage>, duration::parse_positive)?;
    Ok((Some(stage), time))
}
