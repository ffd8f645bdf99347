//! What a run is written out as: one file per output, behind one small trait.
//!
//! A sink takes a recording line by line as the run goes and writes into whatever it was given.
//! It knows nothing of how the lines came about: probed now, read from a file, imported. A failed
//! write is handed back as it is; that a reader went away (a broken pipe) is the caller's to judge.
//!
//! [`recording`], [`grid`], [`faults`] and [`timing`] hold what several outputs draw.

use std::io;

use crate::record::Line;
use crate::words::words;

mod faults;
mod grid;
pub mod jsonl;
mod recording;
pub mod text;
mod timing;

/// Takes a recording, writes it out.
pub trait Sink {
    /// Takes one line.
    ///
    /// # Errors
    ///
    /// The writer's.
    fn line(&mut self, line: &Line) -> io::Result<()>;

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
pub fn open<W: io::Write + 'static>(format: Format, out: W, look: Look) -> Box<dyn Sink> {
    match format {
        Format::Text => Box::new(text::Text::new(out, look)),
        Format::Jsonl => Box::new(jsonl::Jsonl::new(out)),
    }
}
