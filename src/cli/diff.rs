//! `diff`: what changed between two recordings.

use super::args::{self, History, Input, OutputFlags};
use super::usage::Usage;
use crate::sink::Format;

/// The flags of `diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// The earlier recording, or a run of the history (an id's beginning, last, last-1)
    #[arg(value_name = "A.jsonl", value_parser = args::input())]
    pub a: Input,
    /// The later recording, or a run of the history
    #[arg(value_name = "B.jsonl", value_parser = args::input())]
    pub b: Input,
    #[arg(long, help = "The history that holds the runs [default: $XDG_STATE_HOME/mxprobe/history.sqlite]", value_name = "PATH|none", value_parser = args::history)]
    pub history: Option<History>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = args::format(FORMATS), help_heading = "Output")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputFlags,
}

const FORMATS: &[Format] = &[Format::Text, Format::Jsonl];

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe diff before.jsonl after.jsonl
  mxprobe diff last-1 last
  mxprobe run aol.com --format jsonl | mxprobe diff yesterday.jsonl - --format jsonl";

impl DiffArgs {
    /// The same, if there are two things to compare.
    ///
    /// # Errors
    ///
    /// Standard input twice.
    pub(super) fn checked(self) -> Result<Self, Usage> {
        match (&self.a, &self.b) {
            (Input::Stdin, Input::Stdin) => Err(Usage::error("- twice: wanted one recording in a file")),
            _ => Ok(self),
        }
    }
}
