//! What is said about a file that is no scenario: its name, the line, the text there, what was
//! wanted.

use std::fmt;
use std::ops::Range;

/// The bytes that are wrong, and what was wanted.
pub(super) type Wrong = (Range<usize>, String);

/// What is wrong with a scenario file, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScenarioError {
    name: String,
    /// Counted from 1.
    line: usize,
    text: String,
    span: Range<usize>,
    wanted: String,
}

impl ScenarioError {
    pub(super) fn new(name: &str, text: &str, span: Range<usize>, wanted: &str) -> Self {
        let at = span.start.min(text.len());
        let before = text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count();
        let line = text.lines().nth(before).unwrap_or_default().trim();
        // Both can quote the file, and end up on a terminal.
        let visible =
            |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>();
        let text = visible(line).chars().take(120).collect();
        Self { name: name.to_owned(), line: before + 1, text, span, wanted: visible(wanted) }
    }

    /// The line, counted from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The bytes of the file that are wrong.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.wanted
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, line, text, wanted, .. } = self;
        write!(f, "{name}:{line}: {text}: {wanted}")
    }
}

impl std::error::Error for ScenarioError {}

/// Where line `line` of the string that `span` quotes stands in the file.
pub(super) fn line_of(text: &str, span: &Range<usize>, line: usize) -> Range<usize> {
    let quoted = text.get(span.clone()).unwrap_or_default();
    let opened = ["'''", "\"\"\""].iter().any(|quotes| {
        quoted.strip_prefix(quotes).is_some_and(|rest| rest.starts_with('\n') || rest.starts_with("\r\n"))
    });
    let skipped = line - 1 + usize::from(opened);
    let mut ends = quoted.bytes().zip(1..).filter(|&(byte, _)| byte == b'\n').map(|(_, at)| at);
    let start = if skipped == 0 { 0 } else { ends.nth(skipped - 1).unwrap_or(0) };
    let length = quoted[start..].find('\n').unwrap_or(quoted.len() - start);
    span.start + start..span.start + start + length
}

/// toml's messages can have two lines.
pub(super) fn one_line(message: &str) -> String {
    message.trim().replace('\n', ", ")
}
