//! SMTP replies, as values (RFC 5321, section 4.2; RFC 2034).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::words::words;

/// A complete reply, byte for byte as the server sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The three-digit code.
    pub code: Code,
    /// The enhanced status code of the first line that gives one.
    pub enhanced: Option<Enhanced>,
    /// Each line with its code and without its line end; not UTF-8 by contract.
    pub lines: Vec<Vec<u8>>,
    /// Whether a line ended in a bare LF (RFC 5321, section 2.3.8, forbids it).
    pub bare_lf: bool,
}

impl Reply {
    /// What the first digit says.
    #[must_use]
    pub fn class(&self) -> Class {
        self.code.class()
    }

    /// Whether the server says no, for now or for good.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.class().refuses()
    }

    /// The text of each line behind code and separator.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|line| line.get(4..).unwrap_or_default())
    }

    /// The text of all lines, joined by a space, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let texts: Vec<_> = self.texts().map(String::from_utf8_lossy).collect();
        texts.join(" ")
    }

    /// The raw lines, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn lossy_lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// The provider's own code, where the server refuses and its text holds one.
    #[must_use]
    pub fn tag(&self) -> Option<String> {
        if self.refuses() { tag(&self.text()).map(str::to_owned) } else { None }
    }
}

/// A reply code between 200 and 599.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Code(u16);

impl Code {
    /// The code, if it is one that SMTP knows (RFC 5321, section 4.2.1).
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if matches!(code, 200..=599) { Some(Self(code)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// What the first digit says.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.0 / 100 {
            2 => Class::Completed,
            3 => Class::Continue,
            4 => Class::Transient,
            _ => Class::Permanent,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = u16::deserialize(deserializer)?;
        Self::new(code)
            .ok_or_else(|| serde::de::Error::custom(format_args!("{code} is no reply code: wanted 200 to 599")))
    }
}

words! {
    /// What a server means by a reply, from its first digit.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Class ("class") {
        /// 2yz: done.
        Completed = "completed",
        /// 3yz: go on.
        Continue = "continue",
        /// 4yz: not now.
        Transient = "transient",
        /// 5yz: no.
        Permanent = "permanent",
    }
}

impl Class {
    /// Whether the server says no, for now or for good.
    #[must_use]
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Transient | Self::Permanent)
    }
}

/// An enhanced status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Enhanced {
    /// 2, 4 or 5.
    pub class: u8,
    /// What the status is about, 0 to 999.
    pub subject: u16,
    /// The status itself, 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// Reads the code at the start of a reply's text, where RFC 2034 puts it; a `#` before it or
    /// a colon behind it, as some servers write, is no hindrance.
    #[must_use]
    pub fn leading(text: &[u8]) -> Option<Self> {
        let word = text.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
        let word = std::str::from_utf8(word).ok()?;
        word.trim_start_matches('#').trim_end_matches(':').parse().ok()
    }
}

impl FromStr for Enhanced {
    type Err = NoEnhanced;

    fn from_str(text: &str) -> Result<Self, NoEnhanced> {
        let mut parts = text.split('.');
        let mut next = |digits: usize| {
            parts
                .next()
                .filter(|p| (1..=digits).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse::<u16>().ok())
                .ok_or(NoEnhanced)
        };
        let (class, subject, detail) = (next(1)?, next(3)?, next(3)?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return Err(NoEnhanced);
        }
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        Ok(Self { class: class as u8, subject, detail })
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl Serialize for Enhanced {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Enhanced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|e| serde::de::Error::custom(format_args!("{text:?}: {e}")))
    }
}

/// A text that is no enhanced status code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoEnhanced;

impl fmt::Display for NoEnhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no enhanced status code: wanted class.subject.detail with class 2, 4 or 5")
    }
}

impl std::error::Error for NoEnhanced {}

/// Finds a provider's own code in a reply's text: a bracketed word of capitals that also holds a
/// digit (`[TSS04]`, `[BL21]`, `(S3150)`) or a colon between two such words (`(CON:B1)`, `(RTR:DU)`).
#[must_use]
pub fn tag(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(open) = rest.find(['[', '(']) {
        let inner = &rest[open + 1..];
        let end =
            inner.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == ':')).unwrap_or(inner.len());
        let word = &inner[..end];
        if inner[end..].starts_with([']', ')']) && is_tag(word) {
            return Some(word);
        }
        rest = inner;
    }
    None
}

fn is_tag(word: &str) -> bool {
    let capital = |w: &str| w.starts_with(|c: char| c.is_ascii_uppercase());
    (2..=12).contains(&word.len())
        && !word.starts_with("RFC")
        && match word.split_once(':') {
            Some((group, member)) => capital(group) && !member.is_empty() && !member.contains(':'),
            None => capital(word) && word.ends_with(|c: char| c.is_ascii_digit()),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_providers_own_codes_and_nothing_else() {
        for (text, want) in [
            (":(CON:B1)  http://postmaster", Some("CON:B1")),
            ("4.7.1 : (DYN:T1)", Some("DYN:T1")),
            ("[192.0.2.1] blocked (RTR:DU)", Some("RTR:DU")),
            ("not allowed - [PH01]", Some("PH01")),
            ("see (RFC5321) or (STARTTLS)", None),
            ("host [192.0.2.1] (4XyZ1)", None),
            ("[", None),
            ("(A:", None),
        ] {
            assert_eq!(tag(text), want, "{text}");
        }
    }

    #[test]
    fn enhanced_codes_stand_at_the_start() {
        for (text, want) in [
            ("5.1.1 x", Some("5.1.1")),
            ("#5.1.0 x", Some("5.1.0")),
            ("5.7.26: x", Some("5.7.26")),
            ("x 5.1.1", None),
            ("5.1 x", None),
            ("3.1.1", None),
            ("5.1.1.1 x", None),
        ] {
            assert_eq!(Enhanced::leading(text.as_bytes()).map(|e| e.to_string()).as_deref(), want, "{text}");
        }
    }
}
