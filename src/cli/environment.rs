//! Flags from the environment: `MXPROBE_DRY_RUN=1` is `--dry-run`.
//!
//! Variables are put in front of the command line as the flags they stand for, so that they are
//! read, refused and explained by the same code. clap could look for them itself, but then every
//! help text would grow by half and no test could set them.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use super::usage::Usage;

/// A variable that is set, as the arguments that it stands for.
pub(super) struct Variable {
    pub(super) name: String,
    /// The flag as an error of clap's names it, `--source`.
    pub(super) flag: String,
    arguments: Vec<OsString>,
}

/// The variables that are set for flags which the command line does not give.
///
/// # Errors
///
/// A switch that is neither on nor off.
pub(super) fn flags(
    grammar: &Command,
    given: &ArgMatches,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Vec<Variable>, Usage> {
    let Some((verb, given)) = given.subcommand().and_then(|(name, m)| Some((grammar.find_subcommand(name)?, m))) else {
        return Ok(Vec::new());
    };
    let is_given = |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let mut set = Vec::new();
    for arg in verb.get_arguments().filter(|arg| !arg.is_positional()) {
        let beaten = is_given(arg) || verb.get_arg_conflicts_with(arg).into_iter().any(&is_given);
        let (flag, name) = names(arg);
        if beaten || matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong) {
            continue;
        }
        let is_set = |value: &OsString| !value.is_empty();
        // The one variable that many programs share: set to anything, it means no colour.
        let shared = || variable("NO_COLOR").filter(|value| flag == "--no-color" && is_set(value)).map(|_| "1".into());
        if let Some(value) = variable(&name).filter(is_set).or_else(shared) {
            let arguments = arguments(arg.get_action(), &flag, &name, &value)?;
            set.push(Variable { name, flag, arguments });
        }
    }
    Ok(set)
}

/// The command line with the variables' flags behind the command.
pub(super) fn insert(argv: Vec<OsString>, variables: &[Variable]) -> Vec<OsString> {
    // In front of the command stand the program and nothing that takes a value.
    let command =
        argv.iter().skip(1).position(|a| !a.as_encoded_bytes().starts_with(b"-")).map_or(argv.len(), |at| at + 2);
    let mut all = argv;
    all.splice(command..command, variables.iter().flat_map(|variable| variable.arguments.iter().cloned()));
    all
}

/// The flag and its variable: `--dry-run` and `MXPROBE_DRY_RUN`, `-4` and `MXPROBE_4`.
fn names(arg: &Arg) -> (String, String) {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => (format!("--{long}"), format!("MXPROBE_{}", long.to_ascii_uppercase().replace('-', "_"))),
        (None, short) => {
            let short = short.unwrap_or_default();
            (format!("-{short}"), format!("MXPROBE_{short}"))
        }
    }
}

fn arguments(action: &ArgAction, flag: &str, name: &str, value: &OsStr) -> Result<Vec<OsString>, Usage> {
    let with = |value: &OsStr| {
        let mut argument = OsString::from(format!("{flag}="));
        argument.push(value);
        argument
    };
    let text = value.to_str();
    Ok(match (action, text) {
        (ArgAction::SetTrue, Some("1" | "true" | "yes" | "on")) => vec![flag.into()],
        (ArgAction::SetTrue, Some("0" | "false" | "no" | "off")) => Vec::new(),
        (ArgAction::SetTrue, _) => {
            return Err(Usage::error(format!("{name}={:?}: wanted 1 or 0", value.to_string_lossy())));
        }
        (ArgAction::Count, Some(text)) => match text.parse::<u8>() {
            Ok(count) if count < 10 => vec![flag.into(); usize::from(count)],
            _ => return Err(Usage::error(format!("{name}={text:?}: wanted a number from 0 to 9"))),
        },
        (ArgAction::Append, Some(text)) => text.split(',').map(|part| with(OsStr::new(part.trim()))).collect(),
        _ => vec![with(value)],
    })
}
