//! `import`: MTA logs as evidence.

use std::net::IpAddr;

use jiff::Timestamp;

use super::args::{self, EvidenceFlags, Input};
use super::usage::Usage;
use crate::address::Host;
use crate::probe::spelling;

/// The flags of `import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// Logs of Postfix, Exim, sendmail, qmail and others (- is standard input)
    #[arg(required = true, value_name = "LOG", value_parser = args::input())]
    pub logs: Vec<Input>,
    /// Nothing earlier than this
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    pub since: Option<Timestamp>,
    /// Nothing later than this
    #[arg(long, value_name = "TIME", value_parser = args::time)]
    pub until_time: Option<Timestamp>,
    /// Only this recipient domain (repeatable)
    #[arg(long = "domain", value_name = "DOMAIN")]
    pub domains: Vec<Host>,
    /// The address that the logging host sends from, where its lines do not say
    #[arg(long, value_name = "IP", value_parser = spelling::ip)]
    pub source: Option<IpAddr>,
    /// The year of lines that name none [default: what makes the last one recent]
    #[arg(long, value_name = "YYYY", allow_negative_numbers = true, value_parser = args::count::<9999>)]
    pub year: Option<u32>,
    #[command(flatten)]
    pub evidence: EvidenceFlags,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe import /var/log/mail.log --domain aol.com
  mxprobe import /var/log/mail.log.1 /var/log/mail.log --since 2026-11-23 --format jsonl
  zcat /var/log/mail.log.2.gz | mxprobe import - --source 192.0.2.10";

impl ImportArgs {
    /// The same, if its times can hold anything.
    ///
    /// # Errors
    ///
    /// A span that ends before it begins.
    pub(super) fn checked(self) -> Result<Self, Usage> {
        match (self.since, self.until_time) {
            (Some(since), Some(until)) if until <= since => {
                Err(Usage::error(format!("--until-time {until} with --since {since}: wanted a later time")))
            }
            _ => Ok(self),
        }
    }
}
