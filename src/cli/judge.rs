//! `judge`: diagnose recorded evidence again.

use std::path::PathBuf;

use super::args::{self, History, Input, OutputFlags};
use crate::sink::Format;

/// The flags of `judge`.
#[derive(Clone, Debug, clap::Args)]
pub struct JudgeArgs {
    /// Recordings (- is standard input) or runs of the history (an id's beginning, last, last-1); several are pooled
    #[arg(required = true, value_name = "RUN.jsonl", value_parser = args::input())]
    pub files: Vec<Input>,
    /// More reply rules (repeatable)
    #[arg(long, value_name = "FILE")]
    pub catalogue: Vec<PathBuf>,
    #[arg(long, help = "The history that holds the runs [default: $XDG_STATE_HOME/mxprobe/history.sqlite]", value_name = "PATH|none", value_parser = args::history)]
    pub history: Option<History>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = args::format(FORMATS), help_heading = "Output")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputFlags,
}

const FORMATS: &[Format] = &[Format::Text, Format::Jsonl, Format::Markdown, Format::Html];

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe judge run.jsonl
  mxprobe judge last
  mxprobe judge monday.jsonl tuesday.jsonl --format markdown
  mxprobe import /var/log/mail.log --format jsonl | mxprobe judge -";
