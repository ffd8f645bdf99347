//! What several commands take: the output, inputs, the options of a run, and how their values are
//! written.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use jiff::Timestamp;

use crate::duration;
use crate::sink::Format;
use crate::words::words;

/// What a run needs to know beside its probes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The resolvers to ask; empty: the system's.
    pub dns: Vec<SocketAddr>,
    /// The keys that DNSSEC's proofs start from; without one, the root zone's.
    pub trust_anchor: Option<PathBuf>,
    /// What order and jitter come from; without one, chance.
    pub seed: Option<u64>,
    /// Files with more reply rules, the later ones first in rank.
    pub catalogue: Vec<PathBuf>,
    /// Print the plan, open no session.
    pub dry_run: bool,
    /// Print each dialog.
    pub transcript: bool,
    /// Where the JSON lines go as well.
    pub record: Option<PathBuf>,
    pub history: History,
    pub output: Output,
}

/// Where runs are kept, and session starts and rests for the runs and processes to come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum History {
    /// `history.sqlite` under `$XDG_STATE_HOME/mxprobe/`.
    #[default]
    Default,
    /// Nowhere: starts and rests count within the run.
    None,
    File(PathBuf),
}

impl History {
    /// The file; `None` where nothing is to be kept. A relative `$XDG_STATE_HOME` does not count
    /// (XDG Base Directory Specification), nor does an empty one.
    ///
    /// # Errors
    ///
    /// The environment that `variable` answers for has no place for it.
    pub fn file(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, String> {
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match self {
            Self::None => Ok(None),
            Self::File(path) => Ok(Some(path.clone())),
            Self::Default => absolute("XDG_STATE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
                .map(|state| Some(state.join("mxprobe/history.sqlite")))
                .ok_or_else(|| {
                    "there is no place for the history: neither XDG_STATE_HOME nor HOME is an absolute path; \
                     wanted --history PATH or --history none"
                        .to_owned()
                }),
        }
    }
}

/// How results are shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Output {
    pub format: Format,
    /// Whether colour may be used, where the output can show it.
    pub color: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Nothing but the diagnosis.
    pub quiet: bool,
    pub progress: Progress,
}

words! {
    /// When the progress of a run is shown, on standard error.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub enum Progress ("progress") {
        /// On a terminal.
        #[default]
        Auto = "auto",
        Never = "never",
    }
}

/// Something to read: a file, or standard input where `-` is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    Stdin,
    File(PathBuf),
}

impl From<OsString> for Input {
    fn from(text: OsString) -> Self {
        if text == "-" { Self::Stdin } else { Self::File(text.into()) }
    }
}

/// The flags of every command that prints results, save `--format`, whose words differ.
#[derive(Clone, Debug, clap::Args)]
pub struct OutputFlags {
    /// No colour
    #[arg(
        long,
        help = "No colour (none by itself where the output is no terminal, or NO_COLOR is set)",
        help_heading = "Output"
    )]
    pub no_color: bool,
    /// More detail
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet", help_heading = "Output")]
    pub verbose: u8,
    /// Nothing but the result
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
    /// Whether to show progress on standard error
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = Words::<Progress>::new("time for progress", Progress::ALL.iter().map(|p| p.as_str())), help_heading = "Output")]
    pub progress: Progress,
}

impl OutputFlags {
    /// With the format that the command was given.
    #[must_use]
    pub fn with(&self, format: Format) -> Output {
        Output { format, color: !self.no_color, verbose: self.verbose, quiet: self.quiet, progress: self.progress }
    }
}

/// The flags of every command that diagnoses what is on record already.
#[derive(Clone, Debug, clap::Args)]
pub struct EvidenceFlags {
    /// More reply rules (repeatable)
    #[arg(long, value_name = "FILE")]
    pub catalogue: Vec<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = format(RETOLD), help_heading = "Output")]
    pub format: Format,
    #[command(flatten)]
    pub output: OutputFlags,
}

/// What can be written of evidence that comes all at once.
pub(super) const RETOLD: &[Format] = &[Format::Text, Format::Jsonl, Format::Markdown, Format::Html];

/// Reads one of these formats.
pub(super) fn format(of: &'static [Format]) -> Words<Format> {
    Words::new("format", of.iter().map(|format| format.as_str()))
}

/// Reads one of a few words, and lists them in help and completions.
#[derive(Clone)]
pub(super) struct Words<T> {
    what: &'static str,
    known: Vec<&'static str>,
    read: fn(&str) -> Option<T>,
}

impl<T: FromStr> Words<T> {
    pub(super) fn new(what: &'static str, words: impl IntoIterator<Item = &'static str>) -> Self {
        Self { what, known: words.into_iter().collect(), read: |text| text.parse().ok() }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Words<T> {
    type Value = T;

    fn parse_ref(&self, cmd: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let text = short(&value.to_string_lossy());
        if let Some(word) = Some(text.as_str()).filter(|text| self.known.contains(text)).and_then(self.read) {
            return Ok(word);
        }
        let flag = arg.map(ToString::to_string).unwrap_or_default();
        let flag = flag.split(' ').next().unwrap_or_default();
        let message = format!("{flag}: {text:?} is no {}: wanted one of {}", self.what, self.known.join(", "));
        let mut error = clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd);
        error.insert(ContextKind::InvalidArg, ContextValue::String(flag.to_owned()));
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.known.iter().map(PossibleValue::new)))
    }
}

