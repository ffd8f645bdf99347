//! Takes a run's events to where they are wanted: the output, the recording, the progress bar, the
//! transcript. The run never waits for a terminal that nobody reads.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::Failure;
use crate::cli::args::{Output, Progress as When};
use crate::history::keeper::Keeper;
use crate::ledger::later;
use crate::record::{Diagnosis, Gate, Line, Session};
use crate::reproduce::swaks::Commands;
use crate::run::Event;
use crate::sink::progress::Progress;
use crate::sink::{self, Detail, Format, Look, Sink, nagios};
use crate::smtp::session::TlsLevel;
use crate::visible::visible;

/// A run that lasts longer says beforehand how long.
const LONG: Duration = Duration::from_secs(10);

/// As much is shown at a time.
const BATCH: usize = 1024;

/// The most between two batches: whoever is woken for each single line costs the sessions more than
/// the line.
const NAP: Duration = Duration::from_millis(5);

/// No nap is longer than this part of what the run has taken: the first lines are shown at once, and
/// nobody waits for the end of a run that was short.
const PART: u32 = 100;

/// How text is laid out for `output`, on this standard output.
pub(super) fn look(output: &Output) -> Look {
    let terminal = io::stdout().is_terminal();
    let width = terminal_size::terminal_size().filter(|_| terminal).map_or(80, |(width, _)| usize::from(width.0));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let detail = match (output.quiet, output.verbose) {
        (true, _) => Detail::Quiet,
        (false, 0) => Detail::Normal,
        (false, _) => Detail::Verbose,
    };
    Look { width, colour: output.color && terminal && !plain, detail }
}

/// Everywhere that a run is shown.
pub(super) struct Show {
    out: Option<Box<dyn Sink + Send>>,
    record: Option<(String, Box<dyn Sink + Send>)>,
    keeper: Option<Keeper>,
    format: Format,
    /// Kept for the status that monitoring systems want.
    lines: Vec<Line>,
    diagnoses: Vec<Diagnosis>,
    gates: Vec<Gate>,
    budgets: Vec<String>,
    progress: Option<Progress>,
    wants_progress: bool,
    /// Standard output is one.
    on_terminal: bool,
    /// What is known so far, in words.
    so_far: Option<SoFar>,
    /// Where the commands for swaks are wanted.
    swaks: Option<Commands>,
    quiet: bool,
    failure: Option<Failure>,
}

