//! What is said instead of starting: errors in one style, and the texts of help and version.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::environment::Variable;
use crate::probe::file::FileError;

/// Commands of other versions: known, so that nobody looks for a typing error.
const OTHER_COMMANDS: [&str; 1] = ["report"];

/// A text to print, and the status to exit with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Whole lines, printable as they are: whatever was found is quoted with its control characters
    /// spelled out.
    pub message: String,
    /// 0 for help and version; 2, or 3 where the output is for Nagios, for errors.
    pub status: u8,
    /// Whether it was asked for, and goes to standard output.
    pub to_stdout: bool,
}

impl Usage {
    /// An error, in one line of lower case: what was found, what was wanted.
    #[must_use]
    pub fn error(message: impl fmt::Display) -> Self {
        Self { message: format!("error: {}\n", one_line(&message.to_string())), status: 2, to_stdout: false }
    }

    /// An error with its place in a file.
    pub(super) fn in_file(error: &FileError) -> Self {
        Self { message: error.render(), status: 2, to_stdout: false }
    }

    /// What clap has to say, in our words.
    pub(super) fn from_clap(error: &clap::Error, environment: &[Variable]) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Self { message: error.to_string(), status: 0, to_stdout: true }
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Self { message: error.to_string(), status: 2, to_stdout: false }
            }
            _ => Self::error(in_words(error) + &origin(error, environment)),
        }
    }

    /// The same, with the status that errors have for whoever reads the output.
    pub(super) fn with_error_status(self, status: u8) -> Self {
        Self { status: if self.status == 0 { 0 } else { status }, ..self }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Usage {}

/// The status of errors: 2, or Nagios's UNKNOWN. Looked for in the bare words, because it must be
/// known before they are understood.
pub(super) fn status(argv: &[OsString], variable: &dyn Fn(&str) -> Option<OsString>) -> u8 {
    let words: Vec<&str> =
        argv.iter().map_while(|word| word.to_str().or(Some(""))).take_while(|&w| w != "--").collect();
    let format = words
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, word)| match word.strip_prefix("--format")? {
            "" => words.get(at + 1).copied(),
            value => value.strip_prefix('='),
        })
        .map(str::to_owned)
        .or_else(|| variable("MXPROBE_FORMAT").and_then(|value| value.into_string().ok()));
    if format.as_deref() == Some("nagios") { 3 } else { 2 }
}

fn in_words(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let flag = flag_of(&argument).trim_matches(['<', '>']);
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    let meant = |kind| text(kind).map(|other| format!("; did you mean {other}?")).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let found = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            if OTHER_COMMANDS.contains(&found.as_str()) {
                return format!("the command {found} is not available in this version");
            }
            format!("unknown command {found:?}{}", meant(ContextKind::SuggestedSubcommand))
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            format!("unknown flag {:?}{}", flag, meant(ContextKind::SuggestedArg))
        }
        ErrorKind::UnknownArgument => format!("{argument:?} is one argument too many"),
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("{flag} without a value: wanted {}", argument.replace(['<', '>'], ""))
        }
        ErrorKind::InvalidValue => {
            let wanted = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(words)) => words.join(", "),
                _ => String::new(),
            };
            format!("{flag}: unknown word {value:?}: wanted one of {wanted}")
        }
        ErrorKind::ValueValidation => match error.source() {
            Some(source) => format!("{flag}: {source}"),
            None => first_line(error),
        },
        ErrorKind::ArgumentConflict => {
            let prior = text(ContextKind::PriorArg).unwrap_or_default();
            match flag_of(&prior) {
                other if other == flag => format!("{flag} twice: wanted it once"),
                other => format!("{flag} with {other}: wanted one of the two"),
            }
        }
        ErrorKind::MissingRequiredArgument => {
            format!("missing {}", argument.replace(['<', '>'], ""))
        }
        ErrorKind::InvalidUtf8 => "an argument that is not UTF-8".to_owned(),
        _ => first_line(error),
    }
}

/// Where a bad value came from, if not from the command line.
fn origin(error: &clap::Error, environment: &[Variable]) -> String {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return String::new() };
    let variable = environment.iter().find(|variable| variable.flag == flag_of(argument));
    variable.map(|variable| format!(" (from {})", variable.name)).unwrap_or_default()
}

/// `--source` of `--source <IP|CIDR|IFACE>`.
fn flag_of(argument: &str) -> &str {
    argument.split([' ', '=']).next().unwrap_or(argument).trim_end_matches("...")
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Without anything that a terminal obeys.
fn one_line(text: &str) -> String {
    let spelled = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(spelled).collect()
}
