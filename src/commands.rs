//! What each command does, one file per command. The command line has been read by [`crate::cli`];
//! what is printed is [`crate::sink`]'s; here the two meet the pipeline.

use std::fmt::Display;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::catalog::Catalog;
use crate::cli::args::Input;
use crate::cli::{Command, Usage, completions};
use crate::sink::Format;
use crate::visible::visible;
use crate::wire;

mod demo;
mod diff;
mod explain;
mod history;
mod import;
mod judge;
mod recorded;
mod report;
mod reproduce;
mod run;
mod show;
mod sim;
mod smoke;
mod watch;

/// Does what the command line says and returns the exit status.
#[must_use]
pub fn execute(command: Result<Command, Usage>) -> ExitCode {
    let done = match command {
        Ok(Command::Run(args)) => run::run(*args),
        Ok(Command::Smoke(args)) => smoke::smoke(*args),
        Ok(Command::Watch(args)) => watch::watch(*args),
        Ok(Command::Reproduce(args)) => reproduce::reproduce(&args),
        Ok(Command::Judge(args)) => judge::judge(&args),
        Ok(Command::Diff(args)) => diff::diff(&args),
        Ok(Command::History(args)) => history::history(&args),
        Ok(Command::Report(args)) => report::report(&args),
        Ok(Command::Explain(args)) => explain::explain(&args),
        Ok(Command::Import(args)) => import::import(&args),
        Ok(Command::Sim(args)) => sim::sim(&args),
        Ok(Command::Demo(args)) => demo::demo(&args),
        Ok(Command::Completions(shell)) => print(&completions::completions(shell)),
        Ok(Command::Man) => print(&completions::man()),
        Err(usage) => say(&usage),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {}", visible(&failure.message));
            ExitCode::from(failure.status)
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
struct Failure {
    message: String,
    /// 2: usage or configuration; 3: could not tell.
    status: u8,
}

impl Failure {
    /// Something in what was asked for is wrong; nothing was sent.
    fn config(message: impl Display) -> Self {
        Self { message: format!("{message}"), status: 2 }
    }

    /// This host failed at its part.
    fn ours(message: impl Display) -> Self {
        Self { message: format!("{message}"), status: 3 }
    }
}

type Done = Result<u8, Failure>;

/// Prints what is wrong with the command line, or the help that was asked for.
fn say(usage: &Usage) -> Done {
    let text = usage.message.as_bytes();
    if usage.to_stdout {
        return print(text);
    }
    // Nobody is left to be told when that fails.
    let _ = io::stderr().write_all(text);
    Ok(usage.status)
}

fn print(bytes: &[u8]) -> Done {
    written(io::stdout().write_all(bytes)).map(|_| 0)
}

/// Whether anybody still reads; a reader that went away is no failure.
fn written(result: io::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::ours(format!("standard output: {e}"))),
    }
}

/// The rules that are built in, and the operator's files on top. They live as long as the program.
fn catalog(files: &[impl AsRef<Path>]) -> Result<&'static Catalog, Failure> {
    let mut catalog = Catalog::built_in();
    for file in files {
        let name = file.as_ref().display().to_string();
        let text = std::fs::read_to_string(file).map_err(|e| Failure::config(format!("{name}: {e}")))?;
        catalog = Box::leak(Box::new(catalog.with(&name, &text).map_err(Failure::config)?));
    }
    Ok(catalog)
}

/// So many sessions are drawn; a diagnosis rests on all of them.
const DRAWN: u64 = 20_000;

/// Says that not every session is drawn, where that is so.
fn say_drawn(sessions: u64, format: Format) {
    if sessions > DRAWN && format != Format::Jsonl {
        let _ = writeln!(
            io::stderr(),
            "mxprobe: the first {DRAWN} of {sessions} sessions are drawn; the diagnosis rests on all"
        );
    }
}

/// What a file or standard input is called in messages and records.
fn name(input: &Input) -> String {
    match input {
        Input::Stdin => "-".to_owned(),
        Input::File(path) => path.display().to_string(),
    }
}

/// Opens a file or standard input.
fn open(input: &Input) -> Result<Box<dyn io::Read + Send>, Failure> {
    Ok(match input {
        Input::Stdin => Box::new(io::stdin()),
        Input::File(path) => {
            let file = std::fs::File::open(path).and_then(|mut file| file.read(&mut []).map(|_| file));
            Box::new(file.map_err(|e| Failure::config(format!("{}: {e}", path.display())))?)
        }
    })
}

/// The descriptors without which a command that meets the network is not begun: those of the
/// runtime, of the history, and of one session.
const FEWEST: usize = 16;

/// The runtime for a run. Sessions wait and hardly compute: on one thread none is handed over.
fn runtime() -> Result<Runtime, Failure> {
    build(&mut Builder::new_current_thread())
}

/// The runtime for what serves others beside.
fn threads() -> Result<Runtime, Failure> {
    build(&mut Builder::new_multi_thread())
}

fn build(builder: &mut Builder) -> Result<Runtime, Failure> {
    // Asked beforehand, for the runtime does not refuse in order.
    if let Some(left) = wire::descriptors().filter(|left| *left < FEWEST) {
        return Err(Failure::ours(format!("{left} files can be opened: wanted {FEWEST} or more (ulimit -n)")));
    }
    builder.enable_all().build().map_err(|e| Failure::ours(format!("the runtime: {e}")))
}
