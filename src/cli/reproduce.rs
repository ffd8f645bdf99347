//! `reproduce`: whether a reported error is still there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::args::{Input, RunOptions};
use super::run::{LARGEST_MESSAGE, ProbingFlags};
use super::target::{self, Target};
use super::usage::Usage;
use crate::probe::Probe;
use crate::probe::conflict::Conflict;
use crate::probe::layer::ProbeLayer;

/// What to read and how to ask.
#[derive(Clone, Debug)]
pub struct ReproduceArgs {
    /// Files and directories of bounces; never empty: without an argument, standard input.
    pub inputs: Vec<Input>,
    /// What the flags say.
    pub flags: ProbeLayer,
    /// A probe file or a domain, for reports that name none.
    pub target: ProbeLayer,
    /// The rate that a clean sample excludes, above 0 and at most 1.
    pub rate: f64,
    /// Where the errors are written as scenarios and probes.
    pub emit: Option<PathBuf>,
    /// Print the commands for swaks.
    pub swaks: bool,
    pub options: RunOptions,
}

/// The flags of `reproduce`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ReproduceFlags {
    /// Bounces, logs, pasted errors, a maildir; without any, standard input (- too). A domain or a probe file (.toml) among them is for reports that name no recipient
    #[arg(value_name = "FILE|TARGET")]
    items: Vec<OsString>,
    /// The rate of failure that a clean sample is to exclude at 95 %: 10% takes 29 sessions, 1% takes 299
    #[arg(long, value_name = "PCT", default_value = "10%", value_parser = rate, help_heading = "Sample")]
    rate_to_exclude: f64,
    /// Write each error into DIR, as a scenario for sim and a probe file that expects it
    #[arg(long, value_name = "DIR", help_heading = "Sample")]
    emit: Option<PathBuf>,
    /// Print the equivalent swaks command of each cell
    #[arg(long, help_heading = "Sample")]
    swaks: bool,
    #[command(flatten)]
    probing: ProbingFlags,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe reproduce bounce.eml
  mxprobe reproduce ~/Maildir/.bounces --control example.org --max-time 1h
  grep 'status=deferred' /var/log/mail.log | mxprobe reproduce --source 192.0.2.10
  pbpaste | mxprobe reproduce aol.com --rate-to-exclude 5%
  mxprobe reproduce bounce.eml --emit rehearsal && mxprobe sim rehearsal/report-1-scenario.toml --port 2525

Each error is probed no deeper than where it was reported: a refused greeting takes no MAIL, and a
refused recipient only one of your own (--owned). What only a report names is not connected to: it
takes --host to do that. Sessions come from the reported source where it is on this host, else from
--source. --max-time is 10m unless you say otherwise.

Exit status: 0 not reproduced, 1 reproduced or a different failure, 2 nothing to probe, 3 could not
tell.";

impl ReproduceFlags {
    /// Tells files from targets.
    ///
    /// # Errors
    ///
    /// A file that is not there, a target that is none, more than one target, a bad list.
    pub(super) fn read(self) -> Result<ReproduceArgs, Usage> {
        let flags = self.probing.layer()?;
        let (mut inputs, mut target) = (Vec::new(), None);
        for item in self.items {
            match input(&item)? {
                Some(input) => inputs.push(input),
                None if target.is_some() => {
                    return Err(Usage::error(format!("{:?} is a second target: wanted one", item.to_string_lossy())));
                }
                None => target = Some(Target::read(&item)?),
            }
        }
        if inputs.is_empty() {
            inputs.push(Input::Stdin);
        }
        let target = match target {
            None => ProbeLayer::default(),
            Some(Target::Domain(domain)) => ProbeLayer { domain: Some(domain), ..ProbeLayer::default() },
            Some(Target::File(file)) => file.layer,
        };
        let (rate, emit, swaks) = (self.rate_to_exclude, self.emit, self.swaks);
        Ok(ReproduceArgs { inputs, flags, target, rate, emit, swaks, options: self.probing.options() })
    }
}

/// Settles a question's probe.
///
/// # Errors
///
/// Settings that cannot go together.
pub fn settle(layer: ProbeLayer) -> Result<Probe, Conflict> {
    layer.settle(|path| target::read_bytes(path, LARGEST_MESSAGE))
}

/// What is to be read; `None` where the word is a target.
fn input(item: &OsString) -> Result<Option<Input>, Usage> {
    let path = Path::new(item);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if item == "-" || extension != "toml" && path.exists() {
        return Ok(Some(Input::from(item.clone())));
    }
    let text = item.to_string_lossy();
    if text.trim().contains(char::is_whitespace) && extension != "toml" {
        let shown: String = text.chars().take(60).collect();
        return Err(Usage::error(format!("{shown:?} is no file: an error's own words are read from standard input")));
    }
    // Not a domain, though some are spelled like one.
    let files = ["eml", "gz", "json", "jsonl", "log", "mbox", "msg", "txt", "zst"];
    if files.contains(&extension.as_str()) || item.to_string_lossy().contains('/') && extension != "toml" {
        return Err(Usage::error(format!("{:?}: there is no such file", item.to_string_lossy())));
    }
    Ok(None)
}

/// `10%`, `0.5%` or `10`: per cent.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    let percent = number.filter(|percent| (0.1..=100.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} is no rate to exclude: wanted 0.1% to 100%")
    })
}
