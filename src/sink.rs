//! What a run is written out as: one file per output, behind one small trait.
//!
//! A sink takes a recording line by line as the run goes and writes into whatever it was given.
//! It knows nothing of how the lines came about: probed now, read from a file, imported. A failed
//! write is handed back as it is; that a reader went away (a broken pipe) is the caller's to judge.
//!
//! `recording`, `grid`, `faults`, `side`, `strip` and `timing` hold what several outputs draw, `bundle`
//! what a postmaster on the other side is told.

use std::io::{self, Write as _};

use crate::record::Line;
use crate::words::words;

mod bundle;
pub(crate) mod faults;
pub(crate) mod grid;
mod html;
pub(crate) mod jsonl;
mod junit;
mod markdown;
pub mod metrics;
pub mod nagios;
pub mod progress;
pub mod prometheus;
pub(crate) mod recording;
pub(crate) mod redact;
mod retold;
pub(crate) mod side;
pub(crate) mod strip;
mod text;
mod timing;
mod verdicts;

pub use bundle::Past;
use recording::Recording;

/// What is on record, for a reader.
pub mod past {
    pub use super::text::past::{incident, list};
}

/// Takes a recording, writes it out.
pub trait Sink {
    /// Takes one line.
    ///
    /// # Errors
    ///
    /// The writer's.
    fn line(&mut self, line: &Line) -> io::Result<()>;

    /// Writes what was held back so far, where that was for speed alone.
    ///
    /// # Errors
    ///
    /// The writer's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Writes what is still to be written; no line comes after it.
    ///
    /// # Errors
    ///
    /// The writer's.
    fn finish(&mut self) -> io::Result<()>;
}

words! {
    /// The outputs there are.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub enum Format ("format") {
        /// For a reader at a terminal.
        #[default]
        Text = "text",
        /// The evidence itself.
        Jsonl = "jsonl",
        /// A check plugin's line for a monitoring system.
        Nagios = "nagios",
        /// A test report, each session a case.
        Junit = "junit",
        /// A bundle for the other side's postmaster.
        Markdown = "markdown",
        /// The same, as a page.
        Html = "html",
        /// Metrics for a node exporter's textfile collector.
        Prometheus = "prometheus",
    }
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Look {
    /// Columns of the terminal; fewer than 40 are taken for 40.
    pub width: usize,
    /// Whether to colour. Nothing is said by colour alone.
    pub colour: bool,
    pub detail: Detail,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 80, colour: false, detail: Detail::Normal }
    }
}

/// How much is told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Detail {
    /// The diagnoses and the counts.
    Quiet,
    /// That, the matrix and every distinct refusal.
    Normal,
    /// That and every session, stage by stage.
    Verbose,
}

/// The sink that writes `format` into `out`.
#[must_use]
pub fn open<W: io::Write + Send + 'static>(format: Format, out: W, look: Look) -> Box<dyn Sink + Send> {
    match format {
        Format::Text => AtEnd::boxed(out, move |recording, out| text::write(recording, out, look)),
        Format::Jsonl => Box::new(jsonl::Jsonl::new(out)),
        Format::Nagios => AtEnd::boxed(out, nagios::write),
        Format::Junit => AtEnd::boxed(out, junit::write),
        Format::Markdown => AtEnd::boxed(out, move |recording, out| markdown::write(recording, None, out, look)),
        Format::Html => AtEnd::boxed(out, move |recording, out| html::write(recording, None, out, look)),
        Format::Prometheus => AtEnd::boxed(out, prometheus::write),
    }
}

/// The same, of an incident: what comes as lines are its sessions, or some of them, and the last of
/// its runs. A format that tells no incident leaves it out.
#[must_use]
pub fn open_incident<W: io::Write + Send + 'static>(
    format: Format,
    out: W,
    look: Look,
    past: Past,
) -> Box<dyn Sink + Send> {
    match format {
        Format::Markdown => AtEnd::boxed(out, move |recording, out| markdown::write(recording, Some(&past), out, look)),
        Format::Html => AtEnd::boxed(out, move |recording, out| html::write(recording, Some(&past), out, look)),
        other => open(other, out, look),
    }
}

/// Gathers a recording and writes it when it is whole.
struct AtEnd<W: io::Write, F> {
    recording: Recording,
    out: io::BufWriter<W>,
    write: F,
}

impl<W, F> AtEnd<W, F>
where
    W: io::Write + Send + 'static,
    F: Fn(&Recording, &mut io::BufWriter<W>) -> io::Result<()> + Send + 'static,
{
    fn boxed(out: W, write: F) -> Box<dyn Sink + Send> {
        Box::new(Self { recording: Recording::default(), out: io::BufWriter::new(out), write })
    }
}

impl<W: io::Write, F: Fn(&Recording, &mut io::BufWriter<W>) -> io::Result<()>> Sink for AtEnd<W, F> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.recording.add(line);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.recording.settle();
        (self.write)(&self.recording, &mut self.out)?;
        self.out.flush()
    }
}
