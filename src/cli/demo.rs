//! `demo`: the AOL incident of October 2012.

use std::path::PathBuf;

use super::args::{self, OutputFlags};
use crate::sink::Format;

/// The flags of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// What order, jitter and the provider's chances come from [default: always the same]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::seed)]
    pub seed: Option<u64>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = args::format(Format::ALL),
          help_heading = "Output")]
    pub format: Format,
    /// Print each dialog
    #[arg(long, help_heading = "Output")]
    pub transcript: bool,
    /// Also write JSON lines to FILE
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputFlags,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe demo
  mxprobe demo --transcript
  mxprobe demo --format jsonl --record demo.jsonl && mxprobe judge demo.jsonl";
