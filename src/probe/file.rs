//! The probe file: TOML in, a [`ProbeLayer`] out, and errors that point at the text.
//!
//! Every value is read by the type it is for, so a bad one is reported with its place; the tables
//! here hold the spelling of the file and nothing else. Opening files is the caller's.

mod tables;
mod values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, NamedSource, SourceSpan};

use super::Schedule;
use super::alert::Alert;
use super::conflict::{Conflict, Setting};
use super::layer::ProbeLayer;
use tables::{Document, Parts, Wrong};

/// A probe file as read. What only a watch needs is beside the layer.
#[derive(Clone, Debug)]
pub struct ProbeFile {
    pub layer: ProbeLayer,
    pub schedule: Option<Schedule>,
    pub alert: Option<Alert>,
    places: BTreeMap<Setting, Range<usize>>,
    name: String,
    text: String,
}

impl ProbeFile {
    /// Reads `text`, which stands in the file at `path`; relative paths in it start at that file's
    /// directory.
    ///
    /// # Errors
    ///
    /// No TOML, an unknown key, a bad value, or a file that is at odds with itself.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let document: Document = toml::from_str(text).map_err(|e| {
            let message = house_words(e.message());
            FileError::new(&name, text, e.span().unwrap_or_default(), &message)
        })?;
        match document.read(path.parent().unwrap_or(Path::new(""))) {
            Ok(Parts { layer, schedule, alert, places }) => {
                Ok(Self { layer, schedule, alert, places, name, text: text.to_owned() })
            }
            Err(Wrong { place, message }) => Err(FileError::new(&name, text, place, &message)),
        }
    }

    /// The same conflict, shown where this file says its part of it, or at its start where it
    /// should have.
    #[must_use]
    pub fn locate(&self, conflict: &Conflict) -> FileError {
        let place = self.places.get(&conflict.setting).cloned().unwrap_or_default();
        FileError::new(&self.name, &self.text, place, &conflict.in_file())
    }
}

/// What is wrong with a probe file, and where.
#[derive(Debug, Diagnostic, thiserror::Error)]
#[error("{message}")]
pub struct FileError {
    message: String,
    #[source_code]
    text: NamedSource<String>,
    #[label]
    place: SourceSpan,
}

impl FileError {
    fn new(name: &str, text: &str, place: Range<usize>, message: &str) -> Self {
        let (text, place) = excerpt(text, place);
        Self {
            message: visible(message),
            text: NamedSource::new(visible(name), visible(&text)),
            place: (place.start, place.len()).into(),
        }
    }

    /// File, line, the text underlined and what was wanted, for a terminal and without colour.
    #[must_use]
    pub fn render(&self) -> String {
        let mut shown = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_wrap_lines(false);
        match handler.render_report(&mut shown, self) {
            Ok(()) => shown,
            Err(_) => self.message.clone(),
        }
    }
}

/// The parser's messages in the words of this program.
fn house_words(message: &str) -> String {
    [
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("unknown variant", "unknown word"),
        (", expected", ": wanted"),
    ]
    .into_iter()
    .fold(message.to_owned(), |message, (theirs, ours)| message.replace(theirs, ours))
}

/// The longest line that is shown whole, in bytes.
const LONG_LINE: usize = 300;

/// What to show of `text`, and where `place` is in it: the place ends with its line, and of a long
/// line only the part around it is left.
fn excerpt(text: &str, place: Range<usize>) -> (String, Range<usize>) {
    let start = text.floor_char_boundary(place.start.min(text.len()));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let end = text.floor_char_boundary(place.end.clamp(start, line_end));
    if line_end - line_start <= LONG_LINE {
        return (text.to_owned(), start..end);
    }
    let from = text.floor_char_boundary(start.saturating_sub(LONG_LINE / 4).max(line_start));
    let to = text.floor_char_boundary((start + LONG_LINE / 2).min(line_end));
    let before = "\n".repeat(text[..line_start].matches('\n').count());
    let shift = |at: usize| before.len() + at.min(to) - from;
    (format!("{before}{}\n", &text[from..to]), shift(start)..shift(end))
}

/// The text without anything that a terminal obeys, byte for byte as long.
fn visible(text: &str) -> String {
    let harmless = |c: char| match (c.is_control() || is_invisible(c), c.len_utf8()) {
        (false, _) => c,
        (true, _) if c == '\n' || c == '\t' => c,
        (true, _) if c == '\r' => ' ',
        (true, 1) => '?',
        (true, 2) => '¿',
        (true, _) => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(harmless).collect()
}

/// Marks that turn the order of text around, or hide it.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_obeys_nothing_and_stays_in_its_place() {
        let text = "# \u{1b}[31m\u{202e}\u{9b}\r\nport = 0\r\n";
        assert_eq!(visible(text).len(), text.len());
        assert_eq!(visible(text), "# ?[31m\u{fffd}¿ \nport = 0 \n");
        let error = ProbeFile::parse(Path::new("a\u{1b}b.toml"), text).unwrap_err().render();
        assert!(!error.chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text = format!("description = \"x\"\n[target]\ndomain = \"{}\"\n", "ä".repeat(40_000));
        let error = ProbeFile::parse(Path::new("long.toml"), &text).unwrap_err().render();
        assert!(error.len() < 4000, "{error}");
        assert!(error.contains("long.toml:3"), "{error}");
    }
}
