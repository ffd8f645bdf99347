//! `smoke`: may the campaign start, and from which addresses?

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::{self, RunOptions, Words};
use super::run::{ProbingFlags, settle_smoke};
use super::target::Target;
use super::usage::Usage;
use crate::address::{Host, Sender};
use crate::probe::layer::{GateLayer, ProbeLayer};
use crate::probe::{Probe, spelling};
use crate::record::CheckName;

/// What is tested and what it takes.
#[derive(Clone, Debug)]
pub struct SmokeArgs {
    /// At least one.
    pub probes: Vec<Probe>,
    /// Where the sources that may send are listed.
    pub write_pool: Option<PathBuf>,
    pub options: RunOptions,
}

/// The flags of `smoke`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SmokeFlags {
    /// Domains (aol.com) or probe files (probes/smoke-campaign.toml)
    #[arg(value_name = "TARGET")]
    targets: Vec<OsString>,
    /// So many sources must be GO [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<1_000_000>, help_heading = "Gate")]
    min_go: Option<u32>,
    /// The share of a source's sessions that may fail for now [default: 5 %]
    #[arg(long, value_name = "PCT", value_parser = spelling::share, help_heading = "Gate")]
    max_transient: Option<f64>,
    /// A check that hinders nobody, whatever it finds (repeatable)
    #[arg(long, value_name = "CHECK", value_parser = Words::<CheckName>::new("check", CheckName::ALL.iter().map(|check| check.as_str())), help_heading = "Gate")]
    warn: Vec<CheckName>,
    /// Write the sources that are GO into FILE, one a line; none is GO: an empty file
    #[arg(long, value_name = "FILE", help_heading = "Gate")]
    write_pool: Option<PathBuf>,
    /// A block list to ask about each source, such as zen.spamhaus.org (repeatable)
    #[arg(long, value_name = "ZONE", help_heading = "Preflight")]
    dnsbl: Vec<Host>,
    /// The envelope sender that is set beside the campaign's [default: mxprobe@ and the EHLO name]
    #[arg(long, value_name = "ADDR", help_heading = "Session")]
    neutral_from: Option<Sender>,
    #[command(flatten)]
    probing: ProbingFlags,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe smoke probes/smoke-campaign.toml
  mxprobe smoke probes/smoke-campaign.toml --write-pool /etc/mta/pool --min-go 3
  mxprobe smoke aol.com --source 192.0.2.0/29 -f news@example.net --dnsbl zen.spamhaus.org
  mxprobe smoke probes/smoke-campaign.toml --format junit > smoke.xml

The matrix goes as far as MAIL from every source. With --to it also names each of your mailboxes once
per source; with --send (and [message] send = true) each source sends each of them two messages: a
plain one and the campaign's. A source that may not send now is HOLD, with the earliest time that a
second test makes sense; one that something must be mended for is NO-GO.

Exit status: 0 GO, 1 HOLD or NO-GO, 2 usage or configuration error (nothing was sent), 3 could not
tell. With --format nagios: 0 GO, 1 HOLD, or GO with sources that are not, 2 NO-GO, 3 could not tell.";

impl SmokeFlags {
    /// Lays the flags over each target and settles what comes of it.
    ///
    /// # Errors
    ///
    /// No target, one that is unreadable or unknown, or settings that cannot go together.
    pub(super) fn read(self) -> Result<SmokeArgs, Usage> {
        let gate = GateLayer { min_go: self.min_go, max_transient: self.max_transient, warn: self.warn };
        let layer = ProbeLayer { gate, dnsbl: self.dnsbl, neutral_from: self.neutral_from, ..self.probing.layer()? };
        let targets = if self.targets.is_empty() {
            vec![settle_smoke(&layer, None)]
        } else {
            self.targets.iter().map(|text| settle_smoke(&layer, Some(Target::read(text)?))).collect()
        };
        let probes = targets.into_iter().collect::<Result<Vec<Probe>, Usage>>()?;
        Ok(SmokeArgs { probes, write_pool: self.write_pool, options: self.probing.options() })
    }
}
