//! The dialog notation, RFC 5321 appendix D's own: one way to write a session down.
//!
//! The tests play it against the session machine, the simulated provider plays it over sockets,
//! and `--transcript` prints it, so that a transcript in a bug report is a test and a scenario.
//!
//! ```text
//! # What it is about.
//! @ until=rcpt tls=off
//! S: 220 mx.example ESMTP
//! C: EHLO probe.example
//! S+7s: 250-mx.example
//! S&: 250 STARTTLS
//! CLOSE+1s
//! = dropped starttls
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `S: text` | the server sends the text and CRLF |
//! | `S&: text` | the same, in one packet with the line before |
//! | `S~: text` | the server sends the text as it is, without a line end |
//! | `S*9: text` | the same line 9 times; `S*: text` for ever |
//! | `C: text` | the client sends the text and CRLF; in a scenario `*` stands for anything |
//! | `TLS`, `TLS FAILS` | the handshake, which succeeds or fails |
//! | `CLOSE`, `RESET`, `SILENCE` | the server closes, resets, says no more |
//! | `+7s` behind the first word | that much later than the line before |
//! | `@ key=value …` | how the session was run |
//! | `= kind stage code enhanced` | how it ended |
//! | `# text` | a comment |
//!
//! In texts `\r`, `\n`, `\\` and `\xHH` stand for bytes that a line cannot show.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

/// A session, written down.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dialog {
    /// The comment at the head, line by line.
    pub about: Vec<String>,
    /// `key=value` pairs of the `@` lines.
    pub settings: Vec<(String, String)>,
    pub lines: Vec<Line>,
    /// What stands behind `=`.
    pub ending: Option<String>,
}

impl Dialog {
    /// The value of the last setting called `key`.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

/// One thing that happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// How long after the line before; zero when unsaid.
    pub after: Duration,
    pub act: Act,
}

/// What happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// The client sends these bytes, line end included.
    Client(Vec<u8>),
    /// The server sends these bytes, line end included where there is one.
    Server {
        bytes: Vec<u8>,
        /// In one packet with the line before.
        joined: bool,
        /// How often; [`u32::MAX`] is for ever.
        times: u32,
    },
    /// The handshake succeeds.
    Tls,
    /// The handshake fails.
    TlsFails,
    /// The server closes the connection.
    Close,
    /// The server resets the connection.
    Reset,
    /// The server says nothing more.
    Silence,
}

/// A line that is not in the notation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DialogError {
    /// Counted from 1.
    pub line: usize,
    found: String,
    wanted: &'static str,
}

impl fmt::Display for DialogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, found, wanted } = self;
        write!(f, "line {line}: found {found:?}, wanted {wanted}")
    }
}

impl std::error::Error for DialogError {}

impl FromStr for Dialog {
    type Err = DialogError;

    fn from_str(text: &str) -> Result<Self, DialogError> {
        let mut dialog = Self::default();
        for (at, text) in text.lines().enumerate() {
            let text = text.trim_end_matches('\r');
            let error = |wanted| DialogError { line: at + 1, found: text.chars().take(80).collect(), wanted };
            if let Some(about) = text.strip_prefix('#') {
                if dialog.lines.is_empty() {
                    dialog.about.push(about.trim().to_owned());
                }
            } else if let Some(settings) = text.strip_prefix('@') {
                for setting in settings.split_ascii_whitespace() {
                    let (key, value) = setting.split_once('=').ok_or_else(|| error("key=value"))?;
                    dialog.settings.push((key.to_owned(), value.to_owned()));
                }
            } else if let Some(ending) = text.strip_prefix('=') {
                dialog.ending = Some(ending.trim().to_owned());
            } else if !text.trim().is_empty() {
                dialog.lines.push(line(text).map_err(error)?);
            }
        }
        Ok(dialog)
    }
}

impl fmt::Display for Dialog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for about in &self.about {
            writeln!(f, "# {about}")?;
        }
        if !self.settings.is_empty() {
            let pairs: Vec<_> = self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
            writeln!(f, "@ {}", pairs.join(" "))?;
        }
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        self.ending.iter().try_for_each(|ending| writeln!(f, "= {ending}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = match self.after {
            Duration::ZERO => String::new(),
            after => format!("+{}", humantime::format_duration(after).to_string().replace(' ', "")),
        };
        match &self.act {
            Act::Client(bytes) => write!(f, "C{}{after}: {}", unended(bytes).1, escape(unended(bytes).0)),
            Act::Server { bytes, joined, times } => {
                let (text, raw) = unended(bytes);
                let times = match times {
                    1 => String::new(),
                    &u32::MAX => "*".to_owned(),
                    n => format!("*{n}"),
                };
                write!(f, "S{}{raw}{times}{after}: {}", if *joined { "&" } else { "" }, escape(text))
            }
            Act::Tls => write!(f, "TLS{after}"),
            Act::TlsFails => write!(f, "TLS FAILS{after}"),
            Act::Close => write!(f, "CLOSE{after}"),
            Act::Reset => write!(f, "RESET{after}"),
            Act::Silence => write!(f, "SILENCE{after}"),
        }
    }
}