/// What a run's order comes from.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{:?} is no seed: wanted a whole number from 0 to {}", short(text), u64::MAX))
}

/// A whole number from 1 to `MAX`.
pub(super) fn count<const MAX: u32>(text: &str) -> Result<u32, String> {
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .filter(|n| (1..=MAX).contains(n))
        .ok_or_else(|| format!("{:?} is out of range: wanted a whole number from 1 to {MAX}", short(text)))
}

/// A port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    count::<65_535>(text).and_then(|port| u16::try_from(port).map_err(|e| e.to_string()))
}

/// A file, or `-`.
pub(super) fn input() -> impl TypedValueParser<Value = Input> {
    clap::builder::OsStringValueParser::new().map(Input::from)
}

/// `IP`, `IP:PORT` or `[IPV6]:PORT`; the port of DNS is 53.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse::<SocketAddr>());
    address.ok().filter(|address| address.port() != 0).ok_or_else(|| {
        format!("{:?} is no resolver: wanted IP or IP:PORT, as in 192.0.2.53:53 or [2001:db8::53]:53", short(text))
    })
}

/// A point in time: RFC 3339, or a date and perhaps a time, which are UTC.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse::<Timestamp>().ok().or_else(|| jiff::tz::Offset::UTC.to_timestamp(text.parse().ok()?).ok()).ok_or_else(
        || {
            format!(
                "{:?} is no time: wanted 2026-11-24T10:00:00Z, or 2026-11-24 10:00 or 2026-11-24 in UTC",
                short(text)
            )
        },
    )
}

/// A point in time, or so long before the present one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl Moment {
    /// The time, where the present one is `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }
}

/// A point in time as [`time`] has it, or a duration.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = duration::parse_positive(text) {
        return Ok(Moment::Ago(ago));
    }
    time(text).map(Moment::At).map_err(|_| {
        format!(
            "{:?} is no time: wanted 24h or 7d for so long ago, 2026-11-24T10:00:00Z or 2026-11-24 in UTC",
            short(text)
        )
    })
}

/// So much of a run's id names it.
pub const SHORTEST_RUN: usize = 4;

/// Whether a word can name a run of the history: the beginning of its id, `last`, or `last-1` for
/// the one before.
#[must_use]
pub fn is_run(word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    let is_id = |byte: u8| byte == b'-' || matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    runs_ago(word).is_some() || word.len() >= SHORTEST_RUN && word.bytes().all(is_id)
}

/// Of `last` and `last-1`, how many runs ago that was.
#[must_use]
pub fn runs_ago(word: &str) -> Option<usize> {
    match word.strip_prefix("last")? {
        "" => Some(0),
        ago => ago.strip_prefix('-')?.parse().ok(),
    }
}

/// Where the history is: `none`, or a file.
pub(super) fn history(text: &str) -> Result<History, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Err("a history in PostgreSQL is not available in this version: wanted a file or none".to_owned());
    }
    Ok(if text == "none" { History::None } else { History::File(text.into()) })
}

/// `A=B`, both read by their type.
pub(super) fn pair<A, B, E: Display, F: Display>(
    text: &str,
    wanted: &str,
    first: impl FnOnce(&str) -> Result<A, E>,
    second: impl FnOnce(&str) -> Result<B, F>,
) -> Result<(A, B), String> {
    let (a, b) = text.split_once('=').ok_or_else(|| format!("{:?}: wanted {wanted}", short(text)))?;
    Ok((first(a).map_err(|e| e.to_string())?, second(b).map_err(|e| e.to_string())?))
}

pub(super) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_where_xdg_says() {
        let cases = [
            (Some("/state"), Some("/home/me"), Some("/state/mxprobe/history.sqlite")),
            (None, Some("/home/me"), Some("/home/me/.local/state/mxprobe/history.sqlite")),
            (Some(""), Some("/home/me"), Some("/home/me/.local/state/mxprobe/history.sqlite")),
            (Some("state"), Some("/home/me"), Some("/home/me/.local/state/mxprobe/history.sqlite")),
            (Some("state"), None, None),
        ];
        for (state, home, wanted) in cases {
            let variable = |name: &str| if name == "HOME" { home } else { state }.map(OsString::from);
            let found = History::Default.file(variable).ok().flatten();
            assert_eq!(found, wanted.map(PathBuf::from), "{state:?} {home:?}");
        }
        assert_eq!(History::None.file(|_| None), Ok(None));
        assert_eq!(History::File("x".into()).file(|_| None), Ok(Some("x".into())));
    }
}
