//! `explain`: what an error says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::{self, Input, Output, OutputFlags};
use super::usage::Usage;
use crate::sink::Format;

/// What to explain, and how to print it.
#[derive(Clone, Debug)]
pub struct ExplainArgs {
    /// Never empty: without an argument, standard input.
    pub items: Vec<Item>,
    pub catalogue: Vec<PathBuf>,
    pub output: Output,
}

/// One thing to explain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// The words themselves.
    Text(String),
    Input(Input),
}

/// The flags of `explain`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ExplainFlags {
    /// Bounces, logs, or the error's own words; without any, standard input (- too)
    #[arg(value_name = "TEXT|FILE")]
    items: Vec<OsString>,
    /// More reply rules (repeatable)
    #[arg(long, value_name = "FILE")]
    catalogue: Vec<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = args::format(FORMATS), help_heading = "Output")]
    format: Format,
    #[command(flatten)]
    output: OutputFlags,
}

const FORMATS: &[Format] = &[Format::Text, Format::Jsonl];

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe explain bounce.eml
  mxprobe explain '421 4.7.0 [TSS04] Messages from 192.0.2.10 temporarily deferred'
  grep deferred /var/log/mail.log | mxprobe explain --format jsonl";

impl ExplainFlags {
    /// Tells files from words.
    ///
    /// # Errors
    ///
    /// Words that are not UTF-8.
    pub(super) fn read(self) -> Result<ExplainArgs, Usage> {
        let mut items = self.items.into_iter().map(item).collect::<Result<Vec<Item>, Usage>>()?;
        if items.is_empty() {
            items.push(Item::Input(Input::Stdin));
        }
        Ok(ExplainArgs { items, catalogue: self.catalogue, output: self.output.with(self.format) })
    }
}

/// A single word is rather a file's name that does not exist than an error.
fn item(text: OsString) -> Result<Item, Usage> {
    if text == "-" || Path::new(&text).exists() {
        return Ok(Item::Input(Input::from(text)));
    }
    match text.into_string() {
        Ok(text) if text.contains(char::is_whitespace) => Ok(Item::Text(text)),
        Ok(text) => Err(Usage::error(format!(
            "{text:?} is neither a file nor an error: wanted a file that exists, or the error's words in quotes"
        ))),
        Err(text) => Err(Usage::error(format!(
            "{:?} is no file, and no UTF-8: wanted a file or an error's words",
            text.to_string_lossy()
        ))),
    }
}
