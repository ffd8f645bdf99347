//! `history`: what is on record.

use std::ffi::OsString;
use std::net::IpAddr;

use super::args::{self, History, Moment, OutputFlags};
use super::filter::SessionFlags;
use crate::probe::spelling;
use crate::sink::Format;

/// The flags of `history`.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// A run: its id or the beginning of it, last, last-1; or the number of an incident
    #[arg(value_name = "RUN|INCIDENT", value_parser = what, conflicts_with_all = FILTERS)]
    pub what: Option<What>,
    /// Nothing earlier than this, or than so long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = args::moment, help_heading = "Filter")]
    pub since: Option<Moment>,
    /// Nothing later than this, or than so long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = args::moment, help_heading = "Filter")]
    pub until_time: Option<Moment>,
    /// Only this domain
    #[arg(long, help_heading = "Filter")]
    pub domain: Option<String>,
    /// Only this probe of a watch
    #[arg(long, value_name = "NAME", help_heading = "Filter")]
    pub probe: Option<String>,
    #[command(flatten)]
    pub sessions: SessionFlags,
    /// Only sessions to this address
    #[arg(long, value_name = "IP", value_parser = spelling::ip, help_heading = "Filter")]
    pub address: Option<IpAddr>,
    /// Incidents alone
    #[arg(long, help_heading = "Filter")]
    pub incidents: bool,
    /// The newest so many runs, and incidents [default: 20 in text, else all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<10_000_000>, help_heading = "Filter")]
    pub limit: Option<u32>,
    #[arg(long, help = "The SQLite file [default: $XDG_STATE_HOME/mxprobe/history.sqlite]", value_name = "PATH", value_parser = args::history)]
    pub history: Option<History>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = args::format(args::RETOLD), help_heading = "Output")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputFlags,
}

/// What is asked of runs in general.
const FILTERS: [&str; 11] =
    ["since", "until_time", "domain", "probe", "source", "address", "stage", "code", "tag", "incidents", "limit"];

/// What is shown alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// What names a run.
    Run(String),
    Incident(u64),
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe history
  mxprobe history last
  mxprobe history --source 192.0.2.10 --since 24h
  mxprobe history --code 554 --stage banner --since 2026-11-01 --until-time 2026-11-08
  mxprobe history --incidents --domain aol.com
  mxprobe history 12 --format jsonl
  mxprobe diff last-1 last

What run and reproduce found is on record, unless they were told --history none.
judge and diff take a run from the history where there is no file of that name.";

/// The number of an incident. A run's id begins with 0 until the year 2527.
pub(super) fn incident(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_number)
}

/// The number of an incident, or what names a run.
fn what(text: &str) -> Result<What, String> {
    match incident(text) {
        Some(incident) => Ok(What::Incident(incident)),
        None if args::is_run(&OsString::from(text)) => Ok(What::Run(text.to_owned())),
        None => Err(format!(
            "{:?} is no run and no incident: wanted at least {} figures of a run's id, last, last-1, or the number of \
             an incident",
            args::short(text),
            args::SHORTEST_RUN
        )),
    }
}