/// Creates a file that its owner alone may read: a recording names mailboxes, and what was said of
/// them. One that is there keeps its mode, which its owner chose.
fn own(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Says what is known so far.
pub(super) type SoFar = Box<dyn Fn() -> String + Send>;

impl Show {
    /// Opens the outputs; the recording's file is created at once, so that a path that cannot be
    /// written is known before anything is sent.
    pub(super) fn open(output: &Output, record: Option<&Path>) -> Result<Self, Failure> {
        let record = record
            .map(|path| {
                let name = path.display().to_string();
                let file = own(path).map_err(|e| Failure::config(format!("--record {name}: {e}")))?;
                Ok((name, sink::open(Format::Jsonl, file, Look::default())))
            })
            .transpose()?;
        Ok(Self {
            out: Some(sink::open(output.format, io::stdout(), look(output))),
            record,
            keeper: None,
            format: output.format,
            lines: Vec::new(),
            diagnoses: Vec::new(),
            gates: Vec::new(),
            budgets: Vec::new(),
            progress: None,
            wants_progress: output.progress == When::Auto && io::stderr().is_terminal() && !output.quiet,
            on_terminal: io::stdout().is_terminal(),
            so_far: None,
            swaks: None,
            quiet: output.quiet,
            failure: None,
        })
    }

    /// Puts the run on record too.
    pub(super) fn keep(&mut self, keeper: Option<Keeper>) {
        self.keeper = keeper;
    }

    /// Says something before the run, to people only.
    pub(super) fn preface(&mut self, text: &str) {
        if self.format == Format::Text && !self.quiet {
            self.out(text);
        }
    }

    /// Shows a line that does not come from the run.
    pub(super) fn also(&mut self, line: &Line) {
        self.line_out(line);
        self.tell(|sink| sink.flush());
    }

    /// Has the progress say what is known so far.
    pub(super) fn so_far(&mut self, so_far: SoFar) {
        self.so_far = Some(so_far);
    }

    /// Prints the command for swaks of each cell, at the end.
    pub(super) fn swaks(&mut self, tls: TlsLevel) {
        self.swaks = Some(Commands::new(tls));
    }

    /// Writes what was shown so far, where no run comes of it.
    pub(super) fn close(mut self) {
        self.tell(|sink| sink.finish());
    }

    /// Shows everything until the run has no more to say. When nobody is left to be told, `stop`
    /// turns true. It blocks, and so has a thread of its own.
    pub(super) fn all(mut self, mut events: mpsc::Receiver<Event>, stop: &watch::Sender<bool>) -> Shown {
        let (begun, mut batch) = (Instant::now(), Vec::with_capacity(BATCH));
        while events.blocking_recv_many(&mut batch, BATCH) > 0 {
            batch.drain(..).for_each(|event| self.event(event));
            self.tell(|sink| sink.flush());
            if self.out.is_none() && self.record.is_none() {
                let _ = stop.send(true);
            }
            std::thread::sleep(NAP.min(begun.elapsed() / PART));
        }
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        self.tell(|sink| sink.finish());
        if let Some(keeper) = self.keeper.take() {
            keeper.close();
        }
        if let Some(commands) = self.swaks.take().filter(|commands| !commands.lines().is_empty()) {
            self.out(&format!("\n{}\n", commands.lines().join("\n")));
        }
        let status = (self.format == Format::Nagios).then(|| nagios::status(&self.lines));
        // Given up without a failure: the reader went away.
        let unread = self.out.is_none() && self.failure.is_none();
        let Self { diagnoses, gates, budgets, failure, .. } = self;
        Shown { nagios: status, diagnoses, gates, budgets, failure, unread }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Line(line) => self.line(&line),
            Event::Planned { sessions, lasts, left_out, budgets } => {
                self.planned(sessions, lasts, &left_out);
                self.budgets = budgets;
            }
            Event::Transcript(_, dialog) => self.out(&format!("{dialog}\n")),
        }
    }

    fn line(&mut self, line: &Line) {
        if let (Line::Session(session), Some(progress)) = (line, &mut self.progress) {
            progress.session(session);
            if let Some(so_far) = &self.so_far {
                progress.say(so_far());
            }
        }
        match (line, &mut self.swaks) {
            (Line::Session(session), Some(swaks)) => swaks.add(session),
            (Line::Planned(_), Some(swaks)) => {
                if let Some(session) = Session::from_planned(line) {
                    swaks.add(&session);
                }
            }
            _ => {}
        }
        if let Line::Diagnosis(diagnosis) = line {
            self.diagnoses.push((**diagnosis).clone());
        }
        if let Line::Gate(gate) = line {
            self.gates.push((**gate).clone());
        }
        self.line_out(line);
        if self.format == Format::Nagios {
            self.lines.push(line.clone());
        }
    }

    fn line_out(&mut self, line: &Line) {
        self.tell(|sink| sink.line(line));
        if let Some(keeper) = &self.keeper {
            keeper.line(line);
        }
    }

    fn planned(&mut self, sessions: u64, lasts: Duration, left_out: &[String]) {
        let mut err = io::stderr();
        for what in left_out {
            let _ = writeln!(err, "mxprobe: not probed: {}", visible(what));
        }
        if lasts > LONG && !self.quiet {
            let end = later(Timestamp::now(), lasts);
            let lasts = humantime::format_duration(Duration::from_secs(lasts.as_secs()));
            let _ = writeln!(err, "mxprobe: {sessions} sessions, at least {lasts}, until about {end:.0}");
        }
        self.progress = Some(Progress::new(sessions, self.wants_progress));
    }

    /// A dialog: on standard output beside the text, else out of the way of what programs read.
    fn out(&mut self, text: &str) {
        let written = above(self.progress.as_ref(), || match self.format {
            Format::Text => io::stdout().write_all(text.as_bytes()),
            _ => io::stderr().write_all(text.as_bytes()),
        });
        self.note(written, None);
    }

    fn tell(&mut self, mut what: impl FnMut(&mut dyn Sink) -> io::Result<()>) {
        if let Some(out) = &mut self.out {
            // Only there do the lines come while the bar is drawn, and only a terminal has both.
            let bar = self.progress.as_ref().filter(|_| self.format == Format::Jsonl && self.on_terminal);
            let written = above(bar, || what(&mut **out));
            self.note(written, None);
        }
        if let Some((name, record)) = &mut self.record {
            let (name, written) = (name.clone(), what(&mut **record));
            self.note(written, Some(&name));
        }
    }

    /// An output that fails is given up and named, once; a reader that went away is not a failure.
    fn note(&mut self, written: io::Result<()>, record: Option<&str>) {
        let Err(error) = written else { return };
        let message = if let Some(name) = record {
            self.record = None;
            format!("--record {name}: {error}: the recording is not whole")
        } else {
            self.out = None;
            format!("standard output: {error}")
        };
        if record.is_some() || error.kind() != io::ErrorKind::BrokenPipe {
            let _ = writeln!(io::stderr(), "error: {}", visible(&message));
            self.failure.get_or_insert(Failure::ours(message));
        }
    }
}

/// Writes above the progress bar, where there is one.
fn above<T>(bar: Option<&Progress>, write: impl FnOnce() -> T) -> T {
    match bar {
        Some(bar) => bar.above(write),
        None => write(),
    }
}

/// What came of showing a run.
pub(super) struct Shown {
    /// The status for a monitoring system, where that is the format.
    pub(super) nagios: Option<u8>,
    pub(super) diagnoses: Vec<Diagnosis>,
    /// Of a smoke test.
    pub(super) gates: Vec<Gate>,
    /// What the plan takes from each provider's budgets.
    pub(super) budgets: Vec<String>,
    /// An output that could not be written, already told.
    pub(super) failure: Option<Failure>,
    /// Nobody read standard output to its end.
    pub(super) unread: bool,
}
