//! `judge`: diagnose recorded evidence again.

use super::args::{self, EvidenceFlags, History, Input};

/// The flags of `judge`.
#[derive(Clone, Debug, clap::Args)]
pub struct JudgeArgs {
    /// Recordings (- is standard input) or runs of the history (an id's beginning, last, last-1); several are pooled
    #[arg(required = true, value_name = "RUN.jsonl", value_parser = args::input())]
    pub files: Vec<Input>,
    #[command(flatten)]
    pub evidence: EvidenceFlags,
    #[arg(long, help = "The history that holds the runs [default: $XDG_STATE_HOME/mxprobe/history.sqlite]", value_name = "PATH|none", value_parser = args::history)]
    pub history: Option<History>,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe judge run.jsonl
  mxprobe judge last
  mxprobe judge monday.jsonl tuesday.jsonl --format markdown
  mxprobe import /var/log/mail.log --format jsonl | mxprobe judge -";
