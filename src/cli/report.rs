//! `report`: what a provider's postmaster is told.

use std::ffi::OsString;

use super::args::{self, History, Input, Moment, OutputFlags};
use super::filter::SessionFlags;
use crate::sink::Format;

/// The flags of `report`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// A run of the history (an id's beginning, last, last-1), the number of an incident, or a recording (- is standard input)
    #[arg(value_name = "RUN|INCIDENT|RUN.jsonl", default_value = "last", value_parser = what())]
    pub what: What,
    /// Only sessions that began no earlier than this, or than so long ago
    #[arg(long, value_name = "TIME|DURATION", value_parser = args::moment, help_heading = "Filter")]
    pub since: Option<Moment>,
    #[command(flatten)]
    pub sessions: SessionFlags,
    #[arg(long, help = "The history that holds runs and incidents [default: $XDG_STATE_HOME/mxprobe/history.sqlite]", value_name = "PATH|none", value_parser = args::history)]
    pub history: Option<History>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "markdown", value_parser = args::format(FORMATS), help_heading = "Output")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputFlags,
}

const FORMATS: &[Format] = &[Format::Markdown, Format::Html];

/// What is reported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// A file, standard input, or what names a run.
    Recording(Input),
    Incident(u64),
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe report
  mxprobe report last --format html > report.html
  mxprobe report 12
  mxprobe report run.jsonl --source 192.0.2.10
  mxprobe demo --quiet --record demo.jsonl && mxprobe report demo.jsonl

Recipients' local parts are left out, also where replies repeat them. What a filter leaves out is
not told; the diagnosis rests on all sessions.";

fn what() -> impl clap::builder::TypedValueParser<Value = What> {
    use clap::builder::TypedValueParser as _;
    clap::builder::OsStringValueParser::new().map(|word: OsString| {
        let incident = word.to_str().and_then(super::history::incident);
        incident.map_or_else(|| What::Recording(word.into()), What::Incident)
    })
}