/// Writes bytes so that a line can show them and [`unescape`] finds them again.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                c if c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() => out.push(c),
                c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| hex(&mut out, byte)),
            }
        }
        chunk.invalid().iter().for_each(|&byte| hex(&mut out, byte));
    }
    out
}

/// Reads what [`escape`] wrote. A backslash before anything else stands for itself.
#[must_use]
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let tail = &rest[at + 1..];
        let byte = tail.strip_prefix('x').and_then(|t| t.get(..2)).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (byte, taken) = match (tail.as_bytes().first(), byte) {
            (Some(b'r'), _) => (b'\r', 1),
            (Some(b'n'), _) => (b'\n', 1),
            (Some(b'\\'), _) => (b'\\', 1),
            (Some(b'x'), Some(byte)) => (byte, 3),
            _ => (b'\\', 0),
        };
        out.push(byte);
        rest = &tail[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn hex(out: &mut String, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// The text without its CRLF, and the mark of one that has none.
fn unended(bytes: &[u8]) -> (&[u8], &'static str) {
    bytes.strip_suffix(b"\r\n").map_or((bytes, "~"), |text| (text, ""))
}

/// Reads one line that is neither comment nor setting nor ending.
fn line(text: &str) -> Result<Line, &'static str> {
    const WANTED: &str = "S:, C:, TLS, TLS FAILS, CLOSE, RESET or SILENCE";
    for (word, act) in [
        ("TLS FAILS", Act::TlsFails),
        ("TLS", Act::Tls),
        ("CLOSE", Act::Close),
        ("RESET", Act::Reset),
        ("SILENCE", Act::Silence),
    ] {
        if let Some(rest) = text.trim_end().strip_prefix(word) {
            return Ok(Line { after: after(rest)?, act });
        }
    }
    let (head, said) = text.split_once(':').ok_or(WANTED)?;
    let said = unescape(said.strip_prefix(' ').unwrap_or(said));
    let (who, marks) = head.split_at_checked(1).ok_or(WANTED)?;
    let (marks, time) = marks.find('+').map_or((marks, ""), |at| marks.split_at(at));
    let (marks, times) = match marks.split_once('*') {
        None => (marks, 1),
        Some((marks, "")) => (marks, u32::MAX),
        Some((marks, n)) => (marks, n.parse().map_err(|_| "a number behind *")?),
    };
    let end: &[u8] = if marks.contains('~') { b"" } else { b"\r\n" };
    let bytes = [said.as_slice(), end].concat();
    let act = match (who, marks.trim_matches(['~', '&'])) {
        ("S", "") => Act::Server { bytes, joined: marks.contains('&'), times },
        ("C", "") => Act::Client(bytes),
        _ => return Err(WANTED),
    };
    Ok(Line { after: after(time)?, act })
}

fn after(mark: &str) -> Result<Duration, &'static str> {
    match mark.strip_prefix('+') {
        Some(duration) => humantime::parse_duration(duration).map_err(|_| "a duration behind +, such as +7s"),
        None if mark.is_empty() => Ok(Duration::ZERO),
        None => Err("nothing, or +duration, behind the word"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "# about\n@ until=mail tls=off\nS: 220 a \\\\ \\x1b[2J\\xff\nS~*3+7s: 250\\n\nS&: x\nS*: y\nC: EHLO ü\nTLS\nTLS FAILS+1s\nRESET+20ms\nSILENCE\nCLOSE\n= dropped mail\n";
        let dialog: Dialog = text.parse().unwrap();
        assert_eq!(dialog.to_string(), text);
        assert_eq!(dialog.setting("tls"), Some("off"));
        assert_eq!(unescape("a\\d\\x4\\"), b"a\\d\\x4\\");
    }

    #[test]
    fn what_is_not_the_notation_is_named() {
        for bad in ["X: a", "S 220", "S+x: 220", "S*x: 220", "TLSX", "CLOSE 7s", "é: x", "@ until"] {
            assert_eq!(bad.parse::<Dialog>().unwrap_err().line, 1, "{bad}");
        }
    }
}
