//! The command line: words in, a [`Command`] out that has no question left open.
//!
//! Everything that can be wrong with a command line, an environment variable or a probe file is
//! found here, before anything is sent, and comes out as one [`Usage`]. Only here does the program
//! name clap.

pub mod args;
pub mod completions;
pub mod demo;
pub mod diff;
mod environment;
pub mod explain;
pub mod filter;
pub mod history;
pub mod import;
pub mod judge;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod sim;
pub mod smoke;
pub mod swaks;
mod target;
mod usage;
pub mod watch;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use demo::DemoArgs;
use diff::DiffArgs;
use explain::{ExplainArgs, ExplainFlags};
use history::HistoryArgs;
use import::ImportArgs;
use judge::JudgeArgs;
use report::ReportArgs;
use reproduce::{ReproduceArgs, ReproduceFlags};
use run::{RunArgs, RunFlags};
use sim::SimArgs;
use smoke::{SmokeArgs, SmokeFlags};
pub use usage::Usage;
use watch::{WatchArgs, WatchFlags};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Probe now.
    Run(Box<RunArgs>),
    /// Test whether a campaign may start.
    Smoke(Box<SmokeArgs>),
    /// Probe on schedule.
    Watch(Box<WatchArgs>),
    /// See whether reported errors are still there.
    Reproduce(Box<ReproduceArgs>),
    /// Diagnose recorded evidence again.
    Judge(JudgeArgs),
    /// Compare two recordings.
    Diff(DiffArgs),
    /// Show what is on record.
    History(HistoryArgs),
    /// Tell a provider's postmaster what is on record.
    Report(ReportArgs),
    /// Read errors and say what they mean.
    Explain(ExplainArgs),
    /// Turn MTA logs into evidence.
    Import(ImportArgs),
    /// Serve a scripted provider.
    Sim(SimArgs),
    /// Replay the AOL incident of October 2012.
    Demo(DemoArgs),
    /// Print a shell's completions ([`completions::completions`]).
    Completions(Shell),
    /// Print the man page ([`completions::man`]).
    Man,
}

/// Reads the command line `argv`, the program's name first, and this process's environment.
///
/// # Errors
///
/// Whatever keeps the program from starting, and help and version, which are texts to print too.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Command, Usage> {
    parse_with(argv, &|name| std::env::var_os(name))
}

/// Reads the command line `argv` with the environment that `variable` answers for.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_with(
    argv: impl IntoIterator<Item = OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Command, Usage> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let status = usage::status(&argv, variable);
    read(argv, variable).map_err(|usage| usage.with_error_status(status))
}

/// The command line's grammar, for help, completions and the man page.
#[must_use]
pub fn command() -> clap::Command {
    Grammar::command()
}

fn read(argv: Vec<OsString>, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Command, Usage> {
    let argv = swaks::rewrite(argv);
    let given = command().try_get_matches_from(&argv).map_err(|e| Usage::from_clap(&e, &[]))?;
    let environment = environment::flags(&command(), &given, variable)?;
    let matches = if environment.is_empty() {
        given
    } else {
        let argv = swaks::rewrite(environment::insert(argv, &environment));
        command().try_get_matches_from(argv).map_err(|e| Usage::from_clap(&e, &environment))?
    };
    let grammar = Grammar::from_arg_matches(&matches).map_err(|e| Usage::from_clap(&e, &environment))?;
    Ok(match grammar.command {
        Verb::Run(flags) => Command::Run(Box::new(flags.read()?)),
        Verb::Smoke(flags) => Command::Smoke(Box::new(flags.read()?)),
        Verb::Watch(flags) => Command::Watch(Box::new(flags.read()?)),
        Verb::Reproduce(flags) => Command::Reproduce(Box::new(flags.read()?)),
        Verb::Judge(flags) => Command::Judge(flags),
        Verb::Diff(flags) => Command::Diff(flags.checked()?),
        Verb::History(flags) => Command::History(flags),
        Verb::Report(flags) => Command::Report(flags),
        Verb::Explain(flags) => Command::Explain(flags.read()?),
        Verb::Import(flags) => Command::Import(flags.checked()?),
        Verb::Sim(flags) => Command::Sim(flags),
        Verb::Demo(flags) => Command::Demo(flags),
        Verb::Completions { shell } => Command::Completions(shell),
        Verb::Man => Command::Man,
    })
}

#[derive(Parser)]
#[command(
    name = "mxprobe",
    version,
    about = "An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does a mailbox provider refuse, and is it them or you?",
    after_help = AFTER_HELP,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    subcommand_value_name = "COMMAND"
)]
struct Grammar {
    #[command(subcommand)]
    command: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  mxprobe demo
  mxprobe run aol.com --source 192.0.2.10 --source 192.0.2.11
  mxprobe watch probes/*.toml --listen 9125
  mxprobe explain bounce.eml
  mxprobe reproduce bounce.eml

Every flag has an environment variable: MXPROBE_SOURCE is --source, MXPROBE_DRY_RUN is --dry-run.
A flag that is repeatable takes several values there, with commas between them. Flags go before
variables.

Exit status: 0 nothing found, 1 something found, 2 usage or configuration error (nothing was sent),
3 could not tell. With --format nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.";

#[derive(Subcommand)]
enum Verb {
    /// Probe now, print the matrix and the diagnosis
    #[command(after_help = run::EXAMPLES)]
    Run(Box<RunFlags>),
    /// Say before a campaign from which addresses it may be sent: GO, HOLD or NO-GO
    #[command(after_help = smoke::EXAMPLES)]
    Smoke(Box<SmokeFlags>),
    /// Probe on schedule, keep what comes of it, tell of trouble, serve metrics
    #[command(after_help = watch::EXAMPLES, mut_arg("format", watch::format), mut_arg("transcript", |arg| arg.hide(true)))]
    Watch(Box<WatchFlags>),
    /// Read bounces, logs or pasted errors, probe what they describe, say whether it reproduces
    #[command(after_help = reproduce::EXAMPLES)]
    Reproduce(Box<ReproduceFlags>),
    /// Diagnose recorded evidence again, without network
    #[command(after_help = judge::EXAMPLES)]
    Judge(JudgeArgs),
    /// Say what changed between two recordings
    #[command(after_help = diff::EXAMPLES)]
    Diff(DiffArgs),
    /// Show what is on record: runs, their sessions, incidents
    #[command(after_help = history::EXAMPLES)]
    History(HistoryArgs),
    /// Write up a run or an incident for the provider's postmaster
    #[command(after_help = report::EXAMPLES)]
    Report(ReportArgs),
    /// Say what a bounce, a log line or a pasted error means, without network
    #[command(after_help = explain::EXAMPLES)]
    Explain(ExplainFlags),
    /// Turn MTA logs into evidence and a diagnosis, without network
    #[command(after_help = import::EXAMPLES)]
    Import(ImportArgs),
    /// Serve a scripted provider, DNS and SMTP, on loopback
    #[command(after_help = sim::EXAMPLES)]
    Sim(SimArgs),
    /// Replay the AOL incident of October 2012 on loopback: probed for real, diagnosed
    #[command(after_help = demo::EXAMPLES)]
    Demo(DemoArgs),
    /// Print completions for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    #[command(after_help = completions::MAN_EXAMPLES)]
    Man,
}
