//! JSON lines: each line as it comes, so that a run that is cut short leaves what it had found.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;

use super::Sink;
use crate::record::Line;

/// As much is held back at most.
const HELD: usize = 64 * 1024;

/// Writes the contract's JSON lines.
#[derive(Debug)]
pub(super) struct Jsonl<W: io::Write> {
    out: io::BufWriter<W>,
}

impl<W: io::Write> Jsonl<W> {
    /// Writes into `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out: io::BufWriter::with_capacity(HELD, out) }
    }
}

impl<W: io::Write> Sink for Jsonl<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.out.write_all(json_line(line)?.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A value as one line, with its end. Whatever writes JSON for others goes by here.
///
/// # Errors
///
/// The value cannot be JSON.
pub(crate) fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = spelled(serde_json::to_string(value)?);
    text.push('\n');
    Ok(text)
}

/// JSON may hold the controls from U+007F to U+009F as they are, and there are terminals that obey
/// them: here they are spelled, which any reader of JSON undoes.
fn spelled(text: String) -> String {
    let acts = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    // What is beyond ASCII stands in strings alone; most lines hold none.
    if memchr::memchr2(0x7f, 0xc2, text.as_bytes()).is_none() || !text.contains(acts) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            // A String takes everything that is written to it.
            c if acts(c) => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}
