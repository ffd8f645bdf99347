//! JSON lines: each line as it comes, written and flushed at once, so that a run that is cut short
//! leaves everything that it had found.

use std::io;

use super::Sink;
use crate::record::Line;

/// Writes the contract's JSON lines.
#[derive(Debug)]
pub(super) struct Jsonl<W> {
    out: W,
}

impl<W: io::Write> Jsonl<W> {
    /// Writes into `out`.
    pub(super) const fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: io::Write> Sink for Jsonl<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
