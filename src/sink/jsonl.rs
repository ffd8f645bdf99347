//! JSON lines: each line as it comes, so that a run that is cut short leaves what it had found.

use std::borrow::Cow;
use std::io::{self, Write as _};

use serde::Serialize;
use serde::ser::Error as _;

use super::Sink;
use crate::record::Line;

/// As much is held back at most.
const HELD: usize = 64 * 1024;

/// Writes the contract's JSON lines.
#[derive(Debug)]
pub(super) struct Jsonl<W: io::Write> {
    out: io::BufWriter<W>,
    /// The line that is being written; its room is kept.
    line: Vec<u8>,
}

impl<W: io::Write> Jsonl<W> {
    /// Writes into `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out: io::BufWriter::with_capacity(HELD, out), line: Vec::new() }
    }
}

impl<W: io::Write> Sink for Jsonl<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.out.write_all(&spelled(&self.line))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A value as one line, with its end. Whatever writes JSON for others goes by here, or by [`Jsonl`].
///
/// # Errors
///
/// The value cannot be JSON.
pub(crate) fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    String::from_utf8(spelled(&line).into_owned()).map_err(serde_json::Error::custom)
}

/// JSON may hold the controls from U+007F to U+009F as they are, and there are terminals that obey
/// them: here they are spelled, which any reader of JSON undoes. They stand in strings alone, and in
/// UTF-8 they are 0x7f and, behind 0xc2, the bytes from 0x80 to 0x9f.
fn spelled(json: &[u8]) -> Cow<'_, [u8]> {
    let (mut out, mut rest) = (Vec::new(), json);
    while let Some(at) = memchr::memchr2(0x7f, 0xc2, rest) {
        let (acts, length) = match rest[at..] {
            [0x7f, ..] => (Some(0x7f), 1),
            [_, acts @ 0x80..=0x9f, ..] => (Some(acts), 2),
            _ => (None, 1),
        };
        let (before, from_it) = rest.split_at(at);
        out.extend_from_slice(before);
        match acts {
            Some(acts) => out.extend_from_slice(format!("\\u{acts:04x}").as_bytes()),
            None => out.extend_from_slice(&from_it[..length]),
        }
        rest = &from_it[length..];
    }
    if rest.len() == json.len() {
        return json.into();
    }
    out.extend_from_slice(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::json_line;

    #[test]
    fn whatever_acts_is_spelled_and_is_read_as_it_was() {
        let all: String = ('\0'..='\u{2ff}').chain(['é', '…', '\u{7f}', '\u{9b}', '😀']).collect();
        for text in [&all[..], "plain", "\u{9b}", "é\u{85}", ""] {
            let line = json_line(&text).unwrap();
            assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
